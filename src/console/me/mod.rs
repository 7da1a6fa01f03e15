//! My account: how it stands in words, and the way to everything that people change themselves.
//! Each form has a page of its own (`password`, `address`, `app_passwords`, `sessions`), and what was wrong with it stands beside it.

pub mod address;
pub mod app_passwords;
pub mod password;
pub mod sessions;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use crate::app::accounts::AccountMode;
use crate::app::accounts::disable_mail_account::DisableMailAccount;
use crate::app::accounts::enable_user::EnableUser;
use crate::app::change::{self, Ask, Done};
use crate::app::{App, factors, oauth, own, recovery, web_sessions};
use crate::clock::Millis;
use crate::console::asked::Asked;
use crate::console::entries;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::{ENGLISH, count, fill};
use crate::console::times::Time;
use crate::console::visit::{Posted, Visitor};
use crate::domain::account::{Account, SwitchName};
use crate::domain::actor::{Rank, Role, Who};
use crate::domain::rights::Route;
use crate::domain::switch::{Block, Reason};
use crate::error::Result;

/// A sentence of the state, with its sign.
struct Line {
    /// `good`, `wait` or `bad`.
    sign: &'static str,
    text: String,
    reason: Option<String>,
}

/// One entry of the history.
struct Event {
    what: String,
    who: String,
    when: Time,
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage {
    frame: Frame,
    state: Vec<Line>,
    problem: Option<String>,
    password_set: Time,
    factors: Option<String>,
    recovery: Option<String>,
    by_desk: bool,
    mail: MailCard,
    primary: String,
    aliases: Vec<String>,
    display_name: String,
    app_passwords: String,
    sessions: String,
    applications: String,
    history: Vec<Event>,
}

/// What can be done about the mailbox.
struct MailCard {
    /// The mail account works, and may be disabled.
    on: bool,
    /// Something that the person set may be lifted.
    may_enable: bool,
    incoming_blocked: bool,
    /// Who set what only somebody else lifts.
    foreign: Option<String>,
}

/// `GET /me`
pub async fn show(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    overview(&app, &visitor, asked.notice(), Trouble::NONE).await
}

async fn overview(
    app: &App,
    visitor: &Visitor,
    notice: Option<String>,
    trouble: Trouble,
) -> Result<Response> {
    let t = &ENGLISH;
    let (account, now) = (&visitor.account, app.clock.now());
    let enrolled = factors::enrolled(app, account).await?;
    let recovery = recovery::address_of(app, account).await?;
    let sessions = web_sessions::list(app, &visitor.held).await?;
    let applications = oauth::connected(app, &visitor.caller(app), None).await?;
    let history = own::history(app, account.organization, account.user, 30).await?;
    let history = history.iter().filter_map(|row| event(account, row.at, &row.entry, now)).collect();
    let mut kinds = Vec::new();
    if enrolled.app {
        kinds.push(t.authenticator_app);
    }
    if !enrolled.passkeys.is_empty() {
        kinds.push(t.passkeys);
    }
    let number = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
    let page = MePage {
        frame: Frame::inside(t.my_account, visitor, Tab::Me).with_notice(notice),
        state: state(account, now),
        problem: trouble.problem,
        password_set: Time::new(account.credential.at, now),
        factors: (!kinds.is_empty()).then(|| kinds.join(", ")),
        recovery: recovery.map(|known| known.address),
        by_desk: account.role > Role::Member,
        mail: mail_card(account),
        primary: account.primary.to_string(),
        aliases: account.aliases.iter().map(ToString::to_string).collect(),
        display_name: account.profile.display_name.clone(),
        app_passwords: count(number(account.app_passwords.len()), t.one_app_password, t.many_app_passwords),
        sessions: count(number(sessions.len()), t.one_session, t.many_sessions),
        applications: count(number(applications.len()), t.one_application, t.many_applications),
        history,
    };
    Ok(answer(trouble.status, &page))
}

/// Who set a block, as its owner reads it.
fn setter(account: &Account, block: &Block) -> &'static str {
    let t = &ENGLISH;
    match &block.by {
        Who::User(user) if *user == account.user => t.by_you,
        Who::User(_) if block.rank == Rank::Member => t.by_administrator,
        Who::User(_) => block.rank.in_words(),
        Who::Operator(_) => t.by_operator,
        Who::Clock => t.by_clock,
    }
}

