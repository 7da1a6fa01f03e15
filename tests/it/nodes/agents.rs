//! Agents of mail hosts and the nodes that they talk to: what comes to a host, from whom, and what does not. No
//! mail server runs here; the files are read as one reads them (`mail/agents.rs` has real ones).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::accounts::AccountMode;
use mailward::app::accounts::disable_user::DisableUser;
use mailward::app::backup;
use mailward::app::call::Context;
use mailward::app::change::{self, Ask};
use mailward::app::forecast::OnServer;
use mailward::app::mail::agents::{self, HEARTBEAT};
use mailward::app::organizations;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::domain::actor::Role;
use mailward::domain::rights::Route;
use mailward::mailserver::link::{self, SILENCE};
use mailward::store::engine::{Db, params};
use mailward::store::mail_agents::AgentStatus;
use mailward::store::migrations::STEPS;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::support::agent::{Host, SOON, until};
use crate::support::certificates::certificates_for;
use crate::support::databases::{TestDb, on_postgres, on_sqlite, options};
use crate::support::namespaces::{Namespaces, Way};
use crate::support::postgres;
use crate::support::service::Service;
use crate::support::world::{self, ORGANIZATION_SCOPES, Someone, World, config};

/// An organization that no mail server but agents is told of. Its clock is the machine's, as the agents' is.
pub(super) async fn desk(test: &TestDb) -> World {
    let db = Db::open(&test.url, &options()).expect("the URL is good");
    World::around(App::new(db, config(), Clock::System, Random::System).await.expect("a good configuration"))
        .await
}

/// Somebody of another organization on the domain other.example.
async fn stranger(world: &World) -> Someone {
    let (zoid, domain) = world::organization(&world.app, "Other", "other.example").await;
    world::someone(&world.app, zoid, &format!("stranger@{domain}"), Role::Member).await
}

async fn receipt(world: &World, change: &str) -> Value {
    let path = format!("/api/organization/{}/changes/{change}", world.zoid);
    world.get(&world.owner.org_token, &path).await.ok().json()["data"].clone()
}

/// Of the look-ups of one host in a receipt: the state, and what is said of it.
fn on_host(receipt: &Value, host: &str) -> (String, String) {
    let parts = receipt["effects"].as_array().expect("effects");
    let part = parts.iter().find(|part| part["effect"] == "project" && part["server"] == host);
    let part = part.unwrap_or_else(|| panic!("nothing of {host}: {receipt:#}"));
    let text = |key: &str| part[key].as_str().expect("a text").to_owned();
    (text("state"), text("what"))
}

