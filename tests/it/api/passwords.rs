//! Passwords by an administrator's hand: resets, one-time passwords, the policy.

use mailward::clock::{HOUR, MINUTE, SECOND};
use mailward::domain::password::PasswordKind;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{change_id, changed, done, effect_names, effects, entries, lives, none, policy, shown};
use crate::support::world::{PASSWORD, Someone, World};

const NEW: &str = "fresh-tulip-77";
const NEWER: &str = "quiet-marble-31";

async fn reset(world: &World, on: &Someone, body: Value) -> crate::support::world::Answer {
    world.mode(&world.admin, on, "resetPassword", body).await
}

/// Whether the password opens the own page: it is changed and changed back.
async fn opens(world: &World, on: &Someone, password: &str) -> bool {
    let changed = world.self_password(&on.email, password, "passing-through-5").await;
    if changed.status == 401 {
        return false;
    }
    done(&changed);
    done(&world.self_password(&on.email, "passing-through-5", password).await);
    true
}

both_engines! {
    async fn a_reset_makes_the_old_password_and_everything_open_worthless(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let before = world.account(mia).await;
        let answer = reset(&world, mia, json!({"password": NEW, "oneTimePassword": false})).await;
        changed(&answer);
        let after = world.account(mia).await;
        assert_eq!((after.generation, after.session_epoch), (before.generation + 1, before.session_epoch + 1));
        assert_eq!((after.credential.kind, after.credential.until), (PasswordKind::Permanent, None));
        assert!(!lives(&world, &mia.user_token).await && !lives(&world, &mia.org_token).await);
        assert!(!opens(&world, mia, PASSWORD).await);
        assert!(opens(&world, mia, NEW).await);
        assert_eq!(
            effects(&world, &answer).await,
            [
                json!({"effect": "project"}),
                json!({"effect": "end_sessions", "mailbox": before.mailbox, "sessions": {"generation": before.generation}}),
                json!({"effect": "tell", "notice": "password_reset"}),
            ],
            "exactly the sessions of the old credential end"
        );
        let entry = entries(&world, &answer).await[0].to_string();
        assert!(!entry.contains(NEW) && entry.contains("\"password\":\"permanent\""), "{entry}");
    }

    async fn a_reset_without_reset_auth_token_ends_nothing_that_is_open(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let before = world.account(mia).await;
        for no in [json!(false), json!("false")] {
            let answer = reset(&world, mia, json!({"password": NEW, "resetAuthToken": no, "oneTimePassword": "false"})).await;
            changed(&answer);
            assert_eq!(effect_names(&world, &answer).await, ["project", "tell"]);
        }
        let after = world.account(mia).await;
        assert_eq!((after.generation, after.session_epoch), (before.generation, before.session_epoch));
        assert!(lives(&world, &mia.user_token).await);
        assert!(!opens(&world, mia, PASSWORD).await, "new logins need the new password");
    }

    async fn an_administrator_who_resets_the_own_password_loses_the_token(db: Db) {
        let world = World::start(db).await;
        changed(&world.mode(&world.admin, &world.admin, "resetPassword", json!({"password": NEW})).await);
        assert!(!lives(&world, &world.admin.user_token).await);
        world.mode(&world.admin, &world.member, "enableUser", none()).await.refused(401, "INVALID_OAUTHTOKEN");
    }

    async fn a_one_time_password_opens_the_choice_of_a_new_one_once(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        changed(&reset(&world, mia, json!({"password": "t*c9ma"})).await);
        let account = world.account(mia).await;
        assert_eq!(account.credential.kind, PasswordKind::OneTime, "the default");
        assert_eq!(account.credential.until, Some(account.credential.at + 72 * HOUR));
        assert_eq!(shown(&world, mia).await["oneTimePassword"], true);

        // A refused choice does not consume it; an accepted one does.
        world.self_password(&mia.email, "t*c9ma", "short").await.refused(400, "INVALID_PASSWORD");
        changed(&world.self_password(&mia.email, "t*c9ma", NEW).await);
        world.self_password(&mia.email, "t*c9ma", NEWER).await.refused(401, "INVALID_CREDENTIALS");
        let account = world.account(mia).await;
        assert_eq!((account.credential.kind, account.credential.until), (PasswordKind::Permanent, None));
        assert_eq!(shown(&world, mia).await["oneTimePassword"], false);
        assert!(opens(&world, mia, NEW).await);
    }

    async fn a_one_time_password_is_valid_for_72_hours(db: Db) {
        let world = World::start(db).await;
        for person in [&world.member, &world.other] {
            changed(&reset(&world, person, json!({"password": "t*c9ma"})).await);
        }
        world.app.clock.advance(72 * HOUR - SECOND);
        changed(&world.self_password(&world.member.email, "t*c9ma", NEW).await);
        world.app.clock.advance(SECOND);
        world.self_password(&world.other.email, "t*c9ma", NEW).await.refused(401, "INVALID_CREDENTIALS");
        // The term is the organization's to change.
        policy(&world, |policy| policy.password.one_time_valid_for = HOUR).await;
        changed(&reset(&world, &world.other, json!({"password": "t*c9mb"})).await);
        world.app.clock.advance(HOUR);
        world.self_password(&world.other.email, "t*c9mb", NEW).await.refused(401, "INVALID_CREDENTIALS");
    }

    async fn the_policy_says_what_is_wrong_with_a_password_and_never_repeats_it(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        changed(&world.mode(&world.admin, mia, "updatePersonalInfo", json!({"firstName": "Wilhelmina"})).await);
        let before = world.account(mia).await;
        let long = "x1".repeat(129);
        for (password, one_time, hint) in [
            ("", true, "empty"),
            ("abcde", true, "at least 6 characters"),
            ("abc-de7", false, "at least 8 characters"),
            ("password", false, "harder to guess"),
            ("zzzzzzzzzz", false, "harder to guess"),
            ("my-Wilhelmina-9", false, "part of the person's name"),
            (&format!("x{}x", mia.email), false, "the address"),
            (&long, true, "256 bytes"),
            ("tab\there-it-is", false, "control character"),
        ] {
            let answer = reset(&world, mia, json!({"password": password, "oneTimePassword": one_time})).await;
            let said = answer.refused(400, "INVALID_PASSWORD");
            assert!(said.contains(hint), "{password:?}: {said}");
            assert!(password.len() < 9 || !answer.text.contains(password), "{said}");
        }
        policy(&world, |policy| policy.password.own_words = vec!["zylker".to_owned()]).await;
        let answer = reset(&world, mia, json!({"password": "big-Zylker-fan", "oneTimePassword": false})).await;
        assert!(answer.refused(400, "INVALID_PASSWORD").contains("ruled out"));
        assert_eq!(world.account(mia).await, before);
        // Spaces, letters of any language and NFC forms are fine; both forms are one password.
        changed(&reset(&world, mia, json!({"password": "cafe\u{301} für zwei", "oneTimePassword": false})).await);
        assert!(opens(&world, mia, "caf\u{e9} für zwei").await);
    }

    async fn remembered_passwords_cannot_come_back(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        policy(&world, |policy| policy.password.history = 2).await;
        let permanent = |password: &str| json!({"password": password, "oneTimePassword": false});
        reset(&world, mia, permanent(PASSWORD)).await.refused(400, "INVALID_PASSWORD");
        changed(&reset(&world, mia, permanent(NEW)).await);
        changed(&reset(&world, mia, permanent(NEWER)).await);
        for old in [PASSWORD, NEW, NEWER] {
            let said = reset(&world, mia, permanent(old)).await.refused(400, "INVALID_PASSWORD");
            assert!(said.contains("Password present in the password history"), "{said}");
            // A dry run leaves no trace, and must not be a way to find them out.
            let token = format!("Zoho-oauthtoken {}", world.admin.org_token);
            let dry = [("authorization", token.as_str()), ("x-mailward-dry-run", "true")];
            let body = json!({"mode": "resetPassword", "zuid": mia.zuid, "password": old, "oneTimePassword": false});
            world.send("PUT", &world.path(mia), &dry, body.to_string()).await.ok();
        }
        world.self_password(&mia.email, NEWER, NEW).await.refused(400, "INVALID_PASSWORD");
        changed(&reset(&world, mia, permanent("third-one-here-3")).await);
        changed(&reset(&world, mia, permanent(PASSWORD)).await);
        assert_eq!(world.account(mia).await.credential.history.len(), 2);
    }

    async fn no_more_passwords_are_compared_with_remembered_ones_than_at_a_sign_in(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let permanent = |password: &str| json!({"password": password, "oneTimePassword": false});
        // Where nothing is compared, nothing is counted.
        for _ in 0..6 {
            changed(&reset(&world, mia, permanent(NEWER)).await);
            changed(&reset(&world, mia, permanent(NEW)).await);
        }
        policy(&world, |policy| policy.password.history = 2).await;
        // What is really changed is taken back.
        for number in 0..11 {
            changed(&reset(&world, mia, permanent(&format!("quiet-marble-{number}"))).await);
        }
        for _ in 0..10 {
            reset(&world, mia, permanent("quiet-marble-10")).await.refused(400, "INVALID_PASSWORD");
        }
        let closed = reset(&world, mia, permanent("not-one-of-them-9")).await;
        closed.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        assert!(closed.headers.contains_key("retry-after"));
        // The person is one of those who try; an administrator still helps with a one-time password.
        let own = world.self_password(&mia.email, "quiet-marble-10", "not-one-of-them-9").await;
        own.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        changed(&reset(&world, mia, json!({"password": "t*c9ma"})).await);
        let chosen = world.self_password(&mia.email, "t*c9ma", "quiet-marble-10").await;
        chosen.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        world.app.clock.advance(15 * MINUTE);
        done(&world.self_password(&mia.email, "t*c9ma", "not-one-of-them-9").await);
    }

    async fn who_lacks_the_second_factor_learns_nothing_of_former_passwords(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        policy(&world, |policy| policy.password.history = 2).await;
        changed(&reset(&world, mia, json!({"password": NEW, "oneTimePassword": false})).await);
        let try_out = async |password: &str| {
            let body = json!({"address": mia.email, "password": NEW, "newPassword": password});
            world.send("POST", "/self/password", &[("content-type", "application/json")], body.to_string()).await
        };
        // Alone, a password is all there is to prove, and its owner is told.
        try_out(PASSWORD).await.refused(400, "INVALID_PASSWORD");
        world.add_passkey(mia).await;
        let [former, fresh, weak] = [try_out(PASSWORD).await, try_out(NEWER).await, try_out("password1").await];
        assert!(former.refused(403, "OPERATION_NOT_PERMITTED").contains("second factor"));
        assert_eq!([&fresh.text, &weak.text], [&former.text, &former.text]);
    }

    async fn what_must_not_be_hashed_is_refused_before(db: Db) {
        let world = World::start(db).await;
        let before = world.account(&world.owner).await;
        world.mode(&world.admin, &world.owner, "resetPassword", json!({"password": NEW})).await.refused(403, "OPERATION_NOT_PERMITTED");
        world.mode(&world.member, &world.other, "resetPassword", json!({"password": NEW})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert_eq!(world.account(&world.owner).await, before);
        let one = reset(&world, &world.member, json!({"password": NEW, "keepAppPasswords": "true"})).await;
        let two = reset(&world, &world.member, json!({"password": NEW})).await;
        assert_ne!(change_id(&one), change_id(&two), "each reset is a new event");
    }
}
