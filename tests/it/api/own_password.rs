//! `POST /self/password`: people and their own passwords.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::ConnectInfo;
use mailward::app::organizations;
use mailward::clock::MINUTE;
use mailward::store::engine::Db;
use serde_json::json;

use super::{changed, done, effects, entries, lives, none, shown};
use crate::support::world::{Answer, PASSWORD, START, World, operator};

const NEW: &str = "fresh-tulip-77";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn wrong(world: &World, address: &str) -> Answer {
    world.self_password(address, "not-this-one", NEW).await
}

/// Every request from now on comes from there.
fn from(world: &mut World, peer: &str) {
    let peer: SocketAddr = peer.parse().expect("an address");
    world.router = mailward::api::router(world.app.clone()).layer(Extension(ConnectInfo(peer)));
}

both_engines! {
    async fn new_passwords_before_a_code_was_proved_are_counted_since_their_refusal_tells_of_former_ones(db: Db) {
        let world = World::start(db).await;
        let address = &world.member.email;
        let tried = async |new: &str| {
            let body = json!({"address": address, "password": PASSWORD, "newPassword": new, "code": "123456"});
            world.send("POST", "/self/password", &[JSON], body.to_string()).await
        };
        for _ in 0..world.app.config.throttle.wrong_per_account {
            tried("short").await.refused(400, "INVALID_PASSWORD");
        }
        tried(NEW).await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        assert_eq!(world.account(&world.member).await.version, 1, "nothing was changed");
        // Who types no code proves everything with the password.
        changed(&world.self_password(address, PASSWORD, NEW).await);
    }

    async fn a_person_changes_the_own_password(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let before = world.account(mia).await;
        let answer = world.self_password(&mia.email, PASSWORD, NEW).await;
        changed(&answer);
        assert!(!lives(&world, &mia.user_token).await, "everything that was open ends");
        assert_eq!(
            effects(&world, &answer).await,
            [
                json!({"effect": "project"}),
                json!({"effect": "end_sessions", "mailbox": before.mailbox, "sessions": {"generation": before.generation}}),
                json!({"effect": "tell", "notice": "password_changed"}),
            ]
        );
        let entry = entries(&world, &answer).await[0].clone();
        assert_eq!((entry["verb"].as_str(), entry["door"].as_str()), (Some("changeOwnPassword"), Some("self-service")));
        assert_eq!(entry["actor"]["zuid"], mia.zuid.to_string());
        assert!(!entry.to_string().contains(NEW) && !entry.to_string().contains(PASSWORD));
        let object = shown(&world, mia).await;
        assert_eq!((&object["lastLogin"], &object["lastClient"]), (&json!(START), &json!("web")));
        world.self_password(&mia.email, PASSWORD, NEW).await.refused(401, "INVALID_CREDENTIALS");
        // A self change never accepts the same password again.
        let said = world.self_password(&mia.email, NEW, NEW).await.refused(400, "INVALID_PASSWORD");
        assert!(said.contains("choose another"), "{said}");
        let said = world.self_password(&mia.email, NEW, "password1").await.refused(400, "INVALID_PASSWORD");
        assert!(said.contains("tried first"), "{said}");
    }

    async fn every_spelling_of_the_request_is_understood(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let alias = format!("m2@{}", world.domain);
        changed(&world.mode(&world.admin, mia, "addEmailAlias", json!({"emailAlias": [alias]})).await);
        let (local, domain) = mia.email.split_once('@').expect("an address");
        let (one, two) = ("passing-one-11", "passing-two-22");
        let send = async |body: serde_json::Value| world.send("POST", "/self/password", &[JSON], body.to_string()).await;
        done(&send(json!({"emailAddress": alias, "currentPassword": PASSWORD, "new_password": one})).await);
        done(&send(json!({"email": mia.email.to_uppercase(), "oldPassword": one, "newPassword": two})).await);
        done(&send(json!({"username": format!("{local}+tag@{domain}"), "oneTimePassword": two, "newPassword": one, "resetAuthToken": "true"})).await);
        done(&world.form("/self/password", &[("address", &mia.email), ("password", one), ("newPassword", two)]).await);
        // Without ending anything, when asked so.
        let token = crate::support::world::token(&world.app, &world.account(mia).await, crate::support::world::USER_SCOPES).await;
        done(&send(json!({"address": mia.email, "password": two, "newPassword": one, "resetAuthToken": "false"})).await);
        assert!(lives(&world, &token).await);

        send(json!({"address": mia.email, "password": one})).await.refused(400, "LESS_THAN_MIN_OCCURANCE");
        send(json!({"password": one, "newPassword": two})).await.refused(400, "LESS_THAN_MIN_OCCURANCE");
        send(json!({"address": mia.email, "password": one, "currentPassword": two, "newPassword": two})).await.refused(400, "MORE_THAN_MAX_OCCURANCE");
        send(json!({"address": [mia.email], "password": one, "newPassword": two})).await.refused(400, "DATATYPE_NOT_MATCHED");
        send(json!({"address": mia.email, "password": one, "newPassword": two, "resetAuthToken": "no"})).await.refused(400, "DATATYPE_NOT_MATCHED");
        send(json!([])).await.refused(400, "PATTERN_NOT_MATCHED");
        world.send("POST", "/self/password", &[JSON], "").await.refused(400, "PATTERN_NOT_MATCHED");
        send(json!({"address": mia.email, "password": one, "newPassword": "\u{7}control-here"})).await.refused(400, "INVALID_PASSWORD");
        done(&send(json!({"address": mia.email, "password": one, "newPassword": two})).await);
    }

    async fn one_answer_for_every_reason_that_keeps_somebody_out(db: Db) {
        let world = World::start(db).await;
        let off = world.someone("off", mailward::domain::actor::Role::Member).await;
        changed(&world.mode(&world.admin, &off, "disableUser", none()).await);
        let mut texts = vec![];
        for (address, password) in [
            (world.member.email.as_str(), "not-this-one"),
            (off.email.as_str(), PASSWORD),
            ("nobody@zylker.example", PASSWORD),
            ("nobody@nowhere.example", PASSWORD),
            ("no address at all", PASSWORD),
            (world.member.email.as_str(), "\u{7}"),
            (world.member.email.as_str(), ""),
        ] {
            let answer = world.self_password(address, password, NEW).await;
            answer.refused(401, "INVALID_CREDENTIALS");
            texts.push(answer.text);
        }
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        // A switched-off mail account keeps nobody from the own page; a switched-off organization does.
        changed(&world.mode(&world.admin, &world.member, "disableMailAccount", none()).await);
        done(&world.self_password(&world.member.email, PASSWORD, NEW).await);
        organizations::switch(&world.app, &operator(), world.zoid, true).await.expect("off");
        world.self_password(&world.member.email, NEW, PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        organizations::switch(&world.app, &operator(), world.zoid, false).await.expect("on");
        done(&world.self_password(&world.member.email, NEW, PASSWORD).await);
    }

    async fn guessing_is_slowed_down_on_one_account_known_or_not(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let alias = format!("m2@{}", world.domain);
        changed(&world.mode(&world.admin, mia, "addEmailAlias", json!({"emailAlias": [alias]})).await);
        for number in 0..10 {
            let address = if number % 2 == 0 { &mia.email } else { &alias };
            wrong(&world, address).await.refused(401, "INVALID_CREDENTIALS");
        }
        let refused = world.self_password(&mia.email, PASSWORD, NEW).await;
        refused.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(refused.text, wrong(&world, "nobody@zylker.example").await.text, "the ordinary refusal");
        done(&world.self_password(&world.other.email, PASSWORD, NEW).await);
        world.app.clock.advance(15 * MINUTE - 1);
        world.self_password(&mia.email, PASSWORD, NEW).await.refused(401, "INVALID_CREDENTIALS");
        world.app.clock.advance(1);
        done(&world.self_password(&mia.email, PASSWORD, NEW).await);
    }

    async fn guessing_is_slowed_down_from_one_source(db: Db) {
        let mut config = crate::support::world::config();
        config.throttle.wrong_per_source = 5;
        config.server.trusted_proxies = vec!["10.0.0.0/8".to_owned()];
        let mut world = World::start_with(db, config).await;
        from(&mut world, "[2001:db8::1]:4000");
        for number in 0..5 {
            wrong(&world, &format!("nobody{number}@zylker.example")).await.refused(401, "INVALID_CREDENTIALS");
        }
        // A neighbour in the same /64 is the same person; another network is not.
        from(&mut world, "[2001:db8::ffff]:4000");
        let refused = world.self_password(&world.member.email, PASSWORD, NEW).await;
        refused.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        assert_eq!(refused.headers["retry-after"], "900");
        from(&mut world, "[2001:db8:0:1::1]:4000");
        done(&world.self_password(&world.member.email, PASSWORD, NEW).await);
        // What a stranger says in X-Forwarded-For is not believed, what a trusted proxy says is.
        let said = async |world: &World, forwarded: &str| {
            let body = json!({"address": world.other.email, "password": PASSWORD, "newPassword": NEW});
            world.send("POST", "/self/password", &[JSON, ("x-forwarded-for", forwarded)], body.to_string()).await
        };
        from(&mut world, "[2001:db8::1]:4000");
        said(&world, "192.0.2.7").await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        from(&mut world, "10.1.2.3:4000");
        said(&world, "2001:db8::9").await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        said(&world, "192.0.2.7, 2001:db8::9, 10.9.9.9").await.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        done(&said(&world, "2001:db8::9, 192.0.2.7").await);
    }
}
