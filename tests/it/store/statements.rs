//! Every statement of `src/store` runs on both engines, and none of them walks over a whole table.
//!
//! The statements are read from the source and held against those that a scenario has executed; a
//! new statement that the scenario does not reach fails here, by name.

use std::collections::BTreeSet;

use axum::body::Body;
use mailward::app::accounts::AccountMode;
use mailward::app::accounts::disable_user::DisableUser;
use mailward::app::audit::seal;
use mailward::app::audit::verify::verify_database;
use mailward::app::call::Context;
use mailward::app::change::{self, Ask};
use mailward::app::forecast::look_at;
use mailward::app::mail::logins::{self, Attempt, Logins};
use mailward::app::oauth::{self, CodeWish, GrantType, TokenRequest};
use mailward::app::organizations::{self, DomainChange};
use mailward::app::{clients, compromise, operator, recovery, throttle, tidy, verifier};
use mailward::clock::{DAY, MINUTE};
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::effect::PROJECTION;
use mailward::domain::email_address::{DomainName, EmailAddress};
use mailward::domain::ids::{ChangeId, PasskeyId, UserId, WebSessionId};
use mailward::domain::password::Password;
use mailward::domain::rights::Route;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::fingerprint;
use mailward::domain::session_credential::SessionCredential;
use mailward::mailserver::{MailServer, Session};
use mailward::store;
use mailward::store::engine::{EngineKind, executed, params};
use mailward::store::factors::PasskeyRow;
use mailward::store::recovery::{Purpose, RecoveryAddress, RecoveryLink};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::child::in_a_child;
use crate::support::databases::{TestDb, on_postgres, on_sqlite};
use crate::support::source::{Source, sources};
use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World, client, operator};

/// Statements that are meant to walk over a whole table, by their beginning.
const WHOLE_TABLES: &[(&str, &str)] = &[
    ("SELECT id, name, disabled, policy, created_at FROM organization ORDER BY id", "the operator's list"),
    ("SELECT o.id FROM organization o WHERE o.disabled IS NULL AND NOT EXISTS", "doctor"),
    ("SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox", "doctor, on SQLite"),
    ("SELECT name FROM domain WHERE verified_at IS NOT NULL", "every domain that receives mail"),
    (
        "SELECT address FROM address WHERE organization_id = $1 AND freed_at IS NULL",
        "before a domain is removed",
    ),
    ("SELECT name, url, key_file, certificate_sha256, ca_file, created_at FROM mail_server", "a few rows"),
    (
        "INSERT INTO outbox (change_id, organization_id, account_id, target, effect",
        "a row for each mail server and agent",
    ),
    ("SELECT agent, domain FROM mail_agent_domain", "a few rows"),
    ("SELECT name, created_at FROM mail_agent ORDER BY name", "a few rows"),
    ("SELECT g.name, s.seen, s.heard_at, s.node FROM mail_agent g", "a few rows"),
    ("DELETE FROM mail_agent_standing", "after a restore"),
    (
        "SELECT organization_id, mailbox, address, deleted_at, keep_until FROM retained_mailbox",
        "the operator's list",
    ),
    ("DELETE FROM retained_mailbox WHERE mailbox = $1", "the operator, for one deleted user at a time"),
    ("SELECT l.seq, l.organization_id, a.entry FROM audit_link l", "the partial index of what waits"),
    ("SELECT a.at FROM audit_link l", "doctor, the partial index of what waits"),
    ("SELECT 'access' AS kind, t.person_id", "what a client's end would stop, foretold to the operator"),
    ("SELECT 'app' AS kind, COUNT(*)", "what a domain's end would stop, foretold to the operator"),
    ("UPDATE audit_link SET txid = 0", "after a restore"),
    ("UPDATE outbox SET txid = 0", "after a restore"),
    ("DELETE FROM access_token", "after a restore"),
    ("DELETE FROM refresh_token", "after a restore"),
    ("DELETE FROM grant_code", "after a restore"),
    ("DELETE FROM app_password", "after a restore"),
    ("DELETE FROM recovery_code", "after a restore"),
    ("DELETE FROM recovery_address", "after a restore"),
    ("SELECT subject, tries, window_end FROM throttle WHERE window_end > $1", "the operator's list"),
    ("DELETE FROM web_session", "after a restore"),
    ("DELETE FROM connection", "after a restore"),
    ("DELETE FROM recovery_link", "after a restore"),
    ("DELETE FROM totp", "when the server's keys are lost"),
    ("UPDATE account SET generation = generation + $1", "after a restore"),
    ("UPDATE client SET disabled = $1 WHERE disabled IS NULL", "after a restore"),
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
            no_walk(EngineKind::Sqlite, async |sql| sqlite_walk(&connection, sql)).await;
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
            no_walk(EngineKind::Postgres, async |sql| postgres_walk(&planner, sql).await).await;
        });
    });
}

