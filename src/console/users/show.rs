//! The page of one user: how things stand in a line, four cards, the history below.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::app::password;
use crate::app::people::{self, Overview};
use crate::clock::Millis;
use crate::console::asked::Asked;
use crate::console::changes::Progress;
use crate::console::entries::Line;
use crate::console::page::{Frame, Tab, ok};
use crate::console::texts::ENGLISH;
use crate::console::times::Time;
use crate::console::users::action::{self, Action};
use crate::console::users::panel::{Panel, Typed};
use crate::console::users::words;
use crate::console::visit::Visitor;
use crate::domain::account::Account;
use crate::domain::ids::UserId;
use crate::error::{Error, Result};

/// A line of a card.
pub struct Fact {
    pub name: &'static str,
    pub text: String,
    /// A class of the style: good, wait, bad; empty for what is no state.
    pub kind: &'static str,
    pub time: Option<Time>,
}

impl Fact {
    fn text(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), kind: "", time: None }
    }

    fn time(name: &'static str, at: Millis, now: Millis) -> Self {
        Self { name, text: String::new(), kind: "", time: Some(Time::new(at, now)) }
    }

    fn switch(name: &'static str, off: bool, words: (&'static str, &'static str)) -> Self {
        let (text, kind) = if off { (words.1, "bad") } else { (words.0, "good") };
        Self { kind, ..Self::text(name, text) }
    }
}

/// A part of the page.
pub struct Card {
    pub title: &'static str,
    pub facts: Vec<Fact>,
    pub panels: Vec<Panel>,
}

#[derive(Template)]
#[template(path = "user.html")]
pub struct UserPage {
    frame: Frame,
    /// What became of the change that was just made.
    progress: Option<Progress>,
    name: String,
    address: String,
    state: Vec<String>,
    cards: Vec<Card>,
    /// Deleting, below everything else.
    leaving: Vec<Panel>,
    /// Why nothing can be done here.
    hands_off: Option<String>,
    ids: Vec<Fact>,
    history: Vec<Line>,
}

/// The user that a path names.
///
/// # Errors
/// `NotFound`.
pub fn user_of(text: &str) -> Result<UserId> {
    text.parse().map_err(|()| Error::NotFound(ENGLISH.no_such_user.to_owned()))
}

/// `GET /users/{zuid}`
pub async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path(user): Path<String>,
    asked: Asked,
) -> Result<Response> {
    let seen = Seen::of(&app, &visitor, user_of(&user)?).await?;
    let mut page = seen.page(&app, &visitor, None);
    page.progress = Progress::asked_for(&app, &visitor, asked.text("change")).await?;
    page.frame = page.frame.with_notice(asked.notice());
    Ok(ok(&page))
}

/// A user with what the visitor may do there.
pub struct Seen {
    pub over: Overview,
}

impl Seen {
    /// # Errors
    /// Rights; `NotFound`.
    pub async fn of(app: &App, visitor: &Visitor, user: UserId) -> Result<Self> {
        let (caller, zoid) = (visitor.caller(app), visitor.organization());
        let stand_in = password::one_time(app, zoid).await?;
        let modes = |account: &Account| {
            Action::ALL.into_iter().map(|action| action.example(account, &stand_in)).collect()
        };
        Ok(Self { over: people::overview(app, &caller, zoid, user, modes).await? })
    }

    /// The page, with one panel opened.
    pub fn page(
        &self,
        app: &App,
        visitor: &Visitor,
        mut opened: Option<(Action, Typed, Option<Vec<String>>)>,
    ) -> UserPage {
        let must_prove = visitor.proof_is_old(app);
        let mut panels = Vec::new();
        for (action, refused) in Action::ALL.into_iter().zip(&self.over.refused) {
            let account = &self.over.listed.account;
            let own = account.user == visitor.account.user;
            if refused.is_some() || !action.fits(&self.over.listed) || (own && action.is_for_others()) {
                continue;
            }
            let mut panel = Panel::new(action, &self.over, must_prove);
            if opened.as_ref().is_some_and(|(open, ..)| *open == action)
                && let Some((_, typed, forecast)) = opened.take()
            {
                panel = panel.open(typed, forecast);
            }
            panels.push((action.place(), panel));
        }
        let mut page = page(app, visitor, &self.over, panels);
        if let Some((_, typed, _)) = opened {
            // The panel is not there any more: what came of it is told above.
            page.hands_off = typed.problem.or(page.hands_off);
        }
        page
    }
}

