//! Users created, listed, shown and deleted.

use std::collections::BTreeSet;

use mailward::app::tidy;
use mailward::clock::{DAY, HOUR};
use mailward::domain::account::Account;
use mailward::domain::actor::Role;
use mailward::domain::email_address::EmailAddress;
use mailward::domain::password::PasswordKind;
use mailward::store;
use mailward::store::engine::{Db, params};
use serde_json::{Value, json};

use super::{accounts_path, changed, done, effect_names, entries, lives, none, policy, shown, unchanged};
use crate::support::world::{self, Answer, PASSWORD, START, Someone, World};

async fn create(world: &World, by: &Someone, body: Value) -> Answer {
    world.with_body("POST", &by.org_token, &accounts_path(world), body).await
}

async fn delete(world: &World, by: &Someone, path: &str, body: Value) -> Answer {
    world.with_body("DELETE", &by.org_token, path, body).await
}

/// The zuids of a page.
async fn page(world: &World, query: &str) -> Vec<i64> {
    let answer = world.get(&world.admin.org_token, &format!("{}{query}", accounts_path(world))).await;
    let data = answer.ok().json()["data"].clone();
    data.as_array().expect("an array").iter().map(|user| user["zuid"].as_i64().expect("a number")).collect()
}

/// Stores copies of somebody as new users, without the cost of the whole call.
async fn many(world: &World, like: &Someone, count: i64) -> Vec<i64> {
    let pattern = world.account(like).await;
    let ids = world.app.ids.next::<mailward::domain::ids::UserId>().await.expect("an id").get() + 1_000_000;
    let mut ordinals = Vec::new();
    for _ in 0..count {
        ordinals.push(world.app.ids.ordinal(world.zoid).await.expect("an ordinal"));
    }
    world
        .app
        .db
        .write(async move |tx| {
            let mut zuids = Vec::new();
            for (number, ordinal) in (0..count).zip(&ordinals) {
                let address = EmailAddress::parse(&format!("many{number}@{}", pattern.primary.domain()))?;
                let account = Account {
                    user: mailward::domain::ids::UserId::new(ids + number).expect("a zuid"),
                    id: mailward::domain::ids::AccountId::new(pattern.id.get() + 1_000_000 + number)
                        .expect("an accountId"),
                    mailbox: format!("many{number}"),
                    primary: address,
                    aliases: Vec::new(),
                    ..pattern.clone()
                };
                store::accounts::insert(tx, &account, *ordinal).await?;
                zuids.push(ids + number);
            }
            Ok(zuids)
        })
        .await
        .expect("stored")
}

/// The next user starts a new counter block.
async fn skip_to_next_block(world: &World) {
    let zoid = world.zoid.get();
    world
        .app
        .db
        .write(async move |tx| {
            tx.execute_one(
                "UPDATE organization_counter SET next_ordinal = next_ordinal + 4096 WHERE organization_id = $1",
                params![zoid],
            )
            .await
        })
        .await
        .expect("skipped");
}

