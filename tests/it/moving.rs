//! Moving everything to the other engine, and the time in which nothing is changed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use mailward::app::audit::seal;
use mailward::app::audit::verify::verify_database;
use mailward::app::copy::{Copied, copy};
use mailward::app::keys::{Purpose, of_person};
use mailward::app::random::Random;
use mailward::app::{App, open, read_only, tidy};
use mailward::clock::{Clock, DAY, MINUTE, SECOND};
use mailward::domain::client::ClientKind;
use mailward::domain::ids::{UserId, WebSessionId};
use mailward::domain::secret::Fingerprint;
use mailward::error::Error;
use mailward::mailserver::Recorder;
use mailward::store;
use mailward::store::engine::{Db, EngineKind, Step, migrate, params};
use mailward::store::migrations::STEPS;
use serde_json::{Value, json};

use crate::cli::Place;
use crate::support::databases::{TestDb, options};
use crate::support::postgres;
use crate::support::tables::{Tables, difference};
use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, START, World, client, config, operator};

/// An empty database of the other engine.
struct Other {
    url: String,
    db: Db,
    server: Option<postgres::Database>,
}

impl Other {
    async fn than(source: &TestDb) -> Self {
        Self::of(source, STEPS).await
    }

    /// With these tables.
    async fn of(source: &TestDb, steps: &'static [Step]) -> Self {
        let (url, server) = match source.db.engine() {
            EngineKind::Postgres => (format!("sqlite:{}", source.folder.join("other.db").display()), None),
            EngineKind::Sqlite => {
                let made = tokio::task::spawn_blocking(|| postgres::fresh(steps)).await.expect("a database");
                (made.url.clone(), Some(made))
            }
        };
        let db = Db::open(&url, &options()).expect("the URL is good");
        // An empty file gets its tables by the copy itself.
        if steps.len() < STEPS.len() && server.is_none() {
            migrate(&db, steps, 0).await.expect("older tables");
        }
        Self { db, url, server }
    }

    /// As a broken database would: with each entry of the audit log that arrives, it does that.
    async fn alters_what_arrives(&self, harm: &str) {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let file = rusqlite::Connection::open(path).expect("the file");
                let trigger = format!("CREATE TRIGGER harm AFTER INSERT ON audit BEGIN {harm}; END");
                file.execute_batch(&trigger).expect("a trigger");
            }
            None => {
                let trigger = format!(
                    "CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {harm}; RETURN NULL; END $$;
                     CREATE TRIGGER harm AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION harm()"
                );
                postgres::connect(&self.url).await.batch_execute(&trigger).await.expect("a trigger");
            }
        }
    }

    fn test(&self, source: &TestDb) -> TestDb {
        TestDb { db: self.db.clone(), url: self.url.clone(), folder: source.folder.clone() }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It waits for the server, which nobody may do among the runtime's own tasks.
        let server = self.server.take();
        std::thread::spawn(move || drop(server)).join().expect("the database is dropped");
    }
}

