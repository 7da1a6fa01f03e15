//! A JSON object as a request body: strict where the standard leaves room, lenient where clients differ.
//!
//! Values are looked up by name; the accessor says which type is meant. Texts are wiped from
//! memory with the body, and nothing here ever shows one.

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use secrecy::SecretString;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::{MAX_BODY, MAX_LIST, MAX_NESTING, Names, decimal, shown};
use crate::error::{Malformed, Result};

/// The parameters of a request, or of an object inside one.
///
/// An accessor without `_required` gives `None` for an absent parameter and for JSON `null`. Every
/// accessor refuses a value of another type ([`Malformed::WrongType`]) and two spellings of the
/// parameter with different values ([`Malformed::Repeated`]).
pub struct Body {
    fields: Vec<Field>,
}

struct Field {
    key: String,
    value: Value,
    asked: AtomicBool,
}

#[derive(PartialEq)]
enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    /// A fraction, or a number beyond 64 bits. No parameter takes one.
    OtherNumber,
    Text(Zeroizing<String>),
    List(Vec<Value>),
    Object(Body),
}

/// Why a value is not what the accessor wants; the accessor adds the name.
enum Misfit {
    Type(&'static str),
    Value(String),
}

impl Body {
    /// Reads a JSON object of at most [`MAX_BODY`] bytes and [`MAX_NESTING`] levels.
    ///
    /// # Errors
    /// [`Malformed::Repeated`] for a key that stands twice in one object, at any level;
    /// [`Malformed::Unreadable`] for everything else. The text never quotes the body.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BODY {
            return Err(unreadable(format!("the body is larger than {} KiB", MAX_BODY / 1024)));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("the body is not UTF-8 text"))?;
        if text.trim_ascii().is_empty() {
            return Err(unreadable("the body is empty; send a JSON object"));
        }
        let refusal = RefCell::new(None);
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Reader { depth: 0, refusal: &refusal }
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|e| refusal.take().unwrap_or_else(|| not_json(&e)))?;
        match value {
            Value::Object(body) => Ok(body),
            Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::OtherNumber
            | Value::Text(_)
            | Value::List(_) => Err(unreadable("the body must be a JSON object")),
        }
    }

    pub fn text(&self, names: impl Names) -> Result<Option<&str>> {
        self.read(&names, Value::text)
    }

    pub fn text_required(&self, names: impl Names) -> Result<&str> {
        required(&names, self.text(names.spellings())?)
    }

    pub fn secret(&self, names: impl Names) -> Result<Option<SecretString>> {
        Ok(self.text(names)?.map(SecretString::from))
    }

    pub fn secret_required(&self, names: impl Names) -> Result<SecretString> {
        self.text_required(names).map(SecretString::from)
    }

    /// A JSON boolean, or one of the strings `"true"` and `"false"` that many clients send.
    pub fn flag(&self, names: impl Names) -> Result<Option<bool>> {
        self.read(&names, Value::flag)
    }

    pub fn flag_required(&self, names: impl Names) -> Result<bool> {
        required(&names, self.flag(names.spellings())?)
    }

    /// A whole number of 64 bits, as a JSON number or as a string of its decimal digits.
    pub fn long(&self, names: impl Names) -> Result<Option<i64>> {
        self.read(&names, Value::long)
    }

    pub fn long_required(&self, names: impl Names) -> Result<i64> {
        required(&names, self.long(names.spellings())?)
    }

    /// An array of at most [`MAX_LIST`] texts, or one text alone.
    pub fn text_list(&self, names: impl Names) -> Result<Option<Vec<&str>>> {
        self.read(&names, |value| value.list("a text or a list of texts", Value::text))
    }

    /// Like [`Body::text_list`]; an empty list counts as missing.
    pub fn text_list_required(&self, names: impl Names) -> Result<Vec<&str>> {
        required(&names, self.text_list(names.spellings())?.filter(|list| !list.is_empty()))
    }

    /// An array of at most [`MAX_LIST`] whole numbers, or one alone.
    pub fn long_list(&self, names: impl Names) -> Result<Option<Vec<i64>>> {
        self.read(&names, |value| value.list("a whole number or a list of whole numbers", Value::long))
    }

    pub fn object(&self, names: impl Names) -> Result<Option<&Body>> {
        self.read(&names, Value::object)
    }

    /// Knows a parameter that says nothing to us, whatever it holds.
    pub fn ignore(&self, names: impl Names) {
        for field in names.spellings().iter().flat_map(|name| self.spelled(name)) {
            field.asked.store(true, Relaxed);
        }
    }

    /// Refuses the first parameter that no accessor has asked for, in nested objects too.
    ///
    /// Only meaningful after the call has read everything it knows.
    ///
    /// # Errors
    /// [`Malformed::Unknown`].
    pub fn refuse_unknown(&self) -> Result<()> {
        for field in &self.fields {
            if !field.asked.load(Relaxed) {
                return Err(Malformed::Unknown { name: shown(&field.key) }.into());
            }
            match &field.value {
                Value::Object(inner) => inner.refuse_unknown()?,
                Value::List(items) => {
                    items.iter().filter_map(|item| item.object().ok()).try_for_each(Body::refuse_unknown)?;
                }
                Value::Null | Value::Flag(_) | Value::Whole(_) | Value::OtherNumber | Value::Text(_) => {}
            }
        }
        Ok(())
    }

    /// A body of texts, for [`super::Params`], which has its own rules about repetition. `None` is `null`.
    pub(super) fn of_texts(fields: impl IntoIterator<Item = (String, Option<Zeroizing<String>>)>) -> Self {
        let field = |(key, text): (String, Option<_>)| Field::new(key, text.map_or(Value::Null, Value::Text));
        Self { fields: fields.into_iter().map(field).collect() }
    }

    fn spelled<'b>(&'b self, name: &str) -> impl Iterator<Item = &'b Field> {
        self.fields.iter().filter(move |field| field.key.eq_ignore_ascii_case(name))
    }

    fn read<'b, T: PartialEq>(
        &'b self,
        names: &impl Names,
        as_meant: impl Fn(&'b Value) -> Result<T, Misfit>,
    ) -> Result<Option<T>> {
        let fields: Vec<_> = names.spellings().iter().flat_map(|name| self.spelled(name)).collect();
        fields.iter().for_each(|field| field.asked.store(true, Relaxed));
        let mut found = None;
        for field in fields {
            if field.value == Value::Null {
                continue;
            }
            let value = as_meant(&field.value).map_err(|misfit| misfit.named(documented(names)))?;
            if found.as_ref().is_some_and(|other| *other != value) {
                return Err(Malformed::Repeated { name: documented(names) }.into());
            }
            found = Some(value);
        }
        Ok(found)
    }
}

