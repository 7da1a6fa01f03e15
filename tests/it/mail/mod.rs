//! Real Postfix and Dovecot, started privately, seen by real clients.

mod addresses;
mod agents;
mod clients;
mod demo;
mod files;
mod host;
mod lab;
mod logins;
mod product;
mod seen;
mod sessions;
mod world;
