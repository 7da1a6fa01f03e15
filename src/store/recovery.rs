//! Ways back to a forgotten password: proved addresses outside, links that were mailed, and wishes
//! for a link that nobody has looked at yet. Of a link only its SHA-256 is stored.

use crate::clock::Millis;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::secret::Fingerprint;
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// Where a person's password may be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryAddress {
    pub address: String,
    pub proved_at: Millis,
    pub serves_from: Millis,
}

/// The proved address of a person.
pub async fn address(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<RecoveryAddress>> {
    tx.query_opt(
        "SELECT address, proved_at, serves_from FROM recovery_address
         WHERE organization_id = $1 AND person_id = $2 AND proved_at IS NOT NULL AND serves_from IS NOT NULL",
        params![organization, user],
        |row| {
            Ok(RecoveryAddress {
                address: row.get("address")?,
                proved_at: row.get("proved_at")?,
                serves_from: row.get("serves_from")?,
            })
        },
    )
    .await
}

/// Puts a proved address in place of the one before.
pub async fn put_address(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    address: &RecoveryAddress,
) -> Result<()> {
    tx.execute_one(
        "INSERT INTO recovery_address (organization_id, person_id, address, proved_at, serves_from, created_at)
         VALUES ($1, $2, $3, $4, $5, $4)
         ON CONFLICT (organization_id, person_id) DO UPDATE
         SET address = $3, proved_at = $4, serves_from = $5, created_at = $4",
        params![
            organization,
            user,
            address.address.as_str(),
            address.proved_at,
            address.serves_from
        ],
    )
    .await
}

/// Removes a person's address; answers it.
pub async fn remove_address(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<String>> {
    tx.query_opt(
        "DELETE FROM recovery_address WHERE organization_id = $1 AND person_id = $2 RETURNING address",
        params![organization, user],
        |row| row.get("address"),
    )
    .await
}

// Links --------------------------------------------------------------------------------------

/// What a link is for. Stored: these words never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Proving an address.
    Address,
    /// Choosing a new password.
    Password,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Password => "password",
        }
    }
}

/// A link as it is stored, until it expires.
#[derive(Debug, Clone)]
pub struct RecoveryLink {
    pub organization: OrganizationId,
    pub user: UserId,
    pub purpose: Purpose,
    /// Where it was mailed to.
    pub address: String,
    /// The person's, when it was made: with another one it is void.
    pub epoch: i64,
    /// The password that it may replace.
    pub password_mark: Option<Fingerprint>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

/// Stores a link; those of the same purpose that the person has are void from now on.
pub async fn insert_link(tx: &mut Tx, hash: &Fingerprint, link: &RecoveryLink) -> Result<()> {
    tx.execute(
        "DELETE FROM recovery_link WHERE organization_id = $1 AND person_id = $2 AND purpose = $3",
        params![link.organization, link.user, link.purpose.as_str()],
    )
    .await?;
    tx.execute_one(
        "INSERT INTO recovery_link (hash, organization_id, person_id, purpose, address, epoch, password_mark,
                                    created_at, expires_at, used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL)",
        params![
            hash,
            link.organization,
            link.user,
            link.purpose.as_str(),
            link.address.as_str(),
            link.epoch,
            link.password_mark.as_ref(),
            link.created_at,
            link.expires_at
        ],
    )
    .await
}

/// A link of that purpose that is neither used nor expired.
pub async fn link(
    tx: &mut Tx,
    hash: &Fingerprint,
    purpose: Purpose,
    now: Millis,
) -> Result<Option<RecoveryLink>> {
    tx.query_opt(
        "SELECT organization_id, person_id, address, epoch, password_mark, created_at, expires_at FROM recovery_link
         WHERE hash = $1 AND purpose = $2 AND expires_at > $3 AND used_at IS NULL",
        params![hash, purpose.as_str(), now],
        |row| {
            Ok(RecoveryLink {
                organization: row.get("organization_id")?,
                user: row.get("person_id")?,
                purpose,
                address: row.get("address")?,
                epoch: row.get("epoch")?,
                password_mark: row.get("password_mark")?,
                created_at: row.get("created_at")?,
                expires_at: row.get("expires_at")?,
            })
        },
    )
    .await
}

/// Spends a link, once. Answers whether it was still good.
pub async fn use_link(tx: &mut Tx, hash: &Fingerprint, now: Millis) -> Result<bool> {
    let used = tx
        .execute(
            "UPDATE recovery_link SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2",
            params![hash, now],
        )
        .await?;
    Ok(used > 0)
}

/// Voids every link of a person.
pub async fn void_links(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<()> {
    tx.execute(
        "DELETE FROM recovery_link WHERE organization_id = $1 AND person_id = $2",
        params![organization, user],
    )
    .await
    .map(drop)
}

/// Removes what has expired.
pub async fn sweep(tx: &mut Tx, now: Millis) -> Result<()> {
    tx.execute("DELETE FROM recovery_link WHERE expires_at <= $1", params![now]).await.map(drop)
}

// Wishes -------------------------------------------------------------------------------------

/// Puts down that somebody asked to recover the password of an address. Whose it is, and whether it
/// is anybody's, is looked up later by `take_wishes`: the answer cannot depend on it.
///
/// A wish is a row of no person in the table of links, which opens nothing.
pub async fn wish(
    tx: &mut Tx,
    mark: &Fingerprint,
    address: &EmailAddress,
    now: Millis,
    expires_at: Millis,
) -> Result<()> {
    tx.execute_one(
        "INSERT INTO recovery_link (hash, organization_id, person_id, purpose, address, epoch, password_mark,
                                    created_at, expires_at, used_at)
         VALUES ($1, 0, 0, 'wish', $2, 0, NULL, $3, $4, NULL)",
        params![mark, address.as_str(), now, expires_at],
    )
    .await
}

/// Whether any wish waits.
pub async fn any_wish(tx: &mut Tx) -> Result<bool> {
    let found: Option<i64> = tx
        .query_opt(
            "SELECT created_at FROM recovery_link
             WHERE organization_id = 0 AND person_id = 0 AND purpose = 'wish' LIMIT 1",
            params![],
            |row| row.get("created_at"),
        )
        .await?;
    Ok(found.is_some())
}

/// Takes up to `most` wishes off the table: the addresses as they were typed.
pub async fn take_wishes(tx: &mut Tx, most: i64) -> Result<Vec<String>> {
    tx.query_all(
        "DELETE FROM recovery_link WHERE hash IN (
             SELECT hash FROM recovery_link WHERE organization_id = 0 AND person_id = 0 AND purpose = 'wish'
             ORDER BY created_at, hash LIMIT $1)
         AND purpose = 'wish' RETURNING address",
        params![most],
        |row| row.get("address"),
    )
    .await
}
