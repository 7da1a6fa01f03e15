//! What people do to the own account beside the account itself (factors, ways back in, sessions):
//! who they are is decided in the transaction, and it is written down and told like any change.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Caller, Context};
use crate::app::journal::{self, Entry, Stamp};
use crate::clock::Millis;
use crate::domain::account::Account;
use crate::domain::actor::{Actor, Signed};
use crate::domain::effect::{Effect, Notice};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::policy::Policy;
use crate::domain::scope::ScopeSet;
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::audit::AuditRow;
use crate::store::engine::Tx;
use crate::store::outbox::Origin;
use crate::store::web_sessions::LiveSession;

/// The session behind a context and its owner's account, if the sign-in has come to one of the stages.
///
/// # Errors
/// `BadToken`.
pub(super) async fn owner(
    tx: &mut Tx,
    context: &Context,
    stages: &[Stage],
    now: Millis,
) -> Result<(LiveSession, Account)> {
    let Caller::Session { hash, idle } = &context.caller else { return Err(Error::BadToken) };
    let held = store::web_sessions::holder(tx, hash, now, now - idle).await?.ok_or(Error::BadToken)?;
    if !stages.contains(&held.session.stage) {
        return Err(Error::BadToken);
    }
    let (organization, user) = (held.session.organization, held.session.user);
    let account = store::accounts::load(tx, organization, Handle::User(user)).await?;
    Ok((held, account.ok_or(Error::BadToken)?))
}

/// The account of somebody who was authenticated in the running transaction.
///
/// # Errors
/// `BadToken` when it is gone.
pub(super) async fn account(tx: &mut Tx, signed: &Signed) -> Result<Account> {
    let found = store::accounts::load(tx, signed.organization, Handle::User(signed.user)).await?;
    found.ok_or(Error::BadToken)
}

/// A person as the actor on the own account.
pub(super) fn actor(account: &Account) -> Actor {
    Actor::User(Signed {
        organization: account.organization,
        user: account.user,
        account: account.id,
        role: account.role,
        help_desk: account.help_desk.clone(),
        scopes: ScopeSet::default(),
        client: None,
    })
}

/// What is written down of one such act.
pub(super) struct Act<'a> {
    pub context: &'a Context,
    pub actor: Actor,
    pub account: &'a Account,
    pub stamp: Stamp,
}

impl<'a> Act<'a> {
    /// What somebody does to the own account.
    pub(super) fn own(context: &'a Context, account: &'a Account, stamp: Stamp) -> Self {
        Self { context, actor: actor(account), account, stamp }
    }

    /// Writes the entry in the running transaction, and what people are to be told.
    pub(super) async fn note<const N: usize>(
        &self,
        tx: &mut Tx,
        notes: [(&'static str, String); N],
        effects: &[Effect],
    ) -> Result<()> {
        let (organization, account) = (self.account.organization, Some(self.account.id));
        let entry = Entry {
            target: Some(self.account),
            notes: BTreeMap::from(notes),
            ..Entry::new(self.stamp, organization, &self.actor, self.context)
        };
        journal::write(tx, &entry)?;
        let Stamp { change, at, .. } = self.stamp;
        let origin = Origin { change, organization, account, at };
        for effect in effects {
            store::outbox::for_person(tx, origin, effect)?;
        }
        Ok(())
    }
}

pub(super) fn tell(notice: Notice) -> Effect {
    Effect::Tell { notice }
}

/// The newest entries about a person, the newest first.
///
/// # Errors
/// The database's.
pub async fn history(
    app: &App,
    organization: OrganizationId,
    user: UserId,
    most: i64,
) -> Result<Vec<AuditRow>> {
    store::audit::newest(&mut *app.db.read().await?, organization, Some(user), most).await
}

/// The rules of the organization.
///
/// # Errors
/// `BadToken` when it is gone.
pub async fn policy(app: &App, organization: OrganizationId) -> Result<Policy> {
    let found = store::organizations::load(&mut *app.db.read().await?, organization).await?;
    Ok(found.ok_or(Error::BadToken)?.policy)
}
