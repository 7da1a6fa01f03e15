//! The contract has one text: what the projection files hold, PostgreSQL's views say too.

use std::collections::BTreeMap;

const CLOCKS: [&str; 2] =
    ["CAST(strftime('%s', 'now') AS INTEGER) * 1000", "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT)"];

/// Views by name, without comments, schema and line breaks, and with one clock.
fn views(sql: &str, schema: &str) -> BTreeMap<String, String> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let mut text = code.join(" ").replace("{POSTGRES}", "").split_whitespace().collect::<Vec<_>>().join(" ");
    for clock in CLOCKS {
        text = text.replace(clock, "NOW");
    }
    text.split(';')
        .filter_map(|statement| statement.trim().strip_prefix("CREATE VIEW ")?.split_once(" AS "))
        .filter_map(|(name, body)| {
            let name = if schema.is_empty() { name } else { name.strip_prefix(schema)? };
            Some((name.to_owned(), body.replace(schema, "")))
        })
        .collect()
}

#[test]
fn both_contracts_have_the_same_views() {
    let postgres = include_str!("../../../../migrations/0003_contract.sql");
    for (file, schema) in [
        (include_str!("../../../../src/store/projection/auth.sql"), "mail_auth."),
        (include_str!("../../../../src/store/projection/maps.sql"), "mail_maps."),
    ] {
        let (files, mut views) = (views(file, ""), views(postgres, schema));
        assert!(files.len() >= 6, "{files:?}");
        for (name, body) in &files {
            assert_eq!(views.remove(name).as_ref(), Some(body), "{schema}{name}");
        }
        // What is left stands for the files' tables.
        let tables: Vec<_> = file
            .lines()
            .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split(' ').next())
            .filter(|table| *table != "projection")
            .collect();
        for table in &tables {
            assert!(views.remove(*table).is_some(), "{schema}{table}");
        }
        assert!(views.is_empty(), "{views:?}");
    }
}
