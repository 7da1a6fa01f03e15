//! Postfix, as `postconf -n` prints its settings.

use super::{Expected, of_delimiter};
use crate::machine::finding::{Finding, good, warning, wrong};

/// What is wrong with Postfix, of which `postconf -n` says this.
pub fn postfix(text: &str, expected: &Expected) -> Vec<Finding> {
    let get = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once('=').filter(|(have, _)| have.trim() == name))
            .map(|(_, v)| v.trim())
    };
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
    if ill.is_empty() {
        ill.push(good("Postfix asks Mailward for addresses and senders"));
    }
    ill
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::finding::State;

    const EXPECTED: Expected = Expected { recipient_delimiter: '+', hash_memory_kib: 19_456 };

    #[test]
    fn a_postfix_that_asks_half_is_found() {
        const ASKS: &str =
            "recipient_delimiter = +\nvirtual_mailbox_maps = proxy:sqlite:/etc/postfix/mailward-mailbox.cf\n";
        const OWNS: &str = "smtpd_sender_login_maps = proxy:sqlite:/etc/postfix/mailward-sender.cf\n";
        let ill = |text: &str| {
            let found = postfix(text, &EXPECTED);
            found.into_iter().filter(|one| one.state != State::Good).map(|one| one.what).collect::<Vec<_>>()
        };
        assert_eq!(ill(&format!("{ASKS}{OWNS}")), [""; 0]);
        assert!(ill(ASKS)[0].contains("who may send"));
        assert!(ill(&format!("{ASKS}{OWNS}").replace("= +", "= -"))[0].contains("recipient_delimiter"));
        assert!(ill("myhostname = vm\n")[0].contains("does not ask"));
    }
}
