//! Nodes of two versions on one database. The tables of the oldest are those of the finished account desk:
//! `STEPS` up to number 3, since step 4 and all others came with what was built afterwards. Its statements
//! are kept beside this file, as they were; here they go on while the tables are brought up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mailward::app::open;
use mailward::domain::ids::{AccountId, OrganizationId, UserId};
use mailward::error::{Error, Result};
use mailward::store::accounts::{Handle, load};
use mailward::store::engine::{Db, Step, Tx, is_ahead, migrate, params, pending};
use mailward::store::migrations::STEPS;
use rusqlite::Connection;

use crate::support::databases::{TestDb, on_postgres, on_sqlite, options};
use crate::support::postgres;

const NEWEST_THEN: i64 = 3;

/// The steps of that time.
fn then() -> &'static [Step] {
    &STEPS[..STEPS.partition_point(|step| step.number <= NEWEST_THEN)]
}

/// The statements of that time.
fn statements() -> impl Iterator<Item = &'static str> {
    include_str!("statements_of_the_account_desk.sql").lines().filter(|line| !line.starts_with("--"))
}

/// The one that begins and ends so.
#[track_caller]
fn old(begins: &str, ends: &str) -> &'static str {
    let mut found = statements().filter(|sql| sql.starts_with(begins) && sql.ends_with(ends));
    let sql = found.next().unwrap_or_else(|| panic!("no statement is {begins} … {ends}"));
    assert_eq!(found.next(), None, "{begins} … {ends}");
    sql
}

// Every statement ----------------------------------------------------------------------------------

#[test]
fn every_statement_of_the_oldest_node_is_understood_by_sqlite_with_the_tables_of_today() {
    on_sqlite(STEPS, async |test| {
        let connection =
            Connection::open(test.url.strip_prefix("sqlite:").expect("a path")).expect("it opens");
        for sql in statements() {
            connection.prepare(sql).unwrap_or_else(|cause| panic!("{sql}: {cause}"));
        }
    });
}

#[test]
fn every_statement_of_the_oldest_node_is_understood_by_postgres_with_the_tables_of_today() {
    on_postgres(STEPS, async |test| {
        let client = postgres::connect(&test.url).await;
        for sql in statements() {
            // A plan is made, so that a rule that ON CONFLICT names must be there.
            let count = (1..=30).rev().find(|number| sql.contains(&format!("${number}"))).unwrap_or(0);
            let nothing =
                if count == 0 { String::new() } else { format!("({})", vec!["NULL"; count].join(", ")) };
            let script = format!("DEALLOCATE ALL; PREPARE it AS {sql}; EXPLAIN EXECUTE it{nothing}");
            client.batch_execute(&script).await.unwrap_or_else(|cause| panic!("{sql}: {cause:?}"));
        }
    });
}

// What a step does ---------------------------------------------------------------------------------

/// Why an older node could not go on after a step, if that can be seen in its text.
fn narrows(step: &Step) -> Option<String> {
    let text: String = step
        .sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .map(|line| format!("{line}\n"))
        .collect();
    let text = text.replace("{POSTGRES}", "").replace("{SQLITE}", "").to_uppercase();
    let own = |table: &str| {
        [format!("CREATE TABLE {table} "), format!("CREATE VIRTUAL TABLE {table} ")]
            .iter()
            .any(|made| text.contains(made.as_str()))
    };
    for statement in text.split(";\n") {
        let words: Vec<_> = statement.split_whitespace().collect();
        let has = |wanted: &[&str]| words.windows(wanted.len()).any(|some| some == wanted);
        let table = |at: usize| words.get(at).copied().unwrap_or_default();
        let why = match words.as_slice() {
            // Made again with more columns, where the engine replaces none.
            ["DROP", "VIEW", view] if text.contains(&format!("CREATE {{OR_REPLACE}} VIEW {view} AS")) => {
                continue;
            }
            ["DROP", "TABLE" | "VIEW" | "SCHEMA", ..] => "takes something away",
            ["DELETE" | "TRUNCATE", ..] => "takes rows away",
            ["ALTER", "TABLE", ..] if has(&["DROP"]) || has(&["DROP", "COLUMN"]) => "takes a column away",
            ["ALTER", ..] if has(&["RENAME"]) => "renames something",
            ["ALTER", "TABLE", ..] if has(&["TYPE"]) || has(&["SET", "NOT", "NULL"]) => "changes a column",
            ["ALTER", "TABLE", ..] if has(&["CONSTRAINT"]) || statement.contains("CHECK") => {
                "makes a new rule"
            }
            ["ALTER", "TABLE", ..]
                if has(&["ADD", "COLUMN"]) && has(&["NOT", "NULL"]) && !has(&["DEFAULT"]) =>
            {
                "adds a column that must be filled"
            }
            ["CREATE", "UNIQUE", "INDEX", _, "ON", ..] if !own(table(5)) => "makes a new rule",
            ["CREATE", "TRIGGER", ..] | ["CREATE", "OR", "REPLACE", "TRIGGER", ..] => {
                "acts on what others write"
            }
            _ => continue,
        };
        return Some(format!("step {} {why}: {}", step.number, words.join(" ")));
    }
    None
}

