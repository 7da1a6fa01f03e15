//! Who receives, who may send as what, and what the other side is told.

use mailward::store::projection::MailboxState;

use super::world::{World, person, phc};

const BLOCKED: &str = "550 5.2.1 Mailbox disabled, not accepting messages";
const NO_SENDING: &str = "550 5.7.1 Sending is blocked for this account";

#[test]
fn mail_arrives_for_every_address_and_for_tags() {
    let mut ann = person(1000, "ann");
    ann.addresses.push("ann.alias@example.test".into());
    let world = World::new(&[ann, person(1001, "bob")]);
    for (to, subject) in [
        ("ann@example.test", "1 plain"),
        ("ANN@Example.TEST", "2 any case"),
        ("ann.alias@example.test", "3 alias"),
        ("ann+news@example.test", "4 tag"),
        ("ann+odd=chars*'x@example.test", "5 odd tag"),
        ("ann.alias+deep+er@example.test", "6 tag on alias"),
    ] {
        let answer = world.mail(to, subject);
        assert!(answer.starts_with("250 2.0.0 Ok"), "{to}: {answer}");
    }
    let expected = ["1 plain", "2 any case", "3 alias", "4 tag", "5 odd tag", "6 tag on alias"];
    assert_eq!(world.delivered("1000", 6), expected);
    let mut seen = world.imap("ann@example.test", "first").subjects();
    seen.sort();
    assert_eq!(seen, expected);
    assert_eq!(world.imap("bob@example.test", "first").subjects(), [""; 0]);
    assert_eq!(
        world.rcpt("nobody@example.test"),
        "550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table"
    );
    assert!(
        world.rcpt("ann@elsewhere.test").starts_with("554 5.7.1 <ann@elsewhere.test>: Relay access denied")
    );
    assert!(world.rcpt("1000@example.test").starts_with("550 5.1.1"), "the mailbox key is no address");
}

#[test]
fn a_disabled_account_loses_no_mail_unless_incoming_is_blocked() {
    let ann = || person(1000, "ann");
    let disabled = Some("Mail access for this account is disabled.".to_owned());
    let mut world = World::new(&[ann()]);
    world.set(MailboxState { gate: disabled.clone(), ..ann() });
    assert!(world.mail("ann@example.test", "while disabled").starts_with("250"));
    assert_eq!(world.delivered("1000", 1), ["while disabled"]);

    world.set(MailboxState { gate: disabled, incoming: Some(BLOCKED.into()), ..ann() });
    for to in ["ann@example.test", "ann+tag@example.test", "ANN@example.test"] {
        assert_eq!(
            world.rcpt(to),
            format!("550 5.2.1 <{to}>: Recipient address rejected: Mailbox disabled, not accepting messages")
        );
    }
    world.set(MailboxState { incoming: Some(BLOCKED.into()), ..ann() });
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3], "incoming has nothing to do with logins");
    let mut own = world.submission("ann@example.test", "first");
    assert!(own.rcpt("ann@example.test", "ann@example.test").starts_with("550 5.2.1"), "from inside, too");

    world.set(ann());
    assert!(world.mail("ann@example.test", "after").starts_with("250"));
    assert_eq!(world.delivered("1000", 2), ["after", "while disabled"]);
    assert_eq!(world.imap("ann@example.test", "first").subjects(), ["while disabled", "after"]);
}

#[test]
fn a_rename_takes_effect_in_an_open_session_and_the_mailbox_stays() {
    let mut world = World::new(&[person(1000, "ann"), person(1001, "bob")]);
    assert!(world.mail("ann@example.test", "before").starts_with("250"));
    world.delivered("1000", 1);
    let uid_validity = |world: &World, login: &str| {
        let (lines, _) = world.imap(login, "first").command("SELECT INBOX");
        lines.into_iter().find(|line| line.contains("UIDVALIDITY")).expect("a mailbox has one")
    };
    let before = uid_validity(&world, "ann@example.test");
    let mut open = world.submission("ann@example.test", "first");
    assert!(open.rcpt("ann@example.test", "bob@example.test").starts_with("250"));
    assert!(open.rcpt("anna@example.test", "bob@example.test").starts_with("553"));

    let mut renamed = person(1000, "ann");
    renamed.primary = "anna@example.test".into();
    world.set(renamed.clone());
    assert!(open.rcpt("anna@example.test", "bob@example.test").starts_with("250"), "without a new login");
    assert!(open.rcpt("anna+tag@example.test", "bob@example.test").starts_with("250"), "a tag of one's own");
    for to in ["anna@example.test", "ann@example.test"] {
        assert!(world.mail(to, "after").starts_with("250"), "{to}");
        assert_eq!(world.opens(to, "first"), [true; 3], "{to}");
    }
    assert_eq!(world.delivered("1000", 3), ["after", "after", "before"]);
    assert_eq!(uid_validity(&world, "anna@example.test"), before);

    renamed.addresses.clear();
    renamed.retired =
        vec![("ann@example.test".into(), "550 5.1.6 Mailbox has moved, no forwarding address".into())];
    world.set(renamed.clone());
    assert_eq!(
        world.rcpt("ann@example.test"),
        "550 5.1.6 <ann@example.test>: Recipient address rejected: Mailbox has moved, no forwarding address"
    );
    assert_eq!(world.opens("ann@example.test", "first"), [false; 3]);
    assert!(open.rcpt("ann@example.test", "bob@example.test").starts_with("553"));

    renamed.retired.clear();
    world.set(renamed);
    assert!(world.rcpt("ann@example.test").starts_with("550 5.1.1"), "removed");
}

