//! PostgreSQL: a pool of connections, serializable writes that are run again when they meet,
//! and what is known (or not) when a connection breaks. `Postgres::write` is the heart.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::time::{sleep, timeout};
use tokio_postgres::error::{Severity, SqlState};

use super::connect::Hosts;
use super::{Arm, Manner, Options, Tx, Value, bad_url, first_line, params, unavailable};
use crate::error::{Error, Result};

type PgError = tokio_postgres::Error;

const MOST_RUNS_OF_A_CHANGE: u32 = 10;
/// A migration may rewrite a large table.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
const LOST: Error =
    Error::Unavailable { why: "the connection to the database was lost", retry_after_seconds: 2 };
const UNCONFIRMED: Error = Error::Unavailable {
    why: "the database did not confirm the change; look it up before repeating it",
    retry_after_seconds: 2,
};

pub(super) struct Postgres {
    pool: Pool,
    statement_timeout: Duration,
}

impl Postgres {
    pub fn open(url: &str, options: &Options) -> Result<Self> {
        let hosts = Hosts::parse(url, options)?;
        let create_timeout = hosts.patience();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), hosts, recycling);
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
            // The oldest connection first would walk over every server process for nothing.
            .queue_mode(deadpool_postgres::QueueMode::Lifo)
            .wait_timeout(Some(options.wait_timeout))
            .create_timeout(Some(create_timeout))
            .recycle_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|cause| bad_url(cause.to_string()))?;
        Ok(Self { pool, statement_timeout: options.statement_timeout })
    }

    pub async fn write<T, F>(&self, manner: Manner, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T>,
    {
        let (begin, limit) = match manner {
            Manner::Change => ("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", self.statement_timeout),
            // After the wait for another node's migration, the next statement must see its work.
            Manner::Migration => ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", MIGRATION_TIMEOUT),
        };
        let mut lost_before = false;
        for run in 1..=MOST_RUNS_OF_A_CHANGE {
            let mut tx = self.begin(begin, limit).await?;
            let outcome = change(&mut tx).await;
            let outcome = tx.verdict(outcome);
            let lent = postgres(&mut tx);
            match outcome {
                Ok(value) => match lent.commit().await {
                    Ok(()) => return Ok(value),
                    Err(Error::Again) => {}
                    Err(error) => return Err(error),
                },
                Err(Error::Again) => lent.roll_back().await,
                // The server forgets a transaction whose connection breaks before COMMIT.
                Err(_) if lent.lost && !lost_before => lost_before = true,
                Err(error) => {
                    lent.roll_back().await;
                    return Err(error);
                }
            }
            // The connection is not held while we pause.
            drop(tx);
            sleep(pause(run)).await;
        }
        Err(unavailable("too many changes met each other", 1))
    }

    pub async fn reader(&self) -> Result<Tx> {
        Ok(self.lend(connection(&self.pool).await?, self.statement_timeout))
    }

    pub async fn snapshot(&self) -> Result<Tx> {
        // At the default level two statements would not agree.
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", self.statement_timeout).await
    }

    async fn begin(&self, begin: &'static str, limit: Duration) -> Result<Tx> {
        let mut tx = self.reader().await?;
        let lent = postgres(&mut tx);
        lent.script(begin).await?;
        lent.open = true;
        lent.limit = limit;
        Ok(tx)
    }

    fn lend(&self, client: Object, limit: Duration) -> Tx {
        let lent = Lent {
            client: Some(client),
            pool: self.pool.clone(),
            limit,
            open: false,
            lost: false,
            renewed: false,
        };
        Tx { arm: Arm::Postgres(lent), failed: false }
    }

    pub fn close(&self) {
        self.pool.close();
    }
}

fn postgres(tx: &mut Tx) -> &mut Lent {
    match &mut tx.arm {
        Arm::Postgres(lent) => lent,
        Arm::Sqlite(_) => unreachable!("connections of this file are PostgreSQL's"),
    }
}

