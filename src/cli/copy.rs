//! `mailward copy`.

use std::path::PathBuf;

use serde_json::json;

use crate::app::call::Context;
use crate::app::{copy, open};
use crate::cli::desk::{Desk, must_exist};
use crate::cli::read_only::seconds;
use crate::cli::text::table;
use crate::cli::{logging, os_user};
use crate::clock::{Clock, rfc3339};
use crate::config::{Config, Database};
use crate::error::{Error, Result};

/// Copy everything into another database, of the same engine or the other
///
/// The target must be empty; it gets its tables by itself. The copy shows one moment of the source,
/// which may go on working; what is changed in it afterwards is not in the copy, unless --hold makes
/// it refuse changes first; it stays read-only then, so that nobody changes it by mistake. Every table is compared, by its rows and a digest, before the copy counts.
/// Tokens, sessions and one-time passwords stay good; the server's keys are the same file as before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward copy --to postgres://mailward@db.example.org/mailward --hold
  mailward copy --from postgres://mailward@db/mailward --to sqlite:one.sqlite")]
pub struct Copy {
    /// What to copy, in place of the configured database
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Where to, sqlite:PATH or postgres://…
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the PostgreSQL password of --from, of mode 0600
    #[arg(long, value_name = "FILE", requires = "from")]
    from_password_file: Option<PathBuf>,
    /// A file with the PostgreSQL password of --to, of mode 0600
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// Make the source read-only first, and tell for how long it was when the copy is whole
    #[arg(long)]
    hold: bool,
}

impl Copy {
    /// # Errors
    /// As `copy::copy`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let mut config = desk.config()?;
        logging::quiet();
        if let Some(from) = self.from {
            config.database.url = from;
            config.database.password_file = self.from_password_file;
            config.check()?;
        }
        let mut target =
            Config { database: Database { url: self.to, ..config.database.clone() }, ..config.clone() };
        target.database.password_file = self.to_password_file;
        target.check()?;
        let place = |config: &Config| config.database.sqlite_path().and_then(|path| path.canonicalize().ok());
        let one_file = place(&config).is_some() && place(&config) == place(&target);
        if one_file || target.database.url == config.database.url {
            return Err(Error::bad_value("--to", "this is the database to copy from"));
        }
        must_exist(&config)?;
        let (from, to) = (open::open_db(&config.database)?, open::open_db(&target.database)?);
        let mut context = Context::operator(&os_user::name(), "copy".to_owned());
        context.reason = desk.reason().cloned();
        let copied = copy::copy(&from, &to, self.hold, &context, &Clock::System).await?;
        from.close().await;
        to.close().await;
        let rows: u64 = copied.tables.iter().map(|table| table.rows).sum();
        desk.answer(
            || {
                let cells: Vec<[String; 3]> = copied
                    .tables
                    .iter()
                    .map(|table| [table.name.clone(), table.rows.to_string(), table.digest.clone()])
                    .collect();
                let window = match copied.window {
                    Some(window) => format!(
                        "the source took no changes for {}, and takes none until `mailward read-only off`",
                        seconds(window)
                    ),
                    None => "changes made in the source since then are not in it".to_owned(),
                };
                format!(
                    "{}{rows} rows in {}; both databases hold the same, as of {}\n{window}",
                    table(["TABLE", "ROWS", "DIGEST"], &cells),
                    seconds(copied.took),
                    rfc3339(copied.as_of)
                )
            },
            || {
                let tables: Vec<_> = copied
                    .tables
                    .iter()
                    .map(|table| json!({"table": table.name, "rows": table.rows, "digest": table.digest}))
                    .collect();
                json!({
                    "tables": tables, "rows": rows, "took_ms": copied.took, "window_ms": copied.window,
                    "as_of": copied.as_of,
                })
            },
        )
    }
}
