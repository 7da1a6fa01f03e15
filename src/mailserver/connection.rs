//! A connection to a server that must be the right one: plain on loopback, TLS with a pinned certificate, a
//! given authority or the public ones elsewhere. Start at [`Endpoint`]; doveadm's client and the agent use it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::machine::files;

/// What can be read and written, whatever is below.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection.
pub type Io = Box<dyn Stream>;

/// By what the right server is known.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// SHA-256 of its certificate (DER), hex with or without colons.
    pub certificate_sha256: Option<&'a str>,
    /// Or the authority that signed it, PEM.
    pub ca_file: Option<&'a Path>,
    /// Whether the public authorities are good enough where neither is given.
    pub public: bool,
}

/// How refusals call the server and what goes to it.
#[derive(Debug, Clone, Copy)]
pub struct Wording {
    pub whom: &'static str,
    pub what: &'static str,
    pub key: &'static str,
}

/// Where a server is, and by what it is known. Nothing secret is in it.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// Reads address and certificates and refuses what is not safe, with a text for the administrator.
    ///
    /// # Errors
    /// A URL that is neither loopback nor https, a server that nothing tells from others, a bad pin.
    pub fn new(url: &str, trust: &Trust<'_>, wording: &Wording) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("{url} is no URL: {e}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(format!("the URL of {} carries no user, password or query", wording.whom));
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
                    "{url} would send {} in clear text: \
                     use https with a pinned certificate, or a loopback address",
                    wording.key
                ));
            }
            ("https", _) => Some(Arc::new(client(url.as_str(), trust)?)),
            (scheme, _) => {
                return Err(format!("{scheme} is no way to reach {}: use http or https", wording.what));
            }
        };
        let port = url.port_or_known_default().ok_or_else(|| format!("{url} names no port"))?;
        Ok(Self { url, host, port, tls })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Opens a connection; name resolution and TCP, and then TLS, may each take that long.
    ///
    /// # Errors
    /// In words.
    pub async fn connect(&self, limit: Duration) -> Result<Io, String> {
        let late = |_| format!("no connection within {} seconds", limit.as_secs());
        let tcp = timeout(limit, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(late)?
            .map_err(|e| e.to_string())?;
        let _only_slower_without = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        let stream = timeout(limit, TlsConnector::from(Arc::clone(tls)).connect(name, tcp))
            .await
            .map_err(late)?
            .map_err(|e| e.to_string())?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// The key in a file that only its owner can read.
///
/// # Errors
/// In words for the administrator; `opens` says what the key is good for.
pub fn read_key(path: &Path, opens: &str) -> Result<SecretString, String> {
    match files::secret(path) {
        Ok(key) => Ok(key.trim().into()),
        Err(why) => Err(format!("the key file {} ({opens}): {why}", path.display())),
    }
}

fn client(url: &str, trust: &Trust<'_>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    match (trust.certificate_sha256, trust.ca_file) {
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
        (None, None) if trust.public => {
            let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
        (None, None) => Err(format!(
            "{} needs a pinned certificate (its SHA-256) or a CA file: the key opens every mailbox, \
             it goes to no server that merely has a certificate",
            url.trim_end_matches('/')
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
