//! SQLite: the file, its connections for reading, statements and what their errors mean.
//! Changes go through `writer`, which commits whoever is waiting together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::checkpoint::Checkpoints;
use super::kept::Kept;
use super::value::{Names, Source};
use super::writer::Writer;
use super::{Arm, Options, Row, Tx, Value, bad_url, first_line, params, unavailable};
use crate::error::{Error, Result};
use crate::machine::files;

const MOST_IDLE_READERS: usize = 64;
const CACHED_STATEMENTS: usize = 256;
/// For the pages of the connections that read at the same time, one on each core; 8 MiB hold the inner
/// pages of the trees of a million accounts.
const CACHE_KIB: usize = 16 * 1024;
/// Pages of the log (31 MiB) after which it begins anew. SQLite's own thousand are a hundred changes, whose pages at
/// the end of the tables are written again and again.
const PAGES_OF_LOG: u32 = 8000;

pub(super) struct Sqlite {
    path: PathBuf,
    busy_timeout: Duration,
    pub writer: Writer,
    /// Idle readers, last in first out; `None` once closed.
    readers: Mutex<Option<Vec<Tx>>>,
}

impl Sqlite {
    pub fn open(path: &str, options: &Options) -> Result<Self> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path == ":memory:" || path.contains('?') {
            return Err(bad_url("sqlite: wants the path of a file, without options"));
        }
        let path = PathBuf::from(path);
        create_private(&path)?;
        let cannot = |cause: rusqlite::Error| bad_url(format!("cannot open {}: {cause}", path.display()));
        let mut connection =
            connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, options.busy_timeout).map_err(cannot)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
            .map_err(cannot)?;
        let checkpoints = Checkpoints::beside(&mut connection, &path, PAGES_OF_LOG).map_err(cannot)?;
        // SQLite falls back to reading where it may not write.
        if connection.is_readonly("main").map_err(cannot)? {
            return Err(bad_url(format!("{} is not writable", path.display())));
        }

        Ok(Self {
            path,
            busy_timeout: options.busy_timeout,
            writer: Writer::start(connection, checkpoints)?,
            readers: Mutex::new(Some(Vec::new())),
        })
    }

    pub fn reader(&self) -> Result<Tx> {
        if let Some(tx) = lock(&self.readers).as_mut().ok_or_else(closed)?.pop() {
            return Ok(tx);
        }
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY, self.busy_timeout)
            .map_err(|cause| error("opening the database for reading", cause))?;
        Ok(Tx { arm: Arm::Sqlite(connection), failed: false, uncounted: false, kept: Some(Kept::default()) })
    }

    pub fn snapshot(&self) -> Result<Tx> {
        let tx = self.reader()?;
        control(&tx, "BEGIN")?;
        Ok(tx)
    }

    /// A reader that met an error is closed instead; the next one opens the file anew.
    pub fn take_back(&self, tx: Tx) {
        let usable = !tx.failed && (sqlite(&tx).is_autocommit() || control(&tx, "ROLLBACK").is_ok());
        if let Some(readers) = lock(&self.readers).as_mut()
            && usable
            && readers.len() < MOST_IDLE_READERS
        {
            readers.push(tx);
        }
    }

    /// The writer's connection closes last, which folds the write-ahead log into the file.
    pub async fn close(&self) {
        lock(&self.readers).take();
        if let Some(thread) = self.writer.stop() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the database's writer ended with a panic");
            }
        }
    }

    /// One step, in one read transaction: writers go on, and the copy shows one moment.
    pub async fn backup_to(&self, target: &Path) -> Result<()> {
        let (source, target, patience) = (self.path.clone(), target.to_owned(), self.busy_timeout);
        let copied = tokio::task::spawn_blocking(move || {
            new_private_file(&target).map_err(|cause| {
                Error::Refused(format!("cannot create {} for the backup: {cause}", target.display()))
            })?;
            copy(&source, &target, patience).inspect_err(|_| {
                let _ = fs::remove_file(&target);
            })
        });
        copied.await.unwrap_or_else(|cause| Err(Error::caused("copying the database", cause)))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        lock(&self.readers).take();
        // A change may hold the last clone: the writer cannot wait for itself.
        if let Some(thread) = self.writer.stop()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn closed() -> Error {
    unavailable("the database is closed", 5)
}

// Files ------------------------------------------------------------------------------------

/// SQLite syncs the folder for its logs, but not for a file that it finds already there.
fn new_private_file(path: &Path) -> std::io::Result<()> {
    files::new_private(path)?;
    files::sync_folder(path)
}

/// The write-ahead log and its index take over the mode of the database's file.
fn create_private(path: &Path) -> Result<()> {
    match new_private_file(path).and_then(|()| files::give_to_folders_owner(path)) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(bad_url(format!("cannot create {}: {cause}", path.display()))),
    }
}

