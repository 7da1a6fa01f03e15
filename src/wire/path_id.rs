//! The `{id}` segment of a path: clients put a zuid, an accountId or an address there.

use super::decimal;

/// What an `{id}` segment looks like; which kind of id a number is, `domain::ids` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathId {
    Number(i64),
    /// Contains an `@`; not yet parsed as an address.
    Address(String),
    Nonsense,
}

/// Reads a path segment that was percent-decoded already.
pub fn id_segment(segment: &str) -> PathId {
    if segment.contains('@') {
        return PathId::Address(segment.to_owned());
    }
    match decimal(segment) {
        Some(number) if number >= 0 => PathId::Number(number),
        Some(_) | None => PathId::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_is_a_number_an_address_or_nonsense() {
        assert_eq!(id_segment("6301374000000008002"), PathId::Number(6_301_374_000_000_008_002));
        assert_eq!(id_segment("a@x.example"), PathId::Address("a@x.example".into()));
        for nonsense in ["", "me", "-1", "+1", "007", "1.0", "９", "9223372036854775808", "1 "] {
            assert_eq!(id_segment(nonsense), PathId::Nonsense, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn every_id_is_read_back_from_its_digits(number in 0..=i64::MAX) {
            prop_assert_eq!(id_segment(&number.to_string()), PathId::Number(number));
        }

        #[test]
        fn a_segment_is_a_number_only_when_it_spells_one(segment in ".{0,30}") {
            match id_segment(&segment) {
                PathId::Number(number) => prop_assert_eq!(number.to_string(), segment),
                PathId::Address(address) => prop_assert!(address == segment && segment.contains('@')),
                PathId::Nonsense => prop_assert!(!segment.contains('@')),
            }
        }
    }
}
