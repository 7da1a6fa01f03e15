//! Finds what was changed in a log: in an export, without any database, or in the database itself.
//! Every finding is a sentence for a person; none means that the log is whole.

use std::collections::BTreeSet;
use std::io::BufRead;

use serde::Deserialize;
use serde_json::Value;

use super::export;
use super::head::Head;
use crate::app::App;
use crate::domain::actor::Who;
use crate::domain::audit_chain::Tip;
use crate::domain::ids::{OrganizationId, UserId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::audit_chain::{self, ChainLink};

/// After so many findings nobody reads on.
const MOST_FINDINGS: usize = 100;
/// Entries read from the database at once.
const AT_ONCE: i64 = 1_000;

/// What a log was found to be.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub organization: OrganizationId,
    /// Entries looked at.
    pub entries: i64,
    /// The keys that signed heads, in hex: whoever compares them with those noted down earlier knows
    /// that nobody signed with another one.
    pub signed_by: Vec<String>,
    /// Heads from outside that the log agrees with.
    pub heads: usize,
    /// What is wrong; empty for a whole log.
    pub findings: Vec<String>,
}

/// Heads from outside: lines of JSON, of any organizations.
///
/// # Errors
/// `BadValue` for a line that is no head.
pub fn read_heads(text: &str) -> Result<Vec<Head>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|cause| Error::bad_value("head", format!("line {} is no head: {cause}", number + 1)))
    };
    lines.map(read).collect()
}

/// Verifies an export. `outside` are heads that were kept elsewhere; every head must be signed by one of the public
/// `keys` (in hex), where any are given.
///
/// # Errors
/// `BadValue` for what is no export at all; `Internal` when it cannot be read.
pub fn verify_export(from: &mut dyn BufRead, outside: &[Head], keys: &[String]) -> Result<Verdict> {
    let mut lines = from.lines().map(|line| line.map_err(|cause| Error::caused("reading the export", cause)));
    let first = lines.next().transpose()?.unwrap_or_default();
    let (organization, promised) = beginning(&first)?;
    let mut walk = Walk::new(organization, outside, keys);
    let mut end = None;
    for line in lines {
        let line = line?;
        if end.is_some() {
            walk.find("there is something behind the head at the end of the export".to_owned());
            break;
        }
        match parse(&line) {
            Some(Line::Entry { number, hash, entry }) => walk.entry(number, &hash, entry),
            Some(Line::Head(head)) => end = Some(head),
            None => walk.find(format!("behind entry {}: a line is neither an entry nor a head", walk.last)),
        }
    }
    match end {
        Some(head) => walk.end(&head),
        None => walk.find("the export has no head at its end: it was cut off".to_owned()),
    }
    if promised != walk.tip.number {
        walk.find(format!("the export was made of {promised} entries and holds {}", walk.tip.number));
    }
    Ok(walk.verdict())
}

fn beginning(line: &str) -> Result<(OrganizationId, i64)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct First {
        export: About,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct About {
        entries: i64,
        organization: String,
        v: u32,
    }
    let no_export =
        |why: String| Error::bad_value("export", format!("its first line is not that of an export: {why}"));
    let First { export: about } = serde_json::from_str(line).map_err(|cause| no_export(cause.to_string()))?;
    if about.v != 1 {
        return Err(no_export(format!("version {}", about.v)));
    }
    let organization: OrganizationId =
        about.organization.parse().map_err(|()| no_export("no organization".to_owned()))?;
    if line != export::first_line(organization, about.entries) {
        return Err(no_export("it was written in another way".to_owned()));
    }
    Ok((organization, about.entries))
}

enum Line {
    Entry { number: i64, hash: String, entry: Option<String> },
    Head(Head),
}

