//! What a statement, a change and a reader may rely on, the same on both engines.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mailward::domain::secret::Fingerprint;
use mailward::error::{Error, Malformed, Result};
use mailward::store::engine::{
    Applied, Db, EngineKind, Options, Step, Tx, durability, migrate, newest_known, params, pending, schema,
};
use tokio::task::JoinHandle;

use crate::support::databases::{TestDb, on_postgres, on_sqlite, options, runtime};
use crate::support::postgres;

const STEPS: &[Step] = &[Step {
    number: 1,
    name: "first",
    sql: "
CREATE TABLE organization (
  id {ID},
  name TEXT NOT NULL
);
CREATE TABLE account (
  id {ID},
  organization BIGINT NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
  address TEXT NOT NULL UNIQUE,
  nickname TEXT,
  admin BOOLEAN NOT NULL DEFAULT FALSE,
  disabled BOOLEAN NOT NULL DEFAULT FALSE,
  secret {BYTES},
  version BIGINT NOT NULL DEFAULT 0,
  CONSTRAINT account_organization_nickname_key UNIQUE (organization, nickname)
);
CREATE INDEX account_by_version ON account (organization, version);
CREATE UNIQUE INDEX account_secret_key ON account (secret) WHERE secret IS NOT NULL;
CREATE TABLE outbox (
  id {NEW_ID},
  due BIGINT NOT NULL,
  tries BIGINT NOT NULL DEFAULT 0
);
CREATE VIEW login AS
SELECT address, version FROM account WHERE NOT disabled;
",
}];

async fn add_organization(tx: &mut Tx, id: i64) -> Result<()> {
    tx.execute_one("INSERT INTO organization (id, name) VALUES ($1, $2)", params![id, "example"]).await
}

async fn add_account(tx: &mut Tx, id: i64, address: &str) -> Result<()> {
    tx.execute_one("INSERT INTO account (id, organization, address) VALUES ($1, 1, $2)", params![id, address])
        .await
}

async fn with_organization(db: &Db) {
    db.write(async |tx| add_organization(tx, 1).await).await.unwrap();
}

async fn addresses(db: &Db) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    tx.query_all("SELECT address FROM account ORDER BY id", params![], |row| row.get("address"))
        .await
        .unwrap()
}

fn why(outcome: Result<impl std::fmt::Debug>) -> &'static str {
    match outcome {
        Err(Error::Unavailable { why, .. }) => why,
        other => panic!("expected Unavailable, not {other:?}"),
    }
}

