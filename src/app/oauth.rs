//! The token endpoint's work: codes and refresh tokens become access tokens, tokens are revoked
//! and looked into. Every token is made by `mint`, which asks whether the person, the client and
//! the organization are enabled; nothing else makes one.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::app::verifier::of_source;
use crate::clock::{DAY, MINUTE, Millis, SECOND};
use crate::domain::ids::{GrantId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Secret, fingerprint, new_token};
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::clients::{Client, ClientKind};
use crate::store::engine::Tx;
use crate::store::tokens::{AccessToken, Fingerprint, GrantCode, RefreshToken, Standing};

/// The window of the limits on codes and mints.
const LIMIT_WINDOW: Millis = 10 * MINUTE;

/// A request at the token endpoint, parsed.
#[derive(Debug)]
pub struct TokenRequest {
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    pub grant: GrantType,
}

#[derive(Debug)]
pub enum GrantType {
    AuthorizationCode { code: SecretString, redirect_uri: Option<String>, verifier: Option<SecretString> },
    RefreshToken { refresh_token: SecretString },
    ClientCredentials { scope: String, soid: Option<String> },
}

/// What the token endpoint gives.
#[derive(Debug)]
pub struct Given {
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    pub scope: ScopeSet,
    pub expires_in_seconds: i64,
}

/// Exchanges a grant for tokens.
///
/// # Errors
/// `Grant`, with the reason in the endpoint's own words; `TooMany` after many failures from one source.
pub async fn token(app: &App, source: Option<IpAddr>, request: TokenRequest) -> Result<Given> {
    let now = app.clock.now();
    let throttle = app.config.throttle.clone();
    let subject = source.map(|source| format!("token endpoint {}", of_source(source)));
    if let Some(subject) = &subject {
        let (failures, until) = store::throttle::tries(&mut *app.db.read().await?, subject, now).await?;
        if failures >= throttle.token_failures_per_source {
            return Err(Error::TooMany { retry_after_seconds: seconds_until(until, now) });
        }
    }
    let given = exchange(app, request, now).await;
    if let (Err(Error::Grant(refusal)), Some(subject)) = (&given, subject)
        && is_a_failure(*refusal)
    {
        let window = throttle.window_seconds * SECOND;
        app.db.write(async move |tx| store::throttle::count(tx, &subject, now, window).await).await?;
    }
    given
}

/// Whether a refusal counts against where it came from. Who asks too often with a good token guesses
/// nothing, and must not close the endpoint for everybody behind the same address.
fn is_a_failure(refusal: GrantRefusal) -> bool {
    match refusal {
        GrantRefusal::TooOften { .. } => false,
        GrantRefusal::InvalidCode
        | GrantRefusal::InvalidClient
        | GrantRefusal::InvalidClientSecret
        | GrantRefusal::InvalidRedirectUri
        | GrantRefusal::MissingOrganization
        | GrantRefusal::InvalidScope
        | GrantRefusal::UnsupportedGrantType
        | GrantRefusal::UnknownToken => true,
    }
}

fn seconds_until(until: Millis, now: Millis) -> u64 {
    u64::try_from((until - now + SECOND - 1) / SECOND).unwrap_or(1).max(1)
}

async fn exchange(app: &App, request: TokenRequest, now: Millis) -> Result<Given> {
    let client = client(app, &request.client_id, request.client_secret.as_ref()).await?;
    match request.grant {
        GrantType::AuthorizationCode { code, redirect_uri, verifier } => {
            let code = Secret::new(code.expose_secret());
            by_code(app, client, code, redirect_uri, verifier, now).await
        }
        GrantType::RefreshToken { refresh_token } => {
            by_refresh_token(app, client, Secret::new(refresh_token.expose_secret()), now).await
        }
        GrantType::ClientCredentials { scope, soid } => {
            by_credentials(app, client, &scope, soid.as_deref(), now).await
        }
    }
}

