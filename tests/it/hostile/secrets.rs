//! Secrets in every place that a request has, at every route; afterwards none of them is in a log, a
//! trace, an answer, an audit entry, an effect, a table or a file of the database, nor in a `Debug`.
//!
//! A process has one subscriber for all its threads, so the search runs in a child process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use mailward::app::accounts::create::NewUser;
use mailward::app::accounts::{AccountMode, MODES, Method};
use mailward::app::oauth::{self, CodeWish, GrantType, TokenRequest, TokenResponse};
use mailward::app::random::Random;
use mailward::app::{App, tidy, verifier};
use mailward::clock::MINUTE;
use mailward::config::Config;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::Secret;
use mailward::store;
use mailward::store::engine::EngineKind;
use mailward::wire::{Body, Params, authorization};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::child::in_a_child;
use crate::support::databases::{TestDb, on_postgres, on_sqlite};
use crate::support::tables::Tables;
use crate::support::world::{PASSWORD, World, client, config};

#[test]
fn a_secret_is_never_written_down_on_sqlite() {
    alone("a_secret_is_never_written_down_on_sqlite", || {
        on_sqlite(store::migrations::STEPS, async |test| search(test).await);
    });
}

#[test]
fn a_secret_is_never_written_down_on_postgres() {
    alone("a_secret_is_never_written_down_on_postgres", || {
        on_postgres(store::migrations::STEPS, async |test| search(test).await);
    });
}

fn alone(name: &str, work: impl FnOnce()) {
    let told = in_a_child(&format!("hostile::secrets::{name}"), || {
        listen_to_everything();
        work();
    });
    let told = told.unwrap_or_default();
    assert!(!told.contains("Sesame"), "a secret on the standard output or error:\n{told}");
}

// What is heard --------------------------------------------------------------------------------

/// Every event and span of every library at the lowest level, from all threads.
/// (axum is built without its events, so that the HTTP library says nothing.)
static HEARD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn heard() -> MutexGuard<'static, Vec<u8>> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ear;

impl std::io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        heard().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Some libraries speak `log` and not `tracing`.
impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        heard().extend_from_slice(format!("{} {}\n", record.target(), record.args()).as_bytes());
    }

    fn flush(&self) {}
}

fn listen_to_everything() {
    use tracing_subscriber::fmt::format::FmtSpan;
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(|| Ear)
        .init();
    log::set_logger(&Ear).expect("the first logger");
    log::set_max_level(log::LevelFilter::Trace);
    std::thread::spawn(|| {
        tracing::trace!("heard by tracing");
        log::trace!("heard by log");
    })
    .join()
    .expect("a thread");
    let heard = String::from_utf8_lossy(&heard()).into_owned();
    assert!(heard.contains("heard by tracing") && heard.contains("heard by log"), "{heard}");
}

// What is looked for ---------------------------------------------------------------------------

/// A secret with every form in which it could be written down.
struct Canary {
    label: String,
    forms: Vec<String>,
}

impl Canary {
    fn new(label: &str, secret: &str) -> Self {
        let bytes = secret.as_bytes();
        let mut forms = vec![
            secret.to_owned(),
            secret.to_lowercase(),
            secret.to_uppercase(),
            bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
            bytes.iter().map(|byte| format!("%{byte:02x}")).collect(),
            url::form_urlencoded::byte_serialize(bytes).collect(),
            hex::encode(bytes),
            hex::encode_upper(bytes),
            bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            secret.escape_unicode().to_string(),
        ];
        for before in 0..3 {
            // Whole groups of three bytes look the same whatever stands around them.
            let whole = [vec![b'x'; before], bytes.to_vec()].concat();
            let groups = &whole[if before == 0 { 0 } else { 3 }..whole.len() / 3 * 3];
            forms.extend([BASE64_STANDARD.encode(groups), BASE64_URL_SAFE_NO_PAD.encode(groups)]);
        }
        forms.retain(|form| form.len() >= 8);
        Self { label: label.to_owned(), forms }
    }

    /// A password is not to be kept under a quick hash either.
    fn password(label: &str, secret: &str) -> Self {
        let mut canary = Self::new(label, secret);
        let digest = Sha256::digest(secret.as_bytes());
        canary.forms.extend([hex::encode(digest), BASE64_STANDARD.encode(digest)]);
        canary
    }
}

#[derive(Default)]
struct Search {
    canaries: Vec<Canary>,
    found: Vec<String>,
}

