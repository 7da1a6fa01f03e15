//! What every request to the API passes, and what its handlers take from it: who calls, why, and
//! the body.

use std::sync::Arc;

use axum::body::Body as Stream;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::envelope::{self, bare_success, success};
use crate::app::App;
use crate::app::call::{Caller, Context, Door, authenticate};
use crate::app::change::Done;
use crate::app::once::{Answer, Once};
use crate::domain::ids::{OrganizationId, no_such_organization};
use crate::domain::secret::fingerprint;
use crate::domain::switch::Reason;
use crate::door::{self, CHANGE_HEADER};
use crate::error::{Error, Malformed, Result};
use crate::wire::{self, Body, Credentials, Params};

/// The header that asks for a forecast, and that marks the answer as one.
pub const DRY_RUN_HEADER: HeaderName = HeaderName::from_static("x-mailward-dry-run");
/// The header by which a caller has a call made once, however often it is sent.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks the answer of a call that had been made before.
const REPEATED_HEADER: HeaderName = HeaderName::from_static("x-mailward-repeated");

/// Gives the request an id, renders its refusal if it ends in one, and logs a line.
pub async fn pass(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = door::pass(&app, request, next, envelope::failure).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A call with a token, as a handler gets it; and its idempotency key, which counts once the body is known.
pub struct Call {
    pub context: Context,
    once: Option<Once>,
}

impl FromRequestParts<App> for Call {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let headers = parts.headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let caller = match wire::authorization(headers) {
            Credentials::None => return Err(Error::NoCredentials),
            Credentials::Token(token) => Caller::Token(fingerprint(token.expose_secret())),
            Credentials::Basic { .. } | Credentials::Unusable => return Err(Error::BadToken),
        };
        let context = Context {
            source: door::source(parts, app),
            ..Context::new(caller, Door::Api, door::request_id(parts))
        };
        let mut call = Self { context, once: None };
        let heard = hear(&mut call.context, &parts.headers).and_then(|()| once(parts));
        match heard {
            Ok(once) => Ok(Self { once, ..call }),
            Err(error) => Err(call.instead(app, error).await),
        }
    }
}

/// What the headers say beside the call.
fn hear(context: &mut Context, headers: &HeaderMap) -> Result<()> {
    context.reason = said(headers, "x-mailward-reason")?;
    context.release = said(headers, "x-mailward-release-address")?;
    context.dry_run = dry_run(headers)?;
    Ok(())
}

/// Whether only a forecast is asked for. What cannot be understood is refused: to guess "no" would
/// do what somebody only wanted to look at.
///
/// # Errors
/// `Malformed`.
pub fn dry_run(headers: &HeaderMap) -> Result<bool> {
    let Some(value) = single(headers, &DRY_RUN_HEADER)? else { return Ok(false) };
    match value.as_bytes().trim_ascii() {
        text if text.eq_ignore_ascii_case(b"true") => Ok(true),
        text if text.eq_ignore_ascii_case(b"false") => Ok(false),
        _ => Err(Error::bad_value(DRY_RUN_HEADER.as_str(), "say true or false")),
    }
}

/// A wish that the call be made once, where it goes. What it asks is not known yet.
fn once(parts: &Parts) -> Result<Option<Once>> {
    let Some(value) = single(&parts.headers, &KEY_HEADER)? else { return Ok(None) };
    // What is no text has signs that no key has.
    let key = value.to_str().unwrap_or("\0");
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let answer = Answer::Kept(Arc::new(|done| kept(StatusCode::OK, None, done)));
    Once::new(KEY_HEADER.as_str(), key, format!("{} {target}", parts.method), answer).map(Some)
}

/// The calls that hand credentials out or take them back have no dry run: a caller who asked for
/// one must not find it done.
///
/// # Errors
/// `Refused`; as [`dry_run`].
pub async fn untried(request: Request, next: Next) -> Result<Response> {
    if dry_run(request.headers())? {
        return Err(Error::Refused("this call has no dry run; nothing was done".to_owned()));
    }
    Ok(next.run(request).await)
}

impl Call {
    /// The body. With an idempotency key, a repeat must have the same.
    async fn body(&mut self, stream: Stream) -> Result<Vec<u8>> {
        let bytes = door::bytes(stream).await?;
        self.asks(&bytes);
        Ok(bytes)
    }

    /// For calls without a body.
    pub fn without_body(&mut self) {
        self.asks(&[]);
    }

    fn asks(&mut self, body: &[u8]) {
        let Some(mut once) = self.once.take() else { return };
        once.asks(body);
        for said in [&self.context.reason, &self.context.release] {
            once.asks(said.as_ref().map_or("", Reason::as_str).as_bytes());
        }
        self.context.once = Some(once);
    }

    /// How repeats of the call are answered, where that is more than a bare success.
    pub fn answers(&mut self, answer: Answer) {
        if let Some(once) = &mut self.context.once {
            once.answered(answer);
        }
    }

    /// The answer to a request that went wrong before its transaction: a bad token comes first,
    /// so that nobody without one learns what is wrong with a request.
    pub async fn instead(&self, app: &App, error: Error) -> Error {
        let checked = async {
            let mut tx = app.db.read().await?;
            authenticate(&mut tx, &self.context.caller, app.clock.now()).await
        };
        match checked.await {
            Ok(_) => error,
            Err(first) => first,
        }
    }

    /// What `read` makes of the body; in strict mode the body has nothing else.
    ///
    /// # Errors
    /// `Malformed`, or what `read` refuses; that of a bad token first.
    pub async fn read<T>(
        &mut self,
        app: &App,
        stream: Stream,
        read: impl FnOnce(&Body) -> Result<T>,
    ) -> Result<T> {
        self.read_bytes(app, stream, |bytes| known(app, bytes, read)).await
    }

