//! What an agent does when it is asked: writes the look-up files of its host, and has the Dovecot beside it end
//! sessions. Questions about files are worked on one at a time, those about sessions beside them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::task::JoinHandle;

use super::asks::{FileAsk, Held, Made, Opened};
use crate::clock::{Clock, MINUTE, Millis};
use crate::error::{Error, Result};
use crate::mailserver::doveadm::Doveadm;
use crate::mailserver::link::VERSION;
use crate::mailserver::remote::SessionAsk;
use crate::store::projection::{Applied, MailboxState, Options, Projection, Rebuilt};

/// Pages that wait to be written.
const PAGES: usize = 2;

/// Does what a node asks an agent for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handler {
    name: String,
    clock: Clock,
    doveadm: Doveadm,
    files: Arc<Mutex<Files>>,
}

struct Files {
    /// Where they are; the instance is told by the node.
    options: Options,
    projection: Option<Projection>,
    making: Option<Making>,
}

/// A rebuild that runs, on a thread of its own.
struct Making {
    pages: mpsc::Sender<Vec<MailboxState>>,
    done: JoinHandle<(Projection, Result<Rebuilt>)>,
    /// Said at the end: without it the rebuild leaves everything as it was.
    whole: Arc<std::sync::atomic::AtomicBool>,
}

impl Handler {
    pub fn new(name: String, options: Options, doveadm: Doveadm, clock: Clock) -> Self {
        let files = Files { options, projection: None, making: None };
        Self { name, clock, doveadm, files: Arc::new(Mutex::new(files)) }
    }

    /// Answers one question.
    ///
    /// # Errors
    /// Why not, in words for the node's log.
    pub async fn answer(self, what: Value) -> std::result::Result<Value, String> {
        let name = what["ask"].as_str().unwrap_or_default().to_owned();
        let unknown = || format!("an agent of version {VERSION} does not understand the question {name:.20}");
        if SessionAsk::knows(&name) {
            let ask: SessionAsk = serde_json::from_value(what).map_err(|_| unknown())?;
            return ask.carry_out(&self.doveadm).await;
        }
        // What serde says of a value may quote it.
        let ask: FileAsk = serde_json::from_value(what).map_err(|_| unknown())?;
        self.write(ask).await.map_err(|error| {
            tracing::warn!(%error, "the look-up files could not be written");
            error.to_string()
        })
    }

    /// Ends what was begun and cannot be finished: the files stay as they were before.
    pub async fn give_up(&self) {
        self.files.lock().await.making = None;
    }

    async fn write(&self, ask: FileAsk) -> Result<Value> {
        let mut files = Arc::clone(&self.files).lock_owned().await;
        match ask {
            FileAsk::Open { version, name, instance, now } => {
                if version != VERSION {
                    return Err(Error::Refused(format!(
                        "the node speaks version {version} and this agent version {VERSION}; upgrade the older one"
                    )));
                }
                if name != self.name {
                    let why = format!("the node takes this agent for {name}; it is {}", self.name);
                    return Err(Error::Refused(why));
                }
                self.compare_clocks(now);
                files.making = None;
                let position = blocking(files, move |files| files.open(instance)).await?;
                json(&Opened { version: VERSION, name, position })
            }
            FileAsk::Apply { since, upto, changes, domains } => {
                let held = blocking(files, move |files| {
                    let projection = files.projection()?;
                    match projection.take(since, upto, &changes, domains.as_deref())? {
                        // A part of many changes may be all that comes: the files are up to date when the node
                        // says so, with its next sign of life.
                        Applied::Done | Applied::AlreadyThere => {}
                        Applied::Behind { have } => {
                            tracing::warn!(have, upto, "what came does not fit the files")
                        }
                        Applied::NeedsRebuild { why } => {
                            tracing::warn!(why, "the look-up files are made anew");
                            return Ok(Held { position: None });
                        }
                    }
                    Ok(Held { position: projection.position() })
                });
                json(&held.await?)
            }
            FileAsk::StillThere { now } => {
                self.compare_clocks(now);
                let mine = self.clock.now();
                let held = blocking(files, move |files| {
                    let projection = files.projection()?;
                    projection.in_contact(mine)?;
                    Ok(Held { position: projection.position() })
                });
                json(&held.await?)
            }
            FileAsk::Rebuild { position, domains } => {
                files.begin_making(position, domains)?;
                Ok(Value::Null)
            }
            FileAsk::Page { states } => {
                let making = files.making.as_ref().ok_or_else(no_rebuild)?;
                // If it has ended, the last question tells why.
                let _ended = making.pages.send(states).await;
                Ok(Value::Null)
            }
            FileAsk::Rebuilt => self.finish_making(files).await,
        }
    }

