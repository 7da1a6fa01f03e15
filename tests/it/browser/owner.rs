//! The four tasks of a mailbox owner, and passkeys, by hand.

use mailward::store::engine::Db;

use super::Window;
use crate::support::world::PASSWORD;

both_engines! {
    async fn the_own_password_is_changed(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.as_member().await;
        window.go("/me/password").await;
        browser.fill("#password", PASSWORD).await;
        browser.fill("#new_password", "a-better-one-9").await;
        browser.fill("#new_password_again", "a-better-one-9").await;
        browser.press("Save the new password").await;
        browser.find(".notice").await;
        browser.press("Sign out").await;
        window.sign_in(&window.world.member.email, PASSWORD).await;
        browser.find("[role=alert]:not([hidden])").await;
        window.sign_in(&window.world.member.email, "a-better-one-9").await;
        browser.sees("My account").await;
    }

    async fn the_own_address_is_changed(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.as_member().await;
        window.go("/me/address").await;
        browser.fill("#address", "maria@zylker.example").await;
        browser.click("form[action='/me/address'] button").await;
        browser.find(".notice").await;
        let account = window.world.account(&window.world.member).await;
        assert_eq!(account.primary.as_str(), "maria@zylker.example");
        assert!(account.aliases.iter().any(|alias| alias.as_str() == "mia@zylker.example"));
    }

    async fn an_app_password_is_made_and_revoked(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.as_member().await;
        window.go("/me/app-passwords").await;
        browser.fill("#name", "Pocket set").await;
        browser.click("form[action='/me/app-passwords'] button").await;
        browser.sees("Pocket set").await;
        assert_eq!(window.world.account(&window.world.member).await.app_passwords.len(), 1);
        window.go("/me/app-passwords").await;
        browser.click("form[action='/me/app-passwords/revoke'] button").await;
        browser.find(".notice").await;
        assert_eq!(window.world.account(&window.world.member).await.app_passwords.len(), 0);
    }

    async fn the_own_mail_is_disabled_and_enabled(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.as_member().await;
        window.go("/me").await;
        browser.click("details.panel > summary").await;
        browser.fill("#reason", "on holiday").await;
        browser.click("form[action='/me/mail/disable'] button").await;
        browser.sees("Your mail is disabled.").await;
        assert!(window.world.account(&window.world.member).await.switches.mail_disabled.is_some());
        browser.click("form[action='/me/mail/enable'] button").await;
        browser.find("form[action='/me/mail/disable']").await;
        assert!(window.world.account(&window.world.member).await.switches.mail_disabled.is_none());
    }

    async fn a_passkey_is_registered_and_signs_in(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        browser.authenticator().await;
        window.as_member().await;
        window.go("/me/security").await;
        let form = "form[data-passkey=register]";
        browser.fill(&format!("{form} input[name=name]"), "Laptop").await;
        if browser.has(&format!("{form} input[type=password]")).await {
            browser.fill(&format!("{form} input[type=password]"), PASSWORD).await;
        }
        browser.click(&format!("{form} button")).await;
        browser.sees("Your recovery codes").await;
        browser.press("I have kept them").await;
        browser.sees("Laptop").await;
        browser.find("form[action='/me/security/passkeys/remove']").await;
        browser.press("Sign out").await;
        window.sign_in(&window.world.member.email, PASSWORD).await;
        browser.sees("One more step").await;
        browser.click("form[data-passkey] button").await;
        browser.sees("My account").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}
