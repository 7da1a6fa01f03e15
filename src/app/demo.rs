//! A throw-away organization to try Mailward with: people in every role, a client, tokens.
//! An existing one is continued; tokens that have ended meanwhile are made anew.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::app::accounts::create;
use crate::app::call::Context;
use crate::app::clients::{self, NewClient};
use crate::app::oauth::{self, CodeWish, GrantType, TokenRequest};
use crate::app::organizations::{self, DomainChange};
use crate::clock::MINUTE;
use crate::domain::actor::Role;
use crate::domain::client::ClientKind;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::password::Password;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{fingerprint, new_one_time_password};
use crate::error::{Error, Result};
use crate::store;

const DOMAIN: &str = "zylker.example";
const ORGANIZATION_SCOPES: &str = "ZohoMail.organization.accounts.ALL,ZohoMail.organization.domains.ALL,\
     ZohoMail.organization.audit.READ,ZohoMail.partner.organization.ALL,AaaServer.profile.READ";
const USER_SCOPES: &str = "ZohoMail.accounts.ALL,AaaServer.profile.READ";
const REDIRECT: &str = "http://127.0.0.1/callback";

/// Everything a person or a program needs to try the demonstration; printed by `demo --json`.
/// Holds passwords and tokens in clear: they open nothing but the demonstration.
#[derive(Clone, Serialize, Deserialize)]
pub struct Demo {
    pub base_url: String,
    pub accounts_url: String,
    pub zoid: i64,
    pub domain: String,
    pub admin: Person,
    pub plain_admin: Person,
    pub member: Person,
    pub spare: Vec<Person>,
    pub client: DemoClient,
    /// Where its mail servers listen, when it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<DemoMail>,
}

/// Host and port of each mail protocol.
#[derive(Clone, Serialize, Deserialize)]
pub struct DemoMail {
    pub imap: String,
    pub pop3: String,
    pub submission: String,
    pub smtp: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Person {
    pub zuid: i64,
    #[serde(rename = "accountId")]
    pub account_id: String,
    pub email: String,
    pub password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct DemoClient {
    pub client_id: String,
    pub client_secret: String,
}

/// Makes the demonstration in an empty database, or continues the one in `file`.
///
/// # Errors
/// What the calls refuse, and a file that cannot be read or written.
pub async fn prepare(app: &App, file: &Path) -> Result<Demo> {
    let mut demo = match std::fs::read_to_string(file) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| Error::caused("reading the demo's file", error))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(app).await?,
        Err(error) => return Err(Error::caused("reading the demo's file", error)),
    };
    demo.base_url = app.config.public_url();
    demo.accounts_url.clone_from(&demo.base_url);
    demo.mail = None;
    let zoid =
        OrganizationId::new(demo.zoid).ok_or_else(|| Error::internal("the demo's file has no zoid"))?;
    let client = demo.client.clone();
    renew(app, zoid, &client, &mut demo.admin, ORGANIZATION_SCOPES).await?;
    renew(app, zoid, &client, &mut demo.plain_admin, ORGANIZATION_SCOPES).await?;
    renew(app, zoid, &client, &mut demo.member, USER_SCOPES).await?;
    save(&demo, file)?;
    Ok(demo)
}

fn save(demo: &Demo, file: &Path) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let text = serde_json::to_string_pretty(demo)
        .map_err(|error| Error::caused("writing the demo's file", error))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::caused("writing the demo's file", error))
}

