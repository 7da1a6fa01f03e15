//! My account: what people see of it and change themselves.

use axum::http::StatusCode;
use mailward::clock::MINUTE;
use mailward::domain::ids::UserId;
use mailward::store;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World, config};

/// Every form of the own account, with fields that would do something.
const FORMS: &[(&str, &[(&str, &str)])] = &[
    (
        "/me/password",
        &[("password", PASSWORD), ("new_password", "another-one-9"), ("new_password_again", "another-one-9")],
    ),
    ("/me/address", &[("address", "new@zylker.example")]),
    ("/me/name", &[("display_name", "Somebody else")]),
    ("/me/mail/disable", &[]),
    ("/me/mail/enable", &[]),
    ("/me/app-passwords", &[("name", "Telephone"), ("protocol", "imap")]),
    ("/me/app-passwords/revoke", &[("id", "100000000001")]),
    ("/me/sessions/end", &[("id", "300000000000000001")]),
    ("/me/sessions/end-others", &[]),
    ("/me/applications/disconnect", &[("client", "1000.X")]),
    ("/me/security/app", &[]),
    ("/me/security/app/confirm", &[("code", "123456")]),
    ("/me/security/app/remove", &[("password", PASSWORD)]),
    ("/me/security/codes", &[]),
    ("/me/security/passkeys/begin", &[]),
    ("/me/security/passkeys", &[("name", "Key"), ("answer", "{}")]),
    ("/me/security/passkeys/remove", &[("id", "400000000000000001"), ("password", PASSWORD)]),
    ("/me/recovery", &[("address", "mia@elsewhere.example")]),
    ("/me/recovery/remove", &[]),
];

const PAGES: &[&str] = &[
    "/me",
    "/me/password",
    "/me/address",
    "/me/app-passwords",
    "/me/sessions",
    "/me/security",
    "/me/recovery",
];

