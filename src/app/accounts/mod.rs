//! The modes of the account calls. A new mode is one file here and one line in the list below:
//! dispatch, OpenAPI, documentation, the replay of its sample and the test of unauthorised
//! access follow from the list.

pub mod create;
pub mod read;

use std::fmt;

use crate::app::change::Prepared;
use crate::domain::account::{Account, Transition};
use crate::domain::actor::Role;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::help_desk::{HelpDesk, Verb};
use crate::domain::password::{Password, PasswordKind};
use crate::domain::rights::{Forms, Given};
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::wire::Body;

/// One thing that can be done to accounts.
pub trait Mode: Sized {
    const INFO: ModeInfo;

    /// Reads the mode's own parameters; `mode` and `zuid` are read by the door.
    ///
    /// # Errors
    /// What the body lacks or has wrong.
    fn parse(body: &Body) -> Result<Self>;

    /// The pure transition.
    ///
    /// # Errors
    /// A refusal of the rules; nothing is stored then.
    fn apply(&self, change: &mut Transition<'_>, prepared: &Prepared) -> Result<()>;

    /// A password that must be checked and hashed before the transaction.
    fn password(&self) -> Option<(&Password, PasswordKind)> {
        None
    }

    /// Addresses that the account may come to own.
    fn claims(&self) -> Vec<EmailAddress> {
        Vec::new()
    }

    /// Users that the body lists, in place of the one that path or `zuid` names.
    fn targets(&self) -> &[TargetName] {
        &[]
    }

    /// The role that the users get.
    fn new_role(&self) -> Option<Given<'_>> {
        None
    }

    /// What the help desk needs to have been given for this call; `None` keeps it out.
    fn verb(&self) -> Option<Verb> {
        Self::INFO.verb
    }

    /// Whether somebody who does this to the own account must prove to be there: what it makes
    /// outlives the token.
    fn demands_proof(&self) -> bool {
        false
    }

    /// The current password, if it was sent as that proof.
    fn current_password(&self) -> Option<&Password> {
        None
    }

    /// Whether what opens the account beside its password is taken back too (`app::compromise`).
    fn takes_back_ways_in(&self) -> bool {
        false
    }

    /// Whether the transition has to know the second factors; it may remove them (`Transition::remove_factors`).
    fn is_about_factors(&self) -> bool {
        false
    }
}

/// What is known of a mode without a request: for dispatch, documents and tests.
#[derive(Debug)]
pub struct ModeInfo {
    /// The value of `mode`, or the name of the call that has none.
    pub name: &'static str,
    /// Other spellings that clients send.
    pub also: &'static [&'static str],
    pub method: Method,
    pub forms: Forms,
    pub operation: Operation,
    /// What the help desk needs to have been given for it; `None` keeps it out.
    pub verb: Option<Verb>,
    /// One sentence for people.
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// A request body as documented; ids and addresses are examples.
    pub sample: &'static str,
}

/// How a mode is called over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `PUT` with `mode` in the body.
    Put,
    /// `DELETE` with a body.
    Delete,
    /// At an address of its own.
    Elsewhere,
}

/// A body parameter of a mode.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: ParameterKind,
    pub mandatory: bool,
    pub meaning: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    Text,
    Number,
    Flag,
    Addresses,
    /// A list of texts that are no addresses.
    Words,
    Users,
    Object,
}

impl Parameter {
    const fn must(name: &'static str, kind: ParameterKind, meaning: &'static str) -> Self {
        Self { name, kind, mandatory: true, meaning }
    }

    const fn may(name: &'static str, kind: ParameterKind, meaning: &'static str) -> Self {
        Self { name, kind, mandatory: false, meaning }
    }
}

/// How a body lists a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetName {
    /// A zuid or an accountId.
    Number(i64),
    Address(EmailAddress),
}

