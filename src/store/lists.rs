//! Pages of accounts by creation order, as quick at the end of a long list as at its start:
//! counters say how many persons each run of ordinals holds, an index does the rest.

use std::collections::HashMap;

use crate::clock::Millis;
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::error::Result;
use crate::store::accounts::{BLOCK, read, select_account};
use crate::store::engine::{Tx, params};

/// An account in a list, with what a list shows beside it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub account: Account,
    pub last_sign_in: Option<(Millis, String)>,
}

/// The accounts from position `start` (the first is 0), at most `limit`, in order of creation.
/// Must run in a snapshot, so that counters and rows agree.
pub async fn page(tx: &mut Tx, organization: OrganizationId, start: i64, limit: i64) -> Result<Vec<Listed>> {
    let Some((block, before)) = tx
        .query_opt(
            "SELECT block, persons_before FROM (
                 SELECT block, persons,
                        CAST(SUM(persons) OVER (ORDER BY block) AS BIGINT) - persons AS persons_before
                 FROM person_count WHERE organization_id = $1
             ) AS counted
             WHERE persons_before <= $2 AND persons > $2 - persons_before
             ORDER BY block LIMIT 1",
            params![organization.get(), start],
            |row| Ok((row.get::<i64>("block")?, row.get::<i64>("persons_before")?)),
        )
        .await?
    else {
        return Ok(Vec::new());
    };
    let mut ordinals = (i64::MAX, i64::MIN);
    let mut accounts = tx
        .query_all(
            select_account!(
                "WHERE p.organization_id = $1 AND p.ordinal >= $2
                 ORDER BY p.ordinal LIMIT $3 OFFSET $4"
            ),
            params![organization.get(), block * BLOCK, limit, start - before],
            |row| {
                let ordinal = row.get::<i64>("ordinal")?;
                ordinals = (ordinals.0.min(ordinal), ordinals.1.max(ordinal));
                read(row)
            },
        )
        .await?;
    add_aliases(tx, organization, ordinals, &mut accounts).await?;
    let mut seen: HashMap<i64, (Millis, String)> = tx
        .query_all(
            "SELECT s.person_id, s.last_at, s.last_door FROM person p
             JOIN sign_in s ON s.organization_id = p.organization_id AND s.person_id = p.id
             WHERE p.organization_id = $1 AND p.ordinal >= $2 AND p.ordinal <= $3",
            params![organization.get(), ordinals.0, ordinals.1],
            |row| Ok((row.get("person_id")?, (row.get("last_at")?, row.get("last_door")?))),
        )
        .await?
        .into_iter()
        .collect();
    Ok(accounts
        .into_iter()
        .map(|account| Listed { last_sign_in: seen.remove(&account.user.get()), account })
        .collect())
}

async fn add_aliases(
    tx: &mut Tx,
    organization: OrganizationId,
    ordinals: (i64, i64),
    accounts: &mut [Account],
) -> Result<()> {
    let owned = tx
        .query_all(
            "SELECT d.account_id, d.address FROM person p
             JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id
             JOIN address d ON d.organization_id = a.organization_id AND d.account_id = a.id
             WHERE p.organization_id = $1 AND p.ordinal >= $2 AND p.ordinal <= $3
               AND d.freed_at IS NULL AND d.address <> a.primary_address
             ORDER BY d.created_at, d.address",
            params![organization.get(), ordinals.0, ordinals.1],
            |row| Ok((row.get::<i64>("account_id")?, EmailAddress::parse(row.get("address")?)?)),
        )
        .await?;
    let mut by_account: HashMap<i64, Vec<EmailAddress>> = HashMap::new();
    for (account, address) in owned {
        by_account.entry(account).or_default().push(address);
    }
    for account in accounts {
        account.aliases = by_account.remove(&account.id.get()).unwrap_or_default();
    }
    Ok(())
}
