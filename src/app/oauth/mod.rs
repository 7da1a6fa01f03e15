//! OAuth 2, whoever asks: clients, the codes they get, the tokens that codes become, and what people
//! allowed in a browser. Every token is made in `tokens.rs`, which asks whether the person and the
//! organization are enabled; nothing else makes one. Start with `authorize.rs` or `exchange.rs`.

pub mod authorize;
mod clients;
mod codes;
pub mod connections;
mod exchange;
mod tokens;

use crate::clock::{MINUTE, Millis};

pub use clients::{client, confidential_client};
pub use codes::{CodeWish, make_code, make_code_in};
pub use connections::{connected, disconnect};
pub use exchange::{GrantType, TokenRequest, TokenResponse, token};
pub use tokens::{Introspected, introspect, issue, issue_in, revoke, revoke_in};

/// The window of the limits on codes and mints.
const LIMIT_WINDOW: Millis = 10 * MINUTE;
