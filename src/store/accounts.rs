//! Accounts: a person with a mailbox and its addresses, loaded and saved as one.

use crate::clock::Millis;
use crate::domain::account::{Account, Credential, Profile, Switches};
use crate::domain::app_password::{AppPassword, Protocols};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{AccountId, AppPasswordId, OrganizationId, UserId};
use crate::domain::password::PasswordHash;
use crate::error::{Error, Result};
use crate::store::engine::{Row, Tx, params};
use crate::store::{addresses, from_json, lists, opt_from_json, opt_to_json, people, role, stored, to_json};

/// The columns of an account without its addresses, and `$more`; `person p` joined with `account a`.
macro_rules! select_account {
    ($more:expr, $($rest:expr),+) => {
        concat!(
            "SELECT p.organization_id, p.id AS person_id, p.ordinal, p.version, p.role, p.help_desk, p.first_name, p.last_name,
                    p.display_name, p.profile, p.password_phc, p.password_kind, p.password_until,
                    p.password_at, p.password_history, p.session_epoch, p.self_renames,
                    p.disabled AS user_disabled, p.expires_at, p.created_at,
                    a.id AS account_id, a.mailbox, a.primary_address, a.generation,
                    a.mail_disabled, a.incoming_blocked, a.outgoing_blocked, a.imap_off, a.pop_off",
            $more,
            "
             FROM person p
             JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id
             ",
            $($rest),+
        )
    };
}
pub(super) use select_account;

/// As [`select_account!`], with what is known of the person's sign-ins.
macro_rules! select_listed {
    ($more:literal, $($rest:literal),+) => {
        $crate::store::accounts::select_account!(
            concat!(
                ", s.last_at, s.last_door,
                 (EXISTS (SELECT 1 FROM totp t WHERE t.organization_id = p.organization_id AND t.person_id = p.id
                                                 AND t.confirmed_at IS NOT NULL)
                  OR EXISTS (SELECT 1 FROM passkey k WHERE k.organization_id = p.organization_id
                                                       AND k.person_id = p.id)) AS second_factor",
                $more
            ),
            "LEFT JOIN sign_in s ON s.organization_id = p.organization_id AND s.person_id = p.id ",
            $($rest),+
        )
    };
}
pub(super) use select_listed;

/// How a caller names a user inside an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handle {
    User(UserId),
    Account(AccountId),
}

impl Handle {
    /// A number in a path or body: a zuid or an accountId, by its range.
    pub fn of(number: i64) -> Option<Self> {
        UserId::new(number).map(Self::User).or_else(|| AccountId::new(number).map(Self::Account))
    }
}

/// An account with its addresses, a row for each, by columns of `p` or `a`: one way through the trees of the
/// database leads to all of it. `$select` says what else is asked for.
macro_rules! select_owner {
    ($select:ident, $key:literal) => {
        $select!(
            ", d.address AS owned, d.created_at AS owned_since,
             EXISTS (SELECT 1 FROM app_password w
                     WHERE w.organization_id = a.organization_id AND w.account_id = a.id) AS has_app_passwords",
            "LEFT JOIN address d
                ON d.organization_id = a.organization_id AND d.account_id = a.id AND d.freed_at IS NULL
             WHERE ",
            $key
        )
    };
}

/// The app passwords of an account, by a column of `account a`.
macro_rules! select_app_passwords {
    ($key:literal) => {
        concat!(
            "SELECT w.id, w.name, w.digest, w.imap, w.pop, w.smtp, w.created_at, w.expires_at
             FROM account a
             JOIN app_password w ON w.organization_id = a.organization_id AND w.account_id = a.id
             WHERE ",
            $key,
            " ORDER BY w.created_at, w.id"
        )
    };
}

impl Handle {
    /// The number by which a question finds it.
    fn number(self) -> i64 {
        match self {
            Self::User(user) => user.get(),
            Self::Account(account) => account.get(),
        }
    }

    fn account(self) -> &'static str {
        match self {
            Self::User(_) => select_owner!(select_account, "p.organization_id = $1 AND p.id = $2"),
            Self::Account(_) => select_owner!(select_account, "a.organization_id = $1 AND a.id = $2"),
        }
    }

    /// The account with what is known of its owner's sign-ins.
    pub(super) fn listed(self) -> &'static str {
        match self {
            Self::User(_) => select_owner!(select_listed, "p.organization_id = $1 AND p.id = $2"),
            Self::Account(_) => select_owner!(select_listed, "a.organization_id = $1 AND a.id = $2"),
        }
    }

    fn app_passwords(self) -> &'static str {
        match self {
            Self::User(_) => select_app_passwords!("a.organization_id = $1 AND a.person_id = $2"),
            Self::Account(_) => select_app_passwords!("a.organization_id = $1 AND a.id = $2"),
        }
    }
}

