//! Who may take an address. Addresses are unique over the installation, live on verified domains
//! of the organization, and stay with their former account for a term after they are freed.

use crate::clock::{DAY, Millis};
use crate::domain::account::Facts;
use crate::domain::actor::Rank;
use crate::domain::email_address::{EmailAddress, is_reserved_name, is_role_address, reads_like};
use crate::domain::ids::AccountId;
use crate::domain::switch::{Hand, Reason};
use crate::error::Error;

/// What the store knows of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressFacts {
    pub domain: DomainState,
    pub holder: Option<Holder>,
}

/// How the address's domain stands to the organization.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DomainState {
    #[default]
    NotOurs,
    Unverified,
    Verified,
}

/// Whose row the address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// In use by this account.
    Account(AccountId),
    /// Freed, and kept for this account until then.
    Former { account: AccountId, until: Millis },
}

/// How an address was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    Freely,
    /// A protected address, given out by a super administrator on purpose.
    Released,
}

/// Decides whether the account may have the address.
///
/// # Errors
/// `BadAddress` (domain, delimiter, reserved name), `AddressTaken` (in use, or protected).
pub fn claim(
    address: &EmailAddress,
    known: &AddressFacts,
    account: AccountId,
    hand: &Hand,
    release: Option<&Reason>,
    facts: &Facts,
) -> Result<Claimed, Error> {
    match known.domain {
        DomainState::Verified => {}
        DomainState::Unverified => {
            return Err(Error::BadAddress(format!(
                "the domain {} is not verified yet; verify it first",
                address.domain()
            )));
        }
        DomainState::NotOurs => {
            return Err(Error::BadAddress(format!(
                "{} is not a domain of this organization; use one of its verified domains",
                address.domain()
            )));
        }
    }
    if address.has_delimiter(facts.delimiter) {
        return Err(Error::BadAddress(format!(
            "an address cannot contain '{0}' before the @: mail to name{0}anything already reaches name",
            facts.delimiter
        )));
    }
    if hand.rank < Rank::Admin && is_reserved(address.local(), &facts.policy.reserved_names) {
        return Err(Error::BadAddress(format!(
            "the name {} is reserved; an administrator can give it out",
            address.local()
        )));
    }
    match known.holder {
        None => Ok(Claimed::Freely),
        Some(Holder::Account(holder)) if holder == account => Ok(Claimed::Freely),
        Some(Holder::Account(_)) => {
            Err(Error::AddressTaken(format!("{address} is already in use; choose another address")))
        }
        Some(Holder::Former { account: former, until }) if former == account || until <= hand.at => {
            Ok(Claimed::Freely)
        }
        Some(Holder::Former { until, .. }) => {
            if release.is_some() && hand.rank >= Rank::SuperAdmin {
                return Ok(Claimed::Released);
            }
            let days = (until - hand.at + DAY - 1) / DAY;
            Err(Error::AddressTaken(format!(
                "{address} belonged to somebody else and is kept for them for {days} more days; \
                 a super administrator can release it with the header X-Mailward-Release-Address: reason"
            )))
        }
    }
}

fn is_reserved(local: &str, own: &[String]) -> bool {
    is_role_address(local) || is_reserved_name(local) || own.iter().any(|name| reads_like(name, local))
}
