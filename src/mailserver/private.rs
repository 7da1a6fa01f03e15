//! A private Postfix and Dovecot on loopback: high ports, everything below one short directory, ended
//! by their own pids. The demonstration and the tests run them; several can run at once. Only root can.

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use secrecy::{ExposeSecret, SecretString};

use super::config::{
    self, ConfigFile, Contract, DoveadmDoor, DovecotVersion, Environment, Lab, PolicyServer, Settings, Tls,
};
use crate::error::{Error, Result};

/// Of a private pair.
const MOST_SESSIONS: u32 = 2000;
const POLL: Duration = Duration::from_millis(10);
/// Twenty seconds; half a second is usual.
const MOST_POLLS: u32 = 2000;

/// What keeps this machine from running the servers, in words for the person at the terminal.
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("Postfix and Dovecot can only be started by root: use sudo, or a container".to_owned());
    }
    let programs = [
        "/usr/sbin/postfix",
        "/usr/lib/postfix/sbin/master",
        "/usr/lib/postfix/postfix-sqlite.so",
        "/usr/sbin/dovecot",
        "/usr/lib/dovecot/imap",
        "/usr/lib/dovecot/pop3",
        "/usr/lib/dovecot/lmtp",
        "/usr/lib/dovecot/modules/libdriver_sqlite.so",
    ];
    let missing = programs.iter().find(|program| !Path::new(program).exists())?;
    Some(format!(
        "{missing} is missing. Debian has it: apt install postfix postfix-sqlite dovecot-core dovecot-imapd \
         dovecot-pop3d dovecot-lmtpd dovecot-sqlite (scripts/mail-packages does it without starting a service)"
    ))
}

/// Where the servers listen on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub smtp: u16,
    pub submission: u16,
    pub imap: u16,
    pub pop3: u16,
    pub doveadm: u16,
}

impl Ports {
    /// Five that nobody uses.
    pub fn free() -> Self {
        let [smtp, submission, imap, pop3, doveadm] = free_ports();
        Self { smtp, submission, imap, pop3, doveadm }
    }
}

/// Ports that nobody uses, below the range that the kernel takes for outgoing connections.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *next == 0 {
        // Processes begin at different places, so that two seldom meet.
        *next = 20_000 + u16::try_from(std::process::id() % 11_000).unwrap_or(0);
    }
    std::array::from_fn(|_| {
        loop {
            *next = if *next >= 31_900 { 20_000 } else { *next + 1 };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, *next)).is_ok() {
                return *next;
            }
        }
    })
}

/// Makes a new directory that the servers' users can enter and nobody but root can write.
///
/// # Errors
/// When there is one of that name, or `/tmp` cannot be written.
pub fn make_dir(name: &str) -> Result<PathBuf> {
    // Short: socket names end at 107 bytes.
    let path = Path::new("/tmp").join(name);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&path)
        .map_err(|cause| Error::caused("making a directory for the servers", cause))?;
    set_mode(&path, 0o755)?;
    Ok(path)
}

/// The contract on projection files below the servers' directory.
pub fn contract(dir: &Path, auth_group: &str, maps_group: &str) -> Contract {
    Contract::Sqlite {
        auth_file: dir.join("auth/auth.sqlite"),
        auth_group: auth_group.to_owned(),
        maps_file: dir.join("maps/maps.sqlite"),
        maps_group: maps_group.to_owned(),
    }
}

/// What a pair of servers is made from.
#[derive(Debug, Clone)]
pub struct Wish {
    pub dir: PathBuf,
    pub ports: Ports,
    /// In SMTP.
    pub hostname: String,
    pub contract: Contract,
    /// Owns the mail; its group has the same name.
    pub mail_user: String,
    pub doveadm_key: SecretString,
    pub tls: Option<Tls>,
    pub policy_server: Option<PolicyServer>,
}

