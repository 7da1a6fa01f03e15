//! How each refusal looks in the browser: a page that says what happened and what to do next.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::console::page::{Frame, answer};
use crate::console::texts::ENGLISH;
use crate::error::{Error, Result};

#[derive(Template)]
#[template(path = "refusal.html")]
struct Page {
    frame: Frame,
    heading: &'static str,
    text: String,
    request_id: String,
}

/// A refusal as a whole page.
pub fn page(error: &Error, request_id: &str) -> Response {
    let (status, heading) = heading(error);
    let page = Page {
        frame: Frame::outside(heading, String::new()),
        heading,
        text: text(error),
        request_id: request_id.to_owned(),
    };
    let mut response = answer(status, &page);
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A refusal in a sentence, to stand beside the form that caused it.
pub fn text(error: &Error) -> String {
    let t = &ENGLISH;
    match error {
        Error::BadCredentials => t.wrong_credentials.to_owned(),
        Error::NoCredentials | Error::BadToken => t.sign_in_again.to_owned(),
        Error::Internal(_) | Error::Unique(_) => t.our_fault.to_owned(),
        Error::Again | Error::Stale => t.another_was_faster.to_owned(),
        Error::MissingScope => t.not_for_you.to_owned(),
        Error::NotFound(_)
        | Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::Forbidden(_)
        | Error::Malformed(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::Grant(_)
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::TooMany { .. }
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. } => sentence(&error.to_string()),
        // Whoever may release the address is given a field for the reason.
        Error::AddressKept { .. } => sentence(&format!("{error} with {}", t.release_with_reason)),
    }
}

/// Whether it is about an address that is kept for its former owner, which can be released.
pub fn is_kept_address(error: &Error) -> bool {
    matches!(error, Error::AddressKept { .. })
}

/// With a capital and a full stop; an address at the beginning stays as it is written.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let begins_with_address = text.split_whitespace().next().is_some_and(|word| word.contains('@'));
    let mut sentence: String =
        if begins_with_address { text.to_owned() } else { first.to_uppercase().chain(letters).collect() };
    if !sentence.ends_with(['.', '?', '!']) {
        sentence.push('.');
    }
    sentence
}

/// What a page tells beside its form, and the status that it has then.
pub struct Trouble {
    pub status: StatusCode,
    pub problem: Option<String>,
}

impl Trouble {
    /// Of a page that has nothing to tell.
    pub const NONE: Self = Self { status: StatusCode::OK, problem: None };

    /// What a refusal says, whatever it is about.
    pub fn of(error: &Error) -> Self {
        Self { status: heading(error).0, problem: Some(text(error)) }
    }
}

/// A refusal that says what is wrong with what a form asked for. Any other is a page of its own.
///
/// # Errors
/// The refusal itself.
pub fn beside(error: Error) -> Result<Trouble> {
    if belongs_to_form(&error) { Ok(Trouble::of(&error)) } else { Err(error) }
}

/// The same of a form of the own account: there a wrong password is about the form too, and so is an entry that
/// is gone meanwhile.
///
/// # Errors
/// The refusal itself.
pub fn beside_own(error: Error) -> Result<Trouble> {
    match error {
        Error::NotFound(_) | Error::BadCredentials => Ok(Trouble::of(&error)),
        other => beside(other),
    }
}

/// The same of a form that asks somebody who is signed in for the current password.
///
/// # Errors
/// The refusal itself.
pub fn beside_password(error: Error) -> Result<Trouble> {
    let wrong = matches!(error, Error::BadCredentials).then(|| ENGLISH.wrong_current_password.to_owned());
    let trouble = beside_own(error)?;
    Ok(Trouble { problem: wrong.or(trouble.problem), ..trouble })
}

fn belongs_to_form(error: &Error) -> bool {
    match error {
        Error::Forbidden(_)
        | Error::Malformed(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::AddressKept { .. }
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::Again
        | Error::Stale
        | Error::TooMany { .. }
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. } => true,
        Error::NoCredentials
        | Error::BadToken
        | Error::MissingScope
        | Error::NotFound(_)
        | Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::BadCredentials
        | Error::Grant(_)
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::Unique(_)
        | Error::Internal(_) => false,
    }
}

/// Status and title.
fn heading(error: &Error) -> (StatusCode, &'static str) {
    let t = &ENGLISH;
    match error {
        Error::NoCredentials | Error::BadToken | Error::BadCredentials => {
            (StatusCode::UNAUTHORIZED, t.signed_out)
        }
        Error::MissingScope | Error::Forbidden(_) => (StatusCode::FORBIDDEN, t.not_allowed),
        Error::NotFound(_) | Error::NoRoute(_) => (StatusCode::NOT_FOUND, t.not_found),
        Error::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, t.not_found),
        Error::Malformed(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::AddressKept { .. }
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::Grant(_) => (StatusCode::BAD_REQUEST, t.not_done),
        Error::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, t.not_done),
        Error::AnswerNotKept(_) => (StatusCode::CONFLICT, t.not_done),
        Error::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, t.too_many),
        Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. }
        | Error::Again
        | Error::Stale => (StatusCode::SERVICE_UNAVAILABLE, t.not_now),
        Error::Unique(_) | Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, t.failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital_and_an_address_does_not() {
        assert_eq!(sentence("there is no such user here"), "There is no such user here.");
        assert_eq!(
            sentence("peter@zylker.example is already in use"),
            "peter@zylker.example is already in use."
        );
        assert_eq!(sentence("the address a@b.example is taken!"), "The address a@b.example is taken!");
        assert_eq!(sentence(""), "");
    }
}