/// Queues the statements of [`load`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch(tx: &mut Tx, organization: OrganizationId, handle: Handle) {
    prefetch_owner(tx, organization, handle, handle.account());
}

/// Queues the statements of [`load_owner`].
pub(super) fn prefetch_owner(tx: &mut Tx, organization: OrganizationId, handle: Handle, sql: &'static str) {
    let params = params![organization, handle.number()];
    tx.prefetch(sql, params);
    tx.prefetch(handle.app_passwords(), params);
}

/// The account, or `None` where the organization has no such user.
pub async fn load(tx: &mut Tx, organization: OrganizationId, handle: Handle) -> Result<Option<Account>> {
    load_owner(tx, organization, handle, handle.account(), |_| Ok(())).await
}

/// The account by a [`select_owner!`]; `beside` reads from its first row what the statement asks for beside it.
pub(super) async fn load_owner(
    tx: &mut Tx,
    organization: OrganizationId,
    handle: Handle,
    sql: &'static str,
    mut beside: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<Option<Account>> {
    prefetch_owner(tx, organization, handle, sql);
    let params = params![organization, handle.number()];
    let (mut found, mut aliases, mut has_app_passwords) = (None, Vec::new(), false);
    tx.query_all(sql, params, |row| {
        let account = match &mut found {
            Some(account) => account,
            none => {
                has_app_passwords = row.get("has_app_passwords")?;
                beside(row)?;
                none.insert(read(row)?)
            }
        };
        match row.get::<Option<&str>>("owned")? {
            Some(owned) if owned != account.primary.as_str() => {
                aliases.push((row.get("owned_since")?, stored("address", EmailAddress::parse(owned))?));
            }
            Some(_) | None => {}
        }
        Ok(())
    })
    .await?;
    let Some(mut account) = found else { return Ok(None) };
    account.aliases = addresses::in_order(aliases);
    if has_app_passwords {
        account.app_passwords = tx.query_all(handle.app_passwords(), params, read_app_password).await?;
    }
    Ok(Some(account))
}

fn read_app_password(row: &Row<'_>) -> Result<AppPassword> {
    Ok(AppPassword {
        id: row.get("id")?,
        name: row.get("name")?,
        digest: row.get("digest")?,
        protocols: Protocols { imap: row.get("imap")?, pop: row.get("pop")?, smtp: row.get("smtp")? },
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    })
}

/// Reads an account from a row of `select_account!`; the aliases come separately.
pub(super) fn read(row: &Row<'_>) -> Result<Account> {
    let profile: Profile = from_json(row.get("profile")?)?;
    let history: Vec<String> = from_json(row.get("password_history")?)?;
    Ok(Account {
        organization: row.get("organization_id")?,
        user: row.get("person_id")?,
        id: row.get("account_id")?,
        version: row.get("version")?,
        role: role(row)?,
        help_desk: opt_from_json(row.get("help_desk")?)?,
        profile: Profile {
            first_name: row.get("first_name")?,
            last_name: row.get("last_name")?,
            display_name: row.get("display_name")?,
            ..profile
        },
        mailbox: row.get("mailbox")?,
        primary: stored("address", EmailAddress::parse(row.get("primary_address")?))?,
        aliases: Vec::new(),
        app_passwords: Vec::new(),
        credential: Credential {
            hash: row.get::<Option<&str>>("password_phc")?.map(password_hash).transpose()?,
            kind: stored("kind of password", row.get::<&str>("password_kind")?.parse())?,
            until: row.get("password_until")?,
            at: row.get("password_at")?,
            history: history.iter().map(|phc| password_hash(phc)).collect::<Result<_>>()?,
        },
        generation: row.get("generation")?,
        session_epoch: row.get("session_epoch")?,
        switches: Switches {
            user_disabled: opt_from_json(row.get("user_disabled")?)?,
            mail_disabled: opt_from_json(row.get("mail_disabled")?)?,
            incoming_blocked: opt_from_json(row.get("incoming_blocked")?)?,
            outgoing_blocked: opt_from_json(row.get("outgoing_blocked")?)?,
            imap_off: opt_from_json(row.get("imap_off")?)?,
            pop_off: opt_from_json(row.get("pop_off")?)?,
        },
        self_renames: from_json(row.get("self_renames")?)?,
        expires_at: row.get("expires_at")?,
        created_at: row.get("created_at")?,
        deleted: false,
    })
}

fn password_hash(phc: &str) -> Result<PasswordHash> {
    stored("password hash", PasswordHash::parse(phc))
}

fn history_json(account: &Account) -> Result<String> {
    to_json(&account.credential.history.iter().map(PasswordHash::as_phc).collect::<Vec<_>>())
}

/// Stores a new account with its primary address, at an ordinal of its own (`lists::take_ordinals`). The
/// address must have been claimed by the rules.
///
/// # Errors
/// `AddressTaken` when somebody else got the address meanwhile.
pub async fn insert(tx: &mut Tx, account: &Account, ordinal: i64) -> Result<()> {
    lists::count(tx, account.organization, ordinal, 1)?;
    insert_uncounted(tx, account, ordinal).await
}

/// As [`insert`], for who counts otherwise (or, to see what counting costs, not at all).
///
/// # Errors
/// As [`insert`].
pub async fn insert_uncounted(tx: &mut Tx, account: &Account, ordinal: i64) -> Result<()> {
    let organization = account.organization;
    tx.send(
        "INSERT INTO person (organization_id, id, ordinal, version, role, first_name, last_name, display_name,
                             profile, password_phc, password_kind, password_until, password_at,
                             password_history, session_epoch, self_renames, disabled, expires_at, created_at, help_desk)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        params![
            organization,
            account.user,
            ordinal,
            account.version,
            account.role.as_str(),
            &account.profile.first_name,
            &account.profile.last_name,
            &account.profile.display_name,
            &to_json(&account.profile)?,
            account.credential.hash.as_ref().map(PasswordHash::as_phc),
            account.credential.kind.as_str(),
            account.credential.until,
            account.credential.at,
            &history_json(account)?,
            account.session_epoch,
            &to_json(&account.self_renames)?,
            opt_to_json(account.switches.user_disabled.as_ref())?.as_deref(),
            account.expires_at,
            account.created_at,
            opt_to_json(account.help_desk.as_ref())?.as_deref(),
        ],
    )?;
    tx.send(
        "INSERT INTO account (organization_id, id, person_id, mailbox, primary_address, primary_domain, generation,
                              mail_disabled, incoming_blocked, outgoing_blocked, imap_off, pop_off, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            organization,
            account.id,
            account.user,
            &account.mailbox,
            account.primary.as_str(),
            account.primary.domain().as_str(),
            account.generation,
            opt_to_json(account.switches.mail_disabled.as_ref())?.as_deref(),
            opt_to_json(account.switches.incoming_blocked.as_ref())?.as_deref(),
            opt_to_json(account.switches.outgoing_blocked.as_ref())?.as_deref(),
            opt_to_json(account.switches.imap_off.as_ref())?.as_deref(),
            opt_to_json(account.switches.pop_off.as_ref())?.as_deref(),
            account.created_at,
        ],
    )?;
    addresses::take(tx, account, &account.primary, account.created_at).await?;
    for alias in &account.aliases {
        addresses::take(tx, account, alias, account.created_at).await?;
    }
    people::insert(tx, account)
}

