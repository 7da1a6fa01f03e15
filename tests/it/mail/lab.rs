//! A private Postfix and Dovecot on loopback: high random ports, everything below one short
//! directory, stopped by their own pids. Several can run at once.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use mailward::mailserver::config::{
    self, ConfigFile, Contract, DoveadmDoor, DovecotVersion, Place, PolicyServer, Settings, Tls,
};
use mailward::mailserver::doveadm::{Doveadm, DoveadmConfig};

const KEY: &str = "lab-doveadm-key";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A directory that the mail users can reach, removed at the end.
pub struct LabDir {
    pub path: PathBuf,
}

impl LabDir {
    /// Makes users and groups where they are missing, and the directory.
    pub fn new() -> Self {
        prepare_machine();
        let dir = tempfile::Builder::new()
            .prefix("mw-")
            .rand_bytes(5)
            .tempdir_in("/tmp")
            .expect("a directory in /tmp");
        let path = dir.keep();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("sets the mode");
        Self { path }
    }

    /// The contract on projection files below this directory.
    pub fn sqlite(&self) -> Contract {
        Contract::Sqlite {
            auth_file: self.path.join("auth/auth.sqlite"),
            auth_group: "mwauth".into(),
            maps_file: self.path.join("maps/maps.sqlite"),
            maps_group: "mwmaps".into(),
        }
    }
}

impl Drop for LabDir {
    fn drop(&mut self) {
        if std::env::var_os("MAILWARD_KEEP_LAB").is_none() {
            let _another_run_cleans_up = fs::remove_dir_all(&self.path);
        }
    }
}

/// What can differ between labs.
#[derive(Default)]
pub struct Wishes {
    pub tls: Option<Tls>,
    pub policy_server: Option<PolicyServer>,
}

/// The running pair.
pub struct Lab {
    pub smtp: u16,
    pub submission: u16,
    pub imap: u16,
    pub pop3: u16,
    pub doveadm: u16,
    pub dir: PathBuf,
    tls: bool,
    postfix: Option<Child>,
    dovecot: Option<Child>,
}

impl Lab {
    /// Starts both servers on accounts that are already there (in the files or the database).
    pub fn start(dir: &LabDir, contract: Contract, wishes: Wishes) -> Self {
        Self::start_at(free_ports(), dir, contract, wishes)
    }

    /// On ports that were chosen before: SMTP, submission, IMAP, POP3, doveadm.
    pub fn start_at(ports: [u16; 5], dir: &LabDir, contract: Contract, wishes: Wishes) -> Self {
        let [smtp, submission, imap, pop3, doveadm] = ports;
        let tls = wishes.tls.is_some();
        let settings = Settings {
            hostname: "mx.example.test".into(),
            postmaster: "postmaster@example.test".into(),
            contract,
            mail_root: dir.path.join("mail"),
            vmail_user: "vmail".into(),
            vmail_uid: id_of("passwd", "vmail"),
            doveadm: Some(DoveadmDoor {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: doveadm,
                tls,
                key: KEY.into(),
            }),
            policy_server: wishes.policy_server,
            place: Place::Lab(config::Lab {
                dir: dir.path.clone(),
                smtp,
                submission,
                imap,
                pop3,
                tls: wishes.tls,
            }),
        };
        let mut files = config::postfix(&settings);
        files.extend(config::dovecot(&settings, DovecotVersion::V2_3));
        Self::start_files(dir, &files, [smtp, submission, imap, pop3, doveadm], tls)
    }

    /// Starts both servers with these files, whose ports are for SMTP, submission, IMAP, POP3 and doveadm.
    pub fn start_files(dir: &LabDir, files: &[ConfigFile], ports: [u16; 5], tls: bool) -> Self {
        let [smtp, submission, imap, pop3, doveadm] = ports;
        write_files(&dir.path, files);
        let dir = dir.path.clone();
        let mut lab = Self { smtp, submission, imap, pop3, doveadm, dir, tls, postfix: None, dovecot: None };
        lab.start_dovecot();
        lab.start_postfix();
        lab
    }

