//! The help desk: how it is granted, what it sees, and where it ends.

use mailward::app::organizations::{self, DomainChange};
use mailward::domain::actor::{Rank, Role};
use mailward::domain::email_address::DomainName;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use crate::support::world::{self, Someone, World, operator};

async fn grant(world: &World, to: &Someone, more: Value) -> world::Answer {
    let mut body =
        json!({"mode": "changeRole", "userList": [to.zuid], "role": "admin", "isCustomAdmin": true});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let path = format!("/api/organization/{}/accounts", world.zoid);
    world.put(&world.owner.org_token, &path, body).await
}

async fn second_domain(world: &World) -> String {
    let name = DomainName::parse("b.example").expect("a domain");
    organizations::add_domain(&world.app, &operator(), world.zoid, &name).await.expect("added");
    organizations::change_domain(&world.app, &operator(), world.zoid, &name, DomainChange::Verify)
        .await
        .expect("verified");
    name.to_string()
}

async fn listed(world: &World, by: &Someone, query: &str) -> Vec<i64> {
    let path = format!("/api/organization/{}/accounts?{query}", world.zoid);
    let answer = world.get(&by.org_token, &path).await;
    let users = answer.ok().json()["data"].as_array().expect("an array").clone();
    users.iter().map(|user| user["zuid"].as_i64().expect("a zuid")).collect()
}

