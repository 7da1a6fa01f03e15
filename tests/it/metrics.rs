//! What Prometheus is told: the right numbers, at a door of its own, and nothing that should stay inside.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use mailward::app::metrics::{Metrics, render};
use mailward::app::read_only;
use mailward::domain::effect::{PERSON, PROJECTION};
use mailward::store;
use serde_json::json;

use crate::cli::Place;
use crate::support::databases::TestDb;
use crate::support::service::Service;
use crate::support::world::{PASSWORD, START, World, operator};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The value of one series.
#[track_caller]
fn value(told: &str, series: &str) -> f64 {
    let line = told.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{told}")).parse().expect("a number")
}

both_engines! {
    async fn the_numbers_are_those_of_what_happened(test: TestDb) {
        let world = World::start(test.clone()).await;
        world.settle().await;
        for _ in 0..2 {
            world.mode(&world.admin, &world.member, "disableUser", json!({})).await.ok();
        }
        world.mode(&world.other, &world.owner, "disableUser", json!({})).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.send("GET", "/api/no/such/route", &[], "").await;
        world.send("BREW", "/health/live", &[], "").await;
        for _ in 0..15 {
            let _ = world.self_password(&world.other.email, "not-the-right-one", "another-horse-9").await;
        }
        world.app.clock.advance(3_000);
        let text = render(&world.app).await.expect("metrics");
        let changes = |outcome: &str| {
            value(&text, &format!("mailward_changes_total{{outcome=\"{outcome}\",verb=\"disableUser\"}}"))
        };
        assert_eq!((changes("done"), changes("unchanged"), changes("refused")), (1.0, 1.0, 1.0));
        let route = "/api/organization/{zoid}/accounts/{id}";
        let requests = format!("mailward_http_requests_total{{method=\"PUT\",route=\"{route}\",status=\"200\"}}");
        assert_eq!(value(&text, &requests), 2.0);
        let durations = format!("mailward_http_request_duration_seconds_count{{method=\"PUT\",route=\"{route}\"}}");
        assert_eq!(value(&text, &durations), 3.0);
        assert!(text.contains("route=\"no route\"") && !text.contains("/api/no/such"), "{text}");
        assert!(text.contains("method=\"other\"") && !text.contains("BREW"), "{text}");
        assert!(value(&text, "mailward_throttled_total{subject=\"address\"}") > 0.0);
        assert!(value(&text, "mailward_outbox_waiting{target=\"mx1\"}") >= 1.0);
        assert!(value(&text, "mailward_outbox_oldest_seconds{target=\"mx1\"}") >= 3.0);
        assert_eq!(value(&text, "mailward_database_up"), 1.0);
        assert_eq!(value(&text, "mailward_read_only"), 0.0);
        assert_eq!(value(&text, "mailward_password_hash_refusals_total"), 0.0);
        assert_eq!(value(&text, &format!("mailward_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
        if test.url.starts_with("postgres") {
            assert_eq!(value(&text, "mailward_database_pool_connections{state=\"max\"}"), 16.0);
        }

        read_only::on(&test.db, &operator(), START).await.expect("on");
        assert_eq!(value(&render(&world.app).await.expect("metrics"), "mailward_read_only"), 1.0);
        read_only::off(&test.db, &operator(), START).await.expect("off");
        world.settle().await;
        test.db.write(async move |tx| store::mail_servers::remove(tx, "mx1", START).await).await.expect("removed");
        let text = render(&world.app).await.expect("metrics");
        assert!(!text.contains("target=\"mx1\""), "a server that is gone is not told of");
        test.db.close().await;
        assert_eq!(value(&render(&world.app).await.expect("metrics"), "mailward_database_up"), 0.0);
    }

    async fn no_address_id_or_secret_is_in_a_label(test: TestDb) {
        let world = World::start(test).await;
        world.mode(&world.admin, &world.member, "disableUser", json!({})).await.ok();
        world.get(&world.admin.org_token, &format!("/api/organization/{}/accounts/{}", world.zoid, world.member.email)).await;
        let _ = world.self_password(&world.member.email, PASSWORD, "another-horse-9").await;
        world.settle().await;
        let text = render(&world.app).await.expect("metrics");
        let zoid = world.zoid.to_string();
        for secret in [PASSWORD, &world.admin.org_token, &world.member.email, &world.domain, "mia", &zoid,
            &world.member.zuid.to_string(), &world.member.account_id.to_string()] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
}

#[test]
fn the_metrics_are_documented() {
    let mut text = String::from(
        "# Metrics\n\n\
         Made from the code; do not edit. `metrics.listen` opens a door of its own on loopback that answers `GET /metrics` in \
         Prometheus' text format ([why](decisions/0031-metrics-at-a-door-of-their-own.md)); it is closed until that is set. \
         [dist/alerts.yml](../dist/alerts.yml) has rules to begin with. Counters are those of one node since its start; what is \
         looked up in the database (the outbox, sealing, read-only) is the same on every node. No label is a secret, an \
         address or an id.\n\n\
         | Name | Kind | Labels | Means |\n| --- | --- | --- | --- |\n",
    );
    for metric in Metrics::default().described() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(text, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(", "), metric.help)
            .expect("text");
    }
    let path = root().join("docs/metrics.md");
    if std::env::var_os("MAILWARD_BLESS").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/metrics.md is not what the code says; MAILWARD_BLESS=1 writes it anew");
}

#[test]
fn names_follow_the_conventions() {
    for metric in Metrics::default().described() {
        let name = metric.name.strip_prefix("mailward_").expect("our own prefix");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name}");
        if metric.kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name} says its unit");
        }
        assert!(metric.help.ends_with('.') && metric.help.len() > 20, "{name} says what it means");
    }
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    let known: BTreeSet<String> = Metrics::default()
        .described()
        .into_iter()
        .flat_map(|metric| match metric.kind {
            "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)).to_vec(),
            _ => vec![metric.name],
        })
        .collect();
    let rules = std::fs::read_to_string(root().join("dist/alerts.yml")).expect("the rules");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("mailward_")).collect();
    assert!(named.len() > 8, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // What is no mail server has alerts of its own.
    let others = format!("{{target!~\"{PERSON}|{PROJECTION}\"}}");
    assert!(rules.contains(&format!("mailward_outbox_oldest_seconds{others}")), "{others}");
    let alerts = rules.matches("- alert: Mailward").count();
    for part in ["expr:", "summary:", "description:", "severity:"] {
        assert_eq!(rules.matches(part).count(), alerts, "every alert has {part}");
    }
}

#[test]
fn the_side_door_answers_metrics_alone_and_the_public_one_has_none() {
    let place = Place::initialised();
    let url = format!("sqlite:{}", place.path("data/mailward.sqlite").display());
    let keys = place.path("data/mailward.keys").display().to_string();
    let service = Service::start_with(
        &url,
        &[("MAILWARD_METRICS_LISTEN", "127.0.0.1:0"), ("MAILWARD_KEYS_FILE", &keys)],
    );
    let side = service.said("metrics can be asked for", "metrics");
    let asked = |address: &str, path: &str| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let public = service.address().to_string();
    assert!(asked(&public, "/metrics").starts_with("HTTP/1.1 404"));
    let answer = asked(&side, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("mailward_build_info{") && answer.contains("mailward_database_up 1"), "{answer}");
    assert!(asked(&side, "/health/live").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_door_for_metrics_that_strangers_reach_must_be_meant() {
    let place = Place::initialised();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("MAILWARD_METRICS_LISTEN", "0.0.0.0:0");
    let refusal = crate::cli::said(command, "").refused(2);
    assert!(refusal.contains("metrics.listen") && refusal.contains("outside = true"), "{refusal}");
}
