//! One projection file: opening, writing in place, rebuilding and checking it.
//! Servers keep it open all the time, so it is never replaced by a rename, and readers see
//! either the old rows or the new ones.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::alone::Alone;
use super::rows::{Kind, Rows, Table};
use super::{Applied, CONTRACT_VERSION, Change, Drift, Extent, MailboxState};
use crate::error::{Error, Result};
use crate::store::engine::Checkpoints;

const DIR_MODE: u32 = 0o2770;
pub(super) const FILE_MODE: u32 = 0o660;
/// A reader never blocks a writer in WAL mode; only a second writer makes us wait.
const BUSY: Duration = Duration::from_secs(5);
/// Pages of the log (16 MiB) after which it begins anew.
const PAGES_OF_LOG: u32 = 4000;

pub(super) struct File {
    kind: &'static Kind,
    dir: PathBuf,
    path: PathBuf,
    group: Option<u32>,
    instance: String,
    conn: Option<Connection>,
    /// Folds the log of `conn`, beside whoever waits for a change.
    checkpoints: Checkpoints,
    /// Device and inode that `conn` has open.
    identity: Option<(u64, u64)>,
    damage: Option<String>,
    /// Somebody else put another file in its place; servers that run still have the old one open.
    replaced: bool,
    /// Files somebody deleted under us. Servers that run still read them, so they are kept up to
    /// date until this process ends.
    deleted: Vec<Connection>,
}

impl File {
    pub fn open(kind: &'static Kind, dir: &Path, group: Option<u32>, instance: &str) -> Result<Self> {
        let mut file = Self {
            kind,
            dir: dir.to_owned(),
            path: dir.join(kind.file_name),
            group,
            instance: instance.to_owned(),
            conn: None,
            checkpoints: Checkpoints::default(),
            identity: None,
            damage: None,
            replaced: false,
            deleted: Vec::new(),
        };
        if !dir.is_dir() {
            fs::create_dir_all(dir).map_err(|e| Error::caused("making the projection's directory", e))?;
        }
        set_access(dir, DIR_MODE, group)
            .map_err(|e| Error::caused("setting the projection directory's mode", e))?;
        file.connect();
        Ok(file)
    }

    /// See [`super::Projection::alone`].
    pub fn alone(&self) -> Result<Option<Alone>> {
        let taken = Alone::attempt(&self.beside("-lock"), self.group);
        taken.map_err(|e| Error::caused("taking the lock of the mail projection", e))
    }

    /// The position this file holds; `None` when it needs a rebuild.
    pub fn position(&mut self) -> Option<i64> {
        if self.damage().is_some() {
            return None;
        }
        match self.conn.as_ref().map(position) {
            Some(Ok(position)) => Some(position),
            Some(Err(_)) | None => None,
        }
    }

    /// Why this file has to be rebuilt. Looks again at what was found damaged before: another
    /// process may have rebuilt it.
    pub fn damage(&mut self) -> Option<String> {
        if identity(&self.path) != self.identity || self.conn.is_none() {
            if let Some(conn) = self.conn.take() {
                self.replaced = true;
                self.deleted.truncate(3);
                self.deleted.insert(0, conn);
            }
            self.connect();
        } else if self.damage.is_some() {
            self.damage = self.conn.as_ref().and_then(|conn| self.inspect(conn).err());
        }
        self.damage.clone()
    }

    /// Whether there was another file in its place since this was asked last.
    pub fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Opens the file once more: what was altered behind SQLite's back is not seen through its cache.
    pub fn reopen(&mut self) -> Option<String> {
        if identity(&self.path) == self.identity {
            self.connect();
        }
        self.damage()
    }

    fn disconnect(&mut self) {
        self.checkpoints.wait();
        self.conn = None;
    }

    fn connect(&mut self) {
        self.disconnect();
        self.identity = identity(&self.path);
        if self.identity.is_none() {
            self.damage = Some(format!("{} does not exist", self.path.display()));
            return;
        }
        self.mend_permissions();
        match connect(&self.path).and_then(|mut conn| {
            let checkpoints = Checkpoints::beside(&mut conn, &self.path, PAGES_OF_LOG)?;
            Ok((conn, checkpoints))
        }) {
            // A mail server that found no file made an empty one of its own.
            Ok((conn, _)) if conn.is_readonly("main").unwrap_or(true) => {
                self.damage = Some(format!("{} cannot be written by this user", self.path.display()));
            }
            Ok((conn, checkpoints)) => {
                self.damage = self.inspect(&conn).err();
                (self.conn, self.checkpoints) = (Some(conn), checkpoints);
            }
            Err(e) => self.damage = Some(format!("{} cannot be opened: {e}", self.path.display())),
        }
    }

