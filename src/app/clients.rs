//! OAuth clients: made, listed, switched off and deleted by the operator and by super administrators.

use std::collections::BTreeMap;

use crate::app::call::{Caller, Context, authenticate};
use crate::app::change::Done;
use crate::app::change::record::{ChangeSpec, Whose, record};
use crate::app::forecast::Concerned;
use crate::app::oauth::CodeWish;
use crate::app::{App, oauth, people};
use crate::domain::actor::Who;
use crate::domain::client::ClientKind;
use crate::domain::ids::{OrganizationId, UserId, no_such_user};
use crate::domain::plain_text;
use crate::domain::rights;
use crate::domain::secret::{Secret, new_client_id, new_client_secret, new_token};
use crate::domain::switch::{self, Hand};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
pub use crate::store::clients::Client;
use crate::store::engine::Tx;

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

/// Makes a client; its secret is shown now and never again. A public client has none. In a dry run
/// the secret opens nothing and is not to be shown.
///
/// # Errors
/// `NotFound` for an unknown owner, `BadValue` for redirect addresses that are not absolute.
pub async fn create(app: &App, context: &Context, new: NewClient) -> Result<(Client, Option<Secret>, Done)> {
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
        name: plain_text::some_name("name", &new.name)?,
        kind: new.kind,
        secret_hash: secret.as_ref().map(Secret::fingerprint),
        redirect_uris: new.redirect_uris,
        disabled: None,
        created_at: app.clock.now(),
    };
    let made = client.clone();
    let spec = ChangeSpec::managed("createClient", client.organization);
    let mut done = record(app, context, spec, async move |tx, hand| {
        acts_as_owner(&hand, made.owner)?;
        let owner = store::accounts::load(tx, made.organization, Handle::User(made.owner)).await?;
        owner.ok_or_else(|| no_such_user(made.owner.get()))?;
        store::clients::insert(tx, &made).await?;
        Ok(BTreeMap::from([("client", made.id.clone()), ("name", made.name.clone())]))
    })
    .await?;
    if let Some(forecast) = &mut done.forecast {
        // It would have another one.
        forecast.notes.remove("client");
    }
    Ok((client, secret, done))
}

fn check_redirect(uri: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::bad_value("redirect_uri", format!("{uri}: {why}")));
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("write it in ASCII, without spaces; encode what is not");
    }
    match url::Url::parse(uri) {
        Ok(parsed) if parsed.fragment().is_some() => bad("a redirect address has no #fragment"),
        Ok(parsed)
            if matches!(parsed.scheme(), "javascript" | "vbscript" | "data" | "file" | "blob" | "about") =>
        {
            bad("this kind of address cannot take an answer")
        }
        Ok(_) => Ok(()),
        Err(_) => bad("write the whole address, as https://app.example.org/callback"),
    }
}

/// Whether whoever asks may let a client act as that owner: a person only as themselves.
fn acts_as_owner(hand: &Hand, owner: UserId) -> Result<()> {
    match &hand.who {
        Who::User(user) if *user != owner => Err(Error::Forbidden(
            "an application acts as its owner; its owner or the operator of the server does this".to_owned(),
        )),
        Who::User(_) | Who::Operator(_) | Who::Clock => Ok(()),
    }
}

/// The organization's clients with their owners' addresses, for its administrators.
///
/// # Errors
/// Rights.
pub async fn listed(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<ClientList> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_administer(&actor, zoid)?;
    let clients = store::clients::of_organization(&mut tx, zoid).await?;
    let owners = clients.iter().map(|client| client.owner).collect();
    Ok(ClientList {
        owners: people::names_of(&mut tx, zoid, owners).await?,
        clients,
        may_manage: rights::may_manage(&actor, zoid).is_ok(),
    })
}

/// An organization's clients as an administrator sees them.
#[derive(Debug, Clone)]
pub struct ClientList {
    pub clients: Vec<Client>,
    /// What their owners are called.
    pub owners: BTreeMap<UserId, String>,
    pub may_manage: bool,
}

