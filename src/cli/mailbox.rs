//! `mailward mailbox`: mail of deleted users, which stays on the mail servers.

use serde_json::json;

use crate::app::operator;
use crate::cli::desk::Desk;
use crate::cli::text::table;
use crate::clock::rfc3339;
use crate::error::Result;

/// Mailboxes of deleted users: where their mail is, and until when it is to be kept
#[derive(Debug, clap::Subcommand)]
pub enum Mailbox {
    /// List the mailboxes of deleted users, the oldest first
    #[command(
        after_help = "Examples:\n  mailward mailbox list\n  mailward mailbox list --json | jq -r '.[] | select(.over) | .path'"
    )]
    List,
    /// Forget a mailbox, once its files are gone; Mailward itself never removes mail
    #[command(after_help = "Examples:\n  mailward mailbox forget 2560636000000008010")]
    Forget {
        /// The mailbox, as `list` shows it
        mailbox: String,
    },
}

impl Mailbox {
    /// # Errors
    /// `NotFound`; `Refused` while its files are on this machine.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        match self {
            Self::List => {
                let (all, now) = (operator::retained_mailboxes(&app).await?, app.clock.now());
                let path = |mailbox: &str| app.config.mail.mail_root.join(mailbox).display().to_string();
                desk.answer(
                    || {
                        let rows: Vec<_> = all
                            .iter()
                            .map(|kept| {
                                let over = if kept.keep_until <= now { " (over)" } else { "" };
                                [
                                    kept.mailbox.clone(),
                                    kept.address.clone(),
                                    rfc3339(kept.deleted_at),
                                    format!("{}{over}", rfc3339(kept.keep_until)),
                                    path(&kept.mailbox),
                                ]
                            })
                            .collect();
                        table(["MAILBOX", "ADDRESS", "DELETED", "KEEP UNTIL", "WHERE"], &rows)
                    },
                    || {
                        let one = |kept: &crate::store::mailboxes::Retained| {
                            json!({
                                "mailbox": kept.mailbox,
                                "zoid": kept.organization.to_string(),
                                "address": kept.address,
                                "deletedAt": kept.deleted_at,
                                "keepUntil": kept.keep_until,
                                "over": kept.keep_until <= now,
                                "path": path(&kept.mailbox),
                            })
                        };
                        all.iter().map(one).collect()
                    },
                )
            }
            Self::Forget { mailbox } => {
                let done = operator::forget_mailbox(&app, &desk.context(&app), &mailbox).await?;
                desk.tell(
                    &done,
                    || format!("{mailbox} forgotten"),
                    || json!({"mailbox": mailbox, "forgotten": true}),
                )
            }
        }
    }
}
