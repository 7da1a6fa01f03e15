//! `mailward alias`: more addresses for the same mailbox.

use serde_json::json;

use crate::app::accounts::AccountMode;
use crate::app::accounts::add_email_alias::AddEmailAlias;
use crate::app::accounts::delete_email_alias::DeleteEmailAlias;
use crate::cli::desk::{Desk, UserName};
use crate::cli::user::Release;
use crate::domain::email_address::EmailAddress;
use crate::error::Result;

/// Aliases of a user: add, remove, list
#[derive(Debug, clap::Subcommand)]
pub enum Alias {
    /// Give the account more addresses, all or none
    #[command(after_help = "\
Examples:
  mailward alias add rebecca@example.org sales@example.org info@example.org
  mailward alias add rebecca@example.org tom@example.org \\
      --release-address 'Tom left, she answers'")]
    Add {
        #[command(flatten)]
        user: UserName,
        /// The addresses
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
        #[command(flatten)]
        release: Release,
    },
    /// Take addresses away, all or none; each is kept for this account for a term
    #[command(after_help = "Examples:\n  mailward alias remove rebecca@example.org sales@example.org")]
    Remove {
        #[command(flatten)]
        user: UserName,
        /// The addresses
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
    },
    /// List the account's aliases
    #[command(after_help = "Examples:\n  mailward alias list rebecca@example.org")]
    List {
        #[command(flatten)]
        user: UserName,
    },
}

impl Alias {
    /// # Errors
    /// What the rules refuse.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        match self {
            Self::Add { user, addresses, release } => {
                let context = desk.releasing(&app, release.release_address.as_deref())?;
                let mode = AccountMode::AddEmailAlias(AddEmailAlias { aliases: parsed(&addresses)? });
                desk.change(&app, &context, &user.find(&app).await?, mode).await
            }
            Self::Remove { user, addresses } => {
                let context = desk.context(&app);
                let mode = AccountMode::DeleteEmailAlias(DeleteEmailAlias { aliases: parsed(&addresses)? });
                desk.change(&app, &context, &user.find(&app).await?, mode).await
            }
            Self::List { user } => {
                let account = user.find(&app).await?;
                let aliases: Vec<&str> = account.aliases.iter().map(EmailAddress::as_str).collect();
                desk.answer(|| aliases.join("\n"), || json!(aliases))
            }
        }
    }
}

fn parsed(addresses: &[String]) -> Result<Vec<EmailAddress>> {
    addresses.iter().map(|address| EmailAddress::parse(address)).collect()
}