/// Makes a code for a self client, for its owner to exchange.
///
/// # Errors
/// `NotFound`; `Forbidden` for somebody else's client; as `oauth::make_code`.
pub async fn make_code(app: &App, context: &Context, wish: CodeWish) -> Result<Secret> {
    let (code, _) = record_code(app, context, Whose::SuperAdmins, wish, check_code).await?;
    Ok(code)
}

/// Refuses a code of anything but a self client, and one for another person than its owner.
async fn check_code(tx: &mut Tx, hand: &Hand, wish: &CodeWish) -> Result<()> {
    let client = store::clients::load(tx, &wish.client).await?;
    let client = client.filter(|client| client.organization == wish.organization);
    let client = client.ok_or_else(|| Error::NotFound(format!("there is no client {}", wish.client)))?;
    if client.kind != ClientKind::SelfClient {
        return Err(Error::Refused(
            "codes are made by hand for self clients only; others get theirs from the person's browser"
                .to_owned(),
        ));
    }
    if client.owner != wish.user {
        return Err(Error::Forbidden("a code of a self client is for its owner".to_owned()));
    }
    acts_as_owner(hand, client.owner)
}

/// Makes a code with its audit entry, if `check` finds nothing against it. In a dry run it opens nothing and is not to
/// be shown.
///
/// # Errors
/// Those of `check`; as `oauth::make_code`.
pub(super) async fn record_code(
    app: &App,
    context: &Context,
    whose: Whose,
    wish: CodeWish,
    check: impl AsyncFn(&mut Tx, &Hand, &CodeWish) -> Result<()> + Send + 'static,
) -> Result<(Secret, Done)> {
    let code = app.random.with(new_token);
    let (hash, limit) = (code.fingerprint(), app.config.oauth.codes_per_client);
    let grant = context.id(app).await?;
    let spec = ChangeSpec { whose, ..ChangeSpec::plain("makeCode", wish.organization) };
    let done = record(app, context, spec, async move |tx, hand| {
        check(tx, &hand, &wish).await?;
        oauth::make_code_in(tx, &wish, &hash, grant, limit, hand.at).await?;
        Ok(BTreeMap::from([
            ("scope", wish.scope.to_string()),
            ("client", wish.client.clone()),
            ("zuid", wish.user.to_string()),
        ]))
    })
    .await?;
    Ok((code, done))
}

/// The organization's clients.
pub async fn list(app: &App, organization: OrganizationId) -> Result<Vec<Client>> {
    store::clients::of_organization(&mut *app.db.read().await?, organization).await
}

/// Switches a client off or on. While it is off its tokens do not work.
///
/// # Errors
/// `NotFound`.
pub async fn switch(app: &App, context: &Context, id: &str, off: bool) -> Result<Done> {
    let client = load(app, id).await?;
    let verb = if off { "disableClient" } else { "enableClient" };
    let spec = ChangeSpec { concerned: concerned(&client), ..ChangeSpec::managed(verb, client.organization) };
    record(app, context, spec, async move |tx, hand| {
        // As it is in this transaction: somebody else may have switched it meanwhile.
        let mut client = found(store::clients::load(tx, &client.id).await?, &client.id)?;
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
pub async fn delete(app: &App, context: &Context, id: &str) -> Result<Done> {
    let client = load(app, id).await?;
    let spec = ChangeSpec {
        concerned: concerned(&client),
        ..ChangeSpec::managed("deleteClient", client.organization)
    };
    record(app, context, spec, async move |tx, _| {
        store::clients::delete(tx, client.organization, &client.id).await?;
        Ok(BTreeMap::from([("client", client.id.clone())]))
    })
    .await
}

fn concerned(client: &Client) -> Concerned {
    Concerned::Client(client.organization, client.id.clone())
}

/// # Errors
/// `NotFound`.
pub async fn load(app: &App, id: &str) -> Result<Client> {
    found(store::clients::load(&mut *app.db.read().await?, id).await?, id)
}

fn found(client: Option<Client>, id: &str) -> Result<Client> {
    client.ok_or_else(|| Error::NotFound(format!("there is no client {id}")))
}
