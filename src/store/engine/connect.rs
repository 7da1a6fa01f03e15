//! How a PostgreSQL connection is made: the hosts of the URL one by one, each under its own
//! limit (a frozen first host must not hide a living second one), and TLS through rustls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Connection, Error as PgError, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Options, bad_url};
use crate::error::Result;

/// Only an explicit BEGIN … READ WRITE writes, so that a reader cannot, as on SQLite.
const SESSION: &str = "SET default_transaction_read_only = on";

pub(super) struct Hosts {
    /// One configuration for each host, in the order of the URL.
    each: Vec<Config>,
    /// Where the last connection succeeded; tried first.
    favourite: AtomicUsize,
    limit: Duration,
    tls: Option<MakeRustlsConnect>,
}

impl Hosts {
    pub fn parse(url: &str, options: &Options) -> Result<Self> {
        // Whoever demands TLS here gets the certificate and its name verified, always.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let config: Config = url.parse().map_err(|cause: PgError| {
            let detail =
                std::error::Error::source(&cause).map(|source| format!(": {source}")).unwrap_or_default();
            bad_url(format!("{cause}{detail}"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(bad_url("names no host"));
        }
        let tls = match (config.get_ssl_mode(), &options.tls_root_cert) {
            (SslMode::Require, _) | (_, Some(_)) => Some(tls(options)?),
            (SslMode::Disable | SslMode::Prefer, None) | (_, None) => None,
        };
        let limit = config.get_connect_timeout().copied().unwrap_or(options.connect_timeout);
        let each = one_by_one(&config, tls.is_some())?;
        Ok(Self { each, favourite: AtomicUsize::new(0), limit, tls })
    }

    /// How long trying every host may take.
    pub fn patience(&self) -> Duration {
        self.limit * u32::try_from(self.each.len()).unwrap_or(u32::MAX) + Duration::from_secs(1)
    }

    async fn connect_any(&self) -> std::result::Result<(Client, JoinHandle<()>), PgError> {
        let first = self.favourite.load(Ordering::Relaxed);
        let mut failure = None;
        for step in 0..self.each.len() {
            let place = (first + step) % self.each.len();
            match timeout(self.limit, self.connect_one(&self.each[place])).await {
                Ok(Ok(connected)) => {
                    self.favourite.store(place, Ordering::Relaxed);
                    return Ok(connected);
                }
                Ok(Err(cause)) => failure = Some(cause),
                Err(_) => {}
            }
        }
        // The driver has no other constructor for this.
        Err(failure.unwrap_or_else(PgError::__private_api_timeout))
    }

    async fn connect_one(&self, config: &Config) -> std::result::Result<(Client, JoinHandle<()>), PgError> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, tend(connection))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tend(connection))
            }
        };
        client.batch_execute(SESSION).await.inspect_err(|_| task.abort())?;
        Ok((client, task))
    }
}

impl Connect for Hosts {
    fn connect(
        &self,
        _: &Config,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = std::result::Result<(Client, JoinHandle<()>), PgError>> + Send + '_>,
    > {
        Box::pin(self.connect_any())
    }
}

fn tend<T>(connection: Connection<Socket, T>) -> JoinHandle<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // The reason of a lost connection ("administrator command") comes here and nowhere else.
        if let Err(cause) = connection.await {
            let detail = std::error::Error::source(&cause).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%detail, "{cause}");
        }
    })
}

/// The driver's configuration cannot forget a host, so everything else is copied.
fn one_by_one(config: &Config, with_tls: bool) -> Result<Vec<Config>> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    if (!hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len())
        || (ports.len() > 1 && ports.len() != count)
    {
        return Err(bad_url("the numbers of hosts, addresses and ports differ"));
    }
    let mut shared = Config::new();
    shared
        .application_name(config.get_application_name().unwrap_or("mailward"))
        .ssl_mode(if with_tls { SslMode::Require } else { SslMode::Disable })
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle().min(Duration::from_secs(60)))
        .keepalives_interval(config.get_keepalives_interval().unwrap_or(Duration::from_secs(5)))
        .keepalives_retries(config.get_keepalives_retries().unwrap_or(3))
        .tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(Duration::from_secs(15)))
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    config.get_user().map(|user| shared.user(user));
    config.get_password().map(|password| shared.password(password));
    config.get_dbname().map(|dbname| shared.dbname(dbname));
    config.get_options().map(|options| shared.options(options));

    Ok((0..count)
        .map(|place| {
            let mut one = shared.clone();
            match hosts.get(place) {
                Some(Host::Tcp(name)) => {
                    one.host(name);
                }
                Some(Host::Unix(folder)) => {
                    one.host_path(folder);
                }
                None => {}
            }
            addresses.get(place).map(|address| one.hostaddr(*address));
            one.port(ports.get(place).or(ports.first()).copied().unwrap_or(5432));
            one
        })
        .collect())
}

fn tls(options: &Options) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    match &options.tls_root_cert {
        Some(file) => {
            let unusable = |cause: &dyn std::fmt::Display| {
                bad_url(format!("cannot use the authorities in {}: {cause}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|cause| unusable(&cause))? {
                let certificate = certificate.map_err(|cause| unusable(&cause))?;
                roots.add(certificate).map_err(|cause| unusable(&cause))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds no certificate"));
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| bad_url(format!("TLS: {cause}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
