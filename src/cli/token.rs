//! `mailward token`: access tokens for operators, and the end of any token.

use serde_json::json;

use crate::app::operator;
use crate::cli::desk::Desk;
use crate::cli::password::secret_from_stdin;
use crate::cli::text::span;
use crate::clock::rfc3339;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::Secret;
use crate::error::{Error, GrantRefusal, Result};

/// Access tokens: issue one for a user, revoke any
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Issue an access token that acts as a user; it is shown once
    #[command(after_help = "\
Examples:
  mailward token issue --user admin@example.org --expires 30d \\
      --scope ZohoMail.organization.accounts.ALL
  mailward token issue --user admin@example.org --expires 5m \\
      --scope ZohoMail.organization.accounts.READ,ZohoMail.accounts.READ")]
    Issue {
        /// The user: an address, a zuid or an accountId
        #[arg(long, value_name = "USER")]
        user: String,
        /// What it may be used for, separated by commas
        #[arg(long, value_name = "SCOPES")]
        scope: String,
        /// How long it lives: 90s, 15m, 8h, 30d; at most 366d
        #[arg(long, value_name = "TIME", default_value = "1h")]
        expires: String,
    },
    /// Revoke the token on standard input: an access token, or a refresh token with what it made
    #[command(after_help = "Examples:\n  mailward token revoke < token.txt")]
    Revoke,
}

impl Token {
    /// # Errors
    /// `NotFound`, `BadValue`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let mut context = desk.context(&app);
        match self {
            Self::Issue { user, scope, expires } => {
                let (scope, life) = (ScopeSet::parse(&scope)?, span("--expires", &expires)?);
                let account = operator::user(&app, &user, None).await?;
                context.answers_with_a_secret("issue another token, with a new key");
                let (token, done) =
                    operator::issue_token(&app, &context, &account, scope.clone(), life).await?;
                let until = app.clock.now() + life;
                desk.note(&format!("acts as {} until {}", account.primary, rfc3339(until)));
                desk.tell(
                    &done,
                    || token.expose().to_owned(),
                    || json!({"access_token": token.expose(), "scope": scope.to_string(), "expiresAt": until}),
                )
            }
            Self::Revoke => {
                let token = Secret::new(secret_from_stdin()?.trim());
                context.also_asks(token.fingerprint().as_bytes());
                let done = match operator::revoke_token(&app, &context, &token).await {
                    Err(missing @ Error::Grant(GrantRefusal::UnknownToken)) => {
                        desk.made_before(&app, &context, missing).await?
                    }
                    other => other?,
                };
                desk.tell(&done, || "revoked".to_owned(), || json!({"revoked": true}))
            }
        }
    }
}
