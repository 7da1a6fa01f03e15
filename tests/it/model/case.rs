//! One sequence on an organization of its own: sends each call over HTTP (the operator's, through
//! `change::run`), asks the model, and compares everything that can be seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mailward::app::accounts::create::{self as creation, NewUser, create, simple};
use mailward::app::accounts::delete_user::DeleteUser;
use mailward::app::accounts::update_personal_info::Term;
use mailward::app::accounts::{AccountMode, Mode as _};
use mailward::app::call::Context;
use mailward::app::change::{self, Ask, Done};
use mailward::app::expiry;
use mailward::app::forecast::Forecast;
use mailward::app::organizations;
use mailward::domain::account::{Account, SwitchName};
use mailward::domain::actor::{Rank as ProductRank, Role, Who as ProductWho};
use mailward::domain::effect::{Effect as ProductEffect, Sessions};
use mailward::domain::email_address::{DomainName, EmailAddress};
use mailward::domain::help_desk::{HelpDesk, Verb};
use mailward::domain::ids::{ChangeId, OrganizationId};
use mailward::domain::password::{Password, PasswordKind};
use mailward::domain::policy::SelfRename as ProductSelfRename;
use mailward::domain::rights::Route as ProductRoute;
use mailward::domain::secret::{Fingerprint, fingerprint};
use mailward::domain::switch::Reason;
use mailward::error::Error;
use mailward::store::accounts::{Handle, load};
use mailward::store::engine::params;
use mailward::store::lists::page;
use mailward::store::{audit, tokens};
use mailward::wire::Body;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::calls::{
    Address, Credential, Guess, LOCALS, Local, Naming, Place, REASON, Step, What, Who, Whose, Wish,
};
use super::foretold::{Foretold, Given, counted};
use super::rules::{
    Answer, By, Call, Caller, DAY, Effect, Held, Millis, Mode, Model, Named, Names, Person, Rank, Route,
    STRANGER, SelfRename, Switch, Token, Touched,
};
use crate::support::world::{
    self, Answer as HttpAnswer, ORGANIZATION_SCOPES, PASSWORD, USER_SCOPES, World, effects_of, operator,
};

/// The default of 30 would hardly ever be reached.
const MOST_ALIASES: usize = 4;
const FOREIGN_DOMAIN: &str = "elsewhere.example";

/// How often each answer was given, over all sequences.
#[derive(Debug, Default)]
pub struct Tally {
    answers: BTreeMap<String, u32>,
    /// Calls that were made as a dry run first.
    pub foretold: u32,
}

impl Tally {
    /// The sequences must have met every kind of answer, or they say nothing.
    pub fn assert_broad(&self) {
        println!("{:?}, {} foretold", self.answers, self.foretold);
        for kind in [
            "Done",
            "Created",
            "BadToken",
            "MissingScope",
            "NotFound",
            "Forbidden",
            "Refused",
            "Taken",
            "BadAddress",
            "BadPassword",
            "BadCredentials",
            "nothing new",
            "own password",
            "expired",
        ] {
            let enough = self.answers.get(kind).is_some_and(|times| *times >= 10);
            assert!(enough, "hardly any {kind}: {:?}", self.answers);
        }
    }

    fn add(&mut self, kind: impl std::fmt::Debug) {
        *self.answers.entry(format!("{kind:?}").replace('"', "")).or_default() += 1;
    }
}

/// What the product answered, and the change it named.
type Answered = (Answer, Option<ChangeId>);

pub struct Case<'a> {
    pub(super) world: &'a World,
    pub(super) zoid: OrganizationId,
    pub(super) model: Model,
    /// zuid and accountId of each person of the model.
    pub(super) ids: Vec<(i64, i64)>,
    /// Everything a person was ever given, the newest last, three at a time: organization, user, both.
    pub(super) tokens: Vec<Vec<(Token, String)>>,
    /// Each call is made as a dry run first, and must then do what that said.
    rehearses: bool,
    /// What was given through clients, where calls are rehearsed; and at which count of the holder's ends.
    pub(super) given: Vec<Given>,
    pub(super) ended_of: HashMap<Fingerprint, u32>,
    /// By the person who owns it.
    pub(super) clients: BTreeMap<usize, String>,
    pub(super) foretold: u32,
    /// The stranger's tokens, organization and user, renewed before they end.
    strange: (String, String),
    pub(super) audited: i64,
    refused: i64,
    log: Vec<String>,
}

pub async fn run(
    world: &World,
    steps: &[Step],
    tally: &mut Tally,
    rehearses: bool,
) -> Result<(), TestCaseError> {
    let mut case = Case::start(world, rehearses).await;
    let mut outcome = Ok(());
    for step in steps {
        outcome = case.step(step, tally).await;
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = case.compare_every_secret().await;
    }
    tally.foretold += case.foretold;
    outcome.map_err(|why| TestCaseError::fail(format!("{}\n=> {why}", case.log.join("\n"))))
}

