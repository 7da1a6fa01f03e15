//! A forgotten password, from the recovery address to the new one; and what must not get anybody in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use mailward::app::call::{Context, Door};
use mailward::app::organizations;
use mailward::app::recovery::{self, Purpose};
use mailward::app::worker;
use mailward::clock::{DAY, HOUR, MINUTE, SECOND};
use mailward::config::Config;
use mailward::domain::email_address::DomainName;
use mailward::domain::password::Password;
use mailward::domain::secret::Secret;
use mailward::store::engine::Db;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::factors::set_up;
use crate::support::databases::{TestDb, on_sqlite};
use crate::support::postbox::{Refusals, postbox_that_refuses};
use crate::support::tables::Tables;
use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, Someone, World, config, operator};

const OUTSIDE: &str = "mia@elsewhere.example";
const NEW: &str = "a-better-one-9";

pub async fn with_mail(db: impl Into<Db>) -> (World, Receiver<String>) {
    with_mail_that_refuses(db, Refusals::default()).await
}

async fn with_mail_that_refuses(db: impl Into<Db>, refusals: Refusals) -> (World, Receiver<String>) {
    let (address, mails) = postbox_that_refuses(refusals).await;
    let mut config: Config = config();
    config.mail.notices_smtp = address;
    config.server.public_url = "http://desk.zylker.example:7080".to_owned();
    (World::start_with(db, config).await, mails)
}

/// Every mail that waits to be sent.
pub async fn letters(world: &World, mails: &mut Receiver<String>) -> Vec<String> {
    world.settle().await;
    let mut all = Vec::new();
    while let Ok(mail) = mails.try_recv() {
        all.push(mail.replace("=\n", ""));
    }
    all
}

/// The path of the link in a letter to that address.
pub fn link(letters: &[String], to: &str) -> Option<String> {
    link_at("http://desk.zylker.example:7080", letters, to)
}

/// The same of a service that is known by another URL.
pub fn link_at(url: &str, letters: &[String], to: &str) -> Option<String> {
    let letter =
        letters.iter().find(|mail| mail.contains(&format!("To: {to}")) && mail.contains("/recover/"))?;
    let (_, rest) = letter.split_once(url)?;
    Some(rest.split_whitespace().next()?.to_owned())
}

/// Names and proves a recovery address, and lets it come to serve.
pub async fn prove(world: &World, mails: &mut Receiver<String>, who: &Someone, address: &str) {
    let mut visitor = Visitor::signed_in(world, &who.email, PASSWORD).await;
    visitor.get("/me/recovery").await;
    let asked = visitor.post("/me/recovery", &[("address", address)]).await;
    assert_eq!(asked.headers["location"], "/me/recovery?said=link-sent", "{}", asked.text);
    let link = link(&letters(world, mails).await, address).expect("a letter");
    let mut reader = Visitor::new(world);
    reader.get(&link).await.ok();
    reader.get(&link).await.ok();
    reader.post(&link, &[]).await.ok();
    letters(world, mails).await;
    world.app.clock.advance(7 * DAY);
}

/// Asks as a stranger; answers what the browser sees.
pub async fn ask(world: &World, address: &str) -> String {
    let mut visitor = Visitor::new(world);
    visitor.get("/recover").await;
    let answer = visitor.post("/recover", &[("address", address)]).await;
    assert_eq!(answer.headers["location"], "/recover?said=sent", "{}", answer.text);
    let page = visitor.follow(answer).await;
    page.text.replace(&visitor.csrf(), "")
}

/// Resets somebody's password; answers the change.
async fn reset(world: &World, whose: &Someone, password: &str) -> String {
    let answer = world.mode(&world.owner, whose, "resetPassword", json!({"password": password})).await;
    answer.ok().change().expect("a change")
}

/// Whom mails were written to, until nothing is left to send at that time.
async fn written_to(world: &World, mails: &mut Receiver<String>) -> Vec<String> {
    let to =
        |mail: &String| mail.lines().find_map(|line| line.strip_prefix("To: ")).expect("a reader").to_owned();
    letters(world, mails).await.iter().map(to).collect()
}