/// Saves what differs between the two states of one account. Addresses that it no longer has are
/// kept for it for `address_kept` milliseconds.
///
/// # Errors
/// `Stale` when the account was saved by somebody else since it was loaded; `AddressTaken`.
pub async fn save(
    tx: &mut Tx,
    before: &Account,
    after: &Account,
    now: Millis,
    address_kept: Millis,
) -> Result<()> {
    save_person(tx, before, after)?;
    save_mailbox(tx, before, after)?;
    save_app_passwords(tx, before, after)?;
    people::save(tx, before, after)?;
    for address in after.addresses() {
        if !before.owns(address) {
            addresses::take(tx, after, address, now).await?;
        }
    }
    for address in before.addresses() {
        if !after.owns(address) {
            addresses::free(tx, before, address, now, now.saturating_add(address_kept))?;
        }
    }
    Ok(())
}

/// The person's row is written at every save: its version is the account's lock.
fn save_person(tx: &mut Tx, before: &Account, after: &Account) -> Result<()> {
    if (Account { switches: after.switches.clone(), ..before.clone() }) == *after {
        // Only switches differ (the common case of enable and disable): a small statement.
        return tx.send_one(
            "UPDATE person SET version = version + 1, disabled = $4
             WHERE organization_id = $1 AND id = $2 AND version = $3",
            params![
                after.organization,
                after.user,
                before.version,
                opt_to_json(after.switches.user_disabled.as_ref())?.as_deref()
            ],
        );
    }
    tx.send_one(
        "UPDATE person
         SET version = version + 1, role = $4, first_name = $5, last_name = $6, display_name = $7, profile = $8,
             password_phc = $9, password_kind = $10, password_until = $11, password_at = $12,
             password_history = $13, session_epoch = $14, self_renames = $15, disabled = $16, expires_at = $17,
             help_desk = $18
         WHERE organization_id = $1 AND id = $2 AND version = $3",
        params![
            after.organization,
            after.user,
            before.version,
            after.role.as_str(),
            &after.profile.first_name,
            &after.profile.last_name,
            &after.profile.display_name,
            &to_json(&after.profile)?,
            after.credential.hash.as_ref().map(PasswordHash::as_phc),
            after.credential.kind.as_str(),
            after.credential.until,
            after.credential.at,
            &history_json(after)?,
            after.session_epoch,
            &to_json(&after.self_renames)?,
            opt_to_json(after.switches.user_disabled.as_ref())?.as_deref(),
            after.expires_at,
            opt_to_json(after.help_desk.as_ref())?.as_deref(),
        ],
    )
}

