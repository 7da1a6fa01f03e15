//! The product joined to real mail servers: calls come in through its router, and clients see
//! from outside what became of them. `both_contracts! { … }` runs a body on SQLite and on PostgreSQL.

mod away;
mod first_mail;
mod held;
mod isolation;
mod modes;
mod passwords;
mod rename;
mod survivors;
mod throttle;
mod views;
mod what_ends;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mailward::app::mail::servers;
use mailward::app::random::Random;
use mailward::app::{App, open, worker};
use mailward::clock::Clock;
use mailward::config::Config;
use mailward::domain::actor::Role;
use mailward::domain::secret::Secret;
use mailward::mailserver::config::{Contract, PolicyServer, PostgresTls, roles};
use mailward::serve::SideDoor;
use mailward::store::mail_servers::MailServerRow;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::clients::Smtp;
use mailward::mailserver::private::Ports;

use super::lab::{Lab, LabDir, Wishes, free_ports};
use crate::support::databases::runtime;
use crate::support::postgres::{self, Database, Server};
use crate::support::world::{Answer, PASSWORD, Someone, World, config};

/// One test body on both contracts.
macro_rules! both_contracts {
    ($($(#[$meta:meta])* fn $name:ident($world:ident: $kind:ty) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "some bodies need nothing from their module")]
            use super::*;

            #[allow(unused_mut, reason = "some bodies stop and start servers")]
            fn body(mut $world: $kind) $body

            #[test]
            fn sqlite() {
                body($crate::mail::product::MailWorld::sqlite());
            }

            #[test]
            fn postgres() {
                body($crate::mail::product::MailWorld::postgres());
            }
        }
    )*};
}
use both_contracts;

pub const DISABLED: &str = "This account is disabled. Contact your administrator.";
pub const MAIL_DISABLED: &str = "Mail access for this account is disabled. Contact your administrator.";
pub const ONE_TIME: &str = "This password works once: choose a new one first.";
pub const WRONG: [&str; 3] = [
    "NO [AUTHENTICATIONFAILED] Authentication failed.",
    "-ERR [AUTH] Authentication failed.",
    "535 5.7.8 Error: authentication failed: (reason unavailable)",
];
pub const NEW: &str = "another-horse-8";
/// Whatever ends at once has ended by then.
pub const SOON: Duration = Duration::from_secs(5);

/// The refusals of the three logins that tell the reason.
pub fn told(reason: &str) -> [String; 3] {
    [
        format!("NO [ALERT] {reason}"),
        format!("-ERR [AUTH] {reason}"),
        format!("535 5.7.8 Error: authentication failed: {reason}"),
    ]
}

/// The product with its worker, and both mail servers reading what it shows them.
pub struct MailWorld {
    product: Option<Product>,
    pub lab: Lab,
    /// Somebody of the same organization, to write to.
    pub other: String,
    config: Config,
    /// Dropped after the servers that read it.
    _database: Option<Database>,
    pub dir: LabDir,
}

struct Product {
    world: World,
    worker: tokio::task::JoinHandle<()>,
    runtime: Runtime,
}

impl Deref for MailWorld {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl MailWorld {
    pub fn sqlite() -> Self {
        Self::sqlite_with(|_, _| {})
    }

    /// With other settings; the ports are the lab's.
    pub fn sqlite_with(edit: impl FnOnce(&mut Config, &Ports)) -> Self {
        let dir = LabDir::new();
        let contract = dir.sqlite();
        let mut config = settings(&dir);
        std::fs::create_dir(dir.path.join("desk")).expect("a directory");
        config.database.url = format!("sqlite:{}", dir.path.join("desk/mailward.sqlite").display());
        config.mail.auth_dir = Some(dir.path.join("auth"));
        config.mail.maps_dir = Some(dir.path.join("maps"));
        Self::with(dir, contract, config, None, edit)
    }

    pub fn postgres() -> Self {
        Self::postgres_with(|_, _| {})
    }

    pub fn postgres_with(edit: impl FnOnce(&mut Config, &Ports)) -> Self {
        Self::on_postgres(LabDir::new(), None, edit)
    }

