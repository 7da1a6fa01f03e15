-- The audit log's chain (docs/audit.md): a row for each entry, written with it. The sealing worker
-- gives it its number in the organization and its hash. txid is the transaction that wrote it: on
-- PostgreSQL a lower one may commit later, and must not be passed over.
CREATE TABLE audit_link (
    seq {NEW_ID},
    txid BIGINT NOT NULL DEFAULT 0,
    organization_id BIGINT NOT NULL,
    change_id BIGINT NOT NULL,
    step BIGINT NOT NULL,
    number BIGINT,
    hash {BYTES}
);
CREATE UNIQUE INDEX audit_link_organization_id_number_key ON audit_link (organization_id, number);
CREATE INDEX audit_link_unsealed_idx ON audit_link (seq) WHERE number IS NULL;

-- What was written before is sealed first.
INSERT INTO audit_link (organization_id, change_id, step)
SELECT organization_id, id, step FROM audit ORDER BY organization_id, at, id, step;

{POSTGRES} ALTER TABLE audit_link ALTER COLUMN txid SET DEFAULT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT);

-- A one-time password that opens mail stops doing so by the database's own clock, as app passwords do,
-- and not when somebody comes round to take it away.
{POSTGRES} CREATE OR REPLACE VIEW mail_auth.account AS
    SELECT account_id, mbox, generation, pw, gate, gate_imap, gate_pop3, CAST(NULL AS TEXT) AS gate_smtp,
           password_until AS pw_until
      FROM mailbox_state;

{POSTGRES} CREATE OR REPLACE VIEW mail_auth.mp_login AS
    SELECT d.address AS login, a.mbox AS mbox, a.mbox || '@g' || a.generation AS session, a.pw AS pw
      FROM mail_auth.address d JOIN mail_auth.account a ON a.account_id = d.account_id
     WHERE a.pw IS NOT NULL
       AND (a.pw_until IS NULL OR a.pw_until > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT));

{POSTGRES} CREATE OR REPLACE VIEW mail_auth.mp_session AS
    SELECT mbox, 'g' || generation AS cred FROM mail_auth.account
     WHERE pw IS NOT NULL
       AND (pw_until IS NULL OR pw_until > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT))
    UNION ALL
    SELECT a.mbox, 'a' || p.app_id
      FROM mail_auth.live_app_password p JOIN mail_auth.account a ON a.account_id = p.account_id;

{POSTGRES} CREATE OR REPLACE VIEW mail_maps.account AS
    SELECT account_id, mbox, CASE WHEN pw IS NOT NULL THEN generation END AS generation,
           CASE WHEN gate IS NOT NULL THEN '550 5.7.1 ' || gate ELSE sending END AS sending, incoming,
           password_until AS pw_until
      FROM mailbox_state;

{POSTGRES} CREATE OR REPLACE VIEW mail_maps.live_credential AS
    SELECT account_id, mbox, sending, 'g' || generation AS cred
      FROM mail_maps.account
     WHERE generation IS NOT NULL
       AND (pw_until IS NULL OR pw_until > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT))
    UNION ALL
    SELECT a.account_id, a.mbox, a.sending, 'a' || p.app_id
      FROM mail_maps.app_password p JOIN mail_maps.account a ON a.account_id = p.account_id
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT);

-- Work that one node does at a time, until when it is its own.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);