impl<'a> Case<'a> {
    /// Two super administrators, an administrator, two members and one of the help desk.
    async fn start(world: &'a World, rehearses: bool) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let app = &world.app;
        let (zoid, domain) = world::organization(app, "A case", &format!("case-{number}.example")).await;
        let later = DomainName::parse(&format!("later.{domain}")).expect("a domain");
        organizations::add_domain(app, &operator(), zoid, &later).await.expect("a second domain");
        organizations::update(app, &operator(), zoid, |organization, _| {
            organization.policy.most_aliases = MOST_ALIASES;
            Ok(())
        })
        .await
        .expect("a policy");
        let mut case = Self {
            world,
            zoid,
            model: Model::new(app.clock.now(), domain.clone(), MOST_ALIASES),
            ids: Vec::new(),
            tokens: Vec::new(),
            rehearses,
            given: Vec::new(),
            ended_of: HashMap::new(),
            clients: BTreeMap::new(),
            foretold: 0,
            strange: strange(world).await,
            audited: 0,
            refused: 0,
            log: Vec::new(),
        };
        let people = [
            (Rank::SuperAdmin, None),
            (Rank::SuperAdmin, None),
            (Rank::Admin, None),
            (Rank::Member, None),
            (Rank::Member, Some(7)),
            (Rank::HelpDesk, None),
        ];
        for (local, (role, days)) in LOCALS.into_iter().zip(people) {
            let address = EmailAddress::parse(&format!("{local}@{domain}")).expect("an address");
            let password = Password::prepare(PASSWORD).expect("a password");
            let mut new = simple(address.clone(), password, product_role(role), "").expect("a user");
            new.term = days.map_or(Term::Forever, |days| Term::Days(days.try_into().expect("few")));
            new.help_desk = (role == Rank::HelpDesk).then(every_verb);
            let (account, _) = create(app, &operator(), zoid, new).await.expect("a new user");
            case.ids.push((account.user.get(), account.id.get()));
            case.tokens.push(Vec::new());
            let call = Call::Create {
                address: address.to_string(),
                role,
                password: PASSWORD,
                one_time: false,
                display_name: "",
                days,
            };
            case.model.call(Caller::Operator, None, false, &call);
        }
        case.issue().await;
        if rehearses {
            case.give_out().await;
        }
        case.audited = case.count("SELECT COUNT(*) AS n FROM audit WHERE organization_id = $1").await;
        case
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.world.app.db.read().await.expect("a connection");
        tx.query_one(sql, params![self.zoid.get()], |row| row.get("n")).await.expect("a count")
    }

    async fn step(&mut self, step: &Step, tally: &mut Tally) -> Result<(), String> {
        match step {
            Step::Call { caller, credential, reason, release, what } => {
                let reason = reason.then_some(REASON);
                self.tried(*caller, *credential, reason, *release, what, tally).await
            }
            Step::OwnPassword { whose, guess, new, end_everything } => {
                let touched = self.own_password(*whose, *guess, new, *end_everything, tally).await?;
                self.compare(&touched).await
            }
            Step::Duel { callers, target, switch } => {
                for (caller, on) in callers.iter().zip([true, true, false]) {
                    let mode = match (switch, on) {
                        (Switch::User, true) => {
                            Wish::DisableUser { block_incoming: None, remove_alias: None }
                        }
                        (Switch::User, false) => Wish::EnableUser { unblock_incoming: None },
                        (Switch::Mail, true) => Wish::Plain(Mode::DisableMail),
                        (Switch::Mail, false) => Wish::Plain(Mode::EnableMail),
                        (switch, on) => Wish::Plain(Mode::Turn(*switch, on)),
                    };
                    // Everybody on the own path where that is theirs.
                    let naming = match caller {
                        Who::Person(number) if self.person(*number) == self.person(*target) => Naming::Own,
                        Who::Person(_) | Who::Stranger | Who::Operator => Naming::ZuidTwice,
                    };
                    let what = What::Mode { naming, target: Some(*target), other: 0, mode };
                    self.tried(*caller, Credential::Both, None, false, &what, tally).await?;
                }
                Ok(())
            }
            Step::Renames { person, times } => {
                for number in 0..*times {
                    let address =
                        Address { local: Local::Listed(6 + number), place: Place::Verified, loud: false };
                    let mode = Wish::Email(address);
                    let what = What::Mode { naming: Naming::Own, target: None, other: 0, mode };
                    self.tried(Who::Person(*person), Credential::User, None, false, &what, tally).await?;
                }
                Ok(())
            }
            Step::Advance(by) => {
                self.log.push(format!("{} minutes pass", by / 60_000));
                self.advance(*by).await;
                Ok(())
            }
            Step::Expire => {
                self.advance(8 * DAY).await;
                let touched = self.model.expire();
                self.log.push(format!("a week passes, terms end: {touched:?}"));
                expiry::terms(&self.world.app).await.map_err(|error| format!("expire: {error}"))?;
                touched.iter().for_each(|_| tally.add("expired"));
                self.audited += i64::try_from(touched.len()).expect("a few");
                self.compare(&touched).await
            }
            Step::Issue => {
                self.log.push("new tokens for whoever has none".to_owned());
                self.issue().await;
                if self.rehearses {
                    self.give_out().await;
                }
                Ok(())
            }
            Step::Organization { enabled } => {
                self.log.push(format!("the organization is enabled: {enabled}"));
                organizations::switch(&self.world.app, &operator(), self.zoid, !enabled)
                    .await
                    .expect("switched");
                self.model.enabled = *enabled;
                self.audited += 1;
                self.compare(&(0..self.ids.len()).map(|person| (person, Vec::new())).collect::<Touched>())
                    .await
            }
            Step::SelfRename(policy) => {
                self.log.push(format!("self rename: {policy:?}"));
                self.model.self_rename = *policy;
                let policy = match policy {
                    SelfRename::Any => ProductSelfRename::Any,
                    SelfRename::OwnAlias => ProductSelfRename::OwnAlias,
                    SelfRename::Off => ProductSelfRename::Off,
                };
                organizations::update(&self.world.app, &operator(), self.zoid, move |organization, _| {
                    organization.policy.self_rename = policy;
                    Ok(())
                })
                .await
                .expect("a policy");
                self.audited += 1;
                Ok(())
            }
        }
    }

    async fn advance(&mut self, by: Millis) {
        self.world.app.clock.advance(by);
        self.model.now = self.world.app.clock.now();
        self.strange = strange(self.world).await;
    }

    /// A call, and everything that can be seen of it.
    async fn tried(
        &mut self,
        caller: Who,
        credential: Credential,
        reason: Option<&'static str>,
        release: bool,
        what: &What,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (answer, touched) = self.call(caller, credential, reason, release, what).await?;
        tally.add(answer);
        if answer == Answer::Done && touched.is_empty() {
            tally.add("nothing new");
        }
        self.compare(&touched).await
    }

