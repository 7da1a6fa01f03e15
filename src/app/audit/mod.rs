//! The audit log as evidence (docs/audit.md): `seal` chains entries, `head` signs where a chain stands,
//! `export` writes a log out and `verify` finds what was changed in one, `history` is what a person sees.

pub mod export;
pub mod head;
pub mod history;
pub mod seal;
pub mod verify;
