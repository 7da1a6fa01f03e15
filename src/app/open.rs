//! From a configuration to a running Mailward: the database is opened, and its tables are brought
//! up to date when it is empty, or found to be so.

use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::app::App;
use crate::app::mail::projector::{self, Projector};
use crate::app::random::Random;
use crate::clock::{Clock, Millis};
use crate::config::{Config, Database};
use crate::error::{Error, Result};
use crate::machine::files;
use crate::store::engine::{self, Applied, Db, EngineKind, Options, Step};
use crate::store::migrations::STEPS;
use crate::store::{self, copying};

/// Opens the configured database and builds the [`App`] on it.
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
/// As `open_app`; `Refused` behind a pooler that mixes transactions; when the look-up files cannot be written.
pub async fn open_to_serve(config: &Config, clock: Clock, random: Random) -> Result<App> {
    let db = open_db(&config.database)?;
    if !engine::keeps_sessions_apart(&db).await? {
        return Err(Error::Refused(MIXED_SESSIONS.to_owned()));
    }
    bring_up(&db, clock.now()).await?;
    let app = App::new(db, config.clone(), clock, random).await?;
    // Nobody is answered, and by the units' order no mail server starts, before the look-ups are
    // where the database is. Without them the desk still works; the worker tries again.
    if let Err(error) = app.projector.catch_up(&app.db).await {
        tracing::error!(%error, "the mail servers' look-up files could not be brought up to date");
    }
    Ok(app)
}

/// Whether look-up files hold everything, brought to it where this program may; and what that means. Needs no keys: what
/// keeps the desk shut must not keep the mail servers from starting.
///
/// # Errors
/// `Refused` where there are no such files, or where they lack changes and the tables are not this program's; when
/// they cannot be written.
pub async fn bring_look_ups_up(config: &Config, clock: Clock, random: Random) -> Result<LookUps> {
    let db = open_db(&config.database)?;
    let outcome = async {
        let reason = match schema_state(&db).await {
            Ok(SchemaState::Current | SchemaState::Ahead | SchemaState::Empty) => {
                bring_up(&db, clock.now()).await?;
                let projector = Projector::open(&db, config, &random).await?;
                if matches!(projector, Projector::None) {
                    return Err(projector::no_files());
                }
                projector.catch_up(&db).await?;
                let position = store::outbox::newest(&mut *db.read().await?).await?;
                let (what, replaced) = (projector.reached().1, projector.take_replaced());
                return Ok(LookUps { position, what, replaced });
            }
            Ok(SchemaState::Behind(steps)) => format!("the database lacks {}", names(&steps)),
            Err(Error::Refused(why)) => why,
            Err(error) => return Err(error),
        };
        match projector::complete(&db, config).await? {
            Ok((position, what)) => Ok(LookUps { position, what, replaced: false }),
            Err(lack) => Err(Error::Refused(format!(
                "{reason}, so this program cannot bring the look-up files up to date, and {lack}; logins that were ended \
                 could come back, so the mail servers must not start: make a backup and run `mailward migrate`, or use the \
                 program that fits the database"
            ))),
        }
    };
    let outcome = outcome.await;
    db.close().await;
    outcome
}

/// What the mail servers are shown.
pub struct LookUps {
    pub position: i64,
    pub what: &'static str,
    /// A file was made anew.
    pub replaced: bool,
}

/// What is wrong behind a pooler that mixes its clients' transactions, and what to do.
pub const MIXED_SESSIONS: &str = "the connections to the database are mixed by a pooler; set pool_mode = session in \
                                  pgbouncer.ini for this database, or connect without it";

/// Whether the connections to the database are kept apart.
///
/// # Errors
/// `Unavailable`.
pub async fn keeps_sessions_apart(db: &Db) -> Result<bool> {
    engine::keeps_sessions_apart(db).await
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
            Db::open(&with_password(database, &read_private("database.password_file", file)?)?, &options)
        }
    }
}

/// Makes the tables of an empty database; of any other they must be this program's, or newer ones beside
/// which it may go on.
///
/// # Errors
/// `Refused`, saying what to do.
pub async fn bring_up(db: &Db, now: Millis) -> Result<()> {
    match schema_state(db).await? {
        SchemaState::Current | SchemaState::Ahead
            if copying::is_unfinished(&mut *db.read().await?).await? =>
        {
            Err(Error::Refused(
                "a copy into this database was not finished; make the database anew and copy again"
                    .to_owned(),
            ))
        }
        SchemaState::Current | SchemaState::Ahead => Ok(()),
        SchemaState::Empty => engine::migrate(db, STEPS, now).await.map(drop),
        SchemaState::Behind(steps) => Err(Error::Refused(format!(
            "the database lacks {}; make a backup and run `mailward migrate`",
            names(&steps)
        ))),
    }
}

/// How the tables stand to this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaState {
    Current,
    /// A newer program has widened them, and this one may go on.
    Ahead,
    /// There are no tables of ours.
    Empty,
    /// These steps have not been applied.
    Behind(Vec<Step>),
}

/// # Errors
/// `Refused` for tables that a newer program made and that this one must leave alone.
pub async fn schema_state(db: &Db) -> Result<SchemaState> {
    let pending = engine::pending(db, STEPS).await?;
    Ok(match pending.len() {
        0 if engine::is_ahead(db, STEPS).await? => SchemaState::Ahead,
        0 => SchemaState::Current,
        all if all == STEPS.len() => SchemaState::Empty,
        _ => SchemaState::Behind(pending),
    })
}

/// What an older program must not do with tables that a newer one has widened: there are some that it does
/// not know.
///
/// # Errors
/// `Refused` for such tables.
pub async fn refuse_ahead(db: &Db) -> Result<()> {
    match schema_state(db).await? {
        SchemaState::Ahead => Err(Error::Refused(
            "a newer Mailward has migrated this database; use the newer binary for this".to_owned(),
        )),
        SchemaState::Current | SchemaState::Empty | SchemaState::Behind(_) => Ok(()),
    }
}

/// Applies every step that is missing, all or none.
///
/// # Errors
/// `Refused` for tables that a newer program made.
pub async fn migrate(db: &Db, now: Millis) -> Result<Applied> {
    engine::migrate(db, STEPS, now).await
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
    files::secret(file).map_err(|why| Error::bad_value(option, format!("{}: {why}", file.display())))
}

/// Adds the password as a parameter: such a URL may name several hosts, which no URL library reads.
fn with_password(database: &Database, password: &str) -> Result<Zeroizing<String>> {
    let url = &database.url;
    if database.url_has_password() {
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
        let with_password = |url: &str, password: &str| {
            super::with_password(&Database { url: url.to_owned(), ..Database::default() }, password)
        };
        let url = with_password("postgres://mail@a,b/desk", "p&s s+%").expect("a URL");
        assert_eq!(*url, "postgres://mail@a,b/desk?password=p%26s%20s%2B%25");
        let url = with_password("postgres://mail@a/desk?sslmode=require", "x").expect("a URL");
        assert_eq!(*url, "postgres://mail@a/desk?sslmode=require&password=x");
        with_password("postgres://mail:old@a/desk", "x").expect_err("two passwords");
    }
}
