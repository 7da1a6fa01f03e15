use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::clock::{Clock, MINUTE, SECOND};

struct World {
    dir: tempfile::TempDir,
    projection: Projection,
    domains: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let projection = Projection::open(options(dir.path())).expect("the projection opens");
        Self { dir, projection, domains: vec!["example.test".into()] }
    }

    fn filled() -> Self {
        let mut world = Self::new();
        world.rebuild();
        world
    }

    fn rebuild(&mut self) -> Rebuilt {
        let states = people().into_iter().map(Ok);
        self.projection.rebuild(10, states, &self.domains).expect("the rebuild works")
    }

    fn verify(&mut self) -> Drift {
        self.projection
            .verify(people().into_iter().map(Ok), &self.domains)
            .expect("the files can be verified")
    }

    fn auth(&self) -> Connection {
        Connection::open(self.dir.path().join("auth/auth.sqlite")).expect("the auth file opens")
    }

    fn maps(&self) -> Connection {
        Connection::open(self.dir.path().join("maps/maps.sqlite")).expect("the maps file opens")
    }

    fn apply(&mut self, upto: i64, state: MailboxState) -> Applied {
        let change = Change::whole(state.account_id, Some(state));
        self.projection.apply(upto - 1, upto, &[change], None).expect("the files can be written")
    }
}

fn options(dir: &Path) -> Options {
    Options {
        auth_dir: dir.join("auth"),
        maps_dir: dir.join("maps"),
        auth_group: None,
        maps_group: None,
        instance: "main".into(),
    }
}

fn person(account_id: i64, name: &str) -> MailboxState {
    MailboxState {
        cut_off_minutes: None,
        account_id,
        mbox: account_id.to_string(),
        generation: 1,
        password_phc: Some(format!("$argon2id$of-{name}")),
        password_until: None,
        gate: None,
        gate_is_mains: false,
        imap: true,
        pop: true,
        smtp_login: true,
        sending: None,
        incoming: None,
        addresses: vec![format!("{name}@example.test"), format!("{name}.alias@example.test")],
        primary: format!("{name}@example.test"),
        app_passwords: vec![AppPassword {
            id: account_id * 10,
            digest_hex: format!("{account_id:064x}"),
            imap: true,
            pop: false,
            smtp: true,
            expires_at: None,
        }],
        retired: vec![(format!("{name}.old@example.test"), "550 5.1.6 Mailbox has moved".into())],
    }
}

fn people() -> Vec<MailboxState> {
    vec![person(1, "ann"), person(2, "bob"), person(3, "cid")]
}

fn list(conn: &Connection, query: &str) -> Vec<String> {
    let mut statement = conn.prepare(query).expect("the view exists");
    let columns = statement.column_count();
    statement
        .query_map([], |row| {
            (0..columns)
                .map(|i| row.get::<_, Option<String>>(i).map(|v| v.unwrap_or_default()))
                .collect::<rusqlite::Result<Vec<_>>>()
                .map(|row| row.join(" "))
        })
        .expect("the view can be asked")
        .collect::<rusqlite::Result<_>>()
        .expect("the rows can be read")
}

#[test]
fn a_rebuilt_projection_holds_the_position_and_is_clean() {
    let mut world = World::new();
    assert_eq!(world.projection.position(), None);
    assert_eq!(world.rebuild().accounts, 3);
    assert_eq!(world.projection.position(), Some(10));
    assert_eq!(world.verify(), Drift::default());
}

#[test]
fn the_views_answer_as_the_contract_says() {
    let world = World::filled();
    let auth = world.auth();
    assert_eq!(
        list(&auth, "SELECT login, mbox, session, pw FROM mp_login WHERE login = 'ann@example.test'"),
        ["ann@example.test 1 1@g1 $argon2id$of-ann"]
    );
    assert_eq!(
        list(&auth, "SELECT protocol, session FROM mp_app WHERE login = 'ann.alias@example.test'"),
        ["imap 1@a10", "smtp 1@a10"]
    );
    assert_eq!(list(&auth, "SELECT mbox FROM mp_gate"), [""; 0]);
    assert_eq!(list(&auth, "SELECT cred FROM mp_session WHERE mbox = '1'"), ["g1", "a10"]);
    assert_eq!(list(&auth, "SELECT mbox FROM mp_user WHERE name IN ('1', 'ann@example.test')"), ["1", "1"]);
    let maps = world.maps();
    assert_eq!(list(&maps, "SELECT mbox FROM mp_mailbox WHERE address = 'ann.alias@example.test'"), ["1"]);
    assert_eq!(list(&maps, "SELECT mbox FROM mp_mailbox WHERE address = 'ann.old@example.test'"), [""; 0]);
    assert_eq!(
        list(&maps, "SELECT action FROM mp_rcpt WHERE address = 'ann.old@example.test'"),
        ["550 5.1.6 Mailbox has moved"]
    );
    assert_eq!(
        list(&maps, "SELECT login FROM mp_sender WHERE address = 'ann@example.test'"),
        ["1@g1", "1@a10"]
    );
    assert_eq!(list(&maps, "SELECT cred, action FROM mp_sasl WHERE mbox = '1'"), ["g1 DUNNO", "a10 DUNNO"]);
    assert_eq!(list(&maps, "SELECT name FROM mp_domain"), ["example.test"]);
}

