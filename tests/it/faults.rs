//! What the machine does to us: a full disk, a file system that takes no writes, a clock that jumps. A
//! clear error each, nothing damaged, and no restart needed afterwards.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailward::app::audit::seal;
use mailward::app::backup;
use mailward::app::metrics::render;
use mailward::app::tidy;
use mailward::clock::{HOUR, MINUTE};
use mailward::config::Database;
use mailward::store;
use mailward::store::engine::{Db, migrate};
use mailward::store::migrations::STEPS;
use serde_json::json;

use crate::cli::Place;
use crate::support::databases::{TestDb, options, runtime};
use crate::support::service::{Heard, Service};
use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, START, World, config, operator};

/// A small file system in memory; gone with the test.
struct Disk(PathBuf);

impl Disk {
    fn of(megabytes: u32, place: &Path) -> Self {
        Self::of_kib(megabytes << 10, place)
    }

    fn of_kib(kib: u32, place: &Path) -> Self {
        std::fs::create_dir_all(place).expect("a folder");
        let disk = Self(place.to_owned());
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"]);
        disk
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let done = Command::new(program).args(arguments).arg(&self.0).output().expect("the program is there");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Takes everything that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn whole(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the database");
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok");
}

#[test]
fn on_a_full_disk_changes_are_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::of(16, &folder.path().join("disk"));
    let path = disk.0.join("mailward.db");
    runtime().block_on(async {
        let db = Db::open(&format!("sqlite:{}", path.display()), &options()).expect("a database");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let world = World::start(db.clone()).await;
        disk.fill();
        // What the log had room for already is accepted.
        let (mut accepted, mut refused) = (String::new(), None);
        for number in 0..2_000 {
            let name = format!("Mia {number}");
            let body = json!({"displayName": name});
            let answer = world.own_mode(&world.member, "displaynameupdate", body).await;
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
            accepted = name;
        }
        let refused = refused.expect("a full disk is noticed");
        let why = refused.refused(503, "SERVICE_UNAVAILABLE");
        assert!(why.contains("disk") && refused.headers.contains_key("retry-after"), "{why}");
        // Reading goes on, for programs and for browsers; the service is ready for that.
        let path_of_member = format!("/api/accounts/{}", world.member.account_id);
        let shown = world.get(&world.member.user_token, &path_of_member).await;
        assert_eq!(shown.ok().json()["data"]["displayName"], accepted, "{}", shown.text);
        world.send("GET", "/health/ready", &[], "").await.ok();
        for _ in 0..3 {
            world
                .own_mode(&world.member, "displaynameupdate", json!({"displayName": "No"}))
                .await
                .refused(503, "SERVICE_UNAVAILABLE");
        }

        disk.clear();
        world.own_mode(&world.member, "displaynameupdate", json!({"displayName": "Back"})).await.ok();
        world.settle().await;
        let account = world.account(&world.member).await;
        assert_eq!(account.profile.display_name, "Back");
        db.close().await;
    });
    whole(&path);
}

#[test]
fn a_restore_onto_a_disk_that_is_too_small_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.sqlite");
    runtime().block_on(async {
        let url = format!("sqlite:{}", folder.path().join("mailward.db").display());
        let db = Db::open(&url, &options()).expect("a database");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let _world = World::start(db.clone()).await;
        backup::backup(&db, &copy).await.expect("a copy");
        let size = std::fs::metadata(&copy).expect("the copy").len();
        let least = u32::try_from(size >> 10).expect("a small one");
        let mut refusals = BTreeSet::new();
        for kib in (least - 64..).step_by(4) {
            let disk = Disk::of_kib(kib, &folder.path().join("disk"));
            let path = disk.0.join("mailward.db");
            let database = Database { url: format!("sqlite:{}", path.display()), ..Database::default() };
            match backup::restore(&database, &copy, &operator(), START).await {
                Err(why) => {
                    refusals.insert(why.to_string());
                    let left: Vec<_> = std::fs::read_dir(&disk.0).expect("a folder").collect();
                    assert!(left.is_empty(), "{kib} KiB: {why}: {left:?}");
                }
                Ok(()) => {
                    whole(&path);
                    let restored = rusqlite::Connection::open(&path).expect("the database");
                    let tokens =
                        restored.query_row("SELECT COUNT(*) FROM access_token", [], |row| row.get(0));
                    assert_eq!(tokens, Ok(0), "what was given out is void");
                    break;
                }
            }
            assert!(kib < 4 * least, "{refusals:?}");
        }
        assert!(refusals.iter().all(|why| why.contains("disk") || why.contains("space")), "{refusals:?}");
        db.close().await;
    });
}

