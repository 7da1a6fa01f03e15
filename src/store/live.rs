//! How much of what was given out works at this moment, counted before and after a change to say
//! what the change ends. Nothing here is on the way of a change that is meant.

use crate::clock::Millis;
use crate::domain::email_address::DomainName;
use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::error::{Error, Result};
use crate::store::engine::{Row, Tx, params};

/// What works, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    pub access_tokens: i64,
    pub refresh_tokens: i64,
    pub grant_codes: i64,
    pub web_sessions: i64,
    /// App passwords that open at least one protocol.
    pub app_passwords: i64,
}

impl Live {
    fn add(&mut self, row: &Row<'_>) -> Result<()> {
        let number = row.get::<i64>("number")?;
        match row.get::<&str>("kind")? {
            "access" => self.access_tokens += number,
            "refresh" => self.refresh_tokens += number,
            "code" => self.grant_codes += number,
            "web" => self.web_sessions += number,
            "app" => self.app_passwords += number,
            other => return Err(Error::internal(format!("nobody counts {other}"))),
        }
        Ok(())
    }
}

/// The moment at which it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Millis,
    /// A web session that was not used since then has ended.
    pub idle_since: Millis,
}

/// What a person has.
pub async fn of_person(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    account: AccountId,
    at: Moment,
) -> Result<Live> {
    within(tx, organization, (user, user), (account, account), at).await
}

/// What everybody of an organization has.
pub async fn of_organization(tx: &mut Tx, organization: OrganizationId, at: Moment) -> Result<Live> {
    let (users, accounts) = ((UserId::LEAST, UserId::GREATEST), (AccountId::LEAST, AccountId::GREATEST));
    within(tx, organization, users, accounts, at).await
}

/// What people and accounts of a range have. The conditions are those of `store::tokens::holder` and
/// `resource_owner`, of `store::web_sessions::holder` but for the demand of a second factor, and of the contract's own view of what a mail server
/// lets in.
async fn within(
    tx: &mut Tx,
    organization: OrganizationId,
    users: (UserId, UserId),
    accounts: (AccountId, AccountId),
    at: Moment,
) -> Result<Live> {
    let mut live = Live::default();
    tx.query_all(
        "SELECT 'access' AS kind, COUNT(*) AS number FROM access_token t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         LEFT JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.person_id >= $2 AND t.person_id <= $3
           AND t.expires_at > $4 AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL
           AND (t.client_id IS NULL OR (c.id IS NOT NULL AND c.disabled IS NULL))
         UNION ALL
         SELECT 'refresh', COUNT(*) FROM refresh_token t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.person_id >= $2 AND t.person_id <= $3
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND c.disabled IS NULL
         UNION ALL
         SELECT 'code', COUNT(*) FROM grant_code t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.person_id >= $2 AND t.person_id <= $3
           AND t.expires_at > $4 AND t.used_at IS NULL
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND c.disabled IS NULL
         UNION ALL
         SELECT 'web', COUNT(*) FROM web_session t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         WHERE t.organization_id = $1 AND t.person_id >= $2 AND t.person_id <= $3
           AND t.expires_at > $4 AND t.seen_at > $7
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL
         UNION ALL
         SELECT 'app', COUNT(*) FROM app_password t
         JOIN mailbox_state s ON s.organization_id = t.organization_id AND s.account_id = t.account_id
         WHERE t.organization_id = $1 AND t.account_id >= $5 AND t.account_id <= $6
           AND (t.expires_at IS NULL OR t.expires_at > $4) AND (s.gate IS NULL OR s.gate_is_mains)
           AND ((t.imap AND s.gate_imap IS NULL) OR (t.pop AND s.gate_pop3 IS NULL) OR t.smtp)",
        params![organization, users.0, users.1, at.now, accounts.0, accounts.1, at.idle_since],
        |row| live.add(row),
    )
    .await?;
    Ok(live)
}

/// What was given to a client, by whom it acts for.
pub async fn of_client(
    tx: &mut Tx,
    organization: OrganizationId,
    client: &str,
    now: Millis,
) -> Result<Vec<(UserId, Live)>> {
    tx.query_all(
        "SELECT 'access' AS kind, t.person_id, COUNT(*) AS number FROM access_token t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.client_id = $2
           AND t.expires_at > $3
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND c.disabled IS NULL
         GROUP BY t.person_id
         UNION ALL
         SELECT 'refresh', t.person_id, COUNT(*) FROM refresh_token t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.client_id = $2
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND c.disabled IS NULL
         GROUP BY t.person_id
         UNION ALL
         SELECT 'code', t.person_id, COUNT(*) FROM grant_code t
         JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id
         JOIN organization o ON o.id = t.organization_id
         JOIN client c ON c.organization_id = t.organization_id AND c.id = t.client_id
         WHERE t.organization_id = $1 AND t.client_id = $2
           AND t.expires_at > $3 AND t.used_at IS NULL
           AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND c.disabled IS NULL
         GROUP BY t.person_id",
        params![organization, client, now],
        |row| {
            let mut live = Live::default();
            live.add(row)?;
            Ok((row.get("person_id")?, live))
        },
    )
    .await
}

/// What accounts have whose primary address is on a domain; tokens do not hang on one.
pub async fn of_domain(
    tx: &mut Tx,
    organization: OrganizationId,
    domain: &DomainName,
    now: Millis,
) -> Result<Live> {
    let mut live = Live::default();
    tx.query_all(
        "SELECT 'app' AS kind, COUNT(*) AS number FROM account a
         JOIN app_password t ON t.organization_id = a.organization_id AND t.account_id = a.id
         JOIN mailbox_state s ON s.organization_id = a.organization_id AND s.account_id = a.id
         WHERE a.organization_id = $1 AND a.primary_domain = $2
           AND (t.expires_at IS NULL OR t.expires_at > $3) AND (s.gate IS NULL OR s.gate_is_mains)
           AND ((t.imap AND s.gate_imap IS NULL) OR (t.pop AND s.gate_pop3 IS NULL) OR t.smtp)",
        params![organization, domain.as_str(), now],
        |row| live.add(row),
    )
    .await?;
    Ok(live)
}
