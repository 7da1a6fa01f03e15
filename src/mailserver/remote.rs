//! A Dovecot behind an agent: asked through the link that a node holds, answered by the agent with the doveadm of
//! its own host. [`Remote`] asks, [`SessionAsk::carry_out`] answers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::doveadm::{Doveadm, DoveadmError};
use super::link::{Link, LinkError};
use super::{Ended, Session, SessionMask};

/// Longer than an agent waits for its Dovecot.
const PATIENCE: Duration = Duration::from_secs(12);
/// Masks in one question.
const CHUNK: usize = 100;

/// What is asked about sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionAsk {
    Check,
    Who,
    Kick { masks: Vec<SessionMask> },
    Reload,
}

impl SessionAsk {
    /// Whether a question of that name is one about sessions.
    pub fn knows(name: &str) -> bool {
        matches!(name, "check" | "who" | "kick" | "reload")
    }

    /// Asks the Dovecot of this host.
    ///
    /// # Errors
    /// What it said, in words.
    pub async fn carry_out(self, doveadm: &Doveadm) -> Result<Value, String> {
        let answer = match self {
            Self::Check => doveadm.check().await.map(|()| Value::Null),
            Self::Reload => doveadm.reload().await.map(|()| Value::Null),
            Self::Who => {
                let sessions = doveadm.who().await.map_err(|why| why.to_string())?;
                return serde_json::to_value(sessions).map_err(|why| why.to_string());
            }
            Self::Kick { masks } => {
                doveadm.kick(&masks).await.map(|ended| ended.iter().map(|one| one.sessions).collect())
            }
        };
        answer.map_err(|why| why.to_string())
    }
}

/// A Dovecot that an agent asks for us.
#[derive(Debug, Clone)]
pub struct Remote {
    name: String,
    link: Arc<Link>,
}

impl Remote {
    /// The host's name, and the link to its agent.
    pub fn new(name: impl Into<String>, link: Arc<Link>) -> Self {
        Self { name: name.into(), link }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, what: &SessionAsk) -> Result<T, DoveadmError> {
        self.link.ask(what, PATIENCE).await.map_err(|why| match why {
            LinkError::Refused(why) => DoveadmError::Agent(why),
            why => DoveadmError::Agent(format!("its agent: {why}")),
        })
    }

    /// # Errors
    /// What the agent says.
    pub async fn check(&self) -> Result<(), DoveadmError> {
        self.ask::<Value>(&SessionAsk::Check).await.map(drop)
    }

    /// # Errors
    /// What the agent says.
    pub async fn who(&self) -> Result<Vec<Session>, DoveadmError> {
        self.ask(&SessionAsk::Who).await
    }

    /// # Errors
    /// What the agent says; what came before the failure has happened.
    pub async fn kick(&self, masks: &[SessionMask]) -> Result<Vec<Ended>, DoveadmError> {
        let mut ended = Vec::with_capacity(masks.len());
        for chunk in masks.chunks(CHUNK) {
            let counts: Vec<u64> = self.ask(&SessionAsk::Kick { masks: chunk.to_vec() }).await?;
            if counts.len() != chunk.len() {
                return Err(DoveadmError::Answer("not one count for each mask".to_owned()));
            }
            let all = chunk.iter().zip(counts);
            ended.extend(all.map(|(mask, sessions)| Ended { mask: mask.clone(), sessions }));
        }
        Ok(ended)
    }

    /// # Errors
    /// What the agent says.
    pub async fn reload(&self) -> Result<(), DoveadmError> {
        self.ask::<Value>(&SessionAsk::Reload).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_about_sessions_is_known_by_its_name() {
        let mask = SessionMask::All { mbox: "m1".to_owned() };
        for ask in
            [SessionAsk::Check, SessionAsk::Who, SessionAsk::Kick { masks: vec![mask] }, SessionAsk::Reload]
        {
            let text = serde_json::to_value(&ask).expect("JSON");
            assert!(SessionAsk::knows(text["ask"].as_str().expect("a name")), "{text}");
            assert_eq!(serde_json::from_value::<SessionAsk>(text).expect("the same"), ask);
        }
        assert!(!SessionAsk::knows("apply"));
    }
}
