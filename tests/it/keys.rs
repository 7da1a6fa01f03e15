//! The server's keys: made once, private, the same on all nodes, changed without losing what they seal.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mailward::app::App;
use mailward::app::keys::rotate::{forget, reseal_table, rotate, start_anew};
use mailward::app::keys::{Purpose, of_person};
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::config::Config;
use mailward::domain::ids::{OrganizationId, UserId};
use mailward::error::{Error, Result};
use mailward::store::engine::{Step, params};
use mailward::store::migrations::STEPS;
use mailward::store::sealed::SealedTable;
use mailward::store::settings;

use crate::cli::Place;
use crate::support::databases::TestDb;
use crate::support::world::{START, config, operator, organization};

fn with_file(file: PathBuf) -> Config {
    let mut config = config();
    config.keys.file = Some(file);
    config
}

async fn node(test: &TestDb, config: &Config) -> Result<App> {
    App::new(test.db.clone(), config.clone(), Clock::at(START), Random::seeded(7)).await
}

async fn refusal(test: &TestDb, config: &Config) -> String {
    match node(test, config).await {
        Err(error @ Error::Malformed(_)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

both_engines! {
    async fn a_node_with_other_keys_does_not_start(test: TestDb) {
        let config = with_file(test.folder.join("one.keys"));
        let first = node(&test, &config).await.expect("the first node makes the file");
        let made = fs::metadata(test.folder.join("one.keys")).expect("a file");
        assert_eq!(made.permissions().mode() & 0o7777, 0o600);
        let second = node(&test, &config).await.expect("another node with the same file");
        let parts: [&[u8]; 2] = [b"PUT", b"body"];
        assert_eq!(first.keys.mac(Purpose::Idempotency, &parts), second.keys.mac(Purpose::Idempotency, &parts));

        let other = with_file(test.folder.join("two.keys"));
        let missing = refusal(&test, &other).await;
        assert!(missing.contains("there is no file") && missing.contains("start-anew"), "{missing}");
        assert!(!test.folder.join("two.keys").exists(), "none is made for a database that knows keys");

        fs::copy(test.folder.join("one.keys"), test.folder.join("two.keys")).expect("a copy");
        node(&test, &other).await.expect("the copy is as good");
        // The same id with another key: only the proof tells.
        let text = fs::read_to_string(test.folder.join("two.keys")).expect("text");
        let (kept, key) = text.trim_end().rsplit_once(' ').expect("a key");
        fs::write(test.folder.join("two.keys"), format!("{kept} {}\n", key.chars().rev().collect::<String>()))
            .expect("written");
        let lacks = refusal(&test, &other).await;
        assert!(lacks.contains("copy the file of a node that runs") && !lacks.contains(key), "{lacks}");
    }

    async fn keys_that_others_can_read_or_that_make_no_sense_are_refused(test: TestDb) {
        let file = test.folder.join("one.keys");
        let config = with_file(file.clone());
        let running = node(&test, &config).await.expect("a node");
        let mac = running.keys.mac(Purpose::Throttle, &[b"x"]);
        for mode in [0o640, 0o604, 0o700, 0o666] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
            assert!(refusal(&test, &config).await.contains("chmod 0600"), "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("a mode");
        node(&test, &config).await.expect("stricter is good");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("the tests run as root");
        assert!(refusal(&test, &config).await.contains("belongs to user 65534"));
        std::os::unix::fs::chown(&file, Some(0), None).expect("the tests run as root");
        let text = fs::read_to_string(&file).expect("text");
        let line = text.lines().last().expect("a key");
        for bad in ["", "# nothing\n", "3fa91c07 1 abcd\n", &format!("{line}\n{line}\n"), &format!("{line} more\n")] {
            fs::write(&file, bad).expect("written");
            let said = refusal(&test, &config).await;
            assert!(said.contains("key") && !said.contains(&line[20..]), "{said}");
        }
        // Who runs already goes on with what it has read.
        assert_eq!(running.keys.mac(Purpose::Throttle, &[b"x"]), mac);
    }

    async fn what_is_made_for_one_purpose_or_person_is_nothing_for_another(test: TestDb) {
        let keys = node(&test, &with_file(test.folder.join("one.keys"))).await.expect("a node");
        let keys = &keys.keys;
        assert_ne!(keys.mac(Purpose::Throttle, &[b"ab", b"c"]), keys.mac(Purpose::Throttle, &[b"a", b"bc"]));
        assert_ne!(keys.mac(Purpose::Throttle, &[b"a"]), keys.mac(Purpose::Idempotency, &[b"a"]));
        let (zoid, zuid) = person(1);
        let sealed = keys.seal(Purpose::Totp, &of_person(zoid, zuid), b"seed");
        assert!(!sealed.windows(4).any(|part| part == b"seed"));
        assert_ne!(sealed, keys.seal(Purpose::Totp, &of_person(zoid, zuid), b"seed"), "a nonce is used once");
        let open = keys.open(Purpose::Totp, &of_person(zoid, zuid), &sealed).expect("it opens");
        assert_eq!(open.as_slice(), b"seed");
        keys.open(Purpose::Totp, &of_person(zoid, person(2).1), &sealed).expect_err("somebody else");
        keys.open(Purpose::Throttle, &of_person(zoid, zuid), &sealed).expect_err("another purpose");
        for place in 0..sealed.len() {
            let mut spoiled = sealed.clone();
            spoiled[place] ^= 1;
            keys.open(Purpose::Totp, &of_person(zoid, zuid), &spoiled).expect_err("spoiled");
            keys.open(Purpose::Totp, &of_person(zoid, zuid), &sealed[..place]).expect_err("cut off");
        }
        assert_eq!(format!("{:?}", keys.all()[0]), format!("Key {{ id: {:?}, .. }}", keys.all()[0].id));
    }
}

/// A table as those of the product that hold sealed values.
const TABLE: SealedTable = SealedTable {
    name: "seeds",
    page: "SELECT organization_id, person_id, seed AS sealed FROM seeds
           WHERE (organization_id, person_id) > ($1, $2) ORDER BY organization_id, person_id LIMIT $3",
    replace: "UPDATE seeds SET seed = $4 WHERE organization_id = $1 AND person_id = $2 AND seed = $3",
    clear: "DELETE FROM seeds",
};

fn with_table() -> Vec<Step> {
    let sql = "CREATE TABLE seeds (organization_id BIGINT NOT NULL, person_id BIGINT NOT NULL,
                                   seed {BYTES} NOT NULL, PRIMARY KEY (organization_id, person_id));";
    let last = STEPS.last().expect("steps").number;
    [STEPS, &[Step { number: last + 1, name: "a sealed table", sql }]].concat()
}

fn person(number: i64) -> (OrganizationId, UserId) {
    let zuid = 1_000_000_000_001 + number;
    (OrganizationId::new(10_000_001).expect("a zoid"), UserId::new(zuid).expect("a zuid"))
}

both_engines! { with &with_table();
    async fn a_new_key_takes_over_what_older_ones_sealed(test: TestDb) {
        let config = with_file(test.folder.join("one.keys"));
        let app = node(&test, &config).await.expect("a node");
        let other = node(&test, &config).await.expect("another node, which is not told");
        let (zoid, _) = organization(&app, "Zylker", "zylker.example").await;
        let first = app.keys.all()[0].id;
        let old_mac = app.keys.mac(Purpose::Idempotency, &[b"body"]);
        for number in 0..250 {
            let (zoid, zuid) = person(number);
            let sealed = app.keys.seal(Purpose::Totp, &of_person(zoid, zuid), format!("seed {number}").as_bytes());
            let put = async move |tx: &mut mailward::store::engine::Tx| {
                tx.execute_one(
                    "INSERT INTO seeds (organization_id, person_id, seed) VALUES ($1, $2, $3)",
                    params![zoid.get(), zuid.get(), &sealed],
                )
                .await
            };
            test.db.write(put).await.expect("a row");
        }
        let second = rotate(&app, &operator()).await.expect("a new key");
        assert_ne!(first, second);
        assert_eq!(app.keys.all()[0].id, second);
        assert!(app.keys.is_mac(Purpose::Idempotency, &[b"body"], &old_mac), "an older key counts");
        assert_ne!(app.keys.mac(Purpose::Idempotency, &[b"body"]), old_mac);
        assert_eq!(reseal_table(&app, TABLE, Purpose::Totp).await.expect("resealed"), 250);
        assert_eq!(reseal_table(&app, TABLE, Purpose::Totp).await.expect("nothing left"), 0);
        forget(&app, second, &operator()).await.expect_err("the one in use stays");
        forget(&app, first, &operator()).await.expect("forgotten");
        forget(&app, first, &operator()).await.expect_err("gone");
        assert!(!app.keys.is_mac(Purpose::Idempotency, &[b"body"], &old_mac));
        for number in 0..250 {
            let (zoid, zuid) = person(number);
            let mut tx = test.db.read().await.expect("a connection");
            let sql = "SELECT seed FROM seeds WHERE organization_id = $1 AND person_id = $2";
            let sealed: Vec<u8> = tx
                .query_one(sql, params![zoid.get(), zuid.get()], |row| row.get("seed"))
                .await
                .expect("a row");
            let open = other.keys.open(Purpose::Totp, &of_person(zoid, zuid), &sealed).expect("it opens");
            assert_eq!(open.as_slice(), format!("seed {number}").as_bytes());
        }
        let mut tx = test.db.read().await.expect("a connection");
        let told = mailward::store::audit::newest(&mut tx, zoid, None, 2).await.expect("entries");
        let verbs: Vec<_> = told.iter().map(|entry| entry.verb.as_str()).collect();
        assert_eq!(verbs, ["forgetKey", "rotateKeys"]);
    }

    async fn a_rotation_that_was_cut_off_keeps_no_service_from_starting(test: TestDb) {
        let config = with_file(test.folder.join("one.keys"));
        let app = node(&test, &config).await.expect("a node");
        let old = app.keys.all()[0].id;
        let check = settings::get(&mut test.db.read().await.expect("a connection"), settings::KEY_CHECK).await;
        let check = check.expect("readable").expect("there is one");
        rotate(&app, &operator()).await.expect("a new key");
        // The file had it, and the database was never told.
        test.db.write(async move |tx| settings::set(tx, settings::KEY_CHECK, &check).await).await.expect("as before");
        forget(&app, old, &operator()).await.expect("nothing is sealed with it");
        node(&test, &config).await.expect("the next start");
    }

    async fn rotations_at_the_same_time_lose_no_key(test: TestDb) {
        let app = node(&test, &with_file(test.folder.join("one.keys"))).await.expect("a node");
        let mut made = vec![app.keys.all()[0].id];
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move { rotate(&app, &operator()).await.expect("a new key") })
            })
            .collect();
        for task in tasks {
            made.push(task.await.expect("no panic"));
        }
        let mut all: Vec<_> = app.keys.all().iter().map(|key| key.id).collect();
        all.sort();
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 9);
        assert!(made.iter().all(|id| all.contains(id)));
    }
}

