//! `mailward user`: everything that can be done to people and their accounts. Changes go the same
//! way as those of the API, `app::change`.

use std::io::Write as _;

use serde_json::json;

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::TargetName;
use crate::app::accounts::change_role::ChangeRole;
use crate::app::accounts::create::{self, NewUser};
use crate::app::accounts::delete_user::DeleteUser;
use crate::app::accounts::disable_mail_account::DisableMailAccount;
use crate::app::accounts::disable_user::DisableUser;
use crate::app::accounts::display_name_email_update::DisplayNameEmailUpdate;
use crate::app::accounts::display_name_update::DisplayNameUpdate;
use crate::app::accounts::email_update::EmailUpdate;
use crate::app::accounts::enable_mail_account::EnableMailAccount;
use crate::app::accounts::enable_user::EnableUser;
use crate::app::accounts::read::{self, MOST_ROWS};
use crate::app::accounts::reset_password::ResetPassword;
use crate::app::accounts::update_imap_status::UpdateImapStatus;
use crate::app::accounts::update_incoming_status::UpdateIncomingStatus;
use crate::app::accounts::update_outgoing_status::UpdateOutgoingStatus;
use crate::app::accounts::update_personal_info::{Term, UpdatePersonalInfo};
use crate::app::accounts::update_pop_status::UpdatePopStatus;
use crate::app::accounts::update_tfa_status::UpdateTfaStatus;
use crate::app::call::Context;
use crate::app::{compromise, factors, operator, throttle};
use crate::cli::desk::{Desk, OrgName, UserName};
use crate::cli::password::PasswordArgs;
use crate::cli::show::{account_json, account_text, done_json, done_text, report_json, report_text, state};
use crate::cli::throttle::tell_cleared;
use crate::clock::rfc3339;
use crate::domain::actor::Role;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::help_desk::{HelpDesk, Verb};
use crate::domain::plain_text::name;
use crate::error::{Error, Result};

/// Users: add, list, show, rename, enable, disable, reset passwords, and so on
///
/// A user is named by an address, a zuid or an accountId.
#[derive(Debug, clap::Subcommand)]
pub enum User {
    /// Add a user with one mail account
    ///
    /// The organization follows from the address's domain.
    #[command(after_help = "\
Examples:
  mailward user add rebecca@example.org --name 'Rebecca Anderson'
  mailward user add guest@example.org --expires-in-days 30 --ask-password
  mailward user add robot@example.org --password-stdin < password.txt
  mailward user add boss@example.org --role super_admin")]
    Add(Add),
    /// List an organization's users in the order of their creation
    #[command(
        after_help = "Examples:\n  mailward user list\n  mailward user list --start 1000 --limit 50\n  mailward user list --json | jq -r '.[].email'"
    )]
    List {
        #[command(flatten)]
        org: OrgName,
        /// How many to leave out from the beginning
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        start: i64,
        /// How many at most [default: all]
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        limit: Option<i64>,
    },
    /// Show a user with addresses and switches
    #[command(
        after_help = "Examples:\n  mailward user show rebecca@example.org\n  mailward user show 1000000000001 --json"
    )]
    Show {
        #[command(flatten)]
        user: UserName,
    },
    /// Give a user a new password; the old one is dead at once
    ///
    /// Every token, web session and mail session of the user ends, unless --keep-sessions is given.
    #[command(after_help = "\
