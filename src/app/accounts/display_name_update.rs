//! `mode: displaynameupdate`. What the person is called.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::help_desk::Verb;
use crate::domain::plain_text::is_plain_line;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
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

/// A name or a line of an address: one line of at most 100 characters.
///
/// # Errors
/// `BadValue`.
pub fn name(parameter: &str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > 100 {
        return Err(Error::bad_value(parameter, "at most 100 characters"));
    }
    if !is_plain_line(text) {
        return Err(Error::bad_value(parameter, "one line of plain text"));
    }
    Ok(text.to_owned())
}
