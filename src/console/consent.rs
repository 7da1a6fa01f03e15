//! `/oauth/v2/auth`: an application asks somebody for access. What may be sent back where is decided
//! in `app::oauth::authorize`; before that is known, a page says what is wrong and nothing is sent.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::app::oauth::authorize::{self, Back, Begun, Checked, Prompt, Request};
use crate::clock::MINUTE;
use crate::console::page::{Frame, answer};
use crate::console::texts::{ENGLISH, fill, with};
use crate::console::visit::{Guest, Posted, Visitor, sign_in_first};
use crate::console::{CONTENT_SECURITY_POLICY, refusals};
use crate::domain::scope::{self, Operation, Scope};
use crate::domain::web_session::Stage;
use crate::error::{Error, GrantRefusal, Result};
use crate::wire::Params;

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage {
    frame: Frame,
    heading: String,
    kept_by: String,
    scopes: Vec<String>,
    lasts: String,
    reaches_others: bool,
    goes_to: String,
    address: String,
    /// Path and query of the request, which the forms send along.
    target: String,
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct ProblemPage {
    frame: Frame,
    heading: &'static str,
    text: String,
    request_id: String,
}

/// `GET /oauth/v2/auth`
pub async fn ask(State(app): State<App>, guest: Guest, RawQuery(query): RawQuery) -> Result<Response> {
    let request = match checked(&app, &guest, query.as_deref()).await? {
        Ok(request) => request,
        Err(response) => return Ok(response),
    };
    let held = guest.held(&app).await?;
    if held.is_none_or(|held| held.session.stage != Stage::SignedIn)
        && let Some(back) = authorize::without_session(&app, &request)
    {
        return sent(&back);
    }
    match Visitor::of(guest, &app).await {
        Ok(visitor) => question(&app, &visitor, &request).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `POST /oauth/v2/auth`, from the page above: the request stands in the query, the answer in the form.
pub async fn decide(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
    posted: Result<Posted, Response>,
) -> Result<Response> {
    let request = match checked(&app, &guest, query.as_deref()).await? {
        Ok(request) => request,
        Err(response) => return Ok(response),
    };
    if guest.held(&app).await?.is_none() {
        return Ok(guest.go(&sign_in_first(&guest.target)));
    }
    let Posted { visitor, form } = match posted {
        Ok(posted) => posted,
        Err(elsewhere) => return Ok(elsewhere),
    };
    if let Some(proof) = proof_first(&app, &visitor, &request) {
        return Ok(proof);
    }
    match form.text("decision") {
        "allow" => sent(&authorize::allow(&app, &visitor.context(&app, None), &request).await?),
        "deny" => sent(&authorize::deny(&app, &request)),
        _ => question(&app, &visitor, &request).await,
    }
}

/// The request, or the page or redirect that answers one that cannot be granted.
async fn checked(app: &App, guest: &Guest, query: Option<&str>) -> Result<Result<Box<Request>, Response>> {
    let read = async { authorize::check(app, &Params::query(query)?).await };
    let text = match read.await {
        Ok(Checked::Good(request)) => return Ok(Ok(request)),
        Ok(Checked::Refused(back)) => return sent(&back).map(Err),
        Err(Error::Grant(GrantRefusal::InvalidRedirectUri)) => ENGLISH.consent_wrong_redirect.to_owned(),
        Err(Error::Grant(_)) => ENGLISH.consent_unknown_client.to_owned(),
        Err(error @ Error::Malformed(_)) => refusals::text(&error),
        Err(other) => return Err(other),
    };
    let page = ProblemPage {
        frame: Frame::outside(ENGLISH.consent_problem, String::new()),
        heading: ENGLISH.consent_problem,
        text,
        request_id: guest.request_id.clone(),
    };
    Ok(Err(answer(StatusCode::BAD_REQUEST, &page)))
}

async fn question(app: &App, visitor: &Visitor, request: &Request) -> Result<Response> {
    let owner = match authorize::begin(app, &visitor.context(app, None), request).await? {
        Begun::Answered(back) => return sent(&back),
        Begun::Ask { owner } => owner,
    };
    if let Some(proof) = proof_first(app, visitor, request) {
        return Ok(proof);
    }
    let name = &request.client.name;
    let page = ConsentPage {
        frame: Frame::half_way(with(ENGLISH.consent, name), &visitor.guest),
        heading: with(ENGLISH.consent, name),
        kept_by: match owner.as_str() {
            "" => with(ENGLISH.consent_nobody, name),
            owner => fill(ENGLISH.consent_kept_by, &[name, &owner]),
        },
        scopes: request.scope.iter().map(in_words).collect(),
        lasts: if request.offline {
            ENGLISH.consent_offline.to_owned()
        } else {
            with(ENGLISH.consent_online, app.config.oauth.access_token_seconds / 60)
        },
        reaches_others: request.reaches_others() && visitor.administers(),
        goes_to: with(ENGLISH.consent_goes_to, shown(request.redirect_uri())),
        address: visitor.account.primary.to_string(),
        target: visitor.guest.target.clone(),
    };
    let mut response = answer(StatusCode::OK, &page);
    // Browsers hold the redirects after a form against this too, and applications redirect further.
    let scheme = request.redirect_uri().split(':').next().unwrap_or("https");
    let policy = CONTENT_SECURITY_POLICY
        .replace("form-action 'self'", &format!("form-action 'self' https: {scheme}:"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

/// For how long a sign-in is one that `prompt=login` was answered with.
const JUST_NOW: i64 = MINUTE;

/// Who gives power over others away, or is to sign in again, proves first to be who they are.
fn proof_first(app: &App, visitor: &Visitor, request: &Request) -> Option<Response> {
    let fresh = app.clock.now() - visitor.held.session.proved_at < JUST_NOW;
    if request.prompt == Prompt::Login && !fresh && visitor.guest.is_look() {
        return Some(visitor.prove(&visitor.guest.target));
    }
    // Of a member, too, who may be given such power one day.
    if request.reaches_others() {
        return visitor.prove_first(app, &visitor.guest.target);
    }
    None
}

/// Sends the browser back to the application.
fn sent(back: &Back) -> Result<Response> {
    let mut to = HeaderValue::from_str(back.address())
        .map_err(|_| Error::internal("a redirect address that no header can carry"))?;
    to.set_sensitive(true);
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
}

/// A redirect address as a person knows it: the host, or the scheme that an app has taken.
fn shown(uri: &str) -> String {
    let parsed = url::Url::parse(uri).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str());
    host.map_or_else(|| uri.split(':').next().unwrap_or_default().to_owned(), str::to_owned)
}

fn in_words(wanted: Scope) -> String {
    let t = &ENGLISH;
    let what = match wanted.root {
        scope::ORGANIZATION_ACCOUNTS => t.scope_users,
        scope::ORGANIZATION_DOMAINS => t.scope_domains,
        scope::ORGANIZATION_GROUPS => t.scope_groups,
        scope::ORGANIZATION_AUDIT => t.scope_audit,
        scope::PARTNER_ORGANIZATION => t.scope_organization,
        scope::ACCOUNTS => t.scope_account,
        scope::PROFILE => t.scope_profile,
        other => return with(t.scope_not_here, other),
    };
    let does = match wanted.operation {
        Operation::All => t.scope_all,
        Operation::Read => t.scope_read,
        Operation::Create => t.scope_create,
        Operation::Update => t.scope_update,
        Operation::Delete => t.scope_delete,
    };
    with(does, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_acts_on_has_words() {
        for root in [
            scope::ORGANIZATION_ACCOUNTS,
            scope::ORGANIZATION_DOMAINS,
            scope::ORGANIZATION_GROUPS,
            scope::ORGANIZATION_AUDIT,
            scope::PARTNER_ORGANIZATION,
            scope::ACCOUNTS,
            scope::PROFILE,
        ] {
            for operation in Operation::ALL {
                let words = in_words(root.to(operation));
                assert!(!words.contains("Zoho") && !words.contains("{}"), "{words}");
            }
        }
    }

    #[test]
    fn a_redirect_is_shown_by_its_host_or_its_scheme() {
        assert_eq!(shown("https://app.example:8443/callback?x=1"), "app.example");
        assert_eq!(shown("com.example.app:/done"), "com.example.app");
    }
}
