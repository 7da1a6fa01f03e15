//! The questions that Dovecot and Postfix ask the views, the same text on both engines.
//! docs/contract.md describes the views; the session name is `<mbox>@<credential>`.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::DovecotVersion;

/// How Dovecot spells the values of a login.
struct Names {
    login: &'static str,
    session_mbox: &'static str,
    session_credential: &'static str,
    protocol: &'static str,
    password_digest: &'static str,
}

const V2_3: Names = Names {
    login: "'%Lu'",
    session_mbox: "'%Ln'",
    session_credential: "'%Ld'",
    protocol: "'%Ls'",
    password_digest: "'%{sha256:password}'",
};

// Each variable is a value of its own, which 2.4.6 asks for (it binds them).
const V2_4: Names = Names {
    login: "'%{user | lower}'",
    session_mbox: "'%{user | username | lower}'",
    session_credential: "'%{user | domain | lower}'",
    protocol: "'%{protocol | lower}'",
    password_digest: "'%{password | sha256 | hexlify}'",
};

/// Dovecot's five queries.
pub(super) struct Dovecot {
    pub app: String,
    pub login: String,
    pub gate: String,
    pub user: String,
    pub iterate: String,
}

impl Dovecot {
    pub fn new(version: DovecotVersion, mail_root: &Path) -> Self {
        let Names { login, session_mbox, session_credential, protocol, password_digest } = match version {
            DovecotVersion::V2_3 => V2_3,
            DovecotVersion::V2_4 => V2_4,
        };
        let home = format!("'{}/' || mbox", mail_root.display().to_string().replace('\'', "''"));
        Self {
            app: format!(
                "SELECT session AS \"user\", mbox AS mw_mbox, NULL AS password, 'Y' AS nopassword \
                 FROM mp_app WHERE login = {login} AND digest = {password_digest} AND protocol = {protocol}"
            ),
            login: format!(
                "SELECT session AS \"user\", mbox AS mw_mbox, pw AS password FROM mp_login WHERE login = {login}"
            ),
            gate: format!(
                "SELECT NULL AS password, 'Y' AS nopassword, reason \
                 FROM mp_gate WHERE mbox = '%{{passdb:mw_mbox}}' AND protocol IN ({protocol}, '*')"
            ),
            // The first half is for deliveries and for doveadm; the second for sessions, which keep their
            // name (a plain mailbox key here would make them deaf to being ended) and are asked once more
            // whether the gate is open.
            user: format!(
                "SELECT mbox AS \"user\", {home} AS home FROM mp_user WHERE name = {login} \
                 UNION ALL SELECT mbox || '@' || cred, {home} FROM mp_session s \
                 WHERE s.mbox = {session_mbox} AND s.cred = {session_credential} \
                 AND NOT EXISTS (SELECT 1 FROM mp_gate g WHERE g.mbox = {session_mbox} \
                 AND g.protocol IN ({protocol}, '*'))"
            ),
            iterate: "SELECT DISTINCT mbox AS \"user\" FROM mp_user".to_owned(),
        }
    }
}

/// Postfix's tables: file name, what for, query. `%u@%d` instead of `%s` keeps Postfix from asking for
/// bare domains and local parts.
pub(super) const POSTFIX: [(&str, &str, &str); 5] = [
    (
        "mailward-domain.cf",
        "The domains that receive mail here.",
        "SELECT 'OK' FROM mp_domain WHERE name = '%s'",
    ),
    (
        "mailward-mailbox.cf",
        "The addresses that receive mail.",
        "SELECT mbox FROM mp_mailbox WHERE address = '%u@%d'",
    ),
    (
        "mailward-rcpt.cf",
        "Addresses that are blocked or retired, with what the sender is told.",
        "SELECT action FROM mp_rcpt WHERE address = '%u@%d'",
    ),
    (
        "mailward-sender.cf",
        "Which sessions may send as an address.",
        "SELECT login FROM mp_sender WHERE address = '%u@%d'",
    ),
    (
        "mailward-sasl.cf",
        "Whether the credential of a session lives, and may send. Always answers, so that an account that is gone is refused, too.",
        "SELECT COALESCE((SELECT action FROM mp_sasl WHERE mbox = '%u' AND cred = '%d'), '421 4.7.0 Credentials changed, log in again')",
    ),
];

/// Answers for the host's name, unless it is a domain that receives mail here.
pub(super) fn own_mail(hostname: &str) -> String {
    let hostname = hostname.to_ascii_lowercase().replace('\'', "''").replace('%', "%%");
    format!(
        "SELECT 'OK' WHERE '%s' = '{hostname}' AND NOT EXISTS (SELECT 1 FROM mp_domain WHERE name = '%s')"
    )
}

/// The SQL that makes the roles `mw_dovecot` and `mw_postfix`, to be run in Mailward's database by somebody
/// who may make roles, after Mailward has made its tables; again whenever the contract's version rises.
/// Each role sees the views of its own server and nothing else (docs/contract.md).
pub fn roles(dovecot_password: &SecretString, postfix_password: &SecretString) -> String {
    let mut sql = "-- The mail servers' roles. Written by Mailward; contract version 1 (docs/contract.md).\n"
        .to_owned();
    for (role, schema, password, views) in [
        (
            "mw_dovecot",
            "mail_auth",
            dovecot_password,
            "contract, mp_login, mp_app, mp_gate, mp_user, mp_session",
        ),
        (
            "mw_postfix",
            "mail_maps",
            postfix_password,
            "contract, mp_domain, mp_mailbox, mp_rcpt, mp_sender, mp_sasl",
        ),
    ] {
        let password = password.expose_secret().replace('\'', "''");
        let views: Vec<_> = views.split(", ").map(|view| format!("{schema}.{view}")).collect();
        let views = views.join(", ");
        sql.push_str(&format!(
            "DO $$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role}; END IF;\n\
             END $$;\n\
             ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{password}';\n\
             ALTER ROLE {role} SET search_path = {schema};\n\
             ALTER ROLE {role} SET default_transaction_read_only = on;\n\
             GRANT USAGE ON SCHEMA {schema} TO {role};\n\
             GRANT SELECT ON {views} TO {role};\n"
        ));
    }
    sql
}

/// Refuses session names that the table of credentials would not be asked for.
pub(super) const SESSION_NAMES: &str = "# A login name that is no session name of Mailward (someone changed Dovecot's queries).\n\
     !/^[^@]+@[ga][0-9]+$/ 550 5.7.1 This login has no session name\n";