fn all_executed(engine: EngineKind) {
    let done: BTreeSet<String> = executed(engine).into_iter().map(one_line).collect();
    let missing: Vec<_> = written().into_iter().filter(|sql| !done.contains(sql)).collect();
    assert!(missing.is_empty(), "never executed on {engine:?}:\n{}", missing.join("\n"));
}

/// Those that macros put together from several pieces: accounts, and accounts with what lists show beside them.
fn put_together(engine: EngineKind) -> BTreeSet<String> {
    let found: BTreeSet<String> = executed(engine)
        .into_iter()
        .map(one_line)
        .filter(|sql| sql.starts_with("SELECT p.organization_id, p.id AS person_id, p.ordinal"))
        .collect();
    assert!(
        found.len() > 6,
        "one account by two kinds of id, alone and listed; three kinds of lists: {found:#?}"
    );
    found
}

async fn no_walk(engine: EngineKind, walk: impl AsyncFn(&str) -> Option<String>) {
    let mut walks = Vec::new();
    let put_together = put_together(engine);
    for sql in &put_together {
        assert!(sql.contains(".organization_id = $1"), "{sql}");
    }
    for sql in written().into_iter().chain(put_together) {
        if let Some(how) = walk(&sql).await
            && !may_walk(&sql)
        {
            walks.push(format!("{sql}\n    {how}"));
        }
    }
    assert!(walks.is_empty(), "statements that walk over a table:\n{}", walks.join("\n"));
}

// What is written ------------------------------------------------------------------------------

