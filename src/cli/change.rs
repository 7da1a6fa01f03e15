//! `mailward change`: the receipt of one change.

use serde_json::{Value, json};

use crate::app::operator;
use crate::cli::audit::{entry, line};
use crate::cli::desk::Desk;
use crate::cli::text::time;
use crate::domain::ids::ChangeId;
use crate::error::{Error, Result};
use crate::store::outbox::Waiting;

/// Receipts of changes
#[derive(Debug, clap::Subcommand)]
pub enum Change {
    /// Show what a change did, and what became of its effects on the mail servers
    #[command(after_help = "Examples:\n  mailward change show 200000000000000001")]
    Show {
        /// The id that the command or the audit log printed
        id: String,
    },
}

impl Change {
    /// # Errors
    /// `NotFound`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let Self::Show { id } = self;
        let id: ChangeId = id.parse().map_err(|()| {
            Error::bad_value("id", format!("{id} is no changeId; they stand in `mailward audit list`"))
        })?;
        let receipt = operator::receipt(&app, id).await?;
        let entries = receipt.entries.iter().map(entry).collect::<Result<Vec<Value>>>()?;
        desk.answer(
            || {
                let mut text: String = entries.iter().map(|entry| told(entry)).collect();
                for effect in &receipt.effects {
                    text.push_str(&effect_text(effect));
                }
                text
            },
            || {
                let effects: Vec<Value> = receipt.effects.iter().map(effect_json).collect();
                json!({"change": id.to_string(), "entries": entries, "effects": effects})
            },
        )
    }
}

fn told(entry: &Value) -> String {
    let mut text = line(entry) + "\n";
    for difference in entry["differences"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {difference}\n"));
    }
    text
}

fn effect_text(effect: &Waiting) -> String {
    let state = match (effect.done_at, effect.due_at) {
        (Some(at), _) => format!("done at {}", time(at)),
        (None, Some(at)) => format!("waiting, to be tried at {} (tried {} times)", time(at), effect.tries),
        (None, None) => "ended".to_owned(),
    };
    let outcome = effect.outcome.as_deref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
    format!("effect {}  {state}{outcome}\n", effect.effect.name())
}

fn effect_json(effect: &Waiting) -> Value {
    json!({
        "step": effect.step,
        "effect": effect.effect,
        "accountId": effect.account.to_string(),
        "dueAt": effect.due_at,
        "doneAt": effect.done_at,
        "tries": effect.tries,
        "outcome": effect.outcome,
    })
}
