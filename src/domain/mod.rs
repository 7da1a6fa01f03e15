//! The rules, and nothing else: no IO, no async, no SQL, no HTTP.

/// Reads an enum by what its `as_str` says of each in `ALL`. `$same` compares such a word with what was sent; the
/// refusal names the parameter and the words.
macro_rules! from_word {
    ($type:ty, $same:path, $parameter:literal, $words:literal) => {
        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;
            fn from_str(text: &str) -> $crate::error::Result<Self> {
                let is_meant = |one: &Self| $same(one.as_str(), text);
                let refusal = || $crate::error::Error::bad_value($parameter, $words);
                Self::ALL.into_iter().find(is_meant).ok_or_else(refusal)
            }
        }
    };
}

pub mod account;
pub mod actor;
pub mod app_password;
pub mod audit_chain;
pub mod claim;
pub mod client;
pub mod effect;
pub mod email_address;
pub mod help_desk;
pub mod ids;
pub mod password;
pub mod place;
pub mod plain_text;
pub mod policy;
pub mod reserved_names;
pub mod rights;
pub mod scope;
pub mod secret;
pub mod session_credential;
pub mod switch;
pub mod web_session;
