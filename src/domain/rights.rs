//! The one table of rights: which form of a call applies to a caller, and whom the caller may touch.
//! Everything here is decided again inside the transaction of the change.

use crate::domain::account::Account;
use crate::domain::actor::{Actor, Rank, Role};
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::{HelpDesk, Verb};
use crate::domain::ids::{OrganizationId, no_such_account, no_such_organization};
use crate::domain::scope::{self, Operation, Required, Scope};
use crate::error::Error;

/// Through which path a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/api/organization/{zoid}/…`
    Organization(OrganizationId),
    /// `/api/accounts/…`
    Own,
}

/// As whom the caller acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// An administrator on somebody's account.
    Admin,
    /// A person on the own account.
    Own,
}

/// Which forms a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forms {
    AdminOnly,
    AdminOrOwn,
}

/// What of the request's naming concerns the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The number in the path, if there is one.
    pub path: Option<i64>,
    /// The path names the caller's own account; where there is none in it, the body's `zuid` does.
    pub own_path: bool,
    /// The body has no `zuid`, or the caller's own.
    pub own_zuid: bool,
}

impl Names {
    /// Nobody is named.
    pub const NOBODY: Self = Self { path: None, own_path: false, own_zuid: false };
}

/// Chooses the form (administrator's or own). `verb` is what the help desk needs for the call;
/// `None` keeps it out.
///
/// # Errors
/// `MissingScope`, `NotFound` for a foreign organization or account, `Forbidden` for a caller
/// whose role does not reach.
pub fn form(
    actor: &Actor,
    route: Route,
    forms: Forms,
    operation: Operation,
    verb: Option<Verb>,
    names: Names,
) -> Result<Form, Error> {
    let Actor::User(caller) = actor else { return Ok(Form::Admin) };
    let has = |needed: Scope| caller.scopes.covers(&Required::scope(needed));
    match route {
        Route::Organization(zoid) if has(scope::ORGANIZATION_ACCOUNTS.to(operation)) => {
            may_act(actor, zoid, verb)?;
            Ok(Form::Admin)
        }
        Route::Organization(zoid) => {
            let own_form = forms == Forms::AdminOrOwn && has(scope::ACCOUNTS.to(operation));
            if own_form && zoid == caller.organization && names.own_path && names.own_zuid {
                Ok(Form::Own)
            } else {
                Err(Error::MissingScope)
            }
        }
        Route::Own => {
            if !has(scope::ACCOUNTS.to(operation)) {
                return Err(Error::MissingScope);
            }
            if forms == Forms::AdminOnly {
                return Err(Error::Forbidden(
                    "this is for administrators: send it to /api/organization/{zoid}/accounts/{zuid}"
                        .to_owned(),
                ));
            }
            if !names.own_path || names.path.is_none() {
                return Err(no_such_account(names.path.unwrap_or_default()));
            }
            if !names.own_zuid {
                return Err(Error::Refused(
                    "path and body name different users; leave zuid out or send your own".to_owned(),
                ));
            }
            Ok(Form::Own)
        }
    }
}

/// What a caller looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The users of an organization.
    Users(OrganizationId),
    Organization(OrganizationId),
    Domains(OrganizationId),
    /// The own account.
    Own,
    /// Who the token belongs to.
    Profile,
}

impl View {
    /// The original asks for a partner scope even of ordinary organizations; ours takes the ordinary one too.
    fn required(self) -> Required {
        match self {
            Self::Users(_) => Required::scope(scope::ORGANIZATION_ACCOUNTS.read()),
            Self::Organization(_) => Required::scope(scope::PARTNER_ORGANIZATION.read())
                .or(const { &[scope::ORGANIZATION_ACCOUNTS.read()] }),
            Self::Domains(_) => Required::scope(scope::ORGANIZATION_DOMAINS.read()),
            Self::Own => Required::scope(scope::ACCOUNTS.read()),
            Self::Profile => Required::scope(scope::PROFILE.read()),
        }
    }
}

/// Whether the caller may look at it.
///
/// # Errors
/// `MissingScope`, `NotFound` for a foreign organization, `Forbidden` for a member who looks at more
/// than the own account.
pub fn may_view(actor: &Actor, view: View) -> Result<(), Error> {
    if let Actor::User(caller) = actor
        && !caller.scopes.covers(&view.required())
    {
        return Err(Error::MissingScope);
    }
    match view {
        View::Users(zoid) => may_act(actor, zoid, Some(Verb::Read)),
        View::Organization(zoid) | View::Domains(zoid) => may_administer(actor, zoid),
        View::Own | View::Profile => Ok(()),
    }
}

/// Whether the caller is an administrator of that organization, with every right of one.
///
/// # Errors
/// `NotFound` for a foreign organization, `Forbidden` for a member and the help desk.
pub fn may_administer(actor: &Actor, zoid: OrganizationId) -> Result<(), Error> {
    if let Actor::User(caller) = actor {
        own_organization(actor, zoid)?;
        if caller.role < Role::Admin {
            return Err(Error::Forbidden("only an administrator of the organization may do this".to_owned()));
        }
    }
    Ok(())
}

