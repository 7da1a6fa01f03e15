//! The rules, and nothing else: no IO, no async, no SQL, no HTTP.

pub mod account;
pub mod actor;
pub mod app_password;
pub mod audit_chain;
pub mod claim;
pub mod client;
pub mod effect;
pub mod email_address;
pub mod help_desk;
pub mod ids;
pub mod password;
pub mod plain_text;
pub mod policy;
pub mod rights;
pub mod scope;
pub mod secret;
pub mod switch;
pub mod web_session;
