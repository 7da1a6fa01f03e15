//! The rules, and nothing else: no IO, no async, no SQL, no HTTP.

pub mod email_address;
pub mod ids;
pub mod password;
pub mod secret;
