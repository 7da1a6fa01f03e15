//! `mailward mail-server`: the mail servers that Mailward tells, and the files that they are set up with
//! (`config`).

mod config;

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::app::App;
use crate::app::mail::servers;
use crate::app::open::read_private;
use crate::cli::desk::Desk;
use crate::cli::exit;
use crate::cli::text::table;
use crate::clock::rfc3339;
use crate::error::{Error, Result};
use crate::mailserver::MailServer as Client;
use crate::mailserver::config::roles;
use crate::store;
use crate::store::mail_servers::MailServerRow;
use crate::store::outbox::Backlog;

/// Mail servers: write their configuration, make them known, check, remove
#[derive(Debug, clap::Subcommand)]
pub enum MailServer {
    Config(config::Config),
    /// With PostgreSQL: print the SQL that makes the roles mw_dovecot and mw_postfix
    ///
    /// Each may read the views of its own server and nothing else. Run it in Mailward's database as
    /// somebody who may make roles, after the tables are there, and again after a pg_restore. The
    /// passwords come from mail.dovecot_password_file and mail.postfix_password_file; mind where the
    /// output goes.
    #[command(after_help = "\
Examples:
  mailward mail-server roles | psql --dbname mailward")]
    Roles,
    /// Make a Dovecot known, so that Mailward ends sessions on it; asks it first
    ///
    /// Adding one of the same name replaces it. Plain http is for loopback; elsewhere use https with
    /// the server's certificate pinned, or the authority that signed it.
    #[command(after_help = "\
Examples:
  mailward mail-server add imap1 http://127.0.0.1:8080 \\
      --key-file /etc/mailward/doveadm.key
  mailward mail-server add imap2 https://imap2.example.org:8080 \\
      --key-file /etc/mailward/imap2.key --ca-file /etc/mailward/ca.pem")]
    Add {
        /// What you call it: letters, digits, '-', '.' and '_'
        name: String,
        /// Where its doveadm listens
        url: String,
        /// The file with the key in its first line, of mode 0600, readable by the service's user
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The SHA-256 of the server's certificate, in hex
        #[arg(long, value_name = "HEX", conflicts_with = "ca_file")]
        certificate_sha256: Option<String>,
        /// The certificate of the authority that signed the server's, in PEM
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// Do not ask it whether it takes the key
        #[arg(long)]
        unasked: bool,
    },
    /// List the mail servers
    #[command(after_help = "Examples:\n  mailward mail-server list")]
    List,
    /// Ask one or all: do they answer, how many sessions are open, what waits for them
    ///
    /// The exit code is 1 when one does not answer or refuses the key.
    #[command(
        after_help = "Examples:\n  mailward mail-server check\n  mailward mail-server check imap1 --json"
    )]
    Check {
        /// Which one [default: all]
        name: Option<String>,
    },
    /// Remove a mail server; what waits for it is ended with that remark
    #[command(after_help = "Examples:\n  mailward mail-server remove imap2")]
    Remove {
        /// Which one
        name: String,
    },
}

/// A role's password from its file.
fn password(option: &'static str, file: Option<&Path>) -> Result<SecretString> {
    let file = file.ok_or_else(|| Error::bad_value(option, "is not set; the role needs a password"))?;
    Ok(read_private(option, file)?.as_str().into())
}