#[test]
fn a_general_gate_hides_the_ones_per_protocol_so_that_one_row_answers() {
    let mut world = World::filled();
    let ann = MailboxState { imap: false, pop: false, ..person(1, "ann") };
    assert_eq!(world.apply(11, ann.clone()), Applied::Done);
    assert_eq!(list(&world.auth(), "SELECT protocol FROM mp_gate WHERE mbox = '1'"), ["imap", "pop3"]);
    assert_eq!(world.apply(12, MailboxState { gate: Some("off".into()), ..ann }), Applied::Done);
    assert_eq!(list(&world.auth(), "SELECT protocol, reason FROM mp_gate WHERE mbox = '1'"), ["* off"]);
    assert_eq!(
        list(&world.maps(), "SELECT action FROM mp_sasl WHERE mbox = '1' AND cred = 'g1'"),
        ["550 5.7.1 off"]
    );
}

#[test]
fn a_refusal_text_cannot_become_a_permission() {
    let mut world = World::filled();
    let ann = MailboxState {
        sending: Some("OK\n250".into()),
        incoming: Some("DISCARD".into()),
        ..person(1, "ann")
    };
    assert_eq!(world.apply(11, ann), Applied::Done);
    assert_eq!(
        list(&world.maps(), "SELECT DISTINCT action FROM mp_sasl WHERE mbox = '1'"),
        ["550 5.7.1 OK 250"]
    );
    assert_eq!(
        list(&world.maps(), "SELECT action FROM mp_rcpt WHERE address = 'ann@example.test'"),
        ["550 5.2.1 DISCARD"]
    );
}

#[test]
fn an_expired_app_password_is_gone_from_every_view_without_a_write() {
    let mut world = World::filled();
    let mut ann = person(1, "ann");
    ann.app_passwords[0].expires_at = Some(1_000_000_000_000);
    assert_eq!(world.apply(11, ann.clone()), Applied::Done);
    assert_eq!(list(&world.auth(), "SELECT session FROM mp_app WHERE mbox = '1'"), [""; 0]);
    assert_eq!(list(&world.auth(), "SELECT cred FROM mp_session WHERE mbox = '1'"), ["g1"]);
    assert_eq!(list(&world.maps(), "SELECT cred FROM mp_sasl WHERE mbox = '1'"), ["g1"]);
    ann.app_passwords[0].expires_at = Some(99_000_000_000_000);
    assert_eq!(world.apply(12, ann), Applied::Done);
    assert_eq!(list(&world.maps(), "SELECT cred FROM mp_sasl WHERE mbox = '1'"), ["g1", "a10"]);
}

#[test]
fn applying_twice_is_harmless_and_a_gap_is_noticed() {
    let mut world = World::filled();
    let ann = MailboxState { generation: 2, ..person(1, "ann") };
    assert_eq!(world.apply(11, ann.clone()), Applied::Done);
    assert_eq!(world.apply(11, person(1, "ann")), Applied::AlreadyThere);
    assert_eq!(world.apply(20, ann), Applied::Behind { have: 11 });
    assert_eq!(
        list(&world.auth(), "SELECT session FROM mp_login WHERE login = 'ann@example.test'"),
        ["1@g2"]
    );
    assert_eq!(world.projection.position(), Some(11));
}

