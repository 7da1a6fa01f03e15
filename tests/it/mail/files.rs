//! The projection files under real servers: who can read them, damage, repair, and the host's files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mailward::mailserver::config::{PolicyServer, Tls};
use mailward::mailserver::doveadm::{Doveadm, DoveadmConfig, DoveadmError};
use mailward::store::projection::{Applied, Change, MailboxState, Projection};
use sha2::{Digest, Sha256};

use super::lab::Wishes;
use super::world::{World, domains, options, person, phc};

fn can_read(user: &str, path: &Path) -> bool {
    let status = Command::new("runuser").args(["-u", user, "--", "head", "-c1"]).arg(path).output();
    status.expect("runuser can be run").status.success()
}

#[test]
fn each_server_reads_its_own_file_and_not_the_other() {
    let world = World::new(&[person(1000, "ann")]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert!(world.rcpt("ann@example.test").starts_with("250"));
    let [auth, maps] = ["auth/auth.sqlite", "maps/maps.sqlite"].map(|file| world.dir.path.join(file));
    assert!(can_read("dovecot", &auth) && can_read("postfix", &maps));
    assert!(!can_read("postfix", &auth), "Postfix sees no login");
    assert!(!can_read("dovecot", &maps), "Dovecot sees no map");
    for stranger in ["dovenull", "vmail", "nobody"] {
        assert!(!can_read(stranger, &auth) && !can_read(stranger, &maps), "{stranger}");
    }
    assert!(!can_read("postfix", &world.dir.path.join("dovecot/mailward-doveadm.conf.ext")));
}

#[test]
fn servers_that_start_while_nobody_writes_find_their_accounts() {
    let mut world = World::new(&[person(1000, "ann")]);
    world.lab.stop_postfix();
    world.lab.stop_dovecot();
    // The service ends: SQLite removes its log and index files with the last connection.
    world.close_projection();
    assert!(!world.dir.path.join("auth/auth.sqlite-wal").exists());
    world.lab.start_dovecot();
    world.lab.start_postfix();
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert!(world.mail("ann@example.test", "cold").starts_with("250"));
    assert_eq!(world.delivered("1000", 1), ["cold"]);
    // And the service joins files that the servers' users made.
    world.projection = Projection::open(options(&world.dir)).expect("opens");
    world.set(MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") });
    assert_eq!(world.opens("ann@example.test", "second"), [true; 3]);
}

#[test]
fn a_file_that_was_overwritten_is_mended_under_running_servers() {
    let mut world = World::new(&[person(1000, "ann")]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    for file in ["auth/auth.sqlite", "maps/maps.sqlite"] {
        let mut out = OpenOptions::new().write(true).open(world.dir.path.join(file)).expect("opens");
        out.write_all(&[0x5a; 12_000]).expect("overwrites");
    }
    let ann = MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") };
    let drift = world.projection.verify([Ok(ann.clone())].into_iter(), &domains()).expect("verifies");
    assert!(drift.needs_rebuild.is_some());
    let rebuilt = world.projection.rebuild(1, [Ok(ann.clone())].into_iter(), &domains()).expect("rebuilds");
    assert!(!rebuilt.reload_servers);
    world.opens_soon("ann@example.test", "second");
    assert_eq!(world.opens("ann@example.test", "first"), [false; 3]);
    assert!(world.rcpt("ann@example.test").starts_with("250"));
    world.set(MailboxState { incoming: Some("550 5.2.1 blocked".into()), ..ann });
    assert!(world.rcpt("ann@example.test").starts_with("550 5.2.1"));
}

#[test]
fn a_file_that_was_deleted_is_made_again_and_changes_reach_servers_that_run() {
    let mut world = World::new(&[person(1000, "ann")]);
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    assert!(world.rcpt("ann@example.test").starts_with("250"));
    for dir in ["auth", "maps"] {
        for entry in fs::read_dir(world.dir.path.join(dir)).expect("lists") {
            fs::remove_file(entry.expect("lists").path()).expect("removes");
        }
    }
    assert!(matches!(world.projection.apply(1, 2, &[], None).expect("asks"), Applied::NeedsRebuild { .. }));
    let ann = MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") };
    let rebuilt = world.projection.rebuild(1, [Ok(ann.clone())].into_iter(), &domains()).expect("rebuilds");
    assert!(rebuilt.reload_servers);
    assert_eq!(world.opens("ann@example.test", "first"), [false; 3], "also before a reload");

    // What a receipt of a new file asks for. Before it a process that had the file open without having read it knows nobody.
    assert_eq!(world.ask(async |doveadm| doveadm.reload().await), Ok(()));
    world.lab.reload_postfix();
    world.opens_soon("ann@example.test", "second");
    let mut open = world.imap("ann@example.test", "second");
    assert_eq!(world.ask(async |doveadm| doveadm.reload().await), Ok(()));
    world.set(MailboxState { incoming: Some("550 5.2.1 blocked".into()), ..ann.clone() });
    world.opens_soon("ann@example.test", "second");
    assert!(world.rcpt("ann@example.test").starts_with("550 5.2.1"));
    world.set(ann);
    assert!(world.rcpt("ann@example.test").starts_with("250"));
    assert!(open.is_open(), "a reload ends no session");
    assert_eq!(world.ask(async |doveadm| doveadm.check().await), Ok(()));
}

#[test]
fn an_older_copy_that_was_put_back_opens_nothing_after_catching_up() {
    let mut world = World::new(&[person(1000, "ann")]);
    let keep = world.dir.path.join("keep");
    fs::create_dir(&keep).expect("makes a directory");
    let files = ["auth/auth.sqlite", "maps/maps.sqlite"];
    world.projection.rebuild(1, [Ok(person(1000, "ann"))].into_iter(), &domains()).expect("rebuilds");
    for file in files {
        fs::copy(world.dir.path.join(file), keep.join(file.split_once('/').expect("a name").1))
            .expect("copies");
    }
    let ann = MailboxState { password_phc: Some(phc("second")), generation: 2, ..person(1000, "ann") };
    world.set(ann.clone());
    world.lab.stop_postfix();
    world.lab.stop_dovecot();
    world.close_projection();
    for file in files {
        let path = world.dir.path.join(file);
        for suffix in ["-wal", "-shm"] {
            let _may_be_gone = fs::remove_file(format!("{}{suffix}", path.display()));
        }
        fs::copy(keep.join(file.split_once('/').expect("a name").1), &path).expect("copies");
    }
    world.projection = Projection::open(options(&world.dir)).expect("opens");
    assert_eq!(world.projection.position(), Some(1), "the copy says how old it is");
    let changes = [Change::whole(1000, Some(ann))];
    assert_eq!(world.projection.apply(1, 2, &changes, None).expect("writes"), Applied::Done);
    world.lab.start_dovecot();
    world.lab.start_postfix();
    assert_eq!(world.opens("ann@example.test", "first"), [false; 3]);
    assert_eq!(world.opens("ann@example.test", "second"), [true; 3]);
}

#[test]
fn the_policy_server_sees_each_try_and_its_absence_stops_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let policy = PolicyServer {
        url: format!("http://127.0.0.1:{port}/policy"),
        token: "policy-token".into(),
        nonce: "some nonce".into(),
    };
    // Nobody answers: the connection is taken by the kernel and never served.
    let world = World::with(&[person(1000, "ann")], |_| Wishes { policy_server: Some(policy), tls: None });
    let start = Instant::now();
    assert_eq!(world.opens("ann@example.test", "first"), [true; 3]);
    println!("three logins with a hung policy server: {:?}", start.elapsed());
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(world.opens("ann@example.test", "wrong"), [false; 3]);
    let (mut stream, _) = listener.accept().expect("Dovecot has asked");
    let mut request = [0; 2048];
    let n = std::io::Read::read(&mut stream, &mut request).expect("reads");
    let request = String::from_utf8_lossy(&request[..n]).into_owned();
    assert!(request.starts_with("POST /policy?command=allow"), "{request}");
    assert!(request.contains(" Bearer policy-token\r\n"), "{request}");
    assert!(!request.contains("first"), "no password: {request}");
}

#[test]
fn the_doveadm_door_with_tls_opens_for_the_pinned_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["mx.example.test".to_owned()]).expect("a certificate");
    let pin: String = Sha256::digest(made.cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let world = World::with(&[person(1000, "ann")], |dir| {
        let tls = Tls { certificate: dir.path.join("cert.pem"), key: dir.path.join("key.pem") };
        fs::write(&tls.certificate, made.cert.pem()).expect("writes");
        fs::write(&tls.key, made.signing_key.serialize_pem()).expect("writes");
        Wishes { tls: Some(tls), policy_server: None }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let check = |pin: String| {
        let config = DoveadmConfig { certificate_sha256: Some(pin), ..world.lab.doveadm_config() };
        runtime.block_on(Doveadm::new(&config).expect("a good configuration").check())
    };
    assert_eq!(check(pin), Ok(()));
    assert!(matches!(check("00".repeat(32)), Err(DoveadmError::Unreachable(_))));
    // The protocols offer TLS, too: what they present is the certificate we made.
    let mut smtp = super::clients::Smtp::connect(world.lab.submission);
    assert!(smtp.command("STARTTLS").starts_with("220 2.0.0"));
    let mut imap = super::clients::Imap::connect(world.lab.imap);
    assert!(imap.command("STARTTLS").1.starts_with("OK"));
}
