//! A one-time password in an administrator's hand: to the form itself, and never again.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::console::changes::Progress;
use crate::console::page::{Frame, Tab, answer};
use crate::console::times::Time;
use crate::console::visit::Visitor;
use crate::domain::account::Account;
use crate::domain::ids::UserId;
use crate::domain::secret::Secret;
use crate::error::Result;

/// The password, whom it is for, and what became of the change that set it.
pub struct Handed {
    pub user: UserId,
    pub name: String,
    pub address: String,
    pub password: String,
    pub until: Option<Time>,
    pub progress: Option<Progress>,
}

impl Handed {
    /// # Errors
    /// The database's.
    pub async fn of(
        app: &App,
        visitor: &Visitor,
        account: &Account,
        change: &str,
        password: &Secret,
    ) -> Result<Self> {
        Ok(Self {
            user: account.user,
            name: account.called().to_owned(),
            address: account.primary.to_string(),
            password: password.expose().to_owned(),
            until: account.credential.until.map(|until| Time::new(until, app.clock.now())),
            // The password is here alone, whatever happens now.
            progress: Progress::asked_for(app, visitor, change).await.ok().flatten(),
        })
    }
}

#[derive(Template)]
#[template(path = "password_once.html")]
struct Page {
    frame: Frame,
    handed: Handed,
}

/// The password on a page of its own.
///
/// # Errors
/// The database's.
pub async fn password_page(
    app: &App,
    visitor: &Visitor,
    account: &Account,
    change: &str,
    password: &Secret,
    title: &'static str,
) -> Result<Response> {
    let handed = Handed::of(app, visitor, account, change, password).await?;
    let page = Page { frame: Frame::inside(title, visitor, Tab::Users), handed };
    Ok(answer(StatusCode::OK, &page))
}
