//! Browsers that signed in. Only the cookie's SHA-256 is stored; a row counts only while its epoch
//! is the person's, as with tokens.

use crate::clock::Millis;
use crate::domain::actor::{Role, Signed};
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{AccountId, OrganizationId, UserId, WebSessionId};
use crate::domain::policy::Policy;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::Fingerprint;
use crate::domain::web_session::Stage;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, opt_from_json, role, stored};

/// A session as it is stored.
#[derive(Debug, Clone)]
pub struct WebSession {
    /// Names the session to its owner; opens nothing.
    pub id: WebSessionId,
    pub organization: OrganizationId,
    pub user: UserId,
    pub epoch: i64,
    pub stage: Stage,
    /// The password that was verified, where another one must not be chosen with this session.
    pub password_mark: Option<Fingerprint>,
    /// What a WebAuthn ceremony in progress has to remember, as the library's JSON.
    pub ceremony: Option<String>,
    pub created_at: Millis,
    /// When the person last proved to be who they are.
    pub proved_at: Millis,
    pub seen_at: Millis,
    pub expires_at: Millis,
    pub source: String,
    pub agent: String,
}

/// A living session with what is known of its person now.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Of its cookie.
    pub hash: Fingerprint,
    pub session: WebSession,
    pub account: AccountId,
    pub role: Role,
    /// The limits of somebody from the help desk.
    pub help_desk: Option<HelpDesk>,
}

impl LiveSession {
    /// The person as an actor, if the sign-in is complete. The role alone decides what may be done.
    pub fn signed(&self) -> Option<Signed> {
        (self.session.stage == Stage::SignedIn).then(|| Signed {
            organization: self.session.organization,
            user: self.session.user,
            account: self.account,
            role: self.role,
            help_desk: self.help_desk.clone(),
            scopes: ScopeSet::everything(),
            client: None,
        })
    }
}

pub async fn insert(tx: &mut Tx, hash: &Fingerprint, session: &WebSession) -> Result<()> {
    tx.execute_one(
        "INSERT INTO web_session (hash, id, organization_id, person_id, epoch, stage, password_mark, ceremony,
                                  created_at, proved_at, seen_at, expires_at, source, agent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![
            hash,
            session.id,
            session.organization,
            session.user,
            session.epoch,
            session.stage.as_str(),
            session.password_mark.as_ref(),
            session.ceremony.as_deref(),
            session.created_at,
            session.proved_at,
            session.seen_at,
            session.expires_at,
            session.source.as_str(),
            session.agent.as_str()
        ],
    )
    .await
}

/// The columns that [`read`] reads, of `web_session s`.
macro_rules! select_session {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.organization_id, s.person_id, s.epoch, s.stage, s.password_mark, s.ceremony, s.created_at,
                    s.proved_at, s.seen_at, s.expires_at, s.source, s.agent",
            $rest
        )
    };
}

const HOLDER: &str = select_session!(
    ", p.role, p.help_desk, a.id AS account_id, o.policy,
            EXISTS (SELECT 1 FROM totp t WHERE t.organization_id = s.organization_id AND t.person_id = s.person_id
                                           AND t.confirmed_at IS NOT NULL)
         OR EXISTS (SELECT 1 FROM passkey k WHERE k.organization_id = s.organization_id
                                              AND k.person_id = s.person_id) AS has_factor
     FROM web_session s
     JOIN person p ON p.organization_id = s.organization_id AND p.id = s.person_id
     JOIN account a ON a.organization_id = s.organization_id AND a.person_id = s.person_id
     JOIN organization o ON o.id = s.organization_id
     WHERE s.hash = $1 AND s.expires_at > $2 AND s.seen_at > $3 AND s.epoch = p.session_epoch
       AND p.disabled IS NULL AND o.disabled IS NULL"
);

/// Queues the statements of [`holder`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch_holder(tx: &mut Tx, hash: &Fingerprint, now: Millis, idle_since: Millis) {
    tx.prefetch(HOLDER, params![hash, now, idle_since]);
}

/// The session behind a cookie, if it lives: neither expired nor idle since `idle_since`, its epoch
/// the person's, person and organization enabled. A complete one ends when a second factor comes to be demanded of
/// somebody who has none: at the next sign-in one is set up.
pub async fn holder(
    tx: &mut Tx,
    hash: &Fingerprint,
    now: Millis,
    idle_since: Millis,
) -> Result<Option<LiveSession>> {
    let found = tx
        .query_opt(HOLDER, params![hash, now, idle_since], |row| {
            let live = LiveSession {
                hash: *hash,
                session: read(row)?,
                account: row.get("account_id")?,
                role: role(row)?,
                help_desk: opt_from_json(row.get("help_desk")?)?,
            };
            if live.session.stage != Stage::SignedIn || row.get("has_factor")? {
                return Ok(Some(live));
            }
            let policy: Policy = from_json(row.get("policy")?)?;
            Ok((!policy.second_factor.demands(live.role)).then_some(live))
        })
        .await?;
    Ok(found.flatten())
}

