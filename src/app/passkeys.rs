//! Passkeys (WebAuthn level 3): registering one, proving one as a second factor, and signing in with one
//! that knows its owner. What a ceremony must remember stays in the session's row, and serves once.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, DiscoverableKey, Passkey, PasskeyAuthentication, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn, WebauthnBuilder, WebauthnError,
};

use crate::app::App;
use crate::app::call::Context;
use crate::app::factors::{self, added, removed};
use crate::app::journal::Stamp;
use crate::app::keys::of_person;
use crate::app::own::{self, Act};
use crate::app::throttle::{self, Subject};
use crate::app::web_sessions::{self, Browser, LiveSession, SignInStep, Started, mark};
use crate::clock::{MINUTE, Millis};
use crate::domain::account::Account;
use crate::domain::ids::{PasskeyId, WebSessionId};
use crate::domain::password::PasswordKind;
use crate::domain::plain_text::name;
use crate::domain::secret::{Fingerprint, Secret};
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::factors::PasskeyRow;

/// How long a person may take.
const CEREMONY: Millis = 5 * MINUTE;
/// Passkeys of one person at most.
const MOST: usize = 20;
const MAY_PROVE: &[Stage] = &[Stage::SecondFactor, Stage::SecondFactorThenPassword];

/// What a ceremony in progress has to remember.
#[derive(Serialize, Deserialize)]
struct Ceremony {
    begun_at: Millis,
    state: State,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Register(PasskeyRegistration),
    Prove(PasskeyAuthentication),
    SignIn(DiscoverableAuthentication),
}

/// Whether browsers will make passkeys for the configured address: it needs a name, and HTTPS or localhost.
pub fn possible(app: &App) -> bool {
    relying_party(app).is_ok()
}

fn relying_party(app: &App) -> Result<Webauthn> {
    let none = || {
        Error::Refused(
            "passkeys need this service to have a name and HTTPS: set server.public_url, as https://desk.example.org"
                .to_owned(),
        )
    };
    let origin = Url::parse(&app.config.public_url()).map_err(|_| none())?;
    let id = origin.domain().ok_or_else(none)?.to_owned();
    if origin.scheme() != "https" && id != "localhost" {
        return Err(none());
    }
    let built = WebauthnBuilder::new(&id, &origin).and_then(|builder| builder.rp_name("Mailward").build());
    built.map_err(|_| none())
}

fn did_not_work(why: &WebauthnError) -> Error {
    tracing::info!(%why, "a passkey was refused");
    Error::Refused("the passkey did not work; try again, or use another way".to_owned())
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::caused("writing a passkey", error))
}

fn passkey_of(row: &PasskeyRow) -> Result<Passkey> {
    serde_json::from_str(&row.data).map_err(|error| Error::caused("reading a passkey", error))
}

/// What a browser answered.
fn answer<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| {
        Error::Refused("the browser sent no passkey; try again, with scripts allowed".to_owned())
    })
}

/// Takes the ceremony out of the session: whatever comes of it, it serves once.
async fn take(tx: &mut Tx, held: &LiveSession, now: Millis) -> Result<Option<State>> {
    let Some(text) = &held.session.ceremony else { return Ok(None) };
    store::web_sessions::set_ceremony(tx, &held.hash, None).await?;
    read(text, now)
}

fn read(text: &str, now: Millis) -> Result<Option<State>> {
    let ceremony: Ceremony =
        serde_json::from_str(text).map_err(|error| Error::caused("reading a ceremony", error))?;
    Ok((now - ceremony.begun_at <= CEREMONY).then_some(ceremony.state))
}

fn too_late() -> Error {
    Error::Refused("that took too long, or was done already; begin again".to_owned())
}

// Registering --------------------------------------------------------------------------------

/// Begins a registration; answers what the browser needs, as JSON.
///
/// # Errors
/// `Refused` where passkeys are not possible, or beyond 20 of them.
pub async fn begin_registration(app: &App, context: &Context) -> Result<String> {
    let (party, now) = (relying_party(app)?, app.clock.now());
    let context = context.clone();
    app.db
        .write(async move |tx| {
            let (held, account) = factors::setting_up(tx, &context, now).await?;
            let known = store::factors::passkeys(tx, account.organization, account.user).await?;
            if known.len() >= MOST {
                return Err(Error::Refused(format!(
                    "a person has at most {MOST} passkeys; remove one first"
                )));
            }
            let known = known.iter().map(|row| row.credential.clone()).collect();
            let handle = Uuid::from_bytes(of_person(account.organization, account.user));
            let (options, state) = party
                .start_passkey_registration(handle, account.primary.as_str(), account.called(), Some(known))
                .map_err(|why| did_not_work(&why))?;
            let ceremony = Ceremony { begun_at: now, state: State::Register(state) };
            store::web_sessions::set_ceremony(tx, &held.hash, Some(&json(&ceremony)?)).await?;
            let mut options =
                serde_json::to_value(&options).map_err(|error| Error::caused("writing a passkey", error))?;
            // One that knows its owner can sign in without an address; where it cannot, it may stay without.
            options["publicKey"]["authenticatorSelection"]["residentKey"] = Value::from("preferred");
            json(&options)
        })
        .await
}

