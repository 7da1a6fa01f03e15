//! Dovecot's doveadm over HTTP: who is logged in, and ending sessions.
//! Only over loopback, or TLS to a certificate we know: the key opens every mailbox.
//! Errors of commands come inside a 200 answer (<https://doc.dovecot.org/2.3/admin_manual/doveadm_http_api/>).

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{Ended, Session, SessionMask};

const CONNECT: Duration = Duration::from_secs(2);
const TOTAL: Duration = Duration::from_secs(5);
/// Commands in one call: 100 took 87 ms, 100 calls in a row 769 ms.
const CHUNK: usize = 100;
/// Some 200,000 sessions.
const LARGEST_ANSWER: usize = 32 << 20;
/// doveadm's exit code for "nobody has that name logged in" (EX_NOUSER is 67, EX_NOHOST 68).
const NOBODY: i64 = 68;

/// How to reach one Dovecot, as the configuration has it.
#[derive(Debug, Clone)]
pub struct DoveadmConfig {
    /// What people call this server.
    pub name: String,
    /// Such as `http://127.0.0.1:8080` or `https://imap1.example.test:8443`; the path is ours.
    pub url: String,
    /// Holds the key in its first line; readable by its owner alone.
    pub key_file: PathBuf,
    /// SHA-256 of the server's certificate (DER), hex with or without colons.
    pub certificate_sha256: Option<String>,
    /// Or the authority that signed it, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Why a server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoveadmError {
    /// Nothing was sent: no connection, or TLS did not come about.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// No answer within the time; what was asked may have happened.
    #[error("no answer within {} seconds", TOTAL.as_secs())]
    Timeout,
    /// The server does not know our key.
    #[error("the server refused the key")]
    WrongKey,
    /// An answer that is none of doveadm's.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// doveadm understood and failed.
    #[error("doveadm {command} failed: {why}")]
    Command { command: &'static str, why: String },
}

/// A client of one Dovecot.
#[derive(Clone)]
pub struct Doveadm {
    name: String,
    url: Url,
    host: String,
    port: u16,
    key: SecretString,
    tls: Option<Arc<ClientConfig>>,
}

impl Doveadm {
    /// Reads key and certificates and refuses what is not safe, with a text for the administrator.
    ///
    /// # Errors
    /// A URL that is neither loopback nor pinned https, a key file that others can read, a bad pin.
    pub fn new(config: &DoveadmConfig) -> Result<Self, String> {
        let url = Url::parse(&config.url).map_err(|e| format!("{} is no URL: {e}", config.url))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("the URL of a mail server carries no user, password or query".into());
        }
        let host = url.host().ok_or_else(|| format!("{url} names no host"))?;
        let loopback = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        let host = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let tls = match (url.scheme(), loopback) {
            ("http", true) => None,
            ("http", false) => {
                return Err(format!(
                    "{url} would send the key, which opens every mailbox, in clear text: \
                     use https with a pinned certificate, or a loopback address"
                ));
            }
            ("https", _) => Some(Arc::new(trust(config)?)),
            (scheme, _) => return Err(format!("{scheme} is no way to reach doveadm: use http or https")),
        };
        let port = url.port_or_known_default().ok_or_else(|| format!("{url} names no port"))?;
        Ok(Self { name: config.name.clone(), host, port, key: read_key(&config.key_file)?, tls, url })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for a session that cannot exist: an empty list means that the key is good.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn check(&self) -> Result<(), DoveadmError> {
        self.who_is(Some("no-such-mailbox@g0".into())).await.map(drop)
    }

    /// Every open session of this server.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn who(&self) -> Result<Vec<Session>, DoveadmError> {
        self.who_is(None).await
    }

    async fn who_is(&self, mask: Option<String>) -> Result<Vec<Session>, DoveadmError> {
        let mut replies = self.call(&[who(mask)]).await?;
        sessions(replies.pop().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)
    }

    /// Ends sessions, and says how many of each mask were open just before.
    ///
    /// # Errors
    /// As [`DoveadmError`] says; what came before the failure has happened.
    pub async fn kick(&self, masks: &[SessionMask]) -> Result<Vec<Ended>, DoveadmError> {
        let mut ended = Vec::with_capacity(masks.len());
        for chunk in masks.chunks(CHUNK) {
            // 2.3 does not say how many sessions a kick ended, so the same call asks who there is, first.
            let mask = match chunk {
                [only] => Some(only.as_doveadm()),
                _ => None,
            };
            let mut commands = vec![who(mask)];
            // One mask per command: several in one are taken for conditions that must all hold.
            commands.extend(chunk.iter().map(|mask| ("kick", json!({"mask": [mask.as_doveadm()]}))));
            let mut replies = self.call(&commands).await?.into_iter();
            let before = sessions(replies.next().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)?;
            for (mask, reply) in chunk.iter().zip(replies) {
                let seen = before.iter().filter(|session| mask.matches(&session.user)).count() as u64;
                ended.push(Ended { mask: mask.clone(), sessions: kicked(reply)?.unwrap_or(seen) });
            }
        }
        Ok(ended)
    }

