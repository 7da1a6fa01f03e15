//! Signing in, choosing a password after a one-time one, and what protects the forms.

use axum::http::StatusCode;
use mailward::store::engine::Db;
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World};

both_engines! {
    async fn an_address_and_its_password_sign_in(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::new(&world);
        let page = visitor.get("/").await;
        assert_eq!(page.status, StatusCode::OK);
        let answer = visitor.sign_in(&world.member.email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
        let session = set.iter().find(|set| set.starts_with("mailward=")).expect("a session");
        assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");
        assert_eq!(visitor.get("/").await.headers["location"], "/me");
        visitor.get("/prove").await;
        let out = visitor.post("/sign-out", &[]).await;
        assert_eq!(out.status, StatusCode::SEE_OTHER);
        assert_eq!(visitor.get("/").await.status, StatusCode::OK);
    }

    async fn a_wrong_password_keeps_the_address_and_says_the_same_as_an_unknown_one(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::new(&world);
        let wrong = visitor.sign_in(&world.member.email, "not-this-one").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert!(wrong.text.contains(&format!(r#"value="{}""#, world.member.email)));
        let unknown = visitor.sign_in("nobody@zylker.example", "not-this-one").await;
        let without = |text: &str, address: &str, csrf: &str| text.replace(address, "").replace(csrf, "");
        let csrf = |text: &str| {
            text.split_once(r#"name="csrf" value=""#).unwrap().1.split('"').next().unwrap().to_owned()
        };
        assert_eq!(
            without(&wrong.text, &world.member.email, &csrf(&wrong.text)),
            without(&unknown.text, "nobody@zylker.example", &csrf(&unknown.text)),
        );
    }

    async fn a_form_without_the_pages_token_does_nothing(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::new(&world);
        visitor.get("/").await;
        for fields in [
            vec![("address", world.member.email.as_str()), ("password", PASSWORD)],
            vec![("csrf", "0"), ("address", &world.member.email), ("password", PASSWORD)],
        ] {
            let answer = visitor.post_as_is("/sign-in", &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
            assert!(visitor.cookie("mailward").is_none());
        }
    }

    async fn a_one_time_password_leads_to_one_page_and_then_inside(db: Db) {
        let world = World::start(db).await;
        let reset = json!({"password": "t*c9ma-once"});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();
        let mut visitor = Visitor::new(&world);
        let answer = visitor.sign_in(&world.member.email, "t*c9ma-once").await;
        assert_eq!(answer.headers["location"], "/new-password");
        for elsewhere in ["/prove", "/"] {
            assert_eq!(visitor.get(elsewhere).await.headers["location"], "/new-password");
        }
        visitor.get("/new-password").await;
        let twice = |one, two| [("new_password", one), ("new_password_again", two)];
        let differ = visitor.post("/new-password", &twice("a-better-one-9", "another-one-9")).await;
        assert_eq!(differ.status, StatusCode::BAD_REQUEST);
        let same = visitor.post("/new-password", &twice("t*c9ma-once", "t*c9ma-once")).await;
        assert_eq!(same.status, StatusCode::BAD_REQUEST, "{}", same.text);
        let before = visitor.cookie("mailward").unwrap().to_owned();
        let chosen = visitor.post("/new-password", &twice("a-better-one-9", "a-better-one-9")).await;
        assert_eq!(chosen.headers["location"], "/me?said=password", "{}", chosen.text);
        assert_ne!(visitor.cookie("mailward").unwrap(), before, "the session is a new one");
        assert_eq!(visitor.get("/prove").await.status, StatusCode::OK);

        let mut old = Visitor::new(&world);
        old.set_cookie("mailward", &before);
        assert_eq!(old.get("/prove").await.headers["location"], "/?next=%2Fprove");
        assert_eq!(old.sign_in(&world.member.email, "t*c9ma-once").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(old.sign_in(&world.member.email, "a-better-one-9").await.status, StatusCode::SEE_OTHER);
    }

    async fn a_reset_ends_the_sessions_of_browsers(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        assert_eq!(visitor.get("/prove").await.status, StatusCode::OK);
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        assert_eq!(visitor.get("/prove").await.status, StatusCode::SEE_OTHER);
    }
}
