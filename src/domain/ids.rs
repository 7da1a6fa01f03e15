//! Typed ids. Every kind has its own range of 64-bit numbers, so that an id says what it is.

use serde::{Deserialize, Serialize};

use crate::error::Error;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $label:literal, $first:literal ..= $last:literal, block $block:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $name(i64);

            impl $name {
                /// The ends of the kind's range. The greatest is never given to anything; it stands for
                /// what a dry run would make.
                pub const LEAST: Self = Self($first);
                pub const GREATEST: Self = Self($last);

                /// The id with this number, if the number is in the kind's range.
                pub fn new(number: i64) -> Option<Self> {
                    ($first..=$last).contains(&number).then_some(Self(number))
                }
                pub fn get(self) -> i64 {
                    self.0
                }
            }

            impl Id for $name {
                const KIND: &'static str = $label;
                const FIRST: i64 = $first;
                const BLOCK: i64 = $block;
                const GREATEST: Self = Self($last);
                fn from_number(number: i64) -> Option<Self> {
                    Self::new(number)
                }
                fn number(self) -> i64 {
                    self.0
                }
            }

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    write!(f, "{}", self.0)
                }
            }

            impl std::str::FromStr for $name {
                type Err = ();
                fn from_str(text: &str) -> Result<Self, ()> {
                    text.parse().ok().and_then(Self::new).ok_or(())
                }
            }
        )*

        /// What kind of id a number looks like, for messages to people who mixed them up.
        fn kind_of(number: i64) -> Option<&'static str> {
            $(if ($first..=$last).contains(&number) { return Some($label); })*
            None
        }

        /// Every kind with its first number and its block, for the table that hands ids out.
        pub const KINDS: &[(&str, i64, i64)] = &[$(($label, $first, $block)),*];
    };
}

/// What all kinds have in common.
pub trait Id: Sized + Copy {
    /// The word for the kind, as the API spells it.
    const KIND: &'static str;
    const FIRST: i64;
    /// How many ids a node takes at once from the table that hands them out.
    const BLOCK: i64;
    /// The last of the range, which nothing ever has.
    const GREATEST: Self;
    fn from_number(number: i64) -> Option<Self>;
    fn number(self) -> i64;
}

ids! {
    /// `zoid`: an organization.
    OrganizationId: "zoid", 10_000_001 ..= 99_999_999_999, block 1;
    /// `zuid`: a person. Below 2^53, so that JavaScript clients keep every digit.
    UserId: "zuid", 1_000_000_000_001 ..= 9_007_199_254_740_991, block 100;
    /// `accountId`: a mailbox. Nineteen digits, sent as a JSON string.
    AccountId: "accountId", 2_560_636_000_000_008_002 ..= 8_999_999_999_999_999_999, block 100;
    /// `domainId`.
    DomainId: "domainId", 100_000_000_000_000_001 ..= 199_999_999_999_999_999, block 10;
    /// One accepted change (or one folded refusal): its receipt, effects and audit entries carry it.
    ChangeId: "changeId", 200_000_000_000_000_001 ..= 299_999_999_999_999_999, block 1000;
    /// A browser's session, as its owner sees it in a list.
    WebSessionId: "webSessionId", 300_000_000_000_000_001 ..= 399_999_999_999_999_999, block 100;
    /// A passkey, as its owner sees it in a list.
    PasskeyId: "passkeyId", 400_000_000_000_000_001 ..= 499_999_999_999_999_999, block 10;
    /// What one consent or one self-client code gave: the root of its tokens.
    GrantId: "grantId", 500_000_000_000_000_001 ..= 599_999_999_999_999_999, block 100;
    /// An app password; its sessions are named `<mailbox>@a<id>`.
    AppPasswordId: "appPasswordId", 100_000_000_001 ..= 999_999_999_999, block 10;
}

/// The answer for a number that names no organization, or not the caller's.
pub fn no_such_organization(number: i64) -> Error {
    invalid("Organization id", number, &[OrganizationId::KIND])
}

/// The answer for a number that names no account in the caller's reach.
pub fn no_such_account(number: i64) -> Error {
    invalid("Account id", number, &[AccountId::KIND])
}

/// The answer for a number that was sent as a zuid and names no user in the caller's reach.
pub fn no_such_user(number: i64) -> Error {
    invalid("zuid", number, &[UserId::KIND, AccountId::KIND])
}

/// With a hint where the number looks like another kind of id than those that are not worth a word.
fn invalid(what: &str, number: i64, unsaid: &[&str]) -> Error {
    let kind = kind_of(number).filter(|kind| !unsaid.contains(kind));
    let hint = kind.map(|kind| format!("; it looks like a {kind}")).unwrap_or_default();
    Error::NotFound(format!("{what} {number} is invalid{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_kind_of_id_it_is() {
        assert_eq!(kind_of(10_000_001), Some("zoid"));
        assert_eq!(kind_of(1_000_000_000_001), Some("zuid"));
        assert_eq!(kind_of(2_560_636_000_000_008_002), Some("accountId"));
        assert_eq!(kind_of(7), None);
    }

    #[test]
    fn a_wrong_id_is_answered_with_what_it_looks_like() {
        let said = |number| no_such_account(number).to_string();
        assert_eq!(said(10_000_001), "Account id 10000001 is invalid; it looks like a zoid");
        assert_eq!(said(1_000_000_000_001), "Account id 1000000000001 is invalid; it looks like a zuid");
        assert_eq!(said(2_560_636_000_000_008_002), "Account id 2560636000000008002 is invalid");
        assert_eq!(said(7), "Account id 7 is invalid");
        let said = |number| no_such_organization(number).to_string();
        assert_eq!(said(10_000_001), "Organization id 10000001 is invalid");
        assert_eq!(said(1_000_000_000_001), "Organization id 1000000000001 is invalid; it looks like a zuid");
        let said = |number| no_such_user(number).to_string();
        assert_eq!(said(1_000_000_000_001), "zuid 1000000000001 is invalid");
        assert_eq!(said(2_560_636_000_000_008_002), "zuid 2560636000000008002 is invalid");
        assert_eq!(said(10_000_001), "zuid 10000001 is invalid; it looks like a zoid");
    }

    #[test]
    fn an_id_is_in_the_range_of_its_kind_and_read_as_it_is_written() {
        assert_eq!(UserId::new(1_000_000_000_000), None);
        assert_eq!(UserId::new(1_000_000_000_001), Some(UserId::LEAST));
        assert_eq!(UserId::from_number(9_007_199_254_740_991), Some(UserId::GREATEST));
        assert_eq!(UserId::new(9_007_199_254_740_992), None);
        assert_eq!("1000000000001".parse(), Ok(UserId::LEAST));
        assert_eq!(UserId::LEAST.to_string(), "1000000000001");
        assert!("10000001".parse::<UserId>().is_err() && "x".parse::<UserId>().is_err());
    }

    #[test]
    fn ranges_do_not_overlap() {
        for (kind, first, _) in KINDS {
            assert_eq!(kind_of(*first), Some(*kind));
        }
    }
}