/// What an agent is brought, after it was killed between the two files.
#[test]
fn a_part_reaches_both_files_also_where_one_had_got_further_before() {
    let mut world = World::filled();
    world.auth().execute("UPDATE projection SET position = 15", []).expect("further");
    let new = |account_id: i64, name: &str| {
        [Change::whole(account_id, Some(MailboxState { generation: 2, ..person(account_id, name) }))]
    };
    assert_eq!(world.projection.position(), Some(10));
    assert_eq!(world.projection.take(10, 10, &new(1, "ann"), None).expect("written"), Applied::Done);
    assert_eq!(world.projection.position(), Some(10), "there is more to come");
    assert_eq!(world.projection.take(10, 15, &new(2, "bob"), None).expect("written"), Applied::Done);
    assert_eq!(world.projection.position(), Some(15));
    let now = "SELECT mbox || '@' || cred FROM mp_session WHERE cred LIKE 'g%' AND mbox IN ('1', '2') ORDER BY mbox";
    assert_eq!(list(&world.auth(), now), ["1@g2", "2@g2"]);
    let now =
        "SELECT mbox || '@' || cred FROM mp_sasl WHERE cred LIKE 'g%' AND mbox IN ('1', '2') ORDER BY mbox";
    assert_eq!(list(&world.maps(), now).into_iter().collect::<BTreeSet<_>>().len(), 2);
    assert!(list(&world.maps(), now).iter().all(|line| line.ends_with("@g2")));
    let gap = world.projection.take(16, 17, &new(3, "cid"), None).expect("looked at");
    assert_eq!(gap, Applied::Behind { have: 15 });
}

#[test]
fn a_part_of_a_change_moves_no_position() {
    let mut world = World::filled();
    let part = [Change::whole(1, None)];
    assert_eq!(world.projection.apply_part(10, 12, &part).expect("written"), Applied::Done);
    assert_eq!(world.projection.position(), Some(10));
    assert_eq!(list(&world.auth(), "SELECT cred FROM mp_session WHERE mbox = '1'"), [""; 0]);
    assert_eq!(world.projection.apply_part(11, 12, &part).expect("looked at"), Applied::Behind { have: 10 });
    assert_eq!(world.projection.apply_part(5, 10, &part).expect("looked at"), Applied::AlreadyThere);
}

#[test]
fn a_state_without_belongings_leaves_those_that_are_there() {
    let mut world = World::filled();
    let mut all = people();
    all[0].gate = Some("Disabled".to_owned());
    let state = MailboxState {
        addresses: Vec::new(),
        app_passwords: Vec::new(),
        retired: Vec::new(),
        ..all[0].clone()
    };
    let change =
        Change { account_id: state.account_id, state: Some(state), extent: Extent::WithoutBelongings };
    assert_eq!(world.projection.apply(10, 11, &[change], None).expect("writes"), Applied::Done);
    assert!(!world.verify().accounts.is_empty(), "the gate is another one");
    let drift = world.projection.verify(all.into_iter().map(Ok), &world.domains).expect("verifies");
    assert!(drift.is_clean(), "{drift:?}");
}

#[test]
fn addresses_can_change_hands_in_one_batch() {
    let mut world = World::filled();
    let swap = [
        Change::whole(1, Some(MailboxState { account_id: 1, mbox: "1".into(), ..person(1, "bob") })),
        Change::whole(2, Some(MailboxState { account_id: 2, mbox: "2".into(), ..person(2, "ann") })),
        Change::whole(3, None),
    ];
    assert_eq!(world.projection.apply(10, 12, &swap, Some(&[])).expect("writes"), Applied::Done);
    assert_eq!(list(&world.maps(), "SELECT mbox FROM mp_mailbox WHERE address = 'ann@example.test'"), ["2"]);
    assert_eq!(
        list(&world.maps(), "SELECT mbox FROM mp_mailbox WHERE address = 'bob.alias@example.test'"),
        ["1"]
    );
    assert_eq!(list(&world.auth(), "SELECT name FROM mp_user WHERE mbox = '3'"), [""; 0]);
    assert_eq!(list(&world.maps(), "SELECT name FROM mp_domain"), [""; 0]);
}

#[test]
fn rows_altered_by_hand_are_found_and_repaired() {
    let mut world = World::filled();
    world.auth().execute("UPDATE account SET pw = 'stolen' WHERE account_id = 2", []).expect("alters");
    world.maps().execute("DELETE FROM address WHERE address = 'cid@example.test'", []).expect("alters");
    world.auth().execute("INSERT INTO address VALUES (77, 'ghost@example.test')", []).expect("alters");
    world.maps().execute("INSERT INTO domain VALUES ('other.test')", []).expect("alters");
    let drift = world.verify();
    assert_eq!(drift.accounts.iter().copied().collect::<Vec<_>>(), [2, 3, 77]);
    assert!(drift.domains && drift.needs_rebuild.is_none());

    let all = people();
    let changes: Vec<_> = drift
        .accounts
        .iter()
        .map(|&account_id| {
            Change::whole(account_id, all.iter().find(|p| p.account_id == account_id).cloned())
        })
        .collect();
    let domains = world.domains.clone();
    assert_eq!(world.projection.repair(10, &changes, Some(&domains)).expect("repairs"), Applied::Done);
    assert!(world.verify().is_clean());
    assert_eq!(world.projection.position(), Some(10));
}

