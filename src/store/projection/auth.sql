-- auth.sqlite: what Dovecot may know. Views are the contract (docs/contract.md, version 1);
-- the tables behind them are Mailward's own and may change with any release.
CREATE TABLE contract (version INTEGER NOT NULL);

CREATE TABLE projection (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,
    instance TEXT NOT NULL
);

CREATE TABLE account (
    account_id INTEGER PRIMARY KEY,
    mbox TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    pw TEXT,
    gate TEXT,
    gate_imap TEXT,
    gate_pop3 TEXT,
    gate_smtp TEXT
);

CREATE TABLE address (
    account_id INTEGER NOT NULL,
    address TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
CREATE INDEX address_account ON address (account_id);

CREATE TABLE app_password (
    account_id INTEGER NOT NULL,
    app_id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    imap INTEGER NOT NULL,
    pop3 INTEGER NOT NULL,
    smtp INTEGER NOT NULL,
    expires_at INTEGER
);
CREATE INDEX app_password_account ON app_password (account_id);

-- App passwords that have not expired by the clock of the machine that asks: an expiry
-- holds while Mailward is stopped, too. The only text here that differs per engine.
CREATE VIEW live_app_password AS
    SELECT p.account_id, p.app_id, p.digest, p.imap, p.pop3, p.smtp
      FROM app_password p
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(strftime('%s', 'now') AS INTEGER) * 1000;

CREATE VIEW mp_login AS
    SELECT d.address AS login, a.mbox AS mbox, a.mbox || '@g' || a.generation AS session, a.pw AS pw
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE a.pw IS NOT NULL;

CREATE VIEW mp_app AS
    SELECT d.address AS login, p.digest AS digest, 'imap' AS protocol,
           a.mbox AS mbox, a.mbox || '@a' || p.app_id AS session
      FROM address d
      JOIN account a ON a.account_id = d.account_id
      JOIN live_app_password p ON p.account_id = d.account_id
     WHERE p.imap = 1
    UNION ALL
    SELECT d.address, p.digest, 'pop3', a.mbox, a.mbox || '@a' || p.app_id
      FROM address d
      JOIN account a ON a.account_id = d.account_id
      JOIN live_app_password p ON p.account_id = d.account_id
     WHERE p.pop3 = 1
    UNION ALL
    SELECT d.address, p.digest, 'smtp', a.mbox, a.mbox || '@a' || p.app_id
      FROM address d
      JOIN account a ON a.account_id = d.account_id
      JOIN live_app_password p ON p.account_id = d.account_id
     WHERE p.smtp = 1;

-- At most one row answers (mbox, protocol IN (asked, '*')): two rows are an internal
-- failure for Dovecot. So a general gate hides the ones per protocol.
CREATE VIEW mp_gate AS
    SELECT mbox, '*' AS protocol, gate AS reason FROM account WHERE gate IS NOT NULL
    UNION ALL
    SELECT mbox, 'imap', gate_imap FROM account WHERE gate IS NULL AND gate_imap IS NOT NULL
    UNION ALL
    SELECT mbox, 'pop3', gate_pop3 FROM account WHERE gate IS NULL AND gate_pop3 IS NOT NULL
    UNION ALL
    SELECT mbox, 'smtp', gate_smtp FROM account WHERE gate IS NULL AND gate_smtp IS NOT NULL;

CREATE VIEW mp_user AS
    SELECT d.address AS name, a.mbox AS mbox
      FROM address d JOIN account a ON a.account_id = d.account_id
    UNION ALL
    SELECT mbox, mbox FROM account;

CREATE VIEW mp_session AS
    SELECT mbox, 'g' || generation AS cred FROM account WHERE pw IS NOT NULL
    UNION ALL
    SELECT a.mbox, 'a' || p.app_id
      FROM live_app_password p JOIN account a ON a.account_id = p.account_id;
