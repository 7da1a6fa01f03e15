//! Mail addresses and domain names, parsed once at the door and believed afterwards.
//!
//! Whether an address is free, and whether a domain is verified, is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest part before the `@`, in bytes (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_LENGTH: usize = 64;
/// The longest address, in bytes (RFC 5321 §4.5.3.1.3: a path of 256 with its angle brackets).
pub const MAX_ADDRESS_LENGTH: usize = 254;

/// A mail address: an ASCII dot-atom, `@`, and a domain in A-labels; all lower case.
///
/// Two spellings of one address are equal after parsing. The order is that of the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress {
    text: String,
    domain: DomainName,
}

impl EmailAddress {
    /// Reads one bare address (RFC 5321 `Mailbox` without quoted strings and address literals).
    ///
    /// # Errors
    /// [`Error::BadAddress`] with a text that tells a person what to do.
    pub fn parse(text: &str) -> Result<Self> {
        refuse_what_is_no_bare_address(text)?;
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or_else(|| bad("an address needs an @ between the name and the domain"))?;
        let local = parse_local(local)?;
        let domain = DomainName::parse(domain)?;
        let text = format!("{local}@{domain}");
        if text.len() > MAX_ADDRESS_LENGTH {
            return Err(bad(format!("an address can have at most {MAX_ADDRESS_LENGTH} characters")));
        }
        Ok(Self { text, domain })
    }

    /// The whole address, as it is stored and compared.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        &self.text[..self.text.len() - self.domain.as_str().len() - 1]
    }

    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The address that somebody means who types this to log in: without a detail. `None` for what is no address.
    pub fn of_login(typed: &str, delimiter: char) -> Option<Self> {
        Self::parse(typed).ok().map(|address| address.without_detail(delimiter))
    }

    /// Whether the local part contains the recipient delimiter (Postfix `recipient_delimiter`).
    /// Such an address reaches somebody, but cannot be claimed.
    pub fn has_delimiter(&self, delimiter: char) -> bool {
        self.local().contains(delimiter)
    }

    /// The address that receives this one's mail: `user+tag@d` is `user@d`.
    ///
    /// An address without a detail, or with nothing usable before the delimiter, is itself.
    #[must_use]
    pub fn without_detail(&self, delimiter: char) -> EmailAddress {
        match self.local().split_once(delimiter) {
            Some((user, _)) if parse_local(user).is_ok() => {
                Self { text: format!("{user}@{}", self.domain), domain: self.domain.clone() }
            }
            Some(_) | None => self.clone(),
        }
    }
}

/// A host or mail domain: at least two labels, A-labels where the name is not ASCII, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// Reads a domain name, in U-labels or A-labels (UTS #46 with the STD3, hyphen and length rules).
    ///
    /// # Errors
    /// [`Error::BadAddress`] with a text that tells a person what to do.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(bad("the domain is missing"));
        }
        if text.starts_with('[') {
            return Err(bad("a domain name is needed; an IP address in brackets cannot be used"));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("a domain cannot contain spaces or control characters"));
        }
        // UTS #46 drops these silently, so that two texts that look alike would become one name.
        if text.chars().any(is_dropped_by_idna) {
            return Err(bad("the domain contains an invisible character; type it again by hand"));
        }
        if text.ends_with('.') {
            return Err(bad("a domain is written without a dot at its end"));
        }
        let ascii = if is_plain(text) {
            text.to_owned()
        } else {
            idna::domain_to_ascii_strict(text).map_err(|_| {
                bad("the domain is not a valid name; check it for typing errors, such as two dots in a row, \
                     an underscore, or a hyphen at the start or end of a part")
            })?
        };
        let Some((_, top)) = ascii.rsplit_once('.') else {
            return Err(bad("the domain needs at least two parts, like example.org"));
        };
        if top.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("a domain name is needed; an IP address cannot be used"));
        }
        Ok(Self(ascii))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether UTS #46 would leave the name as it is. Every address that is stored comes by here.
fn is_plain(text: &str) -> bool {
    const LONGEST_NAME: usize = 253;
    const LONGEST_LABEL: usize = 63;
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    text.len() <= LONGEST_NAME
        && text.split('.').map(str::as_bytes).all(|label| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.iter().all(plain)
                && !label.starts_with(b"-")
                && !label.ends_with(b"-")
                && label.get(2..4) != Some(b"--")
        })
}

