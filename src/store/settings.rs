//! Facts about this database itself.

use crate::error::Result;
use crate::store::engine::{Tx, params};

/// The random name of this database; files made from another one are not believed.
pub const INSTANCE: &str = "instance";
/// The position up to which done effects were forgotten; whoever is behind it starts anew.
pub const SWEPT: &str = "swept";
/// The same by the number of the transaction that wrote them, on PostgreSQL.
pub const SWEPT_TRANSACTION: &str = "swept_transaction";
/// Since when the database takes no change, in milliseconds; there while there is a hold.
pub const READ_ONLY: &str = "read_only";
/// There while another database is being copied into this one.
pub const UNFINISHED_COPY: &str = "unfinished_copy";
/// The server's key that this database is used with, and what proves that one has it.
pub const KEY_CHECK: &str = "key_check";

/// The hash, in hex, of the refresh token that was looked at last for whether it can work again.
pub const LOOKED_AT: &str = "looked_at_refresh_token";

pub async fn get(tx: &mut Tx, name: &str) -> Result<Option<String>> {
    tx.query_opt("SELECT value FROM setting WHERE name = $1", params![name], |row| row.get("value")).await
}

/// See [`SWEPT`]; 0 when nothing was forgotten yet.
pub async fn swept(tx: &mut Tx) -> Result<i64> {
    number(tx, SWEPT).await
}

/// See [`SWEPT_TRANSACTION`].
pub async fn swept_transaction(tx: &mut Tx) -> Result<i64> {
    number(tx, SWEPT_TRANSACTION).await
}

async fn number(tx: &mut Tx, name: &str) -> Result<i64> {
    Ok(get(tx, name).await?.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Sets a number, unless it is as great already; it is 0 before it was set.
pub async fn raise(tx: &mut Tx, name: &str, to: i64) -> Result<()> {
    if to > number(tx, name).await? { set(tx, name, &to.to_string()).await } else { Ok(()) }
}

pub async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
        params![name, value],
    )
    .await
    .map(drop)
}

pub async fn delete(tx: &mut Tx, name: &str) -> Result<()> {
    tx.execute("DELETE FROM setting WHERE name = $1", params![name]).await.map(drop)
}

/// The value, or `new` if there was none; the same for everybody who asks.
pub async fn get_or_set(tx: &mut Tx, name: &str, new: &str) -> Result<String> {
    // A database that is read-only for the moment must still serve.
    if let Some(value) = get(tx, name).await? {
        return Ok(value);
    }
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        params![name, new],
    )
    .await?;
    tx.query_one("SELECT value FROM setting WHERE name = $1", params![name], |row| row.get("value")).await
}
