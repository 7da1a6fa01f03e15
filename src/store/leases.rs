//! Work that one node does at a time: whose it is, until when. Whoever dies loses it then.

use crate::clock::{MINUTE, Millis};
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// No work is taken for longer: a lease that seems to end later was written by a clock that was ahead.
const LONGEST: Millis = MINUTE;

/// Whether somebody else does it.
pub async fn is_anothers(tx: &mut Tx, name: &str, holder: &str, now: Millis) -> Result<bool> {
    let found = tx
        .query_opt(
            "SELECT holder FROM lease WHERE name = $1 AND holder <> $2 AND until > $3 AND until <= $4",
            params![name, holder, now, now + LONGEST],
            |row| row.get::<String>("holder"),
        )
        .await?;
    Ok(found.is_some())
}

/// Takes the work, or keeps it, until then; `false` when it is somebody else's.
pub async fn take(tx: &mut Tx, name: &str, holder: &str, now: Millis, until: Millis) -> Result<bool> {
    let taken = tx
        .query_opt(
            "INSERT INTO lease (name, holder, until) VALUES ($1, $2, $4)
             ON CONFLICT (name) DO UPDATE SET holder = $2, until = $4
             WHERE lease.holder = $2 OR lease.until <= $3 OR lease.until > $5
             RETURNING until",
            params![name, holder, now, until, now + LONGEST],
            |row| row.get::<i64>("until"),
        )
        .await?;
    Ok(taken.is_some())
}

/// Gives the work back.
pub async fn give_back(tx: &mut Tx, name: &str, holder: &str) -> Result<()> {
    tx.execute("DELETE FROM lease WHERE name = $1 AND holder = $2", params![name, holder]).await.map(drop)
}
