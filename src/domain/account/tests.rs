//! Every transition, asked for what it changes and for what it leaves alone.

use std::collections::BTreeSet;

use super::*;
use crate::clock::{DAY, HOUR};
use crate::domain::actor::Who;
use crate::domain::app_password::Protocols;
use crate::domain::claim::{DomainState, Holder};
use crate::domain::email_address::DomainName;
use crate::domain::help_desk::Verb;

const NOW: Millis = 1_780_310_520_000;

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn hash(salt: &str) -> PasswordHash {
    let phc = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$gy5SuVm5Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0");
    PasswordHash::parse(&phc).expect("a hash")
}

const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZg";
const NEW: &str = "ZmVkY2JhOTg3NjU0MzIxMA";

fn new_password(kind: PasswordKind) -> NewPassword {
    NewPassword { hash: hash(NEW), kind }
}

fn app(number: i64) -> AppPassword {
    AppPassword {
        id: AppPasswordId::new(100_000_000_000 + number).expect("an id"),
        name: format!("device {number}"),
        digest: "0".repeat(64),
        protocols: Protocols::ALL,
        created_at: 0,
        expires_at: None,
    }
}

fn mia() -> Account {
    Account {
        organization: OrganizationId::new(10_000_001).expect("a zoid"),
        user: UserId::new(1_000_000_000_001).expect("a zuid"),
        id: AccountId::new(2_560_636_000_000_008_002).expect("an accountId"),
        version: 1,
        role: Role::Member,
        help_desk: None,
        profile: Profile {
            first_name: "Mia".to_owned(),
            last_name: "van Lund".to_owned(),
            display_name: "Mia L".to_owned(),
            ..Profile::default()
        },
        mailbox: "m1".to_owned(),
        primary: address("mia@zylker.example"),
        aliases: vec![address("sales@zylker.example"), address("info2@zylker.example")],
        app_passwords: vec![app(1), app(2)],
        credential: Credential {
            hash: Some(hash(OLD)),
            kind: PasswordKind::Permanent,
            until: None,
            at: 5,
            history: vec![],
        },
        generation: 3,
        session_epoch: 7,
        switches: Switches::default(),
        self_renames: vec![],
        expires_at: None,
        created_at: 0,
        deleted: false,
    }
}

fn hand(rank: Rank, own: bool) -> Hand {
    let number = if own { 1_000_000_000_001 } else { 1_000_000_000_009 };
    Hand { who: Who::User(UserId::new(number).expect("a zuid")), rank, own, at: NOW, reason: None }
}

fn by_admin(account: Account, facts: &Facts) -> Transition<'_> {
    Transition::new(account, facts, hand(Rank::Admin, false), None)
}

fn by_oneself(account: Account, facts: &Facts) -> Transition<'_> {
    Transition::new(account, facts, hand(Rank::Member, true), None)
}

/// Facts under which these addresses are free.
fn free(addresses: &[&str]) -> Facts {
    let verified = AddressFacts { domain: DomainState::Verified, holder: None };
    let addresses = addresses.iter().map(|text| (address(text), verified.clone())).collect();
    Facts { delimiter: '+', addresses, ..Facts::default() }
}

/// Whether anything is to be stored.
fn changed(change: &Transition<'_>, before: &Account) -> bool {
    change.account != *before || !change.effects.is_empty()
}

fn ended(sessions: Sessions) -> Effect {
    Effect::EndSessions { mailbox: "m1".to_owned(), sessions }
}

fn forbidden(result: Result<(), Error>) -> String {
    match result {
        Err(Error::Forbidden(why)) => why,
        other => panic!("expected Forbidden, got {other:?}"),
    }
}

#[test]
fn a_person_is_called_by_the_display_name_or_else_by_the_address() {
    let mut account = mia();
    account.profile.display_name = " Mia Lund ".to_owned();
    assert_eq!(account.called(), "Mia Lund");
    account.profile.display_name = " ".to_owned();
    assert_eq!(account.called(), account.primary.as_str());
}