fn save_mailbox(tx: &mut Tx, before: &Account, after: &Account) -> Result<()> {
    let same = Switches { user_disabled: before.switches.user_disabled.clone(), ..after.switches.clone() }
        == before.switches
        && before.primary == after.primary
        && before.generation == after.generation;
    if same {
        return Ok(());
    }
    if before.primary == after.primary {
        // The address stands in indexes, which SQLite writes anew for every column that a statement names.
        return tx.send_one(
            "UPDATE account
             SET generation = $3, mail_disabled = $4, incoming_blocked = $5, outgoing_blocked = $6, imap_off = $7,
                 pop_off = $8
             WHERE organization_id = $1 AND id = $2",
            params![
                after.organization,
                after.id,
                after.generation,
                opt_to_json(after.switches.mail_disabled.as_ref())?.as_deref(),
                opt_to_json(after.switches.incoming_blocked.as_ref())?.as_deref(),
                opt_to_json(after.switches.outgoing_blocked.as_ref())?.as_deref(),
                opt_to_json(after.switches.imap_off.as_ref())?.as_deref(),
                opt_to_json(after.switches.pop_off.as_ref())?.as_deref(),
            ],
        );
    }
    tx.send_one(
        "UPDATE account
         SET primary_address = $3, primary_domain = $4, generation = $5, mail_disabled = $6, incoming_blocked = $7,
             outgoing_blocked = $8, imap_off = $9, pop_off = $10
         WHERE organization_id = $1 AND id = $2",
        params![
            after.organization,
            after.id,
            after.primary.as_str(),
            after.primary.domain().as_str(),
            after.generation,
            opt_to_json(after.switches.mail_disabled.as_ref())?.as_deref(),
            opt_to_json(after.switches.incoming_blocked.as_ref())?.as_deref(),
            opt_to_json(after.switches.outgoing_blocked.as_ref())?.as_deref(),
            opt_to_json(after.switches.imap_off.as_ref())?.as_deref(),
            opt_to_json(after.switches.pop_off.as_ref())?.as_deref(),
        ],
    )
}

fn save_app_passwords(tx: &mut Tx, before: &Account, after: &Account) -> Result<()> {
    let (organization, account) = (after.organization, after.id);
    for app in before.app_passwords.iter().filter(|app| !after.app_passwords.contains(app)) {
        tx.send_one(
            "DELETE FROM app_password WHERE organization_id = $1 AND id = $2",
            params![organization, app.id],
        )?;
    }
    for app in after.app_passwords.iter().filter(|app| !before.app_passwords.contains(app)) {
        tx.send(
            "INSERT INTO app_password (organization_id, id, account_id, name, digest, imap, pop, smtp, created_at,
                                       expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            params![
                organization,
                app.id,
                account,
                &app.name,
                &app.digest,
                app.protocols.imap,
                app.protocols.pop,
                app.protocols.smtp,
                app.created_at,
                app.expires_at
            ],
        )?;
    }
    Ok(())
}

