//! Every page as every role, every form without its token, and stored hostile strings. The tables are
//! written by hand; whoever adds a page or a form adds a line.

use axum::http::StatusCode;
use mailward::domain::actor::Role;
use mailward::store::engine::Db;
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, Someone, World};

/// Pages, and what a member, the help desk, an administrator and a super administrator are answered.
/// `{m}` is a member's zuid.
const PAGES: &[(&str, [u16; 4])] = &[
    ("/users", [403, 200, 200, 200]),
    ("/users?q=mia&state=disabled", [403, 200, 200, 200]),
    ("/users/{m}", [403, 200, 200, 200]),
    ("/users/{m}/reset-password", [403, 200, 200, 200]),
    ("/users/{m}/secure", [403, 200, 200, 200]),
    ("/users/{m}/delete", [403, 200, 200, 200]),
    ("/users/new", [403, 403, 200, 200]),
    ("/users/import", [403, 403, 200, 200]),
    ("/users/bulk?what=disable-mail&user={m}", [403, 200, 200, 200]),
    ("/changes/{change}", [403, 200, 200, 200]),
    ("/jobs/none", [404, 404, 404, 404]),
    ("/domains", [403, 403, 200, 200]),
    ("/applications", [403, 403, 200, 200]),
    ("/audit", [403, 403, 200, 200]),
    ("/audit?person=nobody", [403, 403, 200, 200]),
    ("/audit?since=never", [403, 403, 200, 200]),
    ("/audit/export?as=csv", [403, 403, 200, 200]),
    ("/audit/export?as=csv&person=nobody", [403, 403, 404, 404]),
    ("/audit/export?as=csv&since=never", [403, 403, 400, 400]),
    ("/mail-servers", [403, 403, 200, 200]),
];

/// Every form of the console that somebody who is signed in sends, with fields that would do something.
pub const FORMS: &[(&str, &[(&str, &str)])] = &[
    ("/users/{m}/reset-password", &[]),
    ("/users/{m}/secure", &[]),
    ("/users/{m}/disable-user", &[]),
    ("/users/{m}/disable-mail", &[]),
    ("/users/{m}/block-incoming", &[]),
    ("/users/{m}/block-sending", &[]),
    ("/users/{m}/imap-off", &[]),
    ("/users/{m}/pop-off", &[]),
    ("/users/{m}/change-address", &[("value", "rebecca@zylker.example")]),
    ("/users/{m}/change-name", &[("value", "Rebecca")]),
    ("/users/{m}/add-address", &[("value", "becky@zylker.example")]),
    ("/users/{m}/change-role", &[("value", "admin")]),
    ("/users/{m}/change-term", &[("value", "30")]),
    ("/users/{m}/delete", &[]),
    ("/users/new", &[("address", "new@zylker.example")]),
    ("/users/import", &[("list", "address\nlist@zylker.example\n"), ("go", "yes")]),
    ("/users/bulk", &[("what", "disable-mail"), ("user", "{m}")]),
    ("/jobs/none/passwords", &[]),
    ("/domains", &[("name", "another.example")]),
    ("/domains/zylker.example/switch-off", &[]),
    ("/applications", &[("name", "Script"), ("kind", "self")]),
    ("/applications/1000.X/delete", &[]),
    ("/prove", &[("password", PASSWORD)]),
    ("/sign-out", &[]),
];

fn filled(text: &str, member: &Someone, change: &str) -> String {
    text.replace("{m}", &member.zuid.to_string()).replace("{change}", change)
}

async fn everybody(world: &World) -> Vec<Someone> {
    let desk = world.someone("desk", Role::HelpDesk).await;
    vec![world.other.clone(), desk, world.admin.clone(), world.owner.clone()]
}

