//! OAuth clients: made, listed, switched off and deleted by the operator.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::change::Context;
use crate::app::organizations::{Reach, record};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::secret::{Secret, new_client_id, new_client_secret};
use crate::domain::switch;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::clients::{Client, ClientKind};

/// A client to be made.
#[derive(Debug, Clone)]
pub struct NewClient {
    pub organization: OrganizationId,
    /// `client_credentials` acts as the owner; the client dies with the owner.
    pub owner: UserId,
    pub name: String,
    pub kind: ClientKind,
    pub redirect_uris: Vec<String>,
}

/// Makes a client; its secret is shown now and never again. A public client has none.
///
/// # Errors
/// `NotFound` for an unknown owner, `BadValue` for redirect addresses that are not absolute.
pub async fn create(app: &App, context: &Context, new: NewClient) -> Result<(Client, Option<Secret>)> {
    for uri in &new.redirect_uris {
        check_redirect(uri)?;
    }
    if new.kind != ClientKind::SelfClient && new.redirect_uris.is_empty() {
        return Err(Error::bad_value("redirect_uri", "a web or public client needs at least one"));
    }
    let (id, secret) = app.random.with(|rng| (new_client_id(rng), new_client_secret(rng)));
    let secret = (new.kind != ClientKind::Public).then_some(secret);
    let client = Client {
        id,
        organization: new.organization,
        owner: new.owner,
        name: crate::app::accounts::display_name_update::name("name", &new.name)?,
        kind: new.kind,
        secret_hash: secret.as_ref().map(|secret| secret.fingerprint().to_vec()),
        redirect_uris: new.redirect_uris,
        disabled: None,
        created_at: app.clock.now(),
    };
    let made = client.clone();
    record(app, context, client.organization, "createClient", Reach::Itself, async move |tx, _| {
        let owner = store::accounts::load(tx, made.organization, Handle::User(made.owner)).await?;
        owner.ok_or_else(|| Error::NotFound(format!("zuid {} is invalid", made.owner)))?;
        store::clients::insert(tx, &made).await?;
        Ok(BTreeMap::from([("client", made.id.clone()), ("name", made.name.clone())]))
    })
    .await?;
    Ok((client, secret))
}

fn check_redirect(uri: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::bad_value("redirect_uri", format!("{uri}: {why}")));
    match url::Url::parse(uri) {
        Ok(parsed) if parsed.fragment().is_some() => bad("a redirect address has no #fragment"),
        Ok(parsed) if matches!(parsed.scheme(), "javascript" | "data" | "file" | "blob") => {
            bad("this kind of address cannot take an answer")
        }
        Ok(_) => Ok(()),
        Err(_) => bad("write the whole address, as https://app.example.org/callback"),
    }
}

/// The organization's clients.
pub async fn list(app: &App, organization: OrganizationId) -> Result<Vec<Client>> {
    store::clients::of_organization(&mut *app.db.read().await?, organization).await
}

/// Switches a client off or on. While it is off its tokens do not work.
///
/// # Errors
/// `NotFound`.
pub async fn switch(app: &App, context: &Context, id: &str, off: bool) -> Result<()> {
    let client = load(app, id).await?;
    let verb = if off { "disableClient" } else { "enableClient" };
    record(app, context, client.organization, verb, Reach::Itself, async move |tx, hand| {
        let mut client = client.clone();
        if off {
            switch::set(&mut client.disabled, &hand);
        } else {
            switch::lift(&mut client.disabled, &hand, "the block of the client")?;
        }
        store::clients::save(tx, &client).await?;
        Ok(BTreeMap::from([("client", client.id.clone())]))
    })
    .await
}

/// Deletes a client with every code and token it was given.
///
/// # Errors
/// `NotFound`.
pub async fn delete(app: &App, context: &Context, id: &str) -> Result<()> {
    let client = load(app, id).await?;
    record(app, context, client.organization, "deleteClient", Reach::Itself, async move |tx, _| {
        store::clients::delete(tx, client.organization, &client.id).await?;
        Ok(BTreeMap::from([("client", client.id.clone())]))
    })
    .await
}

/// # Errors
/// `NotFound`.
pub async fn load(app: &App, id: &str) -> Result<Client> {
    store::clients::load(&mut *app.db.read().await?, id)
        .await?
        .ok_or_else(|| Error::NotFound(format!("there is no client {id}")))
}
