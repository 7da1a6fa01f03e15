//! PostgreSQL without Mailward: the statements of one enable or disable written by hand on the bare
//! driver, and commits of one row. When a change takes other statements, they are changed here too.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use crate::bare::Counter;
use crate::fill::World;
use crate::load::{Load, repeat, together};

pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting")?;
    tokio::spawn(connection);
    Ok(client)
}

/// How often a change is run that meets others: without a pause between, bad luck lasts.
const RUNS: u32 = 1000;

/// What all connections share.
pub struct Shared {
    world: World,
    token: [u8; 32],
    /// An audit entry as Mailward writes it.
    entry: String,
    changes: Arc<Counter>,
    /// The accounts that are switched off and on again.
    pairs: Arc<Counter>,
    /// What a switch looks like that is on.
    switch: String,
}

impl Shared {
    /// Reads an entry and a switch of a change that Mailward made before.
    pub async fn read(world: &World, pairs: &Arc<Counter>) -> Result<Self> {
        let client = connect(&world.url).await?;
        let row = client
            .query_one(
                "SELECT entry FROM audit WHERE verb = 'disableMailAccount' ORDER BY id DESC LIMIT 1",
                &[],
            )
            .await
            .context("Mailward has changed something before")?;
        let highest = client.query_one("SELECT COALESCE(MAX(id), 0) FROM audit", &[]).await?.get::<_, i64>(0);
        let switch = client
            .query_one("SELECT mail_disabled FROM account WHERE mail_disabled IS NOT NULL LIMIT 1", &[])
            .await
            .context("Mailward has disabled somebody before")?;
        Ok(Self {
            world: world.clone(),
            token: *mailward::domain::secret::fingerprint(&world.token).as_bytes(),
            entry: row.get(0),
            // Far from the numbers that Mailward takes.
            changes: Counter::from(highest.max(250_000_000_000_000_000) + 1),
            pairs: Arc::clone(pairs),
            switch: switch.get(0),
        })
    }
}

/// Enables and disables on as many connections, serializable, for that long.
pub async fn switch(shared: Shared, connections: usize, time: Duration) -> Result<Load> {
    let shared = Rc::new(shared);
    let mut hands = Vec::new();
    for _ in 0..connections {
        hands.push(Hand::new(&shared).await?);
    }
    let tasks: Vec<_> = hands
        .into_iter()
        .map(|hand| {
            tokio::task::spawn_local(async move {
                let (mut account, mut disable) = (0, false);
                repeat(time, async || {
                    disable = !disable;
                    if disable {
                        account = hand.shared.pairs.next_scattered();
                    }
                    hand.switch(account, disable).await
                })
                .await
            })
        })
        .collect();
    let mut loads = Vec::new();
    for task in tasks {
        loads.push(task.await??);
    }
    Ok(together(loads))
}

struct Hand {
    shared: Rc<Shared>,
    client: Client,
    holder: Statement,
    organization: Statement,
    account: Statement,
    app_passwords: Statement,
    save_person: Statement,
    save_account: Statement,
    state: [Statement; 2],
    audit: Statement,
    link: Statement,
    tell: Statement,
    project: Statement,
}

