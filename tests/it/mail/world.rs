//! Arrangement in one line: a running pair of servers, a projection, and people in it.

use std::fs;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mailward::mailserver::doveadm::Doveadm;
use mailward::mailserver::{Session, SessionMask};
use mailward::store::projection::{AppPassword, Applied, Change, MailboxState, Options, Projection};
use sha2::{Digest, Sha256};

use super::clients::{Imap, Pop3, Smtp};
use super::lab::{Lab, LabDir, Wishes, id_of};

/// Servers and projection, fed by hand.
pub struct World {
    pub lab: Lab,
    pub projection: Projection,
    position: i64,
    pub dir: LabDir,
}

impl World {
    pub fn new(people: &[MailboxState]) -> Self {
        Self::with(people, |_| Wishes::default())
    }

    pub fn with(people: &[MailboxState], wishes: impl FnOnce(&LabDir) -> Wishes) -> Self {
        let dir = LabDir::new();
        let mut projection = Projection::open(options(&dir)).expect("the projection opens");
        let states = people.iter().cloned().map(Ok);
        projection.rebuild(1, states, &domains()).expect("the projection can be filled");
        let wishes = wishes(&dir);
        let lab = Lab::start(&dir, dir.sqlite(), wishes);
        Self { lab, projection, position: 1, dir }
    }

    /// Commits a new state, as the service does before it answers.
    pub fn set(&mut self, state: MailboxState) {
        self.apply(state.account_id, Some(state));
    }

    pub fn remove(&mut self, account_id: i64) {
        self.apply(account_id, None);
    }

    fn apply(&mut self, account_id: i64, state: Option<MailboxState>) {
        let since = self.position;
        self.position += 1;
        let change = Change { account_id, state };
        let applied =
            self.projection.apply(since, self.position, &[change], None).expect("the projection is written");
        assert_eq!(applied, Applied::Done);
    }

    /// As if the service had ended.
    pub fn close_projection(&mut self) {
        let elsewhere = Options {
            auth_dir: self.dir.path.join("x"),
            maps_dir: self.dir.path.join("y"),
            ..options(&self.dir)
        };
        self.projection = Projection::open(elsewhere).expect("opens");
    }

    pub fn imap(&self, login: &str, password: &str) -> Imap {
        Imap::open(self.lab.imap, login, password)
    }

    pub fn pop3(&self, login: &str, password: &str) -> Pop3 {
        Pop3::open(self.lab.pop3, login, password)
    }

    pub fn submission(&self, login: &str, password: &str) -> Smtp {
        Smtp::open(self.lab.submission, login, password)
    }

    /// What each protocol answers to a login: IMAP, POP3, submission.
    pub fn logins(&self, login: &str, password: &str) -> [String; 3] {
        // At once: Dovecot holds every refusal back for half a second, whatever its settings.
        let (imap, pop) = (self.lab.imap, self.lab.pop3);
        std::thread::scope(|scope| {
            let imap = scope.spawn(move || Imap::connect(imap).login(login, password));
            let pop = scope.spawn(move || Pop3::connect(pop).login(login, password));
            let smtp = Smtp::connect(self.lab.submission).login(login, password);
            let joined = "the client said why it failed";
            [imap.join().expect(joined), pop.join().expect(joined), smtp]
        })
    }

    /// Which protocols let a login in.
    pub fn opens(&self, login: &str, password: &str) -> [bool; 3] {
        let [imap, pop, smtp] = self.logins(login, password);
        [imap.starts_with("OK"), pop.starts_with("+OK"), smtp.starts_with("235")]
    }

    /// Waits until every protocol lets the login in: after a change of schema or file each of
    /// Dovecot's processes may fail once, and a reload takes a moment.
    pub fn opens_soon(&self, login: &str, password: &str) {
        let start = Instant::now();
        loop {
            let answers = self.logins(login, password);
            if answers.iter().zip(["OK", "+OK", "235"]).all(|(answer, good)| answer.starts_with(good)) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{answers:?}");
        }
    }

