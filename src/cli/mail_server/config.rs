//! `mailward mail-server config`: complete files for Postfix and Dovecot, and what root does once.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::app::open::read_private;
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::os_user;
use crate::config::{Config as Options, EVERYWHERE};
use crate::domain::secret::fingerprint;
use crate::error::{Error, Result};
use crate::machine::files;
use crate::machine::users::Users;
use crate::mailserver::config::{
    self, ConfigFile, Contract, DoveadmDoor, DovecotVersion, Environment, PolicyServer, PostgresTls,
    Settings, Tls,
};
use crate::store::engine::PostgresPlace;

/// Write the complete, commented files of Postfix or Dovecot, or the SQL of their roles
///
/// They are made from the section mail of the configuration, for the installed version. Without --directory
/// they are printed and nothing is changed; secrets are left out then. With it they are put in
/// place, and what is there already is kept beside as NAME.before-mailward. The commands that root
/// runs once are printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward mail-server config dovecot | less
  mailward mail-server config postfix --directory ./look
  mailward mail-server config dovecot --directory /
  mailward mail-server config roles --directory /")]
pub struct Config {
    /// Which one
    #[arg(value_enum)]
    server: Which,
    /// The root below which the files are put, with their whole path: / is this machine's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The generation of Dovecot's files [default: of the installed one; 2.4 is untested]
    #[arg(long, value_name = "VERSION")]
    dovecot_version: Option<String>,
    /// Where the mail servers reach PostgreSQL's primary [default: the first host of database.url]
    ///
    /// With several hosts: an address that follows the primary, since Dovecot 2.3 dies of a list whose
    /// first host does not answer. A mail host with an agent needs none.
    #[arg(long, value_name = "HOST")]
    database_host: Option<String>,
    /// The user that runs Mailward [default: the owner of the database's file, else mailward]
    #[arg(long, value_name = "USER")]
    service_user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Postfix,
    Dovecot,
    /// With PostgreSQL: the roles that see the mail servers' views and nothing else
    Roles,
}

impl Config {
    /// # Errors
    /// `BadValue` for what is not configured; files that cannot be written.
    pub fn run(mut self, desk: &Desk) -> Result<()> {
        if desk.global.dry_run {
            // Shown, as without a directory: no key is made, and none stands in the files.
            self.directory = None;
        }
        let (options, file) = desk.read_config()?;
        options.check()?;
        let user = self
            .service_user
            .clone()
            .unwrap_or_else(|| os_user::of_service(&options, &Users::read()).to_owned());
        let (files, commands) = match self.server {
            Which::Roles => self.roles(&options)?,
            Which::Postfix | Which::Dovecot => {
                let mut settings = settings(&options, self.secrets(&options, &user, desk)?)?;
                self.at_the_primary(&mut settings.contract, &options, desk)?;
                let mut files = match self.server {
                    Which::Dovecot => config::dovecot(&settings, self.version(desk)?),
                    Which::Postfix | Which::Roles => config::postfix(&settings),
                };
                // PostgreSQL itself is asked; there is nothing to bring up to date.
                if matches!(settings.contract, Contract::Sqlite { .. }) {
                    files.extend(match options.has_agent() {
                        true => self.only(config::after_agent()),
                        false => self.drop_ins(file.as_deref(), &user)?,
                    });
                }
                (files, self.commands(&settings, &options, &user))
            }
        };
        match &self.directory {
            None => desk.answer(
                || {
                    let texts: String = files.iter().map(headed).collect();
                    format!("{texts}{commands}")
                },
                || json!({"files": files.iter().map(shown).collect::<Vec<_>>(), "commands": commands}),
            ),
            Some(root) => {
                let mut written = Vec::with_capacity(files.len());
                for file in &files {
                    written.push(put(root, file)?);
                }
                desk.answer(
                    || {
                        let lines: String = written.iter().map(|one| format!("# {}\n", one.said())).collect();
                        format!("{lines}{commands}")
                    },
                    || json!({"files": written.iter().map(Written::json).collect::<Vec<_>>(), "commands": commands}),
                )
            }
        }
    }

