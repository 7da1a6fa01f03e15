//! The files for a real host, tried: only directories and port numbers are replaced.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailward::machine::finding::State;
use mailward::mailserver::config::{
    self, ConfigFile, Contract, DoveadmDoor, DovecotVersion, Environment, PolicyServer, Settings, Tls,
};
use mailward::mailserver::examine::{self, Expected};
use mailward::store::projection::{Applied, Projection};

use super::clients::{Imap, Lines, Pop3, Smtp};
use super::lab::{Lab, LabDir, free_ports, id_of, write};
use super::world::{domains, options, person};

pub fn settings(contract: Contract, dir: &Path, tls: Tls) -> Settings {
    Settings {
        hostname: "mx.example.test".into(),
        postmaster: "postmaster@example.test".into(),
        recipient_delimiter: '+',
        most_sessions: 2000,
        contract,
        mail_root: dir.join("mail"),
        vmail_user: "vmail".into(),
        vmail_uid: id_of("passwd", "vmail"),
        doveadm: Some(DoveadmDoor {
            address: [127, 0, 0, 1].into(),
            port: 8080,
            tls: true,
            key: "door-key".into(),
        }),
        policy_server: Some(PolicyServer {
            url: "http://127.0.0.1:2990/policy".into(),
            token: "t".into(),
            nonce: "n".into(),
        }),
        place: Environment::Host(tls),
    }
}

fn certificate(dir: &Path) -> (Tls, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["mx.example.test".to_owned()]).expect("a certificate");
    let tls = Tls { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&tls.certificate, made.cert.pem()).expect("writes");
    fs::write(&tls.key, made.signing_key.serialize_pem()).expect("writes");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let trust =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    (tls, Arc::new(trust))
}

fn both(settings: &Settings) -> Vec<ConfigFile> {
    config::postfix(settings).into_iter().chain(config::dovecot(settings, DovecotVersion::V2_3)).collect()
}

