-- Calls that are made once however often they are asked (docs/decisions): scope is the SHA-256 of
-- organization, caller, route and key; mac tells whether it is the same request, without keeping what
-- it said. answer is what a repeat is answered with; NULL where it carried a secret.

CREATE TABLE idempotency (
    scope {BYTES} NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    mac {BYTES} NOT NULL,
    answer TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX idempotency_expires_at_idx ON idempotency (expires_at);

-- What somebody did, the newest first: for the report after a compromise.
CREATE INDEX audit_actor_idx ON audit (organization_id, actor, at);

-- What was given to a client, for its end.
CREATE INDEX refresh_token_client_idx ON refresh_token (organization_id, client_id);
