//! What must hold when calls meet: of many that want the same thing exactly one gets it, rules that
//! span rows hold, limits are not outrun. A busy PostgreSQL may answer 503; that changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailward::app::accounts::delete_user::DeleteUser;
use mailward::app::accounts::{AccountMode, Mode as _};
use mailward::app::change::{self, Ask};
use mailward::app::oauth::{self, CodeWish};
use mailward::app::organizations;
use mailward::clock::{DAY, HOUR, MINUTE};
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::{ChangeId, OrganizationId, UserId};
use mailward::domain::rights::Route;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::fingerprint;
use mailward::error::Error;
use mailward::store::engine::{Db, params};
use mailward::store::lists::page;
use mailward::store::{audit, throttle, tokens};
use mailward::wire::Body;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::console::authenticator::Authenticator;
use crate::support::visitor::Visitor;
use crate::support::world::{self, Answer, PASSWORD, Someone, World, operator};

const MANY: usize = 100;

/// Does something many times at once; the results in no order.
async fn at_once<T, F>(many: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(many));
    let mut tasks = JoinSet::new();
    for number in 0..many {
        let (start, task) = (Arc::clone(&start), task(number));
        tasks.spawn(async move {
            start.wait().await;
            task.await
        });
    }
    tasks.join_all().await
}

/// How many answers have the status; all others must be `otherwise`, or 503 from a busy database.
#[track_caller]
fn count(answers: &[Answer], status: u16, otherwise: (u16, &str)) -> usize {
    let mut found = 0;
    for answer in answers {
        match (answer.status.as_u16(), answer.error_code().as_str()) {
            (given, _) if given == status => found += 1,
            (503, _) => assert!(answer.headers.contains_key("retry-after"), "{}", answer.text),
            other => assert_eq!(other, otherwise, "{}", answer.text),
        }
    }
    found
}

/// People with many addresses.
async fn patient(db: Db) -> Arc<World> {
    let world = World::start(db).await;
    organizations::update(&world.app, &operator(), world.zoid, |organization, _| {
        organization.policy.most_aliases = 1_000;
        Ok(())
    })
    .await
    .expect("a policy");
    Arc::new(world)
}

async fn audit_entries(world: &World, verb: &str, of: Option<&Someone>) -> Vec<audit::AuditRow> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let person = of.and_then(|someone| UserId::new(someone.zuid));
    let newest = audit::newest(&mut tx, world.zoid, person, 10_000).await.expect("readable");
    newest.into_iter().filter(|entry| entry.verb == verb).collect()
}

async fn enabled_super_admins(world: &World, zoid: OrganizationId) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    tx.query_one(
        "SELECT COUNT(*) AS n FROM person WHERE organization_id = $1 AND role = 'super_admin' AND disabled IS NULL",
        params![zoid.get()],
        |row| row.get("n"),
    )
    .await
    .expect("a count")
}

/// An organization with two super administrators alone.
async fn two_super_admins(world: &World, number: usize) -> (OrganizationId, [Someone; 2]) {
    let (zoid, domain) = world::organization(&world.app, "Pair", &format!("pair-{number}.example")).await;
    let one = world::someone(&world.app, zoid, &format!("one@{domain}"), Role::SuperAdmin).await;
    let two = world::someone(&world.app, zoid, &format!("two@{domain}"), Role::SuperAdmin).await;
    (zoid, [one, two])
}

/// What one of them does to the other: disables, demotes, deletes, in turn.
fn blow(number: usize, on: &Someone) -> (&'static str, Value) {
    match number % 3 {
        0 => ("PUT", json!({"mode": "disableUser", "zuid": on.zuid})),
        1 => ("PUT", json!({"mode": "changeRole", "userList": [on.zuid], "role": "member"})),
        _ => ("DELETE", json!({"accountList": [on.zuid]})),
    }
}

