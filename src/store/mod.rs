//! The only room with SQL: one text and one function body per statement for both databases.
//!
//! `engine` runs statements; `migrations` has the tables.

pub mod engine;
pub mod migrations;
