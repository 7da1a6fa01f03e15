//! Access tokens: made here alone, revoked, looked into.

use crate::app::App;
use crate::clock::{DAY, Millis};
use crate::domain::ids::{GrantId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Fingerprint, Secret, new_token};
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::clients::Client;
use crate::store::engine::Tx;
use crate::store::tokens::{AccessToken, ResourceOwner};

/// Who gave a grant, if everything is enabled and nothing was ended since.
pub(super) async fn owner(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    epoch: i64,
) -> Result<Option<ResourceOwner>> {
    let owner = store::tokens::resource_owner(tx, organization, user).await?;
    Ok(owner.filter(|owner| owner.enabled && owner.epoch == epoch))
}

pub(super) struct Minted<'a> {
    pub client: Option<&'a str>,
    pub grant: Option<GrantId>,
    pub scope: &'a ScopeSet,
    pub life: Millis,
}

/// The only place where an access token comes into being.
pub(super) async fn mint(
    tx: &mut Tx,
    hash: &Fingerprint,
    holder: &ResourceOwner,
    minted: &Minted<'_>,
    now: Millis,
) -> Result<()> {
    if !holder.enabled {
        return Err(GrantRefusal::InvalidClient.into());
    }
    let token = AccessToken {
        organization: holder.organization,
        user: holder.user,
        client: minted.client.map(str::to_owned),
        epoch: holder.epoch,
        scope: minted.scope.clone(),
        grant: minted.grant,
        created_at: now,
        expires_at: now + minted.life,
    };
    store::tokens::insert_access(tx, hash, &token).await
}

/// Makes an access token without a client. It leaves no audit entry: tests and benchmarks use it, and the operator
/// `operator::issue_token`.
///
/// # Errors
/// `NotFound` for an unknown or disabled user, `BadValue` for a life beyond a year.
pub async fn issue(
    app: &App,
    organization: OrganizationId,
    user: UserId,
    scope: ScopeSet,
    life: Millis,
) -> Result<Secret> {
    let token = app.random.with(new_token);
    let (hash, now) = (token.fingerprint(), app.clock.now());
    app.db.write(async move |tx| issue_in(tx, (organization, user), &hash, &scope, life, now).await).await?;
    Ok(token)
}

/// The same in the running transaction, for a token of this hash.
pub async fn issue_in(
    tx: &mut Tx,
    (organization, user): (OrganizationId, UserId),
    hash: &Fingerprint,
    scope: &ScopeSet,
    life: Millis,
    now: Millis,
) -> Result<()> {
    if life <= 0 || life > 366 * DAY {
        return Err(Error::bad_value("expires", "a token lives between a second and 366 days"));
    }
    let owner = store::tokens::resource_owner(tx, organization, user).await?;
    let owner = owner
        .filter(|owner| owner.enabled)
        .ok_or_else(|| Error::NotFound("there is no enabled user with that id here".to_owned()))?;
    mint(tx, hash, &owner, &Minted { client: None, grant: None, scope, life }, now).await
}

/// Revokes a token: a refresh token with every access token made from it, or one access token.
///
/// # Errors
/// `Grant(UnknownToken)`.
pub async fn revoke(app: &App, token: &Secret) -> Result<()> {
    let hash = token.fingerprint();
    app.db.write(async move |tx| revoke_in(tx, &hash).await).await
}

/// The same in the running transaction, by the token's hash.
pub async fn revoke_in(tx: &mut Tx, hash: &Fingerprint) -> Result<()> {
    if let Some(refresh) = store::tokens::refresh(tx, hash).await? {
        return store::tokens::revoke_grant(tx, refresh.grant).await;
    }
    match store::tokens::delete_access(tx, hash).await? {
        0 => Err(GrantRefusal::UnknownToken.into()),
        _ => Ok(()),
    }
}

/// What introspection (RFC 7662) tells of a live token.
#[derive(Debug)]
pub struct Introspected {
    pub scope: ScopeSet,
    pub client: String,
    pub user: UserId,
    pub organization: OrganizationId,
    pub issued_at: Millis,
    pub expires_at: Option<Millis>,
}

/// Looks into a token of the asking client; `None` for everything else.
pub async fn introspect(app: &App, client: &Client, token: &Secret) -> Result<Option<Introspected>> {
    let (hash, now) = (token.fingerprint(), app.clock.now());
    let mut tx = app.db.snapshot().await?;
    if let Some(row) = store::tokens::access(&mut tx, &hash).await? {
        let live = store::tokens::holder(&mut tx, &hash, now).await?.is_some();
        return Ok((live && row.client.as_deref() == Some(client.id.as_str())).then(|| Introspected {
            scope: row.scope,
            client: client.id.clone(),
            user: row.user,
            organization: row.organization,
            issued_at: row.created_at,
            expires_at: Some(row.expires_at),
        }));
    }
    let Some(row) = store::tokens::refresh(&mut tx, &hash).await? else { return Ok(None) };
    let live = owner(&mut tx, row.organization, row.user, row.epoch).await?.is_some();
    Ok((live && row.client == client.id).then(|| Introspected {
        scope: row.scope,
        client: client.id.clone(),
        user: row.user,
        organization: row.organization,
        issued_at: row.created_at,
        expires_at: None,
    }))
}
