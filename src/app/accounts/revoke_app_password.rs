//! `DELETE …/appPasswords/{id}`. The password is dead at once, and exactly its sessions end.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::ids::AppPasswordId;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct RevokeAppPassword {
    pub id: AppPasswordId,
}

impl Mode for RevokeAppPassword {
    const INFO: ModeInfo = ModeInfo {
        name: "revokeAppPassword",
        also: &[],
        method: super::Method::Elsewhere,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: None,
        summary: "Revokes an app password and ends the sessions that were opened with it.",
        parameters: &[Parameter::must("appPasswordId", ParameterKind::Number, "Which one.")],
        sample: r#"{"appPasswordId": "100000000001"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let number = body.long_required("appPasswordId")?;
        AppPasswordId::new(number)
            .map(|id| Self { id })
            .ok_or_else(|| Error::NotFound(format!("there is no app password {number} on this account")))
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.revoke_app_password(self.id)
    }
}
