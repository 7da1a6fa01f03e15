//! The daily work of an administrator, by hand, and every page of it seen and heard.

use mailward::store::engine::Db;
use serde_json::json;

use super::Window;
use crate::support::visitor::Visitor;
use crate::support::webdriver::{ENTER, TAB};
use crate::support::world::PASSWORD;

/// Pages of administrators, with their names as pictures; `{m}` is a member's zuid.
pub const PAGES: &[(&str, &str)] = &[
    ("/users", "users"),
    ("/users?q=mia", "users-found"),
    ("/users?q=nobody", "users-none"),
    ("/users/{m}", "user"),
    ("/users/{m}/disable-user", "user-panel"),
    ("/users/{m}/change-role", "user-role"),
    ("/users/{m}/add-address?value=sales@zylker.example&release=agreed", "user-release"),
    ("/users/new", "user-new"),
    ("/users/import", "import"),
    ("/users/bulk?what=disable-mail&user={m}&numbers=yes", "bulk"),
    ("/domains", "domains"),
    ("/applications", "applications"),
    ("/audit", "audit"),
    ("/audit?person=nobody", "audit-nobody"),
    ("/audit?since=2026-13-99", "audit-no-day"),
    ("/mail-servers", "mail-servers"),
];

both_engines! {
    async fn somebody_is_found_while_typing_and_mail_is_disabled_in_place(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        window.as_owner().await;
        browser.sees("otto@zylker.example").await;
        browser.fill("#q", "mia").await;
        for _ in 0..100 {
            if !browser.text().await.contains("otto@zylker.example") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(!browser.text().await.contains("otto@zylker.example"), "the list follows what is typed");
        browser.press("mia@zylker.example").await;
        browser.sees("Signs in normally.").await;
        browser.click("#disable-mail > summary").await;
        browser.sees("Mail keeps arriving").await;
        browser.fill("#disable-mail-reason", "she is moving").await;
        browser.click("#disable-mail form button").await;
        browser.sees("Done").await;
        browser.sees("Mail programs are refused").await;
        browser.sees("she is moving").await;
        assert!(world.account(&world.member).await.switches.mail_disabled.is_some());
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }

    async fn a_reset_by_hand_shows_the_password_and_several_are_done_with_a_result_each(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        window.sign_in(&world.admin.email, PASSWORD).await;
        browser.sees("Users").await;
        window.go(&format!("/users/{}", world.member.zuid)).await;
        browser.click("#reset-password > summary").await;
        browser.sees("If you go on").await;
        browser.click("#reset-password form button").await;
        browser.sees("Shown this once").await;
        assert!(browser.value("#once").await.len() >= 12);
        window.go("/users").await;
        browser.script("for (const box of document.querySelectorAll('input[name=user]')) box.checked = true").await;
        browser.script("document.querySelector('#what').value = 'imap-off'").await;
        browser.press("Go on").await;
        browser.sees("If you go on").await;
        browser.click("form.card button").await;
        browser.sees("4 of 4 done").await;
        assert!(world.account(&world.other).await.switches.imap_off.is_some());
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }

    async fn an_account_is_taken_back_by_hand_and_the_report_can_be_seen_and_heard(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let path = format!("/api/accounts/{}/appPasswords", world.member.account_id);
        let name = json!({"name": "Telephone", "currentPassword": PASSWORD});
        world.with_body("POST", &world.member.user_token, &path, name).await;
        let _stranger = Visitor::signed_in(world, &world.member.email, PASSWORD).await;
        let mut findings = Vec::new();
        window.as_owner().await;
        window.go(&format!("/users/{}", world.member.zuid)).await;
        // With the keyboard alone: the panel, the reason, the button.
        browser.script("document.querySelector('#secure > summary').focus()").await;
        browser.keys(ENTER).await;
        browser.sees("1 app password stops working").await;
        window.examine("user-secure", &mut findings).await;
        browser.script("document.querySelector('#secure-reason').focus()").await;
        browser.keys("sends spam").await;
        browser.keys(TAB).await;
        browser.keys(ENTER).await;
        browser.sees("The account is taken back").await;
        assert!(browser.value("#once").await.len() >= 12);
        for words in ["What to do next", "Visitor/1.0", "App password made"] {
            browser.sees(words).await;
        }
        window.examine("user-secured", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
        assert!(world.account(&world.member).await.switches.outgoing_blocked.is_some());
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }

    async fn nothing_touches_what_stands_below_it_and_a_filter_is_one_row(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        // Between an element and the one below it, in pixels.
        let gap = async |css: &str| {
            let script = "const one = document.querySelector(CSS); const below = one.nextElementSibling;
                          return below.getBoundingClientRect().top - one.getBoundingClientRect().bottom";
            browser.script(&script.replace("CSS", &format!("{css:?}"))).await.as_f64().expect("a distance")
        };
        window.go("/").await;
        assert!(gap("form.card > button").await >= 12.0, "the button and the link below it");
        window.as_owner().await;
        let member = window.world.member.zuid;
        window.go(&format!("/users/bulk?what=disable-user&user={member}&numbers=yes")).await;
        assert!(gap(".warning").await >= 12.0, "the numbers and the card below them");
        window.go(&format!("/users/{member}/disable-user")).await;
        assert!(gap("#disable-user > .warning").await >= 12.0, "the numbers and the form below them");
        let rows = "return new Set([...document.querySelectorAll('.search > div')]
                      .map((field) => Math.round(field.getBoundingClientRect().top))).size";
        for path in ["/audit", "/audit?since=2026-13-99"] {
            window.go(path).await;
            assert_eq!(browser.script(rows).await, 1, "the fields of the filter stand beside each other: {path}");
        }
    }
}

one_engine! {
    async fn pages_of_administrators_can_be_seen_and_heard_by_everybody(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let reason = json!({"blockIncoming": false});
        world.mode(&world.owner, &world.other, "disableUser", reason).await.ok();
        world.mode(&world.owner, &world.member, "resetPassword", json!({"password": "t*c9ma-once"})).await.ok();
        let aliases = json!({"emailAlias": ["mia.lund@zylker.example", "sales@zylker.example"]});
        world.mode(&world.owner, &world.member, "addEmailAlias", aliases).await.ok();
        let name = json!({"displayName": "Mia Lund"});
        world.mode(&world.owner, &world.member, "displaynameupdate", name).await.ok();
        window.as_owner().await;
        browser.sees("Mia Lund").await;
        let mut findings = Vec::new();
        for (path, name) in PAGES {
            window.go(&path.replace("{m}", &world.member.zuid.to_string())).await;
            window.examine(name, &mut findings).await;
        }
        window.go("/users/import").await;
        browser.fill("#list", "address,name\nnew@zylker.example,New One\nmia@zylker.example,Taken\n").await;
        browser.press("Check the list").await;
        browser.sees("1 of 2 lines are good").await;
        window.examine("import-checked", &mut findings).await;
        browser.press("Add 1 user").await;
        browser.sees("1 of 1 done").await;
        window.arrive("job", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }

    async fn pages_on_the_ways_of_an_administrator_can_be_seen_and_heard_by_everybody(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let mut findings = Vec::new();
        window.as_owner().await;
        window.go(&format!("/users/{}/reset-password", world.member.zuid)).await;
        browser.fill("#reset-password-reason", "she rang from her own number").await;
        browser.click("#reset-password form button").await;
        browser.sees("Shown this once").await;
        window.arrive("user-reset", &mut findings).await;
        let font = "return getComputedStyle(document.querySelector('#once')).fontFamily";
        let font = browser.script(font).await.to_string();
        assert!(font.contains("monospace"), "what is read out letter by letter: {font}");
        let change = browser.value("section[id^=change-] code").await;
        window.go(&format!("/changes/{change}")).await;
        window.arrive("change", &mut findings).await;
        window.go(&format!("/users/{}/disable-mail", world.other.zuid)).await;
        browser.click("#disable-mail form button").await;
        browser.find("section[id^=change-]").await;
        window.arrive("user-changed", &mut findings).await;

        window.go("/users/new").await;
        browser.fill("#address", "nora@zylker.example").await;
        browser.fill("#first_name", "Nora").await;
        browser.press("Add a user").await;
        browser.sees("Shown this once").await;
        window.arrive("user-added", &mut findings).await;

        window.go("/domains").await;
        browser.fill("#name", "zylker.org").await;
        browser.press("Add a domain").await;
        browser.find("section[aria-label='zylker.org']").await;
        window.arrive("domains-unverified", &mut findings).await;

        window.go("/applications").await;
        browser.fill("#name", "Chart Table").await;
        browser.press("Add an application").await;
        browser.find("#secret").await;
        window.arrive("application-added", &mut findings).await;
        window.go("/applications").await;
        window.arrive("applications-some", &mut findings).await;
        browser.press("Make a code").await;
        browser.click("form[action$='/code'] button").await;
        browser.find("#secret").await;
        window.arrive("application-code", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}
