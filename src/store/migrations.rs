//! The schema's history, one text for both engines. A step that was released never changes.

use crate::store::engine::Step;

pub const STEPS: &[Step] = &[
    Step { number: 1, name: "account desk", sql: include_str!("../../migrations/0001_account_desk.sql") },
    Step { number: 2, name: "mail servers", sql: include_str!("../../migrations/0002_mail_servers.sql") },
    Step { number: 3, name: "contract", sql: include_str!("../../migrations/0003_contract.sql") },
    Step { number: 4, name: "console", sql: include_str!("../../migrations/0004_console.sql") },
    Step { number: 5, name: "idempotency", sql: include_str!("../../migrations/0005_idempotency.sql") },
    Step { number: 6, name: "audit chain", sql: include_str!("../../migrations/0006_audit_chain.sql") },
    Step { number: 7, name: "help desk", sql: include_str!("../../migrations/0007_help_desk.sql") },
    Step { number: 8, name: "search", sql: include_str!("../../migrations/0008_search.sql") },
    Step { number: 12, name: "connections", sql: include_str!("../../migrations/0012_connections.sql") },
    Step {
        number: 13,
        name: "room for updates",
        sql: include_str!("../../migrations/0013_room_for_updates.sql"),
    },
    Step {
        number: 14,
        name: "indexes by organization",
        sql: include_str!("../../migrations/0014_indexes_by_organization.sql"),
    },
    Step { number: 15, name: "mail agents", sql: include_str!("../../migrations/0015_mail_agents.sql") },
    Step {
        number: 16,
        name: "seeds of sessions",
        sql: include_str!("../../migrations/0016_seeds_of_sessions.sql"),
    },
    Step { number: 17, name: "fewer pages", sql: include_str!("../../migrations/0017_fewer_pages.sql") },
    Step {
        number: 18,
        name: "addresses of an account",
        sql: include_str!("../../migrations/0018_addresses_of_an_account.sql"),
    },
    Step {
        number: 19,
        name: "look-ups by account",
        sql: include_str!("../../migrations/0019_look_ups_by_account.sql"),
    },
    Step {
        number: 20,
        name: "gate of the main password",
        sql: include_str!("../../migrations/0020_gate_of_the_main_password.sql"),
    },
    Step {
        number: 21,
        name: "places of sign-ins",
        sql: include_str!("../../migrations/0021_places_of_sign_ins.sql"),
    },
];