Examples:
  mailward user reset-password rebecca@example.org --reason 'ticket 4711'
  mailward user reset-password tom@example.org --ask-password --keep-sessions
  mailward user reset-password tom@example.org --one-time --ask-password")]
    ResetPassword {
        #[command(flatten)]
        user: UserName,
        /// Leave tokens and open sessions alone; only new logins need the new password
        #[arg(long)]
        keep_sessions: bool,
        /// Leave app passwords alone
        #[arg(long)]
        keep_app_passwords: bool,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Take an account back that somebody else got into
    ///
    /// In one change: a new one-time password, which is printed once; the end of every token, web session
    /// and mail session; app passwords, second factors and the recovery address gone; sending blocked.
    /// Prints who came in lately, and what was done to the account and by it.
    #[command(after_help = "\
Examples:
  mailward user compromised tom@example.org --reason 'sends spam'
  mailward user compromised tom@example.org --dry-run")]
    Compromised {
        #[command(flatten)]
        user: UserName,
    },
    /// Change a user's primary address, display name, or both
    ///
    /// The old address stays as an alias; an own alias swaps with it. Mail stays where it is.
    #[command(after_help = "\
Examples:
  mailward user rename rebecca@example.org rebecca.anderson@example.org
  mailward user rename rebecca@example.org --name 'Rebecca Miller'
  mailward user rename rebecca@example.org sales@example.org \\
      --release-address 'taken over from Tom'")]
    Rename {
        #[command(flatten)]
        user: UserName,
        /// The new primary address
        address: Option<String>,
        /// The new display name
        #[arg(long, value_name = "NAME", required_unless_present = "address")]
        name: Option<String>,
        #[command(flatten)]
        release: Release,
    },
    /// Change a user's names, or the term after which the user is disabled
    #[command(after_help = "\
Examples:
  mailward user info rebecca@example.org --first-name Rebecca
  mailward user info tom@example.org --expires-in-days 90
  mailward user info tom@example.org --expires-in-days never")]
    Info {
        #[command(flatten)]
        user: UserName,
        #[command(flatten)]
        info: Names,
        /// Disable the user after so many days from now; `never` takes the term away
        #[arg(long, value_name = "DAYS", value_parser = term)]
        expires_in_days: Option<Term>,
    },
    /// Lift the block of the user and of the mail account
    #[command(
        after_help = "Examples:\n  mailward user enable rebecca@example.org\n  mailward user enable rebecca@example.org --unblock-incoming"
    )]
    Enable {
        #[command(flatten)]
        user: UserName,
        /// Accept mail again too
        #[arg(long)]
        unblock_incoming: bool,
    },
    /// Keep a user out of everything: mail protocols, web, tokens; mail keeps arriving
    #[command(
        after_help = "Examples:\n  mailward user disable tom@example.org --reason 'left the company'\n  mailward user disable tom@example.org --block-incoming"
    )]
    Disable {
        #[command(flatten)]
        user: UserName,
        /// Refuse mail for every address of the account
        #[arg(long)]
        block_incoming: bool,
        /// Take the aliases away; they are kept for this account for a term
        #[arg(long)]
        remove_aliases: bool,
    },
    /// Let the user read and send mail again
    #[command(after_help = "Examples:\n  mailward user enable-mail rebecca@example.org")]
    EnableMail {
        #[command(flatten)]
        user: UserName,
    },
    /// Refuse IMAP, POP3 and submission; the web and tokens go on, mail keeps arriving
    #[command(
        after_help = "Examples:\n  mailward user disable-mail rebecca@example.org --reason 'stolen laptop'"
    )]
    DisableMail {
        #[command(flatten)]
        user: UserName,
    },
    /// Accept or refuse mail for the user
    #[command(
        after_help = "Examples:\n  mailward user incoming rebecca@example.org off\n  mailward user incoming rebecca@example.org on"
    )]
    Incoming(Turn),
    /// Let the user send, or refuse it, also inside open connections
    #[command(
        after_help = "Examples:\n  mailward user outgoing rebecca@example.org off --reason 'sends spam'"
    )]
    Outgoing(Turn),
    /// Turn IMAP on or off for the user
    #[command(after_help = "Examples:\n  mailward user imap rebecca@example.org off")]
    Imap(Turn),
    /// Turn POP3 on or off for the user
    #[command(after_help = "Examples:\n  mailward user pop rebecca@example.org off")]
    Pop(Turn),
    /// Give the user a role
    ///
    /// The role help-desk is an administrator of members, who may do what --may says and nothing else.
    #[command(after_help = "\
