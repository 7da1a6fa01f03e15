//! Every refusal as it looks on the wire, for the documents: `docs/api/errors.md` and the list of
//! codes in the OpenAPI document. A new refusal needs its sentence and its example here.

use serde_json::Value;

use super::{envelope, oauth};
use crate::error::{Error, GrantRefusal, Malformed};

/// A refusal in the documents.
#[derive(Debug)]
pub struct Documented {
    pub error: Error,
    pub status: u16,
    /// `errorCode`, or `error` at the token endpoint.
    pub code: &'static str,
    /// In which case it comes.
    pub when: &'static str,
    /// The body, for example.
    pub body: Value,
}

/// The refusals of the API, in the envelope.
pub fn in_envelope() -> Vec<Documented> {
    let documented = |error: Error| {
        let (status, body) = envelope::rendered(&error, "5f2c9a01d4e8b763");
        let code = envelope::code(&error).1;
        Documented { when: when(&error), status: status.as_u16(), code, body, error }
    };
    examples().into_iter().map(documented).collect()
}

/// The refusals of the token endpoint, in the original's dress.
pub fn at_the_token_endpoint() -> Vec<Documented> {
    let documented = |refusal: GrantRefusal| {
        let (status, body) = oauth::rendered(refusal);
        let code = oauth::word(refusal);
        Documented { when: grant_when(refusal), status: status.as_u16(), code, body, error: refusal.into() }
    };
    grant_examples().map(documented).into()
}

fn examples() -> Vec<Error> {
    let name = || "zuid".to_owned();
    vec![
        Error::NoCredentials,
        Error::BadToken,
        Error::MissingScope,
        Error::BadCredentials,
        Error::Forbidden(
            "this user is a super administrator; only a higher rank may change the account".into(),
        ),
        Error::NotFound("Account id 1000000000009 is invalid; it looks like a zuid".into()),
        Error::NoRoute("there is no such address; see /openapi.json for those there are".into()),
        Error::WrongMethod("PATCH".into()),
        Malformed::Unreadable("the body is empty; send a JSON object".into()).into(),
        Malformed::WrongType { name: name(), wanted: "a whole number of at most 64 bits" }.into(),
        Malformed::Missing { name: "mode".into() }.into(),
        Malformed::Repeated { name: name() }.into(),
        Malformed::BadValue { name: "role".into(), why: "a role is member, admin or super_admin".into() }
            .into(),
        Malformed::Unknown { name: "surprise".into() }.into(),
        Malformed::UnknownInQuery { name: "surprise".into() }.into(),
        Error::Refused("zuid is null".into()),
        Error::AddressTaken(
            "email address already exists: rebecca@zylker.com is already in use; choose another one".into(),
        ),
        Error::BadAddress(
            "zylker.org is not a domain of this organization; use one of its verified domains".into(),
        ),
        Error::BadPassword("the password is too short; use at least 8 characters".into()),
        Error::KeyReused,
        Error::AnswerNotKept("revoke the app password and make another one"),
        Error::TooMany { retry_after_seconds: 60 },
        Error::Unavailable { why: "too many passwords wait to be hashed", retry_after_seconds: 1 },
        Error::Unconfirmed { change: Some(200_000_000_000_000_015) },
        Error::Stale,
        Error::internal("what happened stands in the log alone"),
    ]
}

