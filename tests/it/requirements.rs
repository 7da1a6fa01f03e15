//! `docs/security/requirements.md` names a test for each lesson of the published flaws of this class of
//! software: each named test is there.

use std::path::Path;

use crate::support::source::Source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MANY: usize = 39;

/// Whether there is a test of that name: `module::path::name`, of the integration tests or of the crate.
pub fn exists(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else { return false };
    let path = module.replace("::", "/");
    let inside = path.strip_suffix("/tests").unwrap_or(&path);
    ["tests/it", "src"].iter().any(|root| {
        let files = [
            format!("{path}.rs"),
            format!("{path}/mod.rs"),
            format!("{inside}.rs"),
            format!("{inside}/mod.rs"),
        ];
        files.iter().any(|file| {
            let text = std::fs::read_to_string(Path::new(ROOT).join(root).join(file));
            text.is_ok_and(|text| is_a_test(&Source::parse(file.as_str(), &text).code, name))
        })
    })
}

/// A function under `#[test]`, or the body of a test on one engine, on both, or on both contracts.
fn is_a_test(code: &str, name: &str) -> bool {
    let Some(place) = code.find(&format!("fn {name}(")) else { return false };
    let before = code[..place].trim_end();
    let attributes = before.strip_suffix("async").unwrap_or(before).trim_end();
    if attributes.ends_with("#[test]") || attributes.ends_with("#[tokio::test]") {
        return true;
    }
    let opened = ["both_engines! {", "both_contracts! {", "one_engine! {"]
        .iter()
        .filter_map(|start| code[..place].rfind(start))
        .max();
    // The macro's end stands alone at the start of a line.
    opened.is_some_and(|start| !code[start..place].contains("\n}\n"))
}

/// A row of the document: its number, its sentence, and what holds it.
fn rows(text: &str) -> Vec<(usize, &str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| R"));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_end_matches('|').split(" | ").map(str::trim).collect();
            let [number, demand, held] = cells[..] else { panic!("three cells: {line}") };
            (number.parse().expect("a number"), demand, held)
        })
        .collect()
}

fn names(held: &str) -> Vec<&str> {
    held.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect()
}

#[test]
fn every_requirement_names_tests_that_exist() {
    let text =
        std::fs::read_to_string(Path::new(ROOT).join("docs/security/requirements.md")).expect("the document");
    let rows = rows(&text);
    let numbers: Vec<_> = rows.iter().map(|(number, _, _)| *number).collect();
    assert_eq!(numbers, (1..=MANY).collect::<Vec<_>>(), "each once, in order");
    let mut missing = Vec::new();
    for (number, demand, held) in &rows {
        assert!(demand.len() > 20 && demand.ends_with('.'), "R{number} says what it demands");
        let named = names(held);
        assert!(!named.is_empty(), "R{number} has a test");
        missing
            .extend(named.into_iter().filter(|name| !exists(name)).map(|name| format!("R{number}: {name}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn no_test_is_left_out_of_a_run() {
    let mut code = String::new();
    crate::documents::add_code(&Path::new(ROOT).join("tests"), &mut code);
    crate::documents::add_code(&Path::new(ROOT).join("src"), &mut code);
    assert!(!code.contains(concat!("#[", "ignore")), "a test that is not run holds nothing");
}

#[test]
fn a_name_that_is_no_test_would_be_seen() {
    for good in [
        "requirements::a_name_that_is_no_test_would_be_seen",
        "races::of_many_uses_of_a_one_time_password_exactly_one_wins",
        "mail::product::modes::each_mode_is_seen_by_every_protocol_right_after_its_answer",
        "mailserver::config::tests::no_placeholder_is_left",
        "what_ends::after_a_reset",
    ] {
        assert!(exists(good), "{good}");
    }
    for bad in ["requirements::rows", "races::count", "races::no_such_test", "nowhere::at_all", "races"] {
        assert!(!exists(bad), "{bad}");
    }
}
