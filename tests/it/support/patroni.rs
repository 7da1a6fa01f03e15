//! A cluster of PostgreSQL servers that Patroni keeps, with one etcd: a primary, a synchronous standby and
//! one more. Hosts are killed, frozen and brought back here; nothing of it outlives the test.
//!
//! Its methods wait, and must not be called inside a runtime.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::postgres::{self, as_unprivileged, binaries, give_away, processes};

pub struct Cluster {
    /// Where clients reach the servers.
    address: String,
    folder: PathBuf,
    etcd: Option<Child>,
    hosts: Vec<Host>,
    etcd_port: u16,
    /// A shell that ends whatever runs in the folder as soon as its standard input ends, however we end.
    keeper: Child,
}

struct Host {
    name: String,
    port: u16,
    rest: u16,
    patroni: Option<Child>,
}

const KEEPER: &str = r#"
trap '' INT
read -r _
for turn in 1 2 3; do
  for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd")" in "$FOLDER"|"$FOLDER"/*) kill -9 "${process#/proc/}" 2>/dev/null ;; esac
  done
  sleep 0.1
done
rm -rf "$FOLDER"
"#;

/// How long anything may take that a cluster does by itself.
const PATIENCE: Duration = Duration::from_secs(90);

impl Cluster {
    /// Three servers that listen on this address, ready.
    pub fn start(address: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("mailward-patroni-").tempdir().expect("a folder").keep();
        for inside in ["home", "etcd", "n1", "n2", "n3"] {
            let inside = folder.join(inside);
            std::fs::create_dir(&inside).expect("a folder");
            std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        let keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .env("FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        // All at once, so that none is given out twice.
        let free = |address: &str| TcpListener::bind((address, 0)).expect("a free port");
        let held: Vec<_> = (0..5).map(|_| free("127.0.0.1")).chain((0..3).map(|_| free(address))).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().expect("an address").port()).collect();
        drop(held);
        let hosts = (0..3).map(|place| Host {
            name: format!("n{}", place + 1),
            port: ports[5 + place],
            rest: ports[2 + place],
            patroni: None,
        });
        let mut cluster = Self {
            address: address.to_owned(),
            etcd: None,
            hosts: hosts.collect(),
            etcd_port: ports[0],
            keeper,
            folder,
        };
        cluster.write_files();
        give_away(&cluster.folder);
        cluster.start_etcd(ports[1]);
        for host in 0..cluster.hosts.len() {
            cluster.start_host(host);
        }
        cluster.wait_until_ready();
        cluster
    }

    fn write_files(&self) {
        let Self { folder, address, etcd_port, .. } = self;
        let at = folder.display();
        let post_init = folder.join("post_init.sh");
        std::fs::write(
            &post_init,
            "#!/bin/sh\nPGOPTIONS='-c synchronous_commit=local' exec psql -v ON_ERROR_STOP=1 -d \"$1\" \
             -c \"CREATE ROLE app LOGIN PASSWORD 'app'\" -c 'CREATE DATABASE app OWNER app'\n",
        )
        .expect("a file");
        std::fs::set_permissions(&post_init, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        let bin = binaries();
        for Host { name, port, rest, .. } in &self.hosts {
            // Strict: without a standby nothing is confirmed, and nothing confirmed is lost.
            let text = format!(
                r#"scope: ha
namespace: /mw/
name: {name}
watchdog: {{mode: "off"}}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
etcd3: {{hosts: "127.0.0.1:{etcd_port}"}}
bootstrap:
  dcs:
    ttl: 5
    loop_wait: 1
    retry_timeout: 2
    primary_start_timeout: 0
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {{synchronous_commit: "on", max_connections: 100, wal_keep_size: 128MB,
        wal_sender_timeout: 5s, wal_receiver_timeout: 5s, wal_receiver_status_interval: 1s}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, data-checksums]
  post_init: {at}/post_init.sh
  pg_hba: ["local all all trust", "host replication repl samenet scram-sha-256", "host all all samenet scram-sha-256"]
postgresql:
  listen: {address}:{port}
  connect_address: {address}:{port}
  data_dir: {at}/{name}/data
  bin_dir: {bin}
  basebackup: [{{checkpoint: fast}}]
  pgpass: {at}/{name}/pgpass
  authentication: {{superuser: {{username: postgres, password: su}}, replication: {{username: repl, password: repl}}, rewind: {{username: rewind, password: rewind}}}}
  parameters: {{unix_socket_directories: "{at}/{name}"}}
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
"#,
                bin = bin.display(),
            );
            std::fs::write(folder.join(format!("{name}.yml")), text).expect("a file");
        }
    }

    /// Replaces itself by the program, so that its number is the program's.
    fn command(&self, program: &str, log: &str) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(log)).expect("a log");
        let path = format!("{}:/usr/sbin:/usr/bin:/bin", binaries().display());
        let mut command = as_unprivileged(Path::new(program));
        command
            .env_clear()
            .env("HOME", self.folder.join("home"))
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .env("PYTHONUNBUFFERED", "1")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        command
    }

    fn start_etcd(&mut self, peer: u16) {
        let (at, client) = (self.folder.display(), self.etcd_port);
        let arguments = format!(
            "--name e0 --data-dir {at}/etcd --listen-client-urls http://127.0.0.1:{client} \
             --advertise-client-urls http://127.0.0.1:{client} --listen-peer-urls http://127.0.0.1:{peer} \
             --initial-advertise-peer-urls http://127.0.0.1:{peer} --initial-cluster e0=http://127.0.0.1:{peer}"
        );
        let etcd = self.command("/usr/bin/etcd", "etcd.log").args(arguments.split_whitespace()).spawn();
        self.etcd = Some(etcd.expect("etcd is needed: install the packages patroni and etcd-server"));
    }

    /// Starts Patroni on that host, which starts or joins PostgreSQL.
    pub fn start_host(&mut self, host: usize) {
        let (name, file) = (&self.hosts[host].name, format!("{}.yml", self.hosts[host].name));
        assert!(Path::new("/usr/bin/patroni").exists(), "Patroni is needed: install the package patroni");
        let child = self.command("/usr/bin/patroni", &format!("{name}.log")).arg(file).spawn();
        self.hosts[host].patroni = Some(child.expect("patroni can be started"));
    }

    /// For Mailward, with every host.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            (0..self.hosts.len()).map(|host| format!("{}:{}", self.address, self.port(host))).collect();
        Self::url_of(&hosts.join(","))
    }

    /// The same through other doors, as `127.0.0.1:1,127.0.0.1:2`.
    pub fn url_of(hosts: &str) -> String {
        format!("postgres://app:app@{hosts}/app?target_session_attrs=read-write")
    }

    pub fn port(&self, host: usize) -> u16 {
        self.hosts[host].port
    }

    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The host that leads now, once there is exactly one.
    pub fn leader(&self) -> usize {
        self.wait_for("a leader", || {
            let leaders: Vec<_> = (0..self.hosts.len()).filter(|host| self.says(*host, "/primary")).collect();
            match leaders.as_slice() {
                [leader] => Some(*leader),
                _ => None,
            }
        })
    }

    /// The host that leads instead of that one, once it takes changes: Patroni says earlier that it leads.
    pub fn successor(&self, of: usize) -> usize {
        self.wait_for("another primary", || {
            (0..self.hosts.len()).filter(|host| *host != of).find(|host| {
                let sql = "SELECT CAST(pg_is_in_recovery() AS INTEGER)::BIGINT, 0::BIGINT";
                self.says(*host, "/primary") && self.look(*host, sql).is_some_and(|told| told.0 == 0)
            })
        })
    }

    /// The standby that may take over, once there is one.
    pub fn synchronous(&self) -> usize {
        self.wait_for("a synchronous standby", || {
            (0..self.hosts.len()).find(|host| self.says(*host, "/synchronous"))
        })
    }

    /// Waits until one leads, one may take over, and every other host whose Patroni runs follows.
    pub fn wait_until_ready(&self) {
        self.wait_for("a cluster that is ready", || {
            let running = self.hosts.iter().filter(|host| host.patroni.is_some()).count();
            let leaders: Vec<_> = (0..self.hosts.len()).filter(|host| self.says(*host, "/primary")).collect();
            let [leader] = leaders.as_slice() else { return None };
            (0..self.hosts.len()).find(|host| self.says(*host, "/synchronous"))?;
            let sql = "SELECT COUNT(*) FILTER (WHERE state = 'streaming'), COUNT(*) FILTER (WHERE sync_state = 'sync')
                       FROM pg_stat_replication";
            let (following, synchronous) = self.look(*leader, sql)?;
            (following + 1 == running as i64 && synchronous >= 1).then_some(())
        })
    }

    fn wait_for<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "the cluster has not {what}:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let mut told = String::new();
        for name in ["etcd", "n1", "n2", "n3"] {
            let mut text = String::new();
            let _ = File::open(self.folder.join(format!("{name}.log")))
                .map(|mut file| file.read_to_string(&mut text));
            let lines: Vec<_> = text.lines().rev().take(15).collect();
            told.extend(lines.iter().rev().map(|line| format!("{name}: {line}\n")));
        }
        told
    }

    /// Two numbers from that host's PostgreSQL, if it answers at once.
    fn look(&self, host: usize, sql: &str) -> Option<(i64, i64)> {
        let socket = self.folder.join(&self.hosts[host].name).display().to_string().replace('/', "%2F");
        let url = format!("postgres://postgres@{socket}:{}/postgres", self.port(host));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let asked = async {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok()?;
                let task = tokio::spawn(connection);
                let row = client.query_one(sql, &[]).await.ok()?;
                drop(client);
                let _ = task.await;
                Some((row.get(0), row.get(1)))
            };
            tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
        })
    }

    fn says(&self, host: usize, path: &str) -> bool {
        ask(self.hosts[host].rest, "GET", path, "", Duration::from_secs(1))
            .is_some_and(|answer| answer.0 == 200)
    }

    /// An orderly switch-over to the synchronous standby; who leads then.
    pub fn switch_over(&self) -> usize {
        let (leader, next) = (self.leader(), self.synchronous());
        let (from, to) = (&self.hosts[leader], &self.hosts[next]);
        let body = format!(r#"{{"leader": "{}", "candidate": "{}"}}"#, from.name, to.name);
        let answer = ask(from.rest, "POST", "/switchover", &body, Duration::from_secs(60));
        assert!(answer.as_ref().is_some_and(|answer| answer.0 == 200), "{answer:?}\n{}", self.logs());
        next
    }

    /// Everything on that host ends without warning.
    pub fn kill_host(&mut self, host: usize) {
        let postgres = self.postgres_of(host);
        let patroni = self.hosts[host].patroni.take();
        for id in patroni.iter().map(Child::id).chain(postgres.iter().copied()) {
            signal(id, Signal::KILL);
        }
        if let Some(mut patroni) = patroni {
            let _ = patroni.wait();
        }
        self.wait_for("ended", || {
            let alive = processes().iter().any(|one| one.runs && postgres.contains(&one.number()));
            (!alive).then_some(())
        });
    }

    /// Patroni alone ends: nobody tells its PostgreSQL any more that another one took over.
    pub fn kill_patroni(&mut self, host: usize) {
        let mut patroni = self.hosts[host].patroni.take().expect("it runs");
        patroni.kill().expect("it runs");
        let _ = patroni.wait();
    }

    /// Nothing on that host moves any more, and its connections stay.
    pub fn freeze(&self, host: usize) {
        let patroni = self.hosts[host].patroni.iter().map(Child::id);
        for id in patroni.chain(self.postgres_of(host)) {
            signal(id, Signal::STOP);
        }
    }

    /// The postmaster and its children.
    fn postgres_of(&self, host: usize) -> Vec<u32> {
        let note = self.folder.join(&self.hosts[host].name).join("data/postmaster.pid");
        let note = std::fs::read_to_string(note).unwrap_or_default();
        let Some(first) = note.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else {
            return Vec::new();
        };
        let mut all: Vec<_> =
            processes().into_iter().filter(|one| one.id == first || one.parent == first).collect();
        // The first one first, or it would tend to its children.
        all.sort_by_key(|one| one.id != first);
        all.iter().map(postgres::Process::number).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        for child in self.hosts.iter_mut().filter_map(|host| host.patroni.as_mut()).chain(self.etcd.as_mut())
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(id: u32, what: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a number of a process");
    // One that has ended meanwhile is as good.
    let _ = kill_process(id, what);
}

/// One question to Patroni: status and text.
fn ask(port: u16, method: &str, path: &str, body: &str, patience: Duration) -> Option<(u16, String)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = Vec::new();
    // Patroni may leave the connection open.
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..size]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text))
}
