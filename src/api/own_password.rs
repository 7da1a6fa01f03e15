//! `POST /self/password`: a person's own new password, against the current or a one-time one.
//! It is the door that a one-time password opens, so it takes no token.

use axum::body::Body as Stream;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use secrecy::ExposeSecret;

use crate::api::door;
use crate::api::envelope::bare_success;
use crate::app::App;
use crate::app::call::{Context, Door};
use crate::app::password::{self, Factor, OwnChange};
use crate::domain::password::Password;
use crate::door as http;
use crate::error::{Error, Result};
use crate::wire::{Body, Params};

const ADDRESS: [&str; 4] = ["address", "emailAddress", "email", "username"];
const CURRENT: [&str; 4] = ["password", "currentPassword", "oneTimePassword", "oldPassword"];
/// A code of the second factor, or a recovery code.
const CODE: &str = "code";
const NEW: [&str; 2] = ["newPassword", "new_password"];

/// What is known of a request without a token.
pub struct Unsigned {
    context: Context,
}

impl FromRequestParts<App> for Unsigned {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let (id, source) = (http::request_id(parts), http::source(parts, app));
        Ok(Self { context: Context::unsigned(Door::SelfService, id, source) })
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
    let dry_run = door::dry_run(&headers)?;
    let bytes = http::bytes(stream).await?;
    // curl says "form" of every body that it is not told of; a JSON object is seen at its start.
    let form = !bytes.trim_ascii_start().starts_with(b"{")
        && headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let wish = if form { wish(Params::parse(None, &bytes)?.fields())? } else { wish(&Body::parse(&bytes)?)? };
    let context = Context { dry_run, ..unsigned.context };
    let done = password::run(&app, &context, wish).await?;
    Ok(door::done(&done, |_| bare_success()))
}

fn wish(fields: &Body) -> Result<OwnChange> {
    let address = fields.text_required(ADDRESS)?.to_owned();
    let (current, new) = (fields.secret_required(CURRENT)?, fields.secret_required(NEW)?);
    let (everything, code) = (fields.flag("resetAuthToken")?, fields.secret([CODE])?);
    Ok(OwnChange {
        address,
        password: Password::prepare(current.expose_secret()).ok(),
        new_password: Password::prepare(new.expose_secret())?,
        end_everything: everything.unwrap_or(true),
        factor: Factor::Typed(code),
    })
}
