//! All integration tests, one program: what a user would notice, on both engines.

mod cli;
