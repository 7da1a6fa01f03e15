//! `mailward mail-server config`: complete files for Postfix and Dovecot, and what root does once.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::app::open::read_private;
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::config::{Config as Options, EVERYWHERE, Mail};
use crate::error::{Error, Result};
use crate::mailserver::config::{
    self, ConfigFile, Contract, DoveadmDoor, DovecotVersion, Place, Settings, Tls,
};

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
    pub fn run(self, desk: &Desk) -> Result<()> {
        let (options, file) = desk.read_config()?;
        options.check()?;
        let user = self.service_user.clone().unwrap_or_else(|| service_user(&options));
        let (files, commands) = match self.server {
            Which::Roles => self.roles(&options)?,
            Which::Postfix | Which::Dovecot => {
                let settings = settings(&options, self.secrets(&options, &user)?)?;
                let mut files = match self.server {
                    Which::Dovecot => config::dovecot(&settings, self.version(desk)?),
                    Which::Postfix | Which::Roles => config::postfix(&settings),
                };
                // PostgreSQL itself is asked; there is nothing to bring up to date.
                if matches!(settings.contract, Contract::Sqlite { .. }) {
                    files.extend(self.drop_ins(file.as_deref(), &user)?);
                }
                (files, self.commands(&settings, &options.mail, &user))
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
    fn secrets(&self, options: &Options, user: &str) -> Result<Secrets> {
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
                make_key(&mail.doveadm_key_file, user)?;
                let option = "mail.doveadm_key_file";
                safe(option, &read_private(option, &mail.doveadm_key_file)?)?
            }
        };
        Ok(Secrets { key, password })
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
        let name = match self.server {
            Which::Postfix | Which::Roles => "postfix",
            Which::Dovecot => "dovecot",
        };
        let all = config::systemd(&format!("{}{config} projection catch-up", program.display()), user);
        Ok(all.into_iter().filter(|one| one.path.to_string_lossy().contains(name)).collect())
    }

    fn commands(&self, settings: &Settings, mail: &Mail, user: &str) -> String {
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
            Which::Dovecot => {
                let scheme = if mail.doveadm_listen.ip().is_loopback() { "http" } else { "https" };
                let trust = if scheme == "https" { " --ca-file CA.pem" } else { "" };
                text.push_str(&format!(
                    "doveconf -n >/dev/null\nsystemctl restart dovecot\n\
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

/// The user that the database belongs to runs Mailward.
fn service_user(options: &Options) -> String {
    let owner =
        options.database.sqlite_path().and_then(|path| fs::metadata(path).ok()).map(|meta| meta.uid());
    let named = owner.filter(|uid| *uid != 0).and_then(|uid| {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    named.unwrap_or_else(|| "mailward".to_owned())
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
        policy_server: None,
        place: Place::Host(Tls { certificate, key }),
    })
}

fn contract(options: &Options, password: Option<SecretString>) -> Result<Contract> {
    let mail = &options.mail;
    if options.database.sqlite_path().is_none() {
        let (host, port, database) = postgres_place(&options.database.url)?;
        let password = password.unwrap_or_default();
        let (dovecot_password, postfix_password) = (password.clone(), password);
        return Ok(Contract::Postgres { host, port, database, dovecot_password, postfix_password });
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

/// Host, port and database of the URL; the first of several hosts.
fn postgres_place(url: &str) -> Result<(String, u16, String)> {
    let bad = |why: &str| Error::bad_value("database.url", format!("{why}, which the mail servers need"));
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let parameter = |name: &str| {
        let mut all = url::form_urlencoded::parse(query.as_bytes());
        all.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let first = hosts.split(',').next().unwrap_or_default();
    let (host, port) = match first.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.to_owned())),
        Some(_) | None => (first, None),
    };
    let host = url::form_urlencoded::parse(host.replace('+', "%2B").as_bytes())
        .next()
        .map(|(host, _)| host.into_owned())
        .filter(|host| !host.is_empty());
    let host = host.or_else(|| parameter("host")).ok_or_else(|| bad("it names no host"))?;
    let port = port.or_else(|| parameter("port")).unwrap_or_else(|| "5432".to_owned());
    let port = port.parse().map_err(|_| bad("it names no good port"))?;
    let database = if path.is_empty() { parameter("dbname") } else { Some(path.to_owned()) };
    Ok((host, port, database.ok_or_else(|| bad("it names no database"))?))
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Makes the key where there is none, for Mailward's user alone.
fn make_key(file: &Path, user: &str) -> Result<()> {
    let failed = |cause: std::io::Error| {
        Error::bad_value("mail.doveadm_key_file", format!("cannot make {}: {cause}", file.display()))
    };
    if file.exists() {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let key = hex::encode([Random::System.salt(), Random::System.salt()].concat());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(failed)?;
    writeln!(made, "{key}").map_err(failed)?;
    if rustix::process::geteuid().is_root()
        && let Some((uid, gid)) = ids_of(user)
    {
        chown(file, Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok(())
}

fn ids_of(user: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })
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
    if before.is_some_and(|text| !unchanged && !text.contains("Mailward")) {
        let place = beside("before-mailward");
        if !place.exists() {
            fs::copy(&path, &place).map_err(failed)?;
            kept = Some(place);
        }
    }
    let draft = beside("mailward-new");
    let _of_a_run_that_failed = fs::remove_file(&draft);
    let write = || {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        out.write_all(file.text.as_bytes())?;
        out.sync_all()
    };
    write().map_err(failed)?;
    let given = file.group.is_none_or(|group| {
        group_number(group).is_some_and(|number| chown(&draft, None, Some(number)).is_ok())
    });
    fs::set_permissions(&draft, Permissions::from_mode(file.mode))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(failed)?;
    Ok(Written { path, mode: file.mode, group_missing: file.group.filter(|_| !given), unchanged, kept })
}

fn group_number(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found_in_every_form_of_its_url() {
        for (url, expected) in [
            ("postgres://mailward@db.internal/desk", ("db.internal", 5432, "desk")),
            ("postgresql://m:p@a:6000,b:7000/desk?sslmode=require", ("a", 6000, "desk")),
            ("postgres://m@%2Fvar%2Frun%2Fpostgresql/desk", ("/var/run/postgresql", 5432, "desk")),
            ("postgres:///desk?host=/run/pg&port=5433", ("/run/pg", 5433, "desk")),
        ] {
            let (host, port, database) = postgres_place(url).expect(url);
            assert_eq!((host.as_str(), port, database.as_str()), expected, "{url}");
        }
        postgres_place("postgres:///desk").expect_err("no host");
        postgres_place("postgres://db.internal").expect_err("no database");
    }

    #[test]
    fn a_secret_that_would_end_its_line_is_refused() {
        for bad in ["two words", "a\"b", "x$y", "a#b", "{x"] {
            safe("option", bad).expect_err(bad);
        }
        safe("option", "aB9-_.!,:/+=").expect("plain");
    }
}