both_engines! {
    async fn after_the_loss_of_the_file_one_can_start_anew(test: TestDb) {
        let config = with_file(test.folder.join("one.keys"));
        let app = node(&test, &config).await.expect("a node");
        let lost = app.keys.all()[0].id;
        start_anew(&test.db, &config, &operator(), START).await.expect_err("nothing is lost");
        fs::remove_file(test.folder.join("one.keys")).expect("lost");
        refusal(&test, &config).await;
        let (keys, _) = start_anew(&test.db, &config, &operator(), START).await.expect("new keys");
        assert_ne!(keys.all()[0].id, lost);
        node(&test, &config).await.expect("it starts again");
    }
}

#[test]
fn the_command_line_makes_shows_and_changes_keys_without_telling_them() {
    let place = Place::initialised();
    let file = place.path("data/mailward.keys");
    assert_eq!(fs::metadata(&file).expect("made by init").permissions().mode() & 0o7777, 0o600);
    let secret = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("text");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line[22..].trim().to_owned())
            .collect::<Vec<_>>()
    };
    let rotated = place.json(&["keys", "rotate"]);
    assert_eq!(rotated["resealed"], 0);
    let keys = secret(&file);
    assert_eq!(keys.len(), 2);
    for said in [place.run(&["keys", "show"]).good(), place.run(&["keys", "show", "--json"]).good()] {
        assert!(said.out.contains(rotated["key"].as_str().expect("an id")), "{}", said.out);
        for key in &keys {
            assert_eq!(key.len(), 64);
            assert!(!said.out.contains(key) && !said.err.contains(key));
        }
    }
    let shown = place.json(&["keys", "show"]);
    let old = shown["keys"][1]["key"].as_str().expect("an id").to_owned();
    place.run(&["keys", "forget", "nonsense"]).refused(2);
    place.run(&["keys", "forget", "00000000"]).refused(4);
    place.run(&["keys", "forget", &old]).good();
    assert_eq!(secret(&file).len(), 1);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    let said = place.run(&["user", "list"]).refused(2);
    assert!(said.contains("chmod 0600"), "{said}");
    let doctor = place.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out.contains("chmod 0600"), "{}", doctor.out);
    fs::remove_file(&file).expect("lost");
    place.run(&["keys", "start-anew"]).good();
    place.run(&["user", "list"]).good();
}