    /// Gives tokens to whoever has none that works.
    async fn issue(&mut self) {
        for person in 0..self.ids.len() {
            let held = &self.model.people[person];
            let has = self.tokens[person].last().is_some_and(|(token, _)| self.model.lives(*token));
            let may = self.model.enabled && !held.deleted && !held.blocks.contains_key(&Switch::User);
            if has || !may {
                continue;
            }
            let handle = Handle::of(self.ids[person].0).expect("a zuid");
            let mut tx = self.world.app.db.read().await.expect("a connection");
            let account = load(&mut tx, self.zoid, handle).await;
            let account = account.expect("readable").expect("there");
            drop(tx);
            for (organization, user) in [(true, false), (false, true), (true, true)] {
                let scopes = [(organization, ORGANIZATION_SCOPES), (user, USER_SCOPES)];
                let scopes: Vec<_> =
                    scopes.into_iter().filter_map(|(has, text)| has.then_some(text)).collect();
                let text = world::token(&self.world.app, &account, &scopes.join(" ")).await;
                let expires_at = self.model.now + 365 * DAY;
                let token = Token { holder: person, organization, user, ended: held.ended, expires_at };
                self.tokens[person].push((token, text));
            }
        }
    }

    // Calls --------------------------------------------------------------------------------

    fn person(&self, number: usize) -> usize {
        number % self.ids.len()
    }

    fn address(&self, address: Address) -> String {
        let domain = match address.place {
            Place::Verified => self.model.domain.clone(),
            Place::Unverified => format!("later.{}", self.model.domain),
            Place::Foreign => FOREIGN_DOMAIN.to_owned(),
        };
        let listed = |number: usize| LOCALS[number % LOCALS.len()].to_owned();
        let known = |wanted: &dyn Fn(&str, &Held) -> bool, number: usize| {
            let all: Vec<_> = self
                .model
                .addresses
                .iter()
                .filter(|(text, held)| wanted(text, held))
                .map(|(text, _)| text)
                .collect();
            all.get(number % all.len().max(1)).and_then(|text| text.split('@').next()).map(str::to_owned)
        };
        let freed = |_: &str, held: &Held| matches!(held, Held::Former { .. });
        let alias = |text: &str, held: &Held| match held {
            Held::By(person) => self.model.people[*person].primary != text,
            Held::Former { .. } => false,
        };
        let local = match address.local {
            Local::Listed(number) => listed(number),
            Local::Freed(number) => known(&freed, number).unwrap_or_else(|| listed(number)),
            Local::Alias(number) => known(&alias, number).unwrap_or_else(|| listed(number)),
        };
        format!("{local}@{domain}")
    }

    /// The address as it is sent.
    fn spelled(&self, address: Address) -> String {
        let text = self.address(address);
        if address.loud { text.to_uppercase() } else { text }
    }

    /// Whose credential is presented, and which.
    fn credential(&self, caller: Who, credential: Credential) -> (Caller, String) {
        let newest = |person: usize, place: usize| {
            let held = &self.tokens[person];
            match held.len() {
                0 => None,
                many => Some(held[many - 3 + place].clone()),
            }
        };
        match caller {
            Who::Operator => (Caller::Operator, String::new()),
            Who::Stranger => {
                let (organization, text) = match credential {
                    Credential::User => (false, &self.strange.1),
                    Credential::Organization | Credential::Both | Credential::Oldest => {
                        (true, &self.strange.0)
                    }
                };
                let token = Token {
                    holder: STRANGER,
                    organization,
                    user: !organization,
                    ended: 0,
                    expires_at: Millis::MAX,
                };
                (Caller::Token(token), text.clone())
            }
            Who::Person(number) => {
                let person = self.person(number);
                let found = match credential {
                    Credential::Organization => newest(person, 0),
                    Credential::User => newest(person, 1),
                    Credential::Both => newest(person, 2),
                    Credential::Oldest => self.tokens[person].first().cloned(),
                };
                let never =
                    Token { holder: person, organization: true, user: true, ended: u32::MAX, expires_at: 0 };
                let (token, text) = found.unwrap_or((never, "1000.never.given".to_owned()));
                (Caller::Token(token), text)
            }
        }
    }

    async fn call(
        &mut self,
        who: Who,
        credential: Credential,
        reason: Option<&'static str>,
        release: bool,
        what: &What,
    ) -> Result<(Answer, Touched), String> {
        let who = match (who, what) {
            (Who::Operator, What::NewAppPassword { .. }) => Who::Stranger,
            (who, _) => who,
        };
        let (caller, token) = self.credential(who, credential);
        let (call, request) = self.written(who, caller, what);
        self.log.push(format!(
            "{who:?} {} {call:?}{}{}",
            match caller {
                Caller::Token(token) => format!(
                    "({}{})",
                    if token.organization { "organization " } else { "" },
                    if token.user { "user" } else { "" }
                ),
                Caller::Operator => String::new(),
            },
            if reason.is_some() { " with a reason" } else { "" },
            if release { " releasing" } else { "" },
        ));
        let foretold = match self.rehearses {
            true => Some(self.foretell(caller, &token, &request, reason, release).await?),
            false => None,
        };
        let (expected, touched) = self.model.call(caller, reason, release, &call);
        let (answer, change, said) = match caller {
            Caller::Operator => {
                let (answered, said) = self.at_the_command_line(&request, reason, release).await?;
                (answered.0, answered.1, said)
            }
            Caller::Token(_) => {
                let answer = self.over_http(&token, &request, reason, release, false).await;
                let (kind, change) = read(&answer)?;
                (kind, change, answer.more_info())
            }
        };
        let line = self.log.last_mut().expect("just pushed");
        line.push_str(&format!(" -> {answer:?}"));
        if answer != expected {
            return Err(format!("the rules say {expected:?}, the answer was {answer:?}"));
        }
        if answer == Answer::Created && matches!(call, Call::Create { .. }) {
            let listed = self.listed().await;
            let newest = listed.last().ok_or("nobody is listed")?;
            self.ids.push((newest.user.get(), newest.id.get()));
            self.tokens.push(Vec::new());
        }
        if let Some(foretold) = foretold {
            self.came_true(foretold, (answer, &said), change).await?;
            self.foretold += 1;
        }
        let noted = match (answer, caller) {
            (Answer::Done | Answer::Created | Answer::BadToken | Answer::BadCredentials, _) => false,
            (_, Caller::Operator) => true,
            (_, Caller::Token(token)) => token.holder != STRANGER,
        };
        self.refused += i64::from(noted);
        self.compare_records(change, &touched).await?;
        Ok((answer, touched))
    }