    /// Puts in where the primary is reached, as it was said; where nothing was, says what was taken.
    fn at_the_primary(&self, contract: &mut Contract, options: &Options, desk: &Desk) -> Result<()> {
        let Contract::Postgres { host, .. } = contract else {
            return match self.database_host {
                Some(_) => {
                    Err(Error::bad_value("--database-host", "an embedded database is on no other host"))
                }
                None => Ok(()),
            };
        };
        let known = PostgresPlace::of(&options.database.url)?.hosts.len();
        match &self.database_host {
            Some(said) => {
                safe("--database-host", said)?;
                host.clone_from(said);
            }
            None if known > 1 => desk.note(&format!(
                "the mail servers are told of {host} alone, the first of {known} hosts: logins and mail wait while \
                 it is not the primary. Name an address that follows the primary with --database-host, or give \
                 the mail host an agent (docs/guide/mail-hosts.md)"
            )),
            None => {}
        }
        Ok(())
    }

    /// The SQL in a file for root alone, since both passwords are in it, and how to run it.
    fn roles(&self, options: &Options) -> Result<(Vec<ConfigFile>, String)> {
        if options.database.sqlite_path().is_some() {
            return Err(Error::bad_value("database.url", "an embedded database has no roles"));
        }
        let dovecot = self.password(ROLES[0].0, ROLES[0].1, &options.mail.dovecot_password_file)?;
        let postfix = self.password(ROLES[1].0, ROLES[1].1, &options.mail.postfix_password_file)?;
        let path = PathBuf::from("/etc/mailward/roles.sql");
        let commands = format!(
            "# Once, and after each rise of the contract's version, as somebody who may make roles:\n\
             psql --dbname 'THE DATABASE' --single-transaction --set ON_ERROR_STOP=1 --file {}\n",
            path.display()
        );
        let text = config::roles(&dovecot, &postfix);
        Ok((vec![ConfigFile { path, group: None, mode: 0o600, text }], commands))
    }

    /// Of a role in PostgreSQL; left out where files are only shown.
    fn password(&self, role: &str, option: &str, file: &Option<PathBuf>) -> Result<SecretString> {
        let file = file.as_ref().ok_or_else(|| {
            Error::bad_value(option, format!("name the file with the password of the role {role}"))
        })?;
        match self.directory {
            None => Ok(placeholder(&file.display().to_string())),
            Some(_) => safe(option, &read_private(option, file)?),
        }
    }

    fn version(&self, desk: &Desk) -> Result<DovecotVersion> {
        let said = match &self.dovecot_version {
            Some(said) => said.clone(),
            None => match Command::new("dovecot").arg("--version").output() {
                Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
                Ok(_) | Err(_) => {
                    desk.note("dovecot is not installed here; these files are for 2.3");
                    "2.3".to_owned()
                }
            },
        };
        if said == "2.3" || said.starts_with("2.3.") {
            return Ok(DovecotVersion::V2_3);
        }
        if said == "2.4" || said.starts_with("2.4.") {
            desk.note("the files for Dovecot 2.4 are untested: try them with `doveconf -n` and a login");
            return Ok(DovecotVersion::V2_4);
        }
        Err(Error::bad_value("--dovecot-version", format!("there are files for 2.3 and 2.4, not for {said}")))
    }

