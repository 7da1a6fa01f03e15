//! Killed at each step of the order of a change, one after the other, by the process's own hand
//! (`mailward::crash`). Afterwards state, audit, outbox and look-ups agree, and what was to be told to the
//! mail server was told. The mail server is one that listens and has nobody on it.
#![cfg(debug_assertions)]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailward::app::audit::{seal, verify};
use mailward::crash::Point;
use mailward::store::engine::{EngineKind, params};
use mailward::store::mail_servers::{self, MailServerRow};
use mailward::store::outbox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::support::world::keys_file;

const SERVER: &str = "mx1";
/// So many times at each point.
const ROUNDS: u32 = 2;
const ROUNDS_IN_THE_LONG_RUN: u32 = 20;

/// What the mail server was asked to end.
type Ended = Arc<Mutex<BTreeSet<String>>>;

/// A doveadm that answers as Dovecot does when nobody is there, and remembers.
async fn dovecot() -> (u16, Ended) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let ended = Ended::default();
    let told = Arc::clone(&ended);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&told)));
        }
    });
    (port, ended)
}

async fn answer(mut stream: TcpStream, told: Ended) -> std::io::Result<()> {
    let mut request = Vec::new();
    let commands: Value = loop {
        let mut part = [0; 8192];
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request);
        let whole = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(commands) = whole {
            break commands;
        }
    };
    let mut answers = Vec::new();
    for command in commands.as_array().into_iter().flatten() {
        if command[0] == "kick" {
            let masks = command[1]["mask"].as_array().into_iter().flatten();
            let masks = masks.filter_map(|mask| mask.as_str().map(str::to_owned));
            told.lock().expect("nobody panics with it").extend(masks);
            answers.push(json!(["error", {"type": "exitCode", "exitCode": 68}, command[2]]));
        } else {
            answers.push(json!(["doveadmResponse", [], command[2]]));
        }
    }
    let body = Value::from(answers).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

fn start(database: &str, variables: &[(&str, String)]) -> Service {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Service::start_with(database, &variables)
}

/// Everything that a round needs.
struct Stage<'a> {
    test: &'a TestDb,
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Stage<'_> {
    /// A service that ends itself at the point, under load, at the given passage.
    async fn die_at(&mut self, point: Point, passage: u32) -> usize {
        let mut variables = self.variables.clone();
        variables.push(("MAILWARD_TEST_CRASH_AT", format!("{point:?}:{passage}")));
        let service = start(&self.test.url, &variables);
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for client in self.place.people.drain(..) {
            let caller = service.caller(self.place.zoid, &self.place.token);
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            tasks.spawn(async move { client.work(caller, &acknowledged, &stop).await });
        }
        // Somebody asks for what is refused, over and over.
        let refused = service.caller(self.place.zoid, &self.place.token);
        let refusing = tokio::spawn(async move {
            while let Heard::Answer(status, _, text) =
                refused.put(&json!({"mode": "disableUser", "zuid": 1})).await
            {
                assert!([404, 503].contains(&status), "{status} {text}");
            }
        });
        self.place.people.extend(tasks.join_all().await);
        refusing.await.expect("nothing but refusals");
        let status = service.ended(Duration::from_secs(20));
        let signal = status.and_then(|status| status.signal());
        assert_eq!(signal, Some(6), "{point:?}:{passage} was not where it ended: {status:?}");
        acknowledged.load(Ordering::Relaxed)
    }

    /// Started again: what is stored agrees, and the look-up files with it.
    async fn look(&mut self, point: Point) {
        let service = start(&self.test.url, &self.variables);
        let db = Db::open(&self.test.url, &options()).expect("the database opens");
        self.place.look(&db).await;
        db.close().await;
        if self.test.db.engine() == EngineKind::Sqlite {
            let said = self.program(&["projection", "verify"]);
            assert!(said.status.success(), "after {point:?}: {said:?}");
        }
        drop(service);
    }

    fn program(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailward"));
        command.args(arguments).args(["--database", &self.test.url]).env_clear();
        command.env("MAILWARD_KEYS_FILE", keys_file());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command.output().expect("the program runs")
    }

    /// Whatever was to be told is told, and the audit log is whole.
    async fn settle(&self, ended: &Ended) {
        let service = start(&self.test.url, &self.variables);
        let db = Db::open(&self.test.url, &options()).expect("the database opens");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = {
                let mut tx = db.read().await.expect("a connection");
                outbox::backlog_of(&mut tx, SERVER).await.expect("readable").waiting
            };
            if left == 0 {
                break;
            }
            assert!(Instant::now() < until, "{left} effects still wait for the mail server");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let masks = {
            let mut tx = db.read().await.expect("a connection");
            let sql = "SELECT effect FROM outbox WHERE target = $1";
            tx.query_all(sql, params![SERVER], |row| row.get::<String>("effect")).await.expect("readable")
        };
        let ended = ended.lock().expect("nobody panics with it").clone();
        assert!(!masks.is_empty(), "sessions were to be ended");
        for effect in masks {
            let effect: Value = serde_json::from_str(&effect).expect("JSON");
            let mailbox = effect["mailbox"].as_str().unwrap_or_default();
            assert!(ended.contains(&format!("{mailbox}@*")), "{effect} was not told: {ended:?}");
        }
        service.kill();
        let app = App::new(db.clone(), config(), Clock::System, Random::System).await.expect("a house");
        // Another's lease on the work has to end first.
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            seal::seal_now(&app).await.expect("sealed");
            let logs = verify::verify_database(&app, None, &[], &[]).await.expect("readable");
            if logs.iter().all(|log| log.findings.is_empty() && log.entries > 0) {
                break;
            }
            assert!(Instant::now() < patience, "{logs:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        db.close().await;
    }
}

