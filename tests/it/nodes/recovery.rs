//! A connection that breaks, freezes or goes silent, above all while a change is committed: the
//! truth is told, nothing is done twice, and the node recovers by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailward::domain::ids::ChangeId;
use mailward::store::audit;
use mailward::store::engine::{Db, Options};
use mailward::store::migrations::STEPS;
use serde_json::json;

use crate::support::databases::{TestDb, on_postgres, options};
use crate::support::proxy::{AtCommit, Proxy};
use crate::support::world::{Answer, World, effects_of};

/// A world behind a door, and the same database without it.
async fn behind(test: &TestDb, options: &Options) -> (World, Proxy) {
    let proxy = Proxy::to(&test.url);
    let db = Db::open(&proxy.url(&test.url), options).expect("the URL is good");
    (World::start(db).await, proxy)
}

/// Seconds instead of tens of seconds.
pub(super) fn hasty() -> Options {
    Options {
        connect_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(2),
        wait_timeout: Duration::from_secs(3),
        ..options()
    }
}

pub(super) async fn disable(world: &World) -> Answer {
    world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await
}

/// The same in a task of its own, as requests are served: what is sent together leaves together.
async fn in_a_task<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(task).await.expect("it does not panic")
}

async fn is_disabled(world: &World) -> bool {
    world.account(&world.member).await.switches.mail_disabled.is_some()
}

/// The entries of the verb, and the effects of their changes.
async fn stored(test: &TestDb, world: &World) -> (Vec<audit::AuditRow>, usize) {
    let mut tx = test.db.read().await.expect("a connection");
    let mut entries = audit::newest(&mut tx, world.zoid, None, 100).await.expect("readable");
    entries.retain(|entry| entry.verb == "disableMailAccount");
    let mut effects = 0;
    for entry in &entries {
        effects += effects_of(&mut tx, world.zoid, entry.id).await.len();
    }
    (entries, effects)
}

#[track_caller]
pub(super) fn sent_again_soon(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    let seconds = answer.headers.get("retry-after").expect("Retry-After").to_str().expect("digits");
    assert!((1..=30).contains(&seconds.parse::<u32>().expect("a number")), "{seconds}");
}

#[test]
fn a_change_that_was_lost_before_its_commit_is_told_so_and_can_be_repeated() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        proxy.at_next_commit(AtCommit::Lost);
        let answer = disable(&world).await;
        assert_eq!(proxy.met(), 1);
        sent_again_soon(&answer);
        assert!(answer.more_info().contains("nothing was changed"), "{}", answer.text);
        assert!(!is_disabled(&world).await);
        let (entries, effects) = stored(&test, &world).await;
        assert_eq!((entries.len(), effects), (1, 0));
        assert!(entries[0].entry.contains(r#""outcome":"lost""#), "{}", entries[0].entry);

        // Whoever asks for it by its id is told as much.
        let path = format!("/api/organization/{}/changes/{}", world.zoid, entries[0].id);
        let receipt = world.get(&world.admin.org_token, &path).await;
        assert!(receipt.refused(404, "RESOURCE_NOT_FOUND").contains("never stored"), "{}", receipt.text);

        disable(&world).await.ok();
        assert!(is_disabled(&world).await);
    });
}

#[test]
fn a_change_whose_confirmation_was_lost_is_answered_as_done_and_done_once() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        let before = world.account(&world.member).await.version;
        proxy.at_next_commit(AtCommit::Unanswered);
        let answer = disable(&world).await;
        assert_eq!(proxy.met(), 1);
        answer.ok();
        assert!(is_disabled(&world).await);
        let (entries, effects) = stored(&test, &world).await;
        assert_eq!((entries.len(), effects), (1, 2), "one change, and its effects once");
        assert_eq!(answer.change(), Some(entries[0].id.to_string()));
        assert_eq!(world.account(&world.member).await.version, before + 1);
    });
}

#[test]
fn a_change_that_was_given_up_is_not_made_when_the_server_gets_it_late() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        let world = Arc::new(world);
        proxy.at_next_commit(AtCommit::Late);
        let inner = Arc::clone(&world);
        let answer = in_a_task(async move { disable(&inner).await }).await;
        assert_eq!(proxy.met(), 1);
        sent_again_soon(&answer);
        proxy.let_go();
        let (entries, effects) = stored(&test, &world).await;
        if answer.more_info().contains("nothing was changed") {
            assert!(!is_disabled(&world).await, "the server made a change that had been called lost");
            assert_eq!((entries.len(), effects), (1, 0));
        } else {
            // The server had the entry, and only the commit came late: nobody could know.
            let change = answer.change().expect("the id of a change that nobody confirmed");
            assert!(is_disabled(&world).await);
            assert_eq!((entries[0].id.to_string(), effects), (change, 2));
        }
        disable(&world).await.ok();
    });
}

#[test]
fn a_commit_that_is_never_answered_is_looked_up() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        proxy.at_next_commit(AtCommit::Silent);
        let start = Instant::now();
        let answer = disable(&world).await;
        assert_eq!(proxy.met(), 1);
        answer.ok();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        let (entries, effects) = stored(&test, &world).await;
        assert_eq!((entries.len(), effects), (1, 2));
        assert_eq!(answer.change(), Some(entries[0].id.to_string()));
    });
}

