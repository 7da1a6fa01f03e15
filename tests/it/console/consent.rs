//! `/oauth/v2/auth`: an application asks, a person answers, and only who was registered hears of it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mailward::app::call::{Caller, Context, Door};
use mailward::app::clients::{self, NewClient};
use mailward::app::oauth::authorize::{self, Checked};
use mailward::app::oauth::{self, CodeWish};
use mailward::clock::MINUTE;
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::{ChangeId, UserId};
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::fingerprint;
use mailward::error::Error;
use mailward::store;
use mailward::store::engine::Db;
use mailward::wire::Params;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::visitor::Visitor;
use crate::support::world::{self, Answer, PASSWORD, Someone, World, operator};

const CALLBACK: &str = "https://app.example/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// An application and the request that it sends browsers with.
struct Asking {
    id: String,
    secret: String,
}

impl Asking {
    async fn new(world: &World, kind: ClientKind, redirects: &[&str]) -> Self {
        let new = NewClient {
            organization: world.zoid,
            owner: UserId::new(world.owner.zuid).expect("a zuid"),
            name: "Chart <b>&amp; Table</b>".to_owned(),
            kind,
            redirect_uris: redirects.iter().map(|uri| (*uri).to_owned()).collect(),
        };
        let (client, secret, _) = clients::create(&world.app, &operator(), new).await.expect("a client");
        Self { id: client.id, secret: secret.map(|secret| secret.expose().to_owned()).unwrap_or_default() }
    }

    async fn web(world: &World) -> Self {
        Self::new(world, ClientKind::Web, &[CALLBACK]).await
    }

    async fn public(world: &World) -> Self {
        Self::new(world, ClientKind::Public, &[CALLBACK]).await
    }

    /// The path of a good request; an empty value leaves a parameter out, a new name adds one.
    fn path(&self, changes: &[(&str, &str)]) -> String {
        let mut all = vec![
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", CALLBACK),
            ("scope", "ZohoMail.accounts.READ"),
            ("state", "st&te=/1 ü"),
        ];
        for (name, value) in changes {
            all.retain(|(known, _)| known != name);
            if !value.is_empty() {
                all.push((name, value));
            }
        }
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
        format!("/oauth/v2/auth?{query}")
    }

    async fn exchange(&self, world: &World, code: &str, more: &[(&str, &str)]) -> Value {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &self.id),
            ("code", code),
            ("redirect_uri", CALLBACK),
        ];
        if !self.secret.is_empty() {
            form.push(("client_secret", &self.secret));
        }
        form.extend(more);
        world.form("/oauth/v2/token", &form).await.ok().json()
    }
}

/// The S256 challenge of `VERIFIER`.
fn challenge() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// What a redirect to the application carries.
#[track_caller]
fn back(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let to = answer.headers["location"].to_str().expect("ASCII");
    let query = to.strip_prefix(&format!("{CALLBACK}?")).unwrap_or_else(|| panic!("sent to {to}"));
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The word of an error that went back, with the state beside it.
#[track_caller]
fn refused(answer: &Answer) -> String {
    let back = back(answer);
    assert_eq!(back.get("state").map(String::as_str), Some("st&te=/1 ü"));
    assert!(!back.contains_key("code"), "{back:?}");
    back["error"].clone()
}

/// A page that says what is wrong, and sends nobody anywhere.
#[track_caller]
fn told(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert!(!answer.headers.contains_key("location") && !answer.headers.contains_key("refresh"));
    assert!(answer.text.contains("cannot be let in"), "{}", answer.text);
    assert!(!answer.text.contains("evil.example"), "not even as a link: {}", answer.text);
}

#[track_caller]
fn asks(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.text.contains(r#"name="decision""#), "{}", answer.text);
}

async fn allow(visitor: &mut Visitor<'_>, path: &str) -> BTreeMap<String, String> {
    asks(&visitor.get(path).await);
    back(&visitor.post(path, &[("decision", "allow")]).await)
}

async fn codes(world: &World) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    let count =
        tx.query_one("SELECT COUNT(*) AS n FROM grant_code", store::engine::params![], |row| row.get("n"));
    count.await.expect("a count")
}

async fn connected(world: &World, of: &Someone) -> Value {
    let path = format!("/api/accounts/{}/applications", of.account_id);
    world.get(&of.user_token, &path).await.ok().json()["data"].clone()
}

async fn mia(world: &World) -> Visitor<'_> {
    Visitor::signed_in(world, &world.member.email, PASSWORD).await
}

