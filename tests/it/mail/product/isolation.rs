//! Who can read what, and who can send as whom.

use std::path::Path;
use std::process::Command;

use mailward::domain::actor::Role;

use super::{MailWorld, both_contracts, mbox};
use crate::support::world::{self, PASSWORD};

fn can_read(user: &str, path: &Path) -> bool {
    let read = Command::new("runuser").args(["-u", user, "--", "head", "-c1"]).arg(path).output();
    read.expect("runuser can be run").status.success()
}

#[test]
fn a_mail_server_reads_its_own_file_alone_and_nobody_the_database() {
    let mail = MailWorld::sqlite();
    assert!(mail.mail(&mail.other, "hello").starts_with("250"));
    mail.imap(&mail.other, PASSWORD);
    let at = |name: &str| mail.dir.path.join(name);
    for suffix in ["", "-wal", "-shm"] {
        let [auth, maps, desk] = ["auth/auth.sqlite", "maps/maps.sqlite", "desk/mailward.sqlite"]
            .map(|file| at(&format!("{file}{suffix}")));
        assert!(auth.exists() && maps.exists() && desk.exists());
        assert!(can_read("dovecot", &auth) && !can_read("dovecot", &maps), "Dovecot: logins, no maps");
        assert!(can_read("postfix", &maps) && !can_read("postfix", &auth), "Postfix: maps, no logins");
        for user in ["dovecot", "dovenull", "postfix", "vmail", "nobody"] {
            assert!(!can_read(user, &desk), "{user} reads {}", desk.display());
        }
        for stranger in ["dovenull", "vmail", "nobody"] {
            assert!(!can_read(stranger, &auth) && !can_read(stranger, &maps), "{stranger}");
        }
    }
}

#[test]
fn a_role_on_postgresql_reads_its_own_views_alone_and_writes_nothing() {
    let mail = MailWorld::postgres();
    let (address, name) = mail.database_over_tcp();
    let ask = |role: &str, password: &str, statement: &str| -> Result<(), String> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .dbname(&name)
            .user(role)
            .password(password);
        mail.block(async {
            let (client, connection) = config
                .connect(tokio_postgres::NoTls)
                .await
                .map_err(|error| format!("no login: {error:?}"))?;
            tokio::spawn(connection);
            let done = client.batch_execute(statement).await;
            done.map_err(|error| error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned()))
        })
    };
    let logins = ["mp_login", "mp_app", "mp_gate", "mp_user", "mp_session"];
    let maps = ["mp_domain", "mp_mailbox", "mp_rcpt", "mp_sender", "mp_sasl"];
    let roles = [
        ("mw_dovecot", super::DOVECOT_PASSWORD, "mail_auth", logins, "mail_maps", maps),
        ("mw_postfix", super::POSTFIX_PASSWORD, "mail_maps", maps, "mail_auth", logins),
    ];
    for (role, password, own_schema, own, other_schema, others) in roles {
        for view in own {
            assert_eq!(ask(role, password, &format!("SELECT * FROM {view}")), Ok(()), "{role}: {view}");
            for statement in
                [format!("DELETE FROM {view}"), format!("BEGIN READ WRITE; DELETE FROM {own_schema}.{view}")]
            {
                ask(role, password, &statement).expect_err("it writes nothing");
            }
        }
        assert_eq!(ask(role, password, "SELECT version FROM contract"), Ok(()));
        for view in others {
            let denied = ask(role, password, &format!("SELECT * FROM {other_schema}.{view}"));
            assert_eq!(denied, Err(format!("permission denied for schema {other_schema}")), "{role}");
        }
        let tables = "person account organization domain address app_password access_token client audit outbox \
                      mail_server mailbox_state";
        for table in tables.split_whitespace() {
            let denied = ask(role, password, &format!("SELECT * FROM public.{table}")).expect_err("denied");
            assert!(denied.starts_with("permission denied for"), "{role}: {table}: {denied}");
        }
        for helper in ["account", "app_password"] {
            ask(role, password, &format!("SELECT * FROM {own_schema}.{helper}")).expect_err("denied");
        }
        ask(role, password, "BEGIN READ WRITE; CREATE TABLE public.x (y int)").expect_err("it makes nothing");
        assert!(ask(role, "another password", "SELECT 1").is_err(), "{role} has a password");
    }
}

both_contracts! {
    fn nobody_sends_as_an_address_of_another_organization(mail: MailWorld) {
        let app = &mail.world().app;
        let stranger = mail.block(async {
            let (zoid, domain) = world::organization(app, "Rival", "rival.example").await;
            world::someone(app, zoid, &format!("rita@{domain}"), Role::SuperAdmin).await
        });
        let own = mail.someone("pat");
        let mut rita = mail.submission(&stranger.email, PASSWORD);
        let mut pat = mail.submission(&own.email, PASSWORD);
        let refusal = |of: &world::Someone, from: &str| {
            format!("553 5.7.1 <{from}>: Sender address rejected: not owned by user {}@g1", mbox(of))
        };
        assert_eq!(rita.rcpt(&own.email, &own.email), refusal(&stranger, &own.email));
        assert_eq!(pat.rcpt(&stranger.email, &stranger.email), refusal(&own, &stranger.email));
        for from in ["nobody@rival.example", "somebody@elsewhere.test"] {
            assert_eq!(pat.rcpt(from, &stranger.email), refusal(&own, from));
        }
        // Honest mail goes both ways.
        assert!(rita.send(&stranger.email, &own.email, "from rita").starts_with("250"));
        assert!(pat.send(&own.email, &stranger.email, "from pat").starts_with("250"));
        assert_eq!(mail.delivered(&mbox(&own), 1), ["from rita"]);
        assert_eq!(mail.delivered(&mbox(&stranger), 1), ["from pat"]);
    }
}