Examples:
  mailward user role rebecca@example.org admin
  mailward user role rebecca@example.org member
  mailward user role tom@example.org help-desk --may reset,switches \\
      --domain example.org")]
    Role {
        #[command(flatten)]
        user: UserName,
        /// member, help-desk, admin or super_admin
        role: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Delete users; mail stays where it is, addresses are kept for a term. All or none
    #[command(
        after_help = "Examples:\n  mailward user delete tom@example.org --yes --reason 'left a year ago'"
    )]
    Delete {
        /// Addresses, zuids or accountIds, of one organization
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// You mean it: there is no way back
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        org: OrgName,
    },
    /// Forget wrong passwords that were tried on the user, so that the right one works again
    #[command(after_help = "Examples:\n  mailward user clear-throttle rebecca@example.org")]
    ClearThrottle {
        #[command(flatten)]
        user: UserName,
    },
    /// Show a user's second factors, or take them away from somebody who has lost them
    ///
    /// Afterwards the password alone signs in to the web page, unless the organization wants a second
    /// factor: then a new one is set up first. The user is told.
    #[command(
        after_help = "Examples:\n  mailward user factors rebecca@example.org\n  mailward user factors rebecca@example.org --remove --reason 'ticket 4711'"
    )]
    Factors {
        #[command(flatten)]
        user: UserName,
        /// Remove the authenticator app, every passkey and every recovery code
        #[arg(long)]
        remove: bool,
    },
    /// Break the glass: make a user an enabled super administrator, where there is none
    ///
    /// For an organization whose last super administrator is gone. Refused while there is an enabled
    /// one. The audit log shows it as recoverSuperAdmin, with your name on this machine.
    #[command(
        after_help = "Examples:\n  mailward user recover-super-admin admin@example.org --reason 'all gone'"
    )]
    RecoverSuperAdmin {
        #[command(flatten)]
        user: UserName,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// The new user's address, on a verified domain
    address: String,
    /// The display name
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    #[command(flatten)]
    info: Names,
    /// member, help-desk, admin or super_admin
    #[arg(long, default_value = "member")]
    role: String,
    #[command(flatten)]
    limits: Limits,
    /// Disable the user after so many days
    #[arg(long, value_name = "DAYS", value_parser = term, default_value = "never")]
    expires_in_days: Term,
    #[command(flatten)]
    release: Release,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Debug, clap::Args)]
pub struct Names {
    /// The first name
    #[arg(long, value_name = "NAME")]
    first_name: Option<String>,
    /// The last name
    #[arg(long, value_name = "NAME")]
    last_name: Option<String>,
}

/// An address that is kept for its former owner is given out only on purpose.
#[derive(Debug, clap::Args)]
pub struct Release {
    /// Give out an address that is still kept for its former owner, for this reason
    #[arg(long, value_name = "REASON")]
    pub release_address: Option<String>,
}

/// What somebody of the help desk may do.
#[derive(Debug, clap::Args)]
pub struct Limits {
    /// What the help desk may do: read, reset, switches, rename
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    may: Vec<Verb>,
    /// A domain whose users the help desk sees and changes; repeat it for more [default: all]
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
}

impl Limits {
    fn of(&self, role: &str) -> Result<(Role, Option<HelpDesk>)> {
        let role: Role = role
            .replace('-', "_")
            .parse()
            .map_err(|_| Error::bad_value("role", "a role is member, help-desk, admin or super_admin"))?;
        if role == Role::HelpDesk {
            let domains = self.domains.iter().map(|name| DomainName::parse(name)).collect::<Result<_>>()?;
            let domains = (!self.domains.is_empty()).then_some(domains);
            return Ok((role, Some(HelpDesk::new(self.may.iter().copied(), domains)?)));
        }
        if self.may.is_empty() && self.domains.is_empty() {
            return Ok((role, None));
        }
        Err(Error::bad_value("--may, --domain", "these limit the role help-desk alone"))
    }
}

