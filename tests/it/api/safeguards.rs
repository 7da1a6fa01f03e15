//! What must cost a stranger more than it costs the house, and what a stolen token must not make.

use mailward::app::organizations;
use mailward::app::tidy::sweep_refresh_tokens;
use mailward::clock::DAY;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::{GrantId, Id as _, UserId};
use mailward::domain::policy::Policy;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::fingerprint;
use mailward::error::Error;
use mailward::store;
use mailward::store::tokens::RefreshToken;
use serde_json::{Value, json};

use super::{accounts_path, mode_saying, none};
use crate::support::databases::TestDb;
use crate::support::tables::{Tables, difference};
use crate::support::visitor::Visitor;
use crate::support::world::{self, Answer, PASSWORD, Someone, World, operator};

async fn make(world: &World, of: &Someone, token: &str, current: Option<&str>) -> Answer {
    let mut body = json!({"name": "Telephone"});
    if let Some(current) = current {
        body["currentPassword"] = current.into();
    }
    world.with_body("POST", token, &format!("/api/accounts/{}/appPasswords", of.account_id), body).await
}

/// Refusals that are counted: actor, verb, named, zuid.
async fn refusals(world: &World) -> Vec<(String, String, String, Option<i64>)> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let mut running = store::audit::running_refusals(&mut tx, world.zoid).await.expect("refusals");
    running.sort_by(|one, other| (&one.verb, &one.target).cmp(&(&other.verb, &other.target)));
    let short =
        |one: store::audit::Refusal| (one.actor, one.verb, one.target, one.person.map(|user| user.get()));
    running.into_iter().map(short).collect()
}

