-- Statements name the organization whose rows they mean; an index that does not begin with it loses to one
-- that does, and SQLite then reads all that the organization has.
DROP INDEX app_password_account_idx;
CREATE INDEX app_password_account_idx ON app_password (organization_id, account_id, id);
CREATE INDEX access_token_client_idx ON access_token (organization_id, client_id);