    /// Whether schema, contract version and origin are ours.
    fn inspect(&self, conn: &Connection) -> Result<(), String> {
        let path = self.path.display();
        let looks = || -> rusqlite::Result<_> {
            let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            let have = schema(conn)?;
            if have != expected_schema(self.kind)? || mode != "wal" {
                return Ok(Some(format!("{path} has another schema")));
            }
            let version: i64 = conn.query_row("SELECT version FROM contract", [], |row| row.get(0))?;
            if version != CONTRACT_VERSION {
                return Ok(Some(format!("{path} holds contract version {version}")));
            }
            let instance: String =
                conn.query_row("SELECT instance FROM projection WHERE id = 1", [], |row| row.get(0))?;
            Ok((instance != self.instance).then(|| format!("{path} was made from another database")))
        };
        match looks() {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(why),
            Err(e) => Err(format!("{path} cannot be read: {e}")),
        }
    }

    pub fn write(
        &mut self,
        changes: &[Change],
        domains: Option<&[String]>,
        decide: &impl Fn(i64) -> Result<i64, Applied>,
    ) -> Result<Applied> {
        if let Some(why) = self.damage() {
            return Ok(Applied::NeedsRebuild { why });
        }
        let Some(conn) = &self.conn else {
            return Ok(Applied::NeedsRebuild { why: format!("{} is not open", self.path.display()) });
        };
        match write(self.kind, conn, changes, domains, decide) {
            Ok(applied) => {
                let kind = self.kind;
                self.deleted.retain(|conn| {
                    matches!(
                        write(kind, conn, changes, domains, decide),
                        Ok(Applied::Done | Applied::AlreadyThere)
                    )
                });
                Ok(applied)
            }
            Err(e) if passes(&e) => Err(Error::caused("writing the mail projection", e)),
            Err(e) => {
                let why = format!("{} is damaged: {e}", self.path.display());
                self.damage = Some(why.clone());
                Ok(Applied::NeedsRebuild { why })
            }
        }
    }

    /// See [`super::Projection::in_contact`]. A file that has to be rebuilt is left alone.
    pub fn in_contact(&mut self, now: i64) -> Result<()> {
        if self.damage().is_some() {
            return Ok(());
        }
        let sql = "INSERT INTO contact (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = ?1";
        for conn in self.conn.iter().chain(&self.deleted) {
            let noted = conn.prepare_cached(sql).and_then(|mut statement| statement.execute([now]));
            noted.map_err(|e| Error::caused("writing the mail projection", e))?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn contact(&self) -> i64 {
        let conn = self.conn.as_ref().expect("an open file");
        conn.query_row("SELECT at FROM contact", [], |row| row.get(0)).expect("a moment")
    }

    /// Empties the file inside a transaction that is still open, by the gentlest way that works.
    pub fn begin_rebuild(&mut self) -> Result<Rebuilding<'_>> {
        // What the cache still holds may be damaged on disk.
        self.reopen();
        let mut anew = false;
        if self.conn.is_none() {
            self.create()?;
            anew = true;
        }
        if let Err(e) = self.empty() {
            if passes(&e) {
                return Err(Error::caused("emptying the mail projection", e));
            }
            if self.reset().is_err() || self.empty().is_err() {
                self.create()?;
                anew = true;
            }
        }
        let failed = |e| Error::caused("rebuilding the mail projection", e);
        let mut copies = Vec::new();
        for (number, conn) in self.conn.iter().chain(&self.deleted).enumerate() {
            match begin_empty(self.kind, conn) {
                Ok(transaction) => copies.push(transaction),
                Err(e) if number == 0 => return Err(failed(e)),
                Err(_) => {}
            }
        }
        Ok(Rebuilding { kind: self.kind, instance: &self.instance, copies, anew })
    }

    fn empty(&self) -> rusqlite::Result<()> {
        self.conn.as_ref().map_or(Err(rusqlite::Error::InvalidQuery), |conn| {
            conn.pragma_update(None, "journal_mode", "WAL")?;
            begin_empty(self.kind, conn).map(drop)
        })
    }

    /// Empties a file that is corrupt beyond reading, in place, so that servers that run go on with it.
    fn reset(&mut self) -> rusqlite::Result<()> {
        let refused = || rusqlite::Error::InvalidQuery;
        if self.conn.as_ref().is_some_and(|conn| reset_in_place(conn).is_ok()) {
            return Ok(());
        }
        // Without a header SQLite does not know that the file is in WAL mode, and readers keep it
        // from finding out. Our own connection ends first: closing any descriptor of a file drops
        // the process's locks on it.
        self.disconnect();
        let page = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .and_then(|file| file.write_all_at(&blank_page(), 0));
        page.map_err(|_| refused())?;
        self.connect();
        Ok(())
    }

    /// Makes a new file, without tables until the first transaction ends: a server that finds no
    /// table answers "try again", one that finds an empty table answers "unknown user".
    fn create(&mut self) -> Result<()> {
        let failed = |e| Error::caused("making a projection file", e);
        self.disconnect();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            match fs::remove_file(&name) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&self.path).map_err(failed)?;
        set_access(&self.path, FILE_MODE, self.group).map_err(failed)?;
        self.connect();
        if self.conn.is_none() {
            return Err(Error::internal(
                self.damage.as_deref().unwrap_or("a new projection file cannot be opened"),
            ));
        }
        Ok(())
    }