    async fn finish_making(&self, mut files: OwnedMutexGuard<Files>) -> Result<Value> {
        let Making { pages, done, whole } = files.making.take().ok_or_else(no_rebuild)?;
        whole.store(true, std::sync::atomic::Ordering::Release);
        drop(pages);
        let (mut projection, rebuilt) =
            done.await.map_err(|error| Error::caused("making the look-up files anew", error))?;
        let noted = match &rebuilt {
            Ok(_) => projection.in_contact(self.clock.now()),
            Err(_) => Ok(()),
        };
        files.projection = Some(projection);
        drop(files);
        let rebuilt = rebuilt?;
        noted?;
        tracing::info!(accounts = rebuilt.accounts, "the look-up files were made anew");
        if rebuilt.reload_servers {
            tracing::warn!("a look-up file was made anew; if Postfix runs, run `postfix reload`");
            if let Err(error) = self.doveadm.reload().await {
                tracing::warn!(%error, "Dovecot could not be reloaded; run `doveadm reload`");
            }
        }
        json(&Made { accounts: rebuilt.accounts })
    }

    /// Passwords expire, and a host counts as cut off, by the clock of this machine.
    fn compare_clocks(&self, node: Millis) {
        let apart = self.clock.now() - node;
        if apart.abs() > MINUTE {
            tracing::warn!(milliseconds = apart, "the clock of this machine is not that of the node");
        }
    }
}

impl Files {
    fn open(&mut self, instance: String) -> Result<Option<i64>> {
        if self.projection.is_none() || self.options.instance != instance {
            self.projection = None;
            self.options.instance = instance;
            self.projection = Some(Projection::open(self.options.clone())?);
        }
        Ok(self.projection()?.position())
    }

    fn projection(&mut self) -> Result<&mut Projection> {
        let busy = || Error::Refused("the look-up files were not opened, or are being made anew".to_owned());
        self.projection.as_mut().ok_or_else(busy)
    }

    fn begin_making(&mut self, position: i64, domains: Vec<String>) -> Result<()> {
        let mut projection = self.projection.take().ok_or_else(no_rebuild)?;
        let (pages, mut coming) = mpsc::channel::<Vec<MailboxState>>(PAGES);
        let whole = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let said = Arc::clone(&whole);
        let done = tokio::task::spawn_blocking(move || {
            let mut page = Vec::new().into_iter();
            let states = std::iter::from_fn(|| {
                loop {
                    if let Some(state) = page.next() {
                        return Some(Ok(state));
                    }
                    match coming.blocking_recv() {
                        Some(more) => page = more.into_iter(),
                        None if said.load(std::sync::atomic::Ordering::Acquire) => return None,
                        None => {
                            return Some(Err(Error::Refused(
                                "the node is gone in the middle of it".to_owned(),
                            )));
                        }
                    }
                }
            });
            let rebuilt = projection.rebuild(position, states, &domains);
            (projection, rebuilt)
        });
        self.making = Some(Making { pages, done, whole });
        Ok(())
    }
}

fn no_rebuild() -> Error {
    Error::Refused("the look-up files are not being made anew".to_owned())
}

fn json(answer: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(answer).map_err(|error| Error::caused("writing an answer", error))
}

