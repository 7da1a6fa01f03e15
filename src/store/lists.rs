//! Pages of accounts by creation order, as quick at the end of a long list as at its start: counters say
//! how many persons each run of ordinals holds, an index does the rest. The last runs have no counter yet,
//! so that those who create accounts at the same time do not all write one row.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::domain::account::Account;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::ids::OrganizationId;
use crate::error::Result;
use crate::store::accounts::{self, Handle, select_listed};
use crate::store::addresses;
use crate::store::engine::{Row, Tx, params};
use crate::store::sign_ins::{self, SignIns};

/// An account in a list, with what a list shows beside it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub account: Account,
    pub sign_ins: SignIns,
}

/// Reads from a row of `select_listed!`; the aliases come separately.
pub(super) fn read(row: &Row<'_>) -> Result<Listed> {
    Ok(Listed { account: accounts::read(row)?, sign_ins: sign_ins::read(row)? })
}

/// Queues the statements of [`one`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch_one(tx: &mut Tx, organization: OrganizationId, handle: Handle) {
    accounts::prefetch_owner(tx, organization, handle, handle.listed());
}

/// One account, or `None` where the organization has no such user.
pub async fn one(tx: &mut Tx, organization: OrganizationId, handle: Handle) -> Result<Option<Listed>> {
    let mut sign_ins = SignIns::default();
    let beside = |row: &Row<'_>| sign_ins::read(row).map(|read| sign_ins = read);
    let found = accounts::load_owner(tx, organization, handle, handle.listed(), beside).await?;
    Ok(found.map(|account| Listed { account, sign_ins }))
}

/// How many ordinals share one counter.
pub const BLOCK: i64 = 4096;
/// Ordinals that a node takes at a time.
const TAKEN: i64 = 32;

/// Takes ordinals for accounts to be created, in the order of creation as seen from one node. What is not
/// used is lost.
pub async fn take_ordinals(tx: &mut Tx, organization: OrganizationId) -> Result<Range<i64>> {
    let end = tx
        .query_one(
            "UPDATE organization_counter SET next_ordinal = next_ordinal + $2
             WHERE organization_id = $1 RETURNING next_ordinal",
            params![organization, TAKEN],
            |row| row.get::<i64>("next_ordinal"),
        )
        .await?;
    let first = end - TAKEN;
    let (block, _) = counted(tx, organization).await?;
    // A run gets its counter when the next one is given out, too: few are still to be stored in it.
    if (block + 2) * BLOCK <= first {
        tx.execute_one(
            "INSERT INTO person_count (organization_id, block, persons)
             SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), COUNT(*) FROM person
             WHERE organization_id = $1 AND ordinal >= $3 AND ordinal < $4",
            params![organization, block, block * BLOCK, (block + 1) * BLOCK],
        )
        .await?;
    }
    Ok(first..end)
}

/// Notes that somebody came to an ordinal, or went, where it has a counter already.
pub fn count(tx: &mut Tx, organization: OrganizationId, ordinal: i64, change: i64) -> Result<()> {
    tx.send(
        "UPDATE person_count SET persons = persons + $3 WHERE organization_id = $1 AND block = $2",
        params![organization, ordinal / BLOCK, change],
    )
}

/// The first run without a counter, and how many persons those before it hold.
async fn counted(tx: &mut Tx, organization: OrganizationId) -> Result<(i64, i64)> {
    tx.query_one(
        "SELECT COALESCE(MAX(block), -1) AS last, CAST(COALESCE(SUM(persons), 0) AS BIGINT) AS persons
         FROM person_count WHERE organization_id = $1",
        params![organization],
        |row| Ok((row.get::<i64>("last")? + 1, row.get("persons")?)),
    )
    .await
}

/// How many persons the organization has.
pub async fn persons(tx: &mut Tx, organization: OrganizationId) -> Result<i64> {
    let (block, before) = counted(tx, organization).await?;
    let behind = tx
        .query_one(
            "SELECT COUNT(*) AS persons FROM person WHERE organization_id = $1 AND ordinal >= $2",
            params![organization, block * BLOCK],
            |row| row.get::<i64>("persons"),
        )
        .await?;
    Ok(before + behind)
}

