//! Look-up files that several processes write at the same time: the service, and commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mailward::app::mail::projector;
use mailward::app::organizations;
use mailward::app::random::Random;
use mailward::store;
use mailward::store::engine::Db;
use mailward::store::migrations::STEPS;
use mailward::store::projection::{Applied, Change, Projection, peek};
use rusqlite::Connection;

use crate::support::databases::{TestDb, on_sqlite};
use crate::support::world::{World, config, node, operator};

/// Long for a process that does not wait.
const A_WHILE: Duration = Duration::from_millis(400);

/// A service with look-up files, and the writer of another process.
async fn two_writers(test: &TestDb) -> (World, Projection) {
    let mut config = config();
    config.mail.auth_dir = Some(test.folder.join("auth"));
    config.mail.maps_dir = Some(test.folder.join("maps"));
    (config.mail.auth_group, config.mail.maps_group) = (String::new(), String::new());
    let mut options = projector::options(&config).expect("groups").expect("folders");
    let world = World::start_with(test.db.clone(), config).await;
    world.settle().await;
    options.instance = projector::instance(&test.db, &Random::System).await.expect("a name");
    (world, Projection::open(options).expect("the files can be opened"))
}

fn auth(test: &TestDb) -> PathBuf {
    test.folder.join("auth/auth.sqlite")
}

fn held(file: &Path) -> i64 {
    peek(file).expect("readable").0
}

async fn newest(db: &Db) -> i64 {
    store::outbox::newest(&mut db.read().await.expect("a connection")).await.expect("a position")
}

#[test]
fn a_walk_over_everybody_is_not_overtaken_by_another_process() {
    on_sqlite(STEPS, async |test| {
        let (world, mut other) = two_writers(&test).await;
        let (db, since) = (&test.db, held(&auth(&test)));
        // A command disables the organization. It has no files, so that its walk can be made here, step by step.
        let command = node(db.clone(), world.app.clock.clone()).await;
        organizations::switch(&command, &operator(), world.zoid, true).await.expect("disabled");
        let alone = other.alone().expect("a lock").expect("nobody else writes");
        let upto = newest(db).await;
        let mut snapshot = db.snapshot().await.expect("a snapshot");
        let states = store::mailboxes::page(&mut snapshot, world.zoid, 0, 100).await.expect("states");
        drop(snapshot);
        let mut parts = states.into_iter().map(|state| vec![Change::whole(state.account_id, Some(state))]);
        let first = parts.next().expect("somebody");
        assert_eq!(other.apply_part(since, upto, &first).expect("written"), Applied::Done);

        // Meanwhile the service enables it again, and would walk past the command.
        organizations::switch(&world.app, &operator(), world.zoid, false).await.expect("enabled");
        for part in parts {
            assert_eq!(other.apply_part(since, upto, &part).expect("written"), Applied::Done);
        }
        assert_eq!(other.apply(since, upto, &[], None).expect("written"), Applied::Done);
        drop(alone);

        world.app.projector.catch_up(db).await.expect("the worker's next turn");
        assert_eq!(held(&auth(&test)), newest(db).await);
        let shut = "SELECT COUNT(*) FROM account WHERE gate IS NOT NULL";
        let shut: i64 = Connection::open(auth(&test))
            .and_then(|logins| logins.query_row(shut, [], |row| row.get(0)))
            .expect("counted");
        assert_eq!(shut, 0, "what holds last is what the files say");
    });
}

#[test]
fn a_rebuild_keeps_others_out_and_ends_with_what_was_committed_meanwhile() {
    on_sqlite(STEPS, async |test| {
        let (world, other) = two_writers(&test).await;
        let app = world.app.clone();
        // Nobody can write, so the rebuild goes no further than to its snapshot.
        let stuck = Connection::open(auth(&test)).expect("the file opens");
        stuck.execute_batch("BEGIN IMMEDIATE").expect("locked");
        let rebuild = tokio::spawn(async move { app.projector.rebuild(&app.db).await });
        tokio::time::sleep(A_WHILE).await;
        assert!(other.alone().expect("a lock").is_none(), "whoever writes keeps others out");

        let command = node(test.db.clone(), world.app.clock.clone()).await;
        organizations::switch(&command, &operator(), world.zoid, true).await.expect("disabled");
        stuck.execute_batch("ROLLBACK").expect("unlocked");
        rebuild.await.expect("no panic").expect("rebuilt");
        assert_eq!(held(&auth(&test)), newest(&test.db).await);
        assert!(other.alone().expect("a lock").is_some(), "it is given back");
    });
}