#[derive(Debug, clap::Args)]
pub struct Turn {
    #[command(flatten)]
    user: UserName,
    /// on or off
    #[arg(value_enum)]
    to: OnOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

impl User {
    /// # Errors
    /// Every refusal of the rules.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let context = desk.context(&app);
        let (user, mode) = match self {
            Self::Add(wish) => return add(desk, &app, wish).await,
            Self::List { org, start, limit } => return list(desk, &app, &org, start, limit).await,
            Self::Show { user } => {
                let account = user.find(&app).await?;
                return desk.answer(|| account_text(&account), || account_json(&account));
            }
            Self::ResetPassword { user, keep_sessions, keep_app_passwords, password } => {
                return reset(desk, &app, &user, !keep_sessions, keep_app_passwords, &password).await;
            }
            Self::Compromised { user } => return compromised(desk, &app, context, &user).await,
            Self::Rename { user, address, name: new_name, release } => {
                let context = desk.releasing(&app, release.release_address.as_deref())?;
                let mode = renaming(address.as_deref(), new_name.as_deref())?;
                return desk.change(&app, &context, &user.find(&app).await?, mode).await;
            }
            Self::Info { user, info, expires_in_days } => {
                let info = UpdatePersonalInfo { term: expires_in_days, ..info.mode()? };
                (user, AccountMode::UpdatePersonalInfo(info))
            }
            Self::Enable { user, unblock_incoming } => {
                (user, AccountMode::EnableUser(EnableUser { unblock_incoming }))
            }
            Self::Disable { user, block_incoming, remove_aliases } => {
                let mode =
                    DisableUser { block_incoming, remove_alias: remove_aliases, ..DisableUser::default() };
                (user, AccountMode::DisableUser(mode))
            }
            Self::EnableMail { user } => (user, AccountMode::EnableMailAccount(EnableMailAccount)),
            Self::DisableMail { user } => (user, AccountMode::DisableMailAccount(DisableMailAccount)),
            Self::Incoming(Turn { user, to }) => {
                (user, AccountMode::UpdateIncomingStatus(UpdateIncomingStatus { blocked: to == OnOff::Off }))
            }
            Self::Outgoing(Turn { user, to }) => {
                (user, AccountMode::UpdateOutgoingStatus(UpdateOutgoingStatus { blocked: to == OnOff::Off }))
            }
            Self::Imap(Turn { user, to }) => {
                (user, AccountMode::UpdateImapStatus(UpdateImapStatus { enabled: to == OnOff::On }))
            }
            Self::Pop(Turn { user, to }) => {
                (user, AccountMode::UpdatePopStatus(UpdatePopStatus { enabled: to == OnOff::On }))
            }
            Self::Role { user, role, limits } => {
                let (role, help_desk) = limits.of(&role)?;
                let account = user.find(&app).await?;
                let users = vec![TargetName::Number(account.user.get())];
                let mode = AccountMode::ChangeRole(ChangeRole { users, role, help_desk });
                return desk.change(&app, &context, &account, mode).await;
            }
            Self::Delete { users, yes: _, org } => return delete(desk, &app, &users, &org).await,
            Self::ClearThrottle { user } => {
                let account = user.find(&app).await?;
                let done = throttle::clear(&app, &context, account.organization, account.user.get()).await?;
                if done.repeated {
                    return desk.tell_done(&done);
                }
                let forecast = done.forecast.as_ref().map(|forecast| forecast.changes);
                let cleared = forecast.unwrap_or(done.change.is_some());
                return tell_cleared(desk, cleared);
            }
            Self::Factors { user, remove: false } => return look_at_factors(desk, &app, &user).await,
            Self::Factors { user, remove: true } => {
                (user, AccountMode::UpdateTfaStatus(UpdateTfaStatus { enabled: false }))
            }
            Self::RecoverSuperAdmin { user } => {
                let account = user.find(&app).await?;
                let done = operator::recover_super_admin(&app, &context, &account).await?;
                return desk.tell_done(&done);
            }
        };
        desk.change(&app, &context, &user.find(&app).await?, mode).await
    }
}

