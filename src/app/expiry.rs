//! What ends by itself: a user's term, one-time passwords, app passwords. The look-ups stop opening for a password
//! whose time has ended by themselves; here it is taken away, and the sessions that it opened end.

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::disable_user::DisableUser;
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::call::{Caller, Context, Door};
use crate::app::change::plan::Plan;
use crate::app::change::{self, Ask, Done, Pass, Rules, store_plan, transact};
use crate::app::journal::Stamp;
use crate::domain::account::Transition;
use crate::domain::actor::Actor;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::rights::Route;
use crate::domain::switch::{Hand, Reason};
use crate::error::Result;
use crate::store;
use crate::store::accounts::Handle;

const AT_ONCE: usize = 100;

fn context(reason: &str) -> Result<Context> {
    let context = Context::new(Caller::Clock, Door::Clock, "expiry".to_owned());
    Ok(Context { reason: Reason::parse(reason)?, ..context })
}

/// Disables users whose term has ended, as `disableUser` would; answers how many. One who cannot be
/// disabled, such as the last super administrator, is tried again the next time.
///
/// # Errors
/// When the database cannot be read.
pub async fn terms(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let (mut disabled, mut after) = (0, None);
    loop {
        let due = store::accounts::expired(&mut *app.db.read().await?, now, after, AT_ONCE).await?;
        for expired in &due {
            let ask = Ask {
                route: Route::Organization(expired.organization),
                path: None,
                zuid: Some(expired.user.get()),
                mode: AccountMode::DisableUser(DisableUser::default()),
            };
            match change::run(app, &context("the user's term has ended")?, ask).await {
                Ok(_) => disabled += 1,
                Err(error) => tracing::warn!(user = %expired.user, %error, "an expired user stays enabled"),
            }
        }
        match due.last() {
            Some(last) if due.len() == AT_ONCE => after = Some((last.at, last.user)),
            Some(_) | None => return Ok(disabled),
        }
    }
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
        let due =
            store::accounts::expired_one_time_passwords(&mut *app.db.read().await?, now, AT_ONCE).await?;
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
    let context = context("the one-time password's time has ended")?;
    let stamp = Stamp::new(app, &context, "expirePassword").await?;
    let (inner, now, rules) = (context.clone(), stamp.at, Rules::of(app));
    transact(app, &context, Pass::default(), stamp, async move |tx| {
        let before = store::accounts::load(tx, zoid, Handle::User(user)).await?;
        let organization = store::organizations::load(tx, zoid).await?;
        let (Some(before), Some(organization)) = (before, organization) else { return Ok(Done::default()) };
        if !before.credential.is_over(now) {
            return Ok(Done::default());
        }
        let actor = Actor::Clock;
        let hand = Hand::of(&actor, now, inner.reason.as_ref());
        let make = |transition: &mut Transition<'_>| {
            transition.expire_password();
            transition.notes.insert("password", "none: the one-time password's time has ended".to_owned());
            Ok(())
        };
        let plan = Plan::of_one(actor, organization, before, hand, rules.delimiter, make)?;
        store_plan(tx, &inner, plan, stamp, rules).await
    })
    .await
    .map(drop)
}
