//! One PostgreSQL server for the whole run, and a fresh copy of a migrated database per test.
//!
//! `MAILWARD_TEST_POSTGRES` names a server (the URL of a superuser); without it one is started
//! here. It keeps its promises (fsync on), because some tests are about them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mailward::store::engine::{Db, Options, Step, migrate};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use tokio_postgres::NoTls;

/// A database of one test, dropped with it.
pub struct Database {
    name: String,
    server: String,
    pub url: String,
}

/// A new database with these migrations, copied from a template that is made once.
pub fn fresh(steps: &[Step]) -> Database {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let template = template(steps);
    let name = format!("test_{}_{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
    run(server(), &format!("CREATE DATABASE {name} TEMPLATE {template}"));
    Database { url: url_of(&name), name, server: server().to_owned() }
}

/// A new, empty database on another server.
pub fn empty_on(server: &Server, name: &str) -> Database {
    run(&server.url, &format!("CREATE DATABASE {name}"));
    let url = format!("{}/{name}", server.url.trim_end_matches("/postgres"));
    Database { url, name: name.to_owned(), server: server.url.clone() }
}

impl Drop for Database {
    fn drop(&mut self) {
        run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// The URL of a database on the test server.
pub fn url_of(database: &str) -> String {
    let server = server();
    let (start, options) = server.split_once('?').unwrap_or((server, ""));
    let (start, _) = start.rsplit_once('/').expect("the URL of the test server names a database");
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{start}/{database}{mark}{options}")
}

/// The template that holds these steps; several processes may ask at once.
fn template(steps: &[Step]) -> String {
    static MADE: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut hash = Sha256::new();
    for step in steps {
        hash.update(format!("{} {} {}\n", step.number, step.name, step.checksum()));
    }
    let name = format!("template_{}", &hex::encode(hash.finalize())[..16]);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.get_or_insert_default().insert(name.clone()) {
        let steps = steps.to_vec();
        let template = name.clone();
        block_on(async move {
            let client = connect(server()).await;
            client.batch_execute("SELECT pg_advisory_lock(5575294285)").await.expect("the lock");
            let known = client
                .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&template])
                .await
                .expect("the list of databases");
            if known.is_none() {
                let building = format!("{template}_building");
                let statement = |text: String| {
                    let client = &client;
                    async move { client.batch_execute(&text).await.expect("a statement of the administrator") }
                };
                statement(format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await;
                statement(format!("CREATE DATABASE {building}")).await;
                let db = Db::open(&url_of(&building), &Options::default()).expect("the URL is good");
                migrate(&db, &steps, 0).await.expect("the migrations run on PostgreSQL");
                db.close().await;
                // Closing a connection takes the server a moment.
                statement(format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{building}'"
                ))
                .await;
                statement(format!("ALTER DATABASE {building} RENAME TO {template}")).await;
            }
        });
    }
    name
}

/// Runs statements of an administrator on the database that the URL names.
pub fn run(url: &str, statements: &str) {
    block_on(async {
        let client = connect(url).await;
        client.batch_execute(statements).await.expect("a statement of the administrator");
    });
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the test server accepts connections");
    tokio::spawn(connection);
    client
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work);
}

// The server -------------------------------------------------------------------------------

/// The URL of the test server's administrator.
pub fn server() -> &'static str {
    static SERVER: OnceLock<(String, Option<Server>)> = OnceLock::new();
    let (url, _) = SERVER.get_or_init(|| match std::env::var("MAILWARD_TEST_POSTGRES") {
        Ok(url) => (url, None),
        Err(_) => {
            let server = Server::start(5432, |_| Vec::new());
            (server.url.clone(), Some(server))
        }
    });
    url
}

/// Where the tests' certificate and its key are, for 127.0.0.1 and localhost.
pub fn tls_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls"))
}

/// The settings of a server that speaks TLS; puts its certificate and key into the folder.
pub fn with_tls(folder: &Path) -> Vec<String> {
    for (name, mode) in [("server.crt", 0o644), ("server.key", 0o600)] {
        std::fs::copy(tls_folder().join(name), folder.join(name)).expect("copies");
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(mode)).expect("permits");
    }
    vec![
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}/server.crt", folder.display()),
        format!("ssl_key_file={}/server.key", folder.display()),
    ]
}

/// A server of our own, stopped at the end of the program at the latest.
pub struct Server {
    /// The administrator's URL, through a Unix socket.
    pub url: String,
    pub folder: PathBuf,
    port: u16,
    /// A shell that starts the server for every line it is sent, and stops it as soon as its
    /// standard input ends, however we end.
    keeper: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

const KEEPER: &str = r#"
trap '' INT
postgres=
while read -r _; do
  [ -z "$postgres" ] || wait "$postgres"
  "$@" >>"$FOLDER/log" 2>&1 &
  postgres=$!
done
kill -INT "$postgres"
wait "$postgres"
rm -rf "$FOLDER"
"#;

impl Server {
    /// Starts a server. `prepare` may put files into its folder and returns more settings.
    ///
    /// On the socket everybody is trusted; over TCP (if a setting asks for it) a password is wanted.
    pub fn start(port: u16, prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        Self::start_under(|_| Vec::new(), port, prepare)
    }

