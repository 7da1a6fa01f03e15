//! `POST …/accounts`: a new user with one account.

use secrecy::ExposeSecret;

use super::disable_user::DisableUser;
use super::display_name_update::name;
use super::update_personal_info::UpdatePersonalInfo;
use super::{AccountMode, Mode, address};
use crate::app::App;
use crate::app::change::{self, Ask, Caller, Context, Door, Prepared, authenticate, enqueue, follow_up};
use crate::app::journal::{self, Entry, Outcome};
use crate::clock::{DAY, Millis};
use crate::domain::account::{
    Account, Credential, Facts, NewPassword, Profile, Switches, Transition, differences,
};
use crate::domain::actor::Role;
use crate::domain::claim::Claimed;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{AccountId, ChangeId, OrganizationId, UserId};
use crate::domain::password::{Password, PasswordKind};
use crate::domain::rights::{self, Forms, Names, Route};
use crate::domain::scope::Operation;
use crate::domain::switch::{Hand, Reason};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Expired;
use crate::store::engine::Tx;
use crate::wire::Body;

/// A user to be created.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub address: EmailAddress,
    pub password: Password,
    pub one_time_password: bool,
    pub role: Role,
    pub profile: Profile,
    /// Days from now after which the user is disabled.
    pub expires_in_days: Option<i64>,
}

impl NewUser {
    /// Reads the documented body. Parameters that need what is not here (groups, People) are
    /// accepted when they ask for nothing.
    ///
    /// # Errors
    /// What the body lacks or has wrong.
    pub fn from_body(body: &Body) -> Result<Self> {
        let personal = UpdatePersonalInfo::parse(body)?;
        let expiry = body.long("userExpiry")?;
        if expiry.is_some_and(|days| days == 0 || !(-1..=36_500).contains(&days)) {
            return Err(Error::bad_value(
                "userExpiry",
                "days until the user expires, 1 to 36500, or -1 for never",
            ));
        }
        if body.text_list("groupMailList")?.is_some_and(|groups| !groups.is_empty()) {
            return Err(Error::bad_value("groupMailList", "there are no groups here yet; leave it out"));
        }
        let password = body.secret_required("password")?;
        let mut profile = Profile::default();
        personal.fill(&mut profile);
        if profile.display_name.is_empty() {
            profile.display_name = format!("{} {}", profile.first_name, profile.last_name).trim().to_owned();
        }
        Ok(Self {
            address: address(body.text_required(["primaryEmailAddress", "emailAddress"])?)?,
            password: Password::prepare(password.expose_secret())?,
            one_time_password: body.flag("oneTimePassword")?.unwrap_or(false),
            role: body.text(["role", "roleName"])?.map_or(Ok(Role::Member), str::parse)?,
            profile,
            expires_in_days: expiry.filter(|days| *days > 0),
        })
    }

    fn kind(&self) -> PasswordKind {
        if self.one_time_password { PasswordKind::OneTime } else { PasswordKind::Permanent }
    }
}

/// Creates a user; answers the account and the change.
///
/// # Errors
/// As DESIGN.md §5: rights, address, password. After an error nothing was changed.
pub async fn create(
    app: &App,
    context: &Context,
    organization: OrganizationId,
    new: NewUser,
) -> Result<(Account, ChangeId)> {
    let address = new.address.to_string();
    let outcome = attempt(app, context, organization, new).await;
    if let Err(error) = &outcome {
        journal::refused(app, context, "createUser", &address, error).await;
    }
    outcome
}

async fn attempt(
    app: &App,
    context: &Context,
    organization: OrganizationId,
    new: NewUser,
) -> Result<(Account, ChangeId)> {
    let ids = (app.ids.next().await?, app.ids.next().await?);
    let delimiter = app.config.addresses.recipient_delimiter;
    let rehearsed = Prepared::rehearsal(new.kind());
    {
        let mut snapshot = app.db.snapshot().await?;
        let (account, facts, _) =
            plan(&mut snapshot, context, organization, &new, ids, &rehearsed, delimiter, app.clock.now())
                .await?;
        facts.policy.password.check(&new.password, new.kind(), &account.personal_words())?;
    }
    let hash = app.hasher.hash(&new.password, app.random.salt()).await?;
    let prepared = Prepared { password: Some(NewPassword { hash, kind: new.kind() }) };
    let change: ChangeId = app.ids.next().await?;
    let now = app.clock.now();
    let context = context.clone();
    let (account, position) = app
        .db
        .write(async move |tx| {
            let (account, _, notes) =
                plan(tx, &context, organization, &new, ids, &prepared, delimiter, now).await?;
            store::accounts::insert(tx, &account).await?;
            let actor = authenticate(tx, &context.caller, now).await?;
            let mut blank = account.clone();
            blank.role = Role::Member;
            blank.profile = Profile::default();
            let entry = Entry {
                organization,
                change,
                step: 0,
                at: now,
                actor: &actor,
                context: &context,
                verb: "createUser",
                target: Some(&account),
                outcome: Outcome::Changed { differences: differences(&blank, &account), notes },
            };
            journal::write(tx, &entry).await?;
            let position = enqueue(tx, &account, change, &[], now).await?;
            Ok((account, position))
        })
        .await?;
    follow_up(app, position).await;
    Ok((account, change))
}

