//! A pooled PostgreSQL connection in use, and what is known (or not) when a statement fails.
//! Statements that nobody waits for stay in a queue until one is waited for, or the commit.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::Row as PgRow;
use tokio_postgres::error::{Severity, SqlState};

use super::flight::{Answer, EXACTLY_ONE, Failed, Last, OwnedValue, Queued, Wants, fly};
use super::postgres::LeaderPool;
use super::value::Source;
use super::{Row, Value, first_line, not_one, unavailable};
use crate::crash::{self, Point};
use crate::error::{Error, Result};

type PgError = tokio_postgres::Error;

const LOST: Error =
    Error::Unavailable { why: "the connection to the database was lost", retry_after_seconds: 2 };
const UNCONFIRMED: Error = Error::Unconfirmed { change: None };

/// A pooled connection in use. Outside a transaction it only reads (see `connect`), so a
/// statement that met a dead connection or an outdated plan is simply asked again, once.
pub(super) struct Lent {
    /// `None` once the connection is known to be unusable.
    client: Option<Object>,
    leader: Arc<LeaderPool>,
    /// How long one statement, or several that are sent together, may take.
    pub limit: Duration,
    /// A transaction that is to begin with the first statement, and has not been answered yet.
    begin: Option<&'static str>,
    /// A transaction is open, or may be.
    open: bool,
    /// The connection broke, and the server has forgotten the transaction.
    pub lost: bool,
    /// Nobody knows whether the transaction was committed.
    pub unconfirmed: bool,
    /// Somebody runs the whole transaction again when a statement says so.
    pub runs_again: bool,
    renewed: bool,
    queue: Vec<Queued>,
    /// Answers to what was prefetched and not asked for yet.
    prefetched: Vec<(&'static str, Vec<OwnedValue>, Vec<PgRow>)>,
}

impl Lent {
    pub fn new(client: Object, leader: Arc<LeaderPool>, limit: Duration) -> Self {
        Self {
            client: Some(client),
            leader,
            limit,
            begin: None,
            open: false,
            lost: false,
            unconfirmed: false,
            runs_again: false,
            renewed: false,
            queue: Vec::new(),
            prefetched: Vec::new(),
        }
    }

    /// Everything from here on is one transaction. It costs no round trip of its own.
    pub fn begin(&mut self, begin: &'static str) {
        self.begin = Some(begin);
    }

    pub async fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<u64> {
        self.forget_prefetched();
        match self.fly(Last::Execute(sql, params)).await? {
            Answer::Touched(rows) => Ok(rows),
            Answer::Nothing | Answer::Rows(_) => Err(Error::internal("a statement answered with rows")),
        }
    }

    pub async fn query(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<PgRow>> {
        if !reads(sql) {
            self.forget_prefetched();
        } else if self.is_asked(sql, params) {
            self.fly(Last::Nothing).await?;
        }
        if let Some(place) = self.prefetched(sql, params) {
            return Ok(self.prefetched.swap_remove(place).2);
        }
        match self.fly(Last::Query(sql, params)).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Nothing | Answer::Touched(_) => Err(Error::internal("a question was not answered")),
        }
    }

    pub async fn script(&mut self, sql: &str) -> Result<()> {
        self.forget_prefetched();
        self.fly(Last::Script(sql)).await.map(drop)
    }

    /// Puts a statement into the queue.
    pub fn queue(&mut self, sql: &'static str, params: &[Value<'_>], wants: Wants) {
        match wants {
            Wants::Prefetched => {
                if !reads(sql) || self.is_asked(sql, params) || self.prefetched(sql, params).is_some() {
                    return;
                }
            }
            Wants::Nothing | Wants::OneRow | Wants::Later(_) => self.forget_prefetched(),
        }
        self.queue.push(Queued { sql, params: OwnedValue::all(params), wants });
    }

