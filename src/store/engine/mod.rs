//! One door to two databases: the same statement and the same function body run on SQLite
//! and on PostgreSQL. Nothing outside this folder names a driver. Start with [`Db`]; statements
//! run on a [`Tx`]. `migrate` and `schema` describe the tables; the statements live in `store`.

mod checkpoint;
mod connect;
mod flight;
mod hold;
mod kept;
mod lent;
mod migrate;
mod numbers;
mod postgres;
mod schema;
mod sqlite;
mod value;
mod writer;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use crate::params;
pub(super) use checkpoint::Checkpoints;
pub use migrate::{Applied, Step, is_ahead, migrate, newest_known, pending};
pub use schema::schema;
pub use value::{Column, Row, Value};

use crate::domain::secret::Fingerprint;
use crate::error::{Error, Result};
use flight::Wants;

/// How a database is reached. The defaults suit a server; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Options {
    /// PostgreSQL: connections at most.
    pub pool_size: usize,
    /// PostgreSQL: how long one server may take to accept a connection (each host of the URL).
    /// A `connect_timeout` in the URL wins.
    pub connect_timeout: Duration,
    /// PostgreSQL: how long a request waits for a free connection.
    pub wait_timeout: Duration,
    /// PostgreSQL: how long one statement may take before its connection is given up.
    pub statement_timeout: Duration,
    /// PostgreSQL: PEM file of the authorities to trust instead of the public ones; demands TLS.
    pub tls_root_cert: Option<PathBuf>,
    /// SQLite: how long to wait while another program (the command line) writes.
    pub busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool_size: 16,
            connect_timeout: Duration::from_secs(3),
            wait_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            tls_root_cert: None,
            busy_timeout: Duration::from_secs(5),
        }
    }
}

/// Which database is behind a [`Db`]. For telling people; statements do not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    Sqlite,
    Postgres,
}

/// The database. Cheap to clone; all clones share one writer and one pool.
#[derive(Clone)]
pub struct Db(Arc<Engine>);

enum Engine {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

/// How a change came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    Committed(T),
    /// COMMIT was sent, and no answer came: it is stored, or not, or will be.
    Unconfirmed(T),
}

impl<T> Written<T> {
    fn confirmed(self) -> Result<T> {
        match self {
            Self::Committed(value) => Ok(value),
            Self::Unconfirmed(_) => Err(Error::Unconfirmed { change: None }),
        }
    }
}

/// What a write is for: migrations may take long, and must see what another node has just done; so may a change of
/// every row of a table; a rehearsal leaves nothing.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Change,
    ChangeAtLength,
    Rehearsal,
    Migration,
}

impl Db {
    /// Opens `sqlite:PATH` (created with mode 0600 if missing) or `postgres://…`.
    ///
    /// PostgreSQL is not contacted yet; use [`ping`](Db::ping) for that. Refuses an unusable URL
    /// with `Error::Malformed` for `database.url`, and a file that cannot be opened likewise.
    pub fn open(url: &str, options: &Options) -> Result<Self> {
        let engine = if let Some(path) = url.strip_prefix("sqlite:") {
            Engine::Sqlite(sqlite::Sqlite::open(path, options)?)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Engine::Postgres(postgres::Postgres::open(url, options)?)
        } else {
            return Err(bad_url("must begin with sqlite: or postgres://"));
        };
        Ok(Self(Arc::new(engine)))
    }

    pub fn engine(&self) -> EngineKind {
        match &*self.0 {
            Engine::Sqlite(_) => EngineKind::Sqlite,
            Engine::Postgres(_) => EngineKind::Postgres,
        }
    }

    /// Runs one change: durable when this returns `Ok`, no trace on `Err`.
    ///
    /// The closure owns what it captures (`async move |tx| …`), may run several times, and waits
    /// for nothing but its `tx`: no other `Db` call, no timer, no network, and no slow work.
    /// `Unavailable` means that nothing was changed; `Unconfirmed`, that nobody knows. A panic in the closure resurfaces here.
    pub async fn write<T, F>(&self, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.write_as(Manner::Change, change).await
    }

