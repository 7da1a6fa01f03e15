//! `mode: updateTFAStatus`. Takes the second factors away of somebody who has lost them. Source: Zoho's
//! "Change TFA status of a user", whose other direction has no meaning here: what a person has in the hand
//! cannot be set up from elsewhere.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct UpdateTfaStatus {
    pub enabled: bool,
}

impl Mode for UpdateTfaStatus {
    const INFO: ModeInfo = ModeInfo {
        name: "updateTFAStatus",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "Takes the authenticator app, the passkeys and the recovery codes away of somebody who has lost them, \
                  and tells the person. For other super administrators, and for the operator.",
        parameters: &[Parameter::must(
            "tfaEnabled",
            ParameterKind::Flag,
            "`false`. With `true` the call succeeds where a second factor is in use, and is refused elsewhere: people \
             set theirs up in the console.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "updateTFAStatus", "tfaEnabled": "false"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { enabled: body.flag_required("tfaEnabled")? })
    }

    fn is_about_factors(&self) -> bool {
        true
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        if self.enabled {
            return change.require_factor_in_use();
        }
        change.remove_factors();
        Ok(())
    }
}