both_engines! {
    async fn every_page_answers_every_role_as_the_table_says(db: Db) {
        let world = World::start(db).await;
        let done = world.mode(&world.owner, &world.member, "disableMailAccount", json!({})).await;
        let change = done.change().expect("a change");
        let mut wrong = Vec::new();
        for (column, person) in everybody(&world).await.iter().enumerate() {
            let mut visitor = Visitor::signed_in(&world, &person.email, PASSWORD).await;
            for (path, wanted) in PAGES {
                let path = filled(path, &world.member, &change);
                let got = visitor.get(&path).await.status.as_u16();
                if got != wanted[column] {
                    wrong.push(format!("{path} for {}: {got}, not {}", person.email, wanted[column]));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn no_form_is_believed_without_the_token_of_a_page(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let mut another = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        another.get("/prove").await;
        let foreign = another.csrf();
        visitor.get("/prove").await;
        let good = visitor.csrf();
        let before = world.account(&world.member).await;
        for (path, fields) in FORMS {
            let path = filled(path, &world.member, "");
            let values: Vec<(&str, String)> =
                fields.iter().map(|(name, value)| (*name, filled(value, &world.member, ""))).collect();
            let plain: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for token in [None, Some(""), Some("0"), Some(foreign.as_str())] {
                let mut sent = plain.clone();
                sent.extend(token.map(|token| ("csrf", token)));
                let answer = visitor.post_as_is(&path, &sent).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} with {token:?}: {}", answer.text);
            }
            // The right token from a foreign site's page.
            visitor.headers.push(("sec-fetch-site".to_owned(), "cross-site".to_owned()));
            let mut sent = plain.clone();
            sent.push(("csrf", &good));
            assert_eq!(visitor.post_as_is(&path, &sent).await.status, StatusCode::FORBIDDEN, "{path} from elsewhere");
            visitor.headers.clear();
        }
        assert_eq!(world.account(&world.member).await, before);
        assert_eq!(visitor.get("/users?q=new@").await.text.matches("new@zylker.example").count(), 0);
        assert_eq!(visitor.get("/prove").await.status, StatusCode::OK, "nobody was signed out");
    }

    async fn what_people_wrote_is_shown_as_text_and_nothing_else(db: Db) {
        let world = World::start(db).await;
        let nasty = r#""><script>alert('x')</script>{{1234*5678}}<img src=x onerror=y> &lt;b&gt;"#;
        let mut owner = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let on = |action: &str| format!("/users/{}/{action}", world.member.zuid);
        owner.get("/users").await;
        owner.post(&on("change-name"), &[("value", nasty), ("reason", nasty)]).await;
        assert_eq!(world.account(&world.member).await.profile.display_name, nasty);
        owner.post(&on("disable-mail"), &[("reason", nasty)]).await;
        owner.post("/applications", &[("name", nasty), ("kind", "web"), ("redirects", "https://app.example/?\"><script>x")]).await;
        owner.get("/domains").await;
        owner.post("/domains/zylker.example/switch-off", &[("reason", nasty)]).await;
        let query = url::form_urlencoded::byte_serialize(nasty.as_bytes()).collect::<String>();
        let member = format!("/users/{}", world.member.zuid);
        for path in [
            "/users",
            member.as_str(),
            &format!("/users?q={query}&state={query}&after={query}"),
            &format!("{member}/disable-user?value={query}&reason={query}"),
            &format!("{member}?change={query}&said={query}"),
            &format!("/users/bulk?what=enable-mail&user={}&reason={query}", world.member.zuid),
            "/domains",
            "/applications",
            "/audit",
            &format!("/audit?verb={query}&person={query}&since={query}&until={query}&after={query}"),
            "/mail-servers",
        ] {
            let page = owner.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}");
            for bad in ["<script>", "<img", "alert('x')</script", "onerror=y>"] {
                assert!(!page.text.contains(bad), "{bad} in {path}: {}", page.text);
            }
            assert!(!page.text.contains("7006652"), "nothing is computed of it") ;
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert!(policy.contains("require-trusted-types-for 'script'; trusted-types mailward"), "{policy}");
        }
        let page = owner.get("/users").await;
        assert!(page.text.contains("&#60;script&#62;") || page.text.contains("&lt;script&gt;"), "it is there, as text");
        for control in ["a\u{0}b", "a\nb", "a\u{202e}b", "a\tb"] {
            owner.get("/users").await;
            let answer = owner.post(&on("change-name"), &[("value", control)]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{control:?}");
        }
    }
}
