//! People changing their own password: the door that a one-time password opens.

use secrecy::{ExposeSecret, SecretString};

use crate::app::App;
use crate::app::call::Context;
use crate::app::change::plan::Plan;
use crate::app::change::{Done, Pass, Rules, store_plan, transact};
use crate::app::journal::Stamp;
use crate::app::throttle::{self, Subject};
use crate::app::{factors, own, recovery, verifier};
use crate::clock::Millis;
use crate::domain::account::{Account, Ends, NewPassword, Transition};
use crate::domain::effect::Notice;
use crate::domain::ids::{ChangeId, OrganizationId};
use crate::domain::password::{Password, PasswordHash, PasswordKind};
use crate::domain::place::place;
use crate::domain::secret::{Fingerprint, Secret, new_one_time_password};
use crate::domain::switch::Hand;
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::throttle::take_back;

/// A person's wish for a new password.
pub struct OwnChange {
    pub address: String,
    /// The current one, permanent or one-time; `None` where what was sent can be none.
    pub password: Option<Password>,
    pub new_password: Password,
    /// End tokens, web sessions and the mail sessions of the old password.
    pub end_everything: bool,
    pub factor: Factor,
}

/// How somebody with a second factor has shown it.
pub enum Factor {
    /// With a code of it, as it was sent.
    Typed(Option<SecretString>),
    /// When the session began.
    InSession,
}

/// Changes the own password; a one-time password is consumed by it. Answers the account as the change left it.
///
/// # Errors
/// As [`run`].
pub async fn change(app: &App, context: &Context, wish: OwnChange) -> Result<Account> {
    changed(run(app, context, wish).await?).map(|(_, account)| account)
}

/// The change, and the account as it left it.
fn changed(mut done: Done) -> Result<(ChangeId, Account)> {
    let change = done.change.zip(done.accounts.pop());
    change.ok_or_else(|| Error::internal("a new password is always a change"))
}

/// A one-time password to read out or copy, as long as the organization wants it.
///
/// # Errors
/// The database's.
pub async fn one_time(app: &App, organization: OrganizationId) -> Result<Secret> {
    let at_least = one_time_length(app, organization).await?;
    Ok(app.random.with(|rng| new_one_time_password(rng, at_least)))
}

/// The fewest characters that the organization wants a one-time password to have.
///
/// # Errors
/// The database's.
pub async fn one_time_length(app: &App, organization: OrganizationId) -> Result<usize> {
    let home = store::organizations::load(&mut *app.db.read().await?, organization).await?;
    Ok(home.map_or(0, |home| home.policy.password.one_time_min_length))
}

/// Changes the own password, or says in a dry run what that would do. The current one is verified
/// in both; nothing is consumed by a dry run.
///
/// # Errors
/// `BadCredentials`; `BadPassword` for the new one, also for the same one again.
pub async fn run(app: &App, context: &Context, wish: OwnChange) -> Result<Done> {
    let known = verifier::verify(app, &wish.address, wish.password.as_ref(), context.source).await?.account;
    if wish.password.is_some_and(|current| current.expose() == wish.new_password.expose()) {
        return Err(same_again());
    }
    let typed = |code: &SecretString| !code.expose_secret().is_empty();
    if matches!(&wish.factor, Factor::Typed(code) if !code.as_ref().is_some_and(typed)) {
        demand_factor(app, context, &known, None).await?;
    }
    // A code that was typed is looked at last, so that none is spent on a password that is refused, or that there is no
    // time to hash.
    let counted = match &wish.factor {
        Factor::Typed(Some(_)) if !context.dry_run => Some(Candidate::count(app, &known).await?),
        Factor::Typed(_) | Factor::InSession => None,
    };
    let candidate = fits(app, context, &known, &wish.new_password, counted).await?;
    let new = hashed(app, context, &wish.new_password).await?;
    if let Factor::Typed(code) = &wish.factor {
        demand_factor(app, context, &known, code.as_ref()).await?;
    }
    let ends = if wish.end_everything { Ends::OldPassword } else { Ends::Nothing };
    replace(app, context, known, new, Way::own(ends, candidate)).await
}