impl Search {
    fn look(&mut self, place: &str, text: &str) {
        for canary in &self.canaries {
            for (form, needle) in canary.forms.iter().enumerate() {
                if let Some(at) = text.find(needle.as_str()) {
                    let start =
                        (at.saturating_sub(120)..=at).find(|at| text.is_char_boundary(*at)).unwrap_or(at);
                    self.found.push(format!(
                        "{} (form {form}) in {place}, after {:?}",
                        canary.label,
                        &text[start..at]
                    ));
                    break;
                }
            }
        }
    }

    fn verdict(&self) {
        assert!(
            self.found.is_empty(),
            "{} secrets were written down:\n{}",
            self.found.len(),
            self.found.join("\n")
        );
    }
}

#[test]
fn every_form_of_a_secret_is_found_and_only_secrets_are() {
    let found = |text: &str| {
        let mut search = Search { canaries: vec![Canary::password("it", FIRST)], found: Vec::new() };
        search.look("a text", text);
        !search.found.is_empty()
    };
    for around in ["", "a", "ab", "abc"] {
        let text = format!("{around}{FIRST}{around}");
        assert!(
            found(&text) && found(&BASE64_STANDARD.encode(&text)) && found(&hex::encode(&text)),
            "{around:?}"
        );
        assert!(
            found(&BASE64_URL_SAFE_NO_PAD.encode(&text)) && found(&format!("{:?}", text.as_bytes())),
            "{around:?}"
        );
    }
    assert!(found(&format!("x{}", FIRST.to_lowercase())) && found(&hex::encode(Sha256::digest(FIRST))));
    assert!(found(&FIRST.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>()));
    assert!(!found(&format!("{OWN} {ONE_TIME} {}", BASE64_STANDARD.encode(OWN))));
}

// The scenario ---------------------------------------------------------------------------------

/// The secrets that people and programs choose themselves.
const FIRST: &str = "Sesame-first-4711-Pw";
const ONE_TIME: &str = "Sesame-once-4712-Pw";
const OWN: &str = "Sesame-mine-4713-Pw";
const GUESS: &str = "Sesame-guess-4714-Pw";
const VERIFIER: &str = "Sesame-verifier-4715-abcdefghijklmnopqrstuvwxyz0123456789";
const TOKEN: &str = "1000.Sesame4716token.Sesame4716token";
const CODE: &str = "1000.Sesame4717code.Sesame4717code";
const REFRESH: &str = "1000.Sesame4718refresh.Sesame4718refresh";
const CLIENT_SECRET: &str = "Sesame4719clientsecret00000000000000000000";
const ADMINS: &str = "Sesame-admin-4720-Pw";
/// No secret, but only ever sent in a query.
const IN_QUERIES: &str = "OnlyInQueries4721";

async fn search(test: TestDb) {
    let mut settings = config();
    settings.throttle.wrong_per_account = i64::MAX / 2;
    settings.throttle.wrong_per_source = i64::MAX / 2;
    settings.throttle.token_failures_per_source = i64::MAX / 2;
    // The mail servers' look-up files are searched as well.
    for (option, name) in [(&mut settings.mail.auth_dir, "auth"), (&mut settings.mail.maps_dir, "maps")] {
        let folder = test.folder.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        *option = Some(folder);
    }
    // A machine need not have the groups of mail servers.
    (settings.mail.auth_group, settings.mail.maps_group) = (String::new(), String::new());
    let world = World::start_with(test.clone(), settings.clone()).await;
    let mut search = Search::default();
    for (label, secret) in [
        ("first password", FIRST),
        ("one-time password", ONE_TIME),
        ("own password", OWN),
        ("guess", GUESS),
        ("administrator's password", ADMINS),
    ] {
        search.canaries.push(Canary::password(label, secret));
    }
    for (label, secret) in [
        ("verifier", VERIFIER),
        ("token", TOKEN),
        ("code", CODE),
        ("refresh token", REFRESH),
        ("client secret", CLIENT_SECRET),
    ] {
        search.canaries.push(Canary::new(label, secret));
    }
    for someone in [&world.owner, &world.admin, &world.member, &world.other] {
        search.canaries.push(Canary::new("a living token", &someone.org_token));
        search.canaries.push(Canary::new("a living token", &someone.user_token));
    }

    let server = Server::start(&world).await;
    accepted(&world, &server, &mut search).await;
    misplaced(&world, &server, &mut search).await;
    // The same once more where unknown parameters are refused by name.
    settings.compat.strict = true;
    let strict = App::new(world.app.db.clone(), settings, world.app.clock.clone(), Random::seeded(8))
        .await
        .expect("an app");
    let strict = Server::of(mailward::api::router(strict)).await;
    misplaced(&world, &strict, &mut search).await;

    world.settle().await;
    world.app.clock.advance(2 * MINUTE);
    tidy::run(&world.app).await.expect("tidying up");
    debug(&world, &mut search).await;

    for (table, rows) in Tables::of(&test).await.without(&[]).await {
        search.look(&format!("the table {table}"), &rows.join("\n"));
    }
    look_into_files(&test.folder, &mut search);
    let heard = String::from_utf8_lossy(&heard()).into_owned();
    assert!(heard.contains("route=\"/self/password\""), "the door was not heard");
    assert!(
        test.db.engine() == EngineKind::Sqlite || heard.contains("executing statement"),
        "the driver was not heard"
    );
    search.look("the log", &heard);
    if heard.contains(IN_QUERIES) {
        search.found.push("a query in the log".to_owned());
    }
    search.verdict();
}

