//! Who may take an address. Addresses are unique over the installation, live on verified domains
//! of the organization, and stay with their former account for a term after they are freed.

use crate::clock::{DAY, Millis};
use crate::domain::account::Facts;
use crate::domain::actor::Rank;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::AccountId;
use crate::domain::reserved_names::{is_reserved_name, is_role_address, reads_like};
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
    /// Verified, and switched off: nobody with an address there gets in.
    Off,
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
/// `BadAddress` (domain, delimiter, signs, reserved name), `AddressTaken` (in use), `AddressKept`.
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
        DomainState::Off => return Err(switched_off(address)),
        DomainState::NotOurs => {
            return Err(Error::BadAddress(format!(
                "{} is not a domain of this organization; use one of its verified domains",
                address.domain()
            )));
        }
    }
    check_local_part(address, facts.delimiter)?;
    if hand.rank < Rank::Admin && is_reserved(address.local(), &facts.policy.reserved_names) {
        return Err(Error::BadAddress(format!(
            "the name {} is reserved; an administrator can give it out",
            address.local()
        )));
    }
    match known.holder {
        None => Ok(Claimed::Freely),
        Some(Holder::Account(holder)) if holder == account => Ok(Claimed::Freely),
        Some(Holder::Account(_)) => Err(taken(address)),
        Some(Holder::Former { account: former, until }) if former == account || until <= hand.at => {
            Ok(Claimed::Freely)
        }
        Some(Holder::Former { until, .. }) => {
            if release.is_some() && hand.rank >= Rank::SuperAdmin {
                return Ok(Claimed::Released);
            }
            let days = (until - hand.at + DAY - 1) / DAY;
            Err(Error::AddressKept { address: address.to_string(), days })
        }
    }
}

/// What is said of an address on a domain that is switched off.
pub fn switched_off(address: &EmailAddress) -> Error {
    Error::BadAddress(format!("the domain {} is switched off; switch it on first", address.domain()))
}

/// What is said of an address that somebody has. The first words are the original's.
pub fn taken(address: &EmailAddress) -> Error {
    Error::AddressTaken(format!(
        "email address already exists: {address} is already in use; choose another one"
    ))
}

/// Whether somebody with that address could log in and receive.
///
/// # Errors
/// `BadAddress`.
pub fn check_local_part(address: &EmailAddress, delimiter: char) -> Result<(), Error> {
    if address.has_delimiter(delimiter) {
        return Err(Error::BadAddress(format!(
            "an address cannot contain '{delimiter}' before the @: mail to name{delimiter}anything already reaches name"
        )));
    }
    match address.local().chars().find(|sign| !opens_a_mailbox(*sign)) {
        None => Ok(()),
        Some(sign) => Err(Error::BadAddress(format!(
            "an address here has letters, digits, dots, hyphens and underscores before the @: with {sign} nobody \
             could log in, and mail would come back"
        ))),
    }
}

/// Dovecot's default `auth_username_chars`, which guards its queries: it knows no user with any other sign, though
/// addresses may have them (RFC 5322).
fn opens_a_mailbox(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || ".-_".contains(sign)
}

