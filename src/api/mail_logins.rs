//! The door for Dovecot's authentication policy protocol: a listener of its own on loopback, which
//! asks for its key. Everything odd is answered so that the login goes on.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::app::mail::logins::{Answer, Attempt, Logins, Outcome};
use crate::domain::secret::{Fingerprint, Secret, fingerprint};

/// Dovecot's requests are a few hundred bytes.
const MOST_BYTES: usize = 16 * 1024;

#[derive(Clone)]
struct Door {
    app: App,
    logins: Arc<Logins>,
    token: Fingerprint,
}

/// `POST /policy`, for whoever has the token.
pub fn router(app: App, token: &Secret) -> Router {
    let door = Door { app, logins: Arc::new(Logins::default()), token: token.fingerprint() };
    Router::new().route("/policy", post(policy)).layer(DefaultBodyLimit::max(MOST_BYTES)).with_state(door)
}

/// What the generated configuration has Dovecot send (`mailserver/config/dovecot.rs`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    login: String,
    remote: String,
    pwhash: String,
    protocol: String,
    /// Why the account does not open, filled after the right password alone.
    gate: String,
    /// The mailbox, filled after the right password alone.
    key: String,
    success: bool,
    policy_reject: bool,
}

async fn policy(
    State(door): State<Door>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    if token.map(fingerprint) != Some(door.token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(told) = serde_json::from_slice::<Told>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let attempt = Attempt {
        login: told.login.clone(),
        source: told.remote.parse::<IpAddr>().ok().filter(|source| !source.to_canonical().is_loopback()),
        password_mark: told.pwhash.clone(),
        protocol: told.protocol.clone(),
    };
    match query.as_deref() {
        Some("command=allow") => match door.logins.may_go_on(&door.app, &attempt).await {
            Answer::GoOn => Json(json!({"status": 0})),
            Answer::Refuse(Some(text)) => Json(json!({"status": -1, "msg": text})),
            Answer::Refuse(None) => Json(json!({"status": -1})),
        }
        .into_response(),
        Some("command=report") => {
            let outcome = match &told {
                Told { success: true, .. } => Outcome::Right,
                Told { policy_reject: true, .. } => Outcome::RefusedByUs,
                Told { gate, key, .. } if !gate.is_empty() && !key.is_empty() => Outcome::RightButClosed,
                Told { .. } => Outcome::Wrong,
            };
            // Dovecot does not wait for it; the count must not wait for Dovecot to go away either.
            tokio::spawn(async move { door.logins.ended(&door.app, &attempt, outcome).await });
            Json(json!({"status": 0})).into_response()
        }
        Some(_) | None => StatusCode::BAD_REQUEST.into_response(),
    }
}