    /// After a rebuild: the log goes back into the file, as far as readers let it.
    pub fn settle(&mut self) {
        if let Some(conn) = &self.conn {
            let _busy_readers_do_it_later = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        self.damage = self.conn.as_ref().and_then(|conn| self.inspect(conn).err());
    }

    pub fn begin_verify(&mut self, domains: &[String]) -> Result<Verifying<'_>> {
        let Some(conn) = &self.conn else {
            return Err(Error::internal(format_args!("{} is not open", self.path.display())));
        };
        let failed = |e| Error::caused("reading the mail projection", e);
        let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Deferred).map_err(failed)?;
        let mut verifying = Verifying {
            kind: self.kind,
            path: &self.path,
            transaction,
            seen: HashSet::new(),
            differing: BTreeSet::new(),
            domains_differ: false,
            broken: None,
        };
        verifying.check_whole(domains);
        Ok(verifying)
    }

    /// The wrong modes and groups of directory, file and write-ahead log.
    pub fn check_permissions(&self, found: &mut Vec<String>) {
        for (path, mode) in self.modes() {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if meta.mode() & 0o7777 != mode {
                found.push(format!("{} has mode {:o}, not {mode:o}", path.display(), meta.mode() & 0o7777));
            }
            if let Some(group) = self.group.filter(|group| *group != meta.gid()) {
                found.push(format!("{} belongs to group {}, not {group}", path.display(), meta.gid()));
            }
        }
    }

    /// Sets right what [`Self::check_permissions`] finds, as far as we own it.
    pub fn mend_permissions(&self) {
        for (path, mode) in self.modes() {
            let _reported_by_verify = set_access(&path, mode, self.group);
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}{suffix}", self.kind.file_name))
    }

    fn modes(&self) -> impl Iterator<Item = (PathBuf, u32)> {
        [
            (self.dir.clone(), DIR_MODE),
            (self.beside(""), FILE_MODE),
            (self.beside("-wal"), FILE_MODE),
            (self.beside("-shm"), FILE_MODE),
            (self.beside("-lock"), FILE_MODE),
        ]
        .into_iter()
        .filter(|(path, _)| path.exists())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// A file, emptied and being filled again in one transaction. Dropping it leaves the old rows.
pub(super) struct Rebuilding<'a> {
    kind: &'static Kind,
    instance: &'a str,
    /// The file itself first, then those deleted under us.
    copies: Vec<Transaction<'a>>,
    pub anew: bool,
}

impl Rebuilding<'_> {
    pub fn insert(&self, state: &MailboxState) -> Result<()> {
        let rows = (self.kind.rows)(state);
        for copy in &self.copies {
            insert(self.kind, copy, &rows).map_err(|e| Error::caused("rebuilding the mail projection", e))?;
        }
        Ok(())
    }

    pub fn commit(self, position: i64, domains: &[String]) -> Result<()> {
        let failed = |e| Error::caused("rebuilding the mail projection", e);
        for copy in self.copies {
            if self.kind.has_domains {
                write_domains(&copy, domains).map_err(failed)?;
            }
            copy.execute(
                "INSERT INTO projection (id, position, instance) VALUES (1, ?1, ?2)",
                params![position, self.instance],
            )
            .map_err(failed)?;
            copy.commit().map_err(failed)?;
        }
        Ok(())
    }
}

