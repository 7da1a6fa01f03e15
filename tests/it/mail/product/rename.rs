//! A rename moves no mail, also while mail pours in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use super::{MailWorld, mbox};
use crate::mail::clients::{Imap, Smtp};
use crate::support::world::PASSWORD;

const SWAPS: usize = 1000;

/// The UIDVALIDITY line and the UIDs in INBOX.
fn uids(imap: &mut Imap) -> (String, Vec<String>) {
    let (lines, answer) = imap.command("SELECT INBOX");
    assert!(answer.starts_with("OK"), "{answer}");
    let validity = lines.into_iter().find(|line| line.contains("UIDVALIDITY")).expect("a mailbox has one");
    let (lines, _) = imap.command("UID SEARCH ALL");
    let found = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")).unwrap_or_default();
    (validity, found.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn a_thousand_swaps_lose_no_message_and_keep_the_mailbox() {
    let mail = MailWorld::sqlite();
    let who = mail.someone("pat");
    let (one, two) = (who.email.clone(), format!("second.{}", who.email));
    mail.mode(&who, "addEmailAlias", json!({"emailAlias": [two]}));
    for number in 0..5 {
        assert!(mail.mail(&one, &format!("early {number}")).starts_with("250"));
    }
    mail.delivered(&mbox(&who), 5);
    let mut before = mail.imap(&one, PASSWORD);
    let (validity, early) = uids(&mut before);
    assert_eq!(early.len(), 5);

    let over = AtomicBool::new(false);
    let start = Instant::now();
    let accepted: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = [(&one, "a"), (&two, "b")]
            .map(|(to, name)| {
                let (mail, over) = (&mail, &over);
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    let mut smtp = Smtp::connect(mail.lab.smtp);
                    while !over.load(Ordering::Relaxed) {
                        let subject = format!("{name} {}", accepted.len());
                        let answer = smtp.send("someone@elsewhere.test", to, &subject);
                        assert!(answer.starts_with("250"), "{to}: {answer}");
                        accepted.push(subject);
                    }
                    accepted
                })
            })
            .into();
        // Somebody logs in by either address all the while.
        let reader = {
            let (mail, over, one, two) = (&mail, &over, &one, &two);
            scope.spawn(move || {
                let mut logins = 0;
                while !over.load(Ordering::Relaxed) {
                    for address in [one, two] {
                        drop(mail.imap(address, PASSWORD));
                        logins += 1;
                    }
                }
                logins
            })
        };
        for swap in 0..SWAPS {
            let to = if swap % 2 == 0 { &two } else { &one };
            mail.mode(&who, "emailupdate", json!({"emailAddress": to}));
        }
        over.store(true, Ordering::Relaxed);
        let accepted = senders.into_iter().flat_map(|sender| sender.join().expect("a sender")).collect();
        println!("{SWAPS} swaps in {:.1?}, {} logins", start.elapsed(), reader.join().expect("a reader"));
        accepted
    });
    println!("{} messages accepted meanwhile", accepted.len());
    assert!(accepted.len() > 100, "mail was under way all the time");

    let mut found = mail.delivered(&mbox(&who), 5 + accepted.len());
    found.retain(|subject| !subject.starts_with("early"));
    let mut expected = accepted;
    expected.sort();
    assert_eq!(found, expected, "each once");
    assert!(before.is_open(), "a rename ends no session");
    for session in [&mut before, &mut mail.imap(&one, PASSWORD), &mut mail.imap(&two, PASSWORD)] {
        let (now, uids) = uids(session);
        assert_eq!(now, validity);
        assert_eq!(uids[..5], early[..], "no message got another number");
        assert_eq!(uids.len(), 5 + expected.len());
    }
}
