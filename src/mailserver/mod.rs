//! What Mailward has to do with the mail servers beyond the projection: their configuration files,
//! what is wrong with those in force, and ending sessions that are open. Start at [`MailServer`]; `doveadm` is how a real one is asked.

pub mod config;
pub mod connection;
pub mod doveadm;
pub mod examine;
pub mod link;
pub mod private;
pub mod remote;

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::domain::session_credential::SessionCredential;

use doveadm::{Doveadm, DoveadmError};
use remote::Remote;

/// Which sessions shall end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMask {
    /// Those opened with one credential.
    Exact { mbox: String, credential: SessionCredential },
    /// Every session of a mailbox.
    All { mbox: String },
}

impl SessionMask {
    /// As doveadm takes it. There is nothing to escape: keys and credentials have no wildcards.
    pub fn as_doveadm(&self) -> String {
        match self {
            Self::Exact { mbox, credential } => format!("{mbox}@{credential}"),
            Self::All { mbox } => format!("{mbox}@*"),
        }
    }

    /// Whether a session of this name is meant.
    pub fn matches(&self, session_name: &str) -> bool {
        match self {
            Self::Exact { .. } => session_name == self.as_doveadm(),
            Self::All { mbox } => session_name.split_once('@').is_some_and(|(mailbox, _)| mailbox == mbox),
        }
    }
}

/// A session that a mail server has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `<mbox>@<credential>`, where Mailward let it in. The agents say `user`, as Dovecot does.
    #[serde(rename = "user")]
    pub name: String,
    /// `imap`, `pop3`, …; SMTP sessions are not listed, Postfix asks for their credential instead.
    pub service: String,
    pub pid: Option<u32>,
    pub ip: Option<std::net::IpAddr>,
}

impl Session {
    /// The mailbox that it is in, and the credential that opened it. None where Mailward let nobody in: Dovecot may
    /// have other people besides, whose names may be addresses.
    pub fn ours(&self) -> Option<(&str, SessionCredential)> {
        let (mailbox, credential) = self.name.split_once('@')?;
        Some((mailbox, credential.parse().ok()?))
    }

    /// The credential that opened it, where Mailward let it in.
    pub fn credential(&self) -> Option<SessionCredential> {
        self.ours().map(|(_, credential)| credential)
    }
}

/// How many sessions a mask ended; none is a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub mask: SessionMask,
    pub sessions: u64,
}

/// A Dovecot whose sessions Mailward can see and end.
#[derive(Debug, Clone)]
pub enum MailServer {
    Doveadm(Doveadm),
    /// The agent of its host asks it for us.
    Agent(Remote),
    /// Remembers what it was asked; for tests and for trying things out.
    Recorder(Recorder),
}

impl MailServer {
    pub fn name(&self) -> &str {
        match self {
            Self::Doveadm(doveadm) => doveadm.name(),
            Self::Agent(remote) => remote.name(),
            Self::Recorder(recorder) => &recorder.name,
        }
    }

    /// Whether both are asked with the same key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Doveadm(one), Self::Doveadm(another)) => one.has_key_of(another),
            _ => true,
        }
    }

    /// Whether it answers and believes our key.
    ///
    /// # Errors
    /// Says what is wrong, in words for an administrator.
    pub async fn check(&self) -> Result<(), DoveadmError> {
        match self {
            Self::Doveadm(doveadm) => doveadm.check().await,
            Self::Agent(remote) => remote.check().await,
            Self::Recorder(recorder) => recorder.answer(|_| ()),
        }
    }

    /// Every open session.
    ///
    /// # Errors
    /// When the server cannot be asked; nothing is known then.
    pub async fn who(&self) -> Result<Vec<Session>, DoveadmError> {
        match self {
            Self::Doveadm(doveadm) => doveadm.who().await,
            Self::Agent(remote) => remote.who().await,
            Self::Recorder(recorder) => recorder.answer(|recording| recording.sessions.clone()),
        }
    }

    /// Ends the sessions that the masks mean, and says how many for each mask, in their order.
    ///
    /// # Errors
    /// When the server did not confirm every mask. Some sessions may have ended; asking again is harmless.
    pub async fn kick(&self, masks: &[SessionMask]) -> Result<Vec<Ended>, DoveadmError> {
        match self {
            Self::Doveadm(doveadm) => doveadm.kick(masks).await,
            Self::Agent(remote) => remote.kick(masks).await,
            Self::Recorder(recorder) => recorder.answer(|recording| recording.kick(masks)),
        }
    }

    /// Makes the server open the projection again, after a file had to be made anew. Open sessions go on.
    ///
    /// # Errors
    /// When the server did not confirm it.
    pub async fn reload(&self) -> Result<(), DoveadmError> {
        match self {
            Self::Doveadm(doveadm) => doveadm.reload().await,
            Self::Agent(remote) => remote.reload().await,
            Self::Recorder(recorder) => recorder.answer(|recording| recording.reloads += 1),
        }
    }
}

