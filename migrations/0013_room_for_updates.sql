-- A changed row that finds room on its own page, and changes no column that an index knows, leaves the
-- indexes alone: nobody who looked for a neighbour there meets the change. So the switches are no index's
-- condition; who is disabled or blocked stands in a table of its own, for lists.
CREATE TABLE person_state (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (organization_id, person_id, state)
);
CREATE INDEX person_state_idx ON person_state (organization_id, state, person_id);

INSERT INTO person_state (organization_id, person_id, state)
SELECT organization_id, id, 'disabled' FROM person WHERE disabled IS NOT NULL;

INSERT INTO person_state (organization_id, person_id, state)
SELECT organization_id, person_id, 'blocked' FROM account
WHERE mail_disabled IS NOT NULL OR incoming_blocked IS NOT NULL OR outgoing_blocked IS NOT NULL;

DROP INDEX person_disabled_idx;

DROP INDEX account_blocked_idx;

{POSTGRES} ALTER TABLE person SET (fillfactor = 70);

{POSTGRES} ALTER TABLE account SET (fillfactor = 70);
