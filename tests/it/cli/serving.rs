//! The listening program: where it listens, with which certificate, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Place;

const FIRST: (&str, &str) = (include_str!("certificates/first.pem"), include_str!("certificates/first.key"));
const SECOND: (&str, &str) =
    (include_str!("certificates/second.pem"), include_str!("certificates/second.key"));

/// A running service; killed when the test is over.
struct Service {
    child: Child,
    address: SocketAddr,
    log: Receiver<String>,
}

impl Service {
    fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        let mut child = place
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .env("MAILWARD_LOG_JSON", "true")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let (sender, log) = channel();
        let errors = child.stderr.take().expect("a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut service = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let line = service.wait_for("listening");
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        service.address = line["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        service
    }

    #[track_caller]
    fn wait_for(&self, what: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(what) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {what:?} in the log: {seen:#?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the service lives");
    }

    /// The exit code, and what was on standard output.
    fn end(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
        (self.child.wait().expect("an end").code(), out)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        stream
    }

    /// The name in the certificate that the service shows to who trusts this one.
    fn trusted(&self, root: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream = StreamOwned::new(client, self.connect());
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = [0; 8];
        asked.is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"HTTP/1.1"
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_on_a_free_port_answers_and_ends_in_order() {
    let place = Place::initialised();
    let service = Service::start(&place, &[]);
    assert_ne!(service.address.port(), 0);
    let mut stream = service.connect();
    stream.write_all(b"GET /nothing-here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    // The command line works beside it.
    place.run(&["user", "add", "tom@example.org"]).good();
    let address = service.address;
    assert_eq!(service.end(), (Some(0), String::new()));
    TcpStream::connect(address).expect_err("nobody listens any more");
    assert!(!place.path("data/mailward.sqlite-wal").exists(), "the log was folded into the database");
}

#[test]
fn the_look_ups_hold_every_change_before_anything_listens() {
    let place = Place::initialised();
    place.run(&["user", "add", "tom@example.org"]).good();
    let (auth, maps) = (place.path("look-ups/auth"), place.path("look-ups/maps"));
    let variables = [
        ("MAILWARD_MAIL_AUTH_DIR", auth.to_str().expect("text")),
        ("MAILWARD_MAIL_MAPS_DIR", maps.to_str().expect("text")),
        ("MAILWARD_MAIL_AUTH_GROUP", ""),
        ("MAILWARD_MAIL_MAPS_GROUP", ""),
    ];
    let service = Service::start(&place, &variables);
    for (file, row) in [
        (auth.join("auth.sqlite"), "SELECT 1 FROM mp_login WHERE login = 'tom@example.org'"),
        (maps.join("maps.sqlite"), "SELECT 1 FROM mp_mailbox WHERE address = 'tom@example.org'"),
    ] {
        let reader = rusqlite::Connection::open(&file).expect("the file is there");
        reader.query_row(row, [], |_| Ok(())).expect("tom is in it");
    }
    assert_eq!(service.end().0, Some(0));

    // Look-ups that cannot be written could let an old password in: better not to start.
    std::fs::remove_dir_all(&auth).expect("removes");
    place.write("look-ups/auth", "no folder");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.envs(variables);
    let refusal = super::said(command, "");
    assert_eq!(refusal.code, 1, "{}", refusal.err);
    assert!(!refusal.err.contains("listening") && refusal.err.contains("projection"), "{}", refusal.err);
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let place = Place::initialised();
    let service = Service::start(&place, &[("MAILWARD_SERVER_SHUTDOWN_SECONDS", "1")]);
    let mut half = service.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").expect("half a request");
    let start = Instant::now();
    let (code, _) = service.end();
    assert_eq!(code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_a_bad_one_is_not() {
    let place = Place::initialised();
    let files = (place.write("cert.pem", FIRST.0), place.write("key.pem", FIRST.1));
    let files = (files.0.display().to_string(), files.1.display().to_string());
    let variables =
        [("MAILWARD_SERVER_TLS_CERT", files.0.as_str()), ("MAILWARD_SERVER_TLS_KEY", files.1.as_str())];
    let service = Service::start(&place, &variables);
    assert!(service.trusted(FIRST.0) && !service.trusted(SECOND.0));

    place.write("cert.pem", SECOND.0);
    place.write("key.pem", SECOND.1);
    service.signal(Signal::HUP);
    service.wait_for("the certificate was read again");
    assert!(service.trusted(SECOND.0) && !service.trusted(FIRST.0));

    place.write("key.pem", FIRST.1); // not the certificate's key
    service.signal(Signal::HUP);
    service.wait_for("the old one stays");
    place.write("cert.pem", "no certificate");
    service.signal(Signal::HUP);
    service.wait_for("the old one stays");
    assert!(service.trusted(SECOND.0));
    assert_eq!(service.end().0, Some(0));
}

#[test]
fn a_service_that_cannot_start_says_why() {
    let place = Place::initialised();
    let service = Service::start(&place, &[]);
    let taken = service.address.to_string();
    let refusal = place.run(&["serve", "--listen", &taken]).refused(2);
    assert!(refusal.contains("server.listen"), "{refusal}");
    let mut command = place.command(&["serve"]);
    command.env("MAILWARD_SERVER_TLS_CERT", "none.pem").env("MAILWARD_SERVER_TLS_KEY", "none.key");
    assert!(super::said(command, "").refused(2).contains("server.tls_cert"));
}
