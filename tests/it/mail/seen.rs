//! What is seen of the two servers from outside: logins, mail, open sessions.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mailward::mailserver::doveadm::Doveadm;
use mailward::mailserver::{Session, SessionMask};

use super::clients::{Imap, Pop3, Smtp};
use super::lab::Lab;

impl Lab {
    pub fn imap(&self, login: &str, password: &str) -> Imap {
        Imap::open(self.imap, login, password)
    }

    pub fn pop3(&self, login: &str, password: &str) -> Pop3 {
        Pop3::open(self.pop3, login, password)
    }

    pub fn submission(&self, login: &str, password: &str) -> Smtp {
        Smtp::open(self.submission, login, password)
    }

    /// What each protocol answers to a login: IMAP, POP3, submission.
    pub fn logins(&self, login: &str, password: &str) -> [String; 3] {
        // At once: Dovecot holds every refusal back for half a second, whatever its settings.
        let (imap, pop) = (self.imap, self.pop3);
        std::thread::scope(|scope| {
            let imap = scope.spawn(move || Imap::connect(imap).login(login, password));
            let pop = scope.spawn(move || Pop3::connect(pop).login(login, password));
            let smtp = Smtp::connect(self.submission).login(login, password);
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
        Smtp::connect(self.smtp).send("someone@elsewhere.test", to, subject)
    }

    /// What Postfix answers to a recipient, from outside.
    pub fn rcpt(&self, to: &str) -> String {
        Smtp::connect(self.smtp).rcpt("someone@elsewhere.test", to)
    }

    /// The subjects in the maildir, once there are as many; new mail and seen mail.
    pub fn delivered(&self, mbox: &str, count: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let found = self.maildir(mbox);
            if found.len() >= count {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "only {found:?}: {}", self.log("postfix.log"));
            sleep(Duration::from_millis(20));
        }
    }

    fn maildir(&self, mbox: &str) -> Vec<String> {
        let maildir = self.dir.join("mail").join(mbox).join("Maildir");
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
            let mut names: Vec<_> = self.sessions().into_iter().map(|session| session.name).collect();
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
        runtime.block_on(question(self.doveadm()))
    }
}