/// A person's living sessions, the newest first.
pub async fn of_person(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    now: Millis,
    idle_since: Millis,
) -> Result<Vec<WebSession>> {
    tx.query_all(
        select_session!(
            " FROM web_session s
             JOIN person p ON p.organization_id = s.organization_id AND p.id = s.person_id
             WHERE s.organization_id = $1 AND s.person_id = $2 AND s.expires_at > $3 AND s.seen_at > $4
               AND s.epoch = p.session_epoch
             ORDER BY s.created_at DESC, s.id DESC"
        ),
        params![organization, user, now, idle_since],
        read,
    )
    .await
}

fn read(row: &Row<'_>) -> Result<WebSession> {
    Ok(WebSession {
        id: row.get("id")?,
        organization: row.get("organization_id")?,
        user: row.get("person_id")?,
        epoch: row.get("epoch")?,
        stage: stored("stage", row.get::<&str>("stage")?.parse())?,
        password_mark: row.get("password_mark")?,
        ceremony: row.get("ceremony")?,
        created_at: row.get("created_at")?,
        proved_at: row.get("proved_at")?,
        seen_at: row.get("seen_at")?,
        expires_at: row.get("expires_at")?,
        source: row.get("source")?,
        agent: row.get("agent")?,
    })
}

/// Notes that the session was used.
pub async fn seen(tx: &mut Tx, hash: &Fingerprint, now: Millis) -> Result<()> {
    tx.execute("UPDATE web_session SET seen_at = $2 WHERE hash = $1", params![hash, now]).await.map(drop)
}

/// Notes that the person proved again to be who they are.
pub async fn proved(tx: &mut Tx, hash: &Fingerprint, now: Millis) -> Result<()> {
    tx.execute("UPDATE web_session SET proved_at = $2 WHERE hash = $1", params![hash, now]).await.map(drop)
}

/// Remembers, or forgets, what a ceremony needs.
pub async fn set_ceremony(tx: &mut Tx, hash: &Fingerprint, ceremony: Option<&str>) -> Result<()> {
    tx.execute("UPDATE web_session SET ceremony = $2 WHERE hash = $1", params![hash, ceremony])
        .await
        .map(drop)
}

/// Remembers a ceremony of a browser that nobody has signed in with: a row of no person, which opens
/// nothing.
pub async fn put_guest_ceremony(
    tx: &mut Tx,
    hash: &Fingerprint,
    session: WebSessionId,
    ceremony: &str,
    now: Millis,
    expires_at: Millis,
) -> Result<()> {
    tx.execute(
        "INSERT INTO web_session (hash, id, organization_id, person_id, epoch, stage, password_mark, ceremony,
                                  created_at, proved_at, seen_at, expires_at, source, agent)
         VALUES ($1, $2, 0, 0, 0, 'guest', NULL, $3, $4, $4, $4, $5, '', '')
         ON CONFLICT (hash) DO UPDATE SET ceremony = $3, expires_at = $5 WHERE web_session.organization_id = 0",
        params![hash, session, ceremony, now, expires_at],
    )
    .await
    .map(drop)
}

/// Takes it out again, once.
pub async fn take_guest_ceremony(tx: &mut Tx, hash: &Fingerprint, now: Millis) -> Result<Option<String>> {
    tx.query_opt(
        "DELETE FROM web_session WHERE hash = $1 AND organization_id = 0 AND expires_at > $2
         RETURNING COALESCE(ceremony, '') AS ceremony",
        params![hash, now],
        |row| row.get("ceremony"),
    )
    .await
}

/// Ends the session behind a cookie. Answers whether there was one.
pub async fn delete(tx: &mut Tx, hash: &Fingerprint) -> Result<bool> {
    Ok(tx.execute("DELETE FROM web_session WHERE hash = $1", params![hash]).await? > 0)
}

/// Ends one of a person's sessions by its name. Answers whether there was one.
pub async fn delete_named(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    session: WebSessionId,
) -> Result<bool> {
    let ended = tx
        .execute(
            "DELETE FROM web_session WHERE organization_id = $1 AND person_id = $2 AND id = $3",
            params![organization, user, session],
        )
        .await?;
    Ok(ended > 0)
}

/// Ends a person's sessions but one; answers how many there were.
pub async fn delete_others(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    but: WebSessionId,
) -> Result<u64> {
    tx.execute(
        "DELETE FROM web_session WHERE organization_id = $1 AND person_id = $2 AND id <> $3",
        params![organization, user, but],
    )
    .await
}

/// Ends a person's sessions that have come so far and no further.
pub async fn delete_at(tx: &mut Tx, organization: OrganizationId, user: UserId, stage: Stage) -> Result<u64> {
    tx.execute(
        "DELETE FROM web_session WHERE organization_id = $1 AND person_id = $2 AND stage = $3",
        params![organization, user, stage.as_str()],
    )
    .await
}

/// Removes what has expired.
pub async fn sweep(tx: &mut Tx, before: Millis) -> Result<()> {
    tx.execute("DELETE FROM web_session WHERE expires_at <= $1", params![before]).await.map(drop)
}
