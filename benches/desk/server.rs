//! Servers as processes of their own: the release binary of Mailward, and the bare servers that
//! it is held against, which are this bench started again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{Call, Connection};

/// The unit of processor time in /proc, whatever the kernel's own is. Source: `man 5 proc`, USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// A first start makes the look-up files: for ten million accounts that takes minutes.
const FIRST_START: Duration = Duration::from_secs(1800);

/// A running server; it is ended when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to the first answer that it is ready.
    pub ready_after: Duration,
}

/// What a Mailward is started with.
#[derive(Clone)]
pub struct Setting {
    pub binary: PathBuf,
    /// Where its configuration and its log go.
    pub folder: PathBuf,
    pub database: String,
    /// Whether it keeps the mail servers' look-up files.
    pub projection: bool,
    /// Whether those belong to the groups of Debian's Dovecot and Postfix.
    pub groups: bool,
}

/// Starts Mailward and waits until it is ready.
pub async fn mailward(setting: &Setting) -> Result<Server> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let folder = &setting.folder;
    let [auth, maps] = if setting.groups { ["dovecot", "postfix"] } else { ["", ""] };
    let mut config = format!(
        "[server]\nlisten = \"{address}\"\n[database]\nurl = \"{}\"\n[mail]\nauth_group = \"{auth}\"\nmaps_group = \"{maps}\"\n",
        setting.database
    );
    if setting.projection {
        let [auth, maps] = ["auth", "maps"].map(|name| folder.join(name).display().to_string());
        config += &format!("auth_dir = \"{auth}\"\nmaps_dir = \"{maps}\"\n");
    }
    let file = folder.join("mailward.toml");
    std::fs::write(&file, config)?;
    let log = File::create(folder.join("mailward.log"))?;
    let mut command = Command::new(&setting.binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAILWARD_") {
            command.env_remove(name);
        }
    }
    command.arg("--config").arg(&file).arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {}", setting.binary.display()))?;
    let mut server = Server { child, address, ready_after: Duration::ZERO };
    loop {
        let ready =
            async { Connection::open(address, "").await?.call(Call::get("/health/ready".to_owned())).await };
        if ready.await.is_ok() {
            server.ready_after = start.elapsed();
            return Ok(server);
        }
        if let Some(status) = server.child.try_wait()? {
            bail!(
                "the server ended with {status}: {}",
                std::fs::read_to_string(folder.join("mailward.log"))?
            );
        }
        ensure!(start.elapsed() < FIRST_START, "the server was not ready in {FIRST_START:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Starts this bench again as a bare server; it says its address in its first line.
pub fn bare(arguments: &[&str]) -> Result<Server> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    let mut line = String::new();
    let output = child.stdout.take().context("a pipe was asked for")?;
    BufReader::new(output).read_line(&mut line)?;
    let address = line.trim().parse().with_context(|| format!("the bare server said {line:?}"))?;
    Ok(Server { child, address, ready_after: start.elapsed() })
}

/// Starts a server that needs no more than to listen there.
pub async fn listening(mut command: Command, address: SocketAddr, patience: Duration) -> Result<Server> {
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
    let mut server = Server { child, address, ready_after: Duration::ZERO };
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if let Some(status) = server.child.try_wait()? {
            bail!("{:?} ended with {status}", command.get_program());
        }
        ensure!(start.elapsed() < patience, "{:?} does not listen", command.get_program());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.ready_after = start.elapsed();
    Ok(server)
}

impl Server {
    /// Asks the server to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
            self.child.wait()?;
        }
        Ok(())
    }

    fn of_process(&self, file: &str) -> Result<String> {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Processor time that the process has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = self.of_process("stat")?;
        // The name of the program, in parentheses, may hold spaces.
        let (_, fields) = text.rsplit_once(") ").context("/proc/PID/stat has another form")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = [11, 12].map(|place| fields.get(place).and_then(|field| field.parse::<f64>().ok()));
        let [Some(user), Some(system)] = ticks else { bail!("/proc/PID/stat has another form") };
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// `VmRSS` (resident now) or `VmHWM` (most so far), in MiB.
    pub fn resident_mib(&self, name: &str) -> Result<f64> {
        let text = self.of_process("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("/proc/PID/status has no {name}"))? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.end().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
