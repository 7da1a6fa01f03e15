//! The own second factors: an authenticator app, passkeys, recovery codes. Also for somebody whose
//! organization wants a factor before the sign-in is complete.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use qrcode::{Color, QrCode};

use crate::app::App;
use crate::app::{factors, passkeys, web_sessions};
use crate::console::asked::Asked;
use crate::console::assets::NAMES;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::{ENGLISH, count};
use crate::console::times::Time;
use crate::console::visit::{Guest, Posted, PostedByGuest, Visitor, page_of, with_session};
use crate::domain::secret::Secret;
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};

/// Somebody who may set up factors: signed in, or held up here until there is one.
async fn keeper(app: &App, guest: &Guest) -> Result<Result<Visitor, Response>> {
    let Some(held) = guest.held(app).await? else { return Ok(Err(guest.go("/"))) };
    match held.session.stage {
        Stage::SignedIn | Stage::SetUpFactor => {}
        stage => return Ok(Err(guest.go(page_of(stage)))),
    }
    let account = web_sessions::account(app, held.session.organization, held.session.user).await?;
    Ok(Ok(Visitor { guest: guest.clone(), held, account }))
}

fn held_up(visitor: &Visitor) -> bool {
    visitor.held.session.stage == Stage::SetUpFactor
}

fn frame(title: &'static str, visitor: &Visitor) -> Frame {
    if held_up(visitor) {
        Frame::half_way(title, &visitor.guest)
    } else {
        Frame::inside(title, visitor, Tab::Me)
    }
}

/// A fresh proof, except of somebody who has only just begun to sign in.
fn prove_first(app: &App, visitor: &Visitor) -> Option<Response> {
    if held_up(visitor) { None } else { visitor.prove_first(app, "/me/security") }
}

struct PasskeyLine {
    id: String,
    name: String,
    made: Time,
    used: Option<Time>,
}

#[derive(Template)]
#[template(path = "me_security.html")]
struct SecurityPage {
    frame: Frame,
    held_up: bool,
    problem: Option<String>,
    app: bool,
    passkeys: Vec<PasskeyLine>,
    possible: bool,
    /// How many recovery codes are left, in words; `None` without a factor.
    codes: Option<String>,
    passkey_name: String,
    script: &'static str,
}

