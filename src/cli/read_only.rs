//! `mailward read-only`.

use serde_json::json;

use crate::app::read_only;
use crate::cli::desk::Desk;
use crate::clock::rfc3339;
use crate::error::Result;

/// Refuse changes for a while, on every node: on, off, show
///
/// The database itself refuses them, so that every node and every command obeys from the same
/// moment on. Callers get 503 with Retry-After; what only reads is answered, and mail logins and
/// deliveries go on. Effects that wait (ending sessions, notices) wait until it is over.
#[derive(Debug, clap::Subcommand)]
pub enum ReadOnly {
    /// From now on nothing is changed; changes that run are waited for
    #[command(after_help = "Examples:\n  mailward read-only on --reason 'moving to PostgreSQL'")]
    On,
    /// Take changes again
    #[command(after_help = "Examples:\n  mailward read-only off")]
    Off,
    /// Since when nothing is changed
    #[command(after_help = "Examples:\n  mailward read-only show")]
    Show,
}

impl ReadOnly {
    /// # Errors
    /// `Unavailable` when a running change does not end.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let context = desk.context(&app);
        let now = app.clock.now();
        match self {
            Self::On => {
                desk.in_earnest("`mailward read-only off` ends it at any time")?;
                let (since, by_us) = read_only::on(&app.db, &context, now).await?;
                let already = if by_us { "" } else { "already " };
                desk.answer(
                    || {
                        format!(
                            "{already}read-only since {}; `mailward read-only off` ends it",
                            rfc3339(since)
                        )
                    },
                    || json!({"read_only": true, "since": since, "changed": by_us}),
                )
            }
            Self::Off => {
                desk.in_earnest("`mailward read-only show` says how it stands")?;
                let lasted = read_only::off(&app.db, &context, now).await?;
                desk.answer(
                    || match lasted {
                        Some(lasted) => format!("changes are made again, after {}", seconds(lasted)),
                        None => "changes were not refused; nothing to do".to_owned(),
                    },
                    || json!({"read_only": false, "lasted_ms": lasted, "changed": lasted.is_some()}),
                )
            }
            Self::Show => {
                let since = read_only::since(&app.db).await?;
                desk.answer(
                    || match since {
                        Some(since) => format!("read-only since {}", rfc3339(since)),
                        None => "changes are made".to_owned(),
                    },
                    || json!({"read_only": since.is_some(), "since": since}),
                )
            }
        }
    }
}

/// A span as `4.1 s`.
pub fn seconds(millis: i64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}