/// Whether the point lies on the way of this engine: PostgreSQL has views in place of look-up files.
fn is_passed(point: Point, engine: EngineKind) -> bool {
    match point {
        Point::Projecting | Point::BetweenLookUps | Point::Projected => engine == EngineKind::Sqlite,
        Point::Entered
        | Point::Prepared
        | Point::Begun
        | Point::Planned
        | Point::Saved
        | Point::Audited
        | Point::Enqueued
        | Point::Committing
        | Point::Committed
        | Point::Answering
        | Point::Refusing
        | Point::RefusalCounted
        | Point::Claimed
        | Point::Told
        | Point::Finished
        | Point::Sealing
        | Point::Sealed => true,
    }
}

async fn kill_at_every_point(test: TestDb) {
    let (port, ended) = dovecot().await;
    let key = test.folder.join("doveadm.key");
    std::fs::write(&key, "a key of sixteen letters or more\n").expect("a file");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let place = Place::make(&test.db).await;
    let row = MailServerRow {
        name: SERVER.to_owned(),
        url: format!("http://127.0.0.1:{port}"),
        key_file: key.display().to_string(),
        certificate_sha256: None,
        ca_file: None,
        created_at: 0,
    };
    test.db.write(async move |tx| mail_servers::put(tx, &row).await).await.expect("a mail server");
    let engine = test.db.engine();
    let mut variables = Vec::new();
    if engine == EngineKind::Sqlite {
        // Whoever opens the file first after the end has to put it in order: that shall be the service.
        test.db.close().await;
        variables.push(("MAILWARD_MAIL_AUTH_DIR", test.folder.join("auth").display().to_string()));
        variables.push(("MAILWARD_MAIL_MAPS_DIR", test.folder.join("maps").display().to_string()));
        // A machine need not have the groups of mail servers.
        variables.push(("MAILWARD_MAIL_AUTH_GROUP", String::new()));
        variables.push(("MAILWARD_MAIL_MAPS_GROUP", String::new()));
    }
    let mut stage = Stage { test: &test, place, variables };
    let long = std::env::var_os("MAILWARD_TEST_LONG").is_some();
    let rounds = if long { ROUNDS_IN_THE_LONG_RUN } else { ROUNDS };
    let (mut moments, mut points, mut total) = (moments(), 0, 0);
    for point in Point::ALL.into_iter().filter(|point| is_passed(*point, engine)) {
        points += 1;
        for round in 0..rounds {
            // At its first passage, and at a later one, when others are on their way.
            let passage = if round == 0 { 1 } else { moments.random_range(2..7) };
            total += stage.die_at(point, passage).await;
            stage.look(point).await;
        }
    }
    stage.settle(&ended).await;
    println!("{engine:?}: {points} points, {rounds} rounds each, {total} changes were acknowledged");
}

both_engines! {
    async fn killed_at_any_step_of_a_change_it_is_done_or_not_done(test: TestDb) {
        kill_at_every_point(test).await;
    }
}
