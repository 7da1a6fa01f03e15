//! `POST …/accounts`: a new user with one account.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use super::update_personal_info::{Term, UpdatePersonalInfo};
use super::{Mode, address, password_kind, wanted_role};
use crate::app::App;
use crate::app::call::{Context, authenticate};
use crate::app::change::{Done, Entrance, enqueue, enter, plan, transact};
use crate::app::forecast::{Forecast, OnAccount};
use crate::app::journal::{self, Entry, Stamp};
use crate::app::organizations;
use crate::clock::Millis;
use crate::domain::account::{
    Account, Credential, Facts, NewPassword, Profile, Switches, Transition, differences,
};
use crate::domain::actor::{Actor, Role};
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{AccountId, ChangeId, OrganizationId, UserId};
use crate::domain::password::{Password, PasswordKind};
use crate::domain::plain_text::name;
use crate::domain::rights::{self, Forms, Given, Names, Route};
use crate::domain::scope::Operation;
use crate::domain::switch::Hand;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;
use crate::wire::Body;

/// A user to be created.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub address: EmailAddress,
    pub password: Password,
    /// What the password is for.
    pub kind: PasswordKind,
    pub role: Role,
    /// A help-desk administrator's limits, and nobody else's.
    pub help_desk: Option<HelpDesk>,
    pub profile: Profile,
    /// After which the user is disabled.
    pub term: Term,
}

impl NewUser {
    /// Reads the documented body. Parameters that need what is not here (groups, People) are
    /// accepted when they ask for nothing.
    ///
    /// # Errors
    /// What the body lacks or has wrong.
    pub fn from_body(body: &Body) -> Result<Self> {
        let personal = UpdatePersonalInfo::parse(body)?;
        if body.text_list("groupMailList")?.is_some_and(|groups| !groups.is_empty()) {
            return Err(Error::bad_value("groupMailList", "there are no groups here yet; leave it out"));
        }
        // Of the original's documents, for what is not here.
        body.ignore("employeeId");
        let password = body.secret_required("password")?;
        let mut profile = Profile::default();
        personal.fill(&mut profile);
        profile.name_if_unnamed();
        let role = body.text(["role", "roleName"])?.map_or(Ok(Role::Member), str::parse)?;
        let (role, help_desk) = wanted_role(body, role)?;
        Ok(Self {
            address: address(body.text_required(["primaryEmailAddress", "emailAddress"])?)?,
            password: Password::prepare(password.expose_secret())?,
            kind: password_kind(body, PasswordKind::Permanent)?,
            role,
            help_desk,
            profile,
            term: personal.term.map_or(Ok(Term::Forever), Term::given)?,
        })
    }
}

/// Creates a user; answers the account and the change.
///
/// # Errors
/// As [`run`].
pub async fn create(
    app: &App,
    context: &Context,
    organization: OrganizationId,
    new: NewUser,
) -> Result<(Account, ChangeId)> {
    let done = run(app, context, organization, new).await?;
    done.accounts
        .into_iter()
        .next()
        .zip(done.change)
        .ok_or_else(|| Error::internal("a dry run makes nobody; ask for its forecast"))
}

/// Creates a user; in a dry run, says what that would do.
///
/// # Errors
/// `BadToken`; what rights, address and password are refused with; `Unavailable`: after these nothing was changed.
/// `Unconfirmed`: it was made, or it was not.
pub async fn run(app: &App, context: &Context, organization: OrganizationId, new: NewUser) -> Result<Done> {
    let address = new.address.to_string();
    let outcome = attempt(app, context, organization, new).await;
    if let Err(error) = &outcome {
        journal::refused(app, context, "createUser", Some(organization), &address, error).await;
    }
    outcome
}

async fn attempt(app: &App, context: &Context, organization: OrganizationId, new: NewUser) -> Result<Done> {
    let pass = match enter(app, context).await? {
        Entrance::Pass(pass) => pass,
        Entrance::MadeBefore(done) => return Ok(done),
    };
    let rehearsal = Creation::rehearsed(app, context, organization, &new);
    rehearsal.plan(&mut *app.db.snapshot().await?, &new).await?;
    let creation = match context.dry_run {
        true => rehearsal,
        false => {
            let hash = app.hasher.hash(&new.password, app.random.salt()).await?;
            let password = NewPassword { hash, kind: new.kind };
            Creation { ids: (context.id(app).await?, context.id(app).await?), password, ..rehearsal }
        }
    };
    // A dry run takes none; nobody stands there.
    let ordinal = if context.dry_run { -1 } else { app.ids.ordinal(organization).await? };
    let stamp = Stamp::new(app, context, "createUser").await?;
    let creation = Creation { now: stamp.at, ..creation };
    transact(app, context, pass, stamp, async move |tx| {
        let Planned { actor, account, notes } = creation.plan(tx, &new).await?;
        let context = &creation.context;
        store::accounts::insert(tx, &account, ordinal).await?;
        let mut blank = account.clone();
        blank.role = Role::Member;
        blank.help_desk = None;
        blank.profile = Profile::default();
        let forecast = context.dry_run.then(|| Forecast {
            changes: true,
            accounts: vec![OnAccount::new(&account, &blank, notes.clone())],
            ..Forecast::default()
        });
        let entry = Entry {
            target: Some(&account),
            differences: differences(&blank, &account),
            notes,
            ..Entry::new(stamp, organization, &actor, context)
        };
        journal::write(tx, &entry)?;
        let position = Some(enqueue(tx, &account, stamp.change, &[], stamp.at)?);
        Ok(Done {
            change: Some(stamp.change),
            organization: Some(organization),
            position,
            accounts: vec![account],
            forecast,
            ..Done::default()
        })
    })
    .await
}

