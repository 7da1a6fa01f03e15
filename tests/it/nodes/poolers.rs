//! What may stand between a node and its database: a pooler that gives each client a connection of
//! its own, and TLS with passwords that prove themselves. And what may not.

use std::os::unix::fs::PermissionsExt;

use mailward::app::open;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::config::Config;
use mailward::error::Error;
use mailward::store::engine::{Db, Options};
use mailward::store::migrations::STEPS;
use serde_json::json;

use crate::cli::Place;
use crate::support::certificates::certificates;
use crate::support::databases::{on_postgres, options, runtime};
use crate::support::pgbouncer::Pgbouncer;
use crate::support::postgres;
use crate::support::world::{World, config};

#[test]
fn a_pooler_that_keeps_sessions_apart_is_fine() {
    on_postgres(STEPS, async |test| {
        let pooler = Pgbouncer::start(&test.url, "session");
        let url = pooler.url(&test.url);
        let world = World::start(Db::open(&url, &options()).expect("the URL is good")).await;
        for _ in 0..3 {
            world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
            world.mode(&world.admin, &world.member, "enableMailAccount", json!({})).await.ok();
        }
        world.get(&world.admin.org_token, &world.path(&world.member)).await.ok();

        let place = Place::empty();
        place.write("mailward.toml", &format!("[database]\nurl = \"{url}\"\n"));
        let told = place.run(&["doctor"]);
        assert!(told.out.contains("good     every connection to the database is its own"), "{}", told.out);
    });
}

#[test]
fn a_pooler_that_mixes_transactions_of_clients_is_refused() {
    on_postgres(STEPS, async |test| {
        let pooler = Pgbouncer::start(&test.url, "transaction");
        let url = pooler.url(&test.url);
        let mut config = Config::default();
        config.database.url = url.clone();
        match open::open_to_serve(&config, Clock::System, Random::System).await {
            Err(Error::Refused(why)) => assert!(why.contains("pool_mode"), "{why}"),
            Err(other) => panic!("another refusal: {other}"),
            Ok(_) => panic!("it would serve"),
        }
        let place = Place::empty();
        place.write("mailward.toml", &format!("[database]\nurl = \"{url}\"\n"));
        let told = place.run(&["doctor"]);
        assert_eq!(told.code, 1, "{}", told.out);
        assert!(told.out.contains("pool_mode = session"), "{}", told.out);
    });
}

#[test]
fn a_server_that_demands_tls_and_a_proof_of_the_password_is_served() {
    // A free port, given back for the server to take.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = postgres::Server::start(port, |folder| {
        certificates(folder);
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(folder.join("rules"), rules).unwrap();
        let at = folder.display();
        vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "password_encryption=scram-sha-256".to_owned(),
            format!("hba_file={at}/rules"),
            "ssl=on".to_owned(),
            "ssl_min_protocol_version=TLSv1.3".to_owned(),
            format!("ssl_cert_file={at}/server.crt"),
            format!("ssl_key_file={at}/server.key"),
        ]
    });
    postgres::run(&server.url, "CREATE USER mailward PASSWORD 'correct horse'");
    for name in ["desk", "again"] {
        postgres::run(&server.url, &format!("CREATE DATABASE {name} OWNER mailward"));
    }

    let place = Place::empty();
    let password = place.write("password", "correct horse\n");
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let authority = server.folder.join("authority.pem");
    let mut config = config();
    config.database.url =
        format!("postgres://mailward@127.0.0.1:{port}/desk?sslmode=verify-full&channel_binding=require");
    config.database.password_file = Some(password);
    config.database.tls_root_cert = Some(authority);
    runtime().block_on(async {
        let app = open::open_to_serve(&config, Clock::System, Random::System).await.unwrap();
        let world = World::start(app.db.clone()).await;
        world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
        let encrypted = "SELECT CAST(ssl AS BIGINT) AS ssl FROM (SELECT COUNT(*) AS ssl FROM pg_stat_ssl
                         WHERE ssl AND pid = pg_backend_pid()) AS own";
        let mut tx = app.db.read().await.unwrap();
        assert_eq!(tx.query_one(encrypted, &[], |row| row.get::<i64>("ssl")).await.unwrap(), 1);
        drop(tx);
        app.db.close().await;

        // Without TLS, or with another authority, nobody comes in.
        let plain =
            config.database.url.split('?').next().unwrap().replace("mailward@", "mailward:correct%20horse@");
        let db = Db::open(&plain, &options()).unwrap();
        assert!(matches!(db.ping().await, Err(Error::Unavailable { .. })));
        // Another program that only holds the password in a file comes in, and copies there and back.
        place.write("mailward.toml", "");
        let copy = |arguments: &[&str]| {
            let mut command = place.command(&[&["copy"], arguments].concat());
            command.env("MAILWARD_DATABASE_TLS_ROOT_CERT", config.database.tls_root_cert.as_ref().unwrap());
            crate::cli::said(command, "")
        };
        let there =
            ["--from", &config.database.url, "--from-password-file", "password", "--to", "sqlite:one.sqlite"];
        let said = copy(&there).good().out;
        assert!(said.contains("both databases hold the same"), "{said}");
        let again = config.database.url.replace("/desk?", "/again?");
        let back = ["--from", "sqlite:one.sqlite", "--to", &again, "--to-password-file", "password"];
        let said = copy(&back).good().out;
        assert!(said.contains("both databases hold the same"), "{said}");
        place.write("wrong", "incorrect horse\n");
        std::fs::set_permissions(place.path("wrong"), std::fs::Permissions::from_mode(0o600)).unwrap();
        for (file, code) in [("wrong", 1), ("none", 2)] {
            let why = copy(&[
                "--from",
                &config.database.url,
                "--from-password-file",
                file,
                "--to",
                "sqlite:two.sqlite",
            ]);
            let why = why.refused(code);
            assert!(!why.contains("horse"), "{why}");
        }

        certificates(place.root());
        let other = Options { tls_root_cert: Some(place.path("authority.pem")), ..options() };
        let db = Db::open(&plain, &other).unwrap();
        assert!(matches!(db.ping().await, Err(Error::Unavailable { .. })));
    });
}
