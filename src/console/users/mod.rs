//! Users: finding them, looking at one, and doing to them what an administrator does.

pub mod act;
pub mod action;
pub mod add;
pub mod bulk;
mod handed;
mod panel;
mod secured;
pub mod show;
mod words;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::app::people::{self, Among, Listed, Wanted};
use crate::clock::Millis;
use crate::console::asked::{Asked, with_query};
use crate::console::page::{Frame, Tab, ok};
use crate::console::texts::ENGLISH;
use crate::console::times::Time;
use crate::console::visit::Visitor;
use crate::domain::ids::UserId;
use crate::error::Result;

/// The filters, as the address names them.
const FILTERS: [(&str, Among); 5] = [
    ("", Among::Everybody),
    ("disabled", Among::Disabled),
    ("blocked", Among::Blocked),
    ("one-time", Among::OneTimePassword),
    ("never", Among::NeverSignedIn),
];

fn name_of(among: Among) -> &'static str {
    match among {
        Among::Everybody => ENGLISH.filter_everybody,
        Among::Disabled => ENGLISH.filter_disabled,
        Among::Blocked => ENGLISH.filter_blocked,
        Among::OneTimePassword => ENGLISH.filter_one_time,
        Among::NeverSignedIn => ENGLISH.filter_never,
    }
}

pub struct Filter {
    pub value: &'static str,
    pub name: &'static str,
    pub chosen: bool,
}

/// A row of the list.
pub struct Row {
    pub user: UserId,
    pub name: String,
    pub address: String,
    /// The alias that the term was found in.
    pub also: Option<String>,
    pub role: &'static str,
    pub signs: Vec<words::Sign>,
    pub seen: Option<Time>,
}

impl Row {
    fn of(one: &Listed, term: &str, now: Millis) -> Self {
        let account = &one.account;
        let term = term.trim().to_lowercase();
        let elsewhere = !account.primary.as_str().contains(&term);
        let also = account.aliases.iter().find(|alias| elsewhere && alias.as_str().contains(&term));
        Self {
            user: account.user,
            name: account.called().to_owned(),
            address: account.primary.to_string(),
            also: also.map(ToString::to_string),
            role: words::role(account.role),
            signs: words::signs(one, now),
            seen: one.sign_ins.last.as_ref().map(|last| Time::new(last.at, now)),
        }
    }
}

#[derive(Template)]
#[template(path = "users.html")]
struct ListPage {
    frame: Frame,
    term: String,
    filters: Vec<Filter>,
    rows: Vec<Row>,
    too_short: bool,
    in_all: Option<i64>,
    may_create: bool,
    /// The address of the next page.
    next: Option<String>,
    /// What can be done to those that are chosen.
    choices: Vec<action::Action>,
    /// The address of the first page, where this is a later one.
    first: Option<String>,
    filtered: bool,
}

/// `GET /users`
pub async fn list(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let state = asked.text("state");
    let (state, among) =
        FILTERS.into_iter().find(|(name, _)| *name == state).unwrap_or(("", Among::Everybody));
    let after = asked.number("after").filter(|after| *after > 0).unwrap_or(0);
    let wanted = Wanted { term: asked.text("q").to_owned(), among, after };
    let caller = visitor.caller(&app);
    let found = people::find(&app, &caller, visitor.organization(), &wanted).await?;
    let now = app.clock.now();
    let address = |next: i64| {
        with_query("/users", &[("q", &wanted.term), ("state", state), ("after", &next.to_string())])
    };
    let page = ListPage {
        frame: Frame::inside(ENGLISH.users, &visitor, Tab::Users).with_notice(asked.notice()),
        filters: FILTERS
            .map(|(value, one)| Filter { value, name: name_of(one), chosen: one == among })
            .into_iter()
            .collect(),
        rows: found.people.iter().map(|one| Row::of(one, &wanted.term, now)).collect(),
        too_short: found.too_short,
        in_all: found.in_all,
        may_create: found.may_create,
        next: found.next.map(address),
        choices: bulk::choices(),
        first: (after > 0).then(|| with_query("/users", &[("q", &wanted.term), ("state", state)])),
        filtered: among != Among::Everybody || !wanted.term.trim().is_empty(),
        term: wanted.term,
    };
    Ok(ok(&page))
}
