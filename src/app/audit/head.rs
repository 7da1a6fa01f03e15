//! Heads: where a chain stands at a moment, signed. Kept outside, a head proves later that nothing
//! up to it was changed or cut off.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::app::keys::{KeyId, Keys, is_signature};
use crate::clock::Millis;
use crate::domain::audit_chain::{Hash, Tip};
use crate::domain::ids::OrganizationId;
use crate::error::{Error, Result};
use crate::store::{self, audit_chain};

/// The version of the form.
const VERSION: u32 = 1;

/// A signed head, as it is written: one line of JSON, keys sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub at: Millis,
    /// The chain's hash at that entry, in hex.
    pub hash: String,
    /// The id of the key that signed.
    pub key: String,
    /// The number of the newest entry; 0 for none.
    pub number: i64,
    pub organization: String,
    /// What the signature is verified with, in hex: Ed25519.
    pub public: String,
    pub signature: String,
    pub v: u32,
}

impl Head {
    fn sign(keys: &Keys, organization: OrganizationId, tip: Tip, at: Millis) -> Self {
        let signed = keys.sign_head(tip.head_text(organization, at).as_bytes());
        Self {
            at,
            hash: hex::encode(tip.hash),
            key: signed.key.to_string(),
            number: tip.number,
            organization: organization.to_string(),
            public: hex::encode(signed.public),
            signature: hex::encode(signed.signature),
            v: VERSION,
        }
    }

    /// Where the chain stood, and whose it is, if the signature is right.
    ///
    /// # Errors
    /// `Refused`, saying what is wrong.
    pub fn verified(&self) -> Result<(OrganizationId, Tip)> {
        let bad = |why: &str| {
            Error::Refused(format!("the head of {} at {}: {why}", self.organization, self.number))
        };
        if self.v != VERSION {
            return Err(bad("this program does not know its version"));
        }
        let organization: OrganizationId =
            self.organization.parse().map_err(|()| bad("it names no organization"))?;
        let mut hash: Hash = [0; 32];
        hex::decode_to_slice(&self.hash, &mut hash).map_err(|_| bad("its hash is no SHA-256"))?;
        let tip = Tip { number: self.number, hash };
        // One head has one spelling, or an altered one would go for the one that was written.
        let one_spelling = |text: &String| hex::decode(text).is_ok_and(|bytes| hex::encode(bytes) == *text);
        if organization.to_string() != self.organization
            || !self.key.parse::<KeyId>().is_ok_and(|key| key.to_string() == self.key)
            || ![&self.hash, &self.public, &self.signature].into_iter().all(one_spelling)
        {
            return Err(bad("it is not spelled as heads are"));
        }
        let hex = |text: &str| hex::decode(text).unwrap_or_default();
        let text = tip.head_text(organization, self.at);
        if !is_signature(&hex(&self.public), text.as_bytes(), &hex(&self.signature)) {
            return Err(bad("its signature is wrong"));
        }
        Ok((organization, tip))
    }

    /// One line, without its end.
    ///
    /// # Errors
    /// `Internal`.
    pub fn line(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|cause| Error::caused("writing a head", cause))
    }
}

/// Signs where the chains stand: of one organization, or of all.
///
/// # Errors
/// When the database cannot be read.
pub async fn heads(app: &App, organization: Option<OrganizationId>) -> Result<Vec<Head>> {
    let mut tx = app.db.snapshot().await?;
    let all = match organization {
        Some(one) => vec![one],
        None => store::organizations::all(&mut tx).await?.into_iter().map(|one| one.id).collect(),
    };
    let mut heads = Vec::with_capacity(all.len());
    for one in all {
        let tip = audit_chain::tip(&mut tx, one).await?;
        heads.push(Head::sign(&app.keys, one, tip, app.clock.now()));
    }
    Ok(heads)
}

/// Appends the heads that have moved since the last call to the configured file, if there is one.
///
/// # Errors
/// When it cannot be written; the next call tries again.
pub async fn write_moved(app: &App, written: &mut BTreeMap<String, i64>) -> Result<()> {
    let Some(file) = &app.config.audit.heads_file else { return Ok(()) };
    let moved: Vec<Head> = heads(app, None)
        .await?
        .into_iter()
        .filter(|head| written.get(&head.organization) != Some(&head.number))
        .collect();
    let mut text = String::new();
    for head in &moved {
        text.push_str(&head.line()?);
        text.push('\n');
    }
    if text.is_empty() {
        return Ok(());
    }
    append(file, &text).map_err(|cause| Error::caused("writing the audit log's heads", cause))?;
    written.extend(moved.into_iter().map(|head| (head.organization, head.number)));
    Ok(())
}

/// A line is there whole or not at all, also where the disk was full in the middle of it.
fn append(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    let before = file.metadata()?.len();
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        file.set_len(before)?;
    }
    written.and_then(|()| file.sync_all())
}