async fn strike(world: Arc<World>, by: Someone, (method, body): (&'static str, Value)) -> Answer {
    world.with_body(method, &by.org_token, &format!("/api/organization/{}/accounts", by.zoid), body).await
}

async fn strike_as_operator(
    world: Arc<World>,
    zoid: OrganizationId,
    (method, body): (&'static str, Value),
) -> Result<(), Error> {
    let body = Body::parse(body.to_string().as_bytes()).expect("JSON");
    let mode = if method == "DELETE" {
        DeleteUser::parse(&body).map(AccountMode::DeleteUser)
    } else {
        AccountMode::from_body(&body)
    };
    let zuid = body.long("zuid").expect("a number");
    let ask = Ask { route: Route::Organization(zoid), path: None, zuid, mode: mode.expect("a mode") };
    change::run(&world.app, &operator(), ask).await.map(drop)
}

/// A client of the owner, and a code for the member with a refresh token.
async fn code(world: &World, client: &str) -> Result<String, Error> {
    let wish = CodeWish {
        client: client.to_owned(),
        organization: world.zoid,
        user: UserId::new(world.member.zuid).expect("a zuid"),
        scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes"),
        life: 6 * HOUR,
        offline: true,
        redirect_uri: None,
        challenge: None,
    };
    oauth::make_code(&world.app, wish).await.map(|code| code.expose().to_owned())
}

async fn exchange(world: Arc<World>, client: (String, String), field: &'static str, value: String) -> Answer {
    let grant = if field == "code" { "authorization_code" } else { field };
    let fields = [
        ("client_id", client.0.as_str()),
        ("client_secret", &client.1),
        ("grant_type", grant),
        (field, &value),
    ];
    world.form("/oauth/v2/token", &fields).await
}

/// A token out of an answer of the token endpoint, if there is one.
fn given(answer: &Answer, name: &str) -> Option<String> {
    answer.json()[name].as_str().map(str::to_owned)
}

#[track_caller]
fn denied(answers: &[Answer]) {
    for answer in answers.iter().filter(|answer| given(answer, "access_token").is_none()) {
        match answer.status.as_u16() {
            400 => assert_eq!(answer.json()["error"], "Access Denied", "{}", answer.text),
            503 => {}
            _ => panic!("{}", answer.text),
        }
    }
}

async fn living(world: &World, tokens: &[String]) -> usize {
    let mut tx = world.app.db.read().await.expect("a connection");
    let mut living = 0;
    for token in tokens {
        let holder =
            tokens::holder(&mut tx, &fingerprint(token), world.app.clock.now()).await.expect("readable");
        living += usize::from(holder.is_some());
    }
    living
}

/// Tries that count as wrong, those in flight included.
async fn counted_tries(world: &World, of: &Someone) -> i64 {
    let mut tx = world.app.db.read().await.expect("a connection");
    let subject = format!("account {}", of.account_id);
    throttle::tries(&mut tx, &subject, world.app.clock.now(), 15 * MINUTE).await.expect("readable").0
}

both_engines! {
    async fn of_two_renames_to_one_address_exactly_one_wins(db: Db) {
        let world = patient(db).await;
        for round in 0..30 {
            let address = format!("wanted-{round}@{}", world.domain);
            let people = [world.member.clone(), world.other.clone()];
            let answers = at_once(2, |number| {
                let (world, on, address) = (Arc::clone(&world), people[number].clone(), address.clone());
                async move { world.mode(&world.owner, &on, "emailupdate", json!({"emailAddress": address})).await }
            })
            .await;
            assert_eq!(count(&answers, 200, (400, "EMAILADDRESS_ALREADY_EXISTS")), 1, "{answers:?}");
            let mut holders = 0;
            for person in &people {
                holders += usize::from(world.account(person).await.primary.as_str() == address);
            }
            assert_eq!(holders, 1);
        }
        let renames = audit_entries(&world, "emailupdate", None).await;
        assert_eq!(renames.len(), 30);
    }

    async fn of_many_claims_of_one_address_exactly_one_wins(db: Db) {
        let world = patient(db).await;
        let address = format!("wanted@{}", world.domain);
        let answers = at_once(MANY, |number| {
            let (world, address) = (Arc::clone(&world), address.clone());
            async move {
                let on = if number % 2 == 0 { &world.member } else { &world.other };
                match number % 3 {
                    0 => world.mode(&world.owner, on, "emailupdate", json!({"emailAddress": address})).await,
                    1 => world.mode(&world.admin, on, "addEmailAlias", json!({"emailAlias": [address]})).await,
                    _ => {
                        let body = json!({"primaryEmailAddress": address, "password": PASSWORD});
                        let path = format!("/api/organization/{}/accounts", world.zoid);
                        world.with_body("POST", &world.owner.org_token, &path, body).await
                    }
                }
            }
        })
        .await;
        // Whoever has it, has it: asking again is a success that changes nothing.
        let changes: BTreeSet<_> = answers.iter().filter_map(Answer::change).collect();
        let first = changes.iter().next().expect("somebody got it");
        let owner = world.get(&world.owner.org_token, &format!("/api/organization/{}/accounts/{address}", world.zoid)).await;
        let owner = owner.ok().json()["data"]["zuid"].as_i64().expect("a zuid");
        let mut tx = world.app.db.read().await.expect("a connection");
        for change in &changes {
            // A rename of somebody who had it as an alias already is one more change, of the same person.
            let change: ChangeId = change.parse().expect("a change");
            let entries = audit::of_change(&mut tx, world.zoid, change).await.expect("readable");
            assert_eq!(entries[0].person.map(UserId::get), Some(owner), "{first}: {entries:?}");
        }
        for answer in &answers {
            assert!(matches!(answer.status.as_u16(), 200 | 201 | 400 | 503), "{}", answer.text);
        }
    }

    async fn two_super_admins_never_remove_each_other(db: Db) {
        let world = Arc::new(World::start(db).await);
        for round in 0..36 {
            let (zoid, pair) = two_super_admins(&world, round).await;
            let answers = at_once(2, |number| {
                let blow = blow(if round % 2 == 0 { round / 2 } else { round / 2 + number }, &pair[1 - number]);
                strike(Arc::clone(&world), pair[number].clone(), blow)
            })
            .await;
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
            assert_eq!(enabled_super_admins(&world, zoid).await, 1, "round {round}");
        }
    }

    async fn two_operators_never_remove_the_last_two_super_admins(db: Db) {
        let world = Arc::new(World::start(db).await);
        for round in 0..36 {
            let (zoid, pair) = two_super_admins(&world, round).await;
            let outcomes = at_once(2, |number| {
                let blow = blow(if round % 2 == 0 { round / 2 } else { round / 2 + number }, &pair[number]);
                strike_as_operator(Arc::clone(&world), zoid, blow)
            })
            .await;
            let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
            assert!(matches!(refused[..], [Error::Forbidden(_)]), "{refused:?}");
            assert_eq!(enabled_super_admins(&world, zoid).await, 1, "round {round}");
        }
    }

    async fn of_many_uses_of_a_one_time_password_exactly_one_wins(db: Db) {
        let world = Arc::new(World::start(db).await);
        world.mode(&world.admin, &world.member, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        let answers = at_once(MANY, |number| {
            let world = Arc::clone(&world);
            async move {
                let new = format!("my-own-choice-{number}");
                let answer = world.self_password(&world.member.email, "t*c9ma", &new).await;
                (answer, new)
            }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(answer, _)| answer.status == 200);
        assert_eq!(won.len(), 1);
        let lost: Vec<_> = lost.into_iter().map(|(answer, _)| answer).filter(|answer| answer.status != 429).collect();
        count(&lost, 200, (401, "INVALID_CREDENTIALS"));
        assert_eq!(audit_entries(&world, "changeOwnPassword", Some(&world.member)).await.len(), 1);
        // The late ones were wrong tries.
        world.app.clock.advance(16 * MINUTE);
        assert_eq!(world.self_password(&world.member.email, "t*c9ma", "yet-another-9").await.status, 401);
        world.self_password(&world.member.email, &won[0].1, "yet-another-9").await.ok();
    }

    async fn of_many_choices_with_a_one_time_password_by_page_and_by_call_exactly_one_is_made(db: Db) {
        let mut config = world::config();
        (config.throttle.wrong_per_account, config.throttle.wrong_per_source) = (100_000, 100_000);
        let world = Arc::new(World::start_with(db, config).await);
        world.mode(&world.admin, &world.member, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        let ready = Arc::new(Barrier::new(MANY));
        let outcomes = at_once(MANY, |number| {
            let (world, ready) = (Arc::clone(&world), Arc::clone(&ready));
            async move {
                let new = format!("my-own-choice-{number}");
                if number % 2 == 0 {
                    ready.wait().await;
                    return world.self_password(&world.member.email, "t*c9ma", &new).await.status == 200;
                }
                // In a browser that has got as far as the page where a new one is chosen.
                let mut visitor = Visitor::new(&world);
                while visitor.sign_in(&world.member.email, "t*c9ma").await.status == 503 {}
                visitor.get("/new-password").await;
                ready.wait().await;
                let twice = [("new_password", new.as_str()), ("new_password_again", &new)];
                let chosen = visitor.post("/new-password", &twice).await;
                chosen.headers.get("location").is_some_and(|to| to == "/me?said=password")
            }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
        assert_eq!(world.account(&world.member).await.generation, 3, "one reset and one choice");
    }

    async fn of_many_uses_of_one_answer_of_a_passkey_exactly_one_signs_in(db: Db) {
        let mut config = world::config();
        config.server.public_url = "http://localhost:7080".to_owned();
        let world = Arc::new(World::start_with(db, config).await);
        let mut key = Authenticator::new("http://localhost:7080");
        {
            let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
            visitor.get("/me/security").await;
            let csrf = visitor.csrf();
            let options = visitor.post("/me/security/passkeys/begin", &[]).await;
            let answer = key.register(&options.text);
            let fields = [("csrf", csrf.as_str()), ("name", "Key"), ("answer", &answer)];
            assert_eq!(visitor.post_as_is("/me/security/passkeys", &fields).await.status, 200);
        }
        // As the second factor of one session, and alone in a browser without any.
        for alone in [false, true] {
            let mut visitor = Visitor::new(&world);
            let (cookie, begin, finish) = if alone {
                visitor.get("/").await;
                ("mailward-form", "/sign-in/passkey/begin", "/sign-in/passkey")
            } else {
                assert_eq!(visitor.sign_in(&world.member.email, PASSWORD).await.headers["location"], "/second-factor");
                visitor.get("/second-factor").await;
                ("mailward", "/second-factor/passkey/begin", "/second-factor/passkey")
            };
            let csrf = visitor.csrf();
            let options = visitor.post(begin, &[]).await;
            let answer = key.prove(&options.ok().text);
            let cookie = format!("{cookie}={}", visitor.cookie(cookie).expect("a cookie"));
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("csrf", csrf.as_str()), ("answer", answer.as_str()), ("next", "")])
                .finish();
            let answers = at_once(MANY, |_| {
                let (world, cookie, body) = (Arc::clone(&world), cookie.clone(), body.clone());
                let headers = [("content-type", "application/x-www-form-urlencoded"), ("user-agent", "Visitor/1.0")];
                async move {
                    let mut all = headers.to_vec();
                    all.push(("cookie", cookie.as_str()));
                    world.send("POST", finish, &all, body).await
                }
            })
            .await;
            let mut signed_in = 0;
            for answer in &answers {
                let set = answer.headers.get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
                let Some(session) = set.filter_map(|set| set.strip_prefix("mailward=")).find(|set| !set.contains("Max-Age=0")) else {
                    // 403: the session of the form had been replaced by then.
                    assert!(matches!(answer.status.as_u16(), 303 | 400 | 401 | 403 | 503), "{} {}", answer.status, answer.text);
                    continue;
                };
                let cookie = format!("mailward={}", session.split(';').next().expect("a value"));
                let page = world.send("GET", "/me", &[("cookie", cookie.as_str())], String::new()).await;
                signed_in += usize::from(page.status == 200);
            }
            assert_eq!(signed_in, 1, "alone: {alone}");
        }
    }

    async fn of_many_exchanges_of_one_code_one_gets_tokens_and_the_others_revoke_them(db: Db) {
        let world = Arc::new(World::start(db).await);
        let client = world::client(&world, ClientKind::SelfClient).await;
        let code = code(&world, &client.0).await.expect("a code");
        let answers = at_once(MANY, |_| exchange(Arc::clone(&world), client.clone(), "code", code.clone())).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| given(answer, "access_token").is_some());
        assert_eq!(won.len(), 1);
        let presented_again = lost.iter().filter(|answer| answer.status == 200).count();
        assert!(presented_again > 0, "a busy database turned all others away");
        for answer in &lost {
            assert!(answer.status == 503 || answer.text == r#"{"error":"invalid_code"}"#, "{}", answer.text);
        }
        // Somebody else has the code, so nobody may keep what it gave.
        let access = given(&won[0], "access_token").expect("a token");
        world.get(&access, "/api/accounts").await.refused(401, "INVALID_OAUTHTOKEN");
        let refresh = given(&won[0], "refresh_token").expect("a token");
        let again = exchange(Arc::clone(&world), client, "refresh_token", refresh).await;
        assert_eq!(again.text, r#"{"error":"invalid_code"}"#);
    }

    async fn of_many_creations_of_one_address_exactly_one_wins(db: Db) {
        let world = Arc::new(World::start(db).await);
        let path = format!("/api/organization/{}/accounts", world.zoid);
        let answers = at_once(MANY, |number| {
            let (world, path) = (Arc::clone(&world), path.clone());
            let body = json!({"primaryEmailAddress": format!("new@{}", world.domain), "password": PASSWORD, "displayName": format!("New {number}")});
            async move { world.with_body("POST", &world.owner.org_token, &path, body).await }
        })
        .await;
        assert_eq!(count(&answers, 201, (400, "EMAILADDRESS_ALREADY_EXISTS")), 1);
        let listed = world.get(&world.owner.org_token, &format!("{path}?limit=200")).await;
        assert_eq!(listed.ok().json()["data"].as_array().map(Vec::len), Some(5));
        let entries = audit_entries(&world, "createUser", None).await;
        assert_eq!(entries.len(), 5, "one each");
    }

    async fn many_creations_at_once_are_counted_and_listed_once_each(db: Db) {
        let world = Arc::new(World::start(db).await);
        let path = format!("/api/organization/{}/accounts", world.zoid);
        let answers = at_once(MANY, |number| {
            let (world, path) = (Arc::clone(&world), path.clone());
            let body = json!({"primaryEmailAddress": format!("new-{number}@{}", world.domain), "password": PASSWORD});
            async move {
                // A client does as it is told: it comes back later.
                for _ in 0..50 {
                    let answer = world.with_body("POST", &world.owner.org_token, &path, body.clone()).await;
                    if answer.status != 503 {
                        return answer;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                panic!("the database is busy for ever");
            }
        })
        .await;
        assert_eq!(count(&answers, 201, (0, "")), MANY);
        let mut tx = world.app.db.snapshot().await.expect("a snapshot");
        let listed = page(&mut tx, world.zoid, 0, 1_000).await.expect("a page");
        let zuids: BTreeSet<_> = listed.iter().map(|listed| listed.account.user.get()).collect();
        assert_eq!((listed.len(), zuids.len()), (MANY + 4, MANY + 4));
        drop(tx);
        let counted = world.get(&world.owner.org_token, &format!("/api/organization/{}", world.zoid)).await;
        assert_eq!(counted.ok().json()["data"]["usersCount"], MANY + 4);
    }

    async fn many_disables_and_enables_leave_one_story(db: Db) {
        let world = Arc::new(World::start(db).await);
        let answers = at_once(MANY, |number| {
            let world = Arc::clone(&world);
            let mode = if number % 2 == 0 { "disableUser" } else { "enableUser" };
            async move { (mode, world.mode(&world.admin, &world.member, mode, json!({})).await) }
        })
        .await;
        let made = |mode| answers.iter().filter(|(asked, answer)| *asked == mode && answer.change().is_some()).count();
        for (_, answer) in &answers {
            assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.text);
        }
        let (disables, enables) = (made("disableUser"), made("enableUser"));
        let disabled = world.account(&world.member).await.switches.user_disabled.is_some();
        assert_eq!(disables, enables + usize::from(disabled), "they alternate");
        assert_eq!(audit_entries(&world, "disableUser", Some(&world.member)).await.len(), disables);
        assert_eq!(audit_entries(&world, "enableUser", Some(&world.member)).await.len(), enables);
        // Ids rise in the order in which they were asked for, not in that of the commits; versions do.
        assert_eq!(world.account(&world.member).await.version, 1 + i64::try_from(disables + enables).expect("a few"));
        assert_eq!(world.account(&world.member).await.session_epoch, 1 + i64::try_from(disables).expect("a few"));
    }

    async fn parallel_refreshes_do_not_outrun_their_limits(db: Db) {
        let world = Arc::new(World::start(db).await);
        let client = world::client(&world, ClientKind::SelfClient).await;
        let code = code(&world, &client.0).await.expect("a code");
        let first = exchange(Arc::clone(&world), client.clone(), "code", code).await;
        let refresh = given(&first, "refresh_token").expect("a refresh token");
        let mut all = vec![given(&first, "access_token").expect("an access token")];
        for _ in 0..2 {
            world.app.clock.advance(11 * MINUTE);
            let answers = at_once(MANY, |_| exchange(Arc::clone(&world), client.clone(), "refresh_token", refresh.clone())).await;
            denied(&answers);
            let mut minted: Vec<_> = answers.iter().filter_map(|answer| given(answer, "access_token")).collect();
            assert!(minted.len() <= 10, "{} access tokens in ten minutes", minted.len());
            while minted.len() < 10 {
                // Some were turned away by a busy database: the limit is still exactly ten.
                let one = exchange(Arc::clone(&world), client.clone(), "refresh_token", refresh.clone()).await;
                minted.push(given(&one, "access_token").expect("not yet ten"));
            }
            let eleventh = exchange(Arc::clone(&world), client.clone(), "refresh_token", refresh.clone()).await;
            assert_eq!(eleventh.status, 400, "{}", eleventh.text);
            all.extend(minted);
        }
        assert_eq!((all.len(), living(&world, &all).await), (21, 15), "one more than fifteen evicts the oldest");
    }

    async fn parallel_exchanges_leave_twenty_refresh_tokens(db: Db) {
        let world = Arc::new(World::start(db).await);
        let client = world::client(&world, ClientKind::SelfClient).await;
        let mut codes = Vec::new();
        for _ in 0..3 {
            let made = at_once(MANY, |_| {
                let (world, client) = (Arc::clone(&world), client.0.clone());
                async move { code(&world, &client).await }
            })
            .await;
            let mut made: Vec<_> = made
                .into_iter()
                .filter_map(|outcome| match outcome {
                    Ok(code) => Some(code),
                    Err(Error::TooMany { .. } | Error::Unavailable { .. }) => None,
                    Err(other) => panic!("{other}"),
                })
                .collect();
            assert!(made.len() <= 10, "{} codes in ten minutes", made.len());
            while made.len() < 10 {
                made.push(code(&world, &client.0).await.expect("not yet ten"));
            }
            assert!(matches!(code(&world, &client.0).await, Err(Error::TooMany { .. })));
            codes.extend(made);
            world.app.clock.advance(11 * MINUTE);
        }
        let answers = at_once(codes.len(), |number| {
            let (world, client, code) = (Arc::clone(&world), client.clone(), codes[number].clone());
            async move {
                loop {
                    let answer = exchange(Arc::clone(&world), client.clone(), "code", code.clone()).await;
                    if answer.status != 503 {
                        return answer;
                    }
                }
            }
        })
        .await;
        let mut tx = world.app.db.read().await.expect("a connection");
        let mut living = 0;
        for answer in &answers {
            let refresh = given(answer, "refresh_token").expect("a refresh token");
            living += usize::from(tokens::refresh(&mut tx, &fingerprint(&refresh)).await.expect("readable").is_some());
        }
        assert_eq!((answers.len(), living), (30, 20));
    }

    async fn parallel_guesses_do_not_outrun_the_throttle(db: Db) {
        let world = Arc::new(World::start(db).await);
        let answers = at_once(MANY, |number| {
            let world = Arc::clone(&world);
            async move { world.self_password(&world.member.email, &format!("a-guess-{number}"), "something-new-5").await }
        })
        .await;
        let compared = count(&answers, 401, (429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"));
        assert!((1..=10).contains(&compared), "{compared} guesses were compared");
        assert_eq!(counted_tries(&world, &world.member).await, 10, "no more than ten guesses were compared");
        let right = world.self_password(&world.member.email, PASSWORD, "something-new-5").await;
        right.refused(429, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED");
        world.app.clock.advance(14 * MINUTE);
        assert_eq!(world.self_password(&world.member.email, PASSWORD, "something-new-5").await.status, 429);
        world.app.clock.advance(MINUTE);
        world.self_password(&world.member.email, PASSWORD, "something-new-5").await.ok();
    }

    async fn a_right_password_waits_for_nobody_and_counts_for_nothing(db: Db) {
        let world = Arc::new(World::start(db).await);
        let mut password = PASSWORD.to_owned();
        for round in 0..12 {
            let next = format!("round-{round}-of-many");
            world.self_password(&world.member.email, &password, &next).await.ok();
            // Right, but not acceptable: the new one is the old one.
            world.self_password(&world.member.email, &next, &next).await.refused(400, "INVALID_PASSWORD");
            password = next;
        }
    }

    async fn ten_guesses_in_flight_close_the_account_before_they_are_answered(db: Db) {
        let mut config = world::config();
        (config.passwords.memory_kib, config.passwords.passes, config.passwords.threads) = (19_456, 2, 1);
        let world = Arc::new(World::start_with(db, config).await);
        let mut guesses = JoinSet::new();
        for number in 0..10 {
            let world = Arc::clone(&world);
            guesses.spawn(async move { world.self_password(&world.member.email, &format!("a-guess-{number}"), "something-new-5").await });
        }
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let tries = counted_tries(&world, &world.member).await;
            if tries == 10 {
                break;
            }
            assert!(Instant::now() < patience, "{tries} tries are counted");
        }
        assert_eq!(world.self_password(&world.member.email, PASSWORD, "something-new-5").await.status, 429);
        assert!(guesses.join_all().await.iter().all(|answer| answer.status == 401));
    }

    async fn unknown_addresses_get_the_same_answer_in_the_same_time(db: Db) {
        let mut config = world::config();
        (config.passwords.memory_kib, config.passwords.passes) = (19_456, 2);
        let world = World::start_with(db, config).await;
        world.mode(&world.owner, &world.other, "disableUser", json!({})).await.ok();
        world.mode(&world.owner, &world.admin, "resetPassword", json!({"password": "t*c9ma"})).await.ok();
        world.app.clock.advance(4 * DAY);
        let mut quickest = [Duration::MAX; 4];
        let mut answers = BTreeSet::new();
        let alike = |times: &[Duration; 4]| times.iter().all(|time| *time < times.iter().min().copied().unwrap_or_default() * 3 / 2);
        for round in 0.. {
            let tries = [
                (world.member.email.clone(), "not-the-password".to_owned()),
                (format!("nobody-{round}@{}", world.domain), "not-the-password".to_owned()),
                (world.other.email.clone(), PASSWORD.to_owned()), // right, but disabled
                (world.admin.email.clone(), "t*c9ma".to_owned()), // right, but too late
            ];
            for (number, (address, password)) in tries.iter().enumerate() {
                let start = Instant::now();
                let answer = world.self_password(address, password, "something-new-5").await;
                quickest[number] = quickest[number].min(start.elapsed());
                assert_eq!(answer.status, 401);
                answers.insert(answer.text);
            }
            // A busy machine needs more tries; a forgotten hash would stay a twentieth for ever.
            if round >= 5 && alike(&quickest) {
                break;
            }
            assert!(round < 100, "{quickest:?}");
            // So many wrong ones would be refused another way.
            if round % 8 == 7 {
                world.app.clock.advance(16 * MINUTE);
            }
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}
