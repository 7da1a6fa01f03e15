//! Access tokens, refresh tokens and grant codes. Only their SHA-256 is stored; a row counts only
//! while its epoch is the person's, so that one number ends everything a person has.

use crate::clock::Millis;
use crate::domain::actor::{Role, Signed};
use crate::domain::ids::{AccountId, GrantId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::Fingerprint;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, opt_from_json, role, scope, to_json};

/// Who gave a grant (RFC 6749, section 1.1), as every use of it needs them now.
#[derive(Debug, Clone)]
pub struct ResourceOwner {
    pub organization: OrganizationId,
    pub user: UserId,
    pub account: AccountId,
    pub role: Role,
    pub epoch: i64,
    /// Neither the person nor the organization is disabled.
    pub enabled: bool,
}

/// An access token's row.
#[derive(Debug, Clone)]
pub struct AccessToken {
    pub organization: OrganizationId,
    pub user: UserId,
    pub client: Option<String>,
    pub epoch: i64,
    pub scope: ScopeSet,
    pub grant: Option<GrantId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

/// A refresh token's row.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    pub organization: OrganizationId,
    pub user: UserId,
    pub client: String,
    pub epoch: i64,
    pub scope: ScopeSet,
    pub grant: GrantId,
    pub created_at: Millis,
    /// When access tokens were made from it, in the running window.
    pub minted: Vec<Millis>,
}

/// A grant code's row.
#[derive(Debug, Clone)]
pub struct GrantCode {
    pub organization: OrganizationId,
    pub user: UserId,
    pub client: String,
    pub epoch: i64,
    pub scope: ScopeSet,
    pub redirect_uri: Option<String>,
    /// The PKCE S256 challenge.
    pub challenge: Option<String>,
    pub offline: bool,
    pub grant: GrantId,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub used_at: Option<Millis>,
}

const HOLDER: &str =
    "SELECT t.organization_id, t.person_id, t.client_id, t.scope, t.expires_at, p.role, p.help_desk,
            a.id AS account_id
     FROM access_token t
     JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
     JOIN account a ON a.organization_id = t.organization_id AND a.person_id = t.person_id
     JOIN organization o ON o.id = t.organization_id
     LEFT JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
     WHERE t.hash = $1 AND t.epoch = p.session_epoch
       AND p.disabled IS NULL AND o.disabled IS NULL
       AND (t.client_id IS NULL OR (c.id IS NOT NULL AND c.disabled IS NULL))";

/// Queues the statements of [`holder`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch_holder(tx: &mut Tx, token: &Fingerprint) {
    tx.prefetch(HOLDER, params![token]);
}

/// A good token's holder: the row exists, has not expired, and the epoch is the person's, and
/// person, client and organization are enabled.
pub async fn holder(tx: &mut Tx, token: &Fingerprint, now: Millis) -> Result<Option<(Signed, Millis)>> {
    let read = |row: &Row<'_>| {
        let signed = Signed {
            organization: row.get("organization_id")?,
            user: row.get("person_id")?,
            account: row.get("account_id")?,
            role: role(row)?,
            help_desk: opt_from_json(row.get("help_desk")?)?,
            scopes: scope(row)?,
            client: row.get("client_id")?,
        };
        Ok((signed, row.get::<Millis>("expires_at")?))
    };
    let found = tx.query_kept(HOLDER, token, read).await?;
    Ok(found.filter(|(_, expires_at)| *expires_at > now))
}

/// Who is to give a grant, or gave it.
pub async fn resource_owner(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<ResourceOwner>> {
    tx.query_opt(
        "SELECT p.organization_id, p.id, a.id AS account_id, p.role, p.session_epoch,
                p.disabled AS user_disabled, o.disabled AS organization_disabled
         FROM person p
         JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id
         JOIN organization o ON o.id = p.organization_id
         WHERE p.organization_id = $1 AND p.id = $2",
        params![organization, user],
        |row| {
            Ok(ResourceOwner {
                organization: row.get("organization_id")?,
                user: row.get("id")?,
                account: row.get("account_id")?,
                role: role(row)?,
                epoch: row.get("session_epoch")?,
                enabled: row.get::<Option<&str>>("user_disabled")?.is_none()
                    && row.get::<Option<&str>>("organization_disabled")?.is_none(),
            })
        },
    )
    .await
}

pub async fn insert_access(tx: &mut Tx, hash: &Fingerprint, token: &AccessToken) -> Result<()> {
    tx.execute_one(
        "INSERT INTO access_token (hash, organization_id, person_id, client_id, epoch, scope, grant_id, created_at,
                                   expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            hash,
            token.organization,
            token.user,
            token.client.as_deref(),
            token.epoch,
            &token.scope.to_string(),
            token.grant,
            token.created_at,
            token.expires_at
        ],
    )
    .await
}

