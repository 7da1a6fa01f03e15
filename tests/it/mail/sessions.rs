//! Ending sessions that are open: exactly the ones that shall end.

use std::time::{Duration, Instant};

use mailward::mailserver::doveadm::DoveadmError;
use mailward::store::projection::MailboxState;

use super::clients::Imap;
use super::world::{World, all, app_password, exact, person, phc};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn sessions_carry_the_credential_that_opened_them() {
    let mut ann = person(1000, "ann");
    ann.app_passwords = vec![app_password(7, "phone")];
    let world = World::new(&[ann, person(1001, "bob")]);
    assert_eq!(world.ask(async |doveadm| doveadm.check().await), Ok(()));
    let _sessions = (
        world.imap("ann@example.test", "first"),
        world.pop3("ann@example.test", "first"),
        world.imap("ann@example.test", "phone"),
        world.pop3("bob@example.test", "first"),
    );
    world.expect_who(&["1000@a7", "1000@g1", "1000@g1", "1001@g1"]);
    let sessions = world.sessions();
    assert!(sessions.iter().all(|session| session.pid.is_some() && session.ip.is_some()), "{sessions:?}");
    assert_eq!(sessions.iter().filter(|session| session.service == "pop3").count(), 2);
    // One mailbox under all names.
    assert!(world.mail("ann@example.test", "hello").starts_with("250"));
    world.delivered("1000", 1);
    assert_eq!(world.imap("ann@example.test", "phone").subjects(), ["hello"]);
}

#[test]
fn a_reset_ends_the_sessions_of_the_old_password_and_no_other() {
    let mut ann = person(1000, "ann");
    ann.app_passwords = vec![app_password(7, "phone")];
    let mut world = World::new(&[ann.clone(), person(1001, "bob")]);
    let mut old = world.imap("ann@example.test", "first");
    let mut idle = world.imap("ann@example.test", "first");
    idle.idle();
    let mut old_pop = world.pop3("ann@example.test", "first");
    let mut phone = world.imap("ann@example.test", "phone");
    let mut bob = world.imap("bob@example.test", "first");

    ann.generation = 2;
    ann.password_phc = Some(phc("second"));
    world.set(ann);
    assert!(old.is_open(), "the projection alone ends nothing that is open");
    let mut new = world.imap("ann@example.test", "second");
    world.expect_who(&["1000@a7", "1000@g1", "1000@g1", "1000@g1", "1000@g2", "1001@g1"]);
    let start = Instant::now();
    assert_eq!(world.kick(exact("1000", "g1")), 3);
    let (took, words) = idle.until_closed(SOON).expect("the idle session ends");
    assert!(words.iter().any(|line| line == "* BYE Server shutting down."), "{words:?}");
    assert!(old.until_closed(SOON).is_some() && old_pop.until_closed(SOON).is_some());
    println!("call to disconnect: {took:?} after the answer, {:?} in all", start.elapsed());
    assert!(new.is_open() && phone.is_open() && bob.is_open());
    world.expect_who(&["1000@a7", "1000@g2", "1001@g1"]);
    assert_eq!(world.kick(exact("1000", "g1")), 0, "nobody there is a success");
    assert!(new.is_open(), "a sweep that comes later leaves the new session alone");
}

#[test]
fn a_disable_ends_every_session_of_the_mailbox_and_no_neighbour() {
    let mut ann = person(100, "ann");
    ann.app_passwords = vec![app_password(7, "phone")];
    let mut world = World::new(&[ann.clone(), person(1001, "bob")]);
    let [mut one, mut two] = ["first", "phone"].map(|password| world.imap("ann@example.test", password));
    let mut three = world.pop3("ann@example.test", "phone");
    let mut bob = world.imap("bob@example.test", "first");
    world.expect_who(&["1001@g1", "100@a7", "100@a7", "100@g1"]);
    world.set(MailboxState { gate: Some("off".into()), ..ann });
    assert_eq!(world.kick(all("100")), 3);
    assert!(one.until_closed(SOON).is_some() && two.until_closed(SOON).is_some());
    assert!(three.until_closed(SOON).is_some());
    assert!(bob.is_open());
    world.expect_who(&["1001@g1"]);
}

