//! What "durable" means, seen from the kernel: between a request and its success answer the fresh
//! value is written to the database's log and the log is flushed. Watched with `strace`, which must
//! be there: without it these tests fail.

use std::path::Path;
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::domain::actor::Role;
use mailward::store::engine::{Db, durability, migrate};
use mailward::store::migrations::STEPS;
use serde_json::json;
use tokio_postgres::NoTls;

use crate::support::databases::{on_sqlite, options, runtime};
use crate::support::postgres::Server;
use crate::support::service::{Heard, Service};
use crate::support::world::{self, World, config};

const REQUESTS: usize = 20;

/// Everything through which a request, a value or an answer passes, and the flushes.
const CALLS: &str =
    "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fsync,fdatasync";

/// `strace` in front of a program, which keeps its process number (`-D`): with every thread and
/// child, the names of files, and whole buffers.
fn strace(trace: &Path) -> Vec<String> {
    let trace = trace.display().to_string();
    ["strace", "-D", "-f", "-y", "-s", "20000", "-o", &trace, "-e", CALLS].map(str::to_owned).to_vec()
}

/// What was traced, in the order in which it ended.
struct Trace(Vec<String>);

impl Trace {
    /// Reads the whole trace, once the program has ended.
    fn read(file: &Path) -> Self {
        let start = Instant::now();
        loop {
            let text =
                String::from_utf8_lossy(&std::fs::read(file).expect("strace has written")).into_owned();
            if text.lines().last().is_some_and(|line| line.contains("+++ ")) {
                return Self(text.lines().map(str::to_owned).collect());
            }
            let last = text.lines().last().unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(30), "strace does not end: {last}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The place of the first line after `start` that has all of this.
    #[track_caller]
    fn after(&self, start: usize, what: &str, all: &[&str]) -> usize {
        let found = self.0.iter().skip(start + 1).position(|line| all.iter().all(|part| line.contains(part)));
        found.map_or_else(
            || panic!("no {what} after line {start}:\n{}", self.excerpt(start)),
            |place| start + 1 + place,
        )
    }

    /// The place of the end of a successful flush of such a file that was begun after `start`.
    #[track_caller]
    fn flushed_after(&self, start: usize, file: &str) -> usize {
        let flushes =
            |line: &str| (line.contains("fdatasync(") || line.contains("fsync(")) && line.contains(file);
        let mut begun = Vec::new();
        for (place, line) in self.0.iter().enumerate().skip(start + 1) {
            let process = line.split(' ').next().unwrap_or_default();
            if flushes(line) && line.ends_with("= 0") {
                return place;
            } else if flushes(line) && line.contains("<unfinished") {
                begun.push(process);
            } else if line.contains("sync resumed>") && line.ends_with("= 0") && begun.contains(&process) {
                return place;
            }
        }
        panic!("no flush of {file} after line {start}:\n{}", self.excerpt(start))
    }

    /// A part of the trace for people.
    fn excerpt(&self, start: usize) -> String {
        let short = |line: &String| line.chars().take(200).collect::<String>();
        self.0.iter().skip(start).take(60).map(short).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn on_sqlite_every_answer_waits_for_a_flush_of_the_log() {
    on_sqlite(STEPS, async |test| {
        let app = App::new(test.db.clone(), config(), Clock::System, Random::System).await.expect("a house");
        let (zoid, domain) = world::organization(&app, "Zylker", "zylker.example").await;
        let owner = world::someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let member = world::someone(&app, zoid, &format!("mia@{domain}"), Role::Member).await;
        let said = durability(&test.db).await.expect("the settings can be read");
        assert!(said.contains(&("journal_mode".to_owned(), "wal".to_owned())), "{said:?}");
        assert!(said.contains(&("synchronous".to_owned(), "full".to_owned())), "{said:?}");
        test.db.close().await;

        let file = test.folder.join("trace");
        let service = Service::start_under(&strace(&file), &test.url);
        let caller = service.caller(zoid.get(), &owner.org_token);
        for number in 0..REQUESTS {
            let body =
                json!({"mode": "displaynameupdate", "zuid": member.zuid, "displayName": fresh(number)});
            let heard = caller.put(&body).await;
            assert!(matches!(heard, Heard::Answer(200, Some(_), _)), "the call succeeds");
        }
        service.kill();
        let trace = Trace::read(&file);
        let mut before = 0;
        for number in 0..REQUESTS {
            let value = fresh(number);
            let asked = trace.after(before, "request", &["mode", "displaynameupdate", &value]);
            let written = trace.after(asked, "write of the value", &["pwrite", "-wal>", &value]);
            let flushed = trace.flushed_after(written, "-wal>");
            let answered = trace.after(asked, "answer", &["HTTP/1.1 200"]);
            assert!(
                flushed < answered,
                "{value} is answered before it is flushed:\n{}",
                trace.excerpt(asked)
            );
            before = answered;
        }
    });
}

#[test]
fn on_postgres_every_answer_waits_for_a_flush_of_the_log() {
    let server = Server::start_under(|folder| strace(&folder.join("trace")), 5435, |_| Vec::new());
    let file = server.folder.join("trace");
    let trace = runtime().block_on(async {
        let db = Db::open(&server.url, &options()).expect("the URL is good");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let said = durability(&db).await.expect("the settings can be read");
        for (setting, value) in [("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")] {
            assert!(said.contains(&(setting.to_owned(), value.to_owned())), "{said:?}");
        }
        let world = World::start(db.clone()).await;
        // What is said on this connection shows in the trace when requests and answers passed.
        let (marker, connection) = tokio_postgres::connect(&server.url, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let mark =
            async |text: String| marker.batch_execute(&format!("SELECT '{text}'")).await.expect("a mark");
        for number in 0..REQUESTS {
            mark(format!("asking {number}.")).await;
            let body = json!({"displayName": fresh(number)});
            assert!(
                world
                    .mode(&world.owner, &world.member, "displaynameupdate", body)
                    .await
                    .ok()
                    .change()
                    .is_some()
            );
            mark(format!("answered {number}.")).await;
        }
        db.close().await;
        // The folder goes with the server, and the trace is whole when the server has ended.
        let copy = tempfile::NamedTempFile::new().expect("a file");
        std::fs::hard_link(&file, copy.path().with_extension("trace")).expect("one file system");
        drop(server);
        let kept = copy.path().with_extension("trace");
        let trace = Trace::read(&kept);
        std::fs::remove_file(kept).expect("it was there");
        trace
    });
    let mut before = 0;
    for number in 0..REQUESTS {
        let asking = trace.after(before, "mark", &["recvfrom", &format!("asking {number}.")]);
        let sent = trace.after(asking, "value", &["recvfrom", &fresh(number)]);
        let process = trace.0[sent].split(' ').next().unwrap_or_default().to_owned();
        // They come together: the last writes travel with their COMMIT.
        let commit = match trace.0[sent].contains("COMMIT") {
            true => sent,
            false => trace.after(sent, "COMMIT", &[process.as_str(), "recvfrom", "COMMIT"]),
        };
        let flushed = trace.flushed_after(commit, "/pg_wal/");
        let committed = trace.after(commit, "confirmation", &[process.as_str(), "sendto(", "COMMIT"]);
        let answered = trace.after(sent, "mark", &["recvfrom", &format!("answered {number}.")]);
        assert!(flushed < committed && committed < answered, "{number}:\n{}", trace.excerpt(asking));
        before = answered;
    }
}

/// A value that no request before had.
fn fresh(number: usize) -> String {
    format!("Fresh value {number}.")
}