#[test]
fn every_step_since_then_only_widens_the_tables() {
    for step in STEPS.iter().filter(|step| step.number > NEWEST_THEN) {
        assert_eq!(narrows(step), None);
        let beside = step.beside();
        assert!(
            beside.is_none_or(|beside| beside < step.number),
            "step {} is not beside itself",
            step.number
        );
    }
}

#[test]
fn a_step_that_narrows_is_seen() {
    for sql in [
        "DROP TABLE sign_in;",
        "-- A reason.\nALTER TABLE person DROP COLUMN profile;",
        "{POSTGRES} ALTER TABLE person RENAME COLUMN profile TO face;",
        "ALTER TABLE person ADD COLUMN face TEXT NOT NULL;",
        "ALTER TABLE person ALTER COLUMN expires_at SET NOT NULL;",
        "ALTER TABLE person ADD CONSTRAINT grown CHECK (version > 0);",
        "CREATE UNIQUE INDEX person_name_key ON person (display_name);",
        "DELETE FROM outbox WHERE done_at IS NOT NULL;",
    ] {
        assert!(narrows(&Step { number: 99, name: "narrow", sql }).is_some(), "{sql}");
    }
    let wide = "CREATE TABLE a (b BIGINT NOT NULL);\nCREATE UNIQUE INDEX a_b_key ON a (b);\n\
                ALTER TABLE person ADD COLUMN face TEXT NOT NULL DEFAULT '';\nDROP INDEX x;\n";
    assert_eq!(narrows(&Step { number: 99, name: "wide", sql: wide }), None);
}

// Who may go on ------------------------------------------------------------------------------------

const ONE: Step = Step { number: 1, name: "one", sql: "CREATE TABLE one (a BIGINT);\n" };
const WIDER: Step =
    Step { number: 2, name: "wider", sql: "-- Beside: 1\nALTER TABLE one ADD COLUMN b BIGINT;\n" };
const NARROW: Step = Step { number: 3, name: "narrow", sql: "DROP TABLE one;\n" };

both_engines! {
    with &[];

    async fn an_older_program_goes_on_beside_a_step_that_says_so_and_no_other(db: Db) {
        migrate(&db, &[ONE], 0).await.unwrap();
        assert!(!is_ahead(&db, &[ONE]).await.unwrap());
        assert_eq!(pending(&db, &[ONE, WIDER]).await.unwrap(), [WIDER]);
        migrate(&db, &[ONE, WIDER], 0).await.unwrap();
        assert_eq!(pending(&db, &[ONE]).await.unwrap(), []);
        assert!(is_ahead(&db, &[ONE]).await.unwrap());
        assert_eq!(migrate(&db, &[ONE], 0).await.unwrap().steps, []);

        migrate(&db, &[ONE, WIDER, NARROW], 0).await.unwrap();
        for older in [&[ONE][..], &[ONE, WIDER]] {
            let refusal = pending(&db, older).await.unwrap_err().to_string();
            assert!(refusal.contains("newer Mailward"), "{refusal}");
            migrate(&db, older, 0).await.unwrap_err();
        }
    }

    async fn a_list_of_steps_that_says_nothing_of_it_is_continued(db: Db) {
        let sum = ONE.checksum();
        db.write(async move |tx| {
            tx.execute("CREATE TABLE one (a BIGINT)", params![]).await?;
            tx.execute("DROP TABLE migration", params![]).await?;
            tx.execute(
                "CREATE TABLE migration (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
                                         checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
                params![],
            )
            .await?;
            let sql = "INSERT INTO migration (number, name, checksum, applied_at) VALUES (1, 'one', $1, 0)";
            tx.execute_one(sql, params![&sum]).await
        })
        .await
        .unwrap();
        assert_eq!(pending(&db, &[ONE, WIDER]).await.unwrap(), [WIDER]);
        migrate(&db, &[ONE, WIDER], 0).await.unwrap();
        assert!(is_ahead(&db, &[ONE]).await.unwrap());
    }
}

