//! Holds the house to its plan: which room may use which, and what may only happen where.
//!
//! The tables at the top are the plan (ARCHITECTURE.md draws it). A new arrow or a new exception
//! is a decision, so it is made here, with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::source::{Source, sources};

/// Which room may use which (each may use itself). Arrows point downward only.
const ARROWS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    // Where tests end the process; a release has nothing of it.
    ("crash", &[]),
    ("error", &[]),
    ("machine", &[]),
    ("domain", &["clock", "error"]),
    ("wire", &["clock", "domain", "error"]),
    ("config", &["clock", "domain", "error"]),
    ("store", &["clock", "crash", "domain", "error", "machine"]),
    ("mailserver", &["clock", "domain", "error", "machine"]),
    ("app", &["clock", "config", "crash", "domain", "error", "machine", "mailserver", "store", "wire"]),
    // What the two HTTP doors share.
    ("door", &["app", "error", "wire"]),
    ("api", &["app", "clock", "config", "domain", "door", "error", "wire"]),
    ("console", &["app", "clock", "config", "domain", "door", "error", "wire"]),
    ("arrival", &["app", "wire"]),
    // Listens for whichever router it is given.
    ("serve", &["app", "arrival", "config", "error"]),
    // The command line also opens the database, and starts the other doors.
    (
        "cli",
        &[
            "api",
            "app",
            "clock",
            "config",
            "console",
            "domain",
            "error",
            "machine",
            "mailserver",
            "serve",
            "store",
            "wire",
        ],
    ),
];

/// Libraries that only some rooms may name.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("rusqlite", &["src/store/engine/", "src/store/projection/"]),
    ("tokio_postgres", &["src/store/engine/"]),
    ("tokio_postgres_rustls", &["src/store/engine/"]),
    ("deadpool_postgres", &["src/store/engine/"]),
    ("axum", &["src/api/", "src/arrival.rs", "src/console/", "src/door.rs", "src/serve.rs"]),
];

/// SQL outside `store`, each with its reason.
const SQL_ELSEWHERE: &[(&str, &str)] = &[(
    "src/mailserver/config/queries.rs",
    "what Postfix and Dovecot ask the contract's views, written into their files",
)];

/// Who reads a clock besides `clock.rs`, each with its reason.
const CLOCKS_ELSEWHERE: &[(&str, &str)] = &[
    ("src/door.rs", "how long an answer took is logged, nothing hangs on it"),
    (
        "src/store/engine/postgres.rs",
        "how old a connection is, and when it was last looked whether another host leads",
    ),
    ("src/app/mail/agents/run.rs", "a link that breaks as soon as it is there is not tried again at once"),
    ("src/app/hasher.rs", "how long a hash takes here tells a turned away caller when to come back"),
];

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let wrong: Vec<String> = sources().iter().flat_map(wrong_arrows).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_in_the_plan() {
    let planned: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    let unplanned: BTreeSet<String> =
        sources().iter().map(room).filter(|room| !planned.contains(room.as_str())).collect();
    assert_eq!(unplanned, BTreeSet::from(["lib".to_owned(), "main".to_owned()]));
}

#[test]
fn libraries_stay_in_their_rooms() {
    let wrong: Vec<String> = sources().iter().flat_map(wrong_libraries).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_store_speaks_sql() {
    let speakers = sources().into_iter().filter(|source| room(source) != "store" && speaks_sql(source));
    hold("SQL", speakers.map(|source| source.path), SQL_ELSEWHERE);
}

#[test]
fn time_is_a_parameter() {
    let readers =
        sources().into_iter().filter(|source| source.path != "src/clock.rs" && reads_a_clock(source));
    hold("a clock", readers.map(|source| source.path), CLOCKS_ELSEWHERE);
}

/// A failure at COMMIT would take other people's changes along (see `store/engine/sqlite.rs`).
#[test]
fn no_foreign_key_waits_for_the_commit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a migration is UTF-8");
        let sql = text.lines().map(|line| line.split("--").next().unwrap_or(line).to_uppercase());
        let waiting: Vec<String> = sql.filter(|line| line.contains("DEFERRABLE")).collect();
        assert!(waiting.is_empty(), "{}: {waiting:?}", entry.path().display());
    }
}

/// Nobody does it but the listed ones, and each of those still does.
fn hold(what: &str, found: impl Iterator<Item = String>, listed: &[(&str, &str)]) {
    let found: BTreeSet<String> = found.collect();
    let listed: BTreeSet<String> = listed.iter().map(|(path, _)| (*path).to_owned()).collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    assert!(unlisted.is_empty(), "{what} in {unlisted:?}");
    let outdated: Vec<_> = listed.difference(&found).collect();
    assert!(outdated.is_empty(), "no longer {what} in {outdated:?}: take them off the list");
}

