//! The real program, serving on loopback, on any database; killed without warning when asked, and
//! at the latest when the test is over.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::world::keys_file;

/// A free port of this machine's own.
const LOOPBACK: &str = "127.0.0.1:0";

pub struct Service {
    child: Mutex<Child>,
    address: SocketAddr,
    log: Receiver<String>,
    /// Lines of the log that were read.
    seen: Mutex<Vec<Value>>,
}

/// What a client learned of its call.
pub enum Heard {
    /// The status, the change that the answer names, the body.
    Answer(u16, Option<String>, String),
    /// The connection broke: it may have been done or not.
    Nothing,
}

impl Service {
    pub fn start(database: &str) -> Self {
        Self::start_under::<&str>(&[], database)
    }

    /// With more variables.
    pub fn start_with(database: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_in::<&str>(&[], LOOPBACK, database, variables)
    }

    /// On that address of a machine of the test's own, inside which the wrapper starts it.
    pub fn start_on<S: AsRef<OsStr>>(
        wrapper: &[S],
        address: SocketAddr,
        database: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let variables = [variables, &[("MAILWARD_SERVER_INSECURE_HTTP", "true")]].concat();
        Self::start_in(wrapper, &address.to_string(), database, &variables)
    }

    /// Started by another program, such as `strace …`, whose arguments end where ours begin. That
    /// program must leave us in its place.
    pub fn start_under<S: AsRef<OsStr>>(wrapper: &[S], database: &str) -> Self {
        Self::start_in(wrapper, LOOPBACK, database, &[])
    }

    fn start_in<S: AsRef<OsStr>>(
        wrapper: &[S],
        listen: &str,
        database: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let program = env!("CARGO_BIN_EXE_mailward");
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let mut child = command
            .args(["serve", "--listen", listen, "--database", database])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MAILWARD_LOG_JSON", "true")
            .env("MAILWARD_KEYS_FILE", keys_file())
            .env("MAILWARD_MAIL_LOGINS_KEY_FILE", "/nonexistent/logins.key")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self { child: Mutex::new(child), address, log, seen: Mutex::default() };
        service.address = service.wait_for_address();
        service
    }

    fn wait_for_address(&mut self) -> SocketAddr {
        let until = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            self.seen.get_mut().unwrap_or_else(PoisonError::into_inner).push(said.clone());
            if let Some(address) = said["address"].as_str().filter(|_| is_the_door(&said)) {
                return address.parse().expect("an address");
            }
            seen.push(line);
        }
        panic!("the service does not listen: {seen:#?}");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Waits for a line of the log with this message; answers one of its fields.
    pub fn said(&self, message: &str, field: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = seen.iter().find(|line| line["message"] == message && !line[field].is_null());
            if let Some(line) = found {
                return line[field].as_str().map_or_else(|| line[field].to_string(), str::to_owned);
            }
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(serde_json::from_str(&line).unwrap_or_default()),
                Err(_) => panic!("{message:?} with {field} is not in {seen:#?}"),
            }
        }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill().expect("the service lives");
        child.wait().expect("the service has ended");
    }

    /// Waits until it has ended by itself; how.
    pub fn ended(&self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            match child.try_wait().expect("a child") {
                None if Instant::now() < until => {}
                ended => return ended,
            }
            drop(child);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client with one connection, which acts with an administrator's token.
    pub fn caller(&self, zoid: i64, token: &str) -> Caller {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(1)
            .build()
            .expect("a client");
        let url = format!("http://{}/api/organization/{zoid}/accounts", self.address);
        Caller { http, url, authorization: format!("Zoho-oauthtoken {token}") }
    }
}

/// Whether a line of the log is the one that the service writes once it listens for everybody; it may
/// have opened a door for mail servers before.
pub fn is_the_door(line: &Value) -> bool {
    line["message"] == "listening" || line["fields"]["message"] == "listening"
}

pub struct Caller {
    http: reqwest::Client,
    url: String,
    authorization: String,
}

impl Caller {
    /// `PUT …/accounts`.
    pub async fn put(&self, body: &Value) -> Heard {
        let request = self.http.put(&self.url).header("authorization", &self.authorization).json(body);
        let Ok(response) = request.send().await else { return Heard::Nothing };
        let status = response.status().as_u16();
        let change = response.headers().get("x-mailward-change");
        let change = change.map(|value| value.to_str().expect("digits").to_owned());
        match response.text().await {
            Ok(text) => Heard::Answer(status, change, text),
            // The head of an answer is an answer.
            Err(_) if status == 200 => Heard::Answer(status, change, String::new()),
            Err(_) => Heard::Nothing,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
