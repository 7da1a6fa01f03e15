//! The shell door.

pub mod demo;
