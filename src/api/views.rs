//! Domain objects in the documented JSON: `zuid` and `zoid` are numbers, `accountId` and the other
//! nineteen-digit ids are strings, times are milliseconds.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::app::App;
use crate::app::accounts::read::{Listed, OrganizationView};
use crate::app::accounts::update_personal_info::Term;
use crate::app::organizations::Domain;
use crate::clock::Millis;
use crate::domain::account::{Account, Profile};
use crate::domain::actor::Role;
use crate::domain::email_address::EmailAddress;
use crate::domain::password::PasswordKind;

/// What a view depends on beside the object.
pub struct Viewing {
    public_url: String,
    now: Millis,
    reader: Reader,
}

/// Through which routes a user is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The organization's.
    Administrator,
    /// Those of the own account.
    Owner,
}

impl Viewing {
    /// What this reader sees now.
    pub fn of(app: &App, reader: Reader) -> Self {
        Self { public_url: app.config.public_url(), now: app.clock.now(), reader }
    }
}

/// The user object: an account with its person. Written straight into the answer, since a page holds many.
pub struct User<'a> {
    pub listed: &'a Listed,
    pub viewing: &'a Viewing,
}

/// Writes members of an object: `members!(object, {"name": value, …})`.
macro_rules! members {
    ($object:ident, {$($name:literal: $value:expr),* $(,)?}) => {
        $($object.serialize_entry($name, &$value)?;)*
    };
}

impl Serialize for User<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { listed: Listed { account, sign_ins }, viewing } = self;
        let (organization, id) = (account.organization, account.id);
        let url = &viewing.public_url;
        let (switches, profile) = (&account.switches, &account.profile);
        let enabled = switches.user_disabled.is_none();
        let mail = switches.mail_disabled.is_none();
        let primary = account.primary.as_str();
        let role = role(account.role);
        let mut object = serializer.serialize_map(None)?;
        match viewing.reader {
            Reader::Administrator => {
                members!(object, {"URI": format_args!("{url}/api/organization/{organization}/accounts/{id}")});
            }
            Reader::Owner => {
                members!(object, {"URI": format_args!("{url}/api/accounts/{id}")});
            }
        }
        members!(object, {
            "accountId": format_args!("{id}"),
            "zuid": account.user.get(),
            "accountName": primary,
            "accountDisplayName": profile.display_name,
            "displayName": profile.display_name,
            "firstName": profile.first_name,
            "lastName": profile.last_name,
            "gender": profile.gender.as_str(),
            "primaryEmailAddress": primary,
            "mailboxAddress": primary,
            "incomingUserName": primary,
            "emailAddress": Each(account, |account, _, address| Address(account, address)),
            "role": role,
            "roleName": role,
            "iamUserRole": role,
            "isCustomAdmin": account.role == Role::HelpDesk,
            "type": "ZOHO_ACCOUNT",
            "status": enabled,
            "enabled": enabled,
            "iamStatus": i64::from(enabled),
            "mailboxStatus": if mail { "enabled" } else { "disabled" },
            "accountEnabled": mail,
            "isDefaultAccount": true,
            "sequence": 1,
            "incomingBlocked": switches.incoming_blocked.is_some(),
            "outgoingBlocked": switches.outgoing_blocked.is_some(),
            "webBlocked": !enabled,
            "imapBlocked": switches.imap_off.is_some(),
            "popBlocked": switches.pop_off.is_some(),
            "imapAccessEnabled": switches.imap_off.is_none(),
            "popAccessEnabled": switches.pop_off.is_none(),
            "activeSyncEnabled": false,
            "mxStatus": true,
            "spamcheckEnabled": false,
            "isLogoExist": false,
            "smtpStatus": enabled && mail && switches.outgoing_blocked.is_none(),
            "tfaEnabled": sign_ins.second_factor,
            "country": profile.country,
            "language": profile.language,
            "timeZone": profile.time_zone,
            "phoneNumer": profile.phone_number,
            "mobileNumber": profile.mobile_number,
            "address": Postal(profile),
            "customFields": [(); 0],
            "lastLogin": sign_ins.last.as_ref().map_or(0, |last| last.at),
            "lastClient": sign_ins.last.as_ref().map_or("", |last| &last.door),
            "lastPasswordReset": account.credential.at,
            "oneTimePassword": account.credential.kind == PasswordKind::OneTime,
            "accountCreationTime": account.created_at,
            "mailboxCreationTime": account.created_at,
            "userExpiry": Term::left(account.expires_at, viewing.now),
            "usedStorage": 0,
            "allowedStorage": 0,
            "planStorage": 0,
            "basicStorage": "free",
            "extraStorage": Nothing {},
            "planType": 0,
            "ediscoveryStorage": Ediscovery::default(),
            "extraEDiscoveryStorage": Nothing {},
            "popFetchTime": -1,
            "policyId": Policy { zoid: organization.get() },
            "sendMailDetails": Each(account, Sender),
            "mailForward": [(); 0],
        });
        if let Some(desk) = &account.help_desk {
            let verbs: Vec<_> = desk.verbs().iter().map(|verb| verb.as_str()).collect();
            members!(object, {"verbs": verbs});
            if let Some(domains) = desk.domains() {
                let domains: Vec<_> = domains.iter().map(|domain| domain.as_str()).collect();
                members!(object, {"domains": domains});
            }
        }
        object.end()
    }
}