/// A comparison of one file with all states, inside one read transaction.
pub(super) struct Verifying<'a> {
    kind: &'static Kind,
    path: &'a Path,
    transaction: Transaction<'a>,
    seen: HashSet<i64>,
    differing: BTreeSet<i64>,
    domains_differ: bool,
    broken: Option<String>,
}

impl Verifying<'_> {
    fn check_whole(&mut self, domains: &[String]) {
        let whole = || -> rusqlite::Result<_> {
            let health: String =
                self.transaction.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            let have = if self.kind.has_domains { read_domains(&self.transaction)? } else { sorted(domains) };
            Ok((health, have))
        };
        match whole() {
            Ok((health, have)) => {
                self.domains_differ = have != sorted(domains);
                if health != "ok" {
                    self.broken = Some(health);
                }
            }
            Err(e) => self.broken = Some(e.to_string()),
        }
    }

    pub fn compare(&mut self, state: &MailboxState) {
        self.seen.insert(state.account_id);
        for (table, rows) in self.kind.tables.iter().zip((self.kind.rows)(state)) {
            match load(table, &self.transaction, state.account_id) {
                Ok(have) if have == rows => {}
                Ok(_) => {
                    self.differing.insert(state.account_id);
                }
                Err(e) => self.broken = Some(e.to_string()),
            }
        }
    }

    pub fn finish(mut self, drift: &mut Drift) {
        if let Err(e) = self.find_foreign() {
            self.broken = Some(e.to_string());
        }
        if let Some(why) = self.broken {
            drift.needs_rebuild = Some(format!("{} is damaged: {why}", self.path.display()));
        }
        drift.accounts.append(&mut self.differing);
        drift.domains |= self.domains_differ;
    }

    fn find_foreign(&mut self) -> rusqlite::Result<()> {
        for table in &self.kind.tables {
            let mut statement =
                self.transaction.prepare(&format!("SELECT DISTINCT account_id FROM {}", table.name))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // A hand-made row may hold anything; what is no number has no account to mend.
                let id: i64 = row.get(0)?;
                if !self.seen.contains(&id) {
                    self.differing.insert(id);
                }
            }
        }
        Ok(())
    }
}

fn write(
    kind: &Kind,
    conn: &Connection,
    changes: &[Change],
    domains: Option<&[String]>,
    decide: &impl Fn(i64) -> Result<i64, Applied>,
) -> rusqlite::Result<Applied> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let held = position(&transaction)?;
    let upto = match decide(held) {
        Ok(upto) => upto,
        Err(outcome) => return Ok(outcome),
    };
    for change in changes {
        let new = change.state.as_ref().map_or_else(Rows::default, kind.rows);
        let tables = match change.extent {
            Extent::Whole => &kind.tables[..],
            Extent::WithoutBelongings => &kind.tables[..1],
        };
        for (table, new) in tables.iter().zip(new) {
            let old = load(table, &transaction, change.account_id)?;
            if old == new {
                continue;
            }
            if let (Some(update), [_], [row]) = (table.update, old.as_slice(), new.as_slice())
                && transaction.prepare_cached(update)?.execute(rusqlite::params_from_iter(row))? == 1
            {
                continue;
            }
            transaction.prepare_cached(table.delete)?.execute([change.account_id])?;
            let mut statement = transaction.prepare_cached(table.insert)?;
            for row in new {
                statement.execute(rusqlite::params_from_iter(row))?;
            }
        }
    }
    if let Some(domains) = domains.filter(|_| kind.has_domains) {
        write_domains(&transaction, domains)?;
    }
    if upto != held {
        transaction.prepare_cached("UPDATE projection SET position = ?1 WHERE id = 1")?.execute([upto])?;
    }
    transaction.commit()?;
    Ok(Applied::Done)
}

fn load(table: &Table, conn: &Connection, account_id: i64) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = conn.prepare_cached(table.select)?;
    let columns = statement.column_count();
    let mut rows = statement.query([account_id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?);
    }
    Ok(found)
}

fn insert(kind: &Kind, conn: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    for (table, rows) in kind.tables.iter().zip(rows) {
        let mut statement = conn.prepare_cached(table.insert)?;
        for row in rows {
            statement.execute(rusqlite::params_from_iter(row))?;
        }
    }
    Ok(())
}

fn read_domains(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare("SELECT name FROM domain ORDER BY name")?.query_map([], |row| row.get(0))?.collect()
}

