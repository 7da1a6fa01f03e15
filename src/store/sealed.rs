//! Secrets that must be read again, such as seeds of one-time codes: sealed values in a person's
//! row. One list of tables, so that a change of the key misses none.

use crate::domain::ids::{OrganizationId, UserId};
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// A table with one sealed value for each person, by its statements.
#[derive(Debug, Clone, Copy)]
pub struct SealedTable {
    pub name: &'static str,
    /// `organization_id`, `person_id` and `sealed` of `$3` rows behind `($1, $2)`, in this order.
    pub page: &'static str,
    /// Puts `$4` in the place of `$3` in the row of `($1, $2)`.
    pub replace: &'static str,
    /// Deletes every row.
    pub clear: &'static str,
}

/// Every table that holds sealed values.
pub const TABLES: &[SealedTable] = &[SealedTable {
    name: "totp",
    page: "SELECT organization_id, person_id, seed_sealed AS sealed FROM totp
           WHERE (organization_id, person_id) > ($1, $2) ORDER BY organization_id, person_id LIMIT $3",
    replace: "UPDATE totp SET seed_sealed = $4
              WHERE organization_id = $1 AND person_id = $2 AND seed_sealed = $3",
    clear: "DELETE FROM totp",
}];

/// A sealed value and whose it is.
#[derive(Debug, Clone)]
pub struct SealedRow {
    pub organization: OrganizationId,
    pub person: UserId,
    pub sealed: Vec<u8>,
}

/// Up to `most` values behind that person's, in the order of organization and person; from the
/// start for `None`.
pub async fn page(
    tx: &mut Tx,
    table: SealedTable,
    after: Option<(OrganizationId, UserId)>,
    most: i64,
) -> Result<Vec<SealedRow>> {
    let (organization, person) = after.map_or((0, 0), |(zoid, zuid)| (zoid.get(), zuid.get()));
    tx.query_all(table.page, params![organization, person, most], |row| {
        Ok(SealedRow {
            organization: row.get("organization_id")?,
            person: row.get("person_id")?,
            sealed: row.get("sealed")?,
        })
    })
    .await
}

/// Puts a value in the place of the one that was read; answers whether it was still there.
pub async fn replace(tx: &mut Tx, table: SealedTable, was: &SealedRow, new: &[u8]) -> Result<bool> {
    let params = params![was.organization, was.person, &was.sealed, new];
    Ok(tx.execute(table.replace, params).await? > 0)
}

/// Deletes every sealed value of the installation; answers how many there were.
pub async fn clear(tx: &mut Tx) -> Result<u64> {
    let mut cleared = 0;
    for table in TABLES {
        cleared += tx.execute(table.clear, params![]).await?;
    }
    Ok(cleared)
}

/// Whether anything is sealed.
pub async fn any(tx: &mut Tx) -> Result<bool> {
    for table in TABLES {
        if !page(tx, *table, None, 1).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
