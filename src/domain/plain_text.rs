//! Free text of people that is shown to other people: names and reasons.

use crate::error::{Error, Result};

/// Whether the text is one line that shows what it holds: no control characters, no line or
/// paragraph separators, and nothing that turns the direction of what follows (names written from
/// right to left need none of those).
pub fn is_plain_line(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Characters of a name or a line of an address.
const LONGEST: usize = 100;

/// What of a text fits into a name.
pub fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| text[..end].trim_end())
}

/// A name that somebody or something must have.
///
/// # Errors
/// `BadValue`, also for an empty one.
pub fn some_name(parameter: &str, text: &str) -> Result<String> {
    match name(parameter, text)? {
        empty if empty.is_empty() => Err(Error::bad_value(parameter, "it cannot be empty")),
        name => Ok(name),
    }
}

/// A name or a line of an address: one line of at most 100 characters.
///
/// # Errors
/// `BadValue`.
pub fn name(parameter: &str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return Err(Error::bad_value(parameter, "at most 100 characters"));
    }
    if !is_plain_line(text) {
        return Err(Error::bad_value(parameter, "one line of plain text"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_may_be_in_any_script() {
        for text in [
            "",
            "Rebecca Anderson",
            "O'Neil-\u{df}",
            "\u{5e8}\u{5d1}\u{5e7}\u{5d4}",
            "\u{674e}\u{5c0f}\u{9f99}",
            "x \u{1f600}",
        ] {
            assert!(is_plain_line(text), "{text:?}");
        }
    }

    #[test]
    fn what_breaks_or_turns_the_line_is_not_plain() {
        for text in [
            "a\nb",
            "a\tb",
            "a\0",
            "\u{1b}[31m",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}b",
            "\u{202e}gpj.exe",
            "\u{2066}x",
        ] {
            assert!(!is_plain_line(text), "{text:?}");
        }
    }
}
