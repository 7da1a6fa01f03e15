//! The only room that speaks SQL: one text and one function body per statement, for both engines.
//! `engine` holds the difference between SQLite and PostgreSQL, and nothing else does.

pub mod accounts;
pub mod addresses;
pub mod audit;
pub mod audit_chain;
pub mod clients;
pub mod connections;
pub mod copying;
pub mod engine;
pub mod factors;
pub mod feed;
pub mod idempotency;
pub mod ids;
pub mod leases;
pub mod lists;
pub mod live;
pub mod mail_agents;
pub mod mail_servers;
pub mod mailboxes;
pub mod migrations;
pub mod organizations;
pub mod outbox;
pub mod people;
pub mod projection;
pub mod recovery;
pub mod restore;
pub mod sealed;
pub mod settings;
pub mod sign_ins;
pub mod throttle;
pub mod tokens;
pub mod web_sessions;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::actor::Role;
use crate::domain::scope::ScopeSet;
use crate::error::{Error, Result};
use crate::store::engine::Row;

/// Text columns that hold JSON of ours.
fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::caused("writing a JSON column", error))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::caused("reading a JSON column", error))
}

fn opt_to_json<T: Serialize>(value: Option<&T>) -> Result<Option<String>> {
    value.map(to_json).transpose()
}

fn opt_from_json<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>> {
    text.map(from_json).transpose()
}

/// What was parsed out of a row: the parsers are the doors', and blame the caller. `what` names the value in
/// one or two words; no parser repeats a secret.
fn stored<T>(what: &'static str, parsed: Result<T>) -> Result<T> {
    parsed.map_err(|why| {
        Error::internal(format_args!("the database holds a {what} that cannot be read: {why}"))
    })
}

/// The column `role`.
fn role(row: &Row<'_>) -> Result<Role> {
    stored("role", row.get::<&str>("role")?.parse())
}

/// The column `scope`.
fn scope(row: &Row<'_>) -> Result<ScopeSet> {
    stored("scope", ScopeSet::parse(row.get("scope")?))
}

#[cfg(test)]
mod tests {
    use super::engine::{Db, Options, Tx, migrate, params};
    use super::*;
    use crate::domain::ids::{OrganizationId, UserId};
    use crate::domain::secret::Fingerprint;

    const ROWS: &[&str] = &[
        "INSERT INTO organization (id, name, policy, one_time_opens_mail, created_at)
         VALUES (10000001, 'Zylker', '{}', TRUE, 0)",
        "INSERT INTO domain (organization_id, name, id, verification_code, is_primary, created_at)
         VALUES (10000001, 'zylker.example', 100000000000000001, '', TRUE, 0)",
        "INSERT INTO person (organization_id, id, ordinal, version, role, first_name, last_name, display_name, profile,
                             password_phc, password_kind, password_at, password_history, session_epoch, self_renames,
                             created_at)
         VALUES (10000001, 1000000000001, 0, 1, 'member', '', '', '', '{}', NULL, 'permanent', 0, '[]', 1, '[]', 0)",
        "INSERT INTO account (organization_id, id, person_id, mailbox, primary_address, primary_domain, generation,
                              created_at)
         VALUES (10000001, 2560636000000008002, 1000000000001, 'm1', 'mia@zylker.example', 'zylker.example', 1, 0)",
        "INSERT INTO address (address, organization_id, account_id, created_at)
         VALUES ('sales@zylker.example', 10000001, 2560636000000008002, 0)",
        "INSERT INTO client (id, organization_id, owner_id, name, kind, redirect_uris, created_at)
         VALUES ('1000.A', 10000001, 1000000000001, 'A', 'web', '[]', 0)",
        "INSERT INTO connection (organization_id, person_id, client_id, epoch, scope, offline, created_at)
         VALUES (10000001, 1000000000001, '1000.A', 1, 'ZohoMail.accounts.ALL', FALSE, 0)",
        "INSERT INTO web_session (hash, id, organization_id, person_id, epoch, stage, password_mark, created_at, proved_at,
                                  seen_at, expires_at, source, agent)
         VALUES (X'00', 300000000000000001, 10000001, 1000000000001, 1, 'signed in', zeroblob(32), 1, 1, 1, 9, '', '')",
        "INSERT INTO recovery_link (hash, organization_id, person_id, purpose, address, epoch, password_mark, created_at,
                                    expires_at)
         VALUES (zeroblob(32), 10000001, 1000000000001, 'password', 'mia@zylker.example', 1, zeroblob(32), 0, 9)",
    ];

    /// Everything that [`ROWS`] are read by.
    async fn read_all(tx: &mut Tx) -> Result<()> {
        let (zoid, user) = (OrganizationId::LEAST, UserId::LEAST);
        organizations::domains(tx, zoid).await?;
        accounts::load(tx, zoid, accounts::Handle::User(user)).await?;
        lists::page(tx, zoid, 0, 10).await?;
        tokens::resource_owner(tx, zoid, user).await?;
        clients::load(tx, "1000.A").await?;
        connections::of_person(tx, zoid, user).await?;
        web_sessions::of_person(tx, zoid, user, 1, 0).await?;
        let link = Fingerprint::from_bytes([0; 32]);
        recovery::link(tx, &link, recovery::Purpose::Password, 1).await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_an_internal_error_and_no_secret_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("mailward.db").display());
        let db = Db::open(&url, &Options::default()).expect("a new file");
        migrate(&db, migrations::STEPS, 0).await.expect("the tables");
        let filled = db.write(async |tx| {
            for row in ROWS {
                tx.execute_one(row, params![]).await?;
            }
            read_all(tx).await
        });
        filled.await.expect("good rows");
        for damage in [
            "UPDATE domain SET name = 'zylker example'",
            "UPDATE domain SET id = 7",
            "UPDATE person SET role = 'king'",
            "UPDATE person SET password_phc = 'hunter22'",
            "UPDATE person SET password_kind = 'weekly'",
            "UPDATE person SET password_history = '[\"hunter22\"]'",
            "UPDATE account SET primary_address = 'mia'",
            "UPDATE address SET address = 'sales'",
            "UPDATE client SET kind = 'friend'",
            "UPDATE connection SET scope = 'ZohoMail.everything'",
            "UPDATE web_session SET password_mark = zeroblob(31)",
            "UPDATE web_session SET stage = 'signed'",
            "UPDATE recovery_link SET password_mark = zeroblob(33)",
        ] {
            let told = db.rehearse(async move |tx| {
                tx.execute_one(damage, params![]).await?;
                read_all(tx).await
            });
            let told = told.await.expect_err(damage);
            assert!(matches!(told, Error::Internal(_)), "{damage}: {told:?}");
            assert!(told.to_string().contains("the database holds"), "{damage}: {told}");
            assert!(!told.to_string().contains("hunter22"), "{damage}: {told}");
        }
    }
}
