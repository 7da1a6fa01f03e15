//! Organizations and their domains.

use crate::clock::Millis;
use crate::domain::email_address::DomainName;
use crate::domain::ids::{DomainId, OrganizationId};
use crate::domain::policy::Policy;
use crate::domain::switch::Switch;
use crate::error::{Error, Result};
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, lists, opt_from_json, opt_to_json, stored, to_json};

#[derive(Debug, Clone)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub disabled: Switch,
    pub policy: Policy,
    pub created_at: Millis,
}

#[derive(Debug, Clone)]
pub struct Domain {
    pub id: DomainId,
    pub organization: OrganizationId,
    pub name: DomainName,
    pub verification_code: String,
    pub verified_at: Option<Millis>,
    pub verified_by: Option<String>,
    pub primary: bool,
    pub disabled: Switch,
    pub created_at: Millis,
}

/// How many of what an organization has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub persons: i64,
}

/// # Errors
/// `BadValue` for a policy that cannot be meant.
pub async fn insert(tx: &mut Tx, organization: &Organization) -> Result<()> {
    organization.policy.validate()?;
    tx.execute_one(
        "INSERT INTO organization (id, name, disabled, policy, one_time_opens_mail, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            organization.id,
            &organization.name,
            opt_to_json(organization.disabled.as_ref())?.as_deref(),
            &to_json(&organization.policy)?,
            organization.policy.password.one_time_opens_mail,
            organization.created_at
        ],
    )
    .await?;
    tx.execute_one(
        "INSERT INTO organization_counter (organization_id, next_ordinal) VALUES ($1, 0)",
        params![organization.id],
    )
    .await
}

/// The columns that [`read`] reads.
macro_rules! select_organization {
    ($rest:literal) => {
        concat!("SELECT id, name, disabled, policy, created_at FROM organization ", $rest)
    };
}

fn read(row: &Row<'_>) -> Result<Organization> {
    Ok(Organization {
        id: row.get("id")?,
        name: row.get("name")?,
        disabled: opt_from_json(row.get("disabled")?)?,
        policy: from_json(row.get("policy")?)?,
        created_at: row.get("created_at")?,
    })
}

const ONE: &str = select_organization!("WHERE id = $1");

/// Queues the statements of [`load`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch(tx: &mut Tx, organization: OrganizationId) {
    tx.prefetch(ONE, params![organization]);
}

