//! The columns of the table in `crate::what_ends` that mail servers see: sessions that are open and
//! app passwords, and what becomes of them.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::{MailWorld, SOON, both_contracts, mbox};
use crate::mail::clients::Imap;
use crate::support::world::{PASSWORD, Someone};
use crate::what_ends::table::{Artefact, Event, Fate, TABLE, wrong};
use crate::what_ends::{address_after, happen, undo};

both_contracts! {
    fn sessions_and_app_passwords_fare_after_each_event_as_the_table_says(mail: MailWorld) {
        let row = |event: Event| {
            let who = mail.someone(&format!("pat{}", event as u8));
            wrong(event, &fates(&mail, event, &who))
        };
        // What befalls one person, all at once; what befalls everybody, after it.
        let of_one = TABLE.iter().map(|(event, _)| *event).filter(|event| *event != Event::OrganizationOff);
        let mut seen: Vec<String> = std::thread::scope(|scope| {
            let rows: Vec<_> = of_one.map(|event| scope.spawn(move || row(event))).collect();
            rows.into_iter().flat_map(|row| row.join().expect("a row was seen")).collect()
        });
        seen.extend(row(Event::OrganizationOff));
        assert!(seen.is_empty(), "{seen:#?}");
    }
}

/// What becomes of everything that a mail server opens.
fn fates(mail: &MailWorld, event: Event, who: &Someone) -> [(Artefact, Fate); 4] {
    let telephone = mail.app_password(who, json!({"name": "Telephone"}));
    let (mut imap, mut pop) = (mail.imap(&who.email, PASSWORD), mail.pop3(&who.email, PASSWORD));
    let mut smtp = mail.submission(&who.email, PASSWORD);
    // A session is listed a moment after its login was answered.
    let name = format!("{}@g1", mbox(who));
    while mail.sessions().iter().filter(|session| session.name == name).count() < 2 {
        sleep(Duration::from_millis(10));
    }
    mail.block(happen(mail.world(), event, who));
    let address = address_after(event, who);
    let mut sends = || smtp.rcpt(&address, &mail.other).starts_with("250");
    let logs_in = || Imap::connect(mail.lab.imap).login(&address, &telephone.password).starts_with("OK");
    let (sent, logged_in) = (sends(), logs_in());
    let imap = if imap.until_closed(SOON).is_some() {
        Fate::Ends
    } else {
        assert!(imap.is_open(), "the session answers");
        Fate::Stays
    };
    let pop = if pop.until_closed(SOON).is_some() {
        Fate::Ends
    } else {
        assert!(pop.command("NOOP").starts_with("+OK"), "the session answers");
        Fate::Stays
    };
    mail.block(undo(mail.world(), event, who));
    let fate = |before: bool, after: bool| match (before, after) {
        (true, _) => Fate::Stays,
        (false, true) => Fate::Rests,
        (false, false) => Fate::Ends,
    };
    [
        (Artefact::AppPassword, fate(logged_in, logs_in())),
        (Artefact::Imap, imap),
        (Artefact::Pop3, pop),
        (Artefact::Smtp, fate(sent, sends())),
    ]
}
