//! The server's keys, from one file that nobody else can read: what must not be forged is
//! authenticated under them, the few secrets that must be read again are sealed, audit heads are
//! signed. Start with [`Keys`]; `rotate` changes the file.

pub mod rotate;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::app::random::Random;
use crate::clock::Millis;
use crate::config::Config;
use crate::domain::ids::{OrganizationId, UserId};
use crate::error::{Error, Result};
use crate::machine::files;
use crate::store::engine::Db;
use crate::store::settings;

/// Where the file is when nobody says and the database is PostgreSQL.
pub const EVERYWHERE: &str = "/var/lib/mailward/mailward.keys";

/// What a key is used for. Each purpose has a key of its own, derived from the file's (HKDF, RFC 5869),
/// so that what is made for one purpose says nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// That two calls with one idempotency key have one body.
    Idempotency,
    /// Subjects of throttles that say nothing about whom they count.
    Throttle,
    /// Seeds of one-time codes.
    Totp,
    /// That all nodes have the same file.
    Check,
    /// Audit heads.
    AuditHead,
}

impl Purpose {
    /// Part of what is stored: these words never change.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Idempotency => b"mailward idempotency",
            Self::Throttle => b"mailward throttle",
            Self::Totp => b"mailward totp",
            Self::Check => b"mailward check",
            Self::AuditHead => b"mailward audit head",
        }
    }
}

/// HMAC-SHA-256.
pub type Mac = [u8; 32];

/// One key of the file.
#[derive(Clone)]
pub struct Key {
    pub id: KeyId,
    pub made_at: Millis,
    secret: Zeroizing<[u8; 32]>,
}

/// Names a key; eight hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for KeyId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut id = [0; 4];
        hex::decode_to_slice(text, &mut id).map_err(drop)?;
        Ok(Self(id))
    }
}

/// Names the key and hides it.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    fn new(random: &Random, made_at: Millis) -> Self {
        random.with(|rng| {
            use rand::Rng as _;
            let (mut id, mut secret) = ([0; 4], Zeroizing::new([0; 32]));
            rng.fill_bytes(&mut id);
            rng.fill_bytes(secret.as_mut_slice());
            Self { id: KeyId(id), made_at, secret }
        })
    }

    fn derived(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let mut derived = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"mailward")
            .extract(self.secret.as_slice())
            .expand(&[purpose.label()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(derived.as_mut_slice()))
            .expect("32 bytes are within what HKDF gives");
        derived
    }

    fn mac(&self, purpose: Purpose, message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.derived(purpose).as_slice()), message)
    }

    fn sealing(&self, purpose: Purpose) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.derived(purpose).as_slice());
        LessSafeKey::new(key.expect("32 bytes are this cipher's key"))
    }

    fn signing(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(self.derived(Purpose::AuditHead).as_slice())
            .expect("32 bytes are an Ed25519 seed")
    }

    /// What a signature of this key is verified with (Ed25519, RFC 8032).
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.signing().public_key().as_ref());
        public
    }
}

/// The keys of the file, the newest first; read again when the file has changed.
pub struct Keys {
    file: PathBuf,
    random: Random,
    held: Mutex<Loaded>,
}

/// What was read, and how the file looked then.
struct Loaded {
    all: Arc<[Key]>,
    seen: Option<FileState>,
}

/// Inode, size, and time of change: a file that was replaced or written has others.
type FileState = (u64, u64, i64, i64);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A signature over an audit head, and what it is verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSignature {
    pub key: KeyId,
    pub public: [u8; 32],
    pub signature: [u8; 64],
}

/// Holds the configured file against the database without making anything: the newest key, or `None`
/// before the first start.
///
/// # Errors
/// As [`Keys::load_or_create`].
pub async fn examine(db: &Db, config: &Config) -> Result<Option<Key>> {
    let file = file(config);
    let known = Check::stored(db).await?;
    if known.is_none() && !file.exists() {
        return Ok(None);
    }
    Ok(found(&file, known.as_ref())?.into_iter().next())
}