fn is_reserved(local: &str, own: &[String]) -> bool {
    is_role_address(local) || is_reserved_name(local) || own.iter().any(|name| reads_like(name, local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::actor::Who;

    const NOW: i64 = 1_780_310_520_000;

    fn account(number: i64) -> AccountId {
        AccountId::new(2_560_636_000_000_008_002 + number).expect("an accountId")
    }

    fn verified(holder: Option<Holder>) -> AddressFacts {
        AddressFacts { domain: DomainState::Verified, holder }
    }

    /// Account 1 asks for an address as somebody of that rank.
    fn ask(text: &str, known: &AddressFacts, rank: Rank, release: bool) -> Result<Claimed, String> {
        let address = EmailAddress::parse(text).expect("an address");
        let hand = Hand { who: Who::Clock, rank, own: false, at: NOW, reason: None };
        let reason = Reason::parse("on purpose").expect("a reason").expect("one");
        let mut facts = Facts { delimiter: '+', ..Facts::default() };
        facts.policy.reserved_names = vec!["Front.Desk".to_owned()];
        let claimed = claim(&address, known, account(1), &hand, release.then_some(&reason), &facts);
        claimed.map_err(|error| match error {
            Error::BadAddress(why) => format!("bad: {why}"),
            Error::AddressTaken(why) => format!("taken: {why}"),
            Error::AddressKept { .. } => format!("kept: {error}"),
            other => panic!("{other:?} is no way to refuse an address"),
        })
    }

    #[test]
    fn an_address_that_could_not_log_in_or_receive_is_given_to_nobody() {
        for local in ["o'brien", "a/b", "{x}", "a=b", "sales&more"] {
            let why = ask(&format!("{local}@zylker.example"), &verified(None), Rank::Operator, true);
            assert!(why.expect_err(local).contains("nobody could log in"));
        }
        assert_eq!(
            ask("o_brien-1.x@zylker.example", &verified(None), Rank::Member, false),
            Ok(Claimed::Freely)
        );
    }

    #[test]
    fn an_address_is_had_on_a_domain_that_was_proved_to_be_the_organizations() {
        let on =
            |domain| ask("mia@zylker.example", &AddressFacts { domain, holder: None }, Rank::Operator, false);
        assert_eq!(on(DomainState::Verified), Ok(Claimed::Freely));
        assert!(on(DomainState::Unverified).expect_err("not proved").contains("not verified yet"));
        assert!(on(DomainState::NotOurs).expect_err("foreign").contains("is not a domain of this"));
    }

    #[test]
    fn what_reaches_somebody_already_or_has_a_meaning_is_not_had() {
        let known = verified(None);
        let tag = ask("mia+tag@zylker.example", &known, Rank::Operator, false).expect_err("a detail");
        assert!(tag.contains("cannot contain '+'"), "{tag}");
        for name in ["postmaster", "payroll", "frontdesk"] {
            let text = format!("{name}@zylker.example");
            for rank in [Rank::Member, Rank::HelpDesk] {
                let why = ask(&text, &known, rank, false).expect_err("reserved");
                assert!(why.contains(&format!("the name {name} is reserved")), "{why}");
            }
            assert_eq!(ask(&text, &known, Rank::Admin, false), Ok(Claimed::Freely));
        }
        assert_eq!(ask("mia@zylker.example", &known, Rank::Member, false), Ok(Claimed::Freely));
    }

    #[test]
    fn an_address_has_one_owner() {
        let with = |number| verified(Some(Holder::Account(account(number))));
        assert_eq!(ask("mia@zylker.example", &with(1), Rank::Member, false), Ok(Claimed::Freely));
        for rank in [Rank::Member, Rank::Operator] {
            let why = ask("mia@zylker.example", &with(2), rank, true).expect_err("in use");
            assert!(why.starts_with("taken: ") && why.contains("already in use"), "{why}");
        }
    }

    #[test]
    fn a_freed_address_goes_to_others_after_its_term_or_on_purpose() {
        let former = |number, until| verified(Some(Holder::Former { account: account(number), until }));
        let text = "mia@zylker.example";
        assert_eq!(ask(text, &former(1, NOW + DAY), Rank::Member, false), Ok(Claimed::Freely), "its own");
        for over in [NOW - 1, NOW] {
            assert_eq!(ask(text, &former(2, over), Rank::Member, false), Ok(Claimed::Freely));
        }
        for (rank, release) in [(Rank::Member, true), (Rank::Admin, true), (Rank::SuperAdmin, false)] {
            let why = ask(text, &former(2, NOW + DAY), rank, release).expect_err("kept");
            assert!(
                why.starts_with("kept: ") && why.contains("a super administrator can release it"),
                "{why}"
            );
        }
        for rank in [Rank::SuperAdmin, Rank::Operator] {
            assert_eq!(ask(text, &former(2, NOW + 1), rank, true), Ok(Claimed::Released));
        }
        for (left, days) in [(1, 1), (DAY, 1), (DAY + 1, 2), (180 * DAY, 180)] {
            let why = ask(text, &former(2, NOW + left), Rank::Admin, false).expect_err("kept");
            assert!(why.contains(&format!("for them for {days} more days")), "{left}: {why}");
        }
    }
}
