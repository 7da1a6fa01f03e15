//! Every page as a picture in four looks, and as axe hears it: no serious finding anywhere. No page is
//! left out: the lists here and those of the other tests hold every route that shows one.

use std::path::PathBuf;

use mailward::clock::{DAY, SECOND};
use mailward::domain::policy::SecondFactor;
use mailward::store::engine::Db;
use serde_json::json;

use super::{Window, administrator};
use crate::console::factors::{Telephone, demand};
use crate::console::recovery::{letters, link_at};
use crate::support::world::PASSWORD;

/// axe-core 4.14.1 (npm), MPL-2.0.
const AXE: &str = include_str!("axe.min.js");

/// Pages before the sign-in, with their names as pictures.
const OUTSIDE: &[(&str, &str)] = &[
    ("/", "sign-in"),
    ("/recover", "recover"),
    ("/recover/password/used", "recover-password-over"),
    ("/recover/address/used", "recover-address-over"),
    ("/nowhere-at-all", "not-found"),
];

/// Pages of everybody who is signed in.
const OWN: &[(&str, &str)] = &[
    ("/me", "my-account"),
    ("/me/password", "my-password"),
    ("/me/address", "my-address"),
    ("/me/app-passwords", "my-app-passwords"),
    ("/me/sessions", "my-sessions"),
    ("/me/security", "my-security"),
    ("/me/recovery", "my-recovery"),
    ("/prove", "prove"),
];

/// Pages that something has to be done for, by the routes that show them, with their names as pictures.
const ON_A_WAY: &[(&str, &str)] = &[
    ("/new-password", "new-password"),
    ("/second-factor", "second-factor"),
    ("/me/security", "my-security-demanded"),
    ("/me/security", "my-security-set-up"),
    ("/me/security/app", "my-security-app"),
    ("/me/security/app/confirm", "my-recovery-codes"),
    ("/me/app-passwords", "my-app-password-made"),
    ("/me/app-passwords", "my-app-passwords-some"),
    ("/me/recovery", "my-recovery-waits"),
    ("/recover", "recover-asked"),
    ("/recover/address/{link}", "recover-address"),
    ("/recover/address/{link}", "recover-address-done"),
    ("/recover/password/{link}", "recover-password"),
    ("/users/new", "user-added"),
    ("/users/{zuid}", "user-changed"),
    ("/users/{zuid}/{action}", "user-reset"),
    ("/changes/{change}", "change"),
    ("/domains", "domains-unverified"),
    ("/applications", "application-added"),
    ("/applications", "applications-some"),
    ("/applications/{client}/{verb}", "application-code"),
    ("/jobs/{id}", "job"),
    ("/oauth/v2/auth", "consent"),
    ("/oauth/v2/auth", "consent-refused"),
];

/// Where a GET shows no page.
const NO_PAGES: &[&str] = &["/audit/export"];

/// Where the tests are that go these ways.
const WAYS: [&str; 3] =
    [include_str!("accessibility.rs"), include_str!("administrator.rs"), include_str!("consent.rs")];

/// How a page is looked at; axe listens in two looks, which have both sizes and both schemes.
const LOOKS: [(&str, u32, u32, bool); 4] = [
    ("desktop-light", 1280, 900, false),
    ("desktop-dark", 1280, 900, true),
    ("phone-light", 390, 844, false),
    ("phone-dark", 390, 844, true),
];

/// Where the pictures go: beside the build, or where the variable says.
fn pictures() -> PathBuf {
    std::env::var_os("MAILWARD_TEST_PICTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures"), PathBuf::from)
}

impl Window {
    /// Examines the page that a way has led to.
    pub async fn arrive(&self, name: &str, findings: &mut Vec<String>) {
        let (route, _) = ON_A_WAY.iter().find(|(_, known)| *known == name).expect("a page of the list");
        let url = self.browser.url().await;
        let path = url.strip_prefix(&self.url).expect("a page of ours");
        assert!(shows(route, path), "{name} is a page of {route}, not of {path}");
        self.examine(name, findings).await;
    }

