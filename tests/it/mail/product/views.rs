//! The contract has one text: what the projection files hold, PostgreSQL's views say too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mailward::clock::{Clock, MINUTE, SECOND};
use mailward::mailserver::config::{self, Contract, DovecotVersion, Tls};
use mailward::store::engine::{Tx, params};
use mailward::store::migrations::STEPS;
use serde_json::Value;
use tokio_postgres::SimpleQueryMessage;

use super::MailWorld;
use crate::mail::{host, lab};
use crate::support::databases::on_postgres;
use crate::support::postgres;
use crate::support::world::{PASSWORD, World};

const CLOCKS: [&str; 2] =
    ["CAST(strftime('%s', 'now') AS INTEGER) * 1000", "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT)"];

/// The accounts of a file, with what shuts them on a host that was cut off.
const CUT_OFF: &str = "account_now";

/// Views by name, without comments, schema and line breaks, and with one clock.
fn views(sql: &str, schema: &str) -> BTreeMap<String, String> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let mut text = code.join(" ").replace("{POSTGRES}", "").split_whitespace().collect::<Vec<_>>().join(" ");
    for clock in CLOCKS {
        text = text.replace(clock, "NOW");
    }
    text.split(';')
        .filter_map(|statement| {
            let made = statement.trim().strip_prefix("CREATE ")?;
            made.strip_prefix("OR REPLACE ").unwrap_or(made).strip_prefix("VIEW ")?.split_once(" AS ")
        })
        .filter_map(|(name, body)| {
            let name = if schema.is_empty() { name } else { name.strip_prefix(schema)? };
            Some((name.to_owned(), body.replace(schema, "")))
        })
        .collect()
}

#[test]
fn the_mail_servers_read_the_database_over_tls_where_that_is_demanded() {
    let mail = MailWorld::postgres_over_tls();
    let pat = mail.someone("pat");
    assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);
    assert!(mail.submission(&pat.email, PASSWORD).rcpt(&pat.email, &pat.email).starts_with("250"));
    let ways = mail.block(async {
        let mut tx = mail.world().app.db.read().await.expect("a connection");
        let sql = "SELECT CAST(a.usename AS TEXT) AS role, s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s ON s.pid = a.pid
                   WHERE a.usename IN ('mw_dovecot', 'mw_postfix') AND a.datname = current_database()";
        tx.query_all(sql, params![], |row| Ok((row.get::<String>("role")?, row.get::<bool>("ssl")?))).await
    });
    let ways = ways.expect("an answer");
    assert!(
        ["mw_dovecot", "mw_postfix"].iter().all(|role| ways.iter().any(|(of, _)| of == role)),
        "{ways:?}"
    );
    assert!(ways.iter().all(|(_, encrypted)| *encrypted), "{ways:?}");
}

#[test]
fn both_contracts_have_the_same_views() {
    // What a later step replaces counts.
    let postgres = concat!(
        include_str!("../../../../migrations/0003_contract.sql"),
        include_str!("../../../../migrations/0006_audit_chain.sql"),
        include_str!("../../../../migrations/0019_look_ups_by_account.sql"),
        include_str!("../../../../migrations/0020_gate_of_the_main_password.sql")
    );
    for (file, schema) in [
        (include_str!("../../../../src/store/projection/auth.sql"), "mail_auth."),
        (include_str!("../../../../src/store/projection/maps.sql"), "mail_maps."),
    ] {
        let (mut files, mut views) = (views(file, ""), views(postgres, schema));
        // The files of a host that was cut off may shut accounts; there is no such host on PostgreSQL.
        assert_eq!(files.remove(CUT_OFF).is_some(), schema == "mail_auth.");
        assert!(files.len() >= 6, "{files:?}");
        for (name, body) in &files {
            let body = body.replace(CUT_OFF, "account");
            assert_eq!(views.remove(name), Some(body), "{schema}{name}");
        }
        // What is left stands for the files' tables.
        let tables: Vec<_> = file
            .lines()
            .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split(' ').next())
            .filter(|table| !["projection", "contact"].contains(table))
            .collect();
        for table in &tables {
            assert!(views.remove(*table).is_some(), "{schema}{table}");
        }
        assert!(views.is_empty(), "{views:?}");
    }
}

#[test]
fn a_password_whose_time_has_ended_opens_nothing_in_the_views_though_nobody_took_it_away() {
    on_postgres(STEPS, async |test| {
        let world = World::start(test).await;
        let (zuid, now) = (world.member.zuid, Clock::System.now());
        let mailbox = world.account(&world.member).await.mailbox;
        for (until, rows) in [(now + MINUTE, 1), (now - SECOND, 0)] {
            let mailbox = mailbox.clone();
            let opening = world.app.db.write(async move |tx: &mut Tx| {
                tx.execute("UPDATE person SET password_until = $2 WHERE id = $1", params![zuid, until])
                    .await?;
                let mut opening = Vec::new();
                for sql in [
                    "SELECT COUNT(*) AS n FROM mail_auth.mp_login WHERE mbox = $1",
                    "SELECT COUNT(*) AS n FROM mail_auth.mp_session WHERE mbox = $1",
                    "SELECT COUNT(*) AS n FROM mail_maps.mp_sasl WHERE mbox = $1",
                ] {
                    opening.push(tx.query_one(sql, params![&mailbox], |row| row.get::<i64>("n")).await?);
                }
                Ok(opening)
            });
            assert_eq!(opening.await.expect("the views answer"), [rows; 3]);
        }
    });
}