/// A real listener, so that the HTTP library has something to say.
struct Server {
    address: SocketAddr,
}

struct Told {
    status: u16,
    text: String,
}

impl Told {
    #[track_caller]
    fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}", self.text);
        self.body()
    }

    fn body(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}

impl Server {
    async fn start(world: &World) -> Self {
        Self::of(world.router.clone()).await
    }

    async fn of(router: axum::Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, String)], body: &[u8]) -> Told {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut answer = Vec::new();
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await.expect("a connection");
            let _ = stream.write_all(&[request.as_bytes(), body].concat()).await;
            let _ = stream.read_to_end(&mut answer).await;
        };
        tokio::time::timeout(Duration::from_secs(20), talk).await.expect("an answer");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Told { status, text }
    }

    async fn json(&self, method: &str, path: &str, token: &str, body: &Value) -> Told {
        let headers = [
            ("Authorization", format!("Zoho-oauthtoken {token}")),
            ("Content-Type", "application/json".to_owned()),
        ];
        self.send(method, path, &headers, body.to_string().as_bytes()).await
    }

    async fn form(&self, path: &str, headers: &[(&str, String)], fields: &[(&str, &str)]) -> Told {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        all.extend_from_slice(headers);
        self.send("POST", path, &all, form(fields).as_bytes()).await
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Secrets where they belong: everything succeeds.
async fn accepted(world: &World, server: &Server, search: &mut Search) {
    let owner = &world.owner.org_token;
    let accounts = format!("/api/organization/{}/accounts", world.zoid);
    let address = format!("nora@{}", world.domain);
    let new =
        json!({"primaryEmailAddress": address, "password": FIRST, "firstName": "Nora", "userExpiry": 30});
    let told = server.json("POST", &accounts, owner, &new).await;
    search.look("the new user", &told.text);
    let zuid = told.ok()["data"]["zuid"].as_i64().expect("a zuid");
    let reset = json!({"mode": "resetPassword", "zuid": zuid, "password": ONE_TIME, "oneTimePassword": true, "adminPassword": ADMINS});
    let told = server.json("PUT", &format!("{accounts}/{zuid}"), owner, &reset).await;
    search.look("the reset", &told.text);
    told.ok();
    let own = json!({"address": address, "password": ONE_TIME, "newPassword": OWN});
    let told = server.json("POST", "/self/password", TOKEN, &own).await;
    search.look("the own password", &told.text);
    told.ok();

    let member = format!("/api/accounts/{}/appPasswords", world.member.account_id);
    let told = server
        .json(
            "POST",
            &member,
            &world.member.user_token,
            &json!({"name": "Telephone", "currentPassword": PASSWORD}),
        )
        .await;
    search.look("the new app password", &told.text);
    let app_password = told.ok()["data"]["password"].as_str().expect("a password").to_owned();
    search.canaries.push(Canary::new("an app password", &app_password));
    let told = server.json("GET", &member, &world.member.user_token, &json!({})).await;
    search.look("the list of app passwords", &told.text);
    told.ok();

    let (web, secret) = client(world, ClientKind::Web).await;
    let (public, _) = client(world, ClientKind::Public).await;
    search.canaries.push(Canary::new("a client's secret", &secret));
    let redirect = "https://app.example/callback";
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let code_for = async |client: &str, challenge: Option<String>| {
        let wish = CodeWish {
            client: client.to_owned(),
            organization: world.zoid,
            user: UserId::new(zuid).expect("a zuid"),
            scope: ScopeSet::parse("ZohoMail.accounts.ALL").expect("scopes"),
            life: 10 * MINUTE,
            offline: true,
            redirect_uri: Some(redirect.to_owned()),
            challenge,
        };
        oauth::make_code(&world.app, wish).await.expect("a code").expose().to_owned()
    };
    let basic = [("Authorization", format!("Basic {}", BASE64_STANDARD.encode(format!("{web}:{secret}"))))];
    search.canaries.push(Canary::new("Basic credentials", &format!("{web}:{secret}")));
    let code = code_for(&web, None).await;
    search.canaries.push(Canary::new("a code", &code));
    let fields = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", redirect)];
    let first = server.form("/oauth/v2/token", &basic, &fields).await.ok();
    // By query, as the documentation of the original shows it.
    let refresh = first["refresh_token"].as_str().expect("a refresh token").to_owned();
    let query = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", &web),
        ("client_secret", &secret),
        ("refresh_token", &refresh),
        ("state", IN_QUERIES),
    ]);
    let second = server.send("POST", &format!("/oauth/v2/token?{query}"), &[], b"").await.ok();
    let code = code_for(&public, Some(challenge)).await;
    search.canaries.push(Canary::new("a code", &code));
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", &public),
        ("code", &code),
        ("redirect_uri", redirect),
        ("code_verifier", VERIFIER),
    ];
    let third = server.form("/oauth/v2/token", &[], &fields).await.ok();
    let soid = format!("ZohoMail.{}", world.zoid);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &web),
        ("client_secret", &secret),
        ("soid", &soid),
        ("scope", "ZohoMail.accounts.READ"),
    ];
    let fourth = server.form("/oauth/v2/token", &[], &fields).await.ok();
    for given in [&first, &second, &third, &fourth] {
        for name in ["access_token", "refresh_token"] {
            if let Some(token) = given[name].as_str() {
                search.canaries.push(Canary::new(name, token));
            }
        }
    }
    let access = second["access_token"].as_str().expect("an access token");
    let told = server.form("/oauth/v2/introspect", &basic, &[("token", access)]).await;
    search.look("the introspection", &told.text);
    assert_eq!(told.ok()["active"], true);
    let told = server.json("GET", "/api/accounts", access, &json!({})).await;
    search.look("the own account", &told.text);
    told.ok();
    let replayed = server
        .form(
            "/oauth/v2/token",
            &basic,
            &[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", redirect)],
        )
        .await;
    search.look("the replay", &replayed.text);
    let revoked = server
        .send("POST", &format!("/oauth/v2/token/revoke?token={refresh}&state={IN_QUERIES}"), &[], b"")
        .await;
    search.look("the revocation", &revoked.text);
    revoked.ok();
}

