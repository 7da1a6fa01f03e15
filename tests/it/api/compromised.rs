//! The button for an account that somebody else got into.

use mailward::clock::DAY;
use mailward::domain::ids::UserId;
use mailward::store;
use mailward::store::migrations::STEPS;
use mailward::store::recovery::RecoveryAddress;
use serde_json::{Value, json};

use super::{change_id, effects, entries, lives, none};
use crate::support::databases::{TestDb, on_postgres};
use crate::support::postgres;
use crate::support::visitor::Visitor;
use crate::support::world::{Answer, PASSWORD, START, Someone, World};

async fn press(world: &World, by: &Someone, on: &Someone) -> Answer {
    let token = format!("Zoho-oauthtoken {}", by.org_token);
    let headers = [("authorization", token.as_str()), ("x-mailward-reason", "sends spam")];
    world.send("POST", &format!("{}/compromised", world.path(on)), &headers, String::new()).await
}

/// What a stranger in the account leaves behind to come back: an app password, a passkey, an address.
async fn dig_in(world: &World, of: &Someone) {
    let path = format!("/api/accounts/{}/appPasswords", of.account_id);
    let body = json!({"name": "Telephone", "currentPassword": PASSWORD});
    assert_eq!(world.with_body("POST", &of.user_token, &path, body).await.status, 201);
    let (zoid, user) = (of.zoid, UserId::new(of.zuid).expect("a zuid"));
    world.add_passkey(of).await;
    let address = RecoveryAddress {
        address: "stranger@elsewhere.example".to_owned(),
        proved_at: START,
        serves_from: START + 7 * DAY,
    };
    let stored =
        world.app.db.write(async move |tx| store::recovery::put_address(tx, zoid, user, &address).await);
    stored.await.expect("stored");
}

async fn factors_and_address(world: &World, of: &Someone) -> (bool, bool) {
    let (zoid, user) = (of.zoid, UserId::new(of.zuid).expect("a zuid"));
    let mut tx = world.app.db.read().await.expect("a connection");
    let any = store::factors::any(&mut tx, zoid, user).await.expect("readable");
    (any, store::recovery::address(&mut tx, zoid, user).await.expect("readable").is_some())
}

fn verbs(entries: &Value) -> Vec<&str> {
    entries.as_array().expect("entries").iter().filter_map(|entry| entry["verb"].as_str()).collect()
}

/// From the next commit on nobody can read passkeys: what a failing disk or a lost database does, to the statement.
const NEXT_COMMIT_HIDES_PASSKEYS: &str = "
    CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN ALTER TABLE passkey RENAME TO passkey_hidden; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER hide AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hide()";

#[test]
fn the_new_password_is_shown_although_what_is_read_after_the_commit_fails() {
    on_postgres(STEPS, async |test| {
        let url = test.url.clone();
        let world = World::start(test).await;
        let administrator = postgres::connect(&url).await;
        administrator.batch_execute(NEXT_COMMIT_HIDES_PASSKEYS).await.expect("a trigger");
        let report = press(&world, &world.admin, &world.member).await.ok().json()["data"].clone();
        assert_eq!(report["secondFactorsLeft"], true, "nobody knows, so it is not denied");
        let back = "DROP TRIGGER hide ON audit; ALTER TABLE passkey_hidden RENAME TO passkey";
        administrator.batch_execute(back).await.expect("as before");
        let password = report["password"].as_str().expect("a password");
        world.self_password(&world.member.email, password, "something-new-5").await.ok();
    });
}