/// Authenticates a client.
///
/// # Errors
/// `Grant(InvalidClient)`, `Grant(InvalidClientSecret)`.
pub async fn client(app: &App, id: &str, secret: Option<&SecretString>) -> Result<Client> {
    let client = store::clients::load(&mut *app.db.read().await?, id).await?;
    let client = client.filter(|client| client.disabled.is_none()).ok_or(GrantRefusal::InvalidClient)?;
    match (client.kind, &client.secret_hash, secret) {
        (ClientKind::Public, _, _) => Ok(client),
        (ClientKind::SelfClient | ClientKind::Web, Some(hash), Some(secret))
            if equal(hash, &fingerprint(secret.expose_secret())) =>
        {
            Ok(client)
        }
        (ClientKind::SelfClient | ClientKind::Web, _, Some(_)) => {
            Err(GrantRefusal::InvalidClientSecret.into())
        }
        (ClientKind::SelfClient | ClientKind::Web, _, None) => Err(GrantRefusal::InvalidClient.into()),
    }
}

/// Authenticates a client that can keep a secret.
///
/// # Errors
/// As `client`; a public client proves nothing, whatever it sends as its secret.
pub async fn confidential_client(app: &App, id: &str, secret: Option<&SecretString>) -> Result<Client> {
    let client = client(app, id, secret).await?;
    match client.kind {
        ClientKind::SelfClient | ClientKind::Web => Ok(client),
        ClientKind::Public => Err(GrantRefusal::InvalidClient.into()),
    }
}

/// Compares without telling by time where the difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

async fn by_code(
    app: &App,
    client: Client,
    code: Secret,
    redirect_uri: Option<String>,
    verifier: Option<SecretString>,
    now: Millis,
) -> Result<Given> {
    let limits = app.config.oauth.clone();
    let (access, refresh) = app.random.with(|rng| (new_token(rng), new_token(rng)));
    let hashes = (access.fingerprint(), refresh.fingerprint());
    let code = code.fingerprint();
    let outcome = app
        .db
        .write(async move |tx| {
            let invalid = Ok(Err(GrantRefusal::InvalidCode));
            let Some(row) = store::tokens::code(tx, &code).await? else { return invalid };
            if row.client != client.id {
                return invalid;
            }
            if row.used_at.is_some() {
                // Somebody has a copy of the code: what it gave is taken back.
                store::tokens::revoke_grant(tx, row.grant).await?;
                return invalid;
            }
            if row.expires_at <= now {
                return invalid;
            }
            // A self client has no page to come back to; guides let people write anything there.
            let same_place = client.kind == ClientKind::SelfClient || row.redirect_uri == redirect_uri;
            if !same_place {
                return Ok(Err(GrantRefusal::InvalidRedirectUri));
            }
            if !proves(&row, client.kind, verifier.as_ref()) {
                return invalid;
            }
            let Some(standing) = standing(tx, row.organization, row.user, row.epoch).await? else {
                return invalid;
            };
            store::tokens::use_code(tx, &code, now).await?;
            if row.offline {
                let token = RefreshToken {
                    organization: row.organization,
                    user: row.user,
                    client: row.client.clone(),
                    epoch: row.epoch,
                    scope: row.scope.clone(),
                    grant: row.grant,
                    created_at: now,
                    minted: Vec::new(),
                };
                store::tokens::insert_refresh(tx, &hashes.1, &token).await?;
                let most = limits.refresh_tokens_per_user;
                for grant in
                    store::tokens::surplus_grants(tx, row.organization, row.user, &row.client, most).await?
                {
                    store::tokens::revoke_grant(tx, grant).await?;
                }
            }
            let life = limits.access_token_seconds * SECOND;
            let minted =
                Minted { client: Some(&row.client), grant: Some(row.grant), scope: &row.scope, life };
            mint(tx, &hashes.0, &standing, &minted, now).await?;
            Ok(Ok((row.scope, row.offline)))
        })
        .await?;
    let (scope, offline) = outcome?;
    Ok(Given {
        access_token: access,
        refresh_token: offline.then_some(refresh),
        scope,
        expires_in_seconds: app.config.oauth.access_token_seconds,
    })
}

