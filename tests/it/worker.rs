//! Effects of changes are carried out: after a refusal again and again, by the next worker when one
//! dies, by one at a time. And what time ends is ended and tidied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mailward::app::accounts::create;
use mailward::app::accounts::update_personal_info::Term;
use mailward::app::mail::{agents, sessions};
use mailward::app::random::Random;
use mailward::app::{App, oauth, tidy, worker};
use mailward::clock::{Clock, DAY, MINUTE, Millis, SECOND};
use mailward::config::Config;
use mailward::domain::account::Account;
use mailward::domain::actor::{Role, Who};
use mailward::domain::effect::{PERSON, PROJECTION};
use mailward::domain::email_address::EmailAddress;
use mailward::domain::ids::ChangeId;
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::mailserver::doveadm::DoveadmError;
use mailward::mailserver::{MailServer, Session, SessionMask};
use mailward::store::audit::{self, Refusal};
use mailward::store::engine::{Db, Tx, params};
use mailward::store::feed::{self, Mark};
use mailward::store::outbox::{self, Waiting};
use mailward::store::settings;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::postbox::postbox;
use crate::support::world::{
    self, Answer, ORGANIZATION_SCOPES, PASSWORD, START, Someone, World, config, operator,
};

const MAIL_SERVER: &str = "mx1";

/// The effects of the change that an answer names, on one target.
async fn effects(world: &World, answer: &Answer, target: &str) -> Vec<Waiting> {
    let change: ChangeId = answer.change().expect("a change").parse().expect("a change");
    let mut tx = world.app.db.read().await.expect("a connection");
    let all = world::effects_of(&mut tx, world.zoid, change).await;
    all.into_iter().filter(|effect| effect.target == target).collect()
}

async fn claim(db: Db, now: Millis, until: Millis, most: i64) -> Vec<Waiting> {
    db.write(async move |tx| outbox::claim(tx, MAIL_SERVER, now, until, most).await).await.expect("claimed")
}

fn kicked(world: &World) -> Vec<String> {
    world.recorder.with(|recording| recording.kicked.iter().map(SessionMask::as_doveadm).collect())
}

fn fail(world: &World, failure: Option<DoveadmError>) {
    world.recorder.with(|recording| recording.failure = failure);
}

async fn reset(world: &World, on: &Someone) -> Answer {
    let answer = world.mode(&world.owner, on, "resetPassword", json!({"password": "t*c9ma"})).await;
    answer.ok();
    answer
}

async fn count(world: &World, sql: &'static str) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    tx.query_one(sql, params![], |row| row.get("n")).await.expect("a count")
}

/// A person whose term ends in so many days.
async fn limited(world: &World, local: &str, role: Role, days: u16) -> Account {
    let address = EmailAddress::parse(&format!("{local}@{}", world.domain)).expect("an address");
    let mut new =
        create::simple(address, Password::prepare(PASSWORD).expect("a password"), role, "").expect("a user");
    new.term = Term::Days(days);
    create::create(&world.app, &operator(), world.zoid, new).await.expect("a new user").0
}

fn with_notices(address: &str) -> Config {
    let mut config = config();
    config.mail.notices_smtp = address.to_owned();
    config
}

