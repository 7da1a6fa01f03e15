//! What an error means to a shell: the one renderer of `Error` at this door.

use std::process::ExitCode;

use serde_json::json;

use crate::error::{Error, GrantRefusal};

pub const DONE: u8 = 0;
/// Our fault or the machine's.
pub const FAILURE: u8 = 1;
/// The command or a value in it cannot be meant.
pub const USAGE: u8 = 2;
/// A rule says no.
pub const REFUSED: u8 = 3;
pub const NOT_FOUND: u8 = 4;

/// Tells the error on standard error; answers the exit code.
pub fn fail(error: &Error, json: bool) -> ExitCode {
    let (code, kind) = meaning(error);
    let text = words(error);
    if json {
        in_json(code, kind, &text);
    } else {
        eprintln!("mailward: {text}");
    }
    ExitCode::from(code)
}

/// The same for machines, of a command line that cannot be read.
pub fn misused(text: &str) -> ExitCode {
    in_json(USAGE, "usage", text.trim_end());
    ExitCode::from(USAGE)
}

fn in_json(code: u8, kind: &str, text: &str) {
    eprintln!("{}", json!({"error": {"kind": kind, "message": text, "exit_code": code}}));
}

/// The exit code, and its name for machines.
pub fn meaning(error: &Error) -> (u8, &'static str) {
    match error {
        Error::Malformed(_) | Error::Grant(GrantRefusal::InvalidScope) => (USAGE, "usage"),
        Error::NotFound(_) | Error::Grant(GrantRefusal::UnknownToken) => (NOT_FOUND, "not_found"),
        Error::Forbidden(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::AddressKept { .. }
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::BadCredentials
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::TooMany { .. }
        | Error::NoCredentials
        | Error::BadToken
        | Error::MissingScope
        | Error::Grant(
            GrantRefusal::InvalidCode
            | GrantRefusal::InvalidClient
            | GrantRefusal::InvalidClientSecret
            | GrantRefusal::InvalidRedirectUri
            | GrantRefusal::MissingOrganization
            | GrantRefusal::UnsupportedGrantType
            | GrantRefusal::TooOften { .. },
        ) => (REFUSED, "refused"),
        Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. }
        | Error::Again
        | Error::Stale
        | Error::Unique(_)
        | Error::Internal(_) => (FAILURE, "failure"),
    }
}

/// The whole chain of causes: here the reader is who can mend the machine.
fn words(error: &Error) -> String {
    match error {
        Error::Internal(cause) => format!("{cause:#}"),
        Error::AddressKept { .. } => format!("{error} with --release-address REASON"),
        Error::Unconfirmed { change: Some(change) } => {
            format!("{error}: mailward change show {change} says whether it was made")
        }
        other => other.to_string(),
    }
}
