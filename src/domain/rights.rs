//! The one table of rights: which form of a call applies to a caller, and whom the caller may touch.
//! Everything here is decided again inside the transaction of the change.

use crate::domain::actor::{Actor, Rank, Role};
use crate::domain::ids::{OrganizationId, UserId, no_such_account};
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

/// Chooses the form (DESIGN.md §3, "Who may").
///
/// # Errors
/// `MissingScope`, `NotFound` for a foreign organization or account, `Forbidden` for a caller
/// whose role does not reach.
pub fn form(
    actor: &Actor,
    route: Route,
    forms: Forms,
    operation: Operation,
    names: Names,
) -> Result<Form, Error> {
    let Actor::User(caller) = actor else { return Ok(Form::Admin) };
    let has = |needed: Scope| caller.scopes.covers(&Required::scope(needed));
    match route {
        Route::Organization(zoid) if has(scope::ORGANIZATION_ACCOUNTS.to(operation)) => {
            may_administer(actor, zoid)?;
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
        View::Users(zoid) | View::Organization(zoid) | View::Domains(zoid) => may_administer(actor, zoid),
        View::Own | View::Profile => Ok(()),
    }
}

/// Whether the caller is an administrator of that organization.
///
/// # Errors
/// `NotFound` for a foreign organization, `Forbidden` for a member.
pub fn may_administer(actor: &Actor, zoid: OrganizationId) -> Result<(), Error> {
    if let Actor::User(caller) = actor {
        if caller.organization != zoid {
            return Err(Error::NotFound(format!("Organization id {zoid} is invalid")));
        }
        if caller.role < Role::Admin {
            return Err(Error::Forbidden("only an administrator of the organization may do this".to_owned()));
        }
    }
    Ok(())
}

/// Whether the caller may write on that user: oneself, a strictly lower rank, or one super
/// administrator on another.
///
/// # Errors
/// `Forbidden`, saying who could.
pub fn may_write(actor: &Actor, target: UserId, role: Role) -> Result<(), Error> {
    let among_super_admins = actor.rank() == Rank::SuperAdmin && role == Role::SuperAdmin;
    if actor.is(target) || actor.rank() > role.rank() || among_super_admins {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "this user is {}; only a higher rank may change the account",
        role.rank().in_words()
    )))
}

/// Whether the caller may make somebody `new` who was `old` (`None` for a new user).
///
/// # Errors
/// `Forbidden`: roles above member are granted, removed and created by super administrators only.
pub fn may_grant(actor: &Actor, old: Option<Role>, new: Role) -> Result<(), Error> {
    let above_member = new > Role::Member || old.is_some_and(|old| old > Role::Member);
    if above_member && old != Some(new) && actor.rank() < Rank::SuperAdmin {
        return Err(Error::Forbidden(
            "only a super administrator grants or removes a role above member".to_owned(),
        ));
    }
    Ok(())
}
