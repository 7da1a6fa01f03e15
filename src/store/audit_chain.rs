//! The chain over audit entries: rows written with the entry, sealed by one worker, read in order.

use crate::domain::audit_chain::{Hash, Tip};
use crate::domain::ids::{ChangeId, OrganizationId, UserId};
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// Puts an entry at the end of what waits to be sealed.
pub fn enqueue(tx: &mut Tx, organization: OrganizationId, change: ChangeId, step: i64) -> Result<()> {
    tx.send(
        "INSERT INTO audit_link (organization_id, change_id, step) VALUES ($1, $2, $3)",
        params![organization, change, step],
    )
}

/// An entry that waits to be sealed.
#[derive(Debug, Clone)]
pub struct Unsealed {
    pub seq: i64,
    pub organization: OrganizationId,
    pub entry: String,
}

/// Entries that wait, as they were written, of transactions below `below` alone (`Tx::settled`).
pub async fn unsealed(tx: &mut Tx, below: i64, most: i64) -> Result<Vec<Unsealed>> {
    tx.query_all(
        "SELECT l.seq, l.organization_id, a.entry
         FROM audit_link l
         JOIN audit a ON a.organization_id = l.organization_id AND a.id = l.change_id AND a.step = l.step
         WHERE l.number IS NULL AND l.txid < $1 ORDER BY l.seq LIMIT $2",
        params![below, most],
        |row| {
            Ok(Unsealed {
                seq: row.get("seq")?,
                organization: row.get("organization_id")?,
                entry: row.get("entry")?,
            })
        },
    )
    .await
}

/// Since when the oldest entry waits that is not sealed, if one does.
pub async fn waiting_since(tx: &mut Tx) -> Result<Option<i64>> {
    tx.query_opt(
        "SELECT a.at FROM audit_link l
         JOIN audit a ON a.organization_id = l.organization_id AND a.id = l.change_id AND a.step = l.step
         WHERE l.number IS NULL ORDER BY l.seq LIMIT 1",
        params![],
        |row| row.get("at"),
    )
    .await
}

/// Where the organization's chain stands.
pub async fn tip(tx: &mut Tx, organization: OrganizationId) -> Result<Tip> {
    let tip = tx
        .query_opt(
            "SELECT number, hash FROM audit_link
             WHERE organization_id = $1 AND number IS NOT NULL ORDER BY number DESC LIMIT 1",
            params![organization],
            |row| {
                Ok(Tip {
                    number: row.get("number")?,
                    hash: row.get::<Option<Hash>>("hash")?.unwrap_or_default(),
                })
            },
        )
        .await?;
    Ok(tip.unwrap_or_else(|| Tip::start(organization)))
}

/// Gives an entry its place in the chain.
///
/// # Errors
/// `Stale` when it has one; `Unique` when the place is taken. Another worker was quicker then.
pub async fn seal(tx: &mut Tx, seq: i64, tip: Tip) -> Result<()> {
    tx.execute_one(
        "UPDATE audit_link SET number = $2, hash = $3 WHERE seq = $1 AND number IS NULL",
        params![seq, tip.number, &tip.hash],
    )
    .await
}

/// A sealed place with its entry, and what the columns beside it say.
#[derive(Debug, Clone)]
pub struct ChainLink {
    pub number: i64,
    pub hash: Option<Hash>,
    /// `None` when the entry is gone.
    pub entry: Option<String>,
    pub change: ChangeId,
    pub step: i64,
    pub person: Option<UserId>,
    pub at: Option<i64>,
    pub verb: Option<String>,
    pub actor: Option<String>,
}

/// Up to `most` places of an organization's chain behind the one with that number, in order.
pub async fn page(
    tx: &mut Tx,
    organization: OrganizationId,
    after: i64,
    most: i64,
) -> Result<Vec<ChainLink>> {
    tx.query_all(
        "SELECT l.number, l.hash, l.change_id, l.step, a.entry, a.person_id, a.at, a.verb, a.actor
         FROM audit_link l
         LEFT JOIN audit a ON a.organization_id = l.organization_id AND a.id = l.change_id AND a.step = l.step
         WHERE l.organization_id = $1 AND l.number > $2 ORDER BY l.number LIMIT $3",
        params![organization, after, most],
        |row| {
            Ok(ChainLink {
                number: row.get("number")?,
                hash: row.get("hash")?,
                entry: row.get("entry")?,
                change: row.get("change_id")?,
                step: row.get("step")?,
                person: row.get("person_id")?,
                at: row.get("at")?,
                verb: row.get("verb")?,
                actor: row.get("actor")?,
            })
        },
    )
    .await
}

/// How many entries of the organization stand in the table, and how many places it knows for them.
pub async fn counts(tx: &mut Tx, organization: OrganizationId) -> Result<(i64, i64)> {
    let entries = tx
        .query_one(
            "SELECT COUNT(*) AS entries FROM audit WHERE organization_id = $1",
            params![organization],
            |row| row.get("entries"),
        )
        .await?;
    let sealed: i64 = tx
        .query_one(
            "SELECT COUNT(*) AS places FROM audit_link WHERE organization_id = $1 AND number IS NOT NULL",
            params![organization],
            |row| row.get("places"),
        )
        .await?;
    let waiting: i64 = tx
        .query_one(
            "SELECT COUNT(*) AS places FROM audit_link WHERE organization_id = $1 AND number IS NULL",
            params![organization],
            |row| row.get("places"),
        )
        .await?;
    Ok((entries, sealed + waiting))
}

/// After a restore: transactions of another server say nothing about this one's.
pub async fn forget_transactions(tx: &mut Tx) -> Result<()> {
    tx.execute("UPDATE audit_link SET txid = 0 WHERE number IS NULL", params![]).await.map(drop)
}
