//! Listening: sockets, TLS with certificates that can be replaced, and an orderly end. What is answered
//! is the router's matter.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::app::{App, worker};
use crate::arrival::{take_a_place, wait_for_body};
use crate::config::Server;
use crate::error::{Error, Result};

/// How long a client may take to send the head of a request; also how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// A socket that is bound and a certificate that was read; nothing is accepted yet.
pub struct Bound {
    /// Where clients reach the service; a port that was asked for as 0 is the real one here.
    pub address: SocketAddr,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown_time: Duration,
}

/// Binds the configured address and reads the certificate.
///
/// # Errors
/// `BadValue` for the option that cannot be used, with the reason.
pub fn bind(server: &Server) -> Result<Bound> {
    let tls = match (&server.tls_cert, &server.tls_key) {
        (Some(cert), Some(key)) => Some(Tls::read(cert.clone(), key.clone())?),
        (Some(_), None) | (None, Some(_)) => {
            return Err(Error::bad_value("server.tls_cert, tls_key", "certificate and key belong together"));
        }
        (None, None) => None,
    };
    let (listener, address) = listen(server.listen).map_err(|cause| {
        let other = match cause.kind() {
            io::ErrorKind::AddrInUse => "; --listen gives another one, as --listen 127.0.0.1:0",
            _ => "",
        };
        Error::bad_value("server.listen", format!("{}: {cause}{other}", server.listen))
    })?;
    Ok(Bound { address, listener, tls, shutdown_time: Duration::from_secs(server.shutdown_seconds) })
}

/// SIGHUP from now on: one that comes before [`Bound::serve`] is kept for it. Whoever has not asked for the signal is ended
/// by it, in a way that systemd takes for a wish.
///
/// # Errors
/// `Internal` when signals cannot be used.
pub fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).map_err(|cause| Error::caused("listening for SIGHUP", cause))
}

impl Bound {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until SIGTERM or SIGINT, then finishes what was accepted and closes the database.
    /// The background worker runs meanwhile. At each of the hang-ups the certificate is read again.
    ///
    /// # Errors
    /// `Internal` when the socket or the signals cannot be used.
    pub async fn serve(self, app: App, router: Router, hangups: Signal) -> Result<()> {
        let failed = |cause: io::Error| Error::caused("serving", cause);
        let end = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())];
        let [terminate, interrupt] = end.map(|signal| signal.map_err(failed));
        let handle = Handle::new();
        let worker = tokio::spawn(worker::run(app.clone()));
        let background = app.background.clone();
        let ender = end_in_order(terminate?, interrupt?, handle.clone(), background, self.shutdown_time);
        let mut ender = tokio::spawn(ender);
        let reloader = tokio::spawn(reload_on_signal(hangups, self.tls.clone()));
        let router = router
            .layer(axum::middleware::from_fn_with_state(app.clone(), take_a_place))
            .layer(axum::middleware::from_fn(wait_for_body))
            .into_make_service_with_connect_info::<SocketAddr>();

        tracing::info!(address = %self.address, scheme = self.scheme(), "listening");
        let server = over(self.listener).map_err(failed)?.handle(handle);
        let outcome = match &self.tls {
            None => server.acceptor(NoDelayAcceptor).serve(router).await,
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls.live.clone()).acceptor(NoDelayAcceptor);
                server.acceptor(acceptor).serve(router).await
            }
        };
        app.background.close();
        tokio::select! {
            () = app.background.wait() => {}
            () = tokio::time::sleep(self.shutdown_time) => tracing::warn!("stopping before all work was done"),
            // Who asks twice does not want to wait.
            _ = &mut ender => {}
        }
        for task in [&worker, &ender, &reloader] {
            task.abort();
        }
        app.db.close().await;
        tracing::info!("stopped");
        outcome.map_err(failed)
    }
}

/// A socket for what the public must not reach: metrics, and logins that Dovecot tells of. Without TLS.
pub struct SideDoor {
    /// A port that was asked for as 0 is the real one here.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl SideDoor {
    /// Binds the address of a configuration's option.
    ///
    /// # Errors
    /// `BadValue` for the option, with the reason.
    pub fn open(option: &str, address: SocketAddr) -> Result<Self> {
        let (listener, address) =
            listen(address).map_err(|cause| Error::bad_value(option, format!("{address}: {cause}")))?;
        Ok(Self { address, listener })
    }

    /// Answers until the task is ended.
    pub fn answer(self, router: Router) -> JoinHandle<()> {
        let router = router.layer(axum::middleware::from_fn(wait_for_body)).into_make_service();
        tokio::spawn(async move {
            let outcome = match over(self.listener) {
                Ok(server) => server.acceptor(NoDelayAcceptor).serve(router).await,
                Err(cause) => Err(cause),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, address = %self.address, "a listener ended");
            }
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn over(listener: TcpListener) -> io::Result<axum_server::Server<SocketAddr>> {
    let mut server = axum_server::from_tcp(listener)?.http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    Ok(server)
}

async fn end_in_order(
    mut terminate: Signal,
    mut interrupt: Signal,
    handle: Handle<SocketAddr>,
    background: TaskTracker,
    patience: Duration,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(seconds = patience.as_secs(), "stopping; requests in flight may end");
    background.close();
    handle.graceful_shutdown(Some(patience));
    // Who asks twice does not want to wait.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("stopping at once");
    handle.shutdown();
}

async fn reload_on_signal(mut hangup: Signal, tls: Option<Tls>) {
    while hangup.recv().await.is_some() {
        match &tls {
            None => tracing::info!("SIGHUP: there is no certificate to read again"),
            Some(tls) => tls.reload(),
        }
    }
}

// TLS --------------------------------------------------------------------------------------

#[derive(Clone)]
struct Tls {
    cert: PathBuf,
    key: PathBuf,
    live: RustlsConfig,
}

impl Tls {
    fn read(cert: PathBuf, key: PathBuf) -> Result<Self> {
        let live = RustlsConfig::from_config(Arc::new(tls_config(&cert, &key)?));
        Ok(Self { cert, key, live })
    }

    /// A certificate that cannot be used leaves the old one in place.
    fn reload(&self) {
        match tls_config(&self.cert, &self.key) {
            Ok(config) => {
                self.live.reload_from_config(Arc::new(config));
                tracing::info!(file = %self.cert.display(), "the certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the new certificate is not usable; the old one stays"),
        }
    }
}

fn tls_config(cert: &Path, key: &Path) -> Result<ServerConfig> {
    let bad = |option: &str, file: &Path, why: &dyn std::fmt::Display| {
        Error::bad_value(option, format!("{}: {why}", file.display()))
    };
    let bad_cert = |why: &dyn std::fmt::Display| bad("server.tls_cert", cert, why);
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|cause| bad_cert(&cause))?;
    if chain.is_empty() {
        return Err(bad_cert(&"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|cause| bad("server.tls_key", key, &cause))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::caused("preparing TLS", cause))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|cause| bad_cert(&cause))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
