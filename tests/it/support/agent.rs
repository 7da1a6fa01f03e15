//! The program as the agent of a mail host, in a folder of its own; killed at the latest when the test is over.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::mail::agents;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

/// Whatever an agent does by itself is done by then, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(30);

/// What an agent is started with.
#[derive(Clone)]
pub struct Host {
    pub name: String,
    pub folder: PathBuf,
    pub key: PathBuf,
    pub doveadm_url: String,
    pub doveadm_key: PathBuf,
    /// The groups of both files; none when empty.
    pub groups: [&'static str; 2],
}

impl Host {
    /// Makes an agent known and puts its key where it belongs. No Dovecot is beside it.
    pub async fn new(app: &App, folder: &Path, name: &str, domains: &[&str]) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
        let (_, key) =
            agents::add(app, &crate::support::world::operator(), name, &domains).await.expect("a new agent");
        let host = Self {
            name: name.to_owned(),
            key: folder.join("agent.key"),
            doveadm_url: "http://127.0.0.1:9".to_owned(),
            doveadm_key: folder.join("doveadm-of-agent.key"),
            groups: ["", ""],
            folder,
        };
        private(&host.key, key.expose());
        private(&host.doveadm_key, "a key for nobody");
        host
    }

    pub fn start(&self, nodes: &[SocketAddr]) -> Agent {
        let nodes: Vec<String> = nodes.iter().map(|node| format!("http://{node}")).collect();
        self.start_with(&[("MAILWARD_MAIL_AGENT_NODES", &nodes.join(","))])
    }

    /// With these variables, which say where the nodes are.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Agent {
        self.run(Command::new(env!("CARGO_BIN_EXE_mailward")), variables)
    }

    /// On a machine of the test's own, inside which the wrapper starts it.
    pub fn start_on(&self, wrapper: &[String], variables: &[(&str, &str)]) -> Agent {
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_mailward"));
        self.run(command, variables)
    }

    fn run(&self, mut command: Command, variables: &[(&str, &str)]) -> Agent {
        let mut child = command
            .args(["mail-agent", "run"])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MAILWARD_LOG_JSON", "true")
            .env("MAILWARD_MAIL_AGENT_NAME", &self.name)
            .env("MAILWARD_MAIL_AGENT_KEY_FILE", &self.key)
            .env("MAILWARD_MAIL_AGENT_DOVEADM_URL", &self.doveadm_url)
            .env("MAILWARD_MAIL_AGENT_DOVEADM_KEY_FILE", &self.doveadm_key)
            .env("MAILWARD_MAIL_AUTH_DIR", self.folder.join("auth"))
            .env("MAILWARD_MAIL_MAPS_DIR", self.folder.join("maps"))
            .env("MAILWARD_MAIL_AUTH_GROUP", self.groups[0])
            .env("MAILWARD_MAIL_MAPS_GROUP", self.groups[1])
            .env("MAILWARD_DATABASE_URL", "sqlite:/nonexistent/mailward.sqlite")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let writing = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| lock(&writing).push(line));
        });
        Agent { child, log }
    }

    /// One of its files, as a mail server opens it; `None` while it is not there.
    pub fn file(&self, name: &str) -> Option<Connection> {
        let path = self.folder.join(name).join(format!("{name}.sqlite"));
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
        connection.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        Some(connection)
    }

    /// The single values of a question to one of its files, in order; none while there is no such table.
    pub fn ask(&self, name: &str, sql: &str) -> Vec<String> {
        let all = || {
            let connection = self.file(name)?;
            let mut statement = connection.prepare(sql).ok()?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).ok()?;
            rows.collect::<Result<Vec<_>, _>>().ok()
        };
        all().unwrap_or_default()
    }

    /// The addresses that log in there.
    pub fn logins(&self) -> Vec<String> {
        self.ask("auth", "SELECT login FROM mp_login ORDER BY login")
    }
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, format!("{text}\n")).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Agent {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// How many lines of its log have this in them.
    pub fn said(&self, text: &str) -> usize {
        lock(&self.log).iter().filter(|line| line.contains(text)).count()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn says(&self, text: &str) {
        self.says_within(SOON, text);
    }

    #[track_caller]
    pub fn says_within(&self, patience: Duration, text: &str) {
        let start = Instant::now();
        while self.said(text) == 0 {
            assert!(start.elapsed() < patience, "{text:?} is not in {:#?}", lock(&self.log));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it has ended");
    }

    /// As an administrator stops it.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it lives");
        self.child.wait().expect("it has ended")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _may_be_dead = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- end of the agent's log");
            lock(&self.log).iter().rev().take(25).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Waits until it is so.
#[track_caller]
pub fn until<T: PartialEq + std::fmt::Debug>(wanted: T, mut look: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let seen = look();
        if seen == wanted {
            return;
        }
        assert!(start.elapsed() < SOON, "wanted {wanted:?}, saw {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