both_engines! {
    async fn a_person_lets_an_application_in_and_takes_it_back(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[("access_type", "offline"), ("scope", "ZohoMail.accounts.READ,AaaServer.profile.READ")]);

        // Signing in comes first, and leads back to the question.
        let mut visitor = Visitor::new(&world);
        let first = visitor.get(&path).await;
        let to_sign_in = first.headers["location"].to_str().expect("a path").to_owned();
        assert!(to_sign_in.starts_with("/?next=%2Foauth%2Fv2%2Fauth%3F"), "{to_sign_in}");
        visitor.get(&to_sign_in).await;
        let fields = [("address", world.member.email.as_str()), ("password", PASSWORD), ("next", path.as_str())];
        let signed_in = visitor.post("/sign-in", &fields).await;
        assert_eq!(signed_in.headers["location"], path.as_str());

        let page = visitor.follow(signed_in).await;
        asks(&page);
        for shown in ["Chart &#60;b&#62;&#38;amp; Table", world.owner.email.as_str(), world.member.email.as_str(),
            "see your own account", "see your name and address", "until you take it back", "app.example"] {
            assert!(page.text.contains(shown), "{shown} in {}", page.text);
        }
        assert_eq!(page.headers["x-frame-options"], "DENY");
        assert_eq!(page.headers["cache-control"], "no-store");
        let policy = page.headers["content-security-policy"].to_str().expect("ASCII");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self' https:"), "{policy}");
        assert_eq!(codes(&world).await, 0, "looking gives nothing");

        let answer = visitor.post(&path, &[("decision", "allow")]).await;
        let given = back(&answer);
        let url = world.app.config.public_url();
        assert_eq!(given["location"], "us");
        assert_eq!((&given["accounts-server"], &given["iss"]), (&url, &url));
        assert_eq!(given["state"], "st&te=/1 ü");
        assert_eq!(answer.headers["cache-control"], "no-store");

        let tokens = asking.exchange(&world, &given["code"], &[]).await;
        assert_eq!(tokens["scope"], "ZohoMail.accounts.READ AaaServer.profile.READ".split(' ').rev().collect::<Vec<_>>().join(" "));
        let access = tokens["access_token"].as_str().expect("a token");
        let refresh = tokens["refresh_token"].as_str().expect("a refresh token");
        world.get(access, "/api/accounts").await.ok();

        let listed = connected(&world, &world.member).await;
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!((&listed[0]["clientId"], &listed[0]["offline"]), (&json!(asking.id), &json!(true)));
        assert!(listed[0]["consentTime"].as_i64() > Some(0) && listed[0]["lastTokenTime"].as_i64() > Some(0), "{listed}");
        assert_eq!(connected(&world, &world.other).await, json!([]), "nobody else's");

        let own = format!("/api/accounts/{}/applications/{}", world.member.account_id, asking.id);
        world.with_body("DELETE", &world.other.user_token, &own, Value::Null).await.refused(404, "RESOURCE_NOT_FOUND");
        let token = format!("Bearer {}", world.member.user_token);
        let tried = world.send("DELETE", &own, &[("authorization", &token), ("x-mailward-dry-run", "true")], "").await;
        let ends = tried.ok().json()["data"]["ends"].clone();
        assert_eq!((&ends["accessTokens"], &ends["refreshTokens"], &ends["grantCodes"]), (&json!(1), &json!(1), &json!(0)));
        world.get(access, "/api/accounts").await.ok();
        let gone = world.with_body("DELETE", &world.member.user_token, &own, Value::Null).await;
        let change: ChangeId = gone.ok().change().expect("a change").parse().expect("an id");
        world.get(access, "/api/accounts").await.refused(401, "INVALID_OAUTHTOKEN");
        let form = [("grant_type", "refresh_token"), ("client_id", &asking.id), ("client_secret", &asking.secret), ("refresh_token", refresh)];
        assert_eq!(world.form("/oauth/v2/token", &form).await.json()["error"], "invalid_code");
        assert_eq!(connected(&world, &world.member).await, json!([]));
        world.with_body("DELETE", &world.member.user_token, &own, Value::Null).await.refused(404, "RESOURCE_NOT_FOUND");

        let mut tx = world.app.db.read().await.expect("a connection");
        let entry = store::audit::of_change(&mut tx, world.zoid, change).await.expect("entries").remove(0);
        assert_eq!(entry.verb, "disconnectApplication");
        let of_mia = UserId::new(world.member.zuid);
        let entries = store::audit::newest(&mut tx, world.zoid, of_mia, 10).await.expect("entries");
        let yes = entries.iter().find(|entry| entry.verb == "authorizeApplication").expect("the yes is written down");
        for said in [asking.id.as_str(), "\"door\":\"console\"", "offline", "AaaServer.profile.READ"] {
            assert!(yes.entry.contains(said), "{said} in {}", yes.entry);
        }
        assert!(!yes.entry.contains(&given["code"]));
    }

    async fn a_public_client_proves_itself_by_its_verifier(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::public(&world).await;
        let mut visitor = mia(&world).await;
        let challenge = challenge();
        for (wrong, why) in [
            (vec![], "no challenge"),
            (vec![("code_challenge", challenge.as_str())], "the plain method is meant"),
            (vec![("code_challenge", challenge.as_str()), ("code_challenge_method", "plain")], "the plain method"),
            (vec![("code_challenge", "short"), ("code_challenge_method", "S256")], "no digest"),
            (vec![("code_challenge_method", "S256")], "a method for nothing"),
        ] {
            assert_eq!(refused(&visitor.get(&asking.path(&wrong)).await), "invalid_request", "{why}");
        }
        let path = asking.path(&[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
        let code = allow(&mut visitor, &path).await["code"].clone();
        for verifier in [&[][..], &[("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl")], &[("code_verifier", &challenge)]] {
            assert_eq!(asking.exchange(&world, &code, verifier).await["error"], "invalid_code", "{verifier:?}");
        }
        let tokens = asking.exchange(&world, &code, &[("code_verifier", VERIFIER)]).await;
        let access = tokens["access_token"].as_str().expect("a token");
        assert!(tokens.get("refresh_token").is_none(), "online is what is meant where nothing is said");
        world.get(access, "/api/accounts").await.ok();

        // Who has a copy of the code takes the first one's access with it.
        assert_eq!(asking.exchange(&world, &code, &[("code_verifier", VERIFIER)]).await["error"], "invalid_code");
        world.get(access, "/api/accounts").await.refused(401, "INVALID_OAUTHTOKEN");

        // A client with a secret that asked with a challenge is held to it.
        let asking = Asking::web(&world).await;
        let path = asking.path(&[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
        let code = allow(&mut visitor, &path).await["code"].clone();
        assert_eq!(asking.exchange(&world, &code, &[]).await["error"], "invalid_code");
        assert!(asking.exchange(&world, &code, &[("code_verifier", VERIFIER)]).await["access_token"].is_string());
    }

    async fn an_address_that_was_not_registered_is_sent_nothing(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        for redirect in [
            "https://evil.example/",
            "https://app.example/callback/",
            "https://app.example/callback?x=https://evil.example",
            "https://app.example/callback#evil.example",
            "https://app.example/Callback",
            "https://APP.example/callback",
            "https://app.example:443/callback",
            "https://app.example.evil.example/callback",
            "https://app.example@evil.example/callback",
            "https://evil.example\\@app.example/callback",
            "http://app.example/callback",
            "//evil.example",
            "/callback",
            "javascript:alert(1)",
            " https://app.example/callback",
            "",
        ] {
            let path = asking.path(&[("redirect_uri", redirect)]);
            told(&visitor.get(&path).await);
            told(&visitor.post(&path, &[("decision", "allow")]).await);
            told(&visitor.post(&path, &[("decision", "deny")]).await);
            // Other errors do not open the way either.
            told(&visitor.get(&asking.path(&[("redirect_uri", redirect), ("scope", "nonsense"), ("prompt", "none")])).await);
            told(&Visitor::new(&world).get(&path).await);
        }
        told(&visitor.get(&asking.path(&[("client_id", "1000.NOBODY")])).await);
        told(&visitor.get(&asking.path(&[("client_id", "")])).await);
        told(&visitor.get(&format!("{}&redirect_uri=https://evil.example/", asking.path(&[]))).await);
        let own = Asking::new(&world, ClientKind::SelfClient, &[CALLBACK]).await;
        told(&visitor.get(&own.path(&[])).await);
        clients::switch(&world.app, &operator(), &asking.id, true).await.expect("off");
        told(&visitor.get(&asking.path(&[])).await);
        assert_eq!(codes(&world).await, 0);
    }

    async fn what_cannot_be_granted_is_told_to_the_application(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        for (changes, word) in [
            (vec![("scope", "ZohoCRM.modules.ALL")], "invalid_scope"),
            (vec![("scope", "ZohoMail.accounts")], "invalid_scope"),
            (vec![("scope", "")], "invalid_scope"),
            (vec![("scope", "\"><script>")], "invalid_scope"),
            (vec![("response_type", "token")], "unsupported_response_type"),
            (vec![("response_type", "")], "invalid_request"),
            (vec![("access_type", "sometimes")], "invalid_request"),
            (vec![("prompt", "none consent")], "invalid_request"),
            (vec![("prompt", "none")], "consent_required"),
        ] {
            let answer = visitor.get(&asking.path(&changes)).await;
            assert_eq!(refused(&answer), word, "{changes:?}");
            let description = back(&answer)["error_description"].clone();
            assert!(description.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\'), "{description}");
        }
        assert_eq!(refused(&Visitor::new(&world).get(&asking.path(&[("prompt", "none")])).await), "login_required");
        // Nothing is said of a state that was not sent.
        assert!(!back(&visitor.get(&asking.path(&[("state", ""), ("scope", "x")])).await).contains_key("state"));
        assert_eq!(codes(&world).await, 0);
    }

    async fn a_no_is_told_and_nothing_is_given(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        asks(&visitor.get(&asking.path(&[])).await);
        assert_eq!(refused(&visitor.post(&asking.path(&[]), &[("decision", "deny")]).await), "access_denied");
        assert_eq!(codes(&world).await, 0);
        assert_eq!(connected(&world, &world.member).await, json!([]));
        // Who changes their mind may; an answer that is neither asks again.
        asks(&visitor.get(&asking.path(&[])).await);
        asks(&visitor.post(&asking.path(&[]), &[("decision", "perhaps")]).await);
        back(&visitor.post(&asking.path(&[]), &[("decision", "allow")]).await);
    }

    async fn only_the_person_on_the_page_says_yes(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[]);
        let mut visitor = mia(&world).await;
        asks(&visitor.get(&path).await);
        let token = visitor.csrf();

        let nobody = Visitor::new(&world).post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await;
        assert!(nobody.headers["location"].to_str().expect("a path").starts_with("/?next="), "asked to sign in");
        let mut otto = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        for fields in [vec![("decision", "allow")], vec![("csrf", "0"), ("decision", "allow")], vec![("csrf", &token), ("decision", "allow")]] {
            assert_eq!(otto.post_as_is(&path, &fields).await.status, StatusCode::FORBIDDEN, "{fields:?}");
        }
        visitor.headers.push(("sec-fetch-site".to_owned(), "cross-site".to_owned()));
        assert_eq!(visitor.post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await.status, StatusCode::FORBIDDEN);
        visitor.headers.clear();
        assert_eq!(codes(&world).await, 0);

        // The same form twice gives two codes, each good once; after signing out it gives none.
        let first = back(&visitor.post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await)["code"].clone();
        let second = back(&visitor.post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await)["code"].clone();
        assert_ne!(first, second);
        let kept = asking.exchange(&world, &second, &[]).await["access_token"].as_str().expect("a token").to_owned();
        assert!(asking.exchange(&world, &first, &[]).await["access_token"].is_string());
        assert_eq!(asking.exchange(&world, &first, &[]).await["error"], "invalid_code");
        world.get(&kept, "/api/accounts").await.ok();

        let cookie = visitor.cookie("mailward").expect("a session").to_owned();
        let out = visitor.post_as_is("/sign-out", &[("csrf", &token), ("next", &path)]).await;
        assert!(out.headers["location"].to_str().expect("a path").starts_with("/?next=%2Foauth%2Fv2%2Fauth"), "another account");
        visitor.set_cookie("mailward", &cookie);
        let answer = visitor.post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await;
        assert!(answer.headers["location"].to_str().expect("a path").starts_with("/?next="));
        assert_eq!(codes(&world).await, 2);
    }

    async fn an_application_is_known_in_its_own_organization_alone(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let (zoid, domain) = world::organization(&world.app, "Else", "else.example").await;
        let eve = world::someone(&world.app, zoid, &format!("eve@{domain}"), Role::SuperAdmin).await;
        let mut visitor = Visitor::signed_in(&world, &eve.email, PASSWORD).await;
        visitor.get("/prove").await;
        for answer in [visitor.get(&asking.path(&[])).await, visitor.get(&asking.path(&[("prompt", "none")])).await] {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
            assert!(answer.text.contains("another organization"), "{}", answer.text);
        }
        visitor.get("/prove").await;
        let answer = visitor.post(&asking.path(&[]), &[("decision", "allow")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        assert_eq!(codes(&world).await, 0);
    }

    async fn a_yes_is_remembered_for_what_was_asked(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        let wide = [("scope", "ZohoMail.accounts.ALL"), ("access_type", "offline")];
        let code = allow(&mut visitor, &asking.path(&wide)).await["code"].clone();
        assert!(asking.exchange(&world, &code, &[]).await["refresh_token"].is_string());

        // The same and less goes through in silence, and brings no refresh token.
        for path in [asking.path(&wide), asking.path(&[]), asking.path(&[("prompt", "none")])] {
            let code = back(&visitor.get(&path).await)["code"].clone();
            let tokens = asking.exchange(&world, &code, &[]).await;
            assert!(tokens["access_token"].is_string() && tokens.get("refresh_token").is_none(), "{tokens}");
        }
        // More is asked for, and so is what the client wants to have asked.
        asks(&visitor.get(&asking.path(&[("scope", "AaaServer.profile.READ")])).await);
        let consent = [wide[0], wide[1], ("prompt", "consent")];
        let code = allow(&mut visitor, &asking.path(&consent)).await["code"].clone();
        assert!(asking.exchange(&world, &code, &[]).await["refresh_token"].is_string());
        // Nobody else is meant.
        let mut otto = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        asks(&otto.get(&asking.path(&[])).await);

        // A yes ends with the sessions that it was said in.
        let reset = json!({"password": "another-horse-7", "oneTimePassword": false});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();
        let mut visitor = Visitor::signed_in(&world, &world.member.email, "another-horse-7").await;
        asks(&visitor.get(&asking.path(&[])).await);
        assert_eq!(refused(&visitor.get(&asking.path(&[("prompt", "none")])).await), "consent_required");
    }

    async fn silence_is_no_yes_for_whoever_has_no_secret(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::public(&world).await;
        let mut visitor = mia(&world).await;
        let challenge = challenge();
        let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        allow(&mut visitor, &asking.path(&pkce)).await;
        asks(&visitor.get(&asking.path(&pkce)).await);
        let silent = [pkce[0], pkce[1], ("prompt", "none")];
        assert_eq!(refused(&visitor.get(&asking.path(&silent)).await), "consent_required");
    }

    async fn what_somebody_else_gave_is_not_what_the_person_agreed_to(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let member = UserId::new(world.member.zuid).expect("a zuid");
        let wish = CodeWish {
            client: asking.id.clone(),
            organization: world.zoid,
            user: member,
            scope: ScopeSet::parse("ZohoMail.accounts.ALL").expect("a scope"),
            life: MINUTE,
            offline: true,
            redirect_uri: Some(CALLBACK.to_owned()),
            challenge: None,
        };
        let code = oauth::make_code(&world.app, wish).await.expect("a code");
        assert!(asking.exchange(&world, code.expose(), &[]).await["refresh_token"].is_string());
        let listed = connected(&world, &world.member).await;
        assert_eq!((&listed[0]["consentTime"], &listed[0]["scope"]), (&json!(-1), &json!("ZohoMail.accounts.ALL")));

        let mut visitor = mia(&world).await;
        allow(&mut visitor, &asking.path(&[])).await;
        back(&visitor.get(&asking.path(&[])).await);
        asks(&visitor.get(&asking.path(&[("scope", "ZohoMail.accounts.UPDATE")])).await);
    }

    async fn a_token_lets_no_application_in(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[]);
        let params = Params::query(path.split_once('?').map(|(_, query)| query)).expect("parameters");
        let Checked::Good(request) = authorize::check(&world.app, &params).await.expect("a request") else {
            panic!("a good request")
        };
        for caller in [Caller::Token(fingerprint(&world.member.user_token)), Caller::Token(fingerprint(&world.member.org_token))] {
            let context = Context { caller, door: Door::Api, ..operator() };
            for outcome in [
                authorize::allow(&world.app, &context, &request).await.map(drop),
                authorize::begin(&world.app, &context, &request).await.map(drop),
            ] {
                assert!(matches!(outcome, Err(Error::Forbidden(_))), "{outcome:?}");
            }
        }
        assert_eq!(codes(&world).await, 0);
    }

    async fn power_over_others_is_given_away_by_who_has_just_proved_to_be_there(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[("scope", "ZohoMail.organization.accounts.ALL")]);
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let page = visitor.get(&path).await;
        asks(&page);
        assert!(page.text.contains("reaches other people"), "{}", page.text);
        world.app.clock.advance(11 * MINUTE);
        let token = visitor.csrf();
        let late = visitor.post_as_is(&path, &[("csrf", &token), ("decision", "allow")]).await;
        assert!(late.headers["location"].to_str().expect("a path").starts_with("/prove?next=%2Foauth"));
        let to = visitor.get(&path).await.headers["location"].to_str().expect("a path").to_owned();
        assert!(to.starts_with("/prove?next=%2Foauth"), "{to}");
        visitor.get(&to).await;
        let proved = visitor.post("/prove", &[("password", PASSWORD), ("next", &path)]).await;
        assert_eq!(proved.headers["location"], path.as_str());
        allow(&mut visitor, &path).await;
        // Somebody's own account is not so much.
        let mut member = mia(&world).await;
        world.app.clock.advance(11 * MINUTE);
        asks(&member.get(&asking.path(&[])).await);
        // What asks for others' is proved, too: the member may be an administrator one day.
        let to = member.get(&path).await.headers["location"].to_str().expect("a path").to_owned();
        assert!(to.starts_with("/prove?next=%2Foauth"), "{to}");
        member.get(&to).await;
        member.post("/prove", &[("password", PASSWORD), ("next", &path)]).await;
        let page = member.get(&path).await;
        asks(&page);
        assert!(!page.text.contains("reaches other people"), "a member's word reaches nobody");
    }

    async fn a_one_time_password_leads_back_to_the_question_too(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[]);
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        let mut visitor = Visitor::new(&world);
        let first = visitor.get(&path).await;
        visitor.follow(first).await;
        let fields = [("address", world.member.email.as_str()), ("password", "t*c9ma-once"), ("next", path.as_str())];
        let halfway = visitor.post("/sign-in", &fields).await;
        let page = visitor.follow(halfway).await;
        assert!(page.text.contains("Choose a new password"), "{}", page.text);
        let hidden = format!(r#"name="next" value="{}""#, path.replace('&', "&#38;"));
        assert!(page.text.contains(&hidden), "{hidden} in {}", page.text);
        assert_eq!(codes(&world).await, 0);
        let twice = |next| [("new_password", "a-better-one-9"), ("new_password_again", "a-better-one-9"), ("next", next)];
        let chosen = visitor.post("/new-password", &twice(path.as_str())).await;
        assert_eq!(chosen.headers["location"], path.as_str());
        asks(&visitor.follow(chosen).await);
    }

    async fn who_is_to_sign_in_again_does_so_once(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let path = asking.path(&[("prompt", "login")]);
        let mut visitor = mia(&world).await;
        world.app.clock.advance(2 * MINUTE);
        let to = visitor.get(&path).await.headers["location"].to_str().expect("a path").to_owned();
        assert!(to.starts_with("/prove?next=%2Foauth"), "{to}");
        visitor.get(&to).await;
        visitor.post("/prove", &[("password", PASSWORD), ("next", &path)]).await;
        allow(&mut visitor, &path).await;
    }

    async fn more_codes_than_anybody_needs_are_denied(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        for _ in 0..world.app.config.oauth.codes_per_client {
            asks(&visitor.get(&asking.path(&[("prompt", "consent")])).await);
            back(&visitor.post(&asking.path(&[("prompt", "consent")]), &[("decision", "allow")]).await);
        }
        assert_eq!(refused(&visitor.get(&asking.path(&[])).await), "access_denied");
        // Colleagues are not kept out by it.
        let mut otto = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        assert!(allow(&mut otto, &asking.path(&[])).await.contains_key("code"));
        world.app.clock.advance(11 * MINUTE);
        assert!(back(&visitor.get(&asking.path(&[])).await).contains_key("code"));
    }

    async fn requests_as_real_clients_write_them_are_understood(db: Db) {
        let world = World::start(db).await;
        let asking = Asking::web(&world).await;
        let mut visitor = mia(&world).await;
        // Scopes with commas, with spaces, in any case, and under the service's former name; parameters
        // that nobody knows; the same in another order.
        for scope in [
            "ZohoMail.accounts.READ,ZohoMail.messages.ALL,ZohoMail.folders.READ",
            "VirtualOffice.accounts.READ VirtualOffice.messages.CREATE",
            "ZohoMail.partner.organization,aaaserver.profile.read",
            "ZOHOMAIL.Partner.organization.all,aaaserver.profile.read",
        ] {
            let path = asking.path(&[("scope", scope), ("access_type", "offline"), ("prompt", "consent"), ("utm_source", "x")]);
            let answer = visitor.get(&path).await;
            if scope.starts_with("ZohoMail.partner") {
                assert_eq!(refused(&answer), "invalid_scope", "it lacks its operation");
                continue;
            }
            asks(&answer);
            let given = back(&visitor.post(&path, &[("decision", "allow")]).await);
            // Some exchange with everything in the query, and send the scope along.
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("grant_type", "authorization_code"), ("client_id", &asking.id), ("client_secret", &asking.secret),
                    ("code", &given["code"]), ("redirect_uri", CALLBACK), ("scope", scope)])
                .finish();
            let tokens = world.send("POST", &format!("/oauth/v2/token?{query}"), &[], "").await;
            assert!(tokens.ok().json()["refresh_token"].is_string(), "{}", tokens.text);
        }
        let by_hand = format!(
            "/oauth/v2/auth?scope=ZohoMail.accounts.READ&client_id={}&state=&response_type=code&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&access_type=offline&prompt=consent",
            asking.id
        );
        assert!(!allow(&mut visitor, &by_hand).await.contains_key("state"));
    }

    async fn an_answer_is_put_behind_what_was_registered(db: Db) {
        let world = World::start(db).await;
        let mut visitor = mia(&world).await;
        let challenge = challenge();
        for (uri, before) in [
            ("https://app.example/callback?tenant=7", "https://app.example/callback?tenant=7&code=1000."),
            ("https://app.example", "https://app.example?code=1000."),
            ("com.example.app:/done", "com.example.app:/done?code=1000."),
            ("http://127.0.0.1:8765/cb", "http://127.0.0.1:8765/cb?code=1000."),
        ] {
            let asking = Asking::new(&world, ClientKind::Public, &[uri]).await;
            let path = asking.path(&[("redirect_uri", uri), ("code_challenge", &challenge), ("code_challenge_method", "S256")]);
            let page = visitor.get(&path).await;
            asks(&page);
            let scheme = uri.split(':').next().expect("a scheme");
            let policy = page.headers["content-security-policy"].to_str().expect("ASCII").to_owned();
            assert!(policy.contains(&format!("form-action 'self' https: {scheme}:;")), "{policy}");
            let answer = visitor.post(&path, &[("decision", "allow")]).await;
            let to = answer.headers["location"].to_str().expect("ASCII");
            assert!(to.starts_with(before), "{to}");
        }
    }
}
