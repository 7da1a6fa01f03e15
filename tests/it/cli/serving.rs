//! The listening program: where it listens, with which certificate, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::Place;
use crate::support::certificates::trusting;

const FIRST: (&str, &str) = (include_str!("certificates/first.pem"), include_str!("certificates/first.key"));
const SECOND: (&str, &str) =
    (include_str!("certificates/second.pem"), include_str!("certificates/second.key"));

#[test]
fn who_finds_the_address_taken_is_told_how_to_give_another() {
    let place = Place::initialised();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let refusal = place.run(&["serve", "--listen", &address]).refused(2);
    assert!(refusal.contains(&address) && refusal.contains("--listen 127.0.0.1:0"), "{refusal}");
}

/// A running service; killed when the test is over.
struct Service {
    child: Child,
    address: SocketAddr,
    log: Receiver<String>,
}

impl Service {
    fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        let mut service = Self::launch(place, variables);
        service.listens();
        service
    }

    /// It may not listen yet, and has no address.
    fn launch(place: &Place, variables: &[(&str, &str)]) -> Self {
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
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log }
    }

    #[track_caller]
    fn listens(&mut self) {
        let line = self.wait_for("listening");
        let address = match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(line) => line["address"].as_str().map(str::to_owned),
            Err(_) => {
                line.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned)
            }
        };
        self.address = address.and_then(|text| text.parse().ok()).expect("an address");
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
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(trusting(root.as_bytes()), name).expect("a client");
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
fn a_reload_that_is_asked_for_during_the_start_does_not_end_the_service() {
    let place = Place::initialised();
    // The start writes, and waits for whoever else does.
    let writer = rusqlite::Connection::open(place.path("data/mailward.sqlite")).expect("the database");
    writer.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let (auth, maps) = (place.path("look-ups/auth"), place.path("look-ups/maps"));
    let variables = [
        ("MAILWARD_MAIL_AUTH_DIR", auth.to_str().expect("text")),
        ("MAILWARD_MAIL_MAPS_DIR", maps.to_str().expect("text")),
        ("MAILWARD_MAIL_AUTH_GROUP", ""),
        ("MAILWARD_MAIL_MAPS_GROUP", ""),
    ];
    let mut service = Service::launch(&place, &variables);
    service.wait_for("configuration read");
    service.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(100));
    writer.execute_batch("ROLLBACK").expect("let go");
    service.listens();
    assert_eq!(service.end().0, Some(0));
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

/// A change by the administrator on the own name: the head and the body of the request.
fn change(place: &Place, name: &str) -> (String, String) {
    let scope = ["--scope", "ZohoMail.organization.accounts.ALL"];
    let token = place.json(&[&["token", "issue", "--user", "admin@example.org"][..], &scope].concat());
    let token = super::text(&token, "access_token");
    let shown = place.json(&["user", "show", "admin@example.org"]);
    let zoid = super::text(&place.json(&["org", "list"])[0], "zoid");
    let zuid = super::text(&shown, "zuid");
    let body =
        serde_json::json!({"mode": "displaynameupdate", "zuid": zuid, "displayName": name}).to_string();
    let head = format!(
        "PUT /api/organization/{zoid}/accounts/{zuid} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Zoho-oauthtoken {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head, body)
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn a_change_that_was_begun_is_finished_before_the_end() {
    let place = Place::initialised();
    let (head, body) = change(&place, "Finished");
    let service = Service::start(&place, &[]);
    let mut stream = service.connect();
    let head = head.replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
    stream.write_all(head.as_bytes()).expect("the head");
    // A request has begun when its body is asked for (RFC 9110 §10.1.1).
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).expect("the server wants the body");
    assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&go_on));
    let (half, rest) = body.split_at(body.len() / 2);
    stream.write_all(half.as_bytes()).expect("half of the body");
    service.signal(Signal::TERM);
    service.wait_for("stopping");
    let refused = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        TcpStream::connect(service.address).is_err()
    });
    assert!(refused, "nobody new is let in");
    stream.write_all(rest.as_bytes()).expect("the rest");
    let answer = read(stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    service.wait_for("stopped");
    let change = header(&answer, "x-mailward-change");
    assert_eq!(super::text(&place.json(&["user", "show", "admin@example.org"]), "displayName"), "Finished");
    let entries = place.json(&["audit", "list", "--limit", "1"]);
    assert_eq!(super::text(&entries[0], "change"), change);
}

#[test]
fn each_line_of_the_log_names_the_request_and_its_change() {
    let place = Place::initialised();
    for (json, name) in [("true", "First"), ("false", "Second")] {
        let (head, body) = change(&place, name);
        let service = Service::start(&place, &[("MAILWARD_LOG_JSON", json)]);
        let mut stream = service.connect();
        stream.write_all(format!("{head}{body}").as_bytes()).expect("asked");
        let answer = read(stream);
        let (request, change) = (header(&answer, "x-request-id"), header(&answer, "x-mailward-change"));
        let line = service.wait_for(request);
        if json == "true" {
            let line: serde_json::Value = serde_json::from_str(&line).expect("one object on one line");
            assert_eq!((&line["request"], &line["change"]), (&request.into(), &change.into()), "{line}");
            assert_eq!((&line["status"], &line["method"]), (&200.into(), &"PUT".into()), "{line}");
        } else {
            assert!(line.contains(&format!("request=\"{request}\"")), "{line}");
            assert!(line.contains(&format!("change=\"{change}\"")) && line.contains("status=200"), "{line}");
        }
        let mut stream = service.connect();
        stream
            .write_all(b"GET /api/accounts/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("asked");
        let answer = read(stream);
        let line = service.wait_for(header(&answer, "x-request-id"));
        assert!(line.contains("400") && line.contains("change"), "a refusal has a line too: {line}");
    }
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
