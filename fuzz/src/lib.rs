//! What must hold for every input of every parser that a stranger can reach.
//!
//! One plain function for each parser: it panics when a promise is broken. libFuzzer drives them
//! (`fuzz_targets/`, `scripts/fuzz`), and so does a short test with the ordinary tests.

use mailward::{
    domain::{
        email_address::EmailAddress,
        password::PasswordHash,
        scope::{Required, ScopeSet},
    },
    error::{Error, Malformed},
    wire::{
        Body, Credentials, MAX_BODY, Params, PathId, authorization as read_authorization,
        id_segment as read_id,
    },
};
use secrecy::ExposeSecret;
use serde_json::Value;

/// A parser's promises, checked for one input.
pub type Target = fn(&[u8]);

/// Every target under the name of its file in `fuzz_targets/` and of its folder in `seeds/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("body", body),
    ("params", params),
    ("id_segment", id_segment),
    ("authorization", authorization),
    ("scope", scope),
    ("email_address", email_address),
    ("password_hash", password_hash),
];

/// A body that is accepted is a JSON object, and every value is read as it was sent or refused.
pub fn body(data: &[u8]) {
    let body = match Body::parse(data) {
        Ok(body) => body,
        Err(Error::Malformed(Malformed::Unreadable(_) | Malformed::Repeated { .. })) => return,
        Err(other) => panic!("{other:?} is no way to refuse a body"),
    };
    assert!(data.len() <= MAX_BODY);
    let json: Value =
        serde_json::from_slice(data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data)).expect("JSON");
    for (name, value) in json.as_object().expect("an object") {
        same_value(&body, name, value);
    }
    body.refuse_unknown().unwrap_or_else(|_| assert!(has_inner_objects(&json), "every name was asked for"));
}

fn same_value(body: &Body, name: &str, value: &Value) {
    assert!(body.has(name));
    if let Ok(Some(text)) = body.text(name) {
        assert!(value.is_null() || value.as_str() == Some(text));
    }
    if let Ok(Some(number)) = body.long(name) {
        let sent = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        assert!(value.is_null() || sent == Some(number));
    }
    if let Ok(Some(flag)) = body.flag(name) {
        let sent = value.as_bool().or_else(|| value.as_str()?.parse().ok());
        assert!(value.is_null() || sent == Some(flag));
    }
    let _ = (body.text_list(name), body.long_list(name), body.object_list(name), body.secret(name));
    if let (Ok(Some(inner)), Some(object)) = (body.object(name), value.as_object()) {
        for (name, value) in object {
            same_value(inner, name, value);
        }
    }
}

fn has_inner_objects(json: &Value) -> bool {
    match json {
        Value::Object(fields) => fields.values().any(|value| value.is_object() || has_inner_objects(value)),
        Value::Array(items) => items.iter().any(|value| value.is_object() || has_inner_objects(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Query and form, parted by the first line feed; what is accepted is what a lenient decoder sees too.
pub fn params(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let Ok(query) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let form = parts.next().unwrap_or_default();
    let Ok(params) = Params::parse(Some(query), form) else { return };
    for (name, value) in
        url::form_urlencoded::parse(query.as_bytes()).chain(url::form_urlencoded::parse(form))
    {
        match params.text(&*name) {
            // Another spelling of the name may fill what this one leaves empty.
            Ok(Some(text)) => assert!(text == value || value.is_empty()),
            Ok(None) => assert!(value.is_empty()),
            Err(_) => {}
        }
        let _ = (params.long(&*name), params.flag(&*name), params.secret(&*name));
    }
    params.refuse_unknown().expect("every name was asked for");
}

/// A number has one spelling, an address has its `@`.
pub fn id_segment(data: &[u8]) {
    let Ok(segment) = std::str::from_utf8(data) else { return };
    match read_id(segment) {
        PathId::Number(number) => assert!(number >= 0 && number.to_string() == segment),
        PathId::Address(address) => assert!(address == segment && segment.contains('@')),
        PathId::Nonsense => assert!(!segment.contains('@')),
    }
}

/// A token is printable ASCII from the end of the header.
pub fn authorization(data: &[u8]) {
    match read_authorization([data]) {
        Credentials::Token(token) => {
            let token = token.expose_secret();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(data.trim_ascii().ends_with(token.as_bytes()));
        }
        Credentials::Basic { user, .. } => assert!(!user.is_empty()),
        Credentials::None => assert!(data.trim_ascii().is_empty()),
        Credentials::Unusable => {}
    }
}

/// What is accepted is written back in one spelling, and covers itself.
pub fn scope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(set) = ScopeSet::parse(text) else { return };
    assert_eq!(ScopeSet::parse(&set.to_string()).as_ref().ok(), Some(&set));
    assert!(set.is_subset_of(&set) && set.iter().all(|scope| set.covers(&Required::scope(scope))));
}

/// What is accepted is one line of ASCII, read back as itself.
pub fn email_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match EmailAddress::parse(text) {
        Ok(address) => {
            let written = address.to_string();
            assert!(written.bytes().all(|byte| byte.is_ascii_graphic()) && written.matches('@').count() == 1);
            assert!(EmailAddress::parse(&written).is_ok_and(|again| again == address));
        }
        Err(Error::BadAddress(_)) => {}
        Err(other) => panic!("{other:?} is no way to refuse an address"),
    }
}

/// What is accepted is kept to the byte.
pub fn password_hash(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PasswordHash::parse(text) {
        Ok(hash) => assert!(hash.as_phc() == text && text.is_ascii()),
        Err(Error::BadPassword(_)) => {}
        Err(other) => panic!("{other:?} is no way to refuse a password hash"),
    }
}