/// PKCE (RFC 7636, S256): demanded of public clients, and of every code that was asked for with it.
fn proves(code: &GrantCode, kind: ClientKind, verifier: Option<&SecretString>) -> bool {
    match (&code.challenge, verifier) {
        (Some(challenge), Some(verifier)) => {
            let digest = Sha256::digest(verifier.expose_secret().as_bytes());
            equal(BASE64_URL_SAFE_NO_PAD.encode(digest).as_bytes(), challenge.as_bytes())
        }
        (Some(_), None) => false,
        (None, _) => kind != ClientKind::Public,
    }
}

async fn by_refresh_token(app: &App, client: Client, refresh: Secret, now: Millis) -> Result<Given> {
    let limits = app.config.oauth.clone();
    let access = app.random.with(new_token);
    let (hash, refresh) = (access.fingerprint(), refresh.fingerprint());
    let outcome = app
        .db
        .write(async move |tx| {
            let invalid = Ok(Err(GrantRefusal::InvalidCode));
            let Some(mut row) = store::tokens::refresh(tx, &refresh).await? else { return invalid };
            if row.client != client.id {
                return invalid;
            }
            let Some(standing) = standing(tx, row.organization, row.user, row.epoch).await? else {
                return invalid;
            };
            row.minted.retain(|at| *at > now - LIMIT_WINDOW);
            if i64::try_from(row.minted.len()).unwrap_or(i64::MAX) >= limits.mints_per_refresh_token {
                let oldest = row.minted.iter().min().copied().unwrap_or(now);
                let retry_after_seconds = seconds_until(oldest + LIMIT_WINDOW, now);
                return Ok(Err(GrantRefusal::TooOften { retry_after_seconds }));
            }
            row.minted.push(now);
            store::tokens::note_minted(tx, &refresh, &row.minted).await?;
            let life = limits.access_token_seconds * SECOND;
            let minted =
                Minted { client: Some(&row.client), grant: Some(row.grant), scope: &row.scope, life };
            mint(tx, &hash, &standing, &minted, now).await?;
            store::tokens::evict_access(tx, row.grant, limits.access_tokens_per_refresh_token).await?;
            Ok(Ok(row.scope))
        })
        .await?;
    Ok(Given {
        access_token: access,
        refresh_token: None,
        scope: outcome?,
        expires_in_seconds: app.config.oauth.access_token_seconds,
    })
}

async fn by_credentials(
    app: &App,
    client: Client,
    scope: &str,
    soid: Option<&str>,
    now: Millis,
) -> Result<Given> {
    if client.kind == ClientKind::Public {
        return Err(GrantRefusal::InvalidClient.into());
    }
    let named = soid
        .and_then(|soid| soid.rsplit_once('.'))
        .and_then(|(_, organization)| organization.parse::<OrganizationId>().ok());
    if named != Some(client.organization) {
        return Err(GrantRefusal::MissingOrganization.into());
    }
    let scope = ScopeSet::parse(scope).map_err(|_| GrantRefusal::InvalidScope)?;
    let access = app.random.with(new_token);
    let (hash, life) = (access.fingerprint(), app.config.oauth.access_token_seconds * SECOND);
    let granted = scope.clone();
    app.db
        .write(async move |tx| {
            let owner = store::tokens::standing(tx, client.organization, client.owner).await?;
            let owner = owner.filter(|owner| owner.enabled).ok_or(GrantRefusal::InvalidClient)?;
            let minted = Minted { client: Some(&client.id), grant: None, scope: &granted, life };
            mint(tx, &hash, &owner, &minted, now).await
        })
        .await?;
    Ok(Given {
        access_token: access,
        refresh_token: None,
        scope,
        expires_in_seconds: app.config.oauth.access_token_seconds,
    })
}