#[test]
fn an_older_state_is_no_repair() {
    let mut world = World::filled();
    assert_eq!(world.apply(11, person(1, "ann")), Applied::Done);
    assert_eq!(world.projection.repair(10, &[], None).expect("asks"), Applied::Behind { have: 11 });
}

#[test]
fn a_changed_view_or_a_dropped_table_asks_for_a_rebuild() {
    for damage in [
        "DROP VIEW mp_gate",
        "DROP TABLE app_password",
        "UPDATE contract SET version = 9",
        "DELETE FROM projection",
    ] {
        let mut world = World::filled();
        world.auth().execute_batch(damage).expect("alters");
        let mut reopened = Projection::open(options(world.dir.path())).expect("opens");
        assert_eq!(reopened.position(), None, "{damage}");
        let domains = world.domains.clone();
        reopened.rebuild(11, people().into_iter().map(Ok), &domains).expect("rebuilds");
        assert_eq!(reopened.position(), Some(11), "{damage}");
        assert!(reopened.verify(people().into_iter().map(Ok), &domains).expect("verifies").is_clean());
        // The one that had it open goes on with the same file.
        assert_eq!(world.apply(12, person(1, "ann")), Applied::Done, "{damage}");
    }
}

#[test]
fn a_file_of_another_database_is_not_believed() {
    let world = World::filled();
    let options = Options { instance: "restored".into(), ..options(world.dir.path()) };
    assert_eq!(Projection::open(options).expect("opens").position(), None);
}

#[test]
fn garbage_in_a_file_is_emptied_in_place_while_a_reader_has_it_open() {
    for truncate in [false, true] {
        let mut world = World::filled();
        let reader = world.auth();
        assert_eq!(list(&reader, "SELECT mbox FROM mp_login").len(), 6);
        let path = world.dir.path().join("auth/auth.sqlite");
        let inode = fs::metadata(&path).expect("exists").ino();
        let mut file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        if truncate {
            file.set_len(5000).expect("truncates");
        } else {
            file.seek(std::io::SeekFrom::Start(0)).expect("seeks");
            file.write_all(&[0x5a; 20_000]).expect("overwrites");
        }
        assert!(world.verify().needs_rebuild.is_some(), "truncated: {truncate}");
        let rebuilt = world.rebuild();
        assert!(!rebuilt.reload_servers, "truncated: {truncate}");
        assert_eq!(fs::metadata(&path).expect("exists").ino(), inode);
        assert!(world.verify().is_clean());
        assert_eq!(world.apply(11, MailboxState { generation: 7, ..person(1, "ann") }), Applied::Done);
        let seen = list(&reader, "SELECT session FROM mp_login WHERE login = 'ann@example.test'");
        assert_eq!(seen, ["1@g7"], "truncated: {truncate}");
    }
}

#[test]
fn a_deleted_file_is_made_again_and_servers_that_still_read_it_stay_up_to_date() {
    let mut world = World::filled();
    let server = world.auth();
    assert_eq!(list(&server, "SELECT session FROM mp_login WHERE login = 'ann@example.test'"), ["1@g1"]);
    for name in ["auth.sqlite", "auth.sqlite-wal", "auth.sqlite-shm"] {
        fs::remove_file(world.dir.path().join("auth").join(name)).expect("removes");
    }
    assert!(matches!(world.apply(11, person(1, "ann")), Applied::NeedsRebuild { .. }));
    assert_eq!(world.projection.position(), None);
    assert!(world.verify().needs_rebuild.is_some());
    assert!(world.rebuild().reload_servers);
    assert!(world.verify().is_clean());
    assert_eq!(world.apply(11, MailboxState { generation: 5, ..person(1, "ann") }), Applied::Done);
    for conn in [world.auth(), server] {
        assert_eq!(list(&conn, "SELECT session FROM mp_login WHERE login = 'ann@example.test'"), ["1@g5"]);
    }
}