    /// Takes the page's picture in every look, and has axe listen.
    pub async fn examine(&self, name: &str, findings: &mut Vec<String>) {
        let browser = &self.browser;
        for (look, width, height, dark) in LOOKS {
            browser.look(width, height, dark).await;
            browser.picture(&pictures().join(format!("{name}-{look}.png"))).await;
            let wide =
                browser.script("return document.documentElement.scrollWidth - window.innerWidth").await;
            if wide.as_i64().is_some_and(|pixels| pixels > 1) {
                findings.push(format!("{name}, {look}: the page is {wide} pixels wider than the window"));
            }
            if (width < 600) != dark {
                continue;
            }
            browser.script(AXE).await;
            let heard = browser
                .script_later(
                    "const done = arguments[arguments.length - 1];
                     axe.run(document, {resultTypes: ['violations']}).then(
                       (found) => done(found.violations.map((v) => ({id: v.id, impact: v.impact,
                         nodes: v.nodes.map((node) => node.html)}))),
                       (error) => done([{id: String(error), impact: 'critical', nodes: []}]));",
                )
                .await;
            for one in heard.as_array().into_iter().flatten() {
                if one["impact"] == "serious" || one["impact"] == "critical" {
                    findings.push(format!("{name}, {look}: {one}"));
                }
            }
        }
        browser.look(1280, 900, false).await;
    }
}

