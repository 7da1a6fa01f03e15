//! One person with one mailbox, and every transition it can make. Pure: a transition takes
//! the account and the facts it depends on, and leaves a changed account, effects and notes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::domain::actor::{Actor, Rank, Role};
use crate::domain::app_password::AppPassword;
use crate::domain::claim::{AddressFacts, Claimed, DomainState, claim, switched_off};
use crate::domain::effect::{Effect, Notice, Sessions};
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{AccountId, AppPasswordId, OrganizationId, UserId};
use crate::domain::password::{PasswordHash, PasswordKind};
use crate::domain::plain_text;
use crate::domain::policy::{MOST_SELF_RENAMES, Policy, SELF_RENAME_TERM, SelfRename};
use crate::domain::switch::{self, Hand, Reason, Switch};
use crate::error::Error;

/// A user (`zuid`) of an organization with the account (`accountId`), as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub organization: OrganizationId,
    pub user: UserId,
    pub id: AccountId,
    /// Counts the saves; a save that meets another number is stale.
    pub version: i64,
    pub role: Role,
    /// A help-desk administrator's limits; nobody else has any.
    pub help_desk: Option<HelpDesk>,
    pub profile: Profile,
    /// The name of the mailbox on the mail servers; derived from the account id, never from an address.
    pub mailbox: String,
    pub primary: EmailAddress,
    pub aliases: Vec<EmailAddress>,
    /// Passwords made by Mailward for single devices.
    pub app_passwords: Vec<AppPassword>,
    pub credential: Credential,
    /// Names the main password in session names; rises when sessions of the old one must end, never falls.
    pub generation: i64,
    /// Tokens and web sessions carry the epoch they were given in; another one makes them void.
    pub session_epoch: i64,
    pub switches: Switches,
    /// When the person changed the own primary address in the running term.
    pub self_renames: Vec<Millis>,
    pub expires_at: Option<Millis>,
    pub created_at: Millis,
    pub deleted: bool,
}

/// What a person is called and where; free text, shown, never interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Profile {
    #[serde(skip)]
    pub first_name: String,
    #[serde(skip)]
    pub last_name: String,
    #[serde(skip)]
    pub display_name: String,
    pub gender: Gender,
    pub country: String,
    pub language: String,
    pub time_zone: String,
    pub phone_number: String,
    pub mobile_number: String,
    pub street_address: String,
    pub city: String,
    pub postal_code: String,
    pub state: String,
}

impl Profile {
    /// Calls somebody who has no display name by first and last name.
    pub fn name_if_unnamed(&mut self) {
        if self.display_name.is_empty() {
            let name = format!("{} {}", self.first_name, self.last_name);
            self.display_name = plain_text::cut(name.trim()).to_owned();
        }
    }
}

impl Profile {
    /// Every line with its name on the wire.
    fn lines(&self) -> [(&'static str, &str); 13] {
        [
            ("firstName", &self.first_name),
            ("lastName", &self.last_name),
            ("displayName", &self.display_name),
            ("gender", self.gender.as_str()),
            ("country", &self.country),
            ("language", &self.language),
            ("timeZone", &self.time_zone),
            ("phoneNumer", &self.phone_number),
            ("mobileNumber", &self.mobile_number),
            ("streetAddr", &self.street_address),
            ("city", &self.city),
            ("postalCode", &self.postal_code),
            ("state", &self.state),
        ]
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Gender {
    Male,
    Female,
    NonBinary,
    #[default]
    NotSpecified,
}

impl Gender {
    pub const ALL: [Self; 4] = [Self::Male, Self::Female, Self::NonBinary, Self::NotSpecified];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Male => "MALE",
            Self::Female => "FEMALE",
            Self::NonBinary => "NON_BINARY",
            Self::NotSpecified => "NOT_SPECIFIED",
        }
    }
}

from_word!(Gender, str::eq_ignore_ascii_case, "gender", "MALE, FEMALE, NON_BINARY or NOT_SPECIFIED");

/// What opens the account.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    pub hash: Option<PasswordHash>,
    pub kind: PasswordKind,
    /// When a one-time password stops opening anything.
    pub until: Option<Millis>,
    pub at: Millis,
    /// Earlier hashes, newest first, as many as the policy remembers.
    pub history: Vec<PasswordHash>,
}