#[test]
fn look_up_files_on_a_full_disk_are_told_and_caught_up_by_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::of(1, &folder.path().join("disk"));
    runtime().block_on(async {
        let db = Db::open(&format!("sqlite:{}", folder.path().join("mailward.db").display()), &options());
        let db = db.expect("a database");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let mut config = config();
        config.mail.auth_dir = Some(disk.0.join("auth"));
        config.mail.maps_dir = Some(disk.0.join("maps"));
        (config.mail.auth_group, config.mail.maps_group) = (String::new(), String::new());
        let world = World::start_with(db.clone(), config).await;
        world.settle().await;
        disk.fill();
        // The database's own disk has room: the change is made and told, and the mail servers wait for it.
        let mut behind = false;
        for number in 0..400 {
            let alias = json!({"emailAlias": [format!("mia{number}.with-a-long-alias@zylker.example")]});
            let mode = if number % 2 == 0 { "addEmailAlias" } else { "deleteEmailAlias" };
            let previous =
                json!({"emailAlias": [format!("mia{}.with-a-long-alias@zylker.example", number - 1)]});
            let body = if number % 2 == 0 { alias } else { previous };
            world.mode(&world.admin, &world.member, mode, body).await.ok();
            let newest =
                store::outbox::newest(&mut db.read().await.expect("a connection")).await.expect("a position");
            behind = !world.app.projector.shows(newest);
            if behind {
                break;
            }
        }
        assert!(behind, "a full disk is noticed");
        let done = world.mode(&world.admin, &world.other, "disableMailAccount", json!({})).await;
        assert!(done.ok().change().is_some());
        let lag = render(&world.app).await.expect("metrics");
        assert!(!lag.contains("mailward_projection_lag_positions 0"), "the alert has what it needs");

        disk.clear();
        world.app.projector.catch_up(&db).await.expect("the worker's next turn");
        let drift = world.app.projector.verify(&db, false).await.expect("compared");
        assert!(drift.is_clean(), "the look-up files are right again");
        db.close().await;
    });
}

/// Lets system calls fail in a running program, until this is dropped.
struct Broken(Child);

impl Broken {
    /// Those that write to files.
    fn writes(process: u32, error: &str) -> Self {
        Self::calls(process, "pwrite64,pwritev,ftruncate,fallocate", &format!("error={error}"))
    }

    /// The next one that syncs, of each thread.
    fn next_sync(process: u32) -> Self {
        Self::calls(process, "fsync,fdatasync", "error=EIO:when=1")
    }

