//! `mailward app-password`: passwords for one device or program.

use serde_json::{Value, json};

use crate::app::accounts::AccountMode;
use crate::app::accounts::create_app_password::{CreateAppPassword, called, protocols};
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::cli::desk::{Desk, UserName};
use crate::cli::text::{table, time};
use crate::domain::app_password::{AppPassword as Row, Protocols};
use crate::domain::ids::AppPasswordId;
use crate::domain::secret::new_app_password;
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
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=3650))]
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
        let context = desk.context(&app);
        match self {
            Self::Create { user, name, protocols: wanted, days } => {
                let account = user.find(&app).await?;
                let opens = wanted
                    .map_or(Ok(Protocols::ALL), |words| protocols(words.iter().map(|word| word.trim())))?;
                let wish = CreateAppPassword::new(called("--name", &name)?, opens, days);
                let password = app.random.with(new_app_password);
                let id: AppPasswordId = app.ids.next().await?;
                let mode = AccountMode::CreateAppPassword(wish.made(id, &password));
                let done = desk.run_mode(&app, &context, account.organization, Some(&account), mode).await?;
                let rows = done.accounts.iter().flat_map(|account| &account.app_passwords);
                let made = rows.into_iter().find(|row| row.id == id);
                let made = made.ok_or_else(|| Error::internal("the app password was not stored"))?;
                let change = done.change.map(|change| change.to_string());
                desk.answer(
                    || {
                        format!(
                            "app password: {}\n(shown this once; type it with its hyphens)\nid            {id}\nopens         {}\nuntil         {}\nchange        {}",
                            password.expose(),
                            made.protocols.words().join(", "),
                            until(made),
                            change.as_deref().unwrap_or_default(),
                        )
                    },
                    || {
                        let mut answer = json_of(made);
                        answer["password"] = json!(password.expose());
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
                            [one.id.to_string(), opens, time(one.created_at), until(one), one.name.clone()]
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
    row.expires_at.map_or_else(|| "no end".to_owned(), time)
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
