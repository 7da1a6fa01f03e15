//! `mode: changeRole`. Grants or removes a role, for one user or a list, all or nothing.

use super::{Mode, ModeInfo, Parameter, ParameterKind, TargetName};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::actor::Role;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct ChangeRole {
    pub users: Vec<TargetName>,
    pub role: Role,
}

impl Mode for ChangeRole {
    const INFO: ModeInfo = ModeInfo {
        name: "changeRole",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        summary: "Gives users a role. Roles above member are the super administrators' to grant and to remove.",
        parameters: &[
            Parameter::may(
                "userList",
                ParameterKind::Users,
                "The users' zuids, at most 100. All or nothing.",
            ),
            Parameter::must("role", ParameterKind::Text, "member, admin or super_admin."),
        ],
        sample: r#"{"mode": "changeRole", "userList": [11111111], "role": "admin"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let users = body.long_list("userList")?.unwrap_or_default();
        Ok(Self {
            users: users.into_iter().map(TargetName::Number).collect(),
            role: body.text_required(["role", "newRole"])?.parse()?,
        })
    }

    fn targets(&self) -> &[TargetName] {
        &self.users
    }

    fn new_role(&self) -> Option<Role> {
        Some(self.role)
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.change_role(self.role)
    }
}