    /// Read or made only when they are written somewhere.
    fn secrets(&self, options: &Options, user: &str, desk: &Desk) -> Result<Secrets> {
        let mail = &options.mail;
        let embedded = options.database.sqlite_path().is_some();
        let password = match (embedded, self.server) {
            (true, _) => None,
            (false, Which::Dovecot) => {
                Some(self.password(ROLES[0].0, ROLES[0].1, &mail.dovecot_password_file)?)
            }
            (false, Which::Postfix | Which::Roles) => {
                Some(self.password(ROLES[1].0, ROLES[1].1, &mail.postfix_password_file)?)
            }
        };
        let key = match self.server {
            Which::Postfix | Which::Roles => placeholder("another file"),
            Which::Dovecot if self.directory.is_none() => {
                placeholder(&mail.doveadm_key_file.display().to_string())
            }
            Which::Dovecot => {
                let option = "mail.doveadm_key_file";
                make_key(option, &mail.doveadm_key_file, user, desk)?;
                safe(option, &read_private(option, &mail.doveadm_key_file)?)?
            }
        };
        let logins = match self.server {
            Which::Postfix | Which::Roles => None,
            // No node listens there.
            Which::Dovecot if options.has_agent() => None,
            Which::Dovecot if self.directory.is_none() => {
                Some(placeholder(&mail.logins_key_file.display().to_string()))
            }
            Which::Dovecot => {
                let option = "mail.logins_key_file";
                make_key(option, &mail.logins_key_file, user, desk)?;
                Some(safe(option, &read_private(option, &mail.logins_key_file)?)?)
            }
        };
        Ok(Secrets { key, logins, password })
    }

    fn drop_ins(&self, file: Option<&Path>, user: &str) -> Result<Vec<ConfigFile>> {
        let program =
            std::env::current_exe().map_err(|cause| Error::caused("finding this program", cause))?;
        let config = match file {
            Some(file) if file != Path::new(EVERYWHERE) => {
                let path =
                    std::path::absolute(file).map_err(|cause| Error::caused("finding the file", cause))?;
                format!(" --config {}", path.display())
            }
            Some(_) | None => String::new(),
        };
        Ok(self.only(config::systemd(&format!("{}{config} projection catch-up", program.display()), user)))
    }

    /// Those of the one server.
    fn only(&self, all: Vec<ConfigFile>) -> Vec<ConfigFile> {
        let name = match self.server {
            Which::Postfix | Which::Roles => "postfix",
            Which::Dovecot => "dovecot",
        };
        all.into_iter().filter(|one| one.path.to_string_lossy().contains(name)).collect()
    }

    fn commands(&self, settings: &Settings, options: &Options, user: &str) -> String {
        let mail = &options.mail;
        let mut text = String::new();
        let contract = match (self.server, &settings.contract) {
            (Which::Postfix | Which::Roles, Contract::Sqlite { .. }) => "postfix postfix-sqlite",
            (Which::Postfix | Which::Roles, Contract::Postgres { .. }) => "postfix postfix-pgsql",
            (Which::Dovecot, Contract::Sqlite { .. }) => {
                "dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sqlite"
            }
            (Which::Dovecot, Contract::Postgres { .. }) => {
                "dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-pgsql"
            }
        };
        text.push_str(&format!("# The packages: apt install {contract}\n"));
        text.push_str(&config::setup_commands(settings, user));
        text.push_str("systemctl daemon-reload\n");
        match self.server {
            Which::Postfix | Which::Roles => {
                text.push_str("newaliases\npostfix check\nsystemctl restart postfix\n")
            }
            Which::Dovecot if options.has_agent() => text.push_str(
                "systemctl enable --now mailward-mail-agent\ndoveconf -n >/dev/null\nsystemctl restart dovecot\n",
            ),
            Which::Dovecot => {
                let scheme = if mail.doveadm_listen.ip().is_loopback() { "http" } else { "https" };
                let trust = if scheme == "https" { " --ca-file CA.pem" } else { "" };
                text.push_str(&format!(
                    "systemctl restart mailward\ndoveconf -n >/dev/null\nsystemctl restart dovecot\n\
                     mailward mail-server add {} {scheme}://{} --key-file {}{trust}\n",
                    settings.hostname,
                    mail.doveadm_listen,
                    mail.doveadm_key_file.display()
                ));
            }
        }
        text
    }
}

/// The roles of Dovecot and Postfix, and the options that name their passwords.
const ROLES: [(&str, &str); 2] =
    [("mw_dovecot", "mail.dovecot_password_file"), ("mw_postfix", "mail.postfix_password_file")];

fn placeholder(file: &str) -> SecretString {
    SecretString::from(format!("(the first line of {file})"))
}

