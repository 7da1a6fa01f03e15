//! Copies while others write, and what a restored copy must have forgotten.

use mailward::app::open::open_app;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::config::Config;
use mailward::domain::secret::{Fingerprint, fingerprint};
use mailward::store::{self, accounts::Handle};

use super::{Place, text};

fn rows(place: &Place, file: &str, sql: &str) -> i64 {
    let database = rusqlite::Connection::open(place.path(file)).expect("a database");
    database.query_row(sql, [], |row| row.get(0)).expect("a number")
}

#[test]
fn a_backup_made_while_others_write_is_whole() {
    let place = Place::initialised();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for number in 0..12 {
                place.run(&["user", "add", &format!("u{number}@example.org")]).good();
            }
        });
        let mut copies = 0;
        while !writer.is_finished() {
            place.run(&["backup", &format!("copy{copies}.sqlite")]).good();
            copies += 1;
        }
        assert!(copies > 0);
        for copy in 0..copies {
            let file = format!("copy{copy}.sqlite");
            let whole = rusqlite::Connection::open(place.path(&file)).expect("a copy");
            let verdict: String =
                whole.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
            assert_eq!(verdict, "ok");
            // Of one moment: every person has the account that was made with it, and its entry.
            let persons = rows(&place, &file, "SELECT COUNT(*) FROM person");
            assert_eq!(rows(&place, &file, "SELECT COUNT(*) FROM account"), persons);
            assert_eq!(rows(&place, &file, "SELECT COUNT(*) FROM audit WHERE verb = 'createUser'"), persons);
        }
    });
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(place.path("copy0.sqlite")).expect("a copy").permissions(),
    );
    assert_eq!(mode & 0o7777, 0o600);
    let refusal = place.run(&["backup", "copy0.sqlite"]).refused(3);
    assert!(refusal.contains("copy0.sqlite"), "{refusal}");
}