/// `GET /me/security`
pub async fn show(State(app): State<App>, guest: Guest, asked: Asked) -> Result<Response> {
    match keeper(&app, &guest).await? {
        Ok(visitor) => page(&app, &visitor, asked.notice(), Trouble::NONE, "").await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

async fn page(
    app: &App,
    visitor: &Visitor,
    told: Option<String>,
    trouble: Trouble,
    passkey_name: &str,
) -> Result<Response> {
    let t = &ENGLISH;
    let enrolled = factors::enrolled(app, &visitor.account).await?;
    let now = app.clock.now();
    let any = enrolled.any();
    let passkeys = enrolled.passkeys.into_iter().map(|row| PasskeyLine {
        id: row.id.to_string(),
        name: row.name,
        made: Time::new(row.created_at, now),
        used: row.used_at.map(|at| Time::new(at, now)),
    });
    let page = SecurityPage {
        frame: frame(t.second_factors, visitor).with_notice(told),
        held_up: held_up(visitor),
        problem: trouble.problem,
        app: enrolled.app,
        passkeys: passkeys.collect(),
        possible: passkeys::possible(app),
        codes: any.then(|| count(enrolled.codes_left, t.codes_left_one, t.codes_left_many)),
        passkey_name: passkey_name.to_owned(),
        script: &NAMES.passkey,
    };
    Ok(answer(trouble.status, &page))
}

async fn refused(app: &App, visitor: &Visitor, error: Error) -> Result<Response> {
    page(app, visitor, None, refusals::beside_own(error)?, "").await
}

// The authenticator app ----------------------------------------------------------------------

/// `POST /me/security/app`: proposes a seed.
pub async fn propose(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let visitor = match keeper(&app, &posted.guest).await? {
        Ok(visitor) => visitor,
        Err(elsewhere) => return Ok(elsewhere),
    };
    if let Some(first) = prove_first(&app, &visitor) {
        return Ok(first);
    }
    match factors::propose(&app, &visitor.context(&app, None)).await {
        Ok(()) => Ok(visitor.guest.go("/me/security/app")),
        Err(error) => refused(&app, &visitor, error).await,
    }
}

#[derive(Template)]
#[template(path = "me_security_app.html")]
struct AppPage {
    frame: Frame,
    problem: Option<String>,
    /// Length of an edge of the code with its margin, in modules.
    size: usize,
    /// The dark modules as a path.
    path: String,
    /// Leads to the app, where that is on the device itself.
    uri: String,
    seed: String,
}

/// `GET /me/security/app`: the proposed seed, to be scanned or typed.
pub async fn proposed(State(app): State<App>, guest: Guest) -> Result<Response> {
    match keeper(&app, &guest).await? {
        Ok(visitor) => app_page(&app, &visitor, Trouble::NONE).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

async fn app_page(app: &App, visitor: &Visitor, trouble: Trouble) -> Result<Response> {
    // Who looks at the seed can make codes: the proof must be as fresh as for making it.
    if let Some(first) = prove_first(app, visitor) {
        return Ok(first);
    }
    let Some(proposal) = factors::proposal(app, &visitor.held, &visitor.account).await? else {
        return Ok(visitor.guest.go("/me/security"));
    };
    let (size, path) = qr(&proposal.uri)?;
    let groups = proposal.seed.expose().as_bytes().chunks(4).map(String::from_utf8_lossy);
    let seed = groups.collect::<Vec<_>>().join(" ");
    let (frame, uri) = (frame(ENGLISH.set_up_app, visitor), proposal.uri.expose().to_owned());
    Ok(answer(trouble.status, &AppPage { frame, problem: trouble.problem, size, path, uri, seed }))
}

/// A QR code as a path over squares of one unit, with the margin of four that readers want.
fn qr(text: &Secret) -> Result<(usize, String)> {
    const MARGIN: usize = 4;
    let code = QrCode::new(text.expose()).map_err(|_| Error::internal("a seed is too long to be drawn"))?;
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            path += &format!("M{} {}h1v1h-1z", at % width + MARGIN, at / width + MARGIN);
        }
    }
    Ok((width + 2 * MARGIN, path))
}

/// `POST /me/security/app/confirm`
pub async fn confirm(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let visitor = match keeper(&app, &guest).await? {
        Ok(visitor) => visitor,
        Err(elsewhere) => return Ok(elsewhere),
    };
    match factors::confirm(&app, &visitor.context(&app, None), form.text("code")).await {
        Ok(codes) => set_up(&app, &visitor, codes).await,
        Err(error) => app_page(&app, &visitor, refusals::beside_own(error)?).await,
    }
}

#[derive(Template)]
#[template(path = "me_recovery_codes.html")]
struct CodesPage {
    frame: Frame,
    codes: Vec<String>,
    go_on: &'static str,
}

/// There is a new factor: who was held up goes on, with a new session; recovery codes are shown once.
async fn set_up(app: &App, visitor: &Visitor, codes: Option<Vec<Secret>>) -> Result<Response> {
    let go_on = if held_up(visitor) { "/" } else { "/me/security" };
    let response = match codes {
        Some(codes) => codes_page(visitor, &codes, go_on),
        None if held_up(visitor) => visitor.guest.go("/"),
        None => visitor.guest.go(&Said::FactorAdded.at("/me/security")),
    };
    if !held_up(visitor) {
        return Ok(response);
    }
    let browser = &visitor.guest.browser;
    // The codes are shown here alone, whatever happens now; without a new session the person signs in again.
    Ok(match web_sessions::factor_proved(app, &visitor.held, browser).await {
        Ok(started) => with_session(app, response, &started.cookie),
        Err(_) => response,
    })
}

fn codes_page(visitor: &Visitor, codes: &[Secret], go_on: &'static str) -> Response {
    let codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    ok(&CodesPage { frame: frame(ENGLISH.your_codes, visitor), codes, go_on })
}

/// The password again, before a factor goes.
async fn proved(app: &App, visitor: &Visitor, form: &Form) -> Result<()> {
    let password = form.password("password").map_err(|_| Error::BadCredentials)?;
    let source = visitor.guest.browser.source;
    web_sessions::prove_again(app, &visitor.held, &password, source).await
}

/// `POST /me/security/app/remove`
pub async fn remove_app(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let removed = async {
        proved(&app, &visitor, &form).await?;
        factors::remove_app(&app, &visitor.context(&app, None)).await
    };
    match removed.await {
        Ok(()) => Ok(visitor.guest.go(&Said::FactorRemoved.at("/me/security"))),
        Err(error) => not_removed(&app, &visitor, error).await,
    }
}

async fn not_removed(app: &App, visitor: &Visitor, error: Error) -> Result<Response> {
    page(app, visitor, None, refusals::beside_password(error)?, "").await
}

/// `POST /me/security/codes`
pub async fn new_codes(State(app): State<App>, Posted { visitor, .. }: Posted) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, "/me/security") {
        return Ok(first);
    }
    match factors::new_codes(&app, &visitor.context(&app, None)).await {
        Ok(codes) => Ok(codes_page(&visitor, &codes, "/me/security")),
        Err(error) => refused(&app, &visitor, error).await,
    }
}

