//! The way in, by hand.

use mailward::store::engine::Db;
use serde_json::json;

use super::Window;
use crate::support::webdriver::{ENTER, ESCAPE, TAB};
use crate::support::world::PASSWORD;

both_engines! {
    async fn a_one_time_password_gets_through_to_a_new_one_without_help(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let reset = json!({"password": "t*c9ma-once"});
        world.mode(&world.owner, &world.member, "resetPassword", reset).await.ok();
        window.sign_in(&world.member.email, "t*c9ma-once").await;
        browser.sees("Choose a new password").await;
        browser.fill("#new_password", "a-better-one-9").await;
        browser.fill("#new_password_again", "a-different-one-9").await;
        browser.press("Save the new password").await;
        browser.sees("differ").await;
        browser.fill("#new_password", "a-better-one-9").await;
        browser.fill("#new_password_again", "a-better-one-9").await;
        browser.press("Save the new password").await;
        browser.sees("My account").await;
        browser.press("Sign out").await;
        browser.sees("You are signed out").await;
        window.sign_in(&world.member.email, "a-better-one-9").await;
        browser.sees("My account").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }

    async fn the_keyboard_alone_is_enough(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.go("/").await;
        // The cursor stands in the first field.
        browser.keys(&window.world.owner.email).await;
        browser.keys(TAB).await;
        browser.keys(PASSWORD).await;
        browser.keys(ENTER).await;
        browser.find("#q").await;
        assert_eq!(browser.title().await, "Users – Mailward");
        browser.click(&format!("a[href='/users/{}']", window.world.member.zuid)).await;
        browser.click("#disable-user > summary").await;
        browser.find("#disable-user[open]").await;
        browser.keys(ESCAPE).await;
        browser.find("#disable-user:not([open])").await;
        browser.back().await;
        browser.find("#q").await;
        browser.script("document.activeElement.blur()").await;
        browser.keys("/").await;
        browser.find("#q:focus").await;
        window.go("/me").await;
        browser.sees("My account").await;
        browser.keys("/").await;
        browser.find("#q:focus").await;
        browser.forget_cookies().await;
        window.go("/users").await;
        browser.sees("Sign in").await;
    }

    async fn on_a_small_screen_the_own_account_and_the_way_out_are_at_hand(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        let inside = "const box = document.querySelector(arguments_css).getBoundingClientRect();
                      return box.width > 0 && box.left >= 0 && box.right <= window.innerWidth";
        let seen = async |css: &str| {
            browser.script(&inside.replace("arguments_css", &format!("{css:?}"))).await.as_bool() == Some(true)
        };
        window.as_owner().await;
        browser.look(390, 844, false).await;
        window.go("/users").await;
        assert!(seen("nav a[href='/me']").await, "the own account is in the bar");
        window.go("/audit").await;
        assert!(seen("nav a[aria-current]").await, "the bar shows where one is");
        window.go("/me").await;
        assert!(seen("nav a[href='/me']").await && seen("main form[action='/sign-out'] button").await);
        browser.click("main form[action='/sign-out'] button").await;
        browser.sees("You are signed out").await;
        browser.look(1280, 900, false).await;
        window.as_owner().await;
        window.go("/me").await;
        assert!(!seen("main form[action='/sign-out'] button").await, "there it stands beside the name");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}
