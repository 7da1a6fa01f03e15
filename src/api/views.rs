//! Domain objects in the documented JSON: `zuid` and `zoid` are numbers, `accountId` and the other
//! nineteen-digit ids are strings, times are milliseconds.

use serde_json::{Value, json};

use crate::app::accounts::read::Listed;
use crate::app::accounts::read::OrganizationView;
use crate::app::organizations::Domain;
use crate::clock::{DAY, Millis};
use crate::domain::account::Account;
use crate::domain::password::PasswordKind;

/// What a view depends on beside the object.
pub struct Frame<'a> {
    pub public_url: &'a str,
    pub now: Millis,
    /// Seen by an administrator (and not on the own page).
    pub for_administrator: bool,
}

/// The user object: an account with its person.
pub fn user(listed: &Listed, frame: &Frame<'_>) -> Value {
    let Listed { account, last_sign_in } = listed;
    let (organization, id) = (account.organization, account.id);
    let path = if frame.for_administrator {
        format!("/api/organization/{organization}/accounts/{id}")
    } else {
        format!("/api/accounts/{id}")
    };
    let (switches, profile) = (&account.switches, &account.profile);
    let enabled = switches.user_disabled.is_none();
    let mail = switches.mail_disabled.is_none();
    let primary = account.primary.as_str();
    let mut object = json!({
        "URI": format!("{}{path}", frame.public_url),
        "accountId": id.to_string(),
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
        "emailAddress": addresses(account),
        "role": account.role.as_str(),
        "roleName": account.role.as_str(),
        "iamUserRole": account.role.as_str(),
        "isCustomAdmin": false,
        "type": "ZOHO_ACCOUNT",
        "status": enabled,
        "enabled": enabled,
        "iamStatus": i64::from(enabled),
        "mailboxStatus": if mail { "enabled" } else { "disabled" },
        "accountEnabled": mail,
        "isDefaultAccount": true,
        "sequence": 1,
    });
    let more = json!({
        "incomingBlocked": switches.incoming_blocked.is_some(),
        "outgoingBlocked": switches.outgoing_blocked.is_some(),
        "webBlocked": !enabled,
        "imapBlocked": switches.imap_off.is_some(),
        "popBlocked": switches.pop_off.is_some(),
        "imapAccessEnabled": switches.imap_off.is_none(),
        "popAccessEnabled": switches.pop_off.is_none(),
        "activeSyncEnabled": false,
        "smtpStatus": enabled && mail && switches.outgoing_blocked.is_none(),
        "tfaEnabled": false,
        "country": profile.country,
        "language": profile.language,
        "timeZone": profile.time_zone,
        "phoneNumer": profile.phone_number,
        "mobileNumber": profile.mobile_number,
        "address": {
            "streetAddr": profile.street_address,
            "city": profile.city,
            "postalCode": profile.postal_code,
            "state": profile.state,
            "country": profile.country,
        },
        "customFields": [],
        "lastLogin": last_sign_in.as_ref().map_or(0, |(at, _)| *at),
        "lastClient": last_sign_in.as_ref().map_or("", |(_, door)| door.as_str()),
        "lastPasswordReset": account.credential.at,
        "oneTimePassword": account.credential.kind == PasswordKind::OneTime,
        "accountCreationTime": account.created_at,
        "mailboxCreationTime": account.created_at,
        "userExpiry": expiry_days(account.expires_at, frame.now),
        "usedStorage": 0,
        "planStorage": 0,
        "policyId": {"zoid": organization.get()},
        "sendMailDetails": send_mail_details(account),
        "mailForward": [],
    });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn addresses(account: &Account) -> Value {
    std::iter::once(&account.primary)
        .chain(&account.aliases)
        .map(|address| {
            let primary = *address == account.primary;
            json!({
                "mailId": address.as_str(),
                "isPrimary": primary,
                "isAlias": !primary,
                "isConfirmed": true,
            })
        })
        .collect()
}

/// One sender per address the account owns.
fn send_mail_details(account: &Account) -> Value {
    std::iter::once(&account.primary)
        .chain(&account.aliases)
        .enumerate()
        .map(|(number, address)| {
            json!({
                "sendMailId": format!("{}-{number}", account.id),
                "fromAddress": address.as_str(),
                "displayName": account.profile.display_name,
                "userName": account.primary.as_str(),
                "mode": "mailbox",
                "validated": true,
                "validationRequired": false,
                "status": account.switches.outgoing_blocked.is_none(),
            })
        })
        .collect()
}

/// Days until the term ends, counted up; -1 for never.
fn expiry_days(expires_at: Option<Millis>, now: Millis) -> i64 {
    expires_at.map_or(-1, |at| ((at - now).max(0) + DAY - 1) / DAY)
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
