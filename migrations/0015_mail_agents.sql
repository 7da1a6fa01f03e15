-- Agents on mail hosts (docs/decisions/0032): whose key it is, for which domains ('*' is every one), and how far
-- the files of the host are. What they acknowledge stands in a table of its own, so that a change, which
-- asks which agents there are, meets no acknowledgement.
CREATE TABLE mail_agent (
    name TEXT NOT NULL PRIMARY KEY,
    key_hash {BYTES} NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX mail_agent_key_hash_key ON mail_agent (key_hash);

CREATE TABLE mail_agent_domain (
    agent TEXT NOT NULL,
    domain TEXT NOT NULL,
    PRIMARY KEY (agent, domain)
);

-- link names the connection that may write here; a newer one takes its place. seen is what the files hold: every
-- number below the first, and below the second every one but those listed (store/feed.rs).
CREATE TABLE mail_agent_standing (
    agent TEXT NOT NULL PRIMARY KEY,
    link TEXT NOT NULL,
    node TEXT NOT NULL,
    seen TEXT,
    heard_at BIGINT
);

-- The transaction that wrote the row: on PostgreSQL a lower position may be committed later, and must not be
-- passed over by who follows the changes.
ALTER TABLE outbox ADD COLUMN txid BIGINT NOT NULL DEFAULT 0;

{POSTGRES} ALTER TABLE outbox ALTER COLUMN txid SET DEFAULT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT);

{POSTGRES} CREATE INDEX outbox_txid_idx ON outbox (txid, position) WHERE target = 'look-ups';

-- Empty there: the order of rows is that of commits.
{SQLITE} CREATE INDEX outbox_txid_idx ON outbox (txid, position) WHERE txid > 0;
