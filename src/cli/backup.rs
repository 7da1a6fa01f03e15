//! `mailward backup` and `mailward restore`.

use std::path::PathBuf;

use serde_json::json;

use crate::app::call::Context;
use crate::app::{backup, open};
use crate::cli::desk::Desk;
use crate::cli::{logging, os_user};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};

/// Copy the database, while the service runs
///
/// The copy shows one moment and is readable by you alone. Nothing is overwritten. With PostgreSQL
/// the pg_dump line is printed in its place: its copies are consistent too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailward backup /var/backups/mailward-$(date +%F).sqlite\n  mailward backup copy.sqlite --database sqlite:/srv/mailward.sqlite"
)]
pub struct Backup {
    /// The new file
    file: PathBuf,
}

impl Backup {
    /// # Errors
    /// `Refused` when the file exists.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let config = desk.config()?;
        if config.database.sqlite_path().is_none() {
            return self.tell_pg_dump(desk, &config);
        }
        let app = desk.open().await?;
        backup::backup(&app.db, &self.file).await?;
        desk.note(&format!(
            "the server's keys in {} are not in it; keep a copy of them, in another place",
            app.keys.path().display()
        ));
        let bytes = std::fs::metadata(&self.file).map(|file| file.len()).unwrap_or_default();
        desk.answer(
            || format!("{} ({bytes} bytes)", self.file.display()),
            || json!({"file": self.file, "bytes": bytes}),
        )
    }

    fn tell_pg_dump(&self, desk: &Desk, config: &Config) -> Result<()> {
        desk.note(
            "PostgreSQL makes its own backups. This line writes a consistent copy while the service runs; \
             give the password by ~/.pgpass or PGPASSFILE. For point-in-time recovery use pg_basebackup with \
             WAL archiving. After pg_restore run `mailward restore --after-pg-restore`.",
        );
        let url = quoted(&config.database.url_without_password());
        let line = format!(
            "pg_dump --format=custom --no-owner --no-privileges --file={} --dbname={url}",
            quoted(&self.file.display().to_string())
        );
        desk.answer(|| line.clone(), || json!({"command": line}))
    }
}

/// Put a backup in the place of the database
///
/// Refuses to overwrite: stop the service and move the old files away first. Tokens, codes, one-time
/// and app passwords of the copy are void afterwards, and ids and credential generations jump
/// ahead, so that nothing that was given or taken back since the copy was made comes to life again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward restore /var/backups/mailward-2026-01-31.sqlite
  pg_restore --clean --if-exists --dbname=desk copy.dump &&
  mailward restore --after-pg-restore")]
pub struct Restore {
    /// The backup
    #[arg(required_unless_present = "after_pg_restore", conflicts_with = "after_pg_restore")]
    file: Option<PathBuf>,
    /// The PostgreSQL database was just restored: void what it still believes in
    #[arg(long)]
    after_pg_restore: bool,
}

impl Restore {
    /// # Errors
    /// `Refused` when something is in the way.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let config = desk.config()?;
        logging::quiet();
        let now = Clock::System.now();
        let mut context = Context::operator(&os_user::name(), "restore".to_owned());
        context.reason = desk.reason().cloned();
        let place = match &self.file {
            Some(file) => {
                backup::restore(&config.database, file, &context, now).await?;
                config.database.sqlite_path().map(|path| path.display().to_string()).unwrap_or_default()
            }
            None if self.after_pg_restore => {
                let db = open::open_db(&config.database)?;
                backup::after_pg_restore(&db, &context, now).await?;
                "the PostgreSQL database".to_owned()
            }
            None => return Err(Error::bad_value("restore", "name the backup")),
        };
        desk.note(
            "every token, code, one-time password and app password in it is void, since some may have been revoked \
             after the copy was made: who had a one-time password needs another reset, and people make new app \
             passwords for their devices, and new recovery codes. Applications are switched off: enable those that are \
             still wanted (`mailward client list`, `mailward client enable`)",
        );
        if self.after_pg_restore {
            desk.note(
                "the views for the mail servers were made anew: run `mailward mail-server roles` again and give its \
                 lines to psql, or Postfix and Dovecot cannot read them",
            );
        }
        desk.answer(|| format!("restored {place}"), || json!({"restored": place}))
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("it's; rm -rf"), r"'it'\''s; rm -rf'");
    }
}
