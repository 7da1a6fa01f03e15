//! `mode: enableMailAccount`. IMAP, POP3 and submission work again; other blocks stay.

use super::{Mode, ModeInfo};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct EnableMailAccount;

impl Mode for EnableMailAccount {
    const INFO: ModeInfo = ModeInfo {
        name: "enableMailAccount",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Lifts the block of the mail account only.",
        parameters: &[],
        sample: r#"{"zuid": 1111111, "mode": "enableMailAccount"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        body.ignore("password"); // the administrator's own, in earlier editions of the API
        Ok(Self)
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.lift(SwitchName::MailDisabled)
    }
}