#[test]
fn every_switch_is_turned_by_itself_and_ends_the_sessions_that_it_is_about() {
    let facts = Facts::default();
    for name in SwitchName::ALL {
        let mut change = by_admin(mia(), &facts);
        change.turn(name, true).expect("turned on");
        for other in SwitchName::ALL {
            assert_eq!(change.account.switches.get(other).is_some(), other == name, "{name:?}, {other:?}");
        }
        let block = change.account.switches.get(name).clone().expect("a block");
        assert_eq!((block.by, block.rank, block.at), (change.hand.who.clone(), Rank::Admin, NOW));
        let ends = match name {
            SwitchName::IncomingBlocked | SwitchName::OutgoingBlocked => vec![],
            SwitchName::UserDisabled
            | SwitchName::MailDisabled
            | SwitchName::ImapOff
            | SwitchName::PopOff => {
                vec![ended(Sessions::All)]
            }
        };
        assert_eq!(change.effects, ends, "{name:?}");
        let epoch = if name == SwitchName::UserDisabled { 8 } else { 7 };
        assert_eq!((change.account.session_epoch, change.account.generation), (epoch, 3), "{name:?}");
        let before = change.account.clone();
        change.effects.clear();
        change.set(name).expect("a repeat");
        assert!(!changed(&change, &before), "{name:?}: a repeat cuts nothing");
        change.turn(name, false).expect("turned off");
        assert!(change.account.switches.get(name).is_none() && changed(&change, &before), "{name:?}");
        assert_eq!(change.effects, [], "{name:?}: letting in again ends nothing");
    }
}

#[test]
fn a_switch_has_one_name_in_entries_and_one_in_sentences() {
    let keys = SwitchName::ALL.map(SwitchName::key);
    let wanted =
        ["userDisabled", "mailAccountDisabled", "incomingBlocked", "outgoingBlocked", "imapOff", "popOff"];
    assert_eq!(keys, wanted);
    let words = SwitchName::ALL.map(SwitchName::in_words);
    assert_eq!(BTreeSet::from(words).len(), 6);
    assert!(words.iter().all(|words| words.starts_with("the ")), "{words:?}");
    let facts = Facts::default();
    let mut change = Transition::new(mia(), &facts, hand(Rank::SuperAdmin, false), None);
    change.set(SwitchName::PopOff).expect("turned on");
    change.hand = hand(Rank::Admin, false);
    assert!(forbidden(change.lift(SwitchName::PopOff)).contains("the POP switch"));
}

#[test]
fn who_is_let_in_after_the_end_of_a_term_has_none_any_more() {
    let facts = Facts::default();
    let after = |name: SwitchName, expires_at: Millis, disabled: bool| {
        let mut change = by_admin(Account { expires_at: Some(expires_at), ..mia() }, &facts);
        if disabled {
            change.set(name).expect("turned on");
        }
        change.lift(name).expect("lifted");
        change.account.expires_at
    };
    assert_eq!(after(SwitchName::UserDisabled, NOW - 1, true), None);
    assert_eq!(after(SwitchName::UserDisabled, NOW, true), None, "the term is over at its end");
    assert_eq!(after(SwitchName::UserDisabled, NOW + 1, true), Some(NOW + 1));
    assert_eq!(after(SwitchName::UserDisabled, NOW - 1, false), Some(NOW - 1), "nothing was lifted");
    assert_eq!(after(SwitchName::MailDisabled, NOW - 1, true), Some(NOW - 1));
}

