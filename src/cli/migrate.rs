//! `mailward migrate`.

use serde_json::json;

use crate::app::open::{self, SchemaState};
use crate::cli::desk::{Desk, must_exist};
use crate::cli::logging;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Bring the database's tables up to date
///
/// All missing steps are applied in one transaction, or none. Make a backup first. An empty
/// database gets its tables by itself when the service starts.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailward migrate --check      exit code 3 when there is something to do\n  mailward backup before.sqlite && mailward migrate"
)]
pub struct Migrate {
    /// Only say what is missing
    #[arg(long)]
    check: bool,
}

impl Migrate {
    /// # Errors
    /// `Refused` for a newer schema, and with `--check` for an older one.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let config = desk.config()?;
        logging::quiet();
        must_exist(&config)?;
        let db = open::open_db(&config.database)?;
        if self.check || desk.global.dry_run {
            let missing = match open::schema_state(&db).await? {
                SchemaState::Current => {
                    let newest = open::newest_step();
                    return desk.answer(
                        || format!("the tables are up to date (step {newest})"),
                        || json!({"current": true, "step": newest}),
                    );
                }
                SchemaState::Ahead => {
                    return desk.answer(
                        || {
                            "a newer Mailward has migrated the database; this one may go on beside it"
                                .to_owned()
                        },
                        || json!({"current": true, "step": open::newest_step(), "ahead": true}),
                    );
                }
                SchemaState::Empty => "every step: the database is empty".to_owned(),
                SchemaState::Behind(steps) => open::names(&steps),
            };
            return Err(Error::Refused(format!("the database lacks {missing}; run `mailward migrate`")));
        }
        let done = open::migrate(&db, Clock::System.now()).await?;
        desk.answer(
            || {
                if done.steps.is_empty() {
                    format!("nothing to do: the tables are up to date (step {})", done.to)
                } else {
                    format!("applied {}", open::names(&done.steps))
                }
            },
            || {
                let steps: Vec<_> =
                    done.steps.iter().map(|step| json!({"number": step.number, "name": step.name})).collect();
                json!({"from": done.from, "to": done.to, "applied": steps})
            },
        )
    }
}