    /// [`write`](Db::write) for a change of whole tables, however large: no statement is given up after
    /// [`Options::statement_timeout`]. For commands, beside which nobody waits.
    pub async fn write_at_length<T, F>(&self, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.write_as(Manner::ChangeAtLength, change).await
    }

    /// [`write`](Db::write) for a change that can be recognized afterwards: where the connection broke
    /// during the commit, it answers `Unconfirmed` with what the change would have answered.
    pub async fn write_once<T, F>(&self, change: F) -> Result<Written<T>>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        match &*self.0 {
            Engine::Sqlite(sqlite) => {
                sqlite.writer.write(Manner::Change, change).await.map(Written::Committed)
            }
            Engine::Postgres(postgres) => postgres.write(Manner::Change, change).await,
        }
    }

    /// Runs a change exactly as `write` would, answers what it answers, and undoes it: nothing is stored.
    /// Only numbers that the database itself counts up (outbox positions on PostgreSQL) are used up.
    pub async fn rehearse<T, F>(&self, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.write_as(Manner::Rehearsal, change).await
    }

    async fn write_as<T, F>(&self, manner: Manner, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.writer.write(manner, change).await,
            Engine::Postgres(postgres) => postgres.write(manner, change).await.and_then(Written::confirmed),
        }
    }

    /// A connection for reading. Each statement sees everything committed before it; two
    /// statements need not agree (use [`snapshot`](Db::snapshot) for that). Writing is refused.
    pub async fn read(&self) -> Result<Reading> {
        let tx = match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.reader()?,
            Engine::Postgres(postgres) => postgres.reader().await?,
        };
        Ok(Reading { tx: Some(tx), home: self.clone() })
    }

    /// A connection for a few statements on one answer. On SQLite they see the same moment, which costs less
    /// than to look at the log anew for each; on PostgreSQL it would cost two round trips, and each sees
    /// everything committed before it.
    pub async fn look(&self) -> Result<Reading> {
        let tx = match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.snapshot()?,
            Engine::Postgres(postgres) => postgres.reader().await?,
        };
        Ok(Reading { tx: Some(tx), home: self.clone() })
    }

    /// A connection whose statements all see the same moment. Keep it short.
    pub async fn snapshot(&self) -> Result<Reading> {
        let tx = match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.snapshot()?,
            Engine::Postgres(postgres) => postgres.snapshot().await?,
        };
        Ok(Reading { tx: Some(tx), home: self.clone() })
    }

    /// Whether the database answers within two seconds; for readiness.
    pub async fn ping(&self) -> Result<()> {
        let answer = async {
            let mut tx = self.read().await?;
            tx.query_one("SELECT 1 AS one", params![], |row| row.get::<i64>("one")).await
        };
        match tokio::time::timeout(Duration::from_secs(2), answer).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(unavailable("the database does not answer", 2)),
        }
    }

    /// How the connections to PostgreSQL stand; `None` for SQLite, which has no such limit.
    pub fn pool(&self) -> Option<PoolStanding> {
        match &*self.0 {
            Engine::Sqlite(_) => None,
            Engine::Postgres(postgres) => {
                let status = postgres.leader.pool.status();
                Some(PoolStanding {
                    idle: status.available,
                    used: status.size.saturating_sub(status.available),
                    max: status.max_size,
                })
            }
        }
    }

    /// Ends the writer after what it has accepted, and closes the pool. Later calls are refused
    /// with `Unavailable`. Dropping the last clone does the same.
    pub async fn close(&self) {
        match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.close().await,
            Engine::Postgres(postgres) => postgres.close(),
        }
    }

    /// Copies a running SQLite database, as of one moment, to a new file (mode 0600). Refuses to
    /// overwrite. On PostgreSQL it is refused: `pg_dump` and `pg_basebackup` do that.
    pub async fn backup_to(&self, target: &Path) -> Result<()> {
        match &*self.0 {
            Engine::Sqlite(sqlite) => sqlite.backup_to(target).await,
            Engine::Postgres(_) => {
                Err(Error::Refused("PostgreSQL is backed up with pg_dump or pg_basebackup".to_owned()))
            }
        }
    }
}