/// Some of everything that accounts can have.
async fn fill(world: &World) {
    let alias = json!({"emailAlias": ["mia.lund@zylker.example", "gone@zylker.example"]});
    world.mode(&world.admin, &world.member, "addEmailAlias", alias).await.ok();
    let gone =
        json!({"emailAlias": ["gone@zylker.example"], "mode": "deleteEmailAlias", "zuid": world.member.zuid});
    world.put(&world.admin.org_token, &world.path(&world.member), gone).await.ok();
    world.own_mode(&world.member, "emailupdate", json!({"emailAddress": "mia2@zylker.example"})).await.ok();
    let made = json!({"name": "Telephone", "protocols": ["imap", "smtp"], "currentPassword": PASSWORD});
    let path = format!("/api/accounts/{}/appPasswords", world.member.account_id);
    let made = world.with_body("POST", &world.member.user_token, &path, made).await;
    assert_eq!(made.status, 201, "{}", made.text);
    world.mode(&world.admin, &world.other, "disableUser", json!({"blockIncoming": true})).await.ok();
    world
        .mode(&world.member, &world.owner, "disableUser", json!({}))
        .await
        .refused(403, "OPERATION_NOT_PERMITTED");
    let _ = world.self_password(&world.owner.email, "not-the-right-one", "another-horse-9").await;
    let (id, secret) = client(world, ClientKind::Web).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &*id),
        ("client_secret", &*secret),
        ("scope", "ZohoMail.accounts.READ"),
        ("soid", &*format!("ZohoMail.{}", world.zoid)),
    ];
    world.form("/oauth/v2/token", &form).await.ok();
    let mut visitor = Visitor::signed_in(world, &world.admin.email, PASSWORD).await;
    visitor.get("/").await;
    let (zoid, user) = (world.zoid, UserId::new(world.owner.zuid).expect("a zuid"));
    let sealed = world.app.keys.seal(Purpose::Totp, &of_person(zoid, user), b"a seed of twenty bytes");
    let session: WebSessionId = world.app.ids.next().await.expect("an id");
    let factors = world.app.db.write(async move |tx| {
        store::factors::propose_totp(tx, zoid, user, session, &sealed, START).await?;
        store::factors::confirm_totp(tx, zoid, user, 1, START).await?;
        store::factors::put_codes(tx, zoid, user, &[3, 4].map(|number| Fingerprint::from_bytes([number; 32])))
            .await
    });
    factors.await.expect("factors");
    // More rows of one table than fit on a page or into one statement.
    let many = world.app.db.write(async move |tx| {
        for number in 0..1_050_i64 {
            tx.execute_one(
                "INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $2, 1)",
                params![&format!("subject {number}"), START + DAY],
            )
            .await?;
        }
        Ok(())
    });
    many.await.expect("rows");
    world.settle().await;
    world.app.clock.advance(2 * MINUTE);
    tidy::run(&world.app).await.expect("tidying up");
    // What is under way when everything moves.
    world
        .mode(&world.admin, &world.member, "updateIMAPStatus", json!({"imapAccessEnabled": false}))
        .await
        .ok();
    world.own_mode(&world.member, "displaynameupdate", json!({"displayName": "Mia"})).await.ok();
}

/// The same people and tokens, in front of another database.
async fn moved(world: &World, db: Db, configuration: mailward::config::Config) -> World {
    let clock = Clock::at(world.app.clock.now() + SECOND);
    let app = App::new(db, configuration, clock, Random::seeded(8)).await.expect("it starts");
    World { router: mailward::cli::doors(&app), recorder: Recorder::new("mx1"), ..world.beside(app) }
}

fn rows(copied: &Copied, table: &str) -> u64 {
    copied.tables.iter().find(|one| one.name == table).unwrap_or_else(|| panic!("no table {table}")).rows
}

/// Copies into a database that does `harm` with each entry of the audit log; what is said of it then.
async fn differs(source: TestDb, harm: &str, said: &str) {
    let world = World::start(source.clone()).await;
    world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
    let other = Other::than(&source).await;
    open::bring_up(&other.db, START).await.expect("tables");
    other.alters_what_arrives(harm).await;
    let refusal =
        copy(&source.db, &other.db, true, &operator(), &world.app.clock).await.expect_err("refused");
    let why = refusal.to_string();
    assert!(why.contains("differs") && why.contains(said) && why.contains("do not use the target"), "{why}");
    assert_eq!(read_only::since(&source.db).await.expect("an answer"), None, "the source goes on");
    let refusal = open::bring_up(&other.db, START).await.expect_err("refused").to_string();
    assert!(refusal.contains("was not finished"), "{refusal}");
}