#[test]
fn a_term_that_is_over_is_ended_by_nobody_below_who_may_give_one() {
    let facts = Facts::default();
    let lifted = |role: Role, expires_at: Millis, setter: Rank, lifter: Rank| {
        let account = Account { role, expires_at: Some(expires_at), ..mia() };
        let mut change = Transition::new(account, &facts, hand(setter, false), None);
        change.set(SwitchName::UserDisabled).expect("disabled before the end");
        change.hand = hand(lifter, false);
        change.lift(SwitchName::UserDisabled).map(|()| change.account.expires_at)
    };
    let refused = |role, setter, lifter| forbidden(lifted(role, NOW, setter, lifter).map(drop));
    let said = refused(Role::Member, Rank::HelpDesk, Rank::HelpDesk);
    assert!(said.contains("term has ended") && said.contains("an administrator"), "{said}");
    let said = refused(Role::Admin, Rank::Admin, Rank::Admin);
    assert!(said.contains("a super administrator"), "{said}");
    assert_eq!(lifted(Role::Member, NOW, Rank::HelpDesk, Rank::Admin).expect("lifted"), None);
    let running = lifted(Role::Member, NOW + 1, Rank::HelpDesk, Rank::HelpDesk).expect("lifted");
    assert_eq!(running, Some(NOW + 1), "a term that runs on is not decided about");
}

