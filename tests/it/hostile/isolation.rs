//! Two organizations in one installation: whoever belongs to one gets, for everything of the other,
//! the answer for what does not exist, and changes nothing. And one counter of guesses for all doors.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request};
use mailward::app::accounts::{MODES, Method, create};
use mailward::app::oauth::{self, CodeWish, GrantType, TokenRequest};
use mailward::app::random::Random;
use mailward::app::{App, clients, organizations, throttle, verifier};
use mailward::clock::{DAY, MINUTE};
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::email_address::EmailAddress;
use mailward::domain::ids::{OrganizationId, UserId};
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::databases::TestDb;
use crate::support::tables::{COUNTERS, Tables, difference};
use crate::support::world::{
    Answer, PASSWORD, Someone, World, client, config, operator, organization, someone,
};

/// What exists in the other organization, and what exists nowhere, name by name.
struct Elsewhere {
    zoid: OrganizationId,
    owner: Someone,
    member: Someone,
    /// (what it is, of the other organization, of nobody)
    pairs: Vec<(&'static str, String, String)>,
}

impl Elsewhere {
    async fn beside(world: &World) -> Self {
        let app = &world.app;
        let (zoid, domain) = organization(app, "Neighbours", "neighbours.example").await;
        let owner = someone(app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let member = someone(app, zoid, &format!("nadia@{domain}"), Role::Member).await;
        let renamed = world
            .put(
                &owner.org_token,
                &format!("/api/organization/{zoid}/accounts/{}", member.zuid),
                json!({"mode": "displaynameupdate", "displayName": "Nadia"}),
            )
            .await;
        let change = renamed.ok().change().expect("a change");
        let path = format!("/api/accounts/{}/appPasswords", member.account_id);
        let made = world
            .with_body(
                "POST",
                &member.user_token,
                &path,
                json!({"name": "Telephone", "currentPassword": PASSWORD}),
            )
            .await;
        let app_password = made.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned();
        let new = clients::NewClient {
            organization: zoid,
            owner: UserId::new(owner.zuid).expect("a zuid"),
            name: "Connected".to_owned(),
            kind: ClientKind::SelfClient,
            redirect_uris: vec![],
        };
        let (client, secret, _) = clients::create(app, &operator(), new).await.expect("a client");
        let wish = CodeWish {
            client: client.id.clone(),
            organization: zoid,
            user: UserId::new(member.zuid).expect("a zuid"),
            scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("a scope"),
            life: 60_000,
            offline: true,
            redirect_uri: None,
            challenge: None,
        };
        let code = oauth::make_code(app, wish).await.expect("a code");
        let grant =
            GrantType::AuthorizationCode { code: code.expose().into(), redirect_uri: None, verifier: None };
        let client_secret = secret.map(|secret| secret.expose().into());
        let request = TokenRequest { client_id: client.id.clone(), client_secret, grant };
        oauth::token(app, None, request).await.expect("connected");
        let pairs = vec![
            ("zoid", zoid.to_string(), "10999999".to_owned()),
            ("zuid", member.zuid.to_string(), "1000000999999".to_owned()),
            ("zuid", owner.zuid.to_string(), "1000000999998".to_owned()),
            ("accountId", member.account_id.to_string(), "2560636000000999999".to_owned()),
            ("address", member.email.clone(), "nadia@nowhere.example".to_owned()),
            ("domain", domain, "nowhere.example".to_owned()),
            ("change", change, "200000000000999999".to_owned()),
            ("client", client.id, "1000.NOBODYS".to_owned()),
            ("appPassword", app_password, "100000999999".to_owned()),
        ];
        Self { zoid, owner, member, pairs }
    }

    fn of(&self, kind: &str) -> Vec<(String, String)> {
        let found = self.pairs.iter().filter(|(known, _, _)| *known == kind);
        found.map(|(_, theirs, nobodys)| (theirs.clone(), nobodys.clone())).collect()
    }

    /// Both values for a parameter of a path.
    fn for_parameter(&self, parameter: &str) -> Vec<(String, String)> {
        match parameter {
            "{zoid}" => self.of("zoid"),
            "{id}" => [self.of("zuid"), self.of("accountId"), self.of("address")].concat(),
            "{accountId}" => [self.of("accountId"), self.of("zuid")].concat(),
            "{domainName}" => self.of("domain"),
            "{changeId}" => self.of("change"),
            "{appPasswordId}" => self.of("appPassword"),
            "{clientId}" => self.of("client"),
            other => panic!("say here what {other} is called in another organization"),
        }
    }

    /// The answer with the names that it was asked about made equal.
    fn blurred(&self, answer: &Answer) -> (u16, String) {
        let mut text = answer.text.clone();
        for (kind, theirs, nobodys) in &self.pairs {
            text = text.replace(theirs, kind).replace(nobodys, kind);
        }
        (answer.status.as_u16(), text)
    }
}

/// One's own name for a parameter, where only another one of the path is somebody else's.
fn own(world: &World, by: &Someone, parameter: &str) -> String {
    match parameter {
        "{zoid}" => world.zoid.to_string(),
        "{id}" => world.other.zuid.to_string(),
        "{accountId}" => by.account_id.to_string(),
        "{domainName}" => world.domain.clone(),
        "{changeId}" => "200000000000000001".to_owned(),
        "{appPasswordId}" => "100000000001".to_owned(),
        "{clientId}" => "1000.NONE".to_owned(),
        other => panic!("say here what {other} is"),
    }
}

/// A body for the route that somebody might send, one for each mode.
fn bodies(world: &World, method: &str, template: &str) -> Vec<Value> {
    let put = || MODES.iter().filter(|info| info.method == Method::Put);
    match (method, template) {
        ("PUT", _) => put()
            .map(|info| {
                let mut body: Value = serde_json::from_str(info.sample).expect("a sample");
                let fields = body.as_object_mut().expect("an object");
                fields.remove("zuid");
                fields.remove("userList");
                for (name, value) in fields.iter_mut() {
                    match name.as_str() {
                        "emailAddress" => *value = format!("new@{}", world.domain).into(),
                        "emailAlias" => *value = json!([format!("new@{}", world.domain)]),
                        _ => {}
                    }
                }
                body
            })
            .collect(),
        ("POST", "/api/organization/{zoid}/accounts") => {
            vec![json!({"primaryEmailAddress": format!("new@{}", world.domain), "password": PASSWORD})]
        }
        ("POST", path) if path.ends_with("appPasswords") => {
            vec![json!({"name": "Telephone", "currentPassword": PASSWORD})]
        }
        _ => vec![json!({})],
    }
}

both_engines! {
    async fn what_belongs_to_another_organization_answers_as_what_does_not_exist(test: TestDb) {
        let world = World::start(test.clone()).await;
        let elsewhere = Elsewhere::beside(&world).await;
        world.settle().await;
        let tables = Tables::of(&test).await;
        let before = tables.without(COUNTERS).await;
        let document = mailward::api::document();
        let mut compared = 0;
        for by in [&world.owner, &world.admin, &world.member] {
            for token in [&by.org_token, &by.user_token] {
                for (template, methods) in document["paths"].as_object().expect("paths") {
                    let parameters: Vec<&str> = template.split('/').filter(|part| part.starts_with('{')).collect();
                    if parameters.is_empty() || !template.starts_with("/api/") {
                        continue;
                    }
                    for method in methods.as_object().expect("methods").keys().map(|method| method.to_uppercase()) {
                        // Each parameter alone is somebody else's, then all of them.
                        for foreign in parameters.iter().map(|one| vec![*one]).chain([parameters.clone()]) {
                            for body in bodies(&world, &method, template) {
                                compared += same(&world, &elsewhere, by, token, &method, template, &foreign, &parameters, &body).await;
                            }
                        }
                    }
                }
                if let Some(changed) = difference(&before, &tables.without(COUNTERS).await) {
                    panic!("{} changed:\n{changed}", by.email);
                }
            }
        }
        assert!(compared > 1_000, "only {compared} pairs of answers");
    }

    async fn a_body_that_names_somebody_elsewhere_answers_as_for_nobody(test: TestDb) {
        let world = World::start(test.clone()).await;
        let elsewhere = Elsewhere::beside(&world).await;
        world.settle().await;
        let tables = Tables::of(&test).await;
        let before = tables.without(COUNTERS).await;
        let list = format!("/api/organization/{}/accounts", world.zoid);
        let (addresses, numbers) = (elsewhere.of("address"), [elsewhere.of("zuid"), elsewhere.of("accountId")].concat());
        for by in [&world.owner, &world.admin, &world.member] {
            for token in [&by.org_token, &by.user_token] {
                let ask = async |method: &str, path: &str, make: &dyn Fn(&str) -> Value, (theirs, nobodys): &(String, String)| {
                    let one = world.with_body(method, token, path, make(theirs)).await;
                    let other = world.with_body(method, token, path, make(nobodys)).await;
                    assert_eq!(elsewhere.blurred(&one), elsewhere.blurred(&other), "{method} {path} {}", make(theirs));
                    assert!((400..500).contains(&one.status.as_u16()), "{method} {path} {}: {}", make(theirs), one.text);
                };
                let member = world.path(&world.other);
                for pair in &numbers {
                    for info in MODES.iter().filter(|info| info.method == Method::Put) {
                        let with_zuid = |zuid: &str| {
                            let mut body: Value = serde_json::from_str(info.sample).expect("a sample");
                            body.as_object_mut().expect("an object").remove("userList");
                            body["zuid"] = zuid.into();
                            body
                        };
                        for path in [&list, &member, &format!("/api/accounts/{}", by.account_id)] {
                            ask("PUT", path, &with_zuid, pair).await;
                        }
                    }
                    let lists: [&dyn Fn(&str) -> Value; 3] = [
                        &|zuid| json!({"mode": "changeRole", "role": "admin", "userList": [zuid]}),
                        &|zuid| json!({"mode": "changeRole", "role": "admin", "userList": [world.other.zuid, zuid]}),
                        &|zuid| json!({"mode": "changeRole", "role": "super_admin", "userList": [zuid, world.other.zuid]}),
                    ];
                    for make in lists {
                        ask("PUT", &list, make, pair).await;
                    }
                    ask("DELETE", &list, &|zuid| json!({"accountList": [world.other.zuid, zuid]}), pair).await;
                    ask("DELETE", &list, &|zuid| json!({"zuid": zuid}), pair).await;
                }
                for pair in &addresses {
                    let own = format!("/api/accounts/{}", by.account_id);
                    ask("DELETE", &list, &|address| json!({"emailList": [address]}), pair).await;
                    ask("DELETE", &list, &|address| json!({"emailList": [world.other.email, address]}), pair).await;
                    ask("POST", &list, &|address| json!({"primaryEmailAddress": address, "password": PASSWORD}), pair).await;
                    for path in [&member, &own] {
                        ask("PUT", path, &|address| json!({"mode": "emailupdate", "emailAddress": address}), pair).await;
                        ask("PUT", path, &|address| json!({"mode": "displaynameemailupdate", "displayName": "X", "emailAddress": address}), pair).await;
                        ask("PUT", path, &|address| json!({"mode": "addEmailAlias", "emailAlias": [address]}), pair).await;
                        ask("PUT", path, &|address| json!({"mode": "deleteEmailAlias", "emailAlias": [address]}), pair).await;
                    }
                }
                if let Some(changed) = difference(&before, &tables.without(COUNTERS).await) {
                    panic!("{} changed:\n{changed}", by.email);
                }
            }
        }
    }

    async fn a_client_learns_nothing_of_tokens_that_are_not_its_own(test: TestDb) {
        let world = World::start(test).await;
        let elsewhere = Elsewhere::beside(&world).await;
        let app = &world.app;
        let (own, own_secret) = client(&world, ClientKind::SelfClient).await;
        let (public, _) = client(&world, ClientKind::Public).await;
        let new = clients::NewClient {
            organization: elsewhere.zoid,
            owner: UserId::new(elsewhere.owner.zuid).expect("a zuid"),
            name: "Theirs".to_owned(),
            kind: ClientKind::SelfClient,
            redirect_uris: Vec::new(),
        };
        let (theirs, their_secret, _) = clients::create(app, &operator(), new).await.expect("a client");
        let their_secret = their_secret.expect("a secret");
        let code = async || {
            let wish = CodeWish {
                client: theirs.id.clone(),
                organization: elsewhere.zoid,
                user: UserId::new(elsewhere.member.zuid).expect("a zuid"),
                scope: ScopeSet::parse("ZohoMail.accounts.ALL").expect("scopes"),
                life: MINUTE,
                offline: true,
                redirect_uri: None,
                challenge: None,
            };
            oauth::make_code(app, wish).await.expect("a code").expose().to_owned()
        };
        let request = TokenRequest {
            client_id: theirs.id.clone(),
            client_secret: Some(their_secret.expose().into()),
            grant: GrantType::AuthorizationCode { code: code().await.as_str().into(), redirect_uri: None, verifier: None },
        };
        let given = oauth::token(app, None, request).await.expect("tokens");
        let (access, refresh) = (given.access_token.expose(), given.refresh_token.as_ref().expect("a refresh token").expose());
        let unused = code().await;
        let unknown = "1000.00000000000000000000000000000000.00000000000000000000000000000000";
        let as_own = |more: &[(&str, &str)]| -> Vec<(String, String)> {
            [("client_id", own.as_str()), ("client_secret", own_secret.as_str())].iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let ask = async |path: &str, fields: Vec<(String, String)>| {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = world.form(path, &fields).await;
            (answer.status.as_u16(), answer.text)
        };
        for token in [access, refresh, elsewhere.owner.org_token.as_str()] {
            let theirs = ask("/oauth/v2/introspect", as_own(&[("token", token)])).await;
            assert_eq!(theirs, ask("/oauth/v2/introspect", as_own(&[("token", unknown)])).await);
        }
        for (grant, name, value) in [("authorization_code", "code", unused.as_str()), ("refresh_token", "refresh_token", refresh)] {
            let theirs = ask("/oauth/v2/token", as_own(&[("grant_type", grant), (name, value)])).await;
            assert_eq!(theirs, ask("/oauth/v2/token", as_own(&[("grant_type", grant), (name, unknown)])).await);
        }
        for zoid in [elsewhere.zoid.to_string(), "10999999".to_owned()] {
            let soid = format!("ZohoMail.{zoid}");
            let fields = as_own(&[("grant_type", "client_credentials"), ("soid", &soid), ("scope", "ZohoMail.organization.accounts.ALL")]);
            assert_eq!(ask("/oauth/v2/token", fields).await, (200, r#"{"error":"missing_org_info"}"#.to_owned()));
        }
        // A public client proves nothing, with or without something in the place of a secret.
        for secret in [None, Some(""), Some("anything")] {
            let mut fields = vec![("client_id", public.as_str()), ("token", access)];
            fields.extend(secret.map(|secret| ("client_secret", secret)));
            assert_eq!(world.form("/oauth/v2/introspect", &fields).await.status, 401, "{secret:?}");
        }
        assert_eq!(world.get(access, "/api/accounts").await.ok().json()["data"][0]["zuid"], elsewhere.member.zuid, "nothing was revoked");
    }

    async fn every_reason_for_a_refused_password_answers_alike(test: TestDb) {
        let mut settings = config();
        settings.throttle.wrong_per_account = 3;
        let world = World::start_with(test, settings).await;
        let elsewhere = Elsewhere::beside(&world).await;
        let disabled = world.someone("disabled", Role::Member).await;
        world.mode(&world.owner, &disabled, "disableUser", json!({})).await.ok();
        let expired = world.someone("expired", Role::Member).await;
        world.mode(&world.owner, &expired, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        world.app.clock.advance(4 * DAY);
        organizations::switch(&world.app, &operator(), elsewhere.zoid, true).await.expect("off");
        let throttled = world.someone("throttled", Role::Member).await;
        // Too many tries are told, alike for an address that nobody has.
        let mut told = Vec::new();
        for address in [throttled.email.as_str(), "no.longer@zylker.example"] {
            for _ in 0..3 {
                world.self_password(address, "not-the-right-one", "another-secret-9").await.refused(401, "INVALID_CREDENTIALS");
            }
            let answer = world.self_password(address, PASSWORD, "another-secret-9").await;
            let mut headers = answer.headers.clone();
            headers.remove("x-request-id");
            told.push((answer.status.as_u16(), headers, answer.text));
        }
        assert_eq!(told[0].0, 429);
        assert_eq!(told[0], told[1]);
        let long = "x".repeat(50_000);
        let tries = [
            (world.member.email.as_str(), "not-the-right-one"),
            ("mia+tag@zylker.example", "not-the-right-one"),
            ("nobody@zylker.example", PASSWORD),
            ("nobody@nowhere.example", PASSWORD),
            ("no address", PASSWORD),
            (&long, PASSWORD),
            (world.other.email.as_str(), "\u{7}"),
            (disabled.email.as_str(), PASSWORD),
            (expired.email.as_str(), "t*c9ma"),
            (elsewhere.member.email.as_str(), PASSWORD),
        ];
        let mut first = None;
        for (address, password) in tries {
            let answer = world.self_password(address, password, "another-secret-9").await;
            let mut headers = answer.headers.clone();
            headers.remove("x-request-id");
            let told = (answer.status, headers, answer.text);
            assert_eq!(&told, first.get_or_insert_with(|| told.clone()), "{:.40}", address);
        }
        assert_eq!(first.expect("an answer").0, 401);
    }

    async fn guesses_at_every_door_and_node_are_counted_together(test: TestDb) {
        let world = World::start(test.clone()).await;
        world.mode(&world.owner, &world.member, "addEmailAlias", json!({"emailAlias": ["second@zylker.example"]})).await.ok();
        let node = App::new(test.db.clone(), config(), world.app.clock.clone(), Random::seeded(9)).await.expect("another node");
        let wrong = Password::prepare("not-the-right-one").expect("a password");
        // Nine by names of the account at two doors of two nodes, the tenth with its number still free.
        for address in ["mia@zylker.example", "second@zylker.example", "mia+x@zylker.example"] {
            world.self_password(address, "not-the-right-one", "another-secret-9").await.refused(401, "INVALID_CREDENTIALS");
            for app in [&world.app, &node] {
                assert!(verifier::verify(app, address, Some(&wrong), None).await.is_err());
            }
        }
        let right = Password::prepare(PASSWORD).expect("a password");
        assert!(verifier::verify(&node, "mia@zylker.example", Some(&right), None).await.is_ok(), "nine wrong tries are allowed");
        assert!(verifier::verify(&node, "mia@zylker.example", Some(&wrong), None).await.is_err());
        for app in [&world.app, &node] {
            assert!(verifier::verify(app, "second@zylker.example", Some(&right), None).await.is_err(), "the tenth closes every door");
        }
        world.self_password("mia@zylker.example", PASSWORD, "another-secret-9").await.refused(401, "INVALID_CREDENTIALS");
        assert!(verifier::verify(&node, &world.other.email, Some(&right), None).await.is_ok(), "nobody else is locked out");
        throttle::clear(&world.app, &operator(), world.zoid, world.member.zuid).await.expect("a clear");
        assert!(verifier::verify(&node, "mia@zylker.example", Some(&right), None).await.is_ok());
    }

    async fn a_source_is_what_a_trusted_proxy_says_and_nobody_else(test: TestDb) {
        let mut settings = config();
        settings.server.trusted_proxies = ["10.0.0.0/8", "2001:db8:1::/48", "198.18.0.7"].map(str::to_owned).into();
        let world = World::start_with(test.clone(), settings).await;
        let tables = Tables::of(&test).await;
        let (proxy, stranger) = ("10.0.0.1:5000", "192.0.2.9:5000");
        let cases: &[(&str, &[&[u8]], &str)] = &[
            (stranger, &[], "192.0.2.9"),
            (stranger, &[b"203.0.113.1"], "192.0.2.9"),
            (stranger, &[b"10.0.0.1"], "192.0.2.9"),
            (proxy, &[], "10.0.0.1"),
            (proxy, &[b""], "10.0.0.1"),
            (proxy, &[b"203.0.113.2"], "203.0.113.2"),
            (proxy, &[b"198.51.100.1, 203.0.113.3"], "203.0.113.3"),
            // One that is named by its address, and its neighbour.
            ("198.18.0.7:5000", &[b"203.0.113.11"], "203.0.113.11"),
            ("198.18.0.8:5000", &[b"203.0.113.12"], "198.18.0.8"),
            (proxy, &[b"198.51.100.1,203.0.113.4 , 10.9.9.9"], "203.0.113.4"),
            (proxy, &[b"198.51.100.1", b"203.0.113.5"], "203.0.113.5"),
            // With a port, as some proxies write it; in brackets.
            (proxy, &[b"198.51.100.1, 203.0.113.6:4711"], "203.0.113.6"),
            (proxy, &[b"198.51.100.1, [2001:db8:2:3::4]:4711"], "2001:db8:2:3::/64"),
            (proxy, &[b"[2001:db8:2:4::4]"], "2001:db8:2:4::/64"),
            ("[::ffff:10.0.0.1]:5000", &[b"203.0.113.7"], "203.0.113.7"),
            ("[2001:db8:1::1]:5000", &[b"::ffff:203.0.113.8"], "203.0.113.8"),
            // What cannot be read ends the trust.
            (proxy, &[b"203.0.113.9, unknown"], "10.0.0.1"),
            (proxy, &[b"203.0.113.9, 10.0.0.2, _hidden"], "10.0.0.1"),
            (proxy, &[b"203.0.113.9, unknown, 10.0.0.3"], "10.0.0.3"),
            (proxy, &[b"203.0.113.9, \xff"], "10.0.0.1"),
            (proxy, &[b"\xff, 203.0.113.10"], "203.0.113.10"),
            (proxy, &[b"203.0.113.9, 999.0.0.1"], "10.0.0.1"),
            (proxy, &[b"203.0.113.9,"], "10.0.0.1"),
            (proxy, &[b"10.0.0.5, 10.0.0.4"], "10.0.0.5"),
        ];
        for (number, (peer, lines, expected)) in cases.iter().enumerate() {
            let body = json!({"address": format!("nobody{number}@zylker.example"), "password": "wrong-guess-1", "newPassword": "another-secret-9"});
            let mut request = Request::post("/self/password").header("x-real-ip", "198.51.100.99").header("forwarded", "for=198.51.100.98");
            for line in *lines {
                request = request.header("x-forwarded-for", HeaderValue::from_bytes(line).expect("a header"));
            }
            let mut request = request.body(Body::from(body.to_string())).expect("a request");
            request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().expect("an address")));
            let answer = world.router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), 401);
            let subject = format!("source {expected}");
            let rows = tables.without(&[]).await.remove("throttle").expect("the table");
            let counted = |subject: &str| rows.iter().any(|row| row.trim_start_matches('(').trim_start_matches('"').starts_with(subject));
            assert!(counted(&subject), "{peer} {:?}: not {expected} but {rows:?}", lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>());
            assert_eq!(rows.iter().filter(|row| row.contains("source")).count(), 1, "{rows:?}");
            world.app.clock.advance(DAY);
            mailward::app::tidy::run(&world.app).await.expect("tidying up");
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one line of a table")]
async fn same(
    world: &World,
    elsewhere: &Elsewhere,
    by: &Someone,
    token: &str,
    method: &str,
    template: &str,
    foreign: &[&str],
    parameters: &[&str],
    body: &Value,
) -> usize {
    let places: Vec<(&str, Vec<(String, String)>)> =
        foreign.iter().map(|parameter| (*parameter, elsewhere.for_parameter(parameter))).collect();
    let most = places.iter().map(|(_, pairs)| pairs.len()).max().unwrap_or(0);
    for turn in 0..most {
        let (mut theirs, mut nobodys) = (template.to_owned(), template.to_owned());
        for parameter in parameters {
            let (one, other) = match places.iter().find(|(known, _)| known == parameter) {
                Some((_, pairs)) => pairs[turn % pairs.len()].clone(),
                None => {
                    let own = own(world, by, parameter);
                    (own.clone(), own)
                }
            };
            theirs = theirs.replace(parameter, &one);
            nobodys = nobodys.replace(parameter, &other);
        }
        let one = world.with_body(method, token, &theirs, body.clone()).await;
        let other = world.with_body(method, token, &nobodys, body.clone()).await;
        let what = format!("{} {method} {theirs} {body}", by.email);
        assert_eq!(elsewhere.blurred(&one), elsewhere.blurred(&other), "{what}");
        // 403 only at home, and 400 where the body is refused before anybody looks for names.
        let at_home =
            theirs.contains(&format!("/organization/{}/", world.zoid)) || theirs.starts_with("/api/accounts");
        let expected = match one.status.as_u16() {
            404 => true,
            401 => one.text.contains("INVALID_OAUTHSCOPE"),
            403 => at_home,
            400 => one.error_code() == "LESS_THAN_MIN_OCCURANCE" || one.error_code() == "PATTERN_NOT_MATCHED",
            _ => false,
        };
        assert!(expected, "{what}: {} {}", one.status, one.text);
    }
    most
}

/// Not exact, but a missing hash would be a factor of ten.
#[test]
fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    crate::support::databases::on_sqlite(mailward::store::migrations::STEPS, async |test| {
        let mut settings = config();
        settings.passwords.memory_kib = 8192;
        settings.passwords.passes = 2;
        settings.throttle.wrong_per_account = i64::MAX / 2;
        let world = World::start_with(test, settings).await;
        let disabled = world.someone("disabled", Role::Member).await;
        world.mode(&world.owner, &disabled, "disableUser", json!({})).await.ok();
        let known = [world.member.email.as_str(), "mia+tag@zylker.example"];
        let unknown =
            ["nobody@zylker.example", "nobody@nowhere.example", "no address", disabled.email.as_str()];
        let mut took: Vec<(&str, Vec<Duration>)> =
            known.into_iter().chain(unknown).map(|address| (address, Vec::new())).collect();
        for _ in 0..15 {
            for (address, times) in &mut took {
                let start = Instant::now();
                world
                    .self_password(address, "not-the-right-one", "another-secret-9")
                    .await
                    .refused(401, "INVALID_CREDENTIALS");
                times.push(start.elapsed());
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        let medians: Vec<(&str, f64)> =
            took.iter_mut().map(|(address, times)| (*address, median(times))).collect();
        let slowest = medians.iter().map(|(_, time)| *time).fold(0.0, f64::max);
        assert!(medians.iter().all(|(_, time)| *time > slowest / 3.0), "{medians:?}");
    });
}

/// `create::simple` takes any address, so that an operator cannot give away another organization's.
#[test]
fn the_operator_cannot_cross_organizations_by_mistake() {
    crate::support::databases::on_sqlite(mailward::store::migrations::STEPS, async |test| {
        let world = World::start(test).await;
        let elsewhere = Elsewhere::beside(&world).await;
        let address =
            EmailAddress::parse(&format!("stolen@{}", elsewhere.of("domain")[0].0)).expect("an address");
        let new = create::simple(address, Password::prepare(PASSWORD).expect("a password"), Role::Member, "")
            .expect("a user");
        let refused =
            create::create(&world.app, &operator(), world.zoid, new).await.expect_err("a domain of others");
        assert!(refused.to_string().contains("is not a domain of this organization"), "{refused}");
    });
}
