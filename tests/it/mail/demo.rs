//! `mailward demo --mail`: it starts, its servers answer, and nothing of it is left when it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::clients::{Imap, Smtp};

struct Demo {
    child: Child,
    details: Value,
}

impl Demo {
    fn start() -> Self {
        super::lab::prepare_machine();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailward"))
            .args(["demo", "--mail", "--json", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demonstration starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("an answer");
        let details = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        Self { child, details }
    }

    /// Asks it to end, and waits until it has.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
        self.child.wait().expect("it ends").code()
    }

    fn port(&self, protocol: &str) -> u16 {
        let address = self.details["mail"][protocol].as_str().expect("an address");
        address.strip_prefix("127.0.0.1:").and_then(|port| port.parse().ok()).expect("a port on loopback")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that failed: killed outright it would leave its servers behind.
        if let Ok(None) = self.child.try_wait() {
            self.end(Signal::TERM);
        }
    }
}

/// The command lines of all processes that name a directory of private servers, and those directories.
fn traces() -> (Vec<String>, Vec<String>) {
    let commands = fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        line.contains("/tmp/mw-").then(|| line.replace('\0', " "))
    });
    let folders = fs::read_dir("/tmp").expect("tmp").flatten().map(|entry| entry.file_name());
    let folders = folders.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("mw-"));
    (commands.collect(), folders.collect())
}

/// The directory of this demonstration's servers: the one that its Dovecot was started with.
fn folder(demo: &Demo) -> String {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", demo.child.id()));
    let threads = fs::read_dir(format!("/proc/{}/task", demo.child.id())).expect("threads").flatten();
    let all = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<String> = children
        .into_iter()
        .chain(all)
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let lines = pids.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok());
    let found = lines.filter_map(|line| {
        let start = line.find("/tmp/mw-")?;
        line[start + "/tmp/".len()..].split('/').next().map(str::to_owned)
    });
    found.into_iter().next().expect("the demonstration runs a Dovecot")
}

#[test]
fn it_serves_mail_and_leaves_nothing_behind_whichever_signal_ends_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut demo = Demo::start();
        let member = &demo.details["member"];
        let (email, password) =
            (member["email"].as_str().expect("text"), member["password"].as_str().expect("text"));
        let answer = Smtp::connect(demo.port("smtp")).send("ann@elsewhere.test", email, "hello");
        assert!(answer.starts_with("250 2.0.0"), "{answer}");
        let mut imap = Imap::open(demo.port("imap"), email, password);
        imap.idle();
        Smtp::open(demo.port("submission"), email, password);
        assert!(std::net::TcpStream::connect(("127.0.0.1", demo.port("pop3"))).is_ok());
        let folder = folder(&demo);

        let log = fs::read_to_string(format!("/tmp/{folder}/log/dovecot.log")).expect("a log");
        assert!(!log.contains("reloading"), "who logs in during a reload may be refused: {log}");

        assert_eq!(demo.end(signal), Some(0));
        let (commands, folders) = traces();
        let left: Vec<_> = commands.iter().filter(|line| line.contains(&folder)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!folders.contains(&folder));
        assert!(std::net::TcpStream::connect(("127.0.0.1", demo.port("imap"))).is_err());
    }
}

#[test]
fn who_is_not_root_is_told_so_and_nothing_is_started() {
    let place = tempfile::tempdir().expect("a folder");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    // The build's own folder may be closed to others.
    let program = place.path().join("mailward");
    fs::copy(env!("CARGO_BIN_EXE_mailward"), &program).expect("copies");
    let out = Command::new(&program)
        .args(["demo", "--mail", "--json", "--listen", "127.0.0.1:0"])
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()
        .expect("the program starts");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{told}");
    assert!(told.contains("root") && told.lines().count() == 1 && out.stdout.is_empty(), "{told}");
}
