//! `mailward audit`: who did what, when and why.

use serde_json::Value;

use crate::app::operator;
use crate::cli::desk::{Desk, OrgName};
use crate::cli::text::time;
use crate::error::{Error, Result};
use crate::store::audit::AuditRow;

/// The audit log
#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// List the newest entries, the newest first
    #[command(after_help = "\
Examples:
  mailward audit list
  mailward audit list --user rebecca@example.org --limit 5
  mailward audit list --json | jq '.[] | select(.verb == \"resetPassword\")'")]
    List {
        /// Only what was done to this user: an address, a zuid or an accountId
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// How many entries at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
        #[command(flatten)]
        org: OrgName,
    },
}

impl Audit {
    /// # Errors
    /// `NotFound`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let Self::List { user, limit, org } = self;
        let (zoid, person) = match user {
            Some(user) => {
                let account = operator::user(&app, &user, org.zoid()?).await?;
                (account.organization, Some(account.user))
            }
            None => (org.find(&app).await?, None),
        };
        let rows = operator::audit(&app, zoid, person, limit).await?;
        let entries = rows.iter().map(entry).collect::<Result<Vec<Value>>>()?;
        desk.answer(|| entries.iter().map(|entry| line(entry) + "\n").collect(), || entries.clone().into())
    }
}

/// # Errors
/// `Internal` for an entry that is no JSON.
pub fn entry(row: &AuditRow) -> Result<Value> {
    serde_json::from_str(&row.entry).map_err(|cause| Error::caused("reading an audit entry", cause))
}

/// An entry on one line.
pub fn line(entry: &Value) -> String {
    let text = |place: &str| entry.pointer(place).and_then(Value::as_str);
    let actor = match text("/actor/kind") {
        Some("user") => format!("user {}", text("/actor/zuid").unwrap_or("?")),
        Some("operator") => format!("operator {}", text("/actor/name").unwrap_or("?")),
        other => other.unwrap_or("?").to_owned(),
    };
    let target = text("/target/address").or(text("/named")).unwrap_or("-");
    let mut line = format!(
        "{}  {:<20}  {:<32}  by {actor}",
        time(entry["at"].as_i64().unwrap_or(0)),
        text("/verb").unwrap_or("?"),
        target
    );
    if text("/outcome") == Some("refused") {
        line.push_str(&format!("  REFUSED: {}", text("/why").unwrap_or("?")));
    }
    if let Some(notes) = entry["notes"].as_object() {
        let notes: Vec<_> =
            notes.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?"))).collect();
        line.push_str(&format!("  {}", notes.join(" ")));
    }
    if let Some(reason) = text("/reason") {
        line.push_str(&format!("  \"{reason}\""));
    }
    line.push_str(&format!("  {}", text("/change").unwrap_or("?")));
    line
}
