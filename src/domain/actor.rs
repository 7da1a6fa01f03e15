//! Who asks, with which rank, and through which credential.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::error::Error;

/// A person's role in the organization, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Member,
    Admin,
    SuperAdmin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::SuperAdmin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }

    pub fn rank(self) -> Rank {
        match self {
            Self::Member => Rank::Member,
            Self::Admin => Rank::Admin,
            Self::SuperAdmin => Rank::SuperAdmin,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::bad_value("role", "a role is member, admin or super_admin"))
    }
}

/// How high somebody stands when a block is set or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    Member,
    Admin,
    SuperAdmin,
    /// Somebody at the host's own command line.
    Operator,
}

impl Rank {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Member => "a member",
            Self::Admin => "an administrator",
            Self::SuperAdmin => "a super administrator",
            Self::Operator => "the operator of the server",
        }
    }
}

/// Who did something, as stored with blocks and in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    User(UserId),
    /// The operating-system user at the command line.
    Operator(String),
    /// Mailward itself, when a term ends.
    Clock,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Clock => f.write_str("clock"),
        }
    }
}

/// A caller whose credential was good at the moment of the transaction.
#[derive(Debug, Clone)]
pub enum Actor {
    User(Signed),
    Operator { os_user: String },
    Clock,
}

/// A person behind a token.
#[derive(Debug, Clone)]
pub struct Signed {
    pub organization: OrganizationId,
    pub user: UserId,
    pub account: AccountId,
    pub role: Role,
    /// What the token covers.
    pub scopes: ScopeSet,
    /// The client the token was given to; `None` for a token from the command line.
    pub client: Option<String>,
}

impl Actor {
    pub fn rank(&self) -> Rank {
        match self {
            Self::User(signed) => signed.role.rank(),
            Self::Operator { .. } | Self::Clock => Rank::Operator,
        }
    }

    /// The rank with which a block is set on a user of that role. The clock acts for whoever gave
    /// the term, so that the same rank can lift what it set.
    pub fn rank_over(&self, role: Role) -> Rank {
        match (self, role) {
            (Self::User(_) | Self::Operator { .. }, _) => self.rank(),
            (Self::Clock, Role::Member) => Rank::Admin,
            (Self::Clock, Role::Admin | Role::SuperAdmin) => Rank::SuperAdmin,
        }
    }

    pub fn who(&self) -> Who {
        match self {
            Self::User(signed) => Who::User(signed.user),
            Self::Operator { os_user } => Who::Operator(os_user.clone()),
            Self::Clock => Who::Clock,
        }
    }

    pub fn is(&self, user: UserId) -> bool {
        matches!(self, Self::User(signed) if signed.user == user)
    }
}
