//! `mode: resetPassword`. A new password by an administrator's hand; the old one is dead at once.

use super::{Mode, ModeInfo, Parameter, ParameterKind, password_kind};
use crate::app::change::Prepared;
use crate::domain::account::{Ends, Transition};
use crate::domain::effect::Notice;
use crate::domain::help_desk::Verb;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct ResetPassword {
    pub password: Password,
    /// What the password is for.
    pub kind: PasswordKind,
    pub reset_auth_token: bool,
    /// App passwords survive a reset only when asked for.
    pub keep_app_passwords: bool,
}

impl Mode for ResetPassword {
    const INFO: ModeInfo = ModeInfo {
        name: "resetPassword",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: Some(Verb::Reset),
        summary: "Gives the user a new password. By default it is a one-time password, and every token and session ends.",
        parameters: &[
            Parameter::must("password", ParameterKind::Text, "The new password."),
            Parameter::may(
                "resetAuthToken",
                ParameterKind::Flag,
                "Whether every token, web session and live mail session of the user ends. Default true.",
            ),
            Parameter::may(
                "oneTimePassword",
                ParameterKind::Flag,
                "Whether the password only opens the choice of a new one, once. Default true.",
            ),
            Parameter::may(
                "keepAppPasswords",
                ParameterKind::Flag,
                "Whether app passwords survive. Default false.",
            ),
        ],
        sample: r#"{"password": "t*c9ma", "resetAuthtoken": true, "oneTimePassword": true, "zuid": 1234, "mode": "resetPassword"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        // Earlier editions of the API asked for the administrator's own password; it is not looked at.
        body.ignore("adminPassword");
        let password = body.secret_required("password")?;
        Ok(Self {
            password: Password::prepare(secrecy::ExposeSecret::expose_secret(&password))?,
            reset_auth_token: body.flag(["resetAuthToken", "reset Authtoken"])?.unwrap_or(true),
            kind: password_kind(body, PasswordKind::OneTime)?,
            keep_app_passwords: body.flag("keepAppPasswords")?.unwrap_or(false),
        })
    }

    fn password(&self) -> Option<(&Password, PasswordKind)> {
        Some((&self.password, self.kind))
    }

    fn apply(&self, change: &mut Transition<'_>, prepared: &Prepared) -> Result<()> {
        let new = prepared.new_password()?;
        let ends = match (self.reset_auth_token, self.keep_app_passwords) {
            (false, _) => Ends::Nothing,
            (true, true) => Ends::OldPassword,
            (true, false) => Ends::Everything,
        };
        change.replace_password(new, ends, Notice::PasswordReset);
        Ok(())
    }
}