#[test]
fn a_lost_answer_to_a_call_with_a_key_is_given_again_and_a_lost_change_is_made_by_the_repeat() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        let disable_once = async |key: &str, mode: &str| {
            let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
            let headers = [
                ("authorization", token.as_str()),
                ("content-type", "application/json"),
                ("idempotency-key", key),
            ];
            let body = json!({"mode": mode, "zuid": world.member.zuid}).to_string();
            world.send("PUT", &world.path(&world.member), &headers, body).await
        };
        proxy.at_next_commit(AtCommit::Unanswered);
        let first = disable_once("one", "disableMailAccount").await;
        assert_eq!(proxy.met(), 1);
        first.ok();
        let again = disable_once("one", "disableMailAccount").await;
        assert_eq!((again.ok().text.as_str(), again.change()), (first.text.as_str(), first.change()));
        assert_eq!(stored(&test, &world).await.0.len(), 1);

        proxy.at_next_commit(AtCommit::Lost);
        sent_again_soon(&disable_once("two", "enableMailAccount").await);
        assert_eq!(proxy.met(), 2);
        assert!(is_disabled(&world).await);
        disable_once("two", "enableMailAccount").await.ok();
        assert!(!is_disabled(&world).await);
    });
}

#[test]
fn creating_a_user_is_looked_up_too() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        let create = async |local: &str| {
            let body = json!({
                "primaryEmailAddress": format!("{local}@{}", world.domain),
                "password": "t*c9ma-1234",
                "displayName": local,
            });
            let path = format!("/api/organization/{}/accounts", world.zoid);
            world.with_body("POST", &world.admin.org_token, &path, body).await
        };
        // Ids and the like are taken first, in changes of their own.
        assert_eq!(create("first").await.status, 201);
        proxy.at_next_commit_of(AtCommit::Unanswered, "second@");
        let made = create("second").await;
        assert_eq!(made.status, 201, "{}", made.text);
        proxy.at_next_commit_of(AtCommit::Lost, "third@");
        sent_again_soon(&create("third").await);
        assert_eq!(create("third").await.status, 201);
        assert_eq!(proxy.met(), 2);
    });
}

#[test]
fn while_the_database_is_away_requests_are_sent_away_and_afterwards_served() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &hasty()).await;
        disable(&world).await.ok();
        proxy.set_away(true);
        let start = Instant::now();
        for _ in 0..3 {
            sent_again_soon(&disable(&world).await);
            sent_again_soon(&world.get(&world.admin.org_token, &world.path(&world.member)).await);
            sent_again_soon(&world.send("GET", "/health/ready", &[], "").await);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(world.send("GET", "/health/live", &[], "").await.status, 200);
        proxy.set_away(false);
        world.get(&world.admin.org_token, &world.path(&world.member)).await.ok();
        disable(&world).await.ok();
    });
}

#[test]
fn a_frozen_server_is_left_for_a_living_one_within_seconds() {
    on_postgres(STEPS, async |test| {
        let (first, second) = (Proxy::to(&test.url), Proxy::to(&test.url));
        let url = first.url(&test.url).replace(
            &format!("127.0.0.1:{}", first.port),
            &format!("127.0.0.1:{},127.0.0.1:{}", first.port, second.port),
        );
        let world = Arc::new(World::start(Db::open(&url, &hasty()).expect("the URL is good")).await);
        assert_eq!(second.turns(), 0, "the first host is the one that is used");
        // Several connections lie in the pool, all of them to the host that freezes.
        let looks = async || {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..12 {
                let world = Arc::clone(&world);
                tasks.spawn(
                    async move { world.get(&world.admin.org_token, &world.path(&world.member)).await },
                );
            }
            tasks.join_all().await
        };
        assert!(looks().await.iter().all(|answer| answer.status == 200));
        first.set_frozen(true);
        let start = Instant::now();
        let refused = looks().await;
        assert!(refused.iter().all(|answer| answer.status == 200 || answer.status == 503));
        assert!(looks().await.iter().all(|answer| answer.status == 200));
        disable(&world).await.ok();
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        first.set_frozen(false);
    });
}

#[test]
fn enabling_or_disabling_takes_two_round_trips() {
    on_postgres(STEPS, async |test| {
        let (world, proxy) = behind(&test, &options()).await;
        let (world, proxy) = (Arc::new(world), Arc::new(proxy));
        let calls = async move {
            let enable =
                async || world.mode(&world.admin, &world.member, "enableMailAccount", json!({})).await;
            let (mut changes, mut looks) = (Vec::new(), Vec::new());
            for _ in 0..20 {
                let before = proxy.turns();
                disable(&world).await.ok();
                enable().await.ok();
                changes.push((proxy.turns() - before).div_ceil(2));
                let before = proxy.turns();
                world.get(&world.admin.org_token, &world.path(&world.member)).await.ok();
                looks.push(proxy.turns() - before);
            }
            (changes, looks)
        };
        // Once for each connection statements are prepared, ids come in blocks, and on a busy
        // machine what is sent together may leave in two pieces: the least is what it takes.
        let (changes, looks) = in_a_task(calls).await;
        assert_eq!((changes.iter().min(), looks.iter().min()), (Some(&2), Some(&1)), "{changes:?} {looks:?}");
    });
}

#[test]
fn a_change_that_cannot_be_looked_up_in_time_is_told_with_its_id() {
    on_postgres(STEPS, async |test| {
        let short = Options { connect_timeout: Duration::from_millis(200), ..hasty() };
        let (world, proxy) = behind(&test, &short).await;
        disable(&world).await.ok();
        proxy.at_next_commit(AtCommit::UnansweredThenAway);
        let answer = world.mode(&world.admin, &world.member, "enableMailAccount", json!({})).await;
        sent_again_soon(&answer);
        let change = answer.change().expect("the id of a change that nobody confirmed");
        proxy.set_away(false);
        let path = format!("/api/organization/{}/changes/{change}", world.zoid);
        world.get(&world.admin.org_token, &path).await.ok();
        assert!(ChangeId::new(change.parse().expect("a number")).is_some());
        assert!(!is_disabled(&world).await);
    });
}
