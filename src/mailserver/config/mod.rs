//! Complete, commented configuration files for Postfix and Dovecot, and the units that start them.
//! Start at [`Settings`]; the texts are in `templates/`, the queries in `queries.rs`.

mod dovecot;
mod postfix;
mod queries;
mod systemd;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

pub use dovecot::dovecot;
pub use postfix::postfix;
pub use queries::roles;
pub use systemd::{after_agent, systemd};

/// What the files are made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this host in SMTP, such as `mx.example.test`.
    pub hostname: String,
    /// Who answers for mail problems, such as `postmaster@example.test`.
    pub postmaster: String,
    /// Separates a mailbox from a detail (`user+tag`).
    pub recipient_delimiter: char,
    /// IMAP sessions that are served at a time, and POP3 sessions besides.
    pub most_sessions: u32,
    pub contract: Contract,
    /// Every mailbox is a directory below, named by its key. Owned by `vmail_user`.
    pub mail_root: PathBuf,
    pub vmail_user: String,
    pub vmail_uid: u32,
    /// The door through which Mailward ends sessions; `None` leaves it out.
    pub doveadm: Option<DoveadmDoor>,
    /// Lets Mailward slow down guessing at Dovecot's logins; `None` leaves it out.
    pub policy_server: Option<PolicyServer>,
    pub place: Environment,
}

/// Where the servers read accounts.
#[derive(Debug, Clone)]
pub enum Contract {
    /// The two projection files on this machine, readable by one group each.
    Sqlite { auth_file: PathBuf, auth_group: String, maps_file: PathBuf, maps_group: String },
    /// The same views in Mailward's database, through roles that see nothing else.
    Postgres {
        /// Host name, address or directory of the socket.
        host: String,
        port: u16,
        database: String,
        /// Of the role `mw_dovecot`.
        dovecot_password: SecretString,
        /// Of the role `mw_postfix`.
        postfix_password: SecretString,
        /// How the way to the database is protected; `None` leaves it to libpq, which takes TLS where it is offered.
        tls: Option<PostgresTls>,
    },
}

/// Demanded TLS to PostgreSQL, with a certificate that names it.
#[derive(Debug, Clone)]
pub enum PostgresTls {
    /// From an authority that everybody trusts.
    Public,
    /// From one of these authorities, PEM. Each server gets a file of its own with them, which it can read.
    Of(String),
}

/// Where Debian keeps the authorities that everybody trusts.
const PUBLIC_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const AUTHORITIES: &str = "mailward-database-ca.pem";

impl PostgresTls {
    /// The file that libpq reads, for a server whose files are in that folder.
    fn authorities_in(&self, conf: &Path) -> PathBuf {
        match self {
            Self::Public => PUBLIC_AUTHORITIES.into(),
            Self::Of(_) => conf.join(AUTHORITIES),
        }
    }
}

impl Contract {
    /// The authorities of the database's certificate, for a server whose files are in that folder.
    fn authorities(&self, conf: &Path) -> Option<ConfigFile> {
        match self {
            Self::Postgres { tls: Some(PostgresTls::Of(pem)), .. } => {
                let path = conf.join(AUTHORITIES);
                Some(ConfigFile { path, group: None, mode: 0o644, text: pem.clone() })
            }
            Self::Postgres { .. } | Self::Sqlite { .. } => None,
        }
    }
}

/// The HTTP listener of doveadm. Whoever has the key can read all mail.
#[derive(Debug, Clone)]
pub struct DoveadmDoor {
    pub address: IpAddr,
    pub port: u16,
    /// With the certificate of the IMAP server; needed everywhere but on loopback.
    pub tls: bool,
    pub key: SecretString,
}

/// Dovecot asks it before each password check, and goes on without it after a quarter of a second.
#[derive(Debug, Clone)]
pub struct PolicyServer {
    pub url: String,
    pub token: SecretString,
    /// Any random text; Dovecot does not start without one.
    pub nonce: SecretString,
}

