//! Effects waiting to be carried out: written with the change, a row for each target, claimed by
//! one worker at a time.

use crate::clock::{DAY, MINUTE, Millis};
use crate::domain::effect::{Effect, PERSON, PROJECTION};
use crate::domain::ids::{AccountId, ChangeId, OrganizationId};
use crate::error::Result;
use crate::store::engine::{EngineKind, Later, Row, Tx, params};
use crate::store::{from_json, settings, to_json};

/// One effect of one change on one target.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Counts what was committed, in order.
    pub position: i64,
    pub change: ChangeId,
    pub organization: OrganizationId,
    /// `None` for an effect on everything in the organization.
    pub account: Option<AccountId>,
    /// The look-ups, a mail server's name, or the person.
    pub target: String,
    pub effect: Effect,
    pub created_at: Millis,
    /// When it is to be tried (again); `None` when nothing is left to do.
    pub due_at: Option<Millis>,
    /// How often a worker took it up.
    pub tries: i64,
    /// What happened so far.
    pub outcome: Option<String>,
    pub done_at: Option<Millis>,
    /// The transaction that wrote it, on PostgreSQL; 0 on SQLite, and of what was copied or restored.
    pub transaction: i64,
}

impl Waiting {
    /// The number by which a [`Mark`](crate::store::feed::Mark) knows it.
    pub fn number(&self, engine: EngineKind) -> i64 {
        match engine {
            EngineKind::Sqlite => self.position,
            EngineKind::Postgres => self.transaction,
        }
    }
}

/// Whose effect it is, and of what.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub change: ChangeId,
    pub organization: OrganizationId,
    /// `None` for an effect on everything in the organization.
    pub account: Option<AccountId>,
    pub at: Millis,
}

impl Origin {
    fn account(self) -> i64 {
        self.account.map_or(0, AccountId::get)
    }
}

/// Writes what the look-ups must show anew; the position is known
/// with the commit.
pub fn project(tx: &mut Tx, origin: Origin) -> Result<Later<i64>> {
    tx.send_query(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries)
         VALUES ($1, $2, $3, $4, $5, $6, $6, 0) RETURNING position",
        params![
            origin.change,
            origin.organization,
            origin.account(),
            PROJECTION,
            &to_json(&Effect::Project)?,
            origin.at
        ],
        |row| row.get("position"),
    )
}

/// Writes an effect for every mail server there is, and for the agents of those hosts that have a domain of the
/// organization; where that is nobody, it is noted as the outcome.
pub fn for_mail_servers(tx: &mut Tx, origin: Origin, effect: &Effect) -> Result<()> {
    tx.send(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome,
                             done_at)
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), name, CAST($4 AS TEXT), CAST($5 AS BIGINT),
                CAST($5 AS BIGINT), 0, CAST(NULL AS TEXT), CAST(NULL AS BIGINT)
         FROM mail_server
         UNION ALL
         SELECT DISTINCT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), agent, CAST($4 AS TEXT),
                CAST($5 AS BIGINT), CAST($5 AS BIGINT), 0, NULL, CAST(NULL AS BIGINT)
         FROM mail_agent_domain
         WHERE domain = '*' OR domain IN (SELECT name FROM domain WHERE organization_id = $2)
         UNION ALL
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), '', CAST($4 AS TEXT), CAST($5 AS BIGINT),
                NULL, 0, 'no mail server is configured; nothing was told', CAST($5 AS BIGINT)
         WHERE NOT EXISTS (SELECT 1 FROM mail_server)
           AND NOT EXISTS (SELECT 1 FROM mail_agent_domain
                           WHERE domain = '*' OR domain IN (SELECT name FROM domain WHERE organization_id = $2))",
        params![
            origin.change,
            origin.organization,
            origin.account(),
            &to_json(effect)?,
            origin.at
        ],
    )
}

/// Writes what the person is to be told.
pub fn for_person(tx: &mut Tx, origin: Origin, effect: &Effect) -> Result<()> {
    tx.send(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries)
         VALUES ($1, $2, $3, $4, $5, $6, $6, 0)",
        params![
            origin.change,
            origin.organization,
            origin.account(),
            PERSON,
            &to_json(effect)?,
            origin.at
        ],
    )
}

/// 0 is stored for the whole organization.
fn read_account(row: &Row<'_>) -> Result<Option<AccountId>> {
    if row.get::<i64>("account_id")? == 0 { Ok(None) } else { row.get("account_id").map(Some) }
}

/// A statement that answers the columns that [`read`] reads.
macro_rules! waiting {
    ($first:literal, $rest:literal) => {
        concat!(
            $first,
            "position, change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome,
             done_at, txid ",
            $rest
        )
    };
}

fn read(row: &Row<'_>) -> Result<Waiting> {
    Ok(Waiting {
        position: row.get("position")?,
        change: row.get("change_id")?,
        organization: row.get("organization_id")?,
        account: read_account(row)?,
        target: row.get("target")?,
        effect: from_json(row.get("effect")?)?,
        created_at: row.get("created_at")?,
        due_at: row.get("due_at")?,
        tries: row.get("tries")?,
        outcome: row.get("outcome")?,
        done_at: row.get("done_at")?,
        transaction: row.get("txid")?,
    })
}

