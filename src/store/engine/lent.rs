//! A pooled PostgreSQL connection in use, and what is known (or not) when a statement fails.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio::time::timeout;
use tokio_postgres::error::{Severity, SqlState};

use super::postgres::connection;
use super::{Value, first_line, unavailable};
use crate::error::{Error, Result};

type PgError = tokio_postgres::Error;

const LOST: Error =
    Error::Unavailable { why: "the connection to the database was lost", retry_after_seconds: 2 };
const UNCONFIRMED: Error = Error::Unavailable {
    why: "the database did not confirm the change; look it up before repeating it",
    retry_after_seconds: 2,
};

/// A pooled connection in use. Outside a transaction it only reads (see `connect`), so a
/// statement that met a dead connection or an outdated plan is simply asked again, once.
pub(super) struct Lent {
    /// `None` once the connection is known to be unusable.
    client: Option<Object>,
    pool: Pool,
    /// How long one statement may take.
    pub limit: Duration,
    /// A transaction is open, or may be.
    pub open: bool,
    /// The connection broke.
    pub lost: bool,
    /// Somebody runs the whole transaction again when a statement says so.
    pub runs_again: bool,
    renewed: bool,
}

impl Lent {
    pub fn new(client: Object, pool: Pool, limit: Duration) -> Self {
        Self {
            client: Some(client),
            pool,
            limit,
            open: false,
            lost: false,
            runs_again: false,
            renewed: false,
        }
    }

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
    pub async fn commit(&mut self) -> Result<()> {
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

    pub async fn roll_back(&mut self) {
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
            return if self.may_ask_again() { None } else { Some(Err(self.again())) };
        }
        Some(Err(match error(sql, &cause) {
            Error::Again => self.again(),
            error => error,
        }))
    }

    fn again(&self) -> Error {
        if self.runs_again { Error::Again } else { unavailable("the tables were changed meanwhile", 1) }
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

// Errors -----------------------------------------------------------------------------------

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
