//! The web console over HTTP, without a browser's window.

mod actions;
pub mod authenticator;
mod consent;
pub mod factors;
mod lists;
pub mod many;
mod me;
mod organization;
mod passkeys;
pub mod recovery;
pub mod roles;
mod sign_in;
mod users;