both_engines! {
    async fn a_custom_administrator_is_granted_with_limits_and_shown_with_them(db: Db) {
        let world = World::start(db).await;
        grant(&world, &world.member, json!({"verbs": ["reset"], "domains": [world.domain]})).await.ok();
        let shown = world.get(&world.admin.org_token, &world.path(&world.member)).await.json()["data"].clone();
        for (field, value) in [
            ("role", json!("admin")),
            ("iamUserRole", json!("admin")),
            ("isCustomAdmin", json!(true)),
            ("verbs", json!(["read", "reset"])),
            ("domains", json!([world.domain])),
        ] {
            assert_eq!(shown[field], value, "{field}");
        }
        // Other limits are another role, the same ones are none.
        assert!(grant(&world, &world.member, json!({"verbs": ["read"]})).await.change().is_some());
        assert!(grant(&world, &world.member, json!({"verbs": "read"})).await.ok().change().is_none());
        let path = format!("/api/organization/{}/accounts", world.zoid);
        let body = json!({"mode": "changeRole", "userList": [world.member.zuid], "role": "member"});
        world.put(&world.owner.org_token, &path, body).await.ok();
        let shown = world.get(&world.admin.org_token, &world.path(&world.member)).await.json()["data"].clone();
        assert_eq!((&shown["isCustomAdmin"], &shown["role"], shown.get("verbs")), (&json!(false), &json!("member"), None));
    }

    async fn somebody_is_created_for_the_help_desk(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/organization/{}/accounts", world.zoid);
        let body = json!({"primaryEmailAddress": format!("hedda@{}", world.domain), "password": world::PASSWORD,
            "role": "admin", "isCustomAdmin": "true", "verbs": ["switches"]});
        world.with_body("POST", &world.admin.org_token, &path, body.clone()).await.refused(403, "OPERATION_NOT_PERMITTED");
        let made = world.with_body("POST", &world.owner.org_token, &path, body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.json()["data"]["verbs"], json!(["read", "switches"]));
    }

    async fn limits_that_say_nothing_are_no_limits_for_anybody(db: Db) {
        let world = World::start(db).await;
        for (more, about) in [
            (json!({}), "verbs"),
            (json!({"verbs": []}), "verbs"),
            (json!({"verbs": ["delete"]}), "verbs"),
            (json!({"verbs": ["reset"], "domains": []}), "domains"),
            (json!({"verbs": ["reset"], "domains": ["else.example"]}), "domains"),
            (json!({"verbs": ["reset"], "role": "member"}), "isCustomAdmin"),
            (json!({"verbs": ["reset"], "role": "super_admin"}), "isCustomAdmin"),
            // A forgotten word must not make somebody a whole administrator.
            (json!({"verbs": ["reset"], "isCustomAdmin": false}), "isCustomAdmin"),
            (json!({"domains": [world.domain], "isCustomAdmin": null}), "isCustomAdmin"),
        ] {
            let said = grant(&world, &world.member, more.clone()).await.refused(400, "PATTERN_NOT_MATCHED");
            assert!(said.contains(about), "{more}: {said}");
        }
        assert_eq!(world.account(&world.member).await.role, Role::Member);
    }

    async fn only_super_administrators_change_what_the_help_desk_may(db: Db) {
        let world = World::start(db).await;
        let hedda = world.someone("hedda", Role::HelpDesk).await;
        let path = format!("/api/organization/{}/accounts", world.zoid);
        for by in [&world.admin, &hedda, &world.member] {
            let body = json!({"mode": "changeRole", "userList": [hedda.zuid], "role": "admin", "isCustomAdmin": true, "verbs": ["read"]});
            world.put(&by.org_token, &path, body).await.refused(403, "OPERATION_NOT_PERMITTED");
        }
        // An administrator stands above the help desk otherwise.
        world.mode(&world.admin, &hedda, "disableMailAccount", json!({})).await.ok();
    }

    async fn a_block_of_the_help_desk_carries_its_rank(db: Db) {
        let world = World::start(db).await;
        let hedda = world.someone("hedda", Role::HelpDesk).await;
        world.mode(&hedda, &world.member, "disableUser", json!({})).await.ok();
        let block = world.account(&world.member).await.switches.user_disabled.expect("disabled");
        assert_eq!(block.rank, Rank::HelpDesk);
        // A colleague lifts it; what an administrator set stays.
        let henk = world.someone("henk", Role::HelpDesk).await;
        world.mode(&henk, &world.member, "enableUser", json!({})).await.ok();
        world.mode(&world.admin, &world.member, "disableUser", json!({})).await.ok();
        let said = world.mode(&hedda, &world.member, "enableUser", json!({})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains("an administrator"), "{said}");
    }

    async fn the_help_desk_gives_out_no_protected_address(db: Db) {
        let world = World::start(db).await;
        let hedda = world.someone("hedda", Role::HelpDesk).await;
        for local in ["payroll", "postmaster"] {
            let to = json!({"emailAddress": format!("{local}@{}", world.domain)});
            world.mode(&hedda, &world.member, "emailupdate", to).await.refused(400, "INVALID_EMAILADDRESS");
        }
        let alias = json!({"emailAlias": [format!("old@{}", world.domain)]});
        world.mode(&world.admin, &world.other, "addEmailAlias", alias.clone()).await.ok();
        world.mode(&world.admin, &world.other, "deleteEmailAlias", alias).await.ok();
        let token = format!("Zoho-oauthtoken {}", hedda.org_token);
        let headers = [("authorization", token.as_str()), ("x-mailward-release-address", "agreed")];
        let body = json!({"mode": "emailupdate", "zuid": world.member.zuid, "emailAddress": format!("old@{}", world.domain)});
        let answer = world.send("PUT", &world.path(&world.member), &headers, body.to_string()).await;
        answer.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
    }

    async fn the_help_desk_of_a_domain_sees_its_users_and_no_others(db: Db) {
        let world = World::start(db).await;
        let second = second_domain(&world).await;
        let mut there = Vec::new();
        for number in 0..5 {
            let address = format!("b{number}@{second}");
            there.push(world::someone(&world.app, world.zoid, &address, Role::Member).await);
            world.app.clock.advance(1_000);
        }
        let on_both = world.someone("hans", Role::Member).await;
        grant(&world, &on_both, json!({"verbs": ["read"], "domains": [world.domain, second]})).await.ok();
        let hedda = &there[0];
        grant(&world, hedda, json!({"verbs": ["switches"], "domains": [second]})).await.ok();
        let alias = json!({"emailAlias": [format!("also@{second}"), format!("also@{}", world.domain)]});
        world.mode(&world.admin, &there[2], "addEmailAlias", alias).await.ok();

        let all: Vec<i64> = there.iter().map(|person| person.zuid).collect();
        assert_eq!(listed(&world, hedda, "limit=200").await, all);
        assert_eq!(listed(&world, hedda, "start=1&limit=2").await, all[1..3]);
        assert_eq!(listed(&world, hedda, "start=5").await, [] as [i64; 0]);
        // Domain by domain, and a page may reach from one into the next.
        let whole = listed(&world, &on_both, "limit=200").await;
        assert_eq!((whole.len(), &whole[..5]), (10, &all[..]));
        assert_eq!(listed(&world, &on_both, "start=3&limit=4").await, whole[3..7]);
        assert_eq!(listed(&world, &on_both, "start=8&limit=4").await, whole[8..]);
        // A row in the list is what the page of the user shows.
        let path = format!("/api/organization/{}/accounts?start=2&limit=1", world.zoid);
        let row = world.get(&hedda.org_token, &path).await.json()["data"][0].clone();
        assert_eq!(row, world.get(&hedda.org_token, &world.path(&there[2])).await.json()["data"]);
        assert_eq!(row["emailAddress"].as_array().map(Vec::len), Some(3));

        for path in [world.path(&world.member), format!("/api/organization/{}/accounts/{}", world.zoid, world.member.email)] {
            let said = world.get(&hedda.org_token, &path).await.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(said.contains(&world.domain), "{said}");
        }
        let said = world.mode(hedda, &world.member, "disableUser", json!({})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains(&world.domain), "{said}");
        world.mode(hedda, &there[1], "disableUser", json!({})).await.ok();
    }

    async fn the_help_desk_reads_receipts_of_those_it_sees(db: Db) {
        let world = World::start(db).await;
        let second = second_domain(&world).await;
        let hedda = world::someone(&world.app, world.zoid, &format!("hedda@{second}"), Role::Member).await;
        let bob = world::someone(&world.app, world.zoid, &format!("bob@{second}"), Role::Member).await;
        let granted = grant(&world, &hedda, json!({"verbs": ["switches"], "domains": [second]})).await;
        let receipt = async |change: &str| {
            world.get(&hedda.org_token, &format!("/api/organization/{}/changes/{change}", world.zoid)).await
        };
        let own = world.mode(&hedda, &bob, "disableUser", json!({})).await.change().expect("a change");
        receipt(&own).await.ok();
        receipt(&granted.change().expect("a change")).await.ok();
        let other = world.mode(&world.admin, &world.member, "disableUser", json!({})).await.change().expect("a change");
        receipt(&other).await.refused(403, "OPERATION_NOT_PERMITTED");
        let gone = world.with_body("DELETE", &world.owner.org_token, &world.path(&bob), json!({})).await;
        receipt(&gone.change().expect("a change")).await.refused(404, "RESOURCE_NOT_FOUND");
    }

    async fn the_own_account_is_a_members_also_on_the_help_desk(db: Db) {
        let world = World::start(db).await;
        let hedda = world.someone("hedda", Role::HelpDesk).await;
        world.own_mode(&hedda, "displaynameupdate", json!({"displayName": "Hedda"})).await.ok();
        let said = world.mode(&hedda, &hedda, "displaynameupdate", json!({"displayName": "H"})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains("/api/accounts/"), "{said}");
        organizations::update(&world.app, &operator(), world.zoid, |organization, _| {
            organization.policy.self_rename = mailward::domain::policy::SelfRename::Off;
            Ok(())
        })
        .await
        .expect("a policy");
        let to = json!({"emailAddress": format!("h@{}", world.domain)});
        world.own_mode(&hedda, "emailupdate", to).await.refused(403, "OPERATION_NOT_PERMITTED");
    }
}