#[test]
fn revoking_one_app_password_ends_its_sessions_alone() {
    let mut ann = person(1000, "ann");
    ann.app_passwords = vec![app_password(6, "phone"), app_password(67, "laptop")];
    let mut world = World::new(&[ann.clone()]);
    let mut phone = world.imap("ann@example.test", "phone");
    let mut phone_pop = world.pop3("ann@example.test", "phone");
    let [mut laptop, mut main] = ["laptop", "first"].map(|password| world.imap("ann@example.test", password));
    world.expect_who(&["1000@a6", "1000@a6", "1000@a67", "1000@g1"]);
    ann.app_passwords.remove(0);
    world.set(ann);
    assert_eq!(world.kick(exact("1000", "a6")), 2);
    assert!(phone.until_closed(SOON).is_some() && phone_pop.until_closed(SOON).is_some());
    assert!(laptop.is_open() && main.is_open());
}

#[test]
fn many_masks_end_many_sessions_in_one_call() {
    let people: Vec<_> = (1..=8).map(|n| person(n, &format!("p{n}"))).collect();
    let world = World::new(&people);
    let mut sessions: Vec<_> = (1..=8).map(|n| world.imap(&format!("p{n}@example.test"), "first")).collect();
    world.expect_who(
        &(1..=8)
            .map(|n| format!("{n}@g1"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    let masks: Vec<_> = (1..=120).map(|n| exact(&n.to_string(), "g1")).collect();
    let start = Instant::now();
    let ended = world.ask(async |doveadm| doveadm.kick(&masks).await).expect("doveadm answers");
    println!("120 masks: {:?}", start.elapsed());
    assert_eq!(ended.iter().map(|ended| ended.sessions).sum::<u64>(), 8);
    assert!(sessions.iter_mut().all(|session| session.until_closed(SOON).is_some()));
}

#[test]
fn a_login_whose_credential_died_meanwhile_finds_no_user() {
    let mut world = World::new(&[person(1000, "ann")]);
    let doveadm = |world: &World, name: &str| {
        let out = std::process::Command::new("doveadm")
            .arg("-c")
            .arg(world.dir.path.join("dovecot/dovecot.conf"))
            .args(["user", "-f", "home", name])
            .output()
            .expect("doveadm can be run");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    let home = world.dir.path.join("mail/1000").display().to_string();
    for name in ["1000", "ann@example.test", "1000@g1"] {
        assert_eq!(doveadm(&world, name), home, "{name}");
    }
    assert_eq!(doveadm(&world, "1000@g2"), "", "not born yet");
    world.set(MailboxState { generation: 2, ..person(1000, "ann") });
    assert_eq!([doveadm(&world, "1000@g1"), doveadm(&world, "1000@g2")], [String::new(), home.clone()]);
    world.set(MailboxState { generation: 2, gate: Some("off".into()), ..person(1000, "ann") });
    assert_eq!(doveadm(&world, "1000@g2"), "", "the gate is asked again");
    assert_eq!(doveadm(&world, "ann@example.test"), home, "mail still finds its way");
}

#[test]
fn a_wrong_key_and_a_stopped_server_are_told_apart_and_nothing_is_lost() {
    let mut world = World::new(&[person(1000, "ann")]);
    let key = world.dir.path.join("doveadm.key");
    std::fs::write(&key, "another key\n").expect("writes");
    assert_eq!(world.ask(async |doveadm| doveadm.check().await), Err(DoveadmError::WrongKey));
    std::fs::write(&key, "lab-doveadm-key\n").expect("writes");
    assert_eq!(world.ask(async |doveadm| doveadm.check().await), Ok(()));

    world.lab.stop_dovecot();
    let answer = world.ask(async |doveadm| doveadm.kick(&[all("1000")]).await);
    assert!(matches!(answer, Err(DoveadmError::Unreachable(_))), "{answer:?}");
    // The change comes while Dovecot is down; its first login after the start is refused.
    world.set(MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") });
    world.lab.start_dovecot();
    let answer = Imap::connect(world.lab.imap).login("ann@example.test", "first");
    assert_eq!(answer, "NO [AUTHENTICATIONFAILED] Authentication failed.");
    assert_eq!(world.opens("ann@example.test", "second"), [true; 3]);
}
