//! Who is there: the cookie, the session behind it, and the token that its forms must carry.
//!
//! A handler takes a `Visitor` to be sure of a complete sign-in, a `Posted` to be sure of a form
//! that one of our own pages sent as well. Nothing else reads the cookie.

use axum::body::Body as Stream;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::app::call::{Caller, Context, Door};
use crate::app::web_sessions::{self, Browser, LiveSession};
use crate::console::asked::with_query;
use crate::console::form::{CSRF, Form};
use crate::console::refusals;
use crate::console::texts;
use crate::domain::account::Account;
use crate::domain::actor::Role;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::OrganizationId;
use crate::domain::secret::{Fingerprint, Secret, fingerprint};
use crate::domain::switch::Reason;
use crate::domain::web_session::Stage;
use crate::door;
use crate::error::{Error, Result};

const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// What is known of every request: where it came from, and its cookie if it has one.
#[derive(Clone)]
pub struct Guest {
    pub request_id: String,
    pub browser: Browser,
    /// The cookie's value, unproved.
    cookie: Option<Secret>,
    /// Sent by a script of ours, which wants a part of a page.
    pub partial: bool,
    /// Another site's page sent it, as the browser says.
    foreign: bool,
    method_is_safe: bool,
    /// Path and query.
    pub target: String,
}

impl FromRequestParts<App> for Guest {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let site = text(HeaderName::from_static("sec-fetch-site"));
        Ok(Self {
            request_id: door::request_id(parts),
            browser: Browser {
                source: door::source(parts, app),
                agent: text(header::USER_AGENT).unwrap_or_default().to_owned(),
            },
            cookie: cookie(&parts.headers, session_cookie(app)),
            partial: parts.headers.contains_key(HX_REQUEST),
            foreign: site.is_some_and(|site| !matches!(site, "same-origin" | "none")),
            method_is_safe: parts.method.is_safe(),
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }
}

impl Guest {
    /// The living session, whatever its stage.
    ///
    /// # Errors
    /// The database's.
    pub async fn held(&self, app: &App) -> Result<Option<LiveSession>> {
        match self.cookie_hash() {
            Some(hash) => web_sessions::held(app, hash).await,
            None => Ok(None),
        }
    }

    /// The fingerprint of whatever cookie the browser's forms belong to.
    pub fn cookie_hash(&self) -> Option<Fingerprint> {
        self.cookie.as_ref().map(Secret::fingerprint)
    }

    /// The token that forms of this browser carry. Only who has the cookie can know it.
    pub fn csrf(&self) -> String {
        self.cookie.as_ref().map(csrf_of).unwrap_or_default()
    }

    /// Whether a page that this browser got from us has sent the form.
    fn sent(&self, form: &Form) -> bool {
        let expected = self.csrf();
        // Digests are compared, so that the time says nothing of the token.
        let same = fingerprint(form.text(CSRF)) == fingerprint(&expected);
        !self.foreign && !expected.is_empty() && same
    }

    /// What `app` wants to know of a call by the owner of a session in whatever stage.
    pub fn context(&self, app: &App, held: &LiveSession) -> Context {
        let (caller, id) = (web_sessions::caller(app, held), self.request_id.clone());
        Context { source: self.browser.source, ..Context::new(caller, Door::Console, id) }
    }

    /// The same of a call that carries its own credential.
    pub fn unsigned(&self) -> Context {
        Context::unsigned(Door::Console, self.request_id.clone(), self.browser.source)
    }

    /// Whether the request only looks.
    pub fn is_look(&self) -> bool {
        self.method_is_safe
    }