/// The words for what people paste instead of a bare address.
fn refuse_what_is_no_bare_address(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(bad("the address is missing"));
    }
    // A bound for the work below; even a domain of U-labels is never that long.
    if text.len() > 4 * MAX_ADDRESS_LENGTH {
        return Err(bad(format!("an address can have at most {MAX_ADDRESS_LENGTH} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(bad("an address cannot contain control characters, such as line ends or NUL"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(bad("an address cannot contain spaces; remove them"));
    }
    if text.contains(['<', '>']) {
        return Err(bad("give the address alone, without a name and angle brackets"));
    }
    if text.contains([',', ';']) {
        return Err(bad("give one address alone, without commas and semicolons"));
    }
    if text.contains('"') {
        return Err(bad("quoted local parts are not supported; use an address without quotation marks"));
    }
    Ok(())
}

/// The local part, lower-cased, if it is an ASCII dot-atom (RFC 5321 §4.1.2) that no mail server reroutes.
fn parse_local(local: &str) -> Result<String> {
    if local.is_empty() {
        return Err(bad("the name before the @ is missing"));
    }
    if !local.is_ascii() {
        return Err(bad(
            "the name before the @ can only have unaccented letters, digits and signs of ASCII in this version",
        ));
    }
    if local.len() > MAX_LOCAL_LENGTH {
        return Err(bad(format!("the name before the @ can have at most {MAX_LOCAL_LENGTH} characters")));
    }
    if local.contains('@') {
        return Err(bad("an address has exactly one @"));
    }
    if local.contains(['%', '!']) {
        return Err(bad(
            "routes through other hosts (with % or !) are not supported; give the final address",
        ));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(bad("the name before the @ cannot start or end with a dot or have two dots in a row"));
    }
    // Postfix refuses such recipients (`allow_min_user = no`): programs take them for options.
    if local.starts_with('-') {
        return Err(bad("the name before the @ cannot start with a hyphen"));
    }
    match local.chars().find(|c| !is_atext(*c) && *c != '.') {
        Some(c) => Err(bad(format!("the name before the @ cannot contain {c}"))),
        None => Ok(local.to_ascii_lowercase()),
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// The code points that UTS #46 maps to nothing ("ignored").
fn is_dropped_by_idna(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{2060}' | '\u{2064}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{e0100}'..='\u{e01ef}')
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadAddress(why.into())
}

macro_rules! is_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

is_text!(EmailAddress, DomainName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(text: &str) -> String {
        match EmailAddress::parse(text) {
            Err(Error::BadAddress(why)) => why,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn an_address_is_folded_once_and_comes_apart() {
        let jane = address("Jane.Doe@EXAMPLE.Org");
        assert_eq!(jane.as_str(), "jane.doe@example.org");
        assert_eq!(jane.local(), "jane.doe");
        assert_eq!(jane.domain().as_str(), "example.org");
        assert_eq!(jane, address("jane.doe@example.org"));
        assert_eq!(format!("{jane}"), "jane.doe@example.org");
    }

    #[test]
    fn a_domain_becomes_a_labels() {
        assert_eq!(address("k@Bücher.example").as_str(), "k@xn--bcher-kva.example");
        assert_eq!(address("k@XN--BCHER-KVA.example"), address("k@bücher.example"));
        assert_eq!(address("k@faß.de").domain().as_str(), "xn--fa-hia.de");
        assert_eq!(address("k@例え。テスト").domain().as_str(), "xn--r8jz45g.xn--zckzah");
    }

    #[test]
    fn unusual_but_legal_local_parts_are_taken() {
        for text in
            ["o'brien@example.org", "a+b=c@example.org", "1@example.org", "{x}~#@a-b.example.org", "a/b@c.de"]
        {
            assert_eq!(address(text).as_str(), text);
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (text, word) in [
            ("", "missing"),
            ("jane", "needs an @"),
            ("@example.org", "name before the @ is missing"),
            ("jane@", "domain is missing"),
            ("jane@doe@example.org", "exactly one @"),
            (" jane@example.org", "spaces"),
            ("jane@exam ple.org", "spaces"),
            ("jane@example.org\n", "control"),
            ("ja\0ne@example.org", "control"),
            ("jane\u{a0}doe@example.org", "spaces"),
            ("Jane <jane@example.org>", "spaces"),
            ("<jane@example.org>", "angle brackets"),
            ("a@example.org,b@example.org", "commas"),
            ("a@example.org;b@example.org", "semicolons"),
            ("\"jane\"@example.org", "quoted"),
            ("jane%other.example@example.org", "routes"),
            ("other!jane@example.org", "routes"),
            ("@relay.example:jane@example.org", "exactly one @"),
            (".jane@example.org", "dot"),
            ("jane.@example.org", "dot"),
            ("ja..ne@example.org", "dot"),
            ("-jane@example.org", "hyphen"),
            ("ja(ne)@example.org", "cannot contain ("),
            ("ja\\ne@example.org", "cannot contain \\"),
            ("jané@example.org", "ASCII"),
            ("用户@example.org", "ASCII"),
            ("jane@localhost", "two parts"),
            ("jane@[192.0.2.1]", "brackets"),
            ("jane@[IPv6:2001:db8::1]", "brackets"),
            ("jane@192.0.2.1", "IP address"),
            ("jane@example.org.", "dot at its end"),
            ("jane@.example.org", "not a valid name"),
            ("jane@example..org", "not a valid name"),
            ("jane@-example.org", "not a valid name"),
            ("jane@ex_ample.org", "not a valid name"),
            ("jane@xn--a.example", "not a valid name"),
            ("jane@exam\u{ad}ple.org", "invisible"),
            ("jane@exam\u{200b}ple.org", "invisible"),
            ("jane@exam\u{ff20}ple.org", "not a valid name"),
        ] {
            let why = refusal(text);
            assert!(why.contains(word), "{text:?} was refused with: {why}");
        }
    }

    #[test]
    fn lengths_are_those_of_rfc_5321() {
        let local = "a".repeat(MAX_LOCAL_LENGTH);
        assert_eq!(address(&format!("{local}@example.org")).local(), local);
        assert!(refusal(&format!("{local}a@example.org")).contains("64"));

        let label = "d".repeat(63);
        let domain = format!("{label}.{label}.{}.org", "e".repeat(57));
        assert_eq!(domain.len(), 189);
        let longest = format!("{local}@{domain}");
        assert_eq!(longest.len(), MAX_ADDRESS_LENGTH);
        assert_eq!(address(&longest).as_str(), longest);
        assert!(refusal(&longest.replacen("e.org", "ee.org", 1)).contains("254"));
        assert!(refusal(&format!("a@{}.org", "d".repeat(64))).contains("not a valid name"));
        assert!(refusal(&"a".repeat(1_000_000)).contains("254"));
        // Four bytes for each sign of ASCII that may come of it, and no more.
        assert!(refusal(&"a".repeat(4 * 254)).contains("needs an @"));
        assert!(refusal(&"a".repeat(4 * 254 + 1)).contains("254"));
        let wide = "\u{4e2d}".repeat(40);
        let long = format!("a@{wide}.{wide}.{wide}.example");
        assert!(long.len() > 300 && address(&long).as_str().len() < MAX_ADDRESS_LENGTH);
    }

    #[test]
    fn a_domain_is_a_valid_name_in_each_of_its_parts() {
        let label = "d".repeat(63);
        for text in [
            format!("{label}.{label}.{label}.{label}"),
            "xn--a.xn--a".to_owned(),
            "-a.-b".to_owned(),
            "a-.b-".to_owned(),
            "ab--cd.example".to_owned(),
            "a.b-".to_owned(),
        ] {
            assert!(matches!(DomainName::parse(&text), Err(Error::BadAddress(_))), "{text}");
        }
        for text in ["exam ple.org", "exam\u{7}ple.org", "exam\u{a0}ple.org"] {
            let why = DomainName::parse(text).expect_err("no name").to_string();
            assert!(why.contains("spaces or control characters"), "{text:?} was refused with: {why}");
        }
        let longest = format!("{label}.{label}.{label}.{}", "d".repeat(61));
        assert_eq!(DomainName::parse(&longest).expect("253 signs").as_str(), longest);
        assert_eq!(DomainName::parse("a--b.1-2.c3").expect("a name").as_str(), "a--b.1-2.c3");
    }

    #[test]
    fn a_detail_leads_to_its_user() {
        let tagged = address("jane+news+x@example.org");
        assert!(tagged.has_delimiter('+'));
        assert_eq!(tagged.without_detail('+'), address("jane@example.org"));
        assert_eq!(tagged.without_detail('-'), tagged);
        assert!(!address("jane@example.org").has_delimiter('+'));
    }

    #[test]
    fn a_detail_with_no_user_before_it_stays_an_address() {
        for text in ["+tag@example.org", "a.+tag@example.org"] {
            assert_eq!(address(text).without_detail('+'), address(text));
        }
    }

    #[test]
    fn json_carries_the_text_and_is_parsed_on_the_way_in() {
        let jane: EmailAddress = serde_json::from_str(r#""Jane@Example.org""#).expect("an address");
        assert_eq!(serde_json::to_string(&jane).expect("a string"), r#""jane@example.org""#);
        assert!(serde_json::from_str::<EmailAddress>(r#""jane""#).is_err());
        assert!(serde_json::from_str::<DomainName>("7").is_err());
    }

    proptest! {
        #[test]
        fn what_was_parsed_is_parsed_again_to_the_same(
            local in "[A-Za-z0-9!#$&'*+/=?^_`{|}~.-]{1,66}",
            domain in "(([a-zA-Z0-9-]{1,20}|[äöüßéñ中文ДжаαβΣ]{1,8})\\.){1,4}[a-zA-Z]{1,6}",
        ) {
            if let Ok(parsed) = EmailAddress::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(&EmailAddress::parse(&format!("{parsed}")).expect("parsed before"), &parsed);
                prop_assert_eq!(format!("{}@{}", parsed.local(), parsed.domain()), parsed.as_str());
                prop_assert!(parsed.as_str().is_ascii());
                prop_assert!(!parsed.as_str().bytes().any(|b| b.is_ascii_uppercase()));
                let plain = parsed.without_detail('+');
                prop_assert_eq!(&EmailAddress::parse(plain.as_str()).expect("still an address"), &plain);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>(), domain in "\\PC{0,40}") {
            for tried in [text.clone(), format!("{text}@example.org"), format!("a@{text}"), format!("a@{domain}")] {
                if let Ok(parsed) = EmailAddress::parse(&tried) {
                    prop_assert_eq!(&EmailAddress::parse(parsed.as_str()).expect("parsed before"), &parsed);
                }
            }
        }
    }
}
