//! `mailward keys`: the file with the server's keys.

use serde_json::json;

use crate::app::call::Context;
use crate::app::keys::rotate;
use crate::app::keys::{self, KeyId};
use crate::app::open;
use crate::cli::desk::{Desk, must_exist};
use crate::cli::text::table;
use crate::cli::{logging, os_user};
use crate::clock::{Clock, rfc3339};
use crate::error::{Error, Result};

/// The server's keys, by which secrets are sealed and audit heads signed
#[derive(Debug, clap::Subcommand)]
pub enum Keys {
    /// List the keys by their ids, the newest first; never the keys themselves
    #[command(
        after_help = "Examples:\n  mailward keys show\n  mailward keys show --json | jq -r '.keys[0].public'"
    )]
    Show,
    /// Make a new key, and seal with it everything that older ones hold
    ///
    /// The older keys stay in the file, for nodes that still use them. With several nodes: rotate
    /// on one with --later, copy its file to the others, run `mailward keys reseal`, and forget the
    /// old key. A service that runs reads the changed file by itself.
    #[command(after_help = "\
Examples:
  mailward keys rotate --reason 'an administrator has left'
  mailward keys rotate --later          then copy the file to the other nodes
  mailward keys reseal                  and then this")]
    Rotate {
        /// Seal nothing anew yet: the other nodes get the file first
        #[arg(long)]
        later: bool,
    },
    /// Seal with the newest key what older ones hold
    #[command(after_help = "Examples:\n  mailward keys reseal")]
    Reseal,
    /// Take a key out of the file that seals nothing any more
    #[command(after_help = "Examples:\n  mailward keys forget 3fa91c07")]
    Forget {
        /// The key, as `mailward keys show` names it
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Begin with a new file where the old one is lost for good
    ///
    /// What was sealed cannot be opened by anybody any more and is deleted: people set up their
    /// second factor again. Heads of the audit log are signed with another key from then on.
    #[command(after_help = "Examples:\n  mailward keys start-anew --reason 'the disk of node 1 is gone'")]
    StartAnew,
}

impl Keys {
    /// # Errors
    /// As `app::keys::rotate`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        match self {
            Self::Show => show(desk).await,
            Self::Rotate { later } => {
                let app = desk.open().await?;
                let key = rotate::rotate(&app, &desk.context(&app)).await?;
                let sealed = if later { None } else { Some(rotate::reseal(&app).await?) };
                desk.note(&format!(
                    "{} has changed: copy it to every other node, and to where its copy is kept",
                    app.keys.path().display()
                ));
                desk.answer(
                    || match sealed {
                        Some(sealed) => format!("{key} is in use; {sealed} values are sealed with it now"),
                        None => format!("{key} is in use; nothing was sealed anew"),
                    },
                    || json!({"key": key.to_string(), "resealed": sealed}),
                )
            }
            Self::Reseal => {
                let app = desk.open().await?;
                let sealed = rotate::reseal(&app).await?;
                let key = app.keys.all()[0].id;
                desk.answer(
                    || format!("{sealed} values are sealed with {key} now"),
                    || json!({"key": key.to_string(), "resealed": sealed}),
                )
            }
            Self::Forget { key } => {
                let app = desk.open().await?;
                let id: KeyId = key.parse().map_err(|()| {
                    Error::bad_value("KEY", format!("{key} names no key; see `mailward keys show`"))
                })?;
                rotate::forget(&app, id, &desk.context(&app)).await?;
                desk.answer(|| format!("{id} is forgotten"), || json!({"forgotten": id.to_string()}))
            }
            Self::StartAnew => {
                let config = desk.config()?;
                logging::quiet();
                must_exist(&config)?;
                let db = open::open_db(&config.database)?;
                let now = Clock::System.now();
                open::bring_up(&db, now).await?;
                let mut context = Context::operator(&os_user::name(), "keys".to_owned());
                context.reason = desk.reason().cloned();
                let (keys, deleted) = rotate::start_anew(&db, &config, &context, now).await?;
                let (key, file) = (keys.all()[0].id, keys.path().to_owned());
                desk.answer(
                    || format!("{} holds {key}; {deleted} sealed values were deleted", file.display()),
                    || json!({"key": key.to_string(), "file": file, "deleted": deleted}),
                )
            }
        }
    }
}

async fn show(desk: &Desk) -> Result<()> {
    let app = desk.open().await?;
    let all: Vec<keys::Key> = app.keys.all().to_vec();
    desk.answer(
        || {
            let rows: Vec<_> = all
                .iter()
                .map(|key| [key.id.to_string(), rfc3339(key.made_at), hex::encode(key.public())])
                .collect();
            format!("{}\n{}", app.keys.path().display(), table(["KEY", "MADE", "SIGNATURES"], &rows))
        },
        || {
            let shown: Vec<_> = all
                .iter()
                .map(|key| {
                    json!({
                        "key": key.id.to_string(),
                        "madeAt": key.made_at,
                        "public": hex::encode(key.public()),
                    })
                })
                .collect();
            json!({"file": app.keys.path(), "keys": shown})
        },
    )
}
