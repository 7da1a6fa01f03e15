//! How accounts stand for the mail servers, read from the database in pages: those that changed, or all. The
//! look-up files of this machine and those of hosts with an agent are both made from it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::ids::{AccountId, OrganizationId};
use crate::error::Result;
use crate::store;
use crate::store::engine::Tx;
use crate::store::mail_agents::EVERY_DOMAIN;
use crate::store::outbox::Touched;
use crate::store::projection::{Change, MailboxState};

/// Accounts read at a time.
const PAGE: i64 = 1000;
/// The same where each is read by itself.
const SINGLES: usize = 100;

/// The states now of whoever changed, or of everybody. Read to the end from one snapshot.
pub struct Walk {
    whole: std::vec::IntoIter<OrganizationId>,
    current: Option<(OrganizationId, i64)>,
    single: Vec<(OrganizationId, AccountId)>,
}

impl Walk {
    /// Those that changed, each once. One that is gone is told of by itself, also where the whole
    /// organization changed.
    pub fn of(changed: &[Touched]) -> Self {
        let whole = changed.iter().filter(|row| row.account.is_none());
        let whole: BTreeSet<_> = whole.map(|row| row.organization).collect();
        let single: BTreeSet<_> =
            changed.iter().filter_map(|row| Some((row.organization, row.account?))).collect();
        let mut single: Vec<_> = single.into_iter().collect();
        single.reverse();
        Self { whole: whole.into_iter().collect::<Vec<_>>().into_iter(), current: None, single }
    }

    /// Everybody.
    pub async fn of_all(tx: &mut Tx) -> Result<Self> {
        let all = store::organizations::all(tx).await?;
        let ids: Vec<_> = all.into_iter().map(|organization| organization.id).collect();
        Ok(Self { whole: ids.into_iter(), current: None, single: Vec::new() })
    }

    /// The next page, of one organization; `None` at the end. A page may be empty: however many organizations have
    /// nobody, whoever walks is never away for long.
    pub async fn next(&mut self, tx: &mut Tx) -> Result<Option<(OrganizationId, Vec<Change>)>> {
        let Some((zoid, after)) = self.current.or_else(|| self.whole.next().map(|zoid| (zoid, 0))) else {
            return self.next_single(tx).await;
        };
        let page = store::mailboxes::page(tx, zoid, after, PAGE).await?;
        self.current = page.last().map(|last| (zoid, last.account_id));
        let changes = page.into_iter().map(|state| Change::whole(state.account_id, Some(state)));
        Ok(Some((zoid, changes.collect())))
    }

    async fn next_single(&mut self, tx: &mut Tx) -> Result<Option<(OrganizationId, Vec<Change>)>> {
        let Some(&(zoid, _)) = self.single.last() else { return Ok(None) };
        let mut changes = Vec::new();
        while let Some(&(of, account)) = self.single.last()
            && of == zoid
            && changes.len() < SINGLES
        {
            self.single.pop();
            let state = store::mailboxes::one(tx, zoid, account).await?;
            changes.push(Change::whole(account.get(), state));
        }
        Ok(Some((zoid, changes)))
    }
}

/// The domains whose accounts a host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domains(Option<BTreeSet<String>>);

impl Domains {
    /// As they were written down; `EVERY_DOMAIN` is every one.
    pub fn new(names: &[String]) -> Self {
        Self((!names.iter().any(|name| name == EVERY_DOMAIN)).then(|| names.iter().cloned().collect()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Whether an account with one of these addresses is at home there.
    fn houses(&self, state: &MailboxState) -> bool {
        let at = |address: &String| address.rsplit_once('@').is_some_and(|(_, domain)| self.has(domain));
        self.0.is_none() || at(&state.primary) || state.addresses.iter().any(at)
    }
}

/// What one host is told: its own accounts, and what their organizations want when it is cut off.
pub struct ForHost {
    domains: Arc<Domains>,
    cut_off: BTreeMap<OrganizationId, Option<i64>>,
}

impl ForHost {
    pub fn new(domains: Arc<Domains>) -> Self {
        Self { domains, cut_off: BTreeMap::new() }
    }

    /// An account that is not the host's is told of as gone: it may have been there before.
    pub async fn adapt(&mut self, tx: &mut Tx, zoid: OrganizationId, changes: &mut [Change]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let minutes = match self.cut_off.entry(zoid) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let organization = store::organizations::load(tx, zoid).await?;
                *unknown.insert(organization.and_then(|organization| organization.policy.cut_off()))
            }
        };
        for change in changes {
            change.state = change.state.take().filter(|state| self.domains.houses(state));
            if let Some(state) = &mut change.state {
                state.cut_off_minutes = minutes;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_every_domain() {
        let names = |all: &[&str]| Domains::new(&all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(names(&["a.example", "*"]).has("b.example"));
        let one = names(&["a.example"]);
        assert!(one.has("a.example") && !one.has("b.example") && !one.has("sub.a.example"));
    }
}
