//! `mailward throttle`: what is closed because of too many wrong tries.

use std::net::IpAddr;

use serde_json::json;

use crate::app::throttle;
use crate::cli::desk::Desk;
use crate::cli::text::table;
use crate::clock::rfc3339;
use crate::error::Result;

/// Limits on guessing: what is closed at the moment, and opening it again
#[derive(Debug, clap::Subcommand)]
pub enum Throttle {
    /// List accounts, addresses and sources with too many wrong tries; addresses are not shown in clear
    #[command(
        after_help = "Examples:\n  mailward throttle list\n  mailward throttle list --json | jq length"
    )]
    List,
    /// Forget the wrong tries from a source address; see `user clear-throttle` for an account's
    #[command(after_help = "Examples:\n  mailward throttle clear 192.0.2.7 --reason 'our own proxy'")]
    Clear {
        /// The source address; for IPv6 its whole /64 is meant
        #[arg(value_name = "ADDRESS")]
        source: IpAddr,
    },
}

impl Throttle {
    /// # Errors
    /// When the database cannot be read.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        match self {
            Self::List => {
                let closed = throttle::closed(&app).await?;
                desk.answer(
                    || {
                        let rows: Vec<_> = closed
                            .iter()
                            .map(|(subject, tries, until)| {
                                [subject.clone(), tries.to_string(), rfc3339(*until)]
                            })
                            .collect();
                        table(["WHAT", "TRIES", "CLOSED UNTIL"], &rows)
                    },
                    || {
                        closed
                            .iter()
                            .map(|(subject, tries, until)| {
                                json!({"subject": subject, "tries": tries, "until": until})
                            })
                            .collect()
                    },
                )
            }
            Self::Clear { source } => {
                let cleared = throttle::clear_source(&app, &desk.context(&app), source).await?;
                tell_cleared(desk, cleared)
            }
        }
    }
}

/// Says whether wrong tries were forgotten, or in a dry run would be.
pub fn tell_cleared(desk: &Desk, cleared: bool) -> Result<()> {
    let text = match (cleared, desk.global.dry_run) {
        (false, _) => "there is nothing to forget",
        (true, false) => "forgotten",
        (true, true) => "dry run: wrong tries would be forgotten",
    };
    desk.answer(|| text.to_owned(), || json!({"cleared": cleared, "dryRun": desk.global.dry_run}))
}
