//! Facts about this database itself.

use crate::error::Result;
use crate::store::engine::{Tx, params};

/// The random name of this database; files made from another one are not believed.
pub const INSTANCE: &str = "instance";
/// The position up to which done effects were forgotten; whoever is behind it starts anew.
pub const SWEPT: &str = "swept";

pub async fn get(tx: &mut Tx, name: &str) -> Result<Option<String>> {
    tx.query_opt("SELECT value FROM setting WHERE name = $1", params![name], |row| row.get("value")).await
}

/// See [`SWEPT`]; 0 when nothing was forgotten yet.
pub async fn swept(tx: &mut Tx) -> Result<i64> {
    Ok(get(tx, SWEPT).await?.and_then(|position| position.parse().ok()).unwrap_or(0))
}

pub async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
        params![name, value],
    )
    .await
    .map(drop)
}

/// The value, or `new` if there was none; the same for everybody who asks.
pub async fn get_or_set(tx: &mut Tx, name: &str, new: &str) -> Result<String> {
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        params![name, new],
    )
    .await?;
    tx.query_one("SELECT value FROM setting WHERE name = $1", params![name], |row| row.get("value")).await
}
