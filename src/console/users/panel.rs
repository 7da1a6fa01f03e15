//! A panel of the user page: what an action means, what it would do in numbers, what it asks, and its
//! one button.

use askama::Template;

use crate::app::forecast::{Forecast, OnAccount};
use crate::app::people::Overview;
use crate::clock::Millis;
use crate::clock::date;
use crate::console::asked::with_query;
use crate::console::form::Form;
use crate::console::texts::{ENGLISH, Texts, count, fill};
use crate::console::users::action::{Action, Field};
use crate::console::users::words;
use crate::console::visit::prove_at;
use crate::domain::actor::Role;
use crate::domain::email_address::DomainName;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::UserId;

/// A choice of a list.
pub struct Choice {
    pub value: String,
    pub name: String,
    pub chosen: bool,
}

/// What was typed, and what came of it.
#[derive(Default)]
pub struct Typed {
    pub value: String,
    pub reason: String,
    pub problem: Option<String>,
    verbs: Vec<String>,
    domains: String,
    also: bool,
    release: String,
    /// What was typed when it was shown what would happen, if that is so.
    pub shown: Option<String>,
    /// The address is kept for somebody else, and the visitor may release it.
    pub may_release: bool,
}

impl Typed {
    pub fn of(form: &Form, problem: Option<String>) -> Self {
        Self {
            value: form.text("value").to_owned(),
            reason: form.text("reason").to_owned(),
            problem,
            verbs: form.all("verbs").map(str::to_owned).collect(),
            domains: form.text("domains").to_owned(),
            also: ALSO.iter().any(|name| form.ticked(name)),
            release: form.text(RELEASE).to_owned(),
            shown: None,
            may_release: false,
        }
    }
}

/// The boxes of which a panel has one: what goes along with the action.
pub const ALSO: [&str; 2] = ["keep_app_passwords", "incoming"];
/// The field with the reason to give out an address that is kept for somebody else.
pub const RELEASE: &str = "release";

/// The field with what was typed when it was shown what would happen.
pub const SHOWN: &str = "shown";

/// What of a form decides what a value does; sent again as it was shown, it is done.
pub fn decisive(form: &Form) -> String {
    let mut all = url::form_urlencoded::Serializer::new(String::new());
    for name in ["value", "domains"] {
        all.append_pair(name, form.text(name).trim());
    }
    all.extend_pairs(form.all("verbs").map(|verb| ("verbs", verb))).finish()
}

/// Where a panel is found again with what was typed there; nothing of it is secret.
pub fn way_back(user: UserId, action: Action, form: &Form) -> String {
    let mut query: Vec<(&str, &str)> = ["value", "reason", "domains", RELEASE]
        .into_iter()
        .chain(ALSO)
        .map(|name| (name, form.text(name)))
        .collect();
    query.extend(form.all("verbs").map(|verb| ("verbs", verb)));
    with_query(&format!("/users/{user}/{}", action.slug()), &query)
}

/// A verb of the help desk, with its box.
pub struct Tick {
    pub value: &'static str,
    pub name: &'static str,
    pub ticked: bool,
}

pub struct Panel {
    pub user: UserId,
    pub slug: &'static str,
    pub button: &'static str,
    pub meaning: &'static str,
    pub dangerous: bool,
    pub open: bool,
    pub problem: Option<String>,
    pub value: String,
    pub reason: String,
    pub field: Field,
    pub choices: Vec<Choice>,
    /// What the help desk may do, where a role is asked for: as it is now, until something else is typed.
    pub verbs: Vec<Tick>,
    pub domains: String,
    /// Whether the box of what goes along is ticked.
    pub also: bool,
    /// Why a kept address is given out, where the visitor may do that.
    pub release: Option<String>,
    /// What it would do; `None` where that is asked for when the panel opens.
    pub forecast: Option<Vec<String>>,
    /// What it would do is shown before it is done.
    pub shows_first: bool,
    /// What was typed when that was shown.
    pub shown: Option<String>,
    /// Where to give a fresh proof first.
    pub prove: Option<String>,
}

impl Panel {
    pub fn new(action: Action, seen: &Overview, must_prove: bool) -> Self {
        let account = &seen.listed.account;
        let choices = match action.field() {
            Field::Alias => {
                account.aliases.iter().map(|alias| choice(alias.as_str(), alias.as_str())).collect()
            }
            Field::Role => Role::ALL
                .into_iter()
                .map(|role| Choice { chosen: role == account.role, ..choice(role.as_str(), in_words(role)) })
                .collect(),
            Field::Nothing | Field::Address | Field::Name | Field::Days | Field::Reset | Field::Incoming => {
                Vec::new()
            }
        };
        let desk = account.help_desk.as_ref();
        let domains = desk.and_then(HelpDesk::domains).into_iter().flatten();
        let path = format!("/users/{}/{}", account.user, action.slug());
        Self {
            user: account.user,
            slug: action.slug(),
            button: action.button(),
            meaning: action.meaning(),
            dangerous: action.is_dangerous(),
            open: false,
            problem: None,
            value: if action == Action::ChangeName {
                account.profile.display_name.clone()
            } else {
                String::new()
            },
            reason: String::new(),
            field: action.field(),
            choices,
            verbs: words::given()
                .into_iter()
                .map(|(verb, name, _)| Tick {
                    value: verb.as_str(),
                    name,
                    ticked: desk.is_some_and(|desk| desk.has(verb)),
                })
                .collect(),
            domains: domains.map(DomainName::as_str).collect::<Vec<_>>().join(", "),
            also: false,
            release: None,
            forecast: None,
            shows_first: action.shows_first(),
            shown: None,
            prove: (must_prove && action.is_dangerous()).then(|| prove_at(&path)),
        }
    }

