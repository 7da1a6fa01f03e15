//! What every HTTP door shares: a request's id and log line, where it comes from, its body, and a
//! refusal on its way out, which each door renders in its own dress.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::Body as Stream;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::app::App;
use crate::error::{Error, Malformed, Result};
use crate::wire::MAX_BODY;

/// The header in which an accepted change names itself.
pub const CHANGE_HEADER: HeaderName = HeaderName::from_static("x-mailward-change");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request being answered.
#[derive(Debug, Clone)]
struct RequestId(String);

/// A refusal on its way out; `pass` has it rendered, since it knows the request's id.
#[derive(Debug, Clone)]
struct Failure(Error);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Failure(self));
        response
    }
}

/// Gives the request an id, has its refusal rendered if it ends in one, and logs a line. Queries
/// are never logged: some carry secrets.
pub async fn pass(
    app: &App,
    mut request: Request,
    next: Next,
    render: impl Fn(&Error, &str) -> Response,
) -> Response {
    let id = app.random.request_id();
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, started) = (shown(request.method()), Instant::now());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "no route".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        match &error {
            Error::Internal(cause) => {
                tracing::error!(request = id, cause = format!("{cause:#}"), "internal error")
            }
            Error::Unique(constraint) => {
                tracing::error!(request = id, constraint, "an unexpected uniqueness rule")
            }
            Error::Unavailable { why, .. } => tracing::warn!(request = id, why, "unavailable"),
            Error::ReadOnly => tracing::warn!(request = id, why = %error, "unavailable"),
            _ => {}
        }
        response = render(&error, &id);
    }
    app.metrics.answered(&route, &method, response.status().as_u16(), started.elapsed());
    let change = response.headers().get(CHANGE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
    tracing::info!(
        request = id,
        method,
        route,
        status = response.status().as_u16(),
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        change,
        "request"
    );
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A method's name, fit to be shown; strangers may call theirs anything.
pub fn shown(method: &Method) -> String {
    const LONGEST_REAL: usize = 17;
    method.as_str().chars().take(LONGEST_REAL).collect()
}

pub fn request_id(parts: &Parts) -> String {
    parts.extensions.get::<RequestId>().map_or_else(String::new, |RequestId(id)| id.clone())
}

/// Where the request comes from: the peer, or what a trusted proxy says of it.
pub fn source(parts: &Parts, app: &App) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let peer = peer.ip().to_canonical();
    let trusted = app.config.server.trusted_networks();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    // Read from the nearest hop: what stands left of the first untrusted one is hearsay, and so is
    // everything left of a hop that cannot be read.
    let mut nearest = peer;
    for line in parts.headers.get_all("x-forwarded-for").iter().rev() {
        for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
            match hop_address(hop) {
                Some(hop) if is_trusted(&hop) => nearest = hop,
                Some(hop) => return Some(hop),
                None => return Some(nearest),
            }
        }
    }
    Some(nearest)
}

/// One hop of `X-Forwarded-For`; some proxies add the port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let alone = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = alone.parse().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The whole body, if it is not too large.
///
/// # Errors
/// `Malformed`.
pub async fn bytes(stream: Stream) -> Result<Vec<u8>> {
    match Limited::new(stream, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(why) if why.is::<LengthLimitError>() => {
            Err(Malformed::Unreadable(format!("the body has more than {MAX_BODY} bytes")).into())
        }
        Err(_) => Err(Malformed::Unreadable("the body broke off".to_owned()).into()),
    }
}
