//! Parameters by query, by form, or both, as OAuth clients send them.
//!
//! The same accessors as [`Body`] over `application/x-www-form-urlencoded` text, decoded strictly.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Body, MAX_BODY, Names, body::unreadable, shown};
use crate::error::{Error, Malformed, Result};

/// The parameters of a query string and of a form.
///
/// A parameter without a value counts as absent (RFC 6749 §3.1, §3.2).
pub struct Params(Body);

impl Params {
    /// Reads the query (without its `?`) and the form, each of at most [`MAX_BODY`] bytes.
    ///
    /// A name may stand once in each, with the same value.
    ///
    /// # Errors
    /// [`Malformed::Repeated`] for a name that stands twice in one of them, or in both with
    /// different values; [`Malformed::Unreadable`] for a broken percent sign or what is not UTF-8.
    pub fn parse(query: Option<&str>, form: &[u8]) -> Result<Self> {
        let mut all = pairs("query", query.unwrap_or_default().as_bytes())?;
        let in_query: HashMap<_, _> = all.iter().cloned().collect();
        for (name, value) in pairs("form", form)? {
            match in_query.get(&name) {
                None => all.push((name, value)),
                Some(same) if *same == value => {}
                Some(_) => return Err(Malformed::Repeated { name: shown(&name) }.into()),
            }
        }
        let absent_when_empty = |(name, text): Pair| (name, (!text.is_empty()).then_some(text));
        Ok(Self(Body::of_texts(all.into_iter().map(absent_when_empty))))
    }

    /// Reads a query alone, without its `?`.
    pub fn query(query: Option<&str>) -> Result<Self> {
        Self::parse(query, b"")
    }

    /// The parameters as the fields of a body, for what both are read by.
    pub fn fields(&self) -> &Body {
        &self.0
    }

    pub fn text(&self, names: impl Names) -> Result<Option<&str>> {
        self.0.text(names)
    }

    pub fn text_required(&self, names: impl Names) -> Result<&str> {
        self.0.text_required(names)
    }

    pub fn secret(&self, names: impl Names) -> Result<Option<SecretString>> {
        self.0.secret(names)
    }

    pub fn secret_required(&self, names: impl Names) -> Result<SecretString> {
        self.0.secret_required(names)
    }

    /// Exactly `true` or `false`.
    pub fn flag(&self, names: impl Names) -> Result<Option<bool>> {
        self.0.flag(names)
    }

    /// A whole number of 64 bits in decimal digits.
    pub fn long(&self, names: impl Names) -> Result<Option<i64>> {
        self.0.long(names)
    }

    /// [`Malformed::UnknownInQuery`], where it came from there or from a form.
    pub fn refuse_unknown(&self) -> Result<()> {
        self.0.refuse_unknown().map_err(|error| match error {
            Error::Malformed(Malformed::Unknown { name }) => Malformed::UnknownInQuery { name }.into(),
            other => other,
        })
    }
}

/// Names only: a value may be a client secret.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Params of ")?;
        self.0.fmt(f)
    }
}

type Pair = (String, Zeroizing<String>);

fn pairs(what: &str, encoded: &[u8]) -> Result<Vec<Pair>> {
    if encoded.len() > MAX_BODY {
        return Err(unreadable(format!("the {what} is larger than {} KiB", MAX_BODY / 1024)));
    }
    let decode = |part| decoded(part).map_err(|why| unreadable(format!("the {what} cannot be read: {why}")));
    let mut pairs = Vec::new();
    for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        pairs.push((decode(name)?.to_string(), decode(value)?));
    }
    let mut seen = HashSet::with_capacity(pairs.len());
    match pairs.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((twice, _)) => Err(Malformed::Repeated { name: shown(twice) }.into()),
        None => Ok(pairs),
    }
}

