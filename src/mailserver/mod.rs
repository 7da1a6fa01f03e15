//! What Mailward has to do with the mail servers beyond the projection: their configuration
//! files, and ending sessions that are open.

pub mod config;