    fn calls(process: u32, calls: &str, how: &str) -> Self {
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &process.to_string(), "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{how}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is there");
        let said = std::io::BufReader::new(strace.stderr.take().expect("a pipe"));
        let mut said = std::io::BufRead::lines(said);
        let first = said.next();
        // It says so of each new thread, and ends where nobody listens.
        std::thread::spawn(move || said.for_each(drop));
        assert!(
            first.is_some_and(|line| line.is_ok_and(|line| line.contains("attached"))),
            "strace attaches"
        );
        Self(strace)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // It lets go of the program when it is asked to end, and not when it is killed.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or_default()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// An organization, a member and a token that lives on, in a new database.
fn somebody(url: &str) -> (i64, i64, String) {
    let found = runtime().block_on(async {
        let db = Db::open(url, &options()).expect("a database");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let world = World::start(db.clone()).await;
        let found = (world.zoid.get(), world.member.zuid, world.owner.org_token.clone());
        db.close().await;
        found
    });
    let connection = rusqlite::Connection::open(url.trim_start_matches("sqlite:")).expect("the database");
    connection.execute("UPDATE access_token SET expires_at = 9000000000000", []).expect("tokens live on");
    found
}

/// What is stored of the member.
fn name_in(path: &Path, zuid: i64) -> String {
    let connection = rusqlite::Connection::open(path).expect("the database");
    let sql = "SELECT display_name FROM person WHERE id = $1";
    connection.query_row(sql, [zuid], |row| row.get(0)).expect("a name")
}

#[test]
fn a_change_whose_sync_failed_does_not_come_back_after_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mailward.db");
    let url = format!("sqlite:{}", path.display());
    let (zoid, zuid, token) = somebody(&url);
    let service = Service::start(&url);
    let confirmed = runtime().block_on(async {
        let caller = service.caller(zoid, &token);
        let mut confirmed = 0;
        // The background may be the one whose sync fails.
        for number in 1..=20 {
            let broken = Broken::next_sync(service.id());
            let body =
                json!({"mode": "displaynameupdate", "zuid": zuid, "displayName": format!("Mia {number}")});
            let Heard::Answer(status, _, text) = caller.put(&body).await else { panic!("no answer") };
            drop(broken);
            if status == 503 {
                assert!(text.contains("disk"), "{text}");
                return confirmed;
            }
            confirmed = number;
        }
        panic!("no sync of a change failed");
    });
    service.kill();
    whole(&path);
    let name = name_in(&path, zuid);
    assert!(!name.ends_with(&format!(" {}", confirmed + 1)), "{name} was refused");
    assert!(confirmed == 0 || name == format!("Mia {confirmed}"), "{name} instead of {confirmed}");
}

#[test]
fn where_the_disk_does_not_take_a_folded_log_the_service_ends_and_nothing_confirmed_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mailward.db");
    let url = format!("sqlite:{}", path.display());
    let (zoid, zuid, token) = somebody(&url);
    let service = Service::start(&url);
    // SQLite syncs by another call.
    let broken = Broken::calls(service.id(), "fdatasync", "error=EIO");
    let confirmed = runtime().block_on(async {
        let caller = service.caller(zoid, &token);
        let mut confirmed = 0;
        for number in 1..=2000 {
            let body =
                json!({"mode": "displaynameupdate", "zuid": zuid, "displayName": format!("Mia {number}")});
            match caller.put(&body).await {
                Heard::Answer(200, _, _) => confirmed = number,
                Heard::Answer(status, _, text) => panic!("{number}: {status} {text}"),
                Heard::Nothing => return confirmed,
            }
        }
        panic!("the log was never folded");
    });
    let ended = service.ended(Duration::from_secs(20)).expect("it ends");
    drop(broken);
    assert_eq!(ended.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{ended:?}");
    drop(Service::start(&url));
    whole(&path);
    let stored = name_in(&path, zuid);
    // What nobody was told of may have been stored.
    let wanted = [confirmed, confirmed + 1].map(|number| format!("Mia {number}"));
    assert!(confirmed > 10 && wanted.contains(&stored), "{stored} instead of {confirmed}");
}

#[test]
fn a_disk_that_takes_no_writes_is_told_and_outlived() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mailward.db");
    let url = format!("sqlite:{}", path.display());
    let (zoid, zuid, token) = somebody(&url);
    let service = Service::start(&url);
    runtime().block_on(async {
        let caller = service.caller(zoid, &token);
        let mut confirmed = 0;
        let mut change = async || {
            let body = json!({"mode": "displaynameupdate", "zuid": zuid, "displayName": format!("Mia {}", confirmed + 1)});
            match caller.put(&body).await {
                Heard::Answer(200, _, _) => {
                    confirmed += 1;
                    (200, String::new())
                }
                Heard::Answer(status, _, text) => (status, text),
                Heard::Nothing => panic!("no answer"),
            }
        };
        assert_eq!(change().await.0, 200);
        for error in ["EROFS", "EIO", "ENOSPC"] {
            let broken = Broken::writes(service.id(), error);
            for _ in 0..3 {
                let (status, text) = change().await;
                assert_eq!(status, 503, "{error}: {text}");
                assert!(text.contains("disk") || text.contains("read-only"), "{error}: {text}");
            }
            drop(broken);
            let (status, text) = change().await;
            assert_eq!(status, 200, "after {error}: {text}");
        }
        assert_eq!(confirmed, 4);
    });
    drop(service);
    whole(&path);
    assert_eq!(name_in(&path, zuid), "Mia 4");
}

