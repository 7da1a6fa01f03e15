//! What can be done to one user: each with its words, what it asks for, and the mode that it becomes.

use std::collections::BTreeSet;

use crate::app::accounts::AccountMode;
use crate::app::accounts::add_email_alias::AddEmailAlias;
use crate::app::accounts::change_role::ChangeRole;
use crate::app::accounts::delete_email_alias::DeleteEmailAlias;
use crate::app::accounts::delete_user::DeleteUser;
use crate::app::accounts::disable_mail_account::DisableMailAccount;
use crate::app::accounts::disable_user::DisableUser;
use crate::app::accounts::display_name_update::DisplayNameUpdate;
use crate::app::accounts::email_update::EmailUpdate;
use crate::app::accounts::enable_mail_account::EnableMailAccount;
use crate::app::accounts::enable_user::EnableUser;
use crate::app::accounts::reset_password::ResetPassword;
use crate::app::accounts::secure_account::SecureAccount;
use crate::app::accounts::update_imap_status::UpdateImapStatus;
use crate::app::accounts::update_incoming_status::UpdateIncomingStatus;
use crate::app::accounts::update_outgoing_status::UpdateOutgoingStatus;
use crate::app::accounts::update_personal_info::{Term, UpdatePersonalInfo};
use crate::app::accounts::update_pop_status::UpdatePopStatus;
use crate::app::accounts::update_tfa_status::UpdateTfaStatus;
use crate::app::people::Listed;
use crate::console::form::Form;
use crate::console::texts::ENGLISH;
use crate::domain::account::Account;
use crate::domain::actor::Role;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::help_desk::{HelpDesk, Verb};
use crate::domain::password::{Password, PasswordKind};
use crate::domain::plain_text::name;
use crate::domain::secret::Secret;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    ResetPassword,
    Secure,
    DisableUser,
    EnableUser,
    RemoveFactors,
    ChangeRole,
    ChangeTerm,
    Delete,
    DisableMail,
    EnableMail,
    BlockIncoming,
    AcceptIncoming,
    BlockSending,
    AllowSending,
    ImapOff,
    ImapOn,
    PopOff,
    PopOn,
    ChangeAddress,
    ChangeName,
    AddAddress,
    RemoveAddress,
}

/// Which part of the page an action stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    SignIn,
    Mailbox,
    Addresses,
    Leaving,
}

/// What an action asks besides the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Nothing,
    Address,
    Name,
    /// One of the account's other addresses.
    Alias,
    Role,
    /// A number of days, or nothing.
    Days,
    /// What goes with a reset.
    Reset,
    /// Whether mail is to be refused too.
    Incoming,
}

impl Field {
    /// Nothing has to be typed, so that what it would do can be said beforehand.
    pub fn is_plain(self) -> bool {
        match self {
            Self::Nothing | Self::Reset | Self::Incoming => true,
            Self::Address | Self::Name | Self::Alias | Self::Role | Self::Days => false,
        }
    }
}

/// What an action is called, where it stands and what it asks.
struct Facts {
    slug: &'static str,
    button: &'static str,
    meaning: &'static str,
    place: Section,
    field: Field,
    dangerous: bool,
    for_others: bool,
}

impl Facts {
    fn new(slug: &'static str, button: &'static str, meaning: &'static str, place: Section) -> Self {
        Self { slug, button, meaning, place, field: Field::Nothing, dangerous: false, for_others: false }
    }

    fn asks(self, field: Field) -> Self {
        Self { field, ..self }
    }

    fn dangerous(self) -> Self {
        Self { dangerous: true, ..self }
    }

    fn for_others(self) -> Self {
        Self { for_others: true, ..self }
    }
}

