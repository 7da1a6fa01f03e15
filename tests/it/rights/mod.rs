//! The rights of every kind of caller, held against a table written by hand (`table`): each cell on
//! the rules (`rules`), on the whole decision (`decision`), each route and principal over HTTP (`http`).

mod decision;
pub mod expected;
mod http;
mod rules;
mod table;

use std::collections::BTreeSet;

use mailward::app::accounts::{MODES, Method};

/// A table that took its answers from the product would agree with anything.
#[test]
fn the_table_imports_nothing_from_the_product() {
    for text in [include_str!("table.rs"), include_str!("expected.rs")] {
        assert!(!text.contains("mailward"), "a word of the product in the expectation");
    }
}

#[test]
fn every_route_is_in_the_table() {
    let document = mailward::api::document();
    let mut served = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            served.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let listed: BTreeSet<String> =
        expected::calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(served, listed);
}

#[test]
fn every_mode_is_in_the_table_with_its_method() {
    let known: BTreeSet<(&str, bool)> =
        MODES.iter().map(|info| (info.name, info.method == Method::Delete)).collect();
    let modes = expected::modes();
    let listed: BTreeSet<(&str, bool)> =
        modes.iter().map(|mode| (mode.name, mode.forms == "delete")).collect();
    assert_eq!(known, listed);
}