    /// The call for the model, and the request that says the same.
    fn written(&self, who: Who, caller: Caller, what: &What) -> (Call, Request) {
        let collection = format!("/api/organization/{}/accounts", self.zoid);
        match what {
            What::Mode { naming, target, other, mode } => {
                let caller = match caller {
                    Caller::Token(token) if token.holder != STRANGER => token.holder,
                    Caller::Token(_) | Caller::Operator => 0,
                };
                let target = target.map_or(caller, |number| self.person(number));
                let naming = match (who, naming) {
                    // Only what a command line can say.
                    (Who::Operator, Naming::Own | Naming::OwnWithZuid | Naming::ForeignOrganization) => {
                        Naming::Zuid
                    }
                    (Who::Stranger, Naming::ForeignId | Naming::ForeignOrganization) => Naming::Zuid,
                    (_, naming) => *naming,
                };
                let names = named(naming, target, self.person(*other));
                let (mode, body) = self.mode(mode);
                let mut request = Request { method: "PUT", path: collection, body, names };
                match names.route {
                    Route::Here => {}
                    Route::Elsewhere => {
                        request.path = format!("/api/organization/{}/accounts", self.world.zoid)
                    }
                    Route::Own => "/api/accounts".clone_into(&mut request.path),
                }
                if let Some(path) = names.path {
                    request.path = format!("{}/{}", request.path, self.number(path));
                }
                if let Some(zuid) = names.zuid {
                    let number = self.number(zuid);
                    request.body["zuid"] =
                        if number % 2 == 0 { json!(number) } else { json!(number.to_string()) };
                }
                (Call::Mode(names, mode), request)
            }
            What::ChangeRole { people, role } => {
                let people: Vec<_> = people.iter().map(|number| self.person(*number)).collect();
                let listed: Vec<_> = people.iter().map(|person| self.ids[*person].0.to_string()).collect();
                let mut body = json!({"mode": "changeRole", "userList": listed});
                write_role(&mut body, *role);
                (Call::ChangeRole(people, *role), Request::plain("PUT", collection, body))
            }
            What::Delete { people } => {
                let people: Vec<_> = people.iter().map(|number| self.person(*number)).collect();
                let listed: Vec<_> = people.iter().map(|person| self.ids[*person].0).collect();
                (Call::Delete(people), Request::plain("DELETE", collection, json!({"accountList": listed})))
            }
            What::DeleteAddresses(addresses) => {
                let call =
                    Call::DeleteAddresses(addresses.iter().map(|address| self.address(*address)).collect());
                let listed: Vec<_> = addresses.iter().map(|address| self.spelled(*address)).collect();
                (call, Request::plain("DELETE", collection, json!({"emailList": listed})))
            }
            What::NewAppPassword { target } => {
                let caller = match caller {
                    Caller::Token(token) if token.holder != STRANGER => token.holder,
                    Caller::Token(_) | Caller::Operator => 0,
                };
                let target = target.map_or(caller, |number| self.person(number));
                let names = Names { route: Route::Own, path: Some(Named::Account(target)), zuid: None };
                let path = format!("/api/accounts/{}/appPasswords", self.ids[target].1);
                let current = self.model.people[target].password;
                let body = json!({"name": "Telephone", "protocols": ["imap"], "currentPassword": current});
                (
                    Call::Mode(names, Mode::NewAppPassword),
                    Request { names, ..Request::plain("POST", path, body) },
                )
            }
            What::Create { address, role, password, one_time, days, name } => {
                let mut body = json!({
                    "primaryEmailAddress": self.spelled(*address),
                    "password": password,
                    "displayName": name,
                });
                write_role(&mut body, *role);
                let one_time = written(&mut body, "oneTimePassword", *one_time).unwrap_or(false);
                if let Some(days) = days {
                    body["userExpiry"] = json!(days);
                }
                let call = Call::Create {
                    address: self.address(*address),
                    role: *role,
                    password,
                    one_time,
                    display_name: name,
                    days: *days,
                };
                (call, Request::plain("POST", collection, body))
            }
        }
    }

    fn number(&self, named: Named) -> i64 {
        match named {
            Named::Person(STRANGER) => self.world.member.zuid,
            Named::Account(STRANGER) => self.world.member.account_id,
            Named::Person(person) => self.ids[person].0,
            Named::Account(person) => self.ids[person].1,
        }
    }

