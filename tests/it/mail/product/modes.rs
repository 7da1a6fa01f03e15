//! Each mode of the account desk, and what clients see before and right after its answer.

use std::thread::sleep;

use serde_json::json;

use super::{
    DISABLED, MAIL_DISABLED, MailWorld, NEW, ONE_TIME, SOON, WRONG, both_contracts, mbox, open_account, shut,
    told,
};
use crate::support::world::{PASSWORD, Someone};

const IMAP_OFF: &str = "IMAP access is switched off for this account. Contact your administrator.";
const POP_OFF: &str = "POP access is switched off for this account. Contact your administrator.";

fn gone(mbox: &str, credential: &str) -> String {
    format!("421 4.7.0 <{mbox}@{credential}>: SASL login name rejected: Credentials changed, log in again")
}

fn blocked(address: &str) -> String {
    format!("550 5.2.1 <{address}>: Recipient address rejected: Mailbox disabled, not accepting messages")
}

fn moved(address: &str) -> String {
    format!("550 5.1.6 <{address}>: Recipient address rejected: Mailbox has moved, no forwarding address")
}

fn unknown(address: &str) -> String {
    format!("550 5.1.1 <{address}>: Recipient address rejected: User unknown in virtual mailbox table")
}

fn refused_to_send(who: &Someone, why: &str) -> String {
    format!("550 5.7.1 <{}@g1>: SASL login name rejected: {why}", mbox(who))
}

type Story = fn(&MailWorld, &Someone);

/// Every mode, by its name, with its story.
const STORIES: &[(&str, Story)] = &[
    ("resetPassword", reset),
    ("resetPassword to a one-time password", reset_to_one_time),
    ("resetPassword without ending anything", reset_gently),
    ("emailupdate", rename),
    ("displaynameupdate", new_name),
    ("displaynameemailupdate", new_name_and_address),
    ("disableUser", disable_user),
    ("enableUser", enable_user),
    ("disableMailAccount", disable_mail),
    ("enableMailAccount", enable_mail),
    ("updateIncomingStatus", incoming),
    ("updateOutgoingStatus", outgoing),
    ("updateIMAPStatus", imap_off),
    ("updatePOPStatus", pop_off),
    ("addEmailAlias", add_alias),
    ("deleteEmailAlias", delete_alias),
    ("updatePersonalInfo", personal_info),
    ("changeRole", role),
    ("updateTFAStatus", no_factors),
    ("deleteUser", delete),
    ("createAppPassword", app_password),
    ("revokeAppPassword", revoke_app_password),
    ("secureAccount", secure),
];

both_contracts! {
    fn each_mode_is_seen_by_every_protocol_right_after_its_answer(mail: MailWorld) {
        for info in mailward::app::accounts::MODES {
            assert!(STORIES.iter().any(|(mode, _)| *mode == info.name), "{} has no story", info.name);
        }
        // All at once: a refused login takes half a second, and there are a hundred.
        let people: Vec<_> = (0..STORIES.len()).map(|number| mail.someone(&format!("pat{number}"))).collect();
        std::thread::scope(|scope| {
            for (who, (name, story)) in people.iter().zip(STORIES) {
                let mail = &mail;
                let thread = std::thread::Builder::new().name((*name).to_owned());
                thread.spawn_scoped(scope, move || story(mail, who)).expect("a thread");
            }
        });
    }

    fn the_switches_hold_in_all_sixteen_combinations_and_come_back(mail: MailWorld) {
        let people: Vec<_> = (0..16).map(|number| mail.someone(&format!("pat{number}"))).collect();
        std::thread::scope(|scope| {
            for (combination, who) in (0..16_u8).zip(&people) {
                let mail = &mail;
                let thread = std::thread::Builder::new().name(format!("switches {combination:04b}"));
                let story = move || switches(mail, who, [8, 4, 2, 1].map(|bit| combination & bit != 0));
                thread.spawn_scoped(scope, story).expect("a thread");
            }
        });
    }
}

