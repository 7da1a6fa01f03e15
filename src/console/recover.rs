//! A forgotten password: asking for a link, choosing a new password at one, and the recovery address
//! that it takes. Opening a link spends nothing, since scanners of mail open links; a button does.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::app::recovery::{self, Purpose};
use crate::console::asked::Asked;
use crate::console::page::{Frame, Tab, answer};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::{ENGLISH, fill, with};
use crate::console::times::Time;
use crate::console::visit::{FormToken, Guest, Posted, PostedByGuest, Visitor};
use crate::domain::actor::Role;
use crate::domain::email_address::EmailAddress;
use crate::domain::secret::Secret;
use crate::error::{Error, Result};

/// A page for anybody: its forms carry the token of the session, where there is one.
async fn outside<T: Template>(
    app: &App,
    guest: &Guest,
    title: &'static str,
    status: StatusCode,
    page: impl FnOnce(Frame) -> T,
) -> Result<Response> {
    if guest.held(app).await?.is_some() {
        return Ok(answer(status, &page(Frame::half_way(title, guest))));
    }
    let token = FormToken::new(app);
    let response = answer(status, &page(Frame::outside(title, token.csrf.clone())));
    Ok(token.with(app, response))
}

#[derive(Template)]
#[template(path = "recover.html")]
struct AskPage {
    frame: Frame,
    problem: Option<String>,
    address: String,
    sent: bool,
}

/// `GET /recover`
pub async fn show(State(app): State<App>, guest: Guest, asked: Asked) -> Result<Response> {
    let sent = asked.said() == Some(Said::RecoveryAsked);
    outside(&app, &guest, ENGLISH.recover, StatusCode::OK, |frame| AskPage {
        frame,
        problem: None,
        address: String::new(),
        sent,
    })
    .await
}

/// `POST /recover`
pub async fn ask(State(app): State<App>, posted: PostedByGuest) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let typed = form.text("address").trim().to_owned();
    let asked = match EmailAddress::parse(&typed) {
        Ok(address) => recovery::ask(&app, &address, guest.browser.source).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(()) => Ok(guest.go(&Said::RecoveryAsked.at("/recover"))),
        Err(error) => {
            let Trouble { status, problem } = refusals::beside_own(error)?;
            outside(&app, &guest, ENGLISH.recover, status, |frame| AskPage {
                frame,
                problem,
                address: typed,
                sent: false,
            })
            .await
        }
    }
}

#[derive(Template)]
#[template(path = "recover_password.html")]
struct ChoosePage {
    frame: Frame,
    problem: Option<String>,
    /// `None` when the link is over.
    choice: Option<Choice>,
}

struct Choice {
    link: String,
    address: String,
    least: usize,
    factor: bool,
}

/// `GET /recover/password/{link}`
pub async fn password(State(app): State<App>, guest: Guest, Path(link): Path<String>) -> Result<Response> {
    choice(&app, &guest, &Secret::new(link), Trouble::NONE).await
}

async fn choice(app: &App, guest: &Guest, link: &Secret, trouble: Trouble) -> Result<Response> {
    let Trouble { status, problem } = trouble;
    let choice = recovery::choice(app, link).await?.map(|(account, least, factor)| Choice {
        link: link.expose().to_owned(),
        address: account.primary.to_string(),
        least,
        factor,
    });
    let status = if choice.is_none() { StatusCode::NOT_FOUND } else { status };
    outside(app, guest, ENGLISH.choose_password, status, |frame| ChoosePage { frame, problem, choice }).await
}

/// `POST /recover/password/{link}`
pub async fn choose_password(
    State(app): State<App>,
    Path(link): Path<String>,
    posted: PostedByGuest,
) -> Result<Response> {
    let PostedByGuest { guest, form } = posted;
    let link = Secret::new(link);
    let code = form.secret("code");
    let chosen = async {
        let new = form.new_password()?;
        recovery::recover(&app, &guest.unsigned(), &link, &new, Some(&code)).await
    };
    match chosen.await {
        Ok(_) => Ok(guest.go(&Said::Recovered.at("/"))),
        // The page says by itself that the link is over.
        Err(Error::BadCredentials) => {
            choice(&app, &guest, &link, Trouble { status: StatusCode::NOT_FOUND, problem: None }).await
        }
        Err(error) => choice(&app, &guest, &link, refusals::beside_own(error)?).await,
    }
}

