//! Statements that go to PostgreSQL together: all are put on the wire, then the answers are waited
//! for in order, so that many statements cost one round trip. Start with `fly`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex};
use std::task::Poll;

use deadpool_postgres::Object;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::sqlite::lock;
use super::{Row, Value};
use crate::error::Result;

type PgError = tokio_postgres::Error;

/// A statement that waits for the next flight.
pub(super) struct Queued {
    pub sql: &'static str,
    pub params: Vec<OwnedValue>,
    pub wants: Wants,
}

/// What is to be made of the answer to a queued statement.
pub(super) enum Wants {
    /// It was asked before it is needed.
    Prefetched,
    Nothing,
    /// Exactly one row must be touched.
    OneRow,
    /// The only row, read by whoever queued it.
    Later(Reader),
}

pub(super) type Reader = Box<dyn FnOnce(&Row<'_>) -> Result<()> + Send + Sync>;

/// A [`Value`] that owns its content.
#[derive(PartialEq)]
pub(super) enum OwnedValue {
    Null,
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

impl OwnedValue {
    pub fn all(params: &[Value<'_>]) -> Vec<Self> {
        let held = |value: &Value<'_>| match *value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Int(n) => Self::Int(n),
            Value::Text(text) => Self::Text(text.into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.into()),
        };
        params.iter().map(held).collect()
    }

    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// The statement that the flight is for; it stands behind the queue.
#[derive(Clone, Copy)]
pub(super) enum Last<'a> {
    Nothing,
    Execute(&'static str, &'a [Value<'a>]),
    Query(&'static str, &'a [Value<'a>]),
    /// Without parameters, and not prepared.
    Script(&'a str),
}

pub(super) enum Answer {
    Nothing,
    Touched(u64),
    Rows(Vec<tokio_postgres::Row>),
}

/// The first statement that failed; the server does not look at those behind it.
pub(super) struct Failed {
    pub sql: String,
    pub cause: PgError,
    /// Every statement was on the wire by then, the last one too, or nobody knows.
    pub all_sent: bool,
}

/// Sends BEGIN (if it was not sent yet), the queue and the last statement, and waits for all of
/// them: an answer for each of the queue, and one for the last.
pub(super) async fn fly(
    client: &Object,
    begin: Option<&'static str>,
    queue: &[Queued],
    last: Last<'_>,
) -> std::result::Result<Vec<Answer>, Failed> {
    let mut flying = Vec::with_capacity(queue.len() + 2);
    let all_sent = send_all(client, begin, queue, last, &mut flying).await;
    let mut answers = Vec::with_capacity(flying.len());
    for one in flying {
        let answer = match one.state {
            State::Landed(answer) => answer,
            State::Waits(future) => future.await,
        };
        match answer {
            Ok(answer) => answers.push(answer),
            Err(cause) => return Err(Failed { sql: one.sql.to_owned(), cause, all_sent }),
        }
    }
    if begin.is_some() {
        answers.remove(0);
    }
    Ok(answers)
}

/// Whether all may have gone out. What cannot even be sent (a value of the wrong type, a dead connection)
/// ends it there: COMMIT must not be sent behind it.
async fn send_all<'a>(
    client: &'a Object,
    begin: Option<&'static str>,
    queue: &'a [Queued],
    last: Last<'a>,
    flying: &mut Vec<Flying<'a>>,
) -> bool {
    // Before anything else is sent: the driver reads no further than to an answer that nobody takes, and
    // none is taken while a statement is prepared.
    let last_text = match last {
        Last::Nothing | Last::Script(_) => None,
        Last::Execute(sql, _) | Last::Query(sql, _) => Some(sql),
    };
    let mut prepared = Vec::with_capacity(queue.len() + 1);
    for sql in queue.iter().map(Queued::text).chain(last_text) {
        match client.prepare_cached(sql).await {
            Ok(statement) => prepared.push(statement),
            Err(cause) => {
                flying.push(Flying { sql, state: State::Landed(Err(cause)) });
                return false;
            }
        }
    }
    let mut prepared = prepared.into_iter();
    if let Some(begin) = begin
        && !Flying::send(flying, begin, script(client, begin)).await
    {
        return false;
    }
    for (queued, statement) in queue.iter().zip(prepared.by_ref()) {
        let params = queued.params.iter().map(OwnedValue::value).collect();
        let sent = match queued.wants {
            Wants::Nothing => Flying::send(flying, queued.sql, execute(client, statement, params)).await,
            Wants::OneRow | Wants::Prefetched | Wants::Later(_) => {
                Flying::send(flying, queued.text(), query(client, statement, params)).await
            }
        };
        if !sent {
            return false;
        }
    }
    match (last, prepared.next()) {
        (Last::Script(sql), _) => {
            // The answer to a COMMIT may be here as soon as it is out, and it may be that the connection broke. It
            // was not sent only if the connection was closed before.
            let may_be_sent = !client.is_closed();
            Flying::send(flying, sql, script(client, sql)).await || may_be_sent
        }
        (Last::Execute(sql, params), Some(statement)) => {
            Flying::send(flying, sql, execute(client, statement, params.to_vec())).await
        }
        (Last::Query(sql, params), Some(statement)) => {
            Flying::send(flying, sql, query(client, statement, params.to_vec())).await
        }
        (Last::Nothing | Last::Execute(..) | Last::Query(..), _) => true,
    }
}

impl Queued {
    /// As PostgreSQL gets it.
    fn text(&self) -> &'static str {
        match self.wants {
            Wants::OneRow => exactly_one(self.sql),
            Wants::Prefetched | Wants::Nothing | Wants::Later(_) => self.sql,
        }
    }
}

/// How a statement begins that PostgreSQL is to refuse unless it touches one row.
pub(super) const EXACTLY_ONE: &str = "WITH touched AS (";

/// COMMIT may be in the same flight, so the server itself must refuse a statement that touches
/// none or several rows: by a division, which ends the transaction.
fn exactly_one(sql: &'static str) -> &'static str {
    static MADE: LazyLock<Mutex<HashMap<&'static str, &'static str>>> = LazyLock::new(Mutex::default);
    lock(&MADE).entry(sql).or_insert_with(|| {
        // Never freed: there are as many as there are statements in the source.
        Box::leak(
            format!(
                "{EXACTLY_ONE}{sql} RETURNING 1) SELECT 1 / CAST(COUNT(*) = 1 AS INTEGER) AS one FROM touched"
            )
            .into_boxed_str(),
        )
    })
}

struct Flying<'a> {
    sql: &'a str,
    state: State<'a>,
}

enum State<'a> {
    Waits(Pin<Box<dyn Future<Output = Sent> + Send + 'a>>),
    Landed(Sent),
}

type Sent = std::result::Result<Answer, PgError>;

impl<'a> Flying<'a> {
    /// The driver sends a statement when its future is first polled. Whether it did for certain: a connection
    /// that breaks at that moment answers as one does that was closed before.
    async fn send(
        flying: &mut Vec<Self>,
        sql: &'a str,
        future: impl Future<Output = Sent> + Send + 'a,
    ) -> bool {
        let mut future = Box::pin(future);
        let state = match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            Poll::Ready(answer) => State::Landed(answer),
            Poll::Pending => State::Waits(future),
        };
        let sent = !matches!(state, State::Landed(Err(_)));
        flying.push(Self { sql, state });
        sent
    }
}

async fn script(client: &Object, sql: &str) -> Sent {
    client.batch_execute(sql).await.map(|()| Answer::Nothing)
}

async fn execute(client: &Object, statement: Statement, params: Vec<Value<'_>>) -> Sent {
    client.execute_raw(&statement, params).await.map(Answer::Touched)
}

async fn query(client: &Object, statement: Statement, params: Vec<Value<'_>>) -> Sent {
    let params: Vec<_> = params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    client.query(&statement, &params).await.map(Answer::Rows)
}