fn switches(mail: &MailWorld, who: &Someone, [user, account, incoming, outgoing]: [bool; 4]) {
    let (address, key) = (who.email.as_str(), mbox(who));
    let other = mail.other.clone();
    let mut open = mail.submission(address, PASSWORD);
    let mut reader = mail.imap(address, PASSWORD);
    for (wanted, mode, body) in [
        (user, "disableUser", json!({})),
        (account, "disableMailAccount", json!({})),
        (incoming, "updateIncomingStatus", json!({"incomingBlocked": true})),
        (outgoing, "updateOutgoingStatus", json!({"outgoingBlocked": true})),
    ] {
        if wanted {
            mail.mode(who, mode, body);
        }
    }
    let gate = if user { Some(DISABLED) } else { account.then_some(MAIL_DISABLED) };
    let sending = "Sending is blocked for this account";
    let mut expected = gate.map_or_else(open_account, |reason| shut(told(reason)));
    if outgoing && gate.is_none() {
        expected[3] = refused_to_send(who, sending);
    }
    if incoming {
        expected[4] = blocked(address);
    }
    assert_eq!(mail.look(address, PASSWORD), expected, "user, account, incoming, outgoing");
    let in_open_session = match gate.or(outgoing.then_some(sending)) {
        Some(why) => refused_to_send(who, why),
        None => "250 2.1.5 Ok".to_owned(),
    };
    assert_eq!(open.rcpt(address, &other), in_open_session);
    match gate {
        Some(_) => assert!(reader.until_closed(SOON).is_some(), "the open session ends"),
        None => assert!(reader.is_open()),
    }
    assert_eq!(mail.mail(address, "meanwhile").starts_with("250"), !incoming);

    mail.mode(who, "enableUser", json!({"unblockIncoming": true}));
    mail.mode(who, "updateOutgoingStatus", json!({"outgoingBlocked": false}));
    assert_eq!(mail.look(address, PASSWORD), open_account(), "as it was");
    if !incoming {
        mail.delivered(&key, 1);
    }
    let found = mail.imap(address, PASSWORD).subjects();
    assert_eq!(found, if incoming { vec![] } else { vec!["meanwhile"] }, "nothing was lost");
}

fn reset(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    assert_eq!(mail.look(address, PASSWORD), open_account());
    assert_eq!(mail.look(address, NEW), shut(WRONG.map(str::to_owned)));
    let mut open = mail.submission(address, PASSWORD);
    let (mut reader, mut pop) = (mail.imap(address, PASSWORD), mail.pop3(address, PASSWORD));
    mail.reset(who, NEW);
    assert_eq!(mail.look(address, NEW), open_account());
    assert_eq!(mail.look(address, PASSWORD), shut(WRONG.map(str::to_owned)));
    assert_eq!(open.rcpt(address, address), gone(&mbox(who), "g1"));
    assert!(reader.until_closed(SOON).is_some() && pop.until_closed(SOON).is_some());
}

fn reset_to_one_time(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    mail.mode(who, "resetPassword", json!({"password": "t*c9ma"}));
    assert_eq!(mail.look(address, "t*c9ma"), shut(told(ONE_TIME)));
    assert_eq!(mail.look(address, PASSWORD), shut(WRONG.map(str::to_owned)), "the old one learns nothing");
    mail.patiently(|| mail.block(mail.world().self_password(address, "t*c9ma", NEW))).ok();
    assert_eq!(mail.look(address, NEW), open_account());
    assert_eq!(mail.look(address, "t*c9ma"), shut(WRONG.map(str::to_owned)));
}

fn secure(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let telephone = mail.app_password(who, json!({"name": "Telephone"})).password;
    let (mut open, mut reader) = (mail.submission(address, PASSWORD), mail.imap(address, &telephone));
    let (world, path) = (mail.world(), format!("{}/compromised", mail.world().path(who)));
    let token = &world.owner.org_token;
    let done = mail.patiently(|| mail.block(world.with_body("POST", token, &path, json!({}))));
    let once = done.ok().json()["data"]["password"].as_str().expect("a password").to_owned();
    assert!(reader.until_closed(SOON).is_some());
    assert_eq!(open.rcpt(address, address), gone(&mbox(who), "g1"));
    for ended in [PASSWORD, &telephone] {
        assert_eq!(mail.look(address, ended), shut(WRONG.map(str::to_owned)));
    }
    assert_eq!(mail.look(address, &once), shut(told(ONE_TIME)));
    mail.patiently(|| mail.block(world.self_password(address, &once, NEW))).ok();
    assert_eq!(mail.opens(address, NEW), [true; 3]);
    let said = mail.submission(address, NEW).rcpt(address, address);
    assert!(said.starts_with("550 5.7.1") && said.contains("Sending is blocked"), "{said}");
    assert!(mail.mail(address, "for the owner").starts_with("250"));
}

