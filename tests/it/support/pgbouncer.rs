//! A pgbouncer of one test, in front of a server that is reached through a Unix socket.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::config::Host;

use super::postgres::{as_unprivileged, give_away};

pub struct Pgbouncer {
    pub port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Pgbouncer {
    /// `mode` is pgbouncer's `pool_mode`.
    pub fn start(server: &str, mode: &str) -> Self {
        let config: tokio_postgres::Config = server.parse().expect("a URL of PostgreSQL");
        let host = match config.get_hosts() {
            [Host::Unix(folder), ..] => folder.display().to_string(),
            [Host::Tcp(name), ..] => name.clone(),
            [] => panic!("the URL of the server names no host"),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let folder = tempfile::Builder::new().prefix("mailward-pgbouncer-").tempdir().expect("a folder");
        // A free port, given back for pgbouncer to take.
        let own = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let own = own.expect("a free port").port();
        std::fs::write(folder.path().join("users"), "\"postgres\" \"\"\n").expect("a file");
        std::fs::write(
            folder.path().join("pgbouncer.ini"),
            format!(
                "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {own}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users\n\
                 pool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n",
                folder = folder.path().display(),
            ),
        )
        .expect("a file");
        give_away(folder.path());
        let child = as_unprivileged(Path::new("/usr/sbin/pgbouncer"))
            .arg(folder.path().join("pgbouncer.ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is needed: install the package pgbouncer (scripts/mail-packages)");
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", own)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "pgbouncer does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port: own, child, _folder: folder }
    }

    /// The database of that URL through this pgbouncer.
    pub fn url(&self, url: &str) -> String {
        let (_, database) = url.rsplit_once('/').expect("a URL with a database");
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