/// Deletes the account and everything that opens it. Its addresses stay kept for it, and it is
/// noted where its mail is.
pub async fn delete(
    tx: &mut Tx,
    account: &Account,
    now: Millis,
    address_kept: Millis,
    mail_kept: Millis,
) -> Result<()> {
    let (organization, person) = (account.organization, account.user);
    tx.send(
        "INSERT INTO retained_mailbox (organization_id, account_id, mailbox, address, deleted_at, keep_until)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            organization,
            account.id,
            &account.mailbox,
            account.primary.as_str(),
            now,
            now.saturating_add(mail_kept)
        ],
    )?;
    tx.send(
        "DELETE FROM app_password WHERE organization_id = $1 AND account_id = $2",
        params![organization, account.id],
    )?;
    for address in account.addresses() {
        addresses::free(tx, account, address, now, now.saturating_add(address_kept))?;
    }
    for statement in [
        "DELETE FROM access_token WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM refresh_token WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM grant_code WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM connection WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM connection WHERE organization_id = $1 AND client_id IN (
             SELECT id FROM client WHERE organization_id = $1 AND owner_id = $2)",
        "DELETE FROM client WHERE organization_id = $1 AND owner_id = $2",
        "DELETE FROM sign_in WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM sign_in_place WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM web_session WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM totp WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM passkey WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM recovery_code WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM recovery_address WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM recovery_link WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM person_state WHERE organization_id = $1 AND person_id = $2",
        "DELETE FROM account WHERE organization_id = $1 AND person_id = $2",
    ] {
        tx.send(statement, params![organization, person])?;
    }
    people::delete(tx, account)?;
    let ordinal = tx
        .query_opt(
            "DELETE FROM person WHERE organization_id = $1 AND id = $2 AND version = $3 RETURNING ordinal",
            params![organization, person, account.version],
            |row| row.get::<i64>("ordinal"),
        )
        .await?
        .ok_or(Error::Stale)?;
    lists::count(tx, account.organization, ordinal, -1)
}

/// How many enabled super administrators the organization has besides this one.
pub async fn other_super_admins(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<i64> {
    tx.query_one(
        "SELECT COUNT(*) AS others FROM person
         WHERE organization_id = $1 AND role = 'super_admin' AND disabled IS NULL AND id <> $2",
        params![organization, user],
        |row| row.get("others"),
    )
    .await
}

/// A user whose term has ended.
#[derive(Debug, Clone, Copy)]
pub struct Expired {
    pub organization: OrganizationId,
    pub user: UserId,
    pub at: Millis,
}

/// Users whose term has ended and who are not disabled, by the end of the term, after the one given.
pub async fn expired(
    tx: &mut Tx,
    now: Millis,
    after: Option<(Millis, UserId)>,
    most: usize,
) -> Result<Vec<Expired>> {
    let (at, user) = after.map_or((i64::MIN, 0), |(at, user)| (at, user.get()));
    tx.query_all(
        "SELECT organization_id, id, expires_at FROM person
         WHERE expires_at <= $1 AND disabled IS NULL AND (expires_at > $2 OR (expires_at = $2 AND id > $3))
         ORDER BY expires_at, id LIMIT $4",
        params![now, at, user, i64::try_from(most).unwrap_or(i64::MAX)],
        |row| {
            Ok(Expired {
                organization: row.get("organization_id")?,
                user: row.get("id")?,
                at: row.get("expires_at")?,
            })
        },
    )
    .await
}

/// App passwords whose time has ended, and whose they are.
pub async fn expired_app_passwords(
    tx: &mut Tx,
    now: Millis,
    most: usize,
) -> Result<Vec<(OrganizationId, UserId, AppPasswordId)>> {
    tx.query_all(
        "SELECT p.organization_id, a.person_id, p.id FROM app_password p
         JOIN account a ON a.organization_id = p.organization_id AND a.id = p.account_id
         WHERE p.expires_at <= $1 ORDER BY p.expires_at, p.id LIMIT $2",
        params![now, i64::try_from(most).unwrap_or(i64::MAX)],
        |row| Ok((row.get("organization_id")?, row.get("person_id")?, row.get("id")?)),
    )
    .await
}

/// Users whose one-time password is still there although its time has ended.
pub async fn expired_one_time_passwords(
    tx: &mut Tx,
    now: Millis,
    most: usize,
) -> Result<Vec<(OrganizationId, UserId)>> {
    tx.query_all(
        "SELECT organization_id, id FROM person WHERE password_until <= $1 ORDER BY password_until, id LIMIT $2",
        params![now, i64::try_from(most).unwrap_or(i64::MAX)],
        |row| Ok((row.get("organization_id")?, row.get("id")?)),
    )
    .await
}
