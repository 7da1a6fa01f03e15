//! The way in: address and password, a new password after a one-time one, a fresh proof before
//! something dangerous, and the way out.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::web_sessions::{self, Started};
use crate::app::{App, passkeys};
use crate::console::asked::Asked;
use crate::console::assets::NAMES;
use crate::console::page::{Frame, Tab, answer};
use crate::console::refusals::Trouble;
use crate::console::said::Said;
use crate::console::texts::ENGLISH;
use crate::console::visit::{
    FormToken, Guest, Posted, PostedByGuest, Visitor, own_path, page_of, sign_in_first, with_session,
    without_session,
};
use crate::domain::actor::Role;
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    address: String,
    next: String,
    problem: Option<String>,
    passkeys: bool,
    script: &'static str,
}

/// `GET /`
pub async fn show(State(app): State<App>, guest: Guest, asked: Asked) -> Result<Response> {
    if let Some(held) = guest.held(&app).await? {
        return Ok(match held.session.stage {
            Stage::SignedIn if asked.text("next").is_empty() => guest.go(home(held.role)),
            Stage::SignedIn => guest.go(asked.text("next")),
            stage => guest.go(page_of(stage)),
        });
    }
    let before = asked.said().filter(|said| said.is_outside());
    let notice = before.map(|said| said.text().to_owned());
    Ok(form(&app, Trouble::NONE, String::new(), asked.text("next").to_owned(), notice))
}

/// The first page of somebody with that role.
fn home(role: Role) -> &'static str {
    if role > Role::Member { "/users" } else { "/me" }
}

/// The page to sign in at.
pub fn form(app: &App, trouble: Trouble, address: String, next: String, notice: Option<String>) -> Response {
    let token = FormToken::new(app);
    let page = SignInPage {
        frame: Frame::outside(ENGLISH.sign_in, token.csrf.clone()).with_notice(notice),
        address,
        next,
        problem: trouble.problem,
        passkeys: passkeys::possible(app),
        script: &NAMES.passkey,
    };
    token.with(app, answer(trouble.status, &page))
}

/// `POST /sign-in`
pub async fn sign_in(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form: sent } = posted;
    let (address, next) = (sent.text("address").trim(), sent.text("next"));
    let password = sent.password("password").ok();
    match web_sessions::sign_in(&app, address, password.as_ref(), &guest.browser).await {
        Ok(started) => Ok(go_on(&app, &guest, &started, next)),
        Err(error @ Error::BadCredentials) => {
            Ok(form(&app, Trouble::of(&error), address.to_owned(), next.to_owned(), None))
        }
        Err(other) => Err(other),
    }
}

/// Gives the browser its new session, and sends it where that belongs.
pub fn go_on(app: &App, guest: &Guest, started: &Started, next: &str) -> Response {
    let to = match started.stage {
        Stage::SignedIn => own_path(next).to_owned(),
        stage @ (Stage::SecondFactor | Stage::SecondFactorThenPassword | Stage::ChoosePassword)
            if own_path(next) != "/" =>
        {
            let next: String = url::form_urlencoded::byte_serialize(own_path(next).as_bytes()).collect();
            format!("{}?next={next}", page_of(stage))
        }
        stage => page_of(stage).to_owned(),
    };
    with_session(app, guest.go(&to), &started.cookie)
}

/// `POST /sign-out`
pub async fn sign_out(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    if let Some(held) = posted.guest.held(&app).await? {
        web_sessions::sign_out(&app, &held).await?;
    }
    let to = match own_path(posted.form.text("next")) {
        "/" => Said::SignedOut.at("/"),
        back => sign_in_first(back),
    };
    Ok(without_session(&app, posted.guest.go(&to)))
}

#[derive(Template)]
#[template(path = "new_password.html")]
struct NewPasswordPage {
    frame: Frame,
    address: String,
    next: String,
    least: usize,
    problem: Option<String>,
}

/// `GET /new-password`
pub async fn new_password(State(app): State<App>, guest: Guest, asked: Asked) -> Result<Response> {
    choice(&app, &guest, Trouble::NONE, asked.text("next")).await
}

async fn choice(app: &App, guest: &Guest, trouble: Trouble, next: &str) -> Result<Response> {
    let Some(held) = guest.held(app).await? else { return Ok(guest.go("/")) };
    if held.session.stage != Stage::ChoosePassword {
        return Ok(guest.go(page_of(held.session.stage)));
    }
    let (account, least) = web_sessions::choice(app, &held).await?;
    let page = NewPasswordPage {
        frame: Frame::half_way(ENGLISH.choose_password, guest),
        address: account.primary.to_string(),
        next: next.to_owned(),
        least,
        problem: trouble.problem,
    };
    Ok(answer(trouble.status, &page))
}

/// `POST /new-password`
pub async fn choose_password(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form: sent } = posted;
    let Some(held) = guest.held(&app).await? else { return Ok(guest.go("/")) };
    let chosen = async {
        let new = sent.new_password()?;
        let context = guest.context(&app, &held);
        web_sessions::choose_password(&app, &context, &held, &guest.browser, &new).await
    };
    match chosen.await {
        Ok((_, None)) => Ok(without_session(&app, guest.go(&Said::Recovered.at("/")))),
        Ok((_, Some(started))) => {
            let next = match own_path(sent.text("next")) {
                "/" => Said::Password.at("/me"),
                next => next.to_owned(),
            };
            Ok(go_on(&app, &guest, &started, &next))
        }
        Err(error @ (Error::BadPassword(_) | Error::TooMany { .. })) => {
            choice(&app, &guest, Trouble::of(&error), sent.text("next")).await
        }
        Err(Error::BadCredentials) => {
            // The one-time password has been used or replaced meanwhile.
            web_sessions::sign_out(&app, &held).await?;
            Ok(without_session(&app, guest.go("/")))
        }
        Err(other) => Err(other),
    }
}

#[derive(Template)]
#[template(path = "prove.html")]
struct ProvePage {
    frame: Frame,
    next: String,
    problem: Option<String>,
}

/// `GET /prove`
pub async fn ask_again(visitor: Visitor, asked: Asked) -> Response {
    prove_page(&visitor, Trouble::NONE, own_path(asked.text("next")).to_owned())
}

fn prove_page(visitor: &Visitor, trouble: Trouble, next: String) -> Response {
    let frame = Frame::inside(ENGLISH.prove, visitor, Tab::Me);
    answer(trouble.status, &ProvePage { frame, next, problem: trouble.problem })
}

/// `POST /prove`
pub async fn prove_again(State(app): State<App>, Posted { visitor, form: sent }: Posted) -> Result<Response> {
    let next = own_path(sent.text("next")).to_owned();
    let source = visitor.guest.browser.source;
    let proved = async {
        let password = sent.password("password").map_err(|_| Error::BadCredentials)?;
        web_sessions::prove_again(&app, &visitor.held, &password, source).await
    };
    match proved.await {
        Ok(()) => Ok(visitor.guest.go(&next)),
        Err(error @ Error::BadCredentials) => Ok(prove_page(&visitor, Trouble::of(&error), next)),
        Err(other) => Err(other),
    }
}
