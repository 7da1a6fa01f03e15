//! The rules of accounts once more, as small as they can be said, written from the design and not
//! from the code: nothing here comes from `mailward`. Start with `Model::call`.

use std::collections::{BTreeMap, BTreeSet};

pub type Millis = i64;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;

const ONE_TIME_PASSWORDS_LIVE: Millis = 72 * HOUR;
const TOMBSTONES_STAND: Millis = 180 * DAY;
const RENAMES_ARE_COUNTED: Millis = 30 * DAY;
const MOST_SELF_RENAMES: usize = 5;
const WRONG_TRIES_ARE_COUNTED: Millis = 15 * MINUTE;
const MOST_WRONG_TRIES: u32 = 10;

/// A stranger's organization has this one: a super administrator whose tokens never end.
pub const STRANGER: usize = usize::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Member,
    /// With every verb, on every domain.
    HelpDesk,
    Admin,
    SuperAdmin,
    Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    User,
    Mail,
    Incoming,
    Outgoing,
    Imap,
    Pop,
}

/// People are numbered in the order of their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Person(usize),
    Operator,
    Clock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub by: By,
    pub rank: Rank,
    pub at: Millis,
    pub reason: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub role: Rank,
    pub first_name: String,
    pub display_name: String,
    pub primary: String,
    pub aliases: BTreeSet<String>,
    pub blocks: BTreeMap<Switch, Block>,
    pub password: &'static str,
    /// For a one-time password: when it stops opening anything.
    pub until: Option<Millis>,
    pub password_at: Millis,
    pub generation: i64,
    /// How often every token was ended.
    pub ended: u32,
    pub self_renames: Vec<Millis>,
    pub expires_at: Option<Millis>,
    pub app_passwords: usize,
    pub deleted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    By(usize),
    Former { by: usize, until: Millis },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfRename {
    Any,
    OwnAlias,
    Off,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub now: Millis,
    pub people: Vec<Person>,
    pub addresses: BTreeMap<String, Held>,
    pub enabled: bool,
    pub self_rename: SelfRename,
    pub most_aliases: usize,
    /// The one verified domain.
    pub domain: String,
    /// Wrong tries of each person: the end of the window, and how many.
    wrong: BTreeMap<usize, (Millis, u32)>,
}

/// A token as it was given.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub holder: usize,
    pub organization: bool,
    pub user: bool,
    pub ended: u32,
    pub expires_at: Millis,
}

#[derive(Debug, Clone, Copy)]
pub enum Caller {
    Token(Token),
    Operator,
}

