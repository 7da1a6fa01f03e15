//! The token endpoint's work: codes, refresh tokens and a client's own credentials become access
//! tokens.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::app::oauth::clients::client;
use crate::app::oauth::tokens::{Minted, mint, owner};
use crate::app::oauth::{LIMIT_WINDOW, connections};
use crate::app::throttle::{self, Subject, seconds_until};
use crate::clock::{Millis, SECOND};
use crate::domain::client::ClientKind;
use crate::domain::ids::OrganizationId;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Secret, new_token, same_bytes};
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::clients::Client;
use crate::store::connections::Connection;
use crate::store::tokens::{GrantCode, RefreshToken};

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

/// What the token endpoint answers (RFC 6749, section 5.1).
#[derive(Debug)]
pub struct TokenResponse {
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    pub scope: ScopeSet,
    pub expires_in_seconds: i64,
}

/// Exchanges a grant for tokens.
///
/// # Errors
/// `Grant`, with the reason in the endpoint's own words; `TooMany` after many failures from one source.
pub async fn token(app: &App, source: Option<IpAddr>, request: TokenRequest) -> Result<TokenResponse> {
    let given = token_within_limits(app, source, request).await;
    if let Err(Error::TooMany { .. } | Error::Grant(GrantRefusal::TooOften { .. })) = &given {
        app.metrics.throttled("token");
    }
    given
}

async fn token_within_limits(
    app: &App,
    source: Option<IpAddr>,
    request: TokenRequest,
) -> Result<TokenResponse> {
    let now = app.clock.now();
    let subject = source.map(Subject::token_endpoint);
    if let Some(subject) = &subject {
        let most = app.config.throttle.token_failures_per_source;
        throttle::must_be_open(app, subject, most, now).await?;
    }
    let given = exchange(app, request, now).await;
    if let (Err(Error::Grant(refusal)), Some(subject)) = (&given, subject)
        && is_a_failure(*refusal)
    {
        throttle::failed(app, subject, now).await?;
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

async fn exchange(app: &App, request: TokenRequest, now: Millis) -> Result<TokenResponse> {
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

async fn by_code(
    app: &App,
    client: Client,
    code: Secret,
    redirect_uri: Option<String>,
    verifier: Option<SecretString>,
    now: Millis,
) -> Result<TokenResponse> {
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
            let Some(owner) = owner(tx, row.organization, row.user, row.epoch).await? else {
                return invalid;
            };
            store::tokens::use_code(tx, &code, now).await?;
            let connection = Connection {
                organization: row.organization,
                user: row.user,
                client: row.client.clone(),
                epoch: row.epoch,
                scope: row.scope.clone(),
                offline: row.offline,
                consent: None,
                created_at: now,
            };
            connections::remember(tx, connection).await?;
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
            mint(tx, &hashes.0, &owner, &minted, now).await?;
            Ok(Ok((row.scope, row.offline)))
        })
        .await?;
    let (scope, offline) = outcome?;
    Ok(TokenResponse {
        access_token: access,
        refresh_token: offline.then_some(refresh),
        scope,
        expires_in_seconds: app.config.oauth.access_token_seconds,
    })
}

/// PKCE (RFC 7636, S256): demanded of public clients, and of every code that was asked for with it; a verifier
/// without a challenge is a code that somebody else asked for (RFC 9700, 2.1.1).
fn proves(code: &GrantCode, kind: ClientKind, verifier: Option<&SecretString>) -> bool {
    match (&code.challenge, verifier) {
        (Some(challenge), Some(verifier)) => {
            let digest = Sha256::digest(verifier.expose_secret().as_bytes());
            same_bytes(BASE64_URL_SAFE_NO_PAD.encode(digest).as_bytes(), challenge.as_bytes())
        }
        (Some(_), None) => false,
        (None, Some(_)) => false,
        (None, None) => kind != ClientKind::Public,
    }
}

async fn by_refresh_token(app: &App, client: Client, refresh: Secret, now: Millis) -> Result<TokenResponse> {
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
            let Some(owner) = owner(tx, row.organization, row.user, row.epoch).await? else {
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
            mint(tx, &hash, &owner, &minted, now).await?;
            store::tokens::evict_access(tx, row.grant, limits.access_tokens_per_refresh_token).await?;
            Ok(Ok(row.scope))
        })
        .await?;
    Ok(TokenResponse {
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
) -> Result<TokenResponse> {
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
    let (granted, limits) = (scope.clone(), app.config.oauth.clone());
    let outcome = app
        .db
        .write(async move |tx| {
            let owner = store::tokens::resource_owner(tx, client.organization, client.owner).await?;
            let owner = owner.filter(|owner| owner.enabled).ok_or(GrantRefusal::InvalidClient)?;
            // The limits of a refresh token, in whose place the client's own credentials stand.
            let subject = Subject::credentials(&client.id);
            let most = limits.mints_per_refresh_token;
            if let Err(until) = throttle::room(tx, &subject, most, LIMIT_WINDOW, now).await? {
                return Ok(Err(GrantRefusal::TooOften { retry_after_seconds: seconds_until(until, now) }));
            }
            let minted = Minted { client: Some(&client.id), grant: None, scope: &granted, life };
            mint(tx, &hash, &owner, &minted, now).await?;
            let most = limits.access_tokens_per_refresh_token;
            store::tokens::evict_of_credentials(tx, owner.organization, owner.user, &client.id, most).await?;
            Ok(Ok(()))
        })
        .await?;
    outcome?;
    Ok(TokenResponse {
        access_token: access,
        refresh_token: None,
        scope,
        expires_in_seconds: app.config.oauth.access_token_seconds,
    })
}
