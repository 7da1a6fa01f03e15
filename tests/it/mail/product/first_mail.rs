//! From an administrator's reset to a mailbox that opens, in a real browser and a real mail program.

use mailward::config::Config;
use mailward::mailserver::private::Ports;

use super::{MailWorld, NEW, ONE_TIME, told};
use crate::browser::{Pane, a_port};
use crate::support::world::PASSWORD;

type Edit = Box<dyn FnOnce(&mut Config, &Ports)>;

fn reset_by_hand(make: impl FnOnce(Edit) -> MailWorld) {
    let (listener, url) = a_port();
    let public = url.clone();
    let mail = make(Box::new(move |config, _| config.server.public_url = public));
    let pat = mail.someone("pat");
    assert_eq!(mail.opens(&pat.email, PASSWORD), [true; 3]);

    mail.block(async {
        let pane = Pane::open((listener, url), mail.world().router.clone()).await;
        let browser = &pane.browser;
        pane.sign_in(&mail.world().admin.email, PASSWORD).await;
        browser.sees("Users").await;
        pane.go(&format!("/users/{}", pat.zuid)).await;
        browser.click("#reset-password > summary").await;
        browser.click("#reset-password form button").await;
        browser.sees("Shown this once").await;
        let once = browser.value("#once").await;

        // The mail program says where to go with it.
        assert_eq!(mail.logins(&pat.email, &once), told(ONE_TIME));
        assert_eq!(mail.opens(&pat.email, PASSWORD), [false; 3]);

        browser.forget_cookies().await;
        pane.sign_in(&pat.email, &once).await;
        browser.sees("Choose a new password").await;
        browser.fill("#new_password", NEW).await;
        browser.fill("#new_password_again", NEW).await;
        browser.press("Save the new password").await;
        browser.sees("My account").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());

        let mut inbox = mail.imap(&pat.email, NEW);
        assert!(inbox.is_open());
        assert_eq!(mail.opens(&pat.email, NEW), [true; 3]);
        assert_eq!(mail.opens(&pat.email, &once), [false; 3]);
    });
}

#[test]
fn a_reset_in_the_browser_leads_by_the_browser_to_an_open_mailbox() {
    reset_by_hand(MailWorld::sqlite_with);
}

#[test]
fn a_reset_in_the_browser_leads_by_the_browser_to_an_open_mailbox_on_postgres() {
    reset_by_hand(MailWorld::postgres_with);
}
