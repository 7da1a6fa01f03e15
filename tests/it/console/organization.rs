//! Domains, applications, the audit log and mail servers, as administrators see and change them.

use axum::http::StatusCode;
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::email_address::DomainName;
use mailward::store;
use mailward::store::engine::{Db, EngineKind, params};
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World, client, organization, someone};

async fn owner(world: &World) -> Visitor<'_> {
    Visitor::signed_in(world, &world.owner.email, PASSWORD).await
}

async fn domain(world: &World, name: &str) -> Option<store::organizations::Domain> {
    let name = DomainName::parse(name).expect("a domain");
    let mut tx = world.app.db.read().await.expect("a connection");
    store::organizations::domain(&mut tx, world.zoid, &name).await.expect("a domain")
}

/// The secret that a page shows once.
fn secret(page: &str) -> String {
    let (_, rest) = page.split_once(r#"id="secret""#).expect("a secret");
    let (_, rest) = rest.split_once(r#"value=""#).expect("a value");
    rest.split('"').next().unwrap().to_owned()
}

both_engines! {
    async fn a_super_administrator_adds_switches_and_removes_domains(db: Db) {
        let world = World::start(db).await;
        let mut visitor = owner(&world).await;
        visitor.get("/domains").await;
        assert_eq!(visitor.post("/domains", &[("name", "not a domain")]).await.status, StatusCode::BAD_REQUEST);
        let taken = visitor.post("/domains", &[("name", "zylker.example")]).await;
        assert!(taken.status == StatusCode::BAD_REQUEST && taken.text.contains("already here"), "{}", taken.text);
        assert_eq!(visitor.post("/domains", &[("name", "Second.Example")]).await.status, StatusCode::SEE_OTHER);
        let page = visitor.get("/domains").await.text;
        assert!(page.contains("second.example") && page.contains("mailward domain verify second.example"), "{page}");
        let unverified = visitor.post("/domains/second.example/make-primary", &[]).await;
        assert_eq!(unverified.status, StatusCode::BAD_REQUEST);
        assert_eq!(visitor.post("/domains/second.example/remove", &[]).await.status, StatusCode::SEE_OTHER);
        assert!(domain(&world, "second.example").await.is_none());
        visitor.get("/domains").await;
        assert_eq!(visitor.post("/domains/zylker.example/remove", &[]).await.status, StatusCode::BAD_REQUEST);
        let off = visitor.post("/domains/zylker.example/switch-off", &[("reason", "moving")]).await;
        let page = visitor.follow(off).await.text;
        assert!(page.contains("moving") && page.contains("Open mail sessions on mx1"), "{page}");
        assert!(domain(&world, "zylker.example").await.unwrap().disabled.is_some());
        visitor.post("/domains/zylker.example/switch-on", &[]).await;
        assert!(domain(&world, "zylker.example").await.unwrap().disabled.is_none());
        // Nobody vouches for a domain here, and an administrator changes none.
        assert_eq!(visitor.post("/domains/zylker.example/verify", &[]).await.status, StatusCode::NOT_FOUND);
        let mut admin = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let page = admin.get("/domains").await.text;
        assert!(page.contains("Super administrators change this.") && !page.contains("/switch-off"), "{page}");
        admin.get("/prove").await;
        for (path, fields) in [("/domains", vec![("name", "third.example")]), ("/domains/zylker.example/switch-off", vec![])] {
            assert_eq!(admin.post(path, &fields).await.status, StatusCode::FORBIDDEN, "{path}");
        }
        assert!(domain(&world, "third.example").await.is_none());
    }

    async fn another_organizations_domains_and_applications_are_not_there(db: Db) {
        let world = World::start(db).await;
        organization(&world.app, "Neighbours", "neighbours.example").await;
        let mut visitor = owner(&world).await;
        for verb in ["switch-off", "make-primary", "remove"] {
            visitor.get("/domains").await;
            let answer = visitor.post(&format!("/domains/neighbours.example/{verb}"), &[]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{verb}");
        }
        visitor.get("/domains").await;
        assert_eq!(visitor.post("/applications/1000.NOBODYS/switch-off", &[]).await.status, StatusCode::NOT_FOUND);
    }

    async fn an_application_shows_its_secret_once_and_its_codes_work(db: Db) {
        let world = World::start(db).await;
        let mut visitor = owner(&world).await;
        visitor.get("/applications").await;
        let refused = visitor.post("/applications", &[("name", "Portal"), ("kind", "web")]).await;
        assert!(refused.status == StatusCode::BAD_REQUEST && refused.text.contains(r#"value="Portal""#), "{}", refused.text);
        let made = visitor.post("/applications", &[("name", "Script"), ("kind", "self")]).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
        let (_, rest) = made.text.split_once(r#"id="client" class="mono" readonly value=""#).expect("an id");
        let id = rest.split('"').next().unwrap().to_owned();
        let client_secret = secret(&made.text);
        assert!(!visitor.get("/applications").await.text.contains(&client_secret));
        let scope = [("scope", "ZohoMail.organization.accounts.READ"), ("offline", "yes")];
        let code = visitor.post(&format!("/applications/{id}/code"), &scope).await;
        assert_eq!(code.status, StatusCode::OK, "{}", code.text);
        let code = secret(&code.text);
        let exchange = [
            ("grant_type", "authorization_code"),
            ("client_id", id.as_str()),
            ("client_secret", client_secret.as_str()),
            ("code", code.as_str()),
        ];
        let tokens = world.form("/oauth/v2/token", &exchange).await.json();
        assert!(tokens["refresh_token"].is_string(), "{tokens}");
        visitor.get("/applications").await;
        let nonsense = visitor.post(&format!("/applications/{id}/code"), &[("scope", "Everything.ALL")]).await;
        assert_eq!(nonsense.status, StatusCode::BAD_REQUEST);
        for verb in ["switch-off", "switch-on", "delete"] {
            assert_eq!(visitor.post(&format!("/applications/{id}/{verb}"), &[]).await.status, StatusCode::SEE_OTHER, "{verb}");
        }
        assert!(!visitor.get("/applications").await.text.contains(&id));
    }

    async fn codes_of_other_peoples_applications_are_not_made(db: Db) {
        let world = World::start(db).await;
        let (id, _) = client(&world, ClientKind::SelfClient).await;
        let boss = world.someone("boss", Role::SuperAdmin).await;
        for (person, status) in [(&boss, StatusCode::FORBIDDEN), (&world.admin, StatusCode::FORBIDDEN)] {
            let mut visitor = Visitor::signed_in(&world, &person.email, PASSWORD).await;
            visitor.get("/prove").await;
            let scope = [("scope", "ZohoMail.accounts.READ")];
            assert_eq!(visitor.post(&format!("/applications/{id}/code"), &scope).await.status, status);
        }
        let mut admin = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        assert!(admin.get("/applications").await.text.contains(&id), "administrators read");
        admin.get("/prove").await;
        for (path, fields) in [
            ("/applications".to_owned(), vec![("name", "X"), ("kind", "self")]),
            (format!("/applications/{id}/switch-off"), vec![]),
            (format!("/applications/{id}/delete"), vec![]),
        ] {
            assert_eq!(admin.post(&path, &fields).await.status, StatusCode::FORBIDDEN, "{path}");
        }
    }

    async fn the_audit_log_is_filtered_paged_and_taken_away(db: Db) {
        let world = World::start(db).await;
        for number in 0..60 {
            let name = json!({"displayName": format!("=Name {number}")});
            world.mode(&world.owner, &world.member, "displaynameupdate", name).await.ok();
        }
        world.mode(&world.owner, &world.other, "disableMailAccount", json!({})).await.ok();
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let rows = |page: &str| page.matches(r#"<tr><td data-label="When"><time"#).count();
        let verb = visitor.get("/audit?verb=disableMailAccount").await.text;
        assert!(rows(&verb) == 1 && verb.contains(&world.other.email), "{verb}");
        let person = visitor.get(&format!("/audit?person={}", world.other.zuid)).await.text;
        assert_eq!(rows(&person), 2, "made, and disabled: {person}");
        let account = world.other.account_id.to_string();
        for name in [world.other.email.as_str(), " Otto%40Zylker.Example ", account.as_str()] {
            assert_eq!(rows(&visitor.get(&format!("/audit?person={name}").replace(' ', "+")).await.text), 2, "{name}");
        }
        assert_eq!(rows(&visitor.get("/audit?until=2026-05-30").await.text), 0);
        assert_eq!(rows(&visitor.get("/audit?since=2026-06-02").await.text), 0);
        assert!(rows(&visitor.get("/audit?since=2026-06-01&until=2026-06-01").await.text) == 50);
        let (mut seen, mut at) = (0, Some("/audit?verb=displaynameupdate".to_owned()));
        while let Some(path) = at {
            let page = visitor.get(&path).await.text;
            seen += rows(&page);
            at = page.split(r#"rel="next""#).next().filter(|before| before.len() < page.len()).map(|before| {
                let (_, href) = before.rsplit_once(r#"href=""#).expect("a link");
                href.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
            });
        }
        assert_eq!(seen, 60, "every entry once");
        let lines = visitor.get("/audit/export?as=jsonl&verb=displaynameupdate").await;
        assert!(lines.headers["content-disposition"].to_str().unwrap().contains("audit.jsonl"));
        let entries: Vec<serde_json::Value> =
            lines.text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect();
        assert!(entries.len() == 60 && entries.iter().all(|entry| entry["verb"] == "displaynameupdate"));
        let table = visitor.get("/audit/export?as=csv&verb=disableMailAccount").await;
        assert_eq!(table.text.lines().count(), 2, "{}", table.text);
        // One that lies behind ten thousand others is in the file as well.
        let others = "INSERT INTO audit (organization_id, id, step, at, actor, verb, person_id, entry)
                      SELECT a.organization_id, a.id, 1 + ROW_NUMBER() OVER (ORDER BY a.id, b.id, c.n), a.at + 1000,
                             a.actor, a.verb, a.person_id, a.entry
                      FROM audit a CROSS JOIN audit b
                      CROSS JOIN (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3) c
                      WHERE a.verb = 'displaynameupdate'";
        let made = world.app.db.write(async move |tx| tx.execute(others, params![]).await).await.expect("made");
        assert!(made > 10_000, "{made}");
        let same = visitor.get("/audit/export?as=csv&verb=disableMailAccount").await;
        assert_eq!(same.text, table.text);
        let newest = visitor.get("/audit/export?as=jsonl").await;
        assert_eq!(newest.text.lines().count(), 10_000);
    }

    async fn an_audit_filter_that_fits_nobody_or_cannot_be_read_lists_nothing(db: Db) {
        let world = World::start(db).await;
        let (zoid, domain) = organization(&world.app, "Neighbours", "neighbours.example").await;
        let foreign = someone(&world.app, zoid, &format!("nora@{domain}"), Role::Member).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let (zuid, email) = (foreign.zuid.to_string(), foreign.email.as_str());
        for nobody in ["becky@zylker.example", "abc", "7", "a@b@c", "1000000999999", zuid.as_str(), email] {
            let page = visitor.get(&format!("/audit?person={nobody}")).await.text;
            assert!(page.contains("There is nobody with this address or id."), "{nobody}: {page}");
            assert!(!page.contains("<tr><td") && !page.contains("/audit/export"), "{nobody}: {page}");
            for kind in ["csv", "jsonl"] {
                let file = visitor.get(&format!("/audit/export?as={kind}&person={nobody}")).await;
                assert_eq!(file.status, StatusCode::NOT_FOUND, "{nobody}");
                assert!(file.text.contains("There is nobody with this address or id."), "{}", file.text);
            }
        }
        for (field, day) in [("since", "2026-13-99"), ("until", "2026-02-30"), ("since", "yesterday")] {
            let page = visitor.get(&format!("/audit?{field}={day}")).await.text;
            let said = format!(r#"<p class="beside" id="{field}-problem" role="alert">"#);
            assert!(page.contains(&said) && page.contains("is no day; write it as 2026-06-01."), "{day}: {page}");
            assert!(!page.contains("<tr><td"), "{day}: {page}");
            let file = visitor.get(&format!("/audit/export?as=jsonl&{field}={day}")).await;
            assert_eq!(file.status, StatusCode::BAD_REQUEST, "{day}");
            assert!(file.text.contains("is no day"), "{}", file.text);
        }
        let unreadable = visitor.get("/audit?person=%00").await.text;
        assert!(unreadable.contains("cannot be read") && !unreadable.contains("<tr><td"), "{unreadable}");
        assert_eq!(visitor.get("/audit/export?as=csv&person=%00").await.status, StatusCode::BAD_REQUEST);
        // Who is gone has a history all the same.
        visitor.get(&format!("/users/{}", world.other.zuid)).await;
        visitor.post(&format!("/users/{}/delete", world.other.zuid), &[("reason", "left")]).await;
        let gone = visitor.get(&format!("/audit?person={}", world.other.zuid)).await.text;
        assert!(gone.contains("User deleted"), "{gone}");
        assert!(visitor.get(&format!("/audit?person={}", world.other.email)).await.text.contains("found by zuid"));
    }

    async fn mail_servers_are_shown_with_what_waits_for_them(db: Db) {
        let world = World::start(db).await;
        world.mode(&world.owner, &world.other, "disableMailAccount", json!({})).await.ok();
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let page = visitor.get("/mail-servers").await.text;
        assert!(page.contains("mx1") && page.contains("Does not answer:") && page.contains("1 waits"), "{page}");
        assert!(page.contains("mailward mail-server add"), "it says how one is added");
        assert!(page.contains("--key-file /etc/mailward/imap1.key --ca-file /etc/mailward/ca.pem<"), "{page}");
        // Without folders an embedded database has no look-ups; a server of databases has its views.
        let not_set_up = page.contains("Not set up:</span> mail.auth_dir and mail.maps_dir are empty");
        let kept = page.contains("Kept by this service");
        assert_eq!((not_set_up, kept), match world.app.db.engine() {
            EngineKind::Sqlite => (true, false),
            EngineKind::Postgres => (false, true),
        }, "{page}");
        mailward::app::mail::servers::remove(&world.app, &crate::support::world::operator(), "mx1").await.expect("removed");
        let page = visitor.get("/mail-servers").await.text;
        assert!(page.contains("No mail server is known yet."), "{page}");
        assert_eq!(page.contains("The look-ups are kept all the same"), kept, "{page}");
    }
}
