//! Postfix, as `postconf` prints its settings: `-n` those of main.cf, `-P` those of the services in master.cf.

use std::collections::BTreeMap;

use super::{Expected, of_delimiter};
use crate::machine::finding::{Finding, good, warning, wrong};

/// What is wrong with Postfix, of which `postconf -n` and `postconf -P` say this.
pub fn postfix(main: &str, services: &str, expected: &Expected) -> Vec<Finding> {
    let main = parse(main);
    let get = |name: &str| main.get(name).copied();
    let asks =
        |name: &str| get(name).is_some_and(|value| value.contains("mailward") || value.contains("mw_"));
    if !asks("virtual_mailbox_maps") {
        return vec![warning(
            "Postfix on this machine does not ask Mailward for addresses",
            "`mailward mail-server config postfix` writes its files; `postconf -n` shows what is in force",
        )];
    }
    let mut ill = Vec::new();
    if !asks("smtpd_sender_login_maps") {
        ill.push(wrong(
            "Postfix does not ask who may send as an address",
            "put smtpd_sender_login_maps back as `mailward mail-server config postfix` has it",
        ));
    }
    ill.extend(of_delimiter("Postfix", get("recipient_delimiter").unwrap_or_default(), expected));
    ill.extend(of_restrictions("where main.cf alone holds", &main));
    for (service, own) in of_services(services) {
        let settings = main.iter().chain(&own).map(|(name, value)| (*name, *value)).collect();
        if own.keys().any(|name| name.starts_with("smtpd_")) && takes_logins(&settings) {
            ill.extend(of_restrictions(&format!("at its service {service}"), &settings));
        }
    }
    if ill.is_empty() {
        ill.push(good("Postfix asks Mailward for addresses, senders and credentials"));
    }
    ill
}

type Settings<'a> = BTreeMap<&'a str, &'a str>;

fn parse(text: &str) -> Settings<'_> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect()
}

/// The settings that a service has for itself: `submission/inet/smtpd_sasl_auth_enable = yes`.
fn of_services(text: &str) -> BTreeMap<&str, Settings<'_>> {
    let mut services = BTreeMap::<&str, Settings<'_>>::new();
    for (path, value) in parse(text) {
        if let Some((service, name)) = path.rsplit_once('/') {
            services.entry(service).or_default().insert(name, value);
        }
    }
    services
}

fn takes_logins(settings: &Settings<'_>) -> bool {
    settings.get("smtpd_sasl_auth_enable") == Some(&"yes")
}

/// Where a session may be refused, in the order of the session.
const RESTRICTIONS: [&str; 7] = [
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
];

/// Whether blocked recipients are refused; where people log in, also whether a session must have a living credential
/// and an address of its own.
fn of_restrictions(place: &str, settings: &Settings<'_>) -> Vec<Finding> {
    const CURE: &str = "put the restrictions of main.cf and master.cf back as `mailward mail-server config postfix` has them";
    let logins = takes_logins(settings);
    // What stands behind one of these is not asked.
    let permits: &[&str] = if logins { &["permit", "permit_sasl_authenticated"] } else { &["permit"] };
    let asked = |wanted: &[&str]| {
        RESTRICTIONS.iter().filter_map(|name| settings.get(name)).any(|list| {
            let mut words = Vec::new();
            spell_out(list, settings, 8, &mut words);
            let before = words.iter().take_while(|word| !permits.contains(word));
            before.into_iter().any(|word| wanted.iter().any(|wanted| word.contains(wanted)))
        })
    };
    let mut ill = Vec::new();
    if !asked(&["mailward-rcpt.", "mw_rcpt"]) {
        ill.push(format!("Postfix {place} does not ask whether an address is blocked"));
    }
    if logins && !asked(&["mailward-sasl.", "mw_sasl"]) {
        ill.push(format!(
            "Postfix {place} does not ask for the credential of a session: old passwords and disabled accounts go on sending"
        ));
    }
    if logins && !asked(&["reject_sender_login_mismatch", "reject_authenticated_sender_login_mismatch"]) {
        ill.push(format!("Postfix {place} lets people send as addresses that are not theirs"));
    }
    ill.into_iter().map(|what| wrong(what, CURE)).collect()
}