/// Whether each of these could be created now, all of them looked at in one moment.
///
/// # Errors
/// The database's.
pub async fn check(
    app: &App,
    context: &Context,
    organization: OrganizationId,
    all: &[NewUser],
) -> Result<Vec<Result<()>>> {
    let mut snapshot = app.db.snapshot().await?;
    let mut answers = Vec::with_capacity(all.len());
    for new in all {
        let planned =
            Creation::rehearsed(app, context, organization, new).plan(&mut snapshot, new).await.map(drop);
        answers.push(match planned {
            Err(
                error @ (Error::Internal(_) | Error::Unavailable { .. } | Error::ReadOnly | Error::BadToken),
            ) => return Err(error),
            answer => answer,
        });
    }
    Ok(answers)
}

/// By whom, where and when somebody is created, and what was made for it beforehand.
struct Creation {
    context: Context,
    organization: OrganizationId,
    ids: (UserId, AccountId),
    password: NewPassword,
    delimiter: char,
    now: Millis,
}

struct Planned {
    actor: Actor,
    account: Account,
    notes: BTreeMap<&'static str, String>,
}

impl Creation {
    /// To try it before the work is done: with ids that nobody gets, and no password's hash.
    fn rehearsed(app: &App, context: &Context, organization: OrganizationId, new: &NewUser) -> Self {
        Self {
            context: context.clone(),
            organization,
            ids: (UserId::GREATEST, AccountId::GREATEST),
            password: NewPassword::rehearsed(new.kind),
            delimiter: app.config.addresses.recipient_delimiter,
            now: app.clock.now(),
        }
    }

    /// Decides whether the user may be created, and how it looks then.
    async fn plan(&self, tx: &mut Tx, new: &NewUser) -> Result<Planned> {
        let Self { context, organization, ids: (user, id), password, delimiter, now } = self;
        let actor = authenticate(tx, &context.caller, *now).await?;
        let route = Route::Organization(*organization);
        rights::form(&actor, route, Forms::AdminOnly, Operation::Create, None, Names::NOBODY)?;
        let held = organizations::load(tx, *organization).await?;
        rights::may_grant(&actor, None, Given { role: new.role, help_desk: new.help_desk.as_ref() })?;
        plan::know_domains(tx, *organization, new.help_desk.as_ref()).await?;
        let facts = Facts {
            addresses: store::addresses::facts(tx, *organization, std::slice::from_ref(&new.address)).await?,
            policy: held.policy,
            delimiter: *delimiter,
            ..Facts::default()
        };
        let hand = Hand::of(&actor, *now, context.reason.as_ref());
        let account = Account {
            organization: *organization,
            user: *user,
            id: *id,
            version: 1,
            role: new.role,
            help_desk: new.help_desk.clone(),
            profile: new.profile.clone(),
            mailbox: Account::mailbox_of(*id),
            primary: new.address.clone(),
            aliases: Vec::new(),
            app_passwords: Vec::new(),
            credential: Credential {
                hash: None,
                kind: password.kind,
                until: None,
                at: *now,
                history: Vec::new(),
            },
            generation: 1,
            session_epoch: 1,
            switches: Switches::default(),
            self_renames: Vec::new(),
            expires_at: new.term.end(*now),
            created_at: *now,
            deleted: false,
        };
        let mut transition = Transition::new(account, &facts, hand, context.release.as_ref());
        transition.claim(&new.address)?;
        transition.first_password(password.clone());
        let Transition { account, notes, .. } = transition;
        facts.policy.password.check(&new.password, new.kind, &account.personal_words())?;
        Ok(Planned { actor, account, notes })
    }
}

/// A user for the command line or a demonstration, without a body.
pub fn simple(address: EmailAddress, password: Password, role: Role, display_name: &str) -> Result<NewUser> {
    Ok(NewUser {
        address,
        password,
        kind: PasswordKind::Permanent,
        role,
        help_desk: None,
        profile: Profile { display_name: name("displayName", display_name)?, ..Profile::default() },
        term: Term::Forever,
    })
}
