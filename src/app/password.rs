//! People changing their own password: the door that a one-time password opens.

use std::net::IpAddr;

use crate::app::App;
use crate::app::change::{Caller, Context, Door, Plan, Rules, Step, follow_up, store_plan};
use crate::app::verifier;
use crate::domain::account::{Ends, Facts, NewPassword, Transition};
use crate::domain::actor::{Actor, Signed};
use crate::domain::effect::Notice;
use crate::domain::ids::ChangeId;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::rights::Form;
use crate::domain::scope::ScopeSet;
use crate::domain::switch::Hand;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;

/// A person's wish for a new password.
pub struct OwnChange {
    pub address: String,
    /// The current one, permanent or one-time.
    pub password: Password,
    pub new_password: Password,
    /// End tokens, web sessions and the mail sessions of the old password.
    pub end_everything: bool,
}

/// Changes the own password; a one-time password is consumed by it.
///
/// # Errors
/// `BadCredentials`; `BadPassword` for the new one, also for the same one again.
pub async fn change(
    app: &App,
    request_id: String,
    source: Option<IpAddr>,
    wish: OwnChange,
) -> Result<ChangeId> {
    let known = verifier::verify(app, &wish.address, &wish.password, source).await?.account;
    let organization = {
        let mut tx = app.db.read().await?;
        store::organizations::load(&mut tx, known.organization).await?.ok_or(Error::BadCredentials)?
    };
    let policy = &organization.policy.password;
    if wish.password.expose() == wish.new_password.expose() {
        return Err(Error::BadPassword("the new password is the old one; choose another one".to_owned()));
    }
    policy.check(&wish.new_password, PasswordKind::Permanent, &known.personal_words())?;
    let remembered = usize::try_from(policy.history).unwrap_or(usize::MAX);
    for hash in known.credential.history.iter().take(remembered) {
        if app.hasher.verify(&wish.new_password, hash).await? {
            return Err(Error::BadPassword(
                "Password present in the password history; choose another one".to_owned(),
            ));
        }
    }
    let hash = app.hasher.hash(&wish.new_password, app.random.salt()).await?;
    let new = NewPassword { hash, kind: PasswordKind::Permanent };
    let (change, now, rules): (ChangeId, _, _) = (app.ids.next().await?, app.clock.now(), Rules::of(app));
    let done = app
        .db
        .write(async move |tx| {
            let handle = Handle::Account(known.id);
            let before = store::accounts::load(tx, known.organization, handle).await?;
            let before = before.ok_or(Error::BadCredentials)?;
            let organization = store::organizations::load(tx, known.organization).await?;
            let organization = organization.ok_or(Error::BadCredentials)?;
            // The password that was verified must still be the one that opens the account: of many
            // parallel uses of one one-time password, exactly one gets through.
            let same = before.credential == known.credential;
            let open = before.switches.user_disabled.is_none() && organization.disabled.is_none();
            if !same || !open || before.credential.until.is_some_and(|until| until <= now) {
                return Err(Error::BadCredentials);
            }
            let actor = Actor::User(Signed {
                organization: before.organization,
                user: before.user,
                account: before.id,
                role: before.role,
                scopes: ScopeSet::default(),
                client: None,
            });
            let context = Context {
                caller: Caller::Clock, // not looked at: the password was the credential
                door: Door::SelfService,
                request_id: request_id.clone(),
                source,
                reason: None,
                release: None,
            };
            let hand = Hand { who: actor.who(), rank: actor.rank(), own: true, at: now, reason: None };
            let facts =
                Facts { policy: organization.policy.clone(), delimiter: rules.delimiter, ..Facts::default() };
            let mut transition = Transition::new(before.clone(), &facts, hand, None);
            // A self change leaves app passwords alone: the person knows where they are typed.
            let ends = if wish.end_everything { Ends::OldPassword } else { Ends::Nothing };
            transition.replace_password(new.clone(), ends, Notice::PasswordChanged);
            let Transition { account: after, effects, notes, .. } = transition;
            store::accounts::signed_in(tx, before.organization, before.user, now, "web").await?;
            let step = Step { before, after, effects, notes };
            let plan = Plan { actor, form: Form::Own, organization, steps: vec![step] };
            store_plan(tx, &context, "changeOwnPassword", plan, change, rules, now).await
        })
        .await?;
    if let Some(position) = done.position {
        follow_up(app, position).await;
    }
    Ok(change)
}
