//! `POST /self/password`: a person's own new password, against the current or a one-time one.
//! It is the door that a one-time password opens, so it takes no token.

use axum::body::Body as Stream;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};

use crate::api::door::{self, with_change};
use crate::api::envelope::success;
use crate::app::App;
use crate::app::password::{self, OwnChange};
use crate::domain::password::Password;
use crate::error::{Error, Result};
use crate::wire::{Body, Params};

const ADDRESS: [&str; 4] = ["address", "emailAddress", "email", "username"];
const CURRENT: [&str; 4] = ["password", "currentPassword", "oneTimePassword", "oldPassword"];
const NEW: [&str; 2] = ["newPassword", "new_password"];

/// What is known of a request without a token.
pub struct Unsigned {
    request_id: String,
    source: Option<std::net::IpAddr>,
}

impl FromRequestParts<App> for Unsigned {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        Ok(Self { request_id: door::request_id(parts), source: door::source(parts, app) })
    }
}

/// Chooses a new password.
#[utoipa::path(post, path = "/self/password", tag = "own account",
    request_body(content = crate::api::openapi::OwnPasswordBody),
    responses((status = 200, description = "The new password works now")))]
pub async fn change(
    State(app): State<App>,
    unsigned: Unsigned,
    headers: HeaderMap,
    stream: Stream,
) -> Result<Response> {
    let bytes = door::bytes(stream).await?;
    // curl says "form" of every body that it is not told of; a JSON object is seen at its start.
    let form = !bytes.trim_ascii_start().starts_with(b"{")
        && headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let (address, current, new, everything) = if form {
        let form = Params::parse(None, &bytes)?;
        (
            form.text_required(ADDRESS)?.to_owned(),
            form.secret_required(CURRENT)?,
            form.secret_required(NEW)?,
            form.flag("resetAuthToken")?,
        )
    } else {
        let body = Body::parse(&bytes)?;
        (
            body.text_required(ADDRESS)?.to_owned(),
            body.secret_required(CURRENT)?,
            body.secret_required(NEW)?,
            body.flag("resetAuthToken")?,
        )
    };
    let wish = OwnChange {
        address,
        password: presented(&app, &current).await?,
        new_password: Password::prepare(new.expose_secret())?,
        end_everything: everything.unwrap_or(true),
    };
    let change = password::change(&app, unsigned.request_id, unsigned.source, wish).await?;
    Ok(with_change(success(None), Some(change)))
}

/// A password that cannot be one is wrong, and takes as long to refuse.
async fn presented(app: &App, current: &SecretString) -> Result<Password> {
    match Password::prepare(current.expose_secret()) {
        Ok(password) => Ok(password),
        Err(_) => {
            app.hasher.burn().await?;
            Err(Error::BadCredentials)
        }
    }
}