fn when(error: &Error) -> &'static str {
    match error {
        Error::NoCredentials => "The request has no `Authorization` header.",
        Error::BadToken => {
            "The token is unknown, expired or revoked, or its user, client or organization is switched off. \
             Refresh it and try once more."
        }
        Error::MissingScope => "The token is good, but its scope does not cover this call.",
        Error::BadCredentials => {
            "`/self/password`: address and password open nothing. One answer for every reason, also for \
             an account that too many tries have closed; too many for one address or from one source are 429. \
             Where a call wants `currentPassword` beside a good token: that password is wrong. A new token does \
             not help."
        }
        Error::Forbidden(_) => {
            "The caller's rank does not reach, somebody else set the block, or it is about the last super administrator."
        }
        Error::NotFound(_) => "Nothing with that id or address in the caller's reach.",
        Error::NoRoute(_) => "There is no such address, or the id in it is no number.",
        Error::WrongMethod(_) => "The address does not take this method.",
        Error::Malformed(malformed) => match malformed {
            Malformed::Unreadable(_) => {
                "The body or the query cannot be read: no JSON object, too large, too deep, not UTF-8."
            }
            Malformed::WrongType { .. } => "A parameter has the wrong JSON type.",
            Malformed::Missing { .. } => "A mandatory parameter is missing.",
            Malformed::Repeated { .. } => "A parameter is given twice, or in two spellings that disagree.",
            Malformed::BadValue { .. } => {
                "A parameter has a value that cannot be meant, such as an unknown `mode`."
            }
            Malformed::Unknown { .. } => {
                "`compat.strict` is on and the body has a key that the call does not know."
            }
            Malformed::UnknownInQuery { .. } => {
                "`compat.strict` is on and the query of a list or a deletion has a parameter that the call does not know."
            }
        },
        Error::Refused(_) => "The request breaks a rule of the call, such as naming two users at once.",
        Error::AddressTaken(_) | Error::AddressKept { .. } => {
            "The address is in use, or kept for its former account."
        }
        Error::BadAddress(_) => "The address cannot be used: syntax, domain, or a reserved name.",
        Error::BadPassword(_) => "The password does not meet the organization's policy.",
        Error::KeyReused => {
            "The `Idempotency-Key` was used within 24 hours for a request of the same caller to the same \
             address that said something else."
        }
        Error::AnswerNotKept(_) => {
            "The call with this `Idempotency-Key` was made; its answer carried a secret, which is not kept."
        }
        Error::TooMany { .. } => "Too many requests. `Retry-After` says when to come back.",
        Error::Unavailable { .. } | Error::ReadOnly => {
            "Not now; nothing was changed. `Retry-After` says when to come back."
        }
        Error::Unconfirmed { .. } => {
            "The connection to the database broke while it stored the change. Look it up by the id in \
             `X-Mailward-Change` before it is sent again."
        }
        Error::Again | Error::Stale => "Another change was faster; nothing was changed. Send it again.",
        Error::Unique(_) | Error::Internal(_) => {
            "Our fault or the machine's. The operator finds the request id in the log."
        }
        Error::Grant(refusal) => grant_when(*refusal),
    }
}

fn grant_examples() -> [GrantRefusal; 9] {
    [
        GrantRefusal::InvalidCode,
        GrantRefusal::InvalidClient,
        GrantRefusal::InvalidClientSecret,
        GrantRefusal::InvalidRedirectUri,
        GrantRefusal::MissingOrganization,
        GrantRefusal::InvalidScope,
        GrantRefusal::UnsupportedGrantType,
        GrantRefusal::TooOften { retry_after_seconds: 600 },
        GrantRefusal::UnknownToken,
    ]
}

fn grant_when(refusal: GrantRefusal) -> &'static str {
    match refusal {
        GrantRefusal::InvalidCode => {
            "The code or refresh token is unknown, used, expired, revoked or another client's."
        }
        GrantRefusal::InvalidClient => "There is no such client, it is switched off, or it sent no secret.",
        GrantRefusal::InvalidClientSecret => "The client's secret is wrong.",
        GrantRefusal::InvalidRedirectUri => "`redirect_uri` is not the one of the authorization request.",
        GrantRefusal::MissingOrganization => "`soid` does not name the organization of the client's owner.",
        GrantRefusal::InvalidScope => "A scope is unknown, or there is none.",
        GrantRefusal::UnsupportedGrantType => "`grant_type` is none of the three.",
        GrantRefusal::TooOften { .. } => {
            "Too many access tokens from one refresh token, or too many failures from one \
             address. `Retry-After` says when to come back."
        }
        GrantRefusal::UnknownToken => "`/oauth/v2/token/revoke`: there is no such token.",
    }
}
