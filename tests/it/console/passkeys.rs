//! Passkeys: registered, used as a second factor and alone, and what is refused of them.

use axum::http::StatusCode;
use mailward::store::engine::Db;
use serde_json::json;

use super::authenticator::Authenticator;
use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, World, config};

const HERE: &str = "http://localhost:7080";

async fn at_localhost(db: Db) -> World {
    let mut config = config();
    config.server.public_url = HERE.to_owned();
    World::start_with(db, config).await
}

async fn registered(world: &World) -> Authenticator {
    let mut visitor = Visitor::signed_in(world, &world.member.email, PASSWORD).await;
    visitor.get("/me/security").await;
    let csrf = visitor.csrf();
    let options = visitor.post("/me/security/passkeys/begin", &[]).await;
    assert_eq!(options.status, StatusCode::OK, "{}", options.text);
    assert_eq!(options.json()["publicKey"]["rp"]["id"], "localhost");
    let mut key = Authenticator::new(HERE);
    let answer = key.register(&options.text);
    let fields = [("csrf", csrf.as_str()), ("name", "Blue key"), ("answer", &answer)];
    let done = visitor.post_as_is("/me/security/passkeys", &fields).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(done.text.matches("<li><code>").count(), 10, "recovery codes come with the first factor");
    let again = visitor.post_as_is("/me/security/passkeys", &fields).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "an answer serves once");
    assert!(visitor.get("/me/security").await.text.contains("Blue key"));
    key
}