/// Ends a registration. Answers recovery codes, where there are none.
///
/// # Errors
/// `Refused` for a passkey that did not work, `BadValue` for a name that is none.
pub async fn finish_registration(
    app: &App,
    context: &Context,
    called: &str,
    sent: &str,
) -> Result<Option<Vec<Secret>>> {
    let party = relying_party(app)?;
    let sent: RegisterPublicKeyCredential = answer(sent)?;
    let called = match name("name", called)? {
        empty if empty.is_empty() => "Passkey".to_owned(),
        named => named,
    };
    let id: PasskeyId = app.ids.next().await?;
    let stamp = Stamp::new(app, context, "setUpFactor").await?;
    let (context, codes, now) = (context.clone(), factors::new_set(app), stamp.at);
    let given = app
        .db
        .write(async move |tx| {
            let (held, account) = factors::setting_up(tx, &context, now).await?;
            let Some(State::Register(state)) = take(tx, &held, now).await? else {
                return Ok(Err(too_late()));
            };
            let passkey = match party.finish_passkey_registration(&sent, &state) {
                Ok(passkey) => passkey,
                Err(why) => return Ok(Err(did_not_work(&why))),
            };
            let credential = passkey.cred_id().to_vec();
            if store::factors::passkey(tx, &credential).await?.is_some() {
                return Ok(Err(Error::Refused("this passkey is registered already".to_owned())));
            }
            let row = PasskeyRow {
                credential,
                id,
                organization: account.organization,
                user: account.user,
                name: called.clone(),
                data: json(&passkey)?,
                created_at: now,
                used_at: None,
            };
            store::factors::insert_passkey(tx, &row).await?;
            let act = Act::own(&context, &account, stamp);
            added(tx, &act, format!("passkey \"{called}\""), &codes).await.map(Ok)
        })
        .await??;
    app.wake_worker.notify_waiters();
    Ok(given)
}