fn reset_gently(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let (mut open, mut reader) = (mail.submission(address, PASSWORD), mail.imap(address, PASSWORD));
    let body = json!({"password": NEW, "oneTimePassword": false, "resetAuthToken": false});
    mail.mode(who, "resetPassword", body);
    assert_eq!(mail.look(address, NEW), open_account());
    assert_eq!(mail.look(address, PASSWORD), shut(WRONG.map(str::to_owned)));
    sleep(SOON / 2);
    assert!(reader.is_open(), "what is open goes on");
    assert!(open.rcpt(address, address).starts_with("250"));
    // A password that opens no mail ends nothing of what is open either.
    let (mut open, mut reader) = (mail.submission(address, NEW), mail.imap(address, NEW));
    mail.mode(who, "resetPassword", json!({"password": "t*c9ma", "resetAuthToken": false}));
    assert_eq!(mail.logins(address, "t*c9ma"), told(ONE_TIME));
    sleep(SOON / 2);
    assert!(reader.is_open(), "what is open goes on");
    assert!(open.rcpt(address, address).starts_with("250"));
}

fn rename(mail: &MailWorld, who: &Someone) {
    let old = who.email.as_str();
    let new = format!("new.{old}");
    assert_eq!(mail.look(&new, PASSWORD)[4], unknown(&new));
    assert!(mail.look(&new, PASSWORD)[5].starts_with("550 5.1.1"), "delivery knows it as little");
    let (mut open, mut reader) = (mail.submission(old, PASSWORD), mail.imap(old, PASSWORD));
    assert!(open.rcpt(&new, old).starts_with("553 5.7.1"));
    assert!(mail.mail(old, "before").starts_with("250"));
    mail.mode(who, "emailupdate", json!({"emailAddress": new}));
    assert_eq!(mail.look(&new, PASSWORD), open_account());
    assert_eq!(mail.look(&new.to_uppercase(), PASSWORD)[..3], open_account()[..3], "in any case");
    assert_eq!(mail.look(old, PASSWORD), open_account(), "the old one stays as an alias");
    assert!(open.rcpt(&new, old).starts_with("250"), "from a session that was open before");
    assert!(mail.mail(&new, "after").starts_with("250"));
    mail.delivered(&mbox(who), 2);
    assert_eq!(mail.imap(&new, PASSWORD).subjects(), ["before", "after"], "one mailbox");
    assert!(reader.is_open());
}

fn new_name(mail: &MailWorld, who: &Someone) {
    unchanged(mail, who, "displaynameupdate", json!({"displayName": "Pat Example"}));
}

fn personal_info(mail: &MailWorld, who: &Someone) {
    unchanged(mail, who, "updatePersonalInfo", json!({"firstName": "Pat"}));
}

/// Second factors are the console's: mail knows none.
fn no_factors(mail: &MailWorld, who: &Someone) {
    unchanged(mail, who, "updateTFAStatus", json!({"tfaEnabled": "false"}));
}

fn unchanged(mail: &MailWorld, who: &Someone, mode: &str, body: serde_json::Value) {
    let (mut open, mut reader) = (mail.submission(&who.email, PASSWORD), mail.imap(&who.email, PASSWORD));
    mail.mode(who, mode, body);
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
    assert!(reader.is_open() && open.rcpt(&who.email, &who.email).starts_with("250"));
}

fn new_name_and_address(mail: &MailWorld, who: &Someone) {
    let new = format!("new.{}", who.email);
    mail.mode(who, "displaynameemailupdate", json!({"displayName": "Pat", "emailAddress": new}));
    assert_eq!(mail.look(&new, PASSWORD), open_account());
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
}

fn disable_user(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let mut open = mail.submission(address, PASSWORD);
    let (mut reader, mut pop) = (mail.imap(address, PASSWORD), mail.pop3(address, PASSWORD));
    mail.mode(who, "disableUser", json!({"blockIncoming": true}));
    let mut expected = shut(told(DISABLED));
    expected[4] = blocked(address);
    assert_eq!(mail.look(address, PASSWORD), expected);
    assert_eq!(mail.logins(address, "a wrong one"), WRONG, "a stranger learns nothing");
    assert_eq!(open.rcpt(address, address), refused_to_send(who, DISABLED));
    assert_eq!(open.rcpt("", address), refused_to_send(who, DISABLED), "the empty sender, too");
    assert!(reader.until_closed(SOON).is_some() && pop.until_closed(SOON).is_some());
}

