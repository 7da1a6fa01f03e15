//! The product's private Postfix and Dovecot (`mailserver::private`), with the users and groups that a host has
//! once it is set up. Several can run at once.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use mailward::mailserver::config::{ConfigFile, Contract, PolicyServer, Tls};
use mailward::mailserver::doveadm::{Doveadm, DoveadmConfig};
use mailward::mailserver::private::{self, Ports, Servers, Wish};

pub use mailward::mailserver::private::free_ports;

const KEY: &str = "lab-doveadm-key";

/// A directory that the mail users can reach, removed at the end.
pub struct LabDir {
    pub path: PathBuf,
}

impl LabDir {
    /// Makes users and groups where they are missing, and the directory.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        prepare_machine();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = private::make_dir(&format!("mw-{:x}-{number:x}", std::process::id()));
        Self { path: path.expect("a directory in /tmp") }
    }

    /// The contract on projection files below this directory.
    pub fn sqlite(&self) -> Contract {
        private::contract(&self.path, "mwauth", "mwmaps")
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
    servers: Servers,
}

impl Lab {
    /// Starts both servers on accounts that are already there (in the files or the database).
    pub fn start(dir: &LabDir, contract: Contract, wishes: Wishes) -> Self {
        Self::start_at(Ports::free(), dir, contract, wishes)
    }

    /// On ports that were chosen before.
    pub fn start_at(ports: Ports, dir: &LabDir, contract: Contract, wishes: Wishes) -> Self {
        let tls = wishes.tls.is_some();
        let wish = Wish {
            dir: dir.path.clone(),
            ports,
            hostname: "mx.example.test".into(),
            contract,
            mail_user: "vmail".into(),
            doveadm_key: KEY.into(),
            tls: wishes.tls,
            policy_server: wishes.policy_server,
        };
        Self::run(dir, &private::files(&wish).expect("the files can be written"), ports, tls)
    }

    /// Starts both servers with these files, whose ports are for SMTP, submission, IMAP, POP3 and doveadm.
    pub fn start_files(dir: &LabDir, files: &[ConfigFile], ports: [u16; 5], tls: bool) -> Self {
        let [smtp, submission, imap, pop3, doveadm] = ports;
        Self::run(dir, files, Ports { smtp, submission, imap, pop3, doveadm }, tls)
    }

    fn run(dir: &LabDir, files: &[ConfigFile], ports: Ports, tls: bool) -> Self {
        let servers = Servers::start(&dir.path, files, "vmail", ports).expect("the servers start");
        let Ports { smtp, submission, imap, pop3, doveadm } = ports;
        Self { smtp, submission, imap, pop3, doveadm, dir: dir.path.clone(), tls, servers }
    }

    pub fn start_dovecot(&mut self) {
        self.servers.start_dovecot().expect("dovecot starts");
    }

    pub fn start_postfix(&mut self) {
        self.servers.start_postfix().expect("postfix starts");
    }

    pub fn stop_dovecot(&mut self) {
        self.servers.stop_dovecot();
    }

    pub fn stop_postfix(&mut self) {
        self.servers.stop_postfix();
    }

    /// `postfix reload`, as an administrator would do.
    pub fn reload_postfix(&self) {
        self.servers.reload_postfix().expect("postfix can be reloaded");
    }

    /// A client of this Dovecot's doveadm door.
    pub fn doveadm(&self) -> Doveadm {
        Doveadm::new(&self.doveadm_config()).expect("a good configuration")
    }

    pub fn doveadm_config(&self) -> DoveadmConfig {
        DoveadmConfig {
            name: "lab".into(),
            url: format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.doveadm),
            key_file: private::key_file(&self.dir),
            certificate_sha256: None,
            ca_file: None,
        }
    }

    /// Everything a server wrote to its log.
    pub fn log(&self, name: &str) -> String {
        self.servers.log(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
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

/// As the administrator would put it in place.
pub fn write(file: &ConfigFile) {
    private::write(file).expect("the file can be written");
}

/// The numeric id that a name has on this machine.
pub fn id_of(database: &str, name: &str) -> u32 {
    private::id_of(database, name).expect("the name is known")
}

/// Users and groups that a host has once it is set up.
pub fn prepare_machine() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        assert_eq!(private::obstacle(), None);
        let has = |database: &str, name: &str| {
            Command::new("getent")
                .args([database, name])
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
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
