//! A small organization behind the real router, on a real database: set clock, cheap hashes,
//! people in every role with tokens. `World::start(db)`, then `world.put(…)`.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use mailward::app::accounts::create;
use mailward::app::call::Context;
use mailward::app::clients::{self, NewClient};
use mailward::app::organizations::{self, DomainChange};
use mailward::app::random::Random;
use mailward::app::{App, oauth, worker};
use mailward::clock::{Clock, DAY};
use mailward::config::Config;
use mailward::domain::account::Account;
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::email_address::{DomainName, EmailAddress};
use mailward::domain::help_desk::{HelpDesk, Verb};
use mailward::domain::ids::{ChangeId, OrganizationId, UserId};
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::mailserver::{MailServer, Recorder};
use mailward::store;
use mailward::store::accounts::Handle;
use mailward::store::engine::{Db, Tx};
use mailward::store::factors::PasskeyRow;
use mailward::store::mail_servers::MailServerRow;
use mailward::store::outbox::Waiting;
use serde_json::Value;
use tower::ServiceExt;

/// The moment at which every world's clock stands: 2026-06-01T00:00Z.
pub const START: i64 = 1_780_272_000_000;

/// A password that satisfies the default policy.
pub const PASSWORD: &str = "correct-horse-7";

pub const ORGANIZATION_SCOPES: &str =
    "ZohoMail.organization.accounts.ALL ZohoMail.organization.domains.ALL ZohoMail.partner.organization.ALL";
pub const USER_SCOPES: &str = "ZohoMail.accounts.ALL AaaServer.profile.READ";

pub struct World {
    pub app: App,
    pub router: Router,
    pub zoid: OrganizationId,
    pub domain: String,
    /// A super administrator, an administrator, a member and another member, all of one organization.
    pub owner: Someone,
    pub admin: Someone,
    pub member: Someone,
    pub other: Someone,
    /// The mail server `mx1`: what it was told, once `settle` ran.
    pub recorder: Recorder,
}

/// A person with tokens that live a year.
#[derive(Debug, Clone)]
pub struct Someone {
    pub zuid: i64,
    pub account_id: i64,
    pub email: String,
    pub zoid: OrganizationId,
    /// Organization scopes.
    pub org_token: String,
    /// User scopes.
    pub user_token: String,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn error_code(&self) -> String {
        self.json()["data"]["errorCode"].as_str().unwrap_or_default().to_owned()
    }

    pub fn more_info(&self) -> String {
        self.json()["data"]["moreInfo"].as_str().unwrap_or_default().to_owned()
    }

    pub fn change(&self) -> Option<String> {
        self.headers.get("x-mailward-change").map(|value| value.to_str().expect("digits").to_owned())
    }

    /// Asserts status and error code, and answers what the person is told.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!((self.status.as_u16(), self.error_code().as_str()), (status, code), "{}", self.text);
        assert!(!self.more_info().is_empty(), "a refusal says what to do: {}", self.text);
        self.more_info()
    }

    #[track_caller]
    pub fn ok(&self) -> &Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self
    }
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.passwords.memory_kib = 8;
    config.passwords.passes = 1;
    config.passwords.threads = 2;
    config.passwords.queue = 1024;
    config.keys.file = Some(keys_file());
    config
}

/// One file for all tests: every node of a database has the same keys.
pub fn keys_file() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("test.keys")
}

pub fn operator() -> Context {
    Context::operator("tester", "set-up".to_owned())
}

impl World {
    pub async fn start(db: impl Into<Db>) -> Self {
        Self::start_with(db, config()).await
    }

    pub async fn start_with(db: impl Into<Db>, config: Config) -> Self {
        let app = App::new(db.into(), config, Clock::at(START), Random::seeded(7))
            .await
            .expect("a good configuration");
        let world = Self::around(app).await;
        let row = MailServerRow {
            name: "mx1".to_owned(),
            url: "http://127.0.0.1:9".to_owned(),
            key_file: "/nonexistent".to_owned(),
            certificate_sha256: None,
            ca_file: None,
            created_at: START,
        };
        let put = world.app.db.write(async move |tx| store::mail_servers::put(tx, &row).await).await;
        put.expect("a mail server");
        world
    }

    /// The organization and its people in an application of the caller's, without a mail server.
    pub async fn around(app: App) -> Self {
        let (zoid, domain) = organization(&app, "Zylker", "zylker.example").await;
        let owner = someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let admin = someone(&app, zoid, &format!("admin@{domain}"), Role::Admin).await;
        let member = someone(&app, zoid, &format!("mia@{domain}"), Role::Member).await;
        let other = someone(&app, zoid, &format!("otto@{domain}"), Role::Member).await;
        let router = mailward::cli::doors(&app);
        let recorder = Recorder::new("mx1");
        Self { app, router, zoid, domain, owner, admin, member, other, recorder }
    }

    /// The same organization, seen through another node.
    pub fn beside(&self, app: App) -> Self {
        let router = mailward::api::router(app.clone());
        Self {
            app,
            router,
            zoid: self.zoid,
            domain: self.domain.clone(),
            owner: self.owner.clone(),
            admin: self.admin.clone(),
            member: self.member.clone(),
            other: self.other.clone(),
            recorder: self.recorder.clone(),
        }
    }

    /// Another person of the organization.
    pub async fn someone(&self, local: &str, role: Role) -> Someone {
        someone(&self.app, self.zoid, &format!("{local}@{}", self.domain), role).await
    }

