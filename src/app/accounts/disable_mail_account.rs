//! `mode: disableMailAccount`. No IMAP, POP3 or submission; nothing that arrives is lost.

use super::{Mode, ModeInfo};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct DisableMailAccount;

impl Mode for DisableMailAccount {
    const INFO: ModeInfo = ModeInfo {
        name: "disableMailAccount",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Refuses IMAP, POP3 and submission and ends live mail sessions. Mail keeps arriving, and the person can still sign in to the web.",
        parameters: &[],
        sample: r#"{"zuid": 1111111, "mode": "disableMailAccount"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        body.ignore("password"); // the administrator's own, in earlier editions of the API
        Ok(Self)
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.set(SwitchName::MailDisabled)
    }
}
