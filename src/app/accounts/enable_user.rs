//! `mode: enableUser`. Lets a disabled user in again: the user switch and the mail switch.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct EnableUser {
    pub unblock_incoming: bool,
}

impl Mode for EnableUser {
    const INFO: ModeInfo = ModeInfo {
        name: "enableUser",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Lifts the user block and the block of the mail account; with unblockIncoming the block of incoming mail too.",
        parameters: &[Parameter::may(
            "unblockIncoming",
            ParameterKind::Flag,
            "Whether mail is accepted again. Default false.",
        )],
        sample: r#"{"mode": "enableUser", "unblockIncoming": "true", "zuid": "11111111"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        body.ignore("password"); // the administrator's own, in earlier editions of the API
        Ok(Self { unblock_incoming: body.flag("unblockIncoming")?.unwrap_or(false) })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.lift(SwitchName::UserDisabled)?;
        change.lift(SwitchName::MailDisabled)?;
        if self.unblock_incoming {
            change.lift(SwitchName::IncomingBlocked)?;
        }
        Ok(())
    }
}