impl MailServer {
    /// # Errors
    /// `BadValue`, `NotFound`; `Refused` by a server.
    pub async fn run(self, desk: &Desk) -> Result<u8> {
        match self {
            Self::Config(config) => config.run(desk)?,
            Self::Roles => {
                let mail = desk.config()?.mail;
                let dovecot = password("mail.dovecot_password_file", mail.dovecot_password_file.as_deref())?;
                let postfix = password("mail.postfix_password_file", mail.postfix_password_file.as_deref())?;
                let sql = roles(&dovecot, &postfix);
                desk.answer(|| sql.clone(), || json!({"sql": sql}))?;
            }
            Self::Add { name, url, key_file, certificate_sha256, ca_file, unasked } => {
                let app = desk.open().await?;
                let row = MailServerRow {
                    name,
                    url,
                    key_file: absolute(&key_file)?,
                    certificate_sha256,
                    ca_file: ca_file.as_deref().map(absolute).transpose()?,
                    created_at: app.clock.now(),
                };
                let dry_run = desk.global.dry_run;
                servers::add(&app, &desk.context(&app), row.clone(), unasked).await?;
                let said = match (dry_run, unasked) {
                    (false, true) => "added, unasked",
                    (false, false) => "added; it answers and takes the key",
                    (true, true) => "would be added, unasked (dry run)",
                    (true, false) => "would be added; it answers and takes the key (dry run)",
                };
                desk.answer(|| format!("{} {said}", row.name), || json_of(&row))?;
            }
            Self::List => {
                let app = desk.open().await?;
                let all = store::mail_servers::all(&mut *app.db.read().await?).await?;
                desk.answer(
                    || {
                        let rows: Vec<_> = all
                            .iter()
                            .map(|row| {
                                let trust = match (&row.certificate_sha256, &row.ca_file) {
                                    (Some(_), _) => "pinned certificate".to_owned(),
                                    (None, Some(file)) => file.clone(),
                                    (None, None) => String::new(),
                                };
                                [row.name.clone(), row.url.clone(), row.key_file.clone(), trust]
                            })
                            .collect();
                        table(["NAME", "URL", "KEY FILE", "TRUST"], &rows)
                    },
                    || all.iter().map(json_of).collect(),
                )?;
            }
            Self::Check { name } => return check(desk, name.as_deref()).await,
            Self::Remove { name } => {
                let app = desk.open().await?;
                let dry_run = desk.global.dry_run;
                servers::remove(&app, &desk.context(&app), &name).await?;
                let said = if dry_run { "would be removed (dry run)" } else { "removed" };
                desk.answer(|| format!("{name} {said}"), || json!({"name": name, "removed": !dry_run}))?;
            }
        }
        Ok(exit::DONE)
    }
}

/// From every folder the same file: the service runs in another one.
fn absolute(file: &std::path::Path) -> Result<String> {
    let path = std::path::absolute(file)
        .map_err(|cause| Error::bad_value("file", format!("{}: {cause}", file.display())))?;
    Ok(path.display().to_string())
}

struct Checked {
    name: String,
    url: String,
    /// How many sessions are open, or why that is not known.
    sessions: std::result::Result<usize, String>,
    backlog: Backlog,
}

async fn check(desk: &Desk, name: Option<&str>) -> Result<u8> {
    let app = desk.open().await?;
    let mut found = Vec::new();
    for (row, server) in servers::all(&app).await? {
        if name.is_none_or(|name| name == row.name) {
            found.push(checked(&app, row, server).await?);
        }
    }
    if let (Some(name), true) = (name, found.is_empty()) {
        return Err(Error::NotFound(format!(
            "there is no mail server {name}; see `mailward mail-server list`"
        )));
    }
    desk.answer(
        || {
            if found.is_empty() {
                return "there is no mail server; `mailward mail-server add` makes one known".to_owned();
            }
            found.iter().map(line).collect()
        },
        || found.iter().map(checked_json).collect(),
    )?;
    Ok(if found.iter().any(|one| one.sessions.is_err()) { exit::FAILURE } else { exit::DONE })
}

async fn checked(app: &App, row: MailServerRow, server: Result<Client>) -> Result<Checked> {
    let backlog = store::outbox::backlog_of(&mut *app.db.read().await?, &row.name).await?;
    let sessions = match server {
        Ok(server) => {
            let answer = async {
                server.check().await?;
                server.who().await
            };
            answer.await.map(|open| open.len()).map_err(|why| why.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(Checked { name: row.name, url: row.url, sessions, backlog })
}

fn line(one: &Checked) -> String {
    let state = match &one.sessions {
        Ok(count) => format!("answers and takes the key; {count} sessions are open"),
        Err(why) => format!("WRONG: {why}"),
    };
    let waiting = match one.backlog.oldest {
        None => "nothing waits for it".to_owned(),
        Some(oldest) => {
            format!("{} effects wait for it, the oldest since {}", one.backlog.waiting, rfc3339(oldest))
        }
    };
    format!("{} ({}): {state}; {waiting}\n", one.name, one.url)
}

fn checked_json(one: &Checked) -> Value {
    json!({
        "name": one.name,
        "url": one.url,
        "answers": one.sessions.is_ok(),
        "sessions": one.sessions.as_ref().ok(),
        "why": one.sessions.as_ref().err(),
        "waiting": one.backlog.waiting,
        "oldest": one.backlog.oldest,
    })
}

fn json_of(row: &MailServerRow) -> Value {
    json!({
        "name": row.name,
        "url": row.url,
        "keyFile": row.key_file,
        "certificateSha256": row.certificate_sha256,
        "caFile": row.ca_file,
        "createdAt": row.created_at,
    })
}
