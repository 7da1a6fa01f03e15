//! Switches and blocks: what each mode turns, who may lift what, and what ends with it.

use mailward::app::accounts::AccountMode;
use mailward::app::accounts::TargetName;
use mailward::app::accounts::change_role::ChangeRole;
use mailward::app::accounts::delete_user::DeleteUser;
use mailward::app::accounts::disable_user::DisableUser;
use mailward::app::change::{self, Ask};
use mailward::domain::account::Switches;
use mailward::domain::actor::{Rank, Role};
use mailward::domain::rights::Route;
use mailward::error::Error;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::{changed, effect_names, effects, entries, lives, mode_saying, none, shown, unchanged};
use crate::support::world::{START, Someone, World, operator};

/// The switches that are on, by the names of the charter.
fn on(switches: &Switches) -> Vec<&'static str> {
    let all = [
        ("user", &switches.user_disabled),
        ("mail", &switches.mail_disabled),
        ("incoming", &switches.incoming_blocked),
        ("outgoing", &switches.outgoing_blocked),
        ("imap", &switches.imap_off),
        ("pop", &switches.pop_off),
    ];
    all.into_iter().filter(|(_, switch)| switch.is_some()).map(|(name, _)| name).collect()
}

async fn on_of(world: &World, person: &Someone) -> Vec<&'static str> {
    on(&world.account(person).await.switches)
}

