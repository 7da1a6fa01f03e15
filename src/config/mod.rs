//! `mailward.toml`: typed sections with defaults; unknown keys are refused. `load` reads the file
//! and the environment, `check` refuses values that cannot be meant.

mod check;
mod load;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Millis, SECOND};
use crate::domain::password::Cost;
use crate::error::{Error, Result};
pub use load::{EVERYWHERE, HERE, Loaded, find, load, load_named, load_sections, of_text, variables};

/// Everything that can be set. `mailward.example.toml` says each option with its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub keys: Keys,
    pub compat: Compat,
    pub oauth: OAuth,
    pub passwords: Passwords,
    pub throttle: Throttle,
    pub console: Console,
    pub audit: Audit,
    pub addresses: Addresses,
    pub mail: Mail,
    pub mail_agent: MailAgent,
    pub metrics: Metrics,
    pub log: Log,
}

/// Where and how the service listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// The address that people and links use, as `https://desk.example.org`; from `listen` when empty.
    pub public_url: String,
    #[serde(with = "optional_path")]
    pub tls_cert: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP also outside loopback (behind a proxy that speaks TLS).
    pub insecure_http: bool,
    /// Networks whose `X-Forwarded-For` is believed, as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Seconds that requests in flight get when the service is asked to stop.
    pub shutdown_seconds: u64,
    /// Requests that are under way at once; one more is sent away.
    pub most_at_once: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            public_url: String::new(),
            tls_cert: None,
            tls_key: None,
            insecure_http: false,
            trusted_proxies: Vec::new(),
            shutdown_seconds: 30,
            most_at_once: 512,
        }
    }
}

/// Which database, and how it is reached.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://user@host,host/name?target_session_attrs=read-write`.
    pub url: String,
    /// A file with the PostgreSQL password, so that it does not stand in the URL.
    #[serde(with = "optional_path")]
    pub password_file: Option<PathBuf>,
    /// Connections to PostgreSQL at most.
    pub pool_size: usize,
    /// Seconds to wait for a new connection.
    pub connect_seconds: u64,
    /// Seconds to wait for a free connection before the answer is 503.
    pub wait_seconds: u64,
    /// Certificates that PostgreSQL's own must descend from; the system's public ones when empty.
    #[serde(with = "optional_path")]
    pub tls_root_cert: Option<PathBuf>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite:/var/lib/mailward/mailward.sqlite".to_owned(),
            password_file: None,
            pool_size: 16,
            connect_seconds: 5,
            wait_seconds: 5,
            tls_root_cert: None,
        }
    }
}

/// The kind of database alone: a URL may hold a password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.url.split_once(':').map_or("", |(kind, _)| kind);
        f.debug_struct("Database").field("kind", &kind).finish_non_exhaustive()
    }
}

/// The server's keys (`app/keys.rs`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The file; beside an embedded database when empty, and else in `/var/lib/mailward`.
    #[serde(with = "optional_path")]
    pub file: Option<PathBuf>,
}

/// How closely the service follows the original where it is stricter than it need be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// Refuse unknown keys of bodies and of the queries of lists and deletions, and demand `zuid` in every
    /// administrator's body, as the original does.
    pub strict: bool,
}

/// How long a browser stays signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    /// Minutes without a request after which a session ends.
    pub idle_minutes: i64,
    /// Hours after which a session ends in any case.
    pub session_hours: i64,
}

impl Default for Console {
    fn default() -> Self {
        Self { idle_minutes: 60, session_hours: 12 }
    }
}

/// Lifetimes and limits of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth {
    pub access_token_seconds: i64,
    /// Life of a code from the browser flow; self-client codes say their own.
    pub code_seconds: i64,
    /// Living access tokens per refresh token; one more evicts the oldest.
    pub access_tokens_per_refresh_token: i64,
    /// Refresh tokens per user and client; one more evicts the oldest with its access tokens.
    pub refresh_tokens_per_user: i64,
    /// Access tokens made from one refresh token in ten minutes.
    pub mints_per_refresh_token: i64,
    /// Grant codes per client in ten minutes.
    pub codes_per_client: i64,
    /// What the token answer says as `api_domain`; the public URL when empty.
    pub api_domain: String,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            access_token_seconds: 3600,
            code_seconds: 120,
            access_tokens_per_refresh_token: 15,
            refresh_tokens_per_user: 20,
            mints_per_refresh_token: 10,
            codes_per_client: 10,
            api_domain: String::new(),
        }
    }
}

/// What hashing a password costs (Argon2id).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Passwords {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
    /// Hashing threads; as many as cores when 0.
    pub threads: usize,
    /// Passwords that may wait for a thread; beyond that the answer is 503.
    pub queue: usize,
}

