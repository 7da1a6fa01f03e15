//! App passwords through the API, ends of terms, whole organizations and domains, and what people
//! are told.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mailward::app::organizations::{self, DomainChange};
use mailward::app::tidy;
use mailward::domain::email_address::DomainName;
use mailward::mailserver::private::Ports;
use mailward::store;
use mailward::store::engine::params;
use mailward::store::outbox::Origin;
use serde_json::json;

use super::{
    DISABLED, MailWorld, NEW, ONE_TIME, SOON, WRONG, both_contracts, mbox, open_account, shut, told,
};
use crate::support::world::{PASSWORD, Someone, operator};

both_contracts! {
    fn app_passwords_open_their_protocols_and_end_alone(mail: MailWorld) {
        let pat = mail.someone("pat");
        let address = pat.email.as_str();
        let [reader, printer, phone, laptop] = [
            json!({"name": "Reader", "protocols": ["imap"]}),
            json!({"name": "Printer", "protocols": ["smtp"]}),
            json!({"name": "Telephone"}),
            json!({"name": "Laptop", "protocols": ["imap", "pop", "smtp"], "expiresInDays": 30}),
        ]
        .map(|body| mail.app_password(&pat, body));
        for (app, expected) in [
            (&reader, [true, false, false]),
            (&printer, [false, false, true]),
            (&phone, [true; 3]),
            (&laptop, [true; 3]),
        ] {
            assert_eq!(mail.opens(address, &app.password), expected, "{}", app.id);
            assert!(app.password.len() >= 16, "at least 80 random bits");
        }
        let path = format!("/api/accounts/{}/appPasswords", pat.account_id);
        let listed = mail.block(mail.world().get(&pat.user_token, &path));
        assert_eq!(listed.ok().json()["data"].as_array().map(Vec::len), Some(4));
        assert!(!listed.text.contains(&phone.password), "shown once only");

        // Revoking one ends its sessions and no other.
        let mut phone_imap = mail.imap(address, &phone.password);
        let mut phone_pop = mail.pop3(address, &phone.password);
        let mut phone_smtp = mail.submission(address, &phone.password);
        let [mut laptop_imap, mut main] = [&laptop.password, PASSWORD].map(|p| mail.imap(address, p));
        let mut laptop_smtp = mail.submission(address, &laptop.password);
        let answer = mail.revoke(&pat, &phone.id);
        assert!(phone_imap.until_closed(SOON).is_some() && phone_pop.until_closed(SOON).is_some());
        assert!(phone_smtp.rcpt(address, address).starts_with("421 4.7.0"));
        assert!(laptop_smtp.rcpt(address, address).starts_with("250"));
        assert_eq!(mail.logins(address, &phone.password), WRONG);
        assert!(laptop_imap.is_open() && main.is_open());
        let receipt = mail.receipt(&answer.change().expect("a change"));
        let ended = receipt["effects"].as_array().expect("effects").iter().find(|e| e["effect"] == "end_sessions");
        assert_eq!(ended.expect("it is there")["sessionsEnded"], 2, "{receipt:#}");

        // Suspended by a disable, back after it.
        mail.mode(&pat, "disableUser", json!({}));
        assert_eq!(mail.logins(address, &laptop.password), told(DISABLED));
        assert!(laptop_imap.until_closed(SOON).is_some());
        mail.mode(&pat, "enableUser", json!({}));
        assert_eq!(mail.opens(address, &laptop.password), [true; 3]);

        // Kept by a reset that says so, sessions and all; deleted by any other.
        let mut kept = mail.imap(address, &laptop.password);
        let body = json!({"password": NEW, "oneTimePassword": false, "keepAppPasswords": true});
        mail.mode(&pat, "resetPassword", body);
        assert_eq!(mail.opens(address, &laptop.password), [true; 3]);
        assert_eq!(mail.opens(address, PASSWORD), [false; 3]);
        assert!(kept.is_open());
        // A one-time password shuts the main one alone.
        let mut sending = mail.submission(address, &laptop.password);
        mail.mode(&pat, "resetPassword", json!({"password": "t*c9ma", "keepAppPasswords": true}));
        assert_eq!(mail.logins(address, "t*c9ma"), told(ONE_TIME));
        assert_eq!(mail.opens(address, &laptop.password), [true; 3]);
        assert!(kept.is_open() && sending.rcpt(address, address).starts_with("250"));
        mail.mode(&pat, "disableUser", json!({}));
        assert_eq!(mail.logins(address, &laptop.password), told(DISABLED), "what shuts the account shuts all");
        mail.mode(&pat, "enableUser", json!({}));
        let mut kept = mail.imap(address, &laptop.password);
        mail.reset(&pat, "a-third-horse-9");
        assert_eq!(mail.logins(address, &laptop.password), WRONG);
        assert!(kept.until_closed(SOON).is_some());
        let listed = mail.block(mail.world().get(&pat.user_token, &path));
        assert_ne!(listed.status.as_u16(), 200, "the person's tokens ended, too");
    }

    fn passwords_whose_time_has_ended_open_nothing_and_their_sessions_end(mail: MailWorld) {
        let world = mail.world();
        mail.block(organizations::update(&world.app, &operator(), world.zoid, |organization, _| {
            organization.policy.password.one_time_opens_mail = true;
            Ok(())
        }))
        .expect("a policy");
        let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
        let guest = mail.app_password(&pat, json!({"name": "Guest", "expiresInDays": 1}));
        mail.mode(&tom, "resetPassword", json!({"password": "t*c9ma"}));
        assert_eq!(mail.look(&tom.email, "t*c9ma"), open_account(), "this organization lets it open mail");
        let [mut by_guest, mut by_main] =
            [&guest.password, PASSWORD].map(|password| mail.imap(&pat.email, password));
        let mut by_tom = mail.imap(&tom.email, "t*c9ma");
        let mut smtp_by_guest = mail.submission(&pat.email, &guest.password);

        // The clock is the machine's, so the term is moved instead.
        let at = world.app.clock.now() + 2000;
        term(&mail, &pat, "UPDATE app_password SET expires_at = $1 WHERE id = $2", at, &guest.id);
        term(&mail, &tom, "UPDATE person SET password_until = $1 WHERE id = $2", at, &tom.zuid.to_string());
        let start = Instant::now();
        while mail.opens(&pat.email, &guest.password) != [false; 3] {
            assert!(start.elapsed() < SOON, "the look-ups know the time themselves");
            sleep(Duration::from_millis(100));
        }
        assert!(smtp_by_guest.rcpt(&pat.email, &pat.email).starts_with("421 4.7.0"));
        sleep(Duration::from_millis(2000).saturating_sub(start.elapsed()));
        mail.block(tidy::run(&world.app)).expect("it tidies");
        assert!(by_guest.until_closed(SOON).is_some() && by_tom.until_closed(SOON).is_some());
        assert!(by_main.is_open());
        assert_eq!(mail.look(&tom.email, "t*c9ma"), shut(WRONG.map(str::to_owned)));
        assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
        assert!(mail.block(world.account(&pat)).app_passwords.is_empty(), "it is off the list");
        let self_change = mail.block(world.self_password(&tom.email, "t*c9ma", NEW));
        assert_ne!(self_change.status.as_u16(), 200);
        mail.block(tidy::run(&world.app)).expect("twice is harmless");
        mail.reset(&tom, NEW);
        assert_eq!(mail.look(&tom.email, NEW), open_account());
    }

    fn a_domain_leaves_when_nobody_has_an_address_on_it_and_receives_no_more(mail: MailWorld) {
        let world = mail.world();
        let pat = mail.someone("pat");
        let name = DomainName::parse("leaving.example").expect("a domain");
        let at = "pat@leaving.example";
        mail.block(organizations::add_verified_domain(&world.app, &operator(), world.zoid, &name)).expect("added");
        mail.mode(&pat, "addEmailAlias", json!({"emailAlias": [at]}));
        assert!(mail.mail(at, "hello").starts_with("250"));
        let remove = || mail.block(organizations::remove_domain(&world.app, &operator(), world.zoid, &name));
        assert!(remove().expect_err("somebody's").to_string().contains("somebody has an address"));
        assert!(mail.mail(at, "still there").starts_with("250"));
        mail.mode(&pat, "deleteEmailAlias", json!({"emailAlias": [at]}));
        remove().expect("removed");
        let said = mail.mail(at, "too late");
        assert!(said.starts_with('5'), "{said}");
        let primary = DomainName::parse(&world.domain).expect("a domain");
        let kept = mail.block(organizations::remove_domain(&world.app, &operator(), world.zoid, &primary));
        assert!(kept.expect_err("the last one").to_string().contains("primary"));
        assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
    }

    fn an_organization_and_a_domain_are_switched_off_and_come_back_as_they_were(mail: MailWorld) {
        let world = mail.world();
        let (pat, tom) = (mail.someone("pat"), mail.someone("tom"));
        mail.mode(&tom, "disableUser", json!({}));
        let domain = DomainName::parse(&world.domain).expect("a domain");
        let organization =
            |off| mail.block(organizations::switch(&world.app, &operator(), world.zoid, off)).map(drop);
        let domain = |change| {
            mail.block(organizations::change_domain(&world.app, &operator(), world.zoid, &domain, change)).map(drop)
        };
        for (off, on, reason) in [
            (
                &(|| organization(true)) as &dyn Fn() -> mailward::error::Result<()>,
                &(|| organization(false)) as &dyn Fn() -> mailward::error::Result<()>,
                "Mail for this organization is switched off. Contact your administrator.",
            ),
            (
                &|| domain(DomainChange::Disable),
                &|| domain(DomainChange::Enable),
                "Mail for this domain is switched off. Contact your administrator.",
            ),
        ] {
            let (mut imap, mut pop) = (mail.imap(&pat.email, PASSWORD), mail.pop3(&pat.email, PASSWORD));
            let mut smtp = mail.submission(&pat.email, PASSWORD);
            // A session is listed a moment after its login was answered.
            while mail.sessions().len() < 2 {
                sleep(Duration::from_millis(10));
            }
            off().expect("switched off");
            assert_eq!(mail.look(&pat.email, PASSWORD), shut(told(reason)), "and mail still arrives");
            assert_eq!(
                smtp.rcpt(&pat.email, &mail.other),
                format!("550 5.7.1 <{}@g1>: SASL login name rejected: {reason}", mbox(&pat))
            );
            assert!(imap.until_closed(SOON).is_some() && pop.until_closed(SOON).is_some());
            on().expect("switched on");
            assert_eq!(mail.look(&pat.email, PASSWORD), open_account());
            assert_eq!(mail.look(&tom.email, PASSWORD), shut(told(DISABLED)), "as it was");
        }
    }
}