fn write_domains(conn: &Connection, domains: &[String]) -> rusqlite::Result<()> {
    let new = sorted(domains);
    let old = read_domains(conn)?;
    for gone in old.iter().filter(|name| new.binary_search(name).is_err()) {
        conn.execute("DELETE FROM domain WHERE name = ?1", [gone])?;
    }
    for name in new.iter().filter(|name| old.binary_search(name).is_err()) {
        conn.execute("INSERT INTO domain (name) VALUES (?1)", [name])?;
    }
    Ok(())
}

fn sorted(domains: &[String]) -> Vec<String> {
    let all: BTreeSet<_> = domains.iter().map(|name| name.to_ascii_lowercase()).collect();
    all.into_iter().collect()
}

pub(super) fn peek(path: &Path) -> rusqlite::Result<(i64, String)> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY)?;
    conn.query_row("SELECT position, instance FROM projection WHERE id = 1", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

fn position(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT position FROM projection WHERE id = 1")?.query_row([], |row| row.get(0))
}

/// Tables that are as they should be are only emptied: Dovecot 2.3 fails one look-up per process
/// after every change of the schema.
fn begin_empty<'a>(kind: &Kind, conn: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if schema(&transaction)? == expected_schema(kind)? {
        for table in kind.tables.iter().map(|table| table.name).chain(["projection", "contract"]) {
            transaction.execute_batch(&format!("DELETE FROM {table}"))?;
        }
        if kind.has_domains {
            transaction.execute_batch("DELETE FROM domain")?;
        }
    } else {
        let objects: Vec<(String, String)> = transaction
            .prepare(
                "SELECT type, name FROM sqlite_master \
                 WHERE type IN ('view', 'trigger', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 ORDER BY type DESC",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (sort, name) in objects {
            transaction.execute_batch(&format!("DROP {sort} IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
        }
        transaction.execute_batch(kind.schema)?;
    }
    transaction.execute("INSERT INTO contract (version) VALUES (?1)", [CONTRACT_VERSION])?;
    Ok(transaction)
}

fn schema(conn: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    conn.prepare("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' ORDER BY type, name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

fn expected_schema(kind: &Kind) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let blank = Connection::open_in_memory()?;
    blank.execute_batch(kind.schema)?;
    schema(&blank)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY)?;
    // A statement keeps its plan whatever is bound to it; SQLite would plan anew at each run.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(32);
    // NORMAL: no disk sync per change, only at checkpoints. After a power loss the newest changes may be
    // missing, together with their position, and are applied again at start. OFF would save
    // the checkpoint's sync, too, but could leave a file whose position is newer than its rows.
    // The value does not last in the file; readers that check points have their own.
    let _damage_is_found_by_inspect = conn.pragma_update(None, "synchronous", "NORMAL");
    Ok(conn)
}

/// The first page of an empty database in WAL mode (<https://www.sqlite.org/fileformat2.html>, 1.3 and 1.6).
fn blank_page() -> [u8; 4096] {
    let mut page = [0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    // Page size 4096, WAL for writers and readers, no reserved bytes, the three fixed payload fractions.
    page[16..24].copy_from_slice(&[0x10, 0x00, 2, 2, 0, 64, 32, 32]);
    page[27] = 1; // change counter
    page[31] = 1; // pages in the file
    page[59] = 1; // UTF-8
    page[95] = 1; // the change counter for which the page count holds
    // An empty leaf of a table tree, its cells starting at the end of the page.
    page[100] = 0x0d;
    page[105] = 0x10;
    page
}

/// Documented by SQLite as the way to empty a corrupt database under its own locks.
fn reset_in_place(conn: &Connection) -> rusqlite::Result<()> {
    let _so_that_the_schema_was_tried =
        conn.query_row("SELECT 1 FROM sqlite_master", [], |_| Ok(())).optional();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    // Readers of a file whose header is gone hold it for as long as they run.
    conn.busy_timeout(Duration::from_millis(100))?;
    let emptied = conn.execute_batch("VACUUM");
    conn.busy_timeout(BUSY)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    emptied
}

/// Whether the failure says nothing about the file, so that trying again later is right.
fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
        )
    )
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Mode and group, whatever the umask. Root gives a file to the owner of its directory, so that the
/// service can write what a command of the administrator made.
pub(super) fn set_access(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    let owner = match path.parent().map(fs::metadata) {
        Some(Ok(dir)) if rustix::process::geteuid().is_root() && meta.is_file() => Some(dir.uid()),
        Some(_) | None => None,
    };
    if group.is_some_and(|group| group != meta.gid()) || owner.is_some_and(|owner| owner != meta.uid()) {
        std::os::unix::fs::chown(path, owner, group)?;
    }
    if meta.mode() & 0o7777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}