/// Two objects agree when they say the same in the same order; who asked does not matter.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(|(a, b)| a.key == b.key && a.value == b.value)
    }
}

/// Names only: a value may be a password.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")?;
        f.debug_list().entries(self.fields.iter().map(|field| &field.key)).finish()
    }
}

impl Field {
    fn new(key: String, value: Value) -> Self {
        Self { key, value, asked: AtomicBool::new(false) }
    }
}

impl Value {
    fn text(&self) -> Result<&str, Misfit> {
        match self {
            // PostgreSQL has no such character in a text; SQLite would cut there.
            Self::Text(text) if text.contains('\0') => {
                Err(Misfit::Value("the character U+0000 cannot be part of it".into()))
            }
            Self::Text(text) => Ok(text),
            Self::Null
            | Self::Flag(_)
            | Self::Whole(_)
            | Self::OtherNumber
            | Self::List(_)
            | Self::Object(_) => Err(Misfit::Type("a text")),
        }
    }

    fn flag(&self) -> Result<bool, Misfit> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Text(text) if **text == "true" => Ok(true),
            Self::Text(text) if **text == "false" => Ok(false),
            Self::Text(_)
            | Self::Null
            | Self::Whole(_)
            | Self::OtherNumber
            | Self::List(_)
            | Self::Object(_) => Err(Misfit::Type("true or false")),
        }
    }

    fn long(&self) -> Result<i64, Misfit> {
        const WANTED: Misfit = Misfit::Type("a whole number of at most 64 bits");
        match self {
            Self::Whole(number) => Ok(*number),
            Self::Text(text) => decimal(text).ok_or(WANTED),
            Self::Null | Self::Flag(_) | Self::OtherNumber | Self::List(_) | Self::Object(_) => Err(WANTED),
        }
    }

    fn object(&self) -> Result<&Body, Misfit> {
        match self {
            Self::Object(body) => Ok(body),
            Self::Null
            | Self::Flag(_)
            | Self::Whole(_)
            | Self::OtherNumber
            | Self::Text(_)
            | Self::List(_) => Err(Misfit::Type("an object")),
        }
    }

    fn list<'v, T>(
        &'v self,
        wanted: &'static str,
        item: impl Fn(&'v Value) -> Result<T, Misfit>,
    ) -> Result<Vec<T>, Misfit> {
        let items = match self {
            Self::List(items) => items.as_slice(),
            Self::Null
            | Self::Flag(_)
            | Self::Whole(_)
            | Self::OtherNumber
            | Self::Text(_)
            | Self::Object(_) => std::slice::from_ref(self),
        };
        if items.len() > MAX_LIST {
            return Err(Misfit::Value(format!("at most {MAX_LIST} elements in one call")));
        }
        let of_the_list = |misfit| match misfit {
            Misfit::Type(_) => Misfit::Type(wanted),
            Misfit::Value(why) => Misfit::Value(why),
        };
        items.iter().map(|value| item(value).map_err(of_the_list)).collect()
    }
}

