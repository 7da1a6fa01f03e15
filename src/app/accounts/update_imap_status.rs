//! `mode: updateIMAPStatus`. IMAP on or off for one account.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct UpdateImapStatus {
    pub enabled: bool,
}

impl Mode for UpdateImapStatus {
    const INFO: ModeInfo = ModeInfo {
        name: "updateIMAPStatus",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Switches IMAP on or off.",
        parameters: &[Parameter::must(
            "imapAccessEnabled",
            ParameterKind::Flag,
            "Whether IMAP logins are accepted.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "updateIMAPStatus", "imapAccessEnabled": "false"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { enabled: body.flag_required("imapAccessEnabled")? })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.turn(SwitchName::ImapOff, !self.enabled)
    }
}
