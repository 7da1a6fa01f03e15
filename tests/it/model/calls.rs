//! What is tried: random steps, small enough to be read in a failure. Numbers stand for whoever or
//! whatever there is by then, counted round.

use proptest::prelude::*;
use proptest::sample::select;

use super::rules::{DAY, Millis, Mode, Rank, SelfRename, Switch};

/// Addresses before the `@`; the first six belong to the first six people.
pub const LOCALS: [&str; 15] = [
    "ann",
    "bob",
    "cy",
    "dee",
    "walter",
    "pia",
    "flo",
    "gus",
    "hal",
    "ida",
    "jo",
    "kim",
    "hr",
    "postmaster",
    "flo+tag",
];

/// Some good, one good for one use, and some that the policy or a person's name rules out.
const PASSWORDS: [&str; 9] = [
    "correct-horse-7",
    "battery-staple-8",
    "Zürich-Käse-3",
    "t*c9ma",
    "abc",
    "password1",
    "walter-drinks-tea",
    "anderson-lake-77",
    "rebecca-rides-9",
];

const NAMES: [&str; 3] = ["Rebecca Anderson", "Xi Li", "Bo Diddley"];

pub const REASON: &str = "asked for by the help desk";

#[derive(Debug, Clone)]
pub enum Step {
    Call {
        caller: Who,
        credential: Credential,
        /// With `X-Mailward-Reason`.
        reason: bool,
        /// With `X-Mailward-Release-Address`.
        release: bool,
        what: What,
    },
    OwnPassword {
        whose: Whose,
        guess: Guess,
        new: &'static str,
        end_everything: Option<bool>,
    },
    /// Two people turn one switch of one account on, and a third one turns it off.
    Duel {
        callers: [Who; 3],
        target: usize,
        switch: Switch,
    },
    /// Somebody takes many addresses in a row.
    Renames {
        person: usize,
        times: usize,
    },
    Advance(Millis),
    /// A week passes, and the worker disables whoever's term is over.
    Expire,
    /// Whoever is enabled and has no token that works gets new ones.
    Issue,
    Organization {
        enabled: bool,
    },
    SelfRename(SelfRename),
}

#[derive(Debug, Clone, Copy)]
pub enum Who {
    Person(usize),
    Stranger,
    Operator,
}

#[derive(Debug, Clone, Copy)]
pub enum Credential {
    Organization,
    User,
    Both,
    /// The first one the person ever had.
    Oldest,
}

#[derive(Debug, Clone, Copy)]
pub struct Address {
    pub local: Local,
    pub place: Place,
    /// In capitals.
    pub loud: bool,
}

/// An address among those that there are by then; one of the list where there is none.
#[derive(Debug, Clone, Copy)]
pub enum Local {
    Listed(usize),
    /// One that waits for its former account.
    Freed(usize),
    Alias(usize),
}

#[derive(Debug, Clone, Copy)]
pub enum Place {
    Verified,
    Unverified,
    Foreign,
}

/// The address that an own password is changed with.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    Person(usize),
    Address(Address),
}

