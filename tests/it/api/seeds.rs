//! The sample requests of the four documents that the product was asked for, word for word but
//! for host, token, domain and ids; each answers the documented body exactly.

use mailward::store::engine::Db;

use crate::support::world::{Answer, World};

const SUCCESS: &str = r#"{"status":{"code":200,"description":"success"}}"#;

async fn send(world: &World, token: &str, path: &str, body: &str) -> Answer {
    let token = format!("Zoho-oauthtoken {token}");
    let headers = [
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("authorization", token.as_str()),
    ];
    world.send("PUT", path, &headers, body.to_owned()).await
}

#[track_caller]
fn documented(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, SUCCESS));
    assert_eq!(answer.headers["content-type"], "application/json");
}

both_engines! {
    async fn reset_user_password_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        let zuid = world.member.zuid;
        let body = format!("{{\n  \"password\": \"t*c9ma\",\n  \"resetAuthtoken\": true,\n  \"oneTimePassword\": true,\n  \"zuid\": {zuid},\n  \"mode\": \"resetPassword\"\n}}");
        documented(&send(&world, &world.owner.org_token, &world.path(&world.member), &body).await);
        assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 401, "every token has ended");
        let answer = world.self_password(&world.member.email, "t*c9ma", "a-new-secret-of-mine").await;
        assert_eq!(answer.status, 200, "the one-time password opens the choice of a new one: {}", answer.text);
    }

    async fn update_email_address_by_an_administrator_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/organization/{}/accounts/{}", world.zoid, world.member.account_id);
        let body = format!("{{\n   \"zuid\": \"{}\",\n   \"mode\": \"emailupdate\",\n   \"emailAddress\": \"rebecca@{}\"\n}}", world.member.zuid, world.domain);
        documented(&send(&world, &world.owner.org_token, &path, &body).await);
        let account = world.account(&world.member).await;
        assert_eq!(account.primary.as_str(), format!("rebecca@{}", world.domain));
        assert_eq!(account.aliases.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), world.member.email);
    }

    async fn update_email_address_by_the_user_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/accounts/{}", world.member.account_id);
        let body = format!("{{\n   \"mode\": \"emailupdate\",\n   \"emailAddress\": \"rebecca@{}\"\n}}", world.domain);
        documented(&send(&world, &world.member.user_token, &path, &body).await);
        assert_eq!(world.account(&world.member).await.primary.as_str(), format!("rebecca@{}", world.domain));
    }

    async fn enable_user_by_an_administrator_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        world.mode(&world.owner, &world.member, "disableUser", serde_json::json!({"blockIncoming": "true"})).await.ok();
        let path = format!("/api/organization/{}/accounts/{}", world.zoid, world.member.account_id);
        let body = format!("{{ \n\"mode\":\"enableUser\",\n\"unblockIncoming\":\"true\",\n\"zuid\":\"{}\"\n}}", world.member.zuid);
        documented(&send(&world, &world.owner.org_token, &path, &body).await);
        let switches = world.account(&world.member).await.switches;
        assert_eq!((switches.user_disabled, switches.incoming_blocked), (None, None));
    }

    async fn enable_user_by_the_user_on_the_organization_path_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        world.own_mode(&world.member, "disableMailAccount", serde_json::json!({})).await.ok();
        let path = format!("/api/organization/{}/accounts/{}", world.zoid, world.member.account_id);
        let body = "{ \n\"mode\":\"enableUser\",\n\"unblockIncoming\":\"true\"\n}";
        documented(&send(&world, &world.member.user_token, &path, body).await);
        assert_eq!(world.account(&world.member).await.switches.mail_disabled, None);
    }

    async fn disable_mail_account_by_an_administrator_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/organization/{}/accounts/{}", world.zoid, world.member.account_id);
        let body = format!("{{\n\"zuid\": {},\n\"mode\": \"disableMailAccount\"\n}}", world.member.zuid);
        documented(&send(&world, &world.owner.org_token, &path, &body).await);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some());
        assert_eq!(world.get(&world.member.user_token, "/api/accounts").await.status, 200, "tokens live on");
    }

    async fn disable_mail_account_by_the_user_answers_as_documented(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/accounts/{}", world.member.account_id);
        documented(&send(&world, &world.member.user_token, &path, "{\n\"mode\" : \"disableMailAccount\"\n}").await);
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some());
    }
}
