//! A mail host with an agent, seen by its clients: real Postfix and Dovecot on files that the agent keeps, and a
//! node that it reaches over HTTP alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::organizations;
use mailward::app::random::Random;
use mailward::clock::{Clock, MINUTE};
use mailward::domain::actor::Role;
use mailward::mailserver::private::Ports;
use mailward::store::engine::Db;
use mailward::store::migrations::STEPS;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::clients::{Imap, Smtp};
use super::lab::{Lab, LabDir, Wishes};
use crate::support::agent::{Agent, Host, until};
use crate::support::databases::{options, runtime};
use crate::support::postgres::{self, Database};
use crate::support::service::Service;
use crate::support::world::{self, PASSWORD, Someone, World, config};

const NEW: &str = "another-horse-8";
const NEWER: &str = "a-third-horse-9";
const CUT_OFF: &str = "NO [ALERT] This mail host has lost contact with the account desk. Try again later.";
const WRONG: &str = "NO [AUTHENTICATIONFAILED] Authentication failed.";

/// A node, a mail host with its agent, and a desk to work at beside the node.
struct Stage {
    agent: Option<Agent>,
    lab: Lab,
    host: Host,
    node: Service,
    world: World,
    runtime: Runtime,
    _database: Option<Database>,
    _dir: LabDir,
}

impl Stage {
    fn postgres() -> Self {
        let database = postgres::fresh(STEPS);
        Self::on(&database.url.clone(), Some(database), LabDir::new())
    }

    fn sqlite() -> Self {
        let dir = LabDir::new();
        let url = format!("sqlite:{}", dir.path.join("mailward.sqlite").display());
        Self::on(&url, None, dir)
    }

    fn on(url: &str, database: Option<Database>, dir: LabDir) -> Self {
        let runtime = runtime();
        let ports = Ports::free();
        let (world, mut host) = runtime.block_on(async {
            let db = Db::open(url, &options()).expect("the URL is good");
            mailward::app::open::bring_up(&db, 0).await.expect("tables");
            let mut config = config();
            // The least that Dovecot takes.
            config.passwords.memory_kib = 64;
            let app =
                App::new(db, config, Clock::System, Random::System).await.expect("a good configuration");
            let world = World::around(app).await;
            let host = Host::new(&world.app, &dir.path, "host", &["zylker.example", "other.example"]).await;
            (world, host)
        });
        host.folder = dir.path.clone();
        host.groups = ["mwauth", "mwmaps"];
        host.doveadm_url = format!("http://127.0.0.1:{}", ports.doveadm);
        fs::write(&host.doveadm_key, "lab-doveadm-key\n").expect("a key");
        fs::set_permissions(&host.doveadm_key, fs::Permissions::from_mode(0o600)).expect("a mode");
        let node = Service::start_with(
            url,
            &[("MAILWARD_PASSWORDS_MEMORY_KIB", "64"), ("MAILWARD_PASSWORDS_PASSES", "1")],
        );
        let agent = host.start(&[node.address()]);
        until(4, || host.logins().len());
        // At the end of a rebuild Dovecot is reloaded: not one that has just begun to take logins.
        agent.says("Dovecot could not be reloaded");
        let lab = Lab::start_at(ports, &dir, dir.sqlite(), Wishes::default());
        Self { agent: Some(agent), lab, host, node, world, runtime, _database: database, _dir: dir }
    }

    fn block<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn reset(&self, who: &Someone, password: &str) -> String {
        let body = json!({"password": password, "oneTimePassword": false});
        let answer = self.block(self.world.mode(&self.world.owner, who, "resetPassword", body));
        answer.ok().change().expect("a change")
    }

    fn receipt(&self, change: &str) -> Value {
        let path = format!("/api/organization/{}/changes/{change}", self.world.zoid);
        self.block(self.world.get(&self.world.owner.org_token, &path)).ok().json()["data"].clone()
    }

