//! The path of every change that is not one of an account: of organizations, domains, clients, tokens. Start with
//! `record`.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Context, authenticate};
use crate::app::change::{Done, Rules, simple};
use crate::app::forecast::{Concerned, Ended, Forecast};
use crate::app::journal::{self, Entry};
use crate::domain::actor::Actor;
use crate::domain::effect::Effect;
use crate::domain::ids::OrganizationId;
use crate::domain::rights;
use crate::domain::switch::Hand;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::{Later, Tx};
use crate::store::outbox::Origin;

/// Runs a change of something else than an account, with its audit entry, in one transaction. `change` answers the notes
/// for the entry. A refusal is noted, if the organization is known.
///
/// # Errors
/// `BadToken`; `Forbidden` for anybody whose change it is not; what `change` refuses.
pub(in crate::app) async fn record(
    app: &App,
    context: &Context,
    spec: ChangeSpec,
    change: impl AsyncFn(&mut Tx, Hand) -> Result<BTreeMap<&'static str, String>> + Send + 'static,
) -> Result<Done> {
    let (inner, rules) = (context.clone(), Rules::of(app));
    let (verb, zoid) = (spec.verb, spec.organization);
    simple(app, context, verb, Some(zoid), "", async move |tx, stamp| {
        let (now, at) = (stamp.at, rules.moment(stamp.at));
        let actor = authenticate(tx, &inner.caller, now).await?;
        spec.whose.check(&actor, zoid)?;
        let hand = Hand::of(&actor, now, inner.reason.as_ref());
        let before = match inner.dry_run {
            true => spec.concerned.count(tx, at).await?,
            false => Ended::default(),
        };
        let notes = change(tx, hand).await?;
        let mut forecast = Forecast { changes: true, notes: notes.clone(), ..Forecast::default() };
        if inner.dry_run {
            forecast.ends = before - spec.concerned.count(tx, at).await?;
            forecast.whole = match spec.reach {
                Reach::Sessions => spec.concerned.switched_off(tx).await?,
                Reach::Itself | Reach::MailServers => None,
            };
        }
        journal::write(tx, &Entry { notes, ..Entry::new(stamp, zoid, &actor, &inner) })?;
        let origin = Origin { change: stamp.change, organization: zoid, account: None, at: now };
        let position = spec.reach.enqueue(tx, origin)?;
        let forecast = inner.dry_run.then_some(forecast);
        Ok(Done {
            change: Some(stamp.change),
            organization: Some(zoid),
            position,
            forecast,
            ..Done::default()
        })
    })
    .await
}

/// A change of something else than an account.
pub(in crate::app) struct ChangeSpec {
    pub organization: OrganizationId,
    pub whose: Whose,
    /// The name in the audit log.
    pub verb: &'static str,
    pub reach: Reach,
    /// Whose tokens and app passwords may stop working.
    pub concerned: Concerned,
}

impl ChangeSpec {
    /// One that nothing outside the database notices.
    pub fn plain(verb: &'static str, organization: OrganizationId) -> Self {
        let (whose, reach) = (Whose::Operators, Reach::Itself);
        Self { organization, whose, verb, reach, concerned: Concerned::Nobody }
    }

    /// One that super administrators may make as well.
    pub fn managed(verb: &'static str, organization: OrganizationId) -> Self {
        Self { whose: Whose::SuperAdmins, ..Self::plain(verb, organization) }
    }
}

/// Whose a change of something else than an account is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Whose {
    /// The operator's at the command line alone.
    Operators,
    /// A super administrator's of the organization, too.
    SuperAdmins,
}

impl Whose {
    fn check(self, actor: &Actor, zoid: OrganizationId) -> Result<()> {
        match (self, actor) {
            (Self::SuperAdmins, _) => rights::may_manage(actor, zoid),
            (Self::Operators, Actor::Operator { .. } | Actor::Clock) => Ok(()),
            (Self::Operators, Actor::User(_)) => {
                Err(Error::Forbidden("this is done at the server's command line".to_owned()))
            }
        }
    }
}

/// What a change reaches beyond the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Reach {
    /// Nothing outside the database notices.
    Itself,
    /// The mail servers' look-ups show it.
    MailServers,
    /// Live sessions may have to end, too.
    Sessions,
}

impl Reach {
    /// Writes to the outbox what is to be done elsewhere; answers the change's position, where it has one.
    fn enqueue(self, tx: &mut Tx, origin: Origin) -> Result<Option<Later<i64>>> {
        match self {
            Self::Itself => Ok(None),
            Self::MailServers => store::outbox::project(tx, origin).map(Some),
            Self::Sessions => {
                let position = store::outbox::project(tx, origin)?;
                store::outbox::for_mail_servers(tx, origin, &Effect::Reconcile)?;
                Ok(Some(position))
            }
        }
    }
}
