//! OAuth 2: grants, limits, revocation, introspection, and everything that ends a token.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use mailward::app::oauth::{self, CodeWish};
use mailward::app::{clients, organizations, tidy};
use mailward::clock::{DAY, MINUTE, SECOND};
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::scope::ScopeSet;
use mailward::error::Error;
use mailward::store::engine::Db;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{accounts_path, changed, lives, none};
use crate::support::world::{self, Answer, Someone, World, operator};

const TOKEN: &str = "/oauth/v2/token";
const SCOPES: &str = "ZohoMail.accounts.ALL,AaaServer.profile.READ";

/// A client with its secret.
struct Client {
    id: String,
    secret: String,
}

impl Client {
    async fn new(world: &World, kind: ClientKind) -> Self {
        let (id, secret) = world::client(world, kind).await;
        Self { id, secret }
    }

    /// A wish for an offline code of somebody, for two minutes.
    fn wish(&self, world: &World, on: &Someone) -> CodeWish {
        CodeWish {
            client: self.id.clone(),
            organization: world.zoid,
            user: UserId::new(on.zuid).expect("a zuid"),
            scope: ScopeSet::parse(SCOPES).expect("scopes"),
            life: 2 * MINUTE,
            offline: true,
            redirect_uri: None,
            challenge: None,
        }
    }

    async fn code(&self, world: &World, on: &Someone) -> String {
        code(world, self.wish(world, on)).await
    }

    async fn ask(&self, world: &World, grant: &str, more: &[(&str, &str)]) -> Answer {
        let mut fields =
            vec![("grant_type", grant), ("client_id", &self.id), ("client_secret", &self.secret)];
        fields.extend(more);
        world.form(TOKEN, &fields).await
    }

    async fn exchange(&self, world: &World, code: &str) -> Answer {
        self.ask(world, "authorization_code", &[("code", code)]).await
    }

    async fn refresh(&self, world: &World, token: &str) -> Answer {
        self.ask(world, "refresh_token", &[("refresh_token", token)]).await
    }

    /// Access and refresh token of somebody.
    async fn tokens(&self, world: &World, on: &Someone) -> (String, String) {
        let given = given(&self.exchange(world, &self.code(world, on).await).await);
        (text(&given, "access_token"), text(&given, "refresh_token"))
    }

    async fn introspect(&self, world: &World, token: &str) -> Value {
        let fields = [("token", token), ("client_id", &self.id), ("client_secret", &self.secret)];
        world.form("/oauth/v2/introspect", &fields).await.ok().json()
    }
}

async fn code(world: &World, wish: CodeWish) -> String {
    oauth::make_code(&world.app, wish).await.expect("a code").expose().to_owned()
}

/// The body of a success.
#[track_caller]
fn given(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.json()["access_token"].is_string(), "{}", answer.text);
    answer.json()
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().expect("a text").to_owned()
}

/// The original's refusal: HTTP 200 and the word alone.
#[track_caller]
fn refused(answer: &Answer, word: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, format!(r#"{{"error":"{word}"}}"#).as_str())
    );
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[track_caller]
fn too_often(answer: &Answer) {
    assert_eq!(answer.status, 400);
    let description = "You have made too many requests continuously. Please try again after some time.";
    assert_eq!(
        answer.json(),
        json!({"error": "Access Denied", "error_description": description, "status": "failure"})
    );
    let seconds: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=900).contains(&seconds), "{seconds}");
}

fn shaped(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let hex = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 3 && parts[0] == "1000" && hex(parts[1]) && hex(parts[2])
}

fn query(fields: &[(&str, &str)]) -> String {
    let pairs = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!("{TOKEN}?{pairs}")
}

