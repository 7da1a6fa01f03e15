//! Somebody is away: Dovecot, Mailward, both, or the files between them. Nothing is lost, and
//! nothing old comes back.

use std::fs;
use std::io::{BufRead as _, BufReader, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{DISABLED, MailWorld, NEW, SOON, WRONG, both_contracts, mbox, open_account, shut, told};
use crate::mail::clients::Imap;
use crate::support::world::{PASSWORD, Someone, keys_file};

/// The parts of a receipt about one effect.
fn part<'a>(receipt: &'a Value, effect: &str) -> &'a Value {
    let parts = receipt["effects"].as_array().expect("effects");
    parts.iter().find(|part| part["effect"] == effect).unwrap_or_else(|| panic!("no {effect}: {receipt:#}"))
}

both_contracts! {
    fn a_change_while_dovecot_is_stopped_holds_at_the_first_login_after_it(mail: MailWorld) {
        let pat = mail.someone("pat");
        drop(mail.imap(&pat.email, PASSWORD));
        mail.lab.stop_dovecot();
        let change = mail.reset(&pat, NEW).change().expect("a change");
        let receipt = mail.receipt(&change);
        assert_eq!(receipt["complete"], false);
        assert_eq!(part(&receipt, "project")["state"], "applied", "{receipt:#}");
        assert_eq!(part(&receipt, "end_sessions")["state"], "pending", "{receipt:#}");
        assert_eq!(part(&receipt, "end_sessions")["server"], "lab");
        let start = Instant::now();
        while !part(&mail.receipt(&change), "end_sessions")["what"].to_string().contains("not yet") {
            assert!(start.elapsed() < SOON, "the receipt says why: {:#}", mail.receipt(&change));
            sleep(Duration::from_millis(50));
        }
        mail.lab.start_dovecot();
        assert_eq!(Imap::connect(mail.lab.imap).login(&pat.email, PASSWORD), WRONG[0]);
        assert_eq!(mail.look(&pat.email, NEW), open_account());
        let receipt = mail.complete(&change, Duration::from_secs(60));
        assert_eq!(part(&receipt, "end_sessions")["state"], "verified", "{receipt:#}");
    }

    fn mail_and_logins_go_on_while_mailward_is_stopped(mail: MailWorld) {
        let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
        mail.mode(&tom, "disableUser", json!({}));
        let mut open = mail.imap(&pat.email, PASSWORD);
        let people = mail.stop();
        assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
        assert_eq!(mail.look(&tom.email, PASSWORD), shut(told(DISABLED)));
        assert!(mail.mail(&pat.email, "meanwhile").starts_with("250"));
        assert!(mail.submission(&pat.email, PASSWORD).send(&pat.email, &tom.email, "from pat").starts_with("250"));
        assert_eq!(mail.delivered(&mbox(&pat), 1), ["meanwhile"]);
        assert_eq!(mail.delivered(&mbox(&tom), 1), ["from pat"]);
        assert!(open.is_open());
        // A cold start of the servers, too.
        mail.lab.stop_postfix();
        mail.lab.stop_dovecot();
        mail.lab.start_dovecot();
        mail.lab.start_postfix();
        assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
        mail.start(people);
        mail.mode(&tom, "enableUser", json!({}));
        assert_eq!(mail.look(&tom.email, PASSWORD), open_account());
    }
}

const FILES: [&str; 2] = ["auth/auth.sqlite", "maps/maps.sqlite"];

#[test]
fn an_older_copy_of_the_files_opens_nothing_once_everything_is_started() {
    let mut mail = MailWorld::sqlite();
    let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
    let people = mail.stop();
    let keep = mail.dir.path.join("keep");
    fs::create_dir(&keep).expect("a directory");
    let kept = |file: &str| keep.join(file.replace('/', "-"));
    for file in FILES {
        // With whatever is still in its log.
        let copy = Connection::open(mail.dir.path.join(file)).expect("opens");
        copy.execute("VACUUM INTO ?1", [kept(file).display().to_string()]).expect("a copy");
    }
    mail.start(people);
    mail.reset(&pat, NEW);
    mail.mode(&tom, "disableUser", json!({"blockIncoming": true}));

    let people = mail.stop();
    mail.lab.stop_postfix();
    mail.lab.stop_dovecot();
    for file in FILES {
        let path = mail.dir.path.join(file);
        for suffix in ["-wal", "-shm"] {
            let _may_be_gone = fs::remove_file(format!("{}{suffix}", path.display()));
        }
        fs::copy(kept(file), &path).expect("put back");
    }
    mail.start(people);
    mail.lab.start_dovecot();
    mail.lab.start_postfix();
    assert_eq!(Imap::connect(mail.lab.imap).login(&pat.email, PASSWORD), WRONG[0], "at the first login");
    assert_eq!(mail.look(&pat.email, NEW), open_account());
    let mut expected = shut(told(DISABLED));
    expected[4] = format!(
        "550 5.2.1 <{}>: Recipient address rejected: Mailbox disabled, not accepting messages",
        tom.email
    );
    assert_eq!(mail.look(&tom.email, PASSWORD), expected);
}

