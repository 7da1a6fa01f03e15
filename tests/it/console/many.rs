//! Many people at once: from the list, and from a file.

use std::time::Duration;

use axum::http::StatusCode;
use mailward::clock::MINUTE;
use mailward::domain::password::PasswordKind;
use mailward::store::engine::Db;
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{Answer, PASSWORD, World};

/// Follows a job until it is done.
pub async fn finish(visitor: &mut Visitor<'_>, answer: Answer) -> (String, String) {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let path = answer.headers["location"].to_str().unwrap().to_owned();
    assert!(path.starts_with("/jobs/"), "{path}");
    for _ in 0..600 {
        let page = visitor.get(&path).await.text;
        if !page.contains(&format!(r#"hx-get="{path}""#)) {
            return (path, page);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job does not end");
}

both_engines! {
    async fn what_is_done_to_several_has_a_result_per_line(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let users = [&world.member, &world.other, &world.owner].map(|one| one.zuid.to_string());
        let query: String = users.iter().map(|user| format!("&user={user}")).collect();
        let page = visitor.get(&format!("/users/bulk?what=disable-mail{query}&numbers=yes")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("Disable mail: 3 users") && page.text.contains("2 users change"), "{}", page.text);
        assert!(page.text.contains("only a higher rank"), "who cannot be touched is named: {}", page.text);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_none(), "nothing is done yet");
        let mut fields = vec![("what", "disable-mail"), ("reason", "moving house")];
        fields.extend(users.iter().map(|user| ("user", user.as_str())));
        let started = visitor.post("/users/bulk", &fields).await;
        let (_, page) = finish(&mut visitor, started).await;
        assert!(page.contains("3 of 3 done, 1 of them failed."), "{page}");
        for one in [&world.member, &world.other] {
            let block = world.account(one).await.switches.mail_disabled.expect("disabled");
            assert_eq!(block.reason.map(|reason| reason.as_str().to_owned()).as_deref(), Some("moving house"));
        }
        assert!(world.account(&world.owner).await.switches.mail_disabled.is_none());
        assert_eq!(visitor.get("/users/bulk?what=delete&user=1").await.status, StatusCode::NOT_FOUND);
        assert_eq!(visitor.get("/users/bulk?what=disable-mail").await.status, StatusCode::BAD_REQUEST);
    }

    async fn the_passwords_of_many_resets_are_fetched_once_and_by_nobody_else(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let users = [&world.member, &world.other].map(|one| one.zuid.to_string());
        visitor.get("/users").await;
        let fields = [("what", "reset-password"), ("user", users[0].as_str()), ("user", users[1].as_str())];
        let started = visitor.post("/users/bulk", &fields).await;
        let (path, page) = finish(&mut visitor, started).await;
        assert!(page.contains("2 of 2 done"), "{page}");
        let mut another = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        assert_eq!(another.get(&path).await.status, StatusCode::NOT_FOUND);
        another.get("/users/new").await;
        assert_eq!(another.post(&format!("{path}/passwords"), &[]).await.status, StatusCode::NOT_FOUND);
        let file = visitor.post(&format!("{path}/passwords"), &[]).await;
        assert_eq!(file.status, StatusCode::OK);
        assert!(file.headers["content-disposition"].to_str().unwrap().contains("attachment"));
        let lines: Vec<_> = file.text.lines().skip(1).collect();
        assert_eq!(lines.len(), 2, "{}", file.text);
        for line in lines {
            let (address, password) = line.split_once(',').expect("two columns");
            let password = password.trim_matches('"').replace("\"\"", "\"");
            let mut person = Visitor::new(&world);
            assert_eq!(person.sign_in(address, &password).await.headers["location"], "/new-password", "{address}");
        }
        visitor.get(&path).await;
        visitor.get("/users/new").await;
        assert_eq!(visitor.post(&format!("{path}/passwords"), &[]).await.status, StatusCode::BAD_REQUEST, "once");
    }

    async fn nobody_resets_oneself_among_many_and_loses_the_passwords_with_the_session(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let (own, member) = (world.admin.zuid.to_string(), world.member.zuid.to_string());
        let page = visitor.get(&format!("/users/bulk?what=reset-password&user={own}&user={member}")).await;
        assert!(page.text.contains("You are left out"), "{}", page.text);
        assert!(!page.text.contains(&format!("value=\"{own}\"")), "{}", page.text);
        let before = world.account(&world.admin).await;
        let fields = [("what", "reset-password"), ("user", own.as_str()), ("user", member.as_str())];
        let started = visitor.post("/users/bulk", &fields).await;
        let (path, page) = finish(&mut visitor, started).await;
        assert!(page.contains("1 of 1 done"), "{page}");
        assert_eq!(world.account(&world.admin).await, before);
        assert_eq!(visitor.post(&format!("{path}/passwords"), &[]).await.status, StatusCode::OK);
        let alone = visitor.get(&format!("/users/bulk?what=reset-password&user={own}")).await;
        assert_eq!(alone.status, StatusCode::BAD_REQUEST);
    }

    async fn passwords_that_were_not_fetched_do_not_go_for_a_new_list(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let user = world.member.zuid.to_string();
        let reset = [("what", "reset-password"), ("user", user.as_str())];
        let mut paths = Vec::new();
        for _ in 0..16 {
            visitor.get("/users").await;
            let started = visitor.post("/users/bulk", &reset).await;
            paths.push(finish(&mut visitor, started).await.0);
        }
        let before = world.account(&world.member).await.generation;
        visitor.get("/users").await;
        let refused = visitor.post("/users/bulk", &reset).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains("fetch the passwords of the earlier lists"), "{}", refused.text);
        visitor.get("/users/import").await;
        let list = [("list", "address\nanna@zylker.example\n"), ("go", "yes")];
        let refused = visitor.post("/users/import", &list).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains("fetch the passwords") && refused.text.contains("anna@"), "{}", refused.text);
        assert_eq!(world.account(&world.member).await.generation, before, "nothing was begun");
        assert!(!visitor.get("/users?q=anna").await.text.contains("anna@"), "nothing was begun");

        visitor.get(&paths[3]).await;
        assert_eq!(visitor.post(&format!("{}/passwords", paths[3]), &[]).await.status, StatusCode::OK);
        visitor.get("/users").await;
        let started = visitor.post("/users/bulk", &reset).await;
        finish(&mut visitor, started).await;
        assert_eq!(visitor.get(&paths[3]).await.status, StatusCode::NOT_FOUND);
        assert_eq!(visitor.get(&paths[0]).await.status, StatusCode::OK, "its password was not fetched");
    }

    async fn the_passwords_of_many_resets_are_not_for_who_is_no_administrator_any_more(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        visitor.get("/users").await;
        let user = world.member.zuid.to_string();
        let started = visitor.post("/users/bulk", &[("what", "reset-password"), ("user", user.as_str())]).await;
        let (path, _) = finish(&mut visitor, started).await;
        world.mode(&world.owner, &world.admin, "changeRole", json!({"role": "member"})).await.ok();
        assert_eq!(visitor.get(&path).await.status, StatusCode::NOT_FOUND);
        visitor.get("/me").await;
        assert_eq!(visitor.post(&format!("{path}/passwords"), &[]).await.status, StatusCode::NOT_FOUND);
    }

    async fn an_administrator_is_added_by_who_has_just_proved_to_be_there(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        visitor.get("/users/new").await;
        world.app.clock.advance(11 * MINUTE);
        let boss = [("address", "boss@zylker.example"), ("first_name", "Bo"), ("role", "super_admin")];
        let late = visitor.post("/users/new", &boss).await;
        let to = late.headers["location"].to_str().expect("a path").to_owned();
        assert!(to.starts_with("/prove?next="), "{to}");
        let next = "/users/new?address=boss%40zylker.example&first_name=Bo&role=super_admin";
        visitor.get(&to).await;
        let proved = visitor.post("/prove", &[("password", PASSWORD), ("next", next)]).await;
        let page = visitor.follow(proved).await.text;
        assert!(page.contains(r#"value="boss@zylker.example""#) && page.contains(r#"value="super_admin" selected"#), "{page}");
        assert_eq!(visitor.post("/users/new", &boss).await.status, StatusCode::OK);
        // Somebody without power over others needs no proof.
        world.app.clock.advance(11 * MINUTE);
        let nina = [("address", "nina@zylker.example"), ("first_name", "Nina"), ("role", "member")];
        assert_eq!(visitor.post("/users/new", &nina).await.status, StatusCode::OK);
    }

    async fn one_is_added_with_a_one_time_password(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        visitor.get("/users/new").await;
        let taken = [("address", world.member.email.as_str()), ("first_name", "Mia")];
        let refused = visitor.post("/users/new", &taken).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains("already in use") && refused.text.contains(r#"value="Mia""#), "{}", refused.text);
        let role = [("address", "boss@zylker.example"), ("role", "super_admin")];
        assert_eq!(visitor.post("/users/new", &role).await.status, StatusCode::FORBIDDEN);
        let good = [("address", "new@zylker.example"), ("first_name", "Nina"), ("last_name", "Neu")];
        let made = visitor.post("/users/new", &good).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
        assert!(made.text.contains("Nina Neu") && made.text.contains(r#"class="secret""#), "{}", made.text);
        assert!(visitor.get("/users?q=nina").await.text.contains("new@zylker.example"));
    }

    async fn a_one_time_password_is_as_long_as_the_organization_wants_it(db: Db) {
        let world = World::start(db).await;
        crate::api::policy(&world, |policy| policy.password.one_time_min_length = 20).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let length = |text: &str| {
            let (_, rest) = text.split_once(r#"class="secret" readonly value=""#).expect("a password");
            rest.split('"').next().expect("an end").len()
        };
        visitor.get("/users/new").await;
        let made = visitor.post("/users/new", &[("address", "new@zylker.example"), ("first_name", "Nina")]).await;
        assert_eq!(length(&made.text), 20, "{}", made.text);
        let reset = format!("/users/{}/reset-password", world.member.zuid);
        visitor.get(&reset).await;
        let done = visitor.post(&reset, &[]).await;
        assert_eq!(length(&done.text), 20, "{}", done.text);
        visitor.get("/users/import").await;
        let list = "address\nanna@zylker.example\n";
        let page = visitor.post("/users/import", &[("list", list)]).await;
        assert!(page.text.contains("1 of 1 lines are good") || page.text.contains("1 of 1 line is good"), "{}", page.text);
    }

    async fn a_list_is_looked_at_line_by_line_before_it_is_done(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        visitor.get("/users/import").await;
        let list = "E-Mail;First name;Last_Name\nanna@zylker.example;Anna;Alt\nmia@zylker.example;Mia;\n\
                    anna@zylker.example;Anna;Twice\nx@elsewhere.example;X;\nnot an address;;\n\"bert@zylker.example\";\"Bert; the\";Great\n";
        let page = visitor.post("/users/import", &[("list", list)]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("2 of 6 lines are good"), "{}", page.text);
        for words in ["already in use", "stands in the list twice", "Bert; the Great"] {
            assert!(page.text.contains(words), "{words}: {}", page.text);
        }
        assert!(!visitor.get("/users?q=anna").await.text.contains("anna@"), "nothing is done yet");
        visitor.get("/users/import").await;
        let started = visitor.post("/users/import", &[("list", list), ("go", "yes")]).await;
        let (_, page) = finish(&mut visitor, started).await;
        assert!(page.contains("2 one-time passwords can be fetched") && page.contains("Add 2 users"), "{page}");
        assert!(page.contains("2 of 2 done, 0 of them failed.") && page.contains("Fetch the one-time"), "{page}");
        assert!(visitor.get("/users?q=anna+alt").await.text.contains("anna@zylker.example"));
        visitor.get("/users/import").await;
        let single = visitor.post("/users/import", &[("list", "address\ncarl@zylker.example\n")]).await.text;
        assert!(single.contains("<button>Add 1 user</button>"), "{single}");
        for wrong in ["", "anna@zylker.example\n", "address\n"] {
            visitor.get("/users/import").await;
            assert_eq!(visitor.post("/users/import", &[("list", wrong)]).await.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
        let once = world.account(&world.member).await;
        assert_eq!(once.credential.kind, PasswordKind::Permanent, "who was there already is left alone");
    }
}