#[derive(Template)]
#[template(path = "recover_address.html")]
struct ProvePage {
    frame: Frame,
    /// The link and what is asked; `None` when the link is over.
    question: Option<(String, String)>,
    done: Option<String>,
}

/// `GET /recover/address/{link}`
pub async fn address(State(app): State<App>, guest: Guest, Path(link): Path<String>) -> Result<Response> {
    let found = recovery::look(&app, Purpose::Address, &Secret::new(link.as_str())).await?;
    let question = found.map(|(known, account)| {
        (link, fill(ENGLISH.recovery_prove_hint, &[&known.address, &account.primary]))
    });
    let status = if question.is_none() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    outside(&app, &guest, ENGLISH.recovery_prove_title, status, |frame| ProvePage {
        frame,
        question,
        done: None,
    })
    .await
}

/// `POST /recover/address/{link}`
pub async fn prove_address(
    State(app): State<App>,
    Path(link): Path<String>,
    posted: PostedByGuest,
) -> Result<Response> {
    let guest = posted.guest;
    let (status, done) = match recovery::prove_address(&app, &guest.unsigned(), &Secret::new(link)).await {
        Ok(proved) => (StatusCode::OK, Some(with(ENGLISH.recovery_proved, proved.address))),
        Err(Error::BadCredentials) => (StatusCode::NOT_FOUND, None),
        Err(other) => return Err(other),
    };
    outside(&app, &guest, ENGLISH.recovery_prove_title, status, |frame| ProvePage {
        frame,
        question: None,
        done,
    })
    .await
}

// The own recovery address -------------------------------------------------------------------

#[derive(Template)]
#[template(path = "me_recovery.html")]
struct AddressPage {
    frame: Frame,
    problem: Option<String>,
    current: Option<String>,
    /// Since or from when the address serves.
    serves: bool,
    from: Option<Time>,
    for_administrator: bool,
    typed: String,
}

/// `GET /me/recovery`
pub async fn own(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    own_page(&app, &visitor, asked.notice(), Trouble::NONE, "").await
}

async fn own_page(
    app: &App,
    visitor: &Visitor,
    told: Option<String>,
    trouble: Trouble,
    typed: &str,
) -> Result<Response> {
    let (known, now) = (recovery::address_of(app, &visitor.account).await?, app.clock.now());
    let page = AddressPage {
        frame: Frame::inside(ENGLISH.recovery_address, visitor, Tab::Me).with_notice(told),
        problem: trouble.problem,
        serves: known.as_ref().is_some_and(|known| known.serves_from <= now),
        from: known.as_ref().map(|known| Time::new(known.serves_from, now)),
        current: known.map(|known| known.address),
        for_administrator: visitor.account.role > Role::Member,
        typed: typed.to_owned(),
    };
    Ok(answer(trouble.status, &page))
}

/// `POST /me/recovery`
pub async fn propose(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, "/me/recovery") {
        return Ok(first);
    }
    let typed = form.text("address").trim();
    let proposed = match EmailAddress::parse(typed) {
        Ok(address) => recovery::propose(&app, &visitor.context(&app, None), &address).await,
        Err(error) => Err(error),
    };
    match proposed {
        Ok(()) => Ok(visitor.guest.go(&Said::LinkSent.at("/me/recovery"))),
        Err(error) => own_page(&app, &visitor, None, refusals::beside_own(error)?, typed).await,
    }
}

/// `POST /me/recovery/remove`
pub async fn remove(State(app): State<App>, Posted { visitor, .. }: Posted) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, "/me/recovery") {
        return Ok(first);
    }
    match recovery::remove_address(&app, &visitor.context(&app, None)).await {
        // That there is none is what was wanted.
        Ok(()) | Err(Error::NotFound(_)) => Ok(visitor.guest.go(&Said::RecoveryRemoved.at("/me/recovery"))),
        Err(other) => Err(other),
    }
}
