//! Flaws that others of this kind had, where no other test here would see them: see
//! `docs/security/requirements.md`.

use std::path::Path;

use mailward::app::clients::{self, NewClient};
use mailward::app::oauth::{self, CodeWish};
use mailward::app::random::Random;
use mailward::app::{App, audit, organizations, tidy};
use mailward::clock::{Clock, HOUR, MINUTE};
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::scope::ScopeSet;
use mailward::store::engine::Db;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::console::recovery::{letters, link, prove, with_mail};
use crate::support::databases::TestDb;
use crate::support::service::{Heard, Service};
use crate::support::source::sources;
use crate::support::tables::Tables;
use crate::support::visitor::Visitor;
use crate::support::world::{self, ORGANIZATION_SCOPES, PASSWORD, Someone, World, config, operator};

/// A client of somebody's.
async fn client_of(world: &World, owner: &Someone) -> (String, String) {
    let new = NewClient {
        organization: owner.zoid,
        owner: UserId::new(owner.zuid).expect("a zuid"),
        name: "A client".to_owned(),
        kind: ClientKind::SelfClient,
        redirect_uris: Vec::new(),
    };
    let (client, secret, _) = clients::create(&world.app, &operator(), new).await.expect("a new client");
    (client.id, secret.expect("a secret").expose().to_owned())
}

fn wish(client: &str, of: &Someone) -> CodeWish {
    CodeWish {
        client: client.to_owned(),
        organization: of.zoid,
        user: UserId::new(of.zuid).expect("a zuid"),
        scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes"),
        life: 6 * HOUR,
        offline: true,
        redirect_uri: None,
        challenge: None,
    }
}