both_engines! {
    async fn everybody_sees_the_own_account(db: Db) {
        let world = World::start(db).await;
        for who in [&world.member, &world.admin, &world.owner] {
            let mut visitor = Visitor::signed_in(&world, &who.email, PASSWORD).await;
            for page in PAGES {
                let answer = visitor.get(page).await;
                assert_eq!(answer.status, StatusCode::OK, "{page}: {}", answer.text);
            }
            assert!(visitor.get("/me").await.text.contains(&who.email));
        }
        let mut nobody = Visitor::new(&world);
        for page in PAGES {
            let to = nobody.get(page).await;
            let to = to.headers["location"].to_str().unwrap();
            assert!(to == "/" || to.starts_with("/?next="), "{page}: {to}");
        }
    }

    async fn a_form_of_mine_from_somewhere_else_does_nothing(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let before = world.account(&world.member).await;
        for (path, fields) in FORMS {
            for token in [None, Some("0000")] {
                let mut sent: Vec<(&str, &str)> = token.map(|token| ("csrf", token)).into_iter().collect();
                sent.extend(*fields);
                let answer = visitor.post_as_is(path, &sent).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.text);
            }
            let mut nobody = Visitor::new(&world);
            nobody.get("/").await;
            let answer = nobody.post(path, fields).await;
            assert!(answer.status == StatusCode::SEE_OTHER || answer.status.is_client_error(), "{path}");
        }
        assert_eq!(world.account(&world.member).await, before);
        visitor.get("/me").await.ok();
    }

    async fn my_new_password_keeps_me_here_and_ends_the_rest(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut other = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/password").await;
        let fields = |old, new| [("password", old), ("new_password", new), ("new_password_again", new), ("end_elsewhere", "yes")];
        let wrong = visitor.post("/me/password", &fields("not-this-one", "a-better-one-9")).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert!(wrong.text.contains("The current password is wrong"));
        let weak = visitor.post("/me/password", &fields(PASSWORD, "password")).await;
        assert_eq!(weak.status, StatusCode::BAD_REQUEST, "{}", weak.text);
        let before = visitor.cookie("mailward").unwrap().to_owned();
        let done = visitor.post("/me/password", &fields(PASSWORD, "a-better-one-9")).await;
        assert_eq!(done.headers["location"], "/me?said=password", "{}", done.text);
        assert_ne!(visitor.cookie("mailward").unwrap(), before);
        assert!(visitor.get("/me?said=password").await.text.contains("Your new password works now."));
        assert_eq!(other.get("/me").await.headers["location"], "/?next=%2Fme", "the other browser is out");
        world.get(&world.member.user_token, "/api/accounts").await.refused(401, "INVALID_OAUTHTOKEN");

        visitor.get("/me/password").await;
        let keep = [("password", "a-better-one-9"), ("new_password", "another-one-99"), ("new_password_again", "another-one-99")];
        let mut other = Visitor::signed_in(&world, &world.member.email, "a-better-one-9").await;
        visitor.post("/me/password", &keep).await;
        assert_eq!(other.get("/me").await.status, StatusCode::OK, "nothing ends that was not to end");
    }

    async fn a_password_that_is_changed_in_the_console_is_written_down_with_that_door(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/password").await;
        let fields = [("password", PASSWORD), ("new_password", "a-better-one-9"), ("new_password_again", "a-better-one-9")];
        let done = visitor.post("/me/password", &fields).await;
        assert_eq!(done.headers["location"], "/me?said=password", "{}", done.text);
        let person = UserId::new(world.member.zuid).expect("a zuid");
        let mut tx = world.app.db.read().await.expect("a connection");
        let rows = store::audit::newest(&mut tx, world.zoid, Some(person), 1).await.expect("entries");
        let entry: Value = serde_json::from_str(&rows[0].entry).expect("JSON");
        assert_eq!((entry["verb"].as_str(), entry["door"].as_str()), (Some("changeOwnPassword"), Some("console")));
    }

    async fn my_address_and_name_change_as_the_policy_allows(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/address").await;
        let taken = visitor.post("/me/address", &[("address", &world.other.email)]).await;
        assert_eq!(taken.status, StatusCode::BAD_REQUEST);
        assert!(taken.text.contains(&format!(r#"value="{}""#, world.other.email)), "what was typed stays");
        let done = visitor.post("/me/address", &[("address", "rebecca@zylker.example")]).await;
        assert_eq!(done.headers["location"], "/me?said=address", "{}", done.text);
        let page = visitor.get("/me").await;
        assert!(page.text.contains("rebecca@zylker.example") && page.text.contains(&world.member.email));
        let named = visitor.post("/me/name", &[("display_name", "Rebecca <b>Miller</b>")]).await;
        assert_eq!(named.headers["location"], "/me?said=name");
        let page = visitor.get("/me").await;
        assert!(page.text.contains("Rebecca &#60;b&#62;Miller"), "{}", page.text);
        assert_eq!(visitor.post("/me/name", &[("display_name", "Rebecca <b>Miller</b>")]).await.headers["location"], "/me?said=nothing");
    }

    async fn an_app_password_is_shown_once_and_revoked(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/app-passwords").await;
        let bad = visitor.post("/me/app-passwords", &[("name", "Telephone"), ("protocol", "imap"), ("days", "soon")]).await;
        assert_eq!(bad.status, StatusCode::BAD_REQUEST);
        assert!(bad.text.contains(r#"value="soon""#) && bad.text.contains(r#"value="Telephone""#), "{}", bad.text);
        let made = visitor.post("/me/app-passwords", &[("name", "Telephone"), ("protocol", "imap"), ("days", "30")]).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
        let stored = world.account(&world.member).await.app_passwords.remove(0);
        assert_eq!((stored.name.as_str(), stored.protocols.words()), ("Telephone", vec!["imap"]));
        let (_, rest) = made.text.split_once(r#"class="secret" readonly value=""#).expect("the password");
        let shown = rest.split('"').next().unwrap().to_owned();
        assert_eq!(shown.len(), 23);
        let list = visitor.get("/me/app-passwords").await;
        assert!(list.text.contains("Telephone") && !list.text.contains(&shown));
        let gone = visitor.post("/me/app-passwords/revoke", &[("id", &stored.id.to_string())]).await;
        assert_eq!(gone.headers["location"], "/me/app-passwords?said=revoked");
        assert!(world.account(&world.member).await.app_passwords.is_empty());
    }

    async fn an_old_sign_in_is_proved_again_before_an_app_password(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        world.app.clock.advance(11 * MINUTE);
        for (path, back) in [("/me/app-passwords", "%2Fme%2Fapp-passwords"), ("/me/security/app", "%2Fme%2Fsecurity"), ("/me/recovery", "%2Fme%2Frecovery")] {
            visitor.get("/me/app-passwords").await;
            let asked = visitor.post(path, &[("name", "Telephone"), ("protocol", "imap")]).await;
            assert_eq!(asked.headers["location"], format!("/prove?next={back}").as_str());
        }
        assert!(world.account(&world.member).await.app_passwords.is_empty());
    }

    async fn a_one_time_password_proves_nothing_in_a_session_that_goes_on(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let reset = json!({"password": "t*c9ma-77", "resetAuthToken": false});
        world.mode(&world.admin, &world.member, "resetPassword", reset).await.ok();
        world.app.clock.advance(11 * MINUTE);
        visitor.get("/prove?next=%2Fme%2Fapp-passwords").await;
        let proved = visitor.post("/prove", &[("password", "t*c9ma-77"), ("next", "/me/app-passwords")]).await;
        assert!(proved.status.is_client_error(), "{} {}", proved.status, proved.text);
    }

    async fn i_disable_and_enable_my_own_mail_and_not_what_others_set(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me").await;
        let off = visitor.post("/me/mail/disable", &[("reason", "telephone stolen")]).await;
        assert_eq!(off.headers["location"], "/me?said=mail-off", "{}", off.text);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some());
        let page = visitor.get("/me").await;
        assert!(page.text.contains("Set by you") && page.text.contains("telephone stolen"), "{}", page.text);
        let on = visitor.post("/me/mail/enable", &[]).await;
        assert_eq!(on.headers["location"], "/me?said=mail-on");
        assert!(world.account(&world.member).await.switches.mail_disabled.is_none());

        world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
        let page = visitor.get("/me").await;
        assert!(page.text.contains("Nobody lifts a block of somebody else on the own account"), "{}", page.text);
        assert!(!page.text.contains(r#"action="/me/mail/enable""#));
        let refused = visitor.post("/me/mail/enable", &[]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.text.contains("was set by an administrator"), "{}", refused.text);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some());
    }

    async fn browsers_that_are_signed_in_are_listed_and_ended(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut other = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut third = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut stranger = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        let page = visitor.get("/me/sessions").await;
        assert_eq!(page.text.matches("Visitor/1.0").count(), 3, "{}", page.text);
        let id = page.text.split(r#"name="id" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        stranger.get("/me/sessions").await;
        stranger.post("/me/sessions/end", &[("id", &id)]).await;
        assert_eq!(third.get("/me").await.status, StatusCode::OK, "nobody ends a session of somebody else");
        visitor.post("/me/sessions/end", &[("id", &id)]).await;
        assert_eq!(third.get("/me").await.status, StatusCode::SEE_OTHER);
        assert_eq!(other.get("/me").await.status, StatusCode::OK);
        visitor.post("/me/sessions/end-others", &[]).await;
        assert_eq!(other.get("/me").await.status, StatusCode::SEE_OTHER);
        assert!(visitor.get("/me").await.text.contains("Browsers signed out"));
    }

    async fn i_see_what_was_done_to_my_account_and_why(db: Db) {
        let world = World::start(db).await;
        let reason = [
            ("authorization", format!("Bearer {}", world.admin.org_token)),
            ("content-type", "application/json".to_owned()),
            ("x-mailward-reason", "asked on the telephone".to_owned()),
        ];
        let reason: Vec<(&str, &str)> = reason.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = json!({"mode": "addEmailAlias", "zuid": world.member.zuid, "emailAlias": ["sales@zylker.example"]});
        world.send("PUT", &world.path(&world.member), &reason, body.to_string()).await.ok();
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let page = visitor.get("/me").await;
        assert!(page.text.contains("Address added") && page.text.contains("an administrator: asked on the telephone"), "{}", page.text);
    }

    async fn a_link_cannot_make_a_page_say_anything(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        for said in ["<script>alert(1)</script>", "call+0800+evil", "signed-out"] {
            let page = visitor.get(&format!("/me?said={}", said.replace('<', "%3C").replace('>', "%3E"))).await;
            assert!(!page.text.contains("role=\"status\""), "{}", page.text);
        }
    }

    async fn behind_https_the_cookies_are_for_this_host_alone(db: Db) {
        let mut config = config();
        config.server.public_url = "https://desk.example.org".to_owned();
        let world = World::start_with(db, config).await;
        let mut visitor = Visitor::new(&world);
        let answer = visitor.sign_in(&world.member.email, PASSWORD).await;
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
        let session = set.iter().find(|set| set.starts_with("__Host-mailward=")).expect("a session");
        for flag in ["; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"] {
            assert!(session.contains(flag), "{session}");
        }
        assert!(!session.contains("Domain="));
        let page = visitor.get("/me").await;
        assert!(page.headers["strict-transport-security"].to_str().unwrap().starts_with("max-age="));
        assert_eq!(page.headers["x-frame-options"], "DENY");
        assert_eq!(page.headers["cache-control"], "no-store");
    }
}