#[test]
fn on_a_read_only_file_system_nothing_starts_and_it_says_why() {
    let place = Place::empty();
    let disk = Disk::of(16, &place.path("data"));
    place.init().good();
    disk.run("mount", &["-o", "remount,ro"]);
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["user", "add", "tom@example.org"]] {
        let said = place.run(command);
        assert!([1, 2].contains(&said.code) && !said.err.contains("panicked"), "{}", said.err);
        let told = said.err.to_lowercase();
        assert!(
            told.contains("mailward.sqlite") || told.contains("read-only") || told.contains("not writable"),
            "{told}"
        );
    }
    disk.run("mount", &["-o", "remount,rw"]);
    place.run(&["user", "add", "tom@example.org"]).good();
    whole(&place.path("data/mailward.sqlite"));
}

both_engines! {
    async fn a_clock_that_jumps_forward_and_back_stops_nothing(test: TestDb) {
        let world = World::start(test).await;
        world.settle().await;
        let mut name = 0;
        for jump in [HOUR, -HOUR, -HOUR, HOUR] {
            // Work is under way when it jumps: a change that was not yet told to the mail server.
            world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
            world.recorder.with(|recording| recording.kicked.clear());
            world.app.clock.advance(jump);
            world.settle().await;
            let kicked = world.recorder.with(|recording| !recording.kicked.is_empty());
            assert!(kicked, "sessions end at once, whatever the clock says ({jump} ms)");
            // Everything is possible as before.
            world.mode(&world.admin, &world.member, "enableMailAccount", json!({})).await.ok();
            name += 1;
            let displayed = format!("Mia {name}");
            world.own_mode(&world.member, "displaynameupdate", json!({"displayName": displayed})).await.ok();
            assert_eq!(world.account(&world.member).await.profile.display_name, displayed);
            Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
            tidy::run(&world.app).await.expect("tidying up");
            // What one node does at a time is done also after the holder's clock was an hour ahead.
            let start = Instant::now();
            loop {
                seal::seal_now(&world.app).await.expect("sealing");
                let tip = store::audit_chain::tip(&mut world.app.db.read().await.expect("a connection"), world.zoid).await;
                if tip.expect("a tip").number > 0 {
                    break;
                }
                assert!(start.elapsed() < Duration::from_secs(30), "nothing is sealed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let verdict = mailward::app::audit::verify::verify_database(&world.app, Some(world.zoid), &[], &[]).await;
        assert_eq!(verdict.expect("a verdict")[0].findings, [""; 0]);
        assert_eq!(world.app.clock.now() - START, 0, "the clock is where it was");
    }

    async fn a_throttle_that_was_reached_before_a_jump_back_does_not_last_for_an_hour(test: TestDb) {
        let world = World::start(test).await;
        world.app.clock.advance(HOUR);
        for _ in 0..12 {
            let _ = world.self_password(&world.other.email, "not-the-right-one", "another-horse-9").await;
        }
        let closed = world.self_password(&world.other.email, PASSWORD, "another-horse-9").await;
        assert_eq!(closed.status, 429);
        let tries = async || {
            let (now, subject) = (world.app.clock.now(), format!("account {}", world.other.account_id));
            let mut tx = world.app.db.read().await.expect("a connection");
            store::throttle::tries(&mut tx, &subject, now, 15 * MINUTE).await.expect("readable").0
        };
        assert_eq!(tries().await, 10);
        world.app.clock.advance(-HOUR);
        assert_eq!(tries().await, 0, "who only looks is not closed out either");
        // A window is 15 minutes long at most, also one that seems to end in more than an hour.
        world.app.clock.advance(16 * MINUTE);
        world.self_password(&world.other.email, PASSWORD, "another-horse-9").await.ok();
    }
}
