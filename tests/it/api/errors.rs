//! What every request passes: credentials, routes, bodies, headers; and how refusals look.

use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{accounts_path, done, none};
use crate::support::world::{Answer, World};

async fn with_authorization(world: &World, value: &str) -> Answer {
    world.send("GET", "/api/accounts", &[("authorization", value)], "").await
}

/// The whole body of a refusal.
fn envelope(status: u16, description: &str, code: &str, more_info: &str) -> Value {
    json!({"status": {"code": status, "description": description}, "data": {"errorCode": code, "moreInfo": more_info}})
}

both_engines! {
    async fn tokens_come_by_either_scheme_in_any_case(db: Db) {
        let world = World::start(db).await;
        let token = &world.member.user_token;
        for scheme in ["Zoho-oauthtoken", "zoho-OAUTHTOKEN", "Bearer", "BEARER", "bearer", "bearer   "] {
            with_authorization(&world, &format!("{scheme} {token}")).await.ok();
        }
        let none = world.send("GET", "/api/accounts", &[], "").await;
        assert_eq!((none.status.as_u16(), none.json()), (400, envelope(400, "Invalid Input", "INVALID_TICKET", "Invalid ticket")));
        with_authorization(&world, "  ").await.refused(400, "INVALID_TICKET");
        let bad = with_authorization(&world, "Bearer 1000.a.b").await;
        let said = "the access token is unknown, expired or revoked";
        assert_eq!((bad.status.as_u16(), bad.json()), (401, envelope(401, "Invalid Access", "INVALID_OAUTHTOKEN", said)));
        for wrong in ["Bearer", "Bearer a b", token.as_str(), "Basic YTpi", "Authtoken x", &format!("Bearer {token}x"), &format!("Bearer {token},")] {
            with_authorization(&world, wrong).await.refused(401, "INVALID_OAUTHTOKEN");
        }
        let header = format!("Bearer {token}");
        let twice = [("authorization", header.as_str()), ("authorization", header.as_str())];
        world.send("GET", "/api/accounts", &twice, "").await.refused(401, "INVALID_OAUTHTOKEN");
    }

    async fn a_missing_scope_is_answered_in_the_array_of_the_original(db: Db) {
        let world = World::start(db).await;
        let answer = world.get(&world.member.user_token, &accounts_path(&world)).await;
        assert_eq!(answer.status, 401);
        let wanted = json!([2, {"msg": "Error while processing!", "errorCode": "INVALID_OAUTHSCOPE", "authFail": "true", "status": "401"}]);
        assert_eq!(answer.json(), wanted);
    }

    async fn unknown_routes_and_methods_are_told_apart(db: Db) {
        let world = World::start(db).await;
        let token = &world.owner.org_token;
        for path in ["/api", "/api/organisation", "/api/accounts/1/2", "/nothing", "/oauth/v2/tokens", "/api/organization/1/accounts/2/3"] {
            let answer = world.get(token, path).await;
            let said = answer.refused(404, "URL_RULE_NOT_CONFIGURED");
            assert!(said.contains("/openapi.json"), "{said}");
        }
        let one = format!("{}/{}", accounts_path(&world), world.member.zuid);
        for (method, path) in [("PATCH", one.as_str()), ("POST", &one), ("DELETE", "/api/accounts"), ("PUT", "/api/accounts"), ("POST", "/api/organization"),
            ("GET", "/oauth/v2/token"), ("GET", "/self/password"), ("POST", "/health/live")] {
            let answer = world.with_body(method, token, path, none()).await;
            assert_eq!(answer.refused(404, "INVALID_METHOD"), format!("this address does not take the method {method}"));
        }
        for path in [format!("{}/", accounts_path(&world)), "/api/accounts/".to_owned(), "/api/organization/".to_owned(), "/health/live/".to_owned()] {
            let token = if path.contains("/api/accounts") { &world.owner.user_token } else { token };
            world.get(token, &path).await.ok();
        }
    }

    async fn a_bad_token_learns_nothing_about_the_request(db: Db) {
        let world = World::start(db).await;
        let path = world.path(&world.member);
        for (method, path, body) in [
            ("PUT", path.clone(), "{"),
            ("PUT", path.clone(), r#"{"mode": "nonsense"}"#),
            ("PUT", path.replace(&world.member.zuid.to_string(), "nonsense"), "{}"),
            ("PUT", "/api/organization/nonsense/accounts/5".to_owned(), "{}"),
            ("PUT", "/api/organization/5/accounts/5".to_owned(), "{}"),
            ("PUT", "/api/accounts/nonsense".to_owned(), "{}"),
            ("POST", accounts_path(&world), "[]"),
            ("DELETE", accounts_path(&world), "{}"),
            ("DELETE", path.clone(), "{"),
            ("GET", format!("{}?start=x", accounts_path(&world)), ""),
            ("GET", format!("{}/nobody@@", accounts_path(&world)), ""),
        ] {
            for (header, status, code) in [(Some("Bearer 1000.a.b"), 401, "INVALID_OAUTHTOKEN"), (None, 400, "INVALID_TICKET")] {
                let headers: Vec<_> = header.map(|value| ("authorization", value)).into_iter().chain([("x-mailward-reason", "a\tb")]).collect();
                world.send(method, &path, &headers, body).await.refused(status, code);
            }
        }
    }

    async fn bodies_that_cannot_be_meant_are_refused_and_change_nothing(db: Db) {
        let world = World::start(db).await;
        let path = world.path(&world.member);
        let token = format!("Bearer {}", world.owner.org_token);
        let deep = format!(r#"{{"mode":"disableUser","x":{}{}}}"#, "[".repeat(16), "]".repeat(16));
        let huge = format!(r#"{{"mode":"disableUser","x":"{}"}}"#, "x".repeat(64 * 1024));
        let drowned = "x".repeat(3 << 20);
        for (body, code, hint) in [
            (&b""[..], "PATTERN_NOT_MATCHED", "empty"),
            (b"{", "PATTERN_NOT_MATCHED", ""),
            (b"mode=disableUser", "PATTERN_NOT_MATCHED", ""),
            (b"[]", "PATTERN_NOT_MATCHED", "object"),
            (b"null", "PATTERN_NOT_MATCHED", "object"),
            (b"{} {}", "PATTERN_NOT_MATCHED", ""),
            (b"{\"mode\":\"disable\xff\"}", "PATTERN_NOT_MATCHED", "UTF-8"),
            (br#"{"mode":"disableUser","mode":"disableUser"}"#, "MORE_THAN_MAX_OCCURANCE", "mode"),
            (br#"{"mode":"disableUser","Mode":"enableUser"}"#, "MORE_THAN_MAX_OCCURANCE", "mode"),
            (br#"{"mode":"disableUser","x":{"y":1,"y":2}}"#, "MORE_THAN_MAX_OCCURANCE", "y"),
            (deep.as_bytes(), "PATTERN_NOT_MATCHED", "16"),
            (huge.as_bytes(), "PATTERN_NOT_MATCHED", "65536 bytes"),
            (drowned.as_bytes(), "PATTERN_NOT_MATCHED", "65536 bytes"),
        ] {
            let answer = world.send("PUT", &path, &[("authorization", &token)], body.to_vec()).await;
            let said = answer.refused(400, code);
            assert!(said.contains(hint), "{said}");
        }
        assert_eq!(world.account(&world.member).await.version, 1);
        // A byte order mark, spaces and no content type are fine.
        done(&world.send("PUT", &path, &[("authorization", &token)], &b"\xef\xbb\xbf \n{\"mode\" : \"disableUser\"}\n"[..]).await);
    }

    async fn every_answer_has_a_request_id_and_is_not_kept(db: Db) {
        let world = World::start(db).await;
        let mut seen = std::collections::BTreeSet::new();
        for (method, path) in [("GET", "/api/accounts"), ("GET", "/nothing"), ("PATCH", "/api/accounts"), ("GET", "/health/live"), ("GET", "/openapi.json"),
            ("POST", "/oauth/v2/token"), ("POST", "/self/password"), ("GET", "/health/ready/")] {
            let answer = world.send(method, path, &[("x-request-id", "mine")], "").await;
            let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
            assert!(id.len() == 16 && seen.insert(id), "{path} has an id of its own");
            assert_eq!((&answer.headers["cache-control"], &answer.headers["x-content-type-options"]), (&"no-store".parse().expect("a value"), &"nosniff".parse().expect("a value")));
            assert!(answer.headers["content-type"].to_str().expect("text").starts_with("application/json"));
        }
        assert_eq!(world.send("GET", "/health/ready", &[], "").await.ok().json()["data"], json!({"ready": true}));
        assert_eq!(world.send("GET", "/openapi.json", &[], "").await.ok().json(), mailward::api::document());
    }
}
