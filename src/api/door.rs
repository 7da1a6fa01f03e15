//! What every request passes: an id, the log line, the rendering of refusals; and what handlers
//! take from it: who calls, from where, why, and the body.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::Body as Stream;
use axum::extract::MatchedPath;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use crate::api::envelope::{self, Failure};
use crate::app::App;
use crate::app::change::{Caller, Context, Door, authenticate};
use crate::domain::ids::{ChangeId, OrganizationId, kind_of};
use crate::domain::secret::fingerprint;
use crate::domain::switch::Reason;
use crate::error::{Error, Malformed, Result};
use crate::wire::{self, Body, Credentials, MAX_BODY};

/// The header in which an accepted change names itself.
pub const CHANGE_HEADER: HeaderName = HeaderName::from_static("x-mailward-change");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A body larger than this is not even drained.
const MOST_DRAINED: usize = 1024 * 1024;

/// The id of the request being answered.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives the request an id, renders its refusal if it ends in one, and logs a line. Queries are
/// never logged: some carry secrets.
pub async fn pass(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = app.random.with(|rng| {
        use rand::Rng;
        let mut bytes = [0; 8];
        rng.fill_bytes(&mut bytes);
        hex::encode(bytes)
    });
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, started) = (super::shown(request.method()), Instant::now());
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
            _ => {}
        }
        response = envelope::failure(&error, &id);
    }
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
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What a handler knows of a request that carries a token.
pub struct Signed(pub Context);

impl FromRequestParts<App> for Signed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let headers = parts.headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let caller = match wire::authorization(headers) {
            Credentials::None => return Err(Error::NoCredentials),
            Credentials::Token(token) => Caller::Token(fingerprint(token.expose_secret())),
            Credentials::Basic { .. } | Credentials::Unusable => return Err(Error::BadToken),
        };
        let context = Context {
            caller,
            door: Door::Api,
            request_id: request_id(parts),
            source: source(parts, app),
            reason: None,
            release: None,
        };
        let mut signed = Self(context);
        match (said(&parts.headers, "x-mailward-reason"), said(&parts.headers, "x-mailward-release-address"))
        {
            (Ok(reason), Ok(release)) => {
                signed.0.reason = reason;
                signed.0.release = release;
                Ok(signed)
            }
            (Err(error), _) | (_, Err(error)) => Err(signed.instead(app, error).await),
        }
    }
}

impl Signed {
    /// The answer to a request that went wrong before its transaction: a bad token comes first,
    /// so that nobody without one learns what is wrong with a request.
    pub async fn instead(&self, app: &App, error: Error) -> Error {
        let checked = async {
            let mut tx = app.db.read().await?;
            authenticate(&mut tx, &self.0.caller, app.clock.now()).await
        };
        match checked.await {
            Ok(_) => error,
            Err(first) => first,
        }
    }

    /// Reads an organization's id from the path.
    ///
    /// # Errors
    /// `NoRoute` for what is no number, `NotFound` for a number that is no zoid.
    pub async fn zoid(&self, app: &App, segment: &str) -> Result<OrganizationId> {
        let wire::PathId::Number(number) = wire::id_segment(segment) else {
            return Err(self.instead(app, no_such_path()).await);
        };
        match OrganizationId::new(number) {
            Some(zoid) => Ok(zoid),
            None => {
                let hint =
                    kind_of(number).map(|kind| format!("; it looks like a {kind}")).unwrap_or_default();
                let text = format!("Organization id {number} is invalid{hint}");
                Err(self.instead(app, Error::NotFound(text)).await)
            }
        }
    }
}

/// The segments of the path, percent-decoded. Bytes that are no text name nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(segments)) => Ok(Self(segments)),
            Err(_) => {
                let signed = Signed::from_request_parts(parts, app).await?;
                Err(signed.instead(app, no_such_path()).await)
            }
        }
    }
}

/// An `{id}` segment that is no id.
pub fn no_such_path() -> Error {
    Error::NoRoute("an id in a path is a number: the user's zuid or accountId".to_owned())
}

fn said(headers: &HeaderMap, name: &'static str) -> Result<Option<Reason>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed::Repeated { name: name.to_owned() }.into());
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Error::bad_value(name, "the header must be UTF-8"))?;
    Reason::parse(text)
        .map_err(|_| Error::bad_value(name, "a reason is one line of plain text with at most 200 characters"))
}

pub fn request_id(parts: &Parts) -> String {
    parts.extensions.get::<RequestId>().map_or_else(String::new, |RequestId(id)| id.clone())
}

/// Where the request comes from: the peer, or what a trusted proxy says of it.
pub fn source(parts: &Parts, app: &App) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let peer = peer.ip().to_canonical();
    let trusted: Vec<IpNet> =
        app.config.server.trusted_proxies.iter().filter_map(|net| net.parse().ok()).collect();
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

/// The whole body, if it is not too large. A larger one is drained to a bound, so that the client
/// reads the refusal and not a broken connection.
///
/// # Errors
/// `Malformed`.
pub async fn bytes(stream: Stream) -> Result<Vec<u8>> {
    use axum::body::HttpBody as _;
    let mut stream = std::pin::pin!(stream);
    let (mut body, mut seen) = (Vec::new(), 0);
    while let Some(frame) = std::future::poll_fn(|context| stream.as_mut().poll_frame(context)).await {
        let unreadable = |_| Malformed::Unreadable("the body broke off".to_owned());
        let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
        seen += data.len();
        if seen <= MAX_BODY {
            body.extend_from_slice(&data);
        } else if seen > MOST_DRAINED {
            break;
        }
    }
    if seen > MAX_BODY {
        return Err(Malformed::Unreadable(format!("the body has more than {MAX_BODY} bytes")).into());
    }
    Ok(body)
}

/// A JSON body.
///
/// # Errors
/// `Malformed`.
pub async fn json(stream: Stream) -> Result<Body> {
    Body::parse(&bytes(stream).await?)
}

/// Names the change in the answer.
pub fn with_change(mut response: Response, change: Option<ChangeId>) -> Response {
    if let Some(value) = change.and_then(|change| HeaderValue::from_str(&change.to_string()).ok()) {
        response.headers_mut().insert(CHANGE_HEADER, value);
    }
    response
}