both_engines! {
    async fn a_stranger_takes_no_number_and_leaves_nothing(test: TestDb) {
        let world = World::start(test.clone()).await;
        let tables = Tables::of(&test).await;
        let before = tables.without(&[]).await;
        let (mia, collection) = (world.member.clone(), accounts_path(&world));
        let own = format!("/api/accounts/{}", mia.account_id);
        let calls: [(&str, String, Value); 8] = [
            ("PUT", world.path(&mia), json!({"mode": "disableMailAccount"})),
            ("PUT", world.path(&mia), json!({"mode": "resetPassword", "password": "t*c9ma"})),
            ("PUT", own.clone(), json!({"mode": "displaynameupdate", "displayName": "x"})),
            ("POST", collection.clone(), json!({"primaryEmailAddress": format!("x@{}", world.domain), "password": PASSWORD})),
            ("DELETE", collection, json!({"accountList": [mia.zuid]})),
            ("POST", format!("{own}/appPasswords"), json!({"name": "x", "currentPassword": PASSWORD})),
            ("DELETE", format!("{own}/appPasswords/100000000001"), Value::Null),
            ("POST", format!("{}/compromised", world.path(&mia)), Value::Null),
        ];
        for _ in 0..3 {
            for (method, path, body) in &calls {
                world.with_body(method, "1000.never.given", path, body.clone()).await.refused(401, "INVALID_OAUTHTOKEN");
            }
        }
        assert_eq!(difference(&before, &tables.without(&[]).await), None, "not even an id");
    }

    async fn a_token_alone_makes_no_password_that_outlives_it(test: TestDb) {
        let world = World::start(test).await;
        let (mia, otto) = (&world.member, &world.other);
        let update = world::token(&world.app, &world.account(mia).await, "ZohoMail.accounts.UPDATE").await;
        let missing = make(&world, mia, &update, None).await.refused(400, "LESS_THAN_MIN_OCCURANCE");
        assert!(missing.contains("currentPassword"), "{missing}");
        for wrong in ["not-the-password", "\u{1}", ""] {
            make(&world, mia, &update, Some(wrong)).await.refused(401, "INVALID_CREDENTIALS");
        }
        // Who may not make one on that account has no password tried.
        make(&world, otto, &update, Some(PASSWORD)).await.refused(404, "RESOURCE_NOT_FOUND");
        assert!(world.account(mia).await.app_passwords.is_empty());
        assert_eq!(make(&world, mia, &update, Some(PASSWORD)).await.status, 201);

        // It is guessed no faster here than elsewhere.
        for number in 0..12 {
            make(&world, otto, &otto.user_token, Some(&format!("a-guess-{number}"))).await;
        }
        assert_ne!(make(&world, otto, &otto.user_token, Some(PASSWORD)).await.status, 201, "the throttle has closed");

        // A one-time password opens the choice of a new one alone.
        let keep = json!({"password": "t*c9ma", "resetAuthToken": false});
        world.mode(&world.admin, mia, "resetPassword", keep).await.ok();
        make(&world, mia, &mia.user_token, Some("t*c9ma")).await.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(world.account(mia).await.app_passwords.len(), 1);
    }

    async fn a_browser_proves_it_by_a_fresh_sign_in(test: TestDb) {
        let world = World::start(test).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/app-passwords").await;
        let fields = [("name", "Telephone"), ("protocol", "imap")];
        assert_eq!(visitor.post("/me/app-passwords", &fields).await.status, 200);
        world.app.clock.advance(mailward::app::web_sessions::PROOF_LASTS + 1);
        visitor.get("/me/app-passwords").await;
        assert_ne!(visitor.post("/me/app-passwords", &fields).await.status, 200, "the proof is old");
        assert_eq!(world.account(&world.member).await.app_passwords.len(), 1);
    }

    async fn a_refusal_of_a_list_names_whom_it_is_about(test: TestDb) {
        let world = World::start(test.db.clone()).await;
        let path = accounts_path(&world);
        let (member, owner) = (&world.member, &world.owner);
        let nobody = format!("nobody@{}", world.domain);
        let role = json!({"mode": "changeRole", "userList": [member.zuid, owner.zuid], "role": "member"});
        for (method, body, named) in [
            ("PUT", role, owner.zuid.to_string()),
            ("DELETE", json!({"emailList": [member.email, owner.email]}), owner.email.clone()),
            ("DELETE", json!({"emailList": [member.email, nobody]}), nobody.clone()),
        ] {
            let answer = world.with_body(method, &owner.org_token, &path, body).await;
            assert!(answer.status.is_client_error(), "{}", answer.text);
            let counted = refusals(&world).await;
            assert!(counted.iter().any(|row| row.2 == named), "{named}: {counted:?}");
        }
        let counted = refusals(&world).await;
        assert!(counted.iter().all(|row| row.3 != Some(member.zuid)), "{counted:?}");
    }

    async fn a_refusal_is_found_by_the_person_concerned_however_it_named_them(test: TestDb) {
        let world = World::start(test).await;
        let (admin, owner) = (world.admin.clone(), world.owner.clone());
        let collection = accounts_path(&world);
        for number in [owner.zuid, owner.account_id] {
            let path = format!("{collection}/{number}");
            world.put(&admin.org_token, &path, json!({"mode": "disableMailAccount"})).await.refused(403, "OPERATION_NOT_PERMITTED");
        }
        let by_address = json!({"emailList": [owner.email]});
        world.with_body("DELETE", &admin.org_token, &collection, by_address).await.refused(403, "OPERATION_NOT_PERMITTED");
        let taken = json!({"primaryEmailAddress": world.other.email, "password": PASSWORD});
        world.with_body("POST", &admin.org_token, &collection, taken).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        let (who, zuid) = (format!("user {}", admin.zuid), Some(owner.zuid));
        let mut wanted = vec![
            (who.clone(), "createUser".to_owned(), world.other.email.clone(), Some(world.other.zuid)),
            (who.clone(), "deleteUser".to_owned(), owner.email.clone(), zuid),
            (who.clone(), "disableMailAccount".to_owned(), owner.zuid.to_string(), zuid),
            (who, "disableMailAccount".to_owned(), owner.account_id.to_string(), zuid),
        ];
        wanted.sort_by(|one, other| (&one.1, &one.2).cmp(&(&other.1, &other.2)));
        assert_eq!(refusals(&world).await, wanted);
    }

    async fn what_the_operator_was_refused_is_written_down_too(test: TestDb) {
        let world = World::start(test).await;
        let by = operator();
        let policy = organizations::update(&world.app, &by, world.zoid, |organization, _| {
            organization.policy.address_kept_days = -1;
            Err(Error::Forbidden("not like this".to_owned()))
        });
        policy.await.expect_err("refused");
        let owner = world.account(&world.owner).await;
        mailward::app::operator::recover_super_admin(&world.app, &operator(), &owner).await.expect_err("there is one");
        let ask = mailward::app::change::Ask {
            route: mailward::domain::rights::Route::Organization(world.zoid),
            path: None,
            zuid: Some(world.owner.zuid),
            mode: mailward::app::accounts::AccountMode::DisableUser(Default::default()),
        };
        mailward::app::change::run(&world.app, &operator(), ask).await.expect_err("the last super administrator");
        let who = "operator tester".to_owned();
        let zuid = world.owner.zuid;
        assert_eq!(refusals(&world).await, [
            (who.clone(), "disableUser".to_owned(), zuid.to_string(), Some(zuid)),
            (who.clone(), "recoverSuperAdmin".to_owned(), zuid.to_string(), Some(zuid)),
            (who, "updateOrganization".to_owned(), String::new(), None),
        ]);
    }

    async fn a_policy_that_cannot_be_meant_is_not_stored(test: TestDb) {
        let world = World::start(test).await;
        let absurd: [fn(&mut Policy); 5] = [
            |policy| policy.address_kept_days = -1,
            |policy| policy.address_kept_days = i64::MAX,
            |policy| policy.most_aliases = usize::MAX,
            |policy| policy.password.one_time_valid_for = -1,
            |policy| policy.reserved_names = vec!["a@b".to_owned()],
        ];
        let by = operator();
        for edit in absurd {
            let outcome = organizations::update(&world.app, &by, world.zoid, move |organization, _| {
                edit(&mut organization.policy);
                Ok(())
            });
            assert!(matches!(outcome.await, Err(Error::Malformed(_))));
        }
        let mut tx = world.app.db.read().await.expect("a connection");
        let stored = store::organizations::load(&mut tx, world.zoid).await.expect("readable").expect("there");
        assert_eq!(stored.policy, Policy::default());
    }

    async fn refresh_tokens_that_nothing_revives_are_swept_away(test: TestDb) {
        let world = World::start(test).await;
        let (client, _) = world::client(&world, ClientKind::SelfClient).await;
        let (zoid, user) = (world.zoid, UserId::new(world.member.zuid).expect("a zuid"));
        let epoch = world.account(&world.member).await.session_epoch;
        let stored = world.app.db.write(async move |tx| {
            // More than are looked at in one turn; every third one is good.
            for number in 0..1200 {
                let token = RefreshToken {
                    organization: zoid,
                    user: if number % 3 == 1 { UserId::GREATEST } else { user },
                    client: if number % 6 == 2 { "1000.GONE".to_owned() } else { client.clone() },
                    epoch: if number % 6 == 5 { epoch - 1 } else { epoch },
                    scope: ScopeSet::parse("ZohoMail.accounts.READ")?,
                    grant: GrantId::from_number(GrantId::FIRST + number).expect("in range"),
                    created_at: 0,
                    minted: Vec::new(),
                };
                store::tokens::insert_refresh(tx, &fingerprint(&number.to_string()), &token).await?;
            }
            Ok(())
        });
        stored.await.expect("stored");
        let mut swept = 0;
        for _ in 0..4 {
            swept += sweep_refresh_tokens(&world.app).await.expect("swept");
        }
        assert_eq!(swept, 800);
        assert_eq!(sweep_refresh_tokens(&world.app).await.expect("swept"), 0);
        let mut tx = world.app.db.read().await.expect("a connection");
        let mut left = 0;
        for number in 0..1200 {
            let found = store::tokens::refresh(&mut tx, &fingerprint(&number.to_string())).await.expect("readable");
            assert_eq!(found.is_some(), number % 3 == 0, "{number}");
            left += i32::from(found.is_some());
        }
        assert_eq!(left, 400);
        drop(tx);
        // A reset voids the rest at once, and the sweep takes the rows.
        world.mode(&world.admin, &world.member, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        world.app.clock.advance(DAY);
        for _ in 0..2 {
            swept += sweep_refresh_tokens(&world.app).await.expect("swept");
        }
        assert_eq!(swept, 1200);
        mode_saying(&world, &world.admin, &world.other, "disableMailAccount", none(), &[]).await.ok();
    }
}
