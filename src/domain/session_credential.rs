//! What let a mail session in, as the session's name says it behind the `@` (docs/contract.md).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Written `g41` and `a7`, in session names, in what is stored and in what agents are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SessionCredential {
    /// This generation of the main password.
    Generation(i64),
    /// The app password of this number.
    AppPassword(i64),
}

impl fmt::Display for SessionCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generation(number) => write!(f, "g{number}"),
            Self::AppPassword(number) => write!(f, "a{number}"),
        }
    }
}

impl From<SessionCredential> for String {
    fn from(credential: SessionCredential) -> Self {
        credential.to_string()
    }
}

const NONE: &str = "not the credential of a session: a letter, g or a, and a number";

impl FromStr for SessionCredential {
    type Err = &'static str;

    /// Only what is written like that: nobody else's name is taken for one of ours.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let numbered =
            |number: &str| number.parse::<u64>().ok().and_then(|number| i64::try_from(number).ok());
        let read = match text.split_at_checked(1) {
            Some(("g", number)) => numbered(number).map(Self::Generation),
            Some(("a", number)) => numbered(number).map(Self::AppPassword),
            Some(_) | None => None,
        };
        read.filter(|credential| credential.to_string() == text).ok_or(NONE)
    }
}

impl TryFrom<String> for SessionCredential {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["g1", "g0", "a100000000001"] {
            assert_eq!(text.parse::<SessionCredential>().map(|one| one.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "",
            "g",
            "a",
            "g-1",
            "g+1",
            "g01",
            "G1",
            "g1 ",
            "1",
            "ü1",
            "legacy.example",
            "a7.example",
            "g99999999999999999999",
        ] {
            assert_eq!(text.parse::<SessionCredential>(), Err(NONE), "{text}");
        }
    }

    #[test]
    fn it_is_stored_and_told_as_text() {
        let told = serde_json::to_string(&SessionCredential::Generation(41)).expect("JSON");
        assert_eq!(told, "\"g41\"");
        assert_eq!(
            serde_json::from_str::<SessionCredential>("\"a7\"").ok(),
            Some(SessionCredential::AppPassword(7))
        );
        serde_json::from_str::<SessionCredential>("\"legacy.example\"").expect_err("none of ours");
    }
}