impl TargetName {
    /// Whether it is a name of this account.
    pub fn means(&self, account: &Account) -> bool {
        match self {
            Self::Number(number) => *number == account.user.get() || *number == account.id.get(),
            Self::Address(address) => account.owns(address),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

macro_rules! modes {
    ($($file:ident::$name:ident,)*) => {
        $(pub mod $file;)*

        /// A mode with its parameters.
        #[derive(Debug, Clone)]
        pub enum AccountMode {
            $($name($file::$name),)*
        }

        /// Every mode, in the order of the documentation.
        pub const MODES: &[&ModeInfo] = &[$(&<$file::$name as Mode>::INFO),*];

        impl AccountMode {
            fn read(name: &str, method: Method, body: &Body) -> Option<Result<Self>> {
                $(
                    let info = &<$file::$name as Mode>::INFO;
                    if info.method == method && (info.name == name || info.also.contains(&name)) {
                        return Some(<$file::$name as Mode>::parse(body).map(Self::$name));
                    }
                )*
                None
            }

            pub fn info(&self) -> &'static ModeInfo {
                match self { $(Self::$name(_) => &<$file::$name as Mode>::INFO,)* }
            }

            pub fn apply(&self, change: &mut Transition<'_>, prepared: &Prepared) -> Result<()> {
                match self { $(Self::$name(mode) => mode.apply(change, prepared),)* }
            }

            pub fn password(&self) -> Option<(&Password, PasswordKind)> {
                match self { $(Self::$name(mode) => mode.password(),)* }
            }

            pub fn claims(&self) -> Vec<EmailAddress> {
                match self { $(Self::$name(mode) => mode.claims(),)* }
            }

            pub fn targets(&self) -> &[TargetName] {
                match self { $(Self::$name(mode) => mode.targets(),)* }
            }

            pub fn demands_proof(&self) -> bool {
                match self { $(Self::$name(mode) => mode.demands_proof(),)* }
            }

            pub fn current_password(&self) -> Option<&Password> {
                match self { $(Self::$name(mode) => mode.current_password(),)* }
            }

            pub fn takes_back_ways_in(&self) -> bool {
                match self { $(Self::$name(mode) => mode.takes_back_ways_in(),)* }
            }

            pub fn is_about_factors(&self) -> bool {
                match self { $(Self::$name(mode) => mode.is_about_factors(),)* }
            }

            pub fn new_role(&self) -> Option<Given<'_>> {
                match self { $(Self::$name(mode) => mode.new_role(),)* }
            }

            pub fn verb(&self) -> Option<Verb> {
                match self { $(Self::$name(mode) => mode.verb(),)* }
            }
        }
    };
}

modes! {
    reset_password::ResetPassword,
    email_update::EmailUpdate,
    display_name_update::DisplayNameUpdate,
    display_name_email_update::DisplayNameEmailUpdate,
    enable_user::EnableUser,
    disable_user::DisableUser,
    enable_mail_account::EnableMailAccount,
    disable_mail_account::DisableMailAccount,
    update_incoming_status::UpdateIncomingStatus,
    update_outgoing_status::UpdateOutgoingStatus,
    update_imap_status::UpdateImapStatus,
    update_pop_status::UpdatePopStatus,
    add_email_alias::AddEmailAlias,
    delete_email_alias::DeleteEmailAlias,
    update_personal_info::UpdatePersonalInfo,
    change_role::ChangeRole,
    update_tfa_status::UpdateTfaStatus,
    delete_user::DeleteUser,
    create_app_password::CreateAppPassword,
    revoke_app_password::RevokeAppPassword,
    secure_account::SecureAccount,
}

/// Modes of the original, in lower case, for what is not here: some resemble others that do harm.
/// Source: Zoho Mail API, Users and Accounts.
const NOT_HERE: [&str; 18] = [
    "updatemobilesyncstatus",
    "addsendmaildetails",
    "mailaccountorderupdate",
    "updatereplyto",
    "updatereplytostatus",
    "resendverificationmailforreplyto",
    "addmailforward",
    "verifymailforward",
    "resendmailforwardverficationmail",
    "enablemailforward",
    "disablemailforward",
    "deletemailforward",
    "deletezohomailcopy",
    "addvacationreply",
    "updatevacationreply",
    "removevacationreply",
    "disablevacationreply",
    "deletevacationreply",
];
/// From this likeness (Jaro-Winkler) on an unknown mode is taken for a misspelt one.
const ALIKE: f64 = 0.9;

impl AccountMode {
    /// Reads the mode that a `PUT` names.
    ///
    /// # Errors
    /// What the body lacks; an unknown mode is answered with the list of the known ones.
    pub fn from_body(body: &Body) -> Result<Self> {
        let name = body.text_required("mode")?;
        Self::read(name, Method::Put, body).unwrap_or_else(|| {
            let known: Vec<_> =
                MODES.iter().filter(|info| info.method == Method::Put).map(|info| info.name).collect();
            // Comparing takes the product of the lengths, and the caller is not even known yet.
            let asked: String = name.chars().take(40).collect::<String>().to_lowercase();
            let why = if NOT_HERE.contains(&asked.as_str()) {
                "the original has this mode, Mailward has not; nothing was changed.".to_owned()
            } else {
                let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &asked);
                let alike = known.iter().map(|known| (likeness(known), known));
                match alike.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
                    Some((likeness, nearest)) if likeness >= ALIKE => {
                        format!("there is no such mode; did you mean {nearest}?")
                    }
                    Some(_) | None => "there is no such mode.".to_owned(),
                }
            };
            Err(Error::bad_value("mode", format!("{why} The modes are {}", known.join(", "))))
        })
    }
}

/// An address parameter.
fn address(text: &str) -> Result<EmailAddress> {
    EmailAddress::parse(text)
}

/// The kind of password that `oneTimePassword` asks for.
fn password_kind(body: &Body, unless_said: PasswordKind) -> Result<PasswordKind> {
    Ok(match body.flag("oneTimePassword")? {
        Some(true) => PasswordKind::OneTime,
        Some(false) => PasswordKind::Permanent,
        None => unless_said,
    })
}

/// Which role a body gives, and a help desk's limits: `role: admin` with `isCustomAdmin`, `verbs` and
/// `domains`.
fn wanted_role(body: &Body, role: Role) -> Result<(Role, Option<HelpDesk>)> {
    let custom = body.flag("isCustomAdmin")?.unwrap_or(role == Role::HelpDesk);
    let verbs = body.text_list("verbs")?;
    let domains = body.text_list("domains")?;
    match (role, custom) {
        (Role::Admin | Role::HelpDesk, true) => {}
        (Role::Member | Role::SuperAdmin, true) | (Role::HelpDesk, false) => {
            return Err(Error::bad_value("isCustomAdmin", "true goes with the role admin only"));
        }
        // Somebody who names limits must not get the whole role by having forgotten a word.
        (Role::Member | Role::Admin | Role::SuperAdmin, false) if verbs.is_some() || domains.is_some() => {
            return Err(Error::bad_value(
                "isCustomAdmin",
                "verbs and domains limit a custom administrator; send role admin and isCustomAdmin true",
            ));
        }
        (Role::Member | Role::Admin | Role::SuperAdmin, false) => return Ok((role, None)),
    }
    let verbs = verbs.unwrap_or_default().into_iter().map(str::parse).collect::<Result<Vec<_>>>()?;
    let domains =
        domains.map(|names| names.into_iter().map(DomainName::parse).collect::<Result<_>>()).transpose()?;
    Ok((Role::HelpDesk, Some(HelpDesk::new(verbs, domains)?)))
}
