//! Secrets that Mailward makes up itself: tokens, client secrets, passwords for one use or one app.
//!
//! The generator is a parameter; in production it is the operating system's. What people
//! choose themselves is in `domain::password`.

use std::fmt;
use std::hash::{Hash, Hasher};

use rand::{CryptoRng, RngExt};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// A secret text. Wiped from memory when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a secret that came from outside, such as a token in a header.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, to be shown once to its owner or to be compared.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps instead of the secret.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// SHA-256 of a secret with much randomness: what the store keeps, and looks up by. Two are compared in a time
/// that says nothing of where they differ.
#[derive(Clone, Copy, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// One that was made before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(hidden)")
    }
}

/// The [`Fingerprint`] of a secret.
///
/// A quick hash is enough where guessing is hopeless; passwords that people choose need Argon2.
pub fn fingerprint(secret: &str) -> Fingerprint {
    Fingerprint(Sha256::digest(secret.as_bytes()).into())
}

/// Compares without telling by time where the difference is.
pub fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// An access token, refresh token or code: `1000.<32 hex>.<32 hex>`, as Zoho's look. 256 random bits.
pub fn new_token(rng: &mut (impl CryptoRng + ?Sized)) -> Secret {
    let (front, back) = (random_hex::<16>(rng), random_hex::<16>(rng));
    Secret::new(format!("1000.{}.{}", *front, *back))
}

/// A client's public name: `1000.` and 30 upper-case letters and digits, as Zoho's look.
pub fn new_client_id(rng: &mut (impl CryptoRng + ?Sized)) -> String {
    let name = random_text(rng, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 30);
    format!("1000.{}", *name)
}

/// A client's secret: 42 hex digits, as Zoho's look. 168 random bits.
pub fn new_client_secret(rng: &mut (impl CryptoRng + ?Sized)) -> Secret {
    Secret(random_hex::<21>(rng))
}

/// A one-time password to read out or copy: letters and digits that look like nothing else.
///
/// Twelve characters carry 60 random bits; a policy that asks for more gets `at_least` many.
pub fn new_one_time_password(rng: &mut (impl CryptoRng + ?Sized), at_least: usize) -> Secret {
    Secret(random_text(rng, READABLE, at_least.max(12)))
}

/// An app password, exactly as it must be typed, hyphens included: `k7mwx-2pq9d-…`, four groups
/// of five. 100 random bits, so that a [`fingerprint`] is enough to store.
pub fn new_app_password(rng: &mut (impl CryptoRng + ?Sized)) -> Secret {
    grouped(rng, 20, 5)
}

/// A recovery code: `k7mw-x2pq-9dab-…`, four groups of four. 80 random bits, so that the
/// [`fingerprint`] of [`plain_code`] is enough to store.
pub fn new_recovery_code(rng: &mut (impl CryptoRng + ?Sized)) -> Secret {
    grouped(rng, 16, 4)
}

/// A code as it was typed, without what people put between: spaces, hyphens, capitals.
pub fn plain_code(typed: &str) -> Secret {
    let mut plain = Zeroizing::new(String::with_capacity(typed.len()));
    plain.extend(typed.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()));
    Secret(plain)
}

/// The secret of a link that is mailed: 256 random bits in hex.
pub fn new_link(rng: &mut (impl CryptoRng + ?Sized)) -> Secret {
    Secret(random_hex::<32>(rng))
}

/// 32 signs, five bits each, without `l` and `1`, `o` and `0`.
const READABLE: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// So many readable letters, with a hyphen after each group.
fn grouped(rng: &mut (impl CryptoRng + ?Sized), letters: usize, group: usize) -> Secret {
    let plain = random_text(rng, READABLE, letters);
    // Made at its full length at once, as `random_text` is.
    let mut text = Zeroizing::new(String::with_capacity(letters + letters / group));
    for (at, letter) in plain.chars().enumerate() {
        if at > 0 && at % group == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    Secret(text)
}

fn random_text(rng: &mut (impl CryptoRng + ?Sized), alphabet: &[u8], length: usize) -> Zeroizing<String> {
    // Made at its full length at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    for _ in 0..length {
        text.push(char::from(alphabet[rng.random_range(0..alphabet.len())]));
    }
    text
}