fn parse(line: &str) -> Option<Line> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    // What another reader could understand in another way, such as a key that is there twice, is not
    // what was written.
    if serde_json::to_string(&value).ok()? != line {
        return None;
    }
    let object = value.as_object_mut()?;
    if let Some(head) = object.remove("head") {
        return object.is_empty().then(|| serde_json::from_value(head).ok()).flatten().map(Line::Head);
    }
    let (entry, hash, number) = (object.remove("entry")?, object.remove("hash")?, object.remove("number")?);
    let entry = match entry {
        Value::Null => None,
        entry => Some(serde_json::to_string(&entry).ok()?),
    };
    let known = Line::Entry { number: number.as_i64()?, hash: hash.as_str()?.to_owned(), entry };
    object.is_empty().then_some(known)
}

/// Verifies the logs in the database: of one organization, or of all.
///
/// # Errors
/// When the database cannot be read.
pub async fn verify_database(
    app: &App,
    organization: Option<OrganizationId>,
    outside: &[Head],
    keys: &[String],
) -> Result<Vec<Verdict>> {
    // One moment for everything: what is written meanwhile would look like too many entries.
    let mut tx = app.db.snapshot().await?;
    let all: BTreeSet<OrganizationId> = match organization {
        Some(one) => BTreeSet::from([one]),
        None => {
            let here = store::organizations::all(&mut tx).await?.into_iter().map(|one| one.id);
            // An organization that only a head knows is one whose log is gone.
            here.chain(outside.iter().filter_map(|head| head.organization.parse().ok())).collect()
        }
    };
    let mut verdicts = Vec::with_capacity(all.len());
    for one in all {
        let mut walk = Walk::new(one, outside, keys);
        loop {
            let page = audit_chain::page(&mut tx, one, walk.last, AT_ONCE).await?;
            if page.is_empty() {
                break;
            }
            for link in page {
                walk.columns(&link);
                walk.entry(link.number, &link.hash.map(hex::encode).unwrap_or_default(), link.entry);
            }
        }
        let (entries, places) = audit_chain::counts(&mut tx, one).await?;
        if entries > places {
            walk.find(format!("{} entries stand beside the chain", entries - places));
        } else if entries < places && walk.findings.is_empty() {
            walk.find(format!("{} entries are gone before they were sealed", places - entries));
        }
        verdicts.push(walk.verdict());
    }
    Ok(verdicts)
}