both_engines! {
    async fn a_passkey_is_the_second_factor(db: Db) {
        let world = at_localhost(db).await;
        let mut key = registered(&world).await;
        let mut visitor = Visitor::new(&world);
        assert_eq!(visitor.sign_in(&world.member.email, PASSWORD).await.headers["location"], "/second-factor");
        visitor.get("/second-factor").await;
        let (csrf, before) = (visitor.csrf(), visitor.cookie("mailward").unwrap().to_owned());
        let options = visitor.post("/second-factor/passkey/begin", &[]).await;
        let answer = key.prove(&options.text);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str()), ("next", "/me/sessions")];
        let done = visitor.post_as_is("/second-factor/passkey", &fields).await;
        assert_eq!(done.headers["location"], "/me/sessions", "{}", done.text);
        assert_ne!(visitor.cookie("mailward").unwrap(), before, "the session is a new one");

        let mut thief = Visitor::new(&world);
        thief.sign_in(&world.member.email, PASSWORD).await;
        thief.get("/second-factor").await;
        let csrf = thief.csrf();
        thief.post("/second-factor/passkey/begin", &[]).await;
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        let replayed = thief.post_as_is("/second-factor/passkey", &fields).await;
        assert_eq!(replayed.status, StatusCode::BAD_REQUEST, "an answer to another question");
    }

    async fn a_passkey_signs_in_alone(db: Db) {
        let world = at_localhost(db).await;
        let mut key = registered(&world).await;
        let begin = async |visitor: &mut Visitor<'_>| {
            visitor.get("/").await;
            let csrf = visitor.csrf();
            (csrf, visitor.post("/sign-in/passkey/begin", &[]).await.text)
        };
        let mut visitor = Visitor::new(&world);
        let (csrf, options) = begin(&mut visitor).await;
        let answer = key.prove(&options);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str()), ("next", "")];
        let done = visitor.post_as_is("/sign-in/passkey", &fields).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        assert_eq!(visitor.get("/me").await.status, StatusCode::OK);

        // A browser that did not ask cannot use the answer.
        let mut other = Visitor::new(&world);
        let (csrf, _) = begin(&mut other).await;
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        assert_eq!(other.post_as_is("/sign-in/passkey", &fields).await.status, StatusCode::BAD_REQUEST);

        // A page of somebody else that borrows the key.
        let mut lured = Visitor::new(&world);
        let (csrf, options) = begin(&mut lured).await;
        key.origin = "http://localhost.evil.example:7080".to_owned();
        let answer = key.prove(&options);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        assert_eq!(lured.post_as_is("/sign-in/passkey", &fields).await.status, StatusCode::BAD_REQUEST);
        key.origin = HERE.to_owned();

        // A key that nobody registered.
        let mut stranger = Visitor::new(&world);
        let (csrf, options) = begin(&mut stranger).await;
        let answer = Authenticator::new(HERE).prove(&options);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        assert_eq!(stranger.post_as_is("/sign-in/passkey", &fields).await.status, StatusCode::BAD_REQUEST);

        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        let mut waiting = Visitor::new(&world);
        let (csrf, options) = begin(&mut waiting).await;
        let answer = key.prove(&options);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        let refused = waiting.post_as_is("/sign-in/passkey", &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains("one-time password"), "{}", refused.text);

        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "permanent-one-7", "oneTimePassword": false})).await.ok();
        world.mode(&world.owner, &world.member, "disableUser", json!({})).await.ok();
        let mut blocked = Visitor::new(&world);
        let (csrf, options) = begin(&mut blocked).await;
        let answer = key.prove(&options);
        let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
        assert_eq!(blocked.post_as_is("/sign-in/passkey", &fields).await.status, StatusCode::UNAUTHORIZED);
    }

    async fn a_counter_that_goes_back_is_a_copy(db: Db) {
        let world = at_localhost(db).await;
        let mut key = registered(&world).await;
        for (counter, to) in [(5, StatusCode::SEE_OTHER), (2, StatusCode::BAD_REQUEST)] {
            let mut visitor = Visitor::new(&world);
            visitor.get("/").await;
            let csrf = visitor.csrf();
            let options = visitor.post("/sign-in/passkey/begin", &[]).await.text;
            key.counter = counter;
            let answer = key.prove(&options);
            let fields = [("csrf", csrf.as_str()), ("answer", answer.as_str())];
            assert_eq!(visitor.post_as_is("/sign-in/passkey", &fields).await.status, to, "{counter}");
        }
    }

    async fn a_passkey_goes_with_the_password(db: Db) {
        let world = at_localhost(db).await;
        let mut key = registered(&world).await;
        let mut visitor = Visitor::new(&world);
        visitor.get("/").await;
        let csrf = visitor.csrf();
        let options = visitor.post("/sign-in/passkey/begin", &[]).await.text;
        let answer = key.prove(&options);
        visitor.post_as_is("/sign-in/passkey", &[("csrf", csrf.as_str()), ("answer", answer.as_str())]).await;
        let page = visitor.get("/me/security").await.text;
        let id = page.split(r#"name="id" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let wrong = visitor.post("/me/security/passkeys/remove", &[("id", &id), ("password", "not-this-one")]).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        let right = visitor.post("/me/security/passkeys/remove", &[("id", &id), ("password", PASSWORD)]).await;
        assert_eq!(right.headers["location"], "/me/security?said=factor-removed", "{}", right.text);
        let mut again = Visitor::new(&world);
        assert_eq!(again.sign_in(&world.member.email, PASSWORD).await.headers["location"], "/");
    }

    async fn where_passkeys_cannot_be_the_page_says_why(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let page = visitor.get("/me/security").await;
        assert!(page.text.contains("Passkeys are not possible here"), "{}", page.text);
        let refused = visitor.post("/me/security/passkeys/begin", &[]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.json()["problem"].as_str().is_some_and(|why| why.contains("server.public_url")));
        let mut nobody = Visitor::new(&world);
        assert!(!nobody.get("/").await.text.contains("passkey.js"));
    }

    async fn nonsense_is_no_passkey(db: Db) {
        let world = at_localhost(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/security").await;
        let csrf = visitor.csrf();
        for answer in ["", "{}", "null", r#"{"id":"x","rawId":"!","type":"public-key","response":{}}"#] {
            visitor.post_as_is("/me/security/passkeys/begin", &[("csrf", &csrf)]).await.ok();
            let fields = [("csrf", csrf.as_str()), ("name", "Key"), ("answer", answer)];
            let refused = visitor.post_as_is("/me/security/passkeys", &fields).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{answer}");
            assert!(refused.text.contains(r#"value="Key""#), "what was typed stays");
        }
    }
}
