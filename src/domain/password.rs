//! Passwords: their preparation, the policy that accepts or refuses them, and their stored form.
//!
//! Hashing itself is slow and lives in `app::hasher`. No text from here repeats a password.

use std::fmt;

use argon2::Params;
use precis_core::profile::{PrecisFastInvocation, stabilize};
use precis_profiles::OpaqueString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::{DAY, HOUR, MINUTE, Millis};
use crate::error::{Error, Result};

/// The longest password, in bytes of UTF-8, before and after preparation.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// A password in the clear, prepared with the PRECIS OpaqueString profile (RFC 8265 §4.2).
///
/// Wiped from memory when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Prepares what a person typed: other spaces become U+0020, the text is normalised to NFC,
    /// control characters and those that Unicode 6.3 does not know (RFC 8264 goes no further) are
    /// refused. Case and spaces around the text are kept.
    ///
    /// # Errors
    /// [`Error::BadPassword`] if it is empty, longer than [`MAX_PASSWORD_BYTES`], or has a
    /// character that the profile forbids.
    pub fn prepare(raw: &str) -> Result<Self> {
        if raw.is_empty() {
            return Err(bad("the password is empty; choose one"));
        }
        if raw.len() > MAX_PASSWORD_BYTES {
            return Err(too_long());
        }
        // One application is not always stable: U+0387 becomes U+00B7, which alone is refused
        // (RFC 8264 §7).
        let prepared = stabilize(raw, |text| OpaqueString::enforce(text)).map_err(|_| {
            bad("the password contains a character that passwords cannot have, such as a control character, \
                 a line end, a tab or a recent emoji; choose one without it")
        })?;
        let prepared = Self(Zeroizing::new(prepared.into_owned()));
        if prepared.0.len() > MAX_PASSWORD_BYTES {
            return Err(too_long());
        }
        Ok(prepared)
    }

    /// The text, for hashing and comparing alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// What a password is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordKind {
    /// Opens the account until it is changed.
    Permanent,
    /// Opens only the choice of a permanent one, once, for a while.
    OneTime,
}

impl PasswordKind {
    pub const ALL: [Self; 2] = [Self::Permanent, Self::OneTime];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::OneTime => "one_time",
        }
    }
}

from_word!(PasswordKind, str::eq, "kind", "a password is permanent or one_time");

/// An organization's rules for passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordPolicy {
    /// The fewest characters (not bytes) of a permanent password.
    pub min_length: usize,
    /// The fewest characters of a one-time password.
    pub one_time_min_length: usize,
    /// How long a one-time password works, in milliseconds.
    pub one_time_valid_for: Millis,
    /// Refuse permanent passwords that are on the shipped list of common ones.
    pub forbid_common: bool,
    /// Refuse permanent passwords with the address or a part of the name in them.
    pub forbid_personal: bool,
    /// More words that permanent passwords cannot contain, such as the organization's name.
    pub own_words: Vec<String>,
    /// How many former passwords cannot be chosen again. Each costs one more hash per change.
    pub history: u32,
    /// Whether a one-time password also opens IMAP, POP3 and submission.
    pub one_time_opens_mail: bool,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_length: 8,
            one_time_min_length: 6,
            one_time_valid_for: 72 * HOUR,
            forbid_common: true,
            forbid_personal: true,
            own_words: Vec::new(),
            history: 0,
            one_time_opens_mail: false,
        }
    }
}

/// Shorter parts of a name occur in too many good passwords.
const SHORTEST_NAME_PART: usize = 4;

impl PasswordPolicy {
    /// How many former passwords are remembered, as a length.
    pub fn remembered(&self) -> usize {
        usize::try_from(self.history).unwrap_or(usize::MAX)
    }

    /// Whether this policy allows the password.
    ///
    /// `personal` are the person's addresses (with an `@`) and names; a name is taken apart at
    /// everything that is no letter or digit. Whether the password is an old one is not asked here.
    ///
    /// # Errors
    /// [`Error::BadPassword`] with a text that says what to do and does not repeat the password.
    pub fn check(&self, password: &Password, kind: PasswordKind, personal: &[&str]) -> Result<()> {
        let min_length = match kind {
            PasswordKind::Permanent => self.min_length,
            PasswordKind::OneTime => self.one_time_min_length,
        };
        if password.expose().chars().count() < min_length {
            return Err(bad(format!("the password is too short; use at least {min_length} characters")));
        }
        if password.expose().trim().is_empty() {
            return Err(bad("the password is nothing but blanks; use letters, digits or signs"));
        }
        match kind {
            PasswordKind::OneTime => Ok(()),
            PasswordKind::Permanent => self.check_words(password, personal),
        }
    }

