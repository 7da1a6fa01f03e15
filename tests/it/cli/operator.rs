//! What only the operator of the server may do, on both engines.

use std::time::Duration;

use mailward::app::operator::{self, recover_super_admin};
use mailward::app::recovery::RecoveryAddress;
use mailward::app::{backup, open, recovery};
use mailward::error::Error;
use mailward::store::engine::{Db, Options, Tx};
use mailward::store::migrations::STEPS;
use mailward::store::{self, accounts::Handle};

use crate::support::databases::{TestDb, on_postgres, options};
use crate::support::postgres;
use crate::support::world::{START, World, operator as context};

/// With millions of accounts each of these statements takes longer than one may that somebody waits for.
#[test]
fn what_a_restore_does_to_every_account_may_take_long() {
    on_postgres(STEPS, async |test| {
        let world = World::start(test.db.clone()).await;
        let before = operator::user(&world.app, &world.member.email, None).await.expect("a user");
        postgres::connect(&test.url)
            .await
            .batch_execute(
                "CREATE FUNCTION many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
                 CREATE TRIGGER many AFTER UPDATE ON account FOR EACH STATEMENT EXECUTE FUNCTION many()",
            )
            .await
            .expect("a trigger");
        let limit = Duration::from_secs(2);
        let db =
            Db::open(&test.url, &Options { statement_timeout: limit, ..options() }).expect("the URL is good");
        backup::after_pg_restore(&db, &context(), world.app.clock.now()).await.expect("voided");
        let after = operator::user(&world.app, &world.member.email, None).await.expect("a user");
        assert!(after.generation >= before.generation + store::restore::JUMP);
    });
}

both_engines! {
    async fn what_was_given_out_before_a_restore_opens_nothing_after_it(db: TestDb) {
        let world = World::start(db).await;
        let before = operator::user(&world.app, &world.member.email, None).await.expect("a user");
        assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 200);
        let now = world.app.clock.now();
        let (zoid, user) = (before.organization, before.user);
        // Its owner may have taken it away since the copy was made.
        let address = RecoveryAddress { address: "mia@else.example".to_owned(), proved_at: now, serves_from: now };
        let put = async move |tx: &mut Tx| store::recovery::put_address(tx, zoid, user, &address).await;
        world.app.db.write(put).await.expect("a recovery address");
        let outcome = backup::after_pg_restore(&world.app.db, &context(), now).await;
        if open::is_embedded(&world.app.db) {
            assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
            world.app.db.write(async |tx| store::restore::void(tx, START).await).await.expect("voided");
        } else {
            outcome.expect("voided");
            let entries = operator::audit(&world.app, world.zoid, None, 1).await.expect("entries");
            assert_eq!(entries[0].verb, "restore");
        }
        assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 401);
        let after = operator::user(&world.app, &world.member.email, None).await.expect("a user");
        assert!(after.generation >= before.generation + store::restore::JUMP);
        assert!(after.session_epoch >= before.session_epoch + store::restore::JUMP);
        assert_eq!(after.credential, before.credential); // a permanent password stays
        assert_eq!(recovery::address_of(&world.app, &after).await.expect("readable"), None);
    }

    async fn a_user_is_found_by_every_name(db: TestDb) {
        let world = World::start(db).await;
        let member = &world.member;
        for name in [member.email.clone(), member.zuid.to_string(), member.account_id.to_string()] {
            let found = operator::user(&world.app, &name, None).await.expect("a user");
            assert_eq!(found.user.get(), member.zuid);
        }
        let number = (member.zuid + 50_000).to_string();
        assert!(matches!(operator::user(&world.app, &number, None).await, Err(Error::NotFound(_))));
    }

    async fn an_organization_that_nobody_can_administer_is_seen_and_recovered(db: TestDb) {
        let world = World::start(db).await;
        let pulse = operator::pulse(&world.app.db).await.expect("a pulse");
        assert!(pulse.orphans.is_empty() && pulse.backlog.waiting > 0 && !pulse.durability.is_empty());
        let member = operator::user(&world.app, &world.member.email, None).await.expect("a user");
        let refused = recover_super_admin(&world.app, &context(), &member).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");

        let (zoid, owner) = (world.zoid, world.owner.zuid);
        world
            .app
            .db
            .write(async move |tx| {
                let handle = Handle::of(owner).expect("a zuid");
                let before = store::accounts::load(tx, zoid, handle).await?.expect("the owner");
                let mut after = before.clone();
                after.role = mailward::domain::actor::Role::Member;
                store::accounts::save(tx, &before, &after, 0, 0).await
            })
            .await
            .expect("no super administrator is left");
        assert_eq!(operator::pulse(&world.app.db).await.expect("a pulse").orphans, [zoid]);
        recover_super_admin(&world.app, &context(), &member).await.expect("recovered");
        assert!(operator::pulse(&world.app.db).await.expect("a pulse").orphans.is_empty());
    }
}