impl Action {
    pub const ALL: [Self; 22] = [
        Self::ResetPassword,
        Self::DisableUser,
        Self::EnableUser,
        Self::Secure,
        Self::RemoveFactors,
        Self::ChangeRole,
        Self::ChangeTerm,
        Self::DisableMail,
        Self::EnableMail,
        Self::BlockIncoming,
        Self::AcceptIncoming,
        Self::BlockSending,
        Self::AllowSending,
        Self::ImapOff,
        Self::ImapOn,
        Self::PopOff,
        Self::PopOn,
        Self::ChangeAddress,
        Self::AddAddress,
        Self::RemoveAddress,
        Self::ChangeName,
        Self::Delete,
    ];

    /// What is so of an action, whatever the account.
    fn facts(self) -> Facts {
        let t = &ENGLISH;
        match self {
            Self::ResetPassword => {
                Facts::new("reset-password", t.do_reset_password, t.means_reset_password, Section::SignIn)
                    .asks(Field::Reset)
                    .dangerous()
                    .for_others()
            }
            Self::Secure => {
                Facts::new("secure", t.do_secure, t.means_secure, Section::SignIn).dangerous().for_others()
            }
            Self::RemoveFactors => {
                Facts::new("remove-factors", t.do_remove_factors, t.means_remove_factors, Section::SignIn)
                    .dangerous()
                    .for_others()
            }
            Self::DisableUser => {
                Facts::new("disable-user", t.do_disable_user, t.means_disable_user, Section::SignIn)
                    .asks(Field::Incoming)
                    .dangerous()
            }
            Self::EnableUser => {
                Facts::new("enable-user", t.do_enable_user, t.means_enable_user, Section::SignIn)
                    .asks(Field::Incoming)
            }
            Self::ChangeRole => {
                Facts::new("change-role", t.do_change_role, t.means_change_role, Section::SignIn)
                    .asks(Field::Role)
                    .dangerous()
                    .for_others()
            }
            Self::ChangeTerm => {
                Facts::new("change-term", t.do_change_term, t.means_change_term, Section::SignIn)
                    .asks(Field::Days)
                    .for_others()
            }
            Self::Delete => {
                Facts::new("delete", t.do_delete, t.means_delete, Section::Leaving).dangerous().for_others()
            }
            Self::DisableMail => {
                Facts::new("disable-mail", t.do_disable_mail, t.means_disable_mail, Section::Mailbox)
                    .dangerous()
            }
            Self::EnableMail => {
                Facts::new("enable-mail", t.do_enable_mail, t.means_enable_mail, Section::Mailbox)
            }
            Self::BlockIncoming => {
                Facts::new("block-incoming", t.do_block_incoming, t.means_block_incoming, Section::Mailbox)
                    .dangerous()
            }
            Self::AcceptIncoming => {
                Facts::new("accept-incoming", t.do_accept_incoming, t.means_accept_incoming, Section::Mailbox)
            }
            Self::BlockSending => {
                Facts::new("block-sending", t.do_block_sending, t.means_block_sending, Section::Mailbox)
                    .dangerous()
            }
            Self::AllowSending => {
                Facts::new("allow-sending", t.do_allow_sending, t.means_allow_sending, Section::Mailbox)
            }
            Self::ImapOff => {
                Facts::new("imap-off", t.do_imap_off, t.means_protocol_off, Section::Mailbox).dangerous()
            }
            Self::ImapOn => Facts::new("imap-on", t.do_imap_on, t.means_protocol_on, Section::Mailbox),
            Self::PopOff => {
                Facts::new("pop-off", t.do_pop_off, t.means_protocol_off, Section::Mailbox).dangerous()
            }
            Self::PopOn => Facts::new("pop-on", t.do_pop_on, t.means_protocol_on, Section::Mailbox),
            Self::ChangeAddress => {
                Facts::new("change-address", t.do_change_address, t.means_change_address, Section::Addresses)
                    .asks(Field::Address)
                    .dangerous()
            }
            Self::ChangeName => {
                Facts::new("change-name", t.do_change_name, t.means_change_name, Section::Addresses)
                    .asks(Field::Name)
            }
            Self::AddAddress => {
                Facts::new("add-address", t.do_add_address, t.means_add_address, Section::Addresses)
                    .asks(Field::Address)
            }
            Self::RemoveAddress => {
                Facts::new("remove-address", t.do_remove_address, t.means_remove_address, Section::Addresses)
                    .asks(Field::Alias)
                    .dangerous()
            }
        }
    }

