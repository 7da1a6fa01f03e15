//! How accounts and changes look, in words and in JSON. Ids are strings in JSON, so that no
//! reader loses digits.

use serde_json::{Value, json};

use crate::app::change::Done;
use crate::cli::text::time;
use crate::domain::account::{Account, SwitchName};
use crate::domain::password::PasswordKind;
use crate::domain::switch::Switch;

pub fn account_json(account: &Account) -> Value {
    let switches: serde_json::Map<String, Value> = SwitchName::ALL
        .into_iter()
        .map(|name| (name.key().to_owned(), switch_json(account.switches.get(name))))
        .collect();
    json!({
        "zoid": account.organization.to_string(),
        "zuid": account.user.to_string(),
        "accountId": account.id.to_string(),
        "email": account.primary.as_str(),
        "aliases": account.aliases.iter().map(|alias| alias.as_str()).collect::<Vec<_>>(),
        "role": account.role.as_str(),
        "firstName": account.profile.first_name,
        "lastName": account.profile.last_name,
        "displayName": account.profile.display_name,
        "mailbox": account.mailbox,
        "enabled": account.switches.user_disabled.is_none(),
        "switches": switches,
        "password": match (&account.credential.hash, account.credential.kind) {
            (None, _) => "none",
            (Some(_), PasswordKind::OneTime) => "one-time",
            (Some(_), PasswordKind::Permanent) => "permanent",
        },
        "passwordUntil": account.credential.until,
        "expiresAt": account.expires_at,
        "createdAt": account.created_at,
    })
}

pub fn switch_json(switch: &Switch) -> Value {
    match switch {
        None => Value::Null,
        Some(block) => json!({
            "by": block.by.to_string(),
            "rank": block.rank,
            "at": block.at,
            "reason": block.reason,
        }),
    }
}

/// One account in full.
pub fn account_text(account: &Account) -> String {
    let mut lines = vec![
        format!("address       {}", account.primary),
        format!("name          {}", account.profile.display_name),
        format!("role          {}", account.role),
        format!("zuid          {}", account.user),
        format!("accountId     {}", account.id),
        format!("organization  {}", account.organization),
        format!("mailbox       {}", account.mailbox),
        format!("created       {}", time(account.created_at)),
    ];
    for alias in &account.aliases {
        lines.push(format!("alias         {alias}"));
    }
    lines.push(match (&account.credential.hash, account.credential.kind, account.credential.until) {
        (None, ..) => "password      none: reset it to let the person in".to_owned(),
        (Some(_), PasswordKind::Permanent, _) => {
            format!("password      permanent, since {}", time(account.credential.at))
        }
        (Some(_), PasswordKind::OneTime, Some(until)) => {
            format!("password      one-time, until {}", time(until))
        }
        (Some(_), PasswordKind::OneTime, None) => "password      one-time".to_owned(),
    });
    if let Some(at) = account.expires_at {
        lines.push(format!("expires       {}", time(at)));
    }
    for name in SwitchName::ALL {
        if let Some(block) = account.switches.get(name) {
            let reason = block.reason.as_ref().map(|why| format!(": {}", why.as_str())).unwrap_or_default();
            lines.push(format!("{}: by {} at {}{reason}", name.key(), block.by, time(block.at)));
        }
    }
    lines.join("\n")
}

/// What holds an account back, in a word for lists.
pub fn state(account: &Account) -> String {
    let on: Vec<&str> = SwitchName::ALL
        .into_iter()
        .filter(|name| account.switches.get(*name).is_some())
        .map(SwitchName::key)
        .collect();
    if on.is_empty() { "enabled".to_owned() } else { on.join(",") }
}

pub fn done_text(done: &Done) -> String {
    let named: Vec<String> = done
        .accounts
        .iter()
        .map(|account| if account.deleted { format!("{} deleted", account.primary) } else { line(account) })
        .collect();
    match done.change {
        Some(change) => format!("{}\nchange {change}", named.join("\n")),
        None => format!("{}\nnothing to change: it is so already", named.join("\n")),
    }
}

fn line(account: &Account) -> String {
    let aliases: Vec<&str> = account.aliases.iter().map(|alias| alias.as_str()).collect();
    let aliases = if aliases.is_empty() { String::new() } else { format!(" also {}", aliases.join(", ")) };
    format!("{} ({}, {}){aliases}", account.primary, account.role, state(account))
}

pub fn done_json(done: &Done) -> Value {
    json!({
        "change": done.change.map(|change| change.to_string()),
        "users": done.accounts.iter().map(account_json).collect::<Vec<_>>(),
    })
}