#[derive(Debug, Clone, Copy)]
pub enum Guess {
    Current,
    Wrong(&'static str),
}

/// How a call names its target.
#[derive(Debug, Clone, Copy)]
pub enum Naming {
    Zuid,
    AccountId,
    ZuidTwice,
    AccountIdAndZuid,
    BodyAlone,
    Nobody,
    /// Path and body name different people.
    Torn,
    Own,
    OwnWithZuid,
    /// An id of a foreign organization.
    ForeignId,
    /// The right id under a foreign organization.
    ForeignOrganization,
}

#[derive(Debug, Clone)]
pub enum What {
    Mode {
        naming: Naming,
        /// `None` is the caller.
        target: Option<usize>,
        other: usize,
        mode: Wish,
    },
    ChangeRole {
        people: Vec<usize>,
        role: Rank,
    },
    Delete {
        people: Vec<usize>,
    },
    DeleteAddresses(Vec<Address>),
    /// Somebody makes an app password on somebody's own path.
    NewAppPassword {
        target: Option<usize>,
    },
    Create {
        address: Address,
        role: Rank,
        password: &'static str,
        one_time: Option<bool>,
        days: Option<i64>,
        name: &'static str,
    },
}

/// A mode whose addresses are not written out yet, and whose flags may be left out.
#[derive(Debug, Clone)]
pub enum Wish {
    ResetPassword {
        password: &'static str,
        end_everything: Option<bool>,
        one_time: Option<bool>,
        keep: Option<bool>,
    },
    Email(Address),
    NameAndEmail(&'static str, Address),
    EnableUser {
        unblock_incoming: Option<bool>,
    },
    DisableUser {
        block_incoming: Option<bool>,
        remove_alias: Option<bool>,
    },
    AddAliases(Vec<Address>),
    RemoveAliases(Vec<Address>),
    Plain(Mode),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..70)
}

fn step() -> impl Strategy<Value = Step> {
    let times = vec![1_000, 61_000, 16 * 60_000, 10 * 3_600_000, 73 * 3_600_000, 31 * DAY, 181 * DAY];
    prop_oneof![
        40 => call(),
        7 => own_password(),
        6 => duel(),
        2 => (person(), 3..8usize).prop_map(|(person, times)| Step::Renames { person, times }),
        5 => select(times).prop_map(Step::Advance),
        3 => Just(Step::Expire),
        9 => Just(Step::Issue),
        1 => Just(Step::Organization { enabled: false }),
        3 => Just(Step::Organization { enabled: true }),
        1 => select(vec![SelfRename::Any, SelfRename::OwnAlias, SelfRename::Off]).prop_map(Step::SelfRename),
    ]
}

fn call() -> impl Strategy<Value = Step> {
    let caller = prop_oneof![
        6 => (0..2usize).prop_map(Who::Person),
        4 => (2..3usize).prop_map(Who::Person),
        3 => (5..6usize).prop_map(Who::Person),
        8 => person().prop_map(Who::Person),
        1 => Just(Who::Stranger),
        2 => Just(Who::Operator),
    ];
    let credential = prop_oneof![
        8 => Just(Credential::Organization),
        5 => Just(Credential::User),
        3 => Just(Credential::Both),
        1 => Just(Credential::Oldest),
    ];
    (caller, credential, prop::bool::weighted(0.2), prop::bool::weighted(0.3), what()).prop_map(
        |(caller, credential, reason, release, what)| Step::Call {
            caller,
            credential,
            reason,
            release,
            what,
        },
    )
}

fn duel() -> impl Strategy<Value = Step> {
    let who = || prop_oneof![6 => (0..4usize).prop_map(Who::Person), 2 => person().prop_map(Who::Person), 1 => Just(Who::Operator)];
    let switches =
        vec![Switch::User, Switch::Mail, Switch::Incoming, Switch::Outgoing, Switch::Imap, Switch::Pop];
    (who(), who(), who(), person(), select(switches)).prop_map(|(one, other, third, target, switch)| {
        Step::Duel { callers: [one, other, third], target, switch }
    })
}

fn what() -> impl Strategy<Value = What> {
    let naming = prop_oneof![
        6 => Just(Naming::ZuidTwice),
        4 => Just(Naming::AccountIdAndZuid),
        3 => Just(Naming::Zuid),
        2 => Just(Naming::AccountId),
        2 => Just(Naming::BodyAlone),
        1 => Just(Naming::Nobody),
        1 => Just(Naming::Torn),
        8 => Just(Naming::Own),
        1 => Just(Naming::OwnWithZuid),
        1 => Just(Naming::ForeignId),
        1 => Just(Naming::ForeignOrganization),
    ];
    let target = prop_oneof![4 => Just(None), 7 => person().prop_map(Some)];
    let on_one = (naming, target, person(), wish()).prop_map(|(naming, target, other, mode)| What::Mode {
        naming,
        target,
        other,
        mode,
    });
    let change_role = (prop::collection::vec(person(), 1..3), role())
        .prop_map(|(people, role)| What::ChangeRole { people, role });
    let delete = prop::collection::vec(person(), 1..3).prop_map(|people| What::Delete { people });
    let delete_addresses = prop::collection::vec(address(), 1..3).prop_map(What::DeleteAddresses);
    let days = prop::option::weighted(0.5, select(vec![1i64, 7, 30]));
    let create = (address(), role(), password(), flag(), days, name()).prop_map(
        |(address, role, password, one_time, days, name)| What::Create {
            address,
            role,
            password,
            one_time,
            days,
            name,
        },
    );
    let new_app_password = prop::option::of(person()).prop_map(|target| What::NewAppPassword { target });
    prop_oneof![40 => on_one, 3 => new_app_password, 4 => change_role, 2 => delete, 1 => delete_addresses, 9 => create]
}

fn wish() -> impl Strategy<Value = Wish> {
    let turned = select(vec![Switch::Incoming, Switch::Outgoing, Switch::Imap, Switch::Pop]);
    let aliases = || prop::collection::vec(address(), 1..4);
    prop_oneof![
        4 => (password(), flag(), flag(), flag()).prop_map(|(password, end_everything, one_time, keep)| {
            Wish::ResetPassword { password, end_everything, one_time, keep }
        }),
        6 => address().prop_map(Wish::Email),
        1 => name().prop_map(|name| Wish::Plain(Mode::Name(name))),
        2 => (name(), address()).prop_map(|(name, address)| Wish::NameAndEmail(name, address)),
        5 => flag().prop_map(|unblock_incoming| Wish::EnableUser { unblock_incoming }),
        5 => (flag(), flag()).prop_map(|(block_incoming, remove_alias)| Wish::DisableUser { block_incoming, remove_alias }),
        3 => Just(Wish::Plain(Mode::EnableMail)),
        3 => Just(Wish::Plain(Mode::DisableMail)),
        5 => (turned, any::<bool>()).prop_map(|(switch, on)| Wish::Plain(Mode::Turn(switch, on))),
        4 => aliases().prop_map(Wish::AddAliases),
        3 => aliases().prop_map(Wish::RemoveAliases),
        1 => select(vec!["Rebecca", "Bo"]).prop_map(|name| Wish::Plain(Mode::FirstName(name))),
    ]
}

fn own_password() -> impl Strategy<Value = Step> {
    let whose = prop_oneof![3 => person().prop_map(Whose::Person), 1 => address().prop_map(Whose::Address)];
    let guess = prop_oneof![3 => Just(Guess::Current), 2 => password().prop_map(Guess::Wrong)];
    (whose, guess, password(), flag()).prop_map(|(whose, guess, new, end_everything)| Step::OwnPassword {
        whose,
        guess,
        new,
        end_everything,
    })
}

fn person() -> impl Strategy<Value = usize> {
    0..7usize
}

fn flag() -> impl Strategy<Value = Option<bool>> {
    prop::option::of(any::<bool>())
}

fn role() -> impl Strategy<Value = Rank> {
    select(vec![Rank::Member, Rank::HelpDesk, Rank::Admin, Rank::SuperAdmin])
}

fn password() -> impl Strategy<Value = &'static str> {
    let (good, others) = PASSWORDS.split_at(3);
    prop_oneof![3 => select(good.to_vec()), 2 => select(others.to_vec())]
}

fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES.to_vec())
}

fn address() -> impl Strategy<Value = Address> {
    let local = prop_oneof![
        5 => (0..LOCALS.len()).prop_map(Local::Listed),
        2 => (0..6usize).prop_map(Local::Freed),
        2 => (0..6usize).prop_map(Local::Alias),
    ];
    let place =
        prop_oneof![20 => Just(Place::Verified), 1 => Just(Place::Unverified), 1 => Just(Place::Foreign)];
    (local, place, prop::bool::weighted(0.2)).prop_map(|(local, place, loud)| Address { local, place, loud })
}
