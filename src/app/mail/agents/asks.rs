//! The requests of a node about the look-up files of a host. Those about sessions are in `mailserver::remote`.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::store::projection::{Change, MailboxState};

/// A request about files. They are sent one at a time: each waits for the answer to the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FileAsk {
    /// The first question: who are you, and up to where are your files of this database complete?
    Open {
        version: u32,
        name: String,
        instance: String,
        now: Millis,
    },
    /// Bring the files from a position at or after `since` to `upto`. Where `upto` is what they have, states are
    /// written and the position stays.
    Apply {
        since: i64,
        upto: i64,
        changes: Vec<Change>,
        domains: Option<Vec<String>>,
    },
    /// All states follow, in pages.
    Rebuild {
        position: i64,
        domains: Vec<String>,
    },
    Page {
        states: Vec<MailboxState>,
    },
    /// That was all of them.
    Rebuilt,
    /// The node is there, and reaches its database.
    StillThere {
        now: Millis,
    },
}

/// The answer to `Open`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Opened {
    pub version: u32,
    pub name: String,
    /// `None` when the files have to be made anew.
    pub position: Option<i64>,
}

/// The answer to `Apply` and `StillThere`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    /// `None` when the files have to be made anew.
    pub position: Option<i64>,
}

/// The answer to `Rebuilt`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Made {
    pub accounts: u64,
}
