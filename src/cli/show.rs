//! How accounts and changes look, in words and in JSON. Ids are strings in JSON, so that no
//! reader loses digits.

use serde_json::{Value, json};

use crate::app::change::Done;
use crate::app::compromise::{AuditRow, Report, Session};
use crate::app::forecast::{Ended, Ending, Forecast, OnAccount, OnServer, Whole};
use crate::clock::rfc3339;
use crate::domain::account::{Account, SwitchName};
use crate::domain::effect::{Notice, Sessions};
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
        "helpDesk": account.help_desk,
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

fn role(account: &Account) -> String {
    match &account.help_desk {
        None => account.role.to_string(),
        Some(desk) => format!("{}: {desk}", account.role),
    }
}

/// One account in full.
pub fn account_text(account: &Account) -> String {
    let mut lines = vec![
        format!("address       {}", account.primary),
        format!("name          {}", account.profile.display_name),
        format!("role          {}", role(account)),
        format!("zuid          {}", account.user),
        format!("accountId     {}", account.id),
        format!("organization  {}", account.organization),
        format!("mailbox       {}", account.mailbox),
        format!("created       {}", rfc3339(account.created_at)),
    ];
    for alias in &account.aliases {
        lines.push(format!("alias         {alias}"));
    }
    lines.push(match (&account.credential.hash, account.credential.kind, account.credential.until) {
        (None, ..) => "password      none: reset it to let the person in".to_owned(),
        (Some(_), PasswordKind::Permanent, _) => {
            format!("password      permanent, since {}", rfc3339(account.credential.at))
        }
        (Some(_), PasswordKind::OneTime, Some(until)) => {
            format!("password      one-time, until {}", rfc3339(until))
        }
        (Some(_), PasswordKind::OneTime, None) => "password      one-time".to_owned(),
    });
    if let Some(at) = account.expires_at {
        lines.push(format!("expires       {}", rfc3339(at)));
    }
    for name in SwitchName::ALL {
        if let Some(block) = account.switches.get(name) {
            let reason = block.reason.as_ref().map(|why| format!(": {}", why.as_str())).unwrap_or_default();
            lines.push(format!("{}: by {} at {}{reason}", name.key(), block.by, rfc3339(block.at)));
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

/// What a dry run found, for people.
pub fn forecast_text(forecast: &Forecast) -> String {
    let mut lines = vec!["dry run: nothing was changed".to_owned()];
    if !forecast.changes {
        lines.push("there is nothing to change: it is so already".to_owned());
    }
    for one in &forecast.accounts {
        lines.extend(account_lines(one));
    }
    lines.extend(forecast.notes.iter().map(|(name, text)| format!("  {name}: {text}")));
    if forecast.accounts.is_empty() {
        lines.extend(ended_lines(forecast.ends));
    }
    match &forecast.whole {
        Some(Whole::Organization(zoid)) => {
            lines.push(format!("  every mail session of the organization {zoid} ends"));
        }
        Some(Whole::Domain(name)) => {
            lines.push(format!("  mail sessions of accounts whose address is on {name} end"));
        }
        None => {}
    }
    lines.extend(forecast.servers.iter().map(|OnServer { name, sessions }| match sessions {
        Some(number) => format!("  {name}: {number} sessions that are open now would end"),
        None => format!("  {name}: does not say which sessions are open"),
    }));
    lines.join("\n")
}

fn account_lines(one: &OnAccount) -> Vec<String> {
    let mut lines = vec![one.address.clone()];
    for difference in &one.differences {
        lines.push(format!("  {}: {} -> {}", difference.what, difference.from, difference.to));
    }
    lines.extend(one.notes.iter().map(|(name, text)| format!("  {name}: {text}")));
    lines.extend(one.addresses.taken.iter().map(|address| format!("  takes {address}")));
    for freed in &one.addresses.freed {
        lines.push(format!(
            "  gives {} up; it is kept for the account until {}",
            freed.address,
            rfc3339(freed.kept_until)
        ));
    }
    lines.extend(ended_lines(one.ends));
    for Ending { sessions, .. } in &one.mail_sessions {
        lines.push(match sessions {
            Sessions::All => "  every mail session of the mailbox ends".to_owned(),
            Sessions::Generation(number) => format!("  mail sessions of the old password (g{number}) end"),
            Sessions::AppPassword(id) => format!("  mail sessions of the app password {id} end"),
        });
    }
    for notice in &one.told {
        lines.push(match notice {
            Notice::PasswordReset => "  the person is told of the reset".to_owned(),
            Notice::PasswordChanged => "  the person is told of the new password".to_owned(),
            Notice::Renamed { .. } => "  the person is told of the new address".to_owned(),
            Notice::AppPasswordMade { .. } => "  the person is told of the app password".to_owned(),
            Notice::PasswordRecovered => "  the person is told of the recovered password".to_owned(),
            Notice::FactorAdded { .. }
            | Notice::FactorRemoved { .. }
            | Notice::RecoveryCodesMade
            | Notice::RecoveryCodeUsed { .. } => "  the person is told of the second factor".to_owned(),
            Notice::RecoveryAddressSet { .. } | Notice::RecoveryAddressRemoved { .. } => {
                "  the person is told of the recovery address".to_owned()
            }
        });
    }
    if !one.mail_arrives {
        lines.push("  mail to the account is refused afterwards".to_owned());
    }
    lines
}

fn ended_lines(ends: Ended) -> Vec<String> {
    let Ended { access_tokens, refresh_tokens, grant_codes, web_sessions, app_passwords, clients } = ends;
    let counts = [
        (access_tokens, "access tokens end"),
        (refresh_tokens, "refresh tokens end"),
        (grant_codes, "grant codes end"),
        (web_sessions, "web sessions end"),
        (app_passwords, "app passwords stop"),
        (clients, "OAuth clients stop with what they were given"),
    ];
    counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("  {number} {what}"))
        .collect()
}

pub fn forecast_json(forecast: &Forecast) -> Value {
    let mut answer = json!(forecast);
    answer["dryRun"] = json!(true);
    answer
}

/// What was found and done about a compromised account, for people.
pub fn report_text(done: &Done, report: &Report) -> String {
    let mut lines = vec![done_text(done)];
    lines.push(format!("one-time password: {}", report.password.expose()));
    lines.push(
        "(it opens only the choice of an own password, once; sending stays blocked until you allow it)"
            .to_owned(),
    );
    lines.extend(ended_lines(report.ended));
    if report.factors_left {
        lines.push("  second factors stay; `mailward user factors --remove` takes them away".to_owned());
    }
    for client in &report.clients {
        lines.push(format!("  client {client} acts as this user by its own secret; is it known?"));
    }
    match &report.last_sign_in {
        Some(last) => lines.push(format!("signed in last at {} ({})", rfc3339(last.at), last.door)),
        None => lines.push("never signed in".to_owned()),
    }
    for one in &report.places {
        let source = if one.source.is_empty() { "an unknown place" } else { &one.source };
        let (first, last) = (rfc3339(one.first_at), rfc3339(one.last_at));
        lines.push(format!("  {} from {source}, {first} to {last}", one.door));
    }
    for one in &report.web_sessions {
        let (started, seen) = (rfc3339(one.created_at), rfc3339(one.seen_at));
        lines.push(format!("  browser from {}, {started} to {seen}: {}", one.source, one.agent));
    }
    for (name, open) in &report.mail_sessions {
        match open {
            None => lines.push(format!("  {name} does not say which mail sessions were open")),
            Some(open) => lines.extend(open.iter().map(|one| {
                let source = one.ip.map_or_else(|| "an unknown place".to_owned(), |ip| ip.to_string());
                format!("  {} session on {name} from {source} ({})", one.service, one.name)
            })),
        }
    }
    for (title, rows) in [("what was done to the account:", &report.about), ("what it did:", &report.by)] {
        if !rows.is_empty() {
            lines.push(title.to_owned());
        }
        lines.extend(
            rows.iter()
                .filter_map(|row| crate::cli::audit::entry(row).ok())
                .map(|entry| format!("  {}", crate::cli::audit::line(&entry))),
        );
    }
    lines.join("\n")
}

pub fn report_json(done: &Done, report: &Report) -> Value {
    let entries = |rows: &[AuditRow]| -> Vec<Value> {
        rows.iter().filter_map(|row| crate::cli::audit::entry(row).ok()).collect()
    };
    let sessions = |open: &Vec<Session>| -> Vec<Value> {
        open.iter().map(|one| json!({"name": one.name, "service": one.service, "source": one.ip})).collect()
    };
    let servers = report
        .mail_sessions
        .iter()
        .map(|(name, open)| json!({"name": name, "sessions": open.as_ref().map(sessions)}));
    let web = report.web_sessions.iter().map(|one| {
        json!({"startedAt": one.created_at, "seenAt": one.seen_at, "source": one.source, "browser": one.agent})
    });
    let places = report.places.iter().map(
        |one| json!({"door": one.door, "source": one.source, "firstAt": one.first_at, "lastAt": one.last_at}),
    );
    let mut answer = done_json(done);
    answer["password"] = report.password.expose().into();
    answer["oneTimePassword"] = true.into();
    answer["ended"] = json!(report.ended);
    answer["secondFactorsLeft"] = report.factors_left.into();
    answer["clients"] = json!(report.clients);
    answer["lastSignIn"] =
        json!(report.last_sign_in.as_ref().map(|last| json!({"at": last.at, "door": last.door})));
    answer["signIns"] = places.collect();
    answer["webSessions"] = web.collect();
    answer["mailServers"] = servers.collect();
    answer["changesOfAccount"] = json!(entries(&report.about));
    answer["changesByUser"] = json!(entries(&report.by));
    answer
}