    fn complete(&self, change: &str) -> Value {
        let start = Instant::now();
        loop {
            let receipt = self.receipt(change);
            if receipt["complete"] == true {
                return receipt;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{receipt:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn login(&self, who: &Someone, password: &str) -> String {
        Imap::connect(self.lab.imap).login(&who.email, password)
    }

    fn opens(&self, who: &Someone, password: &str) -> bool {
        self.login(who, password).starts_with("OK")
    }

    fn start_agent(&mut self) {
        self.agent = Some(self.host.start(&[self.node.address()]));
    }

    fn kill_agent(&mut self) {
        self.agent.take().expect("it runs").kill();
    }

    /// Mail to somebody from outside, as Postfix takes it.
    fn takes_mail(&self, who: &Someone) -> bool {
        Smtp::connect(self.lab.smtp).rcpt("somebody@elsewhere.example", &who.email).starts_with("250")
    }

    /// As if the last word of a node had been so long ago.
    fn time_passes(&self, minutes: i64) {
        let auth = self.host.file("auth").expect("the file");
        auth.execute("UPDATE contact SET at = at - ?1", [minutes * MINUTE]).expect("written");
    }
}

/// Effect and state of each part about a host.
fn parts(receipt: &Value, host: &str) -> Vec<(String, String)> {
    let all = receipt["effects"].as_array().expect("effects").iter();
    let text = |part: &Value, key: &str| part[key].as_str().expect("a text").to_owned();
    all.filter(|part| part["server"] == host)
        .map(|part| (text(part, "effect"), text(part, "state")))
        .collect()
}

/// A reset ends what it must on the host; while the agent is away everything goes on, and afterwards it is made good.
fn story(mut stage: Stage) {
    let mia = stage.world.member.clone();
    let mut old = Imap::open(stage.lab.imap, &mia.email, PASSWORD);
    old.idle();
    let mut bystander = Imap::open(stage.lab.imap, &stage.world.other.email, PASSWORD);
    let change = stage.reset(&mia, NEW);
    let (took, _) = old.until_closed(Duration::from_secs(20)).expect("the session ends");
    println!("a session on a host with an agent ended {took:.1?} after the reset");
    assert_eq!(stage.login(&mia, PASSWORD), WRONG);
    assert!(stage.opens(&mia, NEW) && bystander.is_open());
    let receipt = stage.complete(&change);
    let mut told = parts(&receipt, "host");
    told.sort();
    let pair = |effect: &str, state: &str| (effect.to_owned(), state.to_owned());
    assert_eq!(told, [pair("end_sessions", "verified"), pair("project", "applied")], "{receipt:#}");

    // Away: the last state holds.
    stage.kill_agent();
    let change = stage.reset(&mia, NEWER);
    assert!(stage.opens(&mia, NEW) && stage.takes_mail(&mia));
    std::thread::sleep(Duration::from_secs(1));
    let receipt = stage.receipt(&change);
    let told = parts(&receipt, "host");
    assert!(!told.is_empty() && told.iter().all(|(_, state)| state == "pending"), "{receipt:#}");
    let mut left = Imap::open(stage.lab.imap, &mia.email, NEW);
    left.idle();

    // Back: it goes on where it was.
    stage.start_agent();
    left.until_closed(Duration::from_secs(30)).expect("the session ends");
    stage.complete(&change);
    assert_eq!(stage.login(&mia, NEW), WRONG);
    assert!(stage.opens(&mia, NEWER));
    let agent = stage.agent.take().expect("it runs");
    assert_eq!(agent.said("made anew"), 0, "it resumes");
    assert!(agent.stop().success());
    assert!(stage.opens(&mia, NEWER) && stage.takes_mail(&mia));
}

#[test]
fn a_host_with_an_agent_obeys_a_node_on_postgres_and_outlives_its_absence() {
    story(Stage::postgres());
}

#[test]
fn a_host_with_an_agent_obeys_a_node_on_sqlite_and_outlives_its_absence() {
    story(Stage::sqlite());
}

#[test]
fn a_host_that_was_cut_off_does_what_each_organization_chose() {
    let mut stage = Stage::postgres();
    let mia = stage.world.member.clone();
    let patient = stage.block(async {
        let (zoid, domain) = world::organization(&stage.world.app, "Other", "other.example").await;
        let patient = world::someone(&stage.world.app, zoid, &format!("pat@{domain}"), Role::Member).await;
        organizations::update(&stage.world.app, &world::operator(), stage.world.zoid, |organization, _| {
            organization.policy.cut_off_minutes = 60;
            Ok(())
        })
        .await
        .expect("a policy");
        patient
    });
    let stage = &mut stage;
    until(vec!["60".to_owned()], || {
        stage.host.ask(
            "auth",
            "SELECT DISTINCT CAST(cut_minutes AS TEXT) FROM account WHERE cut_minutes IS NOT NULL",
        )
    });
    until(5, || stage.host.logins().len());
    // Another domain: Dovecot has not been asked for it before.
    until(true, || stage.opens(&patient, PASSWORD));
    assert!(stage.opens(&mia, PASSWORD));
    let mut open = Imap::open(stage.lab.imap, &mia.email, PASSWORD);

    stage.kill_agent();
    stage.time_passes(59);
    assert!(stage.opens(&mia, PASSWORD), "it is not that long yet");
    stage.time_passes(2);
    assert_eq!(stage.login(&mia, PASSWORD), CUT_OFF);
    assert_eq!(stage.login(&mia, "not-this-one"), WRONG, "only the right password learns why");
    assert!(stage.opens(&patient, PASSWORD), "this organization goes on");
    assert!(stage.takes_mail(&mia) && open.is_open());
    // After a boot of the host, too.
    stage.lab.stop_dovecot();
    stage.lab.start_dovecot();
    assert_eq!(stage.login(&mia, PASSWORD), CUT_OFF);

    stage.start_agent();
    until(true, || stage.opens(&mia, PASSWORD));
}