    fn mode(&self, wish: &Wish) -> (Mode, Value) {
        let several = |addresses: &[Address]| -> (Vec<String>, Vec<String>) {
            addresses.iter().map(|address| (self.address(*address), self.spelled(*address))).unzip()
        };
        match wish {
            Wish::ResetPassword { password, end_everything, one_time, keep } => {
                let mut body = json!({"mode": "resetPassword", "password": password});
                let end_everything = written(&mut body, "resetAuthToken", *end_everything).unwrap_or(true);
                let one_time = written(&mut body, "oneTimePassword", *one_time).unwrap_or(true);
                let keep_app_passwords = written(&mut body, "keepAppPasswords", *keep).unwrap_or(false);
                (Mode::ResetPassword { password, end_everything, one_time, keep_app_passwords }, body)
            }
            Wish::Email(address) => (
                Mode::Email(self.address(*address)),
                json!({"mode": "emailupdate", "emailAddress": self.spelled(*address)}),
            ),
            Wish::NameAndEmail(name, address) => (
                Mode::NameAndEmail(name, self.address(*address)),
                json!({"mode": "displaynameemailupdate", "displayName": name, "emailAddress": self.spelled(*address)}),
            ),
            Wish::EnableUser { unblock_incoming } => {
                let mut body = json!({"mode": "enableUser"});
                let unblock_incoming =
                    written(&mut body, "unblockIncoming", *unblock_incoming).unwrap_or(false);
                (Mode::EnableUser { unblock_incoming }, body)
            }
            Wish::DisableUser { block_incoming, remove_alias } => {
                let mut body = json!({"mode": "disableUser", "removeMailforward": "true"});
                let block_incoming = written(&mut body, "blockIncoming", *block_incoming).unwrap_or(false);
                let remove_alias = written(&mut body, "removeAlias", *remove_alias).unwrap_or(false);
                (Mode::DisableUser { block_incoming, remove_alias }, body)
            }
            Wish::AddAliases(addresses) => {
                let (texts, spelled) = several(addresses);
                (Mode::AddAliases(texts), json!({"mode": "addEmailAlias", "emailAlias": spelled}))
            }
            Wish::RemoveAliases(addresses) => {
                let (texts, spelled) = several(addresses);
                (Mode::RemoveAliases(texts), json!({"mode": "deleteEmailAlias", "emailAlias": spelled}))
            }
            Wish::Plain(mode) => {
                let body = match mode {
                    Mode::Name(name) => json!({"mode": "displaynameupdate", "displayName": name}),
                    Mode::EnableMail => json!({"mode": "enableMailAccount"}),
                    Mode::DisableMail => json!({"mode": "disableMailAccount"}),
                    Mode::Turn(Switch::Incoming, on) => {
                        json!({"mode": "updateIncomingStatus", "incomingBlocked": on})
                    }
                    Mode::Turn(Switch::Outgoing, on) => {
                        json!({"mode": "updateOutgoingStatus", "outgoingBlocked": on.to_string()})
                    }
                    Mode::Turn(Switch::Imap, off) => {
                        json!({"mode": "updateIMAPStatus", "imapAccessEnabled": !off})
                    }
                    Mode::Turn(Switch::Pop, off) => {
                        json!({"mode": "updatePOPStatus", "popAccessEnabled": (!off).to_string()})
                    }
                    Mode::FirstName(name) => json!({"mode": "updatePersonalInfo", "firstName": name}),
                    other => unreachable!("{other:?} has a wish of its own"),
                };
                (mode.clone(), body)
            }
        }
    }

    /// The dry run of a call, and what there was before it.
    async fn foretell(
        &self,
        caller: Caller,
        token: &str,
        request: &Request,
        reason: Option<&str>,
        release: bool,
    ) -> Result<Foretold, String> {
        let before = self.look().await;
        let said = match caller {
            Caller::Operator => match self.forecast_at_the_command_line(request, reason, release).await {
                Ok(forecast) => {
                    counted(self, &forecast).await?;
                    Ok(json!(forecast))
                }
                Err(error) => Err((refusal(&error)?, error.to_string())),
            },
            Caller::Token(_) => told(&self.over_http(token, request, reason, release, true).await)?,
        };
        self.heard(before, said).await
    }

    async fn over_http(
        &self,
        token: &str,
        request: &Request,
        reason: Option<&str>,
        release: bool,
        dry_run: bool,
    ) -> HttpAnswer {
        let authorization = format!("Zoho-oauthtoken {token}");
        let mut headers =
            vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
        headers.extend(reason.map(|reason| ("x-mailward-reason", reason)));
        headers.extend(release.then_some(("x-mailward-release-address", "the owner agreed")));
        headers.extend(dry_run.then_some(("x-mailward-dry-run", "true")));
        self.world.send(request.method, &request.path, &headers, request.body.to_string()).await
    }

    /// The answer, and the refusal in words.
    async fn at_the_command_line(
        &self,
        request: &Request,
        reason: Option<&str>,
        release: bool,
    ) -> Result<(Answered, String), String> {
        match self.operate(request, reason, release, false).await {
            Ok(done) => {
                let kind = if request.method == "POST" { Answer::Created } else { Answer::Done };
                Ok(((kind, done.change), String::new()))
            }
            Err(error) => Ok(((refusal(&error)?, None), error.to_string())),
        }
    }

    async fn forecast_at_the_command_line(
        &self,
        request: &Request,
        reason: Option<&str>,
        release: bool,
    ) -> Result<Forecast, Error> {
        let done = self.operate(request, reason, release, true).await?;
        assert!(done.change.is_none(), "a dry run has no change");
        done.forecast.ok_or_else(|| Error::internal("a dry run without a forecast"))
    }

    async fn operate(
        &self,
        request: &Request,
        reason: Option<&str>,
        release: bool,
        dry_run: bool,
    ) -> Result<Done, Error> {
        let said = |text: &str| Reason::parse(text).expect("a short line");
        let context = Context {
            reason: reason.and_then(said),
            release: release.then(|| said("the owner agreed")).flatten(),
            dry_run,
            ..operator()
        };
        let body = Body::parse(request.body.to_string().as_bytes()).expect("JSON");
        let run = async |mode: Result<AccountMode, Error>| {
            let names = request.names;
            let ask = Ask {
                route: ProductRoute::Organization(self.zoid),
                path: names.path.map(|named| self.number(named)),
                zuid: names.zuid.map(|named| self.number(named)),
                mode: mode?,
            };
            change::run(&self.world.app, &context, ask).await
        };
        match request.method {
            "POST" => creation::run(&self.world.app, &context, self.zoid, NewUser::from_body(&body)?).await,
            "DELETE" => run(DeleteUser::parse(&body).map(AccountMode::DeleteUser)).await,
            _ => run(AccountMode::from_body(&body)).await,
        }
    }

