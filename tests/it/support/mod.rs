//! What tests share. Nothing here asserts; it arranges.

#[macro_use]
pub mod databases;
pub mod postgres;
pub mod service;
pub mod source;
pub mod world;