    /// The mail servers demand a certificate of the database.
    pub fn postgres_over_tls() -> Self {
        let authority = std::fs::read_to_string(postgres::tls_folder().join("server.crt")).expect("readable");
        Self::on_postgres(LabDir::new(), Some(PostgresTls::Of(authority)), |_, _| {})
    }

    fn on_postgres(dir: LabDir, tls: Option<PostgresTls>, edit: impl FnOnce(&mut Config, &Ports)) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let (server, port) = server();
        let name = format!("mail_{}_{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let database = postgres::empty_on(server, &name);
        let contract = Contract::Postgres {
            host: "127.0.0.1".into(),
            port,
            database: name,
            dovecot_password: DOVECOT_PASSWORD.into(),
            postfix_password: POSTFIX_PASSWORD.into(),
            tls,
        };
        let mut config = settings(&dir);
        config.database.url = database.url.clone();
        Self::with(dir, contract, config, Some(database), edit)
    }

    fn with(
        dir: LabDir,
        contract: Contract,
        mut config: Config,
        database: Option<Database>,
        edit: impl FnOnce(&mut Config, &Ports),
    ) -> Self {
        let ports = Ports::free();
        edit(&mut config, &ports);
        let runtime = runtime();
        let world = runtime.block_on(async {
            let world = World::around(app(&config).await).await;
            world.app.projector.catch_up(&world.app.db).await.expect("the look-ups can be written");
            // No server runs yet that would have to be told of the new files.
            world.app.projector.take_replaced();
            world
        });
        if let Some(database) = &database {
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _roles_belong_to_the_server = ONE_AT_A_TIME.lock();
            postgres::run(&database.url, &roles(&DOVECOT_PASSWORD.into(), &POSTFIX_PASSWORD.into()));
        }
        let policy_server = Some(listen_to_logins(&runtime, &world.app));
        let lab = Lab::start_at(ports, &dir, contract, Wishes { tls: None, policy_server });
        let doveadm = lab.doveadm_config();
        let row = MailServerRow {
            name: "lab".to_owned(),
            url: doveadm.url,
            key_file: doveadm.key_file.display().to_string(),
            certificate_sha256: None,
            ca_file: None,
            created_at: 0,
        };
        runtime
            .block_on(servers::add(&world.app, &crate::support::world::operator(), row, false))
            .expect("Dovecot answers");
        let worker = runtime.spawn(worker::run(world.app.clone()));
        let other = world.other.email.clone();
        Self {
            product: Some(Product { world, worker, runtime }),
            lab,
            other,
            config,
            _database: database,
            dir,
        }
    }

    fn product(&self) -> &Product {
        self.product.as_ref().expect("the product runs")
    }

    pub fn world(&self) -> &World {
        &self.product().world
    }

    pub fn block<T>(&self, work: impl Future<Output = T>) -> T {
        self.product().runtime.block_on(work)
    }

    /// The service ends; the mail servers go on. Answers who there is, for `start`.
    pub fn stop(&mut self) -> People {
        let Product { world, worker, runtime } = self.product.take().expect("the product runs");
        let people = People::of(&world);
        runtime.block_on(async {
            worker.abort();
            let _aborted = worker.await;
            world.app.db.close().await;
        });
        drop(world);
        drop(runtime);
        people
    }

    /// As `mailward serve` does it: the look-ups first, then the router and the worker.
    pub fn start(&mut self, people: People) {
        let runtime = runtime();
        let world = runtime.block_on(async {
            let app = app(&self.config).await;
            app.projector.catch_up(&app.db).await.expect("the look-ups can be written");
            people.in_app(app)
        });
        let worker = runtime.spawn(worker::run(world.app.clone()));
        self.product = Some(Product { world, worker, runtime });
    }

    /// Where the mail servers reach the database, and its name.
    pub fn database_over_tcp(&self) -> (std::net::SocketAddr, String) {
        let name = self.config.database.url.rsplit('/').next().expect("a URL").to_owned();
        (([127, 0, 0, 1], server().1).into(), name)
    }

