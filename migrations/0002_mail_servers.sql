-- The mail servers: whom to tell, app passwords, what their look-ups may know.

-- Facts about this database itself, such as its random name.
CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE mail_server (
    name TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    key_file TEXT NOT NULL,
    certificate_sha256 TEXT,
    ca_file TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE app_password (
    organization_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    imap BOOLEAN NOT NULL,
    pop BOOLEAN NOT NULL,
    smtp BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, account_id) REFERENCES account (organization_id, id)
);
CREATE INDEX app_password_account_idx ON app_password (account_id);
CREATE INDEX app_password_expires_at_idx ON app_password (expires_at);

-- Few people have a password that ends.
CREATE INDEX person_password_until_idx ON person (password_until) WHERE password_until IS NOT NULL;

-- Mail of deleted users stays on the mail servers; here is where, and until when at least.
CREATE TABLE retained_mailbox (
    organization_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    mailbox TEXT NOT NULL,
    address TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    PRIMARY KEY (organization_id, account_id)
);

-- The one text of what the switches mean to mail servers. The projection files are made from it,
-- and on PostgreSQL the contract's views stand on it (docs/contract.md).
CREATE VIEW mailbox_state AS
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
       a.primary_address, p.password_until
FROM account a
JOIN person p ON p.organization_id = a.organization_id AND p.id = a.person_id
JOIN organization o ON o.id = a.organization_id
LEFT JOIN domain d ON d.organization_id = a.organization_id AND d.name = a.primary_domain;
