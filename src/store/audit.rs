//! The audit log. An entry's text is canonical and never changes once written; refusals of the
//! running minute are counted apart and become entries when the minute is over.

use crate::clock::Millis;
use crate::domain::actor::Who;
use crate::domain::ids::{ChangeId, OrganizationId, UserId};
use crate::error::Result;
use crate::store::audit_chain;
use crate::store::engine::{Row, Tx, Value, params};

/// The columns that [`read`] reads.
macro_rules! select_audit {
    ($rest:literal) => {
        concat!("SELECT organization_id, id, step, at, actor, verb, person_id, entry FROM audit ", $rest)
    };
}

/// An entry as stored.
#[derive(Debug, Clone)]
pub struct AuditRow {
    pub organization: OrganizationId,
    pub id: ChangeId,
    pub step: i64,
    pub at: Millis,
    pub actor: String,
    pub verb: String,
    /// The user concerned.
    pub person: Option<UserId>,
    /// The whole entry in canonical JSON.
    pub entry: String,
}

impl AuditRow {
    /// Who did it; `None` for an actor whom this program does not know.
    pub fn who(&self) -> Option<Who> {
        self.actor.parse().ok()
    }
}

/// Writes an entry with the change, and puts it at the end of what is to be sealed.
pub fn insert(tx: &mut Tx, row: &AuditRow) -> Result<()> {
    tx.send(
        "INSERT INTO audit (organization_id, id, step, at, actor, verb, person_id, entry)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &columns(row),
    )?;
    audit_chain::enqueue(tx, row.organization, row.id, row.step)
}

fn columns(row: &AuditRow) -> [Value<'_>; 8] {
    *params![row.organization, row.id, row.step, row.at, &row.actor, &row.verb, row.person, &row.entry]
}

/// Writes an entry where none with its id and step is, also none of a transaction that still runs:
/// that one is waited for. Whether it was written.
pub async fn insert_unless_there(tx: &mut Tx, row: &AuditRow) -> Result<bool> {
    let written = tx
        .execute(
            "INSERT INTO audit (organization_id, id, step, at, actor, verb, person_id, entry)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (organization_id, id, step) DO NOTHING",
            &columns(row),
        )
        .await?;
    if written == 1 {
        audit_chain::enqueue(tx, row.organization, row.id, row.step)?;
    }
    Ok(written == 1)
}

fn read(row: &Row<'_>) -> Result<AuditRow> {
    Ok(AuditRow {
        organization: row.get("organization_id")?,
        id: row.get("id")?,
        step: row.get("step")?,
        at: row.get("at")?,
        actor: row.get("actor")?,
        verb: row.get("verb")?,
        person: row.get("person_id")?,
        entry: row.get("entry")?,
    })
}

/// The newest entries of an organization, of one person where given.
pub async fn newest(
    tx: &mut Tx,
    organization: OrganizationId,
    person: Option<UserId>,
    most: i64,
) -> Result<Vec<AuditRow>> {
    page(tx, organization, person, Millis::MIN, Cursor::NEWEST, most).await
}

/// Where a page of entries begins: after an entry, in the order from the newest to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub at: Millis,
    pub id: i64,
    pub step: i64,
}

impl Cursor {
    /// Before every entry.
    pub const NEWEST: Self = Self { at: Millis::MAX, id: i64::MAX, step: i64::MAX };
}

/// Entries since `since` that come after a place, the newest first; of one person where given.
pub async fn page(
    tx: &mut Tx,
    organization: OrganizationId,
    person: Option<UserId>,
    since: Millis,
    after: Cursor,
    most: i64,
) -> Result<Vec<AuditRow>> {
    match person {
        None => {
            tx.query_all(
                select_audit!(
                    "WHERE organization_id = $1 AND at >= $2 AND at <= $3
                   AND (at < $3 OR id < $4 OR (id = $4 AND step < $5))
                 ORDER BY at DESC, id DESC, step DESC LIMIT $6"
                ),
                params![organization, since, after.at, after.id, after.step, most],
                read,
            )
            .await
        }
        Some(person) => {
            tx.query_all(
                select_audit!(
                    "WHERE organization_id = $1 AND person_id = $7 AND at >= $2 AND at <= $3
                   AND (at < $3 OR id < $4 OR (id = $4 AND step < $5))
                 ORDER BY at DESC, id DESC, step DESC LIMIT $6"
                ),
                params![organization, since, after.at, after.id, after.step, most, person],
                read,
            )
            .await
        }
    }
}