    async fn own_password(
        &mut self,
        whose: Whose,
        guess: Guess,
        new: &'static str,
        end_everything: Option<bool>,
        tally: &mut Tally,
    ) -> Result<Touched, String> {
        let (text, spelled) = match whose {
            Whose::Person(number) => {
                let primary = self.model.people[self.person(number)].primary.clone();
                (primary.clone(), primary)
            }
            Whose::Address(address) => (self.address(address), self.spelled(address)),
        };
        let password = match guess {
            Guess::Wrong(password) => password,
            Guess::Current => {
                let mailbox = text.replace("+tag", "");
                let owner = match self.model.addresses.get(&mailbox) {
                    Some(Held::By(person)) => Some(*person),
                    Some(Held::Former { .. }) | None => None,
                };
                owner.map_or(PASSWORD, |person| self.model.people[person].password)
            }
        };
        self.log.push(format!("own password: {text} {password} -> {new}"));
        let mut body = json!({"address": spelled, "password": password, "newPassword": new});
        let end_everything = written(&mut body, "resetAuthToken", end_everything).unwrap_or(true);
        let headers = [("content-type", "application/json")];
        let foretold = if self.rehearses {
            let mut tried = self.model.clone();
            if tried.own_password(&text, password, new, end_everything).0 == Answer::BadCredentials {
                // A wrong password is a try, also in a dry run.
                self.model = tried;
            }
            let dry = [headers[0], ("x-mailward-dry-run", "true")];
            let before = self.look().await;
            let said = told(&self.world.send("POST", "/self/password", &dry, body.to_string()).await)?;
            Some(self.heard(before, said).await?)
        } else {
            None
        };
        let (expected, touched) = self.model.own_password(&text, password, new, end_everything);
        let real = self.world.send("POST", "/self/password", &headers, body.to_string()).await;
        let (answer, change) = read(&real)?;
        if let Some(foretold) = foretold {
            self.came_true(foretold, (answer, &real.more_info()), change).await?;
            self.foretold += 1;
        }
        if answer != expected {
            return Err(format!("the rules say {expected:?}, the answer was {answer:?}"));
        }
        tally.add(answer);
        if answer == Answer::Done {
            tally.add("own password");
        }
        self.compare_records(change, &touched).await?;
        Ok(touched)
    }

    // Comparisons --------------------------------------------------------------------------

    /// The accounts in the order of the list, each as it is loaded for a change.
    pub(super) async fn listed(&self) -> Vec<Account> {
        let mut tx = self.world.app.db.snapshot().await.expect("a snapshot");
        let mut accounts = Vec::new();
        for listed in page(&mut tx, self.zoid, 0, 200).await.expect("a page") {
            let loaded = load(&mut tx, self.zoid, Handle::User(listed.account.user)).await;
            accounts.push(loaded.expect("readable").expect("listed, so there"));
        }
        accounts
    }

    /// The accounts, the addresses, how much was written down, and the tokens of those concerned.
    async fn compare(&self, touched: &Touched) -> Result<(), String> {
        let listed = self.listed().await;
        let there: Vec<usize> =
            (0..self.ids.len()).filter(|person| !self.model.people[*person].deleted).collect();
        if listed.len() != there.len() {
            return Err(format!("{} people are listed, the rules know {}", listed.len(), there.len()));
        }
        for (person, listed) in there.into_iter().zip(&listed) {
            let (expected, found) = (&self.model.people[person], self.seen(listed)?);
            let zuid = listed.user.get();
            if zuid != self.ids[person].0 {
                return Err(format!("person {person} is {zuid}"));
            }
            // How often tokens were ended is seen by the tokens.
            let found = Person { password: expected.password, ended: expected.ended, ..found };
            if *expected != found {
                return Err(format!("person {person} should be\n{expected:#?}\nand is\n{found:#?}"));
            }
        }
        self.compare_addresses().await?;
        let audited = self.count("SELECT COUNT(*) AS n FROM audit WHERE organization_id = $1").await;
        if audited != self.audited {
            return Err(format!("{audited} audit entries, not {}", self.audited));
        }
        let refused = self
            .count("SELECT CAST(COALESCE(SUM(refusals), 0) AS BIGINT) AS n FROM refusal WHERE organization_id = $1")
            .await;
        if refused != self.refused {
            return Err(format!("{refused} refusals are counted, not {}", self.refused));
        }
        for (person, _) in touched {
            self.compare_tokens(*person).await?;
        }
        Ok(())
    }

