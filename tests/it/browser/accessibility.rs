//! Every page as a picture in four looks, and as axe hears it: no serious finding anywhere.

use std::path::PathBuf;

use mailward::store::engine::Db;
use serde_json::json;

use super::Window;

/// axe-core 4.14.1 (npm), MPL-2.0.
const AXE: &str = include_str!("axe.min.js");

/// Pages before the sign-in, with their names as pictures.
const OUTSIDE: &[(&str, &str)] =
    &[("/", "sign-in"), ("/recover", "recover"), ("/nowhere-at-all", "not-found")];

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

/// Pages of administrators.
const ADMINISTRATION: &[(&str, &str)] = &[
    ("/users", "users"),
    ("/users?q=mia", "users-found"),
    ("/users?q=nobody-at-all", "users-none"),
    ("/users/new", "user-new"),
    ("/users/import", "import"),
    ("/domains", "domains"),
    ("/mail-servers", "mail-servers"),
    ("/applications", "applications"),
    ("/audit", "audit"),
];

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
    /// Takes the page's picture in every look, and has axe listen in each scheme.
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
        window.examine("new-password", &mut findings).await;
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

    async fn pages_of_an_administrator_can_be_seen_and_heard_by_everybody(db: Db) {
        let window = Window::open(db).await;
        let mut findings = Vec::new();
        let world = &window.world;
        let why = json!({"password": "t*c9ma-once"});
        world.mode(&world.owner, &world.other, "resetPassword", why).await.ok();
        world.mode(&world.owner, &world.member, "disableMailAccount", json!({})).await.ok();
        world.settle().await;
        window.as_owner().await;
        for (path, name) in ADMINISTRATION {
            window.go(path).await;
            window.examine(name, &mut findings).await;
        }
        window.go(&format!("/users/{}", world.member.zuid)).await;
        window.examine("user", &mut findings).await;
        window.browser.click("#reset-password > summary").await;
        window.browser.sees("If you go on:").await;
        window.examine("user-panel", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
