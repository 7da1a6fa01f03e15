//! What strangers can make the service do: many tries at once, many refusals in a minute, one client
//! that asks too often.

use mailward::app::oauth::{self, CodeWish, GrantType, TokenRequest};
use mailward::app::{tidy, verifier};
use mailward::clock::MINUTE;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::error::{Error, GrantRefusal};
use mailward::store;
use mailward::store::audit::Refusal;
use mailward::store::engine::Db;

use crate::support::world::{PASSWORD, World, client};

both_engines! {
    async fn many_guesses_at_once_are_no_more_than_the_limit(db: Db) {
        let world = World::start(db).await;
        let tries: Vec<_> = (0..60)
            .map(|number| {
                let (app, address) = (world.app.clone(), world.member.email.clone());
                tokio::spawn(async move {
                    // The right one comes last, when the limit is used up.
                    let text = if number == 59 { PASSWORD.to_owned() } else { format!("not-the-right-one-{number}") };
                    let guess = Password::prepare(&text).expect("a password");
                    if number == 59 {
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                    verifier::verify(&app, &address, Some(&guess), None).await.map(drop)
                })
            })
            .collect();
        let mut unavailable = 0;
        for (number, one) in tries.into_iter().enumerate() {
            match one.await.expect("no panic") {
                Err(Error::BadCredentials | Error::TooMany { .. }) => {}
                Err(Error::Unavailable { .. }) => unavailable += 1,
                other => panic!("try {number}: {other:?}"),
            }
        }
        assert!(unavailable < 10, "{unavailable} tries met each other");
        let subject = format!("account {}", world.member.account_id);
        let mut tx = world.app.db.read().await.expect("a connection");
        let (counted, _) = store::throttle::tries(&mut tx, &subject, world.app.clock.now(), 15 * MINUTE).await.expect("a count");
        assert_eq!(counted, 10, "as many were compared as the limit allows");
    }

    async fn a_minute_of_many_different_refusals_leaves_nothing_behind(db: Db) {
        let world = World::start(db).await;
        let (zoid, now) = (world.zoid, world.app.clock.now());
        world
            .app
            .db
            .write(async move |tx| {
                for number in 0..1_200 {
                    let refusal = Refusal {
                        organization: zoid,
                        minute: now / MINUTE,
                        actor: "user 1000000000001".to_owned(),
                        verb: "enableUser".to_owned(),
                        target: number.to_string(),
                        person: None,
                        refusals: 1,
                        entry: r#"{"outcome":"refused","v":1}"#.to_owned(),
                    };
                    store::audit::count_refusal(tx, &refusal).await?;
                }
                Ok(())
            })
            .await
            .expect("refusals");
        tidy::run(&world.app).await.expect("tidying up");
        let mut tx = world.app.db.read().await.expect("a connection");
        assert_eq!(store::audit::running_refusals(&mut tx, zoid).await.expect("refusals").len(), 1_200, "the minute runs");
        drop(tx);
        world.app.clock.advance(MINUTE);
        tidy::run(&world.app).await.expect("tidying up");
        let mut tx = world.app.db.read().await.expect("a connection");
        assert!(store::audit::running_refusals(&mut tx, zoid).await.expect("refusals").is_empty());
        let entries = store::audit::newest(&mut tx, zoid, None, 2_000).await.expect("entries");
        assert_eq!(entries.iter().filter(|entry| entry.entry.contains("refused")).count(), 1_200);
    }

    async fn who_asks_too_often_with_a_good_token_does_not_close_the_door_for_others(db: Db) {
        let mut settings = crate::support::world::config();
        settings.throttle.token_failures_per_source = 5;
        let world = World::start_with(db, settings).await;
        let (id, secret) = client(&world, ClientKind::SelfClient).await;
        let wish = CodeWish {
            client: id.clone(),
            organization: world.zoid,
            user: UserId::new(world.member.zuid).expect("a zuid"),
            scope: ScopeSet::parse("ZohoMail.accounts.ALL").expect("scopes"),
            life: MINUTE,
            offline: true,
            redirect_uri: None,
            challenge: None,
        };
        let code = oauth::make_code(&world.app, wish).await.expect("a code");
        let source = Some("192.0.2.1".parse().expect("an address"));
        let ask = async |secret: &str, grant| {
            let request = TokenRequest { client_id: id.clone(), client_secret: Some(secret.into()), grant };
            oauth::token(&world.app, source, request).await
        };
        let grant = GrantType::AuthorizationCode { code: code.expose().into(), redirect_uri: None, verifier: None };
        let refresh = ask(&secret, grant).await.expect("tokens").refresh_token.expect("a refresh token");
        let again = || GrantType::RefreshToken { refresh_token: refresh.expose().into() };
        let mut too_often = 0;
        for _ in 0..30 {
            match ask(&secret, again()).await {
                Ok(_) => {}
                Err(Error::Grant(GrantRefusal::TooOften { .. })) => too_often += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(too_often, 20);
        for _ in 0..5 {
            assert!(matches!(ask("not-the-secret", again()).await, Err(Error::Grant(GrantRefusal::InvalidClientSecret))));
        }
        assert!(matches!(ask(&secret, again()).await, Err(Error::TooMany { .. })), "guessing does close it");
    }
}
