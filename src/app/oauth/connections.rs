//! Connected applications: what somebody allowed, seen and taken back.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Caller, Context, authenticate};
use crate::app::change::{Done, Rules, simple};
use crate::app::forecast::{Concerned, Ended, Forecast};
use crate::app::own::{self, Act};
use crate::domain::ids::no_such_account;
use crate::domain::rights::{self, Forms, Names, Route, View};
use crate::domain::scope::{Operation, ScopeSet};
use crate::error::{Error, Result};
use crate::store;
pub use crate::store::connections::Connected;
use crate::store::connections::{Connection, Consent};
use crate::store::engine::Tx;

/// The applications that the caller let in, by name. `number`, where it is given, must be the own
/// accountId.
///
/// # Errors
/// `MissingScope`; `NotFound` for another account.
pub async fn connected(app: &App, caller: &Caller, number: Option<i64>) -> Result<Vec<Connected>> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_view(&actor, View::Own)?;
    let signed = actor.person()?;
    if let Some(number) = number.filter(|number| *number != signed.account.get()) {
        return Err(no_such_account(number));
    }
    store::connections::of_person(&mut tx, signed.organization, signed.user).await
}

/// Takes back what the caller gave an application: its tokens and codes are dead at once.
///
/// # Errors
/// `MissingScope`; `NotFound` for another account, and for an application that is not connected.
pub async fn disconnect(app: &App, context: &Context, number: Option<i64>, client: &str) -> Result<Done> {
    // What cannot be a client's name is not worth an entry, and fits no column of every engine.
    if client.len() > LONGEST_NAME || !client.bytes().all(|byte| byte.is_ascii_graphic()) {
        let actor = authenticate(&mut *app.db.read().await?, &context.caller, app.clock.now()).await?;
        actor.person()?;
        return Err(Error::NotFound("no such application is connected with this account".to_owned()));
    }
    let (inner, rules, id) = (context.clone(), Rules::of(app), client.to_owned());
    simple(app, context, "disconnectApplication", None, client, async move |tx, stamp| {
        let actor = authenticate(tx, &inner.caller, stamp.at).await?;
        let signed = actor.person()?;
        let path = number.unwrap_or(signed.account.get());
        let names = Names { path: Some(path), own_path: path == signed.account.get(), own_zuid: true };
        rights::form(&actor, Route::Own, Forms::AdminOrOwn, Operation::Update, None, names)?;
        let concerned = Concerned::Person(signed.organization, signed.user, signed.account);
        let at = rules.moment(stamp.at);
        let before = if inner.dry_run { concerned.count(tx, at).await? } else { Ended::default() };
        let name = store::clients::load(tx, &id).await?.map(|client| client.name);
        if !store::connections::remove(tx, signed.organization, signed.user, &id).await? {
            return Err(Error::NotFound(format!("no application {id} is connected with this account")));
        }
        let notes = [("client", id.clone()), ("name", name.unwrap_or_default())];
        let account = own::account(tx, signed).await?;
        let act = Act { context: &inner, actor: actor.clone(), account: &account, stamp };
        act.note(tx, notes.clone(), &[]).await?;
        let forecast = match inner.dry_run {
            true => Some(Forecast {
                changes: true,
                notes: BTreeMap::from(notes),
                ends: before - concerned.count(tx, at).await?,
                ..Forecast::default()
            }),
            false => None,
        };
        let organization = Some(signed.organization);
        Ok(Done { change: Some(stamp.change), organization, forecast, ..Done::default() })
    })
    .await
}

const LONGEST_NAME: usize = 100;

/// Remembers what a person allowed a client, with what was allowed before.
pub(super) async fn remember(tx: &mut Tx, new: Connection) -> Result<()> {
    let old = store::connections::load(tx, new.organization, new.user, &new.client).await?;
    let put = match old.filter(|old| old.epoch == new.epoch) {
        None => new,
        Some(old) => {
            let all = |one: &ScopeSet, other: &ScopeSet| one.iter().chain(other.iter()).collect();
            let both = Connection {
                scope: all(&old.scope, &new.scope),
                offline: old.offline || new.offline,
                consent: match (&old.consent, &new.consent) {
                    (Some(old), Some(new)) => {
                        Some(Consent { scope: all(&old.scope, &new.scope), at: new.at })
                    }
                    (one, other) => other.clone().or_else(|| one.clone()),
                },
                created_at: old.created_at,
                ..new
            };
            if both == old {
                return Ok(());
            }
            both
        }
    };
    store::connections::put(tx, &put).await
}
