//! `mailward client`: OAuth clients and the codes of self clients.

use serde_json::{Value, json};

use crate::app::clients::{self, NewClient};
use crate::app::oauth::CodeWish;
use crate::app::operator;
use crate::cli::desk::{Desk, OrgName};
use crate::cli::show::switch_json;
use crate::cli::text::table;
use crate::clock::MINUTE;
use crate::domain::scope::ScopeSet;
use crate::error::{Error, Result};
use crate::store::clients::Client as Row;

/// OAuth clients: add, list, disable, enable, delete, and grant codes
#[derive(Debug, clap::Subcommand)]
pub enum Client {
    /// Make a client; its secret is shown now and never again
    ///
    /// A self client gets its codes from `mailward client code`; a web client has a secret and a
    /// redirect address; a public one has no secret and must use PKCE. client_credentials acts as
    /// the owner, and the client goes with the owner.
    #[command(
        visible_alias = "create",
        after_help = "\
Examples:
  mailward client add --owner admin@example.org --name 'user sync'
  mailward client add --owner admin@example.org --name portal --kind web \\
      --redirect-uri https://portal.example.org/callback"
    )]
    Add {
        /// The owner: an address, a zuid or an accountId
        #[arg(long, value_name = "USER")]
        owner: String,
        /// What people call it
        #[arg(long, value_name = "NAME")]
        name: String,
        /// self, web or public
        #[arg(long, default_value = "self")]
        kind: String,
        /// Where answers go; may be given several times
        #[arg(long, value_name = "URI")]
        redirect_uri: Vec<String>,
    },
    /// List an organization's clients
    #[command(after_help = "Examples:\n  mailward client list\n  mailward client list --org 10000001 --json")]
    List {
        #[command(flatten)]
        org: OrgName,
    },
    /// Turn a client off: its tokens do not work
    #[command(
        after_help = "Examples:\n  mailward client disable 1000.ABCDEF --reason 'secret in a public repository'"
    )]
    Disable {
        /// The client_id
        client: String,
    },
    /// Turn a client on again
    #[command(after_help = "Examples:\n  mailward client enable 1000.ABCDEF")]
    Enable {
        /// The client_id
        client: String,
    },
    /// Delete a client with every code and token it was given
    #[command(after_help = "Examples:\n  mailward client delete 1000.ABCDEF")]
    Delete {
        /// The client_id
        client: String,
    },
    /// Make a grant code, to be exchanged once at /oauth/v2/token
    #[command(after_help = "\
Examples:
  mailward client code 1000.ABCDEF --user admin@example.org \\
      --scope ZohoMail.organization.accounts.ALL --minutes 10")]
    Code {
        /// The client_id
        client: String,
        /// On whose behalf: an address, a zuid or an accountId
        #[arg(long, value_name = "USER")]
        user: String,
        /// What the tokens may be used for, separated by commas
        #[arg(long, value_name = "SCOPES")]
        scope: String,
        /// How long the code can be exchanged
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=10))]
        minutes: i64,
        /// Give an access token only, no refresh token
        #[arg(long)]
        no_refresh_token: bool,
    },
}

impl Client {
    /// # Errors
    /// `NotFound`, `BadValue`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let mut context = desk.context(&app);
        match self {
            Self::Add { owner, name, kind, redirect_uri } => {
                let owner = operator::user(&app, &owner, None).await?;
                let new = NewClient {
                    organization: owner.organization,
                    owner: owner.user,
                    name,
                    kind: kind.parse()?,
                    redirect_uris: redirect_uri,
                };
                context.answers_with_a_secret("delete the client that it made, and add another one");
                let (client, secret, done) = clients::create(&app, &context, new).await?;
                let secret = secret.as_ref().map(crate::domain::secret::Secret::expose);
                desk.tell(
                    &done,
                    || {
                        let shown =
                            secret.map(|secret| format!("\nclient_secret  {secret}")).unwrap_or_default();
                        format!("client_id      {}{shown}", client.id)
                    },
                    || {
                        let mut answer = json_of(&client);
                        answer["client_secret"] = json!(secret);
                        answer
                    },
                )
            }
            Self::List { org } => {
                let all = clients::list(&app, org.find(&app).await?).await?;
                desk.answer(
                    || {
                        let rows: Vec<_> = all
                            .iter()
                            .map(|client| {
                                let state = if client.disabled.is_some() { "disabled" } else { "enabled" };
                                let kind = client.kind.as_str().to_owned();
                                [
                                    client.id.clone(),
                                    kind,
                                    client.owner.to_string(),
                                    state.to_owned(),
                                    client.name.clone(),
                                ]
                            })
                            .collect();
                        table(["CLIENT_ID", "KIND", "OWNER", "STATE", "NAME"], &rows)
                    },
                    || all.iter().map(json_of).collect(),
                )
            }
            Self::Disable { client } => {
                let done = clients::switch(&app, &context, &client, true).await?;
                desk.tell(
                    &done,
                    || format!("{client} disabled"),
                    || json!({"client_id": client, "enabled": false}),
                )
            }
            Self::Enable { client } => {
                let done = clients::switch(&app, &context, &client, false).await?;
                desk.tell(
                    &done,
                    || format!("{client} enabled"),
                    || json!({"client_id": client, "enabled": true}),
                )
            }
            Self::Delete { client } => {
                let done = clients::delete(&app, &context, &client).await?;
                desk.tell(
                    &done,
                    || format!("{client} deleted"),
                    || json!({"client_id": client, "deleted": true}),
                )
            }
            Self::Code { client, user, scope, minutes, no_refresh_token } => {
                let row = clients::load(&app, &client).await?;
                let account = operator::user(&app, &user, None).await?;
                if row.organization != account.organization {
                    return Err(Error::Refused(
                        "the client belongs to another organization than the user".to_owned(),
                    ));
                }
                let scope = ScopeSet::parse(&scope)?;
                let wish = CodeWish {
                    client,
                    organization: account.organization,
                    user: account.user,
                    scope: scope.clone(),
                    life: minutes * MINUTE,
                    offline: !no_refresh_token,
                    redirect_uri: row.redirect_uris.first().cloned(),
                    challenge: None,
                };
                context.answers_with_a_secret("make another code, with a new key");
                let (code, done) = operator::make_code(&app, &context, wish).await?;
                desk.tell(
                    &done,
                    || code.expose().to_owned(),
                    || json!({"code": code.expose(), "scope": scope.to_string(), "expires_in": minutes * 60}),
                )
            }
        }
    }
}

fn json_of(client: &Row) -> Value {
    json!({
        "client_id": client.id,
        "zoid": client.organization.to_string(),
        "owner": client.owner.to_string(),
        "name": client.name,
        "kind": client.kind.as_str(),
        "redirect_uris": client.redirect_uris,
        "disabled": switch_json(&client.disabled),
        "createdAt": client.created_at,
    })
}
