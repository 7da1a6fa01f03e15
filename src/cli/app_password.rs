//! `mailward app-password`: passwords for one device or program.

use serde_json::{Value, json};

use crate::app::accounts::AccountMode;
use crate::app::accounts::create_app_password::{CreateAppPassword, LONGEST_DAYS, called, protocols};
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::mail::app_passwords;
use crate::cli::desk::{Desk, UserName};
use crate::cli::text::table;
use crate::clock::rfc3339;
use crate::domain::app_password::{AppPassword as Row, Protocols};
use crate::domain::ids::AppPasswordId;
use crate::domain::rights::Route;
use crate::error::{Error, Result};

/// App passwords: a password for one device, made here and shown once
#[derive(Debug, clap::Subcommand)]
pub enum AppPassword {
    /// Make an app password; it is printed now and never again
    #[command(after_help = "\
Examples:
  mailward app-password create rebecca@example.org --name Telephone
  mailward app-password create scanner@example.org --name 'Third floor' \\
      --protocols smtp --days 365")]
    Create {
        #[command(flatten)]
        user: UserName,
        /// What the person calls the device
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Of imap, pop and smtp, separated by commas [default: all]
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        protocols: Option<Vec<String>>,
        /// After so many days it opens nothing any more [default: no end]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=LONGEST_DAYS))]
        days: Option<i64>,
    },
    /// List a user's app passwords; the passwords themselves are nowhere
    #[command(after_help = "Examples:\n  mailward app-password list rebecca@example.org")]
    List {
        #[command(flatten)]
        user: UserName,
    },
    /// Revoke an app password and end the sessions that were opened with it
    #[command(after_help = "Examples:\n  mailward app-password revoke rebecca@example.org 100000000001")]
    Revoke {
        #[command(flatten)]
        user: UserName,
        /// Which one, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl AppPassword {
    /// # Errors
    /// What the rules refuse.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let mut context = desk.context(&app);
        match self {
            Self::Create { user, name, protocols: wanted, days } => {
                context.answers_with_a_secret("revoke the app password that it made, and make another one");
                let account = user.find(&app).await?;
                let opens = wanted
                    .map_or(Ok(Protocols::ALL), |words| protocols(words.iter().map(|word| word.trim())))?;
                let wish = CreateAppPassword::new(called("--name", &name)?, opens, days);
                let route = Route::Organization(account.organization);
                let made = app_passwords::make(&app, &context, route, account.id.get(), wish).await?;
                let (stored, password) = (made.stored()?, made.password.expose());
                let change = made.done.change.map(|change| change.to_string());
                desk.tell(
                    &made.done,
                    || {
                        format!(
                            "app password: {}\n(shown this once; type it with its hyphens)\nid            {}\nopens         {}\nuntil         {}\nchange        {}",
                            password,
                            stored.id,
                            stored.protocols.words().join(", "),
                            until(stored),
                            change.as_deref().unwrap_or_default(),
                        )
                    },
                    || {
                        let mut answer = json_of(stored);
                        answer["password"] = json!(password);
                        answer["change"] = json!(change);
                        answer
                    },
                )
            }
            Self::List { user } => {
                let account = user.find(&app).await?;
                desk.answer(
                    || {
                        let row = |one: &Row| {
                            let opens = one.protocols.words().join(",");
                            [one.id.to_string(), opens, rfc3339(one.created_at), until(one), one.name.clone()]
                        };
                        let rows: Vec<_> = account.app_passwords.iter().map(row).collect();
                        table(["ID", "OPENS", "MADE", "UNTIL", "NAME"], &rows)
                    },
                    || account.app_passwords.iter().map(json_of).collect(),
                )
            }
            Self::Revoke { user, id } => {
                let number = id.parse::<i64>().ok().and_then(AppPasswordId::new).ok_or_else(|| {
                    Error::bad_value("id", format!("{id} is no id of an app password; `list` shows them"))
                })?;
                let mode = AccountMode::RevokeAppPassword(RevokeAppPassword { id: number });
                desk.change(&app, &context, &user.find(&app).await?, mode).await
            }
        }
    }
}

fn until(row: &Row) -> String {
    row.expires_at.map_or_else(|| "no end".to_owned(), rfc3339)
}

fn json_of(row: &Row) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "protocols": row.protocols.words(),
        "createdAt": row.created_at,
        "expiresAt": row.expires_at,
    })
}
