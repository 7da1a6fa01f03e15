//! All integration tests, one program: what a user would notice, on both engines.
//!
//! `support` has databases, servers and worlds; each other folder belongs to a room.

#[macro_use]
mod support;

mod api;
mod api_documents;
mod audit;
mod browser;
mod cli;
mod console;
mod crash;
mod documents;
mod durability;
mod faults;
mod fuzz;
mod hostile;
mod keys;
mod licences;
mod look_ups;
mod mail;
mod metrics;
mod model;
mod moving;
mod nodes;
mod package;
mod races;
mod requirements;
mod rights;
mod sockets;
mod store;
mod throttle;
mod tidy;
mod what_ends;
mod worker;