/// Seals what other tests on the same server let it seal.
async fn seal_everything(app: &App) {
    let name = seal::name(app);
    for _ in 0..200 {
        seal::seal_due(app, &name).await.expect("sealing");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    seal::give_back(app, &name).await.expect("given back");
}

both_engines! {
    async fn everything_arrives_in_the_other_engine(source: TestDb) {
        let world = World::start(source.clone()).await;
        fill(&world).await;
        let other = Other::than(&source).await;
        let copied = copy(&source.db, &other.db, true, &operator(), &world.app.clock).await.expect("a copy");
        assert!(copied.window.is_some());
        for table in ["person", "account", "address", "app_password", "client", "access_token", "totp", "web_session",
            "recovery_code", "outbox", "audit", "audit_link", "setting", "person_text", "refresh_token", "mail_server"] {
            assert!(rows(&copied, table) > 0 || table == "refresh_token", "{table}");
        }
        assert!(rows(&copied, "throttle") > 1_050);

        // The source still answers, and changes nothing.
        let path = format!("/api/accounts/{}", world.member.account_id);
        world.get(&world.member.user_token, &path).await.ok();
        world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.refused(503, "SERVICE_UNAVAILABLE");

        let mut configuration = config();
        if other.db.engine() == EngineKind::Sqlite {
            configuration.mail.auth_dir = Some(source.folder.join("auth"));
            configuration.mail.maps_dir = Some(source.folder.join("maps"));
            (configuration.mail.auth_group, configuration.mail.maps_group) = (String::new(), String::new());
        }
        let there = moved(&world, other.db.clone(), configuration).await;
        let states = async |app: &App| {
            let mut tx = app.db.snapshot().await.expect("a snapshot");
            store::mailboxes::page(&mut tx, world.zoid, 0, 100).await.expect("states")
        };
        assert!(states(&world.app).await == states(&there.app).await, "mail servers see the same");
        there.app.projector.catch_up(&there.app.db).await.expect("look-up files");
        if other.db.engine() == EngineKind::Sqlite {
            let drift = there.app.projector.verify(&there.app.db, false).await.expect("compared");
            assert!(drift.is_clean(), "the look-up files are right");
        }

        // Old tokens, the old password, the sealed seed, numbers that go on.
        there.get(&there.member.user_token, &path).await.ok();
        let shown = there.get(&there.admin.org_token, &there.path(&there.member)).await;
        assert_eq!(shown.ok().json()["data"]["primaryEmailAddress"], "mia2@zylker.example", "{}", shown.text);
        Visitor::signed_in(&there, &there.admin.email, PASSWORD).await;
        let user = UserId::new(there.owner.zuid).expect("a zuid");
        let mut tx = there.app.db.read().await.expect("a connection");
        let seed = store::factors::totp(&mut tx, there.zoid, user).await.expect("an answer").expect("a seed");
        let newest = store::outbox::newest(&mut tx).await.expect("a position");
        drop(tx);
        let seed = there.app.keys.open(Purpose::Totp, &of_person(there.zoid, user), &seed.sealed);
        assert_eq!(&**seed.expect("it opens"), b"a seed of twenty bytes");
        let done = there.mode(&there.admin, &there.member, "disableMailAccount", json!({})).await;
        assert!(done.ok().change().is_some());
        let after = store::outbox::newest(&mut there.app.db.read().await.expect("a connection")).await;
        assert!(after.expect("a position") > newest, "positions go on");
        let new = there.someone("new", mailward::domain::actor::Role::Member).await;
        assert!(new.zuid > there.other.zuid && new.account_id > there.other.account_id);
        there.settle().await;

        seal_everything(&there.app).await;
        let verdict = verify_database(&there.app, Some(there.zoid), &[], &[]).await.expect("a verdict");
        assert_eq!(verdict[0].findings, [""; 0]);
        assert!(verdict[0].entries > 10);
        there.app.db.close().await;
    }

    async fn numbers_that_were_given_out_and_forgotten_are_not_given_again(source: TestDb) {
        let world = World::start(source.clone()).await;
        let newest = store::outbox::newest(&mut source.db.read().await.expect("a connection")).await.expect("one");
        assert!(newest > 0);
        world.settle().await;
        source.db.write(async move |tx| tx.execute("DELETE FROM outbox", params![]).await).await.expect("swept");
        let other = Other::than(&source).await;
        copy(&source.db, &other.db, false, &operator(), &world.app.clock).await.expect("a copy");
        let there = moved(&world, other.db.clone(), config()).await;
        there.own_mode(&there.member, "displaynameupdate", json!({"displayName": "Mia"})).await.ok();
        let next = store::outbox::newest(&mut other.db.read().await.expect("a connection")).await.expect("one");
        assert!(next > newest, "{next} after {newest}");
        // And the source goes on as before.
        world.own_mode(&world.member, "displaynameupdate", json!({"displayName": "Mia"})).await.ok();
    }

    async fn a_row_that_arrives_otherwise_than_it_was_sent_is_told_and_the_copy_never_served(source: TestDb) {
        differs(source, "UPDATE audit SET verb = 'another'", "audit differs").await;
    }

    async fn a_row_that_does_not_arrive_is_told_and_the_copy_never_served(source: TestDb) {
        differs(source, "DELETE FROM audit", ", 0 with").await;
    }

    async fn a_target_that_is_not_empty_is_left_alone(source: TestDb) {
        let world = World::start(source.clone()).await;
        let other = Other::than(&source).await;
        open::bring_up(&other.db, START).await.expect("tables");
        let row = "INSERT INTO throttle (subject, window_end, tries) VALUES ('x', 1, 1)";
        other.db.write(async move |tx| tx.execute_one(row, params![]).await).await.expect("a row");
        let before = Tables::of(&other.test(&source)).await.without(&[]).await;
        let refusal = copy(&source.db, &other.db, true, &operator(), &world.app.clock).await.expect_err("refused");
        assert!(matches!(&refusal, Error::Refused(why) if why.contains("not empty") && why.contains("throttle")), "{refusal}");
        let after = Tables::of(&other.test(&source)).await.without(&[]).await;
        assert_eq!(difference(&before, &after), None);
        assert_eq!(read_only::since(&source.db).await.expect("an answer"), None, "the source was not held");
    }

    async fn a_target_of_another_version_is_left_alone(source: TestDb) {
        let world = World::start(source.clone()).await;
        let other = Other::of(&source, &STEPS[..STEPS.len() - 1]).await;
        let refusal = copy(&source.db, &other.db, true, &operator(), &world.app.clock).await.expect_err("refused");
        let why = refusal.to_string();
        assert!(matches!(refusal, Error::Refused(_)) && why.contains("another schema version"), "{why}");
        let refusal = copy(&other.db, &source.db, false, &operator(), &world.app.clock).await.expect_err("refused");
        assert!(refusal.to_string().contains("mailward migrate"), "{refusal}");
        assert_eq!(read_only::since(&source.db).await.expect("an answer"), None, "the source was not held");
    }

    async fn a_copy_that_was_cut_off_is_not_served(source: TestDb) {
        let world = World::start(source.clone()).await;
        let other = Other::than(&source).await;
        open::bring_up(&other.db, START).await.expect("tables");
        other.db.write(async move |tx| store::copying::begin(tx).await).await.expect("begun");
        let refusal = open::bring_up(&other.db, START).await.expect_err("refused").to_string();
        assert!(refusal.contains("was not finished"), "{refusal}");
        let refusal = copy(&source.db, &other.db, false, &operator(), &world.app.clock).await.expect_err("refused");
        assert!(refusal.to_string().contains("not finished"), "{refusal}");
    }

    async fn while_nothing_is_changed_every_node_reads_and_mail_goes_on(test: TestDb) {
        let world = World::start(test.clone()).await;
        let second = moved(&world, Db::open(&test.url, &options()).expect("a second node"), config()).await;
        let mut visitor = Visitor::signed_in(&second, &second.admin.email, PASSWORD).await;
        let (_, by_us) = read_only::on(&test.db, &operator(), START).await.expect("on");
        assert!(by_us);
        let (since, by_us) = read_only::on(&second.app.db, &operator(), START + SECOND).await.expect("on");
        assert_eq!((since, by_us), (START, false), "once is enough");
        let tables = Tables::of(&test).await;
        let before = tables.without(&[]).await;

        for node in [&world, &second] {
            let refused = node.mode(&node.admin, &node.member, "disableUser", json!({})).await;
            let why = refused.refused(503, "SERVICE_UNAVAILABLE");
            assert!(why.contains("read-only") && why.contains("mail works"), "{why}");
            assert_eq!(refused.headers["retry-after"], "30");
            node.self_password(&node.member.email, PASSWORD, "another-horse-9").await.refused(503, "SERVICE_UNAVAILABLE");
            let path = format!("/api/accounts/{}", node.member.account_id);
            node.get(&node.member.user_token, &path).await.ok();
            let list = format!("/api/organization/{}/accounts", node.zoid);
            node.get(&node.admin.org_token, &list).await.ok();
            node.send("GET", "/health/ready", &[], "").await.ok();
        }
        // A browser that is signed in still reads, though its use is not noted.
        second.app.clock.advance(10 * MINUTE);
        assert_eq!(visitor.get("/users").await.status, 200);
        assert_eq!(visitor.get("/me").await.status, 200);
        let refused = visitor.post("/me/name", &[("display_name", "Another")]).await;
        assert!(refused.status == 503 && refused.text.contains("read-only"), "{}: {}", refused.status, refused.text);
        if let Err(error) = tidy::run(&world.app).await {
            assert!(error.is_read_only(), "{error}");
        }
        // A node that starts now serves as well.
        let third = moved(&world, Db::open(&test.url, &options()).expect("a third node"), config()).await;
        third.get(&third.member.user_token, &format!("/api/accounts/{}", third.member.account_id)).await.ok();
        assert_eq!(difference(&before, &tables.without(&[]).await), None, "nothing was written");

        let lasted = read_only::off(&second.app.db, &operator(), START + 5 * SECOND).await.expect("off");
        assert_eq!(lasted, Some(5 * SECOND));
        assert_eq!(read_only::off(&test.db, &operator(), START).await.expect("off"), None);
        world.mode(&world.admin, &world.member, "disableUser", json!({})).await.ok();
        let entries = store::audit::newest(&mut test.db.read().await.expect("a connection"), world.zoid, None, 5).await;
        let verbs: Vec<String> = entries.expect("entries").into_iter().map(|entry| entry.verb).collect();
        assert!(verbs.contains(&"readOnlyOn".to_owned()) && verbs.contains(&"readOnlyOff".to_owned()), "{verbs:?}");
    }

    async fn no_change_is_confirmed_after_the_moment_in_which_it_is_switched_off(test: TestDb) {
        let world = Arc::new(World::start(test.clone()).await);
        let stop = Arc::new(AtomicBool::new(false));
        let confirmed = Arc::new(AtomicI64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (world, stop, confirmed) = (Arc::clone(&world), Arc::clone(&stop), Arc::clone(&confirmed));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::SeqCst) {
                        number += 1;
                        let name = json!({"displayName": format!("{writer} {number}")});
                        let who = [&world.owner, &world.admin, &world.member, &world.other][writer];
                        let answer = world.own_mode(who, "displaynameupdate", name).await;
                        match answer.status.as_u16() {
                            200 => drop(confirmed.fetch_add(1, Ordering::SeqCst)),
                            503 => tokio::task::yield_now().await,
                            other => panic!("{other}: {}", answer.text),
                        }
                    }
                })
            })
            .collect();
        let start = std::time::Instant::now();
        while confirmed.load(Ordering::SeqCst) < 20 {
            assert!(start.elapsed().as_secs() < 60, "nothing is changed");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        read_only::on(&test.db, &operator(), START).await.expect("on");
        let count = async || -> i64 {
            let mut tx = test.db.snapshot().await.expect("a snapshot");
            let sql = "SELECT COUNT(*) AS entries FROM audit WHERE verb = 'displaynameupdate'";
            tx.query_one(sql, params![], |row| row.get("entries")).await.expect("a number")
        };
        let held = count().await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(count().await, held, "a change was stored after the snapshot that a copy would take");
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.expect("a writer");
        }
        let confirmed = confirmed.load(Ordering::SeqCst);
        assert_eq!(confirmed, held, "what was confirmed is in the snapshot, and nothing else");
    }
}

