//! The envelope `{"status": …, "data": …}` and how each refusal looks in it.
//! Source: Zoho Mail API, response codes; the codes as observed on the wire.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::call::RELEASE_HEADER;
use crate::door::CHANGE_HEADER;
use crate::error::{Error, Malformed};

/// Room for what most answers need, so that they are written in one piece.
const USUAL_BYTES: usize = 4096;

/// A success with data.
pub fn success(data: impl Serialize) -> Response {
    #[derive(Serialize)]
    struct Envelope<T> {
        data: T,
        status: Status,
    }
    let envelope = Envelope { data, status: Status { code: 200, description: "success" } };
    let mut body = Vec::with_capacity(USUAL_BYTES);
    match serde_json::to_writer(&mut body, &envelope) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
        }
        Err(cause) => Error::caused("writing an answer", cause).into_response(),
    }
}

/// A success without data, as action calls answer.
pub fn bare_success() -> Response {
    #[derive(Serialize)]
    struct Envelope {
        status: Status,
    }
    Json(Envelope { status: Status { code: 200, description: "success" } }).into_response()
}

#[derive(Serialize)]
struct Status {
    code: u16,
    description: &'static str,
}

/// A refusal in the envelope.
pub fn failure(error: &Error, request_id: &str) -> Response {
    let (status, body) = rendered(error, request_id);
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Error::Unconfirmed { change: Some(change) } = error {
        response.headers_mut().insert(CHANGE_HEADER, HeaderValue::from(*change));
    }
    response
}

/// A refusal's status and body.
pub fn rendered(error: &Error, request_id: &str) -> (StatusCode, Value) {
    let (status, code) = code(error);
    if matches!(error, Error::MissingScope) {
        // The original sends this one in another dress, and clients have a parser for it.
        let body = json!([2, {
            "msg": "Error while processing!",
            "errorCode": code,
            "authFail": "true",
            "status": "401",
        }]);
        return (status, body);
    }
    let description = match status.as_u16() {
        401 => "Invalid Access",
        403 => "Forbidden",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Error",
        503 => "Service Unavailable",
        _ => "Invalid Input",
    };
    let body = json!({
        "status": {"code": status.as_u16(), "description": description},
        "data": {"errorCode": code, "moreInfo": more_info(error, request_id)},
    });
    (status, body)
}

/// Status and `errorCode`.
pub fn code(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::NoCredentials => (StatusCode::BAD_REQUEST, "INVALID_TICKET"),
        Error::BadToken => (StatusCode::UNAUTHORIZED, "INVALID_OAUTHTOKEN"),
        Error::MissingScope => (StatusCode::UNAUTHORIZED, "INVALID_OAUTHSCOPE"),
        Error::BadCredentials => (StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS"),
        Error::NotFound(_) => (StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND"),
        Error::NoRoute(_) => (StatusCode::NOT_FOUND, "URL_RULE_NOT_CONFIGURED"),
        Error::WrongMethod(_) => (StatusCode::NOT_FOUND, "INVALID_METHOD"),
        Error::Forbidden(_) => (StatusCode::FORBIDDEN, "OPERATION_NOT_PERMITTED"),
        Error::Refused(_) => (StatusCode::BAD_REQUEST, "INVALID_INPUT"),
        Error::AddressTaken(_) | Error::AddressKept { .. } => {
            (StatusCode::BAD_REQUEST, "EMAILADDRESS_ALREADY_EXISTS")
        }
        Error::BadAddress(_) => (StatusCode::BAD_REQUEST, "INVALID_EMAILADDRESS"),
        Error::BadPassword(_) => (StatusCode::BAD_REQUEST, "INVALID_PASSWORD"),
        Error::Malformed(malformed) => match malformed {
            Malformed::Unreadable(_) => (StatusCode::BAD_REQUEST, "PATTERN_NOT_MATCHED"),
            Malformed::WrongType { .. } => (StatusCode::BAD_REQUEST, "DATATYPE_NOT_MATCHED"),
            Malformed::Missing { .. } => (StatusCode::BAD_REQUEST, "LESS_THAN_MIN_OCCURANCE"),
            Malformed::Repeated { .. } => (StatusCode::BAD_REQUEST, "MORE_THAN_MAX_OCCURANCE"),
            Malformed::BadValue { .. } => (StatusCode::BAD_REQUEST, "PATTERN_NOT_MATCHED"),
            Malformed::Unknown { .. } => (StatusCode::NOT_FOUND, "EXTRA_KEY_FOUND_IN_JSON"),
            Malformed::UnknownInQuery { .. } => (StatusCode::BAD_REQUEST, "EXTRA_PARAM_FOUND"),
        },
        Error::Grant(_) => (StatusCode::BAD_REQUEST, "INVALID_OAUTHTOKEN"),
        Error::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
        Error::AnswerNotKept(_) => (StatusCode::CONFLICT, "ANSWER_NOT_KEPT"),
        Error::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"),
        Error::Unavailable { .. } | Error::ReadOnly | Error::Unconfirmed { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE")
        }
        Error::Again | Error::Stale => (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        Error::Unique(_) | Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
    }
}

/// What to do next, in the original's prose where it has one.
fn more_info(error: &Error, request_id: &str) -> String {
    match error {
        Error::NoCredentials => "Invalid ticket".to_owned(),
        Error::Malformed(Malformed::Unreadable(why)) => {
            format!("zoho-inputstream Input does not match the given pattern: {why}")
        }
        Error::Malformed(Malformed::WrongType { name, wanted }) => {
            format!("{name} Input datatype does not match: send {wanted}")
        }
        Error::Malformed(Malformed::Missing { name }) => format!("{name} Less than minimum occurence"),
        Error::Malformed(Malformed::Repeated { name }) => {
            format!(
                // The original says minimum.
                "{name} More than minimum occurence: it is given twice, or in two spellings that disagree"
            )
        }
        Error::Malformed(Malformed::Unknown { name } | Malformed::UnknownInQuery { name }) => {
            format!("{name} Extra paramters given")
        }
        Error::Unique(_) | Error::Internal(_) => {
            format!("nothing was changed; tell the operator the request id {request_id}")
        }
        Error::Again | Error::Stale => "another change was faster; send it again".to_owned(),
        Error::Unconfirmed { change: Some(change) } => {
            format!("{error}: GET …/changes/{change} says whether it was made; it may take a few seconds")
        }
        Error::AddressKept { .. } => format!("{error} with {RELEASE_HEADER}"),
        Error::BadToken
        | Error::MissingScope
        | Error::BadCredentials
        | Error::NotFound(_)
        | Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::Forbidden(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::Malformed(Malformed::BadValue { .. })
        | Error::Grant(_)
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::TooMany { .. }
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { change: None } => error.to_string(),
    }
}
