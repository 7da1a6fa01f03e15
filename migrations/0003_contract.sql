-- The contract with the mail servers on PostgreSQL (docs/contract.md): the same views as in the
-- projection files, in two schemas, each for one role that can read nothing else. The roles are
-- made by the database's administrator; `mailward mail-server roles` prints how.
-- On SQLite this step does nothing: there the views stand in the projection files.

{POSTGRES} CREATE SCHEMA mail_auth;

{POSTGRES} CREATE SCHEMA mail_maps;

{POSTGRES} CREATE VIEW mail_auth.contract AS SELECT 1 AS version;

{POSTGRES} CREATE VIEW mail_auth.account AS
    SELECT account_id, mbox, generation, pw, gate, gate_imap, gate_pop3, CAST(NULL AS TEXT) AS gate_smtp
      FROM mailbox_state;

{POSTGRES} CREATE VIEW mail_auth.address AS
    SELECT account_id, address FROM address WHERE freed_at IS NULL;

{POSTGRES} CREATE VIEW mail_auth.app_password AS
    SELECT account_id, id AS app_id, digest, CASE WHEN imap THEN 1 ELSE 0 END AS imap,
           CASE WHEN pop THEN 1 ELSE 0 END AS pop3, CASE WHEN smtp THEN 1 ELSE 0 END AS smtp, expires_at
      FROM app_password;

{POSTGRES} CREATE VIEW mail_maps.contract AS SELECT 1 AS version;

{POSTGRES} CREATE VIEW mail_maps.account AS
    SELECT account_id, mbox, CASE WHEN pw IS NOT NULL THEN generation END AS generation,
           CASE WHEN gate IS NOT NULL THEN '550 5.7.1 ' || gate ELSE sending END AS sending, incoming
      FROM mailbox_state;

{POSTGRES} CREATE VIEW mail_maps.address AS
    SELECT d.account_id, d.address,
           CASE WHEN d.freed_at IS NOT NULL THEN '550 5.1.6 Mailbox has moved, no forwarding address' END AS retired
      FROM address d;

{POSTGRES} CREATE VIEW mail_maps.app_password AS
    SELECT account_id, id AS app_id, expires_at FROM app_password WHERE smtp;

{POSTGRES} CREATE VIEW mail_maps.domain AS
    SELECT name FROM domain WHERE verified_at IS NOT NULL;

{POSTGRES} CREATE VIEW mail_auth.live_app_password AS
    SELECT p.account_id, p.app_id, p.digest, p.imap, p.pop3, p.smtp
      FROM mail_auth.app_password p
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT);

{POSTGRES} CREATE VIEW mail_auth.mp_login AS
    SELECT d.address AS login, a.mbox AS mbox, a.mbox || '@g' || a.generation AS session, a.pw AS pw
      FROM mail_auth.address d JOIN mail_auth.account a ON a.account_id = d.account_id
     WHERE a.pw IS NOT NULL;

{POSTGRES} CREATE VIEW mail_auth.mp_app AS
    SELECT d.address AS login, p.digest AS digest, 'imap' AS protocol,
           a.mbox AS mbox, a.mbox || '@a' || p.app_id AS session
      FROM mail_auth.address d
      JOIN mail_auth.account a ON a.account_id = d.account_id
      JOIN mail_auth.live_app_password p ON p.account_id = d.account_id
     WHERE p.imap = 1
    UNION ALL
    SELECT d.address, p.digest, 'pop3', a.mbox, a.mbox || '@a' || p.app_id
      FROM mail_auth.address d
      JOIN mail_auth.account a ON a.account_id = d.account_id
      JOIN mail_auth.live_app_password p ON p.account_id = d.account_id
     WHERE p.pop3 = 1
    UNION ALL
    SELECT d.address, p.digest, 'smtp', a.mbox, a.mbox || '@a' || p.app_id
      FROM mail_auth.address d
      JOIN mail_auth.account a ON a.account_id = d.account_id
      JOIN mail_auth.live_app_password p ON p.account_id = d.account_id
     WHERE p.smtp = 1;

{POSTGRES} CREATE VIEW mail_auth.mp_gate AS
    SELECT mbox, '*' AS protocol, gate AS reason FROM mail_auth.account WHERE gate IS NOT NULL
    UNION ALL
    SELECT mbox, 'imap', gate_imap FROM mail_auth.account WHERE gate IS NULL AND gate_imap IS NOT NULL
    UNION ALL
    SELECT mbox, 'pop3', gate_pop3 FROM mail_auth.account WHERE gate IS NULL AND gate_pop3 IS NOT NULL
    UNION ALL
    SELECT mbox, 'smtp', gate_smtp FROM mail_auth.account WHERE gate IS NULL AND gate_smtp IS NOT NULL;

{POSTGRES} CREATE VIEW mail_auth.mp_user AS
    SELECT d.address AS name, a.mbox AS mbox
      FROM mail_auth.address d JOIN mail_auth.account a ON a.account_id = d.account_id
    UNION ALL
    SELECT mbox, mbox FROM mail_auth.account;

{POSTGRES} CREATE VIEW mail_auth.mp_session AS
    SELECT mbox, 'g' || generation AS cred FROM mail_auth.account WHERE pw IS NOT NULL
    UNION ALL
    SELECT a.mbox, 'a' || p.app_id
      FROM mail_auth.live_app_password p JOIN mail_auth.account a ON a.account_id = p.account_id;

{POSTGRES} CREATE VIEW mail_maps.live_credential AS
    SELECT account_id, mbox, sending, 'g' || generation AS cred
      FROM mail_maps.account WHERE generation IS NOT NULL
    UNION ALL
    SELECT a.account_id, a.mbox, a.sending, 'a' || p.app_id
      FROM mail_maps.app_password p JOIN mail_maps.account a ON a.account_id = p.account_id
     WHERE p.expires_at IS NULL
        OR p.expires_at > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT);

{POSTGRES} CREATE VIEW mail_maps.mp_mailbox AS
    SELECT d.address AS address, a.mbox AS mbox
      FROM mail_maps.address d JOIN mail_maps.account a ON a.account_id = d.account_id
     WHERE d.retired IS NULL;

{POSTGRES} CREATE VIEW mail_maps.mp_rcpt AS
    SELECT d.address AS address, COALESCE(d.retired, a.incoming) AS action
      FROM mail_maps.address d JOIN mail_maps.account a ON a.account_id = d.account_id
     WHERE d.retired IS NOT NULL OR a.incoming IS NOT NULL;

{POSTGRES} CREATE VIEW mail_maps.mp_sender AS
    SELECT d.address AS address, c.mbox || '@' || c.cred AS login
      FROM mail_maps.address d JOIN mail_maps.live_credential c ON c.account_id = d.account_id
     WHERE d.retired IS NULL;

{POSTGRES} CREATE VIEW mail_maps.mp_sasl AS
    SELECT mbox, cred, sending AS action FROM mail_maps.live_credential;

{POSTGRES} CREATE VIEW mail_maps.mp_domain AS
    SELECT name FROM mail_maps.domain;
