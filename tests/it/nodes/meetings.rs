//! Changes that run at the same time and have nothing to do with each other do not get in each
//! other's way, although PostgreSQL keeps them serializable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailward::domain::actor::Role;
use mailward::store::engine::{Db, Options};
use mailward::store::migrations::STEPS;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::databases::{on_postgres, options};
use crate::support::postgres;
use crate::support::world::{self, Someone, World};

const CALLERS: usize = 32;
/// Each, and for so long at least.
const CALLS: usize = 20;
const LONG: Duration = Duration::from_secs(4);

/// Every caller disables and enables an account of its own; the answers that were not 200.
async fn refusals(worlds: &[Arc<World>], by: &Someone, people: &[Someone]) -> Vec<String> {
    let mut callers = JoinSet::new();
    for (number, person) in people.iter().cloned().enumerate() {
        let (world, by) = (Arc::clone(&worlds[number % worlds.len()]), by.clone());
        callers.spawn(async move {
            let mut refused = Vec::new();
            let modes = match number % 2 {
                0 => ["disableMailAccount", "enableMailAccount"],
                _ => ["disableUser", "enableUser"],
            };
            let (start, mut call) = (Instant::now(), 0);
            while call < CALLS || start.elapsed() < LONG {
                let answer = world.mode(&by, &person, modes[call % 2], json!({})).await;
                call += 1;
                if answer.status != 200 {
                    refused.push(format!("{} {}", answer.status, answer.text));
                }
            }
            refused
        });
    }
    callers.join_all().await.concat()
}

/// As the server itself does within a minute of use: without it, it takes one index of a small table for
/// as good as another, and reads everybody's rows.
async fn know_the_tables(url: &str) {
    postgres::connect(url).await.batch_execute("ANALYZE").await.expect("statistics");
}

async fn people(world: &World) -> Vec<Someone> {
    let mut people = Vec::new();
    for number in 0..CALLERS {
        people.push(world.someone(&format!("user{number}"), Role::Member).await);
    }
    people
}

#[test]
fn thirty_two_callers_who_switch_different_accounts_are_never_sent_away() {
    on_postgres(STEPS, async |test| {
        let world = Arc::new(World::start(test.db.clone()).await);
        let people = people(&world).await;
        know_the_tables(&test.url).await;
        let refused = refusals(std::slice::from_ref(&world), &world.admin, &people).await;
        assert!(refused.is_empty(), "{}: {refused:#?}", refused.len());
    });
}

#[test]
fn three_nodes_change_different_accounts_at_once() {
    on_postgres(STEPS, async |test| {
        let first = Arc::new(World::start(test.db.clone()).await);
        let people = people(&first).await;
        know_the_tables(&test.url).await;
        let mut worlds = vec![Arc::clone(&first)];
        for _ in 0..2 {
            let options = Options { pool_size: 8, wait_timeout: Duration::from_secs(20), ..options() };
            let db = Db::open(&test.url, &options).expect("the URL is good");
            worlds.push(Arc::new(first.beside(world::node(db, first.app.clock.clone()).await)));
        }
        let refused = refusals(&worlds, &first.admin, &people).await;
        assert!(refused.is_empty(), "{}: {refused:#?}", refused.len());
    });
}
