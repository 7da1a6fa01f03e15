//! Reads the configuration: the file, then `MAILWARD_*` variables over it. What nobody knows is
//! refused with the nearest right name, so that a typing error never means a default.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::DeTable;
use toml::{Table, Value};

use super::Config;
use crate::error::{Error, Result};

/// Where the file is looked for when nobody names one: here first, the machine's second.
pub const HERE: &str = "mailward.toml";
pub const EVERYWHERE: &str = "/etc/mailward/mailward.toml";

/// Variables with these beginnings are somebody else's: the tests' own, and what Kubernetes sets
/// for a service named `mailward`.
const NOT_OURS: [&str; 4] = ["MAILWARD_TEST_", "MAILWARD_SERVICE_", "MAILWARD_PORT_", "MAILWARD_PORT="];

/// A configuration with where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read; `None` when there is none and the defaults hold.
    pub file: Option<PathBuf>,
}

/// The file to read: the named one, or the first that exists of the usual two.
pub fn find(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(file) => Some(file.to_owned()),
        None => [HERE, EVERYWHERE].into_iter().map(PathBuf::from).find(|file| file.exists()),
    }
}

/// Reads the file (a named one must exist) and lays the variables over it. Values are not
/// checked yet; flags may follow (`Config::check`).
///
/// # Errors
/// `BadValue` that names file, line and option, or the variable, and what would be right.
pub fn load(named: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded> {
    let file = find(named);
    let config = load_named(file.as_deref(), environment)?;
    Ok(Loaded { config, file })
}

/// The same, but no file is looked for when nobody names one.
///
/// # Errors
/// As `load`.
pub fn load_named(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config> {
    let mut table = Table::new();
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|cause| {
            Error::bad_value("configuration", format!("cannot read {}: {cause}", file.display()))
        })?;
        table = read(&text, &file.display().to_string())?;
    }
    lay_over(&mut table, environment)?;
    Config::deserialize(Value::Table(table))
        .map_err(|cause| Error::bad_value("configuration", cause.message()))
}

/// Some sections alone, as strictly as `load`; whatever is wrong elsewhere is passed over, as long as it is TOML.
///
/// # Errors
/// As `load`.
pub fn load_sections(
    named: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    sections: &[&str],
) -> Result<Config> {
    let mut table = Table::new();
    if let Some(file) = find(named) {
        let told = |cause: &dyn std::fmt::Display| {
            Error::bad_value("configuration", format!("cannot read {}: {cause}", file.display()))
        };
        let text = std::fs::read_to_string(&file).map_err(|cause| told(&cause))?;
        let mut whole: Table = toml::from_str(&text).map_err(|cause| told(&cause.message()))?;
        whole.retain(|section, _| sections.contains(&section));
        table = read(&whole.to_string(), &file.display().to_string())?;
    }
    let elsewhere: Vec<String> = known()
        .keys()
        .filter(|section| !sections.iter().any(|wanted| wanted == section))
        .map(|section| format!("MAILWARD_{section}_").to_uppercase())
        .collect();
    let ours = sections.iter().map(|section| format!("MAILWARD_{section}_").to_uppercase());
    let ours: Vec<String> = ours.collect();
    // The names of some sections begin like those of others.
    let among = |starts: &[String], name: &str| starts.iter().any(|start| name.starts_with(start));
    lay_over(&mut table, environment.filter(|(name, _)| among(&ours, name) && !among(&elsewhere, name)))?;
    Config::deserialize(Value::Table(table))
        .map_err(|cause| Error::bad_value("configuration", cause.message()))
}

/// Reads the text of a file alone, without variables; `name` is for the refusal.
///
/// # Errors
/// As `load`.
pub fn of_text(text: &str, name: &str) -> Result<Config> {
    Config::deserialize(Value::Table(read(text, name)?))
        .map_err(|cause| Error::bad_value("configuration", cause.message()))
}

