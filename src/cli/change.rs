//! `mailward change`: the receipt of one change.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;
use crate::app::mail::receipt::{self, Part, Receipt};
use crate::cli::audit::{entry, line};
use crate::cli::desk::Desk;
use crate::clock::rfc3339;
use crate::domain::ids::ChangeId;
use crate::error::{Error, Result};

/// Receipts of changes
#[derive(Debug, clap::Subcommand)]
pub enum Change {
    /// Show what a change did, and what became of its effects on the mail servers
    #[command(after_help = "Examples:\n  mailward change show 200000000000000001")]
    Show {
        /// The id that the command or the audit log printed
        id: String,
    },
    /// Wait until nothing is left to do for a change, then show it
    #[command(after_help = "Examples:\n  mailward change wait 200000000000000001 --seconds 60")]
    Wait {
        /// The id that the command or the audit log printed
        id: String,
        /// How long to wait at most; what is pending then is shown as such, with exit code 1
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u64,
    },
}

impl Change {
    /// # Errors
    /// `NotFound`; `Unavailable` when something is still pending after the wait.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        match self {
            Self::Show { id } => show(desk, &receipt::find(&app, number(&id)?).await?),
            Self::Wait { id, seconds } => {
                let receipt = wait(&app, number(&id)?, Duration::from_secs(seconds)).await?;
                show(desk, &receipt)?;
                if receipt.complete() {
                    return Ok(());
                }
                Err(Error::Unavailable { why: "some effects are still pending", retry_after_seconds: 60 })
            }
        }
    }
}

fn number(id: &str) -> Result<ChangeId> {
    id.parse().map_err(|()| {
        Error::bad_value("id", format!("{id} is no changeId; they stand in `mailward audit list`"))
    })
}

async fn wait(app: &App, id: ChangeId, most: Duration) -> Result<Receipt> {
    let complete = async {
        loop {
            let receipt = receipt::find(app, id).await?;
            if receipt.complete() {
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(most, complete).await {
        Ok(receipt) => receipt,
        Err(_) => receipt::find(app, id).await,
    }
}

fn show(desk: &Desk, receipt: &Receipt) -> Result<()> {
    let entries = receipt.entries.iter().map(entry).collect::<Result<Vec<Value>>>()?;
    desk.answer(
        || {
            let mut text: String = entries.iter().map(told).collect();
            for part in &receipt.effects {
                text.push_str(&words(part));
            }
            text
        },
        || {
            let complete = receipt.complete();
            json!({"change": receipt.change.to_string(), "complete": complete, "entries": entries, "effects": receipt.effects})
        },
    )
}

fn told(entry: &Value) -> String {
    let mut text = line(entry) + "\n";
    for difference in entry["differences"].as_array().into_iter().flatten() {
        let (what, from, to) = (&difference["what"], &difference["from"], &difference["to"]);
        let plain = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text.push_str(&format!("  {}: {} -> {}\n", plain(what), plain(from), plain(to)));
    }
    text
}

fn words(part: &Part) -> String {
    let target = if part.target.is_empty() { "nobody" } else { &part.target };
    let at = part.at.map(|at| format!(" at {}", rfc3339(at))).unwrap_or_default();
    format!("  {} on {target}: {}{at}: {}\n", part.effect, part.state.as_str(), part.what)
}
