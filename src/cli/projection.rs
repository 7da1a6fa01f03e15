//! `mailward projection`: the look-up files of this machine's mail servers.

use serde_json::{Value, json};

use crate::app::App;
use crate::app::mail::projector::{self, Projector};
use crate::app::mail::servers;
use crate::app::open::{self, LookUps};
use crate::app::random::Random;
use crate::cli::desk::{Desk, must_exist};
use crate::cli::logging;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store;
use crate::store::projection::Drift;

/// The mail servers' look-up files: catch up, rebuild, verify
///
/// They are derived from the database and can be made anew at any time, also while the mail
/// servers and Mailward run.
#[derive(Debug, clap::Subcommand)]
pub enum Projection {
    /// Bring the files to the database's position; run before Postfix and Dovecot start
    ///
    /// Of the configuration it needs the sections database and mail alone. Where `mailward migrate` has yet to be run it writes
    /// nothing, and succeeds if the files hold every change.
    #[command(after_help = "Examples:\n  mailward projection catch-up")]
    CatchUp,
    /// Make both files anew from the database, in place
    #[command(after_help = "Examples:\n  mailward projection rebuild")]
    Rebuild,
    /// Compare both files with the database, row by row
    ///
    /// The exit code is 1 when something differs and was not repaired.
    #[command(after_help = "Examples:\n  mailward projection verify\n  mailward projection verify --repair")]
    Verify {
        /// Mend what differs
        #[arg(long)]
        repair: bool,
    },
}

impl Projection {
    /// # Errors
    /// `Refused` where there are no such files; when they cannot be written.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        if let Self::CatchUp = self {
            desk.in_earnest("`mailward projection verify` says what it would write")?;
        }
        let app = match desk.open().await {
            Err(cause) if matches!(self, Self::CatchUp) => return catch_up_alone(desk, cause).await,
            opened => opened?,
        };
        match self {
            Self::CatchUp => {
                // Nothing is kept where nothing is configured: a mail server must not start on that.
                if matches!(app.projector, Projector::None) {
                    return Err(projector::no_files());
                }
                app.projector.catch_up(&app.db).await?;
                let (position, what) = (newest(&app).await?, app.projector.reached().1);
                desk.answer(
                    || format!("position {position}: {what}"),
                    || json!({"position": position, "what": what}),
                )
            }
            Self::Rebuild => {
                desk.in_earnest("`mailward projection verify` says what is wrong with the files")?;
                let rebuilt = app.projector.rebuild(&app.db).await?;
                let position = newest(&app).await?;
                desk.answer(
                    || format!("{} accounts at position {position}", rebuilt.accounts),
                    || json!({"accounts": rebuilt.accounts, "position": position, "reload": rebuilt.reload_servers}),
                )
            }
            Self::Verify { repair } => {
                let repair = repair && !desk.global.dry_run;
                let drift = app.projector.verify(&app.db, repair).await?;
                desk.answer(|| words(&drift, repair), || told(&drift, repair))?;
                if drift.is_clean() || repair {
                    return Ok(());
                }
                Err(Error::internal("the look-up files differ from the database; --repair mends them"))
            }
        }
    }
}

/// Mail servers wait for this before they start. What keeps the desk from opening (tables that want to be migrated, a
/// mistake elsewhere in the configuration, keys that cannot be read) keeps them only where files lack changes.
async fn catch_up_alone(desk: &Desk, cause: Error) -> Result<()> {
    let Ok(config) = desk.config_of_look_ups() else { return Err(cause) };
    if must_exist(&config).is_err() {
        return Err(cause);
    }
    logging::quiet();
    let LookUps { position, what, replaced } =
        open::bring_look_ups_up(&config, Clock::System, Random::System).await?;
    desk.note(&format!("{cause}; the mail servers may start all the same"));
    if replaced {
        desk.note(MADE_ANEW);
    }
    desk.answer(|| format!("position {position}: {what}"), || json!({"position": position, "what": what}))
}

async fn newest(app: &App) -> Result<i64> {
    store::outbox::newest(&mut *app.db.read().await?).await
}

const MADE_ANEW: &str = "a look-up file had to be made anew: `postfix reload` makes Postfix read it, and `doveadm reload` \
                         every Dovecot that is not among the mail servers";

/// After a command of any kind: where it had to make a look-up file anew, every mail server opens its files again.
///
/// # Errors
/// `Unavailable`.
pub async fn reload(desk: &Desk, app: &App) -> Result<()> {
    if !app.projector.take_replaced() {
        return Ok(());
    }
    desk.note(MADE_ANEW);
    for (row, server) in servers::all(app).await? {
        let outcome = match server {
            Ok(server) => server.reload().await.map_err(|why| why.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) => desk.note(&format!("{}: reloaded", row.name)),
            Err(why) => desk.note(&format!("{}: not reloaded: {why}", row.name)),
        }
    }
    Ok(())
}

fn words(drift: &Drift, repair: bool) -> String {
    if drift.is_clean() {
        return "both files are exactly what they should be".to_owned();
    }
    let mut lines = Vec::new();
    lines.extend(drift.needs_rebuild.clone());
    if !drift.accounts.is_empty() {
        let shown: Vec<String> = drift.accounts.iter().take(20).map(ToString::to_string).collect();
        let more = if drift.accounts.len() > 20 { " …" } else { "" };
        lines.push(format!("{} accounts differ: {}{more}", drift.accounts.len(), shown.join(" ")));
    }
    if drift.domains {
        lines.push("the list of domains differs".to_owned());
    }
    lines.extend(drift.permissions.iter().cloned());
    lines.push(if repair { "all of it was mended" } else { "nothing was changed" }.to_owned());
    lines.join("\n")
}

fn told(drift: &Drift, repair: bool) -> Value {
    let accounts: Vec<String> = drift.accounts.iter().map(ToString::to_string).collect();
    json!({
        "clean": drift.is_clean(),
        "repaired": repair && !drift.is_clean(),
        "needsRebuild": drift.needs_rebuild,
        "accounts": accounts,
        "domains": drift.domains,
        "permissions": drift.permissions,
    })
}