/// Whether the caller may change what belongs to the organization as a whole: its domains and its
/// applications.
///
/// # Errors
/// `NotFound` for a foreign organization, `Forbidden` below super administrator.
pub fn may_manage(actor: &Actor, zoid: OrganizationId) -> Result<(), Error> {
    if let Actor::User(caller) = actor {
        own_organization(actor, zoid)?;
        if caller.role < Role::SuperAdmin {
            return Err(Error::Forbidden(
                "only a super administrator of the organization may do this".to_owned(),
            ));
        }
    }
    Ok(())
}

/// As `may_administer`, where the help desk may too if it was given the verb.
fn may_act(actor: &Actor, zoid: OrganizationId, verb: Option<Verb>) -> Result<(), Error> {
    let (Some(verb), Some(desk)) = (verb, help_desk(actor)) else { return may_administer(actor, zoid) };
    own_organization(actor, zoid)?;
    if desk.has(verb) {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "your help-desk role has no right to {}; ask an administrator",
        match verb {
            Verb::Read => "look at users",
            Verb::Reset => "reset passwords",
            Verb::Switches => "enable, disable and block",
            Verb::Rename => "rename",
        }
    )))
}

fn own_organization(actor: &Actor, zoid: OrganizationId) -> Result<(), Error> {
    match actor {
        Actor::User(caller) if caller.organization != zoid => Err(no_such_organization(zoid.get())),
        Actor::User(_) | Actor::Operator { .. } | Actor::Clock => Ok(()),
    }
}

/// The caller's limits, if it is a help-desk administrator.
pub fn help_desk(actor: &Actor) -> Option<&HelpDesk> {
    match actor {
        Actor::User(caller) if caller.role == Role::HelpDesk => caller.help_desk.as_ref(),
        Actor::User(_) | Actor::Operator { .. } | Actor::Clock => None,
    }
}

/// Whether the caller, who may look at users, may look at that one. The help desk sees everybody on
/// its domains, whatever the role.
///
/// # Errors
/// `Forbidden`, outside the help desk's domains.
pub fn may_see(actor: &Actor, target: &Account) -> Result<(), Error> {
    help_desk(actor).map_or(Ok(()), |desk| within(desk, &target.primary))
}

fn within(desk: &HelpDesk, address: &EmailAddress) -> Result<(), Error> {
    if desk.reaches(address.domain()) {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "your help-desk role does not reach {}; ask an administrator",
        address.domain()
    )))
}

/// Whether the caller may write on that user: oneself, a strictly lower rank, or one super
/// administrator on another. The help desk writes on members of its domains, and gives out
/// addresses of no other domain; on its own account it uses the own form, as members do.
///
/// # Errors
/// `Forbidden`, saying who could.
pub fn may_write(actor: &Actor, form: Form, target: &Account, claims: &[EmailAddress]) -> Result<(), Error> {
    if form == Form::Own && actor.is(target.user) {
        return Ok(());
    }
    if let Some(desk) = help_desk(actor) {
        if actor.is(target.user) {
            return Err(Error::Forbidden(
                "the help desk acts on members; for your own account use /api/accounts/{accountId}"
                    .to_owned(),
            ));
        }
        if target.role > Role::Member {
            return Err(out_of_rank(target.role));
        }
        return std::iter::once(&target.primary).chain(claims).try_for_each(|address| within(desk, address));
    }
    let among_super_admins = actor.rank() == Rank::SuperAdmin && target.role == Role::SuperAdmin;
    if actor.is(target.user) || actor.rank() > target.role.rank() || among_super_admins {
        return Ok(());
    }
    Err(out_of_rank(target.role))
}

fn out_of_rank(role: Role) -> Error {
    Error::Forbidden(format!(
        "this user is {}; only a higher rank may change the account",
        role.rank().in_words()
    ))
}

/// A role as somebody has it or is to have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<'a> {
    pub role: Role,
    pub help_desk: Option<&'a HelpDesk>,
}

/// Whether the caller may decide about somebody's second factors. Whoever may reset a password could come in with
/// it, if the second factor were no more.
///
/// # Errors
/// `Forbidden` for anybody but the operator and another super administrator.
pub fn may_manage_factors(actor: &Actor, account: &Account) -> Result<(), Error> {
    if actor.is(account.user) || actor.rank() < Rank::SuperAdmin {
        return Err(Error::Forbidden(
            "only another super administrator, or the operator at the server's command line, can remove second factors"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Whether the caller may make somebody `new` who was `old` (`None` for a new user).
///
/// # Errors
/// `Forbidden`: roles above member are granted, removed and created by super administrators only.
pub fn may_grant(actor: &Actor, old: Option<Given<'_>>, new: Given<'_>) -> Result<(), Error> {
    let above_member = new.role > Role::Member || old.is_some_and(|old| old.role > Role::Member);
    if above_member && old != Some(new) && actor.rank() < Rank::SuperAdmin {
        return Err(Error::Forbidden(
            "only a super administrator grants or removes a role above member".to_owned(),
        ));
    }
    Ok(())
}