impl Credential {
    /// Whether it is a one-time password whose time has ended.
    pub fn is_over(&self, now: Millis) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// What can be switched off on an account; `SwitchName::in_words` names each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    pub user_disabled: Switch,
    pub mail_disabled: Switch,
    pub incoming_blocked: Switch,
    pub outgoing_blocked: Switch,
    pub imap_off: Switch,
    pub pop_off: Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchName {
    UserDisabled,
    MailDisabled,
    IncomingBlocked,
    OutgoingBlocked,
    ImapOff,
    PopOff,
}

impl SwitchName {
    pub const ALL: [Self; 6] = [
        Self::UserDisabled,
        Self::MailDisabled,
        Self::IncomingBlocked,
        Self::OutgoingBlocked,
        Self::ImapOff,
        Self::PopOff,
    ];

    /// The name in audit entries and receipts.
    pub fn key(self) -> &'static str {
        match self {
            Self::UserDisabled => "userDisabled",
            Self::MailDisabled => "mailAccountDisabled",
            Self::IncomingBlocked => "incomingBlocked",
            Self::OutgoingBlocked => "outgoingBlocked",
            Self::ImapOff => "imapOff",
            Self::PopOff => "popOff",
        }
    }

    /// The name in sentences.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::UserDisabled => "the user block",
            Self::MailDisabled => "the block of the mail account",
            Self::IncomingBlocked => "the block of incoming mail",
            Self::OutgoingBlocked => "the block of outgoing mail",
            Self::ImapOff => "the IMAP switch",
            Self::PopOff => "the POP switch",
        }
    }
}

impl Switches {
    /// Whether the mail account, incoming or outgoing mail is switched off.
    pub fn blocks_mail(&self) -> bool {
        [&self.mail_disabled, &self.incoming_blocked, &self.outgoing_blocked].into_iter().any(Option::is_some)
    }

    pub fn get(&self, name: SwitchName) -> &Switch {
        match name {
            SwitchName::UserDisabled => &self.user_disabled,
            SwitchName::MailDisabled => &self.mail_disabled,
            SwitchName::IncomingBlocked => &self.incoming_blocked,
            SwitchName::OutgoingBlocked => &self.outgoing_blocked,
            SwitchName::ImapOff => &self.imap_off,
            SwitchName::PopOff => &self.pop_off,
        }
    }

    fn get_mut(&mut self, name: SwitchName) -> &mut Switch {
        match name {
            SwitchName::UserDisabled => &mut self.user_disabled,
            SwitchName::MailDisabled => &mut self.mail_disabled,
            SwitchName::IncomingBlocked => &mut self.incoming_blocked,
            SwitchName::OutgoingBlocked => &mut self.outgoing_blocked,
            SwitchName::ImapOff => &mut self.imap_off,
            SwitchName::PopOff => &mut self.pop_off,
        }
    }
}

impl Account {
    /// What the mailbox of an account is called.
    pub fn mailbox_of(id: AccountId) -> String {
        format!("m{id}")
    }

    /// What the person is called: by the display name, or the address where there is none.
    pub fn called(&self) -> &str {
        match self.profile.display_name.trim() {
            "" => self.primary.as_str(),
            name => name,
        }
    }

    /// Address and name parts that a password must not contain.
    pub fn personal_words(&self) -> Vec<&str> {
        let names = [&self.profile.first_name, &self.profile.last_name, &self.profile.display_name];
        self.addresses()
            .map(EmailAddress::as_str)
            .chain(names.into_iter().flat_map(|name| name.split_whitespace()))
            .collect()
    }

    /// The primary address, and then the aliases.
    pub fn addresses(&self) -> impl Iterator<Item = &EmailAddress> {
        std::iter::once(&self.primary).chain(&self.aliases)
    }

    pub fn owns(&self, address: &EmailAddress) -> bool {
        self.primary == *address || self.aliases.contains(address)
    }

    /// Whether this is one of those of whom an organization keeps at least one.
    pub fn is_enabled_super_admin(&self) -> bool {
        self.role == Role::SuperAdmin && self.switches.user_disabled.is_none() && !self.deleted
    }
}

/// What a transition depends on beyond the account itself, loaded in the same transaction.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub policy: Policy,
    /// Separates a mailbox from a detail (`user+tag`).
    pub delimiter: char,
    /// What is known of every address the operation may claim.
    pub addresses: BTreeMap<EmailAddress, AddressFacts>,
    /// Enabled super administrators of the organization besides this account.
    pub other_super_admins: i64,
    /// The second factors in use, in words, where the operation is about them.
    pub second_factors: Option<String>,
    /// The domain of the primary address is switched off, where people change their own address.
    pub is_domain_off: bool,
}