pub(super) fn connect(
    path: &Path,
    access: OpenFlags,
    busy_timeout: Duration,
) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(busy_timeout)?;
    // Otherwise SQLite plans most cached statements anew at each run, to suit the values bound to
    // them: that was most of the work of reading an account.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cache = (CACHE_KIB / cores).clamp(2 * 1024, 8 * 1024);
    // Negative: KiB, not pages.
    connection.pragma_update(None, "cache_size", -i64::try_from(cache).unwrap_or(2048))?;
    Ok(connection)
}

fn copy(source: &Path, target: &Path, patience: Duration) -> Result<()> {
    let context = "copying the database";
    let from = connect(source, OpenFlags::SQLITE_OPEN_READ_ONLY, patience).map_err(|e| error(context, e))?;
    let mut to =
        connect(target, OpenFlags::SQLITE_OPEN_READ_WRITE, patience).map_err(|e| error(context, e))?;
    let copied = Backup::new(&from, &mut to).and_then(|backup| backup.step(-1));
    match copied.map_err(|e| error(context, e))? {
        StepResult::Done => Ok(()),
        // Non-exhaustive; everything else means that the copy is not whole.
        _ => Err(unavailable("another program holds the database", 5)),
    }
}

// Statements -------------------------------------------------------------------------------

pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value<'_>]) -> Result<u64> {
    let mut statement = connection.prepare_cached(sql).map_err(|cause| failed(connection, sql, cause))?;
    bind(&mut statement, sql, params)?;
    let touched = statement.raw_execute().map_err(|cause| failed(connection, sql, cause))?;
    Ok(touched as u64)
}

pub(super) fn query<T>(
    connection: &Connection,
    sql: &'static str,
    params: &[Value<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(|cause| failed(connection, sql, cause))?;
    bind(&mut statement, sql, params)?;
    let names = names(sql, &statement);
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|cause| failed(connection, sql, cause))? {
        found.push(read(&Row(Source::Sqlite(row, &names)))?);
    }
    Ok(found)
}

/// The names of a statement's columns, read once on each thread: they stand in the statement's text.
fn names(sql: &'static str, statement: &rusqlite::Statement<'_>) -> Rc<Names> {
    thread_local! {
        static KNOWN: RefCell<HashMap<(*const u8, usize), Rc<Names>>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let names = known.entry((sql.as_ptr(), sql.len())).or_insert_with(|| Rc::new(Names::of(statement)));
        Rc::clone(names)
    })
}

pub(super) fn refresh(kept: &mut Kept, connection: &Connection) -> Result<()> {
    kept.refresh(connection).map_err(|cause| error("looking for changes", cause))
}

pub(super) fn script(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(|cause| failed(connection, sql, cause))
}

/// `$2` is a *name* to SQLite, numbered by first appearance, so it is bound by what it says.
fn bind(statement: &mut rusqlite::Statement<'_>, sql: &str, params: &[Value<'_>]) -> Result<()> {
    if statement.parameter_count() != params.len() {
        return Err(Error::internal(format_args!("{} parameters given: {}", params.len(), first_line(sql))));
    }
    for place in 1..=params.len() {
        let number =
            statement.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number
            .and_then(|number| params.get(number.wrapping_sub(1)))
            .ok_or_else(|| Error::internal(format_args!("parameters are $1, $2, …: {}", first_line(sql))))?;
        statement.raw_bind_parameter(place, value).map_err(|cause| error(sql, cause))?;
    }
    Ok(())
}

pub(super) async fn durability(tx: &mut Tx) -> Result<Vec<(String, String)>> {
    let journal =
        tx.query_one("PRAGMA journal_mode", params![], |row| row.get::<String>("journal_mode")).await?;
    let synchronous =
        tx.query_one("PRAGMA synchronous", params![], |row| row.get::<i64>("synchronous")).await?;
    let synchronous = match synchronous {
        0 => "off".to_owned(),
        1 => "normal".to_owned(),
        2 => "full".to_owned(),
        3 => "extra".to_owned(),
        other => other.to_string(),
    };
    Ok(vec![
        ("journal_mode".to_owned(), journal),
        ("synchronous".to_owned(), synchronous),
        ("sqlite_version".to_owned(), rusqlite::version().to_owned()),
    ])
}