struct Secrets {
    key: SecretString,
    /// Of the door where Dovecot tells of logins.
    logins: Option<SecretString>,
    /// Of this server's role in PostgreSQL.
    password: Option<SecretString>,
}

/// Goes into a line of another program's file.
fn safe(option: &str, secret: &str) -> Result<SecretString> {
    if secret.chars().all(|c| c.is_ascii_graphic() && !"'\"\\$#{}%<".contains(c)) {
        return Ok(secret.into());
    }
    Err(Error::bad_value(option, "letters, digits and plain signs only: other programs read it from a line"))
}

fn settings(options: &Options, secrets: Secrets) -> Result<Settings> {
    let mail = &options.mail;
    let (Some(certificate), Some(key)) = (mail.tls_cert.clone(), mail.tls_key.clone()) else {
        return Err(Error::bad_value(
            "mail.tls_cert, tls_key",
            "name the mail servers' certificate and key: passwords travel inside TLS only",
        ));
    };
    let hostname = if mail.hostname.is_empty() { machine_name() } else { mail.hostname.clone() };
    if !hostname.contains('.') {
        return Err(Error::bad_value(
            "mail.hostname",
            format!(
                "this machine is called {hostname:?}; write the mail host's whole name, as mx.example.org"
            ),
        ));
    }
    let door = mail.doveadm_listen;
    Ok(Settings {
        postmaster: if mail.postmaster.is_empty() {
            format!("postmaster@{hostname}")
        } else {
            mail.postmaster.clone()
        },
        hostname,
        recipient_delimiter: options.addresses.recipient_delimiter,
        most_sessions: mail.most_sessions,
        contract: contract(options, secrets.password)?,
        mail_root: mail.mail_root.clone(),
        vmail_user: mail.mail_user.clone(),
        vmail_uid: mail.mail_uid,
        doveadm: Some(DoveadmDoor {
            address: door.ip(),
            port: door.port(),
            tls: !door.ip().is_loopback(),
            key: secrets.key,
        }),
        policy_server: secrets.logins.map(|token| PolicyServer {
            url: format!("http://{}/policy", mail.logins_listen),
            // Says nothing of the key; it only has to be nobody else's.
            nonce: hex::encode(&fingerprint(&format!("nonce of {}", token.expose_secret())).as_bytes()[..16])
                .into(),
            token,
        }),
        place: Environment::Host(Tls { certificate, key }),
    })
}