pub async fn load(tx: &mut Tx, organization: OrganizationId) -> Result<Option<Organization>> {
    tx.query_opt(ONE, params![organization], read).await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Organization>> {
    tx.query_all(select_organization!("ORDER BY id"), params![], read).await
}

/// Saves name, switch and policy.
///
/// # Errors
/// `BadValue` for a policy that cannot be meant.
pub async fn save(tx: &mut Tx, organization: &Organization) -> Result<()> {
    organization.policy.validate()?;
    tx.execute_one(
        "UPDATE organization SET name = $2, disabled = $3, policy = $4, one_time_opens_mail = $5 WHERE id = $1",
        params![
            organization.id,
            &organization.name,
            opt_to_json(organization.disabled.as_ref())?.as_deref(),
            &to_json(&organization.policy)?,
            organization.policy.password.one_time_opens_mail
        ],
    )
    .await
}

pub async fn counts(tx: &mut Tx, organization: OrganizationId) -> Result<Counts> {
    Ok(Counts { persons: lists::persons(tx, organization).await? })
}

/// The primary addresses of the organization's super administrators, those who are not disabled first, the oldest
/// first. The sign keeps both engines from reading everybody in that order.
pub async fn super_admins(tx: &mut Tx, organization: OrganizationId) -> Result<Vec<(String, String)>> {
    tx.query_all(
        "SELECT a.primary_address, p.display_name FROM person p CROSS JOIN account a
         WHERE a.organization_id = p.organization_id AND a.person_id = p.id
           AND p.organization_id = $1 AND p.role = 'super_admin'
         ORDER BY CASE WHEN p.disabled IS NULL THEN 0 ELSE 1 END, +p.ordinal LIMIT 10",
        params![organization],
        |row| Ok((row.get("primary_address")?, row.get("display_name")?)),
    )
    .await
}

/// Enabled organizations that nobody can administer in full any more.
pub async fn orphans(tx: &mut Tx) -> Result<Vec<OrganizationId>> {
    tx.query_all(
        "SELECT o.id FROM organization o
         WHERE o.disabled IS NULL AND NOT EXISTS (
             SELECT p.id FROM person p
             WHERE p.organization_id = o.id AND p.role = 'super_admin' AND p.disabled IS NULL)
         ORDER BY o.id",
        params![],
        |row| row.get("id"),
    )
    .await
}

/// The columns that [`read_domain`] reads.
macro_rules! select_domain {
    ($rest:literal) => {
        concat!(
            "SELECT organization_id, name, id, verification_code, verified_at, verified_by, is_primary, disabled,
                    created_at
             FROM domain ",
            $rest
        )
    };
}

fn read_domain(row: &Row<'_>) -> Result<Domain> {
    Ok(Domain {
        id: row.get("id")?,
        organization: row.get("organization_id")?,
        name: stored("domain", DomainName::parse(row.get("name")?))?,
        verification_code: row.get("verification_code")?,
        verified_at: row.get("verified_at")?,
        verified_by: row.get("verified_by")?,
        primary: row.get("is_primary")?,
        disabled: opt_from_json(row.get("disabled")?)?,
        created_at: row.get("created_at")?,
    })
}

/// # Errors
/// `Refused` when some organization of this installation has the domain.
pub async fn insert_domain(tx: &mut Tx, domain: &Domain) -> Result<()> {
    let added = tx
        .execute(
            "INSERT INTO domain (organization_id, name, id, verification_code, verified_at, verified_by, is_primary,
                                 disabled, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO NOTHING",
            params![
                domain.organization,
                domain.name.as_str(),
                domain.id,
                &domain.verification_code,
                domain.verified_at,
                domain.verified_by.as_deref(),
                domain.primary,
                opt_to_json(domain.disabled.as_ref())?.as_deref(),
                domain.created_at
            ],
        )
        .await?;
    match added {
        1 => Ok(()),
        _ => Err(Error::Refused(format!("the domain {} is already here", domain.name))),
    }
}

pub async fn domains(tx: &mut Tx, organization: OrganizationId) -> Result<Vec<Domain>> {
    tx.query_all(
        select_domain!("WHERE organization_id = $1 ORDER BY created_at, name"),
        params![organization],
        read_domain,
    )
    .await
}

pub async fn domain(tx: &mut Tx, organization: OrganizationId, name: &DomainName) -> Result<Option<Domain>> {
    tx.query_opt(
        select_domain!("WHERE organization_id = $1 AND name = $2"),
        params![organization, name.as_str()],
        read_domain,
    )
    .await
}

/// The names of every verified domain of the installation: those that receive mail here.
pub async fn verified_domains(tx: &mut Tx) -> Result<Vec<String>> {
    tx.query_all("SELECT name FROM domain WHERE verified_at IS NOT NULL ORDER BY name", params![], |row| {
        row.get("name")
    })
    .await
}

/// Whether a domain was proved to be one of this installation, whosever it is. What somebody merely says of a
/// domain must not take it from others.
pub async fn is_own_domain(tx: &mut Tx, name: &DomainName) -> Result<bool> {
    let found: Option<i64> = tx
        .query_opt(
            "SELECT id FROM domain WHERE name = $1 AND verified_at IS NOT NULL",
            params![name.as_str()],
            |row| row.get("id"),
        )
        .await?;
    Ok(found.is_some())
}

/// Whether some account of the organization has an address on the domain now. Reads all of its addresses.
pub async fn has_addresses_on(tx: &mut Tx, organization: OrganizationId, name: &DomainName) -> Result<bool> {
    let found: Option<String> = tx
        .query_opt(
            "SELECT address FROM address
             WHERE organization_id = $1 AND freed_at IS NULL AND address LIKE '%@' || $2 LIMIT 1",
            params![organization, name.as_str()],
            |row| row.get("address"),
        )
        .await?;
    Ok(found.is_some())
}

/// Deletes a domain.
///
/// # Errors
/// `Stale` when there is none.
pub async fn delete_domain(tx: &mut Tx, organization: OrganizationId, name: &DomainName) -> Result<()> {
    tx.execute_one(
        "DELETE FROM domain WHERE organization_id = $1 AND name = $2",
        params![organization, name.as_str()],
    )
    .await
}

/// Saves the verification, the switch and whether it is the primary domain.
pub async fn save_domain(tx: &mut Tx, domain: &Domain) -> Result<()> {
    tx.execute_one(
        "UPDATE domain SET verified_at = $3, verified_by = $4, is_primary = $5, disabled = $6
         WHERE organization_id = $1 AND name = $2",
        params![
            domain.organization,
            domain.name.as_str(),
            domain.verified_at,
            domain.verified_by.as_deref(),
            domain.primary,
            opt_to_json(domain.disabled.as_ref())?.as_deref()
        ],
    )
    .await
}