#[test]
fn a_host_takes_passwords_inside_tls_only_on_the_usual_ports() {
    let dir = LabDir::new();
    let (tls, trust) = certificate(&dir.path);
    let mut projection = Projection::open(options(&dir)).expect("the projection opens");
    // Dovecot holds ten sessions of one person at most.
    let crowd: Vec<_> = (0..13).map(|number| format!("crowd{number}")).collect();
    let crowded = (2000..).zip(&crowd).map(|(id, name)| person(id, name));
    let people = [person(1000, "ann"), person(1001, "bob")].into_iter().chain(crowded);
    projection.rebuild(1, people.map(Ok), &domains()).expect("the projection can be filled");

    let [smtp, submission, submissions, imaps, pop3s, doveadm] = free_ports();
    let root = dir.path.display();
    let replaced: &[(&str, String)] = &[
        ("/etc/dovecot/", format!("{root}/dovecot/")),
        ("/etc/postfix/", format!("{root}/postfix/")),
        ("/var/spool/postfix/", format!("{root}/spool/")),
        ("\nsmtp inet", format!("\n127.0.0.1:{smtp} inet")),
        ("\nsubmission inet", format!("\n127.0.0.1:{submission} inet")),
        ("\nsubmissions inet", format!("\n127.0.0.1:{submissions} inet")),
        ("port = 993\n", format!("port = {imaps}\n")),
        ("port = 995\n", format!("port = {pop3s}\n")),
        ("port = 8080\n", format!("port = {doveadm}\n")),
        ("listen = *, ::\n", "listen = 127.0.0.1\n".to_owned()),
        // Directories that Debian's packages have built in; and a strange network, so that nothing is trusted.
        (
            "compatibility_level = 3.6\n",
            format!(
                "compatibility_level = 3.6\nqueue_directory = {root}/spool\ndata_directory = {root}/data\n\
                 maillog_file = {root}/log/postfix.log\nmaillog_file_prefixes = {root}\n\
                 multi_instance_name = postfix-mailward-host\nmulti_instance_enable = yes\n\
                 inet_interfaces = 127.0.0.1\n"
            ),
        ),
        ("hash:/etc/aliases", format!("hash:{root}/aliases")),
        ("mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "mynetworks = 192.0.2.1".to_owned()),
        (
            "protocols = imap pop3 lmtp\n",
            format!(
                "protocols = imap pop3 lmtp\nbase_dir = {root}/run/dovecot\nstate_dir = {root}/run/state\n\
                 log_path = {root}/log/dovecot.log\ninstance_name = mailward-host\n"
            ),
        ),
    ];
    let mut settings = settings(dir.sqlite(), &dir.path, tls);
    settings.policy_server = None;
    let mut files = both(&settings);
    for file in &mut files {
        let name = file.path.strip_prefix("/etc").expect("a host's file").to_owned();
        file.path = dir.path.join(name);
        for (from, to) in replaced {
            file.text = file.text.replace(from, to);
        }
    }
    let aliases = dir.path.join("aliases");
    fs::write(&aliases, "postmaster: root\nroot: ann@example.test\n").expect("writes");
    let made = Command::new("postalias").arg(format!("hash:{}", aliases.display())).status();
    assert!(made.expect("postalias can be run").success());
    let lab = Lab::start_files(&dir, &files, [smtp, submission, imaps, pop3s, doveadm], true);

    let mut imap = Imap::over(Lines::connect(imaps).into_tls(&trust));
    assert!(imap.login("ann@example.test", "first").starts_with("OK"));
    let mut pop = Pop3::over(Lines::connect(pop3s).into_tls(&trust));
    assert!(pop.login("ann@example.test", "first").starts_with("+OK"));

    let mut clear = Smtp::connect(submission);
    assert_eq!(clear.login("ann@example.test", "first"), "530 5.7.0 Must issue a STARTTLS command first");
    let sessions = [clear.start_tls(&trust), Smtp::over(Lines::connect(submissions).into_tls(&trust))];
    for mut session in sessions {
        assert!(
            session.rcpt("ann@example.test", "bob@example.test").starts_with("554 5.7.1"),
            "no login yet"
        );
        assert!(session.login("ann@example.test", "first").starts_with("235"));
        assert!(session.rcpt("bob@example.test", "ann@example.test").starts_with("553 5.7.1"));
        assert!(
            session.rcpt("ann@example.test", "someone@elsewhere.test").starts_with("250"),
            "to the world"
        );
        assert!(session.send("ann@example.test", "bob@example.test", "hello").starts_with("250"));
    }

    // Other servers: mail for our people only, no login, TLS when they like.
    let mut other = Smtp::connect(smtp).start_tls(&trust);
    assert!(other.login("ann@example.test", "first").starts_with("503 5.5.1"));
    assert!(other.rcpt("x@elsewhere.test", "someone@elsewhere.test").starts_with("554 5.7.1"));
    assert!(other.rcpt("x@elsewhere.test", "bob@example.test").starts_with("250"));

    // The machine's own mail arrives, and with it what people write to the postmaster that bounces name.
    let mut other = Smtp::connect(smtp);
    assert!(
        other.send("x@elsewhere.test", "postmaster@mx.example.test", "to the machine").starts_with("250")
    );
    let start = Instant::now();
    while !imap.subjects().iter().any(|subject| subject == "to the machine") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", lab.log("postfix.log"));
        std::thread::sleep(Duration::from_millis(100));
    }
    // Unless the host's name is a domain of the organization: then its addresses are people's.
    let hosted = ["example.test".into(), "mx.example.test".into()];
    assert_eq!(projection.apply(1, 2, &[], Some(&hosted)).expect("writes"), Applied::Done);
    let table = format!("sqlite:{root}/postfix/mailward-own.cf");
    let asked = Command::new("postmap")
        .args(["-c", &format!("{root}/postfix"), "-q", "mx.example.test", &table])
        .output()
        .expect("postmap can be run");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "");

    // A login process carries the TLS of its sessions to their end: as many as people have.
    let mut sessions = Vec::new();
    for name in &crowd {
        for _ in 0..9 {
            let mut imap = Imap::over(Lines::connect(imaps).into_tls(&trust));
            assert!(imap.login(&format!("{name}@example.test"), "first").starts_with("OK"), "{name}");
            sessions.push(imap);
        }
    }
    let mut pop = Pop3::over(Lines::connect(pop3s).into_tls(&trust));
    assert!(pop.login("bob@example.test", "first").starts_with("+OK"));
    assert!(sessions.len() > 100 && sessions.iter_mut().all(Imap::is_open));
    // They end one by one, as always.
    let conf = format!("{root}/dovecot/dovecot.conf");
    let kicked = Command::new("doveadm").args(["-c", &conf, "kick", "2000@g1"]).status();
    assert!(kicked.expect("doveadm can be run").success());
    let (ended, others) = sessions.split_at_mut(9);
    assert!(ended.iter_mut().all(|session| session.until_closed(Duration::from_secs(5)).is_some()));
    assert!(others.iter_mut().all(Imap::is_open));
    let log = lab.log("dovecot.log");
    assert!(!log.contains(" reached"), "{log}");
}