impl Passwords {
    pub fn cost(&self) -> Cost {
        Cost { memory_kib: self.memory_kib, passes: self.passes, lanes: self.lanes }
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let Cost { memory_kib, passes, lanes } = Cost::default();
        Self { memory_kib, passes, lanes, threads: 0, queue: 128 }
    }
}

/// Limits on guessing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Wrong tries on one account in a window; afterwards even the right password is refused.
    pub wrong_per_account: i64,
    /// Wrong tries from one source address (a /64 for IPv6) in a window.
    pub wrong_per_source: i64,
    pub window_seconds: i64,
    /// Failed requests at the token endpoint from one source address in a window.
    pub token_failures_per_source: i64,
}

impl Throttle {
    /// For how long tries are counted together.
    pub fn window(&self) -> Millis {
        self.window_seconds.saturating_mul(SECOND)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            wrong_per_account: 10,
            wrong_per_source: 100,
            window_seconds: 900,
            token_failures_per_source: 100,
        }
    }
}

/// The audit log as evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// A file to which the service appends signed heads, each minute in which they moved.
    #[serde(with = "optional_path")]
    pub heads_file: Option<PathBuf>,
}

/// How addresses are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Addresses {
    /// Separates the mailbox from a detail: mail to `user+tag` reaches `user`.
    pub recipient_delimiter: char,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { recipient_delimiter: '+' }
    }
}

/// What Mailward keeps for the mail servers of this machine, and how it reaches people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// Folder of Dovecot's look-up file; with an embedded database only. None is kept when empty.
    #[serde(with = "optional_path")]
    pub auth_dir: Option<PathBuf>,
    /// Folder of Postfix's look-up file.
    #[serde(with = "optional_path")]
    pub maps_dir: Option<PathBuf>,
    /// Group that reads `auth_dir`; Dovecot and Mailward are in it.
    pub auth_group: String,
    /// Group that reads `maps_dir`; Postfix and Mailward are in it.
    pub maps_group: String,
    /// Folder under which Dovecot keeps a folder for each mailbox.
    pub mail_root: PathBuf,
    /// User and group that own the mail.
    pub mail_user: String,
    /// The number of that user and group.
    pub mail_uid: u32,
    /// IMAP sessions that Dovecot serves at a time, and POP3 sessions besides; each is two processes.
    pub most_sessions: u32,
    /// The mail host's name in SMTP, as `mx.example.org`; this machine's name when empty.
    pub hostname: String,
    /// Who answers for mail problems; `postmaster` at the host's name when empty.
    pub postmaster: String,
    /// Certificate chain of the mail servers, PEM.
    #[serde(with = "optional_path")]
    pub tls_cert: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub tls_key: Option<PathBuf>,
    /// Where Dovecot's doveadm listens for Mailward.
    pub doveadm_listen: SocketAddr,
    /// The key of that door; made when missing.
    pub doveadm_key_file: PathBuf,
    /// Where Dovecot asks before logins and tells of them (limits on guessing); on this machine.
    pub logins_listen: SocketAddr,
    /// The key of that door; made with Dovecot's files. There is no such door without it.
    pub logins_key_file: PathBuf,
    /// With PostgreSQL: the password of the role `mw_dovecot`.
    #[serde(with = "optional_path")]
    pub dovecot_password_file: Option<PathBuf>,
    /// With PostgreSQL: the password of the role `mw_postfix`.
    #[serde(with = "optional_path")]
    pub postfix_password_file: Option<PathBuf>,
    /// Days for which the mail of a deleted user is to be kept.
    pub retention_days: i64,
    /// SMTP server on this machine that takes notices to people, as `127.0.0.1:25`; none are sent when empty.
    pub notices_smtp: String,
    /// Sender of notices; `postmaster` at the person's own domain when empty.
    pub notices_from: String,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            auth_dir: None,
            maps_dir: None,
            auth_group: "mwauth".to_owned(),
            maps_group: "mwmaps".to_owned(),
            mail_root: PathBuf::from("/var/vmail"),
            mail_user: "vmail".to_owned(),
            mail_uid: 5000,
            most_sessions: 4000,
            hostname: String::new(),
            postmaster: String::new(),
            tls_cert: None,
            tls_key: None,
            doveadm_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            doveadm_key_file: PathBuf::from("/etc/mailward/doveadm.key"),
            logins_listen: SocketAddr::from(([127, 0, 0, 1], 7081)),
            logins_key_file: PathBuf::from("/etc/mailward/logins.key"),
            dovecot_password_file: None,
            postfix_password_file: None,
            retention_days: 30,
            notices_smtp: String::new(),
            notices_from: String::new(),
        }
    }
}

