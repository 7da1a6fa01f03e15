//! Renames, aliases, and the term for which a freed address is kept.

use mailward::app::organizations::{self, DomainChange};
use mailward::clock::DAY;
use mailward::domain::actor::Role;
use mailward::domain::email_address::DomainName;
use mailward::domain::policy::SelfRename;
use mailward::store::engine::Db;
use serde_json::json;

use super::{accounts_path, changed, effects, entries, mode_saying, none, policy, shown, unchanged};
use crate::support::world::{Answer, PASSWORD, Someone, World, operator, organization};

async fn rename(world: &World, on: &Someone, to: &str) -> Answer {
    world.mode(&world.admin, on, "emailupdate", json!({"emailAddress": to})).await
}

async fn rename_oneself(world: &World, on: &Someone, to: &str) -> Answer {
    world.own_mode(on, "emailupdate", json!({"emailAddress": to})).await
}

async fn alias(world: &World, by: &Someone, on: &Someone, addresses: &[&str]) -> Answer {
    world.mode(by, on, "addEmailAlias", json!({"emailAlias": addresses})).await
}

async fn no_alias(world: &World, on: &Someone, addresses: &[&str]) -> Answer {
    world.mode(&world.admin, on, "deleteEmailAlias", json!({"emailAlias": addresses})).await
}

async fn addresses(world: &World, of: &Someone) -> (String, Vec<String>) {
    let account = world.account(of).await;
    (account.primary.to_string(), account.aliases.iter().map(ToString::to_string).collect())
}

