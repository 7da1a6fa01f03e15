//! How a client proves who it is at the token endpoint.

use secrecy::{ExposeSecret, SecretString};

use crate::app::App;
use crate::domain::client::ClientKind;
use crate::domain::secret::fingerprint;
use crate::error::{GrantRefusal, Result};
use crate::store;
use crate::store::clients::Client;

/// Authenticates a client.
///
/// # Errors
/// `Grant(InvalidClient)`, `Grant(InvalidClientSecret)`.
pub async fn client(app: &App, id: &str, secret: Option<&SecretString>) -> Result<Client> {
    let client = store::clients::load(&mut *app.db.read().await?, id).await?;
    let client = client.filter(|client| client.disabled.is_none()).ok_or(GrantRefusal::InvalidClient)?;
    match (client.kind, &client.secret_hash, secret) {
        (ClientKind::Public, _, _) => Ok(client),
        (ClientKind::SelfClient | ClientKind::Web, Some(hash), Some(secret))
            if *hash == fingerprint(secret.expose_secret()) =>
        {
            Ok(client)
        }
        (ClientKind::SelfClient | ClientKind::Web, _, Some(_)) => {
            Err(GrantRefusal::InvalidClientSecret.into())
        }
        (ClientKind::SelfClient | ClientKind::Web, _, None) => Err(GrantRefusal::InvalidClient.into()),
    }
}

/// Authenticates a client that can keep a secret.
///
/// # Errors
/// As `client`; a public client proves nothing, whatever it sends as its secret.
pub async fn confidential_client(app: &App, id: &str, secret: Option<&SecretString>) -> Result<Client> {
    let client = client(app, id, secret).await?;
    match client.kind {
        ClientKind::SelfClient | ClientKind::Web => Ok(client),
        ClientKind::Public => Err(GrantRefusal::InvalidClient.into()),
    }
}
