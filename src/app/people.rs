//! People as those see them who look after them: found by any part of a name or address, and one of
//! them with everything that a help desk asks about.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::call::{Caller, authenticate};
use crate::app::change::Ask;
use crate::app::change::plan::{self, names};
use crate::app::web_sessions;
use crate::domain::account::Account;
use crate::domain::actor::Actor;
use crate::domain::email_address::DomainName;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{OrganizationId, UserId, no_such_account};
use crate::domain::rights::{self, Forms, Names, Route, View};
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
pub use crate::store::audit::AuditRow;
use crate::store::engine::Tx;
pub use crate::store::lists::Listed;
pub use crate::store::people::Among;
use crate::store::people::{self, AT_ONCE};
pub use crate::store::web_sessions::WebSession;

/// People on one page.
pub const PAGE: usize = AT_ONCE;
/// How many runs of ids one page looks through, where most of what is found does not belong on it.
const MOST_RUNS: usize = 8;
/// Most letters of a term that count.
const LONGEST_TERM: usize = 100;
/// Letters or digits in a row by which any part of a text is found.
const RUN: usize = 3;
/// Entries of a person's history that are shown.
const HISTORY: i64 = 25;

/// Who is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Part of a name or address, a zuid or an accountId; empty for everybody.
    pub term: String,
    pub among: Among,
    /// Where an earlier page ended (`Found::next`); 0 for the first.
    pub after: i64,
}

/// A page of people.
#[derive(Debug, Clone)]
pub struct Found {
    pub people: Vec<Listed>,
    /// Where the next page begins, if there may be more.
    pub next: Option<i64>,
    /// The term was too short to look for.
    pub too_short: bool,
    /// How many people the organization has; `None` for those who do not see all of them.
    pub in_all: Option<i64>,
    /// Whether the caller may make new ones.
    pub may_create: bool,
}

/// How a term finds people.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Everybody,
    Number(i64),
    /// Anywhere in names and addresses.
    Text(String),
    /// At the beginning of an address.
    Start(String),
}

impl Way {
    fn of(term: &str) -> Self {
        let term: String = term.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let term: String = term.chars().take(LONGEST_TERM).collect();
        if let Some(number) = term.parse().ok().filter(|number| Handle::of(*number).is_some()) {
            return Self::Number(number);
        }
        // Addresses are kept with the domain's A-label.
        let term = match term.split_once('@') {
            Some((local, domain)) if !domain.is_ascii() => match DomainName::parse(domain) {
                Ok(domain) => format!("{local}@{domain}"),
                Err(_) => term,
            },
            Some(_) | None => term,
        };
        let runs = term.split(|c: char| !c.is_alphanumeric()).map(|run| run.chars().count());
        match (runs.max().unwrap_or(0), term.chars().count()) {
            // Two letters at the edge of a word are three signs for an index, too.
            (RUN.., _) | (2, 4..) => Self::Text(term),
            (_, 0 | 1) => Self::Everybody,
            // No address begins with it.
            _ if !term.is_ascii() => Self::Everybody,
            _ => Self::Start(term),
        }
    }
}