fn enable_user(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    mail.mode(who, "disableUser", json!({"blockIncoming": true}));
    mail.mode(who, "disableMailAccount", json!({}));
    mail.mode(who, "enableUser", json!({}));
    let mut expected = open_account();
    expected[4] = blocked(address);
    assert_eq!(mail.look(address, PASSWORD), expected, "the block of incoming mail stays");
    let mut reader = mail.imap(address, PASSWORD);
    mail.mode(who, "enableUser", json!({"unblockIncoming": "true"}));
    assert_eq!(mail.look(address, PASSWORD), open_account());
    // Later sweeps of the disable leave those alone who were let in again.
    sleep(SOON);
    assert!(reader.is_open());
}

fn disable_mail(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let mut open = mail.submission(address, PASSWORD);
    let (mut reader, mut pop) = (mail.imap(address, PASSWORD), mail.pop3(address, PASSWORD));
    mail.own_mode(who, "disableMailAccount");
    assert_eq!(mail.look(address, PASSWORD), shut(told(MAIL_DISABLED)));
    assert_eq!(open.rcpt(address, address), refused_to_send(who, MAIL_DISABLED));
    assert!(reader.until_closed(SOON).is_some() && pop.until_closed(SOON).is_some());
    // The person can still come back by the web.
    mail.own_mode(who, "enableUser");
    assert_eq!(mail.look(address, PASSWORD), open_account());
}

fn enable_mail(mail: &MailWorld, who: &Someone) {
    mail.mode(who, "disableMailAccount", json!({}));
    mail.mode(who, "disableUser", json!({}));
    mail.mode(who, "enableMailAccount", json!({}));
    assert_eq!(mail.look(&who.email, PASSWORD), shut(told(DISABLED)), "lifts the mail switch only");
    mail.mode(who, "enableUser", json!({}));
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
}

fn incoming(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let alias = format!("alias.{address}");
    mail.mode(who, "addEmailAlias", json!({"emailAlias": [alias]}));
    mail.mode(who, "updateIncomingStatus", json!({"incomingBlocked": "true"}));
    for to in [address.to_owned(), alias.clone(), address.replace('@', "+tag@")] {
        assert_eq!(mail.rcpt(&to), blocked(&to));
    }
    let mut expected = open_account();
    expected[4] = blocked(address);
    assert_eq!(mail.look(address, PASSWORD), expected);
    mail.mode(who, "updateIncomingStatus", json!({"incomingBlocked": false}));
    assert_eq!(mail.look(&alias, PASSWORD), open_account());
}

fn outgoing(mail: &MailWorld, who: &Someone) {
    let address = who.email.as_str();
    let mut open = mail.submission(address, PASSWORD);
    mail.mode(who, "updateOutgoingStatus", json!({"outgoingBlocked": "true"}));
    let why = refused_to_send(who, "Sending is blocked for this account");
    let mut expected = open_account();
    expected[3] = why.clone();
    assert_eq!(mail.look(address, PASSWORD), expected);
    assert_eq!(open.rcpt(address, address), why);
    mail.mode(who, "updateOutgoingStatus", json!({"outgoingBlocked": "false"}));
    assert_eq!(mail.look(address, PASSWORD), open_account());
    assert!(open.rcpt(address, address).starts_with("250"), "in the open session, too");
}

fn imap_off(mail: &MailWorld, who: &Someone) {
    let (address, mut reader) = (who.email.as_str(), mail.imap(&who.email, PASSWORD));
    mail.mode(who, "updateIMAPStatus", json!({"imapAccessEnabled": "false"}));
    let mut expected = open_account();
    expected[0] = told(IMAP_OFF)[0].clone();
    assert_eq!(mail.look(address, PASSWORD), expected);
    assert!(reader.until_closed(SOON).is_some());
    let mut pop = mail.pop3(address, PASSWORD);
    sleep(SOON / 2);
    assert!(pop.command("NOOP").starts_with("+OK"), "who came back by another protocol stays");
    mail.mode(who, "updateIMAPStatus", json!({"imapAccessEnabled": "true"}));
    assert_eq!(mail.look(address, PASSWORD), open_account());
}

fn pop_off(mail: &MailWorld, who: &Someone) {
    let (address, mut reader) = (who.email.as_str(), mail.pop3(&who.email, PASSWORD));
    mail.mode(who, "updatePOPStatus", json!({"popAccessEnabled": "false"}));
    let mut expected = open_account();
    expected[1] = told(POP_OFF)[1].clone();
    assert_eq!(mail.look(address, PASSWORD), expected);
    assert!(reader.until_closed(SOON).is_some());
    mail.mode(who, "updatePOPStatus", json!({"popAccessEnabled": "true"}));
    assert_eq!(mail.look(address, PASSWORD), open_account());
}