/// Reads the text of a file; `name` is for the refusal.
fn read(text: &str, name: &str) -> Result<Table> {
    let at = |position: usize| {
        let line = text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1;
        format!("{name}, line {line}")
    };
    let told = |cause: &toml::de::Error| {
        Error::bad_value(at(cause.span().map_or(0, |span| span.start)), cause.message())
    };
    let spanned = DeTable::parse(text).map_err(|cause| told(&cause))?;
    let known = known();
    for (section, inside) in spanned.get_ref() {
        let place = || at(section.span().start);
        let Some(keys) = known.get(section.get_ref().as_ref()).and_then(Value::as_table) else {
            // An option of some section, written outside of it, is the likelier mistake.
            let elsewhere = known.iter().filter(|(_, keys)| keys.get(section.get_ref().as_ref()).is_some());
            let elsewhere: Vec<String> = elsewhere.map(|(right, _)| format!("[{right}]")).collect();
            let hint = match elsewhere.is_empty() {
                true => format!("did you mean [{}]?", nearest(section.get_ref(), known.keys())),
                false => format!("it belongs below {}", elsewhere.join(" or ")),
            };
            return Err(Error::bad_value(
                place(),
                format!("there is no section {}; {hint}", section.get_ref()),
            ));
        };
        let Some(inside) = inside.get_ref().as_table() else {
            return Err(Error::bad_value(
                place(),
                format!("{0} is a section; write [{0}] on a line of its own", section.get_ref()),
            ));
        };
        for key in inside.keys() {
            if !keys.contains_key(key.get_ref().as_ref()) {
                return Err(Error::bad_value(
                    at(key.span().start),
                    format!(
                        "[{}] has no option {}; did you mean {}?",
                        section.get_ref(),
                        key.get_ref(),
                        nearest(key.get_ref(), keys.keys())
                    ),
                ));
            }
        }
    }
    toml::from_str::<Config>(text).map_err(|cause| told(&cause))?;
    toml::from_str(text).map_err(|cause| told(&cause))
}

fn lay_over(table: &mut Table, environment: impl Iterator<Item = (String, String)>) -> Result<()> {
    let known = variables();
    for (name, text) in environment {
        let foreign = NOT_OURS.iter().any(|start| format!("{name}=").starts_with(start));
        if !name.starts_with("MAILWARD_") || foreign || name == "MAILWARD_CONFIG" {
            continue;
        }
        let Some((_, section, key, default)) = known.iter().find(|(variable, ..)| *variable == name) else {
            return Err(Error::bad_value(
                name.clone(),
                format!(
                    "there is no such variable; did you mean {}?",
                    nearest(&name, known.iter().map(|(variable, ..)| variable))
                ),
            ));
        };
        let value = parse(&text, default).map_err(|wanted| Error::bad_value(name.clone(), wanted))?;
        let alone = Table::from_iter([(
            section.clone(),
            Value::Table(Table::from_iter([(key.clone(), value.clone())])),
        )]);
        Config::deserialize(Value::Table(alone))
            .map_err(|cause| Error::bad_value(name.clone(), cause.message()))?;
        let place = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(inside) = place {
            inside.insert(key.clone(), value);
        }
    }
    Ok(())
}

/// A variable's text as a value of the default's type; lists are separated by commas.
fn parse(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("must be a whole number, not {text:?}")),
        Value::Boolean(_) => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("must be true or false, not {text:?}")),
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|one| !one.is_empty())
                .map(|one| Value::String(one.to_owned()))
                .collect(),
        )),
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            Err("cannot be set by a variable".to_owned())
        }
    }
}

/// Every variable: its name, section, option and default.
pub fn variables() -> Vec<(String, String, String, Value)> {
    let mut all = Vec::new();
    for (section, inside) in known() {
        for (key, default) in inside.as_table().into_iter().flatten() {
            let name = format!("MAILWARD_{section}_{key}").to_uppercase();
            all.push((name, section.clone(), key.clone(), default.clone()));
        }
    }
    all
}