/// Who has a second factor shows it before the password changes: a password alone must not open the
/// mail of somebody who protects the account with more.
///
/// # Errors
/// `Forbidden` without a code; as `factors::prove`.
async fn demand_factor(
    app: &App,
    context: &Context,
    known: &Account,
    code: Option<&SecretString>,
) -> Result<()> {
    if !factors::has_any(app, known).await? {
        return Ok(());
    }
    let typed = code.map_or("", |code| code.expose_secret());
    if typed.is_empty() {
        return Err(Error::Forbidden(
            "this account has a second factor; send its current code, or a recovery code, in the parameter code, or sign in to the web page"
                .to_owned(),
        ));
    }
    // A code is good once: a dry run leaves it alone.
    if context.dry_run { Ok(()) } else { factors::prove(app, context, known, typed).await }
}

/// Replaces the one-time password of somebody who has just proved to know it, in the session of the context, which
/// must still be there to choose with. Answers the account as the change left it.
///
/// # Errors
/// `BadCredentials` when `known` is no longer how the account stands; `BadPassword`; `TooMany` for this person.
pub async fn choose(
    app: &App,
    context: &Context,
    known: Account,
    new: &Password,
) -> Result<(ChangeId, Account)> {
    refuse_the_same(app, &known, new).await?;
    let candidate = fits(app, context, &known, new, None).await?;
    let new = hashed(app, context, new).await?;
    let way = Way { in_session: true, ..Way::own(Ends::OldPassword, candidate) };
    changed(replace(app, context, known, new, way).await?)
}

async fn refuse_the_same(app: &App, known: &Account, new: &Password) -> Result<()> {
    match &known.credential.hash {
        Some(hash) if app.hasher.verify(new, hash).await? => Err(same_again()),
        Some(_) | None => Ok(()),
    }
}

/// Replaces a forgotten password, and spends the link that was mailed for it in the same transaction.
///
/// # Errors
/// As `choose`; `TooMany` for this person; `Forbidden` or what `factors::prove` refuses where a second factor is wanted.
pub(super) async fn recover(
    app: &App,
    context: &Context,
    known: Account,
    new: &Password,
    code: Option<&SecretString>,
    link: Fingerprint,
) -> Result<ChangeId> {
    // Whoever reads the letters must not find out by trying what the password is.
    let counted = Candidate::count(app, &known).await?;
    refuse_the_same(app, &known, new).await?;
    let candidate = fits(app, context, &known, new, Some(counted)).await?;
    let new = hashed(app, context, new).await?;
    demand_factor(app, context, &known, code).await?;
    let (notice, ends) = (Notice::PasswordRecovered, Ends::OldPassword);
    let way = Way { notice, ends, link: Some(link), in_session: false, candidate };
    changed(replace(app, context, known, new, way).await?).map(|(change, _)| change)
}

/// A new password that is tried. Its refusal may tell of passwords that were used, so no more may be tried than at a
/// sign-in, by whoever it is: each counts until the password was really changed, which its owner is told. Whoever
/// stops waiting before that has used up the try.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    subject: Subject,
    /// The end of the window that it counts in.
    until: Millis,
}

impl Candidate {
    /// # Errors
    /// `TooMany`.
    pub(super) async fn count(app: &App, known: &Account) -> Result<Self> {
        let (limits, now) = (app.config.throttle.clone(), app.clock.now());
        let subject = Subject::candidate(known.id);
        let count = async move |tx: &mut Tx| {
            let (most, window) = (limits.wrong_per_account, limits.window());
            let until = throttle::count(tx, &subject, most, window, now).await?;
            Ok(Self { subject: subject.clone(), until })
        };
        app.db.write(count).await
    }

    /// In the transaction that changes the password.
    pub(super) async fn take_back(&self, tx: &mut Tx) -> Result<()> {
        take_back(tx, self.subject.as_str(), self.until).await
    }
}

/// In which way a password is replaced by its owner.
struct Way {
    notice: Notice,
    ends: Ends,
    /// The link that is spent by it.
    link: Option<Fingerprint>,
    /// A session that a one-time password began is all there is to prove it.
    in_session: bool,
    /// How it was counted, where it was.
    candidate: Option<Candidate>,
}

impl Way {
    /// A self change leaves app passwords alone: the person knows where they are typed.
    fn own(ends: Ends, candidate: Option<Candidate>) -> Self {
        Self { notice: Notice::PasswordChanged, ends, link: None, in_session: false, candidate }
    }
}

fn verb(recovered: bool) -> &'static str {
    if recovered { "recoverPassword" } else { "changeOwnPassword" }
}

fn same_again() -> Error {
    Error::BadPassword("the new password is the old one; choose another one".to_owned())
}