/// Doubled with each run, from about 1 ms, with chance so that two do not meet again.
fn pause(run: u32) -> Duration {
    let longest = 1_000 << run.min(8);
    Duration::from_micros(rand::random_range(longest / 2..longest))
}

/// A pooled connection in use. Outside a transaction it only reads (see `connect`), so a
/// statement that met a dead connection or an outdated plan is simply asked again, once.
pub(super) struct Lent {
    /// `None` once the connection is known to be unusable.
    client: Option<Object>,
    pool: Pool,
    limit: Duration,
    /// A transaction is open.
    open: bool,
    /// The connection broke.
    lost: bool,
    renewed: bool,
}

impl Lent {
    pub async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        loop {
            let limit = self.limit;
            let client = self.client().await?;
            let work = async {
                let statement = client.prepare_cached(sql).await?;
                client.execute_raw(&statement, params).await
            };
            let outcome = timeout(limit, work).await;
            if let Some(settled) = self.settle(sql, outcome) {
                return settled;
            }
        }
    }

    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let params: Vec<_> =
            params.iter().map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        loop {
            let limit = self.limit;
            let client = self.client().await?;
            let work = async {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, &params).await
            };
            let outcome = timeout(limit, work).await;
            if let Some(settled) = self.settle(sql, outcome) {
                return settled;
            }
        }
    }

    pub async fn script(&mut self, sql: &str) -> Result<()> {
        loop {
            let limit = self.limit;
            let client = self.client().await?;
            let outcome = timeout(limit, client.batch_execute(sql)).await;
            if let Some(settled) = self.settle(sql, outcome) {
                return settled;
            }
        }
    }

    /// Where COMMIT fails, the server has said why, or nobody knows what it did.
    async fn commit(&mut self) -> Result<()> {
        let Some(client) = &self.client else { return Err(LOST) };
        match timeout(self.limit, client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.open = false;
                Ok(())
            }
            Ok(Err(cause)) if refused(&cause) => {
                self.open = false;
                Err(error("COMMIT", &cause))
            }
            Ok(Err(cause)) => {
                tracing::warn!(%cause, "the connection broke during COMMIT");
                self.discard();
                Err(UNCONFIRMED)
            }
            Err(_) => {
                self.discard();
                Err(UNCONFIRMED)
            }
        }
    }

    async fn roll_back(&mut self) {
        if let Some(client) = &self.client {
            match timeout(self.limit, client.batch_execute("ROLLBACK")).await {
                Ok(Ok(())) => self.open = false,
                Ok(Err(_)) | Err(_) => self.discard(),
            }
        }
    }

    async fn client(&mut self) -> Result<&Object> {
        if self.client.is_none() {
            if self.open {
                return Err(LOST);
            }
            self.client = Some(connection(&self.pool).await?);
        }
        self.client.as_ref().ok_or(LOST)
    }

    /// What a statement's end means; `None` asks for another try.
    fn settle<T>(
        &mut self,
        sql: &str,
        outcome: std::result::Result<std::result::Result<T, PgError>, tokio::time::error::Elapsed>,
    ) -> Option<Result<T>> {
        let cause = match outcome {
            Ok(Ok(value)) => return Some(Ok(value)),
            Ok(Err(cause)) => cause,
            Err(_) => {
                tracing::warn!(statement = first_line(sql), "the database did not answer in time");
                self.discard();
                return Some(Err(unavailable("the database did not answer in time", 2)));
            }
        };
        if is_lost(sql, &cause) {
            tracing::warn!(%cause, "the connection to the database was lost");
            self.discard();
            self.lost = true;
            return if self.may_ask_again() { None } else { Some(Err(LOST)) };
        }
        if is_outdated_plan(&cause) {
            // Every connection of the pool has such plans now.
            self.pool.manager().statement_caches.clear();
            return if self.may_ask_again() { None } else { Some(Err(Error::Again)) };
        }
        Some(Err(error(sql, &cause)))
    }

    fn may_ask_again(&mut self) -> bool {
        !self.open && !std::mem::replace(&mut self.renewed, true)
    }

    /// Takes a connection in an unknown state out of the pool and closes it.
    fn discard(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Drop for Lent {
    /// A change dropped half-way (panic, caller gone) must not go back inside its transaction.
    fn drop(&mut self) {
        if let (true, Some(client)) = (self.open, &self.client) {
            // The first poll sends it; nobody needs the answer, the next borrower queues behind it.
            let _ = pin!(client.batch_execute("ROLLBACK")).poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

pub(super) async fn durability(tx: &mut Tx) -> Result<Vec<(String, String)>> {
    tx.query_all(
        "SELECT name, setting
         FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names', 'server_version')
         ORDER BY name",
        params![],
        |row| Ok((row.get("name")?, row.get("setting")?)),
    )
    .await
}

// Errors -----------------------------------------------------------------------------------

async fn connection(pool: &Pool) -> Result<Object> {
    pool.get().await.map_err(|cause| match cause {
        PoolError::Timeout(TimeoutType::Wait) => unavailable("every connection to the database is busy", 1),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            unavailable("the database does not answer", 2)
        }
        PoolError::Backend(cause) => cannot_connect(&cause),
        PoolError::Closed => unavailable("the database is closed", 5),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Error::caused("taking a connection", cause)
        }
    })
}

fn cannot_connect(cause: &PgError) -> Error {
    let detail = std::error::Error::source(cause).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%detail, "{cause}");
    match cause.code() {
        Some(code) if code.code().starts_with("28") => {
            unavailable("the database refuses our user or password", 30)
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => unavailable("the server has no database of that name", 30),
        Some(&SqlState::TOO_MANY_CONNECTIONS) => unavailable("the database takes no more connections", 2),
        _ => unavailable("the database cannot be reached", 2),
    }
}

fn is_lost(sql: &str, cause: &PgError) -> bool {
    match cause.code() {
        Some(&SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW) => true,
        // A former primary refuses READ WRITE: another host of the URL has taken over.
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => sql.starts_with("BEGIN"),
        Some(code) => code.code().starts_with("08"),
        None => {
            cause.is_closed()
                || std::error::Error::source(cause).is_some_and(|source| source.is::<std::io::Error>())
        }
    }
}

/// After a column changed, or behind a pooler that forgot the statement.
fn is_outdated_plan(cause: &PgError) -> bool {
    match cause.code() {
        Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            cause.as_db_error().is_some_and(|error| error.message().contains("cached plan"))
        }
        Some(&SqlState::INVALID_SQL_STATEMENT_NAME) => true,
        _ => false,
    }
}

/// The server itself answered that it did not do it.
fn refused(cause: &PgError) -> bool {
    cause.as_db_error().is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
}

fn error(doing: &str, cause: &PgError) -> Error {
    let Some(refusal) = cause.as_db_error() else {
        // Our own conversions, which name types, never contents.
        let source = std::error::Error::source(cause).map(ToString::to_string).unwrap_or_default();
        return Error::internal(format_args!("{}: {cause}: {source}", first_line(doing)));
    };
    let (why, seconds) = match *refusal.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => return Error::Again,
        SqlState::UNIQUE_VIOLATION => {
            return Error::Unique(refusal.constraint().unwrap_or_default().to_owned());
        }
        SqlState::DISK_FULL => ("the database's disk is full", 30),
        SqlState::IO_ERROR => ("the database's disk reports an error", 30),
        SqlState::OUT_OF_MEMORY => ("the database is out of memory", 5),
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => ("the database gave the statement up", 2),
        // The detail would quote the row, hashes and all: it stays out.
        _ => {
            let (code, message) = (refusal.code().code(), refusal.message());
            return Error::internal(format_args!("{}: {code} {message}", first_line(doing)));
        }
    };
    tracing::warn!(code = refusal.code().code(), "{why}");
    unavailable(why, seconds)
}