#[test]
fn nobody_sends_as_somebody_else() {
    let mut world = World::new(&[person(1000, "ann"), person(1001, "bob")]);
    let mut ann = world.submission("ann@example.test", "first");
    assert_eq!(
        ann.rcpt("bob@example.test", "ann@example.test"),
        "553 5.7.1 <bob@example.test>: Sender address rejected: not owned by user 1000@g1"
    );
    assert!(ann.rcpt("nobody@example.test", "bob@example.test").starts_with("553 5.7.1"));
    assert!(ann.rcpt("ann@elsewhere.test", "bob@example.test").starts_with("553 5.7.1"));
    assert!(ann.rcpt("1000@g1", "bob@example.test").starts_with("553 5.7.1"));
    assert!(ann.send("ann@example.test", "bob@example.test", "from ann").starts_with("250"));
    assert_eq!(world.delivered("1001", 1), ["from ann"]);

    // Without a login there is no submission, and no relay.
    let mut stranger = super::clients::Smtp::connect(world.lab.submission);
    assert!(stranger.rcpt("ann@example.test", "bob@example.test").starts_with("554 5.7.1"));
    assert!(world.rcpt("somebody@elsewhere.test").starts_with("554 5.7.1"));

    // The address changes hands: the open session of its former owner cannot use it any more.
    let mut without = person(1000, "ann");
    without.addresses = vec![];
    without.primary = "anna@example.test".into();
    world.set(without);
    let mut bob = person(1001, "bob");
    bob.addresses.push("ann@example.test".into());
    world.set(bob);
    assert!(ann.rcpt("ann@example.test", "bob@example.test").starts_with("553 5.7.1"));
    assert!(
        world
            .submission("bob@example.test", "first")
            .rcpt("ann@example.test", "bob@example.test")
            .starts_with("250")
    );
}

#[test]
fn blocked_sending_is_refused_in_open_and_in_new_sessions_also_without_a_sender() {
    let mut world = World::new(&[person(1000, "ann"), person(1001, "bob")]);
    let mut open = world.submission("ann@example.test", "first");
    assert!(open.rcpt("ann@example.test", "bob@example.test").starts_with("250"));
    assert!(open.rcpt("", "bob@example.test").starts_with("250"));
    world.set(MailboxState { sending: Some(NO_SENDING.into()), ..person(1000, "ann") });
    let refusal = "550 5.7.1 <1000@g1>: SASL login name rejected: Sending is blocked for this account";
    assert_eq!(open.rcpt("ann@example.test", "bob@example.test"), refusal);
    assert_eq!(open.rcpt("", "bob@example.test"), refusal);
    let mut new = world.submission("ann@example.test", "first");
    assert_eq!(new.rcpt("ann@example.test", "bob@example.test"), refusal);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert!(world.mail("ann@example.test", "still receives").starts_with("250"));
    world.set(person(1000, "ann"));
    assert!(new.rcpt("ann@example.test", "bob@example.test").starts_with("250"));
}

#[test]
fn an_open_submission_ends_with_its_credential() {
    let mut ann = person(1000, "ann");
    ann.app_passwords = vec![super::world::app_password(6, "phone"), super::world::app_password(7, "laptop")];
    let mut world = World::new(&[ann.clone(), person(1001, "bob")]);
    let [mut main, mut main2, mut main3] =
        std::array::from_fn(|_| world.submission("ann@example.test", "first"));
    let [mut phone, mut laptop] = ["phone", "laptop"].map(|app| world.submission("ann@example.test", app));
    for session in [&mut main, &mut main2, &mut main3, &mut phone, &mut laptop] {
        assert!(session.rcpt("ann@example.test", "bob@example.test").starts_with("250"));
    }

    ann.generation = 2;
    ann.password_phc = Some(phc("second"));
    ann.app_passwords.remove(0);
    world.set(ann.clone());
    let gone = |name: &str| {
        format!("421 4.7.0 <{name}>: SASL login name rejected: Credentials changed, log in again")
    };
    assert_eq!(main.rcpt("ann@example.test", "bob@example.test"), gone("1000@g1"));
    assert_eq!(main.command("NOOP"), "(closed)", "Postfix closes it");
    assert_eq!(main2.rcpt("", "bob@example.test"), gone("1000@g1"), "the empty sender, too");
    assert_eq!(phone.rcpt("ann@example.test", "bob@example.test"), gone("1000@a6"));
    assert!(
        laptop.rcpt("ann@example.test", "bob@example.test").starts_with("250"),
        "another credential goes on"
    );

    world.set(MailboxState { gate: Some("Mail access for this account is disabled".into()), ..ann });
    assert_eq!(
        laptop.rcpt("ann@example.test", "bob@example.test"),
        "550 5.7.1 <1000@a7>: SASL login name rejected: Mail access for this account is disabled"
    );
    world.remove(1000);
    assert_eq!(main3.rcpt("", "bob@example.test"), gone("1000@g1"), "an account that is gone");
}