pub(super) async fn applied(world: &World, change: &str, host: &str) {
    let start = Instant::now();
    loop {
        let receipt = receipt(world, change).await;
        if on_host(&receipt, host).0 == "applied" {
            return;
        }
        assert!(start.elapsed() < SOON, "{receipt:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An agent of the test's own, which answers whatever it is asked, and the node's side of its link.
struct Stub {
    asked: Arc<Mutex<Vec<Value>>>,
    /// How it stood, as every node sees it, before it said that its files were made anew.
    before_rebuilt: Arc<Mutex<Option<AgentStatus>>>,
    holding: JoinHandle<()>,
}

impl Stub {
    async fn new(app: &App, name: &str, domain: &str, heartbeat: Duration, open: Value) -> Self {
        let (row, key) =
            agents::add(app, &world::operator(), name, &[domain.to_owned()]).await.expect("a new agent");
        let (near, far) = tokio::io::duplex(1 << 16);
        let asked = Arc::new(Mutex::new(Vec::<Value>::new()));
        let (noting, own_name) = (Arc::clone(&asked), name.to_owned());
        let before_rebuilt = Arc::new(Mutex::new(None));
        let (standing, app_here) = (Arc::clone(&before_rebuilt), app.clone());
        tokio::spawn(link::answer(far, SILENCE, move |what: Value| {
            let mut asked = noting.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(what.clone());
            let position = asked.iter().rev().find_map(|one| match one["ask"].as_str() {
                Some("apply") => Some(one["upto"].clone()),
                Some("rebuild") => Some(one["position"].clone()),
                _ => None,
            });
            let answer = match what["ask"].as_str().expect("a question") {
                "open" => json!({"version": link::VERSION, "name": own_name, "position": null}),
                "apply" | "still_there" => json!({"position": position}),
                "rebuilt" => json!({"accounts": 0}),
                "who" => open.clone(),
                "kick" => what["masks"].as_array().expect("masks").iter().map(|_| json!(0)).collect(),
                _ => Value::Null,
            };
            let (standing, app, own_name) = (Arc::clone(&standing), app_here.clone(), own_name.clone());
            async move {
                if what["ask"] == "rebuilt" {
                    let all = agents::all(&app).await.expect("agents");
                    let own = all.into_iter().find(|one| one.row.name == own_name).expect("itself");
                    *standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(own.status);
                }
                Ok(answer)
            }
        }));
        let holding =
            tokio::spawn(agents::hold(app.clone(), row, key.fingerprint(), Box::new(near), heartbeat));
        Self { asked, before_rebuilt, holding }
    }

    /// How often it was asked that between the first of the one and the first of the other.
    fn count_between(&self, from: impl Fn(&Value) -> bool, to: impl Fn(&Value) -> bool, ask: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let between = asked.iter().skip_while(|one| !from(one)).take_while(|one| !to(one));
        between.filter(|one| one["ask"] == ask).count()
    }

    /// How often it was asked that, so far.
    fn count(&self, ask: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|one| one["ask"] == ask).count()
    }
}

both_engines! {
    async fn a_host_hears_from_its_node_while_that_looks_through_many_organizations_of_others(test: TestDb) {
        let world = desk(&test).await;
        let zoid = world.zoid.get();
        let others = world.app.db.write(async move |tx| {
            for number in 1..=3000_i64 {
                let another = "INSERT INTO organization (id, name, policy, one_time_opens_mail, created_at)
                               SELECT id + $2, 'One of many', policy, one_time_opens_mail, created_at
                               FROM organization WHERE id = $1";
                tx.execute(another, params![zoid, number]).await?;
            }
            Ok(())
        });
        others.await.expect("new organizations");
        // What is said every ten seconds elsewhere is said every millisecond here.
        let host = Stub::new(&world.app, "imap1", "elsewhere.example", Duration::from_millis(1), json!([])).await;
        until(1, || host.count("rebuilt"));
        let pages = host.count("page");
        assert!(pages >= 5, "nobody is on this host, and it heard {pages} times of it");
        until(true, || host.before_rebuilt.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        let standing = host.before_rebuilt.lock().unwrap_or_else(PoisonError::into_inner).take();
        let AgentStatus { seen, heard_at, .. } = standing.expect("it was looked up");
        assert_eq!(seen, None, "nothing was made yet");
        assert!(heard_at.is_some(), "it answers, and counts as away");
        // What it lacked may have kept it closed, and must all be there first.
        assert_eq!(host.count_between(|one| one["ask"] == "rebuild", |one| one["ask"] == "rebuilt", "still_there"), 0);

        let before = host.count("apply");
        let all = "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, tries)
                   SELECT 1, id, 0, 'look-ups', '{\"effect\":\"project\"}', 0, 0 FROM organization";
        let changed = world.app.db.write(async move |tx| tx.execute(all, params![]).await);
        assert!(changed.await.expect("written") > 3000);
        // The last part of it tells of domains as well.
        let is_last = |one: &Value| one["ask"] == "apply" && !one["domains"].is_null();
        until(true, || host.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_last));
        let applied = host.count("apply") - before;
        assert!(applied >= 5, "every organization changed, and it heard {applied} times of it");
        assert_eq!(host.count("rebuild"), 1);
        // It was up to date when that began, and is to stay open meanwhile.
        let alive = host.count_between(|one| one["ask"] == "apply", is_last, "still_there");
        assert!(alive >= 5, "it heard {alive} times that the node is there");
        host.holding.abort();
    }

    async fn the_sessions_on_a_host_with_an_agent_are_in_forecasts_and_in_the_report_of_a_theft(test: TestDb) {
        let world = desk(&test).await;
        let mia = &world.member;
        let session = |who: &Someone| {
            json!({"user": format!("m{}@g1", who.account_id), "service": "imap", "pid": 7, "ip": "192.0.2.7"})
        };
        let open = json!([session(mia), session(&world.other)]);
        let host = Stub::new(&world.app, "imap1", "zylker.example", HEARTBEAT, open).await;
        until(true, || world.app.agents.server("imap1").is_some());
        // One whose agent never came, and one of others.
        agents::add(&world.app, &world::operator(), "imap2", &["*".to_owned()]).await.expect("a new agent");
        agents::add(&world.app, &world::operator(), "imap3", &["other.example".to_owned()]).await.expect("a new agent");

        let forecast = async || {
            let context = Context { dry_run: true, ..world::operator() };
            let disable = Ask {
                route: Route::Organization(world.zoid),
                path: None,
                zuid: Some(mia.zuid),
                mode: AccountMode::DisableUser(DisableUser::default()),
            };
            change::forecast(&world.app, &context, disable).await.expect("a forecast").servers
        };
        let on = |name: &str, sessions: Option<u64>| OnServer { name: name.to_owned(), sessions };
        assert_eq!(forecast().await, [on("imap1", Some(1)), on("imap2", None)]);
        let context = Context { dry_run: true, ..world::operator() };
        let off = organizations::switch(&world.app, &context, world.zoid, true).await.expect("a forecast");
        assert_eq!(off.forecast.expect("a forecast").servers, [on("imap1", Some(2)), on("imap2", None)]);

        let press = async || {
            let token = format!("Zoho-oauthtoken {}", world.owner.org_token);
            let path = format!("{}/compromised", world.path(mia));
            let answer = world.send("POST", &path, &[("authorization", &token)], String::new()).await;
            answer.ok().json()["data"]["mailServers"].clone()
        };
        let thief = json!({"service": "imap", "source": "192.0.2.7", "credential": "g1"});
        let unknown = json!({"name": "imap2", "sessions": null});
        assert_eq!(press().await, json!([{"name": "imap1", "sessions": [thief]}, unknown]));

        // Without its link, it is one that did not say, and not one without sessions.
        host.holding.abort();
        until(true, || world.app.agents.server("imap1").is_none());
        assert_eq!(press().await, json!([{"name": "imap1", "sessions": null}, unknown]));
        assert_eq!(forecast().await, [on("imap1", None), on("imap2", None)]);
    }

    async fn a_host_has_the_accounts_of_its_domains_and_no_other(test: TestDb) {
        let world = desk(&test).await;
        let stranger = stranger(&world).await;
        let node = Service::start(&test.url);
        let host = Host::new(&world.app, &test.folder, "imap1", &["zylker.example"]).await;
        let everywhere = Host::new(&world.app, &test.folder, "imap2", &["*"]).await;
        let running = [host.start(&[node.address()]), everywhere.start(&[node.address()])];
        let mut ours: Vec<String> =
            [&world.owner, &world.admin, &world.member, &world.other].map(|who| who.email.clone()).into();
        ours.sort();
        until(ours.clone(), || host.logins());
        until(5, || everywhere.logins().len());
        let domains = |host: &Host| host.ask("maps", "SELECT name FROM mp_domain ORDER BY name");
        // Postfix's file is written a moment after Dovecot's.
        until(vec!["zylker.example".to_owned()], || domains(&host));
        until(vec!["other.example".to_owned(), "zylker.example".to_owned()], || domains(&everywhere));

        // A change there is none here; one here comes to both.
        let off = world.mode(&world.owner, &world.member, "updateIMAPStatus", json!({"imapAccessEnabled": false})).await;
        let change = off.ok().change().expect("a change");
        for name in ["imap1", "imap2"] {
            applied(&world, &change, name).await;
        }
        let gates = |host: &Host| host.ask("auth", "SELECT mbox FROM mp_gate");
        assert_eq!(gates(&host), [format!("m{}", world.member.account_id)]);

        // Into the host's domains, and out of them again.
        organizations_second_domain(&world, "second.example").await;
        let rename = async |to: String| {
            world.mode(&world.owner, &world.other, "emailupdate", json!({"emailAddress": to})).await.ok();
        };
        rename("otto@second.example".to_owned()).await;
        // The old address stays with the account, so it stays on the host.
        until(true, || host.logins().contains(&"otto@second.example".to_owned()));
        let alias = json!({"emailAlias": [world.other.email]});
        world.mode(&world.owner, &world.other, "deleteEmailAlias", alias).await.ok();
        until(3, || host.logins().len());
        assert!(!host.logins().iter().any(|login| login.starts_with("otto@")), "{:?}", host.logins());
        rename(world.other.email.clone()).await;
        until(5, || host.logins().len());
        assert!(!host.logins().contains(&stranger.email));
        let hashes = host.ask("auth", "SELECT DISTINCT mbox FROM mp_login");
        assert_eq!(hashes.len(), 4);
        for agent in running {
            assert!(crate::sockets::listening(agent.id()).is_empty(), "nobody can knock at an agent");
            assert!(agent.stop().success(), "SIGTERM ends it in order");
        }
    }

    async fn an_agent_that_was_away_goes_on_where_it_was_and_receipts_wait_for_it(test: TestDb) {
        let world = desk(&test).await;
        let node = Service::start(&test.url);
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let agent = host.start(&[node.address()]);
        until(4, || host.logins().len());
        let reset = || async {
            let answer = world.mode(&world.owner, &world.member, "disableMailAccount", json!({})).await;
            let off = answer.ok().change();
            let answer = world.mode(&world.owner, &world.member, "enableMailAccount", json!({})).await;
            (off.expect("a change"), answer.ok().change().expect("a change"))
        };
        let (_, change) = reset().await;
        applied(&world, &change, "imap1").await;
        agent.kill();
        let before = host.logins();
        let (off, on) = reset().await;
        world.mode(&world.owner, &world.other, "disableUser", json!({})).await.ok();
        tokio::time::sleep(Duration::from_secs(1)).await;
        for change in [&off, &on] {
            let receipt = receipt(&world, change).await;
            let (state, what) = on_host(&receipt, "imap1");
            assert_eq!((state.as_str(), receipt["complete"].as_bool()), ("pending", Some(false)), "{receipt:#}");
            assert!(what.contains("the mail host imap1 is at") && what.contains("last heard of"), "{what}");
        }
        assert_eq!((host.logins(), host.ask("auth", "SELECT mbox FROM mp_gate").len()), (before, 0));
        let known = agents::all(&world.app).await.expect("agents");
        assert!(known[0].behind.is_some_and(|behind| behind >= 3), "{known:?}");

        let agent = host.start(&[node.address()]);
        applied(&world, &on, "imap1").await;
        until(1, || host.ask("auth", "SELECT mbox FROM mp_gate").len());
        assert_eq!(agent.said("made anew"), 0, "it resumes");
        assert_eq!(agents::all(&world.app).await.expect("agents")[0].behind, Some(0));

        // Files that are gone are made anew, without a change and without a new start.
        for name in ["auth", "maps"] {
            for entry in std::fs::read_dir(host.folder.join(name)).expect("lists") {
                std::fs::remove_file(entry.expect("lists").path()).expect("deleted");
            }
        }
        agent.says("the look-up files were made anew");
        until(4, || host.logins().len());
        assert_eq!(agent.stop().code(), Some(0));
    }

    async fn a_key_that_is_replaced_on_the_way_in_is_told_nothing(test: TestDb) {
        let world = desk(&test).await;
        let (row, key) = agents::add(&world.app, &world::operator(), "imap1", &["*".to_owned()]).await.expect("added");
        agents::rotate_key(&world.app, &world::operator(), "imap1").await.expect("a new key");
        let (near, far) = tokio::io::duplex(1 << 16);
        let asked = Arc::new(Mutex::new(Vec::<Value>::new()));
        let noting = Arc::clone(&asked);
        tokio::spawn(link::answer(far, SILENCE, move |what: Value| {
            noting.lock().unwrap_or_else(PoisonError::into_inner).push(what);
            async move { Ok(Value::Null) }
        }));
        let held = agents::hold(world.app.clone(), row, key.fingerprint(), Box::new(near), HEARTBEAT);
        tokio::time::timeout(Duration::from_secs(10), held).await.expect("it is given up at once");
        assert!(asked.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }

    async fn a_wrong_key_opens_nothing_and_a_new_one_ends_the_old(test: TestDb) {
        let world = desk(&test).await;
        let node = Service::start(&test.url);
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let agent = host.start(&[node.address()]);
        until(4, || host.logins().len());
        agents::rotate_key(&world.app, &world::operator(), "imap1").await.expect("a new key");
        agent.says("the node does not know this key");

        let http = reqwest::Client::new();
        let url = format!("http://{}{}", node.address(), agents::LINK_PATH);
        let ask = async |key: Option<String>| {
            let mut request = http.get(&url).header("connection", "Upgrade").header("upgrade", agents::PROTOCOL);
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            request.send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask(None).await, 401);
        assert_eq!(ask(Some("0".repeat(64))).await, 401);
        assert_eq!(ask(Some(world.owner.org_token.clone())).await, 401, "a token is no key");
        let mut last = 0;
        for number in 0..=world.app.config.throttle.wrong_per_source {
            last = ask(Some(format!("{number:064}"))).await;
        }
        assert_eq!(last, 429);

        agents::remove(&world.app, &world::operator(), "imap1").await.expect("removed");
        assert!(agents::all(&world.app).await.expect("agents").is_empty());
        agents::remove(&world.app, &world::operator(), "imap1").await.expect_err("removed before");
        assert_eq!(host.logins().len(), 4, "the files stay as they are");
    }
}

async fn organizations_second_domain(world: &World, name: &str) {
    let name = mailward::domain::email_address::DomainName::parse(name).expect("a domain");
    organizations::add_verified_domain(&world.app, &world::operator(), world.zoid, &name)
        .await
        .expect("a new domain");
}

#[test]
fn an_agent_goes_on_with_the_other_node_when_one_is_killed() {
    on_postgres(STEPS, async |test| {
        let world = desk(&test).await;
        let nodes = [Service::start(&test.url), Service::start(&test.url)];
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let agent = host.start(&[nodes[0].address(), nodes[1].address()]);
        until(4, || host.logins().len());
        let node = agents::all(&world.app).await.expect("agents")[0].status.node.clone();
        let (here, there) = if node.contains(&nodes[0].address().to_string()) { (0, 1) } else { (1, 0) };
        let change = async |mode: &str| {
            let answer = world.mode(&world.owner, &world.member, mode, json!({})).await;
            answer.ok().change().expect("a change")
        };
        applied(&world, &change("disableUser").await, "imap1").await;
        nodes[here].kill();
        applied(&world, &change("enableUser").await, "imap1").await;
        until(0, || host.ask("auth", "SELECT mbox FROM mp_gate").len());
        let node = agents::all(&world.app).await.expect("agents")[0].status.node.clone();
        assert!(node.contains(&nodes[there].address().to_string()), "{node}");
        assert_eq!(agent.said("files were made anew"), 1, "at its first start alone");
    });
}

#[test]
fn a_feed_beside_a_transaction_that_stays_open_delays_nobody_and_skips_nobody() {
    on_postgres(STEPS, async |test| {
        let world = desk(&test).await;
        let node = Service::start(&test.url);
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let agent = host.start(&[node.address()]);
        until(4, || host.logins().len());

        // Somebody's change has its place in the outbox, and is not committed.
        let client = postgres::connect(&test.url).await;
        let late = world.other.account_id;
        client
            .batch_execute(&format!(
                "BEGIN; UPDATE account SET imap_off = '{{}}' WHERE id = {late};
                 INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, tries)
                 VALUES (1, {}, {late}, 'look-ups', '{{\"effect\":\"project\"}}', 0, 0)",
                world.zoid
            ))
            .await
            .expect("held");
        let mut last = String::new();
        for number in 0..1_000 {
            let on = number % 2 == 1;
            let who = [&world.owner, &world.admin, &world.member][number / 2 % 3];
            let body = json!({"imapAccessEnabled": on});
            let answer = world.mode(&world.owner, who, "updateIMAPStatus", body).await;
            if let Some(change) = answer.ok().change() {
                last = change;
            }
            if number == 500 {
                until(true, || host.ask("auth", "SELECT mbox FROM mp_gate").len() <= 1);
            }
        }
        // All of them are on again, but the last, which is off.
        let body = json!({"imapAccessEnabled": false});
        let answer = world.mode(&world.owner, &world.member, "updateIMAPStatus", body).await;
        let change = answer.ok().change().expect("a change");
        applied(&world, &change, "imap1").await;
        applied(&world, &last, "imap1").await;
        let gate = |who: i64| format!("m{who}");
        assert_eq!(host.ask("auth", "SELECT mbox FROM mp_gate"), [gate(world.member.account_id)]);
        client.batch_execute("COMMIT").await.expect("let go");
        let mut both = [gate(world.member.account_id), gate(late)];
        both.sort();
        until(both.to_vec(), || host.ask("auth", "SELECT mbox FROM mp_gate ORDER BY mbox"));
        assert_eq!(agent.said("files were made anew"), 1, "at its first start alone");
    });
}

#[test]
fn after_a_restore_into_another_cluster_a_host_is_made_anew_once_and_old_receipts_end() {
    on_postgres(STEPS, async |test| {
        let mut world = desk(&test).await;
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let off = world.mode(&world.owner, &world.member, "disableMailAccount", json!({})).await;
        let off = off.ok().change().expect("a change");
        // As a dump of a cluster that had far more transactions, and had forgotten some.
        let client = postgres::connect(&test.url).await;
        let elsewhere = "UPDATE outbox SET txid = txid + 1000000000;
             INSERT INTO setting (name, value) VALUES ('swept_transaction', '1000000000')";
        client.batch_execute(elsewhere).await.expect("written");
        let now = world.app.clock.now();
        backup::after_pg_restore(&world.app.db, &world::operator(), now).await.expect("restored");
        let owner = world.account(&world.owner).await;
        world.owner.org_token = world::token(&world.app, &owner, ORGANIZATION_SCOPES).await;

        let node = Service::start(&test.url);
        let agent = host.start(&[node.address()]);
        until(4, || host.logins().len());
        applied(&world, &off, "imap1").await;
        let on = world.mode(&world.owner, &world.member, "enableMailAccount", json!({})).await;
        applied(&world, &on.ok().change().expect("a change"), "imap1").await;

        // No Dovecot is there; that alone is what the ending of sessions waits for.
        let start = Instant::now();
        loop {
            let told = "SELECT COUNT(*) FROM outbox WHERE target = 'imap1'
                        AND (outcome IS NULL OR outcome LIKE '%are behind%')";
            let waiting: i64 = client.query_one(told, &[]).await.expect("an answer").get(0);
            if waiting == 0 {
                break;
            }
            assert!(start.elapsed() < SOON, "{waiting} effects wait for the files");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(agent.said("files were made anew"), 1, "after the restore alone");
    });
}

#[test]
fn hosts_whose_network_is_cut_keep_their_last_state_and_go_on_where_they_were() {
    on_postgres(STEPS, async |test| {
        const NODE: u16 = 7443;
        let world = desk(&test).await;
        let machines = Namespaces::make(2);
        let at = machines.own_address(Way::ToClients);
        certificates_for(&test.folder, &at.to_string());
        let path = |name: &str| test.folder.join(name).to_str().expect("UTF-8").to_owned();
        let tls = [
            ("MAILWARD_SERVER_TLS_CERT", &*path("server.crt")),
            ("MAILWARD_SERVER_TLS_KEY", &*path("server.key")),
        ];
        let _node = Service::start_on::<&str>(&[], SocketAddr::from((at, NODE)), &test.url, &tls);
        let near = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let far = Host::new(&world.app, &test.folder, "imap2", &["*"]).await;
        let start = |host: &Host, machine: usize| {
            host.start_on(
                &machines.wrapper(machine),
                &[
                    ("MAILWARD_MAIL_AGENT_NODES", &format!("https://{at}:{NODE}")),
                    ("MAILWARD_MAIL_AGENT_CA_FILE", &path("authority.pem")),
                ],
            )
        };
        let (_near_agent, far_agent) = (start(&near, 0), start(&far, 1));
        until(4, || near.logins().len());
        until(4, || far.logins().len());
        // It says so a moment after the logins are there.
        far_agent.says("were made anew");
        let made_anew = far_agent.said("were made anew");
        let gates = |host: &Host| host.ask("auth", "SELECT mbox FROM mp_gate").len();
        let switch = async |mode: &str| {
            let answer = world.mode(&world.owner, &world.member, mode, json!({})).await;
            answer.ok().change().expect("a change")
        };

        // For moments: what was on its way arrives, over the same connection.
        machines.cut(Way::ToClients, 1, true);
        let off = switch("disableMailAccount").await;
        applied(&world, &off, "imap1").await;
        assert_eq!((gates(&near), gates(&far)), (1, 0));
        machines.cut(Way::ToClients, 1, false);
        applied(&world, &off, "imap2").await;
        assert_eq!((gates(&far), far_agent.said("a node is here")), (1, 1));

        // Until both ends have given the connection up: nobody was told that it is gone.
        machines.cut(Way::ToClients, 1, true);
        let on = switch("enableMailAccount").await;
        applied(&world, &on, "imap1").await;
        far_agent.says_within(SILENCE + SOON, "the node is gone; the files stay as they are");
        let told = receipt(&world, &on).await;
        assert_eq!(
            (on_host(&told, "imap2").0.as_str(), told["complete"].as_bool()),
            ("pending", Some(false)),
            "{told:#}"
        );
        assert_eq!((gates(&near), gates(&far)), (0, 1), "the last state holds");
        let behind: Vec<_> =
            agents::all(&world.app).await.expect("agents").iter().map(|one| one.behind).collect();
        assert!(behind[0] == Some(0) && behind[1].is_some_and(|behind| behind > 0), "{behind:?}");

        machines.cut(Way::ToClients, 1, false);
        applied(&world, &on, "imap2").await;
        assert_eq!(gates(&far), 0);
        assert_eq!(far_agent.said("were made anew"), made_anew, "it resumes");
    });
}

#[test]
fn an_agent_whose_links_break_at_once_comes_back_more_and_more_slowly() {
    on_sqlite(STEPS, async |test| {
        let world = desk(&test).await;
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
        let agent = host.start(&[door.local_addr().expect("an address")]);
        let mut came = Vec::new();
        while came.len() < 5 {
            let (mut link, _) = door.accept().await.expect("the agent");
            came.push(Instant::now());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(link.read_u8().await.expect("a request"));
            }
            let taken = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {}\r\n\r\n",
                agents::PROTOCOL
            );
            link.write_all(taken.as_bytes()).await.expect("sent");
        }
        agent.says("the node is gone; the files stay as they are");
        let pauses: Vec<_> = came.windows(2).map(|two| two[1] - two[0]).collect();
        // A quarter of a second, doubled with each, and half of it at least.
        for (pause, least) in pauses.iter().zip([250, 500, 1000, 2000]) {
            assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
        }
    });
}
