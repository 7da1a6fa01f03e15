//! Every statement of `src/store` runs on both engines, and none of them walks over a whole table.
//!
//! The statements are read from the source and held against those that a scenario has executed; a
//! new statement that the scenario does not reach fails here, by name.

use std::collections::BTreeSet;

use axum::body::Body;
use mailward::app::change::Context;
use mailward::app::oauth::{self, CodeWish, GrantType, TokenRequest};
use mailward::app::organizations::{self, DomainChange};
use mailward::app::{clients, verifier, worker};
use mailward::clock::{DAY, MINUTE};
use mailward::domain::actor::Role;
use mailward::domain::effect::PROJECTION;
use mailward::domain::email_address::DomainName;
use mailward::domain::ids::{ChangeId, UserId};
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::store;
use mailward::store::clients::ClientKind;
use mailward::store::engine::{EngineKind, executed};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::child::in_a_child;
use crate::support::databases::{TestDb, on_postgres, on_sqlite};
use crate::support::source::{Source, sources};
use crate::support::world::{PASSWORD, World, client, operator};

/// Statements that are meant to walk over a whole table, by their beginning.
const WHOLE_TABLES: &[(&str, &str)] = &[
    ("SELECT id, name, disabled, policy, created_at FROM organization ORDER BY id", "the operator's list"),
    ("SELECT o.id FROM organization o WHERE o.disabled IS NULL AND NOT EXISTS", "doctor"),
    ("SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox", "doctor, on SQLite"),
    ("SELECT name FROM domain WHERE verified_at IS NOT NULL", "every domain that receives mail"),
    ("SELECT name, url, key_file, certificate_sha256, ca_file, created_at FROM mail_server", "a few rows"),
    (
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect",
        "a row for each mail server",
    ),
    (
        "SELECT organization_id, mailbox, address, deleted_at, keep_until FROM retained_mailbox",
        "the operator's list",
    ),
    ("DELETE FROM retained_mailbox WHERE mailbox = $1", "the operator, for one deleted user at a time"),
    ("DELETE FROM access_token", "after a restore"),
    ("DELETE FROM refresh_token", "after a restore"),
    ("DELETE FROM grant_code", "after a restore"),
    ("UPDATE account SET generation = generation + $1", "after a restore"),
    ("UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'", "after a restore"),
    ("UPDATE person SET version = version + 1, session_epoch = session_epoch + $1", "after a restore"),
];

/// Whether the statement may walk. What deletes chosen rows may not, though it begins like one that empties a table.
fn may_walk(sql: &str) -> bool {
    WHOLE_TABLES.iter().any(|(start, _)| {
        sql.strip_prefix(start).is_some_and(|rest| !(start.starts_with("DELETE") && rest.contains("WHERE")))
    })
}

#[test]
fn every_statement_runs_on_sqlite_without_a_walk_over_a_table() {
    in_a_child("store::statements::every_statement_runs_on_sqlite_without_a_walk_over_a_table", || {
        on_sqlite(store::migrations::STEPS, async |test| {
            scenario(test.clone()).await;
            all_executed(EngineKind::Sqlite);
            let path = test.url.strip_prefix("sqlite:").expect("a path");
            let connection = Connection::open(path).expect("the database");
            no_walk(async |sql| sqlite_walk(&connection, sql)).await;
        });
    });
}

#[test]
fn every_statement_runs_on_postgres_without_a_walk_over_a_table() {
    in_a_child("store::statements::every_statement_runs_on_postgres_without_a_walk_over_a_table", || {
        on_postgres(store::migrations::STEPS, async |test| {
            scenario(test.clone()).await;
            all_executed(EngineKind::Postgres);
            let (planner, connection) =
                tokio_postgres::connect(&test.url, NoTls).await.expect("a connection");
            tokio::spawn(connection);
            // Small tables are read whole in any case, unless that is made dear.
            let settings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
            planner.batch_execute(settings).await.expect("settings");
            no_walk(async |sql| postgres_walk(&planner, sql).await).await;
        });
    });
}

fn all_executed(engine: EngineKind) {
    let done: BTreeSet<String> = executed(engine).into_iter().map(one_line).collect();
    let missing: Vec<_> = written().into_iter().filter(|sql| !done.contains(sql)).collect();
    assert!(missing.is_empty(), "never executed on {engine:?}:\n{}", missing.join("\n"));
}