both_engines! {
    with STEPS;

    async fn parameters_are_bound_by_their_number(db: Db) {
        let mut tx = db.read().await.unwrap();
        let found = tx
            .query_one(
                "SELECT CAST($2 AS TEXT) AS second, CAST($1 AS BIGINT) AS first, CAST($2 AS TEXT) AS again",
                params![7, "two"],
                |row| {
                    Ok((row.get::<String>("second")?, row.get::<i64>("first")?, row.get::<String>("again")?))
                },
            )
            .await
            .unwrap();
        assert_eq!(found, ("two".to_owned(), 7, "two".to_owned()));
    }

    async fn a_wrong_number_of_parameters_is_an_error(db: Db) {
        let mut tx = db.read().await.unwrap();
        for given in [&params![][..], params![1, 2]] {
            let outcome = tx.query_all("SELECT CAST($1 AS BIGINT) AS one", given, |_| Ok(())).await;
            assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        }
    }

    async fn every_kind_of_value_comes_back_as_it_was_stored(db: Db) {
        with_organization(&db).await;
        let stored = db
            .write(async |tx| {
                tx.query_one(
                    "INSERT INTO account (id, organization, address, nickname, admin, secret, version)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     RETURNING address, nickname, admin, disabled, secret, version",
                    params![i64::MAX, 1, "ünï@example.org", None::<&str>, true, &[0u8, 255], i64::MIN],
                    |row| {
                        Ok((
                            row.get::<String>("address")?,
                            row.get::<Option<String>>("nickname")?,
                            row.get::<bool>("admin")?,
                            row.get::<bool>("disabled")?,
                            row.get::<Vec<u8>>("secret")?,
                            row.get::<i64>("version")?,
                        ))
                    },
                )
                .await
            })
            .await
            .unwrap();
        assert_eq!(stored, ("ünï@example.org".to_owned(), None, true, false, vec![0, 255], i64::MIN));
    }

    async fn a_reader_may_capture_and_borrow(db: Db) {
        with_organization(&db).await;
        let wanted = "example".to_owned();
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut tx = db.read().await?;
            tx.query_all("SELECT name FROM organization", params![], |row| {
                let name: &str = row.get("name")?;
                seen.push(name == wanted);
                Ok(())
            })
            .await?;
            Ok::<_, Error>(seen)
        });
        assert_eq!(task.await.unwrap().unwrap(), [true]);
    }

    async fn a_column_read_as_another_type_is_an_error_and_a_missing_one_too(db: Db) {
        with_organization(&db).await;
        let mut tx = db.read().await.unwrap();
        let number =
            tx.query_one("SELECT name FROM organization", params![], |row| row.get::<i64>("name")).await;
        assert!(
            matches!(&number, Err(Error::Internal(_))) && !format!("{number:?}").contains("example"),
            "{number:?}"
        );
        let missing =
            tx.query_one("SELECT name FROM organization", params![], |row| row.get::<String>("nobody")).await;
        assert!(matches!(missing, Err(Error::Internal(_))), "{missing:?}");
    }

    async fn a_nul_character_in_a_text_is_refused(db: Db) {
        let outcome = db
            .write(async |tx| {
                tx.execute("INSERT INTO organization (id, name) VALUES (1, $1)", params!["a\0b"]).await
            })
            .await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
    }

    async fn the_number_of_rows_is_held_against_what_was_expected(db: Db) {
        with_organization(&db).await;
        db.write(async |tx| {
            add_account(tx, 1, "a@x").await?;
            add_account(tx, 2, "b@x").await
        })
        .await
        .unwrap();
        let none = db
            .write(async |tx| {
                tx.execute_one("UPDATE account SET version = 1 WHERE id = $1", params![9]).await
            })
            .await;
        assert!(matches!(none, Err(Error::Stale)), "{none:?}");
        let many =
            db.write(async |tx| tx.execute_one("UPDATE account SET version = 1", params![]).await).await;
        assert!(matches!(many, Err(Error::Internal(_))), "{many:?}");
        let mut tx = db.read().await.unwrap();
        let nobody = tx
            .query_one("SELECT id FROM account WHERE id = $1", params![9], |row| row.get::<i64>("id"))
            .await;
        assert!(matches!(nobody, Err(Error::Internal(_))), "{nobody:?}");
        let nobody = tx
            .query_opt("SELECT id FROM account WHERE id = $1", params![9], |row| row.get::<i64>("id"))
            .await;
        assert!(matches!(nobody, Ok(None)), "{nobody:?}");
        let two = tx
            .query_opt("SELECT version FROM account", params![], |row| row.get::<i64>("version"))
            .await
            .unwrap_err();
        assert!(matches!(two, Error::Internal(_)), "{two:?}");
        assert_eq!(
            tx.query_all("SELECT version FROM account", params![], |row| row.get::<i64>("version"))
                .await
                .unwrap(),
            [0, 0]
        );
    }

    async fn a_unique_rule_has_one_name(db: Db) {
        with_organization(&db).await;
        db.write(async |tx| {
                tx.execute_one(
                    "INSERT INTO account (id, organization, address, nickname, secret) VALUES (1, 1, 'a@x', 'a', $1)",
                    params![&[1u8]],
                ).await
            }).await.unwrap();
        for (id, address, nickname, secret, rule) in [
            (1, "b@x", "b", 2u8, "account_pkey"),
            (2, "a@x", "b", 2, "account_address_key"),
            (2, "b@x", "a", 2, "account_organization_nickname_key"),
            (2, "b@x", "b", 1, "account_secret_key"),
        ] {
            let outcome = db.write(async move |tx| {
                    tx.execute(
                        "INSERT INTO account (id, organization, address, nickname, secret) VALUES ($1, 1, $2, $3, $4)",
                        params![id, address, nickname, &[secret]],
                    ).await
                }).await;
            assert!(matches!(&outcome, Err(Error::Unique(name)) if name == rule), "{rule}: {outcome:?}");
        }
    }

    async fn an_error_tells_the_statement_and_never_a_row(db: Db) {
        with_organization(&db).await;
        let outcome = db
            .write(async |tx| {
                tx.execute(
                    "INSERT INTO account (id, organization, address, nickname) VALUES (1, 1, $1, $2)",
                    params![None::<&str>, "hush"],
                )
                .await
            })
            .await;
        let error = outcome.unwrap_err();
        let told = error.to_string();
        assert!(told.contains("INSERT INTO account") && told.contains("address"), "{told}");
        assert!(!format!("{error:?}").contains("hush"), "{told}");
    }

    async fn what_is_sent_without_waiting_is_stored_with_the_commit(db: Db) {
        with_organization(&db).await;
        let id = db
            .write(async |tx| {
                tx.send(
                    "INSERT INTO account (id, organization, address) VALUES ($1, 1, $2)",
                    params![1, "a@x"],
                )?;
                tx.send_one("UPDATE account SET nickname = $2 WHERE id = $1", params![1, "A"])?;
                // What is waited for sees what was sent before it.
                let seen = "SELECT nickname FROM account WHERE id = $1";
                assert_eq!(tx.query_one(seen, params![1], |row| row.get::<String>("nickname")).await?, "A");
                tx.send("UPDATE account SET version = 7", params![])?;
                let insert = "INSERT INTO outbox (due) VALUES ($1) RETURNING id";
                tx.send_query(insert, params![5], |row| row.get::<i64>("id"))
            })
            .await
            .unwrap();
        let mut tx = db.read().await.unwrap();
        let found = tx.query_one("SELECT id FROM outbox", params![], |row| row.get::<i64>("id")).await;
        assert_eq!(id.get(), Some(found.unwrap()));
        let version = tx.query_one("SELECT version FROM account", params![], |row| row.get::<i64>("version"));
        assert_eq!(version.await.unwrap(), 7);
    }

    async fn what_is_sent_and_fails_leaves_nothing(db: Db) {
        with_organization(&db).await;
        let send = |statement: &'static str| {
            let db = db.clone();
            async move {
                db.write(async move |tx| {
                    tx.send("INSERT INTO outbox (due) VALUES (1)", params![])?;
                    tx.send_one(statement, params![])?;
                    tx.send("INSERT INTO outbox (due) VALUES (2)", params![])
                })
                .await
            }
        };
        let none = send("UPDATE organization SET name = 'x' WHERE id = 9").await;
        assert!(matches!(none, Err(Error::Stale)), "{none:?}");
        db.write(async |tx| add_organization(tx, 2).await).await.unwrap();
        let several = send("UPDATE organization SET name = 'x'").await;
        assert!(several.is_err());
        let taken = send("UPDATE organization SET id = 2 WHERE id = 1").await;
        assert!(matches!(&taken, Err(Error::Unique(name)) if name == "organization_pkey"), "{taken:?}");
        let unfit = db
            .write(async |tx| {
                tx.send("INSERT INTO outbox (due) VALUES (3)", params![])?;
                tx.send("INSERT INTO organization (id, name) VALUES (3, $1)", params!["a\0b"])
            })
            .await;
        assert!(matches!(unfit, Err(Error::Internal(_))), "{unfit:?}");
        let waited = db
            .write(async |tx| {
                tx.send("INSERT INTO organization (id, name) VALUES (1, 'again')", params![])?;
                tx.query_all("SELECT id FROM outbox", params![], |_| Ok(())).await
            })
            .await;
        assert!(matches!(waited, Err(Error::Unique(_))), "{waited:?}");
        let mut tx = db.read().await.unwrap();
        let left = tx.query_all("SELECT id FROM outbox", params![], |_| Ok(())).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        let names = "SELECT name FROM organization ORDER BY id";
        let names = tx.query_all(names, params![], |row| row.get::<String>("name")).await.unwrap();
        assert_eq!(names, ["example", "example"]);
    }

    async fn a_question_asked_ahead_has_the_answer_of_its_time(db: Db) {
        const NAME: &str = "SELECT name FROM organization WHERE id = $1";
        async fn name(tx: &mut Tx, id: i64) -> Result<Option<String>> {
            tx.query_opt(NAME, params![id], |row| row.get("name")).await
        }
        with_organization(&db).await;
        db.write(async |tx| {
            tx.prefetch(NAME, params![1]);
            tx.prefetch(NAME, params![2]);
            tx.prefetch(NAME, params![1]);
            assert_eq!(name(tx, 2).await?, None);
            assert_eq!(name(tx, 1).await?.as_deref(), Some("example"));
            assert_eq!(name(tx, 1).await?.as_deref(), Some("example"), "it may be asked again");
            // A write in between: the question is asked after it, whenever it was foreseen.
            tx.prefetch(NAME, params![1]);
            tx.prefetch(NAME, params![3]);
            assert_eq!(name(tx, 3).await?, None);
            tx.send_one("UPDATE organization SET name = 'second' WHERE id = 1", params![])?;
            assert_eq!(name(tx, 1).await?.as_deref(), Some("second"));
            tx.prefetch(NAME, params![1]);
            tx.execute_one("UPDATE organization SET name = 'third' WHERE id = 1", params![]).await?;
            assert_eq!(name(tx, 1).await?.as_deref(), Some("third"));
            tx.prefetch(NAME, params![1]);
            Ok(())
        })
        .await
        .unwrap();
        let mut tx = db.read().await.unwrap();
        tx.prefetch(NAME, params![1]);
        assert_eq!(name(&mut tx, 1).await.unwrap().as_deref(), Some("third"));
    }

    async fn a_swallowed_error_is_not_believed(db: Db) {
        with_organization(&db).await;
        let outcome = db
            .write(async |tx| {
                add_account(tx, 1, "a@x").await?;
                let _ = add_account(tx, 1, "b@x").await;
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        assert_eq!(addresses(&db).await, [""; 0]);
        db.write(async |tx| add_account(tx, 1, "c@x").await).await.unwrap();
        assert_eq!(addresses(&db).await, ["c@x"]);
    }

    async fn refusals_and_panics_undo_only_themselves(db: Db) {
        with_organization(&db).await;
        // On SQLite, all of these wait behind one slow change and are committed together.
        let slow = {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(async |_| {
                    std::thread::sleep(Duration::from_millis(200));
                    Ok(())
                })
                .await
            })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        let tasks: Vec<_> = (0..60)
            .map(|id| {
                let db = db.clone();
                tokio::spawn(async move {
                    db.write(async move |tx| {
                        add_account(tx, id, &format!("{id}@x")).await?;
                        match id % 3 {
                            0 => Ok(()),
                            1 => Err(Error::BadToken),
                            _ => panic!("number {id}"),
                        }
                    })
                    .await
                })
            })
            .collect();
        slow.await.unwrap().unwrap();
        for (id, task) in tasks.into_iter().enumerate() {
            match (id % 3, task.await) {
                (0, Ok(Ok(()))) | (1, Ok(Err(Error::BadToken))) => {}
                (2, Err(panic)) if panic.is_panic() => {
                    assert_eq!(*panic.into_panic().downcast::<String>().unwrap(), format!("number {id}"));
                }
                (_, other) => panic!("{id}: {other:?}"),
            }
        }
        let kept: Vec<String> = (0..60).step_by(3).map(|id| format!("{id}@x")).collect();
        assert_eq!(addresses(&db).await, kept);
    }

    async fn a_change_of_many_rows_is_kept_or_undone_whole(db: Db) {
        const ROWS: i64 = 30_000;
        with_organization(&db).await;
        let fill = "WITH RECURSIVE one(n) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT n + 1 FROM one WHERE n < $2)
                    INSERT INTO account (id, organization, address)
                    SELECT n, 1, 'somebody-with-a-long-name-' || n || '@a-long-domain.example' FROM one";
        db.write(async |tx| tx.execute(fill, params![1_i64, ROWS]).await).await.expect("filled");
        let raise = "UPDATE account SET version = version + 1 WHERE organization = $1";
        // On SQLite the note for taking back a change of so many pages leaves the memory.
        let raised = db.write(async |tx| tx.execute(raise, params![1_i64]).await).await;
        assert_eq!(raised.expect("raised"), ROWS.unsigned_abs());
        let refused = db
            .write(async |tx| {
                tx.execute(raise, params![1_i64]).await?;
                Err::<(), _>(Error::Refused("not like this".to_owned()))
            })
            .await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        let mut tx = db.read().await.expect("a reader");
        let versions = "SELECT MIN(version) AS least, MAX(version) AS most FROM account";
        let versions = tx
            .query_one(versions, params![], |row| Ok((row.get::<i64>("least")?, row.get::<i64>("most")?)))
            .await;
        assert_eq!(versions.expect("counted"), (1, 1));
    }

    async fn a_rehearsal_answers_as_the_change_would_and_leaves_nothing(db: Db) {
        with_organization(&db).await;
        // Beside changes that are meant, all in one commit on SQLite.
        let tasks: Vec<_> = (0..60)
            .map(|id| {
                let db = db.clone();
                tokio::spawn(async move {
                    let change = async move |tx: &mut Tx| {
                        add_account(tx, id, &format!("{id}@x")).await?;
                        let seen = "SELECT COUNT(*) AS many FROM account WHERE id = $1";
                        tx.query_one(seen, params![id], |row| row.get::<i64>("many")).await
                    };
                    if id % 2 == 0 { db.rehearse(change).await } else { db.write(change).await }
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), 1, "each sees its own change");
        }
        let kept: Vec<String> = (0..60).skip(1).step_by(2).map(|id| format!("{id}@x")).collect();
        assert_eq!(addresses(&db).await, kept);
        let refused = db.rehearse(async |tx| add_account(tx, 7, "1@x").await).await;
        assert!(matches!(refused, Err(Error::Unique(_))), "{refused:?}");
    }

    async fn a_rehearsal_meets_the_errors_of_what_nobody_waited_for(db: Db) {
        with_organization(&db).await;
        let taken = db.rehearse(async |tx| {
            tx.send("INSERT INTO organization (id, name) VALUES (1, 'again')", params![])
        });
        let taken = taken.await;
        assert!(matches!(taken, Err(Error::Unique(_))), "{taken:?}");
        let nobody = db.rehearse(async |tx| {
            tx.send_one("UPDATE organization SET name = 'x' WHERE id = 99", params![])
        });
        assert_eq!(nobody.await.unwrap_err().to_string(), Error::Stale.to_string());
        let later = db.rehearse(async |tx| {
            tx.send("INSERT INTO organization (id, name) VALUES (2, 'two')", params![])?;
            tx.send_query("INSERT INTO outbox (due) VALUES (1) RETURNING id", params![], |row| {
                row.get::<i64>("id")
            })
        });
        assert!(later.await.unwrap().get().is_some(), "it was done, and undone");
        let many = async |sql: &'static str| {
            let mut tx = db.read().await.unwrap();
            tx.query_one(sql, params![], |row| row.get::<i64>("many")).await.unwrap()
        };
        assert_eq!(many("SELECT COUNT(*) AS many FROM organization").await, 1);
        assert_eq!(many("SELECT COUNT(*) AS many FROM outbox").await, 0);
    }

    async fn a_failed_commit_is_told_and_leaves_nothing(db: Db) {
        let deferred = Step { number: 2, name: "deferred", sql: "
                CREATE TABLE child (id {ID}, parent BIGINT NOT NULL REFERENCES organization (id) DEFERRABLE INITIALLY DEFERRED);
            " };
        migrate(&db, &[STEPS[0], deferred], 0).await.unwrap();
        let outcome = db
            .write(async |tx| {
                tx.execute_one("INSERT INTO child (id, parent) VALUES (1, 77)", params![]).await
            })
            .await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        with_organization(&db).await;
        db.write(async |tx| tx.execute_one("INSERT INTO child (id, parent) VALUES (1, 1)", params![]).await)
            .await
            .unwrap();
        let lines = schema(&db).await.unwrap();
        assert!(
            lines.contains(&"foreign key child (parent) REFERENCES organization(id) DEFERRABLE".to_owned()),
            "{lines:#?}"
        );
    }

    async fn an_abandoned_change_happens_wholly_or_not_at_all(test: TestDb) {
        // One connection: the next change gets the one that was abandoned.
        let db = Db::open(&test.url, &Options { pool_size: 1, ..options() }).unwrap();
        with_organization(&db).await;
        for id in 0..20 {
            let task = {
                let db = db.clone();
                tokio::spawn(async move {
                    db.write(async move |tx| {
                        add_account(tx, 2 * id, &format!("first{id}@x")).await?;
                        add_account(tx, 2 * id + 1, &format!("second{id}@x")).await
                    })
                    .await
                })
            };
            tokio::time::sleep(Duration::from_micros(300 * id as u64)).await;
            task.abort();
            let _ = task.await;
        }
        db.write(async |tx| add_account(tx, 1000, "last@x").await).await.unwrap();
        let all = addresses(&db).await;
        assert!(all.contains(&"last@x".to_owned()));
        for id in 0..20 {
            assert_eq!(
                all.contains(&format!("first{id}@x")),
                all.contains(&format!("second{id}@x")),
                "{all:?}"
            );
        }
    }

    async fn many_workers_claim_each_job_once(db: Db) {
        db.write(async |tx| {
            for _ in 0..100 {
                tx.execute_one("INSERT INTO outbox (due) VALUES (0)", params![]).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
        let workers: Vec<_> = (0..6).map(|_| { let db = db.clone(); tokio::spawn(async move {
                let mut mine = Vec::new();
                while let Some(id) = db.write(async |tx| {
                    tx.query_opt(
                        "UPDATE outbox SET due = $2, tries = tries + 1
                         WHERE id = (SELECT id FROM outbox WHERE due <= $1 ORDER BY due, id LIMIT 1) AND due <= $1
                         RETURNING id",
                        params![10, 1000],
                        |row| row.get::<i64>("id"),
                    ).await
                }).await? { mine.push(id) }
                Ok::<_, Error>(mine)
            }) }).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap().unwrap())
        }
        all.sort_unstable();
        assert_eq!(all, (1..=100).collect::<Vec<i64>>());
    }

    async fn two_admins_cannot_disable_each_other(db: Db) {
        async fn disable(db: &Db, organization: i64, target: i64) -> Result<()> {
            db.write(async move |tx| {
                    tx.execute_one("UPDATE account SET disabled = TRUE WHERE id = $1", params![target]).await?;
                    let left = tx.query_one(
                        "SELECT COUNT(*) AS left_over FROM account WHERE organization = $1 AND admin AND NOT disabled",
                        params![organization],
                        |row| row.get::<i64>("left_over"),
                    ).await?;
                    if left == 0 { Err(Error::Forbidden("the last one".to_owned())) } else { Ok(()) }
                }).await
        }
        for organization in 1..=20 {
            let (one, two) = (organization * 10, organization * 10 + 1);
            db.write(async move |tx| {
                add_organization(tx, organization).await?;
                for id in [one, two] {
                    tx.execute_one(
                        "INSERT INTO account (id, organization, address, admin) VALUES ($1, $2, $3, TRUE)",
                        params![id, organization, &format!("{id}@x")],
                    )
                    .await?;
                }
                Ok(())
            })
            .await
            .unwrap();
            let outcomes = tokio::join!(disable(&db, organization, one), disable(&db, organization, two));
            assert!(
                matches!(outcomes, (Ok(()), Err(Error::Forbidden(_))) | (Err(Error::Forbidden(_)), Ok(()))),
                "{organization}: {outcomes:?}"
            );
        }
    }

    async fn concurrent_changes_of_one_row_all_count(db: Db) {
        with_organization(&db).await;
        db.write(async |tx| add_account(tx, 1, "a@x").await).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        db.write(async |tx| {
                            let version = tx
                                .query_one("SELECT version FROM account WHERE id = 1", params![], |row| {
                                    row.get::<i64>("version")
                                })
                                .await?;
                            tx.execute_one(
                                "UPDATE account SET version = version + 1 WHERE id = 1 AND version = $1",
                                params![version],
                            )
                            .await
                        })
                        .await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap()
        }
        let mut tx = db.read().await.unwrap();
        let version = tx
            .query_one("SELECT version FROM account", params![], |row| row.get::<i64>("version"))
            .await
            .unwrap();
        assert_eq!(version, 160);
    }

    async fn a_reader_cannot_write(db: Db) {
        let mut reader = db.read().await.unwrap();
        let outcome = reader.execute("INSERT INTO organization (id, name) VALUES (1, 'a')", params![]).await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        let mut snapshot = db.snapshot().await.unwrap();
        let outcome = snapshot
            .query_one("INSERT INTO organization (id, name) VALUES (1, 'a') RETURNING id", params![], |row| {
                row.get::<i64>("id")
            })
            .await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        drop((reader, snapshot));
        with_organization(&db).await;
    }

    async fn a_snapshot_stays_at_its_moment_and_a_reader_moves_on(db: Db) {
        with_organization(&db).await;
        let mut reader = db.read().await.unwrap();
        let mut snapshot = db.snapshot().await.unwrap();
        async fn count(tx: &mut Tx) -> i64 {
            tx.query_one("SELECT COUNT(*) AS number FROM account", params![], |row| row.get("number"))
                .await
                .unwrap()
        }
        assert_eq!((count(&mut reader).await, count(&mut snapshot).await), (0, 0));
        db.write(async |tx| add_account(tx, 1, "a@x").await).await.unwrap();
        assert_eq!((count(&mut reader).await, count(&mut snapshot).await), (1, 0));
        drop(snapshot);
        assert_eq!(count(&mut db.snapshot().await.unwrap()).await, 1);
    }

    async fn a_change_may_hold_the_last_handle(test: TestDb) {
        let db = Db::open(&test.url, &options()).unwrap();
        let inside = db.clone();
        let task = tokio::spawn(async move {
            let outcome = db
                .write(async move |tx| {
                    let _ = &inside;
                    add_organization(tx, 5).await
                })
                .await;
            drop(db);
            outcome
        });
        task.await.unwrap().unwrap();
    }

    async fn a_closed_database_refuses_at_once(db: Db) {
        with_organization(&db).await;
        db.ping().await.unwrap();
        db.close().await;
        assert_eq!(why(db.write(async |_| Ok(())).await), "the database is closed");
        assert_eq!(why(db.read().await.map(|_| ())), "the database is closed");
        assert_eq!(why(db.ping().await), "the database is closed");
        db.close().await;
    }

    async fn the_engine_tells_its_promises(db: Db) {
        let told = durability(&db).await.unwrap();
        let says = |name: &str, value: &str| told.contains(&(name.to_owned(), value.to_owned()));
        match db.engine() {
            EngineKind::Sqlite => {
                assert!(says("journal_mode", "wal") && says("synchronous", "full"), "{told:?}")
            }
            EngineKind::Postgres => {
                assert!(says("fsync", "on") && says("synchronous_commit", "on"), "{told:?}")
            }
        }
    }
}

// Migrations -------------------------------------------------------------------------------

const SECOND: Step =
    Step { number: 2, name: "second", sql: "ALTER TABLE organization ADD COLUMN city TEXT;\n" };

both_engines! {
    with STEPS;

    async fn migrating_twice_does_nothing_more(db: Db) {
        assert_eq!(pending(&db, &[STEPS[0], SECOND]).await.unwrap(), [SECOND]);
        let first = migrate(&db, &[STEPS[0], SECOND], 4711).await.unwrap();
        assert_eq!(first, Applied { from: 1, to: 2, steps: vec![SECOND] });
        let second = migrate(&db, &[STEPS[0], SECOND], 4712).await.unwrap();
        assert_eq!(second, Applied { from: 2, to: 2, steps: vec![] });
        assert_eq!(pending(&db, &[STEPS[0], SECOND]).await.unwrap(), []);
        let mut tx = db.read().await.unwrap();
        let applied_at = tx
            .query_one("SELECT applied_at FROM migration WHERE number = 2", params![], |row| {
                row.get::<i64>("applied_at")
            })
            .await
            .unwrap();
        assert_eq!(applied_at, 4711);
    }

    async fn a_step_that_fails_leaves_nothing_of_any_step(db: Db) {
        let broken = Step {
            number: 3,
            name: "broken",
            sql: "CREATE TABLE fine (id {ID});\nCREATE TABEL wrong (id {ID});\n",
        };
        let outcome = migrate(&db, &[STEPS[0], SECOND, broken], 0).await;
        assert!(
            matches!(&outcome, Err(Error::Internal(cause)) if cause.to_string().contains("migration 3 (broken)")),
            "{outcome:?}"
        );
        assert_eq!(pending(&db, &[STEPS[0], SECOND]).await.unwrap(), [SECOND]);
        let lines = schema(&db).await.unwrap();
        assert!(!lines.iter().any(|line| line.contains("fine") || line.contains("city")), "{lines:#?}");
    }

    async fn a_changed_step_is_refused(db: Db) {
        let changed = Step { sql: "CREATE TABLE other (id {ID});\n", ..STEPS[0] };
        for outcome in
            [migrate(&db, &[changed], 0).await.map(|_| ()), pending(&db, &[changed]).await.map(|_| ())]
        {
            assert_eq!(
                outcome.unwrap_err().to_string(),
                "migration 1 (first) was changed after it had been applied to this database"
            );
        }
    }

    async fn a_newer_database_is_refused(db: Db) {
        migrate(&db, &[STEPS[0], SECOND], 0).await.unwrap();
        assert_eq!(newest_known(STEPS), 1);
        assert_eq!(
            migrate(&db, STEPS, 0).await.unwrap_err().to_string(),
            "this database was migrated by a newer Mailward (schema 2, this binary knows 1); use the newer binary"
        );
    }

    async fn a_step_that_comes_too_late_is_refused(db: Db) {
        let third = Step { number: 3, ..SECOND };
        migrate(&db, &[STEPS[0], third], 0).await.unwrap();
        let between = Step { number: 2, name: "between", sql: "CREATE TABLE late (id {ID});\n" };
        let outcome = migrate(&db, &[STEPS[0], between, third], 0).await;
        assert!(outcome.unwrap_err().to_string().contains("is older than what this database already has"));
    }
}

both_engines! {
    with &[];

    async fn two_nodes_may_migrate_at_once(test: TestDb) {
        let other = Db::open(&test.url, &options()).unwrap();
        let (one, two) = tokio::join!(migrate(&test.db, STEPS, 1), migrate(&other, STEPS, 2));
        assert_eq!(one.unwrap().steps.len() + two.unwrap().steps.len(), 1);
    }
}

#[test]
fn both_engines_have_the_same_tables() {
    let (mut sqlite, mut postgres) = (Vec::new(), Vec::new());
    on_sqlite(STEPS, async |test| sqlite = schema(&test.db).await.unwrap());
    on_postgres(STEPS, async |test| postgres = schema(&test.db).await.unwrap());
    assert_eq!(sqlite, postgres);
    for line in [
        "column account.admin boolean not null default false",
        "column account.secret bytea",
        "column outbox.id bigint not null numbered",
        "foreign key account (organization) REFERENCES organization(id) ON DELETE CASCADE",
        "index account account_by_version (organization, version)",
        "primary key account account_pkey (id)",
        "table outbox",
        "unique account account_secret_key (secret) partial",
        "view login.version",
    ] {
        assert!(sqlite.contains(&line.to_owned()), "{line} is not among {sqlite:#?}");
    }
}

// Opening ----------------------------------------------------------------------------------

#[test]
fn an_unusable_url_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_database = folder.path().join("letter.txt");
    std::fs::write(&not_a_database, "dear friend, this is a letter and not a database\n".repeat(20)).unwrap();
    let letter = format!("sqlite:{}", not_a_database.display());
    let orphan = format!("sqlite:{}", folder.path().join("nowhere/mailward.db").display());
    for (url, expected) in [
        ("mysql://localhost/x", "must begin with sqlite: or postgres://"),
        ("sqlite:", "wants the path of a file"),
        ("sqlite::memory:", "wants the path of a file"),
        ("sqlite:/tmp/x.db?mode=ro", "without options"),
        (&orphan, "cannot create"),
        (&letter, "file is not a database"),
        ("postgres://localhost/x?sslmode=sometimes", "sslmode"),
        ("postgres://localhost/x?colour=red", "colour"),
        ("postgres:///x", "names no host"),
        ("postgres://a:1,b:2,c/x?port=4,5", "differ"),
    ] {
        match Db::open(url, &Options::default()) {
            Err(Error::Malformed(Malformed::BadValue { name, why })) => {
                assert_eq!(name, "database.url");
                assert!(why.contains(expected), "{url}: {why}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    assert!(
        Db::open("postgresql://u:p@one:1,two:2/x?target_session_attrs=read-write", &Options::default())
            .is_ok()
    );
}

#[test]
fn a_missing_certificate_file_is_told() {
    let options = Options { tls_root_cert: Some("/nowhere/ca.pem".into()), ..Options::default() };
    let told = Db::open("postgres://localhost/x", &options).unwrap_err().to_string();
    assert!(told.contains("/nowhere/ca.pem"), "{told}");
}

// SQLite alone -----------------------------------------------------------------------------

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_files_of_sqlite_are_private() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        for name in ["mailward.db", "mailward.db-wal", "mailward.db-shm"] {
            assert_eq!(mode(&test.folder.join(name)), 0o600, "{name}");
        }
    });
}

