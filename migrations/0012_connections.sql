-- Which applications a person let in. A row counts only while its epoch is the person's, like a token.
-- What was consented to is what the person said yes to in a browser; NULL for codes of self clients.

CREATE TABLE connection (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    client_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    scope TEXT NOT NULL,
    offline BOOLEAN NOT NULL,
    consented_scope TEXT,
    consented_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, person_id, client_id)
);
CREATE INDEX connection_client_idx ON connection (organization_id, client_id);
