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
    pw_until INTEGER,
    gate TEXT,
    gate_main TEXT,
    gate_imap TEXT,
    gate_pop3 TEXT,
    gate_smtp TEXT,
    cut_minutes INTEGER
);

-- When this file was last known to be up to date. An agent writes it; without one there is no row, and no
-- account is ever cut off.
CREATE TABLE contact (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
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
-- holds while Mailward is stopped, too, and so it does for a main password that has one. The only
-- texts here that differ per engine.
CREATE VIEW live_app_password AS
    SELECT p.account_id, p.app_id, p.digest, p.imap, p.pop3, p.smtp
      FROM app_password p
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(strftime('%s', 'now') AS INTEGER) * 1000;

CREATE VIEW mp_login AS
    SELECT d.address AS login, CASE WHEN a.gate_main IS NULL THEN a.mbox ELSE d.address END AS mbox,
           a.mbox || '@g' || a.generation AS session, a.pw AS pw
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE a.pw IS NOT NULL
       AND (a.pw_until IS NULL OR a.pw_until > CAST(strftime('%s', 'now') AS INTEGER) * 1000);

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

-- The accounts with what shuts them now: a reason of their own, or that this host heard nothing for longer than
-- the organization lets it go on, by the clock of this machine. Mail is taken and delivered all the same. The CAST
-- keeps the arms of mp_gate alike, without which SQLite would gather them before it looks for the mailbox. On
-- PostgreSQL there is no such host, and mp_gate reads the accounts themselves.
CREATE VIEW account_now AS
    SELECT mbox, gate_imap, gate_pop3, gate_smtp,
           CAST(CASE
               WHEN gate IS NOT NULL THEN gate
               WHEN cut_minutes IS NOT NULL
                    AND (SELECT at FROM contact WHERE id = 1) + cut_minutes * 60000
                        <= CAST(strftime('%s', 'now') AS INTEGER) * 1000
                   THEN 'This mail host has lost contact with the account desk. Try again later.'
           END AS TEXT) AS gate
      FROM account;

-- At most one row answers (mbox, protocol IN (asked, '*')): two rows are an internal
-- failure for Dovecot. So a general gate hides the ones per protocol, and what shuts the main password alone
-- (gate_main) stands at the login names, which are no mailbox; mp_login names them to ask by.
CREATE VIEW mp_gate AS
    SELECT mbox, '*' AS protocol, gate AS reason FROM account_now WHERE gate IS NOT NULL
    UNION ALL
    SELECT mbox, 'imap', gate_imap FROM account_now WHERE gate IS NULL AND gate_imap IS NOT NULL
    UNION ALL
    SELECT mbox, 'pop3', gate_pop3 FROM account_now WHERE gate IS NULL AND gate_pop3 IS NOT NULL
    UNION ALL
    SELECT mbox, 'smtp', gate_smtp FROM account_now WHERE gate IS NULL AND gate_smtp IS NOT NULL
    UNION ALL
    SELECT d.address, '*', a.gate_main
      FROM address d JOIN account a ON a.account_id = d.account_id
     WHERE a.gate_main IS NOT NULL;

CREATE VIEW mp_user AS
    SELECT d.address AS name, a.mbox AS mbox
      FROM address d JOIN account a ON a.account_id = d.account_id
    UNION ALL
    SELECT mbox, mbox FROM account;

CREATE VIEW mp_session AS
    SELECT mbox, 'g' || generation AS cred FROM account
     WHERE pw IS NOT NULL
       AND (pw_until IS NULL OR pw_until > CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    UNION ALL
    SELECT a.mbox, 'a' || p.app_id
      FROM live_app_password p JOIN account a ON a.account_id = p.account_id;