/// A password ready to be stored: checked, prepared and hashed.
#[derive(Debug, Clone)]
pub struct NewPassword {
    pub hash: PasswordHash,
    pub kind: PasswordKind,
}

impl NewPassword {
    /// Stands for one whose hash is not made yet, to try a whole change before the work is done.
    pub fn rehearsed(kind: PasswordKind) -> Self {
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=8,t=1,p=1$cmVoZWFyc2Fs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )
        .expect("a constant in the form of a hash");
        Self { hash, kind }
    }
}

/// An account has at most so many app passwords.
pub const MOST_APP_PASSWORDS: usize = 50;

/// What ends with an old password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Nothing that is open; new logins need the new password.
    Nothing,
    /// Tokens, web sessions, and mail sessions of the old password.
    OldPassword,
    /// The app passwords and their sessions too.
    Everything,
}

/// One account on its way from one state to the next.
#[derive(Debug)]
pub struct Transition<'a> {
    pub account: Account,
    pub facts: &'a Facts,
    pub hand: Hand,
    /// The reason for giving out a protected address, where one was sent.
    pub release: Option<&'a Reason>,
    pub effects: Vec<Effect>,
    /// Remarks for the audit entry, beyond the differences.
    pub notes: BTreeMap<&'static str, String>,
}

impl<'a> Transition<'a> {
    pub fn new(account: Account, facts: &'a Facts, hand: Hand, release: Option<&'a Reason>) -> Self {
        Self { account, facts, hand, release, effects: Vec::new(), notes: BTreeMap::new() }
    }

    /// Turns a switch on.
    ///
    /// # Errors
    /// `Forbidden` for disabling the last enabled super administrator.
    pub fn set(&mut self, name: SwitchName) -> Result<(), Error> {
        if name == SwitchName::UserDisabled {
            self.keep_a_super_admin("disabled")?;
        }
        if !switch::set(self.account.switches.get_mut(name), &self.hand) {
            return Ok(());
        }
        match name {
            SwitchName::UserDisabled => {
                self.account.session_epoch += 1;
                self.end_sessions(Sessions::All);
            }
            SwitchName::MailDisabled | SwitchName::ImapOff | SwitchName::PopOff => {
                self.end_sessions(Sessions::All);
            }
            SwitchName::IncomingBlocked | SwitchName::OutgoingBlocked => {}
        }
        Ok(())
    }

    /// Turns a switch off. Who is let in after the end of a term has none any more, or the next
    /// look at the clock would undo it. So whoever lifts a block then decides about the term too, whoever set the
    /// block: the clock passes by who is disabled already.
    ///
    /// # Errors
    /// `Forbidden` when this hand may not lift the block.
    pub fn lift(&mut self, name: SwitchName) -> Result<(), Error> {
        let lifted = switch::lift(self.account.switches.get_mut(name), &self.hand, name.in_words())?;
        let over = self.account.expires_at.is_some_and(|at| at <= self.hand.at);
        if lifted && over && name == SwitchName::UserDisabled {
            let least = Actor::Clock.rank_over(self.account.role);
            if self.hand.rank < least {
                return Err(Error::Forbidden(format!(
                    "the user's term has ended; only {} or a higher rank can lift {}",
                    least.in_words(),
                    name.in_words()
                )));
            }
            self.account.expires_at = None;
        }
        Ok(())
    }

    /// Turns a switch on or off.
    ///
    /// # Errors
    /// As `set` and `lift`.
    pub fn turn(&mut self, name: SwitchName, on: bool) -> Result<(), Error> {
        if on { self.set(name) } else { self.lift(name) }
    }

    /// Replaces the password; `ends` says what ends with the old one. A one-time password is none to be remembered: it
    /// would take the place of one that the person had chosen.
    pub fn replace_password(&mut self, new: NewPassword, ends: Ends, notice: Notice) {
        let remembered = self.facts.policy.password.remembered();
        let mut history = std::mem::take(&mut self.account.credential.history);
        if self.account.credential.kind == PasswordKind::Permanent {
            history.splice(0..0, self.account.credential.hash.take());
        }
        history.truncate(remembered);
        self.put_password(new, history);
        if ends != Ends::Nothing {
            let old = self.account.generation;
            self.account.generation += 1;
            self.account.session_epoch += 1;
            self.end_sessions(Sessions::Generation(old));
        }
        if ends == Ends::Everything {
            for app in std::mem::take(&mut self.account.app_passwords) {
                self.end_sessions(Sessions::AppPassword(app.id));
            }
        }
        self.effects.push(Effect::Tell { notice });
    }