both_engines! {
    async fn an_effect_that_nobody_can_read_keeps_nothing_else_waiting(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        let strange = reset(&world, &world.other).await;
        let change: i64 = strange.change().expect("a change").parse().expect("a number");
        let spoil = async move |tx: &mut Tx| {
            let sql = "UPDATE outbox SET effect = '{\"effect\":\"of tomorrow\"}' WHERE change_id = $1 AND target = 'mx1'";
            tx.execute(sql, params![change]).await
        };
        assert_eq!(world.app.db.write(spoil).await.expect("spoiled"), 1);
        let answer = reset(&world, &world.member).await;
        world.settle().await;
        assert_eq!(kicked(&world), [format!("m{}@g1", world.member.account_id)]);
        assert!(!effects(&world, &answer, MAIL_SERVER).await.is_empty());
        // A newer program may read it; the receipt says what is the matter.
        let receipt = world.get(&world.owner.org_token, &format!("/api/organization/{}/changes/{change}", world.zoid)).await;
        let shown = receipt.ok().json()["data"]["effects"].clone();
        let unknown = shown.as_array().expect("effects").iter().find(|one| one["effect"] == "unknown").expect("it is shown");
        assert_eq!((unknown["state"].as_str(), unknown["server"].as_str()), (Some("pending"), Some("mx1")));
        assert!(unknown["what"].as_str().expect("words").starts_with("error: this program cannot read"), "{unknown}");
        world.app.clock.advance(2 * DAY);
        world.settle().await;
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM outbox WHERE due_at IS NOT NULL AND target = 'mx1'").await, 0, "given up");
    }

    async fn an_effect_is_carried_out_and_then_left_alone(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        let mask = format!("m{}@g1", world.member.account_id);
        let answer = reset(&world, &world.member).await;
        assert_eq!(kicked(&world), Vec::<String>::new(), "nothing is told before the worker runs");
        // At once, and twice more: a login that was checked just before may register late.
        for (wait, times) in [(0, 1), (SECOND, 1), (SECOND, 2), (12 * SECOND, 2), (SECOND, 3), (DAY, 3)] {
            world.app.clock.advance(wait);
            world.settle().await;
            world.settle().await;
            assert_eq!(kicked(&world), vec![mask.clone(); times]);
        }
        let told = effects(&world, &answer, MAIL_SERVER).await;
        assert!(told.iter().all(|effect| effect.due_at.is_none() && effect.done_at.is_some()), "{told:?}");
        let mut tx = world.app.db.read().await.expect("a connection");
        assert_eq!(outbox::backlog(&mut tx).await.expect("readable").waiting, 0);
    }

    async fn an_effect_that_is_refused_is_tried_again_less_and_less_often(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        fail(&world, Some(DoveadmError::Timeout));
        let session = format!("m{}@g1", world.member.account_id);
        world.recorder.with(|recording| {
            recording.sessions = vec![Session { name: session.clone(), service: "imap".to_owned(), pid: None, ip: None }];
        });
        let answer = reset(&world, &world.member).await;
        let mut pauses = Vec::new();
        for tries in 1..=10 {
            world.settle().await;
            let waiting = effects(&world, &answer, MAIL_SERVER).await.remove(0);
            assert_eq!((waiting.tries, waiting.done_at), (tries, None));
            assert!(waiting.outcome.as_deref().is_some_and(|text| text.contains("error")), "{waiting:?}");
            let due = waiting.due_at.expect("it is tried again");
            pauses.push(due - world.app.clock.now());
            // Not a moment earlier.
            world.app.clock.advance(due - world.app.clock.now() - 1);
            world.settle().await;
            assert_eq!(effects(&world, &answer, MAIL_SERVER).await[0].tries, tries);
            world.app.clock.advance(1);
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        fail(&world, None);
        world.settle().await;
        assert_eq!(kicked(&world), [session]);
        world.app.clock.advance(20 * SECOND);
        world.settle().await;
        world.settle().await;
        assert_eq!(effects(&world, &answer, MAIL_SERVER).await[0].due_at, None);
        assert!(world.recorder.with(|recording| recording.sessions.is_empty()));
    }

    async fn a_receipt_says_that_nobody_was_told_though_another_organization_has_an_agent(db: Db) {
        let app = App::new(db, config(), Clock::at(START), Random::seeded(7)).await.expect("a good configuration");
        let world = World::around(app).await;
        world::organization(&world.app, "Other", "other.example").await;
        for (domains, told) in [("other.example", ("", "not configured")), (&world.domain, ("imap2", "pending"))] {
            let name = if domains == world.domain { "imap2" } else { "imap1" };
            agents::add(&world.app, &operator(), name, &[domains.to_owned()]).await.expect("a new agent");
            let change = reset(&world, &world.member).await.change().expect("a change");
            let path = format!("/api/organization/{}/changes/{change}", world.zoid);
            let receipt = world.get(&world.owner.org_token, &path).await.ok().json();
            let parts = receipt["data"]["effects"].as_array().expect("effects").clone();
            let ends: Vec<_> = parts.iter().filter(|part| part["effect"] == "end_sessions").collect();
            let shown = ends.iter().map(|part| (part["server"].as_str().unwrap_or("?"), part["state"].as_str().unwrap_or("?")));
            assert_eq!(shown.collect::<Vec<_>>(), [told], "{receipt:#}");
        }
    }

    async fn the_people_whom_dovecot_knows_from_elsewhere_are_left_alone(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        let dead = format!("m{}@g7", world.member.account_id);
        let open = [dead.as_str(), "alice@legacy.example", "alice", "g1@g1.example"];
        world.recorder.with(|recording| {
            let session = |name: &str| Session { name: name.to_owned(), service: "imap".to_owned(), pid: None, ip: None };
            recording.sessions = open.map(session).to_vec();
        });
        let server = MailServer::Recorder(world.recorder.clone());
        assert_eq!(sessions::reconcile(&world.app, &server).await.expect("an answer"), 1);
        assert_eq!(kicked(&world), [dead.as_str()]);
    }

    async fn what_waits_survives_a_restart(db: Db) {
        let world = World::start(db.clone()).await;
        world.settle().await;
        fail(&world, Some(DoveadmError::Timeout));
        let answer = world.mode(&world.owner, &world.member, "disableUser", json!({})).await;
        answer.ok();
        world.settle().await;
        fail(&world, None);
        world.app.clock.advance(MINUTE);
        let clock = world.app.clock.clone();
        let again = App::new(db, config(), clock, Random::seeded(8)).await.expect("a good configuration");
        let servers = [MailServer::Recorder(world.recorder.clone())];
        worker::drain(&again, &servers).await.expect("the outbox drains");
        assert_eq!(kicked(&world), [format!("m{}@*", world.member.account_id)]);
    }

    async fn an_effect_belongs_to_one_worker_at_a_time(db: Db) {
        let world = Arc::new(World::start(db).await);
        for _ in 0..60 {
            reset(&world, &world.member).await;
        }
        let (now, mut workers) = (world.app.clock.now(), JoinSet::new());
        for _ in 0..8 {
            let db = world.app.db.clone();
            workers.spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let more = claim(db.clone(), now, now + 30 * SECOND, 3).await;
                    if more.is_empty() {
                        return mine;
                    }
                    mine.extend(more.into_iter().map(|effect| effect.position));
                }
            });
        }
        let claimed: Vec<i64> = workers.join_all().await.concat();
        let different: BTreeSet<_> = claimed.iter().copied().collect();
        assert_eq!((claimed.len(), different.len()), (60, 60));
    }

    async fn many_workers_tell_a_server_everything_once(db: Db) {
        let world = Arc::new(World::start(db).await);
        for _ in 0..60 {
            reset(&world, &world.member).await;
        }
        let mut workers = JoinSet::new();
        for _ in 0..8 {
            let world = Arc::clone(&world);
            workers.spawn(async move { world.settle().await });
        }
        workers.join_all().await;
        let mut times = BTreeMap::new();
        for mask in kicked(&world) {
            *times.entry(mask).or_insert(0) += 1;
        }
        assert_eq!(times.len(), 60);
        assert!(times.values().all(|times| *times == 1), "{times:?}");
    }

    async fn the_claim_of_a_dead_worker_ends(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        let answer = reset(&world, &world.member).await;
        let now = world.app.clock.now();
        let dead = claim(world.app.db.clone(), now, now + 30 * SECOND, 100).await.remove(0);
        world.settle().await;
        assert_eq!(kicked(&world).len(), 0, "somebody else has it");
        world.app.clock.advance(30 * SECOND - 1);
        world.settle().await;
        assert_eq!(kicked(&world).len(), 0);
        world.app.clock.advance(1);
        world.settle().await;
        assert_eq!(kicked(&world).len(), 1, "it is taken over");
        world.app.clock.advance(20 * SECOND);
        world.settle().await;
        world.settle().await;
        let done = effects(&world, &answer, MAIL_SERVER).await.remove(0);
        assert_eq!(done.due_at, None);

        // It was only slow, and comes back: what the other one did stands.
        let (late, due) = (dead.clone(), world.app.clock.now());
        world.app.db.write(async move |tx| outbox::put_off(tx, &late, "too late", due)).await.expect("written");
        let now = world.app.clock.now();
        world.app.db.write(async move |tx| outbox::finish(tx, &dead, "too late", now)).await.expect("written");
        let after = effects(&world, &answer, MAIL_SERVER).await.remove(0);
        assert_eq!((after.due_at, after.done_at, after.outcome), (None, done.done_at, done.outcome));
    }

    async fn what_a_server_has_confirmed_stays_known_when_it_is_removed(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        let confirmed = reset(&world, &world.member).await;
        world.settle().await;
        let untold = reset(&world, &world.other).await;
        let now = world.app.clock.now();
        world.app.db.write(async move |tx| outbox::abandon(tx, MAIL_SERVER, "removed", now).await).await.expect("written");
        let confirmed = effects(&world, &confirmed, MAIL_SERVER).await.remove(0);
        assert!(confirmed.done_at.is_some());
        assert!(confirmed.outcome.is_some_and(|outcome| outcome.contains(r#""sweeps":1,"#)));
        let untold = effects(&world, &untold, MAIL_SERVER).await.remove(0);
        assert_eq!(untold.outcome.as_deref(), Some("removed"));
    }

    async fn a_person_is_told_once(db: Db) {
        let (address, mut mails) = postbox().await;
        let world = World::start_with(db, with_notices(&address)).await;
        let rename = json!({"emailAddress": format!("rebecca@{}", world.domain)});
        let answer = world.mode(&world.owner, &world.member, "emailupdate", rename).await;
        for _ in 0..3 {
            world.settle().await;
            world.app.clock.advance(DAY);
        }
        let mail = mails.recv().await.expect("a mail").replace("=\n", "");
        assert!(mail.contains(&format!("To: rebecca@{}", world.domain)), "{mail}");
        assert!(mail.contains(&format!("Mail to {} still reaches you.", world.member.email)), "{mail}");
        assert!(mails.try_recv().is_err(), "once");
        let told = effects(&world, &answer, PERSON).await;
        assert!(matches!(told[..], [Waiting { due_at: None, tries: 1, .. }]), "{told:?}");
    }

    async fn a_notice_that_cannot_be_sent_is_tried_for_three_days(db: Db) {
        // Nobody listens on a port that was given back.
        let address = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a port");
        let world = World::start_with(db, with_notices(&address.to_string())).await;
        let answer = reset(&world, &world.member).await;
        let started = world.app.clock.now();
        let mut last = 0;
        loop {
            world.settle().await;
            let notice = effects(&world, &answer, PERSON).await.remove(0);
            let Some(due) = notice.due_at else {
                assert!(notice.outcome.as_deref().is_some_and(|text| text.starts_with("given up")), "{notice:?}");
                break;
            };
            assert!(notice.tries > last && due > world.app.clock.now(), "{notice:?}");
            assert!(due - world.app.clock.now() <= 10 * MINUTE, "{notice:?}");
            last = notice.tries;
            world.app.clock.advance((due - world.app.clock.now()).max(6 * 60 * MINUTE));
        }
        assert!(world.app.clock.now() - started > 3 * DAY);
    }

    async fn the_running_worker_finds_what_a_commit_left(db: Db) {
        let (address, mut mails) = postbox().await;
        let world = World::start_with(db, with_notices(&address)).await;
        let worker = tokio::spawn(worker::run(world.app.clone()));
        for number in 0..3 {
            let rename = json!({"emailAddress": format!("name-{number}@{}", world.domain)});
            world.mode(&world.owner, &world.member, "emailupdate", rename).await.ok();
            let mail = tokio::time::timeout(Duration::from_secs(60), mails.recv()).await.expect("in time").expect("a mail");
            assert!(mail.contains(&format!("name-{number}@")), "{mail}");
        }
        worker.abort();
    }

    async fn a_term_that_ends_disables_the_user(db: Db) {
        let world = World::start(db).await;
        let limited = limited(&world, "temp", Role::Member, 7).await;
        let token = world::token(&world.app, &limited, "ZohoMail.accounts.READ").await;
        let temp = Someone { zuid: limited.user.get(), account_id: limited.id.get(), ..world.member.clone() };
        world.app.clock.advance(7 * DAY - 1);
        tidy::run(&world.app).await.expect("tidied");
        world.get(&token, "/api/accounts").await.ok();
        world.app.clock.advance(1);
        tidy::run(&world.app).await.expect("tidied");
        world.get(&token, "/api/accounts").await.refused(401, "INVALID_OAUTHTOKEN");
        let block = world.account(&temp).await.switches.user_disabled.expect("disabled");
        assert_eq!((block.by, block.at), (Who::Clock, world.app.clock.now()));
        world.settle().await;
        assert!(kicked(&world).contains(&format!("m{}@*", limited.id)));
        let mut tx = world.app.db.read().await.expect("a connection");
        let newest = audit::newest(&mut tx, world.zoid, Some(limited.user), 1).await.expect("readable").remove(0);
        assert_eq!((newest.actor.as_str(), newest.verb.as_str()), ("clock", "disableUser"));
        drop(tx);
        // Whoever lets the user in again decides that the term is over.
        world.mode(&world.admin, &temp, "enableUser", json!({})).await.ok();
        world.app.clock.advance(DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(world.account(&temp).await.switches.user_disabled, None);
    }

    async fn many_terms_end_at_once_and_the_last_super_admin_stays(db: Db) {
        let world = World::start(db).await;
        let last = limited(&world, "last", Role::SuperAdmin, 6).await;
        for number in 0..120 {
            limited(&world, &format!("temp-{number}"), Role::Member, 7).await;
        }
        let path = format!("/api/organization/{}/accounts", world.zoid);
        let org_token = world::token(&world.app, &last, ORGANIZATION_SCOPES).await;
        world.with_body("DELETE", &org_token, &path, json!({"accountList": [world.owner.zuid]})).await.ok();
        world.app.clock.advance(7 * DAY);
        tidy::run(&world.app).await.expect("tidied");
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM person WHERE disabled IS NOT NULL").await, 120);
        world.get(&org_token, &path).await.ok();
    }

    async fn tidying_forgets_what_has_ended_and_nothing_else(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        fail(&world, Some(DoveadmError::Timeout));
        let waiting = reset(&world, &world.member).await;
        let account = world.account(&world.other).await;
        let scope = ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes");
        oauth::issue(&world.app, account.organization, account.user, scope, MINUTE).await.expect("a token");
        let before = count(&world, "SELECT COUNT(*) AS n FROM access_token").await;
        let wrong = world.self_password(&world.member.email, "not-the-one", "something-new-5").await;
        assert_eq!(wrong.status, 401);

        world.app.clock.advance(15 * MINUTE);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM throttle").await, 0, "the window is over");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM access_token").await, before, "a day longer, for those who ask");
        world.app.clock.advance(DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM access_token").await, before - 1);

        world.settle().await;
        let done = count(&world, "SELECT COUNT(*) AS n FROM outbox WHERE due_at IS NULL").await;
        assert!(done > 0);
        world.app.clock.advance(30 * DAY + 1);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM outbox WHERE due_at IS NULL").await, 0);
        assert_eq!(effects(&world, &waiting, MAIL_SERVER).await.len(), 1, "what was not done is not forgotten");
    }

    async fn what_was_forgotten_stays_known_when_something_older_is_done_late(db: Db) {
        let world = World::start(db).await;
        world.settle().await;
        fail(&world, Some(DoveadmError::Timeout));
        let late = reset(&world, &world.member).await;
        let newer = world.own_mode(&world.other, "displaynameupdate", json!({"displayName": "Otto Lund"})).await;
        newer.ok();
        world.settle().await;
        world.app.clock.advance(5 * DAY);
        fail(&world, None);
        for pause in [0, 2 * SECOND, 15 * SECOND] {
            world.app.clock.advance(pause);
            world.settle().await;
        }
        assert!(effects(&world, &late, MAIL_SERVER).await[0].done_at.is_some(), "five days late");

        let marks = async || {
            let mut tx = world.app.db.read().await.expect("a connection");
            let swept = settings::swept(&mut tx).await.expect("a number");
            (swept, settings::swept_transaction(&mut tx).await.expect("a number"))
        };
        world.app.clock.advance(25 * DAY + MINUTE);
        tidy::run(&world.app).await.expect("tidied");
        let before = marks().await;
        assert!(effects(&world, &newer, PROJECTION).await.is_empty(), "forgotten");
        assert_eq!(effects(&world, &late, MAIL_SERVER).await.len(), 1, "not yet");
        world.app.clock.advance(5 * DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert!(effects(&world, &late, MAIL_SERVER).await.is_empty(), "forgotten too");
        assert_eq!(marks().await, before, "what is newer is forgotten all the same");

        // A host that lacks the newer one is not told that nothing happened.
        let mut tx = world.app.db.snapshot().await.expect("a snapshot");
        let now = feed::now(&mut tx).await.expect("a mark");
        let held = Mark::upto(now.number(before.0, before.1) - 1);
        assert_eq!(feed::since(&mut tx, &held, &now).await.expect("an answer"), None);
    }

    async fn refusals_of_a_minute_become_one_entry_each_when_it_is_over(db: Db) {
        let world = World::start(db).await;
        for _ in 0..3 {
            world.mode(&world.admin, &world.owner, "disableUser", json!({})).await.refused(403, "OPERATION_NOT_PERMITTED");
        }
        let (zoid, minute) = (world.zoid, world.app.clock.now() / MINUTE);
        world.app.db.write(async move |tx| {
            for number in 0..1_100 {
                let refusal = Refusal {
                    organization: zoid,
                    minute,
                    actor: "user 1".to_owned(),
                    verb: "enableUser".to_owned(),
                    target: number.to_string(),
                    person: None,
                    refusals: 1,
                    entry: "{}".to_owned(),
                };
                audit::count_refusal(tx, &refusal).await?;
            }
            Ok(())
        })
        .await
        .expect("counted");
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM refusal").await, 1_101, "the minute runs");
        world.app.clock.advance(MINUTE);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(count(&world, "SELECT COUNT(*) AS n FROM refusal").await, 0);
        let mut tx = world.app.db.read().await.expect("a connection");
        let entries = audit::newest(&mut tx, zoid, None, 10_000).await.expect("readable");
        let refused: Vec<_> = entries.iter().filter(|entry| entry.verb == "disableUser").collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].entry.contains(r#""count":3"#), "{}", refused[0].entry);
        assert_eq!(entries.iter().filter(|entry| entry.verb == "enableUser").count(), 1_100);
    }
}