both_engines! {
    async fn a_code_becomes_tokens_in_the_documented_form(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let answer = client.exchange(&world, &client.code(&world, &world.member).await).await;
        let body = given(&answer);
        let (access, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
        assert!(shaped(&access) && shaped(&refresh) && access != refresh);
        let url = world.app.config.public_url();
        assert_eq!(body, json!({"access_token": access, "refresh_token": refresh, "scope": "AaaServer.profile.READ ZohoMail.accounts.ALL",
            "api_domain": url, "token_type": "Bearer", "expires_in": 3600}));
        assert!(lives(&world, &access).await);
        let again = given(&client.refresh(&world, &refresh).await);
        assert!(again.get("refresh_token").is_none(), "refresh tokens do not rotate");
        assert!(lives(&world, &access).await && lives(&world, &text(&again, "access_token")).await);
        // An hour, and not a moment longer; the refresh token stays.
        world.app.clock.advance(3600 * SECOND - 1);
        assert!(lives(&world, &access).await);
        world.app.clock.advance(1);
        assert!(!lives(&world, &access).await);
        world.app.clock.advance(400 * DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert!(lives(&world, &text(&given(&client.refresh(&world, &refresh).await), "access_token")).await);
    }

    async fn parameters_come_by_query_by_form_and_by_basic_authentication(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::Web).await;
        let (_, refresh) = {
            let mut wish = client.wish(&world, &world.member);
            wish.redirect_uri = Some("https://app.example/callback".to_owned());
            let code = code(&world, wish).await;
            let fields = [("grant_type", "authorization_code"), ("client_id", client.id.as_str()), ("client_secret", &client.secret), ("code", &code)];
            refused(&world.send("POST", &query(&fields), &[], "").await, "invalid_redirect_uri");
            let fields = [&fields[..], &[("redirect_uri", "https://else.example/")]].concat();
            refused(&world.send("POST", &query(&fields), &[], "").await, "invalid_redirect_uri");
            let fields = [&fields[..4], &[("redirect_uri", "https://app.example/callback")]].concat();
            let body = given(&world.send("POST", &query(&fields), &[], "").await);
            (text(&body, "access_token"), text(&body, "refresh_token"))
        };
        let fields = [("grant_type", "refresh_token"), ("client_id", client.id.as_str()), ("client_secret", &client.secret), ("refresh_token", &refresh)];
        given(&world.send("POST", &query(&fields), &[], "").await);
        given(&world.form(TOKEN, &fields).await);
        // Half here, half there; more than is needed is tolerated.
        given(&world.form(&query(&fields[..2]), &fields[2..]).await);
        given(&world.form(&query(&[("redirect_uri", "x"), ("scope", "y"), ("access_type", "offline")]), &fields).await);
        given(&world.form(&query(&fields[..1]), &fields).await);
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", client.id, client.secret)));
        given(&world.send("POST", &query(&[fields[0], fields[3]]), &[("authorization", &basic)], "").await);
        let wrong = format!("basic {}", BASE64_STANDARD.encode(format!("{}:wrong", client.id)));
        refused(&world.send("POST", &query(&[fields[0], fields[3]]), &[("authorization", &wrong)], "").await, "invalid_client_secret");
        // What disagrees or cannot be read.
        let twice = world.form(&query(&[("client_id", "another")]), &fields).await;
        assert_eq!((twice.status.as_u16(), &twice.json()["error"]), (200, &json!("invalid_request")));
        let broken = world.send("POST", &format!("{TOKEN}?client_id=%zz"), &[], "").await;
        assert_eq!((broken.status.as_u16(), &broken.json()["error"]), (200, &json!("invalid_request")));
    }

    async fn every_refusal_of_the_token_endpoint_is_the_originals(db: Db) {
        let world = World::start(db).await;
        let (client, other) = (Client::new(&world, ClientKind::SelfClient).await, Client::new(&world, ClientKind::SelfClient).await);
        let (access, refresh) = client.tokens(&world, &world.member).await;
        let code = client.code(&world, &world.member).await;
        let ghost = Client { id: "1000.NOBODY".to_owned(), secret: client.secret.clone() };
        let forger = Client { id: client.id.clone(), secret: other.secret.clone() };
        for (answer, word) in [
            (ghost.refresh(&world, &refresh).await, "invalid_client"),
            (forger.refresh(&world, &refresh).await, "invalid_client_secret"),
            (forger.exchange(&world, &code).await, "invalid_client_secret"),
            (world.form(TOKEN, &[]).await, "invalid_client"),
            (world.form(TOKEN, &[("client_id", &client.id)]).await, "unsupported_grant_type"),
            (world.form(TOKEN, &[("client_id", &client.id), ("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await, "invalid_client"),
            (client.ask(&world, "password", &[]).await, "unsupported_grant_type"),
            (client.ask(&world, "refresh_token", &[]).await, "invalid_code"),
            (client.ask(&world, "authorization_code", &[]).await, "invalid_code"),
            (client.refresh(&world, "1000.no.token").await, "invalid_code"),
            (client.refresh(&world, &access).await, "invalid_code"),
            (client.exchange(&world, &refresh).await, "invalid_code"),
            (other.refresh(&world, &refresh).await, "invalid_code"),
            (other.exchange(&world, &code).await, "invalid_code"),
            (client.ask(&world, "client_credentials", &[("scope", SCOPES)]).await, "missing_org_info"),
        ] {
            refused(&answer, word);
        }
        // None of that used the code up.
        given(&client.exchange(&world, &code).await);
        let late = client.code(&world, &world.member).await;
        world.app.clock.advance(2 * MINUTE);
        refused(&client.exchange(&world, &late).await, "invalid_code");
    }

    async fn client_credentials_act_as_the_owner(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let soid = format!("ZohoMail.{}", world.zoid);
        let ask = async |scope: &str, soid: &str| client.ask(&world, "client_credentials", &[("scope", scope), ("soid", soid)]).await;
        let body = given(&ask("ZohoMail.organization.accounts.ALL ZohoMail.accounts.READ", &soid).await);
        assert!(body.get("refresh_token").is_none());
        assert_eq!(body["scope"], "ZohoMail.accounts.READ ZohoMail.organization.accounts.ALL");
        let own = world.get(&text(&body, "access_token"), "/api/accounts").await;
        assert_eq!(own.ok().json()["data"][0]["zuid"], json!(world.owner.zuid));
        for wrong in ["", "ZohoMail.", "ZohoMail.x", "ZohoMail.99999999999", &world.zoid.to_string(), &format!("ZohoMail.{}", world.owner.account_id)] {
            refused(&ask(SCOPES, wrong).await, "missing_org_info");
        }
        for wrong in ["", "nonsense", "ZohoMail.accounts", "ZohoMail.accounts.WRITE", "ZohoCRM.modules.ALL"] {
            refused(&ask(wrong, &soid).await, "invalid_scope");
        }
        let public = Client::new(&world, ClientKind::Public).await;
        refused(&public.ask(&world, "client_credentials", &[("scope", SCOPES), ("soid", &soid)]).await, "invalid_client");
        // The client dies with the owner.
        let olga = world.someone("olga", Role::SuperAdmin).await;
        changed(&world.mode(&olga, &world.owner, "disableUser", none()).await);
        refused(&ask(SCOPES, &soid).await, "invalid_client");
        assert!(!lives(&world, &text(&body, "access_token")).await);
        let gone = world.with_body("DELETE", &olga.org_token, &world.path(&world.owner), none()).await;
        changed(&gone);
        refused(&ask(SCOPES, &soid).await, "invalid_client");
    }

    async fn a_clients_own_credentials_have_the_limits_of_a_refresh_token(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let soid = format!("ZohoMail.{}", world.zoid);
        let fields = [("scope", "ZohoMail.organization.accounts.READ"), ("soid", soid.as_str())];
        let mut tokens = Vec::new();
        for _ in 0..10 {
            tokens.push(text(&given(&client.ask(&world, "client_credentials", &fields).await), "access_token"));
            world.app.clock.advance(SECOND);
        }
        let answer = client.ask(&world, "client_credentials", &fields).await;
        assert_eq!(answer.json()["error"], "Access Denied", "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "590");
        world.app.clock.advance(10 * MINUTE);
        for _ in 0..6 {
            tokens.push(text(&given(&client.ask(&world, "client_credentials", &fields).await), "access_token"));
            world.app.clock.advance(SECOND);
        }
        // Fifteen live; the sixteenth has ended the oldest, and nobody else's.
        let list = accounts_path(&world);
        assert_eq!(world.get(&tokens[0], &list).await.status, 401);
        for token in &tokens[1..] {
            world.get(token, &list).await.ok();
        }
        world.get(&world.owner.org_token, &list).await.ok();
        let other = Client::new(&world, ClientKind::SelfClient).await;
        given(&other.ask(&world, "client_credentials", &fields).await);
    }

    async fn scopes_are_matched_without_regard_to_case_and_bound_the_token(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let mut wish = client.wish(&world, &world.admin);
        wish.scope = ScopeSet::parse("zohomail.ORGANIZATION.accounts.read,VirtualOffice.accounts.Read").expect("scopes");
        let body = given(&client.exchange(&world, &code(&world, wish).await).await);
        assert_eq!(body["scope"], "ZohoMail.accounts.READ ZohoMail.organization.accounts.READ");
        let token = text(&body, "access_token");
        world.get(&token, &accounts_path(&world)).await.ok();
        assert!(lives(&world, &token).await);
        let write = world.put(&token, &world.path(&world.member), json!({"mode": "disableUser"})).await;
        assert_eq!((write.status.as_u16(), &write.json()[1]["errorCode"]), (401, &json!("INVALID_OAUTHSCOPE")));
        assert_eq!(world.get(&token, "/oauth/user/info").await.json()[1]["errorCode"], "INVALID_OAUTHSCOPE");
    }

    async fn a_code_works_once_and_a_replay_revokes_what_it_gave(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let code = client.code(&world, &world.member).await;
        let body = given(&client.exchange(&world, &code).await);
        let (access, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
        let more = text(&given(&client.refresh(&world, &refresh).await), "access_token");
        let (bystander, _) = client.tokens(&world, &world.member).await;
        refused(&client.exchange(&world, &code).await, "invalid_code");
        assert!(!lives(&world, &access).await && !lives(&world, &more).await);
        refused(&client.refresh(&world, &refresh).await, "invalid_code");
        assert!(lives(&world, &bystander).await, "other grants are left alone");
    }

    async fn of_many_who_present_one_code_exactly_one_gets_tokens(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let code = client.code(&world, &world.member).await;
        let mut tries = tokio::task::JoinSet::new();
        let fields = [("grant_type", "authorization_code"), ("client_id", &client.id), ("client_secret", &client.secret), ("code", &code)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        for _ in 0..20 {
            let (router, body) = (world.router.clone(), body.clone());
            tries.spawn(async move {
                let request = axum::http::Request::post(TOKEN).body(axum::body::Body::from(body)).expect("a request");
                let answer = tower::ServiceExt::oneshot(router, request).await.expect("an answer");
                let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
                serde_json::from_slice::<Value>(&bytes).expect("JSON")
            });
        }
        let answers = tries.join_all().await;
        let winners: Vec<_> = answers.iter().filter(|answer| answer.get("access_token").is_some()).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(!lives(&world, &text(winners[0], "access_token")).await, "and the replays took it back");
    }

    async fn public_clients_prove_that_the_code_is_theirs(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::Public).await;
        assert_eq!(client.secret, "");
        let verifier = "a-verifier-of-at-least-43-characters-as-rfc-7636-says";
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let mut wish = client.wish(&world, &world.member);
        (wish.redirect_uri, wish.challenge) = (Some("https://app.example/callback".to_owned()), Some(challenge.clone()));
        let exchange = async |code: &str, verifier: Option<&str>| {
            let mut fields = vec![("grant_type", "authorization_code"), ("client_id", client.id.as_str()), ("code", code), ("redirect_uri", "https://app.example/callback")];
            fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
            world.form(TOKEN, &fields).await
        };
        let proven = code(&world, wish).await;
        refused(&exchange(&proven, None).await, "invalid_code");
        refused(&exchange(&proven, Some("another-verifier")).await, "invalid_code");
        refused(&exchange(&proven, Some(&challenge)).await, "invalid_code");
        given(&exchange(&proven, Some(verifier)).await);
        // A code that nobody could exchange is not made.
        let unproven = oauth::make_code(&world.app, client.wish(&world, &world.member)).await;
        assert!(unproven.expect_err("refused").to_string().contains("nobody could exchange"));
        // A client with a secret that asked for it is held to it too.
        let web = Client::new(&world, ClientKind::Web).await;
        let mut wish = web.wish(&world, &world.member);
        wish.challenge = Some(challenge);
        let bound = code(&world, wish).await;
        refused(&web.exchange(&world, &bound).await, "invalid_code");
        given(&web.ask(&world, "authorization_code", &[("code", &bound), ("code_verifier", verifier)]).await);
        // A code that was asked for without it is not that of whoever comes with a verifier.
        let another = code(&world, web.wish(&world, &world.member)).await;
        refused(&web.ask(&world, "authorization_code", &[("code", &another), ("code_verifier", verifier)]).await, "invalid_code");
        given(&web.exchange(&world, &another).await);
    }

    async fn a_refresh_token_makes_ten_access_tokens_in_ten_minutes_and_fifteen_live(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let (first, refresh) = client.tokens(&world, &world.member).await;
        let mut made = Vec::new();
        for _ in 0..10 {
            world.app.clock.advance(SECOND);
            made.push(text(&given(&client.refresh(&world, &refresh).await), "access_token"));
        }
        too_often(&client.refresh(&world, &refresh).await);
        world.app.clock.advance(10 * MINUTE - 10 * SECOND);
        let answer = client.refresh(&world, &refresh).await;
        too_often(&answer);
        assert_eq!(answer.headers["retry-after"], "1", "as long as it takes");
        world.app.clock.advance(SECOND);
        assert!(lives(&world, &first).await);
        made.push(text(&given(&client.refresh(&world, &refresh).await), "access_token"));
        world.app.clock.advance(10 * MINUTE);
        for _ in 0..4 {
            world.app.clock.advance(SECOND);
            made.push(text(&given(&client.refresh(&world, &refresh).await), "access_token"));
        }
        // The code's own token was the oldest of sixteen.
        assert!(!lives(&world, &first).await);
        for token in &made {
            assert!(lives(&world, token).await);
        }
        let newest = text(&given(&client.refresh(&world, &refresh).await), "access_token");
        assert!(!lives(&world, &made[0]).await && lives(&world, &made[1]).await && lives(&world, &newest).await);
    }

    async fn twenty_refresh_tokens_per_user_and_client_and_ten_codes(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let mut refresh = Vec::new();
        for number in 0..21 {
            if number % 10 == 0 {
                world.app.clock.advance(10 * MINUTE);
            }
            world.app.clock.advance(SECOND);
            let (access, token) = client.tokens(&world, &world.member).await;
            refresh.push((access, token));
            if number == 9 || number == 19 {
                match oauth::make_code(&world.app, client.wish(&world, &world.member)).await {
                    Err(Error::TooMany { retry_after_seconds }) => assert!((1..=600).contains(&retry_after_seconds)),
                    other => panic!("{other:?}"),
                }
            }
        }
        let (oldest, others) = refresh.split_first().expect("many");
        refused(&client.refresh(&world, &oldest.1).await, "invalid_code");
        assert!(!lives(&world, &oldest.0).await, "its access tokens went with it");
        for (access, token) in others {
            assert!(lives(&world, access).await);
            given(&client.refresh(&world, token).await);
        }
        // Another person's and another client's do not count.
        let other = Client::new(&world, ClientKind::SelfClient).await;
        let (_, theirs) = client.tokens(&world, &world.other).await;
        let (_, elsewhere) = other.tokens(&world, &world.member).await;
        for (client, token) in [(&client, &others[0].1), (&client, &theirs), (&other, &elsewhere)] {
            given(&client.refresh(&world, token).await);
        }
    }

    async fn whoever_keeps_failing_at_the_token_endpoint_has_to_wait(db: Db) {
        let mut config = world::config();
        config.throttle.token_failures_per_source = 3;
        let mut world = World::start_with(db, config).await;
        let peer = |text: &str| Extension(ConnectInfo(text.parse::<SocketAddr>().expect("an address")));
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let (_, refresh) = client.tokens(&world, &world.member).await;
        world.router = mailward::api::router(world.app.clone()).layer(peer("192.0.2.1:4000"));
        for _ in 0..3 {
            refused(&client.refresh(&world, "1000.no.token").await, "invalid_code");
        }
        too_often(&client.refresh(&world, &refresh).await);
        let metrics = mailward::app::metrics::render(&world.app).await.expect("metrics");
        assert!(metrics.contains("mailward_throttled_total{subject=\"token\"} 1\n"), "{metrics}");
        world.router = mailward::api::router(world.app.clone()).layer(peer("192.0.2.2:4000"));
        given(&client.refresh(&world, &refresh).await);
        world.app.clock.advance(15 * MINUTE);
        world.router = mailward::api::router(world.app.clone()).layer(peer("192.0.2.1:4000"));
        given(&client.refresh(&world, &refresh).await);
    }

    async fn tokens_are_revoked_by_query_or_form(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let (access, refresh) = client.tokens(&world, &world.member).await;
        let more = text(&given(&client.refresh(&world, &refresh).await), "access_token");
        let path = "/oauth/v2/token/revoke";
        let revoked = world.send("POST", &format!("{path}?token={access}"), &[], "").await;
        assert_eq!((revoked.status.as_u16(), revoked.text.as_str()), (200, r#"{"status":"success"}"#));
        assert!(!lives(&world, &access).await && lives(&world, &more).await, "one access token alone");
        assert_eq!(world.form(path, &[("token", &refresh)]).await.text, r#"{"status":"success"}"#);
        assert!(!lives(&world, &more).await, "a refresh token takes its access tokens along");
        refused(&client.refresh(&world, &refresh).await, "invalid_code");
        for answer in [world.form(path, &[("token", &refresh)]).await, world.form(path, &[("token", "x")]).await, world.form(path, &[]).await] {
            assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (400, &json!("invalid_token")));
        }
    }

    async fn a_client_looks_into_its_own_tokens_only(db: Db) {
        let world = World::start(db).await;
        let (client, other) = (Client::new(&world, ClientKind::SelfClient).await, Client::new(&world, ClientKind::SelfClient).await);
        let (access, refresh) = client.tokens(&world, &world.member).await;
        let now = world::START / 1000;
        let wanted = json!({"active": true, "scope": "AaaServer.profile.READ ZohoMail.accounts.ALL", "client_id": client.id,
            "sub": world.member.zuid.to_string(), "zoid": world.zoid.get(), "token_type": "Bearer", "iat": now, "exp": now + 3600,
            "iss": world.app.config.public_url()});
        assert_eq!(client.introspect(&world, &access).await, wanted);
        let of_refresh = client.introspect(&world, &refresh).await;
        assert_eq!((&of_refresh["active"], &of_refresh["sub"]), (&json!(true), &wanted["sub"]));
        assert_eq!(of_refresh.get("exp"), None, "it does not expire");
        let dead = json!({"active": false});
        for (asking, token) in [(&other, access.as_str()), (&other, &refresh), (&client, "x"), (&client, &world.member.user_token)] {
            assert_eq!(asking.introspect(&world, token).await, dead);
        }
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", client.id, client.secret)));
        let answer = world.send("POST", &format!("/oauth/v2/introspect?token={access}"), &[("authorization", &basic)], "").await;
        assert_eq!(answer.ok().json(), wanted);
        // RFC errors, not the original's.
        let public = Client::new(&world, ClientKind::Public).await;
        for fields in [
            vec![("token", access.as_str())],
            vec![("token", &access), ("client_id", &client.id)],
            vec![("token", &access), ("client_id", &client.id), ("client_secret", &other.secret)],
            vec![("token", &access), ("client_id", "1000.NOBODY"), ("client_secret", &client.secret)],
            vec![("token", &access), ("client_id", &public.id)],
            vec![("token", &access), ("client_id", &public.id), ("client_secret", "guessed")],
        ] {
            let answer = world.form("/oauth/v2/introspect", &fields).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (401, json!({"error": "invalid_client"})), "{fields:?}");
            assert_eq!(answer.headers["www-authenticate"], "Basic realm=\"oauth\"");
        }
        let missing = world.form("/oauth/v2/introspect", &[("client_id", &client.id), ("client_secret", &client.secret)]).await;
        assert_eq!((missing.status.as_u16(), &missing.json()["error"]), (400, &json!("invalid_request")));
        world.app.clock.advance(3600 * SECOND);
        assert_eq!(client.introspect(&world, &access).await, dead);
        assert_eq!(client.introspect(&world, &refresh).await["active"], true);
        changed(&world.mode(&world.admin, &world.member, "disableUser", none()).await);
        assert_eq!(client.introspect(&world, &refresh).await, dead);
    }

    async fn tokens_end_with_what_they_hang_on(db: Db) {
        let world = World::start(db).await;
        let client = Client::new(&world, ClientKind::SelfClient).await;
        let mut number = 0;
        let mut fresh = async || {
            number += 1;
            world.app.clock.advance(2 * MINUTE);
            let person = world.someone(&format!("p{number}"), Role::Member).await;
            let (access, refresh) = client.tokens(&world, &person).await;
            let code = client.code(&world, &person).await;
            (person, access, refresh, code)
        };
        let dead = async |access: &str, refresh: &str, code: &str| {
            assert!(!lives(&world, access).await);
            refused(&client.refresh(&world, refresh).await, "invalid_code");
            refused(&client.exchange(&world, code).await, "invalid_code");
        };
        // The user: disabled (also once enabled again), reset, the own new password, deleted.
        let (person, access, refresh, code) = fresh().await;
        changed(&world.mode(&world.admin, &person, "disableUser", none()).await);
        dead(&access, &refresh, &code).await;
        assert!(oauth::make_code(&world.app, client.wish(&world, &person)).await.is_err(), "nothing new either");
        changed(&world.mode(&world.admin, &person, "enableUser", none()).await);
        dead(&access, &refresh, &code).await;
        let (person, access, refresh, code) = fresh().await;
        changed(&world.mode(&world.admin, &person, "resetPassword", json!({"password": "t*c9ma"})).await);
        dead(&access, &refresh, &code).await;
        let (person, access, refresh, code) = fresh().await;
        changed(&world.self_password(&person.email, world::PASSWORD, "fresh-tulip-77").await);
        dead(&access, &refresh, &code).await;
        let (person, access, refresh, code) = fresh().await;
        changed(&world.with_body("DELETE", &world.admin.org_token, &world.path(&person), none()).await);
        dead(&access, &refresh, &code).await;
        // What does not concern tokens lets them live.
        let (person, access, refresh, _) = fresh().await;
        changed(&world.mode(&world.admin, &person, "disableMailAccount", none()).await);
        changed(&world.mode(&world.admin, &person, "resetPassword", json!({"password": "t*c9ma", "resetAuthToken": false})).await);
        changed(&world.mode(&world.admin, &person, "emailupdate", json!({"emailAddress": "renamed@zylker.example"})).await);
        assert!(lives(&world, &access).await);
        given(&client.refresh(&world, &refresh).await);
        // The organization, for as long as it is off.
        organizations::switch(&world.app, &operator(), world.zoid, true).await.expect("off");
        assert!(!lives(&world, &access).await);
        refused(&client.refresh(&world, &refresh).await, "invalid_code");
        organizations::switch(&world.app, &operator(), world.zoid, false).await.expect("on");
        assert!(lives(&world, &access).await);
        // The client, for as long as it is off, and for good.
        clients::switch(&world.app, &operator(), &client.id, true).await.expect("off");
        assert!(!lives(&world, &access).await && lives(&world, &world.member.user_token).await);
        refused(&client.refresh(&world, &refresh).await, "invalid_client");
        clients::switch(&world.app, &operator(), &client.id, false).await.expect("on");
        assert!(lives(&world, &access).await);
        clients::delete(&world.app, &operator(), &client.id).await.expect("gone");
        assert!(!lives(&world, &access).await);
        refused(&client.refresh(&world, &refresh).await, "invalid_client");
    }

    async fn who_a_token_belongs_to_and_where_everything_is(db: Db) {
        let world = World::start(db).await;
        let names = json!({"firstName": "Mia", "lastName": "Muster", "displayName": "Mia M."});
        changed(&world.mode(&world.admin, &world.member, "updatePersonalInfo", names).await);
        let info = world.get(&world.member.user_token, "/oauth/user/info").await.ok().json();
        assert_eq!(info, json!({"ZUID": world.member.zuid, "Email": world.member.email, "First_Name": "Mia", "Last_Name": "Muster", "Display_Name": "Mia M."}));
        let metadata = world.send("GET", "/.well-known/oauth-authorization-server", &[], "").await.ok().json();
        let url = world.app.config.public_url();
        for (name, path) in [("token_endpoint", "/oauth/v2/token"), ("revocation_endpoint", "/oauth/v2/token/revoke"),
            ("introspection_endpoint", "/oauth/v2/introspect"), ("userinfo_endpoint", "/oauth/user/info")] {
            assert_eq!(metadata[name], format!("{url}{path}"));
        }
        assert_eq!(metadata["issuer"], url);
        assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token", "client_credentials"]));
        assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
        let scopes = metadata["scopes_supported"].as_array().expect("an array");
        assert!(scopes.contains(&json!("ZohoMail.organization.accounts.UPDATE")) && scopes.contains(&json!("AaaServer.profile.READ")));
    }
}
