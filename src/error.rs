//! Every refusal Mailward knows, named after what the caller can understand.
//!
//! One closed enum for the whole crate; each door renders it with an exhaustive
//! `match` (`api::envelope`, `api::oauth`, `console::refusals`, `cli::exit`). No HTTP status lives here.

use std::sync::Arc;

/// When it is worth while to come back where changes are switched off.
const READ_ONLY_SECONDS: u64 = 30;

/// What went wrong, as far as the caller can act on it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request carried no credentials at all.
    #[error("no credentials were sent")]
    NoCredentials,
    /// The token is unknown, expired or revoked, or its user, client or organization is off.
    #[error("the access token is unknown, expired or revoked")]
    BadToken,
    /// The token is good, but does not cover this operation.
    #[error("the token's scope does not cover this operation")]
    MissingScope,
    /// Nothing with that id in the caller's reach. The text says what kind of id it looks like.
    #[error("{0}")]
    NotFound(String),
    /// No such route.
    #[error("{0}")]
    NoRoute(String),
    /// The route exists, the method does not.
    #[error("this address does not take the method {0}")]
    WrongMethod(String),
    /// The caller may not do this: rank, last super admin, a block somebody else set.
    #[error("{0}")]
    Forbidden(String),
    /// The request does not have the form the call asks for.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A well-formed request that breaks a rule of this call.
    #[error("{0}")]
    Refused(String),
    /// Somebody has the address.
    #[error("{0}")]
    AddressTaken(String),
    /// Nobody has the address, and it is kept for its former owner. Each door adds how it is released there.
    #[error(
        "{address} belonged to somebody else and is kept for them for {days} more days; a super administrator can \
         release it"
    )]
    AddressKept { address: String, days: i64 },
    /// The address cannot be used: syntax, domain, reserved name.
    #[error("{0}")]
    BadAddress(String),
    /// The password does not meet the policy.
    #[error("{0}")]
    BadPassword(String),
    /// Address and password do not open anything. One answer for every reason.
    #[error("the address or the password is wrong")]
    BadCredentials,
    /// The token endpoint gives nothing.
    #[error(transparent)]
    Grant(#[from] GrantRefusal),
    /// An idempotency key was used before for a request that asked something else.
    #[error("this idempotency key was used for another request; use a new key for a new request")]
    KeyReused,
    /// A call with that idempotency key was made, and its answer carried a secret. The text says where
    /// to make a new one.
    #[error("this call was made before, and its answer carried a secret that was shown once; {0}")]
    AnswerNotKept(&'static str),
    /// Too many tries; come back after that many seconds.
    #[error("too many requests; try again in {retry_after_seconds} seconds")]
    TooMany { retry_after_seconds: u64 },
    /// Mailward or its database cannot take this now; nothing was changed.
    #[error("{why}; try again in {retry_after_seconds} seconds")]
    Unavailable { why: &'static str, retry_after_seconds: u64 },
    /// The operator has switched changes off for a while (`mailward read-only on`): meant so, and no failure.
    #[error(
        "Mailward is read-only for the moment: accounts cannot be changed, mail works as before; try again in \
         {READ_ONLY_SECONDS} seconds"
    )]
    ReadOnly,
    /// The connection to the database broke while it committed: the change was made or not. Its id,
    /// where it has one, is what to look for before it is repeated.
    #[error("the database did not confirm the change; look it up before repeating it")]
    Unconfirmed { change: Option<i64> },
    /// A statement met another change; the write is run again. Never leaves `store`.
    #[error("the change met another one and has to run again")]
    Again,
    /// A row changed between load and save.
    #[error("the record was changed by somebody else meanwhile")]
    Stale,
    /// A UNIQUE rule refused the row; the constraint's name, the same on both engines.
    #[error("{0} is taken")]
    Unique(String),
    /// Our fault or the machine's. Logged once where it is answered; the caller sees a request id.
    #[error("internal error: {0}")]
    Internal(Arc<anyhow::Error>),
}

/// How a request fails to have the documented form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body (or query) cannot be read at all; the text says why.
    #[error("{0}")]
    Unreadable(String),
    /// A parameter has the wrong JSON type.
    #[error("{name} must be {wanted}")]
    WrongType { name: String, wanted: &'static str },
    /// A mandatory parameter is missing.
    #[error("{name} is missing")]
    Missing { name: String },
    /// A parameter is given twice, or in two spellings that disagree.
    #[error("{name} is given more than once")]
    Repeated { name: String },
    /// A parameter has the right type and an impossible value.
    #[error("{name}: {why}")]
    BadValue { name: String, why: String },
    /// An unknown parameter, where the configuration (`compat.strict`) refuses them.
    #[error("{name} is not a parameter of this call")]
    Unknown { name: String },
    /// The same of a query.
    #[error("{name} is not a parameter of this call")]
    UnknownInQuery { name: String },
}

/// Why the token endpoint gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    #[error("the code or refresh token is unknown, used, expired or another client's")]
    InvalidCode,
    #[error("there is no such client, or it is disabled")]
    InvalidClient,
    #[error("the client secret is wrong")]
    InvalidClientSecret,
    #[error("the redirect_uri is not the one of the authorization request")]
    InvalidRedirectUri,
    #[error("soid must name the organization of the client's owner, as ZohoMail.<zoid>")]
    MissingOrganization,
    #[error("the scope is unknown or empty")]
    InvalidScope,
    #[error("the grant_type is authorization_code, refresh_token or client_credentials")]
    UnsupportedGrantType,
    #[error("too many requests with this token; try again in {retry_after_seconds} seconds")]
    TooOften { retry_after_seconds: u64 },
    #[error("the token is unknown")]
    UnknownToken,
}

impl Error {
    /// When it is worth while to come back, where that helps.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after_seconds } | Self::Unavailable { retry_after_seconds, .. } => {
                Some(*retry_after_seconds)
            }
            Self::ReadOnly => Some(READ_ONLY_SECONDS),
            Self::Again | Self::Stale => Some(1),
            Self::Unconfirmed { .. } => Some(5),
            Self::NoCredentials
            | Self::BadToken
            | Self::MissingScope
            | Self::BadCredentials
            | Self::NotFound(_)
            | Self::NoRoute(_)
            | Self::WrongMethod(_)
            | Self::Forbidden(_)
            | Self::Refused(_)
            | Self::AddressTaken(_)
            | Self::AddressKept { .. }
            | Self::BadAddress(_)
            | Self::BadPassword(_)
            | Self::Malformed(_)
            | Self::Grant(_)
            | Self::KeyReused
            | Self::AnswerNotKept(_)
            | Self::Unique(_)
            | Self::Internal(_) => None,
        }
    }

    /// Whether changes are switched off: no failure, and nothing to complain of.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly)
    }

    /// An internal failure with what we were trying to do. Never put a secret in `what`.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        Self::Internal(Arc::new(anyhow::anyhow!("{what}")))
    }

    /// An internal failure that keeps its cause.
    pub fn caused(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(anyhow::Error::new(cause).context(what)))
    }

    /// A value of the right type that cannot be meant.
    pub fn bad_value(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Malformed(Malformed::BadValue { name: name.into(), why: why.into() })
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_meets_changes_switched_off_reads_what_goes_on_and_when_to_come_back() {
        assert_eq!(
            Error::ReadOnly.to_string(),
            "Mailward is read-only for the moment: accounts cannot be changed, mail works as before; \
             try again in 30 seconds"
        );
        assert_eq!(Error::ReadOnly.retry_after_seconds(), Some(30));
    }
}
