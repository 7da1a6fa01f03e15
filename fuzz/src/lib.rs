//! What must hold for every input of every parser, of strangers and of operators, and for every request on
//! its whole way (`request`).
//!
//! One plain function for each parser: it panics when a promise is broken. libFuzzer drives them
//! (`fuzz_targets/`, `scripts/fuzz`), and so does a short test with the ordinary tests.

mod request;

use mailward::{
    app::audit::verify,
    cli::policy as rules,
    config,
    domain::{
        email_address::{DomainName, EmailAddress},
        password::{Password, PasswordHash},
        policy::Policy,
        scope::{Required, ScopeSet},
        switch::Reason,
    },
    error::{Error, Malformed},
    mailserver::doveadm,
    wire::{
        Body, Credentials, MAX_BODY, Params, PathId, authorization as read_authorization,
        id_segment as read_id,
    },
};
use secrecy::ExposeSecret;
use serde_json::Value;

pub use request::{mail_login, request};

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
    ("domain_name", domain_name),
    ("password", password),
    ("reason", reason),
    ("policy", policy),
    ("config", config),
    ("audit_export", audit_export),
    ("doveadm", doveadm),
    ("mail_login", mail_login),
    ("request", request),
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
    body.ignore(name);
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
    let _ = (body.text_list(name), body.long_list(name), body.secret(name));
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

/// What is accepted is read back as itself, and an address on it can be written down.
pub fn domain_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match DomainName::parse(text) {
        Ok(domain) => {
            assert!(
                domain.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
            );
            assert!(domain.as_str().contains('.') && domain.as_str().len() <= 253);
            assert!(DomainName::parse(domain.as_str()).is_ok_and(|again| again == domain));
        }
        Err(Error::BadAddress(_)) => {}
        Err(other) => panic!("{other:?} is no way to refuse a domain"),
    }
}

/// What is accepted is prepared already, is not too long, and no refusal repeats it.
pub fn password(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Password::prepare(text) {
        Ok(password) => {
            assert!(!password.expose().is_empty() && password.expose().len() <= 256);
            assert!(!password.expose().chars().any(char::is_control));
            let again = Password::prepare(password.expose()).expect("what was prepared is accepted again");
            assert!(again.expose() == password.expose());
        }
        Err(Error::BadPassword(why)) => assert!(text.len() < 16 || !why.contains(text)),
        Err(other) => panic!("{other:?} is no way to refuse a password"),
    }
}

/// What is accepted is one short line.
pub fn reason(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Reason::parse(text) {
        Ok(Some(reason)) => {
            let line = reason.as_str();
            assert!(!line.is_empty() && line.chars().count() <= 200 && !line.chars().any(char::is_control));
            assert!(Reason::parse(line).is_ok_and(|again| again.as_ref() == Some(&reason)));
        }
        Ok(None) => assert!(text.trim().is_empty()),
        Err(Error::Malformed(Malformed::BadValue { .. })) => {}
        Err(other) => panic!("{other:?} is no way to refuse a reason"),
    }
}

/// One rule in a line; what is accepted is printed so that it is taken again, and is a policy that can be
/// meant. The stored form is read with the same strictness.
pub fn policy(data: &[u8]) {
    if let Ok(stored) = serde_json::from_slice::<Policy>(data) {
        let text = serde_json::to_string(&stored).expect("JSON");
        assert!(serde_json::from_str::<Policy>(&text).is_ok_and(|again| again == stored));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let taken = |lines: &[String]| rules::apply(&Policy::default(), &rules::assignments(lines)?);
    match taken(&lines) {
        Ok(policy) => {
            policy.validate().expect("what is accepted can be meant");
            let printed = rules::text(&rules::read(&policy).expect("rules"));
            let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
            assert_eq!(taken(&lines).expect("what was printed"), policy);
        }
        Err(Error::Malformed(Malformed::BadValue { .. })) => {}
        Err(other) => panic!("{other:?} is no way to refuse a rule"),
    }
}

/// A file that is accepted is written back to the same configuration; whether it can be meant is decided
/// without a panic, and a refusal names where.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::of_text(text, "the file") {
        Ok(config) => {
            let written = toml::to_string(&config).expect("TOML");
            assert!(config::of_text(&written, "again").expect("what was written") == config);
            let _ = config.check();
        }
        Err(Error::Malformed(Malformed::BadValue { name, why })) => {
            assert!(!why.is_empty() && (name.starts_with("the file, line ") || name == "configuration"));
        }
        Err(other) => panic!("{other:?} is no way to refuse a configuration"),
    }
}

/// An export in which nothing is found is the one that was made, line by line: nobody makes another one
/// without the key and the chain.
pub fn audit_export(data: &[u8]) {
    const MADE: &str = include_str!("../seeds/audit_export/made");
    match verify::verify_export(&mut &*data, &[], &[]) {
        Ok(verdict) if verdict.findings.is_empty() => {
            let text = std::str::from_utf8(data).expect("what is whole is text");
            // The key's label is not signed.
            let plain = |text: &str| {
                let (before, after) = text.split_once(r#""key":""#).expect("a head");
                format!("{before}{}", &after[8..]).lines().map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(plain(text), plain(MADE), "another log was found whole");
        }
        Ok(verdict) => assert!(verdict.findings.len() <= 101),
        Err(Error::Malformed(Malformed::BadValue { .. }) | Error::Internal(_)) => {}
        Err(other) => panic!("{other:?} is no way to refuse an export"),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = verify::read_heads(text);
    }
}

/// Whatever answers instead of Dovecot is an answer or a refusal, and no session comes out of nothing.
pub fn doveadm(data: &[u8]) {
    if let Ok(sessions) = doveadm::who_answer(data) {
        assert!(sessions.len() <= data.len());
    }
    if let Ok(Some(ended)) = doveadm::kick_answer(data) {
        assert!(ended == 0 || data.iter().any(u8::is_ascii_digit));
    }
}