/// Connections of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolStanding {
    pub idle: usize,
    pub used: usize,
    pub max: usize,
}

/// Where a PostgreSQL is, for others who connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPlace {
    /// Names, addresses or socket directories with their ports, in the order of the URL.
    pub hosts: Vec<(String, u16)>,
    /// `None` for the one with the user's name.
    pub database: Option<String>,
    /// Whether the URL asks for TLS, with a certificate that is good.
    pub demands_tls: bool,
}

impl PostgresPlace {
    /// What a URL of PostgreSQL says.
    ///
    /// # Errors
    /// `Malformed` for `database.url`.
    pub fn of(url: &str) -> Result<Self> {
        connect::place(url)
    }
}

/// What the engine itself says about its promises, as (setting, value), for `doctor`.
///
/// SQLite: asked on the connection that writes.
pub async fn durability(db: &Db) -> Result<Vec<(String, String)>> {
    match &*db.0 {
        Engine::Sqlite(_) => db.write(sqlite::durability).await,
        Engine::Postgres(_) => postgres::durability(&mut *db.read().await?).await,
    }
}

/// Whether each connection has a server process of its own. Behind a pooler that gives every
/// transaction whichever connection is free (pgbouncer's `pool_mode = transaction`) it has not: no
/// setting of a session and no prepared statement can be relied on there.
pub async fn keeps_sessions_apart(db: &Db) -> Result<bool> {
    match &*db.0 {
        Engine::Sqlite(_) => Ok(true),
        Engine::Postgres(postgres) => postgres.keeps_sessions_apart().await,
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Db({:?})", self.engine())
    }
}

/// A connection to read on, given back when this is dropped.
pub struct Reading {
    tx: Option<Tx>,
    home: Db,
}

const PRESENT: &str = "the connection is only taken out by drop";

impl Deref for Reading {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        self.tx.as_ref().expect(PRESENT)
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut Tx {
        self.tx.as_mut().expect(PRESENT)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let (Engine::Sqlite(sqlite), Some(tx)) = (&*self.home.0, self.tx.take()) {
            sqlite.take_back(tx);
        }
    }
}

/// Where statements run. Owns its connection, so that no lifetime spreads through signatures.
pub struct Tx {
    arm: Arm,
    /// A statement failed. PostgreSQL then stores nothing and still answers COMMIT with success,
    /// so a body that swallows the error must not be believed, on either engine.
    failed: bool,
    /// A statement failed, or a script ran, since the writer asked last: what they leave SQLite does not count.
    uncounted: bool,
    /// What SQLite's connections for reading keep.
    kept: Option<kept::Kept>,
}

enum Arm {
    Sqlite(rusqlite::Connection),
    Postgres(Box<lent::Lent>),
}

