//! Second factors at the sign-in: the authenticator app, recovery codes, and who must have one.

use std::sync::Arc;

use axum::http::StatusCode;
use mailward::app::call::{Context, Door};
use mailward::app::password::{Factor, OwnChange};
use mailward::app::web_sessions::Browser;
use mailward::app::{factors, organizations, password, web_sessions};
use mailward::clock::{MINUTE, SECOND};
use mailward::domain::password::Password;
use mailward::domain::policy::SecondFactor;
use mailward::error::Error;
use mailward::store::engine::Db;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use totp_rs::{Builder, Secret};

use crate::support::visitor::Visitor;
use crate::support::world::{self, Answer, PASSWORD, Someone, World, operator};

/// What the authenticator app on somebody's telephone would know.
pub struct Telephone {
    seed: String,
    pub recovery_codes: Vec<String>,
}

impl Telephone {
    /// An app that was shown this key.
    pub fn with(seed: &str) -> Self {
        Self { seed: seed.replace(' ', ""), recovery_codes: Vec::new() }
    }

    /// The code that it shows at the world's time.
    pub fn code(&self, world: &World) -> String {
        self.code_at(world.app.clock.now())
    }

    pub fn code_at(&self, at: i64) -> String {
        let secret = Secret::try_from_base32(&self.seed).expect("base 32");
        let totp = Builder::new().with_secret(secret).build().expect("a seed");
        totp.generate(u64::try_from(at / SECOND).expect("after 1970")).to_string()
    }
}

/// Every `<tag…>text</tag>` of a page.
fn texts(page: &str, before: &str) -> Vec<String> {
    let parts = page.split(before).skip(1);
    parts.map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect()
}