async fn make(app: &App) -> Result<Demo> {
    let context = Context::operator("demo", "demo".to_owned());
    let (organization, _) = organizations::create(app, &context, "Zylker").await?;
    let domain = DomainName::parse(DOMAIN)?;
    organizations::add_domain(app, &context, organization.id, &domain).await?;
    organizations::change_domain(app, &context, organization.id, &domain, DomainChange::Verify).await?;
    let admin = person(app, &context, organization.id, "paula", Role::SuperAdmin, "Paula Berg").await?;
    let plain_admin = person(app, &context, organization.id, "peter", Role::Admin, "Peter Lund").await?;
    let member = person(app, &context, organization.id, "becky", Role::Member, "Rebecca Anderson").await?;
    let mut spare = Vec::new();
    for (local, name) in [
        ("lucia", "Lucia Moreno"),
        ("marco", "Marco Rossi"),
        ("nina", "Nina Petrova"),
        ("omar", "Omar Haddad"),
        ("petra", "Petra Novak"),
        ("quentin", "Quentin Dubois"),
    ] {
        spare.push(person(app, &context, organization.id, local, Role::Member, name).await?);
    }
    let owner = UserId::new(admin.zuid).ok_or_else(|| Error::internal("a zuid out of range"))?;
    let new = NewClient {
        organization: organization.id,
        owner,
        name: "Demo client".to_owned(),
        kind: ClientKind::SelfClient,
        redirect_uris: vec![REDIRECT.to_owned()],
    };
    let (client, secret, _) = clients::create(app, &context, new).await?;
    let secret = secret.ok_or_else(|| Error::internal("a self client has a secret"))?;
    Ok(Demo {
        base_url: String::new(),
        accounts_url: String::new(),
        zoid: organization.id.get(),
        domain: DOMAIN.to_owned(),
        admin,
        plain_admin,
        member,
        spare,
        client: DemoClient { client_id: client.id, client_secret: secret.expose().to_owned() },
        mail: None,
    })
}

async fn person(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    local: &str,
    role: Role,
    name: &str,
) -> Result<Person> {
    let password = app.random.with(|rng| new_one_time_password(rng, 14));
    let address = EmailAddress::parse(&format!("{local}@{DOMAIN}"))?;
    let new = create::simple(address, Password::prepare(password.expose())?, role, name)?;
    let (account, _) = create::create(app, context, zoid, new).await?;
    Ok(Person {
        zuid: account.user.get(),
        account_id: account.id.to_string(),
        email: account.primary.to_string(),
        password: password.expose().to_owned(),
        access_token: None,
        refresh_token: None,
    })
}

/// Leaves the person with an access token that works, and a refresh token.
async fn renew(
    app: &App,
    zoid: OrganizationId,
    client: &DemoClient,
    person: &mut Person,
    scopes: &str,
) -> Result<()> {
    if let Some(token) = &person.access_token {
        let mut tx = app.db.read().await?;
        let holder = store::tokens::holder(&mut tx, &fingerprint(token), app.clock.now()).await?;
        // One that ends within the next minutes is of no use to somebody who has just started.
        if holder.is_some_and(|(_, expires_at)| expires_at > app.clock.now() + 30 * MINUTE) {
            return Ok(());
        }
    }
    let request = |grant| TokenRequest {
        client_id: client.client_id.clone(),
        client_secret: Some(client.client_secret.as_str().into()),
        grant,
    };
    if let Some(refresh) = &person.refresh_token {
        let grant = GrantType::RefreshToken { refresh_token: refresh.as_str().into() };
        if let Ok(given) = oauth::token(app, None, request(grant)).await {
            person.access_token = Some(given.access_token.expose().to_owned());
            return Ok(());
        }
    }
    let user = UserId::new(person.zuid).ok_or_else(|| Error::internal("the demo's file has no zuid"))?;
    let wish = CodeWish {
        client: client.client_id.clone(),
        organization: zoid,
        user,
        scope: ScopeSet::parse(scopes)?,
        life: 3 * MINUTE,
        offline: true,
        redirect_uri: None,
        challenge: None,
    };
    let code = oauth::make_code(app, wish).await.map_err(|error| match error {
        Error::NotFound(_) => Error::Refused(format!(
            "{} was disabled or deleted in this demo; enable the user again, or start with an empty --data folder",
            person.email
        )),
        other => other,
    })?;
    let grant =
        GrantType::AuthorizationCode { code: code.expose().into(), redirect_uri: None, verifier: None };
    let given = oauth::token(app, None, request(grant)).await?;
    person.access_token = Some(given.access_token.expose().to_owned());
    person.refresh_token = given.refresh_token.map(|token| token.expose().to_owned());
    Ok(())
}
