//! A real browser: Chromium through its driver (W3C WebDriver, JSON over HTTP), without a window.
//!
//! The few commands that the tests need are written out here: the driver libraries bring a second
//! copy of many crates.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The key under which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
pub const ENTER: &str = "\u{E007}";
pub const TAB: &str = "\u{E004}";
pub const ESCAPE: &str = "\u{E00C}";

pub struct Browser {
    driver: Child,
    /// What the browser leaves on the disk goes with it.
    _home: TempDir,
    http: reqwest::Client,
    session: String,
}

impl Browser {
    pub async fn start() -> Self {
        // A driver that does not come up on a busy machine is started again.
        let (driver, port, home) =
            (0..3).find_map(|_| driver()).expect("chromedriver starts and says its port");
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        let options = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en",
                "--window-size=1280,900", "--force-color-profile=srgb", "--hide-scrollbars",
            ]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, _home: home, http, session: String::new() };
        let started = browser.http.post(&base).json(&options).send().await.expect("the driver answers");
        let started: Value = started.json().await.expect("JSON");
        let id = started["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("a session: {started}"));
        browser.session = format!("{base}/{id}");
        browser
    }

    async fn command(&self, path: &str, body: Value) -> Result<Value, String> {
        let answer = self.http.post(format!("{}{path}", self.session)).json(&body).send().await;
        told(answer.expect("the driver answers")).await
    }

    async fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = self.http.get(format!("{}{path}", self.session)).send().await;
        told(answer.expect("the driver answers")).await
    }

    pub async fn open(&self, url: &str) {
        self.command("/url", json!({"url": url})).await.expect("the page opens");
    }

    pub async fn url(&self) -> String {
        self.ask("/url").await.expect("a URL").as_str().unwrap_or_default().to_owned()
    }

    pub async fn title(&self) -> String {
        self.ask("/title").await.expect("a title").as_str().unwrap_or_default().to_owned()
    }

    /// What a person reads of the page.
    pub async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn script(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({"script": script, "args": []})).await.expect("the script runs")
    }

    /// A script that answers later, through its last argument.
    pub async fn script_later(&self, script: &str) -> Value {
        self.command("/execute/async", json!({"script": script, "args": []})).await.expect("the script runs")
    }

    async fn element(&self, css: &str) -> Option<String> {
        let found = self.command("/element", json!({"using": "css selector", "value": css})).await.ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Waits until there is such an element.
    #[track_caller]
    pub fn find<'a>(&'a self, css: &'a str) -> impl Future<Output = String> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let until = Instant::now() + PATIENCE;
            loop {
                if let Some(element) = self.element(css).await {
                    return element;
                }
                if Instant::now() > until {
                    panic!("{place}: no {css} on {}:\n{}", self.url().await, self.text().await);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    pub async fn has(&self, css: &str) -> bool {
        self.element(css).await.is_some()
    }

    /// Waits until the page shows that text.
    pub async fn sees(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let shown = self.text().await;
            if shown.contains(text) {
                return;
            }
            assert!(Instant::now() < until, "no {text:?} on {}:\n{shown}", self.url().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.command(&format!("/element/{element}/click"), json!({})).await.expect("it can be clicked");
    }

    /// Clicks the button, link or summary that says exactly this, where it can be seen.
    pub async fn press(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        let path = json!({"using": "xpath", "value": format!(
            "//*[self::button or self::a or self::summary or self::label][normalize-space(.)={}]", quoted(words))});
        loop {
            let found = self.command("/elements", path.clone()).await.unwrap_or_default();
            for one in found.as_array().into_iter().flatten() {
                let Some(element) = one[ELEMENT].as_str() else { continue };
                if self.command(&format!("/element/{element}/click"), json!({})).await.is_ok() {
                    return;
                }
            }
            if Instant::now() > until {
                panic!("nothing to press says {words:?} on {}:\n{}", self.url().await, self.text().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types over what the field holds.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        self.command(&format!("/element/{element}/clear"), json!({})).await.expect("it can be cleared");
        let typed = json!({"text": text});
        self.command(&format!("/element/{element}/value"), typed).await.expect("it can be typed into");
    }

    /// Presses keys wherever the focus is.
    pub async fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("/actions", actions).await.expect("the keys are pressed");
    }

    pub async fn back(&self) {
        self.command("/back", json!({})).await.expect("there is a page before");
    }

    /// The value of a field or the text of an element.
    pub async fn value(&self, css: &str) -> String {
        let element = self.find(css).await;
        let value = self.ask(&format!("/element/{element}/property/value")).await.unwrap_or_default();
        match value.as_str() {
            Some(value) => value.to_owned(),
            None => {
                let text = self.ask(&format!("/element/{element}/text")).await.unwrap_or_default();
                text.as_str().unwrap_or_default().to_owned()
            }
        }
    }

    /// What scripts and the policy of the page complained of; that a form was refused is no complaint.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.command("/se/log", json!({"type": "browser"})).await.unwrap_or_default();
        let severe = entries.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        let messages = severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        messages.filter(|message| !message.contains("the server responded with a status of 4")).collect()
    }

    /// An instruction of Chromium's own protocol.
    pub async fn devtools(&self, instruction: &str, parameters: Value) -> Value {
        let body = json!({"cmd": instruction, "params": parameters});
        self.command("/goog/cdp/execute", body).await.expect("the browser obeys")
    }

    /// As wide as a telephone or a desk's screen, in the light or in the dark.
    pub async fn look(&self, width: u32, height: u32, dark: bool) {
        let phone = width < 600;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// The whole page as a picture.
    pub async fn picture(&self, file: &Path) {
        let shot = self.devtools("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await;
        let bytes = base64::prelude::BASE64_STANDARD
            .decode(shot["data"].as_str().expect("a picture"))
            .expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be made");
        std::fs::write(file, bytes).expect("the picture can be written");
    }

    /// A passkey's authenticator in software, which agrees to everything.
    pub async fn authenticator(&self) {
        let options = json!({"protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserConsenting": true, "isUserVerified": true});
        self.command("/webauthn/authenticator", options).await.expect("an authenticator");
    }

    /// Forgets who is signed in.
    pub async fn forget_cookies(&self) {
        let forgotten = self.http.delete(format!("{}/cookie", self.session)).send().await;
        told(forgotten.expect("the driver answers")).await.expect("the cookies are gone");
    }
}

/// Starts the driver on a free port; `None` when it ends before it says which.
fn driver() -> Option<(Child, u16, TempDir)> {
    let home = tempfile::tempdir().expect("a folder");
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .process_group(0)
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/browser-packages installs chromedriver");
    let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    if port.is_none() {
        end(&mut driver);
    }
    Some((driver, port?, home))
}

/// Ends the driver with its browser, which would outlive it.
fn end(driver: &mut Child) {
    let group = rustix::process::Pid::from_child(driver);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = driver.wait();
}

async fn told(answer: reqwest::Response) -> Result<Value, String> {
    let good = answer.status().is_success();
    let body: Value = answer.json().await.map_err(|error| error.to_string())?;
    if good { Ok(body["value"].clone()) } else { Err(body["value"]["message"].to_string()) }
}

/// A text as XPath writes it.
fn quoted(text: &str) -> String {
    if text.contains('"') { format!("'{text}'") } else { format!("\"{text}\"") }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.driver);
    }
}
