//! What the mail servers' look-ups must know of accounts, read for the projection files.

use std::collections::BTreeMap;

use crate::clock::Millis;
use crate::domain::ids::{AccountId, OrganizationId};
use crate::domain::session_credential::SessionCredential;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::projection::{AppPassword, MailboxState};

/// The refusal of mail to an address that its account has given up.
const MOVED: &str = "550 5.1.6 Mailbox has moved, no forwarding address";

/// The columns that [`read`] reads.
macro_rules! select_mailbox {
    ($rest:literal) => {
        concat!(
            "SELECT account_id, mbox, generation, pw, password_until, gate, gate_is_mains, gate_imap, gate_pop3, sending, incoming,
                    primary_address
             FROM mailbox_state ",
            $rest
        )
    };
}

fn read(row: &Row<'_>) -> Result<MailboxState> {
    let sending: String = row.get("sending")?;
    Ok(MailboxState {
        account_id: row.get("account_id")?,
        mbox: row.get("mbox")?,
        generation: row.get("generation")?,
        password_phc: row.get("pw")?,
        password_until: row.get("password_until")?,
        gate: row.get("gate")?,
        gate_is_mains: row.get("gate_is_mains")?,
        imap: row.get::<Option<&str>>("gate_imap")?.is_none(),
        pop: row.get::<Option<&str>>("gate_pop3")?.is_none(),
        smtp_login: true,
        sending: (sending != "DUNNO").then_some(sending),
        incoming: row.get("incoming")?,
        addresses: Vec::new(),
        primary: row.get("primary_address")?,
        app_passwords: Vec::new(),
        retired: Vec::new(),
        cut_off_minutes: None,
    })
}

/// The states of up to `most` accounts of an organization after `after`, by account id.
pub async fn page(
    tx: &mut Tx,
    organization: OrganizationId,
    after: i64,
    most: i64,
) -> Result<Vec<MailboxState>> {
    let mut states: BTreeMap<i64, MailboxState> = tx
        .query_all(
            select_mailbox!("WHERE organization_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3"),
            params![organization, after, most],
            |row| read(row).map(|state| (state.account_id, state)),
        )
        .await?
        .into_iter()
        .collect();
    if let (Some(first), Some(last)) = (states.keys().next().copied(), states.keys().next_back().copied()) {
        add_belongings(tx, organization, first, last, &mut states).await?;
    }
    Ok(states.into_values().collect())
}

/// The state of one account without its addresses and app passwords; `None` when it is gone.
pub async fn without_belongings(
    tx: &mut Tx,
    organization: OrganizationId,
    account: AccountId,
) -> Result<Option<MailboxState>> {
    tx.query_opt(
        select_mailbox!("WHERE organization_id = $1 AND account_id = $2"),
        params![organization, account],
        read,
    )
    .await
}

/// The state of one account; `None` when it is gone.
pub async fn one(
    tx: &mut Tx,
    organization: OrganizationId,
    account: AccountId,
) -> Result<Option<MailboxState>> {
    let found = without_belongings(tx, organization, account).await?;
    let Some(mut state) = found else { return Ok(None) };
    let ids = params![organization, account];
    let belongings = tx
        .query_all(
            "SELECT 0 AS id, address AS text, freed_at, FALSE AS imap, FALSE AS pop, FALSE AS smtp
             FROM address WHERE organization_id = $1 AND account_id = $2
             UNION ALL
             SELECT id, digest, expires_at, imap, pop, smtp
             FROM app_password WHERE organization_id = $1 AND account_id = $2",
            ids,
            |row| {
                let (text, at) = (row.get("text")?, row.get::<Option<Millis>>("freed_at")?);
                Ok(match row.get("id")? {
                    0 => Belonging::Address(text, at),
                    id => Belonging::AppPassword(AppPassword {
                        id,
                        digest_hex: text,
                        imap: row.get("imap")?,
                        pop: row.get("pop")?,
                        smtp: row.get("smtp")?,
                        expires_at: at,
                    }),
                })
            },
        )
        .await?;
    for belonging in belongings {
        match belonging {
            Belonging::Address(address, None) => state.addresses.push(address),
            Belonging::Address(address, Some(_)) => state.retired.push((address, MOVED.to_owned())),
            Belonging::AppPassword(app) => state.app_passwords.push(app),
        }
    }
    // Asked for in an order, SQLite would read the app passwords of the whole organization.
    state.addresses.sort();
    state.retired.sort();
    state.app_passwords.sort_by_key(|app| app.id);
    Ok(Some(state))
}

enum Belonging {
    /// With when it was freed.
    Address(String, Option<Millis>),
    AppPassword(AppPassword),
}