/// How the account stands, in sentences.
fn state(account: &Account, now: Millis) -> Vec<Line> {
    let t = &ENGLISH;
    let mut lines = vec![Line { sign: "good", text: t.signs_in_normally.to_owned(), reason: None }];
    for name in SwitchName::ALL {
        let text = match name {
            // Nobody who is disabled reads this.
            SwitchName::UserDisabled => continue,
            SwitchName::MailDisabled => t.mail_is_disabled,
            SwitchName::IncomingBlocked => t.incoming_is_blocked,
            SwitchName::OutgoingBlocked => t.outgoing_is_blocked,
            SwitchName::ImapOff => t.imap_is_off,
            SwitchName::PopOff => t.pop_is_off,
        };
        let Some(block) = account.switches.get(name) else { continue };
        let when = Time::new(block.at, now).relative();
        lines.push(Line {
            sign: "bad",
            text: fill(text, &[&setter(account, block), &when]),
            reason: block.reason.as_ref().map(|reason| reason.as_str().to_owned()),
        });
    }
    if account.switches.incoming_blocked.is_none() {
        lines.insert(1, Line { sign: "good", text: t.mail_arrives.to_owned(), reason: None });
    }
    lines
}

fn mail_card(account: &Account) -> MailCard {
    let switches = &account.switches;
    let own = |block: &&Block| block.by == Who::User(account.user);
    let liftable = [&switches.mail_disabled, &switches.incoming_blocked];
    let foreign = switches.mail_disabled.as_ref().filter(|block| !own(block));
    MailCard {
        on: switches.mail_disabled.is_none(),
        may_enable: foreign.is_none()
            && liftable.iter().any(|switch| switch.as_ref().is_some_and(|b| own(&b))),
        incoming_blocked: switches.incoming_blocked.as_ref().is_some_and(|block| own(&block)),
        foreign: foreign.map(|block| {
            let mut who = setter(account, block).to_owned();
            if let Some(first) = who.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            fill(ENGLISH.block_not_yours, &[&who])
        }),
    }
}

/// An audit entry as its person reads it; refusals are left out.
fn event(account: &Account, at: Millis, entry: &str, now: Millis) -> Option<Event> {
    let t = &ENGLISH;
    let entry: Value = serde_json::from_str(entry).ok()?;
    if entry["outcome"] != "changed" {
        return None;
    }
    let actor = &entry["actor"];
    let who = match actor["kind"].as_str() {
        Some("user") if actor["zuid"] == account.user.to_string() => t.by_you,
        Some("user") => t.by_administrator,
        Some("operator") => t.by_operator,
        _ => t.by_clock,
    };
    let verb = entry["verb"].as_str()?;
    Some(Event {
        what: entries::verb(verb).to_owned(),
        who: who.to_owned(),
        when: Time::new(at, now),
        reason: entry["reason"].as_str().map(str::to_owned),
    })
}

/// Carries out a mode on the own account.
pub async fn on_myself(
    app: &App,
    visitor: &Visitor,
    mode: AccountMode,
    reason: Option<Reason>,
) -> Result<Done> {
    let path = Some(visitor.account.id.get());
    let ask = Ask { route: Route::Own, path, zuid: None, mode };
    change::run(app, &visitor.context(app, reason), ask).await
}

/// `POST /me/mail/disable`
pub async fn disable_mail(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    switch_mail(&app, &visitor, &form, AccountMode::DisableMailAccount(DisableMailAccount), Said::MailOff)
        .await
}

/// `POST /me/mail/enable`
pub async fn enable_mail(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let mode = EnableUser { unblock_incoming: form.ticked("unblock_incoming") };
    switch_mail(&app, &visitor, &form, AccountMode::EnableUser(mode), Said::MailOn).await
}

async fn switch_mail(
    app: &App,
    visitor: &Visitor,
    form: &Form,
    mode: AccountMode,
    said: Said,
) -> Result<Response> {
    let done = match Reason::parse(form.text("reason")) {
        Ok(reason) => on_myself(app, visitor, mode, reason).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(Done { change: None, .. }) => Ok(visitor.guest.go(&Said::Nothing.at("/me"))),
        Ok(_) => Ok(visitor.guest.go(&said.at("/me"))),
        Err(error) => overview(app, visitor, None, refusals::beside_own(error)?).await,
    }
}
