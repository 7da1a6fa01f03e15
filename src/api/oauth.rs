//! OAuth 2 in Zoho's dress (errors under HTTP 200), with metadata (RFC 8414) and introspection
//! (RFC 7662) as the RFCs have them. Parameters come in the query or the form.

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::api::door::Call;
use crate::app::App;
use crate::app::accounts::read;
use crate::app::oauth::{self, GrantType, TokenRequest};
use crate::domain::scope::KNOWN;
use crate::domain::secret::Secret;
use crate::door;
use crate::error::{Error, GrantRefusal, Result};
use crate::wire::{self, Credentials, Params};

/// A request at one of these endpoints: its parameters, and the client that it names.
pub struct Asked {
    headers: Vec<HeaderValue>,
    source: Option<std::net::IpAddr>,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let headers = parts.headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
        Ok(Self { headers, source: door::source(parts, app) })
    }
}

impl Asked {
    /// The client by Basic authentication or by parameters (RFC 6749 §2.3.1).
    fn client(&self, params: &Params) -> Result<(String, Option<SecretString>)> {
        match wire::authorization(self.headers.iter().map(HeaderValue::as_bytes)) {
            Credentials::Basic { user, secret } => Ok((user, Some(secret))),
            Credentials::None | Credentials::Token(_) | Credentials::Unusable => {
                let id = params.text("client_id")?.ok_or(GrantRefusal::InvalidClient)?;
                Ok((id.to_owned(), params.secret("client_secret")?))
            }
        }
    }
}

async fn params(query: Option<String>, stream: Stream) -> Result<Params> {
    Params::parse(query.as_deref(), &door::bytes(stream).await?)
}

/// Exchanges a code, a refresh token or a client's own credentials for an access token.
#[utoipa::path(post, path = "/oauth/v2/token", tag = "oauth",
    request_body(content = Option<crate::api::openapi::TokenBody>, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Tokens, or an object with `error`"), (status = 400, description = "Too many requests")))]
pub async fn token(
    State(app): State<App>,
    asked: Asked,
    RawQuery(query): RawQuery,
    stream: Stream,
) -> Response {
    let given = async {
        let params = params(query, stream).await?;
        let (client_id, client_secret) = asked.client(&params)?;
        let grant = grant(&params)?;
        oauth::token(&app, asked.source, TokenRequest { client_id, client_secret, grant }).await
    };
    match given.await {
        Ok(given) => {
            let api_domain = match app.config.oauth.api_domain.as_str() {
                "" => app.config.public_url(),
                set => set.to_owned(),
            };
            let mut body = json!({
                "access_token": given.access_token.expose(),
                "scope": given.scope.to_string(),
                "api_domain": api_domain,
                "token_type": "Bearer",
                "expires_in": given.expires_in_seconds,
            });
            if let Some(refresh) = &given.refresh_token {
                body["refresh_token"] = json!(refresh.expose());
            }
            Json(body).into_response()
        }
        Err(error) => refused(error),
    }
}

fn grant(params: &Params) -> Result<GrantType> {
    let needed = |found: Option<SecretString>| found.ok_or(GrantRefusal::InvalidCode);
    match params.text("grant_type")? {
        Some("authorization_code") => Ok(GrantType::AuthorizationCode {
            code: needed(params.secret("code")?)?,
            redirect_uri: params.text("redirect_uri")?.map(str::to_owned),
            verifier: params.secret("code_verifier")?,
        }),
        Some("refresh_token") => {
            Ok(GrantType::RefreshToken { refresh_token: needed(params.secret("refresh_token")?)? })
        }
        Some("client_credentials") => Ok(GrantType::ClientCredentials {
            scope: params.text("scope")?.unwrap_or_default().to_owned(),
            soid: params.text("soid")?.map(str::to_owned),
        }),
        Some(_) | None => Err(GrantRefusal::UnsupportedGrantType.into()),
    }
}

/// Errors as the original gives them.
fn refused(error: Error) -> Response {
    match error {
        Error::Grant(refusal) => answered(refusal),
        Error::TooMany { retry_after_seconds } => answered(GrantRefusal::TooOften { retry_after_seconds }),
        Error::Malformed(malformed) => {
            let body = json!({"error": "invalid_request", "error_description": malformed.to_string()});
            Json(body).into_response()
        }
        // A failure of ours is told as such, so that nobody throws a good token away.
        failure @ (Error::NoCredentials
        | Error::BadToken
        | Error::MissingScope
        | Error::BadCredentials
        | Error::NotFound(_)
        | Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::Forbidden(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::AddressKept { .. }
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. }
        | Error::Again
        | Error::Stale
        | Error::Unique(_)
        | Error::Internal(_)) => failure.into_response(),
    }
}

fn answered(refusal: GrantRefusal) -> Response {
    let (status, body) = rendered(refusal);
    let mut response = (status, Json(body)).into_response();
    if let GrantRefusal::TooOften { retry_after_seconds } = refusal {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    }
    response
}

/// HTTP 200 and `error`, but 400 for the throttle and for a token that cannot be revoked.
pub(super) fn rendered(refusal: GrantRefusal) -> (StatusCode, Value) {
    let error = word(refusal);
    match refusal {
        GrantRefusal::TooOften { .. } => {
            let why = "You have made too many requests continuously. Please try again after some time.";
            let body = json!({"error": error, "error_description": why, "status": "failure"});
            (StatusCode::BAD_REQUEST, body)
        }
        GrantRefusal::UnknownToken => (StatusCode::BAD_REQUEST, json!({"error": error, "status": "failure"})),
        // The word alone, as the original sends it: clients compare whole bodies.
        GrantRefusal::InvalidCode
        | GrantRefusal::InvalidClient
        | GrantRefusal::InvalidClientSecret
        | GrantRefusal::InvalidRedirectUri
        | GrantRefusal::MissingOrganization
        | GrantRefusal::InvalidScope
        | GrantRefusal::UnsupportedGrantType => (StatusCode::OK, json!({"error": error})),
    }
}

pub(super) fn word(refusal: GrantRefusal) -> &'static str {
    match refusal {
        GrantRefusal::InvalidCode => "invalid_code",
        GrantRefusal::InvalidClient => "invalid_client",
        GrantRefusal::InvalidClientSecret => "invalid_client_secret",
        GrantRefusal::InvalidRedirectUri => "invalid_redirect_uri",
        GrantRefusal::MissingOrganization => "missing_org_info",
        GrantRefusal::InvalidScope => "invalid_scope",
        GrantRefusal::UnsupportedGrantType => "unsupported_grant_type",
        GrantRefusal::UnknownToken => "invalid_token",
        GrantRefusal::TooOften { .. } => "Access Denied",
    }
}

