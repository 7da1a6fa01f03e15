//! The only room that speaks SQL: one text and one function body per statement, for both engines.
//! `engine` holds the difference between SQLite and PostgreSQL, and nothing else does.

pub mod accounts;
pub mod addresses;
pub mod audit;
pub mod audit_chain;
pub mod clients;
pub mod connections;
pub mod copying;
pub mod engine;
pub mod factors;
pub mod feed;
pub mod idempotency;
pub mod ids;
pub mod leases;
pub mod lists;
pub mod live;
pub mod mail_agents;
pub mod mail_servers;
pub mod mailboxes;
pub mod migrations;
pub mod organizations;
pub mod outbox;
pub mod people;
pub mod projection;
pub mod recovery;
pub mod restore;
pub mod sealed;
pub mod settings;
pub mod sign_ins;
pub mod throttle;
pub mod tokens;
pub mod web_sessions;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Text columns that hold JSON of ours.
fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::caused("writing a JSON column", error))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::caused("reading a JSON column", error))
}

fn opt_to_json<T: Serialize>(value: Option<&T>) -> Result<Option<String>> {
    value.map(to_json).transpose()
}

fn opt_from_json<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>> {
    text.map(from_json).transpose()
}

/// A number from the database that must be an id of its kind.
fn id<T: crate::domain::ids::Id>(number: i64) -> Result<T> {
    T::from_number(number)
        .ok_or_else(|| Error::internal(format!("the database holds {number} where a {} belongs", T::KIND)))
}