    /// Opens it with what was typed before.
    pub fn open(mut self, typed: Typed, forecast: Option<Vec<String>>) -> Self {
        self.open = true;
        if !typed.value.is_empty() {
            self.value = typed.value;
            for tick in &mut self.verbs {
                tick.ticked = typed.verbs.iter().any(|verb| verb == tick.value);
            }
            self.domains = typed.domains;
        }
        self.also = typed.also;
        self.release = (typed.may_release || !typed.release.is_empty()).then_some(typed.release);
        for choice in &mut self.choices {
            choice.chosen = choice.value == self.value || (self.value.is_empty() && choice.chosen);
        }
        (self.reason, self.problem, self.forecast) = (typed.reason, typed.problem, forecast);
        self.shown = typed.shown;
        self
    }

    /// Whether the numbers can be said before anything is typed.
    pub fn foretells(&self) -> bool {
        self.field.is_plain() && self.dangerous
    }

    pub fn is(&self, field: Field) -> bool {
        self.field == field
    }
}

fn choice(value: &str, name: &str) -> Choice {
    Choice { value: value.to_owned(), name: name.to_owned(), chosen: false }
}

fn in_words(role: Role) -> &'static str {
    match role {
        Role::Member => ENGLISH.role_member,
        other => words::role(other),
    }
}

/// What an action would do, in numbers.
pub fn in_numbers(forecast: &Forecast, now: Millis) -> Vec<String> {
    let t = &ENGLISH;
    if !forecast.changes {
        return vec![t.will_change_nothing.to_owned()];
    }
    let mut lines = Vec::new();
    for server in &forecast.servers {
        lines.push(match server.sessions {
            Some(number) => {
                let sessions = count(whole(number), t.will_end_session, t.will_end_sessions);
                fill(t.will_on_server, &[&sessions, &server.name])
            }
            None => fill(t.will_unknown_on_server, &[&server.name]),
        });
    }
    let ends = forecast.ends;
    for (number, one, many) in [
        (ends.web_sessions, t.will_end_browser, t.will_end_browsers),
        (ends.app_passwords, t.will_stop_app_password, t.will_stop_app_passwords),
        (ends.access_tokens + ends.refresh_tokens + ends.grant_codes, t.will_stop_token, t.will_stop_tokens),
        (ends.clients, t.will_delete_client, t.will_delete_clients),
    ] {
        if number != 0 {
            lines.push(count(number, one, many));
        }
    }
    for account in &forecast.accounts {
        lines.extend(on_addresses(account));
        lines.push(if account.mail_arrives { t.will_arrive } else { t.will_not_arrive }.to_owned());
        for freed in &account.addresses.freed {
            let until = date(freed.kept_until.max(now));
            lines.push(fill(t.will_keep_address, &[&freed.address, &until]));
        }
        if !account.told.is_empty() {
            lines.push(t.will_tell.to_owned());
        }
    }
    lines
}

/// How many addresses are named that stay; more are counted.
const NAMED: usize = 3;

/// What becomes of the role and of the addresses that the account keeps.
fn on_addresses(account: &OnAccount) -> Vec<String> {
    let (t, addresses) = (&ENGLISH, &account.addresses);
    let difference = |what| account.differences.iter().find(|one| one.what == what);
    let mut lines = Vec::new();
    if let Some(role) = difference("role") {
        let word = |role: &str| role.replace('_', " ");
        lines.push(fill(t.will_change_role, &[&word(&role.from), &word(&role.to)]));
    }
    let main = difference("primaryEmailAddress").map(|one| &one.to);
    lines.extend(addresses.taken.iter().map(|address| fill(t.will_take_address, &[address])));
    lines.extend(main.map(|address| fill(t.will_be_main_address, &[address])));
    if main.is_some() || !addresses.taken.is_empty() || !addresses.freed.is_empty() {
        let stay: Vec<_> = addresses.kept.iter().filter(|address| Some(*address) != main).collect();
        if stay.len() > NAMED {
            lines.push(fill(t.will_stay_addresses, &[&stay.len()]));
        } else {
            lines.extend(stay.into_iter().map(|address| fill(t.will_stay_address, &[address])));
        }
    }
    lines
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The numbers alone, for a panel that is just opened.
#[derive(Template)]
#[template(path = "forecast.html")]
pub struct Numbers {
    pub lines: Vec<String>,
    pub problem: Option<String>,
    pub t: &'static Texts,
}