#[test]
fn files_that_were_altered_truncated_or_deleted_are_found_and_mended() {
    let mail = MailWorld::sqlite();
    let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
    mail.mode(&tom, "disableUser", json!({}));
    mail.mode(&tom, "updateIncomingStatus", json!({"incomingBlocked": true}));
    let mut shut_out = shut(told(DISABLED));
    shut_out[4] = format!(
        "550 5.2.1 <{}>: Recipient address rejected: Mailbox disabled, not accepting messages",
        tom.email
    );
    let verify = |repair| {
        let app = &mail.world().app;
        mail.block(app.projector.verify(&app.db, repair)).expect("the files can be looked at")
    };
    // Dovecot's processes may fail once each after a change of schema, and a reload takes seconds.
    let holds = || {
        let start = Instant::now();
        loop {
            let seen = [&pat, &tom].map(|who| mail.look(&who.email, PASSWORD));
            if seen == [open_account(), shut_out.clone()] {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{seen:?}");
        }
        assert!(verify(false).is_clean());
    };
    holds();

    // Altered: somebody lets tom in and takes pat's address away.
    let [auth, maps] = FILES.map(|file| Connection::open(mail.dir.path.join(file)).expect("opens"));
    auth.execute("UPDATE account SET gate = NULL WHERE mbox = ?1", [mbox(&tom)]).expect("altered");
    maps.execute("UPDATE account SET incoming = NULL WHERE mbox = ?1", [mbox(&tom)]).expect("altered");
    maps.execute("DELETE FROM address WHERE address = ?1", [&pat.email]).expect("altered");
    drop((auth, maps));
    assert_eq!(mail.opens(&tom.email, PASSWORD), [true; 3], "the servers believe their files");
    let drift = verify(false);
    assert_eq!(drift.accounts.iter().copied().collect::<Vec<_>>(), sorted([pat.account_id, tom.account_id]));
    verify(true);
    holds();

    // Truncated.
    for file in FILES {
        let open = fs::OpenOptions::new().write(true).open(mail.dir.path.join(file)).expect("opens");
        open.set_len(5000).expect("truncated");
    }
    assert!(!verify(false).is_clean());
    verify(true);
    holds();

    // Deleted: the worker finds that within a second, too, if nobody asks.
    for dir in ["auth", "maps"] {
        for entry in fs::read_dir(mail.dir.path.join(dir)).expect("lists") {
            fs::remove_file(entry.expect("lists").path()).expect("deleted");
        }
    }
    verify(true);
    // The worker reloads Dovecot; Postfix's reload is the administrator's.
    mail.lab.reload_postfix();
    holds();
    mail.reset(&pat, NEW);
    assert_eq!(mail.opens(&pat.email, PASSWORD), [false; 3]);
    mail.opens_soon(&pat.email, NEW);
}

fn sorted(mut ids: [i64; 2]) -> Vec<i64> {
    ids.sort_unstable();
    ids.into()
}

#[test]
fn effects_happen_after_a_kill_between_commit_and_effect() {
    let mut mail = MailWorld::sqlite();
    let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
    let door = Door::in_front_of(mail.lab.doveadm);
    mail.end_sessions_at(door.port);
    let people = mail.stop();
    let [owner, ..] = &people.all;

    // Committed, and shown to the servers; the session could not be ended yet.
    let service = Service::start(&mail);
    let mut open = mail.imap(&pat.email, PASSWORD);
    let answer = service.reset(&mail, owner, &pat);
    assert_eq!(answer, 200);
    assert_eq!(Imap::connect(mail.lab.imap).login(&pat.email, PASSWORD), WRONG[0]);
    service.kill();
    assert!(open.is_open(), "nobody has ended it");
    door.open.store(true, Ordering::SeqCst);

    // Started again: the session ends. Then committed, but the look-ups could not be written.
    let service = Service::start(&mail);
    let (took, _) = open.until_closed(Duration::from_secs(40)).expect("the effect happens");
    println!("killed before the session was ended: it ended {took:.1?} after the start");
    let auth = Connection::open(mail.dir.path.join(FILES[0])).expect("opens");
    auth.execute_batch("BEGIN IMMEDIATE").expect("somebody holds the file");
    let start = Instant::now();
    assert_eq!(service.reset(&mail, owner, &tom), 200, "the change is stored");
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(1500) && waited < Duration::from_secs(4), "{waited:?}");
    service.kill();
    auth.execute_batch("ROLLBACK").expect("let go");
    drop(auth);
    assert!(mail.imap(&tom.email, PASSWORD).is_open(), "the servers have not heard of it");
    let service = Service::start(&mail);
    assert_eq!(mail.look(&tom.email, PASSWORD), shut(WRONG.map(str::to_owned)), "as soon as it listens");
    assert_eq!(mail.look(&tom.email, NEW), open_account());
    service.kill();
    mail.start(people);
}