    /// The same of a body that need not be an object.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_bytes<T>(
        &mut self,
        app: &App,
        stream: Stream,
        read: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let parsed = self.body(stream).await.and_then(|bytes| read(&bytes));
        self.or_bad_token(app, parsed).await
    }

    /// What `read` makes of the query; in strict mode the query has nothing else.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn query<T>(
        &self,
        app: &App,
        query: Option<&str>,
        read: impl FnOnce(&Params) -> Result<T>,
    ) -> Result<T> {
        self.or_bad_token(app, known_query(app, query, read)).await
    }

    /// What was read of the request; if nothing could be, the refusal, but that of a bad token first.
    async fn or_bad_token<T>(&self, app: &App, read: Result<T>) -> Result<T> {
        match read {
            Ok(read) => Ok(read),
            Err(error) => Err(self.instead(app, error).await),
        }
    }

    /// Reads the id of something of an organization from the path.
    ///
    /// # Errors
    /// `NoRoute` for what is no number.
    pub async fn number(&self, app: &App, segment: &str) -> Result<i64> {
        match wire::id_segment(segment) {
            wire::PathId::Number(number) => Ok(number),
            wire::PathId::Address(_) | wire::PathId::Nonsense => Err(self.instead(app, no_such_path()).await),
        }
    }

    /// Reads an organization's id from the path.
    ///
    /// # Errors
    /// `NoRoute` for what is no number, `NotFound` for a number that is no zoid.
    pub async fn zoid(&self, app: &App, segment: &str) -> Result<OrganizationId> {
        let number = self.number(app, segment).await?;
        match OrganizationId::new(number) {
            Some(zoid) => Ok(zoid),
            None => Err(self.instead(app, no_such_organization(number)).await),
        }
    }
}

/// What `read` makes of a body; in strict mode (`compat.strict`) the body has nothing else.
///
/// # Errors
/// `Malformed`, or what `read` refuses.
pub fn known<T>(app: &App, bytes: &[u8], read: impl FnOnce(&Body) -> Result<T>) -> Result<T> {
    known_in(app, &Body::parse(bytes)?, read)
}

/// The same of a body that was parsed.
///
/// # Errors
/// As [`known`].
pub fn known_in<T>(app: &App, body: &Body, read: impl FnOnce(&Body) -> Result<T>) -> Result<T> {
    let read = read(body)?;
    if app.config.compat.strict {
        body.refuse_unknown()?;
    }
    Ok(read)
}

/// The same of a query.
///
/// # Errors
/// As [`known`].
pub fn known_query<T>(app: &App, query: Option<&str>, read: impl FnOnce(&Params) -> Result<T>) -> Result<T> {
    let params = Params::query(query)?;
    let read = read(&params)?;
    if app.config.compat.strict {
        params.refuse_unknown()?;
    }
    Ok(read)
}

/// The segments of the path, percent-decoded. Bytes that are no text name nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(segments)) => Ok(Self(segments)),
            Err(_) => {
                let call = Call::from_request_parts(parts, app).await?;
                Err(call.instead(app, no_such_path()).await)
            }
        }
    }
}

/// An `{id}` segment that is no id.
pub fn no_such_path() -> Error {
    Error::NoRoute("an id in a path is a number: the user's zuid or accountId".to_owned())
}

/// A header that may come once.
///
/// # Errors
/// `Malformed`: of two nobody knows which one counts.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Malformed::Repeated { name: name.to_string() }.into());
    }
    Ok(first)
}

fn said(headers: &HeaderMap, name: &'static str) -> Result<Option<Reason>> {
    let Some(value) = single(headers, &HeaderName::from_static(name))? else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Error::bad_value(name, "the header must be UTF-8"))?;
    Reason::parse(text)
        .map_err(|_| Error::bad_value(name, "a reason is one line of plain text with at most 200 characters"))
}

/// The answer to an accepted call: what `answer` makes of it, with the change's name; after a dry run
/// the forecast, marked as one.
pub fn done(done: &Done, answer: impl FnOnce(&Done) -> Response) -> Response {
    if let Some(forecast) = &done.forecast {
        let mut response = success(forecast);
        response.headers_mut().insert(DRY_RUN_HEADER, HeaderValue::from_static("true"));
        return response;
    }
    if let Some(text) = &done.answer {
        let mut response = again(text).unwrap_or_else(IntoResponse::into_response);
        if done.repeated {
            response.headers_mut().insert(REPEATED_HEADER, HeaderValue::from_static("true"));
        }
        return response;
    }
    let mut response = answer(done);
    if let Some(value) = done.change.and_then(|change| HeaderValue::from_str(&change.to_string()).ok()) {
        response.headers_mut().insert(CHANGE_HEADER, value);
    }
    response
}

/// An answer written down for repeats.
pub fn kept(status: StatusCode, data: Option<Value>, done: &Done) -> String {
    let change = done.change.map(|change| change.to_string());
    json!({"status": status.as_u16(), "data": data, "change": change}).to_string()
}

/// The answer that was written down.
fn again(text: &str) -> Result<Response> {
    let unreadable = || Error::internal("a kept answer cannot be read");
    let kept: Value = serde_json::from_str(text).map_err(|_| unreadable())?;
    let status = kept["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(unreadable)?;
    let body = if kept["data"].is_null() { bare_success() } else { success(&kept["data"]) };
    let mut response = (status, body).into_response();
    if let Some(change) = kept["change"].as_str() {
        response
            .headers_mut()
            .insert(CHANGE_HEADER, HeaderValue::from_str(change).map_err(|_| unreadable())?);
    }
    Ok(response)
}
