//! The demonstration's own Postfix and Dovecot. They use users that Debian has anyway, so nothing of this
//! machine changes, and are gone when the demonstration ends, however it is asked to.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::app::call::Context;
use crate::app::demo::DemoMail;
use crate::app::mail::servers;
use crate::app::random::Random;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::mailserver::config::{ConfigFile, PolicyServer};
use crate::mailserver::private::{self, Ports, Servers, Wish};
use crate::store::mail_servers::MailServerRow;

/// What the Dovecot is called among the mail servers.
pub const SERVER: &str = "demo";
/// Owns the mail: a user of every Debian that nobody is logged in as.
const MAIL_USER: &str = "mail";

/// In whose name its mail server comes and goes.
pub fn context() -> Context {
    Context::operator("demo", "demo".to_owned())
}

/// Directory and servers; both go when this is dropped.
pub struct DemoServers {
    dir: PathBuf,
    ports: Ports,
    key: String,
    servers: Option<Servers>,
}

impl DemoServers {
    /// Finds what the servers need, and points the configuration to where they will be.
    ///
    /// # Errors
    /// `Refused` with what to do, before anything is made.
    pub fn prepare(config: &mut Config) -> Result<Self> {
        if let Some(obstacle) = private::obstacle() {
            return Err(Error::Refused(obstacle));
        }
        let name = hex::encode(&Random::System.salt()[..4]);
        let servers = Self {
            dir: private::make_dir(&format!("mw-{name}"))?,
            ports: Ports::free(),
            key: hex::encode(Random::System.salt()),
            servers: None,
        };
        let mail = &mut config.mail;
        mail.auth_dir = Some(servers.dir.join("auth"));
        mail.maps_dir = Some(servers.dir.join("maps"));
        mail.auth_group = "dovecot".to_owned();
        mail.maps_group = "postfix".to_owned();
        mail.mail_root = servers.dir.join("mail");
        let [logins] = private::free_ports();
        mail.logins_listen = ([127, 0, 0, 1], logins).into();
        mail.logins_key_file = servers.dir.join("logins.key");
        private::write(&ConfigFile {
            path: mail.logins_key_file.clone(),
            group: None,
            mode: 0o600,
            text: format!("{}\n", servers.key),
        })?;
        mail.notices_smtp = format!("127.0.0.1:{}", servers.ports.smtp);
        Ok(servers)
    }

    /// Starts both servers, whose look-ups are there by now, and makes the Dovecot known.
    ///
    /// # Errors
    /// What a server says when it does not start.
    pub async fn start(&mut self, app: &App) -> Result<()> {
        let wish = Wish {
            dir: self.dir.clone(),
            ports: self.ports,
            hostname: "mx.zylker.example".to_owned(),
            contract: private::contract(&self.dir, &app.config.mail.auth_group, &app.config.mail.maps_group),
            mail_user: MAIL_USER.to_owned(),
            doveadm_key: self.key.clone().into(),
            tls: None,
            policy_server: Some(PolicyServer {
                url: format!("http://{}/policy", app.config.mail.logins_listen),
                token: self.key.clone().into(),
                nonce: hex::encode(Random::System.salt()).into(),
            }),
        };
        // What starts now opens the files as they are: a reload would only disturb the first logins.
        app.projector.take_replaced();
        let start = move || Servers::start(&wish.dir, &private::files(&wish)?, &wish.mail_user, wish.ports);
        let started = tokio::task::spawn_blocking(start).await;
        self.servers = Some(started.map_err(|cause| Error::caused("starting the mail servers", cause))??);
        let row = MailServerRow {
            name: SERVER.to_owned(),
            url: format!("http://127.0.0.1:{}", self.ports.doveadm),
            key_file: private::key_file(&self.dir).display().to_string(),
            certificate_sha256: None,
            ca_file: None,
            created_at: app.clock.now(),
        };
        servers::add(app, &context(), row, false).await
    }

    /// Where clients connect.
    pub fn addresses(&self) -> DemoMail {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let Ports { smtp, submission, imap, pop3, doveadm: _ } = self.ports;
        DemoMail { imap: at(imap), pop3: at(pop3), submission: at(submission), smtp: at(smtp) }
    }
}

impl Drop for DemoServers {
    fn drop(&mut self) {
        // The servers first: they write into the directory. In order, so that they see their own children end.
        if let Some(mut servers) = self.servers.take() {
            servers.stop_postfix();
            servers.stop_dovecot();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(folder = %self.dir.display(), %error, "the mail servers' folder could not be removed");
        }
    }
}

/// SIGTERM and SIGINT from the first moment on: a process that ended by them would leave its servers behind.
pub struct End([Signal; 2]);

impl End {
    /// # Errors
    /// `Internal`.
    pub fn listen() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|cause| Error::caused("listening for signals", cause));
        Ok(Self([on(SignalKind::terminate())?, on(SignalKind::interrupt())?]))
    }

    async fn wait(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }

    /// Whether the end was asked for already.
    pub async fn asked(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.wait() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Runs what ends by the same signals; one that came too early for it is not lost.
    pub async fn patiently(&mut self, serving: impl Future<Output = Result<()>>) -> Result<()> {
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            outcome = &mut serving => return outcome,
            () = self.wait() => {}
        }
        tokio::time::timeout(Duration::from_secs(40), serving).await.unwrap_or(Ok(()))
    }
}
