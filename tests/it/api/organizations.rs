//! Organization and domain details.

use mailward::app::organizations::{self, DomainChange};
use mailward::domain::actor::Role;
use mailward::domain::email_address::DomainName;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{accounts_path, changed, done, lives, none};
use crate::support::world::{self, START, World, operator};

both_engines! {
    async fn the_own_organization_is_shown_with_and_without_its_id(db: Db) {
        let world = World::start(db).await;
        let url = world.app.config.public_url();
        let wanted = json!({
            "zoid": world.zoid.get(), "orgName": "Zylker", "URI": format!("{url}/api/organization/{}", world.zoid),
            "primaryDomainName": "zylker.example", "domains": ["zylker.example"], "usersCount": 4, "mailboxCount": 4,
            "groupCount": 0, "sharedGroupCount": 0, "partnerOrgCount": 0, "orgCreationTime": START,
            "superAdmin": world.owner.email, "superAdminLoginName": world.owner.email, "superAdminFullName": "",
            "isMailHostingEnabled": true, "isEmailConfirmed": true, "enabled": true,
        });
        for path in ["/api/organization".to_owned(), "/api/organization/".to_owned(), format!("/api/organization/{}", world.zoid), format!("/api/organization/{}/", world.zoid)] {
            let answer = world.get(&world.admin.org_token, &path).await;
            assert_eq!(answer.ok().json(), json!({"status": {"code": 200, "description": "success"}, "data": wanted}), "{path}");
        }
        // The ordinary scope does as well as the partner's.
        let token = world::token(&world.app, &world.account(&world.admin).await, "ZohoMail.organization.accounts.READ").await;
        assert_eq!(world.get(&token, "/api/organization").await.ok().json()["data"], wanted);
        world.get(&world.member.org_token, "/api/organization").await.refused(403, "OPERATION_NOT_PERMITTED");
        // Read after write.
        world.someone("more", Role::Member).await;
        assert_eq!(world.get(&token, "/api/organization").await.json()["data"]["usersCount"], 5);
        // Who is disabled is no one to turn to.
        let second = world.someone("second", Role::SuperAdmin).await;
        changed(&world.mode(&second, &world.owner, "disableUser", none()).await);
        assert_eq!(world.get(&token, "/api/organization").await.json()["data"]["superAdmin"], second.email);
    }

    async fn domains_are_listed_in_an_object_and_shown_alone(db: Db) {
        let world = World::start(db).await;
        let late = DomainName::parse("bücher.example").expect("a domain");
        organizations::add_domain(&world.app, &operator(), world.zoid, &late).await.expect("added");
        let path = format!("/api/organization/{}/domains", world.zoid);
        let list = world.get(&world.admin.org_token, &path).await.ok().json()["data"].clone();
        let domains = list["domainVO"].as_array().expect("an array in an object").clone();
        assert_eq!(domains.len(), 2);
        let named = |name: &str| domains.iter().find(|domain| domain["domainName"] == name).expect("a domain").clone();
        let (first, second) = (named("zylker.example"), named("xn--bcher-kva.example"));
        for (domain, name, value) in [
            (&first, "primary", json!(true)), (&first, "verificationStatus", json!(true)), (&first, "verifiedDate", json!(START)),
            (&first, "mailHostingEnabled", json!(true)), (&first, "status", json!("enabled")), (&first, "zoid", json!(world.zoid.get())),
            (&second, "primary", json!(false)), (&second, "verificationStatus", json!(false)), (&second, "verifiedDate", json!(0)),
            (&second, "mailHostingEnabled", json!(false)), (&second, "createdTime", json!(START)), (&second, "isDomainAlias", json!(false)),
        ] {
            assert_eq!(domain[name], value, "{name}");
        }
        assert!(second["domainId"].is_string() && second["CNAMEVerificationCode"].as_str().expect("a code").starts_with("zb"));
        for name in ["zylker.example", "ZYLKER.example"] {
            assert_eq!(world.get(&world.admin.org_token, &format!("{path}/{name}")).await.ok().json()["data"], first);
        }
        world.get(&world.admin.org_token, &format!("{path}/else.example")).await.refused(404, "RESOURCE_NOT_FOUND");
        organizations::change_domain(&world.app, &operator(), world.zoid, &late, DomainChange::Verify).await.expect("verified");
        organizations::change_domain(&world.app, &operator(), world.zoid, &late, DomainChange::Disable).await.expect("off");
        let shown = world.get(&world.admin.org_token, &format!("{path}/xn--bcher-kva.example/")).await.ok().json()["data"].clone();
        let by_letters = world.get(&world.admin.org_token, &format!("{path}/b%C3%BCcher.example")).await.ok().json()["data"].clone();
        assert_eq!(by_letters, shown);
        assert_eq!((&shown["verificationStatus"], &shown["status"], &shown["mailHostingEnabled"]), (&json!(true), &json!("disabled"), &json!(false)));
    }

    async fn a_foreign_organization_is_unknown_whatever_is_asked(db: Db) {
        let world = World::start(db).await;
        let (zoid, domain) = world::organization(&world.app, "Else", "else.example").await;
        for organization in [zoid.to_string(), "99999999999".to_owned(), world.member.zuid.to_string(), "5".to_owned()] {
            for path in [
                format!("/api/organization/{organization}"),
                format!("/api/organization/{organization}/accounts"),
                format!("/api/organization/{organization}/accounts?emailId={}", world.member.email),
                format!("/api/organization/{organization}/accounts/{}", world.member.zuid),
                format!("/api/organization/{organization}/domains"),
                format!("/api/organization/{organization}/domains/{domain}"),
            ] {
                let said = world.get(&world.owner.org_token, &path).await.refused(404, "RESOURCE_NOT_FOUND");
                assert!(said.starts_with(&format!("Organization id {organization} is invalid")), "{said}");
            }
        }
        let mistaken = world.get(&world.owner.org_token, &format!("/api/organization/{}", world.member.zuid)).await;
        assert!(mistaken.more_info().ends_with("it looks like a zuid"));
        world.get(&world.owner.org_token, "/api/organization/zylker").await.refused(404, "URL_RULE_NOT_CONFIGURED");
    }

    async fn while_an_organization_is_off_nobody_of_it_gets_in(db: Db) {
        let world = World::start(db).await;
        let (zoid, _) = world::organization(&world.app, "Else", "else.example").await;
        let eve = world::someone(&world.app, zoid, "eve@else.example", Role::SuperAdmin).await;
        organizations::switch(&world.app, &operator(), world.zoid, true).await.expect("off");
        for token in [&world.owner.org_token, &world.member.user_token] {
            assert!(!lives(&world, token).await);
        }
        assert!(lives(&world, &eve.user_token).await, "the others go on");
        organizations::switch(&world.app, &operator(), world.zoid, false).await.expect("on");
        assert!(lives(&world, &world.member.user_token).await, "everything is as it was");
        done(&world.mode(&world.admin, &world.member, "displaynameupdate", json!({"displayName": "Mia"})).await);
        let list = world.get(&world.admin.org_token, &accounts_path(&world)).await.json();
        assert_eq!(list["data"].as_array().map(Vec::len), Some(4));
        assert_ne!(list["data"], Value::Null);
    }
}