/// The program itself, serving; killed at the end.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start(mail: &MailWorld) -> Self {
        let config = mail.dir.path.join("mailward.toml");
        fs::write(&config, "").expect("a configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailward"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("MAILWARD_CONFIG", config)
            .env("MAILWARD_LOG_JSON", "true")
            .env("MAILWARD_KEYS_FILE", keys_file())
            .envs(mail.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.ok()?).ok()?;
            let listening = line["message"] == "listening" || line["fields"]["message"] == "listening";
            let address = [&line["address"], &line["fields"]["address"]].into_iter().find_map(Value::as_str);
            listening.then(|| address?.parse().ok()).flatten()
        });
        // It must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("it listens") }
    }

    /// A reset by the owner through HTTP; the status.
    fn reset(&self, _mail: &MailWorld, owner: &Someone, on: &Someone) -> u16 {
        let body =
            json!({"mode": "resetPassword", "zuid": on.zuid, "password": NEW, "oneTimePassword": false});
        let (zoid, zuid) = (owner.zoid, on.zuid);
        let url = format!("http://{}/api/organization/{zoid}/accounts/{zuid}", self.address);
        let runtime = crate::support::databases::runtime();
        runtime.block_on(async {
            let request = reqwest::Client::new()
                .put(url)
                .header("authorization", format!("Zoho-oauthtoken {}", owner.org_token))
                .json(&body);
            request.send().await.expect("an answer").status().as_u16()
        })
    }

    /// `kill -9`.
    fn kill(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).expect("it lives");
        let _dead = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _may_be_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A door in front of another port that can be shut: then every connection is dropped.
struct Door {
    port: u16,
    open: Arc<AtomicBool>,
}

impl Door {
    fn in_front_of(behind: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let open = Arc::new(AtomicBool::new(false));
        let is_open = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_open.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", behind))
                {
                    pipe(&client, &server);
                    pipe(&server, &client);
                }
            }
        });
        Self { port, open }
    }
}

fn pipe(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
    std::thread::spawn(move || {
        let _either_side_may_close = copy(&mut from, &mut to);
        let _may_be_closed = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn look_ups_made_before_a_long_silence_are_not_made_again_and_again() {
    let mail = MailWorld::sqlite();
    let app = &mail.world().app;
    let inode = |file: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(Path::new(&mail.dir.path).join(file)).expect("it is there").ino()
    };
    let before = FILES.map(inode);
    let (reached, _) = app.projector.reached();
    assert!(reached > 0);
    // A month passes: everything that was done is forgotten.
    mail.block(app.db.write(async |tx| {
        let (swept, _) = mailward::store::outbox::sweep(tx, i64::MAX).await?;
        let settings = mailward::store::settings::SWEPT;
        mailward::store::settings::set(tx, settings, &swept.to_string()).await
    }))
    .expect("forgotten");
    mail.block(app.projector.catch_up(&app.db)).expect("nothing to do");
    assert_eq!(app.projector.reached().0, reached, "not taken for files of a future");
    let pat = mail.someone("pat");
    assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
    assert_eq!(FILES.map(inode), before);
}