/// An access token's row as it is, whether good or not (for revocation and introspection).
pub async fn access(tx: &mut Tx, hash: &Fingerprint) -> Result<Option<AccessToken>> {
    tx.query_opt(
        "SELECT organization_id, person_id, client_id, epoch, scope, grant_id, created_at, expires_at
         FROM access_token WHERE hash = $1",
        params![hash],
        |row| {
            Ok(AccessToken {
                organization: row.get("organization_id")?,
                user: row.get("person_id")?,
                client: row.get("client_id")?,
                epoch: row.get("epoch")?,
                scope: scope(row)?,
                grant: row.get("grant_id")?,
                created_at: row.get("created_at")?,
                expires_at: row.get("expires_at")?,
            })
        },
    )
    .await
}

pub async fn delete_access(tx: &mut Tx, hash: &Fingerprint) -> Result<u64> {
    tx.execute("DELETE FROM access_token WHERE hash = $1", params![hash]).await
}

/// Keeps the newest `most` access tokens of a grant and deletes the others.
pub async fn evict_access(tx: &mut Tx, grant: GrantId, most: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM access_token WHERE grant_id = $1 AND hash NOT IN (
             SELECT hash FROM access_token WHERE grant_id = $1 ORDER BY created_at DESC, hash LIMIT $2)",
        params![grant, most],
    )
    .await
    .map(drop)
}

/// The same for what a client got by its own credentials, which is in no grant.
pub async fn evict_of_credentials(
    tx: &mut Tx,
    organization: OrganizationId,
    owner: UserId,
    client: &str,
    most: i64,
) -> Result<()> {
    tx.execute(
        "DELETE FROM access_token
         WHERE organization_id = $1 AND person_id = $2 AND client_id = $3 AND grant_id IS NULL AND hash NOT IN (
             SELECT hash FROM access_token
             WHERE organization_id = $1 AND person_id = $2 AND client_id = $3 AND grant_id IS NULL
             ORDER BY created_at DESC, hash LIMIT $4)",
        params![organization, owner, client, most],
    )
    .await
    .map(drop)
}

pub async fn insert_refresh(tx: &mut Tx, hash: &Fingerprint, token: &RefreshToken) -> Result<()> {
    tx.execute_one(
        "INSERT INTO refresh_token (hash, organization_id, person_id, client_id, epoch, scope, grant_id, created_at,
                                    minted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            hash,
            token.organization,
            token.user,
            &token.client,
            token.epoch,
            &token.scope.to_string(),
            token.grant,
            token.created_at,
            &to_json(&token.minted)?
        ],
    )
    .await
}

fn read_refresh(row: &Row<'_>) -> Result<RefreshToken> {
    Ok(RefreshToken {
        organization: row.get("organization_id")?,
        user: row.get("person_id")?,
        client: row.get("client_id")?,
        epoch: row.get("epoch")?,
        scope: scope(row)?,
        grant: row.get("grant_id")?,
        created_at: row.get("created_at")?,
        minted: from_json(row.get("minted")?)?,
    })
}

pub async fn refresh(tx: &mut Tx, hash: &Fingerprint) -> Result<Option<RefreshToken>> {
    tx.query_opt(
        "SELECT organization_id, person_id, client_id, epoch, scope, grant_id, created_at, minted
         FROM refresh_token WHERE hash = $1",
        params![hash],
        read_refresh,
    )
    .await
}

pub async fn note_minted(tx: &mut Tx, hash: &Fingerprint, minted: &[Millis]) -> Result<()> {
    tx.execute_one("UPDATE refresh_token SET minted = $2 WHERE hash = $1", params![hash, &to_json(&minted)?])
        .await
}

/// The grants beyond the newest `most` refresh tokens of one person with one client.
pub async fn surplus_grants(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    client: &str,
    most: i64,
) -> Result<Vec<GrantId>> {
    tx.query_all(
        "SELECT grant_id FROM refresh_token
         WHERE organization_id = $1 AND person_id = $2 AND client_id = $3
         ORDER BY created_at DESC, hash LIMIT 1000 OFFSET $4",
        params![organization, user, client, most],
        |row| row.get("grant_id"),
    )
    .await
}

/// Revokes a grant: its refresh token and every access token made from it.
pub async fn revoke_grant(tx: &mut Tx, grant: GrantId) -> Result<()> {
    tx.execute("DELETE FROM access_token WHERE grant_id = $1", params![grant]).await?;
    tx.execute("DELETE FROM refresh_token WHERE grant_id = $1", params![grant]).await?;
    Ok(())
}