/// The accounts from position `start` (the first is 0), at most `limit`, in order of creation.
/// Must run in a snapshot, so that counters and rows agree.
pub async fn page(tx: &mut Tx, organization: OrganizationId, start: i64, limit: i64) -> Result<Vec<Listed>> {
    let found = tx
        .query_opt(
            "SELECT block, persons_before FROM (
                 SELECT block, persons,
                        CAST(SUM(persons) OVER (ORDER BY block) AS BIGINT) - persons AS persons_before
                 FROM person_count WHERE organization_id = $1
             ) AS counted
             WHERE persons_before <= $2 AND persons > $2 - persons_before
             ORDER BY block LIMIT 1",
            params![organization, start],
            |row| Ok((row.get::<i64>("block")?, row.get::<i64>("persons_before")?)),
        )
        .await?;
    let (block, before) = match found {
        Some(found) => found,
        None => counted(tx, organization).await?,
    };
    let mut ordinals = (i64::MAX, i64::MIN);
    let found = tx
        .query_all(
            // What is passed over is counted in the index alone.
            select_listed!(
                "",
                "WHERE p.organization_id = $1 AND p.ordinal >= (
                     SELECT ordinal FROM person WHERE organization_id = $1 AND ordinal >= $2
                     ORDER BY ordinal LIMIT 1 OFFSET $4)
                 ORDER BY p.ordinal LIMIT $3"
            ),
            params![organization, block * BLOCK, limit, start - before],
            |row| {
                let ordinal = row.get::<i64>("ordinal")?;
                ordinals = (ordinals.0.min(ordinal), ordinals.1.max(ordinal));
                read(row)
            },
        )
        .await?;
    // CROSS JOIN keeps SQLite from beginning with every address of the organization.
    let owned = addresses::aliases(
        tx,
        "SELECT d.account_id, d.address, d.created_at FROM person p CROSS JOIN account a CROSS JOIN address d
         WHERE p.organization_id = $1 AND p.ordinal >= $2 AND p.ordinal <= $3
           AND a.organization_id = p.organization_id AND a.person_id = p.id
           AND d.organization_id = a.organization_id AND d.account_id = a.id
           AND d.freed_at IS NULL AND d.address <> a.primary_address",
        params![organization, ordinals.0, ordinals.1],
    )
    .await?;
    Ok(with_aliases(found, owned))
}

/// Gives the accounts their aliases, which come by accountId.
pub(super) fn with_aliases(
    mut found: Vec<Listed>,
    mut owned: HashMap<i64, Vec<EmailAddress>>,
) -> Vec<Listed> {
    for Listed { account, .. } in &mut found {
        account.aliases = owned.remove(&account.id.get()).unwrap_or_default();
    }
    found
}

/// As `page`, of accounts whose primary address is on one of these domains: domain by domain, each
/// in order of creation. What lies before `start` is counted in an index.
pub async fn page_of_domains(
    tx: &mut Tx,
    organization: OrganizationId,
    domains: &BTreeSet<DomainName>,
    start: i64,
    limit: i64,
) -> Result<Vec<Listed>> {
    let (mut page, mut skip) = (Vec::new(), start);
    for domain in domains {
        let wanted = limit - i64::try_from(page.len()).unwrap_or(limit);
        if wanted <= 0 {
            break;
        }
        let held = tx
            .query_one(
                "SELECT COUNT(*) AS accounts FROM account WHERE organization_id = $1 AND primary_domain = $2",
                params![organization, domain.as_str()],
                |row| row.get::<i64>("accounts"),
            )
            .await?;
        if skip < held {
            page.extend(of_domain(tx, organization, domain, skip, wanted).await?);
        }
        skip = (skip - held).max(0);
    }
    Ok(page)
}

async fn of_domain(
    tx: &mut Tx,
    organization: OrganizationId,
    domain: &DomainName,
    start: i64,
    limit: i64,
) -> Result<Vec<Listed>> {
    let (zoid, domain) = (organization, domain.as_str());
    let found = tx
        .query_all(
            select_listed!(
                "",
                "WHERE a.organization_id = $1 AND a.id IN (
                     SELECT id FROM account WHERE organization_id = $1 AND primary_domain = $2
                     ORDER BY created_at, id LIMIT $3 OFFSET $4)
                 ORDER BY a.created_at, a.id"
            ),
            params![zoid, domain, limit, start],
            read,
        )
        .await?;
    let owned = addresses::aliases(
        tx,
        "SELECT d.account_id, d.address, d.created_at FROM account a CROSS JOIN address d
         WHERE d.organization_id = a.organization_id AND d.account_id = a.id
           AND a.organization_id = $1 AND d.freed_at IS NULL AND d.address <> a.primary_address
           AND a.id IN (SELECT id FROM account WHERE organization_id = $1 AND primary_domain = $2
                        ORDER BY created_at, id LIMIT $3 OFFSET $4)",
        params![zoid, domain, limit, start],
    )
    .await?;
    Ok(with_aliases(found, owned))
}