async fn look_at_factors(desk: &Desk, app: &App, user: &UserName) -> Result<()> {
    let account = user.find(app).await?;
    let enrolled = factors::enrolled(app, &account).await?;
    desk.answer(
        || {
            format!(
                "authenticator app  {}\npasskeys           {}\nrecovery codes     {}\ndemanded           {}",
                if enrolled.app { "in use" } else { "none" },
                enrolled.passkeys.len(),
                enrolled.codes_left,
                if enrolled.demanded { "yes" } else { "no" }
            )
        },
        || {
            json!({
                "authenticatorApp": enrolled.app,
                "passkeys": enrolled.passkeys.len(),
                "recoveryCodes": enrolled.codes_left,
                "demanded": enrolled.demanded,
            })
        },
    )
}

/// Days, or `never`.
fn term(text: &str) -> std::result::Result<Term, String> {
    match text {
        "never" => Ok(Term::Forever),
        days => Term::of_text(days).map_err(|_| "a number of days from 1 to 36500, or never".to_owned()),
    }
}

impl Names {
    fn mode(&self) -> Result<UpdatePersonalInfo> {
        let line = |parameter: &str, text: &Option<String>| {
            text.as_deref().map(|text| name(parameter, text)).transpose()
        };
        Ok(UpdatePersonalInfo {
            first_name: line("--first-name", &self.first_name)?,
            last_name: line("--last-name", &self.last_name)?,
            ..UpdatePersonalInfo::default()
        })
    }
}

async fn add(desk: &Desk, app: &App, wish: Add) -> Result<()> {
    let address = EmailAddress::parse(&wish.address)?;
    let (role, help_desk) = wish.limits.of(&wish.role)?;
    let zoid =
        operator::organization_of_domain(app, address.domain(), None).await.map_err(|error| match error {
            Error::NotFound(_) => Error::BadAddress(format!(
                "{} is no domain of an organization here; see `mailward domain list`",
                address.domain()
            )),
            other => other,
        })?;
    let policy = operator::organization(app, Some(zoid)).await?.policy;
    let chosen = wish.password.choose(app, &policy.password)?;
    let mut new: NewUser = create::simple(address, chosen.password.clone(), role, &wish.name)?;
    wish.info.mode()?.fill(&mut new.profile);
    new.profile.name_if_unnamed();
    new.kind = chosen.kind;
    new.term = wish.expires_in_days;
    new.help_desk = help_desk;
    let mut context = desk.releasing(app, wish.release.release_address.as_deref())?;
    chosen.tell(&mut context);
    let done = create::run(app, &context, zoid, new).await?;
    if done.repeated {
        return desk.tell_done(&done);
    }
    let account = done.accounts.first().ok_or_else(|| Error::internal("the user was not stored"))?;
    let change = done.change.map(|change| change.to_string()).unwrap_or_default();
    desk.tell(
        &done,
        || {
            format!(
                "{} added\nzuid       {}\naccountId  {}\nchange     {change}{}",
                account.primary,
                account.user,
                account.id,
                chosen.text()
            )
        },
        || {
            let mut answer = json!({"change": change, "user": account_json(account)});
            chosen.add_to(&mut answer);
            answer
        },
    )
}

