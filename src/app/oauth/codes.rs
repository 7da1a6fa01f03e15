//! Grant codes: made for somebody, exchanged once.

use crate::app::App;
use crate::app::oauth::LIMIT_WINDOW;
use crate::clock::{Millis, SECOND};
use crate::domain::client::ClientKind;
use crate::domain::ids::{GrantId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Fingerprint, Secret, new_token};
use crate::error::{Error, Result};
use crate::store;

use crate::store::engine::Tx;
use crate::store::tokens::{GrantCode, ResourceOwner};

/// Who gets a code, for what.
#[derive(Clone)]
pub struct CodeWish {
    pub client: String,
    pub organization: OrganizationId,
    pub user: UserId,
    pub scope: ScopeSet,
    pub life: Millis,
    /// With a refresh token.
    pub offline: bool,
    pub redirect_uri: Option<String>,
    pub challenge: Option<String>,
}

/// Makes a grant code, to be exchanged once. It leaves no audit entry: the demonstration and tests use it, people
/// `clients::make_code`, and the operator `operator::make_code`.
///
/// # Errors
/// `NotFound` for an unknown client or user, `TooMany` beyond the limit per client.
pub async fn make_code(app: &App, wish: CodeWish) -> Result<Secret> {
    let (now, limit) = (app.clock.now(), app.config.oauth.codes_per_client);
    let grant: GrantId = app.ids.next().await?;
    let code = app.random.with(new_token);
    let hash = code.fingerprint();
    app.db.write(async move |tx| make_code_in(tx, &wish, &hash, grant, limit, now).await).await?;
    Ok(code)
}

/// The same in the running transaction, for a code of this hash.
pub async fn make_code_in(
    tx: &mut Tx,
    wish: &CodeWish,
    hash: &Fingerprint,
    grant: GrantId,
    limit: i64,
    now: Millis,
) -> Result<()> {
    if store::tokens::codes_since(tx, &wish.client, now - LIMIT_WINDOW).await? >= limit {
        return Err(Error::TooMany { retry_after_seconds: (LIMIT_WINDOW / SECOND).unsigned_abs() });
    }
    write(tx, hash, wish, grant, now).await.map(drop)
}

/// Writes a code for a client and a person who are enabled; answers where the person stands.
///
/// # Errors
/// `NotFound` for an unknown or disabled client or user.
pub(super) async fn write(
    tx: &mut Tx,
    hash: &Fingerprint,
    wish: &CodeWish,
    grant: GrantId,
    now: Millis,
) -> Result<ResourceOwner> {
    let client = store::clients::load(tx, &wish.client).await?;
    let client = client.filter(|client| client.disabled.is_none());
    let client =
        client.ok_or_else(|| Error::NotFound(format!("there is no enabled client {}", wish.client)))?;
    if client.kind == ClientKind::Public && wish.challenge.is_none() {
        return Err(Error::Refused(
            "a public client gets its codes from the person's browser: without its challenge (PKCE) nobody could exchange this one"
                .to_owned(),
        ));
    }
    let owner = store::tokens::resource_owner(tx, wish.organization, wish.user).await?;
    let owner = owner
        .filter(|owner| owner.enabled)
        .ok_or_else(|| Error::NotFound("there is no enabled user with that id here".to_owned()))?;
    let row = GrantCode {
        organization: wish.organization,
        user: wish.user,
        client: wish.client.clone(),
        epoch: owner.epoch,
        scope: wish.scope.clone(),
        redirect_uri: wish.redirect_uri.clone(),
        challenge: wish.challenge.clone(),
        offline: wish.offline,
        grant,
        created_at: now,
        expires_at: now + wish.life,
        used_at: None,
    };
    store::tokens::insert_code(tx, hash, &row).await?;
    Ok(owner)
}
