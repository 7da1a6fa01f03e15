//! `X-Mailward-Dry-Run`: every check, the whole forecast, and nothing stored.

use std::collections::BTreeSet;

use mailward::app::accounts::AccountMode;
use mailward::app::accounts::disable_user::DisableUser;
use mailward::app::change::{self, Ask};
use mailward::app::oauth::{self, CodeWish};
use mailward::clock::MINUTE;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::password::Password;
use mailward::domain::rights::Route;
use mailward::domain::scope::ScopeSet;
use serde_json::{Value, json};

use super::{accounts_path, lives, none};
use crate::support::databases::TestDb;
use crate::support::tables::{Tables, difference};
use crate::support::world::{self, Answer, PASSWORD, Someone, World, operator};

/// The same call, only to look at.
async fn dry(world: &World, method: &str, token: &str, path: &str, body: &Value) -> Answer {
    let token = format!("Zoho-oauthtoken {token}");
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
        ("x-mailward-dry-run", "TRUE"),
    ];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(method, path, &headers, body).await
}

async fn dry_mode(world: &World, by: &Someone, on: &Someone, mut body: Value, mode: &str) -> Answer {
    body["mode"] = mode.into();
    body["zuid"] = on.zuid.into();
    dry(world, "PUT", &by.org_token, &world.path(on), &body).await
}

async fn app_password(world: &World, of: &Someone) -> String {
    let path = format!("/api/accounts/{}/appPasswords", of.account_id);
    let body = json!({"name": "Telephone", "currentPassword": PASSWORD});
    let made = world.with_body("POST", &of.user_token, &path, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned()
}

/// Lets an application in, and answers its client_id.
async fn application(world: &World, of: &Someone) -> String {
    let (client, secret) = world::client(world, ClientKind::SelfClient).await;
    let wish = CodeWish {
        client: client.clone(),
        organization: world.zoid,
        user: UserId::new(of.zuid).expect("a zuid"),
        scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes"),
        life: MINUTE,
        offline: true,
        redirect_uri: None,
        challenge: None,
    };
    let code = oauth::make_code(&world.app, wish).await.expect("a code");
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("client_secret", &secret),
        ("code", code.expose()),
    ];
    assert!(world.form("/oauth/v2/token", &fields).await.text.contains("access_token"));
    client
}

