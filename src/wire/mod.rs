//! The wire's loose habits, parsed strictly: what a request carries, before any rule looks at it.
//!
//! [`Body`] is a JSON object, [`Params`] a query with a form; both answer by name. [`PathId`] and
//! [`Credentials`] are the path's and the header's share. No axum here, and no meaning either.

mod authorization;
mod body;
mod params;
mod path_id;

pub use authorization::{Credentials, authorization};
pub use body::Body;
pub use params::Params;
pub use path_id::{PathId, id_segment};

/// The largest request body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How deep arrays and objects may nest; the body itself is the first level.
pub const MAX_NESTING: usize = 16;

/// How many elements a list in a body may have.
pub const MAX_LIST: usize = 100;

/// The spellings of one parameter, the documented one first.
///
/// Upper and lower case are one spelling, so most parameters need a single name:
/// `body.text("mode")`. Others have several: `body.text(["role", "newRole"])`.
pub trait Names {
    fn spellings(&self) -> &[&str];
}

impl Names for &str {
    fn spellings(&self) -> &[&str] {
        std::slice::from_ref(self)
    }
}

impl<const N: usize> Names for [&str; N] {
    fn spellings(&self) -> &[&str] {
        self
    }
}

impl Names for &[&str] {
    fn spellings(&self) -> &[&str] {
        self
    }
}

/// A name that a stranger chose, if it looks like a parameter's. Anything else may be a secret that
/// slipped into the place of a name, and is not repeated.
fn shown(name: &str) -> String {
    const MOST: usize = 40;
    const MOST_DIGITS: usize = 2;
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ' ';
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    if !name.is_empty() && name.len() <= MOST && digits <= MOST_DIGITS && name.chars().all(letters) {
        name.to_owned()
    } else {
        "a parameter".to_owned()
    }
}

/// A whole number as we write it ourselves: no plus, no leading zero, no space, 64 bits.
fn decimal(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => number == 0 && !text.starts_with('-'),
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    canonical.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_spelling() {
        for text in
            ["", "-", "+1", "007", "-0", "00", " 1", "1 ", "1.0", "1e3", "0x10", "9223372036854775808"]
        {
            assert_eq!(decimal(text), None, "{text:?}");
        }
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn a_name_is_shown_only_if_it_looks_like_one() {
        for name in ["mode", "code_verifier", "reset Authtoken", "address2", "phoneNumer"] {
            assert_eq!(shown(name), name);
        }
        for name in ["", "a\nb", "1000.ab.cd", "t*c9ma", "hunter2222", "ümlaut", &"x".repeat(41)] {
            assert_eq!(shown(name), "a parameter", "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_read_back_from_its_digits(number: i64) {
            prop_assert_eq!(decimal(&number.to_string()), Some(number));
        }
    }
}