fn contract(options: &Options, password: Option<SecretString>) -> Result<Contract> {
    let mail = &options.mail;
    if options.database.sqlite_path().is_none() {
        let PostgresPlace { hosts, database, demands_tls } = PostgresPlace::of(&options.database.url)?;
        let database = database.ok_or_else(|| {
            Error::bad_value("database.url", "it names no database, which the mail servers need")
        })?;
        let (host, port) = hosts.into_iter().next().ok_or_else(|| {
            Error::bad_value("database.url", "it names no host, which the mail servers need")
        })?;
        let password = password.unwrap_or_default();
        let (dovecot_password, postfix_password) = (password.clone(), password);
        let tls = match &options.database.tls_root_cert {
            _ if host.starts_with('/') => None,
            Some(file) => Some(PostgresTls::Of(fs::read_to_string(file).map_err(|cause| {
                Error::bad_value("database.tls_root_cert", format!("cannot read {}: {cause}", file.display()))
            })?)),
            None => demands_tls.then_some(PostgresTls::Public),
        };
        return Ok(Contract::Postgres { host, port, database, dovecot_password, postfix_password, tls });
    }
    let (Some(auth), Some(maps)) = (&mail.auth_dir, &mail.maps_dir) else {
        return Err(Error::bad_value(
            "mail.auth_dir, maps_dir",
            "set the folders of the look-up files, as /var/lib/mailward-mail/auth and /var/lib/mailward-mail/maps",
        ));
    };
    Ok(Contract::Sqlite {
        auth_file: auth.join("auth.sqlite"),
        auth_group: mail.auth_group.clone(),
        maps_file: maps.join("maps.sqlite"),
        maps_group: mail.maps_group.clone(),
    })
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Makes the key where there is none, for Mailward's user alone.
fn make_key(option: &str, file: &Path, user: &str, desk: &Desk) -> Result<()> {
    let failed =
        |cause: std::io::Error| Error::bad_value(option, format!("cannot make {}: {cause}", file.display()));
    if file.exists() {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let key = hex::encode([Random::System.salt(), Random::System.salt()].concat());
    let mut made = files::new_private(file).map_err(failed)?;
    writeln!(made, "{key}").map_err(failed)?;
    if rustix::process::geteuid().is_root()
        && let Some((uid, gid)) = Users::read().ids_of(user)
    {
        chown(file, Some(uid), Some(gid)).map_err(failed)?;
    }
    desk.note(&format!("made a key: {}", file.display()));
    Ok(())
}

fn headed(file: &ConfigFile) -> String {
    let group = file.group.map(|group| format!(", group {group}")).unwrap_or_default();
    let rule = "# ".to_owned() + &"=".repeat(76);
    format!("{rule}\n# {} (mode {:04o}{group})\n{rule}\n{}\n", file.path.display(), file.mode, file.text)
}

fn shown(file: &ConfigFile) -> Value {
    json!({"path": file.path, "mode": format!("{:04o}", file.mode), "group": file.group, "text": file.text})
}

struct Written {
    path: PathBuf,
    mode: u32,
    /// The group that must read it, when it could not be given to it.
    group_missing: Option<&'static str>,
    unchanged: bool,
    kept: Option<PathBuf>,
}

impl Written {
    fn said(&self) -> String {
        let mut text =
            format!("{} {}", if self.unchanged { "unchanged" } else { "wrote" }, self.path.display());
        if let Some(kept) = &self.kept {
            text.push_str(&format!("; what was there is {}", kept.display()));
        }
        if let Some(group) = self.group_missing {
            text.push_str(&format!("; give it to its readers: chgrp {group} {}", self.path.display()));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "path": self.path,
            "mode": format!("{:04o}", self.mode),
            "unchanged": self.unchanged,
            "kept": self.kept,
            "groupMissing": self.group_missing,
        })
    }
}

/// Replaces the file in one step; a server that starts meanwhile reads the old one or the new one.
fn put(root: &Path, file: &ConfigFile) -> Result<Written> {
    let path = root.join(file.path.strip_prefix("/").unwrap_or(&file.path));
    let failed =
        |cause: std::io::Error| Error::bad_value("--directory", format!("{}: {cause}", path.display()));
    let beside = |end: &str| PathBuf::from(format!("{}.{end}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let before = fs::read_to_string(&path).ok();
    let unchanged = before.as_deref() == Some(file.text.as_str());
    let mut kept = None;
    // Ours as well: somebody may have added to it since.
    if before.is_some() && !unchanged {
        let places = (2..).map(|number| beside(&format!("before-mailward.{number}")));
        let mut places = std::iter::once(beside("before-mailward")).chain(places);
        if let Some(place) = places.find(|place| !place.exists()) {
            fs::copy(&path, &place).map_err(failed)?;
            kept = Some(place);
        }
    }
    let draft = beside("mailward-new");
    let _of_a_run_that_failed = fs::remove_file(&draft);
    let write = || {
        let mut out = files::new_private(&draft)?;
        out.write_all(file.text.as_bytes())?;
        out.sync_all()
    };
    write().map_err(failed)?;
    let given = file.group.is_none_or(|group| {
        Users::read().gid_of(group).is_some_and(|number| chown(&draft, None, Some(number)).is_ok())
    });
    fs::set_permissions(&draft, Permissions::from_mode(file.mode))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(failed)?;
    Ok(Written { path, mode: file.mode, group_missing: file.group.filter(|_| !given), unchanged, kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_would_end_its_line_is_refused() {
        for bad in ["two words", "a\"b", "x$y", "a#b", "{x"] {
            safe("option", bad).expect_err(bad);
        }
        safe("option", "aB9-_.!,:/+=").expect("plain");
    }
}
