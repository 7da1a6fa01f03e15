//! What else a database can do to a node: it has no connection left, answers too slowly, ends and comes
//! back. Callers are told when to come again, and nobody has to start the node anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use mailward::store::engine::{Db, Options, migrate};
use mailward::store::migrations::STEPS;
use tokio::task::JoinSet;

use super::recovery::{disable, hasty, sent_again_soon};
use crate::support::databases::{on_postgres, options, runtime};
use crate::support::postgres::{self, Server, empty_on};
use crate::support::world::{Answer, World};

async fn look(world: &World) -> Answer {
    world.get(&world.admin.org_token, &world.path(&world.member)).await
}

async fn health(world: &World, what: &str) -> Answer {
    world.send("GET", &format!("/health/{what}"), &[], "").await
}

/// Whoever comes now is sent away, and the node itself is well.
async fn all_are_sent_away(world: &World) {
    sent_again_soon(&look(world).await);
    sent_again_soon(&disable(world).await);
    sent_again_soon(&health(world, "ready").await);
    health(world, "live").await.ok();
}

async fn all_are_served(world: &World) {
    look(world).await.ok();
    disable(world).await.ok();
    health(world, "ready").await.ok();
}

#[test]
fn when_every_connection_is_taken_callers_are_sent_away_until_one_is_free() {
    on_postgres(STEPS, async |test| {
        let few = Options { pool_size: 2, wait_timeout: Duration::from_millis(300), ..options() };
        let world = World::start(Db::open(&test.url, &few).expect("the URL is good")).await;
        let (one, two) = (world.app.db.read().await, world.app.db.read().await);
        let start = Instant::now();
        all_are_sent_away(&world).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        drop((one, two));
        all_are_served(&world).await;
    });
}

#[test]
fn a_database_that_is_too_slow_is_not_waited_for_and_left_with_nothing_to_do() {
    on_postgres(STEPS, async |test| {
        let world = Arc::new(World::start(Db::open(&test.url, &hasty()).expect("the URL is good")).await);
        disable(&world).await.ok();
        let slow = postgres::connect(&test.url).await;
        slow.batch_execute("BEGIN; LOCK TABLE person IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
        let start = Instant::now();
        let mut callers = JoinSet::new();
        for number in 0..12 {
            let world = Arc::clone(&world);
            callers.spawn(
                async move { if number % 2 == 0 { look(&world).await } else { disable(&world).await } },
            );
        }
        for answer in callers.join_all().await {
            sent_again_soon(&answer);
        }
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        assert_eq!(health(&world, "live").await.status, StatusCode::OK);
        // What was given up here is given up there: no process of the server waits for the lock for ever.
        let waiting = async || {
            let sql = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND database =
                           (SELECT oid FROM pg_database WHERE datname = current_database())";
            slow.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0)
        };
        while waiting().await > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "statements that were given up still wait");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slow.batch_execute("ROLLBACK").await.expect("the end of the lock");
        all_are_served(&world).await;
    });
}

#[test]
fn a_database_that_was_killed_and_started_again_is_served_from_without_a_new_start() {
    let mut server = Server::start(5443, |_| Vec::new());
    let database = empty_on(&server, "desk");
    runtime().block_on(async {
        let db = Db::open(&database.url, &hasty()).expect("the URL is good");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let world = World::start(db).await;
        all_are_served(&world).await;
        for _ in 0..2 {
            server.kill();
            let start = Instant::now();
            for _ in 0..3 {
                all_are_sent_away(&world).await;
            }
            assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
            server.go();
            all_are_served(&world).await;
        }
    });
}