/// Both servers' files.
///
/// # Errors
/// When there is no such mail user.
pub fn files(wish: &Wish) -> Result<Vec<ConfigFile>> {
    let settings = Settings {
        hostname: wish.hostname.clone(),
        postmaster: format!("postmaster@{}", wish.hostname),
        recipient_delimiter: '+',
        most_sessions: MOST_SESSIONS,
        contract: wish.contract.clone(),
        mail_root: wish.dir.join("mail"),
        vmail_user: wish.mail_user.clone(),
        vmail_uid: id_of("passwd", &wish.mail_user)?,
        doveadm: Some(DoveadmDoor {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: wish.ports.doveadm,
            tls: wish.tls.is_some(),
            key: wish.doveadm_key.clone(),
        }),
        policy_server: wish.policy_server.clone(),
        place: Environment::Lab(Lab {
            dir: wish.dir.clone(),
            smtp: wish.ports.smtp,
            submission: wish.ports.submission,
            imap: wish.ports.imap,
            pop3: wish.ports.pop3,
            tls: wish.tls.clone(),
        }),
    };
    let mut files = config::postfix(&settings);
    files.extend(config::dovecot(&settings, DovecotVersion::V2_3));
    files.push(ConfigFile {
        path: key_file(&wish.dir),
        group: None,
        mode: 0o600,
        text: format!("{}\n", wish.doveadm_key.expose_secret()),
    });
    Ok(files)
}

/// The file with doveadm's key, as Mailward reads it.
pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("doveadm.key")
}

/// The running pair; dropping it ends both at once.
#[derive(Debug)]
pub struct Servers {
    pub ports: Ports,
    dir: PathBuf,
    postfix: Option<Child>,
    dovecot: Option<Child>,
}

impl Servers {
    /// Puts the files in place and starts both servers. The accounts must be there already.
    ///
    /// # Errors
    /// Says what a server wrote to its log when it does not start; nothing runs then.
    pub fn start(dir: &Path, files: &[ConfigFile], mail_user: &str, ports: Ports) -> Result<Self> {
        make_places(dir, mail_user)?;
        files.iter().try_for_each(write)?;
        let mut servers = Self { ports, dir: dir.to_owned(), postfix: None, dovecot: None };
        servers.start_dovecot()?;
        servers.start_postfix()?;
        Ok(servers)
    }

    /// # Errors
    /// When it does not start.
    pub fn start_dovecot(&mut self) -> Result<()> {
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(self.dir.join("dovecot/dovecot.conf"));
        self.dovecot = Some(spawn(&mut command)?);
        let (Ports { imap, doveadm, .. }, socket) = (self.ports, self.dir.join("spool/private/dovecot-lmtp"));
        self.wait_for("dovecot.log", || listens(imap) && listens(doveadm) && socket.exists())
    }

    /// # Errors
    /// When it does not start.
    pub fn start_postfix(&mut self) -> Result<()> {
        // Not "postfix start-fg": its checks of every installed file take seconds.
        let conf = self.dir.join("postfix");
        let mut command = Command::new("/usr/lib/postfix/sbin/master");
        command.arg("-d").arg("-c").arg(&conf).env("MAIL_CONFIG", &conf);
        self.postfix = Some(spawn(&mut command)?);
        let Ports { submission, smtp, .. } = self.ports;
        self.wait_for("postfix.log", || listens(submission) && listens(smtp))
    }

    /// In order, as an administrator would.
    pub fn stop_dovecot(&mut self) {
        stop(&self.dir.join("run/dovecot/master.pid"), self.dovecot.take());
    }

    /// In order, as an administrator would.
    pub fn stop_postfix(&mut self) {
        stop(&self.dir.join("spool/pid/master.pid"), self.postfix.take());
    }

    /// `postfix reload`.
    ///
    /// # Errors
    /// What Postfix says.
    pub fn reload_postfix(&self) -> Result<()> {
        run(Command::new("/usr/sbin/postfix").arg("-c").arg(self.dir.join("postfix")).arg("reload"))
    }

    /// Everything a server wrote to its log, `postfix.log` or `dovecot.log`.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("log").join(name)).unwrap_or_default()
    }

    fn wait_for(&self, log: &str, ready: impl Fn() -> bool) -> Result<()> {
        for _ in 0..MOST_POLLS {
            if ready() {
                return Ok(());
            }
            sleep(POLL);
        }
        Err(Error::internal(format_args!("a mail server did not start: {}", self.log(log))))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Nothing of them is needed any more, and Dovecot takes a second or two for a polite end.
        for mut child in [self.postfix.take(), self.dovecot.take()].into_iter().flatten() {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _may_be_gone = kill_process_group(group, Signal::KILL);
            }
            let _reaped = child.wait();
        }
    }
}