    pub fn start_dovecot(&mut self) {
        let conf = self.dir.join("dovecot/dovecot.conf");
        let mut command = Command::new("dovecot");
        let child = command.arg("-F").arg("-c").arg(conf).process_group(0).stdin(Stdio::null()).spawn();
        self.dovecot = Some(child.expect("dovecot can be run"));
        let socket = self.dir.join("spool/private/dovecot-lmtp");
        self.wait_for("dovecot.log", || listens(self.imap) && listens(self.doveadm) && socket.exists());
    }

    pub fn start_postfix(&mut self) {
        // Not "postfix start-fg": its checks of every installed file take seconds.
        let conf = self.dir.join("postfix");
        let child = Command::new("/usr/lib/postfix/sbin/master")
            .arg("-d")
            .arg("-c")
            .arg(&conf)
            .env("MAIL_CONFIG", &conf)
            // It signals its process group when it ends.
            .process_group(0)
            .stdin(Stdio::null())
            .spawn();
        self.postfix = Some(child.expect("postfix can be run"));
        self.wait_for("postfix.log", || listens(self.submission) && listens(self.smtp));
    }

    pub fn stop_dovecot(&mut self) {
        let pid = self.dir.join("run/dovecot/master.pid");
        stop(&pid, self.dovecot.take());
    }

    pub fn stop_postfix(&mut self) {
        let pid = self.dir.join("spool/pid/master.pid");
        stop(&pid, self.postfix.take());
    }

    /// `postfix reload`, as an administrator would do.
    pub fn reload_postfix(&self) {
        let done = self.postfix_command("reload").output().expect("postfix can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A client of this Dovecot's doveadm door.
    pub fn doveadm(&self) -> Doveadm {
        Doveadm::new(&self.doveadm_config()).expect("a good configuration")
    }

    pub fn doveadm_config(&self) -> DoveadmConfig {
        DoveadmConfig {
            name: "lab".into(),
            url: format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.doveadm),
            key_file: self.dir.join("doveadm.key"),
            certificate_sha256: None,
            ca_file: None,
        }
    }

    /// Everything a server wrote to its log.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("log").join(name)).unwrap_or_default()
    }

