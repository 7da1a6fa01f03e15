//! The contract has one text: what the projection files hold, PostgreSQL's views say too.

use std::collections::BTreeMap;

use mailward::clock::{Clock, MINUTE, SECOND};
use mailward::store::engine::{Tx, params};
use mailward::store::migrations::STEPS;

use super::MailWorld;
use crate::support::databases::on_postgres;
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
        include_str!("../../../../migrations/0006_audit_chain.sql")
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
