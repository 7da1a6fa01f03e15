//! From a configuration to a running Mailward: the database is opened, and its tables are brought
//! up to date when it is empty, or found to be so.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::app::App;
use crate::app::random::Random;
use crate::clock::{Clock, Millis};
use crate::config::{Config, Database};
use crate::error::{Error, Result};
use crate::store::engine::{self, Db, EngineKind, Options, Step};
use crate::store::migrations::STEPS;

/// Opens the configured database and makes the house around it.
///
/// # Errors
/// `Malformed` for an unusable configuration; `Refused` when the tables are older or newer than
/// this program; `Unavailable` when the database cannot be reached.
pub async fn open_app(config: &Config, clock: Clock, random: Random) -> Result<App> {
    let db = open_db(&config.database)?;
    bring_up(&db, clock.now()).await?;
    App::new(db, config.clone(), clock, random).await
}

/// The same for who is about to listen: the mail servers see everything first, so that no login and
/// no address of an older copy outlives a start.
///
/// # Errors
/// As `open_app`; when the look-up files cannot be written.
pub async fn open_to_serve(config: &Config, clock: Clock, random: Random) -> Result<App> {
    let app = open_app(config, clock, random).await?;
    // Nobody is answered, and by the units' order no mail server starts, before the look-ups are
    // where the database is. Without them the desk still works; the worker tries again.
    if let Err(error) = app.projector.catch_up(&app.db).await {
        tracing::error!(%error, "the mail servers' look-up files could not be brought up to date");
    }
    Ok(app)
}

/// Opens the database without looking at its tables. A missing SQLite file is created, empty.
///
/// # Errors
/// `Malformed`.
pub fn open_db(database: &Database) -> Result<Db> {
    let options = Options {
        pool_size: database.pool_size,
        connect_timeout: Duration::from_secs(database.connect_seconds),
        wait_timeout: Duration::from_secs(database.wait_seconds),
        tls_root_cert: database.tls_root_cert.clone(),
        ..Options::default()
    };
    match &database.password_file {
        None => Db::open(&database.url, &options),
        Some(file) => {
            Db::open(&with_password(&database.url, &read_private("database.password_file", file)?)?, &options)
        }
    }
}

/// Makes the tables of an empty database; of any other they must be exactly this program's.
///
/// # Errors
/// `Refused`, saying what to do.
pub async fn bring_up(db: &Db, now: Millis) -> Result<()> {
    match standing(db).await? {
        Standing::Current => Ok(()),
        Standing::Empty => engine::migrate(db, STEPS, now).await.map(drop),
        Standing::Behind(steps) => Err(Error::Refused(format!(
            "the database lacks {}; make a backup and run `mailward migrate`",
            names(&steps)
        ))),
    }
}

/// How the tables stand to this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// There are no tables of ours.
    Empty,
    /// These steps have not been applied.
    Behind(Vec<Step>),
}

/// # Errors
/// `Refused` for tables that a newer program made.
pub async fn standing(db: &Db) -> Result<Standing> {
    let pending = engine::pending(db, STEPS).await?;
    Ok(match pending.len() {
        0 => Standing::Current,
        all if all == STEPS.len() => Standing::Empty,
        _ => Standing::Behind(pending),
    })
}

/// What a migration did.
#[derive(Debug, Clone)]
pub struct Migrated {
    pub from: i64,
    pub to: i64,
    pub steps: Vec<Step>,
}

/// Applies every step that is missing, all or none.
///
/// # Errors
/// `Refused` for tables that a newer program made.
pub async fn migrate(db: &Db, now: Millis) -> Result<Migrated> {
    let applied = engine::migrate(db, STEPS, now).await?;
    Ok(Migrated { from: applied.from, to: applied.to, steps: applied.steps })
}

/// The steps in words, for people.
pub fn names(steps: &[Step]) -> String {
    let named: Vec<_> = steps.iter().map(|step| format!("step {} ({})", step.number, step.name)).collect();
    named.join(", ")
}

/// The newest step that this program knows.
pub fn newest_step() -> i64 {
    engine::newest_known(STEPS)
}

/// Whether this is the embedded database.
pub fn is_embedded(db: &Db) -> bool {
    db.engine() == EngineKind::Sqlite
}

/// The first line of a file that holds a secret and that nobody else may read.
///
/// # Errors
/// `BadValue` for the option that names the file.
pub fn read_private(option: &str, file: &Path) -> Result<Zeroizing<String>> {
    let bad = |why: String| Error::bad_value(option, format!("{}: {why}", file.display()));
    let mut opened = std::fs::File::open(file).map_err(|cause| bad(cause.to_string()))?;
    let mode = opened.metadata().map_err(|cause| bad(cause.to_string()))?.mode();
    if mode & 0o077 != 0 {
        return Err(bad(format!("others can read it (mode {:04o}); run chmod 0600 on it", mode & 0o7777)));
    }
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text).map_err(|cause| bad(cause.to_string()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(bad("its first line is empty; the secret belongs there".to_owned()));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Adds the password as a parameter: such a URL may name several hosts, which no URL library reads.
fn with_password(url: &str, password: &str) -> Result<Zeroizing<String>> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let inside = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    if inside || url.contains("password=") {
        return Err(Error::bad_value(
            "database.password_file",
            "the URL has a password already; take it out of there",
        ));
    }
    let encoded: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
    // A `+` stands for itself in such a URL, and a space is %20.
    let encoded = Zeroizing::new(encoded.replace('+', "%20"));
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok(Zeroizing::new(format!("{url}{separator}password={}", *encoded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_added_whatever_it_contains() {
        let url = with_password("postgres://mail@a,b/desk", "p&s s+%").expect("a URL");
        assert_eq!(*url, "postgres://mail@a,b/desk?password=p%26s%20s%2B%25");
        let url = with_password("postgres://mail@a/desk?sslmode=require", "x").expect("a URL");
        assert_eq!(*url, "postgres://mail@a/desk?sslmode=require&password=x");
        with_password("postgres://mail:old@a/desk", "x").expect_err("two passwords");
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "secret words\n").expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let refusal = read_private("a.file", &file).expect_err("readable").to_string();
        assert!(refusal.contains("chmod 0600") && !refusal.contains("secret"), "{refusal}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        assert_eq!(*read_private("a.file", &file).expect("the password"), "secret words");
    }
}
