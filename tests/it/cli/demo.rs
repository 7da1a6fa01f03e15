//! `mailward demo`: what of a configuration holds there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Place, said};

struct Demo {
    child: Child,
    details: Value,
}

impl Demo {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .args(["--json", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the demonstration starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("an answer");
        let details = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        Self { child, details }
    }

    /// A value by its place, as `/member/email`.
    fn text(&self, place: &str) -> &str {
        self.details.pointer(place).and_then(Value::as_str).unwrap_or_else(|| panic!("no {place}"))
    }

    /// Everything that is answered to one request; `lines` are its headers.
    fn ask(&self, start: &str, lines: &str, body: &str) -> String {
        let address = self.text("/base_url").strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let length = body.len();
        let request = format!(
            "{start} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// Whether a list is refused for a parameter that nobody knows.
    fn is_strict(&self) -> bool {
        let token = format!("Authorization: Zoho-oauthtoken {}\r\n", self.text("/admin/access_token"));
        let list = format!("GET /api/organization/{}/accounts", self.details["zoid"]);
        let answer = self.ask(&list, &token, "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        !self.ask(&format!("{list}?nonsense=1"), &token, "").starts_with("HTTP/1.1 200 ")
    }

    /// Whether a new access token lives for so long.
    fn tokens_live(&self, seconds: u32) -> bool {
        let body = format!(
            "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
            self.text("/client/client_id"),
            self.text("/client/client_secret"),
            self.text("/admin/refresh_token"),
        );
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = self.ask("POST /oauth/v2/token", form, &body);
        assert!(answer.contains("\"expires_in\":"), "{answer}");
        answer.contains(&format!("\"expires_in\":{seconds},"))
            || answer.contains(&format!("\"expires_in\":{seconds}}}"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Killed outright it would leave its folder behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A configuration that would change more than the answers of the API.
fn configured() -> Place {
    let place = Place::empty();
    place.write(
        "mailward.toml",
        "[compat]\nstrict = true\n[oauth]\naccess_token_seconds = 1234\n[database]\nurl = \"sqlite:own.sqlite\"\n\
         [server]\nlisten = \"192.0.2.1:1\"\ninsecure_http = true\n",
    );
    place
}

#[test]
fn a_named_configuration_shapes_the_answers_and_nothing_else() {
    let place = configured();
    let demo = Demo::start(place.command(&["demo"]));
    assert!(demo.is_strict() && demo.tokens_live(1234));
    assert!(demo.text("/base_url").starts_with("http://127.0.0.1:"));
    assert!(!place.path("own.sqlite").exists(), "the demonstration has a database of its own");
}

#[test]
fn variables_shape_the_answers_and_a_file_that_nobody_named_does_not() {
    let place = configured();
    let unnamed = || {
        let mut command = place.command(&["demo"]);
        command.env_remove("MAILWARD_CONFIG");
        command
    };
    let demo = Demo::start(unnamed());
    assert!(!demo.is_strict() && demo.tokens_live(3600));
    drop(demo);
    let mut command = unnamed();
    command.env("MAILWARD_COMPAT_STRICT", "true");
    let demo = Demo::start(command);
    assert!(demo.is_strict() && demo.tokens_live(3600));
}

#[test]
fn what_the_demonstration_cannot_take_is_refused() {
    let place = configured();
    let own = place.run(&["demo", "--database", "sqlite:own.sqlite"]).refused(2);
    assert!(own.contains("--database") && own.contains("a database of its own"), "{own}");
    assert!(!place.path("own.sqlite").exists());
    place.run(&["demo", "--config", "none.toml"]).refused(2);
    for (variable, value, part) in [
        ("MAILWARD_OAUTH_CODE_SECONDS", "0", "oauth.code_seconds"),
        ("MAILWARD_COMPAT_STRIKT", "true", "STRICT?"),
    ] {
        let mut command = place.command(&["demo"]);
        command.env(variable, value);
        let refusal = said(command, "").refused(2);
        assert!(refusal.contains(part), "{refusal}");
    }
}