/// Addresses and app passwords of the accounts from `first` to `last`.
async fn add_belongings(
    tx: &mut Tx,
    organization: OrganizationId,
    first: i64,
    last: i64,
    states: &mut BTreeMap<i64, MailboxState>,
) -> Result<()> {
    let addresses = tx
        .query_all(
            "SELECT account_id, address, freed_at FROM address
             WHERE organization_id = $1 AND account_id >= $2 AND account_id <= $3 ORDER BY account_id, address",
            params![organization, first, last],
            |row| Ok((row.get::<i64>("account_id")?, row.get("address")?, row.get::<Option<Millis>>("freed_at")?)),
        )
        .await?;
    for (account, address, freed_at) in addresses {
        let Some(state) = states.get_mut(&account) else { continue };
        match freed_at {
            None => state.addresses.push(address),
            Some(_) => state.retired.push((address, MOVED.to_owned())),
        }
    }
    let apps = tx
        .query_all(
            "SELECT account_id, id, digest, imap, pop, smtp, expires_at FROM app_password
             WHERE organization_id = $1 AND account_id >= $2 AND account_id <= $3 ORDER BY account_id, id",
            params![organization, first, last],
            |row| {
                let app = AppPassword {
                    id: row.get("id")?,
                    digest_hex: row.get("digest")?,
                    imap: row.get("imap")?,
                    pop: row.get("pop")?,
                    smtp: row.get("smtp")?,
                    expires_at: row.get("expires_at")?,
                };
                Ok((row.get::<i64>("account_id")?, app))
            },
        )
        .await?;
    for (account, app) in apps {
        if let Some(state) = states.get_mut(&account) {
            state.app_passwords.push(app);
        }
    }
    Ok(())
}

/// Whether a session of this mailbox, opened with this credential at this service (`imap`, `pop3`, …), may go on. A one-time password is no reason to end a session: which
/// sessions a reset ends is said by the generation.
pub async fn may_hold_session(
    tx: &mut Tx,
    mailbox: &str,
    credential: SessionCredential,
    service: &str,
    now: Millis,
) -> Result<bool> {
    let live = tx
        .query_opt(
            "SELECT a.organization_id, a.id, a.generation, p.password_phc, a.imap_off, a.pop_off FROM account a
             JOIN person p ON p.organization_id = a.organization_id AND p.id = a.person_id
             JOIN organization o ON o.id = a.organization_id
             LEFT JOIN domain d ON d.organization_id = a.organization_id AND d.name = a.primary_domain
             WHERE a.mailbox = $1 AND o.disabled IS NULL AND d.disabled IS NULL AND p.disabled IS NULL
               AND a.mail_disabled IS NULL",
            params![mailbox],
            |row| {
                let on = match service {
                    "imap" => row.get::<Option<&str>>("imap_off")?.is_none(),
                    "pop3" => row.get::<Option<&str>>("pop_off")?.is_none(),
                    _ => true,
                };
                let has_password = row.get::<Option<&str>>("password_phc")?.is_some();
                let generation = has_password.then(|| row.get::<i64>("generation")).transpose()?;
                Ok((on, row.get::<i64>("organization_id")?, row.get::<i64>("id")?, generation))
            },
        )
        .await?;
    let Some((true, organization, account, generation)) = live else { return Ok(false) };
    let number = match credential {
        SessionCredential::Generation(number) => return Ok(generation == Some(number)),
        SessionCredential::AppPassword(number) => number,
    };
    let found = tx
        .query_opt(
            "SELECT id FROM app_password
             WHERE organization_id = $1 AND id = $2 AND account_id = $3 AND (expires_at IS NULL OR expires_at > $4)",
            params![organization, number, account, now],
            |row| row.get::<i64>("id"),
        )
        .await?;
    Ok(found.is_some())
}

/// Whose mailbox that is, and on which domain.
pub async fn owner(tx: &mut Tx, mailbox: &str) -> Result<Option<(OrganizationId, String)>> {
    tx.query_opt(
        "SELECT organization_id, primary_domain FROM account WHERE mailbox = $1",
        params![mailbox],
        |row| Ok((row.get("organization_id")?, row.get("primary_domain")?)),
    )
    .await
}

/// Mail of a deleted user that stays on the mail servers.
#[derive(Debug, Clone)]
pub struct Retained {
    pub organization: OrganizationId,
    pub mailbox: String,
    pub address: String,
    pub deleted_at: Millis,
    pub keep_until: Millis,
}

/// The mailboxes of deleted users, the oldest first.
pub async fn retained(tx: &mut Tx) -> Result<Vec<Retained>> {
    tx.query_all(
        "SELECT organization_id, mailbox, address, deleted_at, keep_until FROM retained_mailbox
         ORDER BY deleted_at, account_id",
        params![],
        |row| {
            Ok(Retained {
                organization: row.get("organization_id")?,
                mailbox: row.get("mailbox")?,
                address: row.get("address")?,
                deleted_at: row.get("deleted_at")?,
                keep_until: row.get("keep_until")?,
            })
        },
    )
    .await
}

/// Forgets a retained mailbox, once its files are gone.
///
/// # Errors
/// `Stale` when it is not listed.
pub async fn forget_retained(tx: &mut Tx, mailbox: &str) -> Result<()> {
    tx.execute_one("DELETE FROM retained_mailbox WHERE mailbox = $1", params![mailbox]).await
}
