//! Who gets in, protocol by protocol, and what the others are told.

use mailward::store::projection::{AppPassword, IMAP_OFF, MailboxState, POP_OFF, SMTP_OFF};

use super::clients::Imap;
use super::world::{World, app_password, person, phc};

const DISABLED: &str = "Mail access for this account is disabled. Contact your administrator.";
const WRONG: [&str; 3] = [
    "NO [AUTHENTICATIONFAILED] Authentication failed.",
    "-ERR [AUTH] Authentication failed.",
    "535 5.7.8 Error: authentication failed: (reason unavailable)",
];

fn told(reason: &str) -> [String; 3] {
    [
        format!("NO [ALERT] {reason}"),
        format!("-ERR [AUTH] {reason}"),
        format!("535 5.7.8 Error: authentication failed: {reason}"),
    ]
}

#[test]
fn the_right_password_opens_every_protocol_and_a_wrong_one_none() {
    let world = World::new(&[person(1000, "ann")]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert_eq!(world.opens("Ann@EXAMPLE.test", "first"), [true; 3], "any case");
    assert_eq!(world.logins("ann@example.test", "wrong"), WRONG);
    assert_eq!(world.logins("nobody@example.test", "first"), WRONG);
    assert_eq!(world.logins("1000", "first"), WRONG, "the mailbox key is no login name");
    assert_eq!(world.logins("1000@g1", "first"), WRONG, "a session name is no login name");
}

#[test]
fn a_new_password_works_at_the_next_login_and_the_old_one_does_not() {
    let mut world = World::new(&[person(1000, "ann")]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    world.set(MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") });
    assert_eq!(world.opens("ann@example.test", "second"), [true; 3]);
    assert_eq!(world.logins("ann@example.test", "first"), WRONG);
    world.set(MailboxState { password_phc: None, generation: 3, ..person(1000, "ann") });
    assert_eq!(world.logins("ann@example.test", "second"), WRONG, "no password at all");
    world.remove(1000);
    assert_eq!(world.logins("ann@example.test", "second"), WRONG, "no account");
}

#[test]
fn a_disabled_account_says_why_to_the_right_password_only() {
    let mut world = World::new(&[person(1000, "ann")]);
    let ann = MailboxState { app_passwords: vec![app_password(7, "for-the-phone")], ..person(1000, "ann") };
    world.set(MailboxState { gate: Some(DISABLED.into()), ..ann.clone() });
    assert_eq!(world.logins("ann@example.test", "first"), told(DISABLED));
    assert_eq!(world.logins("ann@example.test", "for-the-phone"), told(DISABLED));
    assert_eq!(world.logins("ann@example.test", "wrong"), WRONG);
    world.set(ann);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert_eq!(world.opens("ann@example.test", "for-the-phone"), [true; 3]);
}

#[test]
fn a_protocol_that_is_off_refuses_with_its_reason_and_the_others_work() {
    let ann = || person(1000, "ann");
    let mut world = World::new(&[ann()]);
    for (state, off, reason) in [
        (MailboxState { imap: false, ..ann() }, 0, IMAP_OFF),
        (MailboxState { pop: false, ..ann() }, 1, POP_OFF),
        (MailboxState { smtp_login: false, ..ann() }, 2, SMTP_OFF),
    ] {
        world.set(state);
        let answers = world.logins("ann@example.test", "first");
        assert_eq!(answers[off], told(reason)[off]);
        let mut expected = [true; 3];
        expected[off] = false;
        assert_eq!(world.opens("ann@example.test", "first"), expected);
        assert_eq!(world.logins("ann@example.test", "wrong"), WRONG);
    }
    world.set(MailboxState { imap: false, gate: Some(DISABLED.into()), ..ann() });
    assert_eq!(world.logins("ann@example.test", "first"), told(DISABLED), "the general reason wins");
}

#[test]
fn app_passwords_open_their_protocols_until_they_end() {
    let passwords = vec![
        app_password(6, "phone"),
        app_password(7, "laptop"),
        AppPassword { pop: false, smtp: false, ..app_password(8, "reader") },
        AppPassword { imap: false, pop: false, ..app_password(9, "printer") },
        AppPassword { expires_at: Some(1_000_000_000_000), ..app_password(10, "expired") },
        AppPassword { expires_at: Some(9_000_000_000_000), ..app_password(11, "guest") },
    ];
    let ann = MailboxState { app_passwords: passwords, ..person(1000, "ann") };
    let mut world = World::new(std::slice::from_ref(&ann));
    let opens = |world: &World, password| world.opens("ann@example.test", password);
    assert_eq!(opens(&world, "first"), [true; 3]);
    assert_eq!(opens(&world, "phone"), [true; 3]);
    assert_eq!(opens(&world, "laptop"), [true; 3]);
    assert_eq!(opens(&world, "reader"), [true, false, false]);
    assert_eq!(opens(&world, "printer"), [false, false, true]);
    assert_eq!(opens(&world, "guest"), [true; 3]);
    assert_eq!(world.logins("ann@example.test", "expired"), WRONG);

    let mut revoked = ann;
    revoked.app_passwords.remove(0);
    world.set(revoked.clone());
    assert_eq!(world.logins("ann@example.test", "phone"), WRONG);
    assert_eq!(opens(&world, "laptop"), [true; 3]);

    revoked.password_phc = None;
    world.set(revoked);
    assert_eq!(opens(&world, "first"), [false; 3]);
    assert_eq!(opens(&world, "laptop"), [true; 3], "app passwords need no main password");
}

#[test]
fn a_login_name_with_sql_in_it_is_only_a_wrong_login() {
    let world = World::new(&[person(1000, "ann")]);
    for name in [
        "x' OR '1'='1",
        "ann@example.test' --",
        "ann@example.test%",
        "%Lu",
        "ann@example.test' UNION SELECT 1",
    ] {
        let answer = Imap::connect(world.lab.imap).login(name, "first");
        assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{name}: {answer}");
    }
    let answer = Imap::connect(world.lab.imap).login("ann@example.test", "' OR '1'='1");
    assert_eq!(answer, WRONG[0]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
}
