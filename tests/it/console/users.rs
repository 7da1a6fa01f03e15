//! Finding people, and reading how one of them stands.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use mailward::domain::actor::Role;
use mailward::store::engine::Db;
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World};

/// The people on a page, by the links to them.
pub fn listed(page: &str) -> Vec<i64> {
    let links = page.split(r#"<a href="/users/"#).skip(1);
    links.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

/// Where the next page begins.
fn next(page: &str) -> Option<String> {
    let link = page.split(r#"rel="next""#).next().filter(|before| before.len() < page.len())?;
    let (_, href) = link.rsplit_once(r#"href=""#)?;
    Some(href.split('"').next()?.replace("&amp;", "&").replace("&#38;", "&"))
}

async fn admin(world: &World) -> Visitor<'_> {
    Visitor::signed_in(world, &world.admin.email, PASSWORD).await
}

both_engines! {
    async fn any_three_letters_of_a_name_or_an_address_find_a_person(db: Db) {
        let world = World::start(db).await;
        world.mode(&world.owner, &world.member, "displaynameupdate", json!({"displayName": "Ägir Øst-Müller"})).await.ok();
        world.mode(&world.owner, &world.member, "addEmailAlias", json!({"emailAlias": ["sales_eu@zylker.example"]})).await.ok();
        let mut visitor = admin(&world).await;
        for term in ["mia", "MIA@", "ia@zy", "müll", "ÄGI", "ägir øst", "les_eu", "sa", &world.member.zuid.to_string()] {
            let address = url::form_urlencoded::byte_serialize(term.as_bytes()).collect::<String>();
            let page = visitor.get(&format!("/users?q={address}")).await;
            assert_eq!(listed(&page.text), [world.member.zuid], "{term}: {}", page.text);
        }
        // A sign with a meaning in SQL is none here.
        for term in ["les%eu", "%%%", "salesxeu", "ol_", "\\\\mia", "'; --", "nobody"] {
            let address = url::form_urlencoded::byte_serialize(term.as_bytes()).collect::<String>();
            let page = visitor.get(&format!("/users?q={address}")).await;
            assert_eq!(page.status, StatusCode::OK, "{term}");
            assert_eq!(listed(&page.text), Vec::<i64>::new(), "{term}");
        }
        let one_letter = visitor.get("/users?q=m").await;
        assert!(one_letter.text.contains("one letter more") && listed(&one_letter.text).len() == 4);
    }

    async fn nul_is_in_no_question_and_in_no_form(db: Db) {
        let world = World::start(db).await;
        let mut visitor = admin(&world).await;
        for address in ["/users?q=mia%00", "/users?q=mdo%7Bcoo%00%7D", "/users?state=%00&q=x%00y", "/audit?verb=a%00&person=%00"] {
            let page = visitor.get(address).await;
            assert_eq!(page.status, StatusCode::OK, "{address}: {}", page.text);
        }
        for (address, field) in [
            ("/me/applications/disconnect", "client"),
            ("/users/new", "address"),
            (&format!("/users/{}/change-name", world.member.zuid), "value"),
        ] {
            let answer = visitor.post(address, &[(field, "a\0b")]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{address}: {}", answer.text);
        }
    }

    async fn what_is_found_follows_every_change_of_names_and_addresses(db: Db) {
        let world = World::start(db).await;
        let mut visitor = admin(&world).await;
        world.mode(&world.owner, &world.member, "emailupdate", json!({"emailAddress": "rebecca@zylker.example"})).await.ok();
        world.mode(&world.owner, &world.member, "deleteEmailAlias", json!({"emailAlias": ["mia@zylker.example"]})).await.ok();
        assert_eq!(listed(&visitor.get("/users?q=rebec").await.text), [world.member.zuid]);
        assert_eq!(listed(&visitor.get("/users?q=mia").await.text), Vec::<i64>::new());
        assert_eq!(listed(&visitor.get("/users?q=mi").await.text), Vec::<i64>::new());
        let body = json!({"accountList": [world.member.zuid]});
        world.with_body("DELETE", &world.owner.org_token, &world.path(&world.member), body).await.ok();
        assert_eq!(listed(&visitor.get("/users?q=rebec").await.text), Vec::<i64>::new());
        assert_eq!(visitor.get(&format!("/users/{}", world.member.zuid)).await.status, StatusCode::NOT_FOUND);
    }

    async fn each_filter_shows_those_and_nobody_else(db: Db) {
        let world = World::start(db).await;
        let blocked = world.someone("bert", Role::Member).await;
        let once = world.someone("once", Role::Member).await;
        world.mode(&world.owner, &world.member, "disableUser", json!({})).await.ok();
        world.mode(&world.owner, &blocked, "updateIncomingStatus", json!({"incomingBlocked": true})).await.ok();
        world.mode(&world.owner, &once, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        let mut visitor = admin(&world).await;
        for (state, whom) in [("disabled", &world.member), ("blocked", &blocked), ("one-time", &once)] {
            assert_eq!(listed(&visitor.get(&format!("/users?state={state}")).await.text), [whom.zuid], "{state}");
            assert_eq!(listed(&visitor.get(&format!("/users?state={state}&q=zylker")).await.text), [whom.zuid]);
            assert_eq!(listed(&visitor.get(&format!("/users?state={state}&q=owner")).await.text), Vec::<i64>::new());
        }
        let never = listed(&visitor.get("/users?state=never").await.text);
        assert!(!never.contains(&world.admin.zuid) && never.contains(&world.member.zuid), "{never:?}");
    }

    async fn pages_show_everybody_once(db: Db) {
        let world = World::start(db).await;
        let mut all = BTreeSet::from([world.owner.zuid, world.admin.zuid, world.member.zuid, world.other.zuid]);
        for number in 0..51 {
            all.insert(world.someone(&format!("person{number}"), Role::Member).await.zuid);
        }
        let mut visitor = admin(&world).await;
        for first in ["/users", "/users?q=zylker", "/users?q=zylker&state=never", "/users?state=never"] {
            let (mut seen, mut at) = (Vec::new(), Some(first.to_owned()));
            while let Some(path) = at {
                let page = visitor.get(&path).await.text;
                assert!(listed(&page).len() <= 25);
                seen.extend(listed(&page));
                at = next(&page);
            }
            let wanted = all.iter().copied().filter(|one| !first.contains("never") || *one != world.admin.zuid);
            assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len(), "{first}: nobody twice");
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted.collect(), "{first}");
        }
    }

    async fn a_page_says_in_words_how_somebody_stands(db: Db) {
        let world = World::start(db).await;
        let path = format!("/users/{}", world.member.zuid);
        let mut visitor = admin(&world).await;
        let page = visitor.get(&path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains("Signs in normally. Mail arrives."), "{}", page.text);
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        world.mode(&world.owner, &world.member, "disableMailAccount", json!({})).await.ok();
        let page = visitor.get(&path).await.text;
        assert!(page.contains("One-time password waiting, set just now; it ends in 3 days (2026-06-04 00:00 UTC)."), "{page}");
        assert!(page.contains("Mail programs are refused: mail disabled by owner@zylker.example, just now."), "{page}");
        assert!(page.contains("Password reset") && page.contains("Mail disabled"), "the history tells both");
    }

    async fn who_administers_nothing_sees_nobody(db: Db) {
        let world = World::start(db).await;
        let mut member = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        for path in ["/users".to_owned(), format!("/users/{}", world.member.zuid)] {
            assert_eq!(member.get(&path).await.status, StatusCode::FORBIDDEN, "{path}");
        }
        let mut stranger = Visitor::new(&world);
        assert_eq!(stranger.get("/users?q=mia").await.headers["location"], "/?next=%2Fusers%3Fq%3Dmia");
        let mut desk = admin(&world).await;
        for wrong in ["0", "x", "1000000999999", "%00"] {
            assert_eq!(desk.get(&format!("/users/{wrong}")).await.status, StatusCode::NOT_FOUND, "{wrong}");
        }
    }
}