    /// In the address of the page.
    pub fn slug(self) -> &'static str {
        self.facts().slug
    }

    pub fn of(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.slug() == slug)
    }

    /// What the button says.
    pub fn button(self) -> &'static str {
        self.facts().button
    }

    /// What it means, whatever the account.
    pub fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    pub fn place(self) -> Section {
        self.facts().place
    }

    pub fn field(self) -> Field {
        self.facts().field
    }

    /// Takes something away, or gives somebody power: asks for a fresh proof of who does it.
    pub fn is_dangerous(self) -> bool {
        self.facts().dangerous
    }

    /// Does something dangerous with what is typed: what that would be is shown before it is done.
    pub fn shows_first(self) -> bool {
        self.is_dangerous() && !self.field().is_plain()
    }

    /// What nobody does to oneself.
    pub fn is_for_others(self) -> bool {
        self.facts().for_others
    }

    /// Whether the user stands so that this would do anything.
    pub fn fits(self, user: &Listed) -> bool {
        let (account, switches) = (&user.account, &user.account.switches);
        match self {
            Self::ResetPassword | Self::Secure | Self::ChangeRole | Self::ChangeTerm | Self::Delete => true,
            Self::ChangeAddress | Self::ChangeName | Self::AddAddress => true,
            Self::RemoveAddress => !account.aliases.is_empty(),
            Self::RemoveFactors => user.sign_ins.second_factor,
            Self::DisableUser => switches.user_disabled.is_none(),
            Self::EnableUser => switches.user_disabled.is_some(),
            Self::DisableMail => switches.mail_disabled.is_none(),
            Self::EnableMail => switches.mail_disabled.is_some(),
            Self::BlockIncoming => switches.incoming_blocked.is_none(),
            Self::AcceptIncoming => switches.incoming_blocked.is_some(),
            Self::BlockSending => switches.outgoing_blocked.is_none(),
            Self::AllowSending => switches.outgoing_blocked.is_some(),
            Self::ImapOff => switches.imap_off.is_none(),
            Self::ImapOn => switches.imap_off.is_some(),
            Self::PopOff => switches.pop_off.is_none(),
            Self::PopOn => switches.pop_off.is_some(),
        }
    }

    /// A mode of this kind, to ask beforehand who may use it.
    ///
    /// # Errors
    /// None but our own fault.
    pub fn example(self, account: &Account, stand_in: &Secret) -> Result<AccountMode> {
        let address = || account.primary.clone();
        let role = if account.role == Role::Member { Role::Admin } else { Role::Member };
        Ok(match self {
            Self::ChangeRole => {
                AccountMode::ChangeRole(ChangeRole { users: Vec::new(), role, help_desk: None })
            }
            Self::ChangeName => {
                AccountMode::DisplayNameUpdate(DisplayNameUpdate { display_name: "Name".to_owned() })
            }
            Self::ChangeAddress => AccountMode::EmailUpdate(EmailUpdate { email_address: address() }),
            Self::AddAddress => AccountMode::AddEmailAlias(AddEmailAlias { aliases: vec![address()] }),
            Self::RemoveAddress => {
                AccountMode::DeleteEmailAlias(DeleteEmailAlias { aliases: vec![address()] })
            }
            other => return other.mode(&Form::default(), stand_in),
        })
    }

    /// The mode that a form asks for. `password` is for a reset.
    ///
    /// # Errors
    /// What the form lacks or has wrong.
    pub fn mode(self, form: &Form, password: &Secret) -> Result<AccountMode> {
        let incoming = |blocked| AccountMode::UpdateIncomingStatus(UpdateIncomingStatus { blocked });
        let outgoing = |blocked| AccountMode::UpdateOutgoingStatus(UpdateOutgoingStatus { blocked });
        let imap = |enabled| AccountMode::UpdateImapStatus(UpdateImapStatus { enabled });
        let pop = |enabled| AccountMode::UpdatePopStatus(UpdatePopStatus { enabled });
        Ok(match self {
            Self::ResetPassword => AccountMode::ResetPassword(ResetPassword {
                password: Password::prepare(password.expose())?,
                reset_auth_token: true,
                kind: PasswordKind::OneTime,
                keep_app_passwords: form.ticked("keep_app_passwords"),
            }),
            Self::Secure => {
                AccountMode::SecureAccount(SecureAccount::made(Password::prepare(password.expose())?))
            }
            Self::Delete => AccountMode::DeleteUser(DeleteUser { users: Vec::new() }),
            Self::RemoveFactors => AccountMode::UpdateTfaStatus(UpdateTfaStatus { enabled: false }),
            Self::DisableUser => AccountMode::DisableUser(DisableUser {
                block_incoming: form.ticked("incoming"),
                ..DisableUser::default()
            }),
            Self::EnableUser => {
                AccountMode::EnableUser(EnableUser { unblock_incoming: form.ticked("incoming") })
            }
            Self::DisableMail => AccountMode::DisableMailAccount(DisableMailAccount),
            Self::EnableMail => AccountMode::EnableMailAccount(EnableMailAccount),
            Self::BlockIncoming => incoming(true),
            Self::AcceptIncoming => incoming(false),
            Self::BlockSending => outgoing(true),
            Self::AllowSending => outgoing(false),
            Self::ImapOff => imap(false),
            Self::ImapOn => imap(true),
            Self::PopOff => pop(false),
            Self::PopOn => pop(true),
            Self::ChangeAddress => AccountMode::EmailUpdate(EmailUpdate { email_address: address(form)? }),
            Self::ChangeName => AccountMode::DisplayNameUpdate(DisplayNameUpdate {
                display_name: name("displayName", typed(form)?)?,
            }),
            Self::AddAddress => AccountMode::AddEmailAlias(AddEmailAlias { aliases: vec![address(form)?] }),
            Self::RemoveAddress => {
                AccountMode::DeleteEmailAlias(DeleteEmailAlias { aliases: vec![address(form)?] })
            }
            Self::ChangeRole => AccountMode::ChangeRole(role(form)?),
            Self::ChangeTerm => {
                let term = form.trimmed("value").map_or(Ok(Term::Forever), Term::of_text)?;
                let personal = UpdatePersonalInfo { term: Some(term), ..UpdatePersonalInfo::default() };
                AccountMode::UpdatePersonalInfo(personal)
            }
        })
    }
}

fn typed(form: &Form) -> Result<&str> {
    form.trimmed("value").ok_or_else(|| Error::Refused(ENGLISH.field_missing.to_owned()))
}

fn address(form: &Form) -> Result<EmailAddress> {
    EmailAddress::parse(typed(form)?)
}

fn role(form: &Form) -> Result<ChangeRole> {
    let (users, role) = (Vec::new(), form.text("value").parse()?);
    if role != Role::HelpDesk {
        return Ok(ChangeRole { users, role, help_desk: None });
    }
    let verbs = form.all("verbs").map(str::parse).chain([Ok(Verb::Read)]).collect::<Result<Vec<_>>>()?;
    let domains = form.text("domains").split([',', ' ']).filter(|name| !name.is_empty());
    let domains = domains.map(DomainName::parse).collect::<Result<BTreeSet<_>>>()?;
    let help_desk = Some(HelpDesk::new(verbs, (!domains.is_empty()).then_some(domains))?);
    Ok(ChangeRole { users, role, help_desk })
}
