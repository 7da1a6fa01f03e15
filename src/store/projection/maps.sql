-- maps.sqlite: what Postfix may know; no password hash, no digest. Views are the contract
-- (docs/contract.md, version 1); the tables behind them are Mailward's own.
CREATE TABLE contract (version INTEGER NOT NULL);

CREATE TABLE projection (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,
    instance TEXT NOT NULL
);

CREATE TABLE account (
    account_id INTEGER PRIMARY KEY,
    mbox TEXT NOT NULL UNIQUE,
    generation INTEGER,
    pw_until INTEGER,
    sending TEXT NOT NULL,
    incoming TEXT
);

CREATE TABLE address (
    account_id INTEGER NOT NULL,
    address TEXT NOT NULL PRIMARY KEY,
    retired TEXT
) WITHOUT ROWID;
CREATE INDEX address_account ON address (account_id);

CREATE TABLE app_password (
    account_id INTEGER NOT NULL,
    app_id INTEGER PRIMARY KEY,
    expires_at INTEGER
);
CREATE INDEX app_password_account ON app_password (account_id);

CREATE TABLE domain (name TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;

-- The credentials that may hold an SMTP session, expired ones left out by the clock of the
-- machine that asks. Clocks are the only text here that differs per engine.
CREATE VIEW live_credential AS
    SELECT account_id, mbox, sending, 'g' || generation AS cred
      FROM account
     WHERE generation IS NOT NULL
       AND (pw_until IS NULL OR pw_until > CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    UNION ALL
    SELECT a.account_id, a.mbox, a.sending, 'a' || p.app_id
      FROM app_password p JOIN account a ON a.account_id = p.account_id
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(strftime('%s', 'now') AS INTEGER) * 1000;

CREATE VIEW mp_mailbox AS
    SELECT d.address AS address, a.mbox AS mbox
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE d.retired IS NULL;

CREATE VIEW mp_rcpt AS
    SELECT d.address AS address, COALESCE(d.retired, a.incoming) AS action
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE d.retired IS NOT NULL OR a.incoming IS NOT NULL;

-- Without live_credential: PostgreSQL, which has the same text, brings no join's condition into a UNION of joins.
CREATE VIEW mp_sender AS
    SELECT d.address AS address, a.mbox || '@g' || a.generation AS login
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE d.retired IS NULL
       AND a.generation IS NOT NULL
       AND (a.pw_until IS NULL OR a.pw_until > CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    UNION ALL
    SELECT d.address, a.mbox || '@a' || p.app_id
      FROM address d
      JOIN account a ON a.account_id = d.account_id
      JOIN app_password p ON p.account_id = d.account_id
     WHERE d.retired IS NULL
       AND (p.expires_at IS NULL OR p.expires_at > CAST(strftime('%s', 'now') AS INTEGER) * 1000);

CREATE VIEW mp_sasl AS
    SELECT mbox, cred, sending AS action FROM live_credential;

CREATE VIEW mp_domain AS
    SELECT name FROM domain;