/// What the token endpoint says.
async fn ask(world: &World, client: &(String, String), grant: &str, more: &[(&str, &str)]) -> Value {
    let mut fields =
        vec![("client_id", client.0.as_str()), ("client_secret", &client.1), ("grant_type", grant)];
    fields.extend(more);
    world.form("/oauth/v2/token", &fields).await.json()
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

async fn lives(world: &World, token: &str) -> bool {
    world.get(token, "/api/accounts").await.status == 200
}

/// The same text with one letter another one.
fn altered(secret: &str, chance: &mut StdRng) -> String {
    let mut letters: Vec<char> = secret.chars().collect();
    let places: Vec<usize> =
        (0..letters.len()).filter(|place| letters[*place].is_ascii_alphanumeric()).collect();
    let place = places[chance.random_range(0..places.len())];
    let digit = char::from_digit(chance.random_range(0..16), 16).expect("a digit");
    letters[place] = if letters[place] == digit { 'z' } else { digit };
    letters.into_iter().collect()
}

both_engines! {
    async fn what_people_write_down_as_an_address_is_connected_to_by_nobody(db: Db) {
        let inner = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        inner.set_nonblocking(true).expect("a listener that does not wait");
        let url = format!("http://{}/inner", inner.local_addr().expect("an address"));
        let world = World::start(db).await;
        let (owner, member) = (&world.owner, &world.member);
        let new = NewClient {
            organization: world.zoid,
            owner: UserId::new(owner.zuid).expect("a zuid"),
            name: url.clone(),
            kind: ClientKind::Public,
            redirect_uris: vec![url.clone()],
        };
        let (client, _, _) = clients::create(&world.app, &operator(), new).await.expect("a new client");
        world.mode(owner, member, "displaynameupdate", json!({"displayName": url})).await.ok();
        world.mode(owner, member, "updatePersonalInfo", json!({"city": url, "country": "in"})).await.ok();
        let told = world.mode(owner, member, "resetPassword", json!({"password": "t*c9ma-once", "notify": url}));
        told.await.ok();
        let token = format!("Zoho-oauthtoken {}", owner.org_token);
        let path = world.path(member);
        for name in ["x-forwarded-host", "x-mailward-reason", "referer", "origin", "x-callback-url"] {
            let headers = [("authorization", token.as_str()), (name, url.as_str())];
            world.send("GET", &path, &headers, String::new()).await.ok();
        }
        let mut visitor = Visitor::signed_in(&world, &owner.email, PASSWORD).await;
        let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        for query in ["redirect_uri", "logo_uri", "request_uri", "jwks_uri"] {
            let path = format!("/oauth/v2/auth?response_type=code&client_id={}&scope=ZohoMail.accounts.READ&{query}={encoded}", client.id);
            visitor.get(&path).await;
        }
        visitor.get(&format!("/prove?next={encoded}")).await;
        world.settle().await;
        let connected = inner.accept();
        assert!(matches!(&connected, Err(none) if none.kind() == std::io::ErrorKind::WouldBlock), "{connected:?}");
    }

    async fn a_token_works_while_no_level_says_otherwise(db: Db) {
        let world = World::start(db).await;
        for levels in 0..32_u8 {
            let [expired, reset, disabled, client_off, organization_off] = [1, 2, 4, 8, 16].map(|bit| levels & bit != 0);
            let who = world.someone(&format!("pat{levels}"), Role::Member).await;
            let client = client_of(&world, &world.owner).await;
            let code = oauth::make_code(&world.app, wish(&client.0, &who)).await.expect("a code");
            let given = ask(&world, &client, "authorization_code", &[("code", code.expose())]).await;
            let token = text(&given, "access_token");
            assert!(lives(&world, &token).await);
            if reset {
                let body = json!({"password": "another-horse-8", "oneTimePassword": false});
                world.mode(&world.owner, &who, "resetPassword", body).await.ok();
            }
            if disabled {
                world.mode(&world.owner, &who, "disableUser", json!({})).await.ok();
            }
            if client_off {
                clients::switch(&world.app, &operator(), &client.0, true).await.expect("off");
            }
            if expired {
                world.app.clock.advance(HOUR + MINUTE);
            }
            organizations::switch(&world.app, &operator(), world.zoid, organization_off).await.expect("switched");
            let alive = lives(&world, &token).await;
            organizations::switch(&world.app, &operator(), world.zoid, false).await.expect("on");
            assert_eq!(alive, levels == 0, "expired {expired}, reset {reset}, disabled {disabled}, client off {client_off}, organization off {organization_off}");
        }
    }

    async fn no_grant_gives_anything_to_whoever_may_have_nothing(db: Db) {
        let world = World::start(db).await;
        for status in ["in order", "disabled", "deleted", "organization off"] {
            let who = world.someone(&format!("pat-{}", status.replace(' ', "-")), Role::SuperAdmin).await;
            let (own, foreign) = (client_of(&world, &who).await, client_of(&world, &world.owner).await);
            let code = oauth::make_code(&world.app, wish(&foreign.0, &who)).await.expect("a code").expose().to_owned();
            let spare = oauth::make_code(&world.app, wish(&foreign.0, &who)).await.expect("a code").expose().to_owned();
            let refresh = text(&ask(&world, &foreign, "authorization_code", &[("code", &spare)]).await, "refresh_token");
            match status {
                "disabled" => drop(world.mode(&world.owner, &who, "disableUser", json!({})).await.ok()),
                "deleted" => drop(world.with_body("DELETE", &world.owner.org_token, &world.path(&who), json!({})).await.ok()),
                "organization off" => {
                    organizations::switch(&world.app, &operator(), world.zoid, true).await.expect("off");
                }
                _ => {}
            }
            let soid = format!("ZohoMail.{}", world.zoid);
            let scope = [("scope", "ZohoMail.accounts.READ"), ("soid", soid.as_str())];
            let minted = async |answer: Value| answer["access_token"].is_string();
            let scopes = ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes");
            let user = UserId::new(who.zuid).expect("a zuid");
            let given = [
                ("authorization_code", minted(ask(&world, &foreign, "authorization_code", &[("code", &code)]).await).await),
                ("refresh_token", minted(ask(&world, &foreign, "refresh_token", &[("refresh_token", &refresh)]).await).await),
                ("client_credentials", minted(ask(&world, &own, "client_credentials", &scope).await).await),
                ("a new code", oauth::make_code(&world.app, wish(&foreign.0, &who)).await.is_ok()),
                ("a token by the operator", status != "organization off" && oauth::issue(&world.app, who.zoid, user, scopes, HOUR).await.is_ok()),
                ("a sign-in", Visitor::new(&world).sign_in(&who.email, PASSWORD).await.status == 303),
                ("the own password", world.self_password(&who.email, PASSWORD, "my-own-choice-9").await.status == 200),
            ];
            for (grant, works) in given {
                assert_eq!(works, status == "in order", "{grant} of somebody who is {status}");
            }
        }
    }

    async fn a_secret_with_one_letter_altered_opens_nothing(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        let outside = "mia@elsewhere.example";
        prove(&world, &mut mails, &world.member, outside).await;
        crate::console::recovery::ask(&world, &world.member.email).await;
        let recovery = link(&letters(&world, &mut mails).await, outside).expect("a letter");
        let client = client_of(&world, &world.owner).await;
        let make = async || oauth::make_code(&world.app, wish(&client.0, &world.member)).await.expect("a code").expose().to_owned();
        let (code, spare) = (make().await, make().await);
        let given = ask(&world, &client, "authorization_code", &[("code", &spare)]).await;
        let (access, refresh) = (text(&given, "access_token"), text(&given, "refresh_token"));
        let visitor = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        let cookie = visitor.cookie("mailward").expect("a session").to_owned();
        let (path, secret) = recovery.rsplit_once('/').expect("a secret");
        let mut chance = StdRng::seed_from_u64(2026);
        for _ in 0..40 {
            assert!(!lives(&world, &altered(&access, &mut chance)).await);
            assert!(ask(&world, &client, "refresh_token", &[("refresh_token", &altered(&refresh, &mut chance))]).await["access_token"].is_null());
            assert!(ask(&world, &client, "authorization_code", &[("code", &altered(&code, &mut chance))]).await["access_token"].is_null());
            let mut thief = Visitor::new(&world);
            thief.set_cookie("mailward", &altered(&cookie, &mut chance));
            assert_eq!(thief.get("/me").await.status, 303);
            let seen = world.send("GET", &format!("{path}/{}", altered(secret, &mut chance)), &[], "").await;
            assert_eq!(seen.status, 404);
        }
        // None of that harmed the right ones.
        assert!(lives(&world, &access).await);
        text(&ask(&world, &client, "refresh_token", &[("refresh_token", &refresh)]).await, "access_token");
        text(&ask(&world, &client, "authorization_code", &[("code", &code)]).await, "access_token");
        let mut visitor = visitor;
        assert_eq!(visitor.get("/me").await.status, 200);
        assert_eq!(world.send("GET", &recovery, &[], "").await.status, 200);
    }

    async fn what_people_write_is_data_in_every_job(test: TestDb) {
        let world = World::start(test.clone()).await;
        let nasty = [
            "Robert'); DROP TABLE person;--",
            "\" OR 1=1 --",
            "$(touch /tmp/mailward-was-here) `id` ; rm -rf ~",
            "%s%n{0}${jndi:ldap://127.0.0.1/x}{{7*7}}",
            "' UNION SELECT hash FROM app_password --",
        ];
        let tables = Tables::of(&test).await;
        for (number, text) in nasty.iter().enumerate() {
            let who = world.someone(&format!("pat{number}"), Role::Member).await;
            let body = json!({"mode": "displaynameupdate", "zuid": who.zuid, "displayName": text});
            let token = format!("Zoho-oauthtoken {}", world.owner.org_token);
            let headers = [("authorization", token.as_str()), ("x-mailward-reason", text), ("user-agent", text), ("idempotency-key", text)];
            world.send("PUT", &world.path(&who), &headers, body.to_string()).await.ok();
            let more = json!({"firstName": text, "lastName": text, "country": text, "timeZone": text});
            world.mode(&world.owner, &who, "updatePersonalInfo", more).await;
            let password = json!({"name": text, "currentPassword": PASSWORD});
            world.with_body("POST", &who.user_token, &format!("/api/accounts/{}/appPasswords", who.account_id), password).await;
            for path in ["accounts?searchKey=", "accounts/", "domains/", "changes/"] {
                let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let seen = world.get(&world.owner.org_token, &format!("/api/organization/{}/{path}{encoded}", world.zoid)).await;
                assert!(seen.status.as_u16() < 500, "{path}{text}: {}", seen.text);
            }
            assert_eq!(world.self_password(text, text, text).await.status.as_u16() / 100, 4);
            assert_eq!(world.account(&who).await.profile.display_name, *text);
        }
        let before = tables.without(&["outbox", "refusal", "audit"]).await;
        world.settle().await;
        tidy::run(&world.app).await.expect("it tidies");
        audit::seal::seal_now(&world.app).await.expect("sealed");
        world.settle().await;
        let after = tables.without(&["outbox", "refusal", "audit"]).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "no table is gone");
        for table in ["person", "account", "address", "app_password"] {
            assert_eq!(before.get(table), after.get(table), "{table}");
        }
        assert!(!Path::new("/tmp/mailward-was-here").exists(), "nothing of it was run");
        let verdict = audit::verify::verify_database(&world.app, None, &[], &[]).await.expect("readable");
        assert!(verdict.iter().all(|log| log.findings.is_empty() && log.entries > 0), "{verdict:?}");
    }

    async fn a_letter_is_text_and_has_no_line_of_somebody_elses(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        let own = format!("/api/accounts/{}/appPasswords", world.member.account_id);
        let mut sent = Vec::new();
        for name in ["<b>Telephone</b><script>x</script>", "x\r\nBcc: thief@evil.example\r\n\r\nHello", "x\u{2028}Bcc: thief@evil.example"] {
            let body = json!({"name": name, "currentPassword": PASSWORD});
            let answer = world.with_body("POST", &world.member.user_token, &own, body).await;
            assert_eq!(answer.status == 201, name.starts_with('<'), "{name:?}: {}", answer.text);
            world.mode(&world.owner, &world.member, "displaynameupdate", json!({"displayName": name})).await;
            let rename = json!({"emailAddress": format!("new{}@{}", sent.len(), world.domain)});
            world.mode(&world.owner, &world.member, "emailupdate", rename).await.ok();
            sent.extend(letters(&world, &mut mails).await);
        }
        assert!(sent.len() >= 4, "{sent:?}");
        for letter in &sent {
            let (head, _) = letter.split_once("\n\n").expect("a head");
            assert!(head.contains("Content-Type: text/plain"), "{head}");
            assert!(!letter.lines().any(|line| line.starts_with("Bcc")) && !head.contains("evil"), "{letter}");
            assert_eq!(head.matches("\nTo: ").count() + usize::from(head.starts_with("To: ")), 1, "{head}");
        }
    }

    async fn a_revoked_token_stays_revoked_after_a_kill(test: TestDb) {
        let app = App::new(test.db.clone(), config(), Clock::System, Random::System).await.expect("a house");
        let (zoid, domain) = world::organization(&app, "Zylker", "zylker.example").await;
        let owner = world::someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let second = world::someone(&app, zoid, &format!("second@{domain}"), Role::SuperAdmin).await;
        let account = {
            let mut tx = app.db.read().await.expect("a connection");
            let handle = mailward::store::accounts::Handle::of(owner.zuid).expect("a zuid");
            mailward::store::accounts::load(&mut tx, zoid, handle).await.expect("readable").expect("there")
        };
        let kept = world::token(&app, &account, ORGANIZATION_SCOPES).await;
        drop(app);
        test.db.close().await;
        let name = |name: &str| json!({"mode": "displaynameupdate", "zuid": second.zuid, "displayName": name});
        let status = |heard| match heard {
            Heard::Answer(status, _, _) => status,
            Heard::Nothing => 0,
        };
        let mut service = Service::start(&test.url);
        let by_second = service.caller(zoid.get(), &second.org_token);
        assert_eq!(status(by_second.put(&name("One")).await), 200);
        let reset = json!({"mode": "resetPassword", "zuid": second.zuid, "password": "another-horse-8", "oneTimePassword": false});
        assert_eq!(status(service.caller(zoid.get(), &owner.org_token).put(&reset).await), 200);
        service.kill();
        for _ in 0..3 {
            service = Service::start(&test.url);
            assert_eq!(status(service.caller(zoid.get(), &second.org_token).put(&name("Two")).await), 401);
            assert_eq!(status(service.caller(zoid.get(), &kept).put(&name("Three")).await), 200);
            service.kill();
        }
    }
}