/// The keys of the file, if they are those that the database is used with.
fn found(file: &Path, known: Option<&Check>) -> Result<Vec<Key>> {
    let all = match (read(file), known) {
        (Ok(all), _) => all,
        (Err(Unreadable::Missing), Some(known)) => {
            return Err(bad(format!(
                "there is no file {}, and this database is used with the key {}; put the file back, from its copy or \
                 from another node, or run `mailward keys start-anew` if it is lost for good",
                file.display(),
                known.id
            )));
        }
        (Err(why), _) => return Err(why.told(file)),
    };
    if let Some(known) = known {
        known.hold(file, &all)?;
    }
    Ok(all)
}

/// Where the configured keys are: beside an embedded database unless the configuration says.
pub fn file(config: &Config) -> PathBuf {
    match (&config.keys.file, config.database.sqlite_path()) {
        (Some(file), _) => file.clone(),
        // Not the database's whole name with more at its end: what moves or copies `mailward.sqlite*`
        // must not take the keys along.
        (None, Some(database)) => database.with_extension("keys"),
        (None, None) => PathBuf::from(EVERYWHERE),
    }
}

/// What a person's sealed secret is bound to: moved to another row, it does not open.
pub fn of_person(organization: OrganizationId, person: UserId) -> [u8; 16] {
    let mut bound = [0; 16];
    let (front, back) = bound.split_at_mut(8);
    front.copy_from_slice(&organization.get().to_be_bytes());
    back.copy_from_slice(&person.get().to_be_bytes());
    bound
}

impl Keys {
    /// Opens the configured file, and holds it against the check value in the database. Where both
    /// are missing they are made.
    ///
    /// # Errors
    /// `BadValue` for `keys.file`: missing though the database knows keys, another node's, readable
    /// by others, somebody else's, or unreadable.
    pub async fn load_or_create(db: &Db, config: &Config, random: Random, now: Millis) -> Result<Self> {
        let file = file(config);
        let known = Check::stored(db).await?;
        if known.is_none() && !file.exists() {
            make(&file, config.database.sqlite_path(), &random, now)?;
        }
        let all = found(&file, known.as_ref())?;
        if known.is_none() {
            let text = Check::of(&all[0]).to_string();
            let stored = db.write(async move |tx| settings::get_or_set(tx, settings::KEY_CHECK, &text).await);
            let known: Check = stored.await?.parse()?;
            known.hold(&file, &all)?;
        }
        let seen = state(&file);
        Ok(Self { file, random, held: Mutex::new(Loaded { all: all.into(), seen }) })
    }

    /// The keys, the newest first. A changed file is read again; one that cannot be read any more
    /// leaves what was read before.
    pub fn all(&self) -> Arc<[Key]> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = state(&self.file);
        if seen != held.seen {
            held.seen = seen;
            match read(&self.file) {
                Ok(all) => held.all = all.into(),
                Err(why) => tracing::error!(error = %why.told(&self.file), "the old keys stay in use"),
            }
        }
        Arc::clone(&held.all)
    }

    pub fn path(&self) -> &Path {
        &self.file
    }

    /// HMAC-SHA-256 (RFC 2104) under the newest key. The parts are kept apart: `["ab", "c"]` is not
    /// `["a", "bc"]`. To compare with one that was stored use [`Keys::is_mac`]: keys rotate.
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Mac {
        let mut mac = [0; 32];
        mac.copy_from_slice(self.all()[0].mac(purpose, &joined(parts)).as_ref());
        mac
    }

    /// Whether `mac` is of these parts, under any key of the file. Takes the same time for every one.
    pub fn is_mac(&self, purpose: Purpose, parts: &[&[u8]], mac: &[u8]) -> bool {
        let message = joined(parts);
        self.all().iter().any(|key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.derived(purpose).as_slice());
            hmac::verify(&key, &message, mac).is_ok()
        })
    }

    /// Seals a secret under the newest key (ChaCha20-Poly1305, RFC 8439), bound to `about`
    /// (see [`of_person`]): it opens with the same purpose and `about` alone.
    pub fn seal(&self, purpose: Purpose, about: &[u8], secret: &[u8]) -> Vec<u8> {
        seal_with(&self.all()[0], &self.random, purpose, about, secret)
    }

    /// Opens what [`Keys::seal`] made, under whichever key of the file.
    ///
    /// # Errors
    /// `Internal`, naming the key that the file lacks, or for what was changed or sealed about
    /// somebody else.
    pub fn open(&self, purpose: Purpose, about: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let Some(id) = key_of(sealed) else { return Err(Error::internal("a sealed value is cut off")) };
        let all = self.all();
        let key = all.iter().find(|key| key.id == id).ok_or_else(|| {
            Error::internal(format!(
                "a value is sealed with the key {id}, which {} lacks; copy the file of the node that has it",
                self.file.display()
            ))
        })?;
        let (head, boxed) = sealed.split_at(HEAD);
        let spoiled = || Error::internal("a sealed value was changed, or belongs to somebody else");
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + 4..]).map_err(|_| spoiled())?;
        let mut open = Zeroizing::new(boxed.to_vec());
        let length = key
            .sealing(purpose)
            .open_in_place(nonce, Aad::from(about), &mut open)
            .map_err(|_| spoiled())?
            .len();
        open.truncate(length);
        Ok(open)
    }

    /// Signs an audit head with the newest key.
    pub fn sign_head(&self, head: &[u8]) -> HeadSignature {
        let key = &self.all()[0];
        let mut signature = [0; 64];
        signature.copy_from_slice(key.signing().sign(head).as_ref());
        HeadSignature { key: key.id, public: key.public(), signature }
    }
}