    fn postfix_command(&self, verb: &str) -> Command {
        let mut command = Command::new("postfix");
        command
            .arg("-c")
            .arg(self.dir.join("postfix"))
            .arg(verb)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn wait_for(&self, log: &str, ready: impl Fn() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < READY_WITHIN, "the server did not start: {}", self.log(log));
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing of them is needed any more, and Dovecot takes a second or two for a polite end.
        for mut child in [self.postfix.take(), self.dovecot.take()].into_iter().flatten() {
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(group) = group {
                let _may_be_gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _reaped = child.wait();
        }
        if std::thread::panicking() {
            for log in ["postfix.log", "dovecot.log"] {
                let text = self.log(log);
                let lines: Vec<_> = text.lines().rev().take(25).collect();
                eprintln!("--- end of {log}");
                lines.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

fn write_files(dir: &Path, files: &[ConfigFile]) {
    let postfix = id_of("passwd", "postfix");
    let vmail = id_of("passwd", "vmail");
    for (name, owner, mode) in [
        ("postfix", 0, 0o755),
        ("dovecot", 0, 0o755),
        ("spool", 0, 0o755),
        ("log", 0, 0o755),
        ("run", 0, 0o755),
        ("data", postfix, 0o700),
        ("mail", vmail, 0o700),
    ] {
        let path = dir.join(name);
        fs::create_dir_all(&path).expect("makes a directory");
        chown(&path, Some(owner), Some(owner)).expect("gives it to its owner");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("sets the mode");
    }
    // As "postfix check" makes the queue, in which Dovecot's sockets for Postfix live, too.
    let postdrop = id_of("group", "postdrop");
    let private = "active bounce corrupt defer deferred flush hold incoming private saved trace";
    let private = private.split(' ').map(|name| (name, postfix, None, 0o700));
    let shared = [("public", postfix, Some(postdrop), 0o2710), ("maildrop", postfix, Some(postdrop), 0o1730)];
    for (name, owner, group, mode) in private.chain(shared).chain([("pid", 0, None, 0o755)]) {
        let path = dir.join("spool").join(name);
        fs::create_dir_all(&path).expect("makes a directory");
        chown(&path, Some(owner), group).expect("gives it to its owner");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("sets the mode");
    }
    // Without these there is no "sqlite:" and no "pgsql:".
    for name in ["dynamicmaps.cf", "postfix-files"] {
        let from = Path::new("/etc/postfix").join(name);
        fs::copy(&from, dir.join("postfix").join(name)).expect("Debian's postfix package has it");
    }
    files.iter().for_each(write);
    write(&ConfigFile { path: dir.join("doveadm.key"), group: None, mode: 0o600, text: format!("{KEY}\n") });
}

/// As the administrator would put it in place.
pub fn write(file: &ConfigFile) {
    let mut out = File::create(&file.path).expect("makes a file");
    out.write_all(file.text.as_bytes()).expect("writes");
    out.set_permissions(Permissions::from_mode(file.mode)).expect("sets the mode");
    // Postfix waits until a file it reads is more than a second old.
    out.set_modified(UNIX_EPOCH + Duration::from_secs(1_600_000_000)).expect("sets the time");
    chown(&file.path, None, file.group.map(|group| id_of("group", group))).expect("gives it to its group");
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Ports that nobody uses, below the range that the kernel takes for outgoing connections.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().expect("no test panics here");
    if *next == 0 {
        *next = 20_000 + u16::try_from(std::process::id() % 11_000).expect("below 11,000");
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

fn stop(pid_file: &Path, child: Option<Child>) {
    let Some(mut child) = child else { return };
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _may_be_gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let start = Instant::now();
    while child.try_wait().is_ok_and(|status| status.is_none()) {
        if start.elapsed() > Duration::from_secs(10) {
            let _last_resort = child.kill();
        }
        sleep(Duration::from_millis(5));
    }
    // The master's own children end a moment after it; the directory has to outlive them.
    let gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
    while pid.is_some_and(|pid| !gone(pid)) && start.elapsed() < Duration::from_secs(10) {
        sleep(Duration::from_millis(5));
    }
}

/// The numeric id that a name has on this machine.
pub fn id_of(database: &str, name: &str) -> u32 {
    let out = Command::new("getent").args([database, name]).output().expect("getent can be run");
    let line = String::from_utf8_lossy(&out.stdout);
    let id = line.trim().split(':').nth(2).and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("there is no {database} entry {name}"))
}

/// Users and groups that a host has once it is set up.
pub fn prepare_machine() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        assert!(
            rustix::process::geteuid().is_root(),
            "the mail tests start Postfix and Dovecot, which only root can do: run them as root or in a container"
        );
        for program in ["/usr/sbin/postfix", "/usr/sbin/dovecot", "/usr/lib/postfix/postfix-sqlite.so"] {
            assert!(
                Path::new(program).exists(),
                "{program} is missing: scripts/mail-packages installs Debian's Postfix and Dovecot"
            );
        }
        let has = |database: &str, name: &str| {
            Command::new("getent").args([database, name]).stdout(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        let run = |words: &[&str]| {
            let done = Command::new(words[0]).args(&words[1..]).output().expect("the command can be run");
            assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        for (group, member) in [("mwauth", "dovecot"), ("mwmaps", "postfix")] {
            if !has("group", group) {
                run(&["groupadd", "--system", "--force", group]);
            }
            run(&["usermod", "-aG", group, member]);
        }
        if !has("passwd", "vmail") {
            let no_login = ["--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group", "vmail"];
            let words: Vec<_> = ["useradd", "--system"].into_iter().chain(no_login).collect();
            run(&words);
        }
    });
}