/// Every section with its options and their defaults.
fn known() -> Table {
    Table::try_from(Config::default()).expect("the defaults are strings, numbers, booleans and lists")
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let name = name.to_lowercase();
    known
        .min_by_key(|known| strsim::damerau_levenshtein(&name, &known.to_lowercase()))
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> String {
        read(text, "mailward.toml").expect_err("this file is refused").to_string()
    }

    fn variable(name: &str, text: &str) -> Result<Config> {
        let mut table = Table::new();
        lay_over(&mut table, [(name.to_owned(), text.to_owned())].into_iter())?;
        Ok(Config::deserialize(Value::Table(table)).expect("a configuration"))
    }

    #[test]
    fn an_unknown_option_is_refused_with_its_line_and_the_nearest_one() {
        let text = file("[log]\nlevel = \"info\"\n\n[server]\nlisten = \"[::1]:80\"\npublik_url = \"\"\n");
        assert_eq!(
            text,
            "mailward.toml, line 6: [server] has no option publik_url; did you mean public_url?"
        );
    }

    #[test]
    fn an_unknown_section_is_refused_with_the_nearest_one() {
        let text = file("[databse]\nurl = \"\"\n");
        assert_eq!(text, "mailward.toml, line 1: there is no section databse; did you mean [database]?");
        assert!(file("listen = \"[::1]:80\"").contains("belongs below [metrics] or [server]"));
        assert!(file("server = 1").contains("write [server]"));
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        let text = file("[server]\n# a comment\nshutdown_seconds = \"soon\"\n");
        assert!(text.starts_with("mailward.toml, line 3: "), "{text}");
        assert!(file("[server\n").starts_with("mailward.toml, line 1: "));
        assert!(file("[server]\nlisten = \"here\"").contains("line 2"));
    }

    #[test]
    fn variables_have_the_type_of_their_option() {
        assert_eq!(variable("MAILWARD_DATABASE_POOL_SIZE", "7").expect("a number").database.pool_size, 7);
        assert!(variable("MAILWARD_COMPAT_STRICT", "true").expect("a flag").compat.strict);
        let proxies = variable("MAILWARD_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128").expect("a list");
        assert_eq!(proxies.server.trusted_proxies, ["10.0.0.0/8", "::1/128"]);
        let refusal = variable("MAILWARD_COMPAT_STRICT", "maybe").expect_err("no flag").to_string();
        assert_eq!(refusal, "MAILWARD_COMPAT_STRICT: must be true or false, not \"maybe\"");
        assert!(variable("MAILWARD_SERVER_LISTEN", "here").is_err());
        assert!(variable("MAILWARD_DATABASE_POOL_SIZE", "-7").is_err());
        assert_eq!(variable("MAILWARD_SERVER_TLS_CERT", "").expect("a path").server.tls_cert, None);
    }

    #[test]
    fn sections_can_be_read_beside_others_that_cannot() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mailward.toml");
        let read = |text: &str, variables: &[(&str, &str)]| {
            std::fs::write(&file, text).expect("a file");
            let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            load_sections(Some(&file), variables, &["database", "mail"])
        };
        let broken = "[srever]\nlisten = 1\n[server]\nlisten = 2\n[mail]\nauth_dir = \"/a\"\n";
        let variables = [("MAILWARD_SERVER_LISTEN", "here"), ("MAILWARD_MAIL_AGENT_KEY", "x")];
        let config = read(broken, &variables).expect("nothing is wrong with [mail]");
        assert_eq!(config.mail.auth_dir, Some("/a".into()));
        let config = read(broken, &[("MAILWARD_MAIL_MAPS_DIR", "/b")]).expect("a variable");
        assert_eq!(config.mail.maps_dir, Some("/b".into()));
        read("[mail]\nauth_gruop = \"x\"\n", &[]).expect_err("a mistake there");
        read(broken, &[("MAILWARD_MAIL_MAPS", "/b")]).expect_err("a mistake there");
        read("[mail\n", &[]).expect_err("no TOML");
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_one() {
        let refusal = variable("MAILWARD_SERVER_LISTN", "x").expect_err("unknown").to_string();
        assert_eq!(
            refusal,
            "MAILWARD_SERVER_LISTN: there is no such variable; did you mean MAILWARD_SERVER_LISTEN?"
        );
    }

    #[test]
    fn the_variables_of_others_are_left_alone() {
        for name in
            ["MAILWARD_CONFIG", "MAILWARD_TEST_POSTGRES", "MAILWARD_PORT", "MAILWARD_SERVICE_HOST", "MAIL"]
        {
            assert_eq!(variable(name, "x").expect("not ours"), Config::default(), "{name}");
        }
    }
}
