//! (being written)

pub mod projection;