    /// Sends the browser elsewhere in this house.
    pub fn go(&self, path: &str) -> Response {
        redirect(path, self.partial)
    }
}

/// Sends a browser to a path of ours; a script is told in its own way.
pub fn redirect(path: &str, partial: bool) -> Response {
    let path = HeaderValue::from_str(own_path(path)).unwrap_or(HeaderValue::from_static("/"));
    if partial {
        return (StatusCode::NO_CONTENT, [(HX_REDIRECT, path)]).into_response();
    }
    (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response()
}

/// The first page, from where a sign-in leads back to the path.
pub fn sign_in_first(path: &str) -> String {
    with_query("/", &[("next", own_path(path))])
}

/// Where a fresh proof of identity is given, from where it leads back to the path.
pub fn prove_at(back: &str) -> String {
    with_query("/prove", &[("next", own_path(back))])
}

/// The path, if it leads nowhere but into this house; otherwise the first page.
pub fn own_path(path: &str) -> &str {
    let inside = path.starts_with('/')
        && !path.starts_with("//")
        && !path.starts_with("/\\")
        && path.chars().all(|c| !c.is_control() && c != '\\');
    if inside { path } else { "/" }
}

fn csrf_of(cookie: &Secret) -> String {
    let mut digest = Sha256::new();
    digest.update(b"mailward form token\0");
    digest.update(cookie.expose().as_bytes());
    hex::encode(digest.finalize())
}

/// A person whose sign-in is complete.
#[derive(Clone)]
pub struct Visitor {
    pub guest: Guest,
    pub held: LiveSession,
    pub account: Account,
}

impl Visitor {
    pub fn organization(&self) -> OrganizationId {
        self.held.session.organization
    }

    /// Whether the administration is for this person.
    pub fn administers(&self) -> bool {
        self.held.role > Role::Member
    }

    /// What the person may do to others follows from it.
    pub fn rank(&self) -> (Role, Option<HelpDesk>) {
        (self.held.role, self.held.help_desk.clone())
    }

    pub fn caller(&self, app: &App) -> Caller {
        web_sessions::caller(app, &self.held)
    }

    /// What `app` wants to know of a change that this person asks for.
    pub fn context(&self, app: &App, reason: Option<Reason>) -> Context {
        Context { reason, ..self.guest.context(app, &self.held) }
    }

    /// Whether what was refused is an address that is kept for somebody else, and this person may give
    /// it out all the same.
    pub fn may_release(&self, error: &Error) -> bool {
        self.held.role == Role::SuperAdmin && refusals::is_kept_address(error)
    }

    /// Whether a fresh proof of identity is asked for before something dangerous.
    pub fn proof_is_old(&self, app: &App) -> bool {
        web_sessions::proof_is_old(app, &self.held)
    }

    /// Sends a person whose proof of identity is old to give a fresh one, and back afterwards.
    pub fn prove_first(&self, app: &App, back_to: &str) -> Option<Response> {
        self.proof_is_old(app).then(|| self.prove(back_to))
    }

    /// Has the person give a fresh proof of identity, however old the last one is.
    pub fn prove(&self, back_to: &str) -> Response {
        self.guest.go(&prove_at(back_to))
    }

    pub async fn of(guest: Guest, app: &App) -> Result<Self, Response> {
        let Some(held) = guest.held(app).await.map_err(IntoResponse::into_response)? else {
            if !guest.method_is_safe {
                return Err(guest.go("/"));
            }
            return Err(guest.go(&sign_in_first(&guest.target)));
        };
        if held.session.stage != Stage::SignedIn {
            return Err(guest.go(page_of(held.session.stage)));
        }
        let account = web_sessions::account(app, held.session.organization, held.session.user).await;
        Ok(Self { guest, held, account: account.map_err(IntoResponse::into_response)? })
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Ok(guest) = Guest::from_request_parts(parts, app).await;
        Self::of(guest, app).await
    }
}

/// A form that a signed-in person sent from one of our pages.
pub struct Posted {
    pub visitor: Visitor,
    pub form: Form,
}

impl FromRequest<App> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, stream) = request.into_parts();
        let Ok(guest) = Guest::from_request_parts(&mut parts, app).await;
        let visitor = Visitor::of(guest, app).await?;
        let form = read(stream).await.map_err(IntoResponse::into_response)?;
        match visitor.guest.sent(&form) {
            true => Ok(Self { visitor, form }),
            false => Err(forged().into_response()),
        }
    }
}

/// A form from one of our pages, whoever sent it.
pub struct PostedByGuest {
    pub guest: Guest,
    pub form: Form,
}