/// Whether this is that public key's signature over the head (Ed25519).
pub fn is_signature(public: &[u8], head: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(head, signature).is_ok()
}

// The box ----------------------------------------------------------------------------------------

/// Version, key id and nonce stand before what is sealed.
const HEAD: usize = 1 + 4 + NONCE_LEN;
const BOX_VERSION: u8 = 1;

fn seal_with(key: &Key, random: &Random, purpose: Purpose, about: &[u8], secret: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = random.with(|rng| {
        use rand::Rng as _;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        nonce
    });
    let mut open = Zeroizing::new(secret.to_vec());
    let tag = key
        .sealing(purpose)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), &mut open)
        .expect("a secret is far shorter than what this cipher takes");
    [&[BOX_VERSION][..], &key.id.0, &nonce, &open, tag.as_ref()].concat()
}

/// The key that a value is sealed with; `None` for what is no sealed value.
fn key_of(sealed: &[u8]) -> Option<KeyId> {
    if sealed.len() < HEAD || sealed[0] != BOX_VERSION {
        return None;
    }
    sealed.get(1..5).and_then(|id| id.try_into().ok()).map(KeyId)
}

/// The parts with their lengths before them.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        all.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

// The check value --------------------------------------------------------------------------------

/// The key that a database is used with, and what proves that one has it.
struct Check {
    id: KeyId,
    proof: Vec<u8>,
}

impl Check {
    fn of(key: &Key) -> Self {
        Self { id: key.id, proof: key.mac(Purpose::Check, b"").as_ref().to_vec() }
    }

    async fn stored(db: &Db) -> Result<Option<Self>> {
        let mut tx = db.read().await?;
        settings::get(&mut tx, settings::KEY_CHECK).await?.as_deref().map(str::parse).transpose()
    }

    /// Refuses keys among which the right one is not.
    fn hold(&self, file: &Path, all: &[Key]) -> Result<()> {
        let same = |key: &Key| {
            let check = hmac::Key::new(hmac::HMAC_SHA256, key.derived(Purpose::Check).as_slice());
            key.id == self.id && hmac::verify(&check, b"", &self.proof).is_ok()
        };
        if all.iter().any(same) {
            return Ok(());
        }
        Err(bad(format!(
            "{} lacks the key {} that this database is used with; copy the file of a node that runs to this one, with \
             owner and mode",
            file.display(),
            self.id
        )))
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, hex::encode(&self.proof))
    }
}

impl std::str::FromStr for Check {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text
            .split_once(' ')
            .and_then(|(id, proof)| Some(Self { id: id.parse().ok()?, proof: hex::decode(proof).ok()? }));
        parsed.ok_or_else(|| Error::internal("the check value of the keys cannot be read"))
    }
}

// The file ---------------------------------------------------------------------------------------

const FIRST_LINES: &str = "\
# Mailward's keys: id, when made (milliseconds since 1970), key; the newest first.
# Mode 0600. Keep a copy, but not with the copies of the database; every node has the same file.
";