both_engines! {
    async fn a_rename_keeps_the_old_address_and_the_mailbox(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let (new, newer) = (format!("rebecca@{}", world.domain), format!("becky@{}", world.domain));
        let before = world.account(mia).await;
        let answer = rename(&world, mia, &new.to_uppercase()).await;
        changed(&answer);
        assert_eq!(addresses(&world, mia).await, (new.clone(), vec![mia.email.clone()]));
        let told = json!({"effect": "tell", "notice": {"renamed": {"from": mia.email, "to": new}}});
        assert_eq!(effects(&world, &answer).await, [json!({"effect": "project"}), told]);
        assert_eq!(world.account(mia).await.mailbox, before.mailbox, "renaming moves no mail");
        let listed = shown(&world, mia).await["emailAddress"].clone();
        assert_eq!(listed, json!([
            {"mailId": new, "isPrimary": true, "isAlias": false, "isConfirmed": true},
            {"mailId": mia.email, "isPrimary": false, "isAlias": true, "isConfirmed": true},
        ]));
        unchanged(&rename(&world, mia, &new).await);

        // An own alias swaps; both forms, and the name in the same step.
        changed(&rename_oneself(&world, mia, &mia.email).await);
        assert_eq!(addresses(&world, mia).await, (mia.email.clone(), vec![new.clone()]));
        let both = json!({"displayName": "Becky", "emailAddress": newer});
        changed(&world.own_mode(mia, "displaynameemailupdate", both).await);
        assert_eq!(addresses(&world, mia).await, (newer, vec![mia.email.clone(), new]));
        assert_eq!(shown(&world, mia).await["displayName"], "Becky");
        // All or nothing.
        let both = json!({"displayName": "Nobody", "emailAddress": world.other.email});
        world.own_mode(mia, "displaynameemailupdate", both).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        assert_eq!(shown(&world, mia).await["displayName"], "Becky");
    }

    async fn a_domain_that_is_switched_off_gives_out_no_address_and_nobody_leaves_it_alone(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let [first, second] = [world.domain.as_str(), "second.example"].map(|name| DomainName::parse(name).expect("a domain"));
        organizations::add_verified_domain(&world.app, &operator(), world.zoid, &second).await.expect("added");
        let switch = async |domain: &DomainName, change: DomainChange| {
            organizations::change_domain(&world.app, &operator(), world.zoid, domain, change).await.expect("switched");
        };
        switch(&second, DomainChange::Disable).await;
        let there = "mia@second.example";
        let body = json!({"primaryEmailAddress": "new@second.example", "password": PASSWORD});
        let new = world.with_body("POST", &world.admin.org_token, &accounts_path(&world), body).await;
        for refused in [new, alias(&world, &world.admin, mia, &[there]).await, rename(&world, mia, there).await] {
            assert!(refused.refused(400, "INVALID_EMAILADDRESS").contains("second.example is switched off"));
        }
        switch(&second, DomainChange::Enable).await;
        changed(&alias(&world, &world.admin, mia, &[there]).await);
        // With a primary address there the whole account would be shut.
        switch(&second, DomainChange::Disable).await;
        for refused in [rename(&world, mia, there).await, rename_oneself(&world, mia, there).await] {
            assert!(refused.refused(400, "INVALID_EMAILADDRESS").contains("second.example is switched off"));
        }
        switch(&second, DomainChange::Enable).await;

        // Nobody gets round it by an address elsewhere; an administrator may move somebody.
        switch(&first, DomainChange::Disable).await;
        for to in [there, "another@second.example"] {
            let said = rename_oneself(&world, mia, to).await.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(said.contains(&format!("the domain {first} is switched off")), "{said}");
        }
        changed(&rename(&world, mia, there).await);
        changed(&rename_oneself(&world, mia, "another@second.example").await);
    }

    async fn an_address_that_cannot_be_had_is_refused_with_the_reason(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        organization(&world.app, "Else", "else.example").await;
        let late = DomainName::parse("late.example").expect("a domain");
        organizations::add_domain(&world.app, &operator(), world.zoid, &late).await.expect("added");
        let at = |local: &str| format!("{local}@{}", world.domain);
        changed(&alias(&world, &world.admin, &world.other, &[&at("spare")]).await);
        let before = world.account(mia).await;
        for (address, code, hint) in [
            (world.other.email.clone(), "EMAILADDRESS_ALREADY_EXISTS", "already in use"),
            (at("spare"), "EMAILADDRESS_ALREADY_EXISTS", "already in use"),
            (at("OTTO"), "EMAILADDRESS_ALREADY_EXISTS", "already in use"),
            ("mia@else.example".to_owned(), "INVALID_EMAILADDRESS", "not a domain of this organization"),
            ("mia@nowhere.example".to_owned(), "INVALID_EMAILADDRESS", "not a domain of this organization"),
            ("mia@late.example".to_owned(), "INVALID_EMAILADDRESS", "not verified yet"),
            (at("mia+tag"), "INVALID_EMAILADDRESS", "already reaches"),
            ("mia".to_owned(), "INVALID_EMAILADDRESS", "needs an @"),
            (at("grün"), "INVALID_EMAILADDRESS", ""),
            (at(".mia"), "INVALID_EMAILADDRESS", ""),
            (at("a b"), "INVALID_EMAILADDRESS", ""),
            (at(&"x".repeat(65)), "INVALID_EMAILADDRESS", ""),
            (format!("Mia <{}>", at("new")), "INVALID_EMAILADDRESS", ""),
            (String::new(), "INVALID_EMAILADDRESS", ""),
        ] {
            for answer in [rename(&world, mia, &address).await, rename_oneself(&world, mia, &address).await, alias(&world, &world.admin, mia, &[&at("good"), &address]).await] {
                let said = answer.refused(400, code);
                assert!(said.contains(hint), "{address}: {said}");
            }
        }
        assert_eq!(world.account(mia).await, before, "nothing was changed, not even the good alias");
    }

    async fn names_with_a_meaning_are_given_out_by_administrators(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        policy(&world, |policy| policy.reserved_names = vec!["mascot".to_owned()]).await;
        let at = |local: &str| format!("{local}@{}", world.domain);
        for name in ["postmaster", "abuse", "payroll", "hr", "ceo", "Admini.strator", "mascot", "Mas-Cot"] {
            let said = rename_oneself(&world, mia, &at(name)).await.refused(400, "INVALID_EMAILADDRESS");
            assert!(said.contains("reserved"), "{said}");
        }
        for name in ["postmaster", "payroll", "mascot"] {
            changed(&rename(&world, mia, &at(name)).await);
        }
        // What an administrator gave is the person's to choose.
        changed(&rename_oneself(&world, mia, &at("payroll")).await);
        changed(&alias(&world, &world.admin, mia, &[&at("abuse")]).await);
    }

    async fn aliases_come_and_go_all_or_nothing_up_to_the_limit(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let many: Vec<String> = (0..30).map(|number| format!("a{number:02}@{}", world.domain)).collect();
        let all: Vec<&str> = many.iter().map(String::as_str).collect();
        changed(&alias(&world, &world.admin, mia, &all[..29]).await);
        let said = alias(&world, &world.admin, mia, &[all[29], "extra@zylker.example"]).await.refused(400, "INVALID_INPUT");
        assert!(said.contains("at most 30"), "{said}");
        changed(&alias(&world, &world.admin, mia, &[all[29], all[0]]).await);
        unchanged(&alias(&world, &world.admin, mia, &all[..3]).await);
        // A rename needs room for the old address, a swap does not.
        rename(&world, mia, "extra@zylker.example").await.refused(400, "INVALID_INPUT");
        changed(&rename(&world, mia, all[3]).await);
        changed(&rename(&world, mia, &mia.email).await);

        let before = world.account(mia).await;
        let said = no_alias(&world, mia, &[all[0], &mia.email]).await.refused(400, "INVALID_INPUT");
        assert!(said.contains("emailupdate"), "{said}");
        no_alias(&world, mia, &[all[0], &world.other.email]).await.refused(404, "RESOURCE_NOT_FOUND");
        no_alias(&world, mia, &[]).await.refused(400, "LESS_THAN_MIN_OCCURANCE");
        assert_eq!(world.account(mia).await, before);
        changed(&no_alias(&world, mia, &[all[0], all[0], all[1]]).await);
        assert_eq!(world.account(mia).await.aliases.len(), 28);
        policy(&world, |policy| policy.most_aliases = 28).await;
        alias(&world, &world.admin, mia, &[all[0]]).await.refused(400, "INVALID_INPUT");
    }

    async fn people_rename_themselves_as_the_policy_says(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let at = |local: &str| format!("{local}@{}", world.domain);
        changed(&alias(&world, &world.admin, mia, &[&at("own")]).await);
        policy(&world, |policy| policy.self_rename = SelfRename::Off).await;
        for to in ["new", "own"] {
            let said = rename_oneself(&world, mia, &at(to)).await.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(said.contains("only an administrator"), "{said}");
        }
        changed(&rename(&world, mia, &at("given")).await);
        policy(&world, |policy| policy.self_rename = SelfRename::OwnAlias).await;
        let said = rename_oneself(&world, mia, &at("new")).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains("own addresses"), "{said}");
        changed(&rename_oneself(&world, mia, &at("own")).await);

        // At most five in 30 days; an administrator's do not count.
        policy(&world, |policy| policy.self_rename = SelfRename::Any).await;
        for number in 2..=5 {
            world.app.clock.advance(DAY);
            changed(&rename_oneself(&world, mia, &at(&format!("n{number}"))).await);
        }
        unchanged(&rename_oneself(&world, mia, &at("n5")).await);
        let said = rename_oneself(&world, mia, &at("n6")).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains("5 times in 30 days"), "{said}");
        changed(&rename(&world, mia, &at("n7")).await);
        world.app.clock.advance(26 * DAY);
        changed(&rename_oneself(&world, mia, &at("n8")).await);
        rename_oneself(&world, mia, &at("n9")).await.refused(403, "OPERATION_NOT_PERMITTED");
    }

    async fn a_freed_address_is_kept_for_its_former_account(db: Db) {
        let world = World::start(db).await;
        let (mia, otto) = (&world.member, &world.other);
        let (one, two) = (format!("one@{}", world.domain), format!("two@{}", world.domain));
        changed(&alias(&world, &world.admin, mia, &[&one, &two]).await);
        changed(&no_alias(&world, mia, &[&one, &two]).await);
        let release = [("x-mailward-release-address", "the old owner agreed")];
        let want = async |by: &Someone, headers: &[(&str, &str)]| {
            mode_saying(&world, by, otto, "addEmailAlias", json!({"emailAlias": [one]}), headers).await
        };
        // Nobody else has it, an override is for super administrators.
        let said = want(&world.owner, &[]).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        let how = "a super administrator can release it with the header X-Mailward-Release-Address: reason";
        assert!(said.contains("180 more days") && said.ends_with(how), "{said}");
        want(&world.admin, &release).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        rename_oneself(&world, otto, &one).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        let create = json!({"primaryEmailAddress": one, "password": "correct-horse-7"});
        world.with_body("POST", &world.admin.org_token, &accounts_path(&world), create).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        // Its former account takes it back freely, also by the person's own hand.
        changed(&rename_oneself(&world, mia, &one).await);
        changed(&rename(&world, mia, &mia.email).await);
        changed(&no_alias(&world, mia, &[&one]).await);
        let given = want(&world.owner, &release).await;
        changed(&given);
        assert_eq!(entries(&world, &given).await[0]["notes"]["releasedAddress"], format!("{one}: the old owner agreed"));
        alias(&world, &world.admin, mia, &[&one]).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        // An address in use is not released by anything.
        let taken = json!({"emailAlias": [mia.email]});
        mode_saying(&world, &world.owner, otto, "addEmailAlias", taken, &release).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        // After the term it is free.
        world.app.clock.advance(180 * DAY - 1);
        alias(&world, &world.admin, otto, &[&two]).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        world.app.clock.advance(1);
        changed(&alias(&world, &world.admin, otto, &[&two]).await);
    }

    async fn a_deleted_users_address_is_kept_and_released_on_purpose(db: Db) {
        let world = World::start(db).await;
        policy(&world, |policy| policy.address_kept_days = 10).await;
        let gone = world.someone("gone", Role::Member).await;
        changed(&world.with_body("DELETE", &world.admin.org_token, &world.path(&gone), none()).await);
        let create = |address: &str| json!({"primaryEmailAddress": address, "password": "correct-horse-7"}).to_string();
        let token = |who: &Someone| format!("Zoho-oauthtoken {}", who.org_token);
        let post = async |by: &Someone, headers: &[(&str, &str)]| {
            let token = token(by);
            let mut all = vec![("authorization", token.as_str())];
            all.extend(headers);
            world.send("POST", &accounts_path(&world), &all, create(&gone.email)).await
        };
        let said = post(&world.owner, &[]).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        assert!(said.contains("10 more days"), "{said}");
        let release = [("x-mailward-release-address", "a new colleague")];
        post(&world.admin, &release).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        let made = post(&world.owner, &release).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_ne!(made.json()["data"]["zuid"], json!(gone.zuid), "ids are never used again");
        assert_eq!(entries(&world, &made).await[0]["notes"]["releasedAddress"], format!("{}: a new colleague", gone.email));
    }
}