impl Hand {
    async fn new(shared: &Rc<Shared>) -> Result<Self> {
        let client = connect(&shared.world.url).await?;
        let holder = "SELECT t.organization_id, t.person_id, t.client_id, t.scope, t.expires_at, p.role, a.id AS account_id
             FROM access_token t
             JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
             JOIN account a ON a.organization_id = t.organization_id AND a.person_id = t.person_id
             JOIN organization o ON o.id = t.organization_id
             LEFT JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND t.epoch = p.session_epoch
               AND p.disabled IS NULL AND o.disabled IS NULL
               AND (t.client_id IS NULL OR (c.id IS NOT NULL AND c.disabled IS NULL))";
        let account = "SELECT p.organization_id, p.id AS person_id, p.ordinal, p.version, p.role, p.first_name, p.last_name,
                    p.display_name, p.profile, p.password_phc, p.password_kind, p.password_until,
                    p.password_at, p.password_history, p.session_epoch, p.self_renames,
                    p.disabled AS user_disabled, p.expires_at, p.created_at,
                    a.id AS account_id, a.mailbox, a.primary_address, a.generation,
                    a.mail_disabled, a.incoming_blocked, a.outgoing_blocked, a.imap_off, a.pop_off,
                    d.address AS owned, d.created_at AS owned_since,
                    EXISTS (SELECT 1 FROM app_password w
                            WHERE w.organization_id = a.organization_id AND w.account_id = a.id) AS has_app_passwords
             FROM person p
             JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id
             LEFT JOIN address d
                ON d.organization_id = a.organization_id AND d.account_id = a.id AND d.freed_at IS NULL
             WHERE p.organization_id = $1 AND p.id = $2";
        let app_passwords = "SELECT w.id, w.name, w.digest, w.imap, w.pop, w.smtp, w.created_at, w.expires_at
             FROM account a
             JOIN app_password w ON w.organization_id = a.organization_id AND w.account_id = a.id
             WHERE a.organization_id = $1 AND a.person_id = $2 ORDER BY w.created_at, w.id";
        let save_account = "UPDATE account
             SET generation = $3, mail_disabled = $4, incoming_blocked = $5, outgoing_blocked = $6, imap_off = $7,
                 pop_off = $8
             WHERE organization_id = $1 AND id = $2";
        let tell = "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries,
                                 outcome, done_at)
             SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), name, CAST($4 AS TEXT), CAST($5 AS BIGINT),
                    CAST($5 AS BIGINT), 0, NULL, NULL
             FROM mail_server
             UNION ALL
             SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), '', CAST($4 AS TEXT), CAST($5 AS BIGINT),
                    NULL, 0, 'no mail server is configured; nothing was told', CAST($5 AS BIGINT)
             WHERE NOT EXISTS (SELECT 1 FROM mail_server)";
        Ok(Self {
            shared: Rc::clone(shared),
            holder: client.prepare(holder).await?,
            organization: client
                .prepare("SELECT id, name, disabled, policy, created_at FROM organization WHERE id = $1")
                .await?,
            account: client.prepare(account).await?,
            app_passwords: client.prepare(app_passwords).await?,
            save_person: client
                .prepare(
                    "UPDATE person SET version = version + 1, disabled = $4
                     WHERE organization_id = $1 AND id = $2 AND version = $3",
                )
                .await?,
            save_account: client.prepare(save_account).await?,
            audit: client
                .prepare(
                    "INSERT INTO audit (organization_id, id, step, at, actor, verb, person_id, entry)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .await?,
            state: [
                client
                    .prepare(
                        "DELETE FROM person_state WHERE organization_id = $1 AND person_id = $2 AND state = $3",
                    )
                    .await?,
                client
                    .prepare(
                        "INSERT INTO person_state (organization_id, person_id, state) VALUES ($1, $2, $3)
                         ON CONFLICT (organization_id, person_id, state) DO NOTHING",
                    )
                    .await?,
            ],
            link: client
                .prepare("INSERT INTO audit_link (organization_id, change_id, step) VALUES ($1, $2, $3)")
                .await?,
            tell: client.prepare(tell).await?,
            project: client
                .prepare(
                    "INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at,
                                         tries)
                     VALUES ($1, $2, $3, $4, $5, $6, $6, 0) RETURNING position",
                )
                .await?,
            client,
        })
    }

    async fn switch(&self, number: i64, disable: bool) -> Result<()> {
        for _ in 0..RUNS {
            match self.attempt(number, disable).await {
                Ok(()) => return Ok(()),
                Err(cause) if cause.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                    self.client.batch_execute("ROLLBACK").await?;
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        bail!("{RUNS} runs of one change met others")
    }

    async fn attempt(&self, number: i64, disable: bool) -> std::result::Result<(), tokio_postgres::Error> {
        let Shared { world, token, entry, changes, switch, pairs: _ } = &*self.shared;
        let (zoid, zuid, now) = (world.zoid, world.zuid(number), mailward::clock::Clock::System.now());
        let change = changes.next();
        let client = &self.client;
        client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE").await?;
        client.query_one(&self.holder, &[&&token[..], &now]).await?;
        client.query_one(&self.organization, &[&zoid]).await?;
        // A row for each address.
        let account = client.query(&self.account, &[&zoid, &zuid]).await?.swap_remove(0);
        let id: i64 = account.get("account_id");
        client.query(&self.app_passwords, &[&zoid, &zuid]).await?;
        let version: i64 = account.get("version");
        client.execute(&self.save_person, &[&zoid, &zuid, &version, &None::<String>]).await?;
        let generation: i64 = account.get("generation");
        let disabled = disable.then_some(switch.as_str());
        let off = None::<String>;
        client
            .execute(&self.save_account, &[&zoid, &id, &generation, &disabled, &off, &off, &off, &off])
            .await?;
        client.execute(&self.state[usize::from(disable)], &[&zoid, &zuid, &"blocked"]).await?;
        let verb = if disable { "disableMailAccount" } else { "enableMailAccount" };
        client
            .execute(&self.audit, &[&zoid, &change, &0_i64, &now, &"user 1000000000001", &verb, &zuid, entry])
            .await?;
        client.execute(&self.link, &[&zoid, &change, &0_i64]).await?;
        if disable {
            let effect = r#"{"effect":"end_sessions","mailbox":"m2560636000000008002","sessions":"all"}"#;
            client.execute(&self.tell, &[&change, &zoid, &id, &effect, &now]).await?;
        }
        client
            .query_one(&self.project, &[&change, &zoid, &id, &"look-ups", &r#"{"effect":"project"}"#, &now])
            .await?;
        client.batch_execute("COMMIT").await
    }
}

/// Commits of one row each, on as many connections, for that long.
pub async fn commits(url: &str, connections: usize, rows: i64, time: Duration) -> Result<Load> {
    let mut clients = Vec::new();
    for number in 0..connections {
        let client = connect(url).await?;
        let statement = client.prepare("UPDATE bare SET value = value + 1 WHERE id = $1").await?;
        clients.push((i64::try_from(number)?, client, statement));
    }
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|(number, client, statement)| {
            tokio::task::spawn_local(async move {
                let mut call = 0_i64;
                repeat(time, async || {
                    call += 1;
                    let id = 1 + (number * 1000 + call % 1000) % rows;
                    match client.execute(&statement, &[&id]).await? {
                        1 => Ok(()),
                        other => bail!("{other} rows instead of one"),
                    }
                })
                .await
            })
        })
        .collect();
    let mut loads = Vec::new();
    for task in tasks {
        loads.push(task.await??);
    }
    Ok(together(loads))
}

pub async fn make_table(url: &str, rows: i64) -> Result<()> {
    let client = connect(url).await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE bare (id BIGINT PRIMARY KEY, value BIGINT NOT NULL);
             INSERT INTO bare SELECT i, 0 FROM generate_series(1, {rows}) AS s(i)"
        ))
        .await
        .context("making the bare table")?;
    client.batch_execute("VACUUM ANALYZE bare").await.context("vacuuming the bare table")
}

