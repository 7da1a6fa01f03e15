//! What tests share. Nothing here asserts; it arranges.

pub mod agent;
pub mod certificates;
pub mod child;
#[macro_use]
pub mod databases;
pub mod namespaces;
pub mod patroni;
pub mod pgbouncer;
pub mod postbox;
pub mod postgres;
pub mod proxy;
pub mod service;
pub mod source;
pub mod tables;
pub mod visitor;
pub mod webdriver;
pub mod world;