#[test]
fn a_command_with_a_key_is_carried_out_once() {
    let place = super::Place::initialised();
    let add = ["user", "add", "tom@example.org", "--password-stdin", "--idempotency-key", "k1"];
    let first = place.run_with(&add, "a good long one 77\n").good().out;
    let again = place.run_with(&add, "a good long one 77\n").good().out;
    assert!(again.starts_with("done before with this key"), "{again}");
    let change = first.lines().find_map(|line| line.strip_prefix("change     ")).expect("a change");
    assert!(again.contains(change), "{again}");
    let other = place.run_with(&add, "another good one 77\n").refused(3);
    assert!(other.contains("used for another request"), "{other}");

    let reset = ["user", "reset-password", "tom@example.org", "--idempotency-key", "k2"];
    assert!(place.run(&reset).good().out.contains("one-time password: "));
    let refused = place.run(&reset).refused(3);
    assert!(refused.contains("shown once") && refused.contains("reset the password"), "{refused}");
    place.run(&["user", "list", "--idempotency-key", "two\nlines"]).refused(2);
    let users = place.json(&["user", "list"]);
    assert_eq!(users.as_array().expect("a list").len(), 2);
}

#[test]
fn a_name_that_an_organization_only_claims_can_be_given_to_the_one_that_has_it() {
    let place = super::Place::initialised();
    let squatter = super::text(&place.json(&["org", "add", "Squatter"]), "zoid");
    place.json(&["domain", "add", "famous.example", "--org", &squatter]);
    let owner = super::text(&place.json(&["org", "add", "Owner"]), "zoid");
    let add = ["domain", "add", "famous.example", "--verified", "--org", &owner];
    let why = place.run(&add).refused(3);
    assert!(why.contains(&squatter) && why.contains("mailward domain remove"), "{why}");
    place.run(&["domain", "remove", "famous.example"]).good();
    place.run(&add).good();
    let kept = place.run(&["domain", "remove", "famous.example"]).refused(3);
    assert!(kept.contains("primary domain"), "{kept}");
}

#[test]
fn lost_second_factors_are_shown_and_taken_away() {
    let place = super::Place::initialised();
    let file = place.path("data/mailward.sqlite");
    let enrol =
        "INSERT INTO totp (organization_id, person_id, seed_sealed, confirmed_at, last_step, created_at)
                 SELECT organization_id, id, x'00', 1, 0, 1 FROM person";
    rusqlite::Connection::open(file).expect("a database").execute_batch(enrol).expect("enrolled");
    let look = ["user", "factors", "admin@example.org"];
    let remove = [&look[..], &["--remove", "--reason", "ticket 4711"]].concat();
    assert!(place.run(&look).good().out.contains("authenticator app  in use"));
    let tried = place.run(&[&remove[..], &["--dry-run"]].concat()).good().out;
    assert!(tried.contains("authenticator app"), "{tried}");
    assert!(place.run(&look).good().out.contains("authenticator app  in use"), "a dry run takes nothing");

    place.run(&remove).good();
    assert!(place.run(&look).good().out.contains("authenticator app  none"));
    let entry = place.json(&["audit", "list", "--limit", "1"]).to_string();
    assert!(entry.contains("updateTFAStatus") && entry.contains("ticket 4711"), "{entry}");
    let said = place.run(&remove).good().out;
    assert!(said.contains("nothing to change"), "{said}");
}