/// A page of the entries about one person, the newest first.
pub async fn page_of_person(
    tx: &mut Tx,
    organization: OrganizationId,
    person: UserId,
    start: i64,
    limit: i64,
) -> Result<Vec<AuditRow>> {
    tx.query_all(
        select_audit!("WHERE organization_id = $1 AND person_id = $2 ORDER BY at DESC, id DESC, step DESC LIMIT $3 OFFSET $4"),
        params![organization, person, limit, start],
        read,
    )
    .await
}

/// The newest entries of what somebody did, by the actor's name in the log.
pub async fn newest_by(
    tx: &mut Tx,
    organization: OrganizationId,
    actor: &str,
    most: i64,
) -> Result<Vec<AuditRow>> {
    tx.query_all(
        select_audit!(
            "WHERE organization_id = $1 AND actor = $2 ORDER BY at DESC, id DESC, step DESC LIMIT $3"
        ),
        params![organization, actor, most],
        read,
    )
    .await
}

/// The entries of one change, in order of its steps.
pub async fn of_change(tx: &mut Tx, organization: OrganizationId, change: ChangeId) -> Result<Vec<AuditRow>> {
    tx.query_all(
        select_audit!("WHERE organization_id = $1 AND id = $2 ORDER BY step"),
        params![organization, change],
        read,
    )
    .await
}

/// One kind of refusal in one minute.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub organization: OrganizationId,
    /// Minutes since 1970.
    pub minute: i64,
    pub actor: String,
    pub verb: String,
    /// The target as it was named.
    pub target: String,
    pub person: Option<UserId>,
    pub refusals: i64,
    /// The first such refusal in canonical JSON.
    pub entry: String,
}

/// Counts a refusal with its equals of the same minute.
pub async fn count_refusal(tx: &mut Tx, refusal: &Refusal) -> Result<()> {
    tx.execute(
        "INSERT INTO refusal (organization_id, minute, actor, verb, target, refusals, person_id, entry)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (organization_id, minute, actor, verb, target) DO UPDATE
         SET refusals = refusal.refusals + $6",
        params![
            refusal.organization,
            refusal.minute,
            &refusal.actor,
            &refusal.verb,
            &refusal.target,
            refusal.refusals,
            refusal.person,
            &refusal.entry
        ],
    )
    .await
    .map(drop)
}

fn read_refusal(row: &Row<'_>) -> Result<Refusal> {
    Ok(Refusal {
        organization: row.get("organization_id")?,
        minute: row.get("minute")?,
        actor: row.get("actor")?,
        verb: row.get("verb")?,
        target: row.get("target")?,
        person: row.get("person_id")?,
        refusals: row.get("refusals")?,
        entry: row.get("entry")?,
    })
}

/// Takes the refusals of minutes before `minute` out of the counters.
pub async fn take_finished_refusals(tx: &mut Tx, minute: i64, most: i64) -> Result<Vec<Refusal>> {
    let finished = tx
        .query_all(
            "SELECT organization_id, minute, actor, verb, target, refusals, person_id, entry FROM refusal
             WHERE minute < $1 ORDER BY minute, organization_id, actor, verb, target LIMIT $2",
            params![minute, most],
            read_refusal,
        )
        .await?;
    for refusal in &finished {
        tx.execute_one(
            "DELETE FROM refusal
             WHERE organization_id = $1 AND minute = $2 AND actor = $3 AND verb = $4 AND target = $5",
            params![refusal.organization, refusal.minute, &refusal.actor, &refusal.verb, &refusal.target],
        )
        .await?;
    }
    Ok(finished)
}

/// The refusals that are still being counted.
pub async fn running_refusals(tx: &mut Tx, organization: OrganizationId) -> Result<Vec<Refusal>> {
    tx.query_all(
        "SELECT organization_id, minute, actor, verb, target, refusals, person_id, entry FROM refusal
         WHERE organization_id = $1 ORDER BY minute DESC, actor, verb, target",
        params![organization],
        read_refusal,
    )
    .await
}
