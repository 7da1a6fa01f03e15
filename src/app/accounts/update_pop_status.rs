//! `mode: updatePOPStatus`. POP3 on or off for one account.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct UpdatePopStatus {
    pub enabled: bool,
}

impl Mode for UpdatePopStatus {
    const INFO: ModeInfo = ModeInfo {
        name: "updatePOPStatus",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Switches POP3 on or off.",
        parameters: &[Parameter::must(
            "popAccessEnabled",
            ParameterKind::Flag,
            "Whether POP3 logins are accepted.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "updatePOPStatus", "popAccessEnabled": "false"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { enabled: body.flag_required("popAccessEnabled")? })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.turn(SwitchName::PopOff, !self.enabled)
    }
}
