-- Beside: 15
-- In which web session a seed was proposed: another session of the same person must neither see it nor take it
-- into use. NULL once it is in use.
ALTER TABLE totp ADD COLUMN session_id BIGINT;
