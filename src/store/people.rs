//! Finding people: by any part of a name or address, by the state they are in. Ids are found first,
//! by an index; what a list shows of them is read afterwards.

use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{OrganizationId, UserId};
use crate::error::{Error, Result};
use crate::store::accounts::select_listed;
use crate::store::addresses;
use crate::store::engine::{Tx, Value, params};
use crate::store::lists::{Listed, read, with_aliases};

/// The people of a list that are in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    Everybody,
    Disabled,
    /// The mail account, incoming or outgoing mail is switched off.
    Blocked,
    /// With a one-time password that was not used yet.
    OneTimePassword,
    NeverSignedIn,
}

/// How many people one call of `of_ids` reads.
pub const AT_ONCE: usize = 25;

/// What somebody is found by: names and addresses, in lower case.
fn text_of(account: &Account) -> String {
    let profile = &account.profile;
    let names = [&profile.first_name, &profile.last_name, &profile.display_name].map(String::as_str);
    let addresses = account.addresses().map(EmailAddress::as_str);
    names.into_iter().chain(addresses).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The states that lists ask for, of which the rows themselves have no index: it would be written at
/// every switch.
fn states(account: &Account) -> [(&'static str, bool); 2] {
    let switches = &account.switches;
    [("disabled", switches.user_disabled.is_some()), ("blocked", switches.blocks_mail())]
}

fn put_state(tx: &mut Tx, account: &Account, state: &'static str) -> Result<()> {
    tx.send(
        "INSERT INTO person_state (organization_id, person_id, state) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id, person_id, state) DO NOTHING",
        params![account.organization, account.user, state],
    )
}

pub(super) fn insert(tx: &mut Tx, account: &Account) -> Result<()> {
    for (state, _) in states(account).into_iter().filter(|(_, is)| *is) {
        put_state(tx, account, state)?;
    }
    tx.send(
        "INSERT INTO person_text (rowid, organization_id, text) VALUES ($1, $2, $3)",
        params![account.user, account.organization, &text_of(account)],
    )
}

/// Writes only what is new.
pub(super) fn save(tx: &mut Tx, before: &Account, after: &Account) -> Result<()> {
    for ((state, was), (_, is)) in states(before).into_iter().zip(states(after)) {
        match (was, is) {
            (false, true) => put_state(tx, after, state)?,
            (true, false) => tx.send(
                "DELETE FROM person_state WHERE organization_id = $1 AND person_id = $2 AND state = $3",
                params![after.organization, after.user, state],
            )?,
            (false, false) | (true, true) => {}
        }
    }
    let text = text_of(after);
    if text_of(before) == text {
        return Ok(());
    }
    tx.send(
        "UPDATE person_text SET text = $3 WHERE rowid = $2 AND organization_id = $1",
        params![after.organization, after.user, &text],
    )
}

pub(super) fn delete(tx: &mut Tx, account: &Account) -> Result<()> {
    tx.send(
        "DELETE FROM person_text WHERE rowid = $2 AND organization_id = $1",
        params![account.organization, account.user],
    )
}

/// People in a state, by id, after that id.
pub async fn among(
    tx: &mut Tx,
    organization: OrganizationId,
    among: Among,
    after: i64,
    most: i64,
) -> Result<Vec<UserId>> {
    let sql = match among {
        Among::Everybody => {
            "SELECT id FROM person WHERE organization_id = $1 AND id > $2 ORDER BY id LIMIT $3"
        }
        Among::Disabled => {
            "SELECT person_id AS id FROM person_state
             WHERE organization_id = $1 AND state = 'disabled' AND person_id > $2 ORDER BY person_id LIMIT $3"
        }
        Among::Blocked => {
            "SELECT person_id AS id FROM person_state
             WHERE organization_id = $1 AND state = 'blocked' AND person_id > $2 ORDER BY person_id LIMIT $3"
        }
        Among::OneTimePassword => {
            "SELECT id FROM person WHERE organization_id = $1 AND id > $2 AND password_kind = 'one_time'
             ORDER BY id LIMIT $3"
        }
        Among::NeverSignedIn => {
            "SELECT id FROM person WHERE organization_id = $1 AND id > $2 AND signed_in_at IS NULL ORDER BY id LIMIT $3"
        }
    };
    tx.query_all(sql, params![organization, after, most], |row| row.get("id")).await
}

/// People whose text has `term` in it, by id, after that id. The term is in lower case and has three
/// letters or digits in a row, or this walks over everybody.
pub async fn matching(
    tx: &mut Tx,
    organization: OrganizationId,
    term: &str,
    after: i64,
    most: i64,
) -> Result<Vec<UserId>> {
    // What a tenth of all people have is found sooner in their order than by the index.
    tx.plan_for_values().await?;
    // The first pattern is for the index, the second is exact.
    tx.query_all(
        "SELECT rowid AS id FROM person_text
         WHERE organization_id = $1 AND text LIKE $2 AND text LIKE $3 ESCAPE '!' AND rowid > $4
         ORDER BY rowid LIMIT $5",
        params![organization, &format!("%{}%", rough(term)), &format!("%{}%", escaped(term)), after, most],
        |row| row.get("id"),
    )
    .await
}

/// What the index is asked for. It takes no escapes: any letter stands for what would be one. What
/// follows an @ is in almost every text, and would be read in vain.
fn rough(term: &str) -> String {
    let local = term.split_once('@').map(|(local, _)| local).filter(|local| local.chars().count() >= 2);
    let kept = local.map_or(term, |local| &term[..=local.len()]);
    kept.chars().map(|c| if matches!(c, '%' | '_' | '\\') { '_' } else { c }).collect()
}

fn escaped(term: &str) -> String {
    term.chars()
        .flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain(std::iter::once(c)))
        .collect()
}

/// People with an address that begins with `start`, two letters at least, by account after that
/// account; each account with its person.
pub async fn starting(
    tx: &mut Tx,
    organization: OrganizationId,
    start: &str,
    after: i64,
    most: i64,
) -> Result<Vec<(i64, UserId)>> {
    let two: String = start.chars().take(2).collect();
    tx.query_all(
        "SELECT DISTINCT d.account_id, a.person_id FROM address d
         JOIN account a ON a.organization_id = d.organization_id AND a.id = d.account_id
         WHERE d.organization_id = $1 AND substr(d.address, 1, 2) = $2 AND d.address LIKE $3 ESCAPE '!'
           AND d.account_id > $4 AND d.freed_at IS NULL
         ORDER BY d.account_id LIMIT $5",
        params![organization, &two, &format!("{}%", escaped(start)), after, most],
        |row| Ok((row.get("account_id")?, row.get("person_id")?)),
    )
    .await
}

/// These people as a list shows them, in order of their ids; at most `AT_ONCE`.
pub async fn of_ids(tx: &mut Tx, organization: OrganizationId, people: &[UserId]) -> Result<Vec<Listed>> {
    if people.len() > AT_ONCE {
        return Err(Error::internal("too many people at once"));
    }
    // One text for any number: places that are left over name nobody.
    let mut values = vec![Value::from(organization)];
    values.extend((0..AT_ONCE).map(|place| Value::from(people.get(place).map_or(0, |user| user.get()))));
    let found = tx
        .query_all(
            select_listed!(
                "",
                "WHERE p.organization_id = $1
                   AND p.id IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                                $21, $22, $23, $24, $25, $26)
                 ORDER BY p.id"
            ),
            &values,
            read,
        )
        .await?;
    let owned = addresses::aliases(
        tx,
        "SELECT d.account_id, d.address, d.created_at FROM account a CROSS JOIN address d
         WHERE d.organization_id = a.organization_id AND d.account_id = a.id AND a.organization_id = $1
           AND a.person_id IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                               $21, $22, $23, $24, $25, $26)
           AND d.freed_at IS NULL AND d.address <> a.primary_address",
        &values,
    )
    .await?;
    Ok(with_aliases(found, owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_with_a_meaning_are_escaped() {
        assert_eq!(escaped("50%_off!"), "50!%!_off!!");
        assert_eq!(rough("50%_off"), "50__off");
    }

    #[test]
    fn a_domain_that_everybody_has_is_not_what_the_index_looks_for() {
        assert_eq!(rough("ia@zylker.example"), "ia@");
        assert_eq!(rough("a@zylker.example"), "a@zylker.example");
        assert_eq!(rough("@zylker"), "@zylker");
    }
}