    fn is_asked(&self, sql: &str, params: &[Value<'_>]) -> bool {
        let prefetched = |queued: &Queued| matches!(queued.wants, Wants::Prefetched);
        self.queue.iter().any(|queued| prefetched(queued) && same(queued.sql, &queued.params, sql, params))
    }

    fn prefetched(&self, sql: &str, params: &[Value<'_>]) -> Option<usize> {
        self.prefetched.iter().position(|(text, held, _)| same(text, held, sql, params))
    }

    /// What was read before a write may have been true only then.
    fn forget_prefetched(&mut self) {
        self.prefetched.clear();
        self.queue.retain(|queued| !matches!(queued.wants, Wants::Prefetched));
    }

    /// Sends the queue and this statement, and waits for the answers.
    async fn fly(&mut self, last: Last<'_>) -> Result<Answer> {
        loop {
            if self.client.is_none() {
                if self.open && self.begin.is_none() {
                    return Err(LOST);
                }
                self.client = Some(self.leader.connection().await?);
            }
            let client = self.client.as_ref().ok_or(LOST)?;
            // Before it is sent: a caller who leaves now must not leave a transaction behind.
            self.open |= self.begin.is_some();
            let outcome = timeout(self.limit, fly(client, self.begin, &self.queue, last)).await;
            if let Some(settled) = self.settle(outcome) {
                let mut answers = settled.inspect_err(|_| self.queue.clear())?;
                let answer = match last {
                    Last::Nothing => Answer::Nothing,
                    Last::Execute(..) | Last::Query(..) | Last::Script(_) => {
                        answers.pop().unwrap_or(Answer::Nothing)
                    }
                };
                self.deliver(answers)?;
                return Ok(answer);
            }
        }
    }

    /// Hands the answers of the queue to those who asked.
    fn deliver(&mut self, answers: Vec<Answer>) -> Result<()> {
        for (queued, answer) in std::mem::take(&mut self.queue).into_iter().zip(answers) {
            match (queued.wants, answer) {
                (Wants::Prefetched, Answer::Rows(rows)) => {
                    self.prefetched.push((queued.sql, queued.params, rows))
                }
                (Wants::Later(reader), Answer::Rows(rows)) => match rows.as_slice() {
                    [row] => reader(&Row(Source::Postgres(row)))?,
                    rows => return Err(not_one(rows.len(), queued.sql)),
                },
                (Wants::OneRow, Answer::Rows(_)) | (Wants::Nothing, _) => {}
                (
                    Wants::Prefetched | Wants::Later(_) | Wants::OneRow,
                    Answer::Nothing | Answer::Touched(_),
                ) => {
                    return Err(Error::internal("a question was not answered"));
                }
            }
        }
        Ok(())
    }

    /// Where COMMIT fails, the server has said why, or nobody knows what it did.
    pub async fn commit(&mut self) -> Result<()> {
        if self.begin.is_some() && self.queue.is_empty() {
            // Nothing was asked, so there is nothing to commit.
            self.begin = None;
            return Ok(());
        }
        self.forget_prefetched();
        let Some(client) = &self.client else { return Err(LOST) };
        self.open = true;
        crash::at(Point::Committing);
        let flight = fly(client, self.begin, &self.queue, Last::Script("COMMIT"));
        let mut answers = match timeout(self.limit, flight).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(failed)) if refused(&failed.cause) => {
                // COMMIT after a failed statement has rolled back.
                self.open = !failed.all_sent;
                return Err(self.refusal(&failed));
            }
            Ok(Err(failed)) if !failed.all_sent => {
                if is_lost(&failed) {
                    tracing::warn!(cause = %failed.cause, "the connection to the database was lost");
                    self.discard();
                    self.lost = true;
                    return Err(LOST);
                }
                return Err(self.refusal(&failed));
            }
            Ok(Err(failed)) => {
                tracing::warn!(cause = %failed.cause, "the connection broke during COMMIT");
                return Err(self.unconfirmed());
            }
            Err(Elapsed { .. }) => {
                tracing::warn!("the database did not confirm a COMMIT in time");
                return Err(self.unconfirmed());
            }
        };
        crash::at(Point::Committed);
        self.open = false;
        answers.pop();
        self.deliver(answers)
    }