impl Tx {
    /// Runs a statement without rows; how many rows it touched.
    pub async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        let outcome = match &mut self.arm {
            Arm::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Arm::Postgres(lent) => lent.execute(sql, params).await,
        };
        self.ran(sql, outcome)
    }

    /// Runs a statement that must touch exactly one row. None: `Error::Stale`.
    pub async fn execute_one(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<()> {
        match self.execute(sql, params).await? {
            1 => Ok(()),
            0 => Err(Error::Stale),
            many => Err(not_one(many, sql)),
        }
    }

    /// Every row of the answer (`SELECT`, or any statement with `RETURNING`), in its order.
    pub async fn query_all<T>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let outcome = match &mut self.arm {
            Arm::Sqlite(connection) => sqlite::query(connection, sql, params, read),
            Arm::Postgres(lent) => match lent.query(sql, params).await {
                Ok(rows) => rows.iter().map(|row| read(&Row(value::Source::Postgres(row)))).collect(),
                Err(error) => Err(error),
            },
        };
        self.ran(sql, outcome)
    }

    /// The only row, or none. Two rows are an internal error.
    pub async fn query_opt<T>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut rows = self.query_all(sql, params, read).await?;
        if rows.len() > 1 {
            return Err(not_one(rows.len(), sql));
        }
        Ok(rows.pop())
    }

    /// As [`query_opt`](Tx::query_opt) with the key as its only parameter, for what most requests ask: a connection to
    /// SQLite for reading looks for it once, until somebody changes the database.
    pub async fn query_kept<T: Clone + Send + 'static>(
        &mut self,
        sql: &'static str,
        key: &Fingerprint,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        if let (Arm::Sqlite(connection), Some(kept)) = (&self.arm, &mut self.kept) {
            sqlite::refresh(kept, connection)?;
            if let Some(answer) = kept.get(sql, key) {
                return Ok(Some(answer));
            }
        }
        let answer = self.query_opt(sql, params![key], read).await?;
        if let (Some(kept), Some(answer)) = (&mut self.kept, &answer) {
            kept.put(sql, key, answer.clone());
        }
        Ok(answer)
    }

    /// The only row of a statement that always has one. None or two are an internal error.
    pub async fn query_one<T>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let row = self.query_opt(sql, params, read).await?;
        row.ok_or_else(|| not_one(0, sql))
    }

    /// Announces a query of this transaction. PostgreSQL answers it in the same round trip as whatever is
    /// waited for first, and the answer is kept until it is asked for; SQLite, which is not far away, runs it
    /// when it is asked for. A write in between makes it forgotten.
    pub fn prefetch(&mut self, sql: &'static str, params: &[Value<'_>]) {
        match &mut self.arm {
            Arm::Sqlite(_) => {}
            Arm::Postgres(lent) => lent.queue(sql, params, Wants::Prefetched),
        }
    }

    /// Runs a statement, however many rows it touches, without waiting for it: SQLite does it at
    /// once; to PostgreSQL it goes together with the next statement that is waited for or with the
    /// commit, which then tell its errors.
    pub fn send(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<()> {
        self.put(sql, params, Wants::Nothing).map(drop)
    }

    /// [`send`](Tx::send) for an `UPDATE` or `DELETE` that must touch exactly one row. None:
    /// `Error::Stale`, here or where its errors are told.
    pub fn send_one(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<()> {
        match (self.put(sql, params, Wants::OneRow)?, self.engine()) {
            (1, _) | (_, EngineKind::Postgres) => Ok(()),
            (0, EngineKind::Sqlite) => Err(Error::Stale),
            (many, EngineKind::Sqlite) => Err(not_one(many, sql)),
        }
    }

    fn put(&mut self, sql: &'static str, params: &[Value<'_>], wants: Wants) -> Result<u64> {
        let outcome = match &mut self.arm {
            Arm::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Arm::Postgres(lent) => {
                lent.queue(sql, params, wants);
                Ok(0)
            }
        };
        self.ran(sql, outcome)
    }

    /// [`send`](Tx::send) for a statement that answers with exactly one row, which is there once
    /// the change is committed.
    pub fn send_query<T: Send + Sync + 'static>(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        read: fn(&Row<'_>) -> Result<T>,
    ) -> Result<Later<T>> {
        let later = Later(Arc::new(OnceLock::new()));
        let slot = later.clone();
        let fill = move |row: &Row<'_>| {
            let _ = slot.0.set(read(row)?);
            Ok(())
        };
        let outcome = match &mut self.arm {
            Arm::Sqlite(connection) => sqlite::query(connection, sql, params, fill).map(drop),
            Arm::Postgres(lent) => {
                lent.queue(sql, params, Wants::Later(Box::new(fill)));
                Ok(())
            }
        };
        self.ran(sql, outcome).map(|()| later)
    }

    /// Transactions with a number below this have ended: what they wrote is seen, or never will be.
    /// PostgreSQL's oldest running transaction; on SQLite, where changes come one after the other,
    /// everything that is seen.
    pub async fn settled(&mut self) -> Result<i64> {
        if self.engine() == EngineKind::Sqlite {
            return Ok(i64::MAX);
        }
        let sql = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) AS oldest";
        self.query_one(sql, params![], |row| row.get("oldest")).await
    }

    /// Whose work this transaction sees, by PostgreSQL's numbers of transactions (`pg_snapshot`'s text): all below
    /// the first, and below the second all but the listed ones. `None` on SQLite, where changes come
    /// one after the other.
    pub async fn sees(&mut self) -> Result<Option<String>> {
        if self.engine() == EngineKind::Sqlite {
            return Ok(None);
        }
        let sql = "SELECT CAST(pg_current_snapshot() AS TEXT) AS seen";
        self.query_one(sql, params![], |row| row.get("seen")).await.map(Some)
    }

    /// Has PostgreSQL plan the statements that follow in this transaction for the values they come with,
    /// where one plan does not suit what is frequent and what is rare. Costs a round trip there.
    pub async fn plan_for_values(&mut self) -> Result<()> {
        match self.engine() {
            EngineKind::Sqlite => Ok(()),
            EngineKind::Postgres => self.script("SET LOCAL plan_cache_mode = force_custom_plan").await,
        }
    }

    /// Runs one statement that is not known at build time: a migration's.
    async fn script(&mut self, sql: &str) -> Result<()> {
        let outcome = match &mut self.arm {
            Arm::Sqlite(connection) => sqlite::script(connection, sql),
            Arm::Postgres(lent) => lent.script(sql).await,
        };
        self.failed |= outcome.is_err();
        self.uncounted = true;
        outcome
    }

    /// Remembers how a statement came out, which is answered.
    fn ran<T>(&mut self, sql: &'static str, outcome: Result<T>) -> Result<T> {
        self.failed |= outcome.is_err();
        self.uncounted |= outcome.is_err();
        if outcome.is_ok() {
            record(self.engine(), sql);
        }
        outcome
    }

    fn engine(&self) -> EngineKind {
        match &self.arm {
            Arm::Sqlite(_) => EngineKind::Sqlite,
            Arm::Postgres(_) => EngineKind::Postgres,
        }
    }

    /// What a body's outcome is worth: success after a failed statement is none.
    fn verdict<T>(&mut self, outcome: Result<T>) -> Result<T> {
        let failed = std::mem::take(&mut self.failed);
        match outcome {
            Ok(_) if failed => {
                Err(Error::internal("a statement of this change failed and the change went on"))
            }
            outcome => outcome,
        }
    }
}