/// Four thousand accounts of four organizations, with two addresses, a freed one, and two app passwords each.
const MANY: &str = "
    INSERT INTO organization (id, name, policy, one_time_opens_mail, created_at)
    SELECT o, 'o' || o, '{}', FALSE, 1 FROM generate_series(0, 3) o;
    INSERT INTO domain (organization_id, name, id, verification_code, verified_at, is_primary, created_at)
    SELECT k % 4, 'd' || k || '.example', k, 'c', 1, k < 4, 1 FROM generate_series(0, 399) k;
    INSERT INTO person (organization_id, id, ordinal, version, role, first_name, last_name, display_name, profile,
                        password_phc, password_kind, password_at, password_history, session_epoch, self_renames, created_at)
    SELECT n % 4, n, n, 1, 'member', '', '', '', '{}', repeat('x', 97), 'permanent', 1, '[]', 0, '[]', 1
    FROM generate_series(1, 4000) n;
    INSERT INTO account (organization_id, id, person_id, mailbox, primary_address, primary_domain, generation, created_at)
    SELECT n % 4, n, n, 'm' || n, 'u' || n || '@d' || n % 400 || '.example', 'd' || n % 400 || '.example', 1, 1
    FROM generate_series(1, 4000) n;
    INSERT INTO address (address, organization_id, account_id, created_at, freed_at)
    SELECT (ARRAY['u', 'alias', 'old'])[k] || n || '@d' || n % 400 || '.example', n % 4, n, 1, CASE k WHEN 3 THEN 1 END
    FROM generate_series(1, 4000) n, generate_series(1, 3) k;
    INSERT INTO app_password (organization_id, id, account_id, name, digest, imap, pop, smtp, created_at)
    SELECT n % 4, 10 * n + k, n, '', repeat(md5(n || '.' || k), 2), TRUE, TRUE, TRUE, 1
    FROM generate_series(1, 4000) n, generate_series(1, 2) k;
    ANALYZE";

/// What Dovecot and Postfix ask in the files for a host, with the names of one account, and in which schema.
fn asked() -> Vec<(&'static str, String)> {
    lab::prepare_machine();
    let contract = Contract::Postgres {
        host: "127.0.0.1".into(),
        port: 5432,
        database: "mailward".into(),
        dovecot_password: "a".into(),
        postfix_password: "b".into(),
        tls: None,
    };
    let tls = Tls { certificate: "cert.pem".into(), key: "key.pem".into() };
    let settings = host::settings(contract, Path::new("/var/vmail"), tls);
    let dovecot = config::dovecot(&settings, DovecotVersion::V2_3);
    let files = dovecot.iter().map(|file| ("mail_auth", file));
    let postfix = config::postfix(&settings);
    let files = files.chain(postfix.iter().map(|file| ("mail_maps", file)));
    let mut asked = BTreeSet::new();
    for (schema, file) in files {
        // Who goes through all mailboxes reads all of them.
        let queries = file.text.lines().filter_map(|line| line.split_once("query = "));
        for (_, query) in queries.filter(|(which, _)| *which != "iterate_") {
            let mut query = query.to_owned();
            for (variable, value) in [
                ("%{sha256:password}", "digest"),
                ("%{passdb:mw_mbox}", "m77"),
                ("%u@%d", "u77@d77.example"),
                ("%Lu", "u77@d77.example"),
                ("%Ln", "m77"),
                ("%Ld", "g1"),
                ("%Ls", "imap"),
                ("%s", "d77.example"),
                ("%u", "m77"),
                ("%d", "g1"),
            ] {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('%'), "{query}");
            asked.insert((schema, query));
        }
    }
    assert_eq!(asked.len(), 10, "{asked:#?}");
    asked.into_iter().collect()
}

/// Tables that a plan reads whole, and indexes that it reads from end to end because it knows no beginning. There
/// are few organizations.
fn read_whole(plan: &Value, beginnings: &BTreeMap<String, String>, found: &mut Vec<String>) {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    let whole = match text("Node Type") {
        "Seq Scan" => text("Relation Name") != "organization",
        "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => {
            !text("Index Cond").contains(&format!("({} = ", beginnings[text("Index Name")]))
        }
        _ => false,
    };
    if whole {
        found.push(format!("{} of {} {}", text("Node Type"), text("Relation Name"), text("Index Name")));
    }
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        read_whole(inner, beginnings, found);
    }
}

#[test]
fn no_look_up_of_the_mail_servers_reads_a_whole_table_on_postgres() {
    on_postgres(STEPS, async |test| {
        let client = postgres::connect(&test.url).await;
        client.batch_execute(MANY).await.expect("many people");
        let sql =
            "SELECT CAST(indexrelid::regclass AS TEXT), pg_get_indexdef(indexrelid, 1, TRUE) FROM pg_index";
        let indexes = client.query(sql, &[]).await.expect("the indexes");
        let beginnings = indexes.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut whole = Vec::new();
        for (schema, query) in asked() {
            client.batch_execute(&format!("SET search_path = {schema}")).await.expect("a schema");
            let sql = format!("EXPLAIN (FORMAT JSON) {query}");
            let answers =
                client.simple_query(&sql).await.unwrap_or_else(|cause| panic!("{query}: {cause:?}"));
            let rows = answers.iter().filter_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            let plan: Value = serde_json::from_str(&rows.collect::<String>()).expect("a plan in JSON");
            let mut found = Vec::new();
            read_whole(&plan[0]["Plan"], &beginnings, &mut found);
            if !found.is_empty() {
                whole.push(format!("{query}\n    {}", found.join("; ")));
            }
        }
        assert!(whole.is_empty(), "{}", whole.join("\n"));
    });
}