type Planned = (Account, Facts, std::collections::BTreeMap<&'static str, String>);

/// Decides whether the user may be created, and how it looks then.
#[expect(clippy::too_many_arguments, reason = "everything that the decision depends on")]
async fn plan(
    tx: &mut Tx,
    context: &Context,
    organization: OrganizationId,
    new: &NewUser,
    (user, id): (UserId, AccountId),
    prepared: &Prepared,
    delimiter: char,
    now: Millis,
) -> Result<Planned> {
    let actor = authenticate(tx, &context.caller, now).await?;
    let nobody = Names { path: None, own_path: false, own_zuid: false };
    let route = Route::Organization(organization);
    rights::form(&actor, route, Forms::AdminOnly, Operation::Create, nobody)?;
    let held = store::organizations::load(tx, organization)
        .await?
        .ok_or_else(|| Error::NotFound(format!("Organization id {organization} is invalid")))?;
    rights::may_grant(&actor, None, new.role)?;
    let facts = Facts {
        addresses: store::addresses::facts(tx, organization, std::slice::from_ref(&new.address)).await?,
        policy: held.policy,
        delimiter,
        other_super_admins: 0,
    };
    let hand =
        Hand { who: actor.who(), rank: actor.rank(), own: false, at: now, reason: context.reason.clone() };
    let known = facts.addresses.get(&new.address).cloned().unwrap_or_default();
    let claimed =
        crate::domain::claim::claim(&new.address, &known, id, &hand, context.release.as_ref(), &facts)?;
    let password =
        prepared.password.clone().ok_or_else(|| Error::internal("the password was not prepared"))?;
    let account = Account {
        organization,
        user,
        id,
        version: 1,
        role: new.role,
        profile: new.profile.clone(),
        mailbox: format!("m{id}"),
        primary: new.address.clone(),
        aliases: Vec::new(),
        app_passwords: Vec::new(),
        credential: Credential { hash: None, kind: password.kind, until: None, at: now, history: Vec::new() },
        generation: 1,
        session_epoch: 1,
        switches: Switches::default(),
        self_renames: Vec::new(),
        expires_at: new.expires_in_days.map(|days| now + days * DAY),
        created_at: now,
        deleted: false,
    };
    let mut transition = Transition::new(account, &facts, hand, context.release.as_ref());
    transition.first_password(password);
    let Transition { account, mut notes, .. } = transition;
    if let (Claimed::Released, Some(reason)) = (claimed, &context.release) {
        notes.insert("releasedAddress", format!("{}: {}", new.address, reason.as_str()));
    }
    Ok((account, facts, notes))
}

/// A user for the command line or a demonstration, without a body.
pub fn simple(address: EmailAddress, password: Password, role: Role, display_name: &str) -> Result<NewUser> {
    Ok(NewUser {
        address,
        password,
        one_time_password: false,
        role,
        profile: Profile { display_name: name("displayName", display_name)?, ..Profile::default() },
        expires_in_days: None,
    })
}

/// Disables users whose term has ended, as `disableUser` would; answers how many. One who cannot be
/// disabled, such as the last super administrator, is tried again the next time.
pub async fn expire(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let (mut disabled, mut after) = (0, None);
    loop {
        let due = store::accounts::expired(&mut *app.db.read().await?, now, after, EXPIRED_AT_ONCE).await?;
        for expired in &due {
            match end_term(app, expired).await {
                Ok(()) => disabled += 1,
                Err(error) => tracing::warn!(user = %expired.user, %error, "an expired user stays enabled"),
            }
        }
        match due.last() {
            Some(last) if due.len() == EXPIRED_AT_ONCE => after = Some((last.at, last.user)),
            Some(_) | None => return Ok(disabled),
        }
    }
}

const EXPIRED_AT_ONCE: usize = 100;

async fn end_term(app: &App, expired: &Expired) -> Result<()> {
    let context = Context {
        caller: Caller::Clock,
        door: Door::Clock,
        request_id: "expiry".to_owned(),
        source: None,
        reason: Reason::parse("the user's term has ended")?,
        release: None,
    };
    let ask = Ask {
        route: Route::Organization(expired.organization),
        path: None,
        zuid: Some(expired.user.get()),
        mode: AccountMode::DisableUser(DisableUser::default()),
    };
    change::run(app, &context, ask).await.map(drop)
}
