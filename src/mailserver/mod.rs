//! The way out: what the mail servers are told. Knows nothing of accounts beyond the effect.

use std::sync::Mutex;

use crate::domain::effect::Effect;
use crate::domain::ids::{AccountId, ChangeId};

/// Where effects go.
pub enum MailServers {
    /// None are configured: an effect is noted as such.
    None,
    /// Remembers what it was told, for tests.
    Recorder(Mutex<Vec<(ChangeId, AccountId, Effect)>>),
}

impl MailServers {
    pub fn recorder() -> Self {
        Self::Recorder(Mutex::new(Vec::new()))
    }

    /// Carries an effect out; answers what happened, in words for the receipt.
    ///
    /// # Errors
    /// Why it has to be tried again.
    pub async fn carry_out(
        &self,
        change: ChangeId,
        account: AccountId,
        effect: &Effect,
    ) -> Result<String, String> {
        match self {
            Self::None => Ok("no mail server is configured; nothing was told".to_owned()),
            Self::Recorder(heard) => {
                heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((
                    change,
                    account,
                    effect.clone(),
                ));
                Ok("recorded".to_owned())
            }
        }
    }

    /// What the recorder heard so far.
    pub fn heard(&self) -> Vec<(ChangeId, AccountId, Effect)> {
        match self {
            Self::None => Vec::new(),
            Self::Recorder(heard) => heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
        }
    }
}
