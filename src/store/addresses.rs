//! Every address of the installation: in use, or kept for its former account.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Millis;
use crate::domain::account::Account;
use crate::domain::claim::{self, AddressFacts, DomainState, Holder};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{AccountId, OrganizationId};
use crate::error::Result;
use crate::store::accounts::Handle;
use crate::store::engine::{Row, Tx, Value, params};
use crate::store::stored;

/// Whose account an address in use is.
pub async fn account_of(tx: &mut Tx, address: &EmailAddress) -> Result<Option<(OrganizationId, AccountId)>> {
    tx.query_opt(
        "SELECT organization_id, account_id FROM address WHERE address = $1 AND freed_at IS NULL",
        params![address.as_str()],
        |row| Ok((row.get("organization_id")?, row.get("account_id")?)),
    )
    .await
}

/// The same for one organization: whoever else has it is not told of.
pub async fn handle_of(
    tx: &mut Tx,
    organization: OrganizationId,
    address: &EmailAddress,
) -> Result<Option<Handle>> {
    let owner = account_of(tx, address).await?.filter(|(owner, _)| *owner == organization);
    Ok(owner.map(|(_, account)| Handle::Account(account)))
}

const DOMAIN: &str = "SELECT verified_at, disabled FROM domain WHERE organization_id = $1 AND name = $2";
const HOLDER: &str = "SELECT account_id, freed_at, kept_until FROM address WHERE address = $1";

/// Queues the statements of [`facts`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch_facts(tx: &mut Tx, organization: OrganizationId, wanted: &[EmailAddress]) {
    for address in wanted {
        tx.prefetch(DOMAIN, params![organization, address.domain().as_str()]);
        tx.prefetch(HOLDER, params![address.as_str()]);
    }
}

/// What the rules must know before an address is claimed.
pub async fn facts(
    tx: &mut Tx,
    organization: OrganizationId,
    wanted: &[EmailAddress],
) -> Result<BTreeMap<EmailAddress, AddressFacts>> {
    prefetch_facts(tx, organization, wanted);
    let mut all = BTreeMap::new();
    for address in wanted {
        let domain = tx
            .query_opt(DOMAIN, params![organization, address.domain().as_str()], |row| {
                Ok((row.get::<Option<i64>>("verified_at")?, row.get::<Option<&str>>("disabled")?.is_some()))
            })
            .await?;
        let holder = tx.query_opt(HOLDER, params![address.as_str()], read_holder).await?;
        let domain = match domain {
            None => DomainState::NotOurs,
            Some((None, _)) => DomainState::Unverified,
            Some((Some(_), true)) => DomainState::Off,
            Some((Some(_), false)) => DomainState::Verified,
        };
        all.insert(address.clone(), AddressFacts { domain, holder });
    }
    Ok(all)
}

fn read_holder(row: &Row<'_>) -> Result<Holder> {
    let account = row.get("account_id")?;
    Ok(match row.get::<Option<i64>>("freed_at")? {
        None => Holder::Account(account),
        Some(_) => Holder::Former { account, until: row.get::<Option<i64>>("kept_until")?.unwrap_or(0) },
    })
}

/// Writes the address to the account, over a freed row if there is one.
///
/// # Errors
/// `AddressTaken` when it is in use by then.
pub(super) async fn take(tx: &mut Tx, account: &Account, address: &EmailAddress, now: Millis) -> Result<()> {
    let taken = tx
        .execute(
            "INSERT INTO address (address, organization_id, account_id, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (address) DO UPDATE
             SET organization_id = $2, account_id = $3, created_at = $4, freed_at = NULL, kept_until = NULL
             WHERE address.freed_at IS NOT NULL",
            params![address.as_str(), account.organization, account.id, now],
        )
        .await?;
    match taken {
        1 => Ok(()),
        _ => Err(claim::taken(address)),
    }
}

/// Frees an address of the account; it is kept for it until then.
pub(super) fn free(
    tx: &mut Tx,
    account: &Account,
    address: &EmailAddress,
    now: Millis,
    kept_until: Millis,
) -> Result<()> {
    tx.send_one(
        "UPDATE address SET freed_at = $4, kept_until = $5
         WHERE address = $1 AND organization_id = $2 AND account_id = $3 AND freed_at IS NULL",
        params![address.as_str(), account.organization, account.id, now, kept_until],
    )
}

/// The oldest first; those of one moment by their letters, which each database would order in its own way.
pub(super) fn in_order(mut given: Vec<(Millis, EmailAddress)>) -> Vec<EmailAddress> {
    given.sort_unstable_by(|(a, one), (b, other)| (a, one.as_str()).cmp(&(b, other.as_str())));
    given.into_iter().map(|(_, address)| address).collect()
}

/// The aliases of several accounts, by accountId; `sql` answers `account_id`, `address` and `created_at`.
pub(super) async fn aliases(
    tx: &mut Tx,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<HashMap<i64, Vec<EmailAddress>>> {
    let mut given: HashMap<i64, Vec<(Millis, EmailAddress)>> = HashMap::new();
    let read = |row: &Row<'_>| {
        let address = stored("address", EmailAddress::parse(row.get("address")?))?;
        Ok((row.get("account_id")?, (row.get("created_at")?, address)))
    };
    for (account, address) in tx.query_all(sql, params, read).await? {
        given.entry(account).or_default().push(address);
    }
    Ok(given.into_iter().map(|(account, given)| (account, in_order(given))).collect())
}