/// Pages are written as they come: a million users need no memory.
async fn list(desk: &Desk, app: &App, org: &OrgName, start: i64, limit: Option<i64>) -> Result<()> {
    let (zoid, caller) = (org.find(app).await?, desk.context(app).caller);
    let (mut at, mut left, mut first) = (start, limit.unwrap_or(i64::MAX), true);
    if desk.global.json {
        desk.write(b"[")?;
    }
    while left > 0 {
        let page = read::page(app, &caller, zoid, at, left.min(MOST_ROWS)).await?;
        let mut text = Vec::new();
        for listed in &page {
            let account = &listed.account;
            let seen = listed.sign_ins.last.as_ref().map(|last| last.at);
            let line = if desk.global.json {
                let mut one = account_json(account);
                one["lastSignIn"] = json!(seen);
                one["secondFactor"] = json!(listed.sign_ins.second_factor);
                format!("{}{one}", if first { "\n" } else { ",\n" })
            } else {
                let seen = seen.map_or_else(|| "never".to_owned(), rfc3339);
                let (zuid, role, name) = (account.user, account.role.as_str(), &account.profile.display_name);
                format!(
                    "{zuid}  {:<32}  {role:<11}  {:<16}  {seen:<20}  {name}\n",
                    account.primary.as_str(),
                    state(account)
                )
            };
            first = false;
            text.write_all(line.as_bytes()).map_err(|cause| Error::caused("writing a list", cause))?;
        }
        desk.write(&text)?;
        let rows = i64::try_from(page.len()).unwrap_or(i64::MAX);
        (at, left) = (at + rows, left - rows);
        if rows < MOST_ROWS {
            break;
        }
    }
    if desk.global.json { desk.write(b"\n]\n") } else { Ok(()) }
}

async fn reset(
    desk: &Desk,
    app: &App,
    user: &UserName,
    reset_auth_token: bool,
    keep_app_passwords: bool,
    password: &PasswordArgs,
) -> Result<()> {
    let account = user.find(app).await?;
    let policy = operator::organization(app, Some(account.organization)).await?.policy;
    let chosen = password.choose(app, &policy.password)?;
    let mode = AccountMode::ResetPassword(ResetPassword {
        password: chosen.password.clone(),
        reset_auth_token,
        kind: chosen.kind,
        keep_app_passwords,
    });
    let mut context = desk.context(app);
    chosen.tell(&mut context);
    let done = desk.run_mode(app, &context, account.organization, Some(&account), mode).await?;
    desk.tell(
        &done,
        || format!("{}{}", done_text(&done), chosen.text()),
        || {
            let mut answer = done_json(&done);
            chosen.add_to(&mut answer);
            answer
        },
    )
}

async fn compromised(desk: &Desk, app: &App, mut context: Context, user: &UserName) -> Result<()> {
    let account = user.find(app).await?;
    context.answers_with_a_secret("reset the password, or run the command with a new key");
    let (done, report) = compromise::secure(app, &context, account.organization, account.user.get()).await?;
    let Some(report) = report else { return desk.tell_done(&done) };
    desk.tell(&done, || report_text(&done, &report), || report_json(&done, &report))
}

fn renaming(address: Option<&str>, new_name: Option<&str>) -> Result<AccountMode> {
    let email_address = address.map(EmailAddress::parse).transpose()?;
    let display_name = new_name.map(|text| name("--name", text)).transpose()?;
    match (email_address, display_name) {
        (Some(email_address), Some(display_name)) => {
            Ok(AccountMode::DisplayNameEmailUpdate(DisplayNameEmailUpdate { display_name, email_address }))
        }
        (Some(email_address), None) => Ok(AccountMode::EmailUpdate(EmailUpdate { email_address })),
        (None, Some(display_name)) => Ok(AccountMode::DisplayNameUpdate(DisplayNameUpdate { display_name })),
        (None, None) => Err(Error::bad_value("rename", "name the new address, or --name, or both")),
    }
}

async fn delete(desk: &Desk, app: &App, users: &[String], org: &OrgName) -> Result<()> {
    let (named, mut zoid, mut targets) = (org.zoid()?, None, Vec::new());
    for user in users {
        let account = operator::user(app, user, named).await?;
        if *zoid.get_or_insert(account.organization) != account.organization {
            return Err(Error::Refused(
                "the users belong to several organizations; delete them one organization at a time"
                    .to_owned(),
            ));
        }
        targets.push(TargetName::Number(account.user.get()));
    }
    let Some(zoid) = zoid else { return Ok(()) };
    let context = desk.context(app);
    let mode = AccountMode::DeleteUser(DeleteUser { users: targets });
    let done = desk.run_mode(app, &context, zoid, None, mode).await?;
    desk.tell_done(&done)
}