fn bad(why: impl Into<String>) -> Error {
    Error::bad_value("keys.file", why)
}

enum Unreadable {
    Missing,
    Bad(String),
}

impl Unreadable {
    fn told(&self, file: &Path) -> Error {
        match self {
            Self::Missing => bad(format!("there is no file {}", file.display())),
            Self::Bad(why) => bad(format!("{}: {why}", file.display())),
        }
    }
}

fn state(file: &Path) -> Option<FileState> {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

fn read(file: &Path) -> Result<Vec<Key>, Unreadable> {
    let failed = |cause: io::Error| Unreadable::Bad(cause.to_string());
    let mut opened = match File::open(file) {
        Ok(opened) => opened,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(Unreadable::Missing),
        Err(cause) => return Err(failed(cause)),
    };
    let found = opened.metadata().map_err(failed)?;
    private(file, found.mode(), found.uid()).map_err(Unreadable::Bad)?;
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text).map_err(failed)?;
    let mut all: Vec<Key> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = parse(line).ok_or_else(|| Unreadable::Bad(format!("line {} is no key", number + 1)))?;
        if all.iter().any(|known| known.id == key.id) {
            return Err(Unreadable::Bad(format!("the key {} is there twice", key.id)));
        }
        all.push(key);
    }
    if all.is_empty() {
        return Err(Unreadable::Bad("there is no key in it".to_owned()));
    }
    Ok(all)
}

fn parse(line: &str) -> Option<Key> {
    let mut words = line.split_ascii_whitespace();
    let (id, made_at, text) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, secret.as_mut_slice()).ok()?;
    words.next().is_none().then_some(Key { id, made_at, secret })
}

/// Ours alone: who else can read the file reads every seed, who else owns it can change it.
fn private(file: &Path, mode: u32, owner: u32) -> Result<(), String> {
    if mode & 0o177 != 0 {
        return Err(format!("its mode is {:04o}; run chmod 0600 on it", mode & 0o7777));
    }
    let me = rustix::process::geteuid().as_raw();
    // Root looks after the files of the user that the service runs as.
    let folder = fs::metadata(files::folder(file)).map(|folder| folder.uid());
    if owner == me || owner == 0 || (me == 0 && folder.is_ok_and(|folder| folder == owner)) {
        return Ok(());
    }
    Err(format!("it belongs to user {owner}; chown it to the user that Mailward runs as"))
}

/// Makes the file with a first key. Somebody may be quicker: then theirs stays.
fn make(file: &Path, database: Option<&Path>, random: &Random, now: Millis) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(files::folder(file)).and_then(|()| {
        let beside = write_beside(file, &[Key::new(random, now)], random, database)?;
        // A link does not replace what is there.
        let linked = fs::hard_link(&beside, file);
        fs::remove_file(&beside)?;
        match linked {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.and_then(|()| files::sync_folder(file)),
        }
    });
    made.map_err(|cause| {
        bad(format!("cannot make {}: {cause}; name another place with keys.file", file.display()))
    })
}

/// Puts the keys in place of those that are there, durably.
fn replace(file: &Path, keys: &[Key], random: &Random) -> Result<()> {
    let put = || {
        let beside = write_beside(file, keys, random, Some(file))?;
        fs::rename(&beside, file)?;
        files::sync_folder(file)
    };
    put().map_err(|cause| bad(format!("cannot write {}: {cause}", file.display())))
}

/// A new file next to it, with the owner of `like` where root writes it.
fn write_beside(file: &Path, keys: &[Key], random: &Random, like: Option<&Path>) -> io::Result<PathBuf> {
    let mut text = Zeroizing::new(FIRST_LINES.to_owned());
    for Key { id, made_at, secret } in keys {
        let secret = Zeroizing::new(hex::encode(secret.as_slice()));
        text.push_str(&Zeroizing::new(format!("{id} {made_at} {}\n", *secret)));
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", hex::encode(random.salt())));
    let beside = PathBuf::from(name);
    let mut new = files::new_private(&beside)?;
    let like = like.and_then(|like| fs::metadata(like).ok());
    if let Some(like) = like.filter(|_| rustix::process::geteuid().is_root()) {
        std::os::unix::fs::fchown(&new, Some(like.uid()), Some(like.gid()))?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    Ok(beside)
}
