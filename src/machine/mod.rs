//! What the operating system knows and keeps: its users and groups, and files that are one's own.

pub mod files;
pub mod users;