/// Of what the person was told in a receipt: the state, and what is said of it.
async fn told(world: &World, change: &str) -> (String, String) {
    let path = format!("/api/organization/{}/changes/{change}", world.zoid);
    let receipt = world.get(&world.owner.org_token, &path).await.ok().json()["data"].clone();
    let parts = receipt["effects"].as_array().expect("effects");
    let part = parts.iter().find(|part| part["effect"] == "tell").expect("a notice");
    let text = |key: &str| part[key].as_str().expect("a text").to_owned();
    (text("state"), text("what"))
}

async fn choose(world: &World, link: &str, code: &str) -> crate::support::world::Answer {
    let mut visitor = Visitor::new(world);
    visitor.get(link).await;
    let fields = [("new_password", NEW), ("new_password_again", NEW), ("code", code)];
    visitor.post(link, &fields).await
}

both_engines! {
    async fn the_running_worker_writes_the_letter(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let worker = tokio::spawn(worker::run(world.app.clone()));
        // Nothing else is to be told anybody.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ask(&world, &world.member.email).await;
        let letter = tokio::time::timeout(Duration::from_secs(60), mails.recv()).await;
        let letter = letter.expect("in time").expect("a letter").replace("=\n", "");
        assert!(link(std::slice::from_ref(&letter), OUTSIDE).is_some(), "{letter}");
        worker.abort();
    }

    async fn the_outside_address_hears_once_of_what_the_own_mailbox_refuses(db: Db) {
        let refusals = Refusals::default();
        let (world, mut mails) = with_mail_that_refuses(db, refusals.clone()).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let own = world.member.email.clone();
        for address in [&own, &world.other.email] {
            refusals.lock().expect("a lock").insert(address.clone(), "550 5.7.1 no mail comes in here");
        }
        let alone = reset(&world, &world.other, "t*c9ma").await;
        assert_eq!(written_to(&world, &mut mails).await, [""; 0]);
        let (state, what) = told(&world, &alone).await;
        assert!(state == "not configured" && what.starts_with("not told, refused in the own"), "{state}: {what}");

        let change = reset(&world, &world.member, "t*c9ma").await;
        assert_eq!(written_to(&world, &mut mails).await, [OUTSIDE]);
        let (state, what) = told(&world, &change).await;
        let words = format!("told at the recovery address, refused in the own mailbox {own}: ");
        assert!(state == "applied" && what.starts_with(&words) && what.contains("550"), "{state}: {what}");
        refusals.lock().expect("a lock").clear();
        for _ in 0..3 {
            world.app.clock.advance(DAY);
            assert_eq!(written_to(&world, &mut mails).await, [""; 0], "what was refused for good is over");
        }
    }

    async fn what_was_told_at_one_place_waits_for_the_other_alone(db: Db) {
        let refusals = Refusals::default();
        let (world, mut mails) = with_mail_that_refuses(db, refusals.clone()).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let own = world.member.email.clone();
        for (first, second, password, so_far) in [
            (OUTSIDE, own.as_str(), "t*c9ma-1", "told at the recovery address, not in the own mailbox"),
            (own.as_str(), OUTSIDE, "t*c9ma-2", "told in the own mailbox"),
        ] {
            refusals.lock().expect("a lock").insert(second.to_owned(), "450 4.2.0 later");
            let change = reset(&world, &world.member, password).await;
            assert_eq!(written_to(&world, &mut mails).await, [first]);
            for _ in 0..3 {
                world.app.clock.advance(HOUR);
                assert_eq!(written_to(&world, &mut mails).await, [""; 0]);
            }
            let (state, what) = told(&world, &change).await;
            assert!(state == "pending" && what.starts_with(so_far) && what.contains("450"), "{state}: {what}");
            refusals.lock().expect("a lock").clear();
            world.app.clock.advance(HOUR);
            assert_eq!(written_to(&world, &mut mails).await, [second]);
            let (state, what) = told(&world, &change).await;
            assert_eq!((state.as_str(), what), ("applied", format!("told in the own mailbox {own} and at the recovery address")));
            world.app.clock.advance(DAY);
            assert_eq!(written_to(&world, &mut mails).await, [""; 0]);
        }
        // What nobody takes for three days ends with what was told.
        refusals.lock().expect("a lock").insert(own.clone(), "450 4.2.0 later");
        let change = reset(&world, &world.member, "t*c9ma-3").await;
        assert_eq!(written_to(&world, &mut mails).await, [OUTSIDE]);
        world.app.clock.advance(3 * DAY + MINUTE);
        assert_eq!(written_to(&world, &mut mails).await, [""; 0]);
        let (state, what) = told(&world, &change).await;
        assert!(state == "applied" && what.ends_with("; given up after 3 days"), "{state}: {what}");
    }

    async fn the_password_that_there_is_is_not_taken_again(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let mut visitor = Visitor::new(&world);
        visitor.get(&path).await;
        let same = visitor.post(&path, &[("new_password", PASSWORD), ("new_password_again", PASSWORD)]).await;
        assert!(same.status.is_client_error() && same.text.contains("is the old one"), "{}", same.text);
        assert_eq!(choose(&world, &path, "").await.headers["location"], "/?said=recovered", "the link is not spent");
    }

    async fn whoever_reads_the_letter_does_not_find_the_password_out_by_trying(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let mut owner = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        set_up(&world, &mut owner).await;
        letters(&world, &mut mails).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let mut reader = Visitor::new(&world);
        reader.get(&path).await;
        for number in 0..world.app.config.throttle.wrong_per_account {
            let guess = format!("a-guess-of-mine-{number}");
            let asked = reader.post(&path, &[("new_password", &guess), ("new_password_again", &guess)]).await;
            assert_eq!(asked.status, StatusCode::FORBIDDEN, "{}", asked.text);
        }
        let right = reader.post(&path, &[("new_password", PASSWORD), ("new_password_again", PASSWORD)]).await;
        assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "{}", right.text);
    }

    async fn a_forgotten_password_is_replaced_by_a_link_once(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let mut signed_in = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        for _ in 0..3 {
            let seen = world.send("GET", &path, &[], "").await;
            assert_eq!(seen.status, StatusCode::OK, "a scanner that looks spends nothing");
            world.send("HEAD", &path, &[], "").await;
        }
        let done = choose(&world, &path, "").await;
        assert_eq!(done.headers["location"], "/?said=recovered", "{}", done.text);
        assert!(done.headers.get_all("set-cookie").iter().all(|set| !set.to_str().unwrap().starts_with("mailward=")));
        assert_eq!(signed_in.get("/me").await.status, StatusCode::SEE_OTHER, "everything else ended");
        Visitor::signed_in(&world, &world.member.email, NEW).await;
        assert_eq!(Visitor::new(&world).sign_in(&world.member.email, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
        let told = letters(&world, &mut mails).await;
        assert!(told.iter().any(|mail| mail.contains(&format!("To: {}", world.member.email)) && mail.contains("was replaced")), "{told:?}");
        assert!(choose(&world, &path, "").await.status.is_client_error(), "a link works once");
        assert_eq!(world.send("GET", &path, &[], "").await.status, StatusCode::NOT_FOUND);
    }

    async fn known_and_unknown_addresses_are_answered_alike(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let known = ask(&world, &world.member.email).await;
        for other in [world.other.email.as_str(), world.owner.email.as_str(), "nobody@zylker.example", "somebody@elsewhere.example"] {
            assert_eq!(ask(&world, other).await, known, "{other}");
        }
        let sent = letters(&world, &mut mails).await;
        assert_eq!(sent.len(), 1, "{sent:?}");
    }

    async fn a_link_is_over_after_fifteen_minutes_and_after_any_change_of_the_password(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        world.app.clock.advance(15 * MINUTE);
        assert!(choose(&world, &path, "").await.status.is_client_error());

        ask(&world, &world.member.email).await;
        let first = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        world.app.clock.advance(MINUTE);
        ask(&world, &world.member.email).await;
        let second = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        assert!(choose(&world, &first, "").await.status.is_client_error(), "a newer link takes its place");

        let keep = json!({"password": "permanent-one-7", "oneTimePassword": false, "resetAuthToken": false});
        world.mode(&world.owner, &world.member, "resetPassword", keep).await.ok();
        assert!(choose(&world, &second, "").await.status.is_client_error(), "the password is another one");
        world.app.clock.advance(3600 * SECOND);
        ask(&world, &world.member.email).await;
        let third = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        assert!(choose(&world, &third, "").await.status.is_client_error());
        ask(&world, &world.member.email).await;
        let sent = letters(&world, &mut mails).await;
        assert_eq!(link(&sent, OUTSIDE), None, "a one-time password that waits is not got round");
    }

    async fn a_letter_that_nobody_was_there_to_send_is_not_sent_days_later(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        ask(&world, &world.member.email).await;
        recovery::take_up(&world.app).await.expect("looked at");
        world.app.clock.advance(2 * DAY);
        assert_eq!(link(&letters(&world, &mut mails).await, OUTSIDE), None, "a link lasts 15 minutes from the asking");
    }

    async fn a_letter_that_waits_is_not_sent_when_the_account_was_taken_back_meanwhile(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        // Whoever has the account now wants a way back into it.
        let mut thief = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        thief.get("/me/recovery").await;
        thief.post("/me/recovery", &[("address", OUTSIDE)]).await;
        world.app.clock.advance(SECOND);
        let path = format!("{}/compromised", world.path(&world.member));
        world.with_body("POST", &world.admin.org_token, &path, json!({})).await.ok();
        assert_eq!(link(&letters(&world, &mut mails).await, OUTSIDE), None);
    }

    async fn a_domain_that_nobody_proved_is_open_to_recovery_addresses(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        let (zoid, _) = crate::support::world::organization(&world.app, "Other", "other.example").await;
        let outside = DomainName::parse("elsewhere.example").expect("a name");
        organizations::add_domain(&world.app, &operator(), zoid, &outside).await.expect("said to be theirs");
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
    }

    async fn of_a_hundred_uses_of_a_link_one_works(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let secret = Secret::new(path.rsplit('/').next().expect("a secret"));
        let mut uses = JoinSet::new();
        for number in 0..100 {
            let (app, secret) = (world.app.clone(), secret.clone());
            uses.spawn(async move {
                let new = Password::prepare(&format!("parallel-{number}-x9")).expect("a password");
                let context = Context::unsigned(Door::Console, format!("use {number}"), None);
                recovery::recover(&app, &context, &secret, &new, None).await.is_ok()
            });
        }
        assert_eq!(uses.join_all().await.into_iter().filter(|worked| *worked).count(), 1);
    }

    async fn recovery_lifts_no_block_and_serves_no_administrator(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        prove(&world, &mut mails, &world.admin, "admin@elsewhere.example").await;
        prove(&world, &mut mails, &world.other, "otto@elsewhere.example").await;
        ask(&world, &world.admin.email).await;
        assert_eq!(link(&letters(&world, &mut mails).await, "admin@elsewhere.example"), None);

        world.mode(&world.admin, &world.member, "disableMailAccount", json!({})).await.ok();
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        assert_eq!(choose(&world, &path, "").await.status, StatusCode::SEE_OTHER);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some(), "the block stays");

        ask(&world, &world.other.email).await;
        let path = link(&letters(&world, &mut mails).await, "otto@elsewhere.example").expect("a letter");
        world.mode(&world.admin, &world.other, "disableUser", json!({})).await.ok();
        assert!(choose(&world, &path, "").await.status.is_client_error());
        ask(&world, &world.other.email).await;
        assert_eq!(link(&letters(&world, &mut mails).await, "otto@elsewhere.example"), None, "who is disabled gets no link");
        assert!(world.account(&world.other).await.switches.user_disabled.is_some());
        organizations::switch(&world.app, &operator(), world.zoid, true).await.expect("off");
        ask(&world, &world.member.email).await;
        assert_eq!(link(&letters(&world, &mut mails).await, OUTSIDE), None);
    }

    async fn recovery_does_not_skip_the_second_factor(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let telephone = set_up(&world, &mut visitor).await;
        letters(&world, &mut mails).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        assert_eq!(choose(&world, &path, "").await.status, StatusCode::FORBIDDEN);
        assert_eq!(choose(&world, &path, "000000").await.status, StatusCode::BAD_REQUEST);
        world.app.clock.advance(30 * SECOND);
        assert_eq!(choose(&world, &path, &telephone.code(&world)).await.status, StatusCode::SEE_OTHER);
        let mut again = Visitor::new(&world);
        assert_eq!(again.sign_in(&world.member.email, NEW).await.headers["location"], "/second-factor");
    }

    async fn a_new_recovery_address_waits_and_the_old_one_is_told(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/recovery").await;
        let own = visitor.post("/me/recovery", &[("address", "mia2@zylker.example")]).await;
        assert_eq!(own.status, StatusCode::BAD_REQUEST, "not an address of this installation");
        assert!(own.text.contains(r#"value="mia2@zylker.example""#));
        visitor.post("/me/recovery", &[("address", "thief@elsewhere.example")]).await;
        let path = link(&letters(&world, &mut mails).await, "thief@elsewhere.example").expect("a letter");
        ask(&world, &world.member.email).await;
        assert!(link(&letters(&world, &mut mails).await, OUTSIDE).is_some(), "until it is proved the old one serves");
        let mut reader = Visitor::new(&world);
        reader.get(&path).await.ok();
        reader.post(&path, &[]).await.ok();
        let told = letters(&world, &mut mails).await;
        assert!(told.iter().any(|mail| mail.contains(&format!("To: {OUTSIDE}")) && mail.contains("any more")), "{told:?}");
        assert!(told.iter().any(|mail| mail.contains(&format!("To: {}", world.member.email))), "{told:?}");
        reader.get("/recover").await;
        let over = reader.post(&path, &[]).await;
        assert_eq!(over.status, StatusCode::NOT_FOUND, "the link works once");
        assert!(over.text.contains(r#"href="/me/recovery""#), "where there is another one: {}", over.text);

        world.app.clock.advance(7 * DAY - SECOND);
        ask(&world, &world.member.email).await;
        let early = letters(&world, &mut mails).await;
        assert!(early.iter().all(|mail| !mail.contains("/recover/password/")), "{early:?}");
        world.app.clock.advance(SECOND);
        ask(&world, &world.member.email).await;
        assert!(link(&letters(&world, &mut mails).await, "thief@elsewhere.example").is_some());

        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/recovery").await;
        visitor.post("/me/recovery/remove", &[]).await;
        let told = letters(&world, &mut mails).await;
        assert!(told.iter().any(|mail| mail.contains("To: thief@elsewhere.example")), "{told:?}");
        world.app.clock.advance(3600 * SECOND);
        ask(&world, &world.member.email).await;
        assert!(letters(&world, &mut mails).await.is_empty());
    }

    async fn the_secret_of_a_link_stands_nowhere_in_the_database(test: TestDb) {
        let (world, mut mails) = with_mail(test.clone()).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        ask(&world, &world.member.email).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let secret = path.rsplit('/').next().expect("a secret").to_owned();
        assert_eq!(secret.len(), 64);
        let contents = format!("{:?}", Tables::of(&test).await.without(&[]).await);
        assert!(contents.contains(OUTSIDE), "the tables are read");
        assert!(!contents.contains(&secret));
        let found = recovery::look(&world.app, Purpose::Password, &Secret::new(secret)).await.expect("readable");
        assert!(found.is_some());
    }

    async fn two_addresses_in_one_form_send_no_link_to_the_second(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        let mut visitor = Visitor::new(&world);
        let evil = "thief@evil.example";
        let own = world.member.email.as_str();
        for fields in [
            [("address", own), ("address", evil)],
            [("address[]", own), ("address[]", evil)],
            [("address", own), ("to", evil)],
        ] {
            visitor.get("/recover").await;
            visitor.post("/recover", &fields).await;
        }
        for both in [format!("{own},{evil}"), format!("{own} {evil}"), format!("{own}\r\nBcc: {evil}")] {
            visitor.get("/recover").await;
            let refused = visitor.post("/recover", &[("address", &both)]).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{both}");
        }
        let sent = letters(&world, &mut mails).await;
        assert!(link(&sent, OUTSIDE).is_some(), "{sent:?}");
        assert!(sent.iter().all(|letter| !letter.contains("evil")), "{sent:?}");
    }

    async fn a_link_serves_its_purpose_its_person_and_its_address_alone(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        prove(&world, &mut mails, &world.other, "otto@elsewhere.example").await;
        ask(&world, &world.member.email).await;
        let password = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let mut visitor = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        visitor.get("/me/recovery").await;
        visitor.post("/me/recovery", &[("address", "new@elsewhere.example")]).await;
        let address = link(&letters(&world, &mut mails).await, "new@elsewhere.example").expect("a letter");
        let secret = |path: &str| Secret::new(path.rsplit('/').next().expect("a secret"));
        let (password, address) = (secret(&password), secret(&address));
        let found = async |purpose, secret| recovery::look(&world.app, purpose, secret).await.expect("readable");
        assert!(found(Purpose::Address, &password).await.is_none() && found(Purpose::Password, &address).await.is_none());
        let (link, account) = found(Purpose::Password, &password).await.expect("good for its own");
        assert_eq!((account.user.get(), link.address.as_str()), (world.member.zuid, OUTSIDE));
        let (_, account) = found(Purpose::Address, &address).await.expect("good for its own");
        assert_eq!(account.user.get(), world.other.zuid);
        // Whose address it was mailed to is no longer the one that serves.
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/recovery").await;
        visitor.post("/me/recovery/remove", &[]).await;
        assert!(found(Purpose::Password, &password).await.is_none());
    }

    async fn of_a_hundred_proofs_of_one_address_one_counts(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        visitor.get("/me/recovery").await;
        visitor.post("/me/recovery", &[("address", OUTSIDE)]).await;
        let path = link(&letters(&world, &mut mails).await, OUTSIDE).expect("a letter");
        let secret = Secret::new(path.rsplit('/').next().expect("a secret"));
        let mut proofs = JoinSet::new();
        for number in 0..100 {
            let (app, secret) = (world.app.clone(), secret.clone());
            proofs.spawn(async move {
                let context = Context::unsigned(Door::Console, format!("proof {number}"), None);
                recovery::prove_address(&app, &context, &secret).await.is_ok()
            });
        }
        assert_eq!(proofs.join_all().await.into_iter().filter(|counted| *counted).count(), 1);
        let told = letters(&world, &mut mails).await;
        assert_eq!(told.iter().filter(|letter| letter.contains(&format!("To: {}", world.member.email))).count(), 1);
    }

    async fn nobody_is_flooded_with_letters(db: Db) {
        let (world, mut mails) = with_mail(db).await;
        prove(&world, &mut mails, &world.member, OUTSIDE).await;
        for _ in 0..10 {
            ask(&world, &world.member.email).await;
            ask(&world, &world.member.email.to_uppercase()).await;
        }
        assert_eq!(letters(&world, &mut mails).await.len(), 3);
    }
}

/// Worlds of one seed, told from each other by what the requests say of their host.
#[test]
fn hostile_headers_change_no_letter() {
    const EVIL: &str = "evil.example";
    let all = [
        ("host", EVIL),
        ("x-forwarded-host", EVIL),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-host", EVIL),
        ("x-original-url", "https://evil.example/recover"),
        ("x-host", EVIL),
        ("x-forwarded-server", EVIL),
        ("referer", "https://evil.example/"),
    ];
    // None, each alone, and all at once.
    let mut sets = vec![&[][..]];
    sets.extend(all.chunks(1));
    sets.push(&all[..]);
    assert_eq!(sets.len(), 13);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for headers in sets {
        on_sqlite(mailward::store::migrations::STEPS, async |test| {
            let (world, mut mails) = with_mail(test).await;
            prove(&world, &mut mails, &world.member, OUTSIDE).await;
            let mut visitor = Visitor::new(&world);
            visitor.headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            visitor.get("/recover").await;
            let asked = visitor.post("/recover", &[("address", &world.member.email)]).await;
            assert_eq!(asked.headers["location"], "/recover?said=sent");
            let sent = letters(&world, &mut mails).await;
            let path = link(&sent, OUTSIDE).expect("a letter");
            let secret = path.rsplit('/').next().expect("a secret");
            let of_the_moment = |line: &&str| line.starts_with("Date:") || line.starts_with("Message-ID:");
            let letter = sent[0].replace(secret, "SECRET");
            let lines: Vec<&str> = letter.lines().filter(|line| !of_the_moment(line)).collect();
            seen.lock().expect("no panic").push(lines.join("\n"));
        });
    }
    let seen = seen.lock().expect("no panic");
    for letter in seen.iter() {
        assert_eq!(*letter, seen[0]);
    }
    assert!(!seen[0].contains("evil") && seen[0].contains("SECRET"), "{}", seen[0]);
}