// What the code must not do ----------------------------------------------------------------------

/// Links come from `public_url`, sources from the trusted proxies' one header.
#[test]
fn nothing_that_a_request_says_of_its_host_is_read() {
    let hearsay = [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-original-host",
        "x-host",
        "x-real-ip",
        "forwarded",
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        let spoken = source.strings.iter().filter(|text| hearsay.contains(&text.to_lowercase().as_str()));
        wrong.extend(spoken.map(|text| format!("{}: {text:?}", source.path)));
        let named = ["HOST", "FORWARDED", "REFERER", "OriginalUri"];
        // The clients that speak to Dovecot and to a node say whom they mean.
        let clients = ["src/mailserver/doveadm.rs", "src/mailserver/link.rs"];
        let words =
            source.words().filter(|word| named.contains(word) && !clients.contains(&source.path.as_str()));
        wrong.extend(words.map(|word| format!("{}: {word}", source.path)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let makers =
        sources().into_iter().filter(|source| source.strings.iter().any(|text| text.contains("/recover/{")));
    let makers: Vec<_> =
        makers.map(|source| source.path).filter(|path| path != "src/console/mod.rs").collect();
    assert_eq!(makers, ["src/app/recovery.rs"], "one function makes the links of letters");
}

/// No program is run for a request, and none by a shell.
#[test]
fn programs_are_run_by_the_operators_commands_alone() {
    let allowed = ["src/cli/doctor/mail.rs", "src/cli/mail_server/config.rs", "src/mailserver/private.rs"];
    for source in sources() {
        let runs = source.code.contains("Command::new(") && !source.path.starts_with("src/cli/help");
        assert!(!runs || allowed.contains(&source.path.as_str()), "{} runs a program", source.path);
        let shell = source
            .strings
            .iter()
            .find(|text| ["sh", "bash", "/bin/sh", "/bin/bash"].contains(&text.as_str()));
        assert!(!runs || shell.is_none(), "{} runs a shell", source.path);
    }
}

/// What connects to anything: mail servers, the nodes of an agent and the relay, whose addresses the operator wrote
/// down, the test of a port of the own demonstration, and the driver of the database.
#[test]
fn what_connects_elsewhere_is_named_and_reads_the_operators_addresses_alone() {
    let allowed = ["src/app/mail/notices.rs", "src/mailserver/connection.rs", "src/mailserver/private.rs"];
    let mut found = Vec::new();
    for source in sources() {
        let connects = source.words().any(|word| {
            let ways = ["TcpStream", "UdpSocket", "UnixStream", "AsyncSmtpTransport", "SmtpTransport"];
            ways.contains(&word) || ["HttpConnector", "lookup_host", "ToSocketAddrs"].contains(&word)
        });
        if connects && !source.path.starts_with("src/store/engine/") {
            assert!(allowed.contains(&source.path.as_str()), "{} connects to something", source.path);
            found.push(source.path);
        }
    }
    assert_eq!(found, allowed, "a name that is allowed and not needed is taken off");
}

/// Every text goes through the templates' escaping; no page carries a script or a style in itself.
#[test]
fn no_template_has_a_way_round_its_escaping() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("templates").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        seen += 1;
        for bad in [
            "|safe",
            "| safe",
            "escape = \"none\"",
            "escape=\"none\"",
            " onclick=",
            " onload=",
            "hx-on",
            "javascript:",
            " style=\"",
        ] {
            assert!(!text.contains(bad), "{bad} in {}", entry.path().display());
        }
        let scripts = text
            .split("<script")
            .skip(1)
            .filter(|rest| !rest.trim_start().starts_with("src=") && !rest.contains(" src=\"/assets/"));
        assert_eq!(scripts.count(), 0, "a script in {}", entry.path().display());
    }
    assert!(seen > 20, "only {seen} templates were found");
    for source in sources() {
        assert!(
            !source.words().any(|word| word == "PreEscaped" || word == "MarkupDisplay"),
            "{}",
            source.path
        );
    }
}