    /// Started by another program, which knows the folder and must leave the server in its place.
    pub fn start_under(
        wrapper: impl FnOnce(&Path) -> Vec<String>,
        port: u16,
        prepare: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let binaries = binaries();
        let folder =
            tempfile::Builder::new().prefix("mailward-postgres-").tempdir().expect("a folder").keep();
        let mut settings =
            vec!["listen_addresses=".to_owned(), "max_connections=300".to_owned(), format!("port={port}")];
        settings.extend(prepare(&folder));
        let account = unprivileged();
        give_away(&folder);
        let data = folder.join("data");

        let mut initdb = as_account(account, &binaries.join("initdb"));
        initdb.args([
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
        ]);
        let made = initdb.arg(&data).current_dir(&folder).output().expect("initdb can be started");
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));

        let program = binaries.join("postgres");
        let wrapper = wrapper(&folder);
        let postgres = match wrapper.as_slice() {
            [] => as_account(account, &program),
            [first, rest @ ..] => {
                let mut command = as_account(account, Path::new(first));
                command.args(rest).arg(&program);
                command
            }
        };
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(postgres.get_program()).args(postgres.get_args());
        keeper.arg("-D").arg(&data).arg("-k").arg(&folder);
        keeper.args(settings.iter().flat_map(|setting| ["-c", setting]));
        keeper.env("FOLDER", &folder).current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.spawn().expect("sh can be started");

        let socket = folder.display().to_string().replace('/', "%2F");
        let url = format!("postgres://postgres@{socket}:{port}/postgres");
        let mut server = Self { url, folder, port, keeper };
        server.go();
        server
    }

    /// Starts the server on what it left, and waits until it answers.
    pub fn go(&mut self) {
        let keeper = self.keeper.stdin.as_mut().expect("a pipe");
        writeln!(keeper, "go").expect("the keeper listens");
        wait_until_ready(&binaries(), &self.folder, self.port);
    }

    /// Kills every process of the server without warning, and starts it on what they left.
    pub fn crash(&mut self) {
        self.kill();
        self.go();
    }

    /// Kills every process of the server without warning.
    pub fn kill(&mut self) {
        let note =
            std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a running server");
        let first: i32 = note.lines().next().and_then(|line| line.parse().ok()).expect("a number");
        let children: Vec<i32> = processes()
            .into_iter()
            .filter(|process| process.parent == first)
            .map(|process| process.id)
            .collect();
        // The first one first, or it would tend to its children.
        for id in [first].into_iter().chain(children.iter().copied()) {
            let id = Pid::from_raw(id).expect("no process has the number 0");
            // One that has ended meanwhile is as good.
            let _ = kill_process(id, Signal::KILL);
        }
        let start = Instant::now();
        while processes()
            .iter()
            .any(|process| process.runs && (process.id == first || children.contains(&process.id)))
        {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not die");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub struct Process {
    pub id: i32,
    pub parent: i32,
    pub runs: bool,
}

impl Process {
    pub fn number(&self) -> u32 {
        u32::try_from(self.id).expect("no process has a negative number")
    }
}

/// What runs on this machine.
pub fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").expect("a list of processes");
    entries.flatten().filter_map(|entry| process(&entry.path())).collect()
}

/// `1234 (name) S 1 …` (proc_pid_stat(5)); `None` for what is no process, or none any more.
fn process(folder: &Path) -> Option<Process> {
    let text = std::fs::read_to_string(folder.join("stat")).ok()?;
    let id = text.split(' ').next()?.parse().ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let runs = !matches!(fields.next()?, "Z" | "X");
    Some(Process { id, parent: fields.next()?.parse().ok()?, runs })
}

fn wait_until_ready(binaries: &Path, folder: &Path, port: u16) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let asked = Command::new(binaries.join("pg_isready"))
            .arg("-q")
            .arg("-h")
            .arg(folder)
            .args(["-p", &port.to_string()])
            .status();
        if asked.is_ok_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut log = String::new();
    let _ = std::fs::File::open(folder.join("log")).map(|mut file| file.read_to_string(&mut log));
    panic!("PostgreSQL did not start:\n{log}");
}

/// Where `initdb` and `postgres` are; Debian keeps them out of the path.
pub fn binaries() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output();
    let mut candidates: Vec<PathBuf> =
        told.map(|told| PathBuf::from(String::from_utf8_lossy(&told.stdout).trim())).into_iter().collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        candidates.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    candidates
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect("PostgreSQL's initdb and postgres are needed: install the package postgresql")
}

/// PostgreSQL refuses to run as root: another account with its ids, or `None` if we are not root.
fn unprivileged() -> Option<(&'static str, u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let told = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8_lossy(&told.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let account = ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some((name, id(&["-u", name])?, id(&["-g", name])?)));
    Some(account.expect("an account postgres or nobody exists"))
}

/// Gives a folder and what is in it to the account that servers run as.
pub fn give_away(folder: &Path) {
    if let Some((_, uid, gid)) = unprivileged() {
        let inside = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
        for path in inside.chain([folder.to_owned()]) {
            chown(path, Some(uid), Some(gid)).expect("root may give files away");
        }
    }
}

/// A command that runs as that account.
pub fn as_unprivileged(program: &Path) -> Command {
    as_account(unprivileged(), program)
}

fn as_account(account: Option<(&str, u32, u32)>, program: &Path) -> Command {
    let Some((_, uid, gid)) = account else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()])
        .arg(program);
    command
}
