//! Policies as `key=value`: the keys are those of the stored policy, with a dot between levels.

use serde_json::{Map, Value};

use crate::domain::policy::Policy;
use crate::error::{Error, Result};

/// # Errors
/// `Internal`.
pub fn read(policy: &Policy) -> Result<Value> {
    serde_json::to_value(policy).map_err(|cause| Error::caused("writing a policy", cause))
}

/// Every rule on a line of its own, as `set` takes it.
pub fn text(rules: &Value) -> String {
    flat(rules).iter().map(|(key, value)| format!("{key}={}\n", written(value))).collect()
}

/// Reads `key=value`.
///
/// # Errors
/// `BadValue`.
pub fn assignments(rules: &[String]) -> Result<Vec<(String, String)>> {
    rules
        .iter()
        .map(|rule| {
            let (key, value) = rule.split_once('=').ok_or_else(|| {
                Error::bad_value(
                    "policy",
                    format!("{rule} is no rule; write key=value, as password.min_length=12"),
                )
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// The policy with the rules changed.
///
/// # Errors
/// `BadValue` with the nearest right key, or the right kind of value.
pub fn apply(policy: &Policy, rules: &[(String, String)]) -> Result<Policy> {
    let mut all = read(policy)?;
    for (key, text) in rules {
        let known = flat(&all);
        let Some((_, before)) = known.iter().find(|(known, _)| known == key) else {
            let nearest = known.iter().min_by_key(|(known, _)| strsim::damerau_levenshtein(known, key));
            let nearest = nearest.map(|(known, _)| known.as_str()).unwrap_or_default();
            return Err(Error::bad_value(
                key.clone(),
                format!("there is no such rule; did you mean {nearest}?"),
            ));
        };
        let value = parse(text, before).map_err(|wanted| Error::bad_value(key.clone(), wanted))?;
        put(&mut all, key, value);
        serde_json::from_value::<Policy>(all.clone())
            .map_err(|cause| Error::bad_value(key.clone(), cause.to_string()))?;
    }
    let policy: Policy =
        serde_json::from_value(all).map_err(|cause| Error::bad_value("policy", cause.to_string()))?;
    policy.validate()?;
    Ok(policy)
}

fn parse(text: &str, before: &Value) -> std::result::Result<Value, String> {
    match before {
        Value::Bool(_) => text.parse().map(Value::Bool).map_err(|_| "must be true or false".to_owned()),
        Value::Number(_) => {
            text.parse::<i64>().map(Value::from).map_err(|_| "must be a whole number".to_owned())
        }
        Value::Array(_) => {
            Ok(text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Value::from).collect())
        }
        Value::String(_) | Value::Null => Ok(Value::from(text)),
        Value::Object(_) => Err("has rules of its own; name one of them".to_owned()),
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(written).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn flat(rules: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (key, value) in rules.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => {
                all.extend(flat(value).into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
            }
            leaf => all.push((key.clone(), leaf.clone())),
        }
    }
    all
}

fn put(rules: &mut Value, key: &str, value: Value) {
    let Some(object) = rules.as_object_mut() else { return };
    match key.split_once('.') {
        None => drop(object.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            put(object.entry(first).or_insert_with(|| Value::Object(Map::new())), rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::SelfRename;

    fn with(rules: &[&str]) -> Result<Policy> {
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        apply(&Policy::default(), &assignments(&rules)?)
    }

    #[test]
    fn rules_are_changed_by_their_name() {
        let policy =
            with(&["password.min_length=12", "self_rename=own_alias", "reserved_names=board, press"])
                .expect("a policy");
        assert_eq!(policy.password.min_length, 12);
        assert_eq!(policy.self_rename, SelfRename::OwnAlias);
        assert_eq!(policy.reserved_names, ["board", "press"]);
        assert_eq!(with(&["reserved_names="]).expect("a policy").reserved_names, Vec::<String>::new());
    }

    #[test]
    fn what_is_printed_is_what_is_taken() {
        let printed = text(&read(&Policy::default()).expect("rules"));
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines.contains(&"password.min_length=8"), "{printed}");
        assert_eq!(with(&lines).expect("a policy"), Policy::default());
    }

    #[test]
    fn wrong_rules_are_refused() {
        let refusal = |rule: &str| with(&[rule]).expect_err(rule).to_string();
        assert!(refusal("password.minlength=12").contains("password.min_length"));
        assert!(refusal("password.min_length=long").contains("whole number"));
        assert!(refusal("password=1").contains("no such rule"));
        assert!(refusal("self_rename=never").starts_with("self_rename: "));
        assert!(refusal("address_kept_days=-1").starts_with("address_kept_days"));
        assert!(refusal("nothing").contains("key=value"));
    }
}
