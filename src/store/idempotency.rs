//! Calls that were made with an idempotency key, and what repeats of them are answered.

use crate::clock::Millis;
use crate::domain::ids::OrganizationId;
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// SHA-256 of whose call it is, and of its key.
pub type Scope = [u8; 32];

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Says whether another request is the same.
    pub mac: Vec<u8>,
    /// `None` where the answer carried a secret.
    pub answer: Option<String>,
}

/// Claims a scope for the running transaction, unless it is held. Of several at once one gets it; on
/// PostgreSQL the others wait, run again, and find it held.
pub async fn claim(
    tx: &mut Tx,
    scope: &Scope,
    organization: Option<OrganizationId>,
    mac: &[u8],
    now: Millis,
    expires_at: Millis,
) -> Result<bool> {
    let claimed = tx
        .execute(
            "INSERT INTO idempotency (scope, organization_id, mac, answer, created_at, expires_at)
             VALUES ($1, $2, $3, NULL, $4, $5)
             ON CONFLICT (scope) DO UPDATE
             SET organization_id = $2, mac = $3, answer = NULL, created_at = $4, expires_at = $5
             WHERE idempotency.expires_at <= $4",
            params![scope, organization.map_or(0, OrganizationId::get), mac, now, expires_at],
        )
        .await?;
    Ok(claimed > 0)
}

/// What was made under a scope.
pub async fn held(tx: &mut Tx, scope: &Scope, now: Millis) -> Result<Option<Made>> {
    tx.query_opt(
        "SELECT mac, answer FROM idempotency WHERE scope = $1 AND expires_at > $2",
        params![scope, now],
        |row| Ok(Made { mac: row.get("mac")?, answer: row.get("answer")? }),
    )
    .await
}

/// Keeps the answer of a call whose scope was claimed.
pub fn keep(tx: &mut Tx, scope: &Scope, answer: &str) -> Result<()> {
    tx.send_one("UPDATE idempotency SET answer = $2 WHERE scope = $1", params![scope, answer])
}

/// Forgets what was made long enough ago.
pub async fn sweep(tx: &mut Tx, now: Millis) -> Result<u64> {
    tx.execute("DELETE FROM idempotency WHERE expires_at <= $1", params![now]).await
}
