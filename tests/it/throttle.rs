//! Guessing is slowed down in one place: by every path, on all nodes, mail logins among them; and an
//! administrator lets somebody in again.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use mailward::api::mail_logins;
use mailward::app::random::Random;
use mailward::app::{App, journal};
use mailward::clock::{DAY, MINUTE, SECOND};
use mailward::domain::ids::UserId;
use mailward::domain::secret::Secret;
use mailward::store;
use mailward::store::engine::{Db, Tx, params};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::cli::Place;
use crate::support::visitor::Visitor;
use crate::support::world::{Answer, PASSWORD, START, Someone, World, config};

const NEW: &str = "another-secret-9";

async fn wrong(world: &World, address: &str, times: usize) {
    for number in 0..times {
        let answer = world.self_password(address, &format!("not-the-right-{number}"), NEW).await;
        assert_eq!(answer.status, 401, "{address} {number}: {}", answer.text);
    }
}

/// Dovecot, as far as we hear of it.
struct Dovecot(Router);

impl Dovecot {
    fn of(app: &App) -> Self {
        Self(mail_logins(app.clone(), &Secret::new("policy-token")))
    }

    async fn send(&self, command: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = Request::post(format!("/policy?command={command}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self.0.clone().oneshot(request).await.expect("the router does not fail");
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn allow(&self, login: &str, remote: &str) -> Value {
        let (status, answer) = self.send("allow", "policy-token", &told(login, remote, "")).await;
        assert_eq!(status, 200);
        answer
    }

    /// What is answered in the end: on a busy machine a login goes on before we have looked, and so
    /// do others for a second.
    async fn refused(&self, world: &World, login: &str, remote: &str) -> Value {
        for _ in 0..40 {
            let answer = self.allow(login, remote).await;
            if answer["status"] == -1 {
                return answer;
            }
            world.app.clock.advance(SECOND);
        }
        self.allow(login, remote).await
    }

    async fn report(&self, body: &Value) {
        assert_eq!(self.send("report", "policy-token", body).await.0, 200);
        // It is counted behind the answer.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

fn told(login: &str, remote: &str, mark: &str) -> Value {
    json!({"login": login, "remote": remote, "pwhash": mark, "gate": "", "key": "", "protocol": "imap",
           "session_id": "x", "mech": "PLAIN", "tls": false, "success": false, "policy_reject": false})
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().expect("digits").parse().expect("seconds")
}

/// Notes three wrong tries.
async fn guessed(world: &World, subject: &str) {
    let (subject, until) = (subject.to_owned(), world.app.clock.now() + MINUTE);
    let note = async move |tx: &mut Tx| {
        let sql = "INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $2, 3)";
        tx.execute(sql, params![&subject, until]).await
    };
    world.app.db.write(note).await.expect("a row");
}

async fn tries(world: &World, subject: &str) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    store::throttle::tries(&mut tx, subject, world.app.clock.now(), 15 * MINUTE).await.expect("an answer").0
}

/// Waits until so many tries are counted on the account.
async fn counted(world: &World, of: &Someone, tries: i64) {
    let until = Instant::now() + Duration::from_secs(20);
    while account_tries(world, of).await != tries {
        assert!(Instant::now() < until, "{tries} tries are not counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn account_tries(world: &World, of: &Someone) -> i64 {
    tries(world, &format!("account {}", of.account_id)).await
}

/// What the user object says of the last sign-in, once it is that.
async fn last_login(world: &World, of: &Someone, wanted: (i64, &str)) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let shown = world.get(&world.owner.org_token, &world.path(of)).await.ok().json()["data"].clone();
        if (&shown["lastLogin"], &shown["lastClient"]) == (&json!(wanted.0), &json!(wanted.1)) {
            return;
        }
        assert!(Instant::now() < until, "{} {}, not {wanted:?}", shown["lastLogin"], shown["lastClient"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

both_engines! {
    async fn who_reads_mail_counts_as_signed_in_and_who_guesses_does_not(db: Db) {
        let world = World::start(db).await;
        let (dovecot, mia) = (Dovecot::of(&world.app), &world.member);
        let login = |protocol: &str, success: bool| {
            let mut told = told(&mia.email.replace('@', "+telephone@").to_uppercase(), "192.0.2.1", "abc");
            (told["protocol"], told["success"]) = (json!(protocol), json!(success));
            told
        };
        dovecot.report(&login("imap", false)).await;
        dovecot.report(&told("nobody@nowhere.example", "192.0.2.1", "abc")).await;
        last_login(&world, mia, (0, "")).await;
        let first = world.app.clock.now();
        dovecot.report(&login("imap", true)).await;
        last_login(&world, mia, (first, "imap")).await;
        // All day long it is the same.
        world.app.clock.advance(DAY - 1);
        dovecot.report(&login("imap", true)).await;
        last_login(&world, mia, (first, "imap")).await;
        world.app.clock.advance(1);
        dovecot.report(&login("imap", true)).await;
        last_login(&world, mia, (first + DAY, "imap")).await;
        last_login(&world, &world.other, (0, "")).await;
    }

    async fn a_login_from_a_strange_place_is_noted_at_once_and_where_the_owner_looks(db: Db) {
        let world = World::start(db).await;
        let (dovecot, mia) = (Dovecot::of(&world.app), &world.member);
        let first = world.app.clock.now();
        for (moment, source, protocol) in [
            (0, "192.0.2.1", "imap"),
            (1, "192.0.2.1", "smtp"),
            (2, "2001:db8:7:7::1", "imap"),
            (3, "2001:db8:7:7::2", "imap"), // another telephone, or the same one tomorrow
        ] {
            world.app.clock.advance(first + moment - world.app.clock.now());
            let mut told = told(&mia.email, source, "abc");
            (told["protocol"], told["success"]) = (json!(protocol), json!(true));
            dovecot.report(&told).await;
            let door = if protocol == "smtp" { "smtp" } else { "imap" };
            last_login(&world, mia, (first + moment.min(2), door)).await;
        }
        let mut visitor = Visitor::signed_in(&world, &mia.email, PASSWORD).await;
        let page = visitor.get("/me/sessions").await.text;
        for place in ["192.0.2.1", "2001:db8:7:7::/64", ">IMAP<", ">SMTP<", "These pages"] {
            assert!(page.contains(place), "{place} is missing: {page}");
        }
        let mut other = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        assert!(!other.get("/me/sessions").await.text.contains("2001:db8:7:7"), "they are the owner's alone");
    }

    async fn whoever_comes_from_everywhere_does_not_crowd_out_the_places_of_the_days_before(db: Db) {
        let world = World::start(db).await;
        let (zoid, user) = (world.member.zoid, UserId::new(world.member.zuid).expect("a zuid"));
        let note = async |day: i64, numbers: std::ops::Range<i64>| {
            for number in numbers {
                let at = START + day * DAY + number;
                let noted = world.app.db.write(async move |tx| {
                    store::sign_ins::note(tx, zoid, user, at, "imap", &format!("{day}.{number}")).await
                });
                noted.await.expect("noted");
            }
        };
        let places = async || {
            let mut tx = world.app.db.read().await.expect("a connection");
            store::sign_ins::places(&mut tx, zoid, user).await.expect("readable")
        };
        note(0, 0..2).await;
        note(1, 0..60).await;
        let kept = places().await;
        assert_eq!(kept.len(), 22, "twenty on a day");
        assert_eq!((kept[0].source.as_str(), kept[21].source.as_str()), ("1.19", "0.0"));
        for day in 2..10 {
            note(day, 0..60).await;
        }
        let kept = places().await;
        assert_eq!(kept.len(), 100, "and a hundred in all");
        assert_eq!((kept[0].source.as_str(), kept[99].source.as_str()), ("9.19", "5.0"));

        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let path = world.path(&world.member);
        world.send("DELETE", &path, &[("authorization", &token)], String::new()).await.ok();
        assert_eq!(places().await, [], "with the user they go");
        let at = START + 10 * DAY;
        let noted = world.app.db.write(async move |tx| {
            store::sign_ins::note(tx, zoid, user, at, "imap", "192.0.2.9").await
        });
        noted.await.expect("taken");
        assert_eq!(places().await, [], "and do not come back");
    }

    async fn after_too_many_wrong_tries_one_is_told_when_to_come_back_whether_there_is_an_account_or_not(db: Db) {
        let world = World::start(db).await;
        let alias = format!("mia.second@{}", world.domain);
        world.mode(&world.owner, &world.member, "addEmailAlias", json!({"emailAlias": [alias]})).await.ok();
        let nobody = format!("nobody@{}", world.domain);
        let mut answers = Vec::new();
        for address in [&world.member.email, &nobody] {
            wrong(&world, address, 10).await;
            world.app.clock.advance(SECOND);
            let answer = world.self_password(address, PASSWORD, NEW).await;
            answer.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
            assert!((880..=900).contains(&retry_after(&answer)), "{:?}", answer.headers);
            answers.push(answer);
        }
        assert_eq!(answers[0].json()["data"]["errorCode"], answers[1].json()["data"]["errorCode"]);
        // Another spelling, a detail: the same address.
        for same in [world.member.email.to_uppercase(), world.member.email.replace('@', "+tag@")] {
            world.self_password(&same, PASSWORD, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        }
        // By another address of the account nothing opens either, and nothing says that it is the same person.
        for _ in 0..10 {
            assert_eq!(world.self_password(&alias, PASSWORD, NEW).await.status, 401);
        }
        world.self_password(&alias, PASSWORD, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        // Another node counts with it; other people are not concerned.
        let node = App::new(world.app.db.clone(), config(), world.app.clock.clone(), Random::seeded(3)).await.expect("a node");
        let there = mailward::api::router(node);
        let body = json!({"address": world.member.email, "password": PASSWORD, "newPassword": NEW}).to_string();
        let request = Request::post("/self/password").header("content-type", "application/json").body(Body::from(body));
        let response = there.oneshot(request.expect("a request")).await.expect("an answer");
        assert_eq!(response.status().as_u16(), 429);
        world.self_password(&world.other.email, PASSWORD, NEW).await.ok();
        world.app.clock.advance(15 * MINUTE);
        world.self_password(&world.member.email, PASSWORD, NEW).await.ok();
    }

    async fn what_can_be_no_password_is_counted_as_any_wrong_one(db: Db) {
        let world = World::start(db).await;
        let endless = "x".repeat(2000);
        for _ in 0..10 {
            world.self_password(&world.member.email, &endless, NEW).await.refused(401, "INVALID_CREDENTIALS");
        }
        world.self_password(&world.member.email, &endless, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        let mut visitor = Visitor::new(&world);
        for _ in 0..10 {
            assert_eq!(visitor.sign_in(&world.other.email, &endless).await.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(visitor.sign_in(&world.other.email, &endless).await.status, StatusCode::TOO_MANY_REQUESTS);
    }

    async fn the_right_password_that_opens_nothing_is_counted_as_any_wrong_one(db: Db) {
        let world = World::start(db).await;
        world.mode(&world.owner, &world.member, "disableUser", json!({})).await.ok();
        world.mode(&world.owner, &world.other, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        world.app.clock.advance(73 * 60 * MINUTE);
        for (of, right) in [(&world.member, PASSWORD), (&world.other, "t*c9ma-once")] {
            for _ in 0..10 {
                world.self_password(&of.email, right, NEW).await.refused(401, "INVALID_CREDENTIALS");
            }
            world.self_password(&of.email, right, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        }
    }

    async fn an_administrator_lets_somebody_in_again(db: Db) {
        let world = World::start(db).await;
        let member = &world.member;
        wrong(&world, &member.email, 10).await;
        let waits = format!("recovery of {}", member.account_id);
        guessed(&world, &waits).await;
        world.self_password(&member.email, PASSWORD, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        let path = format!("{}/throttle", world.path(member));
        let header = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let dry = [("authorization", header.as_str()), ("x-mailward-dry-run", "true")];
        let foretold = world.send("DELETE", &path, &dry, "").await;
        assert_eq!(foretold.ok().json()["data"]["changes"], json!(true), "{}", foretold.text);
        world.self_password(&member.email, PASSWORD, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        let cleared = world.with_body("DELETE", &world.admin.org_token, &path, Value::Null).await;
        assert!(cleared.ok().change().is_some(), "it is written down");
        assert_eq!(tries(&world, &waits).await, 0);
        world.self_password(&member.email, PASSWORD, NEW).await.ok();
        let again = world.with_body("DELETE", &world.admin.org_token, &path, Value::Null).await;
        assert!(again.ok().change().is_none(), "there is nothing to forget");
        // Who could guess on for ever would come in after a reset: that takes who may remove the second factor.
        let guesses = format!("day of factors {}", member.account_id);
        guessed(&world, &guesses).await;
        let again = world.with_body("DELETE", &world.admin.org_token, &path, Value::Null).await;
        assert!(again.ok().change().is_none());
        assert_eq!(tries(&world, &guesses).await, 3);
        world.with_body("DELETE", &world.owner.org_token, &path, Value::Null).await.ok();
        assert_eq!(tries(&world, &guesses).await, 0);
        let owner = format!("{}/throttle", world.path(&world.owner));
        world.with_body("DELETE", &world.admin.org_token, &owner, Value::Null).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.app.clock.advance(MINUTE);
        journal::fold_refusals(&world.app).await.expect("folded");
        let mut tx = world.app.db.read().await.expect("a connection");
        let entries = store::audit::newest(&mut tx, world.zoid, None, 5).await.expect("entries");
        let outcomes = entries.iter().filter(|entry| entry.verb == "clearThrottle").map(|entry| {
            entry.entry.contains(r#""outcome":"refused""#)
        });
        assert_eq!(outcomes.collect::<Vec<_>>(), [true, false, false], "the refusal is written down, too");
    }

    async fn wrong_passwords_at_the_mail_servers_count_with_all_others(db: Db) {
        let world = World::start(db).await;
        let (dovecot, member) = (Dovecot::of(&world.app), &world.member);
        assert_eq!(dovecot.send("allow", "guessed", &told(&member.email, "192.0.2.9", "")).await.0, 401);
        assert_eq!(dovecot.send("report", "guessed", &told(&member.email, "192.0.2.9", "a")).await.0, 401);
        assert_eq!(dovecot.send("destroy", "policy-token", &json!({})).await.0, 400);
        assert_eq!(account_tries(&world, member).await, 0);
        assert_eq!(dovecot.allow(&member.email, "192.0.2.9").await, json!({"status": 0}));
        // What guesses nothing: the right password, one of a gated account, one that we refused, and the
        // same wrong one again and again.
        let mut right = told(&member.email, "192.0.2.9", "aaa");
        right["success"] = true.into();
        let mut gated = told(&member.email, "192.0.2.9", "bbb");
        (gated["gate"], gated["key"]) = ("This account is disabled.".into(), "1000".into());
        let mut ours = told(&member.email, "192.0.2.9", "ccc");
        ours["policy_reject"] = true.into();
        for body in [right, gated, ours] {
            dovecot.report(&body).await;
        }
        assert_eq!(account_tries(&world, member).await, 0);
        for _ in 0..5 {
            dovecot.report(&told(&member.email.to_uppercase(), "192.0.2.9", "d0d")).await;
        }
        counted(&world, member, 1).await;
        assert_eq!((account_tries(&world, member).await, tries(&world, "source 192.0.2.9").await), (1, 1));
        for number in 0..9 {
            assert_eq!(dovecot.allow(&member.email, "192.0.2.9").await["status"], 0);
            dovecot.report(&told(&member.email, "192.0.2.9", &format!("e{number:02}"))).await;
            counted(&world, member, number + 2).await;
        }
        let refused = dovecot.refused(&world, &member.email, "192.0.2.9").await;
        assert_eq!(refused, json!({"status": -1, "msg": "Too many wrong passwords. Try again in 15 minutes."}));
        world.self_password(&member.email, PASSWORD, NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        // And the other way round, also for an address that nobody has.
        let nobody = format!("nobody@{}", world.domain);
        for address in [&world.other.email, &nobody] {
            wrong(&world, address, 10).await;
            assert_eq!(dovecot.refused(&world, address, "198.51.100.1").await["status"], -1);
        }
        assert_eq!(dovecot.allow(&world.admin.email, "192.0.2.9").await["status"], 0, "the source has tries left");
        world.app.clock.advance(15 * MINUTE);
        assert_eq!(dovecot.allow(&member.email, "192.0.2.9").await["status"], 0);
    }

    async fn one_source_that_guesses_at_many_accounts_is_closed_and_this_machine_is_not(db: Db) {
        let mut settings = config();
        settings.throttle.wrong_per_source = 4;
        let world = World::start_with(db, settings).await;
        let dovecot = Dovecot::of(&world.app);
        for (remote, closed) in [("2001:db8:1:2::77", true), ("127.0.0.1", false), ("::1", false), ("::ffff:127.0.0.1", false), ("nonsense", false)] {
            for number in 0..5 {
                dovecot.report(&told(&format!("user{number}@{}", world.domain), remote, "f00")).await;
            }
            let answer = match closed {
                true => dovecot.refused(&world, &world.member.email, remote).await,
                false => dovecot.allow(&world.member.email, remote).await,
            };
            assert_eq!(answer["status"], if closed { -1 } else { 0 }, "{remote}: {answer}");
            // Each remote has its own addresses' marks.
            world.app.clock.advance(16 * MINUTE);
        }
        for number in 0..5 {
            dovecot.report(&told(&format!("user{number}@{}", world.domain), "2001:db8:1:2::77", "f00")).await;
        }
        let neighbour = dovecot.refused(&world, &world.member.email, "2001:db8:1:2:ffff::1").await;
        assert_eq!(neighbour["status"], -1, "a /64 is one source");
        assert_eq!(dovecot.allow(&world.member.email, "2001:db8:1:3::77").await["status"], 0);
    }

    async fn a_login_does_not_wait_for_a_database_that_is_away(db: Db) {
        let world = World::start(db).await;
        let dovecot = Dovecot::of(&world.app);
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            assert_eq!(dovecot.allow(&world.member.email, "192.0.2.9").await["status"], 0);
            times.push(start.elapsed());
        }
        times.sort();
        println!("an answer takes {:?} (median)", times[25]);
        assert!(times[25] < Duration::from_millis(20), "{times:?}");
        world.app.db.close().await;
        for _ in 0..20 {
            let start = Instant::now();
            assert_eq!(dovecot.allow(&world.member.email, "192.0.2.9").await["status"], 0);
            assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        }
        dovecot.report(&told(&world.member.email, "192.0.2.9", "a")).await;
    }
}

#[test]
fn the_operator_sees_what_is_closed_and_opens_it() {
    let place = Place::initialised();
    let file = place.path("data/mailward.sqlite");
    let now = mailward::clock::Clock::System.now();
    let connection = rusqlite::Connection::open(file).expect("the database");
    let of_one_source = [
        ("source 192.0.2.7", 100),
        ("token endpoint source 192.0.2.7", 100),
        ("mail agent source 192.0.2.7", 100),
        ("passkeys from source 192.0.2.7", 100),
        ("recovery from source 192.0.2.7", 30),
    ];
    let of_an_account = ("recovery of 2560636000000008002", 3);
    let open = [("source 192.0.2.8", 99), ("mail agent source 192.0.2.8", 99), ("same 0123abcd", 1000)];
    for (subject, tries) in of_one_source.into_iter().chain([of_an_account]).chain(open) {
        let sql = "INSERT INTO throttle (subject, window_end, tries) VALUES (?1, ?2, ?3)";
        connection.execute(sql, rusqlite::params![subject, now + MINUTE, tries]).expect("a row");
    }
    let list = place.json(&["throttle", "list"]);
    assert_eq!(list.as_array().map(Vec::len), Some(6), "{list}");
    assert_eq!(place.json(&["throttle", "clear", "192.0.2.7", "--dry-run"])["cleared"], true);
    assert_eq!(place.json(&["throttle", "list"]), list);
    place.run(&["throttle", "clear", "192.0.2.7", "--reason", "our own proxy"]).good();
    let left = place.json(&["throttle", "list"]);
    assert_eq!(
        (left.as_array().map(Vec::len), left[0]["subject"].as_str()),
        (Some(1), Some(of_an_account.0))
    );
    assert_eq!(place.json(&["throttle", "clear", "192.0.2.7"])["cleared"], false);
    let newest = place.json(&["audit", "list", "--limit", "1"]);
    assert_eq!(
        (newest[0]["verb"].as_str(), newest[0]["reason"].as_str()),
        (Some("clearThrottle"), Some("our own proxy"))
    );
    place.run(&["throttle", "clear", "nowhere"]).refused(2);
}