/// An app that was shown the key which the visitor asked for.
async fn shown_a_key(visitor: &mut Visitor<'_>) -> Telephone {
    visitor.get("/me/security").await;
    let begun = visitor.post("/me/security/app", &[]).await;
    assert_eq!(begun.headers["location"], "/me/security/app", "{}", begun.text);
    let page = visitor.get("/me/security/app").await;
    assert!(page.text.contains("<svg"), "{}", page.text);
    Telephone::with(&texts(&page.text, r#"<code class="seed">"#).remove(0))
}

/// Sets up an app for whoever the visitor is; the code of the running step is spent by it.
pub async fn set_up(world: &World, visitor: &mut Visitor<'_>) -> Telephone {
    let mut telephone = shown_a_key(visitor).await;
    let wrong = visitor.post("/me/security/app/confirm", &[("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let code = telephone.code(world);
    let done = visitor.post("/me/security/app/confirm", &[("code", &code)]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    telephone.recovery_codes = texts(&done.text, "<li><code>");
    telephone
}

async fn with_factor(world: &World, who: &Someone) -> Telephone {
    let mut visitor = Visitor::signed_in(world, &who.email, PASSWORD).await;
    let telephone = set_up(world, &mut visitor).await;
    assert_eq!(telephone.recovery_codes.len(), 10);
    telephone
}

/// Somebody who has given the password, and is asked for more.
async fn half_way<'a>(world: &'a World, who: &Someone) -> Visitor<'a> {
    let mut visitor = Visitor::new(world);
    let answer = visitor.sign_in(&who.email, PASSWORD).await;
    assert_eq!(answer.headers["location"], "/second-factor", "{}", answer.text);
    visitor.get("/second-factor").await;
    visitor
}

pub async fn demand(world: &World, of: SecondFactor) {
    let demand = move |organization: &mut organizations::Organization, _: &_| {
        organization.policy.second_factor = of;
        Ok(())
    };
    organizations::update(&world.app, &operator(), world.zoid, demand).await.expect("a policy");
}

async fn verbs(world: &World, of: &Someone) -> Vec<String> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let person = mailward::domain::ids::UserId::new(of.zuid);
    let newest = mailward::store::audit::newest(&mut tx, world.zoid, person, 20).await.expect("entries");
    newest.into_iter().map(|row| row.verb).collect()
}

async fn without_factors(world: &World, by: &Someone, enabled: &str) -> Answer {
    world.mode(by, &world.member, "updateTFAStatus", json!({"tfaEnabled": enabled})).await
}

/// `tfaEnabled` of the member, as one, in the list and as they see it themselves; then of somebody else.
async fn tfa_enabled(world: &World) -> [bool; 4] {
    let users = format!("/api/organization/{}/accounts", world.zoid);
    let one = world.get(&world.admin.org_token, &format!("{users}/{}", world.member.zuid)).await.ok().json();
    let list = world.get(&world.admin.org_token, &format!("{users}?limit=200")).await.ok().json();
    let own = world.get(&world.member.user_token, "/api/accounts").await.ok().json();
    let in_list = |zuid: i64| {
        let mut users = list["data"].as_array().expect("users").iter();
        users.find(|user| user["zuid"] == zuid).expect("a row")["tfaEnabled"].clone()
    };
    let told = [
        one["data"]["tfaEnabled"].clone(),
        in_list(world.member.zuid),
        own["data"][0]["tfaEnabled"].clone(),
        in_list(world.admin.zuid),
    ];
    told.map(|told| told.as_bool().expect("a truth value"))
}

both_engines! {
    async fn a_code_of_the_app_is_asked_for_and_opens_once(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        assert!(verbs(&world, &world.member).await.contains(&"setUpFactor".to_owned()));

        let mut visitor = half_way(&world, &world.member).await;
        let before = visitor.cookie("mailward").unwrap().to_owned();
        for elsewhere in ["/", "/me", "/me/security", "/me/password", "/prove", "/new-password"] {
            assert_eq!(visitor.get(elsewhere).await.headers["location"], "/second-factor", "{elsewhere}");
        }
        visitor.get("/second-factor").await;
        let again = visitor.post("/second-factor", &[("code", &telephone.code(&world))]).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "the step was spent when the app was set up");
        let wrong = visitor.post("/second-factor", &[("code", "123456")]).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);

        world.app.clock.advance(30 * SECOND);
        let code = telephone.code(&world);
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        let right = visitor.post("/second-factor", &[("code", &spaced)]).await;
        assert_eq!(right.status, StatusCode::SEE_OTHER, "{}", right.text);
        assert_ne!(visitor.cookie("mailward").unwrap(), before, "the session is a new one");
        assert_eq!(visitor.get("/me").await.status, StatusCode::OK);

        let mut old = Visitor::new(&world);
        old.set_cookie("mailward", &before);
        assert_eq!(old.get("/me").await.headers["location"], "/?next=%2Fme");
        let mut other = half_way(&world, &world.member).await;
        let replayed = other.post("/second-factor", &[("code", &code)]).await;
        assert_eq!(replayed.status, StatusCode::BAD_REQUEST, "a code opens once");
    }

    async fn a_code_that_comes_too_late_leads_back_to_the_sign_in(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        let mut visitor = half_way(&world, &world.member).await;
        world.app.clock.advance(16 * MINUTE);
        let late = visitor.post("/second-factor", &[("code", &telephone.code(&world))]).await;
        assert_eq!(late.status, StatusCode::SEE_OTHER, "{}", late.text);
        assert_eq!(late.headers["location"], "/");
        assert_eq!(visitor.get("/me").await.headers["location"], "/?next=%2Fme");
    }

    async fn whoever_sees_a_user_sees_whether_a_second_factor_is_in_use(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/security").await;
        visitor.post("/me/security/app", &[]).await;
        assert_eq!(tfa_enabled(&world).await, [false; 4], "an app that is only proposed");
        set_up(&world, &mut visitor).await;
        assert_eq!(tfa_enabled(&world).await, [true, true, true, false]);
        let mut admin = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        let page = admin.get(&format!("/users/{}", world.member.zuid)).await.text;
        assert!(page.contains("Second factor") && page.contains("in use"), "{page}");
        without_factors(&world, &world.owner, "false").await.ok();
        assert_eq!(tfa_enabled(&world).await, [false; 4]);
    }

    async fn a_clock_may_be_off_by_one_step_and_not_by_two(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        world.app.clock.advance(300 * SECOND);
        let mut visitor = half_way(&world, &world.member).await;
        let now = world.app.clock.now();
        for off in [-60, 60, -90] {
            let code = telephone.code_at(now + off * SECOND);
            let refused = visitor.post("/second-factor", &[("code", &code)]).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{off}");
        }
        let early = visitor.post("/second-factor", &[("code", &telephone.code_at(now - 30 * SECOND))]).await;
        assert_eq!(early.status, StatusCode::SEE_OTHER);
        let mut visitor = half_way(&world, &world.member).await;
        let late = visitor.post("/second-factor", &[("code", &telephone.code_at(now + 30 * SECOND))]).await;
        assert_eq!(late.status, StatusCode::SEE_OTHER);
        let mut visitor = half_way(&world, &world.member).await;
        let between = visitor.post("/second-factor", &[("code", &telephone.code_at(now))]).await;
        assert_eq!(between.status, StatusCode::BAD_REQUEST, "an earlier step than the last accepted one");
    }

    async fn a_recovery_code_opens_once_and_is_told(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        let code = telephone.recovery_codes[3].to_uppercase().replace('-', " ");
        let mut visitor = half_way(&world, &world.member).await;
        assert_eq!(visitor.post("/second-factor", &[("code", &code)]).await.status, StatusCode::SEE_OTHER);
        let page = visitor.get("/me/security").await;
        assert!(page.text.contains("9 codes are left."), "{}", page.text);
        assert!(verbs(&world, &world.member).await.contains(&"useRecoveryCode".to_owned()));
        let mut again = half_way(&world, &world.member).await;
        assert_eq!(again.post("/second-factor", &[("code", &code)]).await.status, StatusCode::BAD_REQUEST);

        let new = visitor.post("/me/security/codes", &[]).await;
        let codes = texts(&new.text, "<li><code>");
        assert_eq!(codes.len(), 10, "{}", new.text);
        let former = again.post("/second-factor", &[("code", &telephone.recovery_codes[0])]).await;
        assert_eq!(former.status, StatusCode::BAD_REQUEST, "new codes take the place of the old ones");
        assert_eq!(again.post("/second-factor", &[("code", &codes[0])]).await.status, StatusCode::SEE_OTHER);
    }

    async fn of_a_hundred_tries_with_one_code_one_opens(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        world.app.clock.advance(60 * SECOND);
        for code in [telephone.code(&world), telephone.recovery_codes[0].clone()] {
            let account = world.account(&world.member).await;
            let mut tries = JoinSet::new();
            for number in 0..100 {
                let (app, account, code) = (world.app.clone(), account.clone(), code.clone());
                tries.spawn(async move {
                    let context = Context::unsigned(Door::Console, format!("try {number}"), None);
                    factors::prove(&app, &context, &account, &code).await.is_ok()
                });
            }
            let opened = tries.join_all().await.into_iter().filter(|opened| *opened).count();
            assert_eq!(opened, 1);
            world.app.clock.advance(3600 * SECOND);
        }
    }

    async fn of_a_hundred_tries_with_one_code_one_opens_though_no_guess_is_turned_away(db: Db) {
        let mut config = world::config();
        (config.throttle.wrong_per_account, config.throttle.wrong_per_source) = (100_000, 100_000);
        let world = World::start_with(db, config).await;
        let telephone = with_factor(&world, &world.member).await;
        world.app.clock.advance(60 * SECOND);
        let codes = [telephone.code(&world), telephone.recovery_codes[0].clone(), telephone.recovery_codes[1].clone()];
        for code in codes {
            let account = world.account(&world.member).await;
            let start = Arc::new(Barrier::new(100));
            let mut tries = JoinSet::new();
            for number in 0..100 {
                let (app, account, code, start) = (world.app.clone(), account.clone(), code.clone(), Arc::clone(&start));
                tries.spawn(async move {
                    let context = Context::unsigned(Door::Console, format!("try {number}"), None);
                    start.wait().await;
                    factors::prove(&app, &context, &account, &code).await
                });
            }
            let tries = tries.join_all().await;
            let opened = tries.iter().filter(|outcome| outcome.is_ok()).count();
            let turned_away = tries.iter().filter(|outcome| matches!(outcome, Err(Error::TooMany { .. }))).count();
            assert_eq!((opened, turned_away), (1, 0), "{tries:?}");
        }
    }

    async fn guesses_in_every_window_of_a_day_come_to_an_end(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        let account = world.account(&world.member).await;
        let try_one = async |code: &str| {
            let context = Context::unsigned(Door::Console, "a try".to_owned(), None);
            factors::prove(&world.app, &context, &account, code).await
        };
        for _ in 0..5 {
            world.app.clock.advance(15 * 60 * SECOND);
            for guess in 0..10 {
                let wrong = try_one(&format!("00000{guess}")).await;
                assert!(matches!(wrong, Err(Error::Refused(_))), "{wrong:?}");
            }
        }
        world.app.clock.advance(15 * 60 * SECOND);
        let right = telephone.code(&world);
        assert!(matches!(try_one(&right).await, Err(Error::TooMany { .. })), "no sixth window that day");
        world.app.clock.advance(24 * 3600 * SECOND);
        try_one(&telephone.code(&world)).await.expect("the next day");
    }

    async fn guesses_are_counted_and_then_even_the_right_code_waits(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        world.app.clock.advance(30 * SECOND);
        let mut visitor = half_way(&world, &world.member).await;
        for guess in 0..10 {
            let wrong = visitor.post("/second-factor", &[("code", &format!("00000{guess}"))]).await;
            assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
        }
        let mut elsewhere = half_way(&world, &world.member).await;
        let code = telephone.code(&world);
        let full = elsewhere.post("/second-factor", &[("code", &code)]).await;
        assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "the count is the account's, not the browser's");
        world.app.clock.advance(900 * SECOND);
        let mut later = half_way(&world, &world.member).await;
        let right = later.post("/second-factor", &[("code", &telephone.code(&world))]).await;
        assert_eq!(right.status, StatusCode::SEE_OTHER);
    }

    async fn a_factor_goes_with_the_password_and_takes_its_codes_along(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        set_up(&world, &mut visitor).await;
        visitor.get("/me/security").await;
        let wrong = visitor.post("/me/security/app/remove", &[("password", "not-this-one")]).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        let right = visitor.post("/me/security/app/remove", &[("password", PASSWORD)]).await;
        assert_eq!(right.headers["location"], "/me/security?said=factor-removed", "{}", right.text);
        assert!(verbs(&world, &world.member).await.contains(&"removeFactor".to_owned()));
        let account = world.account(&world.member).await;
        let enrolled = factors::enrolled(&world.app, &account).await.expect("readable");
        assert!(!enrolled.any() && enrolled.codes_left == 0);
        Visitor::signed_in(&world, &world.member.email, PASSWORD).await.get("/me").await.ok();
    }

    async fn where_a_factor_is_demanded_one_is_set_up_before_anything_else(db: Db) {
        let world = World::start(db).await;
        demand(&world, SecondFactor::Everyone).await;
        let mut visitor = Visitor::new(&world);
        let answer = visitor.sign_in(&world.member.email, PASSWORD).await;
        assert_eq!(answer.headers["location"], "/me/security");
        for elsewhere in ["/", "/me", "/me/password", "/me/sessions", "/prove", "/second-factor"] {
            assert_eq!(visitor.get(elsewhere).await.headers["location"], "/me/security", "{elsewhere}");
        }
        let before = visitor.cookie("mailward").unwrap().to_owned();
        let telephone = set_up(&world, &mut visitor).await;
        assert_ne!(visitor.cookie("mailward").unwrap(), before, "the session is a new one");
        assert_eq!(visitor.get("/").await.headers["location"], "/me");
        visitor.get("/me/security").await.ok();
        let last = visitor.post("/me/security/app/remove", &[("password", PASSWORD)]).await;
        assert_eq!(last.status, StatusCode::BAD_REQUEST, "the last factor stays");
        world.app.clock.advance(30 * SECOND);
        let mut again = half_way(&world, &world.member).await;
        let right = again.post("/second-factor", &[("code", &telephone.code(&world))]).await;
        assert_eq!(right.status, StatusCode::SEE_OTHER);
    }

    async fn a_policy_for_administrators_leaves_members_alone(db: Db) {
        let world = World::start(db).await;
        demand(&world, SecondFactor::Administrators).await;
        let mut member = Visitor::new(&world);
        assert_eq!(member.sign_in(&world.member.email, PASSWORD).await.headers["location"], "/");
        let mut admin = Visitor::new(&world);
        assert_eq!(admin.sign_in(&world.admin.email, PASSWORD).await.headers["location"], "/me/security");
    }

    async fn who_was_signed_in_before_a_factor_was_demanded_signs_in_again(db: Db) {
        let world = World::start(db).await;
        demand(&world, SecondFactor::Administrators).await;
        let mut raised = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut stolen = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut protected = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        set_up(&world, &mut protected).await;
        for of in [&world.member, &world.other] {
            let path = format!("/api/organization/{}/accounts", world.zoid);
            let body = json!({"mode": "changeRole", "userList": [of.zuid], "role": "admin"});
            world.put(&world.owner.org_token, &path, body).await.ok();
        }
        assert_eq!(raised.get("/users").await.headers["location"], "/?next=%2Fusers");
        assert_eq!(raised.sign_in(&world.member.email, PASSWORD).await.headers["location"], "/me/security");
        set_up(&world, &mut raised).await;
        raised.get("/users").await.ok();
        protected.get("/users").await.ok();
        assert_eq!(stolen.get("/users").await.headers["location"], "/?next=%2Fusers", "no factor was shown there");

        let mut plain = Visitor::new(&world);
        let hans = world.someone("hans", mailward::domain::actor::Role::Member).await;
        assert_eq!(plain.sign_in(&hans.email, PASSWORD).await.headers["location"], "/");
        plain.get("/me").await.ok();
        demand(&world, SecondFactor::Everyone).await;
        assert_eq!(plain.get("/me").await.headers["location"], "/?next=%2Fme");
    }

    async fn a_one_time_password_does_not_get_round_the_factor(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        world.app.clock.advance(30 * SECOND);
        let refused = world.self_password(&world.member.email, "t*c9ma-once", "a-better-one-9").await;
        assert!(refused.refused(403, "OPERATION_NOT_PERMITTED").contains("second factor"));

        let mut visitor = Visitor::new(&world);
        let answer = visitor.sign_in(&world.member.email, "t*c9ma-once").await;
        assert_eq!(answer.headers["location"], "/second-factor");
        assert_eq!(visitor.get("/new-password").await.headers["location"], "/second-factor");
        visitor.get("/second-factor").await;
        let proved = visitor.post("/second-factor", &[("code", &telephone.code(&world))]).await;
        assert_eq!(proved.headers["location"], "/new-password");
        visitor.get("/new-password").await;
        let twice = [("new_password", "a-better-one-9"), ("new_password_again", "a-better-one-9")];
        let chosen = visitor.post("/new-password", &twice).await;
        assert_eq!(chosen.headers["location"], "/me?said=password", "{}", chosen.text);

        world.app.clock.advance(30 * SECOND);
        let body = json!({"address": world.member.email, "password": "a-better-one-9", "newPassword": "another-one-99",
            "code": telephone.code(&world)});
        let json = [("content-type", "application/json")];
        world.send("POST", "/self/password", &json, body.to_string()).await.ok();
    }

    async fn whoever_was_let_in_before_there_was_a_factor_is_asked_for_it_all_the_same(db: Db) {
        let world = World::start(db).await;
        let mut owner = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let reset = json!({"password": "t*c9ma-once", "resetAuthToken": false});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();
        let mut thief = Visitor::new(&world);
        assert_eq!(thief.sign_in(&world.member.email, "t*c9ma-once").await.headers["location"], "/new-password");
        thief.get("/new-password").await;
        set_up(&world, &mut owner).await;
        let twice = [("new_password", "a-better-one-9"), ("new_password_again", "a-better-one-9")];
        let late = thief.post("/new-password", &twice).await;
        assert_ne!(late.headers.get("location").map(|to| to.to_str().unwrap()), Some("/me?said=password"));
        let anew = Visitor::new(&world).sign_in(&world.member.email, "a-better-one-9").await;
        assert_eq!(anew.status, StatusCode::UNAUTHORIZED, "it was not chosen");
        assert_eq!(owner.get("/me").await.status, StatusCode::OK);
    }

    async fn a_session_that_ends_while_its_new_password_is_hashed_chooses_none(db: Db) {
        let world = World::start(db).await;
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        let once = Password::prepare("t*c9ma-once").expect("a password");
        let browser = Browser { source: None, agent: String::new() };
        let begun = web_sessions::sign_in(&world.app, &world.member.email, Some(&once), &browser).await.expect("half way");
        let held = web_sessions::held(&world.app, begun.cookie.fingerprint()).await.expect("readable").expect("a session");
        // As a factor does that is set up meanwhile.
        web_sessions::sign_out(&world.app, &held).await.expect("ended");
        let context = Context::new(web_sessions::caller(&world.app, &held), Door::Console, "late".to_owned());
        let new = Password::prepare("a-better-one-9").expect("a password");
        let chosen = web_sessions::choose_password(&world.app, &context, &held, &browser, &new).await;
        assert!(matches!(chosen, Err(Error::BadCredentials)), "{:?}", chosen.map(|(change, _)| change));
        let anew = Visitor::new(&world).sign_in(&world.member.email, "a-better-one-9").await;
        assert_eq!(anew.status, StatusCode::UNAUTHORIZED, "it was not chosen");
    }

    async fn a_proposed_seed_belongs_to_the_session_that_asked_for_it(db: Db) {
        let world = World::start(db).await;
        let mut own = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let telephone = shown_a_key(&mut own).await;

        // Somebody else knows the password, and waits.
        let mut thief = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        thief.get("/me/security").await;
        let seen = thief.get("/me/security/app").await;
        assert_eq!(seen.headers["location"], "/me/security", "{}", seen.text);
        let taken = thief.post("/me/security/app/confirm", &[("code", &telephone.code(&world))]).await;
        assert_ne!(taken.status, StatusCode::OK, "{}", taken.text);
        assert!(!verbs(&world, &world.member).await.contains(&"setUpFactor".to_owned()));

        let done = own.post("/me/security/app/confirm", &[("code", &telephone.code(&world))]).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }

    async fn who_was_let_in_to_set_up_the_first_factor_sets_up_no_second_one(db: Db) {
        let world = World::start(db).await;
        demand(&world, SecondFactor::Everyone).await;
        let mut thief = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let telephone = shown_a_key(&mut thief).await;

        // The person is quicker, with a passkey.
        world.add_passkey(&world.member).await;

        let late = thief.post("/me/security/app/confirm", &[("code", &telephone.code(&world))]).await;
        assert_ne!(late.status, StatusCode::OK, "{}", late.text);
        let again = thief.post("/me/security/app", &[]).await;
        assert_ne!(again.headers.get("location").map(|to| to.to_str().unwrap()), Some("/me/security/app"));
        assert_ne!(thief.get("/me").await.status, StatusCode::OK);
        let account = world.account(&world.member).await;
        let enrolled = factors::enrolled(&world.app, &account).await.expect("readable");
        assert!(!enrolled.app && enrolled.passkeys.len() == 1);
    }

    async fn who_was_let_in_by_a_password_that_is_replaced_since_sets_up_no_factor(db: Db) {
        let world = World::start(db).await;
        demand(&world, SecondFactor::Everyone).await;
        let mut thief = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let telephone = shown_a_key(&mut thief).await;

        // What is open stays open, but the password is another one.
        let reset = json!({"password": "a-better-one-9", "oneTimePassword": false, "resetAuthToken": false});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();

        let late = thief.post("/me/security/app/confirm", &[("code", &telephone.code(&world))]).await;
        assert_ne!(late.status, StatusCode::OK, "{}", late.text);
        assert!(texts(&late.text, "<li><code>").is_empty(), "no recovery codes: {}", late.text);
        let again = thief.post("/me/security/app", &[]).await;
        assert_ne!(again.headers.get("location").map(|to| to.to_str().unwrap()), Some("/me/security/app"));
        let account = world.account(&world.member).await;
        assert!(!factors::enrolled(&world.app, &account).await.expect("readable").any());
        let mut own = Visitor::signed_in(&world, &world.member.email, "a-better-one-9").await;
        assert_eq!(set_up(&world, &mut own).await.recovery_codes.len(), 10);
    }

    async fn no_session_begins_with_a_password_that_somebody_else_has_set_meanwhile(db: Db) {
        let world = World::start(db).await;
        let wish = OwnChange {
            address: world.member.email.clone(),
            password: Some(Password::prepare(PASSWORD).expect("a password")),
            new_password: Password::prepare("a-better-one-9").expect("a password"),
            end_everything: true,
            factor: Factor::InSession,
        };
        let browser = Browser { source: None, agent: String::new() };
        let begun = web_sessions::sign_in(&world.app, &wish.address, wish.password.as_ref(), &browser).await.expect("signed in");
        let held = web_sessions::held(&world.app, begun.cookie.fingerprint()).await.expect("readable").expect("a session");
        let context = Context::unsigned(Door::Console, "own".to_owned(), None);
        let changed = password::change(&world.app, &context, wish).await.expect("changed");
        // Before the browser has its new session, an administrator resets the password.
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "an-admins-one-7"})).await.ok();
        let begun = web_sessions::after_own_change(&world.app, &held, &changed, &browser).await;
        assert!(matches!(begun, Err(Error::BadCredentials)), "{:?}", begun.map(|started| started.stage));
    }

    async fn a_super_administrator_takes_lost_factors_away_and_nobody_below(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        let own = world.mode(&world.owner, &world.owner, "updateTFAStatus", json!({"tfaEnabled": "false"}));
        for refused in [without_factors(&world, &world.admin, "false").await, own.await] {
            let told = refused.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(told.contains("another super administrator"), "{told}");
        }
        without_factors(&world, &world.owner, "true").await.ok();
        half_way(&world, &world.member).await;

        without_factors(&world, &world.owner, "false").await.ok();
        let entries = verbs(&world, &world.member).await;
        assert_eq!(entries[0], "updateTFAStatus");
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me").await.ok();
        // The recovery codes are gone as well: they stand in for nothing.
        set_up(&world, &mut visitor).await;
        let mut stranger = half_way(&world, &world.member).await;
        let old = stranger.post("/second-factor", &[("code", &telephone.recovery_codes[0])]).await;
        assert_eq!(old.status, StatusCode::BAD_REQUEST);
        without_factors(&world, &world.owner, "false").await.ok();

        let before = verbs(&world, &world.member).await;
        let nothing = without_factors(&world, &world.owner, "false").await;
        assert_eq!(nothing.ok().change(), None, "there is none left");
        let told = without_factors(&world, &world.owner, "true").await.refused(400, "INVALID_INPUT");
        assert!(told.contains("set up by its owner"), "{told}");
        assert_eq!(verbs(&world, &world.member).await, before);
    }

    async fn the_page_of_a_user_removes_lost_factors(db: Db) {
        let world = World::start(db).await;
        let mut owner = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let (page, panel) = (format!("/users/{}", world.member.zuid), "Remove second factors");
        assert!(!owner.get(&page).await.text.contains(panel), "there is nothing to remove");
        with_factor(&world, &world.member).await;
        let mut admin = Visitor::signed_in(&world, &world.admin.email, PASSWORD).await;
        assert!(!admin.get(&page).await.text.contains(panel), "an administrator may not");
        assert!(owner.get(&page).await.text.contains(panel));
        let done = owner.post(&format!("{page}/remove-factors"), &[("reason", "lost the telephone")]).await;
        let to = done.headers["location"].to_str().expect("a text").to_owned();
        assert!(to.starts_with(&format!("{page}?change=")), "{}", done.text);
        let after = owner.get(&to).await.text;
        assert!(after.contains("Second factors removed") && after.contains("lost the telephone"), "{after}");
        assert!(!after.contains(panel), "{after}");
        Visitor::signed_in(&world, &world.member.email, PASSWORD).await.get("/me").await.ok();
    }

    async fn the_way_goes_on_where_it_was_meant_to_and_never_out_of_the_house(db: Db) {
        let world = World::start(db).await;
        let telephone = with_factor(&world, &world.member).await;
        for (next, to) in [("/me/sessions", "/me/sessions"), ("https://evil.example/", "/"), ("//evil.example", "/")] {
            world.app.clock.advance(30 * SECOND);
            let mut visitor = Visitor::new(&world);
            visitor.get("/").await;
            let fields = [("address", world.member.email.as_str()), ("password", PASSWORD), ("next", next)];
            let answer = visitor.post("/sign-in", &fields).await;
            visitor.follow(answer).await;
            let code = telephone.code(&world);
            let gone = visitor.post("/second-factor", &[("code", &code), ("next", next)]).await;
            assert_eq!(gone.headers["location"], to);
        }
    }
}