/// The words of a list, with the values of other settings in place of `$name`.
fn spell_out<'a>(list: &'a str, settings: &Settings<'a>, deep: usize, words: &mut Vec<&'a str>) {
    for word in list.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        match word.strip_prefix('$').map(|name| name.trim_matches(['{', '}', '(', ')'])) {
            Some(name) if deep > 0 => {
                spell_out(settings.get(name).copied().unwrap_or_default(), settings, deep - 1, words);
            }
            Some(_) | None => words.push(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::finding::State;

    const EXPECTED: Expected = Expected { recipient_delimiter: '+', hash_memory_kib: 19_456 };

    const MAIN: &str = "\
mw_rcpt_access = check_recipient_access proxy:sqlite:/etc/postfix/mailward-rcpt.cf
mw_sasl_access = check_sasl_access regexp:/etc/postfix/mailward-session.regexp, check_sasl_access proxy:sqlite:/etc/postfix/mailward-sasl.cf
recipient_delimiter = +
smtpd_recipient_restrictions = $mw_rcpt_access, reject_unlisted_recipient
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_sasl_auth_enable = no
smtpd_sender_login_maps = proxy:sqlite:/etc/postfix/mailward-sender.cf
virtual_mailbox_maps = proxy:sqlite:/etc/postfix/mailward-mailbox.cf
";
    const SERVICES: &str = "\
submission/inet/smtpd_client_restrictions = permit_sasl_authenticated,reject
submission/inet/smtpd_recipient_restrictions = $mw_rcpt_access,reject_unlisted_recipient
submission/inet/smtpd_relay_restrictions = permit_sasl_authenticated,reject
submission/inet/smtpd_sasl_auth_enable = yes
submission/inet/smtpd_sender_restrictions = $mw_sasl_access,reject_sender_login_mismatch
relay/unix/syslog_name = postfix/$service_name
";

    fn ill(main: &str, services: &str) -> Vec<String> {
        let found = postfix(main, services, &EXPECTED);
        found.into_iter().filter(|one| one.state != State::Good).map(|one| one.what).collect()
    }

    #[track_caller]
    fn found(main: &str, services: &str, word: &str) {
        let all = ill(main, services);
        assert!(all.len() == 1 && all[0].contains(word), "{all:?}");
    }

    #[test]
    fn a_postfix_that_asks_half_is_found() {
        assert_eq!(ill(MAIN, SERVICES), [""; 0]);
        found(&MAIN.replace("smtpd_sender_login_maps", "x"), SERVICES, "who may send");
        found(&MAIN.replace("= +", "= -"), SERVICES, "recipient_delimiter");
        found("myhostname = vm\n", SERVICES, "does not ask");
    }

    #[test]
    fn a_postfix_that_asks_for_no_credential_is_found() {
        let with = |from: &str, to: &str| {
            assert!(SERVICES.contains(from));
            SERVICES.replace(from, to)
        };
        found(MAIN, &with("$mw_sasl_access,", ""), "service submission/inet does not ask for the credential");
        let behind = with("$mw_sasl_access,", "permit_sasl_authenticated,$mw_sasl_access,");
        assert_eq!(ill(MAIN, &behind).len(), 2, "what stands behind a permit is not asked");
        found(MAIN, &with(",reject_sender_login_mismatch", ""), "not theirs");
        found(
            MAIN,
            &with("$mw_rcpt_access,", ""),
            "service submission/inet does not ask whether an address is blocked",
        );
        // A name that stands for nothing.
        found(
            &MAIN.replace("mw_sasl_access =", "sasl_access ="),
            SERVICES,
            "does not ask for the credential",
        );
        found(&MAIN.replace("$mw_rcpt_access, ", ""), SERVICES, "main.cf alone holds does not ask whether");
        // Logins at every service.
        let everywhere = MAIN.replace("auth_enable = no", "auth_enable = yes");
        assert_eq!(ill(&everywhere, SERVICES).len(), 2, "{:?}", ill(&everywhere, SERVICES));
        let sender =
            "smtpd_sender_restrictions = ${mw_sasl_access} reject_authenticated_sender_login_mismatch\n";
        assert_eq!(ill(&format!("{everywhere}{sender}"), ""), [""; 0]);
        // No logins at all.
        assert_eq!(ill(MAIN, ""), [""; 0]);
    }
}
