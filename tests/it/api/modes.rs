//! What all modes have in common: the documented forms, spellings and refusals of a `PUT`.

use mailward::domain::actor::Role;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{accounts_path, change_id, changed, done, entries, none, shown, unchanged};
use crate::rights::expected;
use crate::support::world::{Someone, World, config};

/// The body of a mode as the table has it, ready to be sent.
fn sample(mode: &expected::Mode) -> Value {
    let mut body: Value = serde_json::from_str(mode.body).expect("JSON");
    body["mode"] = mode.name.into();
    body
}

/// An alias to delete has to be there.
async fn with_alias(world: &World, on: &Someone, mode: &str) {
    if mode == "deleteEmailAlias" {
        let alias = format!("alias@{}", world.domain);
        world.mode(&world.owner, on, "addEmailAlias", json!({"emailAlias": [alias]})).await.ok();
    }
}

fn put_modes() -> impl Iterator<Item = expected::Mode> {
    expected::modes().into_iter().filter(|mode| matches!(mode.forms, "admin" | "both"))
}

both_engines! {
    async fn an_administrator_names_the_user_in_every_documented_way(db: Db) {
        let world = World::start(db).await;
        let collection = accounts_path(&world);
        for mode in put_modes() {
            let on = &world.member;
            let (zuid, account) = (on.zuid, on.account_id);
            for (id, named) in [
                (Some(zuid), json!(zuid)),
                (Some(zuid), json!(zuid.to_string())),
                (Some(zuid), Value::Null),
                (Some(account), json!(zuid)),
                (Some(account), json!(zuid.to_string())),
                (Some(account), Value::Null),
                (None, json!(zuid)),
                (None, json!(zuid.to_string())),
            ] {
                with_alias(&world, on, mode.name).await;
                let mut body = sample(&mode);
                body["zuid"] = named;
                let path = id.map_or(collection.clone(), |id| format!("{collection}/{id}"));
                done(&world.put(&world.owner.org_token, &path, body).await);
            }
        }
    }

    async fn a_person_uses_the_own_form_on_both_paths(db: Db) {
        let world = World::start(db).await;
        let on = world.someone("rita", Role::Member).await;
        let collection = accounts_path(&world);
        for mode in put_modes().filter(|mode| mode.forms == "both") {
            for (path, zuid) in [
                (format!("/api/accounts/{}", on.account_id), Value::Null),
                (format!("/api/accounts/{}/", on.account_id), json!(on.zuid)),
                (format!("{collection}/{}", on.account_id), Value::Null),
                (format!("{collection}/{}", on.zuid), json!(on.zuid.to_string())),
                (collection.clone(), json!(on.zuid)),
            ] {
                let mut body = sample(&mode);
                body["zuid"] = zuid;
                done(&world.put(&on.user_token, &path, body).await);
            }
        }
        // Administrators' modes have no own form, and say where they are.
        for mode in put_modes().filter(|mode| mode.forms == "admin") {
            let refused = world.own_mode(&on, mode.name, sample(&mode)).await;
            let hint = refused.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(hint.contains("/api/organization/{zoid}/accounts/{zuid}"), "{hint}");
        }
    }

    async fn whom_a_body_and_a_path_name_must_be_the_same_user(db: Db) {
        let world = World::start(db).await;
        let (token, collection) = (&world.admin.org_token, accounts_path(&world));
        let put = async |path: String, body: Value| world.put(token, &path, body).await;
        let mode = json!({"mode": "disableMailAccount"});
        let with = |zuid: Value| { let mut body = mode.clone(); body["zuid"] = zuid; body };
        let (mia, otto) = (&world.member, &world.other);

        let nobody = put(collection.clone(), mode.clone()).await;
        assert_eq!(nobody.refused(400, "INVALID_INPUT"), "zuid is null");
        let two = put(format!("{collection}/{}", otto.zuid), with(json!(mia.zuid))).await;
        assert!(two.refused(400, "INVALID_INPUT").contains("path and body name different users"));
        let two = put(format!("{collection}/{}", otto.account_id), with(json!(mia.zuid.to_string()))).await;
        two.refused(400, "INVALID_INPUT");

        // An unknown id is 404 and says what it looks like.
        let unknown = put(format!("{collection}/{}", mia.zuid + 900), with(Value::Null)).await;
        assert_eq!(
            unknown.refused(404, "RESOURCE_NOT_FOUND"),
            format!("Account id {} is invalid; it looks like a zuid", mia.zuid + 900)
        );
        let zoid = put(format!("{collection}/{}", world.zoid), with(Value::Null)).await;
        assert!(zoid.refused(404, "RESOURCE_NOT_FOUND").ends_with("it looks like a zoid"));
        let account = put(collection.clone(), with(json!(mia.account_id))).await;
        assert!(account.refused(404, "RESOURCE_NOT_FOUND").starts_with("zuid "), "an accountId is no zuid");
        put(format!("{collection}/{}", mia.account_id + 900), with(json!(mia.zuid))).await.refused(404, "RESOURCE_NOT_FOUND");
        put(format!("{collection}/7"), with(Value::Null)).await.refused(404, "RESOURCE_NOT_FOUND");
        // An address is for looking, not for changing.
        for nonsense in [mia.email.as_str(), "me", "-1", "1.0", "007", "99999999999999999999"] {
            let answer = put(format!("{collection}/{nonsense}"), with(json!(mia.zuid))).await;
            assert!(answer.refused(404, "URL_RULE_NOT_CONFIGURED").contains("zuid or accountId"));
        }
        for wrong in [json!(1.5), json!("x"), json!(true), json!([mia.zuid]), json!({}), json!(""), json!("+5"), json!(1e19)] {
            let answer = put(world.path(mia), with(wrong)).await;
            assert!(answer.refused(400, "DATATYPE_NOT_MATCHED").starts_with("zuid Input datatype does not match"));
        }
        for on in [mia, otto] {
            assert_eq!(world.account(on).await.version, 1, "nothing was changed");
        }
    }

    async fn another_organizations_user_is_nowhere(db: Db) {
        let world = World::start(db).await;
        let (zoid, _) = crate::support::world::organization(&world.app, "Else", "else.example").await;
        let theirs = crate::support::world::someone(&world.app, zoid, "eve@else.example", Role::Member).await;
        for mode in put_modes() {
            let mut body = sample(&mode);
            if mode.name == "changeRole" {
                body["userList"] = json!([theirs.zuid]);
            }
            // By their id on our path, and by our token on their path.
            let here = format!("{}/{}", accounts_path(&world), theirs.zuid);
            world.put(&world.owner.org_token, &here, body.clone()).await.refused(404, "RESOURCE_NOT_FOUND");
            let there = format!("/api/organization/{zoid}/accounts/{}", theirs.account_id);
            let answer = world.put(&world.owner.org_token, &there, body.clone()).await;
            assert_eq!(answer.refused(404, "RESOURCE_NOT_FOUND"), format!("Organization id {zoid} is invalid"));
            if mode.forms == "both" {
                let own = format!("/api/accounts/{}", theirs.account_id);
                world.put(&world.member.user_token, &own, body).await.refused(404, "RESOURCE_NOT_FOUND");
            }
        }
        assert_eq!(world.account(&theirs).await.version, 1);
    }

    async fn other_spellings_of_modes_and_parameters_are_understood(db: Db) {
        let world = World::start(db).await;
        let mode = async |mode: &str, body: Value| world.mode(&world.owner, &world.member, mode, body).await;
        let at = |local: &str| format!("{local}@{}", world.domain);
        changed(&mode("updateDisplayName", json!({"displayName": "One"})).await);
        changed(&mode("displayNameEmailAddressUpdate", json!({"displayName": "Two", "emailAddress": at("two")})).await);
        changed(&mode("addEmailAlias", json!({"emailAlias": at("single")})).await);
        changed(&mode("removeEmailAlias", json!({"emailAlias": [at("single")]})).await);
        changed(&mode("updateIMAPStatus", json!({"IMAPACCESSENABLED": false})).await);
        changed(&mode("updatePOPStatus", json!({"popAccessEnabled": "false"})).await);
        changed(&mode("updatePersonalInfo", json!({"phoneNumber": "123", "address": {"streetAddress": "1 Main"}})).await);
        changed(&mode("disableUser", json!({"removeMailForward": "true", "removeGroupMembership": true, "blockIncoming": "false", "password": "the administrator's own"})).await);
        changed(&mode("enableUser", json!({"password": "the administrator's own"})).await);
        for spelling in ["resetAuthToken", "resetAuthtoken", "reset Authtoken", "RESETAUTHTOKEN"] {
            changed(&mode("resetPassword", json!({"password": "t*c9ma", spelling: "false", "adminPassword": "own"})).await);
        }
        let account = world.account(&world.member).await;
        assert_eq!((account.primary.as_str(), account.generation), (at("two").as_str(), 1));
        assert_eq!((account.profile.display_name.as_str(), account.profile.phone_number.as_str()), ("Two", "123"));
        assert_eq!(account.profile.street_address, "1 Main");
        // Two spellings of one parameter that disagree are refused.
        let both = mode("resetPassword", json!({"password": "t*c9ma", "resetAuthToken": true, "resetAuthtoken": "false"})).await;
        assert!(both.refused(400, "MORE_THAN_MAX_OCCURANCE").starts_with("resetAuthToken"));
        changed(&mode("resetPassword", json!({"password": "t*c9ma", "resetAuthToken": false, "resetAuthtoken": "false"})).await);
    }

    async fn each_mode_says_what_its_body_lacks_or_has_wrong(db: Db) {
        let world = World::start(db).await;
        for (mode, parameter, wrong) in [
            ("resetPassword", "password", json!(5)),
            ("emailupdate", "emailAddress", json!(["a@b.example"])),
            ("displaynameupdate", "displayName", json!(5)),
            ("displaynameemailupdate", "displayName", json!({})),
            ("updateIncomingStatus", "incomingBlocked", json!("yes")),
            ("updateOutgoingStatus", "outgoingBlocked", json!(1)),
            ("updateIMAPStatus", "imapAccessEnabled", json!("True")),
            ("updatePOPStatus", "popAccessEnabled", json!([true])),
            ("addEmailAlias", "emailAlias", json!([5])),
            ("deleteEmailAlias", "emailAlias", json!({})),
            ("changeRole", "role", json!(true)),
        ] {
            let missing = world.mode(&world.owner, &world.member, mode, none()).await;
            assert_eq!(missing.refused(400, "LESS_THAN_MIN_OCCURANCE"), format!("{parameter} Less than minimum occurence"), "{mode}");
            let wrong = world.mode(&world.owner, &world.member, mode, json!({parameter: wrong})).await;
            let said = wrong.refused(400, "DATATYPE_NOT_MATCHED");
            assert!(said.starts_with(&format!("{parameter} Input datatype does not match: send ")), "{mode}: {said}");
        }
        for (mode, flag) in [
            ("resetPassword", "resetAuthToken"), ("resetPassword", "oneTimePassword"), ("resetPassword", "keepAppPasswords"),
            ("enableUser", "unblockIncoming"), ("disableUser", "blockIncoming"), ("disableUser", "removeMailforward"),
            ("disableUser", "removeGroupMembership"), ("disableUser", "removeAlias"),
        ] {
            for wrong in [json!("yes"), json!(0), json!("TRUE"), json!([]), json!("")] {
                let answer = world.mode(&world.owner, &world.member, mode, json!({"password": "t*c9ma", flag: wrong})).await;
                assert!(answer.refused(400, "DATATYPE_NOT_MATCHED").starts_with(flag));
            }
        }
        for (mode, body) in [
            ("displaynameupdate", json!({"displayName": "x".repeat(101)})),
            ("displaynameupdate", json!({"displayName": "two\nlines"})),
            ("updatePersonalInfo", json!({"gender": "other"})),
            ("updatePersonalInfo", json!({"country": "x".repeat(101)})),
            ("changeRole", json!({"role": "boss"})),
            ("addEmailAlias", json!({"emailAlias": vec!["a@zylker.example"; 101]})),
        ] {
            world.mode(&world.owner, &world.member, mode, body).await.refused(400, "PATTERN_NOT_MATCHED");
        }
        assert_eq!(world.account(&world.member).await.version, 1, "nothing was changed");
    }

    async fn an_unknown_mode_is_answered_with_those_there_are(db: Db) {
        let world = World::start(db).await;
        let unknown = world.mode(&world.owner, &world.member, "resetPasword", none()).await;
        let said = unknown.refused(400, "PATTERN_NOT_MATCHED");
        assert!(said.contains("did you mean resetPassword?"), "{said}");
        for mode in put_modes() {
            assert!(said.contains(mode.name), "{said} lacks {}", mode.name);
        }
        // What the original has and Mailward has not is no misspelling of something that does harm.
        for (mode, worse) in [("addVacationReply", "changeRole"), ("disableMailForward", "disableMailAccount"), ("deleteMailForward", "deleteEmailAlias")] {
            let said = world.mode(&world.owner, &world.member, mode, none()).await.refused(400, "PATTERN_NOT_MATCHED");
            assert!(said.contains("the original has this mode") && !said.contains(&format!("mean {worse}")), "{said}");
        }
        let said = world.mode(&world.owner, &world.member, "nonsense", none()).await.refused(400, "PATTERN_NOT_MATCHED");
        assert!(!said.contains("did you mean"), "{said}");
        // The name's case counts, and a deletion is no mode.
        world.mode(&world.owner, &world.member, "resetpassword", json!({"password": "t*c9ma"})).await.refused(400, "PATTERN_NOT_MATCHED");
        world.mode(&world.owner, &world.member, "deleteUser", none()).await.refused(400, "PATTERN_NOT_MATCHED");
        let missing = world.put(&world.owner.org_token, &world.path(&world.member), none()).await;
        assert_eq!(missing.refused(400, "LESS_THAN_MIN_OCCURANCE"), "mode Less than minimum occurence");
        world.put(&world.owner.org_token, &world.path(&world.member), json!({"mode": ["enableUser"]})).await.refused(400, "DATATYPE_NOT_MATCHED");
    }

    async fn strictness_refuses_unknown_keys_and_demands_zuid(db: Db) {
        let mut config = config();
        config.compat.strict = true;
        let world = World::start_with(db, config).await;
        let (token, on) = (&world.owner.org_token, &world.member);
        for mode in put_modes().filter(|mode| mode.name != "deleteEmailAlias") {
            let without = world.put(token, &world.path(on), sample(&mode)).await;
            assert_eq!(without.refused(400, "INVALID_INPUT"), "zuid is null", "{}", mode.name);
            let mut unknown = sample(&mode);
            unknown["surprise"] = json!(1);
            let unknown = world.mode(&world.owner, on, mode.name, unknown).await;
            assert_eq!(unknown.refused(404, "EXTRA_KEY_FOUND_IN_JSON"), "surprise Extra paramters given");
            done(&world.mode(&world.owner, on, mode.name, sample(&mode)).await);
        }
        for path in [accounts_path(&world), world.path(on)] {
            let method = if path == accounts_path(&world) { "GET" } else { "DELETE" };
            let path = format!("{path}?surprise=1");
            let unknown = world.send(method, &path, &[("authorization", &format!("Bearer {token}"))], "").await;
            assert_eq!(unknown.refused(400, "EXTRA_PARAM_FOUND"), "surprise Extra paramters given", "{method}");
        }
        world.get(token, &format!("{}?start=0&limit=5", accounts_path(&world))).await.ok();
        // The own form needs no zuid, and what earlier editions asked for is known.
        done(&world.own_mode(&world.other, "enableMailAccount", json!({"password": "own"})).await);
        world.own_mode(&world.other, "enableMailAccount", json!({"surprise": 1})).await.refused(404, "EXTRA_KEY_FOUND_IN_JSON");
        world.mode(&world.owner, on, "updatePersonalInfo", json!({"address": {"planet": "Earth"}})).await.refused(404, "EXTRA_KEY_FOUND_IN_JSON");
        let body = json!({"primaryEmailAddress": format!("new@{}", world.domain), "password": "sleepy otters 42", "employeeId": "17"});
        assert_eq!(world.with_body("POST", token, &accounts_path(&world), body).await.status, 201, "documented, though for something else");
        // Lists name the users themselves.
        done(&world.put(token, &accounts_path(&world), json!({"mode": "changeRole", "userList": [on.zuid], "role": "admin"})).await);
        done(&world.with_body("DELETE", token, &accounts_path(&world), json!({"accountList": [on.zuid]})).await);
        // So do calls that the original has not.
        let bearer = format!("Bearer {token}");
        world.send("POST", &format!("{}/compromised", world.path(&world.other)), &[("authorization", &bearer)], "").await.ok();
        done(&world.send("DELETE", &world.path(&world.other), &[("authorization", &bearer)], "").await);
    }

    async fn a_repeat_that_finds_its_state_changes_nothing(db: Db) {
        let world = World::start(db).await;
        for mode in put_modes().filter(|mode| !matches!(mode.name, "resetPassword" | "deleteEmailAlias" | "enableUser" | "enableMailAccount" | "changeRole")) {
            changed_or_not(&world, &mode).await;
        }
        for (mode, body) in [
            ("enableUser", json!({"unblockIncoming": true})),
            ("enableMailAccount", none()),
            ("updateIncomingStatus", json!({"incomingBlocked": false})),
            ("updateOutgoingStatus", json!({"outgoingBlocked": "false"})),
            ("updateIMAPStatus", json!({"imapAccessEnabled": true})),
            ("updatePOPStatus", json!({"popAccessEnabled": "true"})),
            ("changeRole", json!({"role": "member"})),
        ] {
            unchanged(&world.mode(&world.owner, &world.other, mode, body).await);
        }
        // A reset is a new credential each time.
        let first = world.mode(&world.owner, &world.other, "resetPassword", json!({"password": "t*c9ma"})).await;
        let second = world.mode(&world.owner, &world.other, "resetPassword", json!({"password": "t*c9ma"})).await;
        assert_ne!(change_id(&first), change_id(&second));
    }

    async fn personal_information_is_kept_and_shown(db: Db) {
        let world = World::start(db).await;
        let body = json!({"displayName": " Rebecca Anderson ", "firstName": "Rebecca", "lastName": "Anderson",
            "gender": "female", "country": "in", "language": "en", "timeZone": "Asia/Kolkata",
            "phoneNumer": "0441234567", "mobileNumber": "9876543210",
            "address": {"streetAddr": "1 Main Street", "city": "Chennai", "postalCode": "600001", "state": "TN"}});
        let answer = world.mode(&world.admin, &world.member, "updatePersonalInfo", body).await;
        changed(&answer);
        let shown = shown(&world, &world.member).await;
        for (field, value) in [("displayName", "Rebecca Anderson"), ("accountDisplayName", "Rebecca Anderson"), ("firstName", "Rebecca"),
            ("lastName", "Anderson"), ("gender", "FEMALE"), ("country", "in"), ("language", "en"), ("timeZone", "Asia/Kolkata"),
            ("phoneNumer", "0441234567"), ("mobileNumber", "9876543210")] {
            assert_eq!(shown[field], value, "{field}");
        }
        assert_eq!(shown["address"], json!({"streetAddr": "1 Main Street", "city": "Chennai", "postalCode": "600001", "state": "TN", "country": "in"}));
        let entry = &entries(&world, &answer).await[0];
        let what: Vec<_> = entry["differences"].as_array().expect("differences").iter().map(|one| one["what"].as_str().expect("a name").to_owned()).collect();
        assert_eq!(what.len(), 13, "each line is in the audit entry: {what:?}");
        // What is left out stays.
        changed(&world.mode(&world.admin, &world.member, "updatePersonalInfo", json!({"address": {"city": "Madurai"}, "gender": null})).await);
        let profile = world.account(&world.member).await.profile;
        assert_eq!((profile.city.as_str(), profile.state.as_str(), profile.gender.as_str()), ("Madurai", "TN", "FEMALE"));
    }
}

async fn changed_or_not(world: &World, mode: &expected::Mode) {
    let first = world.mode(&world.owner, &world.member, mode.name, sample(mode)).await;
    done(&first);
    let repeat = world.mode(&world.owner, &world.member, mode.name, sample(mode)).await;
    unchanged(&repeat);
}
