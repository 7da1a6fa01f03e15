//! Databases to measure on: an organization made by Mailward itself, and one of its members copied
//! a million times by the database, with names, addresses and counters of its own.

use std::sync::Arc;

use anyhow::{Context, Result};
use mailward::app::accounts::create;
use mailward::app::open::open_app;
use mailward::app::organizations::{self, DomainChange};
use mailward::app::random::Random;
use mailward::app::{call, oauth};
use mailward::clock::{Clock, DAY};
use mailward::config::Config;
use mailward::domain::actor::Role;
use mailward::domain::email_address::{DomainName, EmailAddress};
use mailward::domain::password::Password;
use mailward::domain::scope::ScopeSet;
use mailward::store::engine::schema;
use mailward::store::lists::BLOCK;

const DOMAIN: &str = "zylker.example";
/// The super administrator.
pub const ADMIN: &str = "paula@zylker.example";
/// Everybody's, until somebody resets it.
pub const PASSWORD: &str = "sleepy otters 42";

/// A filled database.
#[derive(Debug, Clone)]
pub struct World {
    pub url: String,
    pub zoid: i64,
    /// A super administrator's, with organization scopes.
    pub token: Arc<str>,
    /// Members: account `n` of `1..=accounts` has `zuid + n` and `account + n`.
    pub accounts: i64,
    zuid: i64,
    account: i64,
}

impl World {
    /// The path of a member.
    pub fn path(&self, number: i64) -> String {
        self.path_of(self.zuid(number))
    }

    pub fn path_of(&self, zuid: i64) -> String {
        format!("/api/organization/{}/accounts/{zuid}", self.zoid)
    }

    pub fn zuid(&self, number: i64) -> i64 {
        self.zuid + 1 + number.rem_euclid(self.accounts)
    }

    pub fn list(&self, start: i64, limit: usize) -> String {
        format!("/api/organization/{}/accounts?start={start}&limit={limit}", self.zoid)
    }
}

/// The database copies rows itself; both engines take the same statements.
pub enum Filler<'a> {
    Sqlite(&'a str),
    Postgres(&'a tokio_postgres::Client),
}

pub async fn make(url: &str, accounts: i64, filler: Filler<'_>) -> Result<World> {
    let mut config = Config::default();
    url.clone_into(&mut config.database.url);
    let app = open_app(&config, Clock::System, Random::System).await?;
    let context = call::Context::operator("bench", "bench".to_owned());
    let (organization, _) = organizations::create(&app, &context, "Zylker").await?;
    let domain = DomainName::parse(DOMAIN)?;
    organizations::add_domain(&app, &context, organization.id, &domain).await?;
    organizations::change_domain(&app, &context, organization.id, &domain, DomainChange::Verify).await?;
    let mut last = None;
    for (local, role) in [("paula", Role::SuperAdmin), ("template", Role::Member)] {
        let address = EmailAddress::parse(&format!("{local}@{DOMAIN}"))?;
        let new = create::simple(address, Password::prepare(PASSWORD)?, role, "Somebody New")?;
        let (account, _) = create::create(&app, &context, organization.id, new).await?;
        if role == Role::SuperAdmin {
            let scopes = "ZohoMail.organization.accounts.ALL ZohoMail.partner.organization.ALL";
            let scopes = ScopeSet::parse(scopes)?;
            last = Some(oauth::issue(&app, organization.id, account.user, scopes, 300 * DAY).await?);
            continue;
        }
        let token = last.take().context("the administrator came first")?;
        let world = World {
            url: url.to_owned(),
            zoid: organization.id.get(),
            token: token.expose().into(),
            accounts,
            zuid: account.user.get(),
            account: account.id.get(),
        };
        let lines = schema(&app.db).await?;
        app.db.close().await;
        drop(app);
        copy(&world, &lines, filler).await?;
        return Ok(world);
    }
    unreachable!("the second of two people is the template")
}

async fn copy(world: &World, schema: &[String], filler: Filler<'_>) -> Result<()> {
    let statements = statements(world, schema, matches!(filler, Filler::Sqlite(_)));
    match filler {
        Filler::Sqlite(path) => {
            let connection = rusqlite::Connection::open(path)?;
            // The file is nobody else's yet, and a broken one is made again.
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN",
            )?;
            for statement in &statements {
                connection.execute_batch(statement).with_context(|| statement.clone())?;
            }
            connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL")?;
            std::fs::File::open(path)?.sync_all()?;
        }
        Filler::Postgres(client) => {
            client
                .batch_execute("SET session_replication_role = replica; SET synchronous_commit = off")
                .await?;
            // Made anew at the end, that index takes a third of the time.
            let made = "SELECT indexdef FROM pg_indexes WHERE indexname = 'person_text_trigram_idx'";
            let made: String = client.query_one(made, &[]).await?.get(0);
            client
                .batch_execute("DROP INDEX person_text_trigram_idx; SET maintenance_work_mem = '1GB'")
                .await?;
            for statement in &statements {
                client.batch_execute(statement).await.with_context(|| statement.clone())?;
            }
            client.batch_execute(&made).await?;
            client.batch_execute("RESET session_replication_role; RESET synchronous_commit").await?;
            client.batch_execute("VACUUM ANALYZE").await?;
            client.batch_execute("CHECKPOINT").await?;
        }
    }
    Ok(())
}