/// An effect that this program cannot read is looked at again so much later, by a newer one perhaps,
/// and given up after a day.
const UNREADABLE_AGAIN: Millis = 10 * MINUTE;

/// Claims up to `most` effects of the target that are due, until `until`; whoever dies meanwhile
/// loses the claim then. The condition stands twice, or two workers on PostgreSQL claim one row.
/// What cannot be read is set aside with a word about it, so that it keeps nothing else waiting.
pub async fn claim(tx: &mut Tx, target: &str, now: Millis, until: Millis, most: i64) -> Result<Vec<Waiting>> {
    let claimed = tx
        .query_all(
            waiting!(
                "UPDATE outbox SET due_at = $3, tries = tries + 1
                 WHERE position IN (SELECT position FROM outbox WHERE target = $1 AND due_at <= $2
                                    ORDER BY due_at, position LIMIT $4)
                   AND target = $1 AND due_at <= $2
                 RETURNING ",
                ""
            ),
            params![target, now, until, most],
            |row| match read(row) {
                Ok(effect) => Ok(Ok(effect)),
                Err(why) => Ok(Err((row.get::<i64>("position")?, row.get::<Millis>("created_at")?, why))),
            },
        )
        .await?;
    let mut readable = Vec::with_capacity(claimed.len());
    for one in claimed {
        match one {
            Ok(effect) => readable.push(effect),
            Err((position, created_at, why)) => {
                tracing::error!(position, error = %why, "an effect in the outbox cannot be read");
                let given_up = now - created_at > DAY;
                tx.execute(
                    "UPDATE outbox SET outcome = $2, due_at = $3, done_at = $4 WHERE position = $1",
                    params![
                        position,
                        &format!("error: this program cannot read the effect: {why}"),
                        (!given_up).then_some(now + UNREADABLE_AGAIN),
                        given_up.then_some(now)
                    ],
                )
                .await?;
            }
        }
    }
    Ok(readable)
}

/// Makes everything of the target due that seems due only after `latest`: it was put off by a clock that was
/// ahead. Answers how much.
pub async fn call_back(tx: &mut Tx, target: &str, now: Millis, latest: Millis) -> Result<u64> {
    tx.execute(
        "UPDATE outbox SET due_at = $2 WHERE target = $1 AND due_at > $3",
        params![target, now, latest],
    )
    .await
}

/// When the next effect of the target is due.
pub async fn next_due(tx: &mut Tx, target: &str) -> Result<Option<Millis>> {
    tx.query_one(
        "SELECT MIN(due_at) AS due_at FROM outbox WHERE target = $1 AND due_at IS NOT NULL",
        params![target],
        |row| row.get("due_at"),
    )
    .await
}

/// Ends a claimed effect with what happened. Whoever lost the claim meanwhile writes nothing.
pub fn finish(tx: &mut Tx, effect: &Waiting, outcome: &str, now: Millis) -> Result<()> {
    tx.send(
        "UPDATE outbox SET due_at = NULL, outcome = $3, done_at = $4
         WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL",
        params![effect.position, effect.tries, outcome, now],
    )
}

/// Puts a claimed effect off, with what happened so far.
pub fn put_off(tx: &mut Tx, effect: &Waiting, outcome: &str, due_at: Millis) -> Result<()> {
    tx.send(
        "UPDATE outbox SET due_at = $3, outcome = $4
         WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL",
        params![effect.position, effect.tries, due_at, outcome],
    )
}

/// Ends the effects on the look-ups up to a position.
pub async fn projected(tx: &mut Tx, upto: i64, outcome: &str, now: Millis) -> Result<u64> {
    tx.execute(
        "UPDATE outbox SET due_at = NULL, outcome = $2, done_at = $3
         WHERE target = $4 AND due_at IS NOT NULL AND position <= $1",
        params![upto, outcome, now, PROJECTION],
    )
    .await
}

/// Whom a change touched, as a row of the outbox says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub position: i64,
    /// See [`Waiting::transaction`].
    pub transaction: i64,
    /// The number of its change.
    pub change: i64,
    pub organization: OrganizationId,
    /// `None` for the whole organization.
    pub account: Option<AccountId>,
}

/// The columns that [`read_touched`] reads.
macro_rules! select_touched {
    ($rest:literal) => {
        concat!("SELECT position, txid, change_id, organization_id, account_id FROM outbox ", $rest)
    };
}

fn read_touched(row: &Row<'_>) -> Result<Touched> {
    Ok(Touched {
        position: row.get("position")?,
        transaction: row.get("txid")?,
        change: row.get("change_id")?,
        organization: row.get("organization_id")?,
        account: read_account(row)?,
    })
}

/// What changed after a position, in order.
pub async fn changed_since(tx: &mut Tx, position: i64, most: i64) -> Result<Vec<Touched>> {
    tx.query_all(
        select_touched!("WHERE position > $1 ORDER BY position LIMIT $2"),
        params![position, most],
        read_touched,
    )
    .await
}