fn random_hex<const BYTES: usize>(rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<String> {
    let mut bytes = [0; BYTES];
    rng.fill_bytes(&mut bytes);
    let text = Zeroizing::new(hex::encode(bytes));
    bytes.zeroize();
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rand_core::UnwrapErr;
    use rand::rngs::{StdRng, SysRng};

    use crate::domain::password::{Password, PasswordKind, PasswordPolicy};

    use super::*;

    fn chance() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    fn is_lower_hex(text: &str, length: usize) -> bool {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    #[test]
    fn a_token_looks_like_zohos() {
        let token = new_token(&mut chance());
        let parts: Vec<&str> = token.expose().split('.').collect();
        assert!(matches!(parts[..], ["1000", front, back]
            if is_lower_hex(front, 32) && is_lower_hex(back, 32) && front != back));
    }

    #[test]
    fn a_client_has_a_name_and_a_secret_like_zohos() {
        let name = new_client_id(&mut chance());
        let tail = name.strip_prefix("1000.").expect("the prefix");
        assert!(
            tail.len() == 30 && tail.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
            "{name}"
        );
        assert!(is_lower_hex(new_client_secret(&mut chance()).expose(), 42));
    }

    #[test]
    fn one_time_passwords_are_readable_and_pass_the_policy() {
        let mut rng = chance();
        for _ in 0..200 {
            let secret = new_one_time_password(&mut rng, 6);
            assert_eq!(secret.expose().len(), 12);
            assert!(!secret.expose().contains(['l', '1', 'o', '0', 'I', 'O']));
            let password = Password::prepare(secret.expose()).expect("a password");
            assert!(PasswordPolicy::default().check(&password, PasswordKind::OneTime, &[]).is_ok());
        }
        assert_eq!(new_one_time_password(&mut rng, 20).expose().len(), 20);
    }

    #[test]
    fn an_app_password_is_four_groups_that_preparation_leaves_alone() {
        let secret = new_app_password(&mut chance());
        let groups: Vec<&str> = secret.expose().split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert!(groups.concat().bytes().all(|b| READABLE.contains(&b)));
        assert_eq!(Password::prepare(secret.expose()).expect("a password").expose(), secret.expose());
    }

    #[test]
    fn a_recovery_code_is_read_however_it_is_typed() {
        let code = new_recovery_code(&mut chance());
        assert_eq!(code.expose().split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
        let typed = format!(" {} ", code.expose().replace('-', " ").to_uppercase());
        assert_eq!(plain_code(&typed).expose(), code.expose().replace('-', ""));
        assert!(is_lower_hex(new_link(&mut chance()).expose(), 64));
    }

    #[test]
    fn every_sign_occurs_about_as_often_as_the_others() {
        let mut counts = [0_u32; 256];
        for byte in random_text(&mut chance(), READABLE, 32_000).bytes() {
            counts[usize::from(byte)] += 1;
        }
        for sign in READABLE {
            assert!((800..1_200).contains(&counts[usize::from(*sign)]), "{}", char::from(*sign));
        }
    }

    #[test]
    fn the_generator_decides_and_nothing_comes_twice() {
        assert_eq!(new_token(&mut chance()).expose(), new_token(&mut chance()).expose());
        let mut rng = UnwrapErr(SysRng);
        let many: HashSet<String> = (0..1_000).map(|_| new_token(&mut rng).expose().to_owned()).collect();
        assert_eq!(many.len(), 1_000);
        let dynamic: &mut dyn CryptoRng = &mut rng;
        assert_ne!(new_app_password(dynamic).expose(), new_app_password(dynamic).expose());
    }

    #[test]
    fn a_fingerprint_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(fingerprint("abc").as_bytes()), expected);
        assert_eq!(Secret::new("abc").fingerprint(), fingerprint("abc"));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), "Secret(hidden)");
        assert_eq!(format!("{:?}", fingerprint("hunter22")), "Fingerprint(hidden)");
    }
}
