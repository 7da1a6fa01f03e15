//! What tests share. Nothing here asserts; it arranges.

pub mod child;
#[macro_use]
pub mod databases;
pub mod postgres;
pub mod service;
pub mod source;
pub mod tables;
pub mod world;
