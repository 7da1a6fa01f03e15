//! `mode: updateIncomingStatus`. Incoming mail on or off, whoever may sign in.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct UpdateIncomingStatus {
    pub blocked: bool,
}

impl Mode for UpdateIncomingStatus {
    const INFO: ModeInfo = ModeInfo {
        name: "updateIncomingStatus",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Blocks incoming mail or accepts it again. Senders are refused while they speak, so nothing is lost silently.",
        parameters: &[Parameter::must(
            "incomingBlocked",
            ParameterKind::Flag,
            "Whether incoming mail is refused.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "updateIncomingStatus", "incomingBlocked": "true"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { blocked: body.flag_required("incomingBlocked")? })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.turn(SwitchName::IncomingBlocked, self.blocked)
    }
}
