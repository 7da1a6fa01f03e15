//! What the world outside must hear of a change. Written to the outbox in the change's own
//! transaction, carried out afterwards, possibly twice: every effect can be repeated.

use serde::{Deserialize, Serialize};

use crate::domain::ids::AppPasswordId;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The mail servers' look-ups must show the account as it is now.
    Project,
    /// Live mail sessions must end.
    EndSessions { mailbox: String, sessions: Sessions },
    /// Every session that nothing lets in any more must end: after a switch of a whole
    /// organization or domain.
    Reconcile,
    /// The person is told what happened, in the own mailbox and at the recovery address.
    Tell { notice: Notice },
    /// A letter to an address outside. It holds no secret: a link that belongs into it is made when
    /// it is sent.
    Write { to: String, letter: Letter },
}

/// Which sessions of a mailbox end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    All,
    /// Those that were opened with the main password of this generation.
    Generation(i64),
    /// Those that were opened with this app password.
    AppPassword(AppPasswordId),
}

/// What a person is told about the own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    PasswordReset,
    PasswordChanged,
    Renamed {
        from: String,
        to: String,
    },
    AppPasswordMade {
        name: String,
    },
    /// A second factor was set up.
    FactorAdded {
        what: String,
    },
    FactorRemoved {
        what: String,
    },
    RecoveryCodesMade,
    RecoveryCodeUsed {
        left: i64,
    },
    /// A recovery address was proved; `address` shows enough of it to know it again.
    RecoveryAddressSet {
        address: String,
    },
    RecoveryAddressRemoved {
        address: String,
    },
    PasswordRecovered,
}

/// What is written to an address outside this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Letter {
    /// A link with which the reader proves to have the address.
    ProveAddress,
    /// A link with which a new password may be chosen.
    RecoverPassword,
    /// The address is no recovery address any more.
    AddressReplaced,
}

/// The target of effects on the mail servers' look-ups.
pub const PROJECTION: &str = "look-ups";
/// The target of effects on the person.
pub const PERSON: &str = "person";

impl Effect {
    /// The effect's name, for receipts and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::EndSessions { .. } => "end_sessions",
            Self::Reconcile => "reconcile",
            Self::Tell { .. } => "tell",
            Self::Write { .. } => "write",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_named_as_it_is_stored() {
        for effect in [
            Effect::Project,
            Effect::EndSessions { mailbox: "m1".to_owned(), sessions: Sessions::All },
            Effect::Reconcile,
            Effect::Tell { notice: Notice::PasswordReset },
            Effect::Write { to: "mia@zylker.example".to_owned(), letter: Letter::ProveAddress },
        ] {
            let stored = serde_json::to_value(&effect).expect("JSON");
            assert_eq!(stored["effect"], effect.name());
            assert_eq!(serde_json::from_value::<Effect>(stored).expect("an effect"), effect);
        }
    }
}