#[tokio::test]
async fn a_restored_copy_has_forgotten_what_was_given_out() {
    let place = Place::initialised();
    place.run(&["user", "add", "tom@example.org"]).good(); // with a one-time password
    place.run_with(&["user", "add", "rebecca@example.org", "--password-stdin"], "plum tarmac 83\n").good();
    let token =
        place.json(&["token", "issue", "--user", "rebecca@example.org", "--scope", "ZohoMail.accounts.READ"]);
    let token = fingerprint(&text(&token, "access_token"));
    let client =
        text(&place.json(&["client", "add", "--owner", "rebecca@example.org", "--name", "c"]), "client_id");
    let scope = "ZohoMail.accounts.READ";
    place.run(&["client", "code", &client, "--user", "rebecca@example.org", "--scope", scope]).good();
    place.run(&["app-password", "create", "rebecca@example.org", "--name", "Telephone"]).good();
    place.run(&["backup", "copy.sqlite"]).good();

    let refusal = place.run(&["restore", "copy.sqlite"]).refused(3);
    assert!(refusal.contains("nothing is overwritten"), "{refusal}");
    let before = state(&place, "data/mailward.sqlite", &token).await;
    assert!(before.token_works);
    assert_eq!(before.codes, 1);
    let newest = text(&place.json(&["user", "add", "later@example.org"])["user"], "zuid");

    std::fs::rename(place.path("data"), place.path("old")).expect("moved away");
    let said = place.run(&["restore", "copy.sqlite"]).good();
    assert!(said.err.contains("app password") && said.err.contains("new app passwords"), "{}", said.err);
    assert_eq!(rows(&place, "data/mailward.sqlite", "SELECT COUNT(*) FROM app_password"), 0);
    let after = state(&place, "data/mailward.sqlite", &token).await;
    assert!(!after.token_works);
    assert_eq!(after.codes, 0);
    for (before, after) in before.counters.iter().zip(&after.counters) {
        assert!(after.0 >= before.0 + 1_000_000 && after.1 >= before.1 + 1_000_000, "{before:?} {after:?}");
    }
    assert_eq!(place.json(&["user", "show", "tom@example.org"])["password"], "none");
    assert_eq!(place.json(&["user", "show", "rebecca@example.org"])["password"], "permanent");
    assert_eq!(place.json(&["audit", "list", "--limit", "1"])[0]["verb"], "restore");
    // An application may have been deleted since, because somebody knows its secret.
    let code = ["client", "code", &client, "--user", "rebecca@example.org", "--scope", scope];
    place.run(&code).refused(4);
    place.run(&["client", "enable", &client]).good();
    place.run(&code).good();
    // Who was added after the copy was made is gone, and the number is not given again.
    let next = text(&place.json(&["user", "add", "next@example.org"])["user"], "zuid");
    assert!(next.parse::<i64>().expect("a zuid") > newest.parse::<i64>().expect("a zuid"));
    let left: Vec<_> = std::fs::read_dir(place.path("data"))
        .expect("a folder")
        .map(|file| file.expect("a file").file_name().into_string().expect("text"))
        .filter(|name| name.contains("restoring"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_copy_that_is_restored_twice_gives_no_number_a_second_time() {
    let place = Place::initialised();
    place.with_a_backup_alone();
    let given = |name: &str| {
        place.run(&["restore", "copy.sqlite"]).good();
        let user = place.json(&["user", "add", name])["user"].clone();
        ["zuid", "accountId"].map(|key| text(&user, key).parse::<i64>().expect("a number"))
    };
    let first = given("tom@example.org");
    std::fs::rename(place.path("data"), place.path("lost")).expect("moved away");
    std::fs::create_dir(place.path("data")).expect("a folder");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let second = given("ann@example.org");
    assert!(second[0] > first[0] && second[1] > first[1], "{first:?} {second:?}");
}

struct State {
    token_works: bool,
    codes: i64,
    /// Generation and session epoch of every account.
    counters: Vec<(i64, i64)>,
}

async fn state(place: &Place, file: &str, token: &Fingerprint) -> State {
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", place.path(file).display());
    let app = open_app(&config, Clock::System, Random::System).await.expect("the database");
    let mut tx = app.db.snapshot().await.expect("a snapshot");
    let holder = store::tokens::holder(&mut tx, token, app.clock.now()).await.expect("an answer");
    let organization = store::organizations::all(&mut tx).await.expect("organizations")[0].id;
    let listed = store::lists::page(&mut tx, organization, 0, 100).await.expect("a page");
    let mut counters = Vec::new();
    for one in listed {
        let account = store::accounts::load(&mut tx, organization, Handle::User(one.account.user)).await;
        let account = account.expect("an answer").expect("an account");
        counters.push((account.generation, account.session_epoch));
    }
    drop(tx);
    app.db.close().await;
    State {
        token_works: holder.is_some(),
        codes: rows(place, file, "SELECT COUNT(*) FROM grant_code"),
        counters,
    }
}

#[test]
fn only_a_whole_backup_of_ours_is_restored() {
    let place = Place::initialised();
    place.with_a_backup_alone();

    place.write("text", "certainly no database at all");
    assert!(place.run(&["restore", "text"]).refused(3).contains("no SQLite database"));
    place.run(&["restore", "none.sqlite"]).refused(4);
    place.write("copy.sqlite-wal", "the newest changes");
    assert!(place.run(&["restore", "copy.sqlite"]).refused(3).contains("mailward backup"));
    std::fs::remove_file(place.path("copy.sqlite-wal")).expect("a file");
    let stranger = rusqlite::Connection::open(place.path("stranger.sqlite")).expect("a database");
    stranger.execute_batch("CREATE TABLE person (id INTEGER)").expect("a table");
    drop(stranger);
    assert!(place.run(&["restore", "stranger.sqlite"]).refused(3).contains("not one of Mailward's"));
    assert!(
        std::fs::read_dir(place.path("data")).expect("a folder").next().is_none(),
        "nothing is left behind"
    );
    // Without a log of its own the old -wal would be taken for the copy's.
    place.write("data/mailward.sqlite-wal", "");
    place.run(&["restore", "copy.sqlite"]).refused(3);
}

#[test]
fn what_a_restore_that_was_cut_off_has_left_is_not_mixed_in() {
    let place = Place::initialised();
    place.with_a_backup_alone();
    // Another copy, with a log that was never folded in.
    let left = place.path("data/mailward.sqlite.restoring");
    std::fs::copy(place.path("copy.sqlite"), &left).expect("a copy");
    let database = rusqlite::Connection::open(&left).expect("a database");
    database
        .execute_batch("PRAGMA journal_mode = WAL; UPDATE person SET display_name = 'Of another'")
        .expect("written");
    let log = std::fs::read(place.path("data/mailward.sqlite.restoring-wal")).expect("a log");
    drop(database);
    std::fs::write(place.path("data/mailward.sqlite.restoring-wal"), log).expect("it stays");

    place.run(&["restore", "copy.sqlite"]).good();
    let mixed = "SELECT COUNT(*) FROM person WHERE display_name = 'Of another'";
    assert_eq!(rows(&place, "data/mailward.sqlite", mixed), 0);
}

#[test]
fn with_postgresql_the_line_to_use_is_printed_without_its_password() {
    let place = Place::initialised();
    let url = "postgres://mail:canary-7713@db.internal/desk";
    let said = place.run(&["backup", "copy.dump", "--database", url]).good();
    assert_eq!(
        said.out,
        "pg_dump --format=custom --no-owner --no-privileges --file='copy.dump' --dbname='postgres://mail@db.internal/desk'\n"
    );
    assert!(!said.err.contains("canary"), "{}", said.err);
    assert!(said.err.contains("--after-pg-restore"), "{}", said.err);
    place.run(&["restore", "--after-pg-restore"]).refused(3); // an embedded database
    place.run(&["restore", "copy.dump", "--database", url]).refused(3);
}