fn add_alias(mail: &MailWorld, who: &Someone) {
    let alias = format!("alias.{}", who.email);
    let mut open = mail.submission(&who.email, PASSWORD);
    assert_eq!(mail.rcpt(&alias), unknown(&alias));
    mail.mode(who, "addEmailAlias", json!({"emailAlias": [alias]}));
    assert_eq!(mail.look(&alias, PASSWORD), open_account());
    assert!(open.rcpt(&alias, &who.email).starts_with("250"));
}

fn delete_alias(mail: &MailWorld, who: &Someone) {
    let alias = format!("alias.{}", who.email);
    mail.mode(who, "addEmailAlias", json!({"emailAlias": [alias]}));
    let mut open = mail.submission(&alias, PASSWORD);
    mail.mode(who, "deleteEmailAlias", json!({"emailAlias": [alias]}));
    let mut expected = shut(WRONG.map(str::to_owned));
    expected[4] = moved(&alias);
    let seen = mail.look(&alias, PASSWORD);
    assert_eq!(seen[..5], expected[..5]);
    assert!(seen[5].starts_with("550 5.1.1"), "{seen:?}");
    assert!(open.rcpt(&alias, &who.email).starts_with("553 5.7.1"), "nor as sender");
    assert!(open.rcpt(&who.email, &who.email).starts_with("250"));
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
}

fn role(mail: &MailWorld, who: &Someone) {
    let mut reader = mail.imap(&who.email, PASSWORD);
    let world = mail.world();
    let body = json!({"mode": "changeRole", "role": "admin", "userList": [who.zuid]});
    let path = format!("/api/organization/{}/accounts", world.zoid);
    mail.patiently(|| mail.block(world.put(&world.owner.org_token, &path, body.clone()))).ok();
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
    assert!(reader.is_open());
}

fn delete(mail: &MailWorld, who: &Someone) {
    let (address, key) = (who.email.as_str(), mbox(who));
    let mut open = mail.submission(address, PASSWORD);
    let (mut reader, mut pop) = (mail.imap(address, PASSWORD), mail.pop3(address, PASSWORD));
    assert!(mail.mail(address, "kept").starts_with("250"));
    mail.delivered(&key, 1);
    let world = mail.world();
    let token = &world.owner.org_token;
    mail.patiently(|| mail.block(world.with_body("DELETE", token, &world.path(who), json!({})))).ok();
    let mut expected = shut(WRONG.map(str::to_owned));
    expected[4] = unknown(address);
    let seen = mail.look(address, PASSWORD);
    assert_eq!(seen[..5], expected[..5]);
    assert!(seen[5].starts_with("550 5.1.1"), "{seen:?}");
    assert_eq!(open.rcpt(address, &mail.other), gone(&key, "g1"));
    assert!(reader.until_closed(SOON).is_some() && pop.until_closed(SOON).is_some());
    assert_eq!(mail.delivered(&key, 1), ["kept"], "the mail stays where it is");
    let retained = mail.block(async {
        let mut tx = world.app.db.read().await.expect("a connection");
        mailward::store::mailboxes::retained(&mut tx).await.expect("a list")
    });
    let found = retained.iter().find(|kept| kept.mailbox == key).expect("it is listed");
    assert_eq!((found.address.as_str(), found.organization), (address, world.zoid));
    assert_eq!(found.keep_until - found.deleted_at, 30 * mailward::clock::DAY);
}

fn app_password(mail: &MailWorld, who: &Someone) {
    let made = mail.app_password(who, json!({"name": "Telephone"}));
    assert_eq!(mail.look(&who.email, &made.password), open_account());
    assert_eq!(mail.look(&who.email, PASSWORD), open_account(), "beside the main one");
}

fn revoke_app_password(mail: &MailWorld, who: &Someone) {
    let made = mail.app_password(who, json!({"name": "Telephone"}));
    let (mut phone, mut main) =
        (mail.submission(&who.email, &made.password), mail.submission(&who.email, PASSWORD));
    mail.revoke(who, &made.id);
    assert_eq!(mail.look(&who.email, &made.password), shut(WRONG.map(str::to_owned)));
    assert_eq!(phone.rcpt(&who.email, &who.email), gone(&mbox(who), &format!("a{}", made.id)));
    assert!(main.rcpt(&who.email, &who.email).starts_with("250"));
    assert_eq!(mail.look(&who.email, PASSWORD), open_account());
}
