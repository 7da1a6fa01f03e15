//! `POST …/compromised`. For an account that somebody else got into: one change that takes back
//! everything that opens it, and stops what is sent from it.

use super::{Mode, ModeInfo};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct SecureAccount {
    /// Given by `made`, which `app::compromise` calls before the change.
    password: Option<Password>,
}

impl SecureAccount {
    /// With the one-time password that the person is handed.
    pub fn made(password: Password) -> Self {
        Self { password: Some(password) }
    }
}

impl Mode for SecureAccount {
    const INFO: ModeInfo = ModeInfo {
        name: "secureAccount",
        also: &[],
        method: super::Method::Elsewhere,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "For an account that somebody else got into: a new one-time password, the end of every token and \
                  session, app passwords and the recovery address revoked, sending blocked, all in one change. The \
                  answer shows the password once, and who came in lately.",
        parameters: &[],
        sample: "{}",
    };

    fn parse(_: &Body) -> Result<Self> {
        Ok(Self { password: None })
    }

    fn password(&self) -> Option<(&Password, PasswordKind)> {
        self.password.as_ref().map(|password| (password, PasswordKind::OneTime))
    }

    fn takes_back_ways_in(&self) -> bool {
        true
    }

    fn apply(&self, change: &mut Transition<'_>, prepared: &Prepared) -> Result<()> {
        let new = prepared.new_password()?;
        change.secure(new)
    }
}
