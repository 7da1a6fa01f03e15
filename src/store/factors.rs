//! Second factors: authenticator apps, passkeys, recovery codes. Seeds are stored sealed, codes as
//! their SHA-256.

use crate::clock::Millis;
use crate::domain::ids::{OrganizationId, PasskeyId, UserId, WebSessionId};
use crate::domain::secret::Fingerprint;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};

/// Whether the person has a second factor in use.
pub async fn any(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<bool> {
    let one = tx
        .query_opt(
            "SELECT person_id FROM totp
             WHERE organization_id = $1 AND person_id = $2 AND confirmed_at IS NOT NULL
             UNION ALL SELECT person_id FROM passkey WHERE organization_id = $1 AND person_id = $2
             LIMIT 1",
            params![organization, user],
            |row| row.get::<i64>("person_id"),
        )
        .await?;
    Ok(one.is_some())
}

/// How many authenticator apps and passkeys are in use.
pub async fn in_use(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<(usize, usize)> {
    let passkeys = tx
        .query_all(
            "SELECT FALSE AS is_passkey FROM totp
             WHERE organization_id = $1 AND person_id = $2 AND confirmed_at IS NOT NULL
             UNION ALL SELECT TRUE FROM passkey WHERE organization_id = $1 AND person_id = $2",
            params![organization, user],
            |row| row.get::<bool>("is_passkey"),
        )
        .await?;
    let many = passkeys.iter().filter(|is_passkey| **is_passkey).count();
    Ok((passkeys.len() - many, many))
}

/// Removes every second factor and the recovery codes, a proposed app too. Answers whether one was in use.
pub async fn remove_all(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<bool> {
    let in_use = any(tx, organization, user).await?;
    remove_totp(tx, organization, user).await?;
    remove_passkeys(tx, organization, user).await?;
    remove_codes(tx, organization, user).await?;
    Ok(in_use)
}

/// An authenticator app.
#[derive(Clone)]
pub struct Totp {
    /// The seed, under the server's key.
    pub sealed: Vec<u8>,
    /// `None` while it is proposed and opens nothing.
    pub confirmed_at: Option<Millis>,
    /// The step of the last accepted code.
    pub last_step: i64,
    /// The web session that proposed it, until it is in use.
    pub session: Option<WebSessionId>,
}

impl Totp {
    pub fn is_proposed_to(&self, session: WebSessionId) -> bool {
        self.confirmed_at.is_none() && self.session == Some(session)
    }
}

pub async fn totp(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<Option<Totp>> {
    tx.query_opt(
        "SELECT seed_sealed, confirmed_at, last_step, session_id FROM totp
         WHERE organization_id = $1 AND person_id = $2",
        params![organization, user],
        |row| {
            Ok(Totp {
                sealed: row.get("seed_sealed")?,
                confirmed_at: row.get("confirmed_at")?,
                last_step: row.get("last_step")?,
                session: row.get("session_id")?,
            })
        },
    )
    .await
}

/// Proposes a seed to a web session, in place of an earlier proposal. Answers whether it is there: one that is
/// in use stays.
pub async fn propose_totp(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    session: WebSessionId,
    sealed: &[u8],
    now: Millis,
) -> Result<bool> {
    let stored = tx
        .execute(
            "INSERT INTO totp (organization_id, person_id, seed_sealed, confirmed_at, last_step, created_at, session_id)
             VALUES ($1, $2, $3, NULL, 0, $4, $5)
             ON CONFLICT (organization_id, person_id) DO UPDATE
             SET seed_sealed = $3, created_at = $4, last_step = 0, session_id = $5
             WHERE totp.confirmed_at IS NULL",
            params![organization, user, sealed, now, session],
        )
        .await?;
    Ok(stored > 0)
}

/// Takes the proposed seed into use, once. Answers whether it was proposed still.
pub async fn confirm_totp(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    step: i64,
    now: Millis,
) -> Result<bool> {
    let confirmed = tx
        .execute(
            "UPDATE totp SET confirmed_at = $4, last_step = $3, session_id = NULL
             WHERE organization_id = $1 AND person_id = $2 AND confirmed_at IS NULL",
            params![organization, user, step, now],
        )
        .await?;
    Ok(confirmed > 0)
}

/// Spends the code of a step. Answers whether neither it nor a later one was spent before.
pub async fn use_step(tx: &mut Tx, organization: OrganizationId, user: UserId, step: i64) -> Result<bool> {
    let used = tx
        .execute(
            "UPDATE totp SET last_step = $3
             WHERE organization_id = $1 AND person_id = $2 AND confirmed_at IS NOT NULL AND last_step < $3",
            params![organization, user, step],
        )
        .await?;
    Ok(used > 0)
}

/// Answers whether there was one.
pub async fn remove_totp(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<bool> {
    let removed = tx
        .execute(
            "DELETE FROM totp WHERE organization_id = $1 AND person_id = $2",
            params![organization, user],
        )
        .await?;
    Ok(removed > 0)
}

// Recovery codes -----------------------------------------------------------------------------

/// Puts these recovery codes in place of all earlier ones.
pub async fn put_codes(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    codes: &[Fingerprint],
) -> Result<()> {
    remove_codes(tx, organization, user).await?;
    for hash in codes {
        tx.execute_one(
            "INSERT INTO recovery_code (organization_id, person_id, hash, used_at) VALUES ($1, $2, $3, NULL)",
            params![organization, user, hash],
        )
        .await?;
    }
    Ok(())
}

pub async fn remove_codes(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<()> {
    tx.execute(
        "DELETE FROM recovery_code WHERE organization_id = $1 AND person_id = $2",
        params![organization, user],
    )
    .await
    .map(drop)
}

/// How many recovery codes are left.
pub async fn codes_left(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<i64> {
    tx.query_one(
        "SELECT COUNT(*) AS left_over FROM recovery_code
         WHERE organization_id = $1 AND person_id = $2 AND used_at IS NULL",
        params![organization, user],
        |row| row.get("left_over"),
    )
    .await
}

/// Spends a recovery code. Answers whether it was one that had not been used.
pub async fn use_code(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    hash: &Fingerprint,
    now: Millis,
) -> Result<bool> {
    let used = tx
        .execute(
            "UPDATE recovery_code SET used_at = $4
             WHERE organization_id = $1 AND person_id = $2 AND hash = $3 AND used_at IS NULL",
            params![organization, user, hash, now],
        )
        .await?;
    Ok(used > 0)
}

// Passkeys -----------------------------------------------------------------------------------

/// A WebAuthn credential.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    pub credential: Vec<u8>,
    pub id: PasskeyId,
    pub organization: OrganizationId,
    pub user: UserId,
    /// What the person calls it.
    pub name: String,
    /// What the library keeps of it, as JSON.
    pub data: String,
    pub created_at: Millis,
    pub used_at: Option<Millis>,
}

/// The columns that [`read_passkey`] reads.
macro_rules! select_passkey {
    ($rest:literal) => {
        concat!(
            "SELECT credential, id, organization_id, person_id, name, data, created_at, used_at FROM passkey ",
            $rest
        )
    };
}

fn read_passkey(row: &Row<'_>) -> Result<PasskeyRow> {
    Ok(PasskeyRow {
        credential: row.get("credential")?,
        id: row.get("id")?,
        organization: row.get("organization_id")?,
        user: row.get("person_id")?,
        name: row.get("name")?,
        data: row.get("data")?,
        created_at: row.get("created_at")?,
        used_at: row.get("used_at")?,
    })
}

/// # Errors
/// `Unique` for a credential that is registered already, whosever it is.
pub async fn insert_passkey(tx: &mut Tx, passkey: &PasskeyRow) -> Result<()> {
    tx.execute_one(
        "INSERT INTO passkey (credential, id, organization_id, person_id, name, data, created_at, used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            &passkey.credential[..],
            passkey.id,
            passkey.organization,
            passkey.user,
            passkey.name.as_str(),
            passkey.data.as_str(),
            passkey.created_at,
            passkey.used_at
        ],
    )
    .await
}

/// A person's passkeys, the oldest first.
pub async fn passkeys(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<Vec<PasskeyRow>> {
    tx.query_all(
        select_passkey!("WHERE organization_id = $1 AND person_id = $2 ORDER BY created_at, id"),
        params![organization, user],
        read_passkey,
    )
    .await
}

/// The passkey with that credential id, whosever it is.
pub async fn passkey(tx: &mut Tx, credential: &[u8]) -> Result<Option<PasskeyRow>> {
    tx.query_opt(select_passkey!("WHERE credential = $1"), params![credential], read_passkey).await
}

/// Notes a use, with what the library keeps from now on, provided nothing happened since it was
/// read. Answers whether it was still the same.
pub async fn passkey_used(tx: &mut Tx, was: &PasskeyRow, data: &str, now: Millis) -> Result<bool> {
    let used = tx
        .execute(
            "UPDATE passkey SET data = $3, used_at = $4 WHERE credential = $1 AND data = $2",
            params![&was.credential[..], was.data.as_str(), data, now],
        )
        .await?;
    Ok(used > 0)
}

/// Removes one of a person's passkeys; answers its name.
pub async fn remove_passkey(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    passkey: PasskeyId,
) -> Result<Option<String>> {
    tx.query_opt(
        "DELETE FROM passkey WHERE organization_id = $1 AND person_id = $2 AND id = $3 RETURNING name",
        params![organization, user, passkey],
        |row| row.get("name"),
    )
    .await
}

/// Removes all of a person's passkeys.
pub async fn remove_passkeys(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<()> {
    tx.execute(
        "DELETE FROM passkey WHERE organization_id = $1 AND person_id = $2",
        params![organization, user],
    )
    .await
    .map(drop)
}