/// One walk along a chain.
struct Walk<'a> {
    organization: OrganizationId,
    /// Where the chain stands by what was read.
    tip: Tip,
    /// The number of the last line read, whatever the chain thinks of it.
    last: i64,
    outside: Vec<(&'a Head, Option<Tip>)>,
    agreed: usize,
    signed_by: Vec<String>,
    keys: &'a [String],
    findings: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(organization: OrganizationId, outside: &'a [Head], keys: &'a [String]) -> Self {
        let mut walk = Self {
            organization,
            tip: Tip::start(organization),
            last: 0,
            outside: Vec::new(),
            agreed: 0,
            signed_by: Vec::new(),
            keys,
            findings: Vec::new(),
        };
        for head in outside.iter().filter(|head| head.organization == organization.to_string()) {
            let tip = walk.head(head);
            walk.outside.push((head, tip));
        }
        walk.compare();
        walk
    }

    fn find(&mut self, what: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(what);
        }
    }

    /// Where a head says that the chain stood, if it is signed as it must be.
    fn head(&mut self, head: &Head) -> Option<Tip> {
        let known = |key: &String| key.eq_ignore_ascii_case(&head.public);
        if !self.keys.is_empty() && !self.keys.iter().any(known) {
            self.find(format!(
                "the head at entry {} was signed by another key, {}",
                head.number, head.public
            ));
            return None;
        }
        match head.verified() {
            Ok((organization, tip)) if organization == self.organization => {
                if !self.signed_by.contains(&head.public) {
                    self.signed_by.push(head.public.clone());
                }
                Some(tip)
            }
            Ok((organization, _)) => {
                self.find(format!("the head at entry {} is one of organization {organization}", head.number));
                None
            }
            Err(error) => {
                self.find(error.to_string());
                None
            }
        }
    }

    fn entry(&mut self, number: i64, hash: &str, entry: Option<String>) {
        let due = self.last + 1;
        if number != due {
            self.find(if number > due {
                format!("entries {due} to {} are missing", number - 1)
            } else {
                format!("entry {number} stands behind entry {}: the order was changed", self.last)
            });
            // From here on the chain can only be followed by what the lines say of themselves.
            self.tip.number = number - 1;
        }
        self.last = number;
        let Some(entry) = entry else {
            self.find(format!("entry {number} was deleted"));
            self.go_on_from(number, hash);
            return;
        };
        let made = self.tip.next(&entry);
        if hex::encode(made.hash) == hash {
            self.tip = made;
        } else {
            if number == due {
                self.find(format!("entry {number}, or one before it, is not the one that was sealed"));
            }
            self.go_on_from(number, hash);
        }
        self.compare();
    }

    /// Behind a broken place every hash would be wrong: what the log says of itself is taken there,
    /// so that each later change is found by itself.
    fn go_on_from(&mut self, number: i64, hash: &str) {
        let mut believed = Tip { number, hash: [0; 32] };
        if hex::decode_to_slice(hash, &mut believed.hash).is_err() {
            self.find(format!("entry {number} has no hash"));
        }
        self.tip = believed;
    }

    /// Holds the chain against the outside heads at this number.
    fn compare(&mut self) {
        let tip = self.tip;
        let here: Vec<_> = self.outside.iter().filter_map(|(head, at)| Some((head.at, (*at)?))).collect();
        for (at, outside) in here.into_iter().filter(|(_, outside)| outside.number == tip.number) {
            if outside == tip {
                self.agreed += 1;
            } else {
                self.find(format!(
                    "the head that was signed at {at} belongs to another log: entries up to {} were replaced",
                    tip.number
                ));
            }
        }
    }

    /// The export's own end.
    fn end(&mut self, head: &Head) {
        if let Some(tip) = self.head(head)
            && tip != self.tip
        {
            self.find(format!(
                "the head at the end is of {} entries with another hash than these {}",
                tip.number, self.tip.number
            ));
        }
    }

    /// The columns that entries are found by say what the entry says.
    fn columns(&mut self, link: &ChainLink) {
        let Some(entry) = link.entry.as_deref().and_then(|entry| serde_json::from_str::<Value>(entry).ok())
        else {
            return;
        };
        let says = |place: &str| entry.pointer(place).and_then(Value::as_str).map(str::to_owned);
        let refused = says("/outcome").as_deref() == Some("refused");
        let person = says(if refused { "/person" } else { "/target/zuid" });
        // A refusal that was written before it said so names its person beside it alone.
        let unsaid = refused && person.is_none();
        let person: Option<UserId> = person.and_then(|zuid| zuid.parse().ok());
        let actor = match says("/actor/kind").as_deref() {
            Some("user") => {
                says("/actor/zuid").and_then(|zuid| Some(Who::User(zuid.parse().ok()?).to_string()))
            }
            Some("operator") => says("/actor/name").map(|name| Who::Operator(name).to_string()),
            other => other.map(str::to_owned),
        };
        if says("/change") != Some(link.change.to_string())
            || entry["step"].as_i64() != Some(link.step)
            || entry["at"].as_i64() != link.at
            || says("/verb") != link.verb
            || actor != link.actor
            || (person != link.person && !unsaid)
        {
            self.find(format!("entry {}: the columns beside it were changed", link.number));
        }
    }

    fn verdict(mut self) -> Verdict {
        let last = self.last;
        let beyond = self.outside.iter().filter_map(|(head, at)| Some((head.at, (*at)?)));
        let beyond: Vec<_> = beyond.filter(|(_, outside)| outside.number > last).collect();
        for (at, outside) in beyond {
            self.find(format!(
                "the log was cut off: a head signed at {at} is of {} entries, and there are {last}",
                outside.number
            ));
        }
        Verdict {
            organization: self.organization,
            entries: self.last,
            signed_by: self.signed_by,
            heads: self.agreed,
            findings: self.findings,
        }
    }
}