// Side by side -------------------------------------------------------------------------------------

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$cmVoZWFyc2Fs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BLOCK: &str = r#"{"by":{"operator":"tester"},"rank":"operator","at":1}"#;
const LATER: i64 = 1_780_272_000_000;

/// A node of that time, and its one account.
#[derive(Clone, Copy)]
struct Old {
    zoid: i64,
    zuid: i64,
    account: i64,
}

impl Old {
    fn new() -> Self {
        let (zoid, zuid, account) = (OrganizationId::LEAST, UserId::LEAST, AccountId::LEAST);
        Self { zoid: zoid.get(), zuid: zuid.get(), account: account.get() }
    }

    async fn make(self, tx: &mut Tx) -> Result<()> {
        let Self { zoid, zuid, account } = self;
        let (none, no_time) = (None::<&str>, None::<i64>);
        let make = old("INSERT INTO organization (", "");
        tx.execute_one(make, params![zoid, "Zylker", none, "{}", false, LATER]).await?;
        tx.execute_one(old("INSERT INTO organization_counter", ""), params![zoid]).await?;
        let make = old("INSERT INTO domain", "");
        let domain = params![zoid, "zylker.example", 1, "code", LATER, "operator", true, none, LATER];
        tx.execute_one(make, domain).await?;
        let make = old("INSERT INTO person (", "");
        let person = params![
            zoid,
            zuid,
            0,
            1,
            "member",
            "",
            "",
            "",
            "{}",
            HASH,
            "permanent",
            no_time,
            LATER,
            "[]",
            0,
            "[]",
            none,
            no_time,
            LATER
        ];
        tx.execute_one(make, person).await?;
        let make = old("INSERT INTO person_count", "");
        tx.execute_one(make, params![zoid, 0]).await?;
        let make = old("INSERT INTO account (", "");
        let (mailbox, address) = (format!("m{account}"), "mia@zylker.example");
        let row = params![
            zoid,
            account,
            zuid,
            &mailbox,
            address,
            "zylker.example",
            1,
            none,
            none,
            none,
            none,
            none,
            LATER
        ];
        tx.execute_one(make, row).await?;
        self.take(tx, address).await
    }

    async fn take(self, tx: &mut Tx, address: &str) -> Result<()> {
        let sql = old("INSERT INTO address", "");
        tx.execute(sql, params![address, self.zoid, self.account, LATER]).await.map(drop)
    }