// Passkeys -----------------------------------------------------------------------------------

/// What a script asked for, or the refusal as it shows it.
pub fn for_script(asked: Result<String>) -> Result<Response> {
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    match asked {
        Ok(options) => Ok((json, options).into_response()),
        Err(error) => {
            let trouble = refusals::beside_own(error)?;
            let text = serde_json::json!({ "problem": trouble.problem }).to_string();
            Ok((trouble.status, json, text).into_response())
        }
    }
}

/// `POST /me/security/passkeys/begin`
pub async fn begin_passkey(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let visitor = match keeper(&app, &posted.guest).await? {
        Ok(visitor) => visitor,
        Err(_) => return for_script(Err(Error::Refused(ENGLISH.sign_in_again.to_owned()))),
    };
    if prove_first(&app, &visitor).is_some() {
        return for_script(Err(Error::Forbidden(ENGLISH.prove_hint.to_owned())));
    }
    for_script(passkeys::begin_registration(&app, &visitor.context(&app, None)).await)
}

/// `POST /me/security/passkeys`
pub async fn add_passkey(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let visitor = match keeper(&app, &guest).await? {
        Ok(visitor) => visitor,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let context = visitor.context(&app, None);
    match passkeys::finish_registration(&app, &context, form.text("name"), form.text("answer")).await {
        Ok(codes) => set_up(&app, &visitor, codes).await,
        Err(error) => page(&app, &visitor, None, refusals::beside_own(error)?, form.text("name")).await,
    }
}

/// `POST /me/security/passkeys/remove`
pub async fn remove_passkey(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let removed = async {
        proved(&app, &visitor, &form).await?;
        let missing = || Error::NotFound("there is no such passkey".to_owned());
        let id = form.text("id").parse().map_err(|()| missing())?;
        passkeys::remove(&app, &visitor.context(&app, None), id).await
    };
    match removed.await {
        Ok(()) => Ok(visitor.guest.go(&Said::FactorRemoved.at("/me/security"))),
        Err(error) => not_removed(&app, &visitor, error).await,
    }
}

// At the sign-in -----------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage {
    frame: Frame,
    problem: Option<String>,
    address: String,
    has_passkeys: bool,
    next: String,
    script: &'static str,
}

