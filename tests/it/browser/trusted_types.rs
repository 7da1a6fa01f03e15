//! Trusted Types (W3C): text becomes markup or a script by the console's own way alone, whatever page one is on.

use mailward::store::engine::Db;
use serde_json::Value;

use super::Window;

/// Everything by which a slip in a script, or an extension of a page, would make text run or be markup.
const SINKS: [(&str, &str); 8] = [
    ("innerHTML", "document.querySelector('main').innerHTML = '<b id=slipped>x</b>'"),
    ("outerHTML", "document.querySelector('main').outerHTML = '<b id=slipped>x</b>'"),
    ("insertAdjacentHTML", "document.body.insertAdjacentHTML('beforeend', '<b id=slipped>x</b>')"),
    ("document.write", "document.write('<b id=slipped>x</b>')"),
    ("DOMParser", "new DOMParser().parseFromString('<b>x</b>', 'text/html')"),
    ("the address of a script", "document.createElement('script').src = '/assets/x.js'"),
    ("the text of a script", "document.createElement('script').text = 'window.slipped = true'"),
    ("another policy", "trustedTypes.createPolicy('another', {createHTML: (text) => text})"),
];

/// What becomes of it on the page that is open: the name of the error, or nothing.
async fn tried(window: &Window, what: &str) -> Value {
    window
        .browser
        .script(&format!("try {{ {what}; return null; }} catch (error) {{ return error.name; }}"))
        .await
}

one_engine! {
    async fn on_no_page_becomes_text_markup_or_a_script(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        let member = format!("/users/{}", window.world.member.zuid);
        window.go("/").await;
        let mut pages = vec!["/".to_owned(), "/recover".to_owned()];
        for round in 0..2 {
            for page in &pages {
                window.go(page).await;
                for (name, what) in SINKS {
                    assert_eq!(tried(&window, what).await, "TypeError", "{name} on {page}");
                }
                assert!(!browser.has("#slipped").await, "{page}");
                // Text that would run later; the driver's own scripts may evaluate, the page may not.
                tried(&window, "setTimeout('window.slipped = true', 0)").await;
                let later = "const done = arguments[0]; setTimeout(() => done(window.slipped === undefined), 50)";
                assert_eq!(browser.script_later(later).await, true, "{page}");
                assert!(!browser.complaints().await.is_empty(), "the browser tells of what it kept from {page}");
            }
            if round == 0 {
                window.as_owner().await;
                pages = ["/users", &member, "/audit", "/me", "/me/security"].map(str::to_owned).to_vec();
            }
        }
    }

    async fn parts_of_pages_still_arrive_and_hold_nothing_that_runs(db: Db) {
        let window = Window::open(db).await;
        let browser = &window.browser;
        window.as_owner().await;
        window.go(&format!("/users/{}", window.world.member.zuid)).await;
        browser.click("#disable-user > summary").await;
        browser.sees("Mail keeps arriving").await;
        let through = |text: &str| format!("Document.parseHTMLUnsafe({text:?})");
        assert_eq!(tried(&window, &through("<p>a part</p>")).await, Value::Null);
        for bad in ["<script>1</script>", "<img src=x onerror=y>", "<iframe srcdoc=x></iframe>", "<base href=x>", "<template><script>1</script></template>"] {
            assert_eq!(tried(&window, &through(bad)).await, "TypeError", "{bad}");
        }
    }
}