const NAMES: &str = "first_name(k, name) AS (VALUES (0, 'Ada'), (1, 'Bela'), (2, 'Chiara'), (3, 'Dmitri'),
    (4, 'Elif'), (5, 'Farid'), (6, 'Greta'), (7, 'Hiro'), (8, 'Ines'), (9, 'Jonas'), (10, 'Katarzyna')),
last_name(k, name) AS (VALUES (0, 'Anderson'), (1, 'Bianchi'), (2, 'Castillo'), (3, 'Dvorak'), (4, 'Eriksen'),
    (5, 'Fontaine'), (6, 'Grabowski'), (7, 'Haddad'), (8, 'Ivanova'), (9, 'Johansson'), (10, 'Kowalczyk'),
    (11, 'Lindqvist'), (12, 'Marchetti'))";

fn statements(world: &World, schema: &[String], sqlite: bool) -> Vec<String> {
    let World { zoid, accounts, zuid, account, .. } = world;
    let numbers = if sqlite {
        format!("n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {accounts})")
    } else {
        format!("n(i) AS (SELECT i FROM generate_series(CAST(1 AS BIGINT), {accounts}) AS s(i))")
    };
    let joined = "n JOIN first_name f ON f.k = n.i % 11 JOIN last_name l ON l.k = n.i % 13";
    let address = format!("lower(f.name) || '.' || lower(l.name) || CAST(n.i AS TEXT) || '@' || '{DOMAIN}'");
    // Every column that is not said here is the template's, so that a new one is copied too.
    let copies = |table: &str, id: i64, own: &[(&str, &str)]| {
        let columns = columns(schema, table);
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                let own = own.iter().find(|(name, _)| name == column);
                own.map_or_else(|| format!("t.{column}"), |(_, value)| (*value).to_owned())
            })
            .collect();
        format!(
            "WITH RECURSIVE {numbers}, {NAMES}
             INSERT INTO {table} ({}) SELECT {} FROM {table} t CROSS JOIN {joined} WHERE t.id = {id}",
            columns.join(", "),
            values.join(", "),
        )
    };
    // The last runs have no counter, as after so many creates.
    let counted = (accounts / BLOCK - 1).max(0) * BLOCK;
    vec![
        copies(
            "person",
            *zuid,
            &[
                ("id", "t.id + n.i"),
                ("ordinal", "t.ordinal + n.i"),
                ("first_name", "f.name"),
                ("last_name", "l.name"),
                ("display_name", "f.name || ' ' || l.name"),
            ],
        ),
        copies(
            "account",
            *account,
            &[
                ("id", "t.id + n.i"),
                ("person_id", "t.person_id + n.i"),
                ("mailbox", "'m' || CAST(t.id + n.i AS TEXT)"),
                ("primary_address", &address),
            ],
        ),
        format!(
            "INSERT INTO address (address, organization_id, account_id, created_at)
             SELECT primary_address, organization_id, id, created_at FROM account WHERE id > {account}"
        ),
        // Every fifth has an alias, every second has signed in.
        format!(
            "INSERT INTO address (address, organization_id, account_id, created_at)
             SELECT 'alias' || CAST(id AS TEXT) || '@' || '{DOMAIN}', organization_id, id, created_at + 1
             FROM account WHERE id > {account} AND id % 5 = 0"
        ),
        format!(
            "INSERT INTO sign_in (organization_id, person_id, last_at, last_door)
             SELECT organization_id, id, created_at, 'api' FROM person WHERE id > {zuid} AND id % 2 = 0"
        ),
        format!("UPDATE person SET signed_in_at = created_at WHERE id > {zuid} AND id % 2 = 0"),
        format!(
            "INSERT INTO person_text (rowid, organization_id, text)
             SELECT p.id, p.organization_id,
                    lower(p.first_name || ' ' || p.last_name || ' ' || p.display_name || ' ' || a.primary_address)
             FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id
             WHERE p.id > {zuid}"
        ),
        format!("DELETE FROM person_count WHERE organization_id = {zoid}"),
        format!(
            "INSERT INTO person_count (organization_id, block, persons)
             SELECT organization_id, ordinal / {BLOCK}, COUNT(*) FROM person
             WHERE ordinal < {counted} GROUP BY organization_id, ordinal / {BLOCK}"
        ),
        format!(
            "UPDATE organization_counter SET next_ordinal = next_ordinal + {accounts} WHERE organization_id = {zoid}"
        ),
        format!("UPDATE id_block SET next_id = next_id + {accounts} WHERE kind IN ('zuid', 'accountId')"),
    ]
}

fn columns(schema: &[String], table: &str) -> Vec<String> {
    let start = format!("column {table}.");
    let names = schema.iter().filter_map(|line| line.strip_prefix(&start)?.split(' ').next());
    names.map(str::to_owned).collect()
}