/// Moves the end of a term, as if it had been set so, and shows it to the mail servers.
fn term(mail: &MailWorld, of: &Someone, statement: &'static str, at: i64, id: &str) {
    let (account, zoid, id) =
        (mail.block(mail.world().account(of)), of.zoid, id.parse::<i64>().expect("an id"));
    let app = &mail.world().app;
    let change = mail.block(app.ids.next()).expect("an id");
    let position = app.db.write(async move |tx| {
        tx.execute_one(statement, params![at, id]).await?;
        store::outbox::project(tx, Origin { change, organization: zoid, account: Some(account.id), at })
    });
    let position = mail.block(position).expect("it is stored").get().expect("it is committed");
    assert!(mail.block(app.projector.reach(&app.db, position, &[])));
}

#[test]
fn people_are_told_in_their_own_mailbox() {
    let mail = MailWorld::sqlite_with(|config, Ports { smtp, .. }| {
        config.mail.notices_smtp = format!("127.0.0.1:{smtp}");
    });
    let pat = mail.someone("pat");
    mail.app_password(&pat, json!({"name": "Telephone"}));
    let renamed = mail.mode(&pat, "emailupdate", json!({"emailAddress": "patricia@zylker.example"}));
    let reset = mail.mode(&pat, "resetPassword", json!({"password": "t*c9ma"}));
    assert_eq!(
        mail.delivered(&mbox(&pat), 3),
        ["A new app password was made", "Your address was changed", "Your password was reset"]
    );
    for change in [renamed, reset].map(|answer| answer.change().expect("a change")) {
        let receipt = mail.complete(&change, Duration::from_secs(30));
        let effects = receipt["effects"].as_array().expect("effects");
        let told = effects.iter().find(|effect| effect["effect"] == "tell").expect("somebody was told");
        assert_eq!(told["state"], "applied", "{receipt:#}");
    }
}
