//! What the operating system knows and keeps: its users and groups, and files that are one's own; and how
//! what is wrong with it is told.

pub mod files;
pub mod finding;
pub mod users;
