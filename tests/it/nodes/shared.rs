//! There is no truth of one node alone: what one node does holds on the other for the very next
//! request, and what waits to be done is done by one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailward::app::worker;
use mailward::clock::SECOND;
use mailward::domain::actor::Role;
use mailward::domain::effect::{Effect, PROJECTION, Sessions};
use mailward::domain::ids::ChangeId;
use mailward::mailserver::{MailServer, SessionMask};
use mailward::store::engine::Db;
use mailward::store::migrations::STEPS;
use mailward::store::outbox::{self, Origin};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::databases::{TestDb, on_postgres, options};
use crate::support::postgres;
use crate::support::world::{self, PASSWORD, START, World};

const NEW: &str = "fresh-tulip-77";

/// Two nodes of one organization.
async fn two(test: &TestDb) -> (World, World) {
    let first = World::start(test.db.clone()).await;
    let db = Db::open(&test.url, &options()).expect("the URL is good");
    let second = first.beside(world::node(db, first.app.clock.clone()).await);
    (first, second)
}

/// Whether the token opens the own account there.
async fn lives(world: &World, token: &str) -> bool {
    world.get(token, "/api/accounts").await.status == 200
}

#[test]
fn a_token_revoked_on_one_node_is_refused_by_the_other() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        for round in 0..10 {
            let (here, there) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
            let account = here.account(&here.member).await;
            let token = world::token(&here.app, &account, world::USER_SCOPES).await;
            assert!(lives(there, &token).await, "a token given by one node works on the other");
            here.form("/oauth/v2/token/revoke", &[("token", &token)]).await.ok();
            assert!(!lives(there, &token).await);
        }
    });
}

#[test]
fn a_user_disabled_on_one_node_is_let_in_by_none() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        for _ in 0..5 {
            let account = first.account(&first.member).await;
            let token = world::token(&first.app, &account, world::USER_SCOPES).await;
            assert!(lives(&second, &token).await);
            first.mode(&first.admin, &first.member, "disableUser", json!({})).await.ok();
            assert!(!lives(&second, &token).await);
            let refused = second.self_password(&second.member.email, PASSWORD, NEW).await;
            refused.refused(401, "INVALID_CREDENTIALS");
            second.mode(&second.admin, &second.member, "enableUser", json!({})).await.ok();
        }
        // Also one who could do more: a role taken away on one node is gone on the other.
        let role = json!({"mode": "changeRole", "userList": [first.admin.zuid], "role": "member"});
        let path = format!("/api/organization/{}/accounts", first.zoid);
        first.put(&first.owner.org_token, &path, role).await.ok();
        let refused = second.mode(&second.admin, &second.member, "disableUser", json!({})).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
    });
}

#[test]
fn a_one_time_password_used_on_one_node_opens_nothing_on_the_other() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        let (first, second) = (Arc::new(first), Arc::new(second));
        let email = first.member.email.clone();
        let reset = json!({"password": "t*c9ma", "oneTimePassword": true});
        first.mode(&first.admin, &first.member, "resetPassword", reset.clone()).await.ok();
        first.self_password(&email, "t*c9ma", NEW).await.ok();
        second.self_password(&email, "t*c9ma", PASSWORD).await.refused(401, "INVALID_CREDENTIALS");

        // At the same moment on both: one of them.
        first.mode(&first.admin, &first.member, "resetPassword", reset).await.ok();
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let world = Arc::clone(if number % 2 == 0 { &first } else { &second });
            let email = email.clone();
            tasks.spawn(async move {
                world.self_password(&email, "t*c9ma", &format!("fresh-tulip-{number}")).await
            });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    });
}

#[test]
fn a_throttle_reached_on_one_node_holds_on_the_other() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        let email = first.member.email.clone();
        let most = first.app.config.throttle.wrong_per_account;
        for number in 0..most {
            let world = if number % 2 == 0 { &first } else { &second };
            world.self_password(&email, "not-this-one", NEW).await.refused(401, "INVALID_CREDENTIALS");
        }
        for world in [&first, &second] {
            let answer = world.self_password(&email, PASSWORD, NEW).await;
            answer.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        }
        first.app.clock.advance(first.app.config.throttle.window_seconds * SECOND);
        second.self_password(&email, PASSWORD, NEW).await.ok();
    });
}

fn kicked(world: &World) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    world.recorder.with(|recording| {
        for mask in recording.kicked.iter().map(SessionMask::as_doveadm) {
            *times.entry(mask).or_insert(0) += 1;
        }
    });
    times
}

async fn drain(world: &World) {
    let servers = [MailServer::Recorder(world.recorder.clone())];
    worker::drain(&world.app, &servers).await.expect("the outbox drains");
}