/// Removes one of the own passkeys.
///
/// # Errors
/// `NotFound`; `Refused` when it is the last factor and the organization wants one.
pub async fn remove(app: &App, context: &Context, id: PasskeyId) -> Result<()> {
    let (stamp, context) = (Stamp::new(app, context, "removeFactor").await?, context.clone());
    app.db
        .write(async move |tx| {
            let (_, account) = own::owner(tx, &context, &[Stage::SignedIn], stamp.at).await?;
            let removed_name =
                store::factors::remove_passkey(tx, account.organization, account.user, id).await?;
            let called = removed_name
                .ok_or_else(|| Error::NotFound("there is no such passkey any more".to_owned()))?;
            let act = Act::own(&context, &account, stamp);
            removed(tx, &act, format!("passkey \"{called}\"")).await
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(())
}

// The second factor --------------------------------------------------------------------------

/// Begins the proof of one of the person's passkeys; answers what the browser needs, as JSON.
///
/// # Errors
/// `Refused` when there is none.
pub async fn begin_proof(app: &App, context: &Context) -> Result<String> {
    let (party, now) = (relying_party(app)?, app.clock.now());
    let context = context.clone();
    app.db
        .write(async move |tx| {
            let (held, account) = own::owner(tx, &context, MAY_PROVE, now).await?;
            let rows = store::factors::passkeys(tx, account.organization, account.user).await?;
            if rows.is_empty() {
                return Err(Error::Refused("there is no passkey of yours; use a code".to_owned()));
            }
            let passkeys = rows.iter().map(passkey_of).collect::<Result<Vec<_>>>()?;
            let (options, state) =
                party.start_passkey_authentication(&passkeys).map_err(|why| did_not_work(&why))?;
            let ceremony = Ceremony { begun_at: now, state: State::Prove(state) };
            store::web_sessions::set_ceremony(tx, &held.hash, Some(&json(&ceremony)?)).await?;
            json(&options)
        })
        .await
}

/// Ends the proof.
///
/// # Errors
/// `Refused` for a passkey that did not work.
pub async fn finish_proof(app: &App, context: &Context, sent: &str) -> Result<()> {
    let (party, now) = (relying_party(app)?, app.clock.now());
    let sent: PublicKeyCredential = answer(sent)?;
    let context = context.clone();
    app.db
        .write(async move |tx| {
            let (held, account) = own::owner(tx, &context, MAY_PROVE, now).await?;
            let Some(State::Prove(state)) = take(tx, &held, now).await? else {
                return Ok(Err(too_late()));
            };
            let result = match party.finish_passkey_authentication(&sent, &state) {
                Ok(result) => result,
                Err(why) => return Ok(Err(did_not_work(&why))),
            };
            let row = store::factors::passkey(tx, result.cred_id().as_ref()).await?;
            let own = |row: &PasskeyRow| row.organization == account.organization && row.user == account.user;
            let Some(row) = row.filter(own) else { return Ok(Err(too_late())) };
            let mut passkey = passkey_of(&row)?;
            passkey.update_credential(&result);
            store::factors::passkey_used(tx, &row, &json(&passkey)?, now).await?;
            Ok(Ok(()))
        })
        .await?
}

// Signing in ---------------------------------------------------------------------------------

/// Begins a sign-in of nobody in particular, for the browser whose cookie of forms has this
/// fingerprint; answers what the browser needs, as JSON.
///
/// # Errors
/// `TooMany` for a source that begins too often and comes to no end.
pub async fn begin_sign_in(app: &App, hash: Fingerprint, source: Option<IpAddr>) -> Result<String> {
    let (party, now) = (relying_party(app)?, app.clock.now());
    let id: WebSessionId = app.ids.next().await?;
    let window = app.config.throttle.window();
    let most = app.config.throttle.wrong_per_source;
    app.db
        .write(async move |tx| {
            if let Some(source) = source {
                throttle::count(tx, &Subject::passkeys_from(source), most, window, now).await?;
            }
            let (options, state) =
                party.start_discoverable_authentication().map_err(|why| did_not_work(&why))?;
            let ceremony = Ceremony { begun_at: now, state: State::SignIn(state) };
            store::web_sessions::put_guest_ceremony(tx, &hash, id, &json(&ceremony)?, now, now + CEREMONY)
                .await?;
            let mut options =
                serde_json::to_value(&options).map_err(|error| Error::caused("writing a passkey", error))?;
            // The person pressed a button; nothing is filled in behind a field.
            if let Some(options) = options.as_object_mut() {
                options.remove("mediation");
            }
            json(&options)
        })
        .await
}

/// Signs in with a passkey that knows its owner: it is both factors at once.
///
/// # Errors
/// `Refused` for a passkey that did not work, and while a one-time password waits; `BadCredentials`
/// for somebody who is blocked.
pub async fn sign_in(app: &App, hash: Fingerprint, sent: &str, browser: &Browser) -> Result<Started> {
    let (party, now, source) = (relying_party(app)?, app.clock.now(), browser.source);
    let window = app.config.throttle.window();
    let sent: PublicKeyCredential = answer(sent)?;
    let account = app
        .db
        .write(async move |tx| {
            let text = store::web_sessions::take_guest_ceremony(tx, &hash, now).await?;
            let state = text.map(|text| read(&text, now)).transpose()?.flatten();
            let Some(State::SignIn(state)) = state else { return Ok(Err(too_late())) };
            let proved = proved(tx, &party, &sent, state, now).await?;
            if let (Ok(_), Some(source)) = (&proved, source) {
                // Many people behind one address may sign in as often as they like.
                let subject = Subject::passkeys_from(source);
                let (_, until) = store::throttle::tries(tx, subject.as_str(), now, window).await?;
                store::throttle::take_back(tx, subject.as_str(), until).await?;
            }
            Ok(proved)
        })
        .await??;
    if account.credential.kind == PasswordKind::OneTime {
        return Err(Error::Refused(
            "an administrator has given you a one-time password; sign in with it, and choose a new one first"
                .to_owned(),
        ));
    }
    web_sessions::begin(app, &account, browser, mark(&account), SignInStep::Passkey).await
}

async fn proved(
    tx: &mut Tx,
    party: &Webauthn,
    sent: &PublicKeyCredential,
    state: DiscoverableAuthentication,
    now: Millis,
) -> Result<Result<Account>> {
    let unknown = || Error::Refused("this passkey is not known here; sign in with your password".to_owned());
    let (handle, credential) = match party.identify_discoverable_authentication(sent) {
        Ok((handle, credential)) => (handle, credential.to_vec()),
        Err(why) => return Ok(Err(did_not_work(&why))),
    };
    let Some(row) = store::factors::passkey(tx, &credential).await? else { return Ok(Err(unknown())) };
    if *handle.as_bytes() != of_person(row.organization, row.user) {
        return Ok(Err(unknown()));
    }
    let mut passkey = passkey_of(&row)?;
    let key = DiscoverableKey::from(&passkey);
    let result = match party.finish_discoverable_authentication_v2(sent, state, &key) {
        Ok(result) => result,
        Err(why) => return Ok(Err(did_not_work(&why))),
    };
    passkey.update_credential(&result);
    store::factors::passkey_used(tx, &row, &json(&passkey)?, now).await?;
    let account = store::accounts::load(tx, row.organization, Handle::User(row.user)).await?;
    Ok(account.ok_or_else(unknown))
}