    /// A request with any headers; the body is sent as it is.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a whole body");
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.send("GET", path, &[("authorization", &format!("Zoho-oauthtoken {token}"))], Body::empty()).await
    }

    pub async fn with_body(&self, method: &str, token: &str, path: &str, body: Value) -> Answer {
        let token = format!("Zoho-oauthtoken {token}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string()).await
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Answer {
        self.with_body("PUT", token, path, body).await
    }

    /// A mode by an administrator on somebody, `zuid` in path and body.
    pub async fn mode(&self, by: &Someone, on: &Someone, mode: &str, mut more: Value) -> Answer {
        more["mode"] = mode.into();
        more["zuid"] = on.zuid.into();
        self.put(&by.org_token, &self.path(on), more).await
    }

    /// A mode by a person on the own account.
    pub async fn own_mode(&self, by: &Someone, mode: &str, mut more: Value) -> Answer {
        more["mode"] = mode.into();
        self.put(&by.user_token, &format!("/api/accounts/{}", by.account_id), more).await
    }

    /// Changes the own password, as the owner of the address.
    pub async fn self_password(&self, address: &str, current: &str, new: &str) -> Answer {
        let body = serde_json::json!({"address": address, "password": current, "newPassword": new});
        self.send("POST", "/self/password", &[("content-type", "application/json")], body.to_string()).await
    }

    /// A form to an OAuth endpoint.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body).await
    }

    pub fn path(&self, on: &Someone) -> String {
        format!("/api/organization/{}/accounts/{}", self.zoid, on.zuid)
    }

    /// Gives somebody a passkey that no device has.
    pub async fn add_passkey(&self, of: &Someone) {
        let passkey = PasskeyRow {
            credential: of.zuid.to_be_bytes().to_vec(),
            id: self.app.ids.next().await.expect("an id"),
            organization: of.zoid,
            user: UserId::new(of.zuid).expect("a zuid"),
            name: "Key".to_owned(),
            data: "{}".to_owned(),
            created_at: self.app.clock.now(),
            used_at: None,
        };
        let stored =
            self.app.db.write(async move |tx| store::factors::insert_passkey(tx, &passkey).await).await;
        stored.expect("a passkey");
    }

    /// The account as stored.
    pub async fn account(&self, of: &Someone) -> Account {
        self.find(of).await.expect("the account is there")
    }

    pub async fn find(&self, of: &Someone) -> Option<Account> {
        let handle = Handle::of(of.zuid).expect("a zuid");
        let mut tx = self.app.db.read().await.expect("a connection");
        mailward::store::accounts::load(&mut tx, of.zoid, handle).await.expect("a readable account")
    }

    /// Carries out every effect that waits.
    pub async fn settle(&self) {
        worker::drain(&self.app, &[MailServer::Recorder(self.recorder.clone())])
            .await
            .expect("the outbox drains");
    }
}

/// One more Mailward on a database that others use; chance is its own.
pub async fn node(db: Db, clock: Clock) -> App {
    App::new(db, config(), clock, Random::System).await.expect("a good configuration")
}

pub async fn organization(app: &App, name: &str, domain: &str) -> (OrganizationId, String) {
    let (made, _) = organizations::create(app, &operator(), name).await.expect("a new organization");
    let domain = DomainName::parse(domain).expect("a domain");
    organizations::add_domain(app, &operator(), made.id, &domain).await.expect("a new domain");
    organizations::change_domain(app, &operator(), made.id, &domain, DomainChange::Verify)
        .await
        .expect("verified");
    (made.id, domain.to_string())
}

pub async fn someone(app: &App, zoid: OrganizationId, address: &str, role: Role) -> Someone {
    let address = EmailAddress::parse(address).expect("an address");
    let password = Password::prepare(PASSWORD).expect("a password");
    let mut new = create::simple(address, password, role, "").expect("a user");
    // One of the help desk with everything that can be given.
    new.help_desk = (role == Role::HelpDesk).then(|| HelpDesk::new(Verb::ALL, None).expect("verbs"));
    let (account, _) = create::create(app, &operator(), zoid, new).await.expect("a new user");
    Someone {
        zuid: account.user.get(),
        account_id: account.id.get(),
        email: account.primary.to_string(),
        zoid,
        org_token: token(app, &account, ORGANIZATION_SCOPES).await,
        user_token: token(app, &account, USER_SCOPES).await,
    }
}

/// A token with any scopes, for a year.
pub async fn token(app: &App, account: &Account, scopes: &str) -> String {
    let scopes = ScopeSet::parse(scopes).expect("scopes");
    let token =
        oauth::issue(app, account.organization, account.user, scopes, 365 * DAY).await.expect("a token");
    token.expose().to_owned()
}

/// The effects of one change that can be read.
pub async fn effects_of(tx: &mut Tx, zoid: OrganizationId, change: ChangeId) -> Vec<Waiting> {
    let all = store::outbox::of_change(tx, zoid, change).await.expect("readable");
    all.into_iter().filter_map(Result::ok).collect()
}

/// A client of the world's owner: its id and secret.
pub async fn client(world: &World, kind: ClientKind) -> (String, String) {
    let new = NewClient {
        organization: world.zoid,
        owner: mailward::domain::ids::UserId::new(world.owner.zuid).expect("a zuid"),
        name: "A client".to_owned(),
        kind,
        redirect_uris: vec!["https://app.example/callback".to_owned()],
    };
    let (client, secret, _) = clients::create(&world.app, &operator(), new).await.expect("a new client");
    (client.id, secret.map(|secret| secret.expose().to_owned()).unwrap_or_default())
}