    /// A stored account in the model's words.
    fn seen(&self, account: &Account) -> Result<Person, String> {
        if account.mailbox != format!("m{}", account.id) {
            return Err(format!("the mailbox of {} is {}", account.id, account.mailbox));
        }
        let kinds = (account.credential.kind == PasswordKind::OneTime, account.credential.until.is_some());
        if kinds.0 != kinds.1 {
            return Err("a one-time password ends, a permanent one does not".to_owned());
        }
        let switches = [
            (SwitchName::UserDisabled, Switch::User),
            (SwitchName::MailDisabled, Switch::Mail),
            (SwitchName::IncomingBlocked, Switch::Incoming),
            (SwitchName::OutgoingBlocked, Switch::Outgoing),
            (SwitchName::ImapOff, Switch::Imap),
            (SwitchName::PopOff, Switch::Pop),
        ];
        let mut blocks = BTreeMap::new();
        for (name, switch) in switches {
            let Some(block) = account.switches.get(name) else { continue };
            let by = match &block.by {
                ProductWho::User(user) => By::Person(
                    self.ids
                        .iter()
                        .position(|(zuid, _)| *zuid == user.get())
                        .ok_or("a block of nobody here")?,
                ),
                ProductWho::Operator(_) => By::Operator,
                ProductWho::Clock => By::Clock,
            };
            let rank = match block.rank {
                ProductRank::Member => Rank::Member,
                ProductRank::HelpDesk => Rank::HelpDesk,
                ProductRank::Admin => Rank::Admin,
                ProductRank::SuperAdmin => Rank::SuperAdmin,
                ProductRank::Operator => Rank::Operator,
            };
            let reason = match block.reason.as_ref().map(Reason::as_str) {
                None => None,
                Some(REASON) => Some(REASON),
                Some("the user's term has ended") => Some("the user's term has ended"),
                Some(other) => return Err(format!("nobody said {other}")),
            };
            blocks.insert(switch, super::rules::Block { by, rank, at: block.at, reason });
        }
        Ok(Person {
            role: match account.role {
                Role::Member => Rank::Member,
                Role::HelpDesk if account.help_desk == Some(every_verb()) => Rank::HelpDesk,
                Role::HelpDesk => return Err("a help desk with other limits".to_owned()),
                Role::Admin => Rank::Admin,
                Role::SuperAdmin => Rank::SuperAdmin,
            },
            first_name: account.profile.first_name.clone(),
            display_name: account.profile.display_name.clone(),
            primary: account.primary.to_string(),
            aliases: account.aliases.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
            blocks,
            password: "",
            until: account.credential.until,
            password_at: account.credential.at,
            generation: account.generation,
            ended: 0,
            self_renames: account.self_renames.clone(),
            expires_at: account.expires_at,
            app_passwords: account.app_passwords.len(),
            deleted: account.deleted,
        })
    }

    async fn compare_addresses(&self) -> Result<(), String> {
        let mut tx = self.world.app.db.read().await.expect("a connection");
        let rows: Vec<(String, i64, Option<i64>, Option<i64>)> = tx
            .query_all(
                "SELECT address, account_id, freed_at, kept_until FROM address WHERE organization_id = $1",
                params![self.zoid.get()],
                |row| {
                    Ok((
                        row.get("address")?,
                        row.get("account_id")?,
                        row.get("freed_at")?,
                        row.get("kept_until")?,
                    ))
                },
            )
            .await
            .expect("addresses");
        let mut found = BTreeMap::new();
        for (address, account, freed_at, kept_until) in rows {
            let person =
                self.ids.iter().position(|(_, id)| *id == account).ok_or("an address of nobody here")?;
            let held = match (freed_at, kept_until) {
                (None, None) => Held::By(person),
                (Some(_), Some(until)) => Held::Former { by: person, until },
                _ => return Err(format!("{address} is half freed")),
            };
            found.insert(address, held);
        }
        if found != self.model.addresses {
            return Err(format!("addresses should be\n{:#?}\nand are\n{found:#?}", self.model.addresses));
        }
        Ok(())
    }

    async fn compare_tokens(&self, person: usize) -> Result<(), String> {
        let mut tx = self.world.app.db.read().await.expect("a connection");
        for (number, (token, text)) in self.tokens[person].iter().enumerate() {
            let holder = tokens::holder(&mut tx, &fingerprint(text), self.model.now).await.expect("readable");
            let (lives, should) = (holder.is_some(), self.model.lives(*token));
            if lives != should {
                return Err(format!(
                    "token {number} of person {person} lives: {lives}, and should: {should}"
                ));
            }
        }
        Ok(())
    }

    /// The receipt, the audit entries and the effects of one call.
    async fn compare_records(&mut self, change: Option<ChangeId>, touched: &Touched) -> Result<(), String> {
        let Some(change) = change else {
            return if touched.is_empty() { Ok(()) } else { Err("the answer names no change".to_owned()) };
        };
        if touched.is_empty() {
            return Err("the answer names a change where nothing changed".to_owned());
        }
        self.audited += i64::try_from(touched.len()).expect("a few");
        let mut tx = self.world.app.db.read().await.expect("a connection");
        let entries = audit::of_change(&mut tx, self.zoid, change).await.expect("readable");
        let people: Vec<_> = entries.iter().filter_map(|entry| entry.person).map(|user| user.get()).collect();
        let expected: Vec<_> = touched.iter().map(|(person, _)| self.ids[*person].0).collect();
        if people != expected {
            return Err(format!("the audit log names {people:?}, not {expected:?}"));
        }
        let mut effects: BTreeMap<i64, Vec<ProductEffect>> = BTreeMap::new();
        for row in effects_of(&mut tx, self.zoid, change).await {
            effects.entry(row.account.map_or(0, |account| account.get())).or_default().push(row.effect);
        }
        for (person, expected) in touched {
            let (_, account) = self.ids[*person];
            let found = effects.remove(&account).unwrap_or_default();
            let (projected, others): (Vec<_>, Vec<_>) =
                found.iter().partition(|effect| **effect == ProductEffect::Project);
            if projected.len() != 1 {
                return Err(format!("the look-up of person {person} is not told once: {found:?}"));
            }
            let others: Vec<_> = others
                .into_iter()
                .map(|effect| match effect {
                    ProductEffect::EndSessions { sessions: Sessions::All, .. } => Ok(Effect::EndAllSessions),
                    ProductEffect::EndSessions { sessions: Sessions::Generation(generation), .. } => {
                        Ok(Effect::EndSessionsOf { generation: *generation })
                    }
                    ProductEffect::EndSessions { sessions: Sessions::AppPassword(_), .. } => {
                        Ok(Effect::EndSessionsOfAppPassword)
                    }
                    ProductEffect::Tell { .. } => Ok(Effect::Tell),
                    other => Err(format!("nobody asked for {other:?}")),
                })
                .collect::<Result<_, _>>()?;
            if others != *expected {
                return Err(format!("the effects on person {person} are {others:?}, not {expected:?}"));
            }
        }
        if effects.is_empty() { Ok(()) } else { Err(format!("effects on others: {effects:?}")) }
    }