both_engines! {
    async fn each_mode_turns_its_own_switches_and_is_seen(db: Db) {
        let world = World::start(db).await;
        for (mode, body, wanted, seen) in [
            ("disableMailAccount", none(), vec!["mail"], json!({"mailboxStatus": "disabled", "accountEnabled": false, "enabled": true, "smtpStatus": false})),
            ("enableMailAccount", none(), vec![], json!({"mailboxStatus": "enabled", "accountEnabled": true, "smtpStatus": true})),
            ("updateIncomingStatus", json!({"incomingBlocked": "true"}), vec!["incoming"], json!({"incomingBlocked": true})),
            ("updateIncomingStatus", json!({"incomingBlocked": false}), vec![], json!({"incomingBlocked": false})),
            ("updateOutgoingStatus", json!({"outgoingBlocked": true}), vec!["outgoing"], json!({"outgoingBlocked": true, "smtpStatus": false})),
            ("updateOutgoingStatus", json!({"outgoingBlocked": "false"}), vec![], json!({"outgoingBlocked": false, "smtpStatus": true})),
            ("updateIMAPStatus", json!({"imapAccessEnabled": "false"}), vec!["imap"], json!({"imapAccessEnabled": false, "imapBlocked": true})),
            ("updatePOPStatus", json!({"popAccessEnabled": false}), vec!["imap", "pop"], json!({"popAccessEnabled": false, "popBlocked": true})),
            ("updateIMAPStatus", json!({"imapAccessEnabled": true}), vec!["pop"], json!({"imapAccessEnabled": true, "imapBlocked": false})),
            ("updatePOPStatus", json!({"popAccessEnabled": "true"}), vec![], json!({"popAccessEnabled": true})),
            ("disableUser", none(), vec!["user"], json!({"enabled": false, "status": false, "iamStatus": 0, "webBlocked": true, "incomingBlocked": false})),
            ("disableUser", json!({"blockIncoming": "true"}), vec!["user", "incoming"], json!({"incomingBlocked": true})),
            ("disableMailAccount", none(), vec!["user", "mail", "incoming"], none()),
            ("enableMailAccount", none(), vec!["user", "incoming"], none()),
            ("disableMailAccount", none(), vec!["user", "mail", "incoming"], none()),
            ("enableUser", none(), vec!["incoming"], json!({"enabled": true, "status": true, "iamStatus": 1, "mailboxStatus": "enabled", "incomingBlocked": true})),
            ("enableUser", json!({"unblockIncoming": "true"}), vec![], json!({"incomingBlocked": false})),
        ] {
            changed(&world.mode(&world.admin, &world.member, mode, body.clone()).await);
            assert_eq!(on_of(&world, &world.member).await, wanted, "{mode} {body}");
            let object = shown(&world, &world.member).await;
            for (field, value) in seen.as_object().expect("fields") {
                assert_eq!(object[field], *value, "{field} after {mode} {body}");
            }
        }
    }

    async fn disabling_ends_what_it_must_and_nothing_more(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let all = json!({"effect": "end_sessions", "mailbox": world.account(mia).await.mailbox, "sessions": "all"});
        let project = json!({"effect": "project"});

        let off = world.mode(&world.admin, mia, "disableMailAccount", none()).await;
        assert_eq!(effects(&world, &off).await, [project.clone(), all.clone()]);
        assert!(lives(&world, &mia.user_token).await, "tokens live on");
        unchanged(&world.mode(&world.admin, mia, "disableMailAccount", none()).await);
        let back = world.mode(&world.admin, mia, "enableMailAccount", none()).await;
        assert_eq!(effects(&world, &back).await, std::slice::from_ref(&project), "enabling ends nothing");

        for (mode, body, wanted) in [
            ("updateIMAPStatus", json!({"imapAccessEnabled": false}), vec![project.clone(), all.clone()]),
            ("updatePOPStatus", json!({"popAccessEnabled": false}), vec![project.clone(), all.clone()]),
            ("updateIncomingStatus", json!({"incomingBlocked": true}), vec![project.clone()]),
            ("updateOutgoingStatus", json!({"outgoingBlocked": true}), vec![project.clone()]),
        ] {
            let answer = world.mode(&world.admin, mia, mode, body).await;
            assert_eq!(effects(&world, &answer).await, wanted, "{mode}");
        }
        assert!(lives(&world, &mia.user_token).await);

        let epoch = world.account(mia).await.session_epoch;
        let off = world.mode(&world.admin, mia, "disableUser", none()).await;
        assert_eq!(effects(&world, &off).await, [project, all]);
        assert!(!lives(&world, &mia.user_token).await, "tokens are revoked");
        unchanged(&world.mode(&world.admin, mia, "disableUser", none()).await);
        changed(&world.mode(&world.admin, mia, "enableUser", none()).await);
        assert!(!lives(&world, &mia.user_token).await, "and do not come back");
        assert_eq!(world.account(mia).await.session_epoch, epoch + 1);
    }

    async fn a_switch_remembers_who_when_and_why(db: Db) {
        let world = World::start(db).await;
        let why = [("x-mailward-reason", "lost his telephone — ünïcode")];
        let answer = mode_saying(&world, &world.admin, &world.member, "disableUser", none(), &why).await;
        changed(&answer);
        let block = world.account(&world.member).await.switches.user_disabled.expect("disabled");
        assert_eq!((block.rank, block.at), (Rank::Admin, START));
        assert_eq!(block.by.to_string(), format!("user {}", world.admin.zuid));
        assert_eq!(block.reason.expect("a reason").as_str(), "lost his telephone — ünïcode");
        assert_eq!(entries(&world, &answer).await[0]["reason"], "lost his telephone — ünïcode");

        let long = "x".repeat(201);
        for bad in [long.as_str(), "tab\there"] {
            let answer = mode_saying(&world, &world.admin, &world.other, "disableUser", none(), &[("x-mailward-reason", bad)]).await;
            assert!(answer.refused(400, "PATTERN_NOT_MATCHED").contains("200 characters"));
        }
        let longest = "x".repeat(200);
        changed(&mode_saying(&world, &world.admin, &world.other, "disableUser", none(), &[("x-mailward-reason", &longest)]).await);
    }

    async fn a_higher_rank_takes_a_block_over_and_a_lower_one_cannot_lift_it(db: Db) {
        let world = World::start(db).await;
        let anna = world.someone("anna", Role::Admin).await;
        let mia = &world.member;
        for (mode, body, undo, undo_body) in [
            ("disableMailAccount", none(), "enableMailAccount", none()),
            ("updateIncomingStatus", json!({"incomingBlocked": true}), "updateIncomingStatus", json!({"incomingBlocked": false})),
            ("updateOutgoingStatus", json!({"outgoingBlocked": true}), "updateOutgoingStatus", json!({"outgoingBlocked": false})),
            ("updateIMAPStatus", json!({"imapAccessEnabled": false}), "updateIMAPStatus", json!({"imapAccessEnabled": true})),
            ("updatePOPStatus", json!({"popAccessEnabled": false}), "updatePOPStatus", json!({"popAccessEnabled": true})),
            ("disableUser", none(), "enableUser", none()),
        ] {
            changed(&world.mode(&world.admin, mia, mode, body.clone()).await);
            unchanged(&world.mode(&anna, mia, mode, body.clone()).await);
            let over = mode_saying(&world, &world.owner, mia, mode, body.clone(), &[("x-mailward-reason", "mine now")]).await;
            changed(&over);
            assert_eq!(effect_names(&world, &over).await, ["project"], "no session is cut by a take-over");
            let difference = entries(&world, &over).await[0]["differences"][0].clone();
            assert!(difference["from"].as_str().expect("text").contains("an administrator"), "{difference}");
            assert!(difference["to"].as_str().expect("text").contains("a super administrator"), "{difference}");
            unchanged(&world.mode(&world.owner, mia, mode, body.clone()).await);
            unchanged(&world.mode(&world.admin, mia, mode, body).await);

            let before = world.account(mia).await;
            let refused = world.mode(&world.admin, mia, undo, undo_body.clone()).await;
            let hint = refused.refused(403, "OPERATION_NOT_PERMITTED");
            assert!(hint.contains("set by a super administrator"), "{hint}");
            assert_eq!(world.account(mia).await, before);
            changed(&world.mode(&world.owner, mia, undo, undo_body).await);
        }
        // The same rank lifts what another of that rank set; super administrators act on each other.
        changed(&world.mode(&world.admin, mia, "disableUser", none()).await);
        changed(&world.mode(&anna, mia, "enableUser", none()).await);
        let olga = world.someone("olga", Role::SuperAdmin).await;
        changed(&world.mode(&world.owner, &olga, "disableMailAccount", none()).await);
        changed(&world.mode(&world.owner, &olga, "enableMailAccount", none()).await);
    }

    async fn on_oneself_only_the_own_blocks_are_lifted_whichever_path_is_used(db: Db) {
        let world = World::start(db).await;
        let mia = &world.member;
        let own = async |mode: &str, body: Value| world.own_mode(mia, mode, body).await;
        // Nothing is blocked: fine.
        unchanged(&own("enableUser", json!({"unblockIncoming": true})).await);
        // Own blocks come and go.
        changed(&own("disableMailAccount", none()).await);
        changed(&own("updateIMAPStatus", json!({"imapAccessEnabled": "false"})).await);
        changed(&own("enableUser", json!({"unblockIncoming": "true"})).await);
        changed(&own("updateIMAPStatus", json!({"imapAccessEnabled": "true"})).await);

        // An administrator's block stays, and nothing of an all-or-nothing call is done.
        changed(&own("disableMailAccount", none()).await);
        changed(&world.mode(&world.admin, mia, "updateIncomingStatus", json!({"incomingBlocked": true})).await);
        let hint = own("enableUser", json!({"unblockIncoming": true})).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(hint.contains("the block of incoming mail was set by an administrator"), "{hint}");
        assert_eq!(on_of(&world, mia).await, ["mail", "incoming"]);
        let path = format!("/api/organization/{}/accounts/{}", world.zoid, mia.account_id);
        let body = json!({"mode": "enableUser", "unblockIncoming": "true"});
        world.put(&mia.user_token, &path, body).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert_eq!(on_of(&world, mia).await, ["mail", "incoming"]);
        changed(&own("enableUser", none()).await);
        assert_eq!(on_of(&world, mia).await, ["incoming"], "what it did not ask for is no obstacle");

        // A block that was taken over is not one's own any more.
        changed(&own("disableMailAccount", none()).await);
        changed(&world.mode(&world.admin, mia, "disableMailAccount", none()).await);
        let hint = own("enableMailAccount", none()).await.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(hint.contains("the block of the mail account"), "{hint}");

        // Also a super administrator does not lift on the own account what another one set.
        let olga = world.someone("olga", Role::SuperAdmin).await;
        changed(&world.mode(&world.owner, &olga, "updateOutgoingStatus", json!({"outgoingBlocked": true})).await);
        world.mode(&olga, &olga, "updateOutgoingStatus", json!({"outgoingBlocked": false})).await.refused(403, "OPERATION_NOT_PERMITTED");
        changed(&world.mode(&olga, &olga, "updatePOPStatus", json!({"popAccessEnabled": false})).await);
        changed(&world.mode(&olga, &olga, "updatePOPStatus", json!({"popAccessEnabled": true})).await);
    }

    async fn disabling_a_user_takes_aliases_away_when_asked(db: Db) {
        let world = World::start(db).await;
        let alias = format!("second@{}", world.domain);
        changed(&world.mode(&world.admin, &world.member, "addEmailAlias", json!({"emailAlias": [alias]})).await);
        let body = json!({"removeAlias": "true", "removeMailforward": "true", "removeGroupMembership": "true"});
        let answer = world.mode(&world.admin, &world.member, "disableUser", body).await;
        changed(&answer);
        assert_eq!(world.account(&world.member).await.aliases, []);
        let notes = entries(&world, &answer).await[0]["notes"].clone();
        assert_eq!(notes, json!({"removeMailforward": "nothing to remove", "removeGroupMembership": "nothing to remove"}));
        // It is kept for its former account.
        changed(&world.mode(&world.admin, &world.member, "enableUser", none()).await);
        world.mode(&world.admin, &world.other, "addEmailAlias", json!({"emailAlias": [alias]})).await.refused(400, "EMAILADDRESS_ALREADY_EXISTS");
        changed(&world.mode(&world.admin, &world.member, "addEmailAlias", json!({"emailAlias": [alias]})).await);
    }

    async fn the_last_enabled_super_administrator_stays(db: Db) {
        let world = World::start(db).await;
        let refused = world.mode(&world.owner, &world.owner, "disableUser", none()).await;
        let hint = refused.refused(403, "OPERATION_NOT_PERMITTED");
        assert!(hint.contains("the last enabled super administrator cannot be disabled"), "{hint}");
        // Mail is another matter.
        changed(&world.mode(&world.owner, &world.owner, "disableMailAccount", none()).await);

        // A disabled one does not count.
        let olga = world.someone("olga", Role::SuperAdmin).await;
        changed(&world.mode(&world.owner, &olga, "disableUser", none()).await);
        world.mode(&world.owner, &world.owner, "disableUser", none()).await.refused(403, "OPERATION_NOT_PERMITTED");
        changed(&world.mode(&world.owner, &olga, "enableUser", none()).await);

        // Two in one call: the operator is bound by the rule too, and nothing of the call is done.
        let both: Vec<_> = [&world.owner, &olga].map(|one| TargetName::Number(one.zuid)).into();
        for mode in [
            AccountMode::DeleteUser(DeleteUser { users: both.clone() }),
            AccountMode::ChangeRole(ChangeRole { users: both.clone(), role: Role::Admin, help_desk: None }),
        ] {
            let ask = Ask { route: Route::Organization(world.zoid), path: None, zuid: None, mode };
            match change::run(&world.app, &operator(), ask).await {
                Err(Error::Forbidden(why)) => assert!(why.contains("last enabled super administrator"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        for one in [&world.owner, &olga] {
            assert_eq!(world.account(one).await.role, Role::SuperAdmin);
        }
        // One of the two may go; then the other is the last.
        let ona = world.someone("ona", Role::SuperAdmin).await;
        changed(&world.mode(&ona, &world.owner, "disableUser", none()).await);
        changed(&world.mode(&ona, &ona, "disableUser", none()).await);
        let disable = AccountMode::DisableUser(DisableUser::default());
        let ask = Ask { route: Route::Organization(world.zoid), path: None, zuid: Some(olga.zuid), mode: disable };
        assert!(matches!(change::run(&world.app, &operator(), ask).await, Err(Error::Forbidden(_))));
    }
}