    /// `doveadm reload`: the server reads its configuration and opens its files again.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn reload(&self) -> Result<(), DoveadmError> {
        match self.call(&[("reload", json!({}))]).await?.pop() {
            Some(Reply::Rows(_)) => Ok(()),
            Some(Reply::ExitCode(code)) => Err(failed("reload", code)),
            None => Err(DoveadmError::Answer("no reply".into())),
        }
    }

    /// Sends commands, which run in order, and gives their replies in the same order.
    async fn call(&self, commands: &[(&'static str, Value)]) -> Result<Vec<Reply>, DoveadmError> {
        let tagged: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(n, (name, arguments))| json!([name, arguments, format!("t{n}")]))
            .collect();
        let body = Bytes::from(Value::Array(tagged).to_string());
        let answer = timeout(TOTAL, self.post(body)).await.map_err(|_| DoveadmError::Timeout)??;
        replies(&answer, commands)
    }

    async fn post(&self, body: Bytes) -> Result<Bytes, DoveadmError> {
        let unreachable = |e: String| DoveadmError::Unreachable(e);
        let late = |_| unreachable(format!("no connection within {} seconds", CONNECT.as_secs()));
        let tcp = timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(late)?
            .map_err(|e| unreachable(e.to_string()))?;
        let _only_slower_without = tcp.set_nodelay(true);
        match &self.tls {
            None => self.post_over(tcp, body).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|e| unreachable(e.to_string()))?;
                let stream = timeout(CONNECT, TlsConnector::from(Arc::clone(tls)).connect(name, tcp))
                    .await
                    .map_err(late)?
                    .map_err(|e| unreachable(e.to_string()))?;
                self.post_over(stream, body).await
            }
        }
    }

    async fn post_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        body: Bytes,
    ) -> Result<Bytes, DoveadmError> {
        let broken = |e: hyper::Error| DoveadmError::Answer(e.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut key = header::HeaderValue::try_from(format!(
            "X-Dovecot-API {}",
            STANDARD.encode(self.key.expose_secret())
        ))
        .expect("base64 has only visible ASCII");
        key.set_sensitive(true);
        // No "Connection: close": Dovecot 2.3.19 then never sends its 401.
        let request = Request::post("/doveadm/v1")
            .header(header::HOST, self.url.authority())
            .header(header::AUTHORIZATION, key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| DoveadmError::Answer(e.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(DoveadmError::WrongKey),
                status => return Err(DoveadmError::Answer(format!("HTTP status {status}"))),
            }
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            Ok(body.map_err(|e| DoveadmError::Answer(e.to_string()))?.to_bytes())
        };
        // The connection lives as long as the exchange: nothing is left running after a timeout.
        tokio::select! {
            answer = exchange => answer,
            ended = async { connection.await.map_err(broken)?; std::future::pending().await } => ended,
        }
    }
}

/// One reply of doveadm.
#[derive(Debug)]
enum Reply {
    Rows(Vec<Value>),
    ExitCode(i64),
}

/// `separateConnections`: without it, two or more rows are broken JSON in 2.3.
fn who(mask: Option<String>) -> (&'static str, Value) {
    let mut arguments = json!({"separateConnections": true});
    if let Some(mask) = mask {
        arguments["mask"] = json!([mask]);
    }
    ("who", arguments)
}

fn failed(command: &'static str, code: i64) -> DoveadmError {
    DoveadmError::Command { command, why: format!("exit code {code}") }
}