    fn check_words(&self, password: &Password, personal: &[&str]) -> Result<()> {
        let folded = fold(password.expose());
        if self.forbid_common && (is_one_character_repeated(&folded) || is_common(&folded)) {
            return Err(bad(
                "Password has previously appeared in a data breach, or is one of those that are tried first; use one that is \
                 harder to guess, such as several unrelated words",
            ));
        }
        if self.forbid_personal && personal.iter().any(|about| contains_personal(&folded, about)) {
            return Err(bad(
                "the password contains the address or a part of the person's name; use one without them",
            ));
        }
        if self.own_words.iter().map(|word| fold(word)).any(|word| contains(&folded, &word)) {
            return Err(bad(
                "the password contains a word that the organization has ruled out; use one without it",
            ));
        }
        Ok(())
    }

    /// Whether the policy itself makes sense: somebody can fulfil it, and it protects something.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the field and its limits.
    pub fn validate(&self) -> Result<()> {
        let limits = |name: &str, value: i64, low: i64, high: i64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::bad_value(name, format!("must be between {low} and {high}")))
            }
        };
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        // 64 characters of four bytes each are the 256 bytes a password can have.
        limits("min_length", count(self.min_length), 6, 64)?;
        limits("one_time_min_length", count(self.one_time_min_length), 6, 64)?;
        limits("one_time_valid_for", self.one_time_valid_for, MINUTE, 30 * DAY)?;
        limits("history", i64::from(self.history), 0, 24)?;
        limits("own_words", count(self.own_words.len()), 0, 1_000)?;
        match self.own_words.iter().map(|word| word.trim().chars().count()).find(|n| !(3..=64).contains(n)) {
            Some(_) => Err(Error::bad_value("own_words", "each word must have 3 to 64 characters")),
            None => Ok(()),
        }
    }
}

fn contains_personal(folded: &str, about: &str) -> bool {
    let about = fold(about);
    match about.split_once('@') {
        Some((local, _)) => contains(folded, &about) || contains_part(folded, local),
        None => about.split(|c: char| !c.is_alphanumeric()).any(|part| contains_part(folded, part)),
    }
}

fn contains_part(folded: &str, part: &str) -> bool {
    part.chars().count() >= SHORTEST_NAME_PART && folded.contains(part)
}

/// An empty word would be in every password.
fn contains(folded: &str, word: &str) -> bool {
    !word.is_empty() && folded.contains(word)
}

/// The text without the difference of upper and lower case; wiped when dropped.
fn fold(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.trim().to_lowercase())
}

fn is_one_character_repeated(folded: &str) -> bool {
    let mut characters = folded.chars();
    characters.next().is_some_and(|first| characters.all(|c| c == first))
}

/// One password in a line, sorted by bytes, lower case; `data/README.md` names the sources.
const COMMON: &str = include_str!("../../data/common-passwords.txt");

/// Looks in the text itself: nothing is built at the start of the program.
fn is_common(folded: &str) -> bool {
    let (list, wanted) = (COMMON.as_bytes(), folded.as_bytes());
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = list[low..middle].iter().rposition(|b| *b == b'\n').map_or(low, |at| low + at + 1);
        let end = list[middle..high].iter().position(|b| *b == b'\n').map_or(high, |at| middle + at);
        match list[start..end].cmp(wanted) {
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}

/// The most memory of a hash, in KiB: a mail server's login process could not verify more
/// (Dovecot's `vsz_limit` leaves no room).
pub const MAX_HASH_MEMORY_KIB: u32 = 65_536;

/// The most work of a hash, as memory in KiB times passes: about a second of a small server's core.
const MAX_HASH_WORK: u64 = 16 * MAX_HASH_MEMORY_KIB as u64;

/// The shortest result of Argon2 that libsodium verifies (`crypto_pwhash_BYTES_MIN`).
const MIN_HASH_BYTES: usize = 16;

/// What one Argon2 hash costs (RFC 9106 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; all are computed by one thread.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// Whether Mailward and the mail server can bear this cost.
    ///
    /// # Errors
    /// A text that names the limit.
    pub fn check(&self) -> Result<(), String> {
        let Self { memory_kib, passes, lanes } = *self;
        if memory_kib > MAX_HASH_MEMORY_KIB {
            return Err(format!(
                "the hash needs {memory_kib} KiB of memory; at most {MAX_HASH_MEMORY_KIB} KiB can be used, \
                 because the mail server could not verify it"
            ));
        }
        if u64::from(memory_kib) * u64::from(passes) > MAX_HASH_WORK {
            return Err(format!("{passes} passes over {memory_kib} KiB are too slow for logins; use fewer"));
        }
        Params::new(memory_kib, passes, lanes, None)
            .map(|_| ())
            .map_err(|why| format!("m={memory_kib}, t={passes}, p={lanes} cannot be used: {why}"))
    }
}

