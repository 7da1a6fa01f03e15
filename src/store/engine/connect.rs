//! How a PostgreSQL connection is made: the hosts of the URL one by one, each under its own
//! limit (a frozen first host must not hide a living second one), and TLS through rustls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Error as PgError, NoTls, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Options, PostgresPlace, bad_url};
use crate::error::Result;

/// How every connection is set. Read-only, so that only a transaction begun with READ WRITE can write, as on SQLite.
/// No sequential scans, even of small tables: a serializable transaction that scans a table conflicts with everybody
/// who writes to it. A scan that cannot be avoided then looks expensive to the planner, which would compile it for
/// nothing, hence no JIT. The timeout ends on the server what we have stopped waiting for; PostgreSQL leaves COMMIT
/// out of it.
fn session(limit: Duration) -> String {
    format!(
        "SET default_transaction_read_only = on; SET enable_seqscan = off; SET jit = off; \
         SET statement_timeout = {}",
        limit.as_millis()
    )
}

/// The timeline of a primary, in hexadecimal: each one that takes over begins a new one. Empty on a
/// standby.
const TIMELINE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

#[derive(Clone)]
pub(super) struct Hosts {
    /// One configuration for each host, in the order of the URL.
    each: Vec<Config>,
    known_hosts: Arc<KnownHosts>,
    limit: Duration,
    session: String,
    tls: Option<MakeRustlsConnect>,
}

/// What is known of the hosts at the moment.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    /// Where the last connection succeeded; tried first.
    favourite: AtomicUsize,
    /// It took a connection since somebody complained of it.
    trusted: AtomicBool,
    /// The newest timeline that was seen. A primary of an older one has been replaced, though it may
    /// not have noticed: it takes connections, answers from the past, and never confirms a commit.
    timeline: AtomicU32,
}

impl KnownHosts {
    /// The favourite did not answer, or broke a connection: the others come first. Many connections
    /// tell of one failure.
    pub fn distrust_favourite(&self) {
        if self.trusted.swap(false, Ordering::Relaxed) {
            self.favourite.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn prefer(&self, place: usize) {
        self.favourite.store(place, Ordering::Relaxed);
        self.trusted.store(true, Ordering::Relaxed);
    }

    fn is_replaced(&self, timeline: u32) -> bool {
        timeline < self.timeline.fetch_max(timeline, Ordering::Relaxed)
    }
}

impl Hosts {
    pub fn parse(url: &str, options: &Options) -> Result<Self> {
        let config = read(url)?;
        let tls = match (config.get_ssl_mode(), &options.tls_root_cert) {
            (SslMode::Require, _) | (_, Some(_)) => Some(tls(options)?),
            (SslMode::Disable | SslMode::Prefer, None) | (_, None) => None,
        };
        let limit = config.get_connect_timeout().copied().unwrap_or(options.connect_timeout);
        let each = one_by_one(&config, tls.is_some())?;
        let session = session(options.statement_timeout);
        Ok(Self { each, known_hosts: Arc::default(), limit, session, tls })
    }

    pub fn known_hosts(&self) -> Arc<KnownHosts> {
        Arc::clone(&self.known_hosts)
    }

    /// How long trying every host may take.
    pub fn patience(&self) -> Duration {
        self.limit * u32::try_from(self.each.len()).unwrap_or(u32::MAX) + Duration::from_secs(1)
    }

    /// Whether another host may lead one day.
    pub fn may_change(&self) -> bool {
        let writes = |one: &Config| one.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        self.each.len() > 1 && self.each.iter().all(writes)
    }

    /// Whether another host has begun a timeline that is newer than all that were seen: then it leads, and
    /// whoever led before has been replaced, perhaps without noticing.
    pub async fn is_another_newer(&self) -> bool {
        let (favourite, known) = (
            self.known_hosts.favourite.load(Ordering::Relaxed),
            self.known_hosts.timeline.load(Ordering::Relaxed),
        );
        for step in 1..self.each.len() {
            let place = (favourite + step) % self.each.len();
            let Ok(Ok((_, task))) = timeout(self.limit, self.connect_one(&self.each[place])).await else {
                continue;
            };
            task.abort();
            if self.known_hosts.timeline.load(Ordering::Relaxed) > known {
                self.known_hosts.prefer(place);
                return true;
            }
        }
        false
    }

    async fn connect_any(&self) -> std::result::Result<(Client, JoinHandle<()>), PgError> {
        let first = self.known_hosts.favourite.load(Ordering::Relaxed);
        let mut failure = None;
        for step in 0..self.each.len() {
            let place = (first + step) % self.each.len();
            match timeout(self.limit, self.connect_one(&self.each[place])).await {
                Ok(Ok(connected)) => {
                    self.known_hosts.prefer(place);
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
        let ready = async {
            client.batch_execute(&self.session).await?;
            match self.each.as_slice() {
                [_] => Ok(()),
                _ => self.refuse_replaced(&client).await,
            }
        };
        ready.await.inspect_err(|_| task.abort())?;
        Ok((client, task))
    }

    async fn refuse_replaced(&self, client: &Client) -> std::result::Result<(), PgError> {
        let timeline = client.simple_query(TIMELINE).await?.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => u32::from_str_radix(row.get(0)?, 16).ok(),
            _ => None,
        });
        if timeline.is_some_and(|timeline| self.known_hosts.is_replaced(timeline)) {
            tracing::warn!("a database server that was replaced by another one still takes connections");
            // The driver has no other constructor for this.
            return Err(PgError::__private_api_timeout());
        }
        Ok(())
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

fn read(url: &str) -> Result<Config> {
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
    Ok(config)
}

pub(super) fn place(url: &str) -> Result<PostgresPlace> {
    let config = read(url)?;
    let hosts = one_by_one(&config, false)?.into_iter().map(|one| {
        let host = match (one.get_hosts(), one.get_hostaddrs()) {
            ([Host::Tcp(name), ..], _) => name.clone(),
            ([Host::Unix(folder), ..], _) => folder.display().to_string(),
            ([], addresses) => addresses.first().map(ToString::to_string).unwrap_or_default(),
        };
        (host, one.get_ports().first().copied().unwrap_or(5432))
    });
    Ok(PostgresPlace {
        hosts: hosts.collect(),
        database: config.get_dbname().map(str::to_owned),
        demands_tls: config.get_ssl_mode() == SslMode::Require,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_database_are_found_in_every_form_of_the_url() {
        for (url, expected) in [
            ("postgres://mailward@db.internal/desk", vec![("db.internal", 5432)]),
            ("postgresql://m:p@a:6000,b:7000/desk?sslmode=require", vec![("a", 6000), ("b", 7000)]),
            ("postgres://m@db1,db2,db3/desk?target_session_attrs=read-write", {
                vec![("db1", 5432), ("db2", 5432), ("db3", 5432)]
            }),
            ("postgres://m@%2Fvar%2Frun%2Fpostgresql/desk", vec![("/var/run/postgresql", 5432)]),
            ("postgres:///desk?host=/run/pg&port=5433", vec![("/run/pg", 5433)]),
        ] {
            let place = PostgresPlace::of(url).expect(url);
            let hosts: Vec<_> = place.hosts.iter().map(|(host, port)| (host.as_str(), *port)).collect();
            assert_eq!((hosts, place.database.as_deref()), (expected, Some("desk")), "{url}");
        }
        PostgresPlace::of("postgres:///desk").expect_err("no host");
        assert_eq!(PostgresPlace::of("postgres://db.internal").expect("a host").database, None);
    }
}