/// Secrets in every place where somebody might put them by mistake.
async fn misplaced(world: &World, server: &Server, search: &mut Search) {
    let names: Vec<(&str, &str)> = vec![
        ("password", GUESS),
        ("newPassword", OWN),
        ("oneTimePassword", ONE_TIME),
        ("currentPassword", FIRST),
        ("adminPassword", ADMINS),
        ("token", TOKEN),
        ("access_token", TOKEN),
        ("authtoken", TOKEN),
        ("code", CODE),
        ("refresh_token", REFRESH),
        ("client_secret", CLIENT_SECRET),
        ("code_verifier", VERIFIER),
    ];
    let object: serde_json::Map<String, Value> =
        names.iter().map(|(name, secret)| ((*name).to_owned(), json!(secret))).collect();
    let all_in_one = form(&names);

    let mut bodies: Vec<(&str, Vec<u8>)> =
        vec![("application/x-www-form-urlencoded", all_in_one.clone().into_bytes())];
    for info in MODES.iter().filter(|info| info.method == Method::Put) {
        let mut body: Value = serde_json::from_str(info.sample).expect("a sample");
        let fields = body.as_object_mut().expect("an object");
        fields.insert("zuid".to_owned(), world.other.zuid.into());
        // Wrong types too: flags and lists that hold a secret.
        for (name, secret) in &object {
            fields.entry(name.clone()).or_insert(secret.clone());
        }
        bodies.push(("application/json", body.to_string().into_bytes()));
    }
    for grant in ["authorization_code", "refresh_token", "client_credentials", GUESS] {
        let fields: Vec<_> =
            [("grant_type", grant), ("client_id", "1000.X"), ("address", "nobody@zylker.example")]
                .into_iter()
                .chain(names.clone())
                .collect();
        bodies.push(("application/x-www-form-urlencoded", form(&fields).into_bytes()));
    }
    let for_every_route = bodies.len();
    for (name, secret) in &names {
        // Of the wrong type, twice, in two spellings, as a name, cut off, followed by noise.
        let texts = [
            format!(r#"{{"mode":"resetPassword","{name}":["{secret}"]}}"#),
            format!(r#"{{"mode":"resetPassword","{name}":{{"{secret}":"{secret}"}}}}"#),
            format!(r#"{{"mode":"resetPassword","{name}":"{secret}","{name}":"{secret}"}}"#),
            format!(r#"{{"mode":"resetPassword","password":"{secret}","PASSWORD":"x"}}"#),
            format!(r#"{{"{secret}":1,"{secret}":2}}"#),
            format!(r#"{{"mode":"displaynameupdate","displayName":"Otto","{secret}":1}}"#),
            format!(r#"{{"mode":"{secret}"}}"#),
            format!(r#"{{"mode":"updateIMAPStatus","imapAccessEnabled":"{secret}"}}"#),
            format!(r#"{{"mode":"emailupdate","emailAddress":"{secret}"}}"#),
            format!(r#"{{"mode":"changeRole","role":"{secret}","userList":["{secret}"]}}"#),
            format!(r#"{{"mode":"resetPassword","zuid":"{secret}","password":"{secret}"}}"#),
            format!(r#"{{"address":"{secret}","password":"{secret}","newPassword":"short"}}"#),
            format!(r#"{{"primaryEmailAddress":"{secret}","password":"{secret}"}}"#),
            format!(r#"{{"accountList":["{secret}"],"emailList":["{secret}"]}}"#),
            format!(r#"{{"mode":"resetPassword","{name}":"{secret}"#),
            format!(r#"{{"mode":"resetPassword","{name}":{secret}}}"#),
            format!(r#"["{secret}"]"#),
            format!("\"{secret}\""),
            (*secret).to_owned(),
            format!("{secret}&{secret}"),
            format!("{secret}=1&{secret}=2"),
            format!("{name}={secret}&{name}={secret}x"),
            format!("{name}={secret}%zz"),
            format!("password={secret}%00&address=a%40zylker.example&newPassword={secret}"),
        ];
        for text in texts {
            let kind = if text.starts_with(['{', '[', '"']) {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            bodies.push((kind, text.into_bytes()));
        }
        bodies
            .push(("application/json", [format!(r#"{{"{name}":"{secret}"#).as_bytes(), b"\xff\"}"].concat()));
        bodies.push((
            "application/json",
            format!(r#"{{"{name}":"{secret}","x":"{}"}}"#, "y".repeat(70_000)).into_bytes(),
        ));
    }

    let pair = BASE64_STANDARD.encode(format!("{CLIENT_SECRET}:{GUESS}"));
    let authorizations = [
        format!("Zoho-oauthtoken {TOKEN}"),
        format!("Bearer {}", world.member.user_token),
        format!("Zoho-oauthtoken {}", world.owner.org_token),
        format!("Basic {pair}"),
        format!("Basic {CLIENT_SECRET}"),
        format!("Bearer {GUESS} {GUESS}"),
        TOKEN.to_owned(),
    ];
    let elsewhere = |secret: &str| {
        vec![
            ("Cookie", format!("session={secret}")),
            ("Referer", format!("https://x.example/?token={secret}")),
            ("User-Agent", secret.to_owned()),
            ("X-Forwarded-For", secret.to_owned()),
            ("X-Request-Id", secret.to_owned()),
            ("Origin", secret.to_owned()),
            ("X-Api-Key", secret.to_owned()),
        ]
    };

    let document = mailward::api::document();
    let (mut number, mut routes) = (0, 0);
    for (template, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().map(|method| method.to_uppercase()) {
            let path = template
                .replace("{zoid}", &world.zoid.to_string())
                .replace("{id}", &world.other.zuid.to_string())
                .replace("{accountId}", &world.member.account_id.to_string())
                .replace("{domainName}", &world.domain);
            let mut tell = async |path: &str, headers: &[(&str, String)], body: &[u8]| {
                let told = server.send(&method, path, headers, body).await;
                assert!(told.status != 0 && told.status < 500, "{method} {path}: {}", told.text);
                search.look(&format!("the answer to {method} {template}"), &told.text);
            };
            routes += 1;
            for (place, (kind, body)) in bodies.iter().enumerate() {
                // Every route gets every secret in a third of the disguises, one after the other all of them.
                if place >= for_every_route && (place + routes) % if method == "GET" { 12 } else { 3 } != 0 {
                    continue;
                }
                number += 1;
                let mut headers = elsewhere(names[number % names.len()].1);
                headers.push(("Authorization", authorizations[number % authorizations.len()].clone()));
                headers.push(("Content-Type", (*kind).to_owned()));
                let path = if place % 2 == 0 {
                    path.clone()
                } else {
                    format!("{path}?{all_in_one}&state={IN_QUERIES}")
                };
                tell(&path, &headers, body).await;
            }
            for authorization in &authorizations {
                tell(&path, &[("Authorization", authorization.clone())], b"").await;
            }
            for (_, secret) in &names {
                for place in ["{zoid}", "{id}", "{accountId}", "{domainName}"] {
                    if template.contains(place) {
                        let path = template.replace(place, secret).replace(['{', '}'], "x");
                        tell(&path, &[("Authorization", authorizations[2].clone())], b"").await;
                    }
                }
                tell(&format!("/{secret}"), &[], b"").await;
                tell(
                    &format!("{path}?{secret}={secret}&%zz"),
                    &[("Authorization", authorizations[2].clone())],
                    b"",
                )
                .await;
            }
        }
    }
    assert!(number > 1_000, "only {number} requests");
}

/// `Debug` of everything that holds a secret on its way.
async fn debug(world: &World, search: &mut Search) {
    let body = json!({"mode": "resetPassword", "password": GUESS, "primaryEmailAddress": "a@zylker.example"});
    let body = Body::parse(body.to_string().as_bytes()).expect("a body");
    let params =
        Params::parse(Some(&form(&[("code", CODE)])), form(&[("client_secret", CLIENT_SECRET)]).as_bytes());
    let secret = SecretString::from(CLIENT_SECRET);
    let mut texts = vec![
        format!("{body:?}"),
        format!("{:?}", params.expect("parameters")),
        format!("{:?}", AccountMode::from_body(&body).expect("a mode")),
        format!("{:?}", NewUser::from_body(&body).expect("a user")),
        format!("{:?}", Password::prepare(GUESS).expect("a password")),
        format!("{:?}", Secret::new(TOKEN)),
        format!("{:?}", body.secret("password")),
    ];
    for header in
        [format!("Bearer {TOKEN}"), format!("Basic {}", BASE64_STANDARD.encode(format!("x:{CLIENT_SECRET}")))]
    {
        texts.push(format!("{:?}", authorization([header.as_bytes()])));
    }
    let grants = [
        GrantType::AuthorizationCode {
            code: CODE.into(),
            redirect_uri: None,
            verifier: Some(VERIFIER.into()),
        },
        GrantType::RefreshToken { refresh_token: REFRESH.into() },
    ];
    for grant in grants {
        let request =
            TokenRequest { client_id: "1000.X".to_owned(), client_secret: Some(secret.clone()), grant };
        texts.push(format!("{request:?}"));
        texts.push(format!("{:?}", oauth::token(&world.app, None, request).await));
    }
    let given = TokenResponse {
        access_token: Secret::new(TOKEN),
        refresh_token: Some(Secret::new(REFRESH)),
        scope: ScopeSet::default(),
        expires_in_seconds: 1,
    };
    texts.push(format!("{given:?}"));
    let guess = Password::prepare(GUESS).expect("a password");
    texts.push(format!("{:?}", verifier::verify(&world.app, &world.member.email, Some(&guess), None).await));
    texts.push(format!("{:?}", world.account(&world.member).await));
    texts.push(format!("{:?} {:?}", world.app.db, world.app.hasher));
    let mut plain = Config::default();
    plain.database.url = format!("postgres://mailward:{GUESS}@db.example/mailward");
    texts.push(format!("{plain:?}"));
    for text in &texts {
        search.look("a Debug output", text);
    }
}

fn look_into_files(folder: &Path, search: &mut Search) {
    for file in std::fs::read_dir(folder).expect("the test's folder").flatten() {
        if file.path().is_dir() {
            look_into_files(&file.path(), search);
            continue;
        }
        let bytes = std::fs::read(file.path()).expect("a readable file");
        search.look(&format!("the file {}", file.file_name().display()), &String::from_utf8_lossy(&bytes));
    }
}
