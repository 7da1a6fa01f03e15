//! All integration tests, one program: what a user would notice, on both engines.
//!
//! `support` has databases and servers; each other folder belongs to a room.

#[macro_use]
mod support;

mod licences;
mod store;
mod tidy;
