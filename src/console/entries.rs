//! Entries of the audit log as sentences: who did what, when and why.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::app::people::AuditRow;
use crate::clock::Millis;
use crate::console::texts::{ENGLISH, fill};
use crate::console::times::Time;
use crate::domain::actor::Who;
use crate::domain::ids::UserId;

/// One entry as a page shows it.
pub struct Line {
    pub time: Time,
    pub who: String,
    /// What was done, in words.
    pub what: String,
    /// Whom it was done to, as the entry names them.
    pub whom: String,
    /// The page of the person concerned.
    pub person: Option<UserId>,
    pub reason: String,
    /// "from → to" of everything that changed.
    pub details: Vec<String>,
    pub refused: bool,
    pub change: String,
}

impl Line {
    pub fn of(row: &AuditRow, names: &BTreeMap<UserId, String>, now: Millis) -> Self {
        let entry: Value = serde_json::from_str(&row.entry).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let differences = entry["differences"].as_array().into_iter().flatten();
        let mut details: Vec<String> = differences
            .filter(|one| !OURS.contains(&one["what"].as_str().unwrap_or_default()))
            .map(|one| format!("{}: {} → {}", text(&one["what"]), shown(&one["from"]), shown(&one["to"])))
            .collect();
        let notes = entry["notes"].as_object().into_iter().flatten();
        details.extend(notes.map(|(name, note)| format!("{name}: {}", text(note))));
        let refused = entry["outcome"] == "refused";
        if refused {
            details.push(text(&entry["why"]));
            if let Some(count) = entry["count"].as_i64().filter(|count| *count > 1) {
                details.push(fill(ENGLISH.times_in_a_minute, &[&count]));
            }
        }
        if entry["outcome"] == "lost" {
            details.push(ENGLISH.never_stored.to_owned());
        }
        let whom = match &entry["target"]["address"] {
            Value::String(address) => address.clone(),
            _ => text(&entry["named"]),
        };
        Self {
            time: Time::new(row.at, now),
            who: row.who().map_or_else(|| row.actor.clone(), |by| who(&by, names)),
            what: verb(&row.verb).to_owned(),
            whom,
            person: row.person,
            reason: text(&entry["reason"]),
            details,
            refused,
            change: text(&entry["change"]),
        }
    }
}

/// Counters of ours, which nobody on the phone asks about.
const OURS: [&str; 3] = ["passwordSetAt", "credentialGeneration", "sessionEpoch"];

fn shown(value: &Value) -> String {
    match value.as_str() {
        Some("") | None => "–".to_owned(),
        Some(text) => text.to_owned(),
    }
}

/// Who did something, or set a block, in words.
pub fn who(by: &Who, names: &BTreeMap<UserId, String>) -> String {
    match by {
        Who::User(user) => match names.get(user) {
            Some(name) => name.clone(),
            None => fill(ENGLISH.somebody_gone, &[user]),
        },
        Who::Clock => ENGLISH.the_clock.to_owned(),
        Who::Operator(_) => by.to_string(),
    }
}

type Word = fn() -> &'static str;

