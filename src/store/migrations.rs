//! The schema's history, one text for both engines. A step that was released never changes.

use crate::store::engine::Step;

pub const STEPS: &[Step] = &[
    Step { number: 1, name: "account desk", sql: include_str!("../../migrations/0001_account_desk.sql") },
    Step { number: 2, name: "mail servers", sql: include_str!("../../migrations/0002_mail_servers.sql") },
    Step { number: 3, name: "contract", sql: include_str!("../../migrations/0003_contract.sql") },
];