/// An answer that is there once the change is committed.
#[derive(Debug)]
pub struct Later<T>(Arc<OnceLock<T>>);

impl<T> Clone for Later<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Copy> Later<T> {
    /// The answer; none before the commit, or where the database could not say what it was.
    pub fn get(&self) -> Option<T> {
        self.0.get().copied()
    }
}

fn bad_url(why: impl Into<String>) -> Error {
    Error::bad_value("database.url", why)
}

fn unavailable(why: &'static str, retry_after_seconds: u64) -> Error {
    Error::Unavailable { why, retry_after_seconds }
}

/// The refusal of a statement that was to have one row.
fn not_one(count: impl std::fmt::Display, sql: &str) -> Error {
    Error::internal(format_args!("{count} rows instead of one: {}", first_line(sql)))
}

/// Enough of a statement to find it.
fn first_line(sql: &str) -> &str {
    sql.trim_start().lines().next().unwrap_or_default()
}

/// What this process has executed with success, for the test that every statement runs on both
/// engines. Builds for use keep nothing.
#[cfg(debug_assertions)]
static EXECUTED: std::sync::Mutex<std::collections::BTreeSet<(EngineKind, &'static str)>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());

#[cfg(debug_assertions)]
fn record(engine: EngineKind, sql: &'static str) {
    sqlite::lock(&EXECUTED).insert((engine, sql));
}

#[cfg(not(debug_assertions))]
fn record(_: EngineKind, _: &'static str) {}

/// The statements that this process has executed on an engine, each once. Only in debug builds.
#[cfg(debug_assertions)]
pub fn executed(engine: EngineKind) -> Vec<&'static str> {
    sqlite::lock(&EXECUTED).iter().filter(|(on, _)| *on == engine).map(|(_, sql)| *sql).collect()
}