/// What the server has done so far.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Changes that it holds: each has an entry in the audit log.
    pub changes: i64,
    /// Transactions that wrote, those that were rolled back among them.
    pub transactions: i64,
    /// Flushes of its log, of which its processes tell late.
    pub flushes: i64,
}

impl Stored {
    pub async fn read(url: &str) -> Result<Self> {
        Self::read_on(&connect(url).await?).await
    }

    /// Reads until so many flushes are told since then; an idle process tells its own after ten seconds.
    pub async fn until_flushed(self, url: &str, flushes: i64) -> Result<Self> {
        let (client, start) = (connect(url).await?, Instant::now());
        loop {
            let now = Self::read_on(&client).await?;
            let told = now.flushes - self.flushes;
            if told >= flushes {
                return Ok(now);
            }
            if start.elapsed() > Duration::from_secs(15) {
                bail!(
                    "{told} flushes of the log were told where {flushes} are the least: not all was synced"
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn read_on(client: &Client) -> Result<Self> {
        let row = client
            .query_one(
                "SELECT (SELECT COUNT(*) FROM audit),
                        CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT),
                        (SELECT CAST(wal_sync AS BIGINT) FROM pg_stat_wal)",
                &[],
            )
            .await?;
        Ok(Self { changes: row.get(0), transactions: row.get(1), flushes: row.get(2) })
    }
}
