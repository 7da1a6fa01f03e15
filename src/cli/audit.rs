//! `mailward audit`: who did what, when and why; and the proof that nobody has changed it since.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::app::App;
use crate::app::audit::head::{self, Head};
use crate::app::audit::verify::{self, Verdict};
use crate::app::audit::{export, seal};
use crate::app::operator;
use crate::cli::desk::{Desk, OrgName};
use crate::cli::exit;
use crate::clock::rfc3339;
use crate::domain::ids::UserId;
use crate::error::{Error, Result};
use crate::machine::files;
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
    /// Print where the log stands, signed: keep it outside, and nothing can be cut off unnoticed
    ///
    /// One line for each organization. With audit.heads_file the service appends them by itself.
    #[command(after_help = "\
Examples:
  mailward audit head >> /mnt/elsewhere/heads.jsonl
  mailward audit head --org 10000001 | mail -s head keeper@example.net")]
    Head {
        #[command(flatten)]
        org: OrgName,
    },
    /// Write the whole log out, to be verified anywhere
    #[command(after_help = "\
Examples:
  mailward audit export audit.jsonl
  mailward audit export --org 10000001 | zstd > audit.jsonl.zst")]
    Export {
        /// The new file; standard output when left out
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        org: OrgName,
    },
    /// Find what was changed in the log: an edit, a deletion, another order, and, with a head from
    /// outside, a cut-off end
    ///
    /// With FILE an export is looked at, and nothing else is needed: no database, no configuration.
    /// Without it the database's own log is. The exit code is 1 when something was changed.
    #[command(after_help = "\
Examples:
  mailward audit verify
  mailward audit verify audit.jsonl --head /mnt/elsewhere/heads.jsonl
  mailward audit verify audit.jsonl --head heads.jsonl --key \"$PUBLIC\"")]
    Verify {
        /// An export; - reads standard input
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// A file with heads that were kept outside; may be given more than once
        #[arg(long = "head", value_name = "FILE")]
        heads: Vec<PathBuf>,
        /// A public key, from `mailward keys show`: every head must be signed by one of those given
        ///
        /// Given more than once where `mailward keys rotate` brought a new one.
        #[arg(long = "key", value_name = "HEX")]
        keys: Vec<String>,
        #[command(flatten)]
        org: OrgName,
    },
}

impl Audit {
    /// # Errors
    /// `NotFound`.
    pub async fn run(self, desk: &Desk) -> Result<u8> {
        match self {
            Self::List { user, limit, org } => list(desk, user, limit, &org).await?,
            Self::Head { org } => print_heads(desk, &org).await?,
            Self::Export { file, org } => write_export(desk, file.as_deref(), &org).await?,
            Self::Verify { file, heads, keys, org } => {
                let outside = heads.iter().map(|file| read_heads(file)).collect::<Result<Vec<_>>>()?.concat();
                let verdicts = match file {
                    Some(file) => vec![verify::verify_export(&mut open(&file)?, &outside, &keys)?],
                    None => {
                        let app = desk.open().await?;
                        verify::verify_database(&app, org.zoid()?, &outside, &keys).await?
                    }
                };
                return tell(desk, &verdicts);
            }
        }
        Ok(exit::DONE)
    }
}

async fn list(desk: &Desk, user: Option<String>, limit: i64, org: &OrgName) -> Result<()> {
    let app = desk.open().await?;
    let rows = match user {
        Some(user) => match operator::user(&app, &user, org.zoid()?).await {
            Ok(account) => operator::audit(&app, account.organization, Some(account.user), limit).await?,
            Err(missing @ Error::NotFound(_)) => of_deleted(&app, &user, limit, org).await?.ok_or(missing)?,
            Err(error) => return Err(error),
        },
        None => operator::audit(&app, org.find(&app).await?, None, limit).await?,
    };
    let entries = rows.iter().map(entry).collect::<Result<Vec<Value>>>()?;
    desk.answer(|| entries.iter().map(|entry| line(entry) + "\n").collect(), || entries.clone().into())
}

/// Of somebody who is gone only the zuid is left; `None` where the log knows nothing of it either.
async fn of_deleted(app: &App, user: &str, limit: i64, org: &OrgName) -> Result<Option<Vec<AuditRow>>> {
    let Ok(user) = user.parse::<UserId>() else { return Ok(None) };
    let rows = operator::audit(app, org.find(app).await?, Some(user), limit).await?;
    Ok(Some(rows).filter(|rows| !rows.is_empty()))
}

/// JSON in any case: they are made for files.
async fn print_heads(desk: &Desk, org: &OrgName) -> Result<()> {
    let app = desk.open().await?;
    seal::seal_now(&app).await?;
    let zoid = match org.zoid()? {
        Some(_) => Some(org.find(&app).await?),
        None => None,
    };
    let lines = head::heads(&app, zoid).await?.iter().map(Head::line).collect::<Result<Vec<_>>>()?;
    desk.write((lines.join("\n") + "\n").as_bytes())
}

async fn write_export(desk: &Desk, file: Option<&Path>, org: &OrgName) -> Result<()> {
    desk.in_earnest("an export changes nothing but its own new file")?;
    let app = desk.open().await?;
    let zoid = org.find(&app).await?;
    let Some(path) = file else {
        let mut out = BufWriter::new(std::io::stdout());
        return export::export(&app, zoid, &mut out).await.map(drop);
    };
    let made = files::new_private(path)
        .map_err(|cause| Error::Refused(format!("cannot make {}: {cause}", path.display())))?;
    let mut out = BufWriter::new(made);
    let entries = export::export(&app, zoid, &mut out).await?;
    out.flush().map_err(|cause| Error::caused("writing the export", cause))?;
    desk.answer(
        || format!("{entries} entries in {}", path.display()),
        || json!({"file": path, "entries": entries, "zoid": zoid.to_string()}),
    )
}

fn read_heads(file: &Path) -> Result<Vec<Head>> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| Error::NotFound(format!("cannot read {}: {cause}", file.display())))?;
    verify::read_heads(&text)
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file)
        .map_err(|cause| Error::NotFound(format!("cannot read {}: {cause}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

fn tell(desk: &Desk, verdicts: &[Verdict]) -> Result<u8> {
    let whole = verdicts.iter().all(|verdict| verdict.findings.is_empty());
    desk.answer(
        || {
            let mut text = String::new();
            for verdict in verdicts {
                let found = match verdict.findings.len() {
                    0 => "nothing was changed".to_owned(),
                    many => format!("{many} findings"),
                };
                text.push_str(&format!(
                    "organization {}: {} entries, {} heads agree: {found}\n",
                    verdict.organization, verdict.entries, verdict.heads
                ));
                verdict.findings.iter().for_each(|finding| text.push_str(&format!("  {finding}\n")));
                for key in &verdict.signed_by {
                    text.push_str(&format!("  heads are signed by {key}\n"));
                }
            }
            text
        },
        || {
            let all: Vec<_> = verdicts
                .iter()
                .map(|verdict| {
                    json!({
                        "zoid": verdict.organization.to_string(),
                        "entries": verdict.entries,
                        "heads": verdict.heads,
                        "signedBy": verdict.signed_by,
                        "findings": verdict.findings,
                    })
                })
                .collect();
            json!({"whole": whole, "logs": all})
        },
    )?;
    Ok(if whole { exit::DONE } else { exit::FAILURE })
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
        rfc3339(entry["at"].as_i64().unwrap_or(0)),
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
