//! Arrangement in one line: a running pair of servers, a projection, and people in it.

use std::ops::Deref;
use std::sync::OnceLock;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mailward::mailserver::SessionMask;
use mailward::store::projection::{AppPassword, Applied, Change, MailboxState, Options, Projection};
use sha2::{Digest, Sha256};

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
        let change = Change::whole(account_id, state);
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
}

impl Deref for World {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
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
        password_until: None,
        gate: None,
        gate_is_mains: false,
        imap: true,
        pop: true,
        smtp_login: true,
        sending: None,
        incoming: None,
        addresses: vec![format!("{name}@example.test")],
        primary: format!("{name}@example.test"),
        app_passwords: vec![],
        retired: vec![],
        cut_off_minutes: None,
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
    SessionMask::Exact { mbox: mbox.into(), credential: credential.parse().expect("a credential") }
}

pub fn all(mbox: &str) -> SessionMask {
    SessionMask::All { mbox: mbox.into() }
}
