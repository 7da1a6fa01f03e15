//! The HTTP door, as clients see it. What its tests share stands here.

mod addresses;
mod compromised;
mod dry_run;
mod errors;
mod help_desk;
mod journal;
mod modes;
mod oauth;
mod once;
mod organizations;
mod own_password;
mod passwords;
mod safeguards;
mod seeds;
mod switches;
mod users;

use mailward::app::organizations as desk;
use mailward::domain::ids::ChangeId;
use mailward::domain::policy::Policy;
use mailward::store;
use serde_json::{Value, json};

use crate::support::world::{Answer, Someone, World, effects_of, operator};

const SUCCESS: &str = r#"{"status":{"code":200,"description":"success"}}"#;

/// The answer of an action: the bare envelope.
#[track_caller]
fn done(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, SUCCESS));
}

/// Done, and something was changed.
#[track_caller]
fn changed(answer: &Answer) {
    done(answer);
    assert!(answer.change().is_some(), "a change names itself");
}

/// Done, and nothing was changed.
#[track_caller]
fn unchanged(answer: &Answer) {
    done(answer);
    assert_eq!(answer.change(), None, "nothing changed, so there is no change to name");
}

fn change_id(answer: &Answer) -> ChangeId {
    answer.change().expect("a change").parse().expect("a change id")
}

/// The effects that the change left in the outbox, in order.
async fn effects(world: &World, answer: &Answer) -> Vec<Value> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let waiting = effects_of(&mut tx, world.zoid, change_id(answer)).await;
    waiting.iter().map(|waiting| serde_json::to_value(&waiting.effect).expect("JSON")).collect()
}

/// The names of these effects.
async fn effect_names(world: &World, answer: &Answer) -> Vec<String> {
    let effects = effects(world, answer).await;
    effects.iter().map(|effect| effect["effect"].as_str().expect("a name").to_owned()).collect()
}

/// The audit entries of the change, one for each account.
async fn entries(world: &World, answer: &Answer) -> Vec<Value> {
    let mut tx = world.app.db.read().await.expect("a connection");
    let rows = store::audit::of_change(&mut tx, world.zoid, change_id(answer)).await.expect("entries");
    rows.iter().map(|row| serde_json::from_str(&row.entry).expect("JSON")).collect()
}

/// A mode by an administrator, with more headers.
async fn mode_saying(
    world: &World,
    by: &Someone,
    on: &Someone,
    mode: &str,
    mut body: Value,
    more: &[(&str, &str)],
) -> Answer {
    body["mode"] = mode.into();
    body["zuid"] = on.zuid.into();
    let token = format!("Zoho-oauthtoken {}", by.org_token);
    let mut headers = vec![("authorization", token.as_str()), ("content-type", "application/json")];
    headers.extend(more);
    world.send("PUT", &world.path(on), &headers, body.to_string()).await
}

fn accounts_path(world: &World) -> String {
    format!("/api/organization/{}/accounts", world.zoid)
}

/// Changes the organization's policy.
pub async fn policy(world: &World, edit: impl Fn(&mut Policy) + Send + Sync + 'static) {
    desk::update(&world.app, &operator(), world.zoid, move |organization, _| {
        edit(&mut organization.policy);
        Ok(())
    })
    .await
    .expect("a new policy");
}

/// Whether the token still opens the own account.
async fn lives(world: &World, token: &str) -> bool {
    let answer = world.get(token, "/api/accounts").await;
    match answer.status.as_u16() {
        200 => true,
        401 => {
            answer.refused(401, "INVALID_OAUTHTOKEN");
            false
        }
        other => panic!("{other}: {}", answer.text),
    }
}

/// What the administrator reads of somebody.
async fn shown(world: &World, on: &Someone) -> Value {
    world.get(&world.owner.org_token, &world.path(on)).await.ok().json()["data"].clone()
}

fn none() -> Value {
    json!({})
}
