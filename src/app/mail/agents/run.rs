//! The agent of a mail host: finds a node, gives it the connection, and obeys. Without a node nothing changes: the
//! mail servers go on with the files as they are.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use secrecy::SecretString;
use tokio::time::sleep;

use super::obey::Handler;
use crate::app::mail::{projector, servers};
use crate::app::random::Random;
use crate::clock::Clock;
use crate::config::{Config, MailAgent};
use crate::error::{Error, Result};
use crate::mailserver::connection::{Endpoint, Trust, Wording, read_key};
use crate::mailserver::doveadm::{Doveadm, DoveadmConfig};
use crate::mailserver::link;

/// Between two tries, at first and at most; each is drawn between half and all of it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The nodes that an agent asks, in this order. It must have a name that they may know.
///
/// # Errors
/// `BadValue` for the option and what to write instead.
pub fn nodes(agent: &MailAgent) -> Result<Vec<Endpoint>> {
    servers::check_name("an agent", &agent.name)
        .map_err(|_| Error::bad_value("mail_agent.name", "the name under which `mail-agent add` knows it"))?;
    if agent.nodes.is_empty() {
        return Err(Error::bad_value(
            "mail_agent.nodes",
            "name a node at least, as [\"https://desk.example.org\"]",
        ));
    }
    let trust = Trust {
        certificate_sha256: Some(agent.certificate_sha256.as_str()).filter(|pin| !pin.is_empty()),
        ca_file: agent.ca_file.as_deref(),
        public: true,
    };
    let wording = Wording { whom: "a node", what: "a node", key: "the agent's key" };
    let nodes = agent.nodes.iter().map(|url| Endpoint::new(url, &trust, &wording));
    nodes.collect::<Result<_, _>>().map_err(|why| Error::bad_value("mail_agent.nodes", why))
}

/// An agent that is ready to run.
pub struct Agent {
    name: String,
    nodes: Vec<Endpoint>,
    key: SecretString,
    handler: Handler,
    random: Random,
}

impl Agent {
    /// Reads keys and certificates, and refuses what is not safe.
    ///
    /// # Errors
    /// `BadValue` for the option and what to write instead.
    pub fn new(config: &Config, clock: Clock, random: Random) -> Result<Self> {
        let agent = &config.mail_agent;
        let nodes = nodes(agent)?;
        let key = read_key(&agent.key_file, "it gives out the accounts of this host")
            .map_err(|why| Error::bad_value("mail_agent.key_file", why))?;
        let options = projector::options(config)?.ok_or_else(|| {
            Error::bad_value(
                "mail.auth_dir, maps_dir",
                "the look-up files are what an agent is for; set both folders",
            )
        })?;
        let doveadm = Doveadm::new(&DoveadmConfig {
            name: agent.name.clone(),
            url: agent.doveadm_url.clone(),
            key_file: agent.doveadm_key_file.clone(),
            certificate_sha256: None,
            ca_file: None,
        })
        .map_err(|why| Error::bad_value("mail_agent.doveadm_url, doveadm_key_file", why))?;
        let handler = Handler::new(agent.name.clone(), options, doveadm, clock);
        Ok(Self { name: agent.name.clone(), nodes, key, handler, random })
    }

    /// Runs until the task is dropped: one node after the other, each for as long as it goes.
    pub async fn run(&self) -> Infallible {
        tracing::info!(agent = self.name, nodes = self.nodes.len(), "the mail agent runs");
        let mut failures = 0;
        loop {
            for node in &self.nodes {
                let began = Instant::now();
                match self.serve(node).await {
                    Ok(why) => {
                        // One that breaks as soon as it is there is no better than none.
                        failures = if began.elapsed() < LONGEST_PAUSE { failures + 1 } else { 0 };
                        tracing::warn!(node = %node.url(), %why, "the node is gone; the files stay as they are");
                    }
                    Err(why) => {
                        failures += 1;
                        tracing::warn!(node = %node.url(), why, "no node; the files stay as they are");
                    }
                }
                self.pause(failures).await;
            }
        }
    }

    async fn pause(&self, failures: u32) {
        let most = (SHORTEST_PAUSE * 2_u32.pow(failures.min(10))).min(LONGEST_PAUSE);
        // Agents that lost one node together do not come to the next one together.
        let part = self.random.with(|rng| rng.random_range(0.5..1.0));
        sleep(most.mul_f64(part)).await;
    }

    /// Why the connection ended.
    ///
    /// # Errors
    /// Why there was none.
    async fn serve(&self, node: &Endpoint) -> std::result::Result<link::LinkError, String> {
        let io = link::connect(node, &self.key).await?;
        tracing::info!(node = %node.url(), "a node is here");
        let handler = self.handler.clone();
        let why = link::answer(io, link::SILENCE, move |what| handler.clone().answer(what)).await;
        self.handler.give_up().await;
        Ok(why)
    }
}
