//! Effects waiting to be carried out: written with the change, a row for each target, claimed by
//! one worker at a time.

use crate::clock::Millis;
use crate::domain::effect::{Effect, PERSON, PROJECTION};
use crate::domain::ids::{AccountId, ChangeId, OrganizationId};
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, id, settings, to_json};

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

/// Writes what the look-ups must show anew; answers the position.
pub async fn project(tx: &mut Tx, origin: Origin) -> Result<i64> {
    tx.query_one(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries)
         VALUES ($1, $2, $3, $4, $5, $6, $6, 0) RETURNING position",
        params![
            origin.change.get(),
            origin.organization.get(),
            origin.account(),
            PROJECTION,
            &to_json(&Effect::Project)?,
            origin.at
        ],
        |row| row.get("position"),
    )
    .await
}

/// Writes an effect for every mail server there is; without any, that is noted as the outcome.
pub async fn for_mail_servers(tx: &mut Tx, origin: Origin, effect: &Effect) -> Result<()> {
    tx.execute(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome,
                             done_at)
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), name, CAST($4 AS TEXT), CAST($5 AS BIGINT),
                CAST($5 AS BIGINT), 0, NULL, NULL
         FROM mail_server
         UNION ALL
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), '', CAST($4 AS TEXT), CAST($5 AS BIGINT),
                NULL, 0, 'no mail server is configured; nothing was told', CAST($5 AS BIGINT)
         WHERE NOT EXISTS (SELECT 1 FROM mail_server)",
        params![
            origin.change.get(),
            origin.organization.get(),
            origin.account(),
            &to_json(effect)?,
            origin.at
        ],
    )
    .await
    .map(drop)
}

/// Writes what the person is to be told.
pub async fn for_person(tx: &mut Tx, origin: Origin, effect: &Effect) -> Result<()> {
    tx.execute_one(
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries)
         VALUES ($1, $2, $3, $4, $5, $6, $6, 0)",
        params![
            origin.change.get(),
            origin.organization.get(),
            origin.account(),
            PERSON,
            &to_json(effect)?,
            origin.at
        ],
    )
    .await
}

fn read(row: &Row<'_>) -> Result<Waiting> {
    let account = row.get::<i64>("account_id")?;
    Ok(Waiting {
        position: row.get("position")?,
        change: id(row.get("change_id")?)?,
        organization: id(row.get("organization_id")?)?,
        account: (account != 0).then(|| id(account)).transpose()?,
        target: row.get("target")?,
        effect: from_json(row.get("effect")?)?,
        created_at: row.get("created_at")?,
        due_at: row.get("due_at")?,
        tries: row.get("tries")?,
        outcome: row.get("outcome")?,
        done_at: row.get("done_at")?,
    })
}

/// Claims up to `most` effects of the target that are due, until `until`; whoever dies meanwhile
/// loses the claim then. The condition stands twice, or two workers on PostgreSQL claim one row.
pub async fn claim(tx: &mut Tx, target: &str, now: Millis, until: Millis, most: i64) -> Result<Vec<Waiting>> {
    tx.query_all(
        "UPDATE outbox SET due_at = $3, tries = tries + 1
         WHERE position IN (SELECT position FROM outbox WHERE target = $1 AND due_at <= $2
                            ORDER BY due_at, position LIMIT $4)
           AND target = $1 AND due_at <= $2
         RETURNING position, change_id, organization_id, account_id, target, effect, created_at, due_at, tries,
                   outcome, done_at",
        params![target, now, until, most],
        read,
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
pub async fn finish(tx: &mut Tx, effect: &Waiting, outcome: &str, now: Millis) -> Result<()> {
    tx.execute(
        "UPDATE outbox SET due_at = NULL, outcome = $3, done_at = $4
         WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL",
        params![effect.position, effect.tries, outcome, now],
    )
    .await
    .map(drop)
}

/// Puts a claimed effect off, with what happened so far.
pub async fn put_off(tx: &mut Tx, effect: &Waiting, outcome: &str, due_at: Millis) -> Result<()> {
    tx.execute(
        "UPDATE outbox SET due_at = $3, outcome = $4
         WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL",
        params![effect.position, effect.tries, due_at, outcome],
    )
    .await
    .map(drop)
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

/// What changed after a position, in order: the position and whose it is.
pub async fn changed_since(
    tx: &mut Tx,
    position: i64,
    most: i64,
) -> Result<Vec<(i64, OrganizationId, Option<AccountId>)>> {
    tx.query_all(
        "SELECT position, organization_id, account_id FROM outbox WHERE position > $1 ORDER BY position LIMIT $2",
        params![position, most],
        |row| {
            let account = row.get::<i64>("account_id")?;
            let account = (account != 0).then(|| id(account)).transpose()?;
            Ok((row.get("position")?, id(row.get("organization_id")?)?, account))
        },
    )
    .await
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

/// The effects of one change.
pub async fn of_change(tx: &mut Tx, organization: OrganizationId, change: ChangeId) -> Result<Vec<Waiting>> {
    tx.query_all(
        "SELECT position, change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome,
                done_at
         FROM outbox WHERE organization_id = $1 AND change_id = $2 ORDER BY position",
        params![organization.get(), change.get()],
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

/// The same for one target, such as a mail server.
pub async fn backlog_of(tx: &mut Tx, target: &str) -> Result<(i64, Option<Millis>)> {
    tx.query_one(
        "SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE target = $1 AND due_at IS NOT NULL",
        params![target],
        |row| Ok((row.get("waiting")?, row.get("oldest")?)),
    )
    .await
}

/// Forgets effects that were done before then; answers the newest position among them.
pub async fn sweep(tx: &mut Tx, before: Millis) -> Result<i64> {
    let swept = tx
        .query_one(
            "SELECT COALESCE(MAX(position), 0) AS swept FROM outbox WHERE done_at < $1",
            params![before],
            |row| row.get("swept"),
        )
        .await?;
    // What is done is not due; asking for both would make SQLite walk over everything that is done.
    tx.execute("DELETE FROM outbox WHERE done_at < $1", params![before]).await?;
    Ok(swept)
}