    /// Takes the account back from whoever got into it: everything that opens it ends, every mail
    /// session too, and nothing is sent from it until somebody allows it again.
    ///
    /// # Errors
    /// `Forbidden` for oneself: whoever got in could do it too. As `set`.
    pub fn secure(&mut self, new: NewPassword) -> Result<(), Error> {
        if self.hand.own {
            return Err(Error::Forbidden(
                "you cannot do this to your own account, since an intruder could do it too; ask another administrator"
                    .to_owned(),
            ));
        }
        self.replace_password(new, Ends::Everything, Notice::PasswordReset);
        self.effects.retain(|effect| !matches!(effect, Effect::EndSessions { .. }));
        self.end_sessions(Sessions::All);
        self.set(SwitchName::OutgoingBlocked)
    }

    /// Takes every second factor away of somebody who has lost them; to be stored beside the account.
    pub fn remove_factors(&mut self) {
        if let Some(what) = self.facts.second_factors.clone() {
            self.notes.insert("secondFactors", format!("removed: {what}"));
            self.effects.push(Effect::Tell { notice: Notice::FactorRemoved { what } });
        }
    }

    /// Finds a second factor in use, which nobody can set up for somebody else.
    ///
    /// # Errors
    /// `Refused` where there is none.
    pub fn require_factor_in_use(&self) -> Result<(), Error> {
        if self.facts.second_factors.is_none() {
            return Err(Error::Refused(
                "a second factor is set up by its owner, in the console under Security".to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes a one-time password away whose time has ended. Where it opened mail, its sessions end.
    pub fn expire_password(&mut self) {
        self.account.credential.hash = None;
        self.account.credential.until = None;
        if self.facts.policy.password.one_time_opens_mail {
            let old = self.account.generation;
            self.account.generation += 1;
            self.end_sessions(Sessions::Generation(old));
        }
    }

    /// Gives a new account its first password; nothing has to end.
    pub fn first_password(&mut self, new: NewPassword) {
        self.put_password(new, Vec::new());
    }

    fn put_password(&mut self, new: NewPassword, history: Vec<PasswordHash>) {
        self.account.credential = Credential {
            hash: Some(new.hash),
            until: match new.kind {
                PasswordKind::OneTime => Some(self.hand.at + self.facts.policy.password.one_time_valid_for),
                PasswordKind::Permanent => None,
            },
            kind: new.kind,
            at: self.hand.at,
            history,
        };
        self.notes.insert(
            "password",
            match new.kind {
                PasswordKind::OneTime => "one-time".to_owned(),
                PasswordKind::Permanent => "permanent".to_owned(),
            },
        );
    }

    /// Makes `to` the primary address; the old one stays as an alias. An own alias swaps.
    ///
    /// # Errors
    /// What `claim` refuses; `Forbidden` where the policy does not let people rename themselves.
    pub fn rename(&mut self, to: &EmailAddress) -> Result<(), Error> {
        if self.account.primary == *to {
            return Ok(());
        }
        let own_alias = self.account.aliases.contains(to);
        if self.hand.own && self.hand.rank < Rank::Admin {
            if self.facts.is_domain_off {
                return Err(Error::Forbidden(format!(
                    "the domain {} is switched off; ask an administrator",
                    self.account.primary.domain()
                )));
            }
            self.check_self_rename(own_alias)?;
        }
        if !own_alias {
            self.claim(to)?;
        } else if self.facts.addresses.get(to).is_some_and(|facts| facts.domain == DomainState::Off) {
            // The domain of the primary address decides about the whole account.
            return Err(switched_off(to));
        }
        self.account.aliases.retain(|alias| alias != to);
        let old = std::mem::replace(&mut self.account.primary, to.clone());
        self.account.aliases.push(old.clone());
        // Two that change places are as many as before, also where the policy has since allowed fewer.
        if !own_alias {
            self.check_alias_count()?;
        }
        self.effects
            .push(Effect::Tell { notice: Notice::Renamed { from: old.to_string(), to: to.to_string() } });
        Ok(())
    }

    fn check_self_rename(&mut self, own_alias: bool) -> Result<(), Error> {
        match self.facts.policy.self_rename {
            SelfRename::Any => {}
            SelfRename::OwnAlias if own_alias => {}
            SelfRename::OwnAlias => {
                return Err(Error::Forbidden(
                    "in this organization people choose among their own addresses; ask an administrator for a new one".to_owned(),
                ));
            }
            SelfRename::Off => {
                return Err(Error::Forbidden(
                    "in this organization only an administrator changes an address".to_owned(),
                ));
            }
        }
        let now = self.hand.at;
        self.account.self_renames.retain(|at| *at > now - SELF_RENAME_TERM);
        if self.account.self_renames.len() >= MOST_SELF_RENAMES {
            return Err(Error::Forbidden(format!(
                "the own address can be changed {MOST_SELF_RENAMES} times in 30 days; ask an administrator"
            )));
        }
        self.account.self_renames.push(now);
        Ok(())
    }

    /// Adds an alias; one that the account already has is left as it is.
    ///
    /// # Errors
    /// What `claim` refuses, `Refused` beyond the policy's number of aliases.
    pub fn add_alias(&mut self, address: &EmailAddress) -> Result<(), Error> {
        if self.account.owns(address) {
            return Ok(());
        }
        self.claim(address)?;
        self.account.aliases.push(address.clone());
        self.check_alias_count()
    }

    /// Takes an alias away; the address is kept for this account for the policy's term.
    ///
    /// # Errors
    /// `Refused` for the primary address, `NotFound` for an address of somebody else.
    pub fn remove_alias(&mut self, address: &EmailAddress) -> Result<(), Error> {
        if self.account.primary == *address {
            return Err(Error::Refused(format!(
                "{address} is the primary address; make another one primary with emailupdate first"
            )));
        }
        if !self.account.aliases.contains(address) {
            return Err(Error::NotFound(format!("{address} is not an alias of this account")));
        }
        self.account.aliases.retain(|alias| alias != address);
        Ok(())
    }

    /// Adds an app password; the person is told.
    ///
    /// # Errors
    /// `Refused` beyond 50 of them.
    pub fn add_app_password(&mut self, app: AppPassword) -> Result<(), Error> {
        if self.account.app_passwords.len() >= MOST_APP_PASSWORDS {
            return Err(Error::Refused(format!(
                "an account has at most {MOST_APP_PASSWORDS} app passwords; revoke one that is not used any more"
            )));
        }
        self.effects.push(Effect::Tell { notice: Notice::AppPasswordMade { name: app.name.clone() } });
        self.account.app_passwords.push(app);
        Ok(())
    }

    /// Revokes an app password and ends exactly the sessions that were opened with it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn revoke_app_password(&mut self, id: AppPasswordId) -> Result<(), Error> {
        let before = self.account.app_passwords.len();
        self.account.app_passwords.retain(|app| app.id != id);
        if self.account.app_passwords.len() == before {
            return Err(Error::NotFound(format!("there is no app password {id} on this account")));
        }
        self.end_sessions(Sessions::AppPassword(id));
        Ok(())
    }

    /// # Errors
    /// `Forbidden` for the own role and for the last enabled super administrator.
    pub fn change_role(&mut self, role: Role, help_desk: Option<&HelpDesk>) -> Result<(), Error> {
        if self.account.role == role && self.account.help_desk.as_ref() == help_desk {
            return Ok(());
        }
        if self.hand.own {
            return Err(Error::Forbidden(
                "nobody changes the own role; ask another super administrator".to_owned(),
            ));
        }
        if role != Role::SuperAdmin {
            self.keep_a_super_admin("demoted")?;
        }
        self.account.role = role;
        self.account.help_desk = help_desk.cloned();
        Ok(())
    }

    /// Says when the user is disabled by the clock; `None` for never. It lets nobody in who is disabled already.
    ///
    /// # Errors
    /// `Forbidden` for oneself.
    pub fn set_term(&mut self, end: Option<Millis>) -> Result<(), Error> {
        if self.hand.own {
            return Err(Error::Forbidden(
                "nobody changes the own term; ask another administrator".to_owned(),
            ));
        }
        self.account.expires_at = end;
        Ok(())
    }

    /// Deletes the user. Every address is kept for the account's former owner; mail stays where it is.
    ///
    /// # Errors
    /// `Forbidden` for oneself and for the last enabled super administrator.
    pub fn delete(&mut self) -> Result<(), Error> {
        if self.hand.own {
            return Err(Error::Forbidden(
                "nobody deletes the own account; ask another administrator".to_owned(),
            ));
        }
        self.keep_a_super_admin("deleted")?;
        self.account.deleted = true;
        self.account.session_epoch += 1;
        self.end_sessions(Sessions::All);
        Ok(())
    }

    /// Decides whether the account may have an address, which is for the caller to put in its place; notes it where a
    /// protected one is released.
    ///
    /// # Errors
    /// `BadAddress`; `AddressTaken` for one in use, `AddressKept` for one that is kept for somebody else.
    pub fn claim(&mut self, address: &EmailAddress) -> Result<(), Error> {
        let unknown = AddressFacts::default();
        let facts = self.facts.addresses.get(address).unwrap_or(&unknown);
        let claimed = claim(address, facts, self.account.id, &self.hand, self.release, self.facts)?;
        if let (Claimed::Released, Some(reason)) = (claimed, self.release) {
            // One call has one reason, for every address that it releases.
            let why = format!(": {}", reason.as_str());
            let note = self.notes.entry("releasedAddress").or_default();
            *note = match note.strip_suffix(&why) {
                Some(others) => format!("{others} {address}{why}"),
                None => format!("{address}{why}"),
            };
        }
        Ok(())
    }

    fn check_alias_count(&self) -> Result<(), Error> {
        let most = self.facts.policy.most_aliases;
        if self.account.aliases.len() > most {
            return Err(Error::Refused(format!(
                "an account has at most {most} addresses besides the primary one; remove an alias first"
            )));
        }
        Ok(())
    }

    fn keep_a_super_admin(&self, what: &str) -> Result<(), Error> {
        if self.account.is_enabled_super_admin() && self.facts.other_super_admins == 0 {
            return Err(Error::Forbidden(format!(
                "the last enabled super administrator cannot be {what}; make somebody else super administrator first"
            )));
        }
        Ok(())
    }

    fn end_sessions(&mut self, sessions: Sessions) {
        self.effects.push(Effect::EndSessions { mailbox: self.account.mailbox.clone(), sessions });
    }
}

/// One difference between two states, for the audit entry, receipts and dry runs. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: &'static str,
    pub from: String,
    pub to: String,
}

/// What a person would notice between two states of one account.
pub fn differences(before: &Account, after: &Account) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut note = |what, from: String, to: String| {
        if from != to {
            all.push(Difference { what, from, to });
        }
    };
    let listed = |addresses: &[EmailAddress]| {
        let mut sorted: Vec<_> = addresses.iter().map(EmailAddress::as_str).collect();
        sorted.sort_unstable();
        sorted.join(" ")
    };
    let held = |switch: &Switch| match switch {
        None => "off".to_owned(),
        Some(block) => format!("on, set by {} ({})", block.by, block.rank.in_words()),
    };
    let role = |account: &Account| match &account.help_desk {
        None => account.role.to_string(),
        Some(desk) => format!("{} ({desk})", account.role),
    };
    note("role", role(before), role(after));
    note("primaryEmailAddress", before.primary.to_string(), after.primary.to_string());
    note("aliases", listed(&before.aliases), listed(&after.aliases));
    for ((what, from), (_, to)) in before.profile.lines().into_iter().zip(after.profile.lines()) {
        note(what, from.to_owned(), to.to_owned());
    }
    for name in SwitchName::ALL {
        note(name.key(), held(before.switches.get(name)), held(after.switches.get(name)));
    }
    let apps = |account: &Account| {
        account.app_passwords.iter().map(|app| app.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    note("appPasswords", apps(before), apps(after));
    note("passwordSetAt", before.credential.at.to_string(), after.credential.at.to_string());
    note("credentialGeneration", before.generation.to_string(), after.generation.to_string());
    note("sessionEpoch", before.session_epoch.to_string(), after.session_epoch.to_string());
    let term = |expires_at: Option<Millis>| expires_at.map_or("none".to_owned(), |at| at.to_string());
    note("expiresAt", term(before.expires_at), term(after.expires_at));
    note("deleted", before.deleted.to_string(), after.deleted.to_string());
    all
}

#[cfg(test)]
mod tests;