/// The look-ups' changes of transactions behind a place, up to a transaction, in the order of transactions; on
/// PostgreSQL alone are there any. The words in quotes are [`PROJECTION`], for the index.
pub async fn changed_by_transactions(
    tx: &mut Tx,
    behind: (i64, i64),
    upto: i64,
    most: i64,
) -> Result<Vec<Touched>> {
    tx.query_all(
        select_touched!(
            "WHERE target = 'look-ups' AND txid > 0 AND (txid, position) > ($1, $2) AND txid <= $3
             ORDER BY txid, position LIMIT $4"
        ),
        params![behind.0, behind.1, upto, most],
        read_touched,
    )
    .await
}

/// The newest transaction that changed the look-ups and is remembered; 0 for none.
pub async fn newest_transaction(tx: &mut Tx) -> Result<i64> {
    let newest = tx
        .query_opt(
            "SELECT txid FROM outbox WHERE target = 'look-ups' AND txid > 0 ORDER BY txid DESC, position DESC LIMIT 1",
            params![],
            |row| row.get("txid"),
        )
        .await?;
    Ok(newest.unwrap_or(0))
}

/// The newest position there ever was, also when it has been forgotten since; 0 for none.
pub async fn newest(tx: &mut Tx) -> Result<i64> {
    let newest: i64 = tx
        .query_one("SELECT COALESCE(MAX(position), 0) AS newest FROM outbox", params![], |row| {
            row.get("newest")
        })
        .await?;
    Ok(newest.max(settings::swept(tx).await?))
}

/// The effects of one change; of one that this program cannot read, what is known besides.
pub async fn of_change(
    tx: &mut Tx,
    organization: OrganizationId,
    change: ChangeId,
) -> Result<Vec<Result<Waiting, Unreadable>>> {
    tx.query_all(
        waiting!("SELECT ", "FROM outbox WHERE organization_id = $1 AND change_id = $2 ORDER BY position"),
        params![organization, change],
        |row| match read(row) {
            Ok(effect) => Ok(Ok(effect)),
            Err(_) => Ok(Err(Unreadable {
                target: row.get("target")?,
                waits: row.get::<Option<Millis>>("due_at")?.is_some(),
                outcome: row.get("outcome")?,
                done_at: row.get("done_at")?,
            })),
        },
    )
    .await
}

/// An effect that another release wrote.
#[derive(Debug, Clone)]
pub struct Unreadable {
    pub target: String,
    pub waits: bool,
    pub outcome: Option<String>,
    pub done_at: Option<Millis>,
}

/// After a restore: the numbers of the transactions that wrote them are those of another cluster.
pub async fn forget_transactions(tx: &mut Tx) -> Result<()> {
    tx.execute("UPDATE outbox SET txid = 0 WHERE txid > 0", params![]).await.map(drop)
}

/// Effects that wait.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    pub waiting: i64,
    /// Since when the oldest does.
    pub oldest: Option<Millis>,
}

fn read_backlog(row: &Row<'_>) -> Result<Backlog> {
    Ok(Backlog { waiting: row.get("waiting")?, oldest: row.get("oldest")? })
}

/// What waits for any target.
pub async fn backlog(tx: &mut Tx) -> Result<Backlog> {
    // Not `due_at IS NOT NULL`, for which SQLite walks over everything that is done.
    tx.query_one(
        "SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE due_at > 0",
        params![],
        read_backlog,
    )
    .await
}

/// The same for one target, such as a mail server.
pub async fn backlog_of(tx: &mut Tx, target: &str) -> Result<Backlog> {
    tx.query_one(
        "SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE target = $1 AND due_at IS NOT NULL",
        params![target],
        read_backlog,
    )
    .await
}

/// Forgets effects that were done before then; answers the newest position among them, and on PostgreSQL the
/// newest transaction.
pub async fn sweep(tx: &mut Tx, before: Millis) -> Result<(i64, i64)> {
    let swept = tx
        .query_one(
            "SELECT COALESCE(MAX(position), 0) AS swept, COALESCE(MAX(txid), 0) AS txid FROM outbox WHERE done_at < $1",
            params![before],
            |row| Ok((row.get("swept")?, row.get("txid")?)),
        )
        .await?;
    // What is done is not due; asking for both would make SQLite walk over everything that is done.
    tx.execute("DELETE FROM outbox WHERE done_at < $1", params![before]).await?;
    Ok(swept)
}

/// Ends whatever waits for a target that is there no more, with that remark, unless the target has confirmed
/// something: that stays known.
pub async fn abandon(tx: &mut Tx, target: &str, remark: &str, now: Millis) -> Result<()> {
    tx.execute(
        r#"UPDATE outbox
           SET due_at = NULL, done_at = $2,
               outcome = CASE WHEN outcome LIKE '{"sweeps":%' AND outcome NOT LIKE '{"sweeps":0,%' THEN outcome ELSE $3 END
           WHERE target = $1 AND due_at IS NOT NULL"#,
        params![target, now, remark],
    )
    .await
    .map(drop)
}
