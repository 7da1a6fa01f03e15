//! The chain of hashes over an organization's audit entries (docs/audit.md). Pure: entries come as
//! their canonical text.

use sha2::{Digest, Sha256};

use crate::clock::Millis;
use crate::domain::ids::OrganizationId;

/// SHA-256.
pub type Hash = [u8; 32];

/// Where a chain stands: the number of its newest entry, 0 for none, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    pub number: i64,
    pub hash: Hash,
}

impl Tip {
    /// A chain without an entry. Bound to the organization, so that no chain stands for another's.
    pub fn start(organization: OrganizationId) -> Self {
        let hash = Sha256::digest(format!("mailward audit chain 1\n{organization}\n"));
        Self { number: 0, hash: hash.into() }
    }

    /// The chain with one more entry.
    #[must_use]
    pub fn next(self, entry: &str) -> Self {
        let number = self.number + 1;
        let mut hash = Sha256::new();
        hash.update(format!("mailward audit entry 1\n{}\n{number}\n", hex::encode(self.hash)));
        hash.update(entry);
        Self { number, hash: hash.finalize().into() }
    }

    /// What is signed of a head.
    pub fn head_text(self, organization: OrganizationId, at: Millis) -> String {
        format!("mailward audit head 1\n{organization}\n{}\n{}\n{at}\n", self.number, hex::encode(self.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'mailward audit chain 1\n10000001\n' | sha256sum`, and so on by hand.
    #[test]
    fn a_shell_computes_the_same() {
        let zoid = OrganizationId::new(10_000_001).expect("a zoid");
        let start = Tip::start(zoid);
        assert_eq!(
            hex::encode(start.hash),
            "a9635613982e6b4b3e12a2047f83cc3b4589752b4a5ac6d8e407ee5cded2fb9d"
        );
        let first = start.next(r#"{"v":1}"#);
        assert_eq!(
            (first.number, hex::encode(first.hash).as_str()),
            (1, "e5de79a38d871f32732d96a99b57bee8c7e0207d857b6af638906c4f92070e7b")
        );
        assert_eq!(
            first.head_text(zoid, 5),
            "mailward audit head 1\n10000001\n1\n\
             e5de79a38d871f32732d96a99b57bee8c7e0207d857b6af638906c4f92070e7b\n5\n"
        );
    }

    #[test]
    fn every_part_of_the_chain_bears_on_the_hash() {
        let zoid = |number| OrganizationId::new(number).expect("a zoid");
        let one = Tip::start(zoid(10_000_001));
        assert_ne!(one, Tip::start(zoid(10_000_002)));
        assert_ne!(one.next("a").next("b"), one.next("b").next("a"));
        assert_ne!(one.next("ab").hash, one.next("a").next("b").hash);
        let shifted = Tip { number: 7, ..one };
        assert_ne!(one.next("a").hash, shifted.next("a").hash);
    }
}