/// Certificate chain and key, PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A real host, or a private pair of servers for tests.
#[derive(Debug, Clone)]
pub enum Environment {
    /// Debian's directories and the usual ports: 25, 465, 587, 993, 995; passwords only inside TLS;
    /// Dovecot's delay and penalty for failed logins stay on.
    Host(Tls),
    /// Loopback, high ports, passwords in clear, no delays. Never for real mail.
    Lab(Lab),
}

/// Everything of a private pair of servers lies below `dir`, whose path should be short (socket
/// names end at 107 bytes).
#[derive(Debug, Clone)]
pub struct Lab {
    pub dir: PathBuf,
    pub smtp: u16,
    pub submission: u16,
    pub imap: u16,
    pub pop3: u16,
    /// Adds STARTTLS, and TLS to doveadm's door if that asks for it.
    pub tls: Option<Tls>,
}

/// Which generation of Dovecot's configuration language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DovecotVersion {
    /// Debian 12; what the tests run.
    V2_3,
    /// Debian 13; from the documentation, untested.
    V2_4,
}

/// One file to be put in place by the administrator.
#[derive(Clone)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// The group that has to be able to read it; the owner is root.
    pub group: Option<&'static str>,
    pub mode: u32,
    pub text: String,
}

impl Settings {
    fn postfix_dir(&self) -> PathBuf {
        match &self.place {
            Environment::Host(_) => "/etc/postfix".into(),
            Environment::Lab(lab) => lab.dir.join("postfix"),
        }
    }

    fn dovecot_dir(&self) -> PathBuf {
        match &self.place {
            Environment::Host(_) => "/etc/dovecot".into(),
            Environment::Lab(lab) => lab.dir.join("dovecot"),
        }
    }

    fn queue_dir(&self) -> PathBuf {
        match &self.place {
            Environment::Host(_) => "/var/spool/postfix".into(),
            Environment::Lab(lab) => lab.dir.join("spool"),
        }
    }

    fn tls(&self) -> Option<&Tls> {
        match &self.place {
            Environment::Host(tls) => Some(tls),
            Environment::Lab(lab) => lab.tls.as_ref(),
        }
    }
}

/// The commands an administrator runs once before the servers start, for the SQLite contract
/// (PostgreSQL needs only the mail user). `service_user` runs Mailward.
pub fn setup_commands(settings: &Settings, service_user: &str) -> String {
    let vmail = &settings.vmail_user;
    let mut text = format!(
        "# Once, as root, before the servers start.\n\
         getent group {vmail} >/dev/null || groupadd --system --gid {uid} {vmail}\n\
         getent passwd {vmail} >/dev/null || useradd --system --uid {uid} --gid {vmail} --home-dir {root} \
         --no-create-home --shell /usr/sbin/nologin {vmail}\n\
         install -d -o {vmail} -g {vmail} -m 0700 {root}\n",
        uid = settings.vmail_uid,
        root = settings.mail_root.display(),
    );
    if let Contract::Sqlite { auth_file, auth_group, maps_file, maps_group } = &settings.contract {
        for (file, group, server) in [(auth_file, auth_group, "dovecot"), (maps_file, maps_group, "postfix")]
        {
            let dir = file.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
            text.push_str(&format!(
                "getent group {group} >/dev/null || groupadd --system {group}\n\
                 usermod -aG {group} {server}\n\
                 usermod -aG {group} {service_user}\n\
                 install -d -o {service_user} -g {group} -m 2770 {dir}\n"
            ));
        }
        text.push_str("# Groups reach a running server only by a restart.\n");
    }
    text
}

/// Puts values into a template. A placeholder is `@NAME@`; every one has to be given.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigFile")
            .field("path", &self.path)
            .field("group", &self.group)
            .field("mode", &format_args!("{:o}", self.mode))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
