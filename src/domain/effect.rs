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
    /// The person is told what happened, in the own mailbox.
    Tell { notice: Notice },
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
    Renamed { from: String, to: String },
    AppPasswordMade { name: String },
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
        }
    }
}