fn page(app: &App, visitor: &Visitor, seen: &Overview, panels: Vec<(action::Section, Panel)>) -> UserPage {
    let (account, now) = (&seen.listed.account, app.clock.now());
    let (name, address) = (account.called().to_owned(), account.primary.to_string());
    let hands_off = panels.is_empty().then(|| seen.refused.iter().flatten().next().cloned()).flatten();
    let mut panels = panels;
    let mut those = |place| {
        let (here, others) = std::mem::take(&mut panels).into_iter().partition(|(at, _)| *at == place);
        panels = others;
        let here: Vec<(action::Section, Panel)> = here;
        here.into_iter().map(|(_, panel)| panel).collect::<Vec<_>>()
    };
    let t = &ENGLISH;
    UserPage {
        frame: Frame::inside(&name, visitor, Tab::Users),
        progress: None,
        state: words::state(account, &seen.names, now),
        cards: vec![
            Card { title: t.card_sign_in, facts: sign_in(seen, now), panels: those(action::Section::SignIn) },
            Card { title: t.card_mailbox, facts: mailbox(account), panels: those(action::Section::Mailbox) },
            Card {
                title: t.card_addresses,
                facts: addresses(account),
                panels: those(action::Section::Addresses),
            },
            Card { title: t.card_sessions, facts: sessions(seen), panels: Vec::new() },
        ],
        leaving: those(action::Section::Leaving),
        hands_off: hands_off.map(|why| crate::console::refusals::sentence(&why)),
        ids: vec![
            Fact::text(t.zuid, account.user.to_string()),
            Fact::text(t.account_id, account.id.to_string()),
            Fact::text(t.mailbox_name, &account.mailbox),
        ],
        history: seen.history.iter().map(|row| Line::of(row, &seen.names, now)).collect(),
        name,
        address,
    }
}

fn sign_in(seen: &Overview, now: Millis) -> Vec<Fact> {
    let (t, account) = (&ENGLISH, &seen.listed.account);
    let mut facts = vec![
        match &seen.listed.sign_ins.last {
            Some(last) => Fact::time(t.last_sign_in, last.at, now),
            None => Fact::text(t.last_sign_in, t.never),
        },
        Fact::time(t.password_set, account.credential.at, now),
        Fact::text(
            t.factor_of_user,
            if seen.listed.sign_ins.second_factor { t.factor_in_use } else { t.none },
        ),
        Fact::text(t.role, words::role_with_limits(account)),
        Fact::time(t.created, account.created_at, now),
    ];
    if let Some(at) = account.expires_at {
        facts.push(Fact::time(t.expires, at, now));
    }
    facts
}

fn mailbox(account: &Account) -> Vec<Fact> {
    let (t, switches) = (&ENGLISH, &account.switches);
    vec![
        Fact::switch(t.mail_programs, switches.mail_disabled.is_some(), (t.allowed, t.refused)),
        Fact::switch(t.incoming_mail, switches.incoming_blocked.is_some(), (t.accepted, t.blocked)),
        Fact::switch(t.outgoing_mail, switches.outgoing_blocked.is_some(), (t.allowed, t.blocked)),
        Fact::switch(t.imap, switches.imap_off.is_some(), (t.on, t.off)),
        Fact::switch(t.pop, switches.pop_off.is_some(), (t.on, t.off)),
    ]
}

fn addresses(account: &Account) -> Vec<Fact> {
    let t = &ENGLISH;
    let aliases: Vec<_> = account.aliases.iter().map(ToString::to_string).collect();
    vec![
        Fact::text(t.display_name, or_none(&account.profile.display_name)),
        Fact::text(t.main_address, account.primary.to_string()),
        Fact::text(t.other_addresses, or_none(&aliases.join(", "))),
    ]
}

fn sessions(seen: &Overview) -> Vec<Fact> {
    let t = &ENGLISH;
    let names: Vec<_> = seen.listed.account.app_passwords.iter().map(|app| app.name.as_str()).collect();
    vec![
        Fact::text(t.browsers, seen.sessions.len().to_string()),
        Fact::text(t.app_passwords, or_none(&names.join(", "))),
    ]
}

fn or_none(text: &str) -> &str {
    if text.trim().is_empty() { ENGLISH.none } else { text }
}
