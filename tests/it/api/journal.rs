//! What is written down: audit entries of changes and refusals, effects in the outbox.

use mailward::app::tidy;
use mailward::clock::{MINUTE, SECOND};
use mailward::domain::ids::UserId;
use mailward::store;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{accounts_path, change_id, changed, entries, mode_saying, none, unchanged};
use crate::support::world::{START, Someone, World, effects_of};

/// Every entry of the organization, the newest first.
async fn log(world: &World) -> Vec<Value> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let rows = store::audit::newest(&mut tx, world.zoid, None, 1000).await.expect("entries");
    rows.iter().map(|row| serde_json::from_str(&row.entry).expect("JSON")).collect()
}

/// The refusals that are being counted: verb, named target, count.
async fn refusals(world: &World) -> Vec<(String, String, i64)> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let running = store::audit::running_refusals(&mut tx, world.zoid).await.expect("refusals");
    running.into_iter().map(|one| (one.verb, one.target, one.refusals)).collect()
}

fn difference(entry: &Value, what: &str) -> Option<(String, String)> {
    let found = entry["differences"].as_array()?.iter().find(|one| one["what"] == what)?;
    Some((found["from"].as_str()?.to_owned(), found["to"].as_str()?.to_owned()))
}

both_engines! {
    async fn a_change_is_written_down_with_who_whom_what_and_why(db: Db) {
        let world = World::start(db).await;
        let (admin, mia) = (&world.admin, &world.member);
        let answer = mode_saying(&world, admin, mia, "emailupdate", json!({"emailAddress": format!("rebecca@{}", world.domain)}), &[("x-mailward-reason", "marriage")]).await;
        changed(&answer);
        let all = entries(&world, &answer).await;
        let [entry] = all.as_slice() else { panic!("{all:?}") };
        let wanted = json!({
            "v": 1, "organization": world.zoid.to_string(), "at": START, "verb": "emailupdate", "outcome": "changed",
            "actor": {"kind": "user", "zuid": admin.zuid.to_string(), "rank": "admin"}, "door": "api", "reason": "marriage",
            "request": answer.headers["x-request-id"].to_str().expect("text"), "change": answer.change(), "step": 0,
            "target": {"zuid": mia.zuid.to_string(), "accountId": mia.account_id.to_string(), "address": mia.email},
            "differences": [
                {"what": "primaryEmailAddress", "from": mia.email, "to": format!("rebecca@{}", world.domain)},
                {"what": "aliases", "from": "", "to": mia.email},
            ],
        });
        assert_eq!(*entry, wanted);
        // It is found by the person concerned.
        let mut tx = world.app.db.read().await.expect("a connection");
        let person = UserId::new(mia.zuid).expect("a zuid");
        let rows = store::audit::newest(&mut tx, world.zoid, Some(person), 1).await.expect("entries");
        assert_eq!(rows[0].id, change_id(&answer));
        assert_eq!(rows[0].entry, serde_json::to_string(&wanted).expect("JSON"), "canonical: sorted keys, no spaces");
    }

    async fn each_kind_of_change_says_what_is_different(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let by = format!("on, set by user {} (an administrator)", world.admin.zuid);
        for (who, mode, body, what, to) in [
            (&world.admin, "disableUser", none(), "userDisabled", by.as_str()),
            (&world.admin, "enableUser", none(), "userDisabled", "off"),
            (&world.admin, "disableMailAccount", none(), "mailAccountDisabled", &by),
            (&world.admin, "updateIncomingStatus", json!({"incomingBlocked": true}), "incomingBlocked", &by),
            (&world.admin, "updateOutgoingStatus", json!({"outgoingBlocked": true}), "outgoingBlocked", &by),
            (&world.admin, "updateIMAPStatus", json!({"imapAccessEnabled": false}), "imapOff", &by),
            (&world.admin, "updatePOPStatus", json!({"popAccessEnabled": false}), "popOff", &by),
            (&world.admin, "displaynameupdate", json!({"displayName": "Mia"}), "displayName", "Mia"),
            (&world.admin, "resetPassword", json!({"password": "t*c9ma"}), "credentialGeneration", "2"),
            (&world.admin, "addEmailAlias", json!({"emailAlias": ["m2@zylker.example"]}), "aliases", "m2@zylker.example"),
            (&world.admin, "deleteEmailAlias", json!({"emailAlias": ["m2@zylker.example"]}), "aliases", ""),
            (&world.owner, "changeRole", json!({"role": "admin"}), "role", "admin"),
        ] {
            let answer = world.mode(who, mia, mode, body).await;
            changed(&answer);
            let entry = &entries(&world, &answer).await[0];
            assert_eq!(difference(entry, what).map(|(_, to)| to).as_deref(), Some(to), "{mode}: {entry}");
            assert_eq!(entry["verb"], mode);
        }
        let gone = world.with_body("DELETE", &world.owner.org_token, &world.path(mia), none()).await;
        assert_eq!(difference(&entries(&world, &gone).await[0], "deleted"), Some(("false".into(), "true".into())));
    }

    async fn what_changes_nothing_leaves_no_trace(db: Db) {
        let world = World::start(db).await;
        let before = (log(&world).await.len(), backlog(&world).await);
        unchanged(&world.mode(&world.admin, &world.member, "enableUser", none()).await);
        world.mode(&world.admin, &world.owner, "disableUser", none()).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.mode(&world.admin, &world.member, "emailupdate", json!({"emailAddress": world.other.email})).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        assert_eq!((log(&world).await.len(), backlog(&world).await), before);
    }

    async fn refusals_are_counted_by_the_minute_and_become_entries(db: Db) {
        let world = World::start(db).await;
        let (mia, admin) = (&world.member, &world.admin);
        let before = log(&world).await.len();
        let try_owner = async || world.mode(admin, &world.owner, "disableUser", none()).await;
        for _ in 0..3 {
            try_owner().await.refused(403, "OPERATION_NOT_PERMITTED");
        }
        world.mode(mia, &world.other, "disableUser", none()).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.mode(admin, mia, "emailupdate", json!({"emailAddress": world.other.email})).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        world.mode(admin, mia, "resetPassword", json!({"password": "a*c"})).await.refused(400, "INVALID_PASSWORD");
        world.put(&mia.user_token, &world.path(&world.other), json!({"mode": "disableMailAccount"})).await;
        world.with_body("POST", &mia.org_token, &accounts_path(&world), json!({"primaryEmailAddress": "x@zylker.example", "password": "correct-horse-7"})).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.with_body("DELETE", &admin.org_token, &accounts_path(&world), json!({"emailList": [world.owner.email]})).await.refused(403, "OPERATION_NOT_PERMITTED");
        // A stolen token with which somebody looks for the password.
        for guess in ["summer-2025", "summer-2026"] {
            let wrong = json!({"name": "Telephone", "currentPassword": guess});
            let own = format!("/api/accounts/{}/appPasswords", mia.account_id);
            assert!(world.with_body("POST", &mia.user_token, &own, wrong).await.status.is_client_error());
        }
        // Nobody knows who that was; and what cannot be read asks nothing.
        world.put("1000.no.token", &world.path(mia), json!({"mode": "disableUser"})).await.refused(401, "INVALID_OAUTHTOKEN");
        world.mode(admin, mia, "disableUser", json!({"blockIncoming": 5})).await.refused(400, "DATATYPE_NOT_MATCHED");

        let mut counted = refusals(&world).await;
        counted.sort();
        let to = |one: &Someone| one.zuid.to_string();
        let mut wanted = vec![
            ("createAppPassword".to_owned(), mia.account_id.to_string(), 2),
            ("createUser".to_owned(), "x@zylker.example".to_owned(), 1),
            ("deleteUser".to_owned(), world.owner.email.clone(), 1),
            ("disableMailAccount".to_owned(), to(&world.other), 1),
            ("disableUser".to_owned(), to(&world.other), 1),
            ("disableUser".to_owned(), to(&world.owner), 3),
            ("emailupdate".to_owned(), to(mia), 1),
            ("resetPassword".to_owned(), to(mia), 1),
        ];
        wanted.sort();
        assert_eq!(counted, wanted);

        // The running minute is left alone.
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(log(&world).await.len(), before);
        world.app.clock.advance(MINUTE);
        try_owner().await.refused(403, "OPERATION_NOT_PERMITTED");
        tidy::run(&world.app).await.expect("tidied");
        tidy::run(&world.app).await.expect("tidied twice");
        assert_eq!(refusals(&world).await, [("disableUser".to_owned(), to(&world.owner), 1)]);
        let all = log(&world).await;
        assert_eq!(all.len(), before + wanted.len());
        let three = all.iter().find(|entry| entry["count"] == 3).expect("the three in one entry");
        for (field, value) in [("outcome", json!("refused")), ("verb", json!("disableUser")), ("named", json!(to(&world.owner))),
            ("actor", json!({"kind": "user", "zuid": to(admin), "rank": "admin"})), ("at", json!(START)), ("door", json!("api"))] {
            assert_eq!(three[field], value, "{field}");
        }
        assert!(three["why"].as_str().expect("a text").contains("higher rank"), "{three}");
        assert!(!all.iter().any(|entry| entry.to_string().contains("a*c")), "no password is written down");
    }

    async fn effects_wait_in_the_outbox_until_the_worker_carried_them_out(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        assert_eq!(backlog(&world).await, 0);
        let answer = world.mode(&world.admin, &world.member, "disableUser", none()).await;
        assert_eq!(backlog(&world).await, 2, "written with the change");
        for seconds in [0, 2, 15] {
            world.app.clock.advance(seconds * SECOND);
            world.settle().await;
        }
        assert_eq!(backlog(&world).await, 0);
        let mut tx = world.app.db.read().await.expect("a connection");
        let done = effects_of(&mut tx, world.zoid, change_id(&answer)).await;
        assert!(done.iter().all(|one| one.done_at.is_some() && one.due_at.is_none() && one.outcome.is_some()), "{done:?}");
    }
}

async fn backlog(world: &World) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    store::outbox::backlog(&mut tx).await.expect("a count").waiting
}
