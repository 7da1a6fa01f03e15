//! `mode: displaynameupdate`. What the person is called.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::help_desk::Verb;
use crate::domain::plain_text::name;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct DisplayNameUpdate {
    pub display_name: String,
}

impl Mode for DisplayNameUpdate {
    const INFO: ModeInfo = ModeInfo {
        name: "displaynameupdate",
        also: &["updateDisplayName"],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Rename),
        summary: "Changes the display name.",
        parameters: &[Parameter::must("displayName", ParameterKind::Text, "The new display name.")],
        sample: r#"{"zuid": "11111111", "mode": "displaynameupdate", "displayName": "Rebecca Anderson"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { display_name: name("displayName", body.text_required("displayName")?)? })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.account.profile.display_name.clone_from(&self.display_name);
        Ok(())
    }
}
