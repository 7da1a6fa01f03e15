//! What a table holds, in 32 bytes: the same on both engines, whatever the order of the rows.

use sha2::{Digest as _, Sha256};

use super::rows::{Cell, Record};

/// How many rows, and the sum of their SHA-256 hashes modulo 2^256. A row's hash is taken over its columns
/// in the order of their names, each as one letter for its kind (`n`, `b`, `i`, `t`, `x`), the length of
/// what follows in eight bytes, and the content; integers in eight bytes, all big-endian.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    /// The lowest limb first.
    sum: [u64; 4],
}

impl Digest {
    pub fn add(&mut self, record: &Record) {
        let mut hash = Sha256::new();
        for cell in &record.0 {
            match cell {
                Cell::Null => part(&mut hash, b'n', &[]),
                Cell::Bool(flag) => part(&mut hash, b'b', &[u8::from(*flag)]),
                Cell::Int(number) => part(&mut hash, b'i', &number.to_be_bytes()),
                Cell::Text(text) => part(&mut hash, b't', text.as_bytes()),
                Cell::Bytes(bytes) => part(&mut hash, b'x', bytes),
            }
        }
        let hash: [u8; 32] = hash.finalize().into();
        self.rows += 1;
        let mut carry = false;
        let limbs = hash.rchunks_exact(8);
        for (limb, bytes) in self.sum.iter_mut().zip(limbs) {
            let more = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let (sum, over) = limb.overflowing_add(more);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
    }
}

/// In hex, the highest limb first.
impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sum.iter().rev().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

fn part(hash: &mut Sha256, kind: u8, content: &[u8]) {
    hash.update([kind]);
    hash.update((content.len() as u64).to_be_bytes());
    hash.update(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[Cell]]) -> String {
        let mut digest = Digest::default();
        for cells in rows {
            let cells = cells.iter().map(|cell| match cell {
                Cell::Text(text) => Cell::Text(text.clone()),
                Cell::Int(number) => Cell::Int(*number),
                Cell::Null | Cell::Bool(_) | Cell::Bytes(_) => Cell::Null,
            });
            digest.add(&Record(cells.collect()));
        }
        digest.to_string()
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_everything_else_does() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let (one, two) = ([text("a"), Cell::Int(1)], [text("b"), Cell::Null]);
        assert_eq!(of(&[&one, &two]), of(&[&two, &one]));
        assert_eq!(of(&[]), "0".repeat(64));
        assert_ne!(of(&[&one]), of(&[&one, &one]), "the same row twice");
        assert_ne!(of(&[&[text("ab"), text("c")]]), of(&[&[text("a"), text("bc")]]), "another border");
        assert_ne!(of(&[&[Cell::Int(0)]]), of(&[&[Cell::Null]]));
        assert_ne!(of(&[&[text("1")]]), of(&[&[Cell::Int(1)]]));
    }

    #[test]
    fn one_row_has_the_hash_that_its_description_says() {
        let mut bytes = b"i".to_vec();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(of(&[&[Cell::Int(5)]]), hex::encode(Sha256::digest(&bytes)));
    }
}