async fn no_walk(walk: impl AsyncFn(&str) -> Option<String>) {
    let mut walks = Vec::new();
    for sql in written() {
        if let Some(how) = walk(&sql).await
            && !may_walk(&sql)
        {
            walks.push(format!("{sql}\n    {how}"));
        }
    }
    assert!(walks.is_empty(), "statements that walk over a table:\n{}", walks.join("\n"));
}

// What is written ------------------------------------------------------------------------------

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The statements in `src/store/*.rs`, each on one line.
fn written() -> BTreeSet<String> {
    let files = sources()
        .into_iter()
        .filter(|source| source.path.strip_prefix("src/store/").is_some_and(|file| !file.contains('/')));
    let files: Vec<Source> = files.collect();
    let parts: Vec<(String, String)> = files.iter().flat_map(literals).collect();
    let base =
        parts.iter().find(|(before, _)| before.ends_with("concat!(")).expect("select_account!").1.clone();
    let statements: BTreeSet<String> = parts
        .into_iter()
        .filter_map(|(before, text)| {
            if before.ends_with("concat!(") {
                None
            } else if before.ends_with("select_account!(") {
                Some(one_line(&format!("{base}{text}")))
            } else {
                let first = text.split_whitespace().next().unwrap_or_default();
                ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&first).then(|| one_line(&text))
            }
        })
        .collect();
    assert!(statements.len() > 60, "only {} statements were found", statements.len());
    statements
}

/// The string literals of the product's part of a file, with the code before each.
fn literals(source: &Source) -> Vec<(String, String)> {
    let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut before = String::new();
    let mut strings = source.strings.iter();
    let mut all = Vec::new();
    for c in code.chars() {
        if c == '"' {
            all.push((before.clone(), strings.next().expect("a string for each mark").clone()));
            before.clear();
        } else if !c.is_whitespace() {
            before.push(c);
        }
    }
    all
}

// How it is done -------------------------------------------------------------------------------

fn parameters(sql: &str) -> usize {
    (1..=30).rev().find(|number| sql.contains(&format!("${number}"))).unwrap_or(0)
}

fn sqlite_walk(connection: &Connection, sql: &str) -> Option<String> {
    let mut statement =
        connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().expect("a plan") {
        steps.push(row.get::<_, String>("detail").expect("a step"));
    }
    // A scan of what another step has found is none of a table.
    let walks = |step: &String| {
        step.starts_with("SCAN ")
            && !["(subquery", "counted"].iter().any(|inner| step[5..].starts_with(inner))
    };
    steps.iter().any(walks).then(|| steps.join("; "))
}

async fn postgres_walk(planner: &tokio_postgres::Client, sql: &str) -> Option<String> {
    let count = parameters(sql);
    let arguments = if count == 0 { String::new() } else { format!("({})", vec!["NULL"; count].join(", ")) };
    let script = format!("DEALLOCATE ALL; PREPARE it AS {sql}; EXPLAIN (FORMAT JSON) EXECUTE it{arguments}");
    let answers = planner.simple_query(&script).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let text: String = answers
        .iter()
        .filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let plan: Value = serde_json::from_str(&text).expect("a plan in JSON");
    let mut walks = Vec::new();
    collect_walks(&plan[0]["Plan"], &mut walks);
    (!walks.is_empty()).then(|| walks.join("; "))
}