one_engine! {
    async fn pages_before_the_sign_in_can_be_seen_and_heard_by_everybody(db: Db) {
        let window = Window::open(db).await;
        let mut findings = Vec::new();
        for (path, name) in OUTSIDE {
            window.go(path).await;
            window.examine(name, &mut findings).await;
        }
        let world = &window.world;
        let reset = json!({"password": "t*c9ma-once"});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();
        window.sign_in(&world.member.email, "not-this-one").await;
        window.examine("sign-in-wrong", &mut findings).await;
        window.sign_in(&world.member.email, "t*c9ma-once").await;
        window.browser.sees("Choose a new password").await;
        window.arrive("new-password", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
    }

    async fn pages_of_a_mailbox_owner_can_be_seen_and_heard_by_everybody(db: Db) {
        let window = Window::open(db).await;
        let mut findings = Vec::new();
        window.as_member().await;
        for (path, name) in OWN {
            window.go(path).await;
            window.examine(name, &mut findings).await;
        }
        assert!(findings.is_empty(), "{findings:#?}");
    }

    async fn pages_on_the_ways_of_a_mailbox_owner_can_be_seen_and_heard_by_everybody(db: Db) {
        let (window, mut mails) = Window::with_letters(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let member = &world.member.email;
        let mut findings = Vec::new();
        browser.authenticator().await;
        window.as_member().await;

        // An app on the telephone with its codes, then a passkey.
        window.go("/me/security").await;
        browser.click("form[action='/me/security/app'] button").await;
        let telephone = Telephone::with(&browser.value("code.seed").await);
        window.arrive("my-security-app", &mut findings).await;
        assert!(browser.has("a[href^='otpauth://']").await, "a telephone does not scan its own screen");
        browser.fill("#code", &telephone.code(world)).await;
        browser.press("Use this app").await;
        browser.sees("Your recovery codes").await;
        window.arrive("my-recovery-codes", &mut findings).await;
        browser.devtools("Emulation.setEmulatedMedia", json!({"media": "print"})).await;
        let side = "return getComputedStyle(document.querySelector('.side')).display";
        assert_eq!(browser.script(side).await, "none", "on paper are the codes alone");
        browser.devtools("Emulation.setEmulatedMedia", json!({"media": ""})).await;
        browser.press("I have kept them").await;
        browser.fill("#passkey-name", "Laptop").await;
        browser.click("form[data-passkey=register] button").await;
        browser.sees("Laptop").await;
        window.arrive("my-security-set-up", &mut findings).await;

        window.go("/me/app-passwords").await;
        browser.fill("#name", "Pocket set").await;
        browser.click("form[action='/me/app-passwords'] button").await;
        browser.sees("Pocket set").await;
        window.arrive("my-app-password-made", &mut findings).await;
        browser.press("I have typed it in").await;
        browser.find("form[action='/me/app-passwords/revoke']").await;
        window.arrive("my-app-passwords-some", &mut findings).await;

        // A recovery address; the link in the letter.
        let outside = "mia@elsewhere.example";
        window.go("/me/recovery").await;
        browser.fill("#address", outside).await;
        browser.click("form[action='/me/recovery'] button").await;
        browser.sees("A link is on its way").await;
        let letter = letters(world, &mut mails).await;
        window.go(&link_at(&window.url, &letter, outside).expect("a letter")).await;
        window.arrive("recover-address", &mut findings).await;
        browser.press("Yes, use it").await;
        browser.sees("It serves in seven days.").await;
        window.arrive("recover-address-done", &mut findings).await;
        window.go("/me/recovery").await;
        window.arrive("my-recovery-waits", &mut findings).await;

        browser.forget_cookies().await;
        window.sign_in(member, PASSWORD).await;
        browser.sees("One more step").await;
        browser.fill("#code", "000000").await;
        browser.press("Go on").await;
        browser.find("p.problem:not([data-problem])").await;
        window.arrive("second-factor", &mut findings).await;

        // The password is forgotten when the address serves.
        browser.forget_cookies().await;
        letters(world, &mut mails).await;
        world.app.clock.advance(7 * DAY + 30 * SECOND);
        window.go("/recover").await;
        browser.fill("#address", member).await;
        browser.press("Send the link").await;
        browser.sees("a mail is on its way there").await;
        window.arrive("recover-asked", &mut findings).await;
        let letter = letters(world, &mut mails).await;
        window.go(&link_at(&window.url, &letter, outside).expect("a letter")).await;
        browser.find("#code").await;
        window.arrive("recover-password", &mut findings).await;

        // Somebody without a factor, of whom one is wanted.
        demand(world, SecondFactor::Everyone).await;
        window.sign_in(&world.other.email, PASSWORD).await;
        browser.sees("Your organization wants a second factor of you").await;
        window.arrive("my-security-demanded", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}

/// Whether the route leads to that path.
fn shows(route: &str, path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (route, path) = (route.split('/').collect::<Vec<_>>(), path.split('/').collect::<Vec<_>>());
    let same = |(wanted, found): (&&str, &&str)| wanted.starts_with('{') || wanted == found;
    route.len() == path.len() && route.iter().zip(&path).all(same)
}

#[test]
fn every_page_of_the_console_is_looked_at() {
    let text = |file: &str| file.split_whitespace().collect::<String>();
    let console = text(include_str!("../../../src/console/mod.rs"));
    let routes: Vec<&str> = console
        .split(".route(\"")
        .filter_map(|rest| rest.split_once("\",get("))
        .map(|(route, _)| route)
        .filter(|route| !route.contains('"') && !route.starts_with("/assets/"))
        .collect();
    assert!(routes.len() > 20 && routes.contains(&"/oauth/v2/auth"), "the routes are found: {routes:?}");
    let lists = [OUTSIDE, OWN, administrator::PAGES, ON_A_WAY].concat();
    let seen = |route: &&str| NO_PAGES.contains(route) || lists.iter().any(|(path, _)| shows(route, path));
    let missed: Vec<&str> = routes.iter().copied().filter(|route| !seen(route)).collect();
    assert!(missed.is_empty(), "nobody looks at these pages: {missed:?}");
    let ways = WAYS.map(text).concat();
    for (_, name) in ON_A_WAY {
        assert!(ways.contains(&format!("arrive(\"{name}\"")), "no test goes the way to {name}");
    }
}