/// Finds people, a page at a time.
///
/// # Errors
/// Rights.
pub async fn find(app: &App, caller: &Caller, zoid: OrganizationId, wanted: &Wanted) -> Result<Found> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_view(&actor, View::Users(zoid))?;
    let way = Way::of(&wanted.term);
    let limited = rights::help_desk(&actor).and_then(HelpDesk::domains);
    let mut found = Found {
        people: Vec::new(),
        next: None,
        too_short: way == Way::Everybody && !wanted.term.trim().is_empty(),
        in_all: match limited {
            None => Some(store::organizations::counts(&mut tx, zoid).await?.persons),
            Some(_) => None,
        },
        may_create: may_create(&actor, zoid).is_ok(),
    };
    if let (Way::Everybody, Among::Everybody, Some(domains)) = (&way, wanted.among, limited) {
        let most = count(PAGE);
        let mut page = store::lists::page_of_domains(&mut tx, zoid, domains, wanted.after, most + 1).await?;
        if page.len() > PAGE {
            page.truncate(PAGE);
            found.next = Some(wanted.after + most);
        }
        found.people = page;
        return Ok(found);
    }
    let mut after = wanted.after;
    for _ in 0..MOST_RUNS {
        let mut run = next_run(&mut tx, zoid, &way, wanted.among, after).await?;
        let more = run.len() > AT_ONCE;
        run.truncate(AT_ONCE);
        let Some((last, _)) = run.last() else { break };
        after = *last;
        let ids: Vec<UserId> = run.iter().map(|(_, user)| *user).collect();
        let keys: BTreeMap<UserId, i64> = run.into_iter().map(|(key, user)| (user, key)).collect();
        let mut listed = people::of_ids(&mut tx, zoid, &ids).await?;
        listed.sort_by_key(|one| keys.get(&one.account.user).copied());
        for one in listed {
            if is_among(&one, wanted.among) && rights::may_see(&actor, &one.account).is_ok() {
                if found.people.len() == PAGE {
                    // The page is full within this run: the next one begins after its last row.
                    let last = found.people.last().and_then(|last| keys.get(&last.account.user));
                    found.next = last.copied().or(found.next);
                    return Ok(found);
                }
                found.people.push(one);
            }
        }
        found.next = more.then_some(after);
        if !more || found.people.len() == PAGE {
            break;
        }
    }
    Ok(found)
}

/// The next ids with the keys that the order goes by; one more than a page shows tells of more.
async fn next_run(
    tx: &mut Tx,
    zoid: OrganizationId,
    way: &Way,
    among: Among,
    after: i64,
) -> Result<Vec<(i64, UserId)>> {
    let most = count(AT_ONCE) + 1;
    let by_id = |users: Vec<UserId>| users.into_iter().map(|user| (user.get(), user)).collect();
    Ok(match way {
        Way::Everybody => by_id(people::among(tx, zoid, among, after, most).await?),
        Way::Text(term) => by_id(people::matching(tx, zoid, term, after, most).await?),
        Way::Start(start) => people::starting(tx, zoid, start, after, most).await?,
        Way::Number(number) => {
            let Some(handle) = Handle::of(*number).filter(|_| after == 0) else { return Ok(Vec::new()) };
            let account = store::accounts::load(tx, zoid, handle).await?;
            account.map(|account| (account.user.get(), account.user)).into_iter().collect()
        }
    })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn is_among(one: &Listed, among: Among) -> bool {
    let switches = &one.account.switches;
    match among {
        Among::Everybody => true,
        Among::Disabled => switches.user_disabled.is_some(),
        Among::Blocked => switches.blocks_mail(),
        Among::OneTimePassword => {
            one.account.credential.kind == crate::domain::password::PasswordKind::OneTime
        }
        Among::NeverSignedIn => one.sign_ins.last.is_none(),
    }
}

fn may_create(actor: &Actor, zoid: OrganizationId) -> Result<()> {
    rights::form(actor, Route::Organization(zoid), Forms::AdminOnly, Operation::Create, None, Names::NOBODY)
        .map(drop)
}

/// These people, those of them that the caller may look at; at most a page.
///
/// # Errors
/// Rights.
pub async fn some(app: &App, caller: &Caller, zoid: OrganizationId, users: &[UserId]) -> Result<Vec<Listed>> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_view(&actor, View::Users(zoid))?;
    let mut listed = people::of_ids(&mut tx, zoid, users.get(..PAGE).unwrap_or(users)).await?;
    listed.retain(|one| rights::may_see(&actor, &one.account).is_ok());
    Ok(listed)
}

