//! Organizations can be spread over many servers: what belongs to one has its id in its key and in every
//! statement, and the few tables that are asked by something else are known (docs/guide/scale.md).

use mailward::store::engine::schema;
use mailward::store::migrations::STEPS;

use super::statements::written;
use crate::support::databases::on_sqlite;

/// Tables whose key does not begin with the organization, each with what it is asked by.
const BY_SOMETHING_ELSE: &[(&str, &str)] = &[
    ("access_token", "the hash of what a caller shows"),
    ("address", "the address, before the organization is known"),
    ("audit_link", "the order of sealing"),
    ("client", "the client's id in a request for a token"),
    ("grant_code", "the hash of what a caller shows"),
    ("id_block", "the kind of number"),
    ("idempotency", "a hash over organization, caller and key"),
    ("lease", "the work that one node does at a time"),
    ("mail_agent", "its name, or its key; the hosts are everybody's"),
    ("mail_agent_domain", "the agent's name"),
    ("mail_agent_standing", "the agent's name"),
    ("mail_server", "its name; the servers are everybody's"),
    ("migration", "the step's number"),
    ("organization", "its own id"),
    ("outbox", "the order of commits"),
    ("passkey", "the credential that a browser shows"),
    ("recovery_link", "the hash of what a person shows"),
    ("refresh_token", "the hash of what a caller shows"),
    ("setting", "a fact about the database"),
    ("throttle", "what is throttled"),
    ("web_session", "the hash of a cookie"),
];

/// Statements on an organization's tables that are about all organizations, by their beginning.
const ABOUT_ALL: &[(&str, &str)] = &[
    ("DELETE FROM retained_mailbox WHERE mailbox = $1", "the operator, by a name that is unique everywhere"),
    ("SELECT name FROM domain WHERE verified_at IS NOT NULL", "every domain that receives mail"),
    ("SELECT id FROM domain WHERE name = $1", "whether a domain is anybody's"),
    ("SELECT organization_id, id FROM person WHERE password_until <= $1", "by the clock: passwords that end"),
    (
        "SELECT organization_id, id, expires_at FROM person WHERE expires_at <= $1",
        "by the clock: terms that end",
    ),
    (
        "SELECT organization_id, minute, actor, verb, target, refusals",
        "by the clock: refusals of past minutes",
    ),
    ("SELECT organization_id, mailbox, address, deleted_at, keep_until", "the operator: mail that is kept"),
    (
        "SELECT organization_id, person_id, seed_sealed AS sealed FROM totp",
        "when the server's key is replaced",
    ),
    (
        "SELECT organization_id, primary_domain FROM account WHERE mailbox = $1",
        "a mail server, by a name of a mailbox",
    ),
    ("UPDATE account SET generation = generation + $1", "after a restore"),
    ("UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'", "after a restore"),
    ("UPDATE person SET version = version + 1, session_epoch = session_epoch + $1", "after a restore"),
    ("DELETE FROM totp", "when the server's keys are lost"),
    ("DELETE FROM app_password", "after a restore"),
    ("DELETE FROM recovery_code", "after a restore"),
    ("DELETE FROM recovery_address", "after a restore"),
    ("DELETE FROM connection", "after a restore"),
];

/// The tables whose key begins with the organization, and the others.
fn tables() -> (Vec<String>, Vec<String>) {
    let mut lines = Vec::new();
    on_sqlite(STEPS, async |test| lines = schema(&test.db).await.expect("the schema"));
    let keys = lines.iter().filter_map(|line| line.strip_prefix("primary key "));
    let (ours, others): (Vec<_>, Vec<_>) = keys.partition(|key| key.contains("(organization_id"));
    let names = |keys: Vec<&str>| {
        keys.into_iter().map(|key| key.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    (names(ours), names(others))
}

#[test]
fn the_organization_is_the_beginning_of_every_key_of_its_own() {
    let (ours, others) = tables();
    assert!(ours.len() > 10, "{ours:?}");
    let known: Vec<&str> = BY_SOMETHING_ELSE.iter().map(|(table, _)| *table).collect();
    assert_eq!(others, known, "a new table belongs to an organization, or says here by what it is asked");
}

#[test]
fn every_statement_on_an_organizations_rows_names_the_organization() {
    let (ours, _) = tables();
    let touches = |sql: &str| {
        let words: Vec<&str> = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        words.windows(2).any(|pair| {
            ["FROM", "JOIN", "INTO", "UPDATE"].contains(&pair[0]) && ours.iter().any(|table| table == pair[1])
        })
    };
    // What deletes chosen rows is not what empties a table, though it begins like it.
    let about_all =
        |sql: &str| {
            ABOUT_ALL.iter().any(|(start, _)| {
                if start.starts_with("DELETE") { sql == *start } else { sql.starts_with(start) }
            })
        };
    // To read the column is not enough: the rows are chosen by it, or written with it.
    let names = |sql: &str| {
        let mut rest = sql.split("organization_id").skip(1);
        rest.any(|after| after.starts_with(" = "))
            || sql.starts_with("INSERT INTO") && sql.contains(" (organization_id, ")
    };
    let without: Vec<String> =
        written().into_iter().filter(|sql| touches(sql) && !names(sql) && !about_all(sql)).collect();
    assert!(without.is_empty(), "{without:#?}");
}