/// Where to go on afterwards.
#[derive(serde::Deserialize, Default)]
pub struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /second-factor`
pub async fn second_factor(
    State(app): State<App>,
    guest: Guest,
    Query(next): Query<Next>,
) -> Result<Response> {
    factor_page(&app, &guest, Trouble::NONE, &next.next).await
}

async fn factor_page(app: &App, guest: &Guest, trouble: Trouble, next: &str) -> Result<Response> {
    let Some(held) = guest.held(app).await? else { return Ok(guest.go("/")) };
    match held.session.stage {
        Stage::SecondFactor | Stage::SecondFactorThenPassword => {}
        stage => return Ok(guest.go(page_of(stage))),
    }
    let account = web_sessions::account(app, held.session.organization, held.session.user).await?;
    let enrolled = factors::enrolled(app, &account).await?;
    let page = SecondFactorPage {
        frame: Frame::half_way(ENGLISH.second_factor, guest),
        problem: trouble.problem,
        address: account.primary.to_string(),
        has_passkeys: !enrolled.passkeys.is_empty() && passkeys::possible(app),
        next: next.to_owned(),
        script: &NAMES.passkey,
    };
    Ok(answer(trouble.status, &page))
}

/// `POST /second-factor`
pub async fn prove(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let Some(held) = guest.held(&app).await? else { return Ok(guest.go("/")) };
    match held.session.stage {
        Stage::SecondFactor | Stage::SecondFactorThenPassword => {}
        stage => return Ok(guest.go(page_of(stage))),
    }
    let proved = async {
        let account = web_sessions::account(&app, held.session.organization, held.session.user).await?;
        factors::prove(&app, &guest.context(&app, &held), &account, form.text("code")).await?;
        web_sessions::factor_proved(&app, &held, &guest.browser).await
    };
    match proved.await {
        Ok(started) => Ok(super::sign_in::go_on(&app, &guest, &started, form.text("next"))),
        Err(Error::BadCredentials) => Ok(guest.go("/")),
        Err(error) => factor_page(&app, &guest, refusals::beside_own(error)?, form.text("next")).await,
    }
}

/// `POST /second-factor/passkey/begin`
pub async fn begin_prove_passkey(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let Some(held) = posted.guest.held(&app).await? else {
        return for_script(Err(Error::Refused(ENGLISH.sign_in_again.to_owned())));
    };
    for_script(passkeys::begin_proof(&app, &posted.guest.context(&app, &held)).await)
}

/// `POST /second-factor/passkey`
pub async fn prove_passkey(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let Some(held) = guest.held(&app).await? else { return Ok(guest.go("/")) };
    let proved = async {
        passkeys::finish_proof(&app, &guest.context(&app, &held), form.text("answer")).await?;
        web_sessions::factor_proved(&app, &held, &guest.browser).await
    };
    match proved.await {
        Ok(started) => Ok(super::sign_in::go_on(&app, &guest, &started, form.text("next"))),
        Err(Error::BadCredentials | Error::BadToken) => Ok(guest.go("/")),
        Err(error) => factor_page(&app, &guest, refusals::beside_own(error)?, form.text("next")).await,
    }
}

/// `POST /sign-in/passkey/begin`
pub async fn begin_sign_in(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let Some(hash) = posted.guest.cookie_hash() else {
        return for_script(Err(Error::Refused(ENGLISH.sign_in_again.to_owned())));
    };
    for_script(passkeys::begin_sign_in(&app, hash, posted.guest.browser.source).await)
}

/// `POST /sign-in/passkey`
pub async fn sign_in(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let Some(hash) = guest.cookie_hash() else { return Ok(guest.go("/")) };
    match passkeys::sign_in(&app, hash, form.text("answer"), &guest.browser).await {
        Ok(started) => Ok(super::sign_in::go_on(&app, &guest, &started, form.text("next"))),
        Err(error) => {
            let next = form.text("next").to_owned();
            Ok(super::sign_in::form(&app, refusals::beside_own(error)?, String::new(), next, None))
        }
    }
}