// How it is seen ---------------------------------------------------------------------------

/// `src/store/engine/mod.rs` is `[store, engine]`.
fn modules(source: &Source) -> Vec<&str> {
    let path = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').collect()
}

fn room(source: &Source) -> String {
    modules(source)[0].to_owned()
}

fn wrong_arrows(source: &Source) -> Vec<String> {
    let own = room(source);
    let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == own) else { return Vec::new() };
    rooms_used(source)
        .into_iter()
        .filter(|used| *used != own && !allowed.contains(&used.as_str()))
        .map(|used| format!("{} uses {used}", source.path))
        .collect()
}

/// The rooms named in paths: `crate::store::…`, `crate::{api, …}`, or `super::` often enough.
fn rooms_used(source: &Source) -> BTreeSet<String> {
    // A unit test may set up what its room does not know.
    let shipped = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = shipped.split_whitespace().collect::<Vec<_>>().join(" ").replace(":: ", "::");
    let is_room = |name: &str| ARROWS.iter().any(|(room, _)| *room == name);
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut used = BTreeSet::new();
    for (place, _) in code.match_indices("crate::") {
        let after = &code[place + "crate::".len()..];
        match after.strip_prefix('{') {
            Some(group) => used.extend(top_level(group).into_iter().map(|item| word(item.trim_start()))),
            None => used.extend([word(after)]),
        }
    }
    let depth = modules(source).len();
    for (place, _) in code.match_indices("super::") {
        let path = &code[place..];
        let outermost = path.trim_start_matches("super::");
        if (path.len() - outermost.len()) / "super::".len() >= depth {
            used.insert(word(outermost));
        }
    }
    used.retain(|name| is_room(name));
    used
}

/// The items of `a, b::{c, d}, e} …`, up to its closing brace.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..place]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    items
}

fn wrong_libraries(source: &Source) -> Vec<String> {
    LIBRARIES
        .iter()
        .filter(|(library, rooms)| {
            !rooms.iter().any(|room| source.path.starts_with(room))
                && source.words().any(|word| word == *library)
        })
        .map(|(library, _)| format!("{} names {library}", source.path))
        .collect()
}

fn speaks_sql(source: &Source) -> bool {
    source.strings.iter().any(|string| {
        ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "].iter().any(|word| string.contains(word))
            || (string.contains("UPDATE ") && string.contains("SET "))
    })
}

/// In the product's part; a unit test may measure.
fn reads_a_clock(source: &Source) -> bool {
    let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    ["SystemTime::now", "Instant::now", "Utc::now", "Local::now"].iter().any(|call| code.contains(call))
}

#[test]
fn what_is_refused_would_be_seen() {
    let seen = |path: &str, text: &str| -> Vec<String> {
        let source = Source::parse(path, text);
        [wrong_arrows(&source), wrong_libraries(&source)].concat()
    };
    assert_eq!(
        seen("src/domain/rank.rs", "use crate::store::engine::Db;"),
        ["src/domain/rank.rs uses store"]
    );
    assert_eq!(
        seen("src/domain/rank.rs", "fn f() { super::super::app::go() }"),
        ["src/domain/rank.rs uses app"]
    );
    assert_eq!(
        seen("src/mailserver/a/b.rs", "use crate::{\n    error::{Error, Result},\n    store::x,\n};"),
        ["src/mailserver/a/b.rs uses store"]
    );
    assert_eq!(seen("src/api/serve.rs", "use crate::cli::{exit, serve};"), ["src/api/serve.rs uses cli"]);
    assert_eq!(seen("src/app/x.rs", "use axum::Json;"), ["src/app/x.rs names axum"]);
    assert_eq!(seen("src/store/x.rs", "use rusqlite::Row;"), ["src/store/x.rs names rusqlite"]);
    assert_eq!(
        seen("src/app/x.rs", "// crate::api and axum\nuse crate::store::engine::Db; use super::y;"),
        [""; 0]
    );
    assert_eq!(seen("src/domain/ids.rs", "mod tests { use super::*; }"), [""; 0]);

    assert!(speaks_sql(&Source::parse("src/app/x.rs", r#"let q = "UPDATE account SET a = 1";"#)));
    assert!(!speaks_sql(&Source::parse(
        "src/app/x.rs",
        r#"// SELECT a FROM b
        let text = "please UPDATE your records";"#
    )));
    assert!(reads_a_clock(&Source::parse("src/app/x.rs", "let now = std::time::Instant::now();")));
}
