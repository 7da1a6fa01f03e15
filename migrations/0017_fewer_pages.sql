-- Beside: 16
-- A switch writes into as many pages as there are trees that its rows stand in: rows that an index is never asked for
-- stand in it no longer.
DROP INDEX outbox_due_idx;
CREATE INDEX outbox_due_idx ON outbox (target, due_at) WHERE due_at IS NOT NULL;

DROP INDEX outbox_done_at_idx;
CREATE INDEX outbox_done_at_idx ON outbox (done_at) WHERE done_at IS NOT NULL;
