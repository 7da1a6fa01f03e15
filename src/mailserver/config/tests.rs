use super::*;

fn settings(contract: Contract) -> Settings {
    Settings {
        hostname: "mx.example.test".into(),
        postmaster: "postmaster@example.test".into(),
        recipient_delimiter: '+',
        most_sessions: 10_000,
        contract,
        mail_root: "/var/vmail".into(),
        vmail_user: "vmail".into(),
        vmail_uid: 5000,
        doveadm: Some(DoveadmDoor {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            tls: false,
            key: "door-key".to_owned().into(),
        }),
        policy_server: Some(PolicyServer {
            url: "http://127.0.0.1:2990/policy".into(),
            token: "policy-token".to_owned().into(),
            nonce: "nonce".to_owned().into(),
        }),
        place: Environment::Host(Tls {
            certificate: "/etc/ssl/mail.pem".into(),
            key: "/etc/ssl/private/mail.key".into(),
        }),
    }
}

fn sqlite() -> Contract {
    Contract::Sqlite {
        auth_file: "/var/lib/mailward/auth/auth.sqlite".into(),
        auth_group: "mwauth".into(),
        maps_file: "/var/lib/mailward/maps/maps.sqlite".into(),
        maps_group: "mwmaps".into(),
    }
}

fn postgres() -> Contract {
    Contract::Postgres {
        host: "db.example.test".into(),
        port: 5432,
        database: "mailward".into(),
        dovecot_password: "dovecot-secret".to_owned().into(),
        postfix_password: "postfix-secret".to_owned().into(),
        tls: None,
    }
}

fn everything(settings: &Settings) -> Vec<ConfigFile> {
    let mut files = postfix(settings);
    files.extend(dovecot(settings, DovecotVersion::V2_3));
    files.extend(dovecot(settings, DovecotVersion::V2_4));
    files.extend(systemd("/usr/bin/mailward projection catch-up", "mailward"));
    files
}

fn named<'a>(files: &'a [ConfigFile], name: &str) -> &'a str {
    &files.iter().find(|file| file.path.ends_with(name)).expect("the file is written").text
}

#[test]
fn no_placeholder_is_left() {
    for contract in [sqlite(), postgres()] {
        for file in everything(&settings(contract)) {
            let left =
                file.text.split('@').skip(1).step_by(1).find(|word| {
                    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
                });
            assert_eq!(left, None, "{}", file.path.display());
        }
    }
}

#[test]
fn secrets_stand_only_in_files_that_others_cannot_read() {
    for contract in [sqlite(), postgres()] {
        for file in everything(&settings(contract)) {
            for secret in ["door-key", "policy-token", "dovecot-secret", "postfix-secret"] {
                assert!(!file.text.contains(secret) || file.mode & 0o007 == 0, "{secret} in {file:?}");
            }
            assert!(!format!("{file:?}").contains("secret"));
        }
    }
    let settings = settings(postgres());
    assert!(!postfix(&settings).iter().any(|file| file.text.contains("dovecot-secret")));
    assert!(
        !dovecot(&settings, DovecotVersion::V2_3).iter().any(|file| file.text.contains("postfix-secret"))
    );
}

#[test]
fn a_host_takes_passwords_inside_tls_only_and_keeps_its_brakes() {
    let settings = settings(sqlite());
    let files = everything(&settings);
    let dovecot = named(&files, "dovecot/dovecot.conf");
    for line in [
        "ssl = required",
        "disable_plaintext_auth = yes",
        "auth_failure_delay = 2 secs",
        "auth_cache_size = 0",
        "imap_hibernate_timeout = 0",
        "client_limit = 1",
        "auth_username_chars = abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@",
    ] {
        assert!(dovecot.contains(line), "{line}");
    }
    assert!(!dovecot.contains("anvil-auth-penalty") && !dovecot.contains("prefetch\n"));
    let main = named(&files, "postfix/main.cf");
    assert!(main.contains("smtpd_tls_auth_only = yes") && main.contains("smtpd_sasl_auth_enable = no"));
    let master = named(&files, "postfix/master.cf");
    assert_eq!(master.matches("-o smtpd_tls_security_level=encrypt").count(), 2);
    assert_eq!(master.matches("reject_sender_login_mismatch").count(), 2);
}

#[test]
fn the_version_that_nobody_ran_says_so() {
    let files = dovecot(&settings(sqlite()), DovecotVersion::V2_4);
    assert!(named(&files, "dovecot.conf").contains("UNTESTED"));
    assert!(!named(&dovecot(&settings(sqlite()), DovecotVersion::V2_3), "dovecot.conf").contains("UNTESTED"));
}

#[test]
fn queries_are_one_line_each_and_the_same_on_both_engines() {
    let queries = |contract| {
        everything(&settings(contract))
            .iter()
            .flat_map(|file| file.text.lines())
            .filter(|line| line.contains("SELECT"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(queries(sqlite()), queries(postgres()));
    assert_eq!(queries(sqlite()).len(), 6 + 5 + 5);
}

#[test]
fn the_files_are_of_one_mind_with_mailward_about_details_and_sessions() {
    let settings = Settings { recipient_delimiter: '#', most_sessions: 300, ..settings(sqlite()) };
    assert!(named(&postfix(&settings), "main.cf").contains("\nrecipient_delimiter = #\n"));
    for version in [DovecotVersion::V2_3, DovecotVersion::V2_4] {
        let files = dovecot(&settings, version);
        let text = named(&files, "dovecot.conf");
        assert!(text.contains("\nrecipient_delimiter = \"#\"\n"), "{text}");
        assert_eq!(text.matches("process_limit = 300\n").count(), 4);
        // Of auth and anvil, and of stats, which Dovecot does not warn of.
        assert_eq!(
            [1600, 2200].map(|limit| text.matches(&format!("client_limit = {limit}\n")).count()),
            [2, 1]
        );
    }
}

#[test]
fn demanded_tls_to_the_database_is_demanded_by_both_servers() {
    let Contract::Postgres { host, port, database, dovecot_password, .. } = postgres() else {
        unreachable!()
    };
    let tls = Some(PostgresTls::Of("the authority".to_owned()));
    let postfix_password = "p@ss/word".to_owned().into();
    let contract = Contract::Postgres { host, port, database, dovecot_password, postfix_password, tls };
    let files = everything(&settings(contract));
    let dovecot = named(&files, "dovecot/mailward-login.conf.ext");
    let file = "/etc/dovecot/mailward-database-ca.pem";
    assert!(dovecot.contains(&format!(" sslmode=verify-full sslrootcert={file}\n")), "{dovecot}");
    for folder in ["dovecot", "postfix"] {
        // Where Mailward has them the servers' users may not look.
        assert_eq!(named(&files, &format!("{folder}/mailward-database-ca.pem")), "the authority");
    }
    let postfix = named(&files, "postfix/mailward-mailbox.cf");
    let uri = "hosts = postgresql://mw_postfix:p%40ss%2Fword@db.example.test:5432/mailward?sslmode=verify-full&\
               sslrootcert=%2Fetc%2Fpostfix%2Fmailward-database-ca.pem\n";
    assert!(postfix.contains(uri), "{postfix}");
}
