//! `mode: updateOutgoingStatus`. Sending on or off; reading goes on.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct UpdateOutgoingStatus {
    pub blocked: bool,
}

impl Mode for UpdateOutgoingStatus {
    const INFO: ModeInfo = ModeInfo {
        name: "updateOutgoingStatus",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Blocks sending or allows it again, also inside connections that are open.",
        parameters: &[Parameter::must("outgoingBlocked", ParameterKind::Flag, "Whether sending is refused.")],
        sample: r#"{"zuid": "11111111", "mode": "updateOutgoingStatus", "outgoingBlocked": "true"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { blocked: body.flag_required("outgoingBlocked")? })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.turn(SwitchName::OutgoingBlocked, self.blocked)
    }
}