#[test]
fn the_command_copies_holds_and_tells_the_window() {
    let place = Place::initialised();
    place.run_with(&["user", "add", "rebecca@example.org", "--password-stdin"], "plum tarmac 83\n").good();
    let copied = place.json(&["copy", "--to", "sqlite:other.sqlite", "--hold"]);
    assert!(copied["window_ms"].is_i64() && copied["rows"].as_i64() > Some(10), "{copied}");
    let refusal = place.run(&["user", "add", "late@example.org"]).refused(1);
    assert!(refusal.contains("read-only"), "{refusal}");
    assert_eq!(place.json(&["read-only", "show"])["read_only"], true);
    let told = place.run(&["doctor"]).out;
    assert!(told.contains("nothing is changed since") && told.contains("read-only off"), "{told}");
    // The keys stay the same file; the copy is a database like any other.
    let keys = place.path("data/mailward.keys").display().to_string();
    let mut command =
        place.command(&["user", "add", "late@example.org", "--database", "sqlite:other.sqlite"]);
    command.env("MAILWARD_KEYS_FILE", &keys);
    crate::cli::said(command, "").good();
    let again = place.run(&["copy", "--to", "sqlite:other.sqlite"]).refused(3);
    assert!(again.contains("not empty"), "{again}");
    place.run(&["copy", "--to", "sqlite:data/mailward.sqlite"]).refused(2);
    place.run(&["read-only", "off"]).good();
    place.run(&["user", "add", "late@example.org"]).good();
    let said = place.run(&["copy", "--to", "sqlite:third.sqlite"]).good().out;
    assert!(said.contains("TABLE") && said.contains("both databases hold the same"), "{said}");
}

#[test]
fn a_backup_of_a_held_database_is_none_after_its_restore() {
    let place = Place::initialised();
    place.run(&["read-only", "on"]).good();
    place.with_a_backup_alone();
    std::fs::copy(place.path("old/mailward.keys"), place.path("data/mailward.keys")).expect("the keys");
    place.run(&["restore", "copy.sqlite"]).good();
    assert_eq!(place.json(&["read-only", "show"])["read_only"], Value::Bool(false));
    place.run(&["user", "add", "tom@example.org"]).good();
}
