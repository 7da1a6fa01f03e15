//! Changing the own password.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::password::{self, Factor, OwnChange};
use crate::app::{App, web_sessions};
use crate::console::page::{Frame, Tab, answer};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::ENGLISH;
use crate::console::visit::{Posted, Visitor, with_session, without_session};
use crate::error::Result;

#[derive(Template)]
#[template(path = "me_password.html")]
struct Page {
    frame: Frame,
    address: String,
    least: usize,
    problem: Option<String>,
    end_elsewhere: bool,
}

/// `GET /me/password`
pub async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    page(&app, &visitor, Trouble::NONE, true).await
}

async fn page(app: &App, visitor: &Visitor, trouble: Trouble, end_elsewhere: bool) -> Result<Response> {
    let (account, least) = web_sessions::choice(app, &visitor.held).await?;
    let filled = Page {
        frame: Frame::inside(ENGLISH.change_password, visitor, Tab::Me),
        address: account.primary.to_string(),
        least,
        problem: trouble.problem,
        end_elsewhere,
    };
    Ok(answer(trouble.status, &filled))
}

/// `POST /me/password`. This browser stays signed in, with a new session: its own change must not
/// throw it out, and a session that was copied from it must not live on.
pub async fn change(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let end_elsewhere = form.ticked("end_elsewhere");
    let browser = &visitor.guest.browser;
    let changed = async {
        let wish = OwnChange {
            address: visitor.account.primary.to_string(),
            new_password: form.new_password()?,
            password: Some(form.password("password")?),
            end_everything: end_elsewhere,
            factor: Factor::InSession,
        };
        password::change(&app, &visitor.guest.unsigned(), wish).await
    };
    match changed.await {
        Ok(account) => {
            // The password is changed, whatever happens now.
            let started = web_sessions::after_own_change(&app, &visitor.held, &account, browser).await;
            Ok(match started {
                Ok(started) => {
                    with_session(&app, visitor.guest.go(&Said::Password.at("/me")), &started.cookie)
                }
                Err(_) => without_session(&app, visitor.guest.go(&Said::Recovered.at("/"))),
            })
        }
        Err(error) => page(&app, &visitor, refusals::beside_password(error)?, end_elsewhere).await,
    }
}