    /// One of the four calls, with everything that it left: entry and effects.
    async fn call(self, tx: &mut Tx, number: usize) -> Result<()> {
        let Self { zoid, zuid, account } = self;
        let (none, no_time) = (None::<&str>, None::<i64>);
        let found =
            old("SELECT p.organization_id, p.id AS person_id", "WHERE p.organization_id = $1 AND p.id = $2");
        let (version, epoch, generation, primary) = tx
            .query_one(found, params![zoid, zuid], |row| {
                Ok((
                    row.get::<i64>("version")?,
                    row.get::<i64>("session_epoch")?,
                    row.get::<i64>("generation")?,
                    row.get::<String>("primary_address")?,
                ))
            })
            .await?;
        let save_person = old("UPDATE person SET version = version + 1, role", "");
        let save_account = old("UPDATE account SET primary_address", "");
        let address = format!("mia-{number}@zylker.example");
        let verb = match number % 4 {
            0 => {
                let name = format!("Name {number}");
                let person = params![
                    zoid,
                    zuid,
                    version,
                    "member",
                    "",
                    "",
                    &name,
                    "{}",
                    HASH,
                    "permanent",
                    no_time,
                    LATER,
                    "[]",
                    epoch + 1,
                    "[]",
                    none,
                    no_time
                ];
                tx.execute_one(save_person, person).await?;
                let row = params![
                    zoid,
                    account,
                    &primary,
                    "zylker.example",
                    generation + 1,
                    none,
                    none,
                    none,
                    none,
                    none
                ];
                tx.execute_one(save_account, row).await?;
                let ended = old("DELETE FROM access_token WHERE organization_id = $1 AND person_id", "");
                tx.execute(ended, params![zoid, zuid]).await?;
                "resetPassword"
            }
            1 => {
                let save = old("UPDATE person SET version = version + 1, disabled", "");
                tx.execute_one(save, params![zoid, zuid, version, none]).await?;
                let row = params![
                    zoid,
                    account,
                    &address,
                    "zylker.example",
                    generation,
                    none,
                    none,
                    none,
                    none,
                    none
                ];
                tx.execute_one(save_account, row).await?;
                self.take(tx, &address).await?;
                "emailupdate"
            }
            other => {
                let save = old("UPDATE person SET version = version + 1, disabled", "");
                tx.execute_one(save, params![zoid, zuid, version, none]).await?;
                let block = (other == 2).then_some(BLOCK);
                let row = params![
                    zoid,
                    account,
                    &primary,
                    "zylker.example",
                    generation,
                    block,
                    none,
                    none,
                    none,
                    none
                ];
                tx.execute_one(save_account, row).await?;
                if other == 2 { "disableMailAccount" } else { "enableUser" }
            }
        };
        let change = i64::try_from(number).expect("few") + 290_000_000_000_000_000;
        let entry = old("INSERT INTO audit (", "");
        tx.execute_one(entry, params![zoid, change, 0, LATER, "operator tester", verb, zuid, "{}"]).await?;
        let project = old("INSERT INTO outbox", "0) RETURNING position");
        let row = params![change, zoid, account, "look-ups", r#""project""#, LATER];
        tx.query_one(project, row, |row| row.get::<i64>("position")).await?;
        let tell = old("INSERT INTO outbox", "NOT EXISTS (SELECT 1 FROM mail_server)");
        tx.execute(tell, params![change, zoid, account, r#""project""#, LATER]).await.map(drop)
    }
}

both_engines! {
    with then();

    async fn the_oldest_node_goes_on_while_a_new_one_widens_the_tables(test: TestDb) {
        let node = Old::new();
        test.db.write(async move |tx| node.make(tx).await).await.unwrap();
        let refusal = open::bring_up(&test.db, LATER).await.unwrap_err();
        assert!(matches!(&refusal, Error::Refused(why) if why.contains("mailward migrate")), "{refusal}");

        let (called, widened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (db, done, end) = (test.db.clone(), Arc::clone(&called), Arc::clone(&widened));
        let calls = tokio::spawn(async move {
            // Each of the four, and a good while longer than it takes.
            let mut number = 0;
            while number % 4 != 0 || number < end.load(Ordering::SeqCst).saturating_add(80) {
                db.write(async move |tx| node.call(tx, number).await).await.unwrap();
                number += 1;
                done.store(number, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            number
        });
        while called.load(Ordering::SeqCst) < 40 && !calls.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let newer = Db::open(&test.url, &options()).unwrap();
        open::migrate(&newer, LATER).await.unwrap();
        widened.store(called.load(Ordering::SeqCst), Ordering::SeqCst);
        open::bring_up(&newer, LATER).await.unwrap();
        let number = calls.await.unwrap();

        // The last four calls: reset, renamed, disabled, enabled.
        let mut tx = newer.snapshot().await.unwrap();
        let organization = OrganizationId::new(node.zoid).unwrap();
        let handle = Handle::of(node.zuid).unwrap();
        let account = load(&mut tx, organization, handle).await.unwrap().unwrap();
        assert_eq!(account.version, 1 + i64::try_from(number).unwrap());
        assert_eq!(account.profile.display_name, format!("Name {}", number - 4));
        assert_eq!(account.primary.as_str(), format!("mia-{}@zylker.example", number - 3));
        assert_eq!(account.switches.mail_disabled, None);
        assert_eq!(account.aliases.len(), number / 4);
    }
}