/// The role on the wire, where the help desk's administrators are custom ones.
fn role(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::HelpDesk | Role::Admin => "admin",
        Role::SuperAdmin => "super_admin",
    }
}

/// What Mailward knows nothing of, in the type that clients read.
#[derive(Serialize)]
struct Nothing {}

#[derive(Default, Serialize)]
struct Ediscovery {
    #[serde(rename = "iseDiscoveryStorageEnabled")]
    enabled: bool,
    #[serde(rename = "ediscoveryUsedStorage")]
    used: i64,
    #[serde(rename = "ediscoveryAllowedStorage")]
    allowed: i64,
}

#[derive(Serialize)]
struct Policy {
    zoid: i64,
}

struct Postal<'a>(&'a Profile);

impl Serialize for Postal<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(profile) = self;
        let mut object = serializer.serialize_map(None)?;
        members!(object, {
            "streetAddr": profile.street_address,
            "city": profile.city,
            "postalCode": profile.postal_code,
            "state": profile.state,
            "country": profile.country,
        });
        object.end()
    }
}

/// One object for each address of an account, the primary one first.
struct Each<'a, T>(&'a Account, fn(&'a Account, usize, &'a EmailAddress) -> T);

impl<T: Serialize> Serialize for Each<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(account, object) = self;
        let all = account.addresses().enumerate();
        serializer.collect_seq(all.map(|(number, address)| object(account, number, address)))
    }
}

struct Address<'a>(&'a Account, &'a EmailAddress);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(account, address) = self;
        let primary = **address == account.primary;
        let mut object = serializer.serialize_map(None)?;
        members!(object, {
            "mailId": address.as_str(),
            "isPrimary": primary,
            "isAlias": !primary,
            "isConfirmed": true,
        });
        object.end()
    }
}

/// Every address the account owns may stand in `From:`.
struct Sender<'a>(&'a Account, usize, &'a EmailAddress);

impl Serialize for Sender<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(account, number, address) = self;
        let mut object = serializer.serialize_map(None)?;
        members!(object, {
            "sendMailId": format_args!("{}-{number}", account.id),
            "fromAddress": address.as_str(),
            "displayName": account.profile.display_name,
            "userName": account.primary.as_str(),
            "serverName": "",
            "serverPort": 0,
            "connectionType": "plain",
            "smtpConnection": 0,
            "signatureId": "",
            "mode": "mailbox",
            "validated": true,
            "validationRequired": false,
            "validationState": "",
            "status": account.switches.outgoing_blocked.is_none(),
        });
        object.end()
    }
}

pub fn organization(view: &OrganizationView, public_url: &str) -> Value {
    let OrganizationView { organization, domains, counts, super_admin } = view;
    let primary = domains.iter().find(|domain| domain.primary);
    let (address, name) = super_admin.clone().unwrap_or_default();
    json!({
        "zoid": organization.id.get(),
        "orgName": organization.name,
        "URI": format!("{public_url}/api/organization/{}", organization.id),
        "primaryDomainName": primary.map_or("", |domain| domain.name.as_str()),
        "domains": domains.iter().map(|domain| domain.name.as_str()).collect::<Vec<_>>(),
        "usersCount": counts.persons,
        "mailboxCount": counts.persons,
        "groupCount": 0,
        "sharedGroupCount": 0,
        "partnerOrgCount": 0,
        "orgCreationTime": organization.created_at,
        "superAdmin": address,
        "superAdminLoginName": address,
        "superAdminFullName": name,
        "isMailHostingEnabled": organization.disabled.is_none(),
        "isEmailConfirmed": true,
        "enabled": organization.disabled.is_none(),
    })
}

pub fn domain(domain: &Domain, public_url: &str) -> Value {
    let verified = domain.verified_at.is_some();
    json!({
        "URI": format!("{public_url}/api/organization/{}/domains/{}", domain.organization, domain.name),
        "domainName": domain.name.as_str(),
        "domainId": domain.id.to_string(),
        "zoid": domain.organization.get(),
        "primary": domain.primary,
        "isDomainAlias": false,
        "verificationStatus": verified,
        "verifiedDate": domain.verified_at.unwrap_or(0),
        "createdTime": domain.created_at,
        "mailHostingEnabled": verified && domain.disabled.is_none(),
        "status": if domain.disabled.is_none() { "enabled" } else { "disabled" },
        "CNAMEVerificationCode": domain.verification_code,
        "HTMLVerificationCode": domain.verification_code,
    })
}
