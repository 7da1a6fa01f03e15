//! The browser's door: server-rendered pages for administrators, help desk and mailbox owners.
//!
//! `visit` says who is there, `form` takes what they send, `page` is the frame around every page,
//! `texts` holds every word. Pages are files named after what they show; their templates stand in
//! `templates/`, their style and scripts in `assets/`, all of them in the binary.

mod apart;
mod applications;
mod asked;
mod assets;
mod audit;
mod changes;
mod consent;
mod domains;
mod entries;
mod form;
mod jobs;
mod mail_servers;
mod me;
mod page;
mod places;
mod recover;
mod refusals;
mod said;
mod security;
mod sign_in;
mod texts;
mod times;
mod users;
mod visit;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::door;
use crate::error::Error;

/// The pages, with `others` answering every address that is none of theirs.
pub fn router(app: App, others: Router) -> Router {
    let fallback = {
        let app = app.clone();
        move |request: Request| async move {
            if is_a_person(&request) {
                dress(&app, refusals::page(&Error::NoRoute(texts::ENGLISH.no_such_page.to_owned()), ""))
            } else {
                others.oneshot(request).await.into_response()
            }
        }
    };
    pages(app).fallback(fallback)
}

/// Whether somebody typed an address into a browser that is none of the API's.
fn is_a_person(request: &Request) -> bool {
    const FOR_PROGRAMS: [&str; 5] = ["/api/", "/oauth/", "/self/", "/.well-known/", "/health"];
    let path = request.uri().path();
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    request.method() == Method::GET
        && accepts.is_some_and(|kinds| kinds.contains("text/html"))
        && !FOR_PROGRAMS.iter().any(|prefix| path.starts_with(prefix))
        && path != "/openapi.json"
}

fn pages(app: App) -> Router {
    Router::new()
        .route("/", get(sign_in::show))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/new-password", get(sign_in::new_password).post(sign_in::choose_password))
        .route("/oauth/v2/auth", get(consent::ask).post(consent::decide))
        .route("/prove", get(sign_in::ask_again).post(sign_in::prove_again))
        .merge(second_factors())
        .merge(my_account())
        .merge(recovery())
        .route("/users", get(users::list))
        .route("/users/new", get(users::add::show).post(users::add::add))
        .route("/users/import", get(users::add::ask_list).post(users::add::import))
        .route("/users/bulk", get(users::bulk::ask).post(users::bulk::start))
        .route("/users/{zuid}", get(users::show::show))
        .route("/users/{zuid}/{action}", get(users::act::preview).post(users::act::act))
        .route("/changes/{change}", get(changes::show))
        .route("/domains", get(domains::show).post(domains::add))
        .route("/domains/{name}/{verb}", post(domains::change))
        .route("/applications", get(applications::show).post(applications::add))
        .route("/applications/{client}/{verb}", post(applications::change))
        .route("/audit", get(audit::show))
        .route("/audit/export", get(audit::export))
        .route("/mail-servers", get(mail_servers::show))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/passwords", post(jobs::passwords))
        .method_not_allowed_fallback(|| async { Error::NoRoute(texts::ENGLISH.no_such_page.to_owned()) })
        .layer(Extension(jobs::Jobs::default()))
        .layer(CatchPanicLayer::custom(|_| Error::internal("a page panicked").into_response()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), pass))
        .route("/assets/{name}", get(assets::serve))
        .with_state(app)
}

fn second_factors() -> Router<App> {
    Router::new()
        .route("/second-factor", get(security::second_factor).post(security::prove))
        .route("/second-factor/passkey/begin", post(security::begin_prove_passkey))
        .route("/second-factor/passkey", post(security::prove_passkey))
        .route("/sign-in/passkey/begin", post(security::begin_sign_in))
        .route("/sign-in/passkey", post(security::sign_in))
        .route("/me/security", get(security::show))
        .route("/me/security/app", get(security::proposed).post(security::propose))
        .route("/me/security/app/confirm", post(security::confirm))
        .route("/me/security/app/remove", post(security::remove_app))
        .route("/me/security/codes", post(security::new_codes))
        .route("/me/security/passkeys/begin", post(security::begin_passkey))
        .route("/me/security/passkeys", post(security::add_passkey))
        .route("/me/security/passkeys/remove", post(security::remove_passkey))
}

fn my_account() -> Router<App> {
    Router::new()
        .route("/me", get(me::show))
        .route("/me/password", get(me::password::show).post(me::password::change))
        .route("/me/address", get(me::address::show).post(me::address::change))
        .route("/me/name", post(me::address::change_name))
        .route("/me/mail/disable", post(me::disable_mail))
        .route("/me/mail/enable", post(me::enable_mail))
        .route("/me/app-passwords", get(me::app_passwords::list).post(me::app_passwords::make))
        .route("/me/app-passwords/revoke", post(me::app_passwords::revoke))
        .route("/me/sessions", get(me::sessions::show))
        .route("/me/sessions/end", post(me::sessions::end))
        .route("/me/sessions/end-others", post(me::sessions::end_others))
        .route("/me/applications/disconnect", post(me::sessions::disconnect))
        .route("/me/recovery", get(recover::own).post(recover::propose))
        .route("/me/recovery/remove", post(recover::remove))
}

fn recovery() -> Router<App> {
    Router::new()
        .route("/recover", get(recover::show).post(recover::ask))
        .route("/recover/password/{link}", get(recover::password).post(recover::choose_password))
        .route("/recover/address/{link}", get(recover::address).post(recover::prove_address))
}

/// What every page sends along. Nothing runs or loads but what the binary serves.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// The policy of pages; a page that sends its form elsewhere afterwards sets its own.
/// Text becomes a part of a page only through the policy of assets/mailward.js, which is for answers of ours.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
    require-trusted-types-for 'script'; trusted-types mailward";

async fn pass(State(app): State<App>, request: Request, next: Next) -> Response {
    dress(&app, door::pass(&app, request, next, refusals::page).await)
}

/// Adds what every page sends along.
fn dress(app: &App, mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if app.config.public_url().starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}
