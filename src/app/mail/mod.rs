//! What the mail servers get of a change: the look-up files (`projector`), the end of live
//! sessions (`sessions`), notices to people (`notices`); and what is known of it (`receipt`).

pub mod agents;
pub mod app_passwords;
pub mod feed;
pub mod logins;
pub mod notices;
pub mod projector;
pub mod receipt;
pub mod servers;
pub mod sessions;