/// A stored password: an Argon2 PHC string that Mailward and Dovecot can verify.
///
/// `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: String,
    cost: Cost,
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash` (or `argon2i`), from the store or an import.
    ///
    /// # Errors
    /// [`Error::BadPassword`] saying what is wrong, without any of the string.
    pub fn parse(phc: &str) -> Result<Self> {
        if phc.starts_with("{") {
            return Err(bad("remove the scheme in braces; the hash starts with $argon2id$"));
        }
        let parsed = argon2::PasswordHash::new(phc).map_err(|_| {
            bad("the password hash is not a PHC string like $argon2id$v=19$m=19456,t=2,p=1$…")
        })?;
        // The other variant and the older version are left out because libsodium, with which
        // Dovecot verifies, has neither.
        if !matches!(parsed.algorithm.as_str(), "argon2id" | "argon2i") {
            return Err(bad("the password hash is of an unknown kind; argon2id and argon2i can be used"));
        }
        if parsed.version != Some(u32::from(argon2::Version::V0x13)) {
            return Err(bad("the password hash is of an old version of Argon2; v=19 is needed"));
        }
        let params = Params::try_from(&parsed.params)
            .map_err(|_| bad("the parameters of the password hash cannot be used; m, t and p are needed"))?;
        let cost = Cost { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        cost.check().map_err(bad)?;
        if parsed.params.to_string() != format!("m={},t={},p={}", cost.memory_kib, cost.passes, cost.lanes) {
            return Err(bad("the parameters of the password hash must be m, t and p, in this order"));
        }
        // The parser lets no salt below 8 bytes through.
        if parsed.salt.is_none() {
            return Err(bad("the salt of the password hash is missing"));
        }
        if parsed.hash.is_none_or(|hash| hash.len() < MIN_HASH_BYTES) {
            return Err(bad(format!("the hash itself is missing or shorter than {MIN_HASH_BYTES} bytes")));
        }
        Ok(Self { phc: phc.to_owned(), cost })
    }

    /// The PHC string, as the store keeps it and the mail server reads it.
    pub fn as_phc(&self) -> &str {
        &self.phc
    }

    /// What verifying it costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::BadPassword(why.into())
}

fn too_long() -> Error {
    bad(format!("the password is too long; it can have at most {MAX_PASSWORD_BYTES} bytes in UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    const PHC: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gy5SuVm5Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0";

    fn password(text: &str) -> Password {
        Password::prepare(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn words<T: fmt::Debug>(result: Result<T>) -> String {
        match result {
            Err(Error::BadPassword(why)) => why,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn check(text: &str, personal: &[&str]) -> Result<()> {
        PasswordPolicy::default().check(&password(text), PasswordKind::Permanent, personal)
    }

    #[test]
    fn a_kind_of_password_is_read_as_it_is_written() {
        for (kind, word) in PasswordKind::ALL.into_iter().zip(["permanent", "one_time"]) {
            assert_eq!(kind.as_str(), word);
            assert_eq!(word.parse::<PasswordKind>().expect("a kind"), kind);
            assert_eq!(serde_json::to_value(kind).expect("a word"), word);
        }
        assert!("one-time".parse::<PasswordKind>().is_err());
    }

    #[test]
    fn one_password_typed_on_two_keyboards_is_the_same() {
        assert_eq!(password("Zu\u{308}rich\u{3000}7").expose(), "Z\u{fc}rich 7");
        assert_eq!(password(" two  spaces ").expose(), " two  spaces ");
        assert_ne!(password("Secret").expose(), password("secret").expose());
    }

    #[test]
    fn a_password_has_at_most_256_bytes() {
        assert_eq!(password(&"ü".repeat(128)).expose().len(), 256);
        assert!(words(Password::prepare(&"a".repeat(257))).contains("256"));
        assert!(words(Password::prepare(&"ü".repeat(129))).contains("256"));
        // NFC makes this character three times as long.
        assert!(words(Password::prepare(&"\u{1d160}".repeat(64))).contains("256"));
    }

    #[test]
    fn characters_nobody_can_type_are_refused() {
        for text in [
            "",
            "tab\there",
            "line\nend",
            "nul\0byte",
            "\u{7f}delete",
            "\u{fdd0}noncharacter",
            "\u{e000}private",
            "\u{1f9c0} of 2015",
        ] {
            assert!(!words(Password::prepare(text)).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_was_prepared_is_accepted_again_or_was_refused_at_once() {
        // GREEK ANO TELEIA is normalised to MIDDLE DOT, which stands only between two l.
        assert!(!words(Password::prepare("\u{387}")).is_empty());
        assert_eq!(password("l\u{387}l").expose(), "l\u{b7}l");
        assert_eq!(password("l\u{b7}l").expose(), "l\u{b7}l");
    }

    #[test]
    fn nothing_of_a_password_is_in_its_debug_text() {
        assert_eq!(format!("{:?}", password("hunter22")), "Password(hidden)");
        assert_eq!(format!("{:?}", PasswordHash::parse(PHC).expect("a hash")), "PasswordHash(hidden)");
    }

    #[test]
    fn the_documented_one_time_password_passes() {
        let policy = PasswordPolicy::default();
        assert!(policy.check(&password("t*c9ma"), PasswordKind::OneTime, &["rebecca@zylker.com"]).is_ok());
        assert!(words(policy.check(&password("t*c9m"), PasswordKind::OneTime, &[])).contains("at least 6"));
        assert!(
            words(policy.check(&password("t*c9ma"), PasswordKind::Permanent, &[])).contains("at least 8")
        );
    }

    #[test]
    fn one_time_passwords_only_need_their_length() {
        let policy = PasswordPolicy { own_words: vec!["zylker".into()], ..PasswordPolicy::default() };
        for text in ["password", "zylker", "rebecca"] {
            assert!(policy.check(&password(text), PasswordKind::OneTime, &["rebecca@zylker.com"]).is_ok());
            assert!(policy.check(&password(text), PasswordKind::Permanent, &["rebecca@zylker.com"]).is_err());
        }
    }

    #[test]
    fn length_counts_characters_and_not_bytes() {
        assert!(words(check("äöüßéñç", &[])).contains("at least 8"));
        assert!(check("äöüßéñçè", &[]).is_ok());
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        for text in ["password", "PassWord", "123456789", "QWERTYUIOP", "Trustno1", "aaaaaaaaaa", "!!!!!!!!!"]
        {
            assert!(words(check(text, &[])).contains("harder to guess"), "{text}");
        }
        assert!(check("correct horse battery staple", &[]).is_ok());
        let lenient = PasswordPolicy { forbid_common: false, ..PasswordPolicy::default() };
        assert!(lenient.check(&password("password"), PasswordKind::Permanent, &[]).is_ok());
    }

    #[test]
    fn the_address_and_the_name_cannot_be_in_the_password() {
        let rebecca = ["Rebecca@zylker.com", "Rebecca O'Connor-Lee", ""];
        for text in ["xx REBECCA xx", "rebecca@zylker.com!", "7connor7-x", "Connor 8 apples"] {
            assert!(words(check(text, &rebecca)).contains("name"), "{text}");
        }
        assert!(check("sleepy otters 42", &rebecca).is_ok(), "a part of three letters may occur");
        assert!(
            check("hobo likes tea", &["bo@example.org"]).is_ok(),
            "a local part of two letters may occur"
        );
        assert!(words(check("xbo@example.org", &["bo@example.org"])).contains("address"));
        assert!(words(check("x-lund-forests", &["Mia Lund"])).contains("name"), "four letters are enough");
        let lenient = PasswordPolicy { forbid_personal: false, ..PasswordPolicy::default() };
        assert!(lenient.check(&password("xx rebecca xx"), PasswordKind::Permanent, &rebecca).is_ok());
    }

    #[test]
    fn an_organization_rules_out_its_own_words() {
        let policy = PasswordPolicy { own_words: vec!["Zylker".into()], ..PasswordPolicy::default() };
        let why = words(policy.check(&password("we at zylkER"), PasswordKind::Permanent, &[]));
        assert!(why.contains("organization"));
        assert!(policy.check(&password("we at the shop"), PasswordKind::Permanent, &[]).is_ok());
    }

    #[test]
    fn a_policy_in_json_names_what_it_changes_and_nothing_unknown() {
        let policy: PasswordPolicy = serde_json::from_str(r#"{"min_length": 12}"#).expect("a policy");
        assert_eq!(policy, PasswordPolicy { min_length: 12, ..PasswordPolicy::default() });
        assert!(serde_json::from_str::<PasswordPolicy>(r#"{"minimum": 12}"#).is_err());
        assert_eq!(policy.one_time_valid_for, 259_200_000);
    }

    #[test]
    fn a_policy_nobody_can_fulfil_is_refused() {
        let sane = PasswordPolicy::default();
        assert!(sane.validate().is_ok());
        for broken in [
            PasswordPolicy { min_length: 65, ..sane.clone() },
            PasswordPolicy { min_length: 0, ..sane.clone() },
            PasswordPolicy { one_time_min_length: 5, ..sane.clone() },
            PasswordPolicy { one_time_valid_for: 0, ..sane.clone() },
            PasswordPolicy { history: 25, ..sane.clone() },
            PasswordPolicy { own_words: vec!["a".into()], ..sane.clone() },
        ] {
            assert!(matches!(broken.validate(), Err(Error::Malformed(_))), "{broken:?}");
        }
    }

    #[test]
    fn a_policy_may_go_to_its_limits_and_no_further() {
        let with = |alter: &dyn Fn(&mut PasswordPolicy)| {
            let mut policy = PasswordPolicy::default();
            alter(&mut policy);
            policy.validate().is_ok()
        };
        assert!(with(&|policy| policy.min_length = 6) && with(&|policy| policy.min_length = 64));
        assert!(!with(&|policy| policy.min_length = 5) && !with(&|policy| policy.min_length = 65));
        assert!(with(&|policy| policy.one_time_min_length = 6));
        assert!(with(&|policy| policy.one_time_min_length = 64));
        assert!(!with(&|policy| policy.one_time_min_length = 65));
        assert!(with(&|policy| policy.one_time_valid_for = 60_000));
        assert!(!with(&|policy| policy.one_time_valid_for = 59_999));
        assert!(with(&|policy| policy.one_time_valid_for = 2_592_000_000));
        assert!(!with(&|policy| policy.one_time_valid_for = 2_592_000_001));
        assert!(with(&|policy| policy.history = 24));
        for (word, fits) in [("  ab ", false), ("abc", true)] {
            assert_eq!(with(&|policy| policy.own_words = vec![word.to_owned()]), fits, "{word:?}");
        }
        for (length, fits) in [(64, true), (65, false)] {
            assert_eq!(with(&|policy| policy.own_words = vec!["x".repeat(length)]), fits, "{length}");
        }
        for (number, fits) in [(1_000, true), (1_001, false)] {
            assert_eq!(with(&|policy| policy.own_words = vec!["abc".to_owned(); number]), fits, "{number}");
        }
    }

    #[test]
    fn a_cost_may_go_to_its_limits_and_no_further() {
        let cost = |memory_kib, passes| Cost { memory_kib, passes, lanes: 1 }.check();
        assert!(cost(65_536, 16).is_ok() && cost(8, 131_072).is_ok());
        assert!(cost(65_536, 17).expect_err("too slow").contains("17 passes over 65536 KiB"));
        assert!(cost(8, 131_073).expect_err("too slow").contains("too slow"));
        assert!(cost(65_537, 1).expect_err("too big").contains("at most 65536 KiB"));
    }

    #[test]
    fn an_organizations_empty_word_is_in_no_password() {
        let policy = PasswordPolicy { own_words: vec![" ".into()], ..PasswordPolicy::default() };
        assert!(policy.check(&password("we at zylker"), PasswordKind::Permanent, &["", "@"]).is_ok());
    }

    #[test]
    fn the_shipped_list_is_what_its_description_says() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.is_sorted(), "the search needs bytewise order");
        assert!(lines.windows(2).all(|pair| pair[0] != pair[1]));
        for line in &lines {
            assert!(line.len() >= 8 && line.is_ascii() && *line == fold(line).as_str(), "{line}");
        }
        let described = include_str!("../../data/README.md");
        assert!(described.contains(&format!("Entries: {},", lines.len())), "{} entries", lines.len());
    }

    #[test]
    fn every_listed_password_is_found_and_its_neighbours_are_not() {
        let all: std::collections::HashSet<&str> = COMMON.lines().collect();
        for line in COMMON.lines() {
            assert!(is_common(line), "{line}");
            let (shorter, longer) = (&line[..line.len() - 1], format!("{line}\u{1}"));
            assert_eq!(is_common(shorter), all.contains(shorter), "{shorter}");
            assert!(!is_common(&longer));
        }
        assert!(!is_common("") && !is_common("\n") && !is_common("zzzzzzzzzzzz") && !is_common("\u{10ffff}"));
        assert!(!is_common("!qaz1qaz\n!qaz2wsx"), "two lines are not one password");
    }

    #[test]
    fn looking_up_is_far_under_a_millisecond() {
        let start = Instant::now();
        for number in 0..10_000 {
            assert!(!is_common(&format!("{number} is not on the list")));
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?} for 10,000", start.elapsed());
    }

    #[test]
    fn a_hash_that_the_mail_server_cannot_verify_is_refused() {
        let hash = PasswordHash::parse(PHC).expect("a hash");
        assert_eq!(hash.as_phc(), PHC);
        assert_eq!(hash.cost(), Cost::default());
        let costly = PasswordHash::parse(&PHC.replace("m=19456", "m=65536")).expect("a hash");
        assert_eq!(costly.cost(), Cost { memory_kib: 65_536, ..Cost::default() });
        let (before, _) = PHC.rsplit_once('$').expect("parts");
        assert!(PasswordHash::parse(&format!("{before}$gy5SuVm5Z7Vw7keB9se9pw")).is_ok(), "16 bytes");
        let short = words(PasswordHash::parse(&format!("{before}$gy5SuVm5Z7Vw7keB9se9")));
        assert!(short.contains("shorter than 16"), "{short}");
        for (broken, word) in [
            (PHC.replace("m=19456", "m=65537"), "65536 KiB"),
            (PHC.replace("m=19456", "m=4294967295"), "65536 KiB"),
            (PHC.replace("t=2", "t=4000000"), "too slow"),
            (PHC.replace("t=2", "t=0"), "cannot be used"),
            (PHC.replace("m=19456", "m=7"), "cannot be used"),
            (PHC.replace("p=1", "p=16777215"), "cannot be used"),
            (PHC.replace("p=1", "p=1,keyid=Zm9v"), "in this order"),
            (PHC.replace("m=19456,t=2", "t=2,m=19456"), "in this order"),
            (PHC.replace("m=19456,t=2,p=1$", ""), "in this order"),
            (PHC.replace("argon2id", "argon2d"), "unknown kind"),
            (PHC.replace("v=19", "v=16"), "v=19"),
            (PHC.replace("$v=19", ""), "v=19"),
            (PHC.replace("MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMw"), "PHC"),
            (PHC.replace("Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0", "Z7Vw7keB"), "shorter than 16"),
            ("$argon2id$v=19$m=19456,t=2,p=1".into(), "salt"),
            ("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg".into(), "missing"),
            (format!("{{ARGON2ID}}{PHC}"), "braces"),
            ("$6$salt$hash".into(), "PHC"),
            ("plain".into(), "PHC"),
            (String::new(), "PHC"),
            (format!("{PHC}\n"), "PHC"),
        ] {
            let why = words(PasswordHash::parse(&broken));
            assert!(why.contains(word), "{broken:?} was refused with: {why}");
            assert!(!why.contains("gy5Su"));
        }
    }

    proptest! {
        #[test]
        fn preparing_twice_changes_nothing_and_no_text_panics(text in any::<String>()) {
            if let Ok(once) = Password::prepare(&text) {
                let again = Password::prepare(once.expose());
                prop_assert!(again.is_ok_and(|again| again.expose() == once.expose()));
            }
            // Neither the parser nor a refusal may repeat what was tried.
            if let Err(Error::BadPassword(why)) = PasswordHash::parse(&format!("$argon2id${text}")) {
                prop_assert!(text.len() < 16 || !why.contains(&text));
            }
        }

        #[test]
        fn refusals_never_repeat_the_password(text in "[a-z0-9]{9,20}x") {
            if let Err(Error::BadPassword(why)) = check(&text, &[&text]) {
                prop_assert!(!why.contains(&text));
            }
        }
    }
}