impl Misfit {
    fn named(self, name: String) -> Malformed {
        match self {
            Self::Type(wanted) => Malformed::WrongType { name, wanted },
            Self::Value(why) => Malformed::BadValue { name, why },
        }
    }
}

fn documented(names: &impl Names) -> String {
    names.spellings().first().copied().unwrap_or_default().to_owned()
}

fn required<T>(names: &impl Names, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Malformed::Missing { name: documented(names) }.into())
}

pub(super) fn unreadable(why: impl Into<String>) -> crate::error::Error {
    Malformed::Unreadable(why.into()).into()
}

fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed::Unreadable(match error.classify() {
        // The library's words for these two name the place and what it looked for, never what it found.
        Category::Syntax | Category::Eof => format!("the body is not JSON: {error}"),
        Category::Data | Category::Io => "the body is not JSON".into(),
    })
}

/// Reads any JSON value and keeps repeated keys long enough to refuse them, which
/// `serde_json::Value` does not. A refusal of ours travels beside serde's error, which is only text.
#[derive(Clone, Copy)]
struct Reader<'r> {
    depth: usize,
    refusal: &'r RefCell<Option<Malformed>>,
}

impl Reader<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_NESTING {
            let why = format!("the body nests deeper than {MAX_NESTING} levels");
            return Err(self.refuse(Malformed::Unreadable(why)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn refuse<E: serde::de::Error>(self, refusal: Malformed) -> E {
        self.refusal.replace(Some(refusal));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::OtherNumber, Value::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = array.next_element_seed(inside)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut fields = Vec::new();
        while let Some(key) = object.next_key()? {
            fields.push(Field::new(key, object.next_value_seed(inside)?));
        }
        let mut seen = HashSet::with_capacity(fields.len());
        if let Some(twice) = fields.iter().find(|field| !seen.insert(field.key.as_str())) {
            return Err(self.refuse(Malformed::Repeated { name: shown(&twice.key) }));
        }
        Ok(Value::Object(Body { fields }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::error::Error;

    fn body(json: Json) -> Body {
        Body::parse(json.to_string().as_bytes()).expect("a JSON object is a body")
    }

    fn malformed<T>(result: Result<T>) -> Malformed {
        match result.map(|_| ()) {
            Err(Error::Malformed(malformed)) => malformed,
            other => panic!("{other:?} instead of a refusal of the form"),
        }
    }

    fn reason(bytes: &[u8]) -> String {
        match malformed(Body::parse(bytes)) {
            Malformed::Unreadable(why) => why,
            other => panic!("{other:?} instead of an unreadable body"),
        }
    }

    #[test]
    fn the_documented_samples_are_read_as_they_are_printed() {
        let admin = Body::parse(
            br#"{ "password":"t*c9ma", "zuid":"12345", "mode":"resetPassword", "resetAuthtoken":"true" }"#,
        )
        .unwrap();
        assert_eq!(admin.text_required("mode").unwrap(), "resetPassword");
        assert_eq!(admin.long_required("zuid").unwrap(), 12345);
        assert_eq!(admin.flag("resetAuthToken").unwrap(), Some(true));
        assert_eq!(admin.flag("oneTimePassword").unwrap(), None);
        assert_eq!(admin.secret_required("password").unwrap().expose_secret(), "t*c9ma");
        assert_eq!(body(json!({"zuid": 12345})).long("zuid").unwrap(), Some(12345));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_level() {
        let twice = |name: &str| Malformed::Repeated { name: name.into() };
        assert_eq!(malformed(Body::parse(br#"{"zuid":1,"zuid":1}"#)), twice("zuid"));
        assert_eq!(malformed(Body::parse(br#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#)), twice("c"));
        assert_eq!(malformed(Body::parse(br#"{"mode":1,"mo\u0064e":1}"#)), twice("mode"));
    }

    #[test]
    fn two_spellings_that_agree_are_one_parameter() {
        let body = body(
            json!({"resetAuthToken": true, "resetAuthtoken": "true", "role": "admin", "newRole": "admin"}),
        );
        assert_eq!(body.flag("resetAuthToken").unwrap(), Some(true));
        assert_eq!(body.text(["role", "newRole"]).unwrap(), Some("admin"));
    }

    #[test]
    fn two_spellings_that_disagree_are_refused_under_the_documented_name() {
        let body =
            body(json!({"removemailforward": true, "removeMailForward": false, "newRole": "a", "ROLE": "b"}));
        assert_eq!(
            malformed(body.flag("removeMailforward")),
            Malformed::Repeated { name: "removeMailforward".into() }
        );
        assert_eq!(malformed(body.text(["role", "newRole"])), Malformed::Repeated { name: "role".into() });
    }

    #[test]
    fn null_is_absent() {
        let body = body(json!({"role": null, "newRole": "admin", "password": null}));
        assert_eq!(body.text(["role", "newRole"]).unwrap(), Some("admin"));
        assert_eq!(body.text("password").unwrap(), None);
        assert_eq!(
            malformed(body.secret_required("password")),
            Malformed::Missing { name: "password".into() }
        );
    }

    #[test]
    fn what_is_ignored_is_known() {
        let body = body(json!({"password": [1]}));
        malformed(body.refuse_unknown());
        body.ignore("PASSWORD");
        body.refuse_unknown().unwrap();
    }

    #[test]
    fn a_flag_is_a_boolean_or_its_lower_case_word() {
        for yes in [json!(true), json!("true")] {
            assert_eq!(body(json!({ "f": yes })).flag("f").unwrap(), Some(true));
        }
        for no in [json!("True"), json!("yes"), json!(""), json!(" true"), json!(1), json!([true]), json!({})]
        {
            assert_eq!(
                malformed(body(json!({ "f": no })).flag("f")),
                Malformed::WrongType { name: "f".into(), wanted: "true or false" },
            );
        }
    }

    #[test]
    fn a_long_keeps_all_its_digits() {
        for number in [0, -5, i64::MAX, i64::MIN, 6_301_374_000_000_008_002] {
            assert_eq!(body(json!({ "n": number })).long("n").unwrap(), Some(number));
            assert_eq!(body(json!({ "n": number.to_string() })).long("n").unwrap(), Some(number));
        }
    }

    #[test]
    fn what_is_not_exactly_a_whole_number_is_no_long() {
        for text in [
            "1.0",
            "1e3",
            "-0",
            "9223372036854775808",
            r#""007""#,
            r#""+1""#,
            r#"" 1""#,
            r#""""#,
            "true",
            "[1]",
        ] {
            let body = Body::parse(format!(r#"{{"n":{text}}}"#).as_bytes()).unwrap();
            assert!(matches!(malformed(body.long("n")), Malformed::WrongType { .. }), "{text}");
        }
    }

    #[test]
    fn a_list_is_an_array_or_one_value_alone() {
        let body = body(
            json!({"emailAlias": "a@x", "userList": [1, "2"], "mixed": ["a", 1], "deep": [["a"]], "gap": ["a", null]}),
        );
        assert_eq!(body.text_list("emailAlias").unwrap(), Some(vec!["a@x"]));
        assert_eq!(body.long_list("userList").unwrap(), Some(vec![1, 2]));
        assert_eq!(body.long_list("absent").unwrap(), None);
        for name in ["mixed", "deep", "gap"] {
            assert!(matches!(malformed(body.text_list(name)), Malformed::WrongType { .. }), "{name}");
        }
    }

    #[test]
    fn a_list_has_at_most_a_hundred_elements() {
        assert_eq!(body(json!({"l": vec![1; 100]})).long_list("l").unwrap().unwrap().len(), 100);
        assert_eq!(
            malformed(body(json!({"l": vec![1; 101]})).long_list("l")),
            Malformed::BadValue { name: "l".into(), why: "at most 100 elements in one call".into() },
        );
    }

    #[test]
    fn an_empty_list_does_not_fill_a_mandatory_parameter() {
        assert_eq!(body(json!({"l": []})).text_list("l").unwrap(), Some(vec![]));
        assert_eq!(
            malformed(body(json!({"l": []})).text_list_required("l")),
            Malformed::Missing { name: "l".into() }
        );
    }

    #[test]
    fn objects_are_read_like_bodies() {
        let body = body(json!({"address": {"City": "Rome"}, "mailForward": [{"mailForwardTo": "a@x"}]}));
        assert_eq!(body.object("address").unwrap().unwrap().text("city").unwrap(), Some("Rome"));
        assert!(matches!(malformed(body.object("mailForward")), Malformed::WrongType { .. }));
    }

    #[test]
    fn a_scalar_never_takes_an_array() {
        let body = body(json!({"mode": ["resetPassword"], "zuid": [1]}));
        assert_eq!(
            malformed(body.text("mode")),
            Malformed::WrongType { name: "mode".into(), wanted: "a text" }
        );
        assert!(matches!(malformed(body.long("zuid")), Malformed::WrongType { .. }));
    }

    #[test]
    fn a_text_with_a_nul_is_refused_before_the_database_sees_it() {
        assert!(matches!(malformed(body(json!({"t": "a\0b"})).text("t")), Malformed::BadValue { .. }));
    }

    #[test]
    fn an_unasked_parameter_is_named_when_it_has_to_be() {
        let body = body(json!({"mode": "x", "address": {"city": "Rome", "zip": 1}, "newPassword": "y"}));
        body.text("mode").unwrap();
        let address = body.object("address").unwrap().unwrap();
        address.text("city").unwrap();
        assert_eq!(malformed(body.refuse_unknown()), Malformed::Unknown { name: "zip".into() });
        address.long("zip").unwrap();
        assert_eq!(malformed(body.refuse_unknown()), Malformed::Unknown { name: "newPassword".into() });
        body.text(["password", "newPassword"]).unwrap();
        body.refuse_unknown().unwrap();
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_a_reason() {
        assert_eq!(reason(b""), "the body is empty; send a JSON object");
        assert_eq!(reason(b" \r\n\t"), "the body is empty; send a JSON object");
        assert_eq!(reason(b"\xef\xbb\xbf"), "the body is empty; send a JSON object");
        assert_eq!(reason(b"[]"), "the body must be a JSON object");
        assert_eq!(reason(b"null"), "the body must be a JSON object");
        assert_eq!(reason(b"{\"a\":\"\xff\"}"), "the body is not UTF-8 text");
        for bad in [
            r#"{"a":NaN}"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            r#"{a:1}"#,
            r#"{"a":1 // x"#,
            "{\"a\":\"\n\"}",
            "\u{feff}\u{feff}{}",
            r#"{"a":"#,
        ] {
            assert!(reason(bad.as_bytes()).starts_with("the body is not JSON: "), "{bad}");
        }
    }

    #[test]
    fn one_byte_order_mark_is_forgiven() {
        assert_eq!(Body::parse("\u{feff}{\"a\":1}".as_bytes()).unwrap().long("a").unwrap(), Some(1));
    }

    #[test]
    fn a_body_is_at_most_64_kib() {
        let filled = |size: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(size - 8));
        assert!(Body::parse(filled(MAX_BODY).as_bytes()).is_ok());
        assert_eq!(reason(filled(MAX_BODY + 1).as_bytes()), "the body is larger than 64 KiB");
    }

    #[test]
    fn sixteen_levels_are_read_and_seventeen_are_not() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(Body::parse(nested(16).as_bytes()).is_ok());
        assert_eq!(reason(nested(17).as_bytes()), "the body nests deeper than 16 levels");
        assert_eq!(reason("[".repeat(60_000).as_bytes()), "the body nests deeper than 16 levels");
    }

    #[test]
    fn debug_shows_names_and_no_value() {
        let body = body(json!({"password": "hunter2", "address": {"city": "Rome"}}));
        assert_eq!(format!("{body:?}"), r#"Body["address", "password"]"#);
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                any_object(inner).prop_map(Json::Object),
            ]
        })
    }

    fn any_object(
        values: impl Strategy<Value = Json>,
    ) -> impl Strategy<Value = serde_json::Map<String, Json>> {
        prop::collection::btree_map(any::<String>(), values, 0..6).prop_map(|map| map.into_iter().collect())
    }

    fn back(value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Flag(flag) => Json::from(*flag),
            Value::Whole(number) => Json::from(*number),
            Value::OtherNumber => panic!("only whole numbers were written"),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(items) => items.iter().map(back).collect(),
            Value::Object(body) => back_object(body),
        }
    }

    fn back_object(body: &Body) -> Json {
        Json::Object(body.fields.iter().map(|field| (field.key.clone(), back(&field.value))).collect())
    }

    proptest! {
        #[test]
        fn every_object_comes_back_as_it_was_written(object in any_object(any_json())) {
            let object = Json::Object(object);
            prop_assert_eq!(back_object(&body(object.clone())), object);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Body::parse(&bytes);
        }

        #[test]
        fn no_damage_makes_a_refusal_quote_a_value(at in 0..58usize, byte: u8, cut: bool) {
            let mut bytes = br#"{"password":"Sesame-0pen","zuid":[1,{"a":"Sesame-0pen"}]}  "#.to_vec();
            bytes[at] = byte;
            if cut { bytes.truncate(at); }
            match Body::parse(&bytes) {
                Ok(body) => {
                    for error in [body.flag("password").err(), body.long("password").err(), body.text("zuid").err()] {
                        prop_assert!(!format!("{error:?}").contains("esame"), "{:?}", error);
                    }
                }
                Err(error) => prop_assert!(!error.to_string().contains("esame"), "{}", error),
            }
        }
    }
}