#[test]
fn both_servers_understand_the_files_for_a_real_host_on_both_contracts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let (tls, _) = certificate(dir.path());
    let postgres = Contract::Postgres {
        host: "/var/run/postgresql".into(),
        port: 5432,
        database: "mailward".into(),
        dovecot_password: "a".into(),
        postfix_password: "b".into(),
        tls: None,
    };
    let sqlite = Contract::Sqlite {
        auth_file: "/var/lib/mailward/auth/auth.sqlite".into(),
        auth_group: "mwauth".into(),
        maps_file: "/var/lib/mailward/maps/maps.sqlite".into(),
        maps_group: "mwmaps".into(),
    };
    super::lab::prepare_machine();
    for contract in [sqlite, postgres] {
        // As far as that can be said without a Dovecot 2.4.
        let files =
            config::dovecot(&settings(contract.clone(), dir.path(), tls.clone()), DovecotVersion::V2_4);
        let main = files.iter().find(|file| file.path.ends_with("dovecot.conf")).expect("the main file");
        let expected = Expected { recipient_delimiter: '+', hash_memory_kib: 19_456 };
        let ill: Vec<_> = examine::dovecot(&main.text, &expected);
        assert!(ill.iter().all(|finding| finding.state == State::Good), "{ill:#?}");
        for mut file in both(&settings(contract, dir.path(), tls.clone())) {
            let name = file.path.file_name().expect("a name").to_owned();
            file.path = dir.path().join(name);
            file.text = file.text.replace("/etc/dovecot", &path).replace("/etc/postfix", &path);
            write(&file);
        }
        fs::copy("/etc/postfix/dynamicmaps.cf", dir.path().join("dynamicmaps.cf")).expect("copies");

        let run = |program: &str, arguments: &[&str]| {
            let out = Command::new(program).args(arguments).output().expect("the program can be run");
            let errors = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success() && errors.is_empty(), "{program}: {errors}");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let conf = format!("{path}/dovecot.conf");
        let dovecot = run("doveconf", &["-c", &conf, "-n"]);
        assert!(
            dovecot.contains("ssl = required") && !dovecot.contains("auth_failure_delay = 0"),
            "{dovecot}"
        );
        let postfix = run("postconf", &["-c", &path, "-n"]);
        assert!(postfix.contains("smtpd_tls_auth_only = yes"), "{postfix}");
        let master = run("postconf", &["-c", &path, "-M"]);
        assert!(
            master.contains("submissions inet") && master.contains("smtpd_sender_restrictions"),
            "{master}"
        );
        let services = run("postconf", &["-c", &path, "-P"]);
        let found = examine::dovecot(&dovecot, &expected);
        let found = found.into_iter().chain(examine::postfix(&postfix, &services, &expected));
        let ill: Vec<_> = found.filter(|finding| finding.state != State::Good).collect();
        assert!(ill.is_empty(), "the doctor is content: {ill:#?}");
        let session_names = format!("regexp:{path}/mailward-session.regexp");
        let refused = |name: &str| {
            let out = Command::new("postmap").args(["-c", &path, "-q", name, &session_names]).output();
            String::from_utf8_lossy(&out.expect("postmap can be run").stdout).starts_with("550 5.7.1")
        };
        assert_eq!(
            ["1000@g1", "1000@a17", "1000", "ann@example.test"].map(refused),
            [false, false, true, true]
        );
    }
}