/// Revokes a token: a refresh token with its access tokens, or one access token.
#[utoipa::path(post, path = "/oauth/v2/token/revoke", tag = "oauth",
    params(("token" = Option<String>, Query, description = "The token; better sent in the form")),
    request_body(content = Option<crate::api::openapi::RevokeBody>, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Revoked"), (status = 400, description = "No such token")))]
pub async fn revoke(State(app): State<App>, RawQuery(query): RawQuery, stream: Stream) -> Response {
    let revoked = async {
        let params = params(query, stream).await?;
        let token = params.secret_required("token")?;
        oauth::revoke(&app, &Secret::new(token.expose_secret())).await
    };
    match revoked.await {
        Ok(()) => Json(json!({"status": "success"})).into_response(),
        Err(Error::Grant(_) | Error::Malformed(_)) => answered(GrantRefusal::UnknownToken),
        Err(error) => error.into_response(),
    }
}

/// Looks into a token of the asking client (RFC 7662).
#[utoipa::path(post, path = "/oauth/v2/introspect", tag = "oauth",
    request_body(content = Option<crate::api::openapi::IntrospectBody>, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Whether the token is active, and what it is"),
              (status = 400, description = "Parameters that cannot be read"), (status = 401, description = "Unknown client")))]
pub async fn introspect(
    State(app): State<App>,
    asked: Asked,
    RawQuery(query): RawQuery,
    stream: Stream,
) -> Response {
    let looked = async {
        let params = params(query, stream).await?;
        let (id, secret) = asked.client(&params)?;
        let client = oauth::confidential_client(&app, &id, secret.as_ref()).await?;
        let token = params.secret_required("token")?;
        oauth::introspect(&app, &client, &Secret::new(token.expose_secret())).await
    };
    match looked.await {
        Ok(None) => Json(json!({"active": false})).into_response(),
        Ok(Some(token)) => {
            let mut body = json!({
                "active": true,
                "scope": token.scope.to_string(),
                "client_id": token.client,
                "sub": token.user.to_string(),
                "zoid": token.organization.get(),
                "token_type": "Bearer",
                "iat": token.issued_at / 1000,
                "iss": app.config.public_url(),
            });
            // A refresh token does not expire; a null would be read as a time by some.
            if let Some(at) = token.expires_at {
                body["exp"] = json!(at / 1000);
            }
            Json(body).into_response()
        }
        Err(Error::Grant(_)) => {
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"oauth\""))];
            (StatusCode::UNAUTHORIZED, challenge, Json(json!({"error": "invalid_client"}))).into_response()
        }
        Err(Error::Malformed(malformed)) => {
            let body = json!({"error": "invalid_request", "error_description": malformed.to_string()});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// Who the token belongs to.
#[utoipa::path(get, path = "/oauth/user/info", tag = "oauth",
    responses((status = 200, description = "ZUID, Email and names")))]
pub async fn user_info(State(app): State<App>, call: Call) -> Result<Response> {
    let account = read::profile(&app, &call.context.caller).await?.account;
    let body: Value = json!({
        "ZUID": account.user.get(),
        "Email": account.primary.as_str(),
        "First_Name": account.profile.first_name,
        "Last_Name": account.profile.last_name,
        "Display_Name": account.profile.display_name,
    });
    Ok(Json(body).into_response())
}

/// Where the endpoints are and what they take (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth",
    responses((status = 200, description = "Authorization server metadata")))]
pub async fn metadata(State(app): State<App>) -> Response {
    let url = app.config.public_url();
    let scopes: Vec<String> = KNOWN
        .iter()
        .flat_map(|root| crate::domain::scope::Operation::ALL.map(|operation| root.to(operation).to_string()))
        .collect();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/oauth/v2/auth"),
        "token_endpoint": format!("{url}/oauth/v2/token"),
        "revocation_endpoint": format!("{url}/oauth/v2/token/revoke"),
        "introspection_endpoint": format!("{url}/oauth/v2/introspect"),
        "userinfo_endpoint": format!("{url}/oauth/user/info"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
    .into_response()
}
