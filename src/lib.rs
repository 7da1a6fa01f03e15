//! Mailward, the account desk of a mail organization that runs its own servers.
//!
//! Reading order: `domain` (the rules), `app::change` (the one path by which an
//! account changes), then a door: `api` (Zoho-compatible HTTP), `console` (the browser) or `cli`.
//! ARCHITECTURE.md has the picture.

pub mod clock;
pub mod config;
pub mod crash;
pub mod domain;
pub mod error;
pub mod machine;
pub mod wire;

pub mod mailserver;
pub mod store;

pub mod app;

pub mod arrival;
pub mod door;

pub mod api;
pub mod cli;
pub mod console;
pub mod serve;
