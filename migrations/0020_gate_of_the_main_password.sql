-- Beside: 18
-- A one-time password shuts the main password alone: an app password that was kept opens, and a session that was
-- left open may send. `gate` keeps its meaning for older programs, which shut the whole account.
{SQLITE} DROP VIEW mailbox_state;

CREATE {OR_REPLACE} VIEW mailbox_state AS
SELECT a.organization_id, a.id AS account_id, a.mailbox AS mbox, a.generation, p.password_phc AS pw,
       CASE
           WHEN o.disabled IS NOT NULL
               THEN 'Mail for this organization is switched off. Contact your administrator.'
           WHEN d.disabled IS NOT NULL
               THEN 'Mail for this domain is switched off. Contact your administrator.'
           WHEN p.disabled IS NOT NULL
               THEN 'This account is disabled. Contact your administrator.'
           WHEN a.mail_disabled IS NOT NULL
               THEN 'Mail access for this account is disabled. Contact your administrator.'
           WHEN p.password_kind = 'one_time' AND NOT o.one_time_opens_mail
               THEN 'This password works once: choose a new one first.'
       END AS gate,
       CASE WHEN a.imap_off IS NOT NULL
           THEN 'IMAP access is switched off for this account. Contact your administrator.' END AS gate_imap,
       CASE WHEN a.pop_off IS NOT NULL
           THEN 'POP access is switched off for this account. Contact your administrator.' END AS gate_pop3,
       CASE WHEN a.outgoing_blocked IS NOT NULL
           THEN '550 5.7.1 Sending is blocked for this account' ELSE 'DUNNO' END AS sending,
       CASE WHEN a.incoming_blocked IS NOT NULL
           THEN '550 5.2.1 Mailbox disabled, not accepting messages' END AS incoming,
       a.primary_address, p.password_until,
       p.password_kind = 'one_time' AND NOT o.one_time_opens_mail
           AND o.disabled IS NULL AND d.disabled IS NULL AND p.disabled IS NULL AND a.mail_disabled IS NULL
           AS gate_is_mains
FROM account a
JOIN person p ON p.organization_id = a.organization_id AND p.id = a.person_id
JOIN organization o ON o.id = a.organization_id
LEFT JOIN domain d ON d.organization_id = a.organization_id AND d.name = a.primary_domain;

{POSTGRES} CREATE OR REPLACE VIEW mail_auth.account AS
    SELECT account_id, mbox, generation, pw, CASE WHEN NOT gate_is_mains THEN gate END AS gate, gate_imap, gate_pop3,
           CAST(NULL AS TEXT) AS gate_smtp, password_until AS pw_until,
           CASE WHEN gate_is_mains THEN gate END AS gate_main
      FROM mailbox_state;

{POSTGRES} CREATE OR REPLACE VIEW mail_auth.mp_login AS
    SELECT d.address AS login, CASE WHEN a.gate_main IS NULL THEN a.mbox ELSE d.address END AS mbox,
           a.mbox || '@g' || a.generation AS session, a.pw AS pw
      FROM mail_auth.address d JOIN mail_auth.account a ON a.account_id = d.account_id
     WHERE a.pw IS NOT NULL
       AND (a.pw_until IS NULL OR a.pw_until > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT));

{POSTGRES} CREATE OR REPLACE VIEW mail_auth.mp_gate AS
    SELECT mbox, '*' AS protocol, gate AS reason FROM mail_auth.account WHERE gate IS NOT NULL
    UNION ALL
    SELECT mbox, 'imap', gate_imap FROM mail_auth.account WHERE gate IS NULL AND gate_imap IS NOT NULL
    UNION ALL
    SELECT mbox, 'pop3', gate_pop3 FROM mail_auth.account WHERE gate IS NULL AND gate_pop3 IS NOT NULL
    UNION ALL
    SELECT mbox, 'smtp', gate_smtp FROM mail_auth.account WHERE gate IS NULL AND gate_smtp IS NOT NULL
    UNION ALL
    SELECT d.address, '*', a.gate_main
      FROM mail_auth.address d JOIN mail_auth.account a ON a.account_id = d.account_id
     WHERE a.gate_main IS NOT NULL;

{POSTGRES} CREATE OR REPLACE VIEW mail_maps.account AS
    SELECT account_id, mbox, CASE WHEN pw IS NOT NULL THEN generation END AS generation,
           CASE WHEN gate IS NOT NULL AND NOT gate_is_mains THEN '550 5.7.1 ' || gate ELSE sending END AS sending,
           incoming, password_until AS pw_until
      FROM mailbox_state;
