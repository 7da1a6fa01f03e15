//! How somebody stands, in words: a few signs in a list, sentences on a page.

use std::collections::BTreeMap;

use crate::app::people::Listed;
use crate::clock::Millis;
use crate::console::entries::who;
use crate::console::texts::{ENGLISH, fill};
use crate::console::times::Time;
use crate::domain::account::Account;
use crate::domain::actor::Role;
use crate::domain::email_address::DomainName;
use crate::domain::help_desk::Verb;
use crate::domain::ids::UserId;
use crate::domain::password::PasswordKind;
use crate::domain::switch::Block;

/// A sign with its word; `kind` is a class of the style: good, wait or bad.
pub struct Sign {
    pub kind: &'static str,
    pub text: &'static str,
}

/// What a one-time password stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneTime {
    None,
    Waiting { since: Millis, until: Option<Millis> },
    Over,
}

pub fn one_time(account: &Account, now: Millis) -> OneTime {
    let credential = &account.credential;
    match (credential.kind, &credential.hash) {
        (PasswordKind::Permanent, _) => OneTime::None,
        (PasswordKind::OneTime, Some(_)) if !credential.is_over(now) => {
            OneTime::Waiting { since: credential.at, until: credential.until }
        }
        (PasswordKind::OneTime, _) => OneTime::Over,
    }
}

/// The signs of a row.
pub fn signs(one: &Listed, now: Millis) -> Vec<Sign> {
    let t = &ENGLISH;
    let switches = &one.account.switches;
    let mut signs = Vec::new();
    for (switch, text) in [
        (&switches.user_disabled, t.sign_disabled),
        (&switches.mail_disabled, t.sign_mail_disabled),
        (&switches.incoming_blocked, t.sign_incoming),
        (&switches.outgoing_blocked, t.sign_outgoing),
        (&switches.imap_off, t.sign_imap),
        (&switches.pop_off, t.sign_pop),
    ] {
        if switch.is_some() {
            signs.push(Sign { kind: "bad", text });
        }
    }
    match one_time(&one.account, now) {
        OneTime::None => {}
        OneTime::Waiting { .. } => signs.push(Sign { kind: "wait", text: t.sign_one_time }),
        OneTime::Over => signs.push(Sign { kind: "wait", text: t.sign_one_time_over }),
    }
    if signs.is_empty() {
        signs.push(Sign { kind: "good", text: t.sign_good });
    }
    signs
}

/// "by Olga Owner, 5 minutes ago: left the company".
pub fn by(block: &Block, names: &BTreeMap<UserId, String>, now: Millis) -> String {
    let time = Time::new(block.at, now).relative();
    let by = fill(ENGLISH.by_at, &[&who(&block.by, names), &time]);
    match &block.reason {
        Some(reason) => format!("{by}: {}", reason.as_str()),
        None => by,
    }
}

/// The line under the name.
pub fn state(account: &Account, names: &BTreeMap<UserId, String>, now: Millis) -> Vec<String> {
    let t = &ENGLISH;
    let switches = &account.switches;
    let mut line = Vec::new();
    let one_time = one_time(account, now);
    match (&switches.user_disabled, one_time) {
        (Some(block), _) => line.push(fill(t.state_disabled, &[&by(block, names, now)])),
        (None, OneTime::None) if account.credential.hash.is_none() => {
            line.push(t.state_no_password.to_owned());
        }
        (None, OneTime::None) => line.push(t.state_signs_in.to_owned()),
        (None, OneTime::Waiting { .. } | OneTime::Over) => {}
    }
    match one_time {
        OneTime::None => {}
        OneTime::Waiting { since, until: Some(until) } => {
            let (since, until) = (Time::new(since, now).relative(), Time::new(until, now));
            line.push(fill(t.state_one_time_until, &[&since, &until.relative(), &until.exact()]));
        }
        OneTime::Waiting { since, until: None } => {
            line.push(fill(t.state_one_time, &[&Time::new(since, now).relative()]));
        }
        OneTime::Over => line.push(t.state_one_time_over.to_owned()),
    }
    if switches.user_disabled.is_none()
        && let Some(block) = &switches.mail_disabled
    {
        line.push(fill(t.state_mail_disabled, &[&by(block, names, now)]));
    }
    match &switches.incoming_blocked {
        Some(block) => line.push(fill(t.state_incoming, &[&by(block, names, now)])),
        None => line.push(t.state_mail_arrives.to_owned()),
    }
    if let Some(block) = &switches.outgoing_blocked {
        line.push(fill(t.state_outgoing, &[&by(block, names, now)]));
    }
    for (switch, text) in [(&switches.imap_off, t.state_imap), (&switches.pop_off, t.state_pop)] {
        if let Some(block) = switch {
            line.push(fill(text, &[&by(block, names, now)]));
        }
    }
    line
}

/// What the help desk may be given: as a box says it, and as it is told of somebody.
pub fn given() -> [(Verb, &'static str, &'static str); 3] {
    let t = &ENGLISH;
    [
        (Verb::Reset, t.help_desk_reset, t.desk_resets),
        (Verb::Switches, t.help_desk_switches, t.desk_switches),
        (Verb::Rename, t.help_desk_rename, t.desk_renames),
    ]
}

/// A role with its limits, as in "help desk: reset passwords, on example.org".
pub fn role_with_limits(account: &Account) -> String {
    let t = &ENGLISH;
    let name = match role(account.role) {
        "" => t.role_member,
        other => other,
    };
    let Some(desk) = &account.help_desk else { return name.to_owned() };
    let verbs: Vec<_> =
        given().into_iter().filter(|(verb, ..)| desk.has(*verb)).map(|(.., told)| told).collect();
    let verbs = if verbs.is_empty() { t.desk_looks.to_owned() } else { verbs.join("; ") };
    match desk.domains() {
        Some(domains) => {
            let domains: Vec<_> = domains.iter().map(DomainName::as_str).collect();
            fill(t.role_on_domains, &[&name, &verbs, &domains.join(", ")])
        }
        None => fill(t.role_everywhere, &[&name, &verbs]),
    }
}

/// A role in words; nothing for members, who are most.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "",
        Role::HelpDesk => ENGLISH.role_help_desk,
        Role::Admin => ENGLISH.role_admin,
        Role::SuperAdmin => ENGLISH.role_super_admin,
    }
}
