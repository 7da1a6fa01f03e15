//! Passwords whose time has ended. The look-ups stop opening for an app password by themselves; here
//! it is taken away, and the sessions that it opened end.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::change::{self, Ask, Caller, Context, Door, Plan, Rules, Step, follow_up, store_plan};
use crate::domain::account::{Facts, Transition};
use crate::domain::actor::Actor;
use crate::domain::ids::{ChangeId, OrganizationId, UserId};
use crate::domain::rights::{Form, Route};
use crate::domain::switch::{Hand, Reason};
use crate::error::Result;
use crate::store;
use crate::store::accounts::Handle;

const AT_ONCE: usize = 100;

fn context(reason: &str) -> Result<Context> {
    Ok(Context {
        caller: Caller::Clock,
        door: Door::Clock,
        request_id: "expiry".to_owned(),
        source: None,
        reason: Reason::parse(reason)?,
        release: None,
    })
}

/// Revokes app passwords whose time has ended; answers how many.
///
/// # Errors
/// When the database cannot be read; one that cannot be revoked is tried again the next time.
pub async fn app_passwords(app: &App) -> Result<usize> {
    let mut revoked = 0;
    loop {
        let now = app.clock.now();
        let due = store::accounts::expired_app_passwords(&mut *app.db.read().await?, now, AT_ONCE).await?;
        let before = revoked;
        for (organization, user, id) in &due {
            let ask = Ask {
                route: Route::Organization(*organization),
                path: None,
                zuid: Some(user.get()),
                mode: AccountMode::RevokeAppPassword(RevokeAppPassword { id: *id }),
            };
            match change::run(app, &context("the app password's time has ended")?, ask).await {
                Ok(_) => revoked += 1,
                Err(error) => tracing::warn!(%user, %error, "an expired app password stays on the list"),
            }
        }
        if due.len() < AT_ONCE || revoked == before {
            return Ok(revoked);
        }
    }
}

/// Takes away one-time passwords whose time has ended; answers how many.
///
/// # Errors
/// As [`app_passwords`].
pub async fn one_time_passwords(app: &App) -> Result<usize> {
    let mut removed = 0;
    loop {
        let now = app.clock.now();
        let due = store::accounts::expired_passwords(&mut *app.db.read().await?, now, AT_ONCE).await?;
        let before = removed;
        for (organization, user) in &due {
            match remove(app, *organization, *user).await {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(%user, %error, "an expired one-time password stays"),
            }
        }
        if due.len() < AT_ONCE || removed == before {
            return Ok(removed);
        }
    }
}

async fn remove(app: &App, zoid: OrganizationId, user: UserId) -> Result<()> {
    let change: ChangeId = app.ids.next().await?;
    let (now, rules) = (app.clock.now(), Rules::of(app));
    let context = context("the one-time password's time has ended")?;
    let done = app
        .db
        .write(async move |tx| {
            let before = store::accounts::load(tx, zoid, Handle::User(user)).await?;
            let organization = store::organizations::load(tx, zoid).await?;
            let over = |until: Option<i64>| until.is_some_and(|until| until <= now);
            let (Some(before), Some(organization)) = (before, organization) else { return Ok(None) };
            if !over(before.credential.until) {
                return Ok(None);
            }
            let actor = Actor::Clock;
            let hand = Hand {
                who: actor.who(),
                rank: actor.rank(),
                own: false,
                at: now,
                reason: context.reason.clone(),
            };
            let facts =
                Facts { policy: organization.policy.clone(), delimiter: rules.delimiter, ..Facts::default() };
            let mut transition = Transition::new(before.clone(), &facts, hand, None);
            transition.expire_password();
            let Transition { account: after, effects, .. } = transition;
            let notes =
                BTreeMap::from([("password", "none: the one-time password's time has ended".to_owned())]);
            let steps = vec![Step { before, after, effects, notes }];
            let plan = Plan { actor, form: Form::Admin, organization, steps };
            store_plan(tx, &context, "expirePassword", plan, change, rules, now).await.map(Some)
        })
        .await?;
    if let Some(position) = done.and_then(|done| done.position) {
        follow_up(app, position).await;
    }
    Ok(())
}