/// On a mail host without a database: who keeps its look-up files (`mailward mail-agent run`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailAgent {
    /// The name under which the nodes know this host.
    pub name: String,
    /// The nodes, as `https://desk.example.org`; plain HTTP on loopback alone.
    pub nodes: Vec<String>,
    /// The key that `mailward mail-agent add` printed, in the first line.
    pub key_file: PathBuf,
    /// The authority that signed the nodes' certificates, PEM; the public ones when empty.
    #[serde(with = "optional_path")]
    pub ca_file: Option<PathBuf>,
    /// The SHA-256 of the nodes' certificate in its place, where they have one together.
    pub certificate_sha256: String,
    /// The door of this host's doveadm.
    pub doveadm_url: String,
    /// The key of that door.
    pub doveadm_key_file: PathBuf,
}

impl Default for MailAgent {
    fn default() -> Self {
        Self {
            name: String::new(),
            nodes: Vec::new(),
            key_file: PathBuf::from("/etc/mailward/mail-agent.key"),
            ca_file: None,
            certificate_sha256: String::new(),
            doveadm_url: "http://127.0.0.1:8080".to_owned(),
            doveadm_key_file: PathBuf::from("/etc/mailward/doveadm.key"),
        }
    }
}

/// What Prometheus is told, at a door of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `GET /metrics` is answered, as `127.0.0.1:9464`; nowhere when empty.
    pub listen: String,
    /// Answer also outside loopback, without asking who it is.
    pub outside: bool,
}

impl Metrics {
    /// Where they are answered, if anywhere.
    ///
    /// # Errors
    /// `BadValue` for what is no address with a port.
    pub fn address(&self) -> Result<Option<SocketAddr>> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address = self.listen.parse();
        address
            .map(Some)
            .map_err(|_| Error::bad_value("metrics.listen", "an address and a port, as 127.0.0.1:9464"))
    }
}

/// Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or directives as `mailward=debug,info`.
    pub level: String,
    /// One JSON object per line in place of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

/// A path that may be left empty: so every option has a value, and an empty variable unsets one.
mod optional_path {
    use super::{Deserialize, Deserializer, Path, PathBuf, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().unwrap_or(Path::new("")).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(from)?;
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}

impl Database {
    /// The file of an embedded database; `None` for PostgreSQL.
    pub fn sqlite_path(&self) -> Option<&Path> {
        let path = self.url.strip_prefix("sqlite:")?;
        Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
    }

    /// Whether there is a password in the URL, before the hosts or as a parameter.
    pub fn url_has_password(&self) -> bool {
        let (authority, rest) = self.url_parts();
        let inside = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        inside || rest.split(['?', '&']).any(|parameter| parameter.starts_with("password="))
    }

    /// The URL as others on the machine and in scripts may see it.
    pub fn url_without_password(&self) -> String {
        let Some((scheme, _)) = self.url.split_once("://") else { return self.url.clone() };
        let (authority, rest) = self.url_parts();
        let authority = match authority.rsplit_once('@') {
            Some((user, hosts)) => format!("{}@{hosts}", user.split(':').next().unwrap_or_default()),
            None => authority.to_owned(),
        };
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let kept: Vec<&str> =
            parameters.split('&').filter(|one| !one.is_empty() && !one.starts_with("password=")).collect();
        let parameters = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
        format!("{scheme}://{authority}{path}{parameters}")
    }

    /// What stands before the path, with the user and the hosts, and what follows. Such a URL may name several
    /// hosts, which no URL library reads.
    fn url_parts(&self) -> (&str, &str) {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
    }
}

impl Config {
    /// The address that people and links use, without a slash at the end.
    pub fn public_url(&self) -> String {
        if self.server.public_url.is_empty() {
            let scheme = if self.server.tls_cert.is_some() { "https" } else { "http" };
            format!("{scheme}://{}", self.server.listen)
        } else {
            self.server.public_url.trim_end_matches('/').to_owned()
        }
    }

    /// Whether this is a mail host whose look-up files an agent keeps; there is no database then.
    pub fn has_agent(&self) -> bool {
        !self.mail_agent.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_found_and_not_shown() {
        let database = |url: &str| Database { url: url.to_owned(), ..Database::default() };
        for (url, shown) in [
            ("postgres://mail:s3cret@a,b:5433/desk", "postgres://mail@a,b:5433/desk"),
            (
                "postgres://mail@a/desk?password=s3cret&sslmode=require",
                "postgres://mail@a/desk?sslmode=require",
            ),
            ("postgresql://a/desk?password=s3cret", "postgresql://a/desk"),
            ("postgres://mail:s3cret@a?x=/@", "postgres://mail@a?x=/@"),
        ] {
            assert!(database(url).url_has_password(), "{url}");
            assert_eq!(database(url).url_without_password(), shown);
        }
        for plain in
            ["postgres://localhost:5432/desk", "postgres://mail@a:5433,b:5432/desk", "sqlite:a:b@c.db"]
        {
            assert!(!database(plain).url_has_password(), "a port is no password: {plain}");
            assert_eq!(database(plain).url_without_password(), plain);
        }
    }
}
