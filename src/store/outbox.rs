//! Effects waiting to be carried out: written with the change, claimed by one worker at a time.

use crate::clock::Millis;
use crate::domain::effect::Effect;
use crate::domain::ids::{AccountId, ChangeId, OrganizationId};
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, id, to_json};

/// One effect of one change.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub change: ChangeId,
    pub step: i64,
    pub organization: OrganizationId,
    pub account: AccountId,
    pub effect: Effect,
    pub created_at: Millis,
    /// When it is to be tried (again); `None` when nothing is left to do.
    pub due_at: Option<Millis>,
    pub tries: i64,
    /// What happened, in words.
    pub outcome: Option<String>,
    pub done_at: Option<Millis>,
}

pub async fn insert(tx: &mut Tx, waiting: &Waiting) -> Result<()> {
    tx.execute_one(
        "INSERT INTO outbox (change_id, step, organization_id, account_id, effect, created_at, due_at, tries, outcome,
                             done_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            waiting.change.get(),
            waiting.step,
            waiting.organization.get(),
            waiting.account.get(),
            &to_json(&waiting.effect)?,
            waiting.created_at,
            waiting.due_at,
            waiting.tries,
            waiting.outcome.as_deref(),
            waiting.done_at
        ],
    )
    .await
}

fn read(row: &Row<'_>) -> Result<Waiting> {
    Ok(Waiting {
        change: id(row.get("change_id")?)?,
        step: row.get("step")?,
        organization: id(row.get("organization_id")?)?,
        account: id(row.get("account_id")?)?,
        effect: from_json(row.get("effect")?)?,
        created_at: row.get("created_at")?,
        due_at: row.get("due_at")?,
        tries: row.get("tries")?,
        outcome: row.get("outcome")?,
        done_at: row.get("done_at")?,
    })
}

/// Claims the effect that has been due longest until `until`; whoever dies meanwhile loses the
/// claim then. The condition stands twice, or two workers on PostgreSQL claim the same row.
pub async fn claim(tx: &mut Tx, now: Millis, until: Millis) -> Result<Option<Waiting>> {
    tx.query_opt(
        "UPDATE outbox SET due_at = $2, tries = tries + 1
         WHERE (change_id, step) = (SELECT change_id, step FROM outbox WHERE due_at <= $1
                                    ORDER BY due_at, change_id, step LIMIT 1)
           AND due_at <= $1
         RETURNING change_id, step, organization_id, account_id, effect, created_at, due_at, tries, outcome, done_at",
        params![now, until],
        read,
    )
    .await
}

/// Ends an effect with what happened.
pub async fn finish(tx: &mut Tx, effect: &Waiting, outcome: &str, now: Millis) -> Result<()> {
    tx.execute(
        "UPDATE outbox SET due_at = NULL, outcome = $3, done_at = $4 WHERE change_id = $1 AND step = $2",
        params![effect.change.get(), effect.step, outcome, now],
    )
    .await
    .map(drop)
}

/// Puts a claimed effect off, with the reason. Whoever has lost the claim meanwhile changes nothing:
/// somebody else may have carried it out.
pub async fn put_off(tx: &mut Tx, effect: &Waiting, outcome: &str, due_at: Millis) -> Result<()> {
    tx.execute(
        "UPDATE outbox SET due_at = $3, outcome = $4 WHERE change_id = $1 AND step = $2 AND due_at = $5",
        params![effect.change.get(), effect.step, due_at, outcome, effect.due_at],
    )
    .await
    .map(drop)
}

/// The effects of one change.
pub async fn of_change(tx: &mut Tx, organization: OrganizationId, change: ChangeId) -> Result<Vec<Waiting>> {
    tx.query_all(
        "SELECT change_id, step, organization_id, account_id, effect, created_at, due_at, tries, outcome, done_at
         FROM outbox WHERE change_id = $1 AND organization_id = $2 ORDER BY step",
        params![change.get(), organization.get()],
        read,
    )
    .await
}

/// How many effects wait, and since when the oldest does.
pub async fn backlog(tx: &mut Tx) -> Result<(i64, Option<Millis>)> {
    // Not `due_at IS NOT NULL`, for which SQLite walks over everything that is done.
    tx.query_one(
        "SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE due_at > 0",
        params![],
        |row| Ok((row.get("waiting")?, row.get("oldest")?)),
    )
    .await
}

/// Forgets effects that were done before then.
pub async fn sweep(tx: &mut Tx, before: Millis) -> Result<u64> {
    // What is done is not due; asking for both would make SQLite walk over everything that is done.
    tx.execute("DELETE FROM outbox WHERE done_at < $1", params![before]).await
}
