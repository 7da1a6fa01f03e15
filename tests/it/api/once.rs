//! `Idempotency-Key`: a call that is asked again is made once and answered twice.

use std::sync::Arc;

use mailward::app::App;
use mailward::app::random::Random;
use mailward::app::tidy;
use mailward::clock::{Clock, HOUR, MINUTE};
use mailward::domain::actor::Role;
use serde_json::{Value, json};

use super::{accounts_path, none};
use crate::support::databases::TestDb;
use crate::support::world::{self, Answer, PASSWORD, START, Someone, World};

/// A call with a key.
async fn once(world: &World, method: &str, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let token = format!("Zoho-oauthtoken {token}");
    let headers = [("authorization", token.as_str()), ("idempotency-key", key)];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(method, path, &headers, body).await
}

async fn reset(world: &World, by: &Someone, on: &Someone, key: &str, password: &str) -> Answer {
    let body = json!({"mode": "resetPassword", "zuid": on.zuid, "password": password});
    once(world, "PUT", &by.org_token, &world.path(on), key, &body).await
}

fn repeated(answer: &Answer) -> bool {
    answer.headers.get("x-mailward-repeated").is_some_and(|value| value == "true")
}

/// Rows of a table, by the database itself.
async fn count(world: &World, sql: &'static str) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    tx.query_one(sql, &[], |row| row.get("many")).await.expect("a count")
}

const ENTRIES: &str = "SELECT COUNT(*) AS many FROM audit";
const KEYS: &str = "SELECT COUNT(*) AS many FROM idempotency";

/// Another process on the same database, with the same keys.
async fn another_node(test: &TestDb, world: &World) -> World {
    let config = world.app.config.clone();
    let app = App::new(test.db.clone(), config, Clock::at(world.app.clock.now()), Random::seeded(11));
    world.beside(app.await.expect("a good configuration"))
}