/// In a group of its own: Ctrl-C at the terminal is not for it, and it signals its group when it ends.
fn spawn(command: &mut Command) -> Result<Child> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().map_err(failed(command.get_program().display()))
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.stdin(Stdio::null()).output().map_err(failed(command.get_program().display()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(Error::internal(String::from_utf8_lossy(&done.stderr).trim()))
}

fn failed(what: impl Display) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.to_string();
    move |cause| Error::internal(format_args!("{what}: {cause}"))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed(path.display()))
}

fn make_places(dir: &Path, mail_user: &str) -> Result<()> {
    let (postfix, mail) = (id_of("passwd", "postfix")?, id_of("passwd", mail_user)?);
    let postdrop = id_of("group", "postdrop")?;
    let make = |path: PathBuf, owner, group, mode| {
        fs::create_dir_all(&path)
            .and_then(|()| chown(&path, Some(owner), group))
            .map_err(failed(path.display()))?;
        set_mode(&path, mode)
    };
    for name in ["postfix", "dovecot", "spool", "log", "run"] {
        make(dir.join(name), 0, Some(0), 0o755)?;
    }
    make(dir.join("data"), postfix, Some(postfix), 0o700)?;
    make(dir.join("mail"), mail, Some(mail), 0o700)?;
    // As "postfix check" makes the queue, in which Dovecot's sockets for Postfix live, too.
    let private = "active bounce corrupt defer deferred flush hold incoming private saved trace";
    let private = private.split(' ').map(|name| (name, postfix, None, 0o700));
    let shared = [("public", postfix, Some(postdrop), 0o2710), ("maildrop", postfix, Some(postdrop), 0o1730)];
    for (name, owner, group, mode) in private.chain(shared).chain([("pid", 0, None, 0o755)]) {
        make(dir.join("spool").join(name), owner, group, mode)?;
    }
    // Without these there is no "sqlite:" and no "pgsql:".
    for name in ["dynamicmaps.cf", "postfix-files"] {
        let from = Path::new("/etc/postfix").join(name);
        fs::copy(&from, dir.join("postfix").join(name)).map_err(failed(from.display()))?;
    }
    Ok(())
}

/// Puts one file in place with its mode and group.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &ConfigFile) -> Result<()> {
    let put = || {
        let mut out = File::create(&file.path)?;
        // Before there is anything to read in it.
        out.set_permissions(Permissions::from_mode(file.mode))?;
        out.write_all(file.text.as_bytes())?;
        // Postfix waits until a file it reads is more than a second old.
        out.set_modified(UNIX_EPOCH + Duration::from_secs(1_600_000_000))
    };
    put().map_err(failed(file.path.display()))?;
    let group = file.group.map(|group| id_of("group", group)).transpose()?;
    chown(&file.path, None, group).map_err(failed(file.path.display()))
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn stop(pid_file: &Path, child: Option<Child>) {
    let Some(mut child) = child else { return };
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        let _may_be_gone = kill_process(pid, Signal::TERM);
    }
    for polls in 0.. {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            break;
        }
        if polls == MOST_POLLS / 2 {
            let _last_resort = child.kill();
        }
        sleep(POLL);
    }
    // The master's own children end a moment after it; the directory has to outlive them.
    let gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
    for _ in 0..MOST_POLLS / 2 {
        if pid.is_none_or(gone) {
            return;
        }
        sleep(POLL);
    }
}

/// The number that a name has on this machine, in `passwd` or `group`.
///
/// # Errors
/// When there is no such name.
pub fn id_of(database: &str, name: &str) -> Result<u32> {
    let out = Command::new("getent").args([database, name]).output().map_err(failed("getent"))?;
    let line = String::from_utf8_lossy(&out.stdout);
    let id = line.trim().split(':').nth(2).and_then(|id| id.parse().ok());
    id.ok_or_else(|| Error::NotFound(format!("there is no {database} entry {name} on this machine")))
}
