//! `mailward mail-agent`: the agents of mail hosts, as the nodes know them; and the agent itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::mail::agents::{self, Agent, Known};
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::logging;
use crate::cli::text::table;
use crate::clock::{Clock, rfc3339};
use crate::domain::secret::Secret;
use crate::error::{Error, Result};
use crate::machine::files;
use crate::store::feed::Mark;

/// Agents on mail hosts without a database: make them known, see how far they are; run one
///
/// An agent keeps the look-up files of a mail host for the accounts of its domains, from any node, and ends sessions
/// there. Mail and logins go on while it, the node or the network is away.
#[derive(Debug, clap::Subcommand)]
pub enum MailAgent {
    /// Make an agent known; its key is printed this once
    ///
    /// Put the key into a file of mode 0600 on the mail host (mail_agent.key_file there). The database keeps only
    /// its fingerprint.
    #[command(after_help = "\
Examples:
  mailward mail-agent add imap1 --domain example.org --domain example.com
  mailward mail-agent add imap2 --domain '*' --key-file ./imap2.key")]
    Add {
        /// What you call the host: letters, digits, '-', '.' and '_'
        name: String,
        /// A domain whose accounts the host has, or * for every one
        #[arg(long = "domain", value_name = "DOMAIN", required = true)]
        domains: Vec<String>,
        /// Write the key to this new file, of mode 0600, and do not print it
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// List the agents: for which domains, how far behind, when last heard of, by which node
    #[command(after_help = "Examples:\n  mailward mail-agent list\n  mailward mail-agent list --json")]
    List,
    /// Remove an agent; its connection ends, and what waits for it is ended with that remark
    ///
    /// The files on its host stay as they are.
    #[command(after_help = "Examples:\n  mailward mail-agent remove imap2")]
    Remove {
        /// Which one
        name: String,
    },
    /// Give an agent a new key; the old one, and the connection it opened, end at once
    #[command(after_help = "Examples:\n  mailward mail-agent rotate-key imap1 --key-file ./imap1.key")]
    RotateKey {
        /// Which one
        name: String,
        /// Write the key to this new file, of mode 0600, and do not print it
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Run the agent of this mail host until SIGTERM or SIGINT
    ///
    /// It opens a connection to one of mail_agent.nodes and listens to nothing itself; no database is opened. Logs go to
    /// standard error.
    #[command(after_help = "Examples:\n  mailward mail-agent run --config /etc/mailward/mailward.toml")]
    Run,
}

impl MailAgent {
    /// # Errors
    /// `BadValue`, `NotFound`, `Refused`; for `run` what makes it impossible to start.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let dry_run = desk.global.dry_run;
        match self {
            Self::Run => {
                desk.in_earnest("`mailward doctor` says what is wrong with the configuration")?;
                run(desk).await
            }
            Self::Add { name, domains, key_file } => {
                let app = desk.open().await?;
                let place = KeyFile::prepare(key_file.as_deref(), dry_run)?;
                let (row, key) = agents::add(&app, &desk.context(&app), &name, &domains).await?;
                let said = if dry_run { "would be added (dry run)" } else { "added" };
                let key = place.take(&key, dry_run)?;
                for domain in agents::unknown_domains(&app, &row).await? {
                    desk.note(&format!("no organization has the verified domain {domain} yet"));
                }
                desk.answer(
                    || format!("{} {said}, for {}{}", row.name, row.domains.join(" "), shown(&key)),
                    || json!({"name": row.name, "domains": row.domains, "added": !dry_run, "key": key}),
                )
            }
            Self::RotateKey { name, key_file } => {
                let app = desk.open().await?;
                let place = KeyFile::prepare(key_file.as_deref(), dry_run)?;
                let key = agents::rotate_key(&app, &desk.context(&app), &name).await?;
                let said = if dry_run { "would get a new key (dry run)" } else { "has a new key" };
                let key = place.take(&key, dry_run)?;
                desk.answer(
                    || format!("{name} {said}{}", shown(&key)),
                    || json!({"name": name, "changed": !dry_run, "key": key}),
                )
            }
            Self::List => {
                let app = desk.open().await?;
                let all = agents::all(&app).await?;
                desk.answer(
                    || {
                        let rows: Vec<_> = all.iter().map(line).collect();
                        table(["NAME", "DOMAINS", "POSITION", "BEHIND BY", "LAST HEARD OF", "NODE"], &rows)
                    },
                    || all.iter().map(json_of).collect(),
                )
            }
            Self::Remove { name } => {
                let app = desk.open().await?;
                agents::remove(&app, &desk.context(&app), &name).await?;
                let said = if dry_run { "would be removed (dry run)" } else { "removed" };
                desk.answer(|| format!("{name} {said}"), || json!({"name": name, "removed": !dry_run}))
            }
        }
    }
}

async fn run(desk: &Desk) -> Result<()> {
    let (config, file) = desk.read_config()?;
    config.check()?;
    logging::start(&config.log);
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    let failed = |cause: std::io::Error| Error::caused("listening to signals", cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let agent = Agent::new(&config, Clock::System, Random::System)?;
    tokio::select! {
        never = agent.run() => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Where a key goes; made before there is a key, so that none is lost.
struct KeyFile<'a>(Option<(&'a Path, Option<std::fs::File>)>);

impl<'a> KeyFile<'a> {
    fn prepare(path: Option<&'a Path>, dry_run: bool) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let failed =
            |cause: std::io::Error| Error::bad_value("--key-file", format!("{}: {cause}", path.display()));
        if dry_run {
            if path.exists() {
                return Err(Error::bad_value("--key-file", format!("{} is there already", path.display())));
            }
            return Ok(Self(Some((path, None))));
        }
        let made = files::new_private(path).map_err(failed)?;
        Ok(Self(Some((path, Some(made)))))
    }

    /// The key, where it is to be printed.
    fn take(mut self, key: &Secret, dry_run: bool) -> Result<Option<String>> {
        match self.0.as_mut() {
            None => Ok((!dry_run).then(|| key.expose().to_owned())),
            Some((path, file)) => {
                let mut write = || match file {
                    Some(file) => {
                        writeln!(file, "{}", key.expose())?;
                        file.sync_all()
                    }
                    None => Ok(()),
                };
                write().map_err(|cause| {
                    Error::bad_value("--key-file", format!("{}: {cause}", path.display()))
                })?;
                self.0 = None;
                Ok(None)
            }
        }
    }
}

/// What was made and not written stands in nobody's way.
impl Drop for KeyFile<'_> {
    fn drop(&mut self) {
        if let Some((path, Some(_))) = &self.0 {
            let _nobody_misses_it = std::fs::remove_file(path);
        }
    }
}

fn shown(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("\nIts key, shown this once:\n{key}")).unwrap_or_default()
}

fn line(one: &Known) -> [String; 6] {
    let behind = match one.behind {
        Some(0) => "nothing".to_owned(),
        Some(1) => "1 change".to_owned(),
        Some(changes) => format!("{changes} changes"),
        None => "everything".to_owned(),
    };
    [
        one.row.name.clone(),
        one.row.domains.join(" "),
        one.status.seen.as_ref().map(|seen| seen.position().to_string()).unwrap_or_default(),
        behind,
        one.status.heard_at.map_or_else(|| "never".to_owned(), rfc3339),
        one.status.node.clone(),
    ]
}

fn json_of(one: &Known) -> Value {
    json!({
        "name": one.row.name,
        "domains": one.row.domains,
        "position": one.status.seen.as_ref().map(Mark::position),
        "behind": one.behind,
        "heardAt": one.status.heard_at,
        "node": one.status.node,
        "createdAt": one.row.created_at,
    })
}
