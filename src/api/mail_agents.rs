//! Where agents of mail hosts come in: a request with a key, which becomes a connection of their own protocol.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::app::App;
use crate::app::mail::agents::{self, HEARTBEAT, LINK_PATH, PROTOCOL};
use crate::domain::secret::fingerprint;
use crate::door;
use crate::error::{Error, Malformed, Result};
use crate::wire::{self, Credentials};

/// The one address for agents. It is no part of the described API: no token opens it.
pub fn router() -> Router<App> {
    Router::new().route(LINK_PATH, get(link))
}

async fn link(State(app): State<App>, request: Request) -> Result<Response> {
    use secrecy::ExposeSecret as _;
    let (parts, _) = request.into_parts();
    let keys = parts.headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let Credentials::Token(key) = wire::authorization(keys) else { return Err(Error::BadToken) };
    let source = door::source(&parts, &app);
    let key_hash = fingerprint(key.expose_secret());
    let agent = agents::admit(&app, &key_hash, source).await?;
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned().filter(|_| wants_link(&parts.headers));
    let Some(upgrade) = upgrade else {
        return Err(
            Malformed::Unreadable(format!("this address takes an upgrade to {PROTOCOL} alone")).into()
        );
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let io = Box::new(TokioIo::new(upgraded));
                agents::hold(app, agent, key_hash, io, HEARTBEAT).await;
            }
            Err(error) => tracing::warn!(agent = agent.name, %error, "a mail agent did not stay"),
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn wants_link(headers: &HeaderMap) -> bool {
    let says = |name, word: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    says(header::UPGRADE, PROTOCOL) && says(header::CONNECTION, "upgrade")
}