both_engines! {
    async fn the_user_object_has_the_documented_fields_and_types(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        changed(&world.mode(&world.admin, mia, "addEmailAlias", json!({"emailAlias": [format!("m2@{}", world.domain)]})).await);
        let object = shown(&world, mia).await;
        assert_eq!(object["accountId"], json!(mia.account_id.to_string()), "a string");
        assert_eq!(object["zuid"], json!(mia.zuid), "a number");
        assert!(mia.zuid < 1 << 53 && mia.account_id.to_string().len() == 19);
        assert_eq!(object["policyId"]["zoid"], json!(world.zoid.get()), "a number");
        let of_kind = |names: &[&str], is: fn(&Value) -> bool| names.iter().for_each(|name| assert!(is(&object[name]), "{name}: {}", object[name]));
        of_kind(&["URI", "accountName", "accountDisplayName", "displayName", "firstName", "lastName", "gender", "primaryEmailAddress",
            "mailboxAddress", "incomingUserName", "role", "roleName", "iamUserRole", "type", "mailboxStatus", "country", "language",
            "timeZone", "phoneNumer", "mobileNumber", "lastClient"], Value::is_string);
        of_kind(&["isCustomAdmin", "status", "enabled", "accountEnabled", "isDefaultAccount", "incomingBlocked", "outgoingBlocked", "webBlocked",
            "imapBlocked", "popBlocked", "imapAccessEnabled", "popAccessEnabled", "activeSyncEnabled", "smtpStatus", "tfaEnabled", "oneTimePassword", "mxStatus", "spamcheckEnabled", "isLogoExist"],
            Value::is_boolean);
        of_kind(&["iamStatus", "sequence", "lastLogin", "lastPasswordReset", "accountCreationTime", "mailboxCreationTime", "userExpiry",
            "usedStorage", "allowedStorage", "planStorage", "planType", "popFetchTime"], Value::is_i64);
        of_kind(&["emailAddress", "sendMailDetails", "mailForward", "customFields"], Value::is_array);
        of_kind(&["address", "policyId", "extraStorage", "ediscoveryStorage", "extraEDiscoveryStorage"], Value::is_object);
        for name in ["primaryEmailAddress", "mailboxAddress", "incomingUserName", "accountName"] {
            assert_eq!(object[name], json!(mia.email), "{name}");
        }
        for (name, value) in [("role", json!("member")), ("roleName", json!("member")), ("mailboxStatus", json!("enabled")), ("enabled", json!(true)),
            ("status", json!(true)), ("isDefaultAccount", json!(true)), ("userExpiry", json!(-1)), ("lastLogin", json!(0)), ("tfaEnabled", json!(false)),
            ("accountCreationTime", json!(START)), ("lastPasswordReset", json!(START)), ("type", json!("ZOHO_ACCOUNT")), ("mailForward", json!([]))] {
            assert_eq!(object[name], value, "{name}");
        }
        let url = world.app.config.public_url();
        assert_eq!(object["URI"], format!("{url}/api/organization/{}/accounts/{}", world.zoid, mia.account_id));
        let senders: Vec<_> = object["sendMailDetails"].as_array().expect("an array").iter().map(|one| one["fromAddress"].clone()).collect();
        assert_eq!(senders, [json!(mia.email), json!(format!("m2@{}", world.domain))]);
        assert!(object["sendMailDetails"][0]["sendMailId"].is_string());
        let text = object.to_string();
        assert!(!text.contains("argon2") && !text.contains("\"password\""), "no secret in it");

        // The same object from the list and on the own page, there with its own address.
        let list = world.get(&world.admin.org_token, &format!("{}?start=2&limit=1", accounts_path(&world))).await;
        assert_eq!(list.json()["data"], json!([object]));
        let named = async |address: &str| {
            world.get(&world.admin.org_token, &format!("{}?emailId={address}", accounts_path(&world))).await.json()["data"].clone()
        };
        assert_eq!(named(&mia.email).await, json!([object]));
        assert_eq!(named("nobody@elsewhere.example").await, json!([]));
        // Whoever turns the pages comes to an end.
        assert_eq!(named(&format!("{}&start=1", mia.email)).await, json!([]));
        assert_eq!(named(&format!("{}&limit=0", mia.email)).await, json!([]));
        let mut own = world.get(&mia.user_token, &format!("/api/accounts/{}", mia.account_id)).await.ok().json()["data"].clone();
        assert_eq!(world.get(&mia.user_token, "/api/accounts").await.json()["data"], json!([own]));
        assert_eq!(own["URI"], format!("{url}/api/accounts/{}", mia.account_id));
        own["URI"] = object["URI"].clone();
        assert_eq!(own, object);
        // Nobody else's account is on the own page, also not a super administrator's view of it.
        for id in [mia.zuid, world.other.account_id] {
            let said = world.get(&mia.user_token, &format!("/api/accounts/{id}")).await.refused(404, "RESOURCE_NOT_FOUND");
            assert!(said.starts_with(&format!("Account id {id} is invalid")), "{said}");
        }
        world.get(&world.owner.user_token, &format!("/api/accounts/{}", mia.account_id)).await.refused(404, "RESOURCE_NOT_FOUND");
        world.get(&mia.user_token, &format!("/api/accounts/{}", mia.email)).await.refused(404, "URL_RULE_NOT_CONFIGURED");
    }

    async fn one_user_is_found_by_every_name(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let alias = format!("m2@{}", world.domain);
        changed(&world.mode(&world.admin, mia, "addEmailAlias", json!({"emailAlias": [alias]})).await);
        let collection = accounts_path(&world);
        let (local, domain) = mia.email.split_once('@').expect("an address");
        for name in [mia.zuid.to_string(), mia.account_id.to_string(), mia.email.clone(), mia.email.to_uppercase(), alias.clone(),
            format!("{local}+tag@{domain}"), format!("{local}%2Btag%40{domain}"), format!("{}/", mia.zuid), format!("{}?zuid={}", mia.account_id, mia.zuid)] {
            let answer = world.get(&world.admin.org_token, &format!("{collection}/{name}")).await;
            assert_eq!(answer.ok().json()["data"]["zuid"], json!(mia.zuid), "{name}");
        }
        let (zoid, _) = world::organization(&world.app, "Else", "else.example").await;
        let eve = world::someone(&world.app, zoid, "eve@else.example", Role::Member).await;
        changed(&world.mode(&world.admin, mia, "deleteEmailAlias", json!({"emailAlias": [alias]})).await);
        for name in [eve.zuid.to_string(), eve.account_id.to_string(), eve.email, alias, "nobody@zylker.example".to_owned(), "a@b@c".to_owned(), "5".to_owned()] {
            let answer = world.get(&world.admin.org_token, &format!("{collection}/{name}")).await;
            answer.refused(404, "RESOURCE_NOT_FOUND");
        }
        world.get(&world.admin.org_token, &format!("{collection}/me")).await.refused(404, "URL_RULE_NOT_CONFIGURED");
    }

    async fn lists_are_paged_by_creation(db: Db) {
        let world = World::start(db).await;
        let mut all = vec![world.owner.zuid, world.admin.zuid, world.member.zuid, world.other.zuid];
        all.extend(many(&world, &world.member, 230).await);
        assert_eq!(page(&world, "").await, all[..10], "ten by default, from 0");
        assert_eq!(page(&world, "?start=0&limit=3").await, all[..3]);
        assert_eq!(page(&world, "?start=1&limit=1").await, all[1..2]);
        assert_eq!(page(&world, "/?limit=50&start=100").await, all[100..150]);
        assert_eq!(page(&world, "?limit=100000").await, all[..200], "more than 200 is clamped");
        assert_eq!(page(&world, "?start=200&limit=200").await, all[200..]);
        assert_eq!(page(&world, "?start=230&limit=10&unknown=1").await, all[230..]);
        for past in ["?start=234", "?start=235&limit=200", "?start=9223372036854775807", "?limit=0"] {
            let answer = world.get(&world.admin.org_token, &format!("{}{past}", accounts_path(&world))).await;
            assert_eq!(answer.ok().json()["data"], json!([]), "{past}");
        }
        for wrong in ["?start=-1", "?limit=-1"] {
            world.get(&world.admin.org_token, &format!("{}{wrong}", accounts_path(&world))).await.refused(400, "PATTERN_NOT_MATCHED");
        }
        for wrong in ["?start=x", "?limit=1.5", "?limit=9223372036854775808"] {
            world.get(&world.admin.org_token, &format!("{}{wrong}", accounts_path(&world))).await.refused(400, "DATATYPE_NOT_MATCHED");
        }
        for twice in ["?start=1&start=2", "?start=1&start=1"] {
            world.get(&world.admin.org_token, &format!("{}{twice}", accounts_path(&world))).await.refused(400, "MORE_THAN_MAX_OCCURANCE");
        }
        // What was written is read by the next request; a change moves nobody.
        let new = world.someone("late", Role::Member).await;
        all.push(new.zuid);
        assert_eq!(page(&world, "?start=234").await, [new.zuid]);
        changed(&world.mode(&world.admin, &world.member, "displaynameupdate", json!({"displayName": "Mia"})).await);
        assert_eq!(page(&world, "?limit=3").await, all[..3]);
        let answer = world.get(&world.admin.org_token, &format!("{}?start=2&limit=1", accounts_path(&world))).await;
        assert_eq!(answer.json()["data"][0]["displayName"], "Mia");
    }

    async fn pages_stay_whole_over_deletions_and_counter_blocks(db: Db) {
        let world = World::start(db).await;
        let mut all = vec![world.owner.zuid, world.admin.zuid, world.member.zuid, world.other.zuid];
        for number in 0..9 {
            if number % 3 == 0 {
                skip_to_next_block(&world).await;
            }
            all.push(world.someone(&format!("p{number}"), Role::Member).await.zuid);
        }
        let whole = async |all: &[i64]| {
            for limit in [1, 2, 3, 5, 200] {
                let mut seen = Vec::new();
                for start in (0..=all.len()).step_by(limit) {
                    let rows = page(&world, &format!("?start={start}&limit={limit}")).await;
                    assert_eq!(rows, all[start..all.len().min(start + limit)], "{limit} from {start}");
                    seen.extend(rows);
                }
                assert_eq!(seen, all);
            }
        };
        whole(&all).await;
        // In the middle of a block, at both ends of one, and a whole block.
        for gone in [vec![5], vec![3, 6], vec![7, 8, 9]] {
            let list: Vec<i64> = gone.iter().map(|place| all[*place]).collect();
            done(&delete(&world, &world.owner, &accounts_path(&world), json!({"accountList": list})).await);
            all.retain(|zuid| !list.contains(zuid));
            whole(&all).await;
        }
        let organization = world.get(&world.owner.org_token, "/api/organization").await.json();
        assert_eq!(organization["data"]["usersCount"], json!(all.len()));
    }

    async fn a_new_user_is_answered_with_201_and_an_envelope_of_200(db: Db) {
        let world = World::start(db).await;
        let address = format!("New.User@{}", world.domain.to_uppercase());
        let body = json!({"primaryEmailAddress": address, "password": PASSWORD, "firstName": "New", "lastName": "User",
            "role": "member", "country": "IN", "language": "En", "timeZone": "Asia/Kolkata", "oneTimePassword": "false",
            "userExpiry": "-1", "groupMailList": [], "employeeId": "17"});
        let made = create(&world, &world.admin, body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.json()["status"], json!({"code": 200, "description": "success"}));
        let object = made.json()["data"].clone();
        assert_eq!(object["emailAddress"][0]["mailId"], format!("new.user@{}", world.domain));
        assert_eq!((object["displayName"].as_str(), object["country"].as_str()), (Some("New User"), Some("IN")));
        assert_eq!((object["role"].as_str(), object["oneTimePassword"].as_bool()), (Some("member"), Some(false)));
        assert!(object["zuid"].is_i64() && object["accountId"].is_string() && object["policyId"]["zoid"].is_i64());
        let path = format!("{}/{}", accounts_path(&world), object["zuid"]);
        assert_eq!(world.get(&world.admin.org_token, &path).await.json()["data"], object, "read after write");
        assert_eq!(effect_names(&world, &made).await, ["project"]);
        let entry = &entries(&world, &made).await[0];
        assert_eq!((entry["verb"].as_str(), entry["target"]["zuid"].as_str()), (Some("createUser"), Some(object["zuid"].to_string().as_str())));
        done(&world.self_password(&format!("new.user@{}", world.domain), PASSWORD, "another-good-9").await);

        // The least that is needed, with a one-time password that the permanent policy would refuse.
        let least = json!({"primaryEmailAddress": format!("least@{}", world.domain), "password": "t*c9ma", "oneTimePassword": true});
        let made = create(&world, &world.admin, least).await;
        assert_eq!((made.status.as_u16(), made.json()["data"]["oneTimePassword"].as_bool()), (201, Some(true)));
        let super_admin = json!({"primaryEmailAddress": format!("boss@{}", world.domain), "password": PASSWORD, "role": "super_admin"});
        create(&world, &world.admin, super_admin.clone()).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert_eq!(create(&world, &world.owner, super_admin).await.json()["data"]["role"], "super_admin");
        // An administrator gives out names with a meaning.
        let hr = json!({"primaryEmailAddress": format!("hr@{}", world.domain), "password": PASSWORD});
        assert_eq!(create(&world, &world.admin, hr).await.status, 201);
    }

    async fn a_user_who_cannot_be_created_is_refused_with_the_reason(db: Db) {
        let world = World::start(db).await;
        let good = format!("good@{}", world.domain);
        let with = |more: Value| {
            let mut body = json!({"primaryEmailAddress": good, "password": PASSWORD});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            body
        };
        for (more, code, hint) in [
            (json!({"primaryEmailAddress": null}), "LESS_THAN_MIN_OCCURANCE", "primaryEmailAddress"),
            (json!({"password": null}), "LESS_THAN_MIN_OCCURANCE", "password"),
            (json!({"primaryEmailAddress": 5}), "DATATYPE_NOT_MATCHED", "primaryEmailAddress"),
            (json!({"primaryEmailAddress": "good"}), "INVALID_EMAILADDRESS", "@"),
            (json!({"primaryEmailAddress": "good@nowhere.example"}), "INVALID_EMAILADDRESS", "not a domain"),
            (json!({"primaryEmailAddress": world.member.email}), "EMAILADDRESS_ALREADY_EXISTS", "already in use"),
            (json!({"password": "short"}), "INVALID_PASSWORD", "at least 8"),
            (json!({"password": "my-good@zylker.example"}), "INVALID_PASSWORD", "address"),
            (json!({"password": "Maximiliana-7", "firstName": "Maximiliana"}), "INVALID_PASSWORD", "name"),
            (json!({"password": "short", "oneTimePassword": true}), "INVALID_PASSWORD", "at least 6"),
            (json!({"role": "boss"}), "PATTERN_NOT_MATCHED", "member, admin or super_admin"),
            (json!({"userExpiry": 0}), "PATTERN_NOT_MATCHED", "userExpiry"),
            (json!({"userExpiry": -2}), "PATTERN_NOT_MATCHED", "userExpiry"),
            (json!({"userExpiry": 36501}), "PATTERN_NOT_MATCHED", "userExpiry"),
            (json!({"userExpiry": "soon"}), "DATATYPE_NOT_MATCHED", "userExpiry"),
            (json!({"groupMailList": ["all@zylker.example"]}), "PATTERN_NOT_MATCHED", "no groups"),
            (json!({"oneTimePassword": "yes"}), "DATATYPE_NOT_MATCHED", "oneTimePassword"),
            (json!({"displayName": "a\u{7}b"}), "PATTERN_NOT_MATCHED", "displayName"),
        ] {
            let said = create(&world, &world.admin, with(more.clone())).await.refused(400, code);
            assert!(said.contains(hint), "{more}: {said}");
        }
        assert_eq!(page(&world, "?limit=200").await.len(), 4);
        policy(&world, |policy| policy.password.min_length = 6).await;
        assert_eq!(create(&world, &world.admin, with(json!({"password": "b7-x9q"}))).await.status, 201);
    }

    async fn a_term_disables_the_user_when_it_ends(db: Db) {
        let world = World::start(db).await;
        let address = format!("guest@{}", world.domain);
        let made = create(&world, &world.admin, json!({"primaryEmailAddress": address, "password": PASSWORD, "userExpiry": 30})).await;
        assert_eq!((made.status.as_u16(), &made.json()["data"]["userExpiry"]), (201, &json!(30)));
        let zuid = made.json()["data"]["zuid"].as_i64().expect("a zuid");
        let path = format!("{}/{zuid}", accounts_path(&world));
        let guest = Someone { zuid, account_id: made.json()["data"]["accountId"].as_str().expect("text").parse().expect("digits"), ..world.member.clone() };
        let token = world::token(&world.app, &world.account(&guest).await, world::USER_SCOPES).await;
        let seen = async || world.get(&world.admin.org_token, &path).await.json()["data"].clone();

        world.app.clock.advance(30 * DAY - 1);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!((&seen().await["enabled"], &seen().await["userExpiry"]), (&json!(true), &json!(1)));
        world.app.clock.advance(1);
        tidy::run(&world.app).await.expect("tidied");
        tidy::run(&world.app).await.expect("tidied twice");
        assert_eq!(seen().await["enabled"], false);
        assert!(!lives(&world, &token).await);
        let block = world.account(&guest).await.switches.user_disabled.expect("disabled");
        assert_eq!((block.by.to_string(), block.reason.map(String::from)), ("clock".to_owned(), Some("the user's term has ended".to_owned())));

        // A term can be given anew; that alone lets nobody in.
        let term = async |days: i64| world.mode(&world.admin, &guest, "updatePersonalInfo", json!({"userExpiry": days})).await;
        changed(&term(7).await);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!((&seen().await["enabled"], &seen().await["userExpiry"]), (&json!(false), &json!(7)));
        changed(&world.mode(&world.admin, &guest, "enableUser", none()).await);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!((&seen().await["enabled"], &seen().await["userExpiry"]), (&json!(true), &json!(7)));
        changed(&term(-1).await);
        assert_eq!(seen().await["userExpiry"], -1);
        changed(&term(1).await);
        // A script may send back what it was shown, at any hour, without moving the end.
        world.app.clock.advance(HOUR);
        unchanged(&term(1).await);
        term(0).await.refused(400, "PATTERN_NOT_MATCHED");
        let own = async |days: i64| world.mode(&world.admin, &world.admin, "updatePersonalInfo", json!({"userExpiry": days})).await;
        own(1).await.refused(403, "OPERATION_NOT_PERMITTED");
        unchanged(&own(-1).await);
        world.app.clock.advance(DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!((&seen().await["enabled"], &seen().await["userExpiry"]), (&json!(false), &json!(0)));
        unchanged(&term(0).await);

        // Who gave the term can let the user in again, for good.
        changed(&world.mode(&world.admin, &guest, "enableUser", none()).await);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!((&seen().await["enabled"], &seen().await["userExpiry"]), (&json!(true), &json!(-1)));
    }

    async fn the_last_super_administrators_term_does_not_end(db: Db) {
        let world = World::start(db).await;
        let boss = json!({"primaryEmailAddress": format!("interim@{}", world.domain), "password": PASSWORD, "role": "super_admin", "userExpiry": 1});
        let zuid = create(&world, &world.owner, boss).await.json()["data"]["zuid"].as_i64().expect("a zuid");
        let interim = Someone { zuid, ..world.owner.clone() };
        let ask = mailward::app::change::Ask {
            route: mailward::domain::rights::Route::Organization(world.zoid),
            path: None,
            zuid: Some(world.owner.zuid),
            mode: mailward::app::accounts::AccountMode::DisableUser(Default::default()),
        };
        mailward::app::change::run(&world.app, &world::operator(), ask.clone()).await.expect("two there are");
        world.app.clock.advance(2 * DAY);
        tidy::run(&world.app).await.expect("tidied");
        assert_eq!(world.account(&interim).await.switches.user_disabled, None, "somebody has to stay");
        // As soon as there is another one it does.
        let enable = mailward::app::accounts::AccountMode::EnableUser(mailward::app::accounts::enable_user::EnableUser { unblock_incoming: false });
        mailward::app::change::run(&world.app, &world::operator(), mailward::app::change::Ask { mode: enable, ..ask }).await.expect("enabled");
        tidy::run(&world.app).await.expect("tidied");
        assert!(world.account(&interim).await.switches.user_disabled.is_some());
    }

    async fn users_are_deleted_in_every_shape_that_clients_send(db: Db) {
        let world = World::start(db).await;
        let collection = accounts_path(&world);
        let mut number = 0;
        let mut new = async || {
            number += 1;
            world.someone(&format!("gone{number}"), Role::Member).await
        };
        let gone = async |on: &Someone, answer: Answer| {
            changed(&answer);
            assert_eq!(effect_names(&world, &answer).await[..2], ["project", "end_sessions"]);
            assert!(world.find(on).await.is_none());
            assert!(!lives(&world, &on.user_token).await);
            world.get(&world.admin.org_token, &world.path(on)).await.refused(404, "RESOURCE_NOT_FOUND");
        };
        let by = &world.admin;
        for shape in 0..11 {
            let (one, path) = (new().await, |id: String| format!("{collection}/{id}"));
            let answer = match shape {
                0 => delete(&world, by, &collection, json!({"accountList": [one.zuid]})).await,
                1 => delete(&world, by, &collection, json!({"accountList": [one.zuid.to_string()]})).await,
                2 => delete(&world, by, &collection, json!({"accountList": [one.account_id]})).await,
                3 => delete(&world, by, &collection, json!({"emailList": [one.email]})).await,
                4 => delete(&world, by, &collection, json!({"zuid": one.zuid})).await,
                5 => delete(&world, by, &path(one.zuid.to_string()), json!({"accountList": [one.zuid]})).await,
                6 => delete(&world, by, &path(one.account_id.to_string()), json!({"zuid": one.zuid.to_string()})).await,
                7 => delete(&world, by, &path(one.email.clone()), none()).await,
                8 => world.send("DELETE", &path(one.zuid.to_string()), &[("authorization", &format!("Bearer {}", by.org_token))], "").await,
                9 => world.send("DELETE", &path(one.email.to_uppercase()), &[("authorization", &format!("Bearer {}", by.org_token))], "").await,
                _ => world.send("DELETE", &format!("{}?zuid={}", path(one.account_id.to_string()), one.zuid), &[("authorization", &format!("Bearer {}", by.org_token))], "").await,
            };
            gone(&one, answer).await;
        }
        // Many at once are one change with an entry each; a user named twice goes once.
        let (one, two) = (new().await, new().await);
        let answer = delete(&world, by, &collection, json!({"accountList": [one.zuid, two.account_id, one.account_id], "emailList": two.email})).await;
        changed(&answer);
        assert_eq!(entries(&world, &answer).await.len(), 2);
        // Again, they are not there.
        delete(&world, by, &collection, json!({"accountList": [one.zuid]})).await.refused(404, "RESOURCE_NOT_FOUND");
    }

    async fn a_deletion_is_all_or_nothing(db: Db) {
        let world = World::start(db).await;
        let collection = accounts_path(&world);
        let (mia, otto) = (&world.member, &world.other);
        let (zoid, _) = world::organization(&world.app, "Else", "else.example").await;
        let eve = world::someone(&world.app, zoid, "eve@else.example", Role::Member).await;
        for (body, status, code) in [
            (json!({"accountList": [mia.zuid, otto.zuid, world.owner.zuid]}), 403, "OPERATION_NOT_PERMITTED"),
            (json!({"accountList": [mia.zuid, world.admin.zuid]}), 403, "OPERATION_NOT_PERMITTED"),
            (json!({"accountList": [mia.zuid, eve.zuid]}), 404, "RESOURCE_NOT_FOUND"),
            (json!({"accountList": [mia.zuid, 5]}), 404, "RESOURCE_NOT_FOUND"),
            (json!({"emailList": [mia.email, eve.email]}), 404, "RESOURCE_NOT_FOUND"),
            (json!({"emailList": [mia.email, "nonsense"]}), 400, "INVALID_EMAILADDRESS"),
            (json!({"accountList": [mia.zuid], "zuid": otto.zuid}), 400, "INVALID_INPUT"),
            (json!({"accountList": [mia.zuid, "x"]}), 400, "DATATYPE_NOT_MATCHED"),
            (json!({"accountList": vec![mia.zuid; 101]}), 400, "PATTERN_NOT_MATCHED"),
            (json!({"accountList": vec![mia.zuid; 60], "emailList": vec![mia.email.clone(); 60]}), 400, "PATTERN_NOT_MATCHED"),
            (json!({"accountList": []}), 400, "PATTERN_NOT_MATCHED"),
            (none(), 400, "PATTERN_NOT_MATCHED"),
        ] {
            delete(&world, &world.admin, &collection, body).await.refused(status, code);
        }
        // Path and body that name different users.
        let on_otto = world.path(otto);
        let named = [("accountList", json!([mia.zuid])), ("emailList", json!([mia.email])), ("zuid", json!(mia.zuid))];
        for (key, value) in named {
            delete(&world, &world.admin, &on_otto, json!({key: value})).await.refused(400, "INVALID_INPUT");
            let by_address = format!("{collection}/{}", otto.email);
            delete(&world, &world.admin, &by_address, json!({key: value})).await.refused(400, "INVALID_INPUT");
        }
        let token = format!("Bearer {}", world.admin.org_token);
        let query = format!("{on_otto}?zuid={}", mia.zuid);
        world.send("DELETE", &query, &[("authorization", &token)], "").await.refused(400, "INVALID_INPUT");
        world.send("DELETE", &query, &[("authorization", &token)], json!({"zuid": otto.zuid}).to_string()).await.refused(400, "MORE_THAN_MAX_OCCURANCE");
        world.send("DELETE", &collection, &[("authorization", &token)], "").await.refused(400, "PATTERN_NOT_MATCHED");
        delete(&world, &world.owner, &world.path(&world.owner), none()).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert_eq!(page(&world, "").await.len(), 4, "nobody went");
    }

    async fn roles_are_given_in_every_shape_that_clients_send(db: Db) {
        let world = World::start(db).await;
        let (mia, otto, collection) = (&world.member, &world.other, accounts_path(&world));
        let role = async |path: &str, mut body: Value| {
            body["mode"] = "changeRole".into();
            world.put(&world.owner.org_token, path, body).await
        };
        let roles = async || (world.account(mia).await.role, world.account(otto).await.role);
        changed(&role(&collection, json!({"userList": [mia.zuid, otto.zuid.to_string()], "role": "admin"})).await);
        assert_eq!(roles().await, (Role::Admin, Role::Admin));
        unchanged(&role(&collection, json!({"userList": [mia.zuid, otto.zuid], "role": "ADMIN"})).await);
        changed(&role(&collection, json!({"userList": otto.account_id, "role": "member"})).await);
        changed(&role(&collection, json!({"zuid": mia.zuid, "role": "super_admin"})).await);
        assert_eq!(roles().await, (Role::SuperAdmin, Role::Member));
        changed(&role(&collection, json!({"zuid": mia.zuid, "newRole": "admin"})).await);
        changed(&role(&world.path(mia), json!({"newRole": "member"})).await);
        assert_eq!(roles().await, (Role::Member, Role::Member));
        // Rank counts with the next request already.
        changed(&role(&collection, json!({"userList": [mia.zuid], "role": "admin"})).await);
        changed(&world.mode(mia, otto, "disableMailAccount", none()).await);
        changed(&role(&collection, json!({"userList": [mia.zuid], "role": "member"})).await);
        world.mode(mia, otto, "enableMailAccount", none()).await.refused(403, "OPERATION_NOT_PERMITTED");

        // All or nothing.
        for (body, status, code) in [
            (json!({"userList": [mia.zuid, world.owner.zuid], "role": "admin"}), 403, "OPERATION_NOT_PERMITTED"),
            (json!({"userList": [mia.zuid, 5], "role": "admin"}), 404, "RESOURCE_NOT_FOUND"),
            (json!({"userList": [mia.zuid], "role": "admin", "newRole": "member"}), 400, "MORE_THAN_MAX_OCCURANCE"),
            (json!({"userList": [mia.zuid], "zuid": otto.zuid, "role": "admin"}), 400, "INVALID_INPUT"),
            (json!({"userList": vec![mia.zuid; 101], "role": "admin"}), 400, "PATTERN_NOT_MATCHED"),
            (json!({"userList": [mia.email], "role": "admin"}), 400, "DATATYPE_NOT_MATCHED"),
            (json!({"userList": [], "role": "admin"}), 400, "INVALID_INPUT"),
            (json!({"userList": [mia.zuid]}), 400, "LESS_THAN_MIN_OCCURANCE"),
        ] {
            role(&collection, body).await.refused(status, code);
        }
        role(&world.path(otto), json!({"userList": [mia.zuid], "role": "admin"})).await.refused(400, "INVALID_INPUT");
        assert_eq!(roles().await, (Role::Member, Role::Member));
        let own = role(&collection, json!({"userList": [world.owner.zuid], "role": "member"})).await;
        assert!(own.refused(403, "OPERATION_NOT_PERMITTED").contains("nobody changes the own role"));
        let said = world.mode(&world.admin, mia, "changeRole", json!({"role": "admin"})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(said.contains("only a super administrator"), "{said}");
    }

    async fn ids_say_what_they_are_and_are_never_given_twice(db: Db) {
        let world = World::start(db).await;
        let (zoid, _) = world::organization(&world.app, "Else", "else.example").await;
        let mut seen = BTreeSet::new();
        for number in 0..5 {
            let here = world.someone(&format!("x{number}"), Role::Member).await;
            let there = world::someone(&world.app, zoid, &format!("y{number}@else.example"), Role::Member).await;
            for one in [here.zuid, here.account_id, there.zuid, there.account_id] {
                assert!(seen.insert(one), "{one} was given twice");
            }
            done(&delete(&world, &world.admin, &accounts_path(&world), json!({"accountList": [here.zuid]})).await);
        }
        assert!(world.account(&world.member).await.credential.kind == PasswordKind::Permanent);
    }
}