    /// Every token ever given, and every password.
    async fn compare_every_secret(&self) -> Result<(), String> {
        for person in 0..self.ids.len() {
            self.compare_tokens(person).await?;
        }
        for listed in self.listed().await {
            let zuid = listed.user.get();
            let person = self.ids.iter().position(|(known, _)| *known == zuid).ok_or("an unknown person")?;
            let password = Password::prepare(self.model.people[person].password).expect("a password");
            let hash = listed.credential.hash.as_ref().ok_or("a person without a password")?;
            if !self.world.app.hasher.verify(&password, hash).await.map_err(|error| error.to_string())? {
                return Err(format!("person {person}'s password is another one"));
            }
        }
        Ok(())
    }
}

async fn strange(world: &World) -> (String, String) {
    let account = world.account(&world.owner).await;
    let token = async |scopes| world::token(&world.app, &account, scopes).await;
    (token(ORGANIZATION_SCOPES).await, token(USER_SCOPES).await)
}

/// A call on its way out.
struct Request {
    method: &'static str,
    path: String,
    body: Value,
    names: Names,
}

impl Request {
    fn plain(method: &'static str, path: String, body: Value) -> Self {
        Self { method, path, body, names: Names { route: Route::Here, path: None, zuid: None } }
    }
}

fn named(naming: Naming, target: usize, other: usize) -> Names {
    let here = |path, zuid| Names { route: Route::Here, path, zuid };
    let (person, account) = (Some(Named::Person(target)), Some(Named::Account(target)));
    match naming {
        Naming::Zuid => here(person, None),
        Naming::AccountId => here(account, None),
        Naming::ZuidTwice => here(person, person),
        Naming::AccountIdAndZuid => here(account, person),
        Naming::BodyAlone => here(None, person),
        Naming::Nobody => here(None, None),
        Naming::Torn => here(person, Some(Named::Person(other))),
        Naming::ForeignId => here(Some(Named::Person(STRANGER)), None),
        Naming::ForeignOrganization => Names { route: Route::Elsewhere, path: person, zuid: None },
        Naming::Own => Names { route: Route::Own, path: account, zuid: None },
        Naming::OwnWithZuid => Names { route: Route::Own, path: account, zuid: Some(Named::Person(other)) },
    }
}

/// Writes a flag as clients do, now as a boolean and now as a string.
fn written(body: &mut Value, name: &str, flag: Option<bool>) -> Option<bool> {
    if let Some(flag) = flag {
        body[name] = if name.len().is_multiple_of(2) { json!(flag) } else { json!(flag.to_string()) };
    }
    flag
}

fn every_verb() -> HelpDesk {
    HelpDesk::new(Verb::ALL, None).expect("verbs")
}

/// A role as clients write it.
fn write_role(body: &mut Value, rank: Rank) {
    body["role"] = if rank == Rank::HelpDesk { "admin".into() } else { product_role(rank).as_str().into() };
    if rank == Rank::HelpDesk {
        body["isCustomAdmin"] = "true".into();
        body["verbs"] = json!(["reset", "switches", "rename"]);
    }
}

fn product_role(rank: Rank) -> Role {
    match rank {
        Rank::Member => Role::Member,
        Rank::HelpDesk => Role::HelpDesk,
        Rank::Admin => Role::Admin,
        Rank::SuperAdmin => Role::SuperAdmin,
        Rank::Operator => unreachable!("nobody in an organization is an operator"),
    }
}

/// What a dry run answered: the forecast, or the refusal.
fn told(answer: &HttpAnswer) -> Result<Result<Value, (Answer, String)>, String> {
    let (kind, change) = read(answer)?;
    if kind != Answer::Done {
        return Ok(Err((kind, answer.more_info())));
    }
    let marked = answer.headers.get("x-mailward-dry-run").is_some_and(|value| value == "true");
    match (change, marked) {
        (None, true) => Ok(Ok(answer.json()["data"].clone())),
        other => Err(format!("a dry run is marked as one and has no change: {other:?}")),
    }
}

/// A refusal in the model's words.
fn refusal(error: &Error) -> Result<Answer, String> {
    match error {
        Error::NotFound(_) => Ok(Answer::NotFound),
        Error::Forbidden(_) => Ok(Answer::Forbidden),
        Error::Refused(_) => Ok(Answer::Refused),
        Error::AddressTaken(_) | Error::AddressKept { .. } => Ok(Answer::Taken),
        Error::BadAddress(_) => Ok(Answer::BadAddress),
        Error::BadPassword(_) => Ok(Answer::BadPassword),
        other => Err(format!("the command line met {other}")),
    }
}

/// An answer in the model's words.
fn read(answer: &HttpAnswer) -> Result<Answered, String> {
    let kind = match (answer.status.as_u16(), answer.error_code().as_str()) {
        (200, "") => Answer::Done,
        (201, "") => Answer::Created,
        (401, "INVALID_OAUTHTOKEN") => Answer::BadToken,
        (401, "INVALID_CREDENTIALS") => Answer::BadCredentials,
        (401, "") if answer.text.contains("INVALID_OAUTHSCOPE") => Answer::MissingScope,
        (404, "RESOURCE_NOT_FOUND") => Answer::NotFound,
        (403, "OPERATION_NOT_PERMITTED") => Answer::Forbidden,
        (400, "INVALID_INPUT") => Answer::Refused,
        (400, "EMAILADDRESS_ALREADY_EXISTS") => Answer::Taken,
        (400, "INVALID_EMAILADDRESS") => Answer::BadAddress,
        (400, "INVALID_PASSWORD") => Answer::BadPassword,
        (status, _) => return Err(format!("an unexpected answer, {status}: {}", answer.text)),
    };
    let change = answer.change().map(|text| text.parse().map_err(|()| format!("{text} is no change")));
    Ok((kind, change.transpose()?))
}
