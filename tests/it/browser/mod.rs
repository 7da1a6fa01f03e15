//! The console in a real browser: what administrators and mailbox owners do there, and how every
//! page looks, reads and sounds.

mod accessibility;
mod administrator;
mod consent;
mod entry;
mod owner;
mod trusted_types;

use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;

use mailward::app::App;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::config::Config;
use mailward::store::engine::Db;
use tokio::sync::mpsc::Receiver;

use crate::support::postbox::postbox;
use crate::support::webdriver::Browser;
use crate::support::world::{PASSWORD, START, World, config};

/// A browser in front of a served router.
pub struct Pane {
    pub browser: Browser,
    /// `http://localhost:…`: passkeys want a name.
    pub url: String,
    /// One browser at a time; two cores are few.
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A free port, and how a browser names it.
pub fn a_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener for tokio");
    let url = format!("http://localhost:{}", listener.local_addr().expect("an address").port());
    (listener, url)
}

impl Pane {
    pub async fn open((listener, url): (TcpListener, String), router: axum::Router) -> Self {
        let turn = TURN.lock().await;
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { browser: Browser::start().await, url, _turn: turn }
    }

    pub async fn go(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.url)).await;
    }

    /// Signs in as a person would.
    pub async fn sign_in(&self, address: &str, password: &str) {
        self.go("/").await;
        self.browser.fill("#address", address).await;
        self.browser.fill("#password", password).await;
        self.browser.press("Sign in").await;
    }
}

/// A served world, and a browser in front of it.
pub struct Window {
    pub world: World,
    pane: Pane,
}

impl Deref for Window {
    type Target = Pane;
    fn deref(&self) -> &Pane {
        &self.pane
    }
}

impl Window {
    pub async fn open(db: impl Into<Db>) -> Self {
        Self::open_with(db, config()).await
    }

    /// With the letters that are sent from there.
    pub async fn with_letters(db: impl Into<Db>) -> (Self, Receiver<String>) {
        let (postbox, letters) = postbox().await;
        let mut config = config();
        config.mail.notices_smtp = postbox;
        (Self::open_with(db, config).await, letters)
    }

    async fn open_with(db: impl Into<Db>, mut config: Config) -> Self {
        let port = a_port();
        config.server.public_url.clone_from(&port.1);
        let app = App::new(db.into(), config, Clock::at(START), Random::seeded(7)).await.expect("an app");
        let world = World::around(app).await;
        let pane = Pane::open(port, world.router.clone()).await;
        Self { world, pane }
    }

    pub async fn as_owner(&self) {
        self.sign_in(&self.world.owner.email, PASSWORD).await;
        self.browser.sees("Users").await;
    }

    pub async fn as_member(&self) {
        self.sign_in(&self.world.member.email, PASSWORD).await;
        self.browser.sees("My account").await;
    }
}
