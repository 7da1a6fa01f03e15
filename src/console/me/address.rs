//! The own address, as far as the organization lets people change it, and the display name.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::on_myself;
use crate::app::accounts::AccountMode;
use crate::app::accounts::display_name_update::DisplayNameUpdate;
use crate::app::accounts::email_update::EmailUpdate;
use crate::app::change::Done;
use crate::app::{App, own};
use crate::console::page::{Frame, Tab, answer};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::{ENGLISH, fill};
use crate::console::visit::{Posted, Visitor};
use crate::domain::actor::Role;
use crate::domain::email_address::EmailAddress;
use crate::domain::plain_text::name;
use crate::domain::policy::{MOST_SELF_RENAMES, SelfRename};
use crate::error::Result;

#[derive(Template)]
#[template(path = "me_address.html")]
struct Page {
    frame: Frame,
    problem: Option<String>,
    primary: String,
    aliases: Vec<String>,
    rule: String,
    may_type: bool,
    may_choose: bool,
    typed: String,
    display_name: String,
}

/// `GET /me/address`
pub async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let display_name = visitor.account.profile.display_name.clone();
    page(&app, &visitor, Trouble::NONE, String::new(), display_name).await
}

async fn page(
    app: &App,
    visitor: &Visitor,
    trouble: Trouble,
    typed: String,
    display_name: String,
) -> Result<Response> {
    let t = &ENGLISH;
    let policy = own::policy(app, visitor.organization()).await?.self_rename;
    // An administrator's own address is not bound by what people may do themselves.
    let policy = if visitor.account.role >= Role::Admin { SelfRename::Any } else { policy };
    let (rule, may_type, may_choose) = match policy {
        SelfRename::Any => (fill(t.rename_any, &[&MOST_SELF_RENAMES]), true, true),
        SelfRename::OwnAlias => (t.rename_alias.to_owned(), false, true),
        SelfRename::Off => (t.rename_off.to_owned(), false, false),
    };
    let filled = Page {
        frame: Frame::inside(t.addresses_and_name, visitor, Tab::Me),
        problem: trouble.problem,
        primary: visitor.account.primary.to_string(),
        aliases: visitor.account.aliases.iter().map(ToString::to_string).collect(),
        rule,
        may_type,
        may_choose,
        typed,
        display_name,
    };
    Ok(answer(trouble.status, &filled))
}

/// `POST /me/address`
pub async fn change(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let typed = form.text("address").trim().to_owned();
    let done = match EmailAddress::parse(&typed) {
        Ok(email_address) => {
            on_myself(&app, &visitor, AccountMode::EmailUpdate(EmailUpdate { email_address }), None).await
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(Done { change: None, .. }) => Ok(visitor.guest.go(&Said::Nothing.at("/me"))),
        Ok(_) => Ok(visitor.guest.go(&Said::Address.at("/me"))),
        Err(error) => {
            let display_name = visitor.account.profile.display_name.clone();
            page(&app, &visitor, refusals::beside_own(error)?, typed, display_name).await
        }
    }
}

/// `POST /me/name`
pub async fn change_name(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let typed = form.text("display_name").to_owned();
    let done = match name("displayName", &typed) {
        Ok(display_name) => {
            let mode = AccountMode::DisplayNameUpdate(DisplayNameUpdate { display_name });
            on_myself(&app, &visitor, mode, None).await
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(Done { change: None, .. }) => Ok(visitor.guest.go(&Said::Nothing.at("/me"))),
        Ok(_) => Ok(visitor.guest.go(&Said::Name.at("/me"))),
        Err(error) => page(&app, &visitor, refusals::beside_own(error)?, String::new(), typed).await,
    }
}