both_engines! {
    async fn one_call_takes_an_account_back_and_tells_who_was_there(test: TestDb) {
        let world = World::start(test).await;
        let (admin, mia) = (&world.admin, &world.member);
        let _browser = Visitor::signed_in(&world, &mia.email, PASSWORD).await;
        dig_in(&world, mia).await;
        world.own_mode(mia, "displaynameupdate", json!({"displayName": "Mia (holiday)"})).await.ok();
        let before = world.account(mia).await;

        let answer = press(&world, admin, mia).await;
        let report = answer.ok().json()["data"].clone();
        let password = report["password"].as_str().expect("a password").to_owned();
        assert!(password.len() >= 12 && report["oneTimePassword"] == true);
        assert_eq!(report["passwordUntil"], START + 3 * DAY);
        let wanted = json!({"accessTokens": 2, "refreshTokens": 0, "grantCodes": 0, "webSessions": 1, "appPasswords": 1, "clients": 0});
        assert_eq!(report["ended"], wanted);
        assert_eq!(report["webSessions"][0]["browser"], "Visitor/1.0");
        assert_eq!((&report["lastLogin"], &report["lastClient"]), (&json!(START), &json!("console")));
        assert_eq!((&report["signIns"][0]["client"], &report["signIns"][0]["firstTime"]), (&json!("console"), &json!(START)));
        assert_eq!(report["mailServers"], json!([{"name": "mx1", "sessions": null}]), "it does not answer");
        assert!(verbs(&report["changesOfAccount"]).contains(&"createAppPassword"), "{report}");
        assert_eq!(verbs(&report["changesByUser"])[0], "displaynameupdate");

        // All of it in one change.
        let all = entries(&world, &answer).await;
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0]["verb"], &all[0]["reason"]), (&json!("secureAccount"), &json!("sends spam")));
        assert_eq!(all[0]["notes"]["recoveryAddress"], "removed");
        assert!(!all[0].to_string().contains(&password), "no secret is written down");
        let end = json!({"effect": "end_sessions", "mailbox": before.mailbox, "sessions": "all"});
        let told = json!({"effect": "tell", "notice": "password_reset"});
        let mut found = effects(&world, &answer).await;
        found.sort_by_key(Value::to_string);
        assert_eq!(found, [end, json!({"effect": "project"}), told]);
        assert!(change_id(&answer).get() > 0);

        let after = world.account(mia).await;
        assert!(after.app_passwords.is_empty() && after.switches.outgoing_blocked.is_some());
        assert!(after.generation > before.generation && after.session_epoch > before.session_epoch);
        assert!(!lives(&world, &mia.user_token).await && !lives(&world, &mia.org_token).await);
        assert_eq!(world.self_password(&mia.email, PASSWORD, "something-new-5").await.status, 401);
        let said = world.self_password(&mia.email, &password, "something-new-5").await;
        assert!(said.refused(403, "OPERATION_NOT_PERMITTED").contains("second factor"), "it stays");
    }

    async fn a_second_factor_goes_where_the_caller_could_take_it_away_in_any_case(test: TestDb) {
        let world = World::start(test).await;
        dig_in(&world, &world.member).await;
        dig_in(&world, &world.other).await;
        let report = press(&world, &world.admin, &world.member).await.ok().json()["data"].clone();
        assert_eq!(report["secondFactorsLeft"], true, "an administrator's token is no way around a second factor");
        assert_eq!(factors_and_address(&world, &world.member).await, (true, false));
        let answer = press(&world, &world.owner, &world.other).await;
        assert_eq!(answer.ok().json()["data"]["secondFactorsLeft"], false);
        assert_eq!(factors_and_address(&world, &world.other).await, (false, false));
        assert_eq!(entries(&world, &answer).await[0]["notes"]["secondFactors"], "removed");
    }

    async fn the_answer_comes_once_and_a_refusal_shows_nothing(test: TestDb) {
        let world = World::start(test).await;
        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let headers = [("authorization", token.as_str()), ("idempotency-key", "k")];
        let path = format!("{}/compromised", world.path(&world.member));
        assert_eq!(world.send("POST", &path, &headers, "{}".to_owned()).await.status, 200);
        let said = world.send("POST", &path, &headers, "{}".to_owned()).await.refused(409, "ANSWER_NOT_KEPT");
        assert!(said.contains("reset the password"), "{said}");
        assert_eq!(world.account(&world.member).await.generation, 2);

        for on in [&world.admin, &world.owner] {
            let refused = press(&world, &world.admin, on).await;
            refused.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(!refused.text.contains("changesByUser"), "{}", refused.text);
        }
        assert_eq!(press(&world, &world.owner, &world.owner).await.status, 403, "whoever got in could do it too");
        let dry = [("authorization", token.as_str()), ("x-mailward-dry-run", "true")];
        let path = format!("{}/compromised", world.path(&world.other));
        let forecast = world.send("POST", &path, &dry, String::new()).await;
        assert_eq!(forecast.ok().json()["data"].get("password"), None, "{}", forecast.text);
        assert_eq!(forecast.json()["data"]["accounts"][0]["mailSessions"], json!([{"which": "all"}]));
        world.mode(&world.owner, &world.other, "displaynameupdate", json!({"displayName": "Otto"})).await.ok();
        world.mode(&world.owner, &world.member, "updateOutgoingStatus", json!({"outgoingBlocked": false})).await.ok();
        world.mode(&world.owner, &world.member, "enableUser", none()).await.ok();
    }
}