/// Works on the files off the async threads: another writer may hold them for seconds.
async fn blocking<T: Send + 'static>(
    mut files: OwnedMutexGuard<Files>,
    work: impl FnOnce(&mut Files) -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(move || work(&mut files))
        .await
        .map_err(|error| Error::caused("working on the look-up files", error))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::mailserver::doveadm::DoveadmConfig;

    fn agent(folder: &Path) -> Handler {
        let key_file = folder.join("key");
        std::fs::write(&key_file, "a key\n").expect("a file");
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let doveadm = Doveadm::new(&DoveadmConfig {
            name: "imap1".to_owned(),
            url: "http://127.0.0.1:9".to_owned(),
            key_file,
            certificate_sha256: None,
            ca_file: None,
        });
        let options = Options {
            auth_dir: folder.join("auth"),
            maps_dir: folder.join("maps"),
            auth_group: None,
            maps_group: None,
            instance: String::new(),
        };
        Handler::new("imap1".to_owned(), options, doveadm.expect("a key"), Clock::at(0))
    }

    fn person(account_id: i64) -> Value {
        json!({
            "account_id": account_id, "mbox": format!("m{account_id}"), "generation": 1, "password_phc": null,
            "password_until": null, "gate": null, "imap": true, "pop": true, "smtp_login": true, "sending": null,
            "incoming": null, "addresses": [], "primary": format!("p{account_id}@example.org"), "app_passwords": [],
            "retired": [], "cut_off_minutes": null,
        })
    }

    async fn ask(agent: &Handler, what: Value) -> std::result::Result<Value, String> {
        agent.clone().answer(what).await
    }

    async fn open(agent: &Handler) -> Value {
        let open = json!({"ask": "open", "version": VERSION, "name": "imap1", "instance": "one", "now": 0});
        ask(agent, open).await.expect("an answer")["position"].clone()
    }

    #[tokio::test]
    async fn a_node_that_speaks_otherwise_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = agent(folder.path());
        let open = |version: u32, name: &str| json!({"ask": "open", "version": version, "name": name, "instance": "one", "now": 0});
        let newer = ask(&agent, open(VERSION + 1, "imap1")).await.expect_err("another version");
        assert!(newer.contains("speaks version 2") && newer.contains("upgrade the older one"), "{newer}");
        let other = ask(&agent, open(VERSION, "imap2")).await.expect_err("another host");
        assert!(other.contains("it is imap1"), "{other}");
        for nonsense in [json!({"ask": "format the disk"}), json!({}), json!({"ask": "apply"}), json!(7)] {
            let why = ask(&agent, nonsense.clone()).await.expect_err("nonsense");
            assert!(why.contains("does not understand"), "{nonsense}: {why}");
        }
        let early = json!({"ask": "still_there", "now": 0});
        assert!(ask(&agent, early).await.expect_err("nothing is open").contains("not opened"));
    }

    #[tokio::test]
    async fn files_that_could_not_be_made_to_the_end_stay_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = agent(folder.path());
        assert_eq!(open(&agent).await, Value::Null, "there is nothing yet");
        let rebuild =
            |position: i64| json!({"ask": "rebuild", "position": position, "domains": ["example.org"]});
        let page = |ids: &[i64]| json!({"ask": "page", "states": ids.iter().map(|id| person(*id)).collect::<Vec<_>>()});
        for (ids, position) in [([1, 2], 7), ([1, 3], 9)] {
            ask(&agent, rebuild(position)).await.expect("begun");
            ask(&agent, page(&ids)).await.expect("taken");
            let made = ask(&agent, json!({"ask": "rebuilt"})).await.expect("made");
            assert_eq!(made["accounts"], 2);
        }
        ask(&agent, rebuild(11)).await.expect("begun");
        ask(&agent, page(&[4])).await.expect("taken");
        agent.give_up().await;
        assert_eq!(open(&agent).await, 9);

        let apply = json!({"ask": "apply", "since": 9, "upto": 12, "domains": null,
                           "changes": [{"account_id": 3, "state": null}, {"account_id": 5, "state": person(5)}]});
        assert_eq!(ask(&agent, apply.clone()).await.expect("applied")["position"], 12);
        assert_eq!(ask(&agent, apply).await.expect("once more")["position"], 12);
        let gap = json!({"ask": "apply", "since": 15, "upto": 16, "domains": null, "changes": []});
        assert_eq!(ask(&agent, gap).await.expect("not applied")["position"], 12);
    }

    #[tokio::test]
    async fn a_host_that_got_a_part_of_what_it_lacks_counts_as_cut_off_still() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = agent(folder.path());
        open(&agent).await;
        ask(&agent, json!({"ask": "rebuild", "position": 7, "domains": []})).await.expect("begun");
        ask(&agent, json!({"ask": "rebuilt"})).await.expect("made");
        let contact = async || agent.files.lock().await.projection().expect("files").contact();
        let made = contact().await;
        agent.clock.advance(60 * MINUTE);
        let part = json!({"ask": "apply", "since": 7, "upto": 7, "domains": null,
                          "changes": [{"account_id": 5, "state": person(5)}]});
        ask(&agent, part).await.expect("written");
        assert_eq!(contact().await, made);
        ask(&agent, json!({"ask": "still_there", "now": 60 * MINUTE})).await.expect("noted");
        assert_eq!(contact().await, made + 60 * MINUTE);
    }
}