#[test]
fn a_change_that_waits_for_something_else_is_refused_on_sqlite() {
    on_sqlite(STEPS, async |test| {
        let outcome = test
            .db
            .write(async |tx| {
                add_organization(tx, 1).await?;
                tokio::task::yield_now().await;
                Ok(())
            })
            .await;
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        with_organization(&test.db).await;
    });
}

/// A change that keeps the writer waiting until the sender is dropped; not by a message, since it may be run again with
/// others.
fn held_up(db: &Db) -> (mpsc::Sender<()>, JoinHandle<Result<bool>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (db, wait) = (db.clone(), Mutex::new(wait));
    let change = async move |_: &mut Tx| Ok(wait.lock().unwrap().recv().is_ok());
    (go, tokio::spawn(async move { db.write(change).await }))
}

#[test]
fn waiting_changes_share_one_commit() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        // SQLite's data version, asked on another connection, moves once for each commit seen.
        let commits_before = commits(&test).await;
        let (go, blocker) = held_up(&test.db);
        let tasks: Vec<_> = (0..50)
            .map(|id| {
                let db = test.db.clone();
                tokio::spawn(async move {
                    db.write(async move |tx| add_account(tx, id, &id.to_string()).await).await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(go);
        blocker.await.unwrap().unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(commits(&test).await - commits_before, 1);
    });
}

/// How many commits the write-ahead log holds: frames that carry a database size (bytes 4..8).
async fn commits(test: &TestDb) -> usize {
    let log = std::fs::read(test.folder.join("mailward.db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let salt = &log[16..24];
    log[32..].chunks_exact(24 + page).filter(|frame| &frame[8..16] == salt && frame[4..8] != [0; 4]).count()
}

#[test]
fn of_changes_that_share_a_commit_each_refused_one_is_undone_alone() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        let (go, blocker) = held_up(&test.db);
        let mut tasks = Vec::new();
        for id in 0..12_i64 {
            let db = test.db.clone();
            let task = tokio::spawn(async move {
                let insert = async move |tx: &mut Tx| add_account(tx, id, &id.to_string()).await;
                let refused = || Error::Refused("for the test".to_owned());
                match id % 4 {
                    // Refused after it has written, refused before, undone, kept.
                    0 => db.write(async move |tx| insert(tx).await.and(Err(refused()))).await,
                    1 => db.write(async move |_| Err(refused())).await,
                    2 => db.rehearse(insert).await,
                    _ => db.write(insert).await,
                }
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
            tasks.push((id, task));
        }
        drop(go);
        blocker.await.unwrap().unwrap();
        for (id, task) in tasks {
            let outcome = task.await.unwrap();
            assert_eq!(outcome.is_ok(), id % 4 >= 2, "{id}: {outcome:?}");
        }
        let mut tx = test.db.read().await.unwrap();
        let sql = "SELECT id FROM account ORDER BY id";
        let kept = tx.query_all(sql, params![], |row| row.get::<i64>("id")).await.unwrap();
        assert_eq!(kept, [3, 7, 11]);
    });
}

#[test]
fn a_refused_change_of_the_schema_leaves_no_trace() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        test.db.write(async |tx| tx.hold().await).await.unwrap();
        let refused = test.db.write(async |tx| {
            tx.release().await?;
            Err::<(), _>(Error::Refused("before anything was counted".to_owned()))
        });
        refused.await.unwrap_err();
        let held = test.db.write(async |tx| add_account(tx, 1, "one").await).await;
        assert!(matches!(held, Err(Error::ReadOnly)), "{held:?}");
        test.db.write(async |tx| tx.release().await).await.unwrap();
        test.db.write(async |tx| add_account(tx, 1, "one").await).await.unwrap();
    });
}

