//! Ids are taken from the database in blocks and never given twice.

use crate::domain::ids::{Id, KINDS};
use crate::error::{Error, Result};
use crate::store::engine::{Tx, params};

/// Takes `count` numbers of the kind; answers the first.
pub async fn take<T: Id>(tx: &mut Tx, count: i64) -> Result<i64> {
    let after = tx
        .query_one(
            "INSERT INTO id_block (kind, next_id) VALUES ($1, $2)
             ON CONFLICT (kind) DO UPDATE SET next_id = id_block.next_id + $3
             RETURNING next_id",
            params![T::KIND, T::FIRST + count, count],
            |row| row.get::<i64>("next_id"),
        )
        .await?;
    let first = after - count;
    // The greatest number of all is nobody's.
    if T::from_number(after).is_none() {
        return Err(Error::internal(format!("there are no {} numbers left", T::KIND)));
    }
    Ok(first)
}

/// Jumps over `blocks` blocks of numbers of every kind, so that ids given after a backup was made
/// are not given again by the database restored from it.
pub async fn jump(tx: &mut Tx, blocks: i64) -> Result<()> {
    for (kind, first, block) in KINDS {
        let count = blocks * block;
        tx.execute(
            "INSERT INTO id_block (kind, next_id) VALUES ($1, $2)
             ON CONFLICT (kind) DO UPDATE SET next_id = id_block.next_id + $3",
            params![*kind, first + count, count],
        )
        .await?;
    }
    Ok(())
}