impl FromRequest<App> for PostedByGuest {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, stream) = request.into_parts();
        let Ok(mut guest) = Guest::from_request_parts(&mut parts, app).await;
        let session = guest.held(app).await.map_err(IntoResponse::into_response)?;
        let form = read(stream).await.map_err(IntoResponse::into_response)?;
        let mut is_ours = guest.sent(&form);
        // Who has no session yet has the cookie of forms instead. One that has ended meanwhile is no forgery.
        if session.is_none() {
            guest.cookie = cookie(&parts.headers, form_cookie(app));
            is_ours |= guest.sent(&form);
        }
        match is_ours {
            true => Ok(Self { guest, form }),
            false => Err(forged().into_response()),
        }
    }
}

async fn read(stream: Stream) -> Result<Form> {
    Form::parse(&door::bytes(stream).await?)
}

fn forged() -> Error {
    Error::Forbidden(texts::ENGLISH.forged_form.to_owned())
}

/// The page that a session of that stage belongs on.
pub fn page_of(stage: Stage) -> &'static str {
    match stage {
        Stage::SecondFactor | Stage::SecondFactorThenPassword => "/second-factor",
        Stage::ChoosePassword => "/new-password",
        Stage::SetUpFactor => "/me/security",
        Stage::SignedIn => "/",
    }
}

// Cookies ------------------------------------------------------------------------------------

fn is_secure(app: &App) -> bool {
    app.config.public_url().starts_with("https://")
}

/// The prefix binds the cookie to this host and to HTTPS, where there is HTTPS.
fn session_cookie(app: &App) -> &'static str {
    if is_secure(app) { "__Host-mailward" } else { "mailward" }
}

fn form_cookie(app: &App) -> &'static str {
    if is_secure(app) { "__Host-mailward-form" } else { "mailward-form" }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, value)| *known == name && !value.is_empty())
        .map(|(_, value)| Secret::new(value))
}

fn set(app: &App, name: &str, value: &str, more: &str) -> HeaderValue {
    let secure = if is_secure(app) { "; Secure" } else { "" };
    let mut header = HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly{secure}{more}"))
        .unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

/// Gives the browser its session. It comes along when another site links here, as applications do
/// that ask for consent; forms are held by their token.
pub fn with_session(app: &App, mut response: Response, cookie: &Secret) -> Response {
    let value = set(app, session_cookie(app), cookie.expose(), "; SameSite=Lax");
    response.headers_mut().append(header::SET_COOKIE, value);
    let value = set(app, form_cookie(app), "", "; SameSite=Strict; Max-Age=0");
    response.headers_mut().append(header::SET_COOKIE, value);
    response
}

/// Takes the browser's session away.
pub fn without_session(app: &App, mut response: Response) -> Response {
    let value = set(app, session_cookie(app), "", "; SameSite=Lax; Max-Age=0");
    response.headers_mut().append(header::SET_COOKIE, value);
    response
}

/// The token for a form of somebody without a session, and the cookie that it belongs to.
pub struct FormToken {
    pub csrf: String,
    cookie: Secret,
}

impl FormToken {
    pub fn new(app: &App) -> Self {
        let cookie = app.random.with(crate::domain::secret::new_token);
        Self { csrf: csrf_of(&cookie), cookie }
    }

    pub fn with(&self, app: &App, mut response: Response) -> Response {
        let value = set(app, form_cookie(app), self.cookie.expose(), "; SameSite=Strict; Max-Age=3600");
        response.headers_mut().append(header::SET_COOKIE, value);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_never_leads_out_of_the_house() {
        for inside in ["/", "/users?q=mia", "/users/1000000000001#history"] {
            assert_eq!(own_path(inside), inside);
        }
        for outside in
            ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "", "/a\r\nb", "\\/x"]
        {
            assert_eq!(own_path(outside), "/", "{outside:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; mailward=x"));
        headers.append(header::COOKIE, HeaderValue::from_static("mailward-form=y"));
        let value = |name| cookie(&headers, name).map(|found| found.expose().to_owned());
        assert_eq!(value("mailward").as_deref(), Some("x"));
        assert_eq!(value("mailward-form").as_deref(), Some("y"));
        assert_eq!(value("b"), None);
    }
}