/// Whether the policy takes the password. A dry run does not compare it with former ones: it would tell whoever asks
/// often enough what these are, and nobody would notice. Otherwise it is counted before that, unless it was `counted`
/// already; the answer says how it is counted.
async fn fits(
    app: &App,
    context: &Context,
    known: &Account,
    new: &Password,
    counted: Option<Candidate>,
) -> Result<Option<Candidate>> {
    let organization = {
        let mut tx = app.db.read().await?;
        store::organizations::load(&mut tx, known.organization).await?.ok_or(Error::BadCredentials)?
    };
    let policy = &organization.policy.password;
    policy.check(new, PasswordKind::Permanent, &known.personal_words())?;
    let mut former = known.credential.history.iter().take(policy.remembered()).peekable();
    if context.dry_run || former.peek().is_none() {
        return Ok(counted);
    }
    let counted = match counted {
        Some(counted) => counted,
        None => Candidate::count(app, known).await?,
    };
    refuse_remembered(app, new, former).await?;
    Ok(Some(counted))
}

/// Refuses a password that one of these hashes is of; each costs as much as a sign-in. The words are those of the
/// API's documents.
///
/// # Errors
/// `BadPassword`.
pub(super) async fn refuse_remembered<'a>(
    app: &App,
    new: &Password,
    hashes: impl Iterator<Item = &'a PasswordHash>,
) -> Result<()> {
    for hash in hashes {
        if app.hasher.verify(new, hash).await? {
            return Err(Error::BadPassword(
                "Password present in the password history; choose another one".to_owned(),
            ));
        }
    }
    Ok(())
}

/// The new password as it will be stored; a dry run costs no hash.
async fn hashed(app: &App, context: &Context, new: &Password) -> Result<NewPassword> {
    let kind = PasswordKind::Permanent;
    if context.dry_run {
        return Ok(NewPassword::rehearsed(kind));
    }
    Ok(NewPassword { hash: app.hasher.hash(new, app.random.salt()).await?, kind })
}

/// Stores a new permanent password that fits, provided the account is still as `known`.
async fn replace(app: &App, context: &Context, known: Account, new: NewPassword, way: Way) -> Result<Done> {
    let Way { notice, ends, link, in_session, candidate } = way;
    let stamp = Stamp::new(app, context, verb(link.is_some())).await?;
    let (inner, now, rules) = (context.clone(), stamp.at, Rules::of(app));
    transact(app, context, Pass::default(), stamp, async move |tx| {
        let handle = Handle::Account(known.id);
        let before = store::accounts::load(tx, known.organization, handle).await?;
        let before = before.ok_or(Error::BadCredentials)?;
        let organization = store::organizations::load(tx, known.organization).await?;
        let organization = organization.ok_or(Error::BadCredentials)?;
        // The password that was verified must still be the one that opens the account: of many
        // parallel uses of one one-time password, exactly one gets through.
        let same = before.credential == known.credential;
        let open = before.switches.user_disabled.is_none() && organization.disabled.is_none();
        if !same || !open || before.credential.is_over(now) {
            return Err(Error::BadCredentials);
        }
        // A second factor that was set up since has ended the session.
        if in_session {
            let held = own::owner(tx, &inner, &[Stage::ChoosePassword], now).await;
            held.map_err(|error| if let Error::BadToken = error { Error::BadCredentials } else { error })?;
        }
        if let Some(link) = &link {
            // Decided once more: the person may have become an administrator, or the address another one.
            let good = recovery::good_link(tx, recovery::Purpose::Password, link, now).await?;
            let theirs = good.is_some_and(|(_, account)| account.id == before.id);
            if !theirs || !store::recovery::use_link(tx, link, now).await? {
                return Err(Error::BadCredentials);
            }
        }
        let actor = own::actor(&before);
        let hand = Hand { own: true, ..Hand::of(&actor, now, None) };
        let from = inner.source.map(place).unwrap_or_default();
        store::sign_ins::note(tx, before.organization, before.user, now, "web", &from).await?;
        let make = |transition: &mut Transition<'_>| {
            transition.replace_password(new.clone(), ends, notice.clone());
            Ok(())
        };
        let plan = Plan::of_one(actor, organization, before, hand, rules.delimiter, make)?;
        if let Some(candidate) = &candidate {
            candidate.take_back(tx).await?;
        }
        store_plan(tx, &inner, plan, stamp, rules).await
    })
    .await
}