pub(super) fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The statements in `src/store/*.rs`, each on one line.
pub fn written() -> BTreeSet<String> {
    let files = sources()
        .into_iter()
        .filter(|source| source.path.strip_prefix("src/store/").is_some_and(|file| !file.contains('/')));
    let files: Vec<Source> = files.collect();
    let parts: Vec<(String, String)> = files.iter().flat_map(literals).collect();
    // `macro_rules! select_audit { ($rest:literal) => { concat!("SELECT …", $rest) } }` and its like.
    let named = |head: &str| -> Vec<(String, String)> {
        let of_head = parts.iter().filter(|(before, _)| before.ends_with(head));
        of_head
            .filter_map(|(before, text)| {
                let (_, rest) = before.rsplit_once("macro_rules!")?;
                Some((format!("{}!(", rest.split('{').next()?), text.clone()))
            })
            .collect()
    };
    let beginnings = named("($rest:literal)=>{concat!(");
    assert!(!beginnings.is_empty());
    // `macro_rules! waiting { ($first:literal, $rest:literal) => { concat!($first, "…", $rest) } }`.
    let middles = named("($first:literal,$rest:literal)=>{concat!($first,");
    assert!(!middles.is_empty());
    let statements: BTreeSet<String> = parts
        .iter()
        .zip(parts.iter().skip(1).map(Some).chain([None]))
        .filter_map(|((before, text), next)| {
            let begun = beginnings.iter().find(|(name, _)| before.ends_with(name));
            let parted = middles.iter().find(|(name, _)| before.ends_with(name));
            if before.ends_with("concat!(") {
                None
            } else if let Some((_, middle)) = parted {
                let (_, rest) = next.filter(|(before, _)| before == ",").expect("the second part");
                Some(one_line(&format!("{text}{middle}{rest}")))
            } else if let Some((_, beginning)) = begun {
                Some(one_line(&format!("{beginning}{text}")))
            } else {
                let first = text.split_whitespace().next().unwrap_or_default();
                ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&first).then(|| one_line(text))
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
    // Of a virtual table the plan only says "scan"; after the colon stands what its own index is asked.
    let by_own_index = |step: &str| {
        step.split_once("VIRTUAL TABLE INDEX ")
            .is_some_and(|(_, asked)| asked.contains(":L") || asked.contains(":="))
    };
    // All that an organization has of what grows with its people; one row counts 4,096 of them.
    let whole_organization = |step: &str| {
        let growing = [
            "person_",
            "account_",
            "address_",
            "app_password_",
            "sign_in_",
            "access_token_",
            "refresh_token_",
        ];
        let index =
            step.split_once(" INDEX ").map_or("", |(_, rest)| rest.trim_start_matches("sqlite_autoindex_"));
        step.ends_with(" (organization_id=?)")
            && growing.iter().any(|table| index.starts_with(table))
            && !index.starts_with("person_count_")
    };
    let walks = |step: &String| {
        whole_organization(step)
            || step.starts_with("SCAN ")
                && !by_own_index(step)
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
    people(&world).await;

    let verdict = Password::prepare("not-the-right-one").expect("a password");
    let wrong = verifier::verify(
        app,
        &world.other.email,
        Some(&verdict),
        Some("192.0.2.1".parse().expect("an address")),
    );
    assert!(wrong.await.is_err());
    let cleared = throttle::clear(app, &operator(), world.zoid, world.other.zuid).await.expect("cleared");
    assert!(cleared.change.is_some());
    throttle::closed(app).await.expect("a list");
    let attempt = Attempt { login: world.other.email.clone(), ..Attempt::default() };
    Logins::default().ended(app, &attempt, logins::Outcome::Wrong).await;
    Logins::default().ended(app, &attempt, logins::Outcome::Right).await;

    let context: Context = operator();
    let second = DomainName::parse("zylker-two.example").expect("a domain");
    organizations::add_domain(app, &context, world.zoid, &second).await.expect("a domain");
    for change in [DomainChange::Verify, DomainChange::MakePrimary] {
        organizations::change_domain(app, &context, world.zoid, &second, change).await.expect("a change");
    }
    let third = DomainName::parse("zylker-three.example").expect("a domain");
    organizations::add_verified_domain(app, &context, world.zoid, &third).await.expect("a domain");
    organizations::remove_domain(app, &context, world.zoid, &third).await.expect("nobody is there");
    forecasts(&world, &second).await;
    organizations::switch(app, &context, world.zoid, true).await.expect("off");
    organizations::switch(app, &context, world.zoid, false).await.expect("on");

    // What other tests keep open on the same server is waited for.
    while store::audit_chain::tip(&mut app.db.read().await.expect("a connection"), world.zoid)
        .await
        .expect("a tip")
        .number
        == 0
    {
        seal::seal_now(app).await.expect("sealing");
    }
    assert!(verify_database(app, None, &[], &[]).await.expect("a verdict")[0].findings.is_empty());
    operator::pulse(&app.db).await.expect("a pulse");

    world.settle().await;
    app.clock.advance(2 * MINUTE);
    tidy::run(app).await.expect("tidying up");
    own_account(&world).await;
    directly(&world).await;
}

/// What people do to the own account in the console, through its app functions where they need no
/// browser.
async fn own_account(world: &World) {
    let (app, zoid) = (&world.app, world.zoid);
    let user = UserId::new(world.member.zuid).expect("a zuid");
    let address = EmailAddress::parse("mia@elsewhere.example").expect("an address");
    recovery::ask(app, &address, Some("192.0.2.1".parse().expect("an address"))).await.expect("asked");
    recovery::take_up(app).await.expect("looked at");
    let session: WebSessionId = app.ids.next().await.expect("an id");
    let passkey: PasskeyId = app.ids.next().await.expect("an id");
    let write = app.db.write(async move |tx| {
        let (hash, now) = (fingerprint("a cookie"), 1_000);
        assert!(store::factors::propose_totp(tx, zoid, user, session, b"sealed", now).await?);
        assert!(store::factors::totp(tx, zoid, user).await?.is_some());
        let table = store::sealed::TABLES[0];
        let was = store::sealed::page(tx, table, None, 1).await?.remove(0);
        assert!(store::sealed::replace(tx, table, &was, b"sealed anew").await?);
        assert!(store::factors::confirm_totp(tx, zoid, user, 1, now).await?);
        assert!(store::factors::use_step(tx, zoid, user, 2).await?);
        assert!(!store::factors::use_step(tx, zoid, user, 2).await?);
        assert!(store::factors::any(tx, zoid, user).await?);
        assert!(store::factors::remove_totp(tx, zoid, user).await?);
        store::factors::put_codes(tx, zoid, user, &[hash]).await?;
        assert!(store::factors::use_code(tx, zoid, user, &hash, now).await?);
        assert_eq!(store::factors::codes_left(tx, zoid, user).await?, 0);
        let mut row = PasskeyRow {
            credential: vec![1, 2, 3],
            id: passkey,
            organization: zoid,
            user,
            name: "Key".to_owned(),
            data: "{}".to_owned(),
            created_at: now,
            used_at: None,
        };
        store::factors::insert_passkey(tx, &row).await?;
        assert!(store::factors::passkey_used(tx, &row, "[]", now).await?);
        assert_eq!(store::factors::passkeys(tx, zoid, user).await?.len(), 1);
        assert!(store::factors::passkey(tx, &row.credential).await?.is_some());
        assert!(store::factors::remove_passkey(tx, zoid, user, passkey).await?.is_some());
        row.used_at = Some(now);
        store::factors::insert_passkey(tx, &row).await?;
        assert_eq!(store::factors::in_use(tx, zoid, user).await?.1, 1);
        store::factors::remove_passkeys(tx, zoid, user).await?;

        let known =
            RecoveryAddress { address: "mia@elsewhere.example".to_owned(), proved_at: 1, serves_from: 2 };
        store::recovery::put_address(tx, zoid, user, &known).await?;
        assert_eq!(store::recovery::address(tx, zoid, user).await?, Some(known.clone()));
        assert!(store::recovery::remove_address(tx, zoid, user).await?.is_some());
        let own = DomainName::parse("zylker.example").expect("a domain");
        assert!(store::organizations::is_own_domain(tx, &own).await?);
        let link = RecoveryLink {
            organization: zoid,
            user,
            purpose: Purpose::Password,
            address: known.address,
            epoch: 1,
            password_mark: None,
            created_at: now,
            expires_at: now + 10,
        };
        store::recovery::insert_link(tx, &hash, &link).await?;
        assert!(store::recovery::link(tx, &hash, Purpose::Password, now).await?.is_some());
        assert!(store::recovery::use_link(tx, &hash, now).await?);
        store::recovery::void_links(tx, zoid, user).await?;
        store::recovery::sweep(tx, now).await?;

        store::web_sessions::put_guest_ceremony(tx, &hash, session, "{}", now, now + 10).await?;
        assert!(store::web_sessions::take_guest_ceremony(tx, &hash, now).await?.is_some());
        store::web_sessions::set_ceremony(tx, &hash, None).await?;
        store::web_sessions::delete_named(tx, zoid, user, session).await?;
        store::web_sessions::delete_others(tx, zoid, user, session).await?;
        store::web_sessions::delete_at(tx, zoid, user, mailward::domain::web_session::Stage::ChoosePassword)
            .await?;
        store::web_sessions::of_person(tx, zoid, user, now, 0).await?;
        store::web_sessions::seen(tx, &hash, now).await?;
        store::web_sessions::proved(tx, &hash, now).await?;
        store::sealed::clear(tx).await
    });
    write.await.expect("direct calls");
    let mut visitor = Visitor::signed_in(world, &world.admin.email, PASSWORD).await;
    visitor.get("/me").await;
    visitor.post("/sign-out", &[]).await;
}

/// Finds people in every way, in a browser.
async fn people(world: &World) {
    let finder = world.someone("finder", Role::SuperAdmin).await;
    let mut visitor = Visitor::signed_in(world, &finder.email, PASSWORD).await;
    for query in ["", "q=finder", "q=fi", "state=disabled", "state=blocked", "state=one-time", "state=never"]
    {
        assert_eq!(visitor.get(&format!("/users?{query}")).await.status, 200, "{query}");
    }
    for path in [&format!("/users/{}", finder.zuid), "/audit", &format!("/audit?person={}", finder.zuid)] {
        assert_eq!(visitor.get(path).await.status, 200, "{path}");
    }
    visitor.get("/domains").await;
    visitor.post("/domains", &[("name", "never-verified.example")]).await;
    visitor.post("/domains/never-verified.example/remove", &[]).await;
    visitor.post("/prove", &[("password", PASSWORD)]).await;
    world.app.clock.advance(2 * MINUTE);
    visitor.get("/prove").await;
    visitor.post("/sign-out", &[]).await;
}

async fn accounts(world: &World) {
    let owner = &world.owner;
    let list = format!("/api/organization/{}/accounts", world.zoid);
    let new = json!({"primaryEmailAddress": "brief@zylker.example", "password": PASSWORD, "userExpiry": 1});
    assert_eq!(world.with_body("POST", &owner.org_token, &list, new).await.status, 201);
    world.mode(owner, &world.member, "disableMailAccount", json!({})).await.ok();
    for address in ["third@zylker.example", &world.member.email] {
        world.mode(owner, &world.member, "emailupdate", json!({"emailAddress": address})).await.ok();
    }
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
    let made = world
        .with_body(
            "POST",
            &world.member.user_token,
            &own,
            json!({"name": "Telephone", "currentPassword": PASSWORD}),
        )
        .await;
    let id = made.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned();
    let token = format!("Bearer {}", owner.org_token);
    let once = [("authorization", token.as_str()), ("idempotency-key", "a key")];
    let rename = json!({"mode": "displaynameupdate", "displayName": "Otto"}).to_string();
    for _ in 0..2 {
        world.send("PUT", &world.path(&world.other), &once, rename.clone()).await;
    }
    let compromised = format!("{}/compromised", world.path(&world.other));
    world.with_body("POST", &owner.org_token, &compromised, json!({})).await;
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
    let history = format!("/api/accounts/{}/history", world.member.account_id);
    world.get(&world.member.user_token, &history).await.ok();
    for path in [organization.clone(), format!("{organization}/domains"), "/health/ready".to_owned()] {
        world.get(&boss.org_token, &path).await.ok();
    }
    let desk = json!({"role": "admin", "isCustomAdmin": true, "verbs": ["read"], "domains": [world.domain]});
    let hedda = world.someone("hedda", Role::Member).await;
    world.mode(&boss, &hedda, "changeRole", desk).await.ok();
    world.get(&hedda.org_token, &list).await.ok();
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
    let own = format!("/api/accounts/{}/applications", world.member.account_id);
    let connected = world.get(&world.member.user_token, &own).await;
    assert_eq!(connected.ok().json()["data"][0]["clientId"], json!(id));
    oauth::revoke(app, &access).await.expect("a revocation");
    assert!(oauth::token(app, None, request(by_code())).await.is_err(), "a code works once");

    let source = Some("192.0.2.1".parse().expect("an address"));
    assert!(
        oauth::token(app, source, request(by_code())).await.is_err(),
        "and is counted from where it came"
    );

    let scope = "ZohoMail.organization.accounts.READ".to_owned();
    let for_itself = GrantType::ClientCredentials { scope, soid: Some(format!("ZohoMail.{}", world.zoid)) };
    oauth::token(app, None, request(for_itself)).await.expect("a token of the client's own");

    let path = format!("{own}/{id}");
    world.with_body("DELETE", &world.member.user_token, &path, Value::Null).await.ok();
    clients::switch(app, &operator(), &id, true).await.expect("off");
    assert_eq!(clients::list(app, world.zoid).await.expect("a list").len(), 1);
    clients::delete(app, &operator(), &id).await.expect("gone");
    // Here all of them live; `api::safeguards` sees the dead ones go.
    tidy::sweep_refresh_tokens(app).await.expect("swept");
    app.db
        .write(async |tx| store::tokens::delete_refresh(tx, &fingerprint("nobody's")).await)
        .await
        .expect("nothing to delete");
    let (done, report) =
        compromise::secure(app, &operator(), world.zoid, world.other.zuid).await.expect("secured");
    assert!(done.change.is_some() && report.is_some());
}

/// What only dry runs ask.
async fn forecasts(world: &World, domain: &DomainName) {
    let context = Context { dry_run: true, ..operator() };
    let (app, zoid) = (&world.app, world.zoid);
    let disable = Ask {
        route: Route::Organization(zoid),
        path: None,
        zuid: Some(world.member.zuid),
        mode: AccountMode::DisableUser(DisableUser::default()),
    };
    change::forecast(app, &context, disable).await.expect("a forecast");
    let (client, _) = client(world, ClientKind::SelfClient).await;
    clients::switch(app, &context, &client, true).await.expect("a forecast");
    organizations::switch(app, &context, zoid, true).await.expect("a forecast");
    let off = organizations::change_domain(app, &context, zoid, domain, DomainChange::Disable).await;
    let mut forecast = off.expect("a forecast").forecast.expect("a forecast");
    world.recorder.with(|recording| {
        recording.sessions =
            vec![Session { name: "m1@g1".into(), service: "imap".into(), pid: None, ip: None }];
    });
    let server = MailServer::Recorder(world.recorder.clone());
    look_at(app, &mut forecast, vec![("mx1".to_owned(), Some(server))]).await.expect("an answer");
}

/// What no door calls yet, or only with bad luck.
async fn directly(world: &World) {
    let (zoid, member) = (world.zoid, UserId::new(world.member.zuid).expect("a zuid"));
    world.own_mode(&world.member, "displaynameupdate", json!({"displayName": "Mia"})).await.ok();
    let token = format!("Zoho-oauthtoken {}", world.member.user_token);
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "one-call"),
    ];
    for _ in 0..2 {
        let path = format!("/api/accounts/{}", world.member.account_id);
        let body = json!({"mode": "displaynameupdate", "displayName": "Mia Lund"}).to_string();
        world.send("PUT", &path, &headers, body).await.ok();
    }
    let account = mailward::domain::ids::AccountId::new(world.member.account_id).expect("an accountId");
    let counted = world.app.db.write(async move |tx| {
        assert!(store::mailboxes::one(tx, zoid, account).await?.is_some());
        // Runs of ordinals get their counters while later ones are given out.
        for _ in 0..3 * store::lists::BLOCK / 32 {
            store::lists::take_ordinals(tx, zoid).await?;
        }
        Ok(())
    });
    counted.await.expect("counted");
    world
        .own_mode(&world.member, "emailupdate", json!({"emailAddress": "ceo@zylker.example"}))
        .await
        .refused(400, "INVALID_EMAILADDRESS");
    world
        .app
        .db
        .write(async move |tx| {
            store::tokens::codes_of_person_since(tx, "1000.NONE", member, 0).await?;
            let newest = store::audit::newest(tx, zoid, None, 5).await?;
            assert!(!store::audit::newest(tx, zoid, Some(member), 5).await?.is_empty());
            let change: ChangeId = newest.first().expect("an entry").id;
            assert!(!store::audit::insert_unless_there(tx, &newest[0]).await?);
            assert!(!store::audit::of_change(tx, zoid, change).await?.is_empty());
            assert!(!store::audit::running_refusals(tx, zoid).await?.is_empty());
            assert!(!store::outbox::of_change(tx, zoid, change).await?.is_empty());
            assert!(store::outbox::backlog(tx).await?.waiting > 0);
            assert!(store::outbox::backlog_of(tx, PROJECTION).await?.waiting > 0);
            let (late, later) = (i64::MAX / 2, i64::MAX / 2 + DAY);
            let claimed = store::outbox::claim(tx, PROJECTION, late, later, 1).await?;
            store::outbox::put_off(tx, claimed.first().expect("an effect"), "later", later)?;
            tx.execute("UPDATE outbox SET effect = '{}', due_at = 1 WHERE target = $1", params![PROJECTION])
                .await?;
            assert_eq!(store::outbox::claim(tx, PROJECTION, late, later, 1).await?.len(), 0, "unreadable");
            assert!(!store::outbox::changed_since(tx, 0, 10).await?.is_empty());
            assert!(store::outbox::newest(tx).await? > 0);
            assert!(!store::organizations::all(tx).await?.is_empty());
            assert!(store::organizations::orphans(tx).await?.is_empty());
            assert!(!store::organizations::verified_domains(tx).await?.is_empty());
            let states = store::mailboxes::page(tx, zoid, 0, 10).await?;
            let mailbox = &states.first().expect("a mailbox").mbox;
            store::mailboxes::may_hold_session(tx, mailbox, SessionCredential::Generation(1), "imap", late)
                .await?;
            store::mailboxes::may_hold_session(tx, mailbox, SessionCredential::AppPassword(1), "imap", late)
                .await?;
            let retained = store::mailboxes::retained(tx).await?;
            store::mailboxes::forget_retained(tx, &retained.first().expect("a deleted user's").mailbox)
                .await?;
            assert!(!store::mail_servers::all(tx).await?.is_empty());
            store::mail_servers::remove(tx, "mx1", late).await?;
            let agent = store::mail_agents::MailAgentRow {
                name: "imap1".to_owned(),
                domains: vec!["zylker.example".to_owned()],
                created_at: 0,
            };
            store::mail_agents::insert(tx, &agent, &fingerprint("a key")).await?;
            store::mail_agents::take(tx, "imap1", &fingerprint("a key"), "a link", "a node").await?;
            let mark = store::feed::Mark::upto(0);
            store::mail_agents::heard(tx, "imap1", "a link", Some(&mark), late).await?;
            store::mail_agents::still_heard(tx, "imap1", "a link", late).await?;
            assert_eq!(
                store::mail_agents::statuses_for(tx, zoid).await?,
                store::mail_agents::statuses(tx).await?
            );
            assert_eq!(store::mail_agents::with_key(tx, &fingerprint("a key")).await?, Some(agent.clone()));
            assert_eq!(store::mail_agents::all(tx).await?, [agent]);
            store::mail_agents::rekey(tx, "imap1", &fingerprint("another key")).await?;
            store::mail_agents::remove(tx, "imap1", late).await?;
            store::outbox::changed_by_transactions(tx, (0, 0), i64::MAX, 10).await?;
            store::outbox::newest_transaction(tx).await?;
            store::settings::swept_transaction(tx).await?;
            let now = store::feed::now(tx).await?;
            store::feed::since(tx, &mark, &now).await?;
            store::settings::set(tx, "a name", "a value").await?;
            store::settings::get_or_set(tx, "a name", "another").await?;
            store::settings::get(tx, "a name").await?;
            for table in store::sealed::TABLES {
                let (organization, person) = (zoid, member);
                let row = store::sealed::SealedRow { organization, person, sealed: b"nothing".to_vec() };
                assert!(!store::sealed::replace(tx, *table, &row, b"else").await?);
            }
            assert_eq!(store::sealed::clear(tx).await?, 0);
            store::restore::void(tx, 1).await
        })
        .await
        .expect("direct calls");
    assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 401, "every token is void");
}