#[test]
fn a_failing_source_leaves_the_old_rows() {
    let mut world = World::filled();
    let states = people().into_iter().take(1).map(Ok).chain([Err(Error::internal("the database went away"))]);
    assert!(world.projection.rebuild(50, states, &[]).is_err());
    assert_eq!(world.projection.position(), Some(10));
    assert!(world.verify().is_clean());
}

#[test]
fn modes_are_for_the_group_whatever_the_umask_and_are_mended() {
    let world = World::filled();
    let reader = world.auth();
    assert_eq!(list(&reader, "SELECT name FROM mp_user").len(), 9);
    let mode = |path: &str| fs::metadata(world.dir.path().join(path)).expect("exists").mode() & 0o7777;
    assert_eq!([mode("auth"), mode("maps")], [0o2770; 2]);
    assert_eq!(
        [mode("auth/auth.sqlite"), mode("auth/auth.sqlite-wal"), mode("maps/maps.sqlite-shm")],
        [0o660; 3]
    );

    fs::set_permissions(world.dir.path().join("auth/auth.sqlite"), fs::Permissions::from_mode(0o644))
        .expect("sets");
    let mut world = world;
    assert_eq!(world.verify().permissions.len(), 1);
    world.projection = Projection::open(options(world.dir.path())).expect("opens");
    assert!(world.verify().is_clean());
}

#[test]
fn no_secret_of_a_login_is_in_the_file_for_postfix() {
    let mut world = World::filled();
    assert_eq!(world.apply(11, MailboxState { generation: 3, ..person(1, "ann") }), Applied::Done);
    let digest = format!("{:064x}", 1);
    for name in ["maps.sqlite", "maps.sqlite-wal"] {
        let bytes = fs::read(world.dir.path().join("maps").join(name)).expect("reads");
        for secret in ["argon2id", digest.as_str()] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} in {name}"
            );
        }
    }
}

#[test]
fn a_password_whose_time_has_ended_opens_nothing_though_nobody_took_it_away() {
    let mut world = World::filled();
    let now = Clock::System.now();
    let logins = |world: &World| -> (i64, i64, i64) {
        let count =
            |conn: &Connection, sql: &str| conn.query_row(sql, [], |row| row.get(0)).expect("a count");
        (
            count(&world.auth(), "SELECT COUNT(*) FROM mp_login WHERE login = 'ann@example.test'"),
            count(&world.auth(), "SELECT COUNT(*) FROM mp_session WHERE mbox = '1' AND cred = 'g1'"),
            count(&world.maps(), "SELECT COUNT(*) FROM mp_sasl WHERE mbox = '1' AND cred = 'g1'"),
        )
    };
    let until = |until| MailboxState { password_until: Some(until), ..person(1, "ann") };
    assert_eq!(world.apply(11, until(now + MINUTE)), Applied::Done);
    assert_eq!(logins(&world), (1, 1, 1));
    assert_eq!(world.apply(12, until(now - SECOND)), Applied::Done);
    assert_eq!(logins(&world), (0, 0, 0));
    assert_eq!(world.apply(13, person(1, "ann")), Applied::Done);
    assert_eq!(logins(&world), (1, 1, 1));
}

#[test]
fn every_look_up_of_the_contract_uses_an_index() {
    let world = World::filled();
    let auth = [
        "SELECT session, pw FROM mp_login WHERE login = ?1",
        "SELECT session FROM mp_app WHERE login = ?1 AND digest = ?2 AND protocol = ?3",
        "SELECT reason FROM mp_gate WHERE mbox = ?1 AND protocol IN (?2, '*')",
        "SELECT mbox FROM mp_user WHERE name = ?1",
        "SELECT mbox FROM mp_session WHERE mbox = ?1 AND cred = ?2",
    ];
    let maps = [
        "SELECT mbox FROM mp_mailbox WHERE address = ?1",
        "SELECT action FROM mp_rcpt WHERE address = ?1",
        "SELECT login FROM mp_sender WHERE address = ?1",
        "SELECT action FROM mp_sasl WHERE mbox = ?1 AND cred = ?2",
        "SELECT name FROM mp_domain WHERE name = ?1",
    ];
    for (conn, queries) in [(world.auth(), auth), (world.maps(), maps)] {
        for query in queries {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {query}")).expect("plans");
            let places = statement.parameter_count();
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(vec!["x"; places]), |row| row.get(3))
                .expect("plans")
                .collect::<rusqlite::Result<_>>()
                .expect("plans");
            assert!(plan.iter().all(|step| !step.starts_with("SCAN")), "{query}: {plan:#?}");
        }
    }
}
