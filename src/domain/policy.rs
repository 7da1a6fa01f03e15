//! What an organization decides for itself. Stored as JSON with the organization.

use serde::{Deserialize, Serialize};

use crate::clock::{DAY, Millis};
use crate::domain::password::PasswordPolicy;

/// An organization's own rules; the defaults are the charter's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub password: PasswordPolicy,
    pub self_rename: SelfRename,
    /// How many addresses an account has besides the primary one.
    pub most_aliases: usize,
    /// Days for which a freed address is kept for its former account.
    pub address_kept_days: i64,
    /// Local parts that only an administrator gives out, besides the shipped list.
    pub reserved_names: Vec<String>,
}

/// Which new primary address a person may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfRename {
    Any,
    OwnAlias,
    Off,
}

/// A person's own renames: at most this many in the term before.
pub const MOST_SELF_RENAMES: usize = 5;
pub const SELF_RENAME_TERM: Millis = 30 * DAY;

impl Default for Policy {
    fn default() -> Self {
        Self {
            password: PasswordPolicy::default(),
            self_rename: SelfRename::Any,
            most_aliases: 30,
            address_kept_days: 180,
            reserved_names: Vec::new(),
        }
    }
}

impl Policy {
    pub fn address_kept(&self) -> Millis {
        self.address_kept_days.saturating_mul(DAY)
    }
}