#[test]
fn workers_of_several_nodes_share_what_waits() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        let (first, second) = (Arc::new(first), Arc::new(second));
        for number in 0..40 {
            let world = if number % 2 == 0 { &first } else { &second };
            let reset = json!({"password": "t*c9ma"});
            world.mode(&world.admin, &world.member, "resetPassword", reset).await.ok();
        }
        let mut workers = JoinSet::new();
        for number in 0..6 {
            let world = Arc::clone(if number % 2 == 0 { &first } else { &second });
            workers.spawn(async move { drain(&world).await });
        }
        workers.join_all().await;
        let times = kicked(&first);
        assert_eq!(times.len(), 40);
        assert!(times.values().all(|times| *times == 1), "{times:?}");
    });
}

#[test]
fn what_a_dead_node_had_claimed_is_done_by_another() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        drain(&first).await;
        first.mode(&first.admin, &first.member, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        // The first node claims, and is never heard of again.
        let now = first.app.clock.now();
        let claim =
            first.app.db.write(async move |tx| outbox::claim(tx, "mx1", now, now + 30 * SECOND, 100).await);
        assert_eq!(claim.await.expect("claimed").len(), 1);
        first.app.db.close().await;
        drain(&second).await;
        assert_eq!(kicked(&second).len(), 0, "the claim still holds");
        second.app.clock.advance(30 * SECOND);
        drain(&second).await;
        assert_eq!(kicked(&second).values().sum::<usize>(), 1);
    });
}

/// Positions are given when a row is written, and rows are seen when they are committed: a later one
/// may come first.
#[test]
fn an_effect_of_a_transaction_that_was_open_for_five_seconds_is_not_passed_over() {
    on_postgres(STEPS, async |test| {
        let world = Arc::new(World::start(test.db.clone()).await);
        drain(&world).await;
        let account = world.account(&world.member).await;
        let mut slow = postgres::connect(&test.url).await;
        let open = slow.transaction().await.expect("a transaction");
        let ends = Effect::EndSessions { mailbox: account.mailbox.clone(), sessions: Sessions::All };
        for (target, effect) in [(PROJECTION, Effect::Project), ("mx1", ends)] {
            let effect = serde_json::to_string(&effect).expect("JSON");
            let (change, zoid, id) = (290_000_000_000_999_999_i64, world.zoid.get(), account.id.get());
            open.execute(
                "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries)
                 VALUES ($1, $2, $3, $4, $5, $6, $6, 0)",
                &[&change, &zoid, &id, &target, &effect, &START],
            )
            .await
            .expect("an effect");
        }
        let start = Instant::now();
        let mut makers = JoinSet::new();
        for maker in 0..8 {
            let (app, organization, account) = (world.app.clone(), world.zoid, account.id);
            makers.spawn(async move {
                for number in 0..125 {
                    let change =
                        ChangeId::new(290_000_000_000_000_000 + maker * 1000 + number).expect("an id");
                    let origin = Origin { change, organization, account: Some(account), at: START };
                    let write = app.db.write(async move |tx| outbox::project(tx, origin)).await;
                    assert!(write.expect("written").get().is_some(), "the position is known");
                }
            });
        }
        while start.elapsed() < Duration::from_secs(5) || !makers.is_empty() {
            drain(&world).await;
            while makers.try_join_next().is_some_and(|made| made.is_ok()) {}
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drain(&world).await;
        assert_eq!(kicked(&world).len(), 0);
        open.commit().await.expect("committed");
        drain(&world).await;
        assert_eq!(kicked(&world).values().sum::<usize>(), 1, "its sessions end");
        let mut tx = test.db.read().await.expect("a connection");
        assert_eq!(outbox::backlog_of(&mut tx, PROJECTION).await.expect("a count").waiting, 0);
    });
}

#[test]
fn nodes_never_give_out_the_same_id() {
    on_postgres(STEPS, async |test| {
        let (first, second) = two(&test).await;
        let (first, second) = (Arc::new(first), Arc::new(second));
        let mut tasks = JoinSet::new();
        for number in 0..12 {
            let world = Arc::clone(if number % 2 == 0 { &first } else { &second });
            tasks.spawn(async move { world.someone(&format!("new{number}"), Role::Member).await });
        }
        let people = tasks.join_all().await;
        let zuids: std::collections::BTreeSet<_> = people.iter().map(|person| person.zuid).collect();
        let accounts: std::collections::BTreeSet<_> = people.iter().map(|person| person.account_id).collect();
        assert_eq!((zuids.len(), accounts.len()), (12, 12));
        for person in &people {
            assert_eq!(second.account(person).await.primary.as_str(), person.email);
            assert_eq!(first.account(person).await.primary.as_str(), person.email);
        }
    });
}