/// The person's standing, if everything is enabled and nothing was ended since the grant.
async fn standing(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    epoch: i64,
) -> Result<Option<Standing>> {
    let standing = store::tokens::standing(tx, organization, user).await?;
    Ok(standing.filter(|standing| standing.enabled && standing.epoch == epoch))
}

struct Minted<'a> {
    client: Option<&'a str>,
    grant: Option<GrantId>,
    scope: &'a ScopeSet,
    life: Millis,
}

/// The only place where an access token comes into being.
async fn mint(
    tx: &mut Tx,
    hash: &Fingerprint,
    holder: &Standing,
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

/// Who gets a code, for what.
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

/// Makes a grant code, to be exchanged once.
///
/// # Errors
/// `NotFound` for an unknown client or user, `TooMany` beyond the limit per client.
pub async fn make_code(app: &App, wish: CodeWish) -> Result<Secret> {
    let (now, limit) = (app.clock.now(), app.config.oauth.codes_per_client);
    let grant: GrantId = app.ids.next().await?;
    let code = app.random.with(new_token);
    let hash = code.fingerprint();
    app.db
        .write(async move |tx| {
            let client = store::clients::load(tx, &wish.client).await?;
            let client = client.filter(|client| client.disabled.is_none());
            if client.is_none() {
                return Err(Error::NotFound(format!("there is no enabled client {}", wish.client)));
            }
            let standing = store::tokens::standing(tx, wish.organization, wish.user).await?;
            let standing = standing.filter(|standing| standing.enabled);
            let standing = standing
                .ok_or_else(|| Error::NotFound("there is no enabled user with that id here".to_owned()))?;
            if store::tokens::codes_since(tx, &wish.client, now - LIMIT_WINDOW).await? >= limit {
                return Err(Error::TooMany { retry_after_seconds: 600 });
            }
            let row = GrantCode {
                organization: wish.organization,
                user: wish.user,
                client: wish.client.clone(),
                epoch: standing.epoch,
                scope: wish.scope.clone(),
                redirect_uri: wish.redirect_uri.clone(),
                challenge: wish.challenge.clone(),
                offline: wish.offline,
                grant,
                created_at: now,
                expires_at: now + wish.life,
                used_at: None,
            };
            store::tokens::insert_code(tx, &hash, &row).await
        })
        .await?;
    Ok(code)
}

/// Makes an access token without a client, for an operator to hand over.
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
    if life <= 0 || life > 366 * DAY {
        return Err(Error::bad_value("expires", "a token lives between a second and 366 days"));
    }
    let token = app.random.with(new_token);
    let (hash, now) = (token.fingerprint(), app.clock.now());
    app.db
        .write(async move |tx| {
            let standing = store::tokens::standing(tx, organization, user).await?;
            let standing = standing
                .filter(|standing| standing.enabled)
                .ok_or_else(|| Error::NotFound("there is no enabled user with that id here".to_owned()))?;
            let minted = Minted { client: None, grant: None, scope: &scope, life };
            mint(tx, &hash, &standing, &minted, now).await
        })
        .await?;
    Ok(token)
}

/// Revokes a token: a refresh token with every access token made from it, or one access token.
///
/// # Errors
/// `Grant(UnknownToken)`.
pub async fn revoke(app: &App, token: &Secret) -> Result<()> {
    let hash = token.fingerprint();
    app.db
        .write(async move |tx| {
            if let Some(refresh) = store::tokens::refresh(tx, &hash).await? {
                return store::tokens::revoke_grant(tx, refresh.grant).await;
            }
            match store::tokens::delete_access(tx, &hash).await? {
                0 => Err(GrantRefusal::UnknownToken.into()),
                _ => Ok(()),
            }
        })
        .await
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
    let live = standing(&mut tx, row.organization, row.user, row.epoch).await?.is_some();
    Ok((live && row.client == client.id).then(|| Introspected {
        scope: row.scope,
        client: client.id.clone(),
        user: row.user,
        organization: row.organization,
        issued_at: row.created_at,
        expires_at: None,
    }))
}