fn collect_walks(node: &Value, walks: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let by_index = matches!(kind, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan");
    if kind == "Seq Scan" || (by_index && node.get("Index Cond").is_none()) {
        walks.push(format!("{kind} on {} {}", node["Relation Name"], node["Index Name"]));
    }
    for inner in node["Plans"].as_array().into_iter().flatten() {
        collect_walks(inner, walks);
    }
}

// What is done ---------------------------------------------------------------------------------

/// Calls everything that speaks to the database, through the doors where there is one.
async fn scenario(test: TestDb) {
    let world = World::start(test).await;
    let app = &world.app;
    accounts(&world).await;
    tokens(&world).await;

    let verdict = Password::prepare("not-the-right-one").expect("a password");
    let wrong =
        verifier::verify(app, &world.other.email, &verdict, Some("192.0.2.1".parse().expect("an address")));
    assert!(wrong.await.is_err());
    assert!(verifier::clear(app, &world.account(&world.other).await).await.expect("the throttle"));

    let context: Context = operator();
    let second = DomainName::parse("zylker-two.example").expect("a domain");
    organizations::add_domain(app, &context, world.zoid, &second).await.expect("a domain");
    for change in [DomainChange::Verify, DomainChange::MakePrimary] {
        organizations::change_domain(app, &context, world.zoid, &second, change).await.expect("a change");
    }
    organizations::switch(app, &context, world.zoid, true).await.expect("off");
    organizations::switch(app, &context, world.zoid, false).await.expect("on");

    world.settle().await;
    app.clock.advance(2 * MINUTE);
    worker::tidy(app).await.expect("tidying up");
    directly(&world).await;
}

async fn accounts(world: &World) {
    let owner = &world.owner;
    let list = format!("/api/organization/{}/accounts", world.zoid);
    let new = json!({"primaryEmailAddress": "brief@zylker.example", "password": PASSWORD, "userExpiry": 1});
    assert_eq!(world.with_body("POST", &owner.org_token, &list, new).await.status, 201);
    world.mode(owner, &world.member, "disableMailAccount", json!({})).await.ok();
    world
        .mode(owner, &world.member, "addEmailAlias", json!({"emailAlias": ["second@zylker.example"]}))
        .await
        .ok();
    world
        .mode(owner, &world.member, "deleteEmailAlias", json!({"emailAlias": ["second@zylker.example"]}))
        .await
        .ok();
    world.mode(owner, &world.admin, "changeRole", json!({"role": "super_admin"})).await.ok();
    world.mode(owner, &world.admin, "disableUser", json!({})).await.ok();
    world.mode(owner, &world.admin, "enableUser", json!({})).await.ok();
    let refused = world.mode(owner, owner, "disableUser", json!({})).await;
    assert_eq!(refused.status, 200, "there is another super administrator: {}", refused.text);
    world.mode(&world.admin, owner, "enableUser", json!({})).await.refused(401, "INVALID_OAUTHTOKEN");
    world
        .own_mode(&world.member, "emailupdate", json!({"emailAddress": "someone@elsewhere.example"}))
        .await
        .refused(400, "INVALID_EMAILADDRESS");
    assert_eq!(
        world.self_password(&world.other.email, "not-the-right-one", "another-secret-9").await.status,
        401
    );
    world.self_password(&world.other.email, PASSWORD, "another-secret-9").await.ok();

    let own = format!("/api/accounts/{}/appPasswords", world.member.account_id);
    let made = world.with_body("POST", &world.member.user_token, &own, json!({"name": "Telephone"})).await;
    let id = made.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned();
    world.with_body("DELETE", &world.member.user_token, &format!("{own}/{id}"), json!({})).await.ok();

    let boss = world.someone("boss", Role::SuperAdmin).await;
    world.mode(&boss, owner, "enableUser", json!({})).await.ok();
    for path in [
        list.clone(),
        format!("{list}/{}", world.member.account_id),
        format!("{list}/{}", world.member.email),
    ] {
        world.get(&boss.org_token, &path).await.ok();
    }
    world.get(&world.member.user_token, "/api/accounts").await.ok();
    let organization = format!("/api/organization/{}", world.zoid);
    for path in [organization.clone(), format!("{organization}/domains"), "/health/ready".to_owned()] {
        world.get(&boss.org_token, &path).await.ok();
    }
    let gone = world.someone("gone", Role::Member).await;
    world
        .send(
            "DELETE",
            &world.path(&gone),
            &[("authorization", &format!("Bearer {}", boss.org_token))],
            Body::empty(),
        )
        .await
        .ok();
}

async fn tokens(world: &World) {
    let app = &world.app;
    let (id, secret) = client(world, ClientKind::SelfClient).await;
    let wish = CodeWish {
        client: id.clone(),
        organization: world.zoid,
        user: UserId::new(world.member.zuid).expect("a zuid"),
        scope: ScopeSet::parse("ZohoMail.accounts.ALL").expect("scopes"),
        life: MINUTE,
        offline: true,
        redirect_uri: None,
        challenge: None,
    };
    let code = oauth::make_code(app, wish).await.expect("a code");
    let request =
        |grant| TokenRequest { client_id: id.clone(), client_secret: Some(secret.as_str().into()), grant };
    let by_code =
        || GrantType::AuthorizationCode { code: code.expose().into(), redirect_uri: None, verifier: None };
    let given = oauth::token(app, None, request(by_code())).await.expect("tokens");
    let refresh = given.refresh_token.expect("a refresh token");
    let by_refresh = GrantType::RefreshToken { refresh_token: refresh.expose().into() };
    let access = oauth::token(app, None, request(by_refresh)).await.expect("a token").access_token;
    let asking = oauth::client(app, &id, Some(&secret.as_str().into())).await.expect("the client");
    assert!(oauth::introspect(app, &asking, &access).await.expect("an answer").is_some());
    assert!(oauth::introspect(app, &asking, &refresh).await.expect("an answer").is_some());
    oauth::revoke(app, &access).await.expect("a revocation");
    assert!(oauth::token(app, None, request(by_code())).await.is_err(), "a code works once");

    let source = Some("192.0.2.1".parse().expect("an address"));
    assert!(
        oauth::token(app, source, request(by_code())).await.is_err(),
        "and is counted from where it came"
    );

    clients::switch(app, &operator(), &id, true).await.expect("off");
    assert_eq!(clients::list(app, world.zoid).await.expect("a list").len(), 1);
    clients::delete(app, &operator(), &id).await.expect("gone");
}

/// What no door calls yet, or only with bad luck.
async fn directly(world: &World) {
    let (zoid, member) = (world.zoid, UserId::new(world.member.zuid).expect("a zuid"));
    world.own_mode(&world.member, "displaynameupdate", json!({"displayName": "Mia"})).await.ok();
    world
        .own_mode(&world.member, "emailupdate", json!({"emailAddress": "ceo@zylker.example"}))
        .await
        .refused(400, "INVALID_EMAILADDRESS");
    world
        .app
        .db
        .write(async move |tx| {
            let newest = store::audit::newest(tx, zoid, None, 5).await?;
            assert!(!store::audit::newest(tx, zoid, Some(member), 5).await?.is_empty());
            let change: ChangeId = newest.first().expect("an entry").id;
            assert!(!store::audit::of_change(tx, zoid, change).await?.is_empty());
            assert!(!store::audit::running_refusals(tx, zoid).await?.is_empty());
            assert!(!store::outbox::of_change(tx, zoid, change).await?.is_empty());
            assert!(store::outbox::backlog(tx).await?.0 > 0);
            assert!(store::outbox::backlog_of(tx, PROJECTION).await?.0 > 0);
            let (late, later) = (i64::MAX / 2, i64::MAX / 2 + DAY);
            let claimed = store::outbox::claim(tx, PROJECTION, late, later, 1).await?;
            store::outbox::put_off(tx, claimed.first().expect("an effect"), "later", later).await?;
            assert!(!store::outbox::changed_since(tx, 0, 10).await?.is_empty());
            assert!(store::outbox::newest(tx).await? > 0);
            assert!(!store::organizations::all(tx).await?.is_empty());
            assert!(store::organizations::orphans(tx).await?.is_empty());
            assert!(!store::organizations::verified_domains(tx).await?.is_empty());
            let states = store::mailboxes::page(tx, zoid, 0, 10).await?;
            let mailbox = &states.first().expect("a mailbox").mbox;
            store::mailboxes::may_hold_session(tx, mailbox, "g1", "imap", late).await?;
            store::mailboxes::may_hold_session(tx, mailbox, "a100000000001", "imap", late).await?;
            let retained = store::mailboxes::retained(tx).await?;
            store::mailboxes::forget_retained(tx, &retained.first().expect("a deleted user's").mailbox)
                .await?;
            assert!(!store::mail_servers::all(tx).await?.is_empty());
            store::mail_servers::remove(tx, "mx1", late).await?;
            store::settings::set(tx, "a name", "a value").await?;
            store::settings::get_or_set(tx, "a name", "another").await?;
            store::settings::get(tx, "a name").await?;
            store::restore::void(tx).await
        })
        .await
        .expect("direct calls");
    assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 401, "every token is void");
}
