//! The own app passwords: listed, made and shown once, revoked.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::on_myself;
use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::create_app_password::{CreateAppPassword, LONGEST_DAYS, called, protocols};
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::mail::app_passwords;
use crate::console::asked::Asked;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::ENGLISH;
use crate::console::times::Time;
use crate::console::visit::{Posted, Visitor};
use crate::domain::app_password::Protocols;
use crate::domain::rights::Route;
use crate::error::{Error, Result};

struct Line {
    id: String,
    name: String,
    protocols: String,
    made: Time,
    expires: Option<Time>,
}

#[derive(Template)]
#[template(path = "me_app_passwords.html")]
struct ListPage {
    frame: Frame,
    lines: Vec<Line>,
    problem: Option<String>,
    typed: Typed,
}

/// What stands in the form.
struct Typed {
    name: String,
    days: String,
    /// The boxes that are ticked.
    chosen: Protocols,
}

impl Typed {
    fn of(form: &Form) -> Self {
        let ticked = |word| form.all("protocol").any(|sent| sent == word);
        Self {
            name: form.text("name").to_owned(),
            days: form.text("days").to_owned(),
            chosen: Protocols { imap: ticked("imap"), pop: ticked("pop"), smtp: ticked("smtp") },
        }
    }
}

/// `GET /me/app-passwords`
pub async fn list(State(app): State<App>, visitor: Visitor, asked: Asked) -> Response {
    let untouched = Typed { name: String::new(), days: String::new(), chosen: Protocols::ALL };
    page(&app, &visitor, asked.notice(), Trouble::NONE, untouched)
}

fn page(app: &App, visitor: &Visitor, told: Option<String>, trouble: Trouble, typed: Typed) -> Response {
    let now = app.clock.now();
    let lines = visitor.account.app_passwords.iter().map(|one| Line {
        id: one.id.to_string(),
        name: one.name.clone(),
        protocols: one.protocols.words().join(", "),
        made: Time::new(one.created_at, now),
        expires: one.expires_at.map(|at| Time::new(at, now)),
    });
    let lines = lines.collect();
    let frame = Frame::inside(ENGLISH.app_passwords, visitor, Tab::Me).with_notice(told);
    answer(trouble.status, &ListPage { frame, lines, problem: trouble.problem, typed })
}

#[derive(Template)]
#[template(path = "me_app_password_made.html")]
struct MadePage {
    frame: Frame,
    name: String,
    address: String,
    password: String,
}

/// `POST /me/app-passwords`
pub async fn make(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, "/me/app-passwords") {
        return Ok(first);
    }
    let made = async {
        let wish = wish(&form)?;
        let own = visitor.account.id.get();
        app_passwords::make(&app, &visitor.context(&app, None), Route::Own, own, wish).await
    };
    match made.await {
        Ok(made) => Ok(ok(&MadePage {
            frame: Frame::inside(ENGLISH.app_password_made, &visitor, Tab::Me),
            name: made.stored()?.name.clone(),
            address: visitor.account.primary.to_string(),
            password: made.password.expose().to_owned(),
        })),
        Err(error) => Ok(page(&app, &visitor, None, refusals::beside_own(error)?, Typed::of(&form))),
    }
}

fn wish(form: &Form) -> Result<CreateAppPassword> {
    let name = called("name", form.text("name"))?;
    let opens = protocols(form.all("protocol"))?;
    let days = match form.trimmed("days") {
        None => None,
        Some(text) => {
            let days = text.parse().ok().filter(|days| (1..=LONGEST_DAYS).contains(days));
            let why = || format!("between 1 and {LONGEST_DAYS} days, or nothing");
            Some(days.ok_or_else(|| Error::bad_value("days", why()))?)
        }
    };
    Ok(CreateAppPassword::new(name, opens, days))
}

/// `POST /me/app-passwords/revoke`
pub async fn revoke(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let missing = || Error::NotFound("there is no such app password".to_owned());
    let id = form.text("id").parse().map_err(|()| missing())?;
    let mode = AccountMode::RevokeAppPassword(RevokeAppPassword { id });
    match on_myself(&app, &visitor, mode, None).await {
        // That it is gone already is what was wanted.
        Ok(_) | Err(Error::NotFound(_)) => Ok(visitor.guest.go(&Said::Revoked.at("/me/app-passwords"))),
        Err(other) => Err(other),
    }
}