/// A mail server that exists only as a memory of what it was asked.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    name: String,
    recording: Arc<Mutex<Recording>>,
}

/// What a [`Recorder`] remembers, and how it shall answer.
#[derive(Debug, Default)]
pub struct Recording {
    /// The sessions that are open; a kick takes its ones away.
    pub sessions: Vec<Session>,
    pub kicked: Vec<SessionMask>,
    pub reloads: u32,
    /// While set, every question fails with this.
    pub failure: Option<DoveadmError>,
}

impl Recorder {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), recording: Arc::default() }
    }

    /// Looks at the recording, or sets how to answer.
    pub fn with<T>(&self, look: impl FnOnce(&mut Recording) -> T) -> T {
        look(&mut self.recording.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn answer<T>(&self, act: impl FnOnce(&mut Recording) -> T) -> Result<T, DoveadmError> {
        self.with(|recording| match &recording.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(act(recording)),
        })
    }
}

impl Recording {
    fn kick(&mut self, masks: &[SessionMask]) -> Vec<Ended> {
        self.kicked.extend_from_slice(masks);
        masks
            .iter()
            .map(|mask| {
                let before = self.sessions.len();
                self.sessions.retain(|session| !mask.matches(&session.name));
                Ended { mask: mask.clone(), sessions: (before - self.sessions.len()) as u64 }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> Session {
        Session { name: name.into(), service: "imap".into(), pid: None, ip: None }
    }

    #[test]
    fn a_mask_means_one_credential_or_the_whole_mailbox_and_no_other() {
        let exact = SessionMask::Exact { mbox: "10".into(), credential: SessionCredential::Generation(4) };
        let all = SessionMask::All { mbox: "10".into() };
        assert_eq!((exact.as_doveadm().as_str(), all.as_doveadm().as_str()), ("10@g4", "10@*"));
        let meant =
            |mask: &SessionMask| ["10@g4", "10@g41", "10@a4", "100@g4", "10"].map(|name| mask.matches(name));
        assert_eq!(meant(&exact), [true, false, false, false, false]);
        assert_eq!(meant(&all), [true, true, true, false, false]);
    }

    #[test]
    fn a_session_is_of_a_mailbox_and_says_what_opened_it() {
        let by = |name| session(name).ours().map(|(mailbox, credential)| (mailbox.to_owned(), credential));
        assert_eq!(by("m10@g4"), Some(("m10".to_owned(), SessionCredential::Generation(4))));
        assert_eq!(by("m10@a7"), Some(("m10".to_owned(), SessionCredential::AppPassword(7))));
        for others in ["root", "alice@legacy.example", "alice@g4.example"] {
            assert_eq!(by(others), None, "{others}");
        }
        let told = serde_json::to_value(session("m10@g4")).expect("JSON");
        assert_eq!(told["user"], "m10@g4", "agents of every version say it like this");
    }

    #[tokio::test]
    async fn the_recorder_remembers_and_fails_when_told() {
        let recorder = Recorder::new("mx1");
        recorder.with(|r| r.sessions = vec![session("1@g1"), session("1@a2"), session("2@g1")]);
        let server = MailServer::Recorder(recorder.clone());
        let all = SessionMask::All { mbox: "1".into() };
        let ended = server.kick(std::slice::from_ref(&all)).await.expect("answers");
        assert_eq!(ended, [Ended { mask: all, sessions: 2 }]);
        assert_eq!(server.who().await.expect("answers"), [session("2@g1")]);
        recorder.with(|r| r.failure = Some(DoveadmError::Timeout));
        assert!(server.check().await.is_err());
        assert_eq!(recorder.with(|r| r.kicked.len()), 1);
    }
}