both_engines! {
    async fn every_call_that_changes_something_can_be_tried_and_leaves_nothing(test: TestDb) {
        let world = World::start(test.clone()).await;
        let tables = Tables::of(&test).await;
        let (mia, otto) = (world.member.clone(), world.other.clone());
        let telephone = app_password(&world, &mia).await;
        let application = application(&world, &mia).await;
        let collection = accounts_path(&world);
        let own = format!("/api/accounts/{}", mia.account_id);
        let rename = json!({"mode": "emailupdate", "emailAddress": format!("renamed@{}", world.domain)});
        // The call, who sends it where, and how many changes of accounts are foretold.
        let calls = [
            ("POST", "/api/organization/{zoid}/accounts", &world.admin.org_token, collection.clone(),
             json!({"primaryEmailAddress": format!("new@{}", world.domain), "password": PASSWORD}), 1),
            ("PUT", "/api/organization/{zoid}/accounts", &world.owner.org_token, collection.clone(),
             json!({"mode": "changeRole", "userList": [mia.zuid, otto.zuid], "role": "admin"}), 2),
            ("DELETE", "/api/organization/{zoid}/accounts", &world.admin.org_token, collection.clone(),
             json!({"accountList": [mia.zuid, otto.zuid]}), 2),
            ("PUT", "/api/organization/{zoid}/accounts/{id}", &world.admin.org_token, world.path(&mia),
             json!({"mode": "resetPassword", "password": "t*c9ma"}), 1),
            ("DELETE", "/api/organization/{zoid}/accounts/{id}", &world.admin.org_token, world.path(&mia), Value::Null, 1),
            ("PUT", "/api/accounts/{accountId}", &mia.user_token, own.clone(), rename, 1),
            ("POST", "/api/accounts/{accountId}/appPasswords", &mia.user_token, format!("{own}/appPasswords"),
             json!({"name": "Tablet", "currentPassword": PASSWORD}), 1),
            ("DELETE", "/api/accounts/{accountId}/appPasswords/{appPasswordId}", &mia.user_token,
             format!("{own}/appPasswords/{telephone}"), Value::Null, 1),
            ("DELETE", "/api/accounts/{accountId}/applications/{clientId}", &mia.user_token,
             format!("{own}/applications/{application}"), Value::Null, 0),
            ("POST", "/api/organization/{zoid}/accounts/{id}/compromised", &world.admin.org_token,
             format!("{}/compromised", world.path(&mia)), Value::Null, 1),
            ("DELETE", "/api/organization/{zoid}/accounts/{id}/throttle", &world.admin.org_token,
             format!("{}/throttle", world.path(&mia)), Value::Null, 0),
            ("POST", "/self/password", &mia.user_token, "/self/password".to_owned(),
             json!({"address": mia.email, "password": PASSWORD, "newPassword": "something-new-5"}), 1),
        ];
        world.self_password(&mia.email, "not-the-right-one", PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        let mut tried = BTreeSet::new();
        for (method, route, token, path, body, accounts) in calls {
            // A right password leaves a counter at nought.
            let before = tables.without(&["throttle"]).await;
            let answer = dry(&world, method, token, &path, &body).await;
            let forecast = answer.ok().json()["data"].clone();
            assert_eq!(answer.headers.get("x-mailward-dry-run").expect("marked"), "true", "{method} {route}");
            assert_eq!(answer.change(), None, "{method} {route}");
            assert_eq!(forecast["changes"], true, "{method} {route}: {forecast}");
            assert_eq!(forecast["accounts"].as_array().expect("accounts").len(), accounts, "{method} {route}");
            let left = difference(&before, &tables.without(&["throttle"]).await);
            assert!(left.is_none(), "{method} {route} left\n{}", left.unwrap_or_default());
            tried.insert(format!("{method} {route}"));
        }
        // These hand credentials out or take them back, and say that they cannot be tried.
        for path in ["/oauth/v2/token", "/oauth/v2/token/revoke", "/oauth/v2/introspect"] {
            let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-mailward-dry-run", "true")];
            let body = format!("token={}", mia.user_token);
            let said = world.send("POST", path, &headers, body).await.refused(400, "INVALID_INPUT");
            assert!(said.contains("no dry run"), "{said}");
            assert!(lives(&world, &mia.user_token).await);
            tried.insert(format!("POST {path}"));
        }
        let document = mailward::api::document();
        let changing = document["paths"].as_object().expect("paths").iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| method.to_uppercase()).filter(|method| method != "GET").map(move |method| format!("{method} {path}"))
        });
        let missing: Vec<_> = changing.filter(|call| !tried.contains(call)).collect();
        assert!(missing.is_empty(), "calls without a dry run: {missing:?}");
    }

    async fn a_forecast_counts_what_would_stop(test: TestDb) {
        let world = World::start(test).await;
        let mia = &world.member;
        app_password(&world, mia).await;
        let (client, _) = world::client(&world, ClientKind::SelfClient).await;
        let forecast = dry_mode(&world, &world.admin, mia, none(), "disableUser").await.ok().json()["data"].clone();
        let ends = json!({"accessTokens": 2, "refreshTokens": 0, "grantCodes": 0, "webSessions": 0, "appPasswords": 1, "clients": 0});
        assert_eq!(forecast["ends"], ends);
        let one = &forecast["accounts"][0];
        assert_eq!((&one["zuid"], &one["address"]), (&json!(mia.zuid), &json!(mia.email)));
        assert_eq!(one["mailSessions"], json!([{"which": "all"}]));
        assert_eq!(one["mailArrives"], true, "a disable loses no mail");
        assert_eq!(one["addresses"]["kept"], json!([mia.email]));
        assert_eq!(forecast["servers"], json!([{"name": "mx1", "sessions": null}]), "it does not answer");
        assert!(one["differences"].to_string().contains("userDisabled"), "{one}");

        let blocked = json!({"blockIncoming": true});
        let forecast = dry_mode(&world, &world.admin, mia, blocked, "disableUser").await.ok().json()["data"].clone();
        assert_eq!(forecast["accounts"][0]["mailArrives"], false);

        // The owner's client goes with the owner, and what others were given through it.
        let second = world.someone("second", mailward::domain::actor::Role::SuperAdmin).await;
        let body = json!({"accountList": [world.owner.zuid]});
        let forecast = dry(&world, "DELETE", &second.org_token, &accounts_path(&world), &body).await.ok().json()["data"].clone();
        assert_eq!(forecast["ends"]["clients"], 1, "{client}");
        let freed = &forecast["accounts"][0]["addresses"]["freed"][0];
        assert_eq!(freed["address"], world.owner.email.as_str());
        assert_eq!(freed["keptUntil"], world::START + 180 * mailward::clock::DAY);

        world.mode(&world.admin, mia, "disableUser", none()).await.ok();
        let again = dry_mode(&world, &world.admin, mia, none(), "disableUser").await.ok().json()["data"].clone();
        assert_eq!((&again["changes"], &again["accounts"][0]["differences"]), (&json!(false), &json!([])));
        assert_eq!(again["ends"]["accessTokens"], 0);
    }

    async fn a_dry_run_is_refused_as_the_call_would_be_and_no_refusal_is_noted(test: TestDb) {
        let world = World::start(test.clone()).await;
        let tables = Tables::of(&test).await;
        let before = tables.without(&[]).await;
        let owner = world.owner.clone();
        dry_mode(&world, &world.admin, &owner, none(), "disableUser").await.refused(403, "OPERATION_NOT_PERMITTED");
        dry_mode(&world, &owner, &owner, none(), "disableUser").await.refused(403, "OPERATION_NOT_PERMITTED");
        let common = json!({"password": "password1", "oneTimePassword": false});
        dry_mode(&world, &owner, &world.member, common, "resetPassword").await.refused(400, "INVALID_PASSWORD");
        let taken = json!({"emailAddress": world.other.email});
        dry_mode(&world, &owner, &world.member, taken, "emailupdate").await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        dry(&world, "PUT", "1000.no.token", &world.path(&owner), &json!({"mode": "disableUser"})).await.refused(401, "INVALID_OAUTHTOKEN");
        assert_eq!(difference(&before, &tables.without(&[]).await), None);
    }

    async fn what_cannot_be_understood_is_not_taken_for_no(test: TestDb) {
        let world = World::start(test).await;
        let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
        let path = world.path(&world.member);
        let body = json!({"mode": "disableUser", "zuid": world.member.zuid}).to_string();
        for headers in [
            vec![("x-mailward-dry-run", "yes")],
            vec![("x-mailward-dry-run", "")],
            vec![("x-mailward-dry-run", "1")],
            vec![("x-mailward-dry-run", "false"), ("x-mailward-dry-run", "true")],
        ] {
            let mut all = vec![("authorization", token.as_str())];
            all.extend(&headers);
            let answer = world.send("PUT", &path, &all, body.clone()).await;
            assert_eq!(answer.status, 400, "{headers:?}: {}", answer.text);
            assert!(world.account(&world.member).await.switches.user_disabled.is_none());
        }
        let meant = [("authorization", token.as_str()), ("x-mailward-dry-run", "False")];
        assert!(world.send("PUT", &path, &meant, body).await.change().is_some());
    }

    async fn a_reset_is_tried_without_the_cost_of_a_hash(test: TestDb) {
        let mut config = world::config();
        (config.passwords.memory_kib, config.passwords.passes, config.passwords.threads) = (65_536, 4, 1);
        let world = World::start_with(test, config).await;
        let password = Password::prepare(PASSWORD).expect("a password");
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let (hasher, password) = (world.app.hasher.clone(), password.clone());
                tokio::spawn(async move { hasher.hash(&password, [0; 16]).await })
            })
            .collect();
        while world.app.hasher.queued() < 20 {
            tokio::task::yield_now().await;
        }
        dry_mode(&world, &world.admin, &world.member, json!({"password": "t*c9ma"}), "resetPassword").await.ok();
        // A hash of its own would have come after all of these.
        assert!(world.app.hasher.queued() > 0, "the dry run waited for its turn");
        waiting.into_iter().for_each(|task| task.abort());
    }

    async fn a_door_asks_for_a_forecast_without_http(test: TestDb) {
        let world = World::start(test).await;
        let ask = Ask {
            route: Route::Organization(world.zoid),
            path: None,
            zuid: Some(world.member.zuid),
            mode: AccountMode::DisableUser(DisableUser::default()),
        };
        let forecast = change::forecast(&world.app, &operator(), ask).await.expect("a forecast");
        assert!(forecast.changes && forecast.ends.access_tokens == 2);
        assert!(world.account(&world.member).await.switches.user_disabled.is_none());
    }
}