    /// The configuration as variables, for the program itself.
    pub fn variables(&self) -> Vec<(String, String)> {
        let path =
            |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        [
            ("MAILWARD_DATABASE_URL", self.config.database.url.clone()),
            ("MAILWARD_MAIL_AUTH_DIR", path(&self.config.mail.auth_dir)),
            ("MAILWARD_MAIL_MAPS_DIR", path(&self.config.mail.maps_dir)),
            ("MAILWARD_PASSWORDS_MEMORY_KIB", "64".to_owned()),
            ("MAILWARD_PASSWORDS_PASSES", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Has sessions ended through another door than Dovecot's own.
    pub fn end_sessions_at(&self, port: u16) {
        let doveadm = self.lab.doveadm_config();
        let row = MailServerRow {
            name: "lab".to_owned(),
            url: format!("http://127.0.0.1:{port}"),
            key_file: doveadm.key_file.display().to_string(),
            certificate_sha256: None,
            ca_file: None,
            created_at: 0,
        };
        self.block(servers::add(&self.world().app, &crate::support::world::operator(), row, true))
            .expect("a mail server");
    }

    // Calls ------------------------------------------------------------------------------------

    /// A new member.
    pub fn someone(&self, local: &str) -> Someone {
        self.block(self.world().someone(local, Role::Member))
    }

    /// A mode that the owner of the organization calls and that must be accepted.
    #[track_caller]
    pub fn mode(&self, on: &Someone, mode: &str, more: Value) -> Answer {
        let answer =
            self.patiently(|| self.block(self.world().mode(&self.world().owner, on, mode, more.clone())));
        assert_eq!(answer.status.as_u16(), 200, "{mode}: {}", answer.text);
        answer
    }

    #[track_caller]
    pub fn own_mode(&self, by: &Someone, mode: &str) -> Answer {
        let answer = self.patiently(|| self.block(self.world().own_mode(by, mode, json!({}))));
        assert_eq!(answer.status.as_u16(), 200, "{mode}: {}", answer.text);
        answer
    }

    /// As clients do: a call that met others on PostgreSQL is sent again.
    pub fn patiently(&self, call: impl Fn() -> Answer) -> Answer {
        let start = Instant::now();
        loop {
            let answer = call();
            if answer.status.as_u16() != 503 || start.elapsed() > Duration::from_secs(20) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A reset to a permanent password.
    #[track_caller]
    pub fn reset(&self, on: &Someone, password: &str) -> Answer {
        self.mode(on, "resetPassword", json!({"password": password, "oneTimePassword": false}))
    }

    /// An app password that the person makes.
    pub fn app_password(&self, of: &Someone, mut body: Value) -> AppPassword {
        body["currentPassword"] = PASSWORD.into();
        let path = format!("/api/accounts/{}/appPasswords", of.account_id);
        let send = || self.block(self.world().with_body("POST", &of.user_token, &path, body.clone()));
        let answer = self.patiently(send);
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
        let text = |key: &str| answer.json()["data"][key].as_str().expect("a text").to_owned();
        AppPassword { id: text("appPasswordId"), password: text("password") }
    }

    pub fn revoke(&self, of: &Someone, id: &str) -> Answer {
        let path = format!("/api/accounts/{}/appPasswords/{id}", of.account_id);
        let send = || self.block(self.world().with_body("DELETE", &of.user_token, &path, json!({})));
        let answer = self.patiently(send);
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        answer
    }

    pub fn receipt(&self, change: &str) -> Value {
        let world = self.world();
        let path = format!("/api/organization/{}/changes/{change}", world.zoid);
        self.block(world.get(&world.owner.org_token, &path)).ok().json()["data"].clone()
    }

    /// Waits until nothing of the change is left to be done.
    pub fn complete(&self, change: &str, within: Duration) -> Value {
        let start = Instant::now();
        loop {
            let receipt = self.receipt(change);
            if receipt["complete"] == true {
                return receipt;
            }
            assert!(start.elapsed() < within, "{receipt:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    // What is seen -----------------------------------------------------------------------------

    /// What a client with this address and password, and its correspondents, are told: logins at
    /// IMAP, POP3 and submission, sending as the address, mail to it at SMTP, and its delivery.
    pub fn look(&self, address: &str, password: &str) -> [String; 6] {
        std::thread::scope(|scope| {
            let imap = scope.spawn(|| super::clients::Imap::connect(self.lab.imap).login(address, password));
            let pop = scope.spawn(|| super::clients::Pop3::connect(self.lab.pop3).login(address, password));
            let smtp = scope.spawn(|| {
                let mut smtp = Smtp::connect(self.lab.submission);
                let answer = smtp.login(address, password);
                let sent = match answer.starts_with("235") {
                    true => smtp.rcpt(address, &self.other),
                    false => "no login".to_owned(),
                };
                (answer, sent)
            });
            let rcpt = self.rcpt(address);
            let delivery = super::clients::lmtp(&self.lab.dir.join("spool/private/dovecot-lmtp"), address);
            let joined = "the client said why it failed";
            let (smtp, sent) = smtp.join().expect(joined);
            [imap.join().expect(joined), pop.join().expect(joined), smtp, sent, rcpt, delivery].map(short)
        })
    }
}

/// As its owner got it.
pub struct AppPassword {
    pub id: String,
    pub password: String,
}

/// What is granted in a word; a refusal in full.
fn short(answer: String) -> String {
    for granted in ["OK", "+OK", "235", "250"] {
        if answer.starts_with(granted) {
            return granted.to_owned();
        }
    }
    answer
}

/// What everybody sees of an account without a restriction.
pub fn open_account() -> [String; 6] {
    ["OK", "+OK", "235", "250", "250", "250"].map(str::to_owned)
}

/// Nobody gets in, for this reason; mail arrives.
pub fn shut(reasons: [String; 3]) -> [String; 6] {
    let [imap, pop, smtp] = reasons;
    [imap, pop, smtp, "no login".to_owned(), "250".to_owned(), "250".to_owned()]
}

/// The mailbox key of somebody.
pub fn mbox(of: &Someone) -> String {
    format!("m{}", of.account_id)
}

/// Who there is in an organization, while the product is away.
pub struct People {
    zoid: mailward::domain::ids::OrganizationId,
    domain: String,
    pub all: [Someone; 4],
}

impl People {
    fn of(world: &World) -> Self {
        let all = [&world.owner, &world.admin, &world.member, &world.other].map(Someone::clone);
        Self { zoid: world.zoid, domain: world.domain.clone(), all }
    }

    fn in_app(self, app: App) -> World {
        let [owner, admin, member, other] = self.all;
        let router = mailward::cli::doors(&app);
        let recorder = mailward::mailserver::Recorder::new("none");
        World { app, router, zoid: self.zoid, domain: self.domain, owner, admin, member, other, recorder }
    }
}

fn settings(dir: &LabDir) -> Config {
    let mut config = config();
    // The least that Dovecot takes, too.
    config.passwords.memory_kib = 64;
    config.mail.mail_root = dir.path.join("mail");
    config
}

async fn app(config: &Config) -> App {
    open::open_app(config, Clock::System, Random::System).await.expect("the product starts")
}

/// The door where Dovecot asks before logins, as the service has it.
fn listen_to_logins(runtime: &Runtime, app: &App) -> PolicyServer {
    let router = mailward::api::mail_logins(app.clone(), &Secret::new("logins-token"));
    let door = SideDoor::open("mail.logins_listen", ([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = door.address;
    runtime.block_on(async { drop(door.answer(router)) });
    PolicyServer {
        url: format!("http://{address}/policy"),
        token: "logins-token".into(),
        nonce: "some nonce".into(),
    }
}

const DOVECOT_PASSWORD: &str = "for 'Dovecot' only";
const POSTFIX_PASSWORD: &str = "for-Postfix-only";

/// A PostgreSQL that the mail servers reach over TCP, where a password is wanted; and its port.
fn server() -> (&'static Server, u16) {
    static SERVER: OnceLock<(Server, u16)> = OnceLock::new();
    let (server, port) = SERVER.get_or_init(|| {
        let [port] = free_ports();
        let server = Server::start(port, |folder| {
            let mut settings = postgres::with_tls(folder);
            // Power loss is not the subject here.
            settings.extend(["listen_addresses=127.0.0.1", "fsync=off"].map(str::to_owned));
            settings
        });
        (server, port)
    });
    (server, *port)
}