/// Decodes one name or value of `application/x-www-form-urlencoded` and says what is wrong with it.
pub(super) fn decoded(encoded: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let hex = |byte: Option<&u8>| {
        let digit = byte.and_then(|byte| char::from(*byte).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok()).ok_or("a % lacks its two hexadecimal digits")
    };
    let mut plain = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            other => *other,
        });
    }
    let text = std::str::from_utf8(&plain).map_err(|_| "it is not UTF-8 text")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use url::form_urlencoded::Serializer;

    use super::*;

    fn refusal(query: &str, form: &str) -> Malformed {
        match Params::parse(Some(query), form.as_bytes()) {
            Err(Error::Malformed(malformed)) => malformed,
            other => panic!("{other:?} instead of a refusal of the form"),
        }
    }

    fn twice(name: &str) -> Malformed {
        Malformed::Repeated { name: name.into() }
    }

    #[test]
    fn parameters_come_by_query_or_by_form() {
        let params = Params::parse(
            Some("grant_type=refresh_token&client_id=1000.A"),
            b"client_secret=a%2Bb+c&redirect_uri=https%3A%2F%2Fx.example%2F%C3%A9",
        )
        .unwrap();
        assert_eq!(params.text_required("grant_type").unwrap(), "refresh_token");
        assert_eq!(params.text("Client_ID").unwrap(), Some("1000.A"));
        assert_eq!(params.secret_required("client_secret").unwrap().expose_secret(), "a+b c");
        assert_eq!(params.text("redirect_uri").unwrap(), Some("https://x.example/é"));
        assert_eq!(format!("{:?}", Params::query(Some("code=1000.x")).unwrap()), r#"Params of Body["code"]"#);
    }

    #[test]
    fn a_parameter_stands_once_in_each_place() {
        assert_eq!(refusal("code=a&code=a", ""), twice("code"));
        assert_eq!(refusal("", "code=a&c%6Fde=b"), twice("code"));
    }

    #[test]
    fn query_and_form_have_to_agree() {
        assert_eq!(refusal("code=a", "code=b"), twice("code"));
        assert_eq!(refusal("code=", "code=b"), twice("code"));
        assert_eq!(Params::parse(Some("code=a"), b"code=a").unwrap().text("code").unwrap(), Some("a"));
        let spellings = Params::parse(Some("code=a"), b"Code=b").unwrap();
        assert!(matches!(spellings.text("code"), Err(Error::Malformed(Malformed::Repeated { .. }))));
    }

    #[test]
    fn a_parameter_without_a_value_is_absent() {
        let params = Params::query(Some("state=&prompt&scope=x")).unwrap();
        assert_eq!((params.text("state").unwrap(), params.text("prompt").unwrap()), (None, None));
        assert!(matches!(
            params.text_required("state"),
            Err(Error::Malformed(Malformed::Missing { name })) if name == "state"
        ));
    }

    #[test]
    fn broken_encoding_is_refused_without_a_quotation() {
        for broken in ["a=%", "a=%4", "a=%zz", "a=%+1", "%=a", "a=%ff", "a=%ed%a0%80"] {
            let Malformed::Unreadable(why) = refusal(broken, "") else { panic!("{broken}") };
            assert!(why.starts_with("the query cannot be read: "), "{why}");
        }
        assert!(matches!(refusal("", "a=%ff"), Malformed::Unreadable(why) if why.starts_with("the form")));
        assert!(Params::parse(None, b"a=\xff").is_err());
        assert!(Params::parse(None, &vec![b'a'; MAX_BODY + 1]).is_err());
    }

    #[test]
    fn paging_is_read_from_the_query() {
        let page = Params::query(Some("start=0&limit=200")).unwrap();
        assert_eq!((page.long("start").unwrap(), page.long("limit").unwrap()), (Some(0), Some(200)));
        page.refuse_unknown().unwrap();
        for wrong in ["limit=ten", "limit=+1", "limit=1.5", "limit=0x1"] {
            assert!(Params::query(Some(wrong)).unwrap().long("limit").is_err(), "{wrong}");
        }
        assert_eq!(Params::query(None).unwrap().long("limit").unwrap(), None);
    }

    #[test]
    fn the_first_unasked_parameter_is_named() {
        let params = Params::parse(Some("b=1&z=1"), b"y=1").unwrap();
        params.text("b").unwrap();
        assert!(matches!(
            params.refuse_unknown(),
            Err(Error::Malformed(Malformed::UnknownInQuery { name })) if name == "z"
        ));
    }

    proptest! {
        #[test]
        fn every_form_comes_back_as_it_was_written(
            pairs in prop::collection::hash_map("[a-z]{1,8}", "[^\0]{1,20}", 0..10),
            in_query: u16,
        ) {
            let (mut query, mut form) = (Serializer::new(String::new()), Serializer::new(String::new()));
            for (at, (name, value)) in pairs.iter().enumerate() {
                let place = if in_query >> at & 1 == 1 { &mut query } else { &mut form };
                place.append_pair(name, value);
            }
            let params = Params::parse(Some(&query.finish()), form.finish().as_bytes()).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(params.text(name.as_str()).unwrap(), Some(value.as_str()));
            }
            params.refuse_unknown().unwrap();
        }

        #[test]
        fn no_bytes_make_the_parser_panic(query: String, form: Vec<u8>) {
            let _ = Params::parse(Some(&query), &form);
        }
    }
}