pub(super) fn sqlite(tx: &Tx) -> &Connection {
    match &tx.arm {
        Arm::Sqlite(connection) => connection,
        Arm::Postgres(_) => unreachable!("connections of this file are SQLite's"),
    }
}

pub(super) fn control(tx: &Tx, sql: &str) -> Result<()> {
    execute(sqlite(tx), sql, params![]).map(|_| ())
}

// Errors -----------------------------------------------------------------------------------

fn failed(connection: &Connection, sql: &str, cause: rusqlite::Error) -> Error {
    if cause.sqlite_error_code() == Some(ErrorCode::ReadOnly) && connection.is_readonly("main") == Ok(true) {
        return Error::internal(format_args!(
            "a connection for reading was asked to write: {}",
            first_line(sql)
        ));
    }
    error(sql, cause)
}

/// Why something is unavailable that was written, and then not synced.
pub(super) const NOT_SYNCED: &str = "the disk reports an error where it should sync";

fn error(doing: &str, cause: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(code, message) = &cause else {
        return Error::internal(format_args!("{}: {cause}", first_line(doing)));
    };
    if let ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY = code.extended_code {
        let primary = code.extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY;
        return Error::Unique(constraint_name(message.as_deref().unwrap_or_default(), primary));
    }
    if code.extended_code == ffi::SQLITE_CONSTRAINT_TRIGGER {
        return Error::ReadOnly; // see `hold`, whose triggers are the only ones
    }
    let (why, seconds) = match code.code {
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_FSYNC => (NOT_SYNCED, 30),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ("another program holds the database", 2),
        ErrorCode::DiskFull => ("the disk is full", 30),
        ErrorCode::ReadOnly => ("the database is read-only", 30),
        ErrorCode::SystemIoFailure => ("the disk reports an error", 30),
        ErrorCode::CannotOpen => ("the database file cannot be opened", 30),
        // Everything else is our mistake or a damaged file.
        _ => return Error::internal(format_args!("{}: {cause}", first_line(doing))),
    };
    tracing::warn!(%cause, "{why}");
    unavailable(why, seconds)
}

/// `UNIQUE constraint failed: account.zoid, account.name` becomes `account_zoid_name_key`, the
/// name that PostgreSQL gives by default; a primary key becomes `account_pkey`.
fn constraint_name(message: &str, primary: bool) -> String {
    let columns = message.rsplit_once("failed: ").map_or(message, |(_, columns)| columns);
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.').unwrap_or(("", column));
        if name.is_empty() {
            name.push_str(table);
        }
        if !primary {
            name.push('_');
            name.push_str(column);
        }
    }
    name + if primary { "_pkey" } else { "_key" }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// How often a cached statement is planned again when other values are bound to it.
    fn plans_again(connection: &Connection) -> i32 {
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS person (org INTEGER, id INTEGER, PRIMARY KEY (org, id));
                 CREATE TABLE IF NOT EXISTS account (org INTEGER, id INTEGER, person INTEGER, PRIMARY KEY (org, id));
                 CREATE INDEX IF NOT EXISTS account_person ON account (org, person)",
            )
            .expect("tables");
        let sql =
            "SELECT p.id AS person, a.id FROM person p JOIN account a ON a.org = p.org AND a.person = p.id
                   WHERE p.org = $1 AND p.id = $2";
        for number in 7..17_i64 {
            query(connection, sql, params![10_000_001_i64, number], |row| row.get::<i64>("person"))
                .expect("an answer");
        }
        let statement = connection.prepare_cached(sql).expect("a statement");
        statement.get_status(StatementStatus::RePrepare)
    }

    #[test]
    fn a_cached_statement_keeps_its_plan_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plans.sqlite");
        let plain = Connection::open(&path).expect("a new file");
        assert!(plans_again(&plain) > 0, "SQLite's default has changed; the setting may go");
        let ours =
            connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, Duration::from_secs(1)).expect("a connection");
        assert_eq!(plans_again(&ours), 0);
    }

    #[test]
    fn a_unique_rule_has_the_name_that_postgresql_would_give_it() {
        let of = |columns: &str| format!("UNIQUE constraint failed: {columns}");
        assert_eq!(constraint_name(&of("account.address"), false), "account_address_key");
        assert_eq!(constraint_name(&of("account.zoid, account.name"), false), "account_zoid_name_key");
        assert_eq!(constraint_name(&of("account.id"), true), "account_pkey");
    }
}