pub async fn insert_code(tx: &mut Tx, hash: &Fingerprint, code: &GrantCode) -> Result<()> {
    tx.execute_one(
        "INSERT INTO grant_code (hash, organization_id, person_id, client_id, epoch, scope, redirect_uri, challenge,
                                 offline, grant_id, created_at, expires_at, used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            hash,
            code.organization,
            code.user,
            &code.client,
            code.epoch,
            &code.scope.to_string(),
            code.redirect_uri.as_deref(),
            code.challenge.as_deref(),
            code.offline,
            code.grant,
            code.created_at,
            code.expires_at,
            code.used_at
        ],
    )
    .await
}

pub async fn code(tx: &mut Tx, hash: &Fingerprint) -> Result<Option<GrantCode>> {
    tx.query_opt(
        "SELECT organization_id, person_id, client_id, epoch, scope, redirect_uri, challenge, offline, grant_id,
                created_at, expires_at, used_at
         FROM grant_code WHERE hash = $1",
        params![hash],
        |row| {
            Ok(GrantCode {
                organization: row.get("organization_id")?,
                user: row.get("person_id")?,
                client: row.get("client_id")?,
                epoch: row.get("epoch")?,
                scope: scope(row)?,
                redirect_uri: row.get("redirect_uri")?,
                challenge: row.get("challenge")?,
                offline: row.get("offline")?,
                grant: row.get("grant_id")?,
                created_at: row.get("created_at")?,
                expires_at: row.get("expires_at")?,
                used_at: row.get("used_at")?,
            })
        },
    )
    .await
}

/// Marks a code as used, once.
///
/// # Errors
/// `Stale` when it was used before.
pub async fn use_code(tx: &mut Tx, hash: &Fingerprint, now: Millis) -> Result<()> {
    tx.execute_one(
        "UPDATE grant_code SET used_at = $2 WHERE hash = $1 AND used_at IS NULL",
        params![hash, now],
    )
    .await
}

/// How many codes a client was given since then.
pub async fn codes_since(tx: &mut Tx, client: &str, since: Millis) -> Result<i64> {
    tx.query_one(
        "SELECT COUNT(*) AS codes FROM grant_code WHERE client_id = $1 AND created_at > $2",
        params![client, since],
        |row| row.get("codes"),
    )
    .await
}

/// How many codes one person gave a client since then.
pub async fn codes_of_person_since(tx: &mut Tx, client: &str, user: UserId, since: Millis) -> Result<i64> {
    tx.query_one(
        "SELECT COUNT(*) AS codes FROM grant_code WHERE client_id = $1 AND created_at > $2 AND person_id = $3",
        params![client, since, user],
        |row| row.get("codes"),
    )
    .await
}

/// The refresh tokens after a hash, in their order: each with whether it can ever work again. One of
/// another epoch than the person's cannot, nor one of a deleted person or client: none of that comes back.
pub async fn refresh_after(tx: &mut Tx, after: &[u8], most: i64) -> Result<Vec<(Fingerprint, bool)>> {
    tx.query_all(
        "SELECT t.hash, CASE WHEN p.session_epoch = t.epoch AND c.id IS NOT NULL THEN 1 ELSE 0 END AS lives
         FROM refresh_token t
         LEFT JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         LEFT JOIN client c ON c.id = t.client_id
         WHERE t.hash > $1 ORDER BY t.hash LIMIT $2",
        params![after, most],
        |row| Ok((row.get("hash")?, row.get::<i64>("lives")? != 0)),
    )
    .await
}

/// Removes a refresh token that works no more.
pub async fn delete_refresh(tx: &mut Tx, hash: &Fingerprint) -> Result<()> {
    tx.execute("DELETE FROM refresh_token WHERE hash = $1", params![hash]).await.map(drop)
}

/// Removes what expired before `before`; used codes stay that long too, so that a replay is seen.
pub async fn sweep(tx: &mut Tx, before: Millis) -> Result<u64> {
    let tokens = tx.execute("DELETE FROM access_token WHERE expires_at < $1", params![before]).await?;
    let codes = tx.execute("DELETE FROM grant_code WHERE expires_at < $1", params![before]).await?;
    Ok(tokens + codes)
}

/// Voids every token, code and remembered yes of the installation (after a restore).
pub async fn void_all(tx: &mut Tx) -> Result<()> {
    for statement in [
        "DELETE FROM access_token",
        "DELETE FROM refresh_token",
        "DELETE FROM grant_code",
        "DELETE FROM web_session",
        "DELETE FROM recovery_link",
        "DELETE FROM connection",
    ] {
        tx.execute(statement, params![]).await?;
    }
    Ok(())
}