/// Replies look like `["doveadmResponse",[…],"t0"]` or `["error",{"type":"exitCode","exitCode":68},"t0"]`.
fn replies(answer: &[u8], commands: &[(&'static str, Value)]) -> Result<Vec<Reply>, DoveadmError> {
    let bad = |why: &str| DoveadmError::Answer(why.to_owned());
    let answer: Vec<(String, Value, String)> = serde_json::from_slice(answer)
        .map_err(|e| DoveadmError::Answer(format!("no JSON of doveadm's: {e}")))?;
    if answer.len() != commands.len() {
        return Err(bad("not one reply for each command"));
    }
    answer
        .into_iter()
        .zip(commands)
        .enumerate()
        .map(|(n, ((kind, value, tag), (command, _)))| {
            if tag != format!("t{n}") {
                return Err(bad("replies out of order"));
            }
            match (kind.as_str(), value) {
                ("doveadmResponse", Value::Array(rows)) => Ok(Reply::Rows(rows)),
                ("error", error) => match (error["type"].as_str(), number(&error["exitCode"])) {
                    (Some("exitCode"), Some(code)) => Ok(Reply::ExitCode(code)),
                    (kind, _) => Err(DoveadmError::Command {
                        command,
                        why: kind.unwrap_or("an error without a type").to_owned(),
                    }),
                },
                _ => Err(bad("a reply of an unknown kind")),
            }
        })
        .collect()
}

fn sessions(reply: Reply) -> Result<Vec<Session>, DoveadmError> {
    let rows = match reply {
        Reply::Rows(rows) => rows,
        Reply::ExitCode(NOBODY) => return Ok(Vec::new()),
        Reply::ExitCode(code) => return Err(failed("who", code)),
    };
    rows.into_iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().map(str::to_owned);
            Ok(Session {
                user: text("username")
                    .ok_or_else(|| DoveadmError::Answer("a session without a name".into()))?,
                service: text("service").unwrap_or_default(),
                pid: number(&row["pid"]).and_then(|pid| u32::try_from(pid).ok()),
                ip: text("ip").and_then(|ip| ip.parse().ok()),
            })
        })
        .collect()
}

/// How many sessions a kick ended, when the server says it (2.4).
fn kicked(reply: Reply) -> Result<Option<u64>, DoveadmError> {
    match reply {
        Reply::ExitCode(NOBODY) => Ok(Some(0)),
        Reply::ExitCode(code) => Err(failed("kick", code)),
        Reply::Rows(rows) => {
            let counts: Option<Vec<_>> =
                rows.iter().map(|row| number(&row["count"]).and_then(|n| u64::try_from(n).ok())).collect();
            Ok(counts.filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum()))
        }
    }
}

/// doveadm sends numbers as strings, mostly.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The first line of a file that only its owner can read.
fn read_key(path: &Path) -> Result<SecretString, String> {
    let what = path.display();
    let mut file =
        std::fs::File::open(path).map_err(|e| format!("the key file {what} cannot be read: {e}"))?;
    let meta = file.metadata().map_err(|e| format!("the key file {what} cannot be read: {e}"))?;
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        return Err(format!(
            "the key file {what} can be read by others (mode {:o}): it opens every mailbox, set mode 0600",
            meta.mode() & 0o777
        ));
    }
    let mut text = String::new();
    let read = Read::by_ref(&mut file).take(4096).read_to_string(&mut text);
    read.map_err(|e| format!("the key file {what} cannot be read: {e}"))?;
    match text.lines().next().map(str::trim) {
        Some(key) if !key.is_empty() => Ok(key.into()),
        Some(_) | None => Err(format!("the key file {what} is empty")),
    }
}

fn trust(config: &DoveadmConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    match (&config.certificate_sha256, &config.ca_file) {
        (Some(pin), None) => {
            let digits: String = pin.chars().filter(|c| *c != ':' && !c.is_whitespace()).collect();
            let mut certificate = [0; 32];
            hex::decode_to_slice(&digits, &mut certificate)
                .map_err(|_| "a certificate's SHA-256 has 64 hexadecimal digits".to_owned())?;
            let pinned = Arc::new(Pinned { certificate, provider });
            Ok(builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth())
        }
        (None, Some(path)) => {
            let unreadable =
                |e: &dyn fmt::Display| format!("the CA file {} cannot be read: {e}", path.display());
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                roots.add(certificate.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
            }
            if roots.is_empty() {
                return Err(unreadable(&"no certificate in it"));
            }
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
        (None, None) => Err(format!(
            "{} needs a pinned certificate (its SHA-256) or a CA file: the key opens every mailbox, \
             it goes to no server that merely has a certificate",
            config.url
        )),
        (Some(_), Some(_)) => Err("give the certificate's SHA-256 or a CA file, not both".into()),
    }
}

/// Trusts one certificate, whatever its names and dates, if its holder proves to have the key.
#[derive(Debug)]
struct Pinned {
    certificate: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(end_entity.as_ref()).as_slice() == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the server's certificate is not the pinned one".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Doveadm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doveadm")
            .field("name", &self.name)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