/// Whether the caller may make new users.
///
/// # Errors
/// Rights.
pub async fn may_add(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<()> {
    let mut tx = app.db.read().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    may_create(&actor, zoid)
}

/// One person with what belongs to the account.
#[derive(Debug, Clone)]
pub struct Overview {
    pub listed: Listed,
    /// Browsers that are signed in.
    pub sessions: Vec<WebSession>,
    /// The newest entries about the person, the newest first.
    pub history: Vec<AuditRow>,
    /// What people are called who appear in blocks and in the history.
    pub names: BTreeMap<UserId, String>,
    /// Why the caller may not do each of what was asked about; `None` for what is allowed.
    pub refused: Vec<Option<String>>,
}

/// One person, and which of the modes that `modes` makes for the account the caller may use on them.
///
/// # Errors
/// Rights; `NotFound`; what `modes` fails with.
pub async fn overview(
    app: &App,
    caller: &Caller,
    zoid: OrganizationId,
    user: UserId,
    modes: impl FnOnce(&Account) -> Result<Vec<AccountMode>>,
) -> Result<Overview> {
    let now = app.clock.now();
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, now).await?;
    rights::may_view(&actor, View::Users(zoid))?;
    let missing = || no_such_account(user.get());
    let listed = store::lists::one(&mut tx, zoid, Handle::User(user)).await?.ok_or_else(missing)?;
    let account = &listed.account;
    rights::may_see(&actor, account)?;
    let history = store::audit::newest(&mut tx, zoid, Some(user), HISTORY).await?;
    let refused = modes(account)?
        .iter()
        .map(|mode| may(&actor, zoid, account, mode).err().map(|error: Error| error.to_string()))
        .collect();
    Ok(Overview {
        sessions: store::web_sessions::of_person(&mut tx, zoid, user, now, now - web_sessions::idle(app))
            .await?,
        names: names_of(&mut tx, zoid, mentioned(account, &history)).await?,
        listed,
        history,
        refused,
    })
}

/// Whether the caller may use the mode on that account, as far as that can be said beforehand.
fn may(actor: &Actor, zoid: OrganizationId, account: &Account, mode: &AccountMode) -> Result<()> {
    let info = mode.info();
    let number = Some(account.user.get());
    let ask = Ask { route: Route::Organization(zoid), path: number, zuid: number, mode: mode.clone() };
    let named = names(actor, &ask);
    let form = rights::form(actor, ask.route, info.forms, info.operation, mode.verb(), named)?;
    plan::may(actor, form, mode, account)
}

/// Users who are named in blocks and entries.
fn mentioned(account: &Account, history: &[AuditRow]) -> BTreeSet<UserId> {
    let blocks = crate::domain::account::SwitchName::ALL.map(|name| account.switches.get(name).as_ref());
    let setters = blocks.into_iter().flatten().map(|block| block.by.clone());
    let actors = history.iter().filter_map(AuditRow::who);
    setters.chain(actors).filter_map(|who| who.user()).collect()
}

/// What these people are called: the display name, or the address of who has none.
pub(super) async fn names_of(
    tx: &mut Tx,
    zoid: OrganizationId,
    users: BTreeSet<UserId>,
) -> Result<BTreeMap<UserId, String>> {
    let mut names = BTreeMap::new();
    let users: Vec<UserId> = users.into_iter().collect();
    for some in users.chunks(AT_ONCE) {
        for one in people::of_ids(tx, zoid, some).await? {
            names.insert(one.account.user, one.account.called().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_finds_in_the_way_that_an_index_serves() {
        assert_eq!(Way::of("  "), Way::Everybody);
        assert_eq!(Way::of("m"), Way::Everybody);
        assert_eq!(Way::of("Mi"), Way::Start("mi".to_owned()));
        assert_eq!(Way::of("\u{674e}\u{660e}"), Way::Everybody);
        assert_eq!(Way::of("Mia@B\u{fc}cher.example"), Way::Text("mia@xn--bcher-kva.example".to_owned()));
        assert_eq!(Way::of("j.d"), Way::Start("j.d".to_owned()));
        assert_eq!(Way::of(" MIA  ada "), Way::Text("mia ada".to_owned()));
        assert_eq!(Way::of("1000000000001"), Way::Number(1_000_000_000_001));
        assert_eq!(Way::of("123"), Way::Text("123".to_owned()));
        assert_eq!(Way::of("ia@zy"), Way::Text("ia@zy".to_owned()));
    }
}