/// How a call says whom it means.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub route: Route,
    pub path: Option<Named>,
    pub zuid: Option<Named>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/api/organization/{zoid}`
    Here,
    /// The stranger's organization.
    Elsewhere,
    /// `/api/accounts`
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Person(usize),
    /// By the other kind of id: an accountId.
    Account(usize),
}

impl Named {
    fn person(self) -> usize {
        match self {
            Self::Person(person) | Self::Account(person) => person,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Mode {
    ResetPassword { password: &'static str, end_everything: bool, one_time: bool, keep_app_passwords: bool },
    Email(String),
    Name(&'static str),
    NameAndEmail(&'static str, String),
    EnableUser { unblock_incoming: bool },
    DisableUser { block_incoming: bool, remove_alias: bool },
    EnableMail,
    DisableMail,
    Turn(Switch, bool),
    AddAliases(Vec<String>),
    RemoveAliases(Vec<String>),
    FirstName(&'static str),
    NewAppPassword,
}

impl Mode {
    fn has_user_form(&self) -> bool {
        match self {
            Self::Email(_)
            | Self::Name(_)
            | Self::NameAndEmail(..)
            | Self::EnableUser { .. }
            | Self::EnableMail
            | Self::DisableMail
            | Self::NewAppPassword
            | Self::Turn(Switch::Imap | Switch::Pop, _) => true,
            Self::ResetPassword { .. }
            | Self::DisableUser { .. }
            | Self::Turn(..)
            | Self::AddAliases(_)
            | Self::RemoveAliases(_)
            | Self::FirstName(_) => false,
        }
    }
}

/// Addresses of a list as they are taken away: each once, in the order of the alphabet. Of several that
/// cannot be, the first is told.
fn in_order(addresses: &[String]) -> BTreeSet<&String> {
    addresses.iter().collect()
}

/// Whether the help desk has a verb for it.
fn for_help_desk(mode: &Mode) -> bool {
    match mode {
        Mode::ResetPassword { .. }
        | Mode::Email(_)
        | Mode::Name(_)
        | Mode::NameAndEmail(..)
        | Mode::EnableUser { .. }
        | Mode::DisableUser { remove_alias: false, .. }
        | Mode::EnableMail
        | Mode::DisableMail
        | Mode::Turn(..) => true,
        Mode::DisableUser { remove_alias: true, .. }
        | Mode::AddAliases(_)
        | Mode::RemoveAliases(_)
        | Mode::FirstName(_)
        | Mode::NewAppPassword => false,
    }
}

#[derive(Debug, Clone)]
pub enum Call {
    Mode(Names, Mode),
    /// `changeRole` of a list.
    ChangeRole(Vec<usize>, Rank),
    Delete(Vec<usize>),
    /// By addresses.
    DeleteAddresses(Vec<String>),
    Create {
        address: String,
        role: Rank,
        password: &'static str,
        one_time: bool,
        display_name: &'static str,
        days: Option<i64>,
    },
}

/// The kinds of answers that a client tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    Created,
    BadToken,
    MissingScope,
    NotFound,
    Forbidden,
    Refused,
    Taken,
    BadAddress,
    BadPassword,
    BadCredentials,
}

/// What a change brings about outside, beyond the new look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    EndAllSessions,
    EndSessionsOf { generation: i64 },
    EndSessionsOfAppPassword,
    Tell,
}

/// Whoever was changed, with what must be carried out.
pub type Touched = Vec<(usize, Vec<Effect>)>;

/// An accepted call changes the model; a refused one leaves it as it was.
type Outcome = Result<Touched, Answer>;

/// Who acts, once a call is let in.
#[derive(Debug, Clone, Copy)]
struct Hand {
    by: By,
    rank: Rank,
    reason: Option<&'static str>,
    /// The caller asks for a protected address to be given out.
    release: bool,
    /// A person on the own account, and not an administrator.
    own_form: bool,
}

impl Hand {
    fn is(&self, person: usize) -> bool {
        self.by == By::Person(person)
    }
}

impl Model {
    pub fn new(now: Millis, domain: String, most_aliases: usize) -> Self {
        Self {
            now,
            people: Vec::new(),
            addresses: BTreeMap::new(),
            enabled: true,
            self_rename: SelfRename::Any,
            most_aliases,
            domain,
            wrong: BTreeMap::new(),
        }
    }

    /// One call: the answer, and who was changed.
    pub fn call(
        &mut self,
        caller: Caller,
        reason: Option<&'static str>,
        release: bool,
        call: &Call,
    ) -> (Answer, Touched) {
        let mut after = self.clone();
        let creates = matches!(call, Call::Create { .. } | Call::Mode(_, Mode::NewAppPassword));
        let done = if creates { Answer::Created } else { Answer::Done };
        match after.attempt(caller, reason, release, call) {
            Ok(touched) => {
                *self = after;
                (done, touched)
            }
            Err(refusal) => (refusal, Vec::new()),
        }
    }

    fn attempt(
        &mut self,
        caller: Caller,
        reason: Option<&'static str>,
        release: bool,
        call: &Call,
    ) -> Outcome {
        if let Caller::Token(token) = caller
            && !self.lives(token)
        {
            return Err(Answer::BadToken);
        }
        let (by, rank) = match caller {
            Caller::Token(token) => (By::Person(token.holder), self.rank(token.holder)),
            Caller::Operator => (By::Operator, Rank::Operator),
        };
        let hand = Hand { by, rank, reason, release, own_form: false };
        match call {
            Call::Mode(names, mode) => {
                let person = self.target(caller, names, mode)?;
                let own_form = match caller {
                    Caller::Token(token) => names.route == Route::Own || !token.organization,
                    Caller::Operator => false,
                };
                let hand = Hand { own_form, ..hand };
                self.on(person, hand, |model| model.apply(person, hand, mode))
            }
            Call::ChangeRole(people, role) => {
                self.administers(caller, Route::Here)?;
                self.on_all(people, hand, |model, person| model.change_role(person, hand, *role))
            }
            Call::Delete(people) => {
                self.administers(caller, Route::Here)?;
                self.on_all(people, hand, |model, person| model.delete(person, hand))
            }
            Call::DeleteAddresses(addresses) => {
                self.administers(caller, Route::Here)?;
                let people: Result<Vec<_>, _> = addresses.iter().map(|text| self.owner(text)).collect();
                self.on_all(&people?, hand, |model, person| model.delete(person, hand))
            }
            Call::Create { address, role, password, one_time, display_name, days } => {
                self.administers(caller, Route::Here)?;
                let person = Person {
                    role: *role,
                    first_name: String::new(),
                    display_name: (*display_name).to_owned(),
                    primary: address.clone(),
                    aliases: BTreeSet::new(),
                    blocks: BTreeMap::new(),
                    password,
                    until: one_time.then_some(self.now + ONE_TIME_PASSWORDS_LIVE),
                    password_at: self.now,
                    generation: 1,
                    ended: 0,
                    self_renames: Vec::new(),
                    expires_at: days.map(|days| self.now + days * DAY),
                    app_passwords: 0,
                    deleted: false,
                };
                self.create(person, hand, *one_time)
            }
        }
    }

    // Who may ------------------------------------------------------------------------------

    /// Whether the token opens anything at this moment.
    pub fn lives(&self, token: Token) -> bool {
        if token.holder == STRANGER {
            return true;
        }
        let person = &self.people[token.holder];
        self.enabled
            && !person.deleted
            && !person.blocks.contains_key(&Switch::User)
            && token.ended == person.ended
            && self.now < token.expires_at
    }

    fn rank(&self, person: usize) -> Rank {
        if person == STRANGER { Rank::SuperAdmin } else { self.people[person].role }
    }

    /// The admin form: the organization scope, and an administrator of that organization.
    fn administers(&self, caller: Caller, route: Route) -> Result<(), Answer> {
        self.acts(caller, route, Rank::Admin)
    }

    fn acts(&self, caller: Caller, route: Route, least: Rank) -> Result<(), Answer> {
        let Caller::Token(token) = caller else { return Ok(()) };
        if !token.organization {
            return Err(Answer::MissingScope);
        }
        let at_home = if token.holder == STRANGER { Route::Elsewhere } else { Route::Here };
        if route != at_home {
            return Err(Answer::NotFound);
        }
        if self.rank(token.holder) < least { Err(Answer::Forbidden) } else { Ok(()) }
    }

    /// Whom a call is about, if the caller has the form for it.
    fn target(&self, caller: Caller, names: &Names, mode: &Mode) -> Result<usize, Answer> {
        let user_form = mode.has_user_form();
        let own = |named: Named, token: Token| named.person() == token.holder;
        match (names.route, caller) {
            (Route::Own, Caller::Operator) => unreachable!("the command line has no account"),
            (Route::Own, Caller::Token(token)) => {
                if !token.user {
                    return Err(Answer::MissingScope);
                }
                if !user_form {
                    return Err(Answer::Forbidden);
                }
                // Here only the accountId is an id.
                if names.path != Some(Named::Account(token.holder)) {
                    return Err(Answer::NotFound);
                }
                match names.zuid {
                    Some(zuid) if !own(zuid, token) => Err(Answer::Refused),
                    Some(_) | None => Ok(token.holder),
                }
            }
            (Route::Here | Route::Elsewhere, Caller::Token(token)) if !token.organization => {
                let home = (names.route == Route::Elsewhere) == (token.holder == STRANGER);
                let own_path = names.path.or(names.zuid).is_some_and(|path| own(path, token));
                let own_zuid = names.zuid.is_none_or(|zuid| own(zuid, token));
                if user_form && token.user && home && own_path && own_zuid {
                    Ok(token.holder)
                } else {
                    Err(Answer::MissingScope)
                }
            }
            (Route::Here | Route::Elsewhere, Caller::Token(_) | Caller::Operator) => {
                let least = if for_help_desk(mode) { Rank::HelpDesk } else { Rank::Admin };
                self.acts(caller, names.route, least)?;
                let known = |named: Named| -> Result<usize, Answer> {
                    let person = named.person();
                    if names.route == Route::Elsewhere || person == STRANGER || self.people[person].deleted {
                        return Err(Answer::NotFound);
                    }
                    Ok(person)
                };
                match (names.path.map(known).transpose(), names.zuid.map(known).transpose()) {
                    (Err(unknown), _) | (_, Err(unknown)) => Err(unknown),
                    (Ok(None), Ok(None)) => Err(Answer::Refused),
                    (Ok(Some(path)), Ok(Some(zuid))) if path != zuid => Err(Answer::Refused),
                    (Ok(Some(person)), Ok(_)) | (Ok(None), Ok(Some(person))) => Ok(person),
                }
            }
        }
    }

    /// Oneself, a strictly lower rank, or one super administrator another. The help desk's own account is
    /// no business of the help desk.
    fn may_write(&self, hand: Hand, person: usize) -> Result<(), Answer> {
        let role = self.people[person].role;
        let peers = hand.rank == Rank::SuperAdmin && role == Rank::SuperAdmin;
        let oneself = hand.is(person) && (hand.own_form || hand.rank != Rank::HelpDesk);
        if oneself || hand.rank > role || peers { Ok(()) } else { Err(Answer::Forbidden) }
    }

    /// The last enabled super administrator stays one.
    fn keep_a_super_admin(&self, person: usize) -> Result<(), Answer> {
        let counts = |person: &Person| {
            person.role == Rank::SuperAdmin && !person.deleted && !person.blocks.contains_key(&Switch::User)
        };
        let enabled = self.people.iter().filter(|person| counts(person)).count();
        if counts(&self.people[person]) && enabled == 1 { Err(Answer::Forbidden) } else { Ok(()) }
    }

    // Changes ------------------------------------------------------------------------------

    /// Makes a change of one person, and says whether it was one.
    fn on(
        &mut self,
        person: usize,
        hand: Hand,
        change: impl FnOnce(&mut Self) -> Result<Vec<Effect>, Answer>,
    ) -> Outcome {
        self.may_write(hand, person)?;
        let before = self.people[person].clone();
        let effects = change(self)?;
        let touched = before != self.people[person] || !effects.is_empty();
        Ok(if touched { vec![(person, effects)] } else { Vec::new() })
    }

    /// A list is changed as a whole or not at all; naming somebody twice means nothing more.
    fn on_all(
        &mut self,
        people: &[usize],
        hand: Hand,
        change: impl Fn(&mut Self, usize) -> Result<Vec<Effect>, Answer>,
    ) -> Outcome {
        let unknown = |person: &usize| *person == STRANGER || self.people[*person].deleted;
        if people.iter().any(unknown) {
            return Err(Answer::NotFound);
        }
        let mut touched = Vec::new();
        let mut seen = BTreeSet::new();
        for person in people.iter().copied().filter(|person| seen.insert(*person)) {
            touched.extend(self.on(person, hand, |model| change(model, person))?);
        }
        Ok(touched)
    }

    fn apply(&mut self, person: usize, hand: Hand, mode: &Mode) -> Result<Vec<Effect>, Answer> {
        match mode {
            Mode::ResetPassword { password, end_everything, one_time, keep_app_passwords } => {
                self.accept(&self.people[person], password, *one_time)?;
                let mut effects = self.set_password(person, password, *one_time, *end_everything);
                if *end_everything && !keep_app_passwords {
                    let ended = std::mem::take(&mut self.people[person].app_passwords);
                    effects.splice(1..1, std::iter::repeat_n(Effect::EndSessionsOfAppPassword, ended));
                }
                Ok(effects)
            }
            Mode::Email(address) => self.rename(person, hand, address),
            Mode::Name(name) => {
                (*name).clone_into(&mut self.people[person].display_name);
                Ok(Vec::new())
            }
            Mode::NameAndEmail(name, address) => {
                (*name).clone_into(&mut self.people[person].display_name);
                self.rename(person, hand, address)
            }
            Mode::EnableUser { unblock_incoming } => {
                self.lift(person, hand, Switch::User)?;
                self.lift(person, hand, Switch::Mail)?;
                if *unblock_incoming {
                    self.lift(person, hand, Switch::Incoming)?;
                }
                Ok(Vec::new())
            }
            Mode::DisableUser { block_incoming, remove_alias } => {
                let effects = self.set(person, hand, Switch::User)?;
                if *block_incoming {
                    self.set(person, hand, Switch::Incoming)?;
                }
                if *remove_alias {
                    for alias in std::mem::take(&mut self.people[person].aliases) {
                        self.bury(person, alias);
                    }
                }
                Ok(effects)
            }
            Mode::EnableMail => self.lift(person, hand, Switch::Mail),
            Mode::DisableMail => self.set(person, hand, Switch::Mail),
            Mode::Turn(switch, true) => self.set(person, hand, *switch),
            Mode::Turn(switch, false) => self.lift(person, hand, *switch),
            Mode::AddAliases(addresses) => {
                for address in addresses {
                    if !self.owns(person, address) {
                        self.claim(person, hand, address)?;
                        self.people[person].aliases.insert(address.clone());
                        self.count_aliases(person)?;
                    }
                }
                Ok(Vec::new())
            }
            Mode::RemoveAliases(addresses) => {
                for address in in_order(addresses) {
                    if self.people[person].primary == *address {
                        return Err(Answer::Refused);
                    }
                    if !self.people[person].aliases.remove(address) {
                        return Err(Answer::NotFound);
                    }
                    self.bury(person, address.clone());
                }
                Ok(Vec::new())
            }
            Mode::FirstName(name) => {
                (*name).clone_into(&mut self.people[person].first_name);
                Ok(Vec::new())
            }
            Mode::NewAppPassword => {
                // The person's current password is sent along, and is looked at as at the other doors.
                if self.is_closed(person) || self.people[person].until.is_some() {
                    return Err(Answer::BadCredentials);
                }
                self.people[person].app_passwords += 1;
                Ok(vec![Effect::Tell])
            }
        }
    }

    /// Turns a switch on. A repeat changes nothing, but a higher rank takes the block over.
    fn set(&mut self, person: usize, hand: Hand, switch: Switch) -> Result<Vec<Effect>, Answer> {
        if switch == Switch::User {
            self.keep_a_super_admin(person)?;
        }
        // When a term ends, it is as if whoever may give one had ended it.
        let rank = match hand.by {
            By::Clock => may_give_a_term(self.people[person].role),
            By::Person(_) | By::Operator => hand.rank,
        };
        let block = Block { by: hand.by, rank, at: self.now, reason: hand.reason };
        let held = &mut self.people[person];
        match held.blocks.get(&switch) {
            None => {
                held.blocks.insert(switch, block);
                match switch {
                    Switch::User => held.ended += 1,
                    Switch::Mail | Switch::Imap | Switch::Pop => {}
                    Switch::Incoming | Switch::Outgoing => return Ok(Vec::new()),
                }
                Ok(vec![Effect::EndAllSessions])
            }
            Some(there) => {
                if rank > there.rank {
                    held.blocks.insert(switch, block);
                }
                Ok(Vec::new())
            }
        }
    }

    /// Turns a switch off: by a rank of at least the setter's; on oneself, if one set it oneself.
    fn lift(&mut self, person: usize, hand: Hand, switch: Switch) -> Result<Vec<Effect>, Answer> {
        let now = self.now;
        let held = &mut self.people[person];
        let Some(block) = held.blocks.get(&switch) else { return Ok(Vec::new()) };
        let may = if hand.is(person) { block.by == hand.by } else { hand.rank >= block.rank };
        if !may {
            return Err(Answer::Forbidden);
        }
        held.blocks.remove(&switch);
        if switch == Switch::User && held.expires_at.is_some_and(|at| at <= now) {
            // The term is over, and whoever lets the person in decides that too.
            if hand.rank < may_give_a_term(held.role) {
                return Err(Answer::Forbidden);
            }
            held.expires_at = None;
        }
        Ok(Vec::new())
    }

    fn rename(&mut self, person: usize, hand: Hand, to: &String) -> Result<Vec<Effect>, Answer> {
        if self.people[person].primary == *to {
            return Ok(Vec::new());
        }
        let own_alias = self.people[person].aliases.contains(to);
        if hand.is(person) && hand.rank < Rank::Admin {
            match self.self_rename {
                SelfRename::Any => {}
                SelfRename::OwnAlias if own_alias => {}
                SelfRename::OwnAlias | SelfRename::Off => return Err(Answer::Forbidden),
            }
            let now = self.now;
            let renames = &mut self.people[person].self_renames;
            renames.retain(|at| now - at < RENAMES_ARE_COUNTED);
            if renames.len() >= MOST_SELF_RENAMES {
                return Err(Answer::Forbidden);
            }
            renames.push(now);
        }
        if !own_alias {
            self.claim(person, hand, to)?;
        }
        let held = &mut self.people[person];
        held.aliases.remove(to);
        let old = std::mem::replace(&mut held.primary, to.clone());
        held.aliases.insert(old);
        self.count_aliases(person)?;
        Ok(vec![Effect::Tell])
    }

    /// Nobody changes the own role; roles above member are the super administrators' to give and take.
    fn change_role(&mut self, person: usize, hand: Hand, role: Rank) -> Result<Vec<Effect>, Answer> {
        let old = self.people[person].role;
        if old == role {
            return Ok(Vec::new());
        }
        if hand.is(person) || hand.rank < Rank::SuperAdmin {
            return Err(Answer::Forbidden);
        }
        self.keep_a_super_admin(person)?;
        self.people[person].role = role;
        Ok(Vec::new())
    }

    fn delete(&mut self, person: usize, hand: Hand) -> Result<Vec<Effect>, Answer> {
        if hand.is(person) {
            return Err(Answer::Forbidden);
        }
        self.keep_a_super_admin(person)?;
        let held = &mut self.people[person];
        held.deleted = true;
        let addresses = [held.primary.clone()].into_iter().chain(std::mem::take(&mut held.aliases));
        for address in addresses.collect::<Vec<_>>() {
            self.bury(person, address);
        }
        Ok(vec![Effect::EndAllSessions])
    }

    fn create(&mut self, person: Person, hand: Hand, one_time: bool) -> Outcome {
        if person.role > Rank::Member && hand.rank < Rank::SuperAdmin {
            return Err(Answer::Forbidden);
        }
        let number = self.people.len();
        self.claim(number, hand, &person.primary)?;
        self.accept(&person, person.password, one_time)?;
        self.people.push(person);
        Ok(vec![(number, Vec::new())])
    }

    // Addresses ----------------------------------------------------------------------------

    fn owns(&self, person: usize, address: &str) -> bool {
        self.people[person].primary == address || self.people[person].aliases.contains(address)
    }

    /// Takes an address for a person, if it can be had.
    fn claim(&mut self, person: usize, hand: Hand, address: &str) -> Result<(), Answer> {
        let (local, domain) = address.split_once('@').unwrap_or_default();
        if domain != self.domain || local.contains('+') {
            return Err(Answer::BadAddress);
        }
        if is_reserved(local) && hand.rank < Rank::Admin {
            return Err(Answer::BadAddress);
        }
        match self.addresses.get(address) {
            Some(Held::By(holder)) if *holder != person => return Err(Answer::Taken),
            Some(Held::Former { by, until }) if *by != person && self.now < *until => {
                if !hand.release || hand.rank < Rank::SuperAdmin {
                    return Err(Answer::Taken);
                }
            }
            Some(_) | None => {}
        }
        self.addresses.insert(address.to_owned(), Held::By(person));
        Ok(())
    }

    /// Lets an address go; it waits for its former account.
    fn bury(&mut self, person: usize, address: String) {
        let until = self.now + TOMBSTONES_STAND;
        self.addresses.insert(address, Held::Former { by: person, until });
    }

    fn count_aliases(&self, person: usize) -> Result<(), Answer> {
        if self.people[person].aliases.len() > self.most_aliases { Err(Answer::Refused) } else { Ok(()) }
    }

    /// Whose address it is.
    fn owner(&self, address: &str) -> Result<usize, Answer> {
        match self.addresses.get(address) {
            Some(Held::By(person)) => Ok(*person),
            Some(Held::Former { .. }) | None => Err(Answer::NotFound),
        }
    }

    // Passwords ----------------------------------------------------------------------------

    /// Whether the person may get the password.
    fn accept(&self, person: &Person, password: &str, one_time: bool) -> Result<(), Answer> {
        let length = password.chars().count();
        if one_time {
            return if length < 6 { Err(Answer::BadPassword) } else { Ok(()) };
        }
        let names = [person.first_name.as_str(), person.display_name.as_str()];
        let parts = names.into_iter().flat_map(str::split_whitespace);
        let addresses = person.aliases.iter().chain([&person.primary]);
        let locals = addresses.filter_map(|address| address.split('@').next());
        let personal = parts.chain(locals).filter(|part| part.len() >= 4).map(str::to_lowercase);
        let lower = password.to_lowercase();
        if length < 8 || is_common(&lower) || personal.into_iter().any(|part| lower.contains(&part)) {
            return Err(Answer::BadPassword);
        }
        Ok(())
    }

    fn set_password(
        &mut self,
        person: usize,
        password: &'static str,
        one_time: bool,
        end_everything: bool,
    ) -> Vec<Effect> {
        let until = one_time.then_some(self.now + ONE_TIME_PASSWORDS_LIVE);
        let held = &mut self.people[person];
        held.password = password;
        held.until = until;
        held.password_at = self.now;
        let mut effects = Vec::new();
        if end_everything {
            effects.push(Effect::EndSessionsOf { generation: held.generation });
            held.generation += 1;
            held.ended += 1;
        }
        effects.push(Effect::Tell);
        effects
    }

    /// `POST /self/password`.
    pub fn own_password(
        &mut self,
        address: &str,
        password: &str,
        new: &'static str,
        end_everything: bool,
    ) -> (Answer, Touched) {
        let refused = (Answer::BadCredentials, Vec::new());
        let (local, domain) = address.split_once('@').unwrap_or_default();
        let mailbox = format!("{}@{domain}", local.split('+').next().unwrap_or_default());
        let Ok(number) = self.owner(&mailbox) else { return refused };
        if !self.enabled {
            return refused;
        }
        let (now, person) = (self.now, &self.people[number]);
        let (end, wrong) = self.wrong.get(&number).copied().filter(|(end, _)| now < *end).unwrap_or((now, 0));
        if wrong >= MOST_WRONG_TRIES {
            return refused;
        }
        // The right one that opens nothing counts as a wrong one.
        let closed =
            person.blocks.contains_key(&Switch::User) || person.until.is_some_and(|until| until <= now);
        if person.password != password || closed {
            let end = if wrong == 0 { now + WRONG_TRIES_ARE_COUNTED } else { end };
            self.wrong.insert(number, (end, wrong + 1));
            return refused;
        }
        if new == password || self.accept(person, new, false).is_err() {
            return (Answer::BadPassword, Vec::new());
        }
        let effects = self.set_password(number, new, false, end_everything);
        (Answer::Done, vec![(number, effects)])
    }

    /// Too many wrong passwords were tried.
    fn is_closed(&self, person: usize) -> bool {
        self.wrong.get(&person).is_some_and(|(end, wrong)| self.now < *end && *wrong >= MOST_WRONG_TRIES)
    }

    // Time ---------------------------------------------------------------------------------

    /// Disables whoever's term is over, the longest over first; answers who was.
    pub fn expire(&mut self) -> Touched {
        let over = |person: &Person| person.expires_at.filter(|at| *at <= self.now && !person.deleted);
        let mut due: Vec<_> =
            self.people.iter().enumerate().filter_map(|(n, person)| Some((over(person)?, n))).collect();
        due.sort_unstable();
        let hand = Hand {
            by: By::Clock,
            rank: Rank::Operator,
            reason: Some("the user's term has ended"),
            release: false,
            own_form: false,
        };
        let mut touched = Vec::new();
        for (_, person) in due {
            if self.people[person].blocks.contains_key(&Switch::User) {
                continue;
            }
            if let Ok(effects) = self.set(person, hand, Switch::User) {
                touched.push((person, effects));
            }
        }
        touched
    }
}

/// The lowest rank that may give somebody of that role a term.
fn may_give_a_term(role: Rank) -> Rank {
    if role < Rank::Admin { Rank::Admin } else { Rank::SuperAdmin }
}

/// Those of RFC 2142 and of the shipped list that the calls use.
fn is_reserved(local: &str) -> bool {
    ["postmaster", "hr"].contains(&local)
}

fn is_common(lower: &str) -> bool {
    ["password1", "qwertyuiop"].contains(&lower)
}