/// The verbs of entries with their words.
pub const VERBS: &[(&str, Word)] = &[
    ("resetPassword", || ENGLISH.did_reset_password),
    ("changeOwnPassword", || ENGLISH.did_change_own_password),
    ("emailupdate", || ENGLISH.did_rename),
    ("displaynameupdate", || ENGLISH.did_display_name),
    ("displaynameemailupdate", || ENGLISH.did_rename),
    ("enableUser", || ENGLISH.did_enable_user),
    ("disableUser", || ENGLISH.did_disable_user),
    ("enableMailAccount", || ENGLISH.did_enable_mail),
    ("disableMailAccount", || ENGLISH.did_disable_mail),
    ("updateIncomingStatus", || ENGLISH.did_incoming),
    ("updateOutgoingStatus", || ENGLISH.did_outgoing),
    ("updateIMAPStatus", || ENGLISH.did_imap),
    ("updatePOPStatus", || ENGLISH.did_pop),
    ("addEmailAlias", || ENGLISH.did_add_alias),
    ("deleteEmailAlias", || ENGLISH.did_remove_alias),
    ("updatePersonalInfo", || ENGLISH.did_personal_info),
    ("changeRole", || ENGLISH.did_change_role),
    ("createUser", || ENGLISH.did_create),
    ("deleteUser", || ENGLISH.did_delete),
    ("createAppPassword", || ENGLISH.did_app_password),
    ("revokeAppPassword", || ENGLISH.did_revoke_app_password),
    ("addDomain", || ENGLISH.did_add_domain),
    ("removeDomain", || ENGLISH.did_remove_domain),
    ("verifyDomain", || ENGLISH.did_verify_domain),
    ("setAsPrimaryDomain", || ENGLISH.did_primary_domain),
    ("disableDomain", || ENGLISH.did_disable_domain),
    ("enableDomain", || ENGLISH.did_enable_domain),
    ("createClient", || ENGLISH.did_create_client),
    ("disableClient", || ENGLISH.did_disable_client),
    ("enableClient", || ENGLISH.did_enable_client),
    ("deleteClient", || ENGLISH.did_delete_client),
    ("makeCode", || ENGLISH.did_make_code),
    ("issueToken", || ENGLISH.did_issue_token),
    ("revokeToken", || ENGLISH.did_revoke_token),
    ("updateOrganization", || ENGLISH.did_update_organization),
    ("createOrganization", || ENGLISH.did_create_organization),
    ("recoverSuperAdmin", || ENGLISH.did_recover),
    ("secureAccount", || ENGLISH.did_secure),
    ("recoverPassword", || ENGLISH.did_recover_password),
    ("setUpFactor", || ENGLISH.did_set_up_factor),
    ("removeFactor", || ENGLISH.did_remove_factor),
    ("updateTFAStatus", || ENGLISH.did_remove_factors),
    ("makeRecoveryCodes", || ENGLISH.did_make_codes),
    ("useRecoveryCode", || ENGLISH.did_use_code),
    ("proposeRecoveryAddress", || ENGLISH.did_name_recovery),
    ("setRecoveryAddress", || ENGLISH.did_set_recovery),
    ("removeRecoveryAddress", || ENGLISH.did_remove_recovery),
    ("endSessions", || ENGLISH.did_end_sessions),
    ("disconnectApplication", || ENGLISH.did_disconnect),
    ("authorizeApplication", || ENGLISH.did_authorize),
    ("expirePassword", || ENGLISH.did_expire_password),
    ("clearThrottle", || ENGLISH.did_clear_throttle),
    ("forgetMailbox", || ENGLISH.did_forget_mailbox),
    ("readOnlyOn", || ENGLISH.did_read_only_on),
    ("readOnlyOff", || ENGLISH.did_read_only_off),
    ("rotateKeys", || ENGLISH.did_rotate_keys),
    ("forgetKey", || ENGLISH.did_forget_key),
    ("startKeysAnew", || ENGLISH.did_start_keys_anew),
    ("addMailServer", || ENGLISH.did_add_mail_server),
    ("removeMailServer", || ENGLISH.did_remove_mail_server),
    ("addMailAgent", || ENGLISH.did_add_mail_agent),
    ("rotateAgentKey", || ENGLISH.did_rotate_agent_key),
    ("removeMailAgent", || ENGLISH.did_remove_mail_agent),
    ("copy", || ENGLISH.did_copy),
    ("restore", || ENGLISH.did_restore),
];

/// A verb in words; one that is not known here stands as it is.
pub fn verb(name: &str) -> &str {
    VERBS.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::accounts::MODES;

    #[test]
    fn every_mode_is_told_in_words() {
        for mode in MODES {
            assert_ne!(verb(mode.name), mode.name);
        }
    }
}