#[test]
fn the_last_enabled_super_administrator_is_kept_whatever_is_tried() {
    let alone = Facts::default();
    let with_another = Facts { other_super_admins: 1, ..Facts::default() };
    let boss = || Account { role: Role::SuperAdmin, ..mia() };
    type Try = fn(&mut Transition<'_>) -> Result<(), Error>;
    let tries: [(&str, Try); 4] = [
        ("disabled", |change| change.set(SwitchName::UserDisabled)),
        ("deleted", |change| change.delete()),
        ("demoted", |change| change.change_role(Role::Admin, None)),
        ("demoted", |change| change.change_role(Role::Member, None)),
    ];
    for (word, attempt) in tries {
        let mut last = Transition::new(boss(), &alone, hand(Rank::Operator, false), None);
        assert!(forbidden(attempt(&mut last)).contains(word), "{word}");
        assert_eq!(last.account, boss());
        attempt(&mut Transition::new(boss(), &with_another, hand(Rank::Operator, false), None)).expect(word);
        attempt(&mut Transition::new(mia(), &alone, hand(Rank::Operator, false), None)).expect(word);
        for counts_no_more in [
            Account { deleted: true, ..boss() },
            Account {
                switches: Switches {
                    user_disabled: Some(switch::Block {
                        by: Who::Clock,
                        rank: Rank::Operator,
                        at: 0,
                        reason: None,
                    }),
                    ..Switches::default()
                },
                ..boss()
            },
        ] {
            let mut change = Transition::new(counts_no_more, &alone, hand(Rank::Operator, false), None);
            attempt(&mut change).expect(word);
        }
    }
    // Other switches leave the right to administer alone.
    Transition::new(boss(), &alone, hand(Rank::Operator, false), None)
        .set(SwitchName::MailDisabled)
        .expect("the mail of the last one can be disabled");
    let mut same = Transition::new(boss(), &alone, hand(Rank::Operator, false), None);
    same.change_role(Role::SuperAdmin, None).expect("nothing changes");
}

#[test]
fn a_new_password_ends_what_was_asked_for_and_nothing_else() {
    let facts = Facts::default();
    for (ends, generation, epoch, apps, sessions) in [
        (Ends::Nothing, 3, 7, 2, vec![]),
        (Ends::OldPassword, 4, 8, 2, vec![Sessions::Generation(3)]),
        (
            Ends::Everything,
            4,
            8,
            0,
            vec![Sessions::Generation(3), Sessions::AppPassword(app(1).id), Sessions::AppPassword(app(2).id)],
        ),
    ] {
        let mut change = by_admin(mia(), &facts);
        change.replace_password(new_password(PasswordKind::Permanent), ends, Notice::PasswordChanged);
        let account = &change.account;
        assert_eq!((account.generation, account.session_epoch), (generation, epoch), "{ends:?}");
        assert_eq!(account.app_passwords.len(), apps, "{ends:?}");
        let mut wanted: Vec<_> = sessions.into_iter().map(ended).collect();
        wanted.push(Effect::Tell { notice: Notice::PasswordChanged });
        assert_eq!(change.effects, wanted, "{ends:?}");
    }
}

#[test]
fn a_one_time_password_has_an_end_and_a_permanent_one_has_none() {
    let mut facts = Facts::default();
    facts.policy.password.one_time_valid_for = 2 * HOUR;
    for (kind, until, word) in [
        (PasswordKind::OneTime, Some(NOW + 2 * HOUR), "one-time"),
        (PasswordKind::Permanent, None, "permanent"),
    ] {
        let mut change = by_admin(mia(), &facts);
        change.replace_password(new_password(kind), Ends::Nothing, Notice::PasswordReset);
        let credential = &change.account.credential;
        assert_eq!((credential.kind, credential.until, credential.at), (kind, until, NOW));
        assert_eq!(credential.hash, Some(hash(NEW)));
        assert_eq!(change.notes["password"], word);
    }
}

#[test]
fn as_many_old_passwords_are_remembered_as_the_policy_says_the_newest_first() {
    let mut facts = Facts::default();
    for (remembered, wanted) in [(0, vec![]), (1, vec![hash(OLD)]), (2, vec![hash(OLD), hash(NEW)])] {
        facts.policy.password.history = remembered;
        let mut account = mia();
        account.credential.history = vec![hash(NEW), hash(OLD)];
        let mut change = by_admin(account, &facts);
        change.replace_password(
            new_password(PasswordKind::Permanent),
            Ends::OldPassword,
            Notice::PasswordReset,
        );
        assert_eq!(change.account.credential.history, wanted, "{remembered}");
    }
}

#[test]
fn an_account_that_is_taken_back_is_closed_everywhere_and_sends_nothing() {
    let facts = Facts::default();
    let mut change = by_admin(mia(), &facts);
    change.secure(new_password(PasswordKind::OneTime)).expect("secured");
    let account = &change.account;
    assert_eq!((account.generation, account.session_epoch), (4, 8));
    assert!(account.app_passwords.is_empty() && account.switches.outgoing_blocked.is_some());
    let told = Effect::Tell { notice: Notice::PasswordReset };
    assert_eq!(change.effects, [told, ended(Sessions::All)]);
    let mut own = by_oneself(mia(), &facts);
    forbidden(own.secure(new_password(PasswordKind::OneTime)));
    assert_eq!(own.account, mia(), "whoever got in could do it too");
}

#[test]
fn a_one_time_password_whose_time_is_over_opens_nothing_and_where_it_opened_mail_its_sessions_end() {
    let mut facts = Facts::default();
    for (opens_mail, generation, effects) in
        [(false, 3, vec![]), (true, 4, vec![ended(Sessions::Generation(3))])]
    {
        facts.policy.password.one_time_opens_mail = opens_mail;
        let mut account = mia();
        assert!(!account.credential.is_over(Millis::MAX));
        account.credential.until = Some(NOW);
        assert!(account.credential.is_over(NOW) && !account.credential.is_over(NOW - 1));
        let mut change = by_admin(account, &facts);
        change.expire_password();
        assert_eq!((change.account.credential.hash.clone(), change.account.credential.until), (None, None));
        assert_eq!((change.account.generation, change.account.session_epoch), (generation, 7));
        assert_eq!(change.effects, effects);
    }
}

#[test]
fn a_first_password_ends_nothing_and_tells_nobody() {
    let mut facts = Facts::default();
    facts.policy.password.history = 5;
    let mut change = by_admin(mia(), &facts);
    change.first_password(new_password(PasswordKind::OneTime));
    let account = &change.account;
    assert_eq!((account.generation, account.session_epoch), (3, 7));
    assert_eq!(account.credential.hash, Some(hash(NEW)));
    assert!(account.credential.history.is_empty() && change.effects.is_empty());
}

#[test]
fn a_rename_keeps_the_old_address_and_an_own_alias_swaps() {
    let facts = free(&["rebecca@zylker.example"]);
    let mut change = by_admin(mia(), &facts);
    change.rename(&address("mia@zylker.example")).expect("nothing to do");
    assert!(!changed(&change, &mia()));
    change.rename(&address("rebecca@zylker.example")).expect("renamed");
    let listed = |account: &Account| {
        account.aliases.iter().map(|alias| alias.local().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(change.account.primary, address("rebecca@zylker.example"));
    assert_eq!(listed(&change.account), "sales info2 mia");
    let renamed =
        Notice::Renamed { from: "mia@zylker.example".to_owned(), to: "rebecca@zylker.example".to_owned() };
    assert_eq!(change.effects, [Effect::Tell { notice: renamed }]);
    change.rename(&address("mia@zylker.example")).expect("back");
    assert_eq!(change.account.primary, address("mia@zylker.example"));
    assert_eq!(listed(&change.account), "sales info2 rebecca");
    assert!(matches!(change.rename(&address("x@elsewhere.example")), Err(Error::BadAddress(_))));
    assert!(change.account.self_renames.is_empty(), "an administrator's renames are not the person's own");
}

#[test]
fn a_rename_brings_nobody_over_the_number_of_addresses() {
    let mut facts = free(&["rebecca@zylker.example", "new@zylker.example"]);
    for (most, fits) in [(2, false), (3, true)] {
        facts.policy.most_aliases = most;
        let renamed = by_admin(mia(), &facts).rename(&address("rebecca@zylker.example"));
        assert_eq!(renamed.is_ok(), fits, "renamed with {most}");
        let added = by_admin(mia(), &facts).add_alias(&address("new@zylker.example"));
        assert_eq!(added.is_ok(), fits, "added with {most}");
        assert!(fits || matches!(added, Err(Error::Refused(why)) if why.contains("at most 2")));
    }
    // Also where the policy has come to allow fewer than there are.
    for most in [3, 1, 0] {
        facts.policy.most_aliases = most;
        by_admin(mia(), &facts).rename(&address("sales@zylker.example")).expect("a swap adds none");
    }
}

#[test]
fn people_rename_themselves_as_far_as_the_policy_lets_them() {
    let mut facts = free(&["rebecca@zylker.example"]);
    for (policy, to_new, to_alias) in
        [(SelfRename::Any, true, true), (SelfRename::OwnAlias, false, true), (SelfRename::Off, false, false)]
    {
        facts.policy.self_rename = policy;
        for (to, allowed) in [("rebecca@zylker.example", to_new), ("sales@zylker.example", to_alias)] {
            for (rank, own) in [(Rank::Member, true), (Rank::HelpDesk, true)] {
                let mut change = Transition::new(mia(), &facts, hand(rank, own), None);
                let renamed = change.rename(&address(to));
                assert_eq!(renamed.is_ok(), allowed, "{policy:?} {to} {rank:?}");
                assert!(allowed || change.account == mia(), "a refusal changes nothing");
                assert!(!allowed || change.account.self_renames == [NOW]);
            }
            for (rank, own) in [(Rank::Admin, true), (Rank::HelpDesk, false), (Rank::Admin, false)] {
                let mut change = Transition::new(mia(), &facts, hand(rank, own), None);
                change.rename(&address(to)).expect("the policy is about people's own renames");
                assert!(change.account.self_renames.is_empty());
            }
        }
    }
}

#[test]
fn the_own_address_is_changed_five_times_in_thirty_days() {
    let facts = free(&["rebecca@zylker.example"]);
    let after = |earlier: &[Millis]| {
        let mut change = by_oneself(Account { self_renames: earlier.to_vec(), ..mia() }, &facts);
        let renamed = change.rename(&address("rebecca@zylker.example"));
        (renamed.map_err(|error| error.to_string()), change.account.self_renames)
    };
    let (renamed, kept) = after(&[NOW - 4, NOW - 3, NOW - 2, NOW - 1]);
    assert_eq!((renamed, kept), (Ok(()), vec![NOW - 4, NOW - 3, NOW - 2, NOW - 1, NOW]));
    let (refused, _) = after(&[NOW - 5, NOW - 4, NOW - 3, NOW - 2, NOW - 1]);
    assert!(refused.expect_err("the sixth").contains("5 times in 30 days"));
    let term = 30 * DAY;
    let (renamed, kept) = after(&[NOW - term, NOW - term + 1, NOW - 3, NOW - 2, NOW - 1]);
    assert_eq!((renamed, kept), (Ok(()), vec![NOW - term + 1, NOW - 3, NOW - 2, NOW - 1, NOW]));
}

#[test]
fn an_alias_is_added_and_removed_by_itself() {
    let facts = free(&["new@zylker.example"]);
    let mut change = by_admin(mia(), &facts);
    for own in ["mia@zylker.example", "sales@zylker.example"] {
        change.add_alias(&address(own)).expect("there already");
    }
    assert!(!changed(&change, &mia()));
    change.add_alias(&address("new@zylker.example")).expect("added");
    assert_eq!(change.account.aliases.len(), 3);
    assert!(matches!(change.add_alias(&address("nobody@zylker.example")), Err(Error::BadAddress(_))));
    change.remove_alias(&address("sales@zylker.example")).expect("removed");
    assert_eq!(change.account.aliases, [address("info2@zylker.example"), address("new@zylker.example")]);
    assert!(matches!(change.remove_alias(&address("mia@zylker.example")), Err(Error::Refused(_))));
    assert!(matches!(change.remove_alias(&address("sales@zylker.example")), Err(Error::NotFound(_))));
    assert!(change.effects.is_empty());
}

#[test]
fn a_one_time_password_takes_no_place_among_the_remembered_ones() {
    let mut facts = Facts::default();
    facts.policy.password.history = 1;
    let mut change = by_admin(mia(), &facts);
    for (salt, kind) in [
        (NEW, PasswordKind::OneTime),
        ("b25lLXRpbWUtMg", PasswordKind::OneTime),
        ("cGVybWFuZW50Mg", PasswordKind::Permanent),
    ] {
        let new = NewPassword { hash: hash(salt), kind };
        change.replace_password(new, Ends::OldPassword, Notice::PasswordReset);
        assert_eq!(change.account.credential.history, [hash(OLD)], "{kind:?}");
    }
}

#[test]
fn every_protected_address_that_is_given_out_is_in_the_entry() {
    let reason = Reason::parse("two names: hers").expect("a reason").expect("one");
    let other = AccountId::new(2_560_636_000_000_008_009).expect("an accountId");
    let kept = AddressFacts {
        domain: DomainState::Verified,
        holder: Some(Holder::Former { account: other, until: NOW + DAY }),
    };
    let wanted = ["one@zylker.example", "two@zylker.example"].map(address);
    let addresses = wanted.iter().map(|wanted| (wanted.clone(), kept.clone())).collect();
    let facts = Facts { addresses, ..free(&[]) };
    let mut change = Transition::new(mia(), &facts, hand(Rank::SuperAdmin, false), Some(&reason));
    for wanted in &wanted {
        change.add_alias(wanted).expect("released");
    }
    assert_eq!(change.notes["releasedAddress"], "one@zylker.example two@zylker.example: two names: hers");
}

#[test]
fn a_protected_address_is_given_out_with_its_reason_in_the_entry() {
    let reason = Reason::parse("her maiden name").expect("a reason").expect("one");
    let other = AccountId::new(2_560_636_000_000_008_009).expect("an accountId");
    let kept = AddressFacts {
        domain: DomainState::Verified,
        holder: Some(Holder::Former { account: other, until: NOW + DAY }),
    };
    let wanted = address("kept@zylker.example");
    let facts = Facts { addresses: [(wanted.clone(), kept)].into(), ..free(&[]) };
    let mut change = Transition::new(mia(), &facts, hand(Rank::SuperAdmin, false), Some(&reason));
    change.add_alias(&wanted).expect("released");
    assert_eq!(change.notes["releasedAddress"], "kept@zylker.example: her maiden name");
    let facts = free(&["kept@zylker.example"]);
    let mut change = Transition::new(mia(), &facts, hand(Rank::SuperAdmin, false), Some(&reason));
    change.add_alias(&wanted).expect("free");
    assert!(change.notes.is_empty(), "what was free was not released");
}

#[test]
fn an_app_password_is_made_and_revoked_by_itself() {
    let facts = Facts::default();
    let mut change = by_oneself(mia(), &facts);
    change.add_app_password(app(3)).expect("made");
    let told = Notice::AppPasswordMade { name: "device 3".to_owned() };
    assert_eq!(change.effects, [Effect::Tell { notice: told }]);
    change.effects.clear();
    change.revoke_app_password(app(2).id).expect("revoked");
    assert_eq!(change.account.app_passwords, [app(1), app(3)]);
    assert_eq!(change.effects, [ended(Sessions::AppPassword(app(2).id))]);
    assert!(matches!(change.revoke_app_password(app(2).id), Err(Error::NotFound(_))));
    let many: Vec<_> = (1..=50).map(app).collect();
    let mut full = by_oneself(Account { app_passwords: many[..49].to_vec(), ..mia() }, &facts);
    full.add_app_password(app(50)).expect("the fiftieth");
    assert!(matches!(full.add_app_password(app(51)), Err(Error::Refused(_))));
}

#[test]
fn a_role_is_changed_by_somebody_else_with_its_limits() {
    let facts = Facts::default();
    let desk = |verb| HelpDesk::new([verb], None).expect("limits");
    let (reset, rename) = (desk(Verb::Reset), desk(Verb::Rename));
    let mut change = Transition::new(mia(), &facts, hand(Rank::SuperAdmin, false), None);
    change.change_role(Role::HelpDesk, Some(&reset)).expect("changed");
    assert_eq!((change.account.role, change.account.help_desk.as_ref()), (Role::HelpDesk, Some(&reset)));
    change.change_role(Role::HelpDesk, Some(&rename)).expect("other limits");
    assert_eq!(change.account.help_desk.as_ref(), Some(&rename));
    change.hand = hand(Rank::HelpDesk, true);
    change.change_role(Role::HelpDesk, Some(&rename)).expect("nothing changes");
    forbidden(change.change_role(Role::HelpDesk, Some(&reset)));
    forbidden(change.change_role(Role::Member, None));
    assert_eq!((change.account.role, change.account.help_desk.as_ref()), (Role::HelpDesk, Some(&rename)));
}

#[test]
fn a_deletion_is_somebody_elses_and_ends_everything() {
    let facts = Facts::default();
    let mut own = by_oneself(mia(), &facts);
    forbidden(own.delete());
    assert_eq!(own.account, mia());
    let mut change = by_admin(mia(), &facts);
    change.delete().expect("deleted");
    assert!(change.account.deleted && change.account.session_epoch == 8);
    assert_eq!(change.effects, [ended(Sessions::All)]);
}

#[test]
fn a_change_is_one_of_the_account_or_of_the_world_outside() {
    let facts = Facts::default();
    let mut change = by_admin(mia(), &facts);
    assert!(!changed(&change, &mia()));
    change.effects.push(Effect::Project);
    assert!(changed(&change, &mia()));
    change.effects.clear();
    change.account.profile.city = "Lund".to_owned();
    assert!(changed(&change, &mia()));
}

#[test]
fn the_words_of_a_person_are_every_address_and_every_part_of_the_names() {
    let words = mia();
    let wanted = [
        "mia@zylker.example",
        "sales@zylker.example",
        "info2@zylker.example",
        "Mia",
        "van",
        "Lund",
        "Mia",
        "L",
    ];
    assert_eq!(words.personal_words(), wanted);
    assert!(words.owns(&address("mia@zylker.example")) && words.owns(&address("sales@zylker.example")));
    assert!(!words.owns(&address("otto@zylker.example")));
}

#[test]
fn a_gender_is_read_as_it_is_written_in_any_case() {
    for (gender, word) in Gender::ALL.into_iter().zip(["MALE", "FEMALE", "NON_BINARY", "NOT_SPECIFIED"]) {
        assert_eq!(gender.as_str(), word);
        assert_eq!(word.to_lowercase().parse::<Gender>().expect("a gender"), gender);
        assert_eq!(serde_json::to_value(gender).expect("a word"), word);
    }
    assert!("".parse::<Gender>().is_err());
    assert_eq!(Gender::default().as_str(), "NOT_SPECIFIED");
}

#[test]
fn every_difference_is_told_and_nothing_else_is() {
    assert_eq!(differences(&mia(), &mia()), []);
    let told = |alter: &dyn Fn(&mut Account)| {
        let mut after = mia();
        alter(&mut after);
        let all = differences(&mia(), &after);
        assert_eq!(all.len(), 1, "{all:?}");
        let Difference { what, from, to } = all.into_iter().next().expect("one");
        format!("{what}: {from} -> {to}")
    };
    let limits = || {
        let domains = BTreeSet::from([DomainName::parse("a.example").expect("a domain")]);
        HelpDesk::new([Verb::Reset], Some(domains)).expect("limits")
    };
    for (alter, wanted) in [
        (&(|after: &mut Account| after.role = Role::Admin) as &dyn Fn(&mut Account), "role: member -> admin"),
        (
            &|after| (after.role, after.help_desk) = (Role::HelpDesk, Some(limits())),
            "role: member -> help_desk (read reset, on a.example)",
        ),
        (
            &|after| after.primary = address("b@zylker.example"),
            "primaryEmailAddress: mia@zylker.example -> b@zylker.example",
        ),
        (
            &|after| after.aliases = vec![address("z@a.example"), address("b@a.example")],
            "aliases: info2@zylker.example sales@zylker.example -> b@a.example z@a.example",
        ),
        (&|after| after.profile.first_name = "Mina".to_owned(), "firstName: Mia -> Mina"),
        (&|after| after.profile.last_name = String::new(), "lastName: van Lund -> "),
        (&|after| after.profile.display_name = "M".to_owned(), "displayName: Mia L -> M"),
        (&|after| after.profile.gender = Gender::Female, "gender: NOT_SPECIFIED -> FEMALE"),
        (&|after| after.profile.country = "se".to_owned(), "country:  -> se"),
        (&|after| after.profile.language = "sv".to_owned(), "language:  -> sv"),
        (&|after| after.profile.time_zone = "CET".to_owned(), "timeZone:  -> CET"),
        (&|after| after.profile.phone_number = "1".to_owned(), "phoneNumer:  -> 1"),
        (&|after| after.profile.mobile_number = "2".to_owned(), "mobileNumber:  -> 2"),
        (&|after| after.profile.street_address = "A 1".to_owned(), "streetAddr:  -> A 1"),
        (&|after| after.profile.city = "Lund".to_owned(), "city:  -> Lund"),
        (&|after| after.profile.postal_code = "9".to_owned(), "postalCode:  -> 9"),
        (&|after| after.profile.state = "M".to_owned(), "state:  -> M"),
        (
            &|after| {
                let by = Who::Operator("root".to_owned());
                after.switches.imap_off =
                    Some(switch::Block { by, rank: Rank::Operator, at: 0, reason: None });
            },
            "imapOff: off -> on, set by operator root (the operator of the server)",
        ),
        (&|after| after.app_passwords.truncate(1), "appPasswords: 100000000001 100000000002 -> 100000000001"),
        (&|after| after.credential.at = 6, "passwordSetAt: 5 -> 6"),
        (&|after| after.generation = 4, "credentialGeneration: 3 -> 4"),
        (&|after| after.session_epoch = 8, "sessionEpoch: 7 -> 8"),
        (&|after| after.expires_at = Some(9), "expiresAt: none -> 9"),
        (&|after| after.deleted = true, "deleted: false -> true"),
    ] {
        assert_eq!(told(alter), wanted);
    }
}
