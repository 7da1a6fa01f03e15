//! All integration tests, one program: what a user would notice, on both engines.
//!
//! `support` has databases, servers and worlds; each other folder belongs to a room.

#[macro_use]
mod support;

mod api;
mod api_documents;
mod cli;
mod crash;
mod documents;
mod durability;
mod fuzz;
mod hostile;
mod licences;
mod mail;
mod model;
mod races;
mod rights;
mod store;
mod tidy;
mod worker;