    /// A message from outside; Postfix's answer.
    pub fn mail(&self, to: &str, subject: &str) -> String {
        Smtp::connect(self.lab.smtp).send("someone@elsewhere.test", to, subject)
    }

    /// What Postfix answers to a recipient, from outside.
    pub fn rcpt(&self, to: &str) -> String {
        Smtp::connect(self.lab.smtp).rcpt("someone@elsewhere.test", to)
    }

    /// The subjects in the maildir, once there are as many; new mail and seen mail.
    pub fn delivered(&self, mbox: &str, count: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let found = self.maildir(mbox);
            if found.len() >= count {
                return found;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "only {found:?}: {}",
                self.lab.log("postfix.log")
            );
            sleep(Duration::from_millis(20));
        }
    }

    fn maildir(&self, mbox: &str) -> Vec<String> {
        let maildir = self.dir.path.join("mail").join(mbox).join("Maildir");
        let mut found: Vec<_> = ["new", "cur"]
            .iter()
            .filter_map(|part| fs::read_dir(maildir.join(part)).ok())
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(|text| {
                text.lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned))
            })
            .collect();
        found.sort();
        found
    }

    /// Waits until Dovecot lists exactly these session names, sorted: a session is listed a moment
    /// after its login was answered, and for a moment after its end.
    pub fn expect_who(&self, expected: &[&str]) {
        let start = Instant::now();
        loop {
            let mut names: Vec<_> = self.sessions().into_iter().map(|session| session.user).collect();
            names.sort();
            if names == expected {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{names:?} are logged in, not {expected:?}");
            sleep(Duration::from_millis(10));
        }
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.ask(async |doveadm| doveadm.who().await.expect("doveadm answers"))
    }

    /// Ends sessions; how many there were.
    pub fn kick(&self, mask: SessionMask) -> u64 {
        self.ask(async |doveadm| doveadm.kick(&[mask]).await.expect("doveadm answers"))[0].sessions
    }

    pub fn ask<T>(&self, question: impl AsyncFnOnce(Doveadm) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(question(self.lab.doveadm()))
    }
}

pub fn options(dir: &LabDir) -> Options {
    Options {
        auth_dir: dir.path.join("auth"),
        maps_dir: dir.path.join("maps"),
        auth_group: Some(id_of("group", "mwauth")),
        maps_group: Some(id_of("group", "mwmaps")),
        instance: "lab".into(),
    }
}

pub fn domains() -> Vec<String> {
    vec!["example.test".into()]
}

/// Somebody with the password `first`, reachable as `<name>@example.test`.
pub fn person(account_id: i64, name: &str) -> MailboxState {
    MailboxState {
        account_id,
        mbox: account_id.to_string(),
        generation: 1,
        password_phc: Some(phc("first")),
        gate: None,
        imap: true,
        pop: true,
        smtp_login: true,
        sending: None,
        incoming: None,
        addresses: vec![format!("{name}@example.test")],
        primary: format!("{name}@example.test"),
        app_passwords: vec![],
        retired: vec![],
    }
}

/// A password for all three protocols.
pub fn app_password(id: i64, password: &str) -> AppPassword {
    let digest_hex = Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect();
    AppPassword { id, digest_hex, imap: true, pop: true, smtp: true, expires_at: None }
}

/// The cheapest hash that Dovecot takes: its cost is not the subject here.
pub fn phc(password: &str) -> String {
    static CHEAP: OnceLock<Params> = OnceLock::new();
    let params = CHEAP.get_or_init(|| Params::new(64, 1, 1, None).expect("good parameters"));
    let salt = b"sixteen bytes of";
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .expect("hashes");
    format!("$argon2id$v=19$m=64,t=1,p=1${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash))
}

pub fn exact(mbox: &str, credential: &str) -> SessionMask {
    SessionMask::Exact { mbox: mbox.into(), credential: credential.into() }
}

pub fn all(mbox: &str) -> SessionMask {
    SessionMask::All { mbox: mbox.into() }
}
