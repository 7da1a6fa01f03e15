//! What an administrator does to one user, in a browser.

use axum::http::StatusCode;
use mailward::clock::{DAY, MINUTE};
use mailward::domain::account::SwitchName;
use mailward::domain::actor::Role;
use mailward::domain::password::PasswordKind;
use mailward::store::engine::Db;
use serde_json::json;

use crate::support::visitor::Visitor;
use crate::support::world::{PASSWORD, Someone, World};

async fn as_admin(world: &World) -> Visitor<'_> {
    Visitor::signed_in(world, &world.admin.email, PASSWORD).await
}

/// Opens the page of somebody and does something there.
async fn act(
    visitor: &mut Visitor<'_>,
    on: &Someone,
    action: &str,
    fields: &[(&str, &str)],
) -> crate::support::world::Answer {
    visitor.get(&format!("/users/{}", on.zuid)).await;
    go_on(visitor, &format!("/users/{}/{action}", on.zuid), fields).await
}

/// Sends a form, and once more where it is shown first what would happen.
async fn go_on(
    visitor: &mut Visitor<'_>,
    path: &str,
    fields: &[(&str, &str)],
) -> crate::support::world::Answer {
    let answer = visitor.post(path, fields).await;
    let Some((_, rest)) = answer.text.split_once(r#"name="shown" value=""#) else { return answer };
    let shown = rest.split('"').next().unwrap_or_default().replace("&#38;", "&");
    let again: Vec<_> = fields.iter().copied().chain([("shown", shown.as_str())]).collect();
    visitor.post(path, &again).await
}

/// What a panel would send as the page offers it, without the token.
fn offered(page: &str, panel: &str) -> Vec<(String, String)> {
    let (_, rest) = page.split_once(&format!(r#"<details class="panel" id="{panel}""#)).expect("a panel");
    let panel = rest.split("</details>").next().unwrap_or_default();
    let of = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(r#" {name}=""#))?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let is_sent = |tag: &str| of(tag, "type").as_deref() != Some("checkbox") || tag.ends_with(" checked");
    let (mut fields, mut list) = (Vec::new(), String::new());
    for tag in panel.split('<').filter_map(|part| part.split('>').next()) {
        match (tag.split(' ').next().unwrap_or_default(), of(tag, "name"), of(tag, "value")) {
            ("select", Some(name), _) => list = name,
            ("option", _, Some(value)) if tag.ends_with(" selected") => fields.push((list.clone(), value)),
            ("input", Some(name), Some(value)) if name != "csrf" && is_sent(tag) => {
                fields.push((name, value))
            }
            _ => {}
        }
    }
    fields
}

both_engines! {
    async fn each_switch_is_one_button_and_its_reason_is_kept(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        for (on, off, switch) in [
            ("disable-user", "enable-user", SwitchName::UserDisabled),
            ("disable-mail", "enable-mail", SwitchName::MailDisabled),
            ("block-incoming", "accept-incoming", SwitchName::IncomingBlocked),
            ("block-sending", "allow-sending", SwitchName::OutgoingBlocked),
            ("imap-off", "imap-on", SwitchName::ImapOff),
            ("pop-off", "pop-on", SwitchName::PopOff),
        ] {
            let answer = act(&mut visitor, &world.member, on, &[("reason", "ticket 4711")]).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{on}: {}", answer.text);
            let block = world.account(&world.member).await.switches.get(switch).clone().expect(on);
            assert_eq!(block.reason.map(|reason| reason.as_str().to_owned()).as_deref(), Some("ticket 4711"));
            let page = visitor.follow(answer).await;
            assert!(page.text.contains("ticket 4711"), "the page tells why: {}", page.text);
            assert!(page.text.contains(&format!("/{off}\"")) && !page.text.contains(&format!("/{on}\"")), "{on}");
            assert_eq!(act(&mut visitor, &world.member, off, &[]).await.status, StatusCode::SEE_OTHER, "{off}");
            assert!(world.account(&world.member).await.switches.get(switch).is_none(), "{off}");
        }
        let again = act(&mut visitor, &world.member, "enable-user", &[]).await;
        let page = visitor.follow(again).await;
        assert!(page.text.contains("nothing was changed"), "{}", page.text);
    }

    async fn a_reset_shows_a_password_once_and_it_leads_to_the_choice_of_another(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        let page = act(&mut visitor, &world.member, "reset-password", &[("reason", "forgotten")]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let (_, rest) = page.text.split_once(r#"class="secret" readonly value=""#).expect("the password");
        let password = rest.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert!(page.text.contains(">in 3 days</time> (2026-06-04 00:00 UTC)."), "it says when it ends: {}", page.text);
        let account = world.account(&world.member).await;
        assert_eq!(account.credential.kind, PasswordKind::OneTime);
        let later = visitor.get(&format!("/users/{}", world.member.zuid)).await;
        assert!(!later.text.contains(&password), "it is shown once");
        let mut person = Visitor::new(&world);
        assert_eq!(person.sign_in(&world.member.email, &password).await.headers["location"], "/new-password");
    }

    async fn an_account_is_taken_back_and_the_report_tells_who_was_there(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/accounts/{}/appPasswords", world.member.account_id);
        let name = serde_json::json!({"name": "Telephone", "currentPassword": PASSWORD});
        world.with_body("POST", &world.member.user_token, &path, name).await;
        let _stranger = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut visitor = as_admin(&world).await;
        let before = world.account(&world.member).await;
        let foretold = visitor.get(&format!("/users/{}/secure", world.member.zuid)).await.text;
        for words in ["1 signed-in browser is signed out", "1 app password stops working", "Everything that opens it ends"] {
            assert!(foretold.contains(words), "{words}: {foretold}");
        }
        assert_eq!(world.account(&world.member).await, before, "looking changes nothing");

        let page = act(&mut visitor, &world.member, "secure", &[("reason", "sends spam")]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert_eq!(page.headers["cache-control"], "no-store");
        let (_, rest) = page.text.split_once(r#"class="secret" readonly value=""#).expect("the password");
        let password = rest.split('"').next().unwrap().replace("&#38;", "&");
        for words in ["1 signed-in browser<", "1 app password<", "Visitor/1.0", "App password made", "Nothing is sent from the account now"] {
            assert!(page.text.contains(words), "{words}: {}", page.text);
        }
        let account = world.account(&world.member).await;
        assert_eq!(account.credential.kind, PasswordKind::OneTime);
        assert!(account.app_passwords.is_empty());
        let block = account.switches.outgoing_blocked.expect("sending is blocked");
        assert_eq!(block.reason.map(|reason| reason.as_str().to_owned()).as_deref(), Some("sends spam"));
        let later = visitor.get(&format!("/users/{}", world.member.zuid)).await.text;
        assert!(!later.contains(&password) && later.contains("Account taken back"), "{later}");
        let mut person = Visitor::new(&world);
        assert_eq!(person.sign_in(&world.member.email, &password).await.headers["location"], "/new-password");
    }

    async fn an_account_is_taken_back_by_who_may_after_a_fresh_proof(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        let offered = |page: &str| page.contains(r#"/secure""#) || page.contains(r#"id="secure""#);
        for of_higher_rank in [&world.admin, &world.owner] {
            let page = visitor.get(&format!("/users/{}", of_higher_rank.zuid)).await.text;
            assert!(!offered(&page), "{page}");
            let forced = visitor.post(&format!("/users/{}/secure", of_higher_rank.zuid), &[]).await;
            assert_eq!(forced.status, StatusCode::FORBIDDEN);
            assert_eq!(world.account(of_higher_rank).await.generation, 1);
        }
        assert!(offered(&visitor.get(&format!("/users/{}", world.member.zuid)).await.text));
        world.app.clock.advance(11 * MINUTE);
        let answer = visitor.post(&format!("/users/{}/secure", world.member.zuid), &[("reason", "spam")]).await;
        assert!(answer.headers["location"].to_str().unwrap().starts_with("/prove?next="), "{:?}", answer.headers);
        assert_eq!(world.account(&world.member).await.generation, 1);

        let desk = world.someone("desk", Role::HelpDesk).await;
        let mut helper = Visitor::signed_in(&world, &desk.email, PASSWORD).await;
        assert!(!offered(&helper.get(&format!("/users/{}", world.member.zuid)).await.text), "the help desk has no verb for it");
        assert_eq!(helper.post(&format!("/users/{}/secure", world.member.zuid), &[]).await.status, StatusCode::FORBIDDEN);
        for what in ["secure", "remove-factors", "delete"] {
            let bulk = visitor.get(&format!("/users/bulk?what={what}&user={}", world.member.zuid)).await;
            assert_eq!(bulk.status, StatusCode::NOT_FOUND, "{what} is done one by one");
        }
    }

    async fn names_addresses_and_roles_are_changed(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        for (action, value) in [
            ("change-name", "Rebecca Anderson"),
            ("add-address", "becky@zylker.example"),
            ("change-address", "rebecca@zylker.example"),
            ("remove-address", "becky@zylker.example"),
            ("change-term", "30"),
            ("change-role", "admin"),
        ] {
            let answer = act(&mut visitor, &world.member, action, &[("value", value)]).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{action}: {}", answer.text);
        }
        let account = world.account(&world.member).await;
        assert_eq!(account.profile.display_name, "Rebecca Anderson");
        assert_eq!(account.primary.as_str(), "rebecca@zylker.example");
        assert_eq!(account.aliases.len(), 1);
        assert_eq!(account.role, Role::Admin);
        assert_eq!(account.expires_at, Some(world.app.clock.now() + 30 * DAY));
        let page = visitor.get(&format!("/users/{}", world.member.zuid)).await.text;
        assert!(page.contains("<dt>Ends</dt>"), "{page}");
        let wrong = visitor.post(&format!("/users/{}/change-term", world.member.zuid), &[("value", "soon")]).await;
        assert!(wrong.status == StatusCode::BAD_REQUEST && wrong.text.contains("1 to 36500"), "{}", wrong.text);
        act(&mut visitor, &world.member, "change-term", &[("value", "")]).await;
        assert_eq!(world.account(&world.member).await.expires_at, None);
        let desk = [("value", "help_desk"), ("verbs", "reset"), ("domains", "zylker.example")];
        act(&mut visitor, &world.member, "change-role", &desk).await;
        let account = world.account(&world.member).await;
        assert_eq!((account.role, account.help_desk.map(|desk| desk.to_string()).as_deref()), (Role::HelpDesk, Some("read reset, on zylker.example")));
        let gone = act(&mut visitor, &world.member, "delete", &[("reason", "left")]).await;
        assert!(visitor.follow(gone).await.text.contains("The user is deleted."));
        assert!(world.find(&world.member).await.is_none());
    }

    async fn the_help_desks_limits_stay_as_they_are_until_somebody_changes_them(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let desk = [("value", "help_desk"), ("verbs", "reset"), ("domains", "zylker.example")];
        act(&mut visitor, &world.member, "change-role", &desk).await;
        let path = format!("/users/{}", world.member.zuid);
        let page = visitor.get(&path).await.text;
        assert!(page.contains("<dt>Role</dt><dd>help desk: reset passwords, on zylker.example</dd>"), "{page}");
        let fields = offered(&page, "change-role");
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for pair in desk {
            assert!(pairs.contains(&pair), "{pair:?} in {pairs:?}");
        }
        let before = world.account(&world.member).await.help_desk;
        let answer = go_on(&mut visitor, &format!("{path}/change-role"), &pairs).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert_eq!(world.account(&world.member).await.help_desk, before, "sent as it was offered");

        // What was typed comes back, from a refusal and from a proof.
        let wrong = [("value", "help_desk"), ("verbs", "rename"), ("verbs", "switches"), ("domains", "elsewhere.example")];
        let wanted = [("value", "help_desk"), ("verbs", "switches"), ("verbs", "rename"), ("domains", "elsewhere.example")];
        let same = |page: &str| {
            let fields = offered(page, "change-role");
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(fields[..4], wanted, "{page}");
        };
        visitor.get(&path).await;
        let refused = visitor.post(&format!("{path}/change-role"), &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        same(&refused.text);
        world.app.clock.advance(11 * MINUTE);
        let asked = visitor.post(&format!("{path}/change-role"), &wrong).await;
        let back = asked.headers["location"].to_str().unwrap().replacen("/prove?next=", "", 1);
        let back = url::form_urlencoded::parse(format!("back={back}").as_bytes()).next().unwrap().1.into_owned();
        visitor.follow(asked).await;
        visitor.post("/prove", &[("password", PASSWORD), ("next", &back)]).await;
        same(&visitor.get(&back).await.text);
        assert_eq!(world.account(&world.member).await.help_desk, before);
    }

    async fn a_kept_address_is_released_by_a_super_administrator_who_says_why(db: Db) {
        let world = World::start(db).await;
        for alias in ["peter@zylker.example", "paul@zylker.example", "mary@zylker.example"] {
            world.mode(&world.owner, &world.other, "addEmailAlias", json!({"emailAlias": [alias]})).await.ok();
            world.mode(&world.owner, &world.other, "deleteEmailAlias", json!({"emailAlias": [alias]})).await.ok();
        }
        let mut admin = as_admin(&world).await;
        let refused = act(&mut admin, &world.member, "add-address", &[("value", "peter@zylker.example")]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains(">peter@zylker.example belonged to somebody else"), "{}", refused.text);
        assert!(refused.text.contains("a super administrator can release it with a reason."), "{}", refused.text);
        assert!(!refused.text.contains("X-Mailward") && !refused.text.contains(r#"name="release""#), "{}", refused.text);
        let forced = [("value", "peter@zylker.example"), ("release", "because")];
        assert_eq!(act(&mut admin, &world.member, "add-address", &forced).await.status, StatusCode::BAD_REQUEST);

        let mut owner = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        for (action, address) in [("add-address", "peter@zylker.example"), ("change-address", "paul@zylker.example")] {
            let page = owner.get(&format!("/users/{}", world.member.zuid)).await.text;
            assert!(!page.contains(r#"name="release""#), "it is asked for where it is needed");
            let path = format!("/users/{}/{action}", world.member.zuid);
            let refused = owner.post(&path, &[("value", address)]).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert!(offered(&refused.text, action).contains(&("release".to_owned(), String::new())), "{}", refused.text);
            let given = go_on(&mut owner, &path, &[("value", address), ("release", "Peter agreed")]).await;
            assert_eq!(given.status, StatusCode::SEE_OTHER, "{}", given.text);
            assert!(owner.follow(given).await.text.contains(&format!("{address}: Peter agreed")), "the history tells it");
        }
        owner.get("/users/new").await;
        let refused = owner.post("/users/new", &[("address", "mary@zylker.example")]).await;
        assert!(refused.status == StatusCode::BAD_REQUEST && refused.text.contains(r#"name="release""#), "{}", refused.text);
        let made = owner.post("/users/new", &[("address", "mary@zylker.example"), ("release", "Mary came back")]).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    }

    async fn what_is_refused_stands_beside_the_form_with_what_was_typed(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        let taken = [("value", world.other.email.as_str()), ("reason", "her new name")];
        let page = act(&mut visitor, &world.member, "change-address", &taken).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        let panel = page.text.split(r#"id="change-address" open>"#).nth(1).expect("the panel is open");
        let panel = panel.split("</details>").next().unwrap();
        assert!(panel.contains("already in use") && panel.contains(&format!(r#"value="{}""#, world.other.email)), "{panel}");
        assert!(panel.contains(r#"value="her new name""#), "{panel}");
        let empty = act(&mut visitor, &world.member, "add-address", &[("value", "  ")]).await;
        assert_eq!(empty.status, StatusCode::BAD_REQUEST);
        let long = "x".repeat(201);
        assert_eq!(act(&mut visitor, &world.member, "imap-off", &[("reason", &long)]).await.status, StatusCode::BAD_REQUEST);
        // Nobody of a higher rank, and the page offers none of it.
        let owner = visitor.get(&format!("/users/{}", world.owner.zuid)).await;
        assert!(owner.text.contains("only a higher rank may change the account") && !owner.text.contains("/disable-user"), "{}", owner.text);
        let forced = visitor.post(&format!("/users/{}/disable-user", world.owner.zuid), &[]).await;
        assert_eq!(forced.status, StatusCode::FORBIDDEN);
        assert!(world.account(&world.owner).await.switches.user_disabled.is_none());
    }

    async fn a_panel_says_beforehand_what_would_happen_and_does_nothing(db: Db) {
        let world = World::start(db).await;
        let path = format!("/api/accounts/{}/appPasswords", world.member.account_id);
        let name = serde_json::json!({"name": "Telephone", "currentPassword": PASSWORD});
        world.with_body("POST", &world.member.user_token, &path, name).await;
        let _phone = Visitor::signed_in(&world, &world.member.email, PASSWORD).await;
        let mut visitor = as_admin(&world).await;
        let before = world.account(&world.member).await;
        let page = visitor.get(&format!("/users/{}/disable-user", world.member.zuid)).await.text;
        for words in ["1 signed-in browser is signed out", "1 app password stops working", "Mail keeps arriving"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        visitor.headers.push(("hx-request".to_owned(), "true".to_owned()));
        let part = visitor.get(&format!("/users/{}/disable-user", world.member.zuid)).await.text;
        assert!(part.contains("Mail keeps arriving") && !part.contains("<html"), "{part}");
        visitor.headers.clear();
        assert_eq!(world.account(&world.member).await, before);
        let unknown = visitor.get(&format!("/users/{}/explode", world.member.zuid)).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }

    async fn what_a_dangerous_value_would_do_is_shown_before_it_is_done(db: Db) {
        let world = World::start(db).await;
        let mut visitor = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        let aliases = json!({"emailAlias": ["becky@zylker.example", "mia.lund@zylker.example"]});
        world.mode(&world.owner, &world.member, "addEmailAlias", aliases).await.ok();
        let (page, old) = (format!("/users/{}", world.member.zuid), world.member.email.as_str());
        let stays = format!("{old} stays an address of this account");
        let shown = |page: &str, action: &str| {
            let fields = offered(page, action);
            let (_, shown) = fields.into_iter().find(|(name, _)| name == "shown").expect("what was shown");
            shown.replace("&#38;", "&")
        };
        for (action, value, another, words) in [
            (
                "change-address",
                "rebecca@zylker.example",
                "ruth@zylker.example",
                ["rebecca@zylker.example is taken into use", "rebecca@zylker.example becomes the main address", stays.as_str()],
            ),
            (
                "remove-address",
                "becky@zylker.example",
                "mia.lund@zylker.example",
                ["becky@zylker.example is given up; it is kept for this account until", stays.as_str(), "Mail keeps arriving"],
            ),
            ("change-role", "admin", "super_admin", ["The role changes from member to admin", "If you go on:", "Mail keeps arriving"]),
        ] {
            let before = world.account(&world.member).await;
            let path = format!("{page}/{action}");
            let offer = visitor.get(&page).await.text;
            let panel = offer.split(&format!(r#"id="{action}""#)).nth(1).expect("a panel");
            assert!(panel.split("</details>").next().unwrap().contains("Show what will happen"), "{action}: {panel}");
            let first = visitor.post(&path, &[("value", value), ("reason", "because")]).await;
            assert_eq!(first.status, StatusCode::OK, "{action}: {}", first.text);
            for words in words {
                assert!(first.text.contains(words), "{action}, {words}: {}", first.text);
            }
            assert!(first.text.contains(r#"value="because""#), "what was typed stands there: {}", first.text);
            let seen = shown(&first.text, action);
            let other = visitor.post(&path, &[("value", another), ("shown", &seen)]).await;
            assert_eq!(other.status, StatusCode::OK, "another value is shown first again: {}", other.text);
            assert_ne!(shown(&other.text, action), seen);
            assert_eq!(world.account(&world.member).await, before, "{action}: nothing is done yet");
            let done = visitor.post(&path, &[("value", value), ("shown", &seen)]).await;
            assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.text);
            assert_ne!(world.account(&world.member).await, before);
        }
    }

    async fn what_takes_away_asks_for_a_fresh_proof_and_keeps_what_was_typed(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        visitor.get(&format!("/users/{}", world.member.zuid)).await;
        world.app.clock.advance(11 * MINUTE);
        let path = format!("/users/{}/change-address", world.member.zuid);
        let answer = visitor.post(&path, &[("value", "rebecca@zylker.example"), ("reason", "married")]).await;
        assert!(answer.headers["location"].to_str().unwrap().starts_with("/prove?next="), "{:?}", answer.headers);
        assert_eq!(world.account(&world.member).await.primary.as_str(), world.member.email);
        let prove = visitor.follow(answer).await;
        let (_, rest) = prove.text.split_once(r#"name="next" value=""#).expect("the way back");
        let next = rest.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
        let proved = visitor.post("/prove", &[("password", PASSWORD), ("next", &next)]).await;
        let page = visitor.follow(proved).await.text;
        assert!(page.contains(r#"value="rebecca@zylker.example""#) && page.contains(r#"value="married""#), "{page}");
        let done = go_on(&mut visitor, &path, &[("value", "rebecca@zylker.example")]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        // What gives back does not wait for it.
        world.app.clock.advance(11 * MINUTE);
        let enable = act(&mut visitor, &world.member, "enable-user", &[]).await;
        assert!(enable.headers["location"].to_str().unwrap().starts_with("/users/"));
    }

    async fn a_change_is_followed_until_the_mail_servers_have_it(db: Db) {
        let world = World::start(db).await;
        let mut visitor = as_admin(&world).await;
        let answer = act(&mut visitor, &world.member, "disable-mail", &[]).await;
        let change = answer.headers["location"].to_str().unwrap().split("change=").nth(1).unwrap().to_owned();
        let page = visitor.follow(answer).await.text;
        assert!(page.contains("Under way") && page.contains(&format!(r#"hx-get="/changes/{change}""#)), "{page}");
        world.settle().await;
        for _ in 0..2 {
            world.app.clock.advance(MINUTE);
            world.settle().await;
        }
        visitor.headers.push(("hx-request".to_owned(), "true".to_owned()));
        let part = visitor.get(&format!("/changes/{change}")).await.text;
        assert!(part.contains("Open mail sessions on mx1") && part.contains("done"), "{part}");
        assert!(!part.contains("hx-get") && !part.contains("<html"), "nothing is left to ask for: {part}");
        visitor.headers.clear();
        let whole = visitor.get(&format!("/changes/{change}")).await.text;
        let of_whom = format!(r#"<a href="/users/{}">{}</a>"#, world.member.zuid, world.member.email);
        assert!(whole.contains("<html") && whole.contains("Mail disabled") && whole.contains(&of_whom), "{whole}");
        assert_eq!(visitor.get("/changes/200000000000999999").await.status, StatusCode::NOT_FOUND);
        let mut member = Visitor::signed_in(&world, &world.other.email, PASSWORD).await;
        assert_eq!(member.get(&format!("/changes/{change}")).await.status, StatusCode::FORBIDDEN);
    }

    async fn the_help_desk_is_offered_what_it_may_do_and_nothing_else(db: Db) {
        let world = World::start(db).await;
        let desk = world.someone("desk", Role::HelpDesk).await;
        let mut owner = Visitor::signed_in(&world, &world.owner.email, PASSWORD).await;
        act(&mut owner, &desk, "change-role", &[("value", "help_desk"), ("verbs", "reset")]).await;
        let mut visitor = Visitor::signed_in(&world, &desk.email, PASSWORD).await;
        let page = visitor.get(&format!("/users/{}", world.member.zuid)).await.text;
        assert!(page.contains("/reset-password") && !page.contains("/disable-user") && !page.contains("/delete\""), "{page}");
        let refused = act(&mut visitor, &world.member, "disable-user", &[]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(act(&mut visitor, &world.member, "reset-password", &[]).await.status, StatusCode::OK);
    }
}
