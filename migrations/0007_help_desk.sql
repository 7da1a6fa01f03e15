-- The help desk: an administrator's limits as JSON, NULL for everybody else. The index is widened so
-- that the users of one domain are listed from it in order of creation.

ALTER TABLE person ADD COLUMN help_desk TEXT;

CREATE INDEX account_domain_created_idx ON account (organization_id, primary_domain, created_at, id);

DROP INDEX account_domain_idx;
