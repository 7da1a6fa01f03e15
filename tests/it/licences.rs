//! What we build on: licences that may be shipped, one version of each crate, no system library.
//!
//! Read from `cargo metadata` for the platform that is shipped. An exception carries its reason,
//! and falls when it is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Enough for every crate, where a crate offers a choice. MPL-2.0 is for webauthn-rs and its parts: it binds
/// the files that are under it, which we do not change, and NOTICE says where they are.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that are there twice, and who keeps the older one.
const TWICE: &[(&str, &str)] = &[
    ("argon2", "crypto-glue, which webauthn-rs verifies signatures with, has not moved on"),
    ("base64", "postgres-protocol and webauthn-rs have not moved on"),
    ("bit-vec", "proptest and the test certificates' maker disagree; tests only"),
    ("blake2", "comes with the older argon2"),
    ("block-buffer", "comes with the older digest"),
    ("const-oid", "x509-cert, for binding a PostgreSQL login to its TLS connection, has not moved on"),
    ("cpufeatures", "comes with the older blake2"),
    ("crypto-common", "comes with the older digest"),
    ("der", "comes with the older x509-cert"),
    ("der_derive", "comes with the older x509-cert; not in the program"),
    ("digest", "comes with the older argon2"),
    ("fallible-iterator", "tokio-postgres has not moved on"),
    ("getrandom", "ring has not moved on"),
    ("hashbrown", "comes with the older indexmap"),
    ("indexmap", "serde_with, which webauthn-rs uses, knows both; not in the program"),
    ("nom", "the readers of certificates have not moved on; lettre has"),
    ("password-hash", "comes with the older argon2"),
    ("rand_core", "comes with the older password-hash"),
    ("schemars", "serde_with, which webauthn-rs uses, knows both; not in the program"),
    ("spki", "comes with the older x509-cert"),
    ("syn", "some procedural macros have not moved on; not in the program"),
    ("synstructure", "some procedural macros have not moved on; not in the program"),
    ("thiserror", "webauthn-rs has not moved on"),
    ("thiserror-impl", "webauthn-rs has not moved on; not in the program"),
    ("tower-http", "reqwest, which only the tests use, has not moved on"),
    ("x509-cert", "for binding a PostgreSQL login to its TLS connection has not moved on; crypto-glue has"),
];

/// Libraries of the system, or their wrappers: the first build must need a C compiler alone.
const REFUSED: &[&str] = &["aws-lc-sys", "libpq-sys", "native-tls", "openssl", "openssl-sys", "pq-sys"];

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
}

/// Every crate that is built for the product or its tests, except the product itself.
fn packages() -> Vec<Package> {
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform=x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo can be started");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let metadata: Value = serde_json::from_slice(&told.stdout).expect("cargo tells JSON");
    let list = |value: &Value| value.as_array().expect("an array").clone();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let built: BTreeSet<_> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| text(&node["id"])).collect();
    list(&metadata["packages"])
        .iter()
        .filter(|package| built.contains(&text(&package["id"])) && !package["source"].is_null())
        .map(|package| Package {
            name: text(&package["name"]).expect("a name"),
            version: text(&package["version"]).expect("a version"),
            licence: text(&package["license"]),
        })
        .collect()
}

/// Whether we may choose a licence from the list; notes which ones were needed.
fn may_be_shipped(licence: &str, used: &mut BTreeSet<String>) -> bool {
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else { return false };
    expression.evaluate(|wanted| {
        let name = wanted.license.id().map(|id| id.name);
        let allowed = wanted.addition.is_none() && name.is_some_and(|name| LICENCES.contains(&name));
        used.extend(name.filter(|_| allowed).map(str::to_owned));
        allowed
    })
}

#[test]
fn every_crate_has_a_licence_that_may_be_shipped() {
    let mut used = BTreeSet::new();
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !package.licence.as_ref().is_some_and(|licence| may_be_shipped(licence, &mut used)))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence))
        .collect();
    assert!(refused.is_empty(), "not on the list: {refused:#?}");
    let unused: Vec<_> = LICENCES.iter().filter(|licence| !used.contains(**licence)).collect();
    assert!(unused.is_empty(), "no crate needs these any more, take them off the list: {unused:?}");
}

#[test]
fn a_licence_is_judged_by_its_whole_expression() {
    let judge = |licence| may_be_shipped(licence, &mut BTreeSet::new());
    assert!(judge("MIT"));
    assert!(judge("GPL-3.0-only OR MIT/Apache-2.0"));
    assert!(!judge("MIT AND GPL-3.0-only"));
    assert!(!judge("AGPL-3.0-or-later"));
    assert!(!judge("whatever you like"));
}

#[test]
fn no_crate_is_there_twice_without_a_reason() {
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let twice: BTreeMap<_, _> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let unexplained: Vec<_> =
        twice.iter().filter(|(name, _)| !TWICE.iter().any(|(known, _)| known == *name)).collect();
    assert!(unexplained.is_empty(), "more than one version: {unexplained:#?}");
    let outdated: Vec<_> =
        TWICE.iter().filter(|(name, _)| !twice.contains_key(&(*name).to_owned())).collect();
    assert!(outdated.is_empty(), "there once now, take them off the list: {outdated:#?}");
}

#[test]
fn sqlite_is_built_in_once_and_no_library_of_the_system_is_needed() {
    let packages = packages();
    let count = |name: &str| packages.iter().filter(|package| package.name == name).count();
    assert_eq!(count("libsqlite3-sys"), 1);
    for name in REFUSED {
        assert_eq!(count(name), 0, "{name} is among the dependencies: `cargo tree -i {name}`");
    }
}