#[test]
fn too_many_waiting_changes_are_refused() {
    on_sqlite(STEPS, async |test| {
        let (go, blocker) = held_up(&test.db);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting: Vec<_> = (0..4200)
            .map(|_| {
                let db = test.db.clone();
                tokio::spawn(async move { db.write(async |_| Ok(())).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(go);
        blocker.await.unwrap().unwrap();
        let mut refused = 0;
        for task in waiting {
            match task.await.unwrap() {
                Ok(()) => {}
                outcome => {
                    assert_eq!(why(outcome), "too many changes are waiting");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 4200 - 4096);
    });
}

#[test]
fn a_full_disk_is_told_and_harms_nobody_else() {
    on_sqlite(STEPS, async |test| {
        let db = &test.db;
        with_organization(db).await;
        let limit = |sql: &'static str| async move {
            db.write(async move |tx| {
                tx.query_one(sql, params![], |row| row.get::<i64>("max_page_count")).await
            })
            .await
        };
        limit("PRAGMA max_page_count = 40").await.unwrap();
        let big = "x".repeat(100_000);
        let full = db.write(async move |tx| add_account(tx, 1, &big).await);
        let small = db.write(async |tx| add_account(tx, 2, "small@x").await);
        let (full, small) = tokio::join!(full, small);
        assert_eq!(why(full), "the disk is full");
        // In the same batch the neighbour may be taken along, but then it is told.
        if small.is_err() {
            assert_eq!(why(small), "the disk is full");
            db.write(async |tx| add_account(tx, 2, "small@x").await).await.unwrap();
        }
        limit("PRAGMA max_page_count = 1000000").await.unwrap();
        db.write(async |tx| add_account(tx, 3, &"y".repeat(100_000)).await).await.unwrap();
        assert_eq!(addresses(db).await.len(), 2);
    });
}

#[test]
fn two_programs_may_write_to_one_file() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        let other = Db::open(&test.url, &options()).unwrap();
        let tasks: Vec<_> = (0..200)
            .map(|id| {
                let db = if id % 2 == 0 { test.db.clone() } else { other.clone() };
                tokio::spawn(async move {
                    db.write(async move |tx| add_account(tx, id, &id.to_string()).await).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(addresses(&test.db).await.len(), 200);
    });
}

#[test]
fn a_kept_answer_is_read_again_after_every_change_and_only_then() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        let secret = Fingerprint::from_bytes([7; 32]);
        let add = async |db: &Db, secret: Fingerprint, address: &'static str| {
            let sql = "INSERT INTO account (id, organization, address, secret) VALUES ($1, 1, $2, $3)";
            let id = i64::from(secret.as_bytes()[0]);
            db.write(async move |tx| tx.execute_one(sql, params![id, address, &secret]).await).await.unwrap();
        };
        // In a transaction of its own, and beside others on one moment.
        let looked = AtomicU32::new(0);
        let address = async |snapshot: bool, secret: Fingerprint| {
            let mut tx = if snapshot { test.db.look().await.unwrap() } else { test.db.read().await.unwrap() };
            tx.query_kept("SELECT address FROM account WHERE secret = $1", &secret, |row| {
                looked.fetch_add(1, Ordering::Relaxed);
                row.get::<String>("address")
            })
            .await
            .unwrap()
        };
        for snapshot in [true, false] {
            assert_eq!(address(snapshot, secret).await, None, "nobody is kept as nobody");
        }
        add(&test.db, secret, "a@x").await;
        for snapshot in [true, false, true] {
            assert_eq!(address(snapshot, secret).await.as_deref(), Some("a@x"));
        }
        assert_eq!(looked.swap(0, Ordering::Relaxed), 1);
        // Another program counts as well, whatever it changed.
        let other = Db::open(&test.url, &options()).unwrap();
        for (number, db) in [(8, &test.db), (9, &other)] {
            add(db, Fingerprint::from_bytes([number; 32]), if number == 8 { "b@x" } else { "c@x" }).await;
            for _ in 0..3 {
                assert_eq!(address(true, secret).await.as_deref(), Some("a@x"));
            }
            assert_eq!(looked.swap(0, Ordering::Relaxed), 1);
        }
        let gone = "DELETE FROM account WHERE secret = $1";
        other.write(async move |tx| tx.execute_one(gone, params![&secret]).await).await.unwrap();
        for snapshot in [true, false] {
            assert_eq!(address(snapshot, secret).await, None);
        }
        assert_eq!(address(true, Fingerprint::from_bytes([9; 32])).await.as_deref(), Some("c@x"));
    });
}

#[test]
fn a_backup_of_a_busy_database_shows_one_moment() {
    on_sqlite(STEPS, async |test| {
        with_organization(&test.db).await;
        let written = Arc::new(AtomicU32::new(0));
        let writer = {
            let (db, written) = (test.db.clone(), written.clone());
            tokio::spawn(async move {
                // Always two together: a copy with an odd number was torn.
                for id in 0.. {
                    let outcome = db
                        .write(async move |tx| {
                            add_account(tx, 2 * id, &format!("{id}a")).await?;
                            add_account(tx, 2 * id + 1, &format!("{id}b")).await
                        })
                        .await;
                    outcome.unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        while written.load(Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
        for number in 0..5 {
            let before = 2 * written.load(Ordering::Relaxed) as usize;
            let target = test.folder.join(format!("backup{number}.db"));
            test.db.backup_to(&target).await.unwrap();
            assert_eq!(mode(&target), 0o600);
            let copy = Db::open(&format!("sqlite:{}", target.display()), &options()).unwrap();
            let found = addresses(&copy).await.len();
            assert!(found >= before && found.is_multiple_of(2), "{found} of at least {before}");
            let mut tx = copy.read().await.unwrap();
            let sound =
                tx.query_one("PRAGMA integrity_check", params![], |row| row.get::<String>("integrity_check"));
            assert_eq!(sound.await.unwrap(), "ok");
        }
        let again = test.db.backup_to(&test.folder.join("backup0.db")).await;
        assert!(matches!(&again, Err(Error::Refused(text)) if text.contains("backup0.db")), "{again:?}");
        writer.abort();
    });
}

// PostgreSQL alone -------------------------------------------------------------------------

/// Ends every other connection of this database, as a restart of the server would.
async fn end_connections(test: &TestDb) {
    let other = Db::open(&test.url, &options()).unwrap();
    let mut tx = other.read().await.unwrap();
    tx.query_all(
        "SELECT pg_terminate_backend(pid, 5000) AS done FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
        params![],
        |row| row.get::<bool>("done"),
    )
    .await
    .unwrap();
}

#[test]
fn postgresql_cannot_be_backed_up_to_a_file() {
    on_postgres(STEPS, async |test| {
        let outcome = test.db.backup_to(&test.folder.join("copy")).await;
        assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
    });
}

#[test]
fn lost_connections_are_replaced_without_an_error() {
    on_postgres(STEPS, async |test| {
        with_organization(&test.db).await;
        for round in 0..5 {
            let mut held = test.db.read().await.unwrap();
            held.query_all("SELECT id FROM account", params![], |_| Ok(())).await.unwrap();
            end_connections(&test).await;
            let found = held.query_all("SELECT id FROM account", params![], |_| Ok(())).await.unwrap();
            assert_eq!(found.len(), round);
            drop(held);
            end_connections(&test).await;
            let id = round as i64;
            test.db.write(async move |tx| add_account(tx, id, &id.to_string()).await).await.unwrap();
        }
    });
}

#[test]
fn the_commit_does_not_overtake_what_could_not_be_sent() {
    on_postgres(STEPS, async |test| {
        let unfit = test
            .db
            .write(async |tx| {
                tx.send("INSERT INTO organization (id, name) VALUES (1, 'fits')", params![])?;
                // The driver refuses the value, so the server never hears of the statement.
                tx.send("INSERT INTO organization (id, name) VALUES ($1, 'does not')", params![true])?;
                tx.send("INSERT INTO organization (id, name) VALUES (3, 'fits')", params![])
            })
            .await;
        assert!(
            matches!(&unfit, Err(Error::Internal(cause)) if cause.to_string().contains("a boolean")),
            "{unfit:?}"
        );
        let mut tx = test.db.read().await.unwrap();
        let left = tx.query_all("SELECT id FROM organization", params![], |_| Ok(())).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_change_whose_connection_breaks_before_commit_runs_again() {
    on_postgres(STEPS, async |test| {
        with_organization(&test.db).await;
        let runs = Arc::new(AtomicU32::new(0));
        let (counted, inner) = (runs.clone(), test.clone());
        test.db
            .write(async move |tx| {
                add_account(tx, 1, "a@x").await?;
                if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                    end_connections(&inner).await;
                }
                add_account(tx, 2, "b@x").await
            })
            .await
            .unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(addresses(&test.db).await, ["a@x", "b@x"]);
    });
}

#[test]
fn a_connection_lost_during_commit_leaves_the_outcome_open() {
    const FATAL: &str = "
CREATE FUNCTION end_me() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_me();
";
    on_postgres(STEPS, async |test| {
        with_organization(&test.db).await;
        migrate(&test.db, &[STEPS[0], Step { number: 2, name: "fatal", sql: FATAL }], 0).await.unwrap();
        // The answer comes at once in some of them, before the driver has said that COMMIT is out.
        for id in 0..100 {
            let runs = Arc::new(AtomicU32::new(0));
            let counted = runs.clone();
            let outcome = test
                .db
                .write(async move |tx| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    add_account(tx, id, "a@x").await
                })
                .await;
            assert!(matches!(outcome, Err(Error::Unconfirmed { change: None })), "{outcome:?}");
            assert_eq!(runs.load(Ordering::Relaxed), 1);
        }
        assert_eq!(addresses(&test.db).await, [""; 0]);
    });
}

#[test]
fn an_outdated_plan_is_made_anew() {
    const CHANGE: Step = Step {
        number: 2,
        name: "wider",
        sql: "ALTER TABLE account ALTER COLUMN nickname TYPE VARCHAR(100);\n",
    };
    on_postgres(STEPS, async |test| {
        async fn insert(tx: &mut Tx, id: i64) -> Result<Option<String>> {
            tx.query_one(
                "INSERT INTO account (id, organization, address, nickname) VALUES ($1, 1, $2, $2) RETURNING nickname",
                params![id, &id.to_string()],
                |row| row.get("nickname"),
            )
            .await
        }
        async fn nicknames(tx: &mut Tx) -> Result<Vec<Option<String>>> {
            tx.query_all("SELECT nickname FROM account ORDER BY id", params![], |row| row.get("nickname"))
                .await
        }
        with_organization(&test.db).await;
        test.db.write(async |tx| insert(tx, 1).await).await.unwrap();
        assert_eq!(nicknames(&mut test.db.read().await.unwrap()).await.unwrap().len(), 1);
        let other = Db::open(&test.url, &options()).unwrap();
        migrate(&other, &[STEPS[0], CHANGE], 0).await.unwrap();
        assert_eq!(nicknames(&mut test.db.read().await.unwrap()).await.unwrap().len(), 1);
        migrate(
            &other,
            &[
                STEPS[0],
                CHANGE,
                Step { number: 3, sql: "ALTER TABLE account ALTER COLUMN nickname TYPE TEXT;\n", ..CHANGE },
            ],
            0,
        )
        .await
        .unwrap();
        test.db.write(async |tx| insert(tx, 2).await).await.unwrap();
        assert_eq!(nicknames(&mut test.db.read().await.unwrap()).await.unwrap().len(), 2);
    });
}

#[test]
fn a_busy_pool_is_told() {
    on_postgres(STEPS, async |test| {
        let options = Options { pool_size: 1, wait_timeout: Duration::from_millis(200), ..options() };
        let db = Db::open(&test.url, &options).unwrap();
        let held = db.read().await.unwrap();
        assert_eq!(why(db.write(async |_| Ok(())).await), "every connection to the database is busy");
        drop(held);
        with_organization(&db).await;
    });
}

#[test]
fn a_slow_statement_is_given_up_and_its_connection_replaced() {
    on_postgres(STEPS, async |test| {
        let options = Options { pool_size: 1, statement_timeout: Duration::from_millis(300), ..options() };
        let db = Db::open(&test.url, &options).unwrap();
        let slow = db.write(async |tx| {
            add_organization(tx, 1).await?;
            tx.query_all("SELECT CAST(pg_sleep(30) AS TEXT) AS slept", params![], |_| Ok(())).await
        });
        // We or the server itself, whoever looks at the clock first.
        let told = why(slow.await);
        let either = ["the database did not answer in time", "the database gave the statement up"];
        assert!(either.contains(&told), "{told}");
        db.write(async |tx| add_organization(tx, 2).await).await.unwrap();
        let mut tx = db.read().await.unwrap();
        assert_eq!(
            tx.query_all("SELECT id FROM organization", params![], |row| row.get::<i64>("id")).await.unwrap(),
            [2]
        );
    });
}

#[test]
fn a_server_that_is_away_or_refuses_us_is_told() {
    on_postgres(STEPS, async |test| {
        for (url, expected) in [
            ("postgres://postgres@127.0.0.1:1/x".to_owned(), "the database cannot be reached"),
            (postgres::url_of("no_such_database"), "the server has no database of that name"),
            (
                test.url.replace("postgres@", "nobody_of_that_name@"),
                "the database refuses our user or password",
            ),
        ] {
            let db = Db::open(&url, &options()).unwrap();
            assert_eq!(why(db.ping().await), expected);
            assert_eq!(why(db.write(async |_| Ok(())).await), expected);
        }
    });
}

#[test]
fn a_frozen_host_does_not_hide_a_living_one() {
    on_postgres(STEPS, async |test| {
        // Accepts connections (into its queue) and never says a word.
        let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = frozen.local_addr().unwrap().port();
        let url = test.url.replace("postgres@", &format!("postgres@127.0.0.1:{port},"));
        let db =
            Db::open(&url, &Options { connect_timeout: Duration::from_millis(500), ..options() }).unwrap();
        with_organization(&db).await;
        assert_eq!(addresses(&db).await, [""; 0]);
    });
}

#[test]
fn the_connection_to_a_server_is_encrypted_and_its_name_checked_when_asked_for() {
    // A free port, given back for the server to take.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = postgres::Server::start(port, |folder| {
        let mut settings = postgres::with_tls(folder);
        settings.push("listen_addresses=127.0.0.1,127.0.0.2".to_owned());
        settings
    });
    runtime().block_on(async {
        let administrator = Db::open(&server.url, &options()).unwrap();
        administrator
            .write(async |tx| tx.execute("CREATE USER mailward PASSWORD 'correct horse'", params![]).await)
            .await
            .unwrap();

        let trusting =
            Options { tls_root_cert: Some(postgres::tls_folder().join("server.crt")), ..options() };
        let encrypted = async |user: &str, host: &str, more: &str, options: &Options| {
            let db = Db::open(&format!("postgres://{user}@{host}:{port}/postgres{more}"), options)?;
            let own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            db.read().await?.query_one(own, params![], |row| row.get::<bool>("ssl")).await
        };
        let (us, here) = ("mailward:correct%20horse", "127.0.0.1");
        let bound = "?sslmode=verify-full&channel_binding=require";
        assert!(encrypted(us, here, bound, &trusting).await.unwrap());
        assert!(encrypted(us, here, "", &trusting).await.unwrap());
        assert!(!encrypted(us, here, "", &options()).await.unwrap());

        let unreachable = "the database cannot be reached";
        assert_eq!(why(encrypted(us, "127.0.0.2", "", &trusting).await), unreachable, "a name not certified");
        let unknown = encrypted(us, here, "?sslmode=require", &options()).await;
        assert_eq!(why(unknown), unreachable, "an authority not known");
        let mistyped = encrypted("mailward:wrong", here, "", &trusting).await;
        assert_eq!(why(mistyped), "the database refuses our user or password");
    });
}