both_engines! {
    async fn every_call_that_changes_something_is_made_once_and_answered_twice(test: TestDb) {
        let world = World::start(test).await;
        let (admin, owner, collection) = (world.admin.clone(), world.owner.clone(), accounts_path(&world));
        let mut people = Vec::new();
        for number in 0..6 {
            people.push(world.someone(&format!("person{number}"), Role::Member).await);
        }
        let [one, two, three, four, five, six] = people.as_slice() else { panic!("six people") };
        let own = |of: &Someone| format!("/api/accounts/{}", of.account_id);
        let made = json!({"name": "Telephone", "currentPassword": PASSWORD});
        let path = format!("{}/appPasswords", own(six));
        let telephone = world.with_body("POST", &six.user_token, &path, made).await;
        let telephone = telephone.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned();
        let _ = world.self_password(&two.email, "not-the-right-one", "another-horse-9").await;
        let calls = [
            ("DELETE", &admin.org_token, format!("{}/throttle", world.path(two)), Value::Null, 200),
            ("POST", &admin.org_token, collection.clone(),
             json!({"primaryEmailAddress": format!("new@{}", world.domain), "password": PASSWORD, "displayName": "New"}), 201),
            ("PUT", &owner.org_token, collection.clone(), json!({"mode": "changeRole", "userList": [one.zuid], "role": "admin"}), 200),
            ("PUT", &admin.org_token, world.path(two), json!({"mode": "resetPassword", "password": "t*c9ma"}), 200),
            ("PUT", &four.user_token, own(four), json!({"mode": "displaynameupdate", "displayName": "Four"}), 200),
            ("DELETE", &admin.org_token, collection.clone(), json!({"accountList": [three.zuid]}), 200),
            ("DELETE", &admin.org_token, world.path(five), Value::Null, 200),
            ("DELETE", &six.user_token, format!("{path}/{telephone}"), Value::Null, 200),
        ];
        for (number, (method, token, path, body, status)) in calls.into_iter().enumerate() {
            let key = format!("key {number}");
            let before = count(&world, ENTRIES).await;
            let first = once(&world, method, token, &path, &key, &body).await;
            assert_eq!(first.status, status, "{method} {path}: {}", first.text);
            assert!(!repeated(&first) && first.change().is_some(), "{method} {path}");
            world.app.clock.advance(HOUR);
            let second = once(&world, method, token, &path, &key, &body).await;
            assert_eq!((second.status, &second.text), (first.status, &first.text), "{method} {path}");
            assert_eq!(second.change(), first.change(), "{method} {path}");
            assert!(repeated(&second), "{method} {path}");
            assert_eq!(count(&world, ENTRIES).await, before + 1, "{method} {path} was made twice");
        }
        assert_eq!(count(&world, KEYS).await, 8);
    }

    async fn a_key_is_good_for_one_request_of_one_caller(test: TestDb) {
        let world = World::start(test).await;
        let generation = async |of: &Someone| world.account(of).await.generation;
        reset(&world, &world.admin, &world.member, "k", "t*c9ma").await.ok();
        let reused = reset(&world, &world.admin, &world.member, "k", "t*c9mb").await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert!(reused.contains("new key"), "{reused}");
        assert_eq!(generation(&world.member).await, 2);
        // What a header says belongs to the request too.
        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let body = json!({"mode": "resetPassword", "zuid": world.member.zuid, "password": "t*c9ma"}).to_string();
        let reasoned = [("authorization", token.as_str()), ("idempotency-key", "k"), ("x-mailward-reason", "another")];
        world.send("PUT", &world.path(&world.member), &reasoned, body.clone()).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        // Elsewhere, and by somebody else, it is another key.
        reset(&world, &world.admin, &world.other, "k", "t*c9ma").await.ok();
        assert!(!repeated(&reset(&world, &world.owner, &world.member, "k", "t*c9ma").await));
        assert_eq!(generation(&world.member).await, 3);
        // The same person with another token sees nothing of what the first one was told.
        let narrow = world::token(&world.app, &world.account(&world.admin).await, "ZohoMail.organization.accounts.UPDATE").await;
        let narrow = format!("Zoho-oauthtoken {narrow}");
        let headers = [("authorization", narrow.as_str()), ("idempotency-key", "k")];
        world.send("PUT", &world.path(&world.member), &headers, body).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(generation(&world.member).await, 3);
        // A call for what is so already is remembered as such.
        let on = json!({"mode": "enableUser", "zuid": world.other.zuid});
        let path = world.path(&world.other);
        let first = once(&world, "PUT", &world.admin.org_token, &path, "so already", &on).await;
        assert_eq!(first.ok().change(), None);
        assert_eq!(once(&world, "PUT", &world.admin.org_token, &path, "so already", &on).await.ok().change(), None);
    }

    async fn a_refusal_is_not_remembered(test: TestDb) {
        let world = World::start(test).await;
        let rename = json!({"mode": "emailupdate", "zuid": world.member.zuid, "emailAddress": world.other.email});
        let path = world.path(&world.member);
        once(&world, "PUT", &world.owner.org_token, &path, "k", &rename).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        assert_eq!(count(&world, KEYS).await, 0);
        let away = json!({"emailAddress": format!("away@{}", world.domain)});
        world.mode(&world.owner, &world.other, "emailupdate", away).await.ok();
        let alias = json!({"emailAlias": [world.other.email]});
        world.mode(&world.owner, &world.other, "deleteEmailAlias", alias).await.ok();
        let token = format!("Zoho-oauthtoken {}", world.owner.org_token);
        let headers = [("authorization", token.as_str()), ("idempotency-key", "k"), ("x-mailward-release-address", "agreed")];
        assert!(!repeated(world.send("PUT", &path, &headers, rename.to_string()).await.ok()));
        assert!(repeated(world.send("PUT", &path, &headers, rename.to_string()).await.ok()));
    }

    async fn an_answer_with_a_secret_is_not_kept(test: TestDb) {
        let world = World::start(test).await;
        let mia = &world.member;
        let path = format!("/api/accounts/{}/appPasswords", mia.account_id);
        let body = json!({"name": "Telephone", "currentPassword": PASSWORD});
        let first = once(&world, "POST", &mia.user_token, &path, "k", &body).await;
        assert_eq!(first.status, 201, "{}", first.text);
        let said = once(&world, "POST", &mia.user_token, &path, "k", &body).await.refused(409, "ANSWER_NOT_KEPT");
        assert!(said.contains("revoke the app password"), "{said}");
        let other = json!({"name": "Tablet", "currentPassword": PASSWORD});
        once(&world, "POST", &mia.user_token, &path, "k", &other).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(world.account(mia).await.app_passwords.len(), 1);
        assert_eq!(count(&world, "SELECT COUNT(*) AS many FROM idempotency WHERE answer IS NOT NULL").await, 0);
    }

    async fn a_key_is_remembered_for_a_day_and_across_restarts(test: TestDb) {
        let world = World::start(test.clone()).await;
        let first = reset(&world, &world.admin, &world.member, "k", "t*c9ma").await;
        let change = first.ok().change();
        world.app.clock.advance(24 * HOUR - MINUTE);
        tidy::run(&world.app).await.expect("tidied");
        let restarted = another_node(&test, &world).await;
        let again = reset(&restarted, &world.admin, &world.member, "k", "t*c9ma").await;
        assert_eq!((again.ok().change(), repeated(&again)), (change.clone(), true));
        assert!(world.app.clock.now() < START + 24 * HOUR);
        restarted.app.clock.advance(MINUTE);
        tidy::run(&restarted.app).await.expect("tidied");
        assert_eq!(count(&world, KEYS).await, 0, "it is forgotten");
        let anew = reset(&restarted, &world.admin, &world.member, "k", "t*c9ma").await;
        assert!(anew.ok().change() != change && !repeated(&anew));
        // Also where nobody has tidied up yet.
        restarted.app.clock.advance(25 * HOUR);
        assert!(!repeated(reset(&restarted, &world.admin, &world.member, "k", "t*c9md").await.ok()));
    }

    async fn a_malformed_key_is_refused_and_a_dry_run_needs_none(test: TestDb) {
        let world = World::start(test).await;
        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let body = json!({"mode": "disableUser", "zuid": world.member.zuid}).to_string();
        let path = world.path(&world.member);
        let long = "x".repeat(256);
        for keys in [vec![""], vec![long.as_str()], vec!["caf\u{e9}"], vec!["one", "two"]] {
            let mut headers = vec![("authorization", token.as_str())];
            headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
            let answer = world.send("PUT", &path, &headers, body.clone()).await;
            assert_eq!(answer.status, 400, "{keys:?}: {}", answer.text);
        }
        assert!(world.account(&world.member).await.switches.user_disabled.is_none());
        let longest = "x".repeat(255);
        let dry = [("authorization", token.as_str()), ("idempotency-key", longest.as_str()), ("x-mailward-dry-run", "true")];
        world.send("PUT", &path, &dry, body.clone()).await.ok();
        assert_eq!(count(&world, KEYS).await, 0, "nothing was made");
        let real = [("authorization", token.as_str()), ("idempotency-key", longest.as_str())];
        assert!(world.send("PUT", &path, &real, body).await.ok().change().is_some());
        world.mode(&world.owner, &world.member, "enableUser", none()).await.ok();
    }

    async fn a_hundred_parallel_retries_have_one_effect_and_one_answer(test: TestDb) {
        let world = Arc::new(World::start(test.clone()).await);
        let second = Arc::new(another_node(&test, &world).await);
        for kind in ["reset", "create", "secret"] {
            let before = count(&world, ENTRIES).await;
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..100 {
                let world = Arc::clone(if number % 2 == 0 { &world } else { &second });
                tasks.spawn(async move {
                    loop {
                        let answer = match kind {
                            "reset" => reset(&world, &world.admin, &world.member, "k", "t*c9ma").await,
                            "create" => {
                                let address = format!("parallel@{}", world.domain);
                                let body = json!({"primaryEmailAddress": address, "password": PASSWORD});
                                once(&world, "POST", &world.admin.org_token, &accounts_path(&world), "k", &body).await
                            }
                            _ => {
                                let path = format!("/api/accounts/{}/appPasswords", world.other.account_id);
                                let body = json!({"name": "Telephone", "currentPassword": PASSWORD});
                                once(&world, "POST", &world.other.user_token, &path, "k", &body).await
                            }
                        };
                        // A busy database may say "not now", and changes nothing then.
                        if answer.status != 503 {
                            return answer;
                        }
                    }
                });
            }
            let answers = tasks.join_all().await;
            assert_eq!(count(&world, ENTRIES).await, before + 1, "{kind} had more than one effect");
            if kind == "secret" {
                let made = answers.iter().filter(|answer| answer.status == 201).count();
                let told = answers.iter().filter(|answer| answer.status == 409).count();
                assert_eq!((made, told), (1, 99));
                continue;
            }
            let alike = |answer: &Answer| {
                (answer.status, answer.text.clone(), answer.change()) == (answers[0].status, answers[0].text.clone(), answers[0].change())
            };
            assert!(answers[0].change().is_some() && answers.iter().all(alike), "{kind}: {:#?}", answers[0]);
            assert_eq!(answers.iter().filter(|answer| !repeated(answer)).count(), 1, "{kind}");
        }
        assert_eq!(world.account(&world.member).await.generation, 2);
    }
}