    /// Runs what nobody waited for, as a commit would, and undoes the whole transaction.
    pub async fn try_and_undo(&mut self) -> Result<()> {
        self.forget_prefetched();
        let tried = if self.queue.is_empty() { Ok(()) } else { self.fly(Last::Nothing).await.map(drop) };
        self.roll_back().await;
        tried
    }

    fn unconfirmed(&mut self) -> Error {
        self.discard();
        self.unconfirmed = true;
        UNCONFIRMED
    }

    pub async fn roll_back(&mut self) {
        self.queue.clear();
        if let (true, Some(client)) = (self.open, &self.client) {
            match timeout(self.limit, client.batch_execute("ROLLBACK")).await {
                Ok(Ok(())) => self.open = false,
                Ok(Err(_)) | Err(_) => self.discard(),
            }
        }
    }

    /// What the end of a flight means; `None` asks for another try.
    fn settle<T>(
        &mut self,
        outcome: std::result::Result<std::result::Result<T, Failed>, Elapsed>,
    ) -> Option<Result<T>> {
        let failed = match outcome {
            Ok(Ok(answers)) => {
                self.begin = None;
                return Some(Ok(answers));
            }
            Ok(Err(failed)) => failed,
            Err(Elapsed { .. }) => {
                tracing::warn!("the database did not answer in time");
                self.discard();
                return Some(Err(unavailable("the database did not answer in time", 2)));
            }
        };
        if is_lost(&failed) {
            tracing::warn!(cause = %failed.cause, "the connection to the database was lost");
            self.discard();
            if self.may_ask_again() {
                return None;
            }
            self.lost = true;
            return Some(Err(LOST));
        }
        let begun = self.begin.take().is_some();
        if is_outdated_plan(&failed.cause) {
            // Every connection of the pool has such plans now.
            self.leader.pool.manager().statement_caches.clear();
            return if !begun && self.may_ask_again() { None } else { Some(Err(self.again())) };
        }
        Some(Err(self.refusal(&failed)))
    }

    fn refusal(&self, failed: &Failed) -> Error {
        match error(&failed.sql, &failed.cause) {
            Error::Again => self.again(),
            error => error,
        }
    }

    fn again(&self) -> Error {
        if self.runs_again { Error::Again } else { unavailable("the tables were changed meanwhile", 1) }
    }

    /// Nothing was answered that the server would have to remember.
    fn may_ask_again(&mut self) -> bool {
        (!self.open || self.begin.is_some()) && !std::mem::replace(&mut self.renewed, true)
    }

    /// Takes a connection in an unknown state out of the pool and closes it.
    fn discard(&mut self) {
        if let Some(client) = self.client.take() {
            self.leader.give_up(client);
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

fn reads(sql: &str) -> bool {
    sql.trim_start().starts_with("SELECT")
}

fn same(sql: &str, held: &[OwnedValue], asked: &str, params: &[Value<'_>]) -> bool {
    sql == asked && held.len() == params.len() && held.iter().zip(params).all(|(a, b)| a.value() == *b)
}

// Errors -----------------------------------------------------------------------------------

fn is_lost(failed: &Failed) -> bool {
    let cause = &failed.cause;
    match cause.code() {
        Some(&SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW) => true,
        // A former primary refuses READ WRITE: another host of the URL has taken over.
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => failed.sql.starts_with("BEGIN"),
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
    if refusal.code().code() == super::hold::HELD {
        return Error::ReadOnly;
    }
    let (why, seconds) = match *refusal.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => return Error::Again,
        SqlState::UNIQUE_VIOLATION => {
            return Error::Unique(refusal.constraint().unwrap_or_default().to_owned());
        }
        SqlState::DIVISION_BY_ZERO if doing.starts_with(EXACTLY_ONE) => return Error::Stale,
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
