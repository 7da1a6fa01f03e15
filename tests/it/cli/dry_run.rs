//! `--dry-run`: every command that changes something says what it would do, or that it cannot.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use mailward::cli::Cli;
use rusqlite::{Connection, OpenFlags};

use super::{Place, Said, text};
use crate::support::tables::{Contents, Tables, difference};

/// What `--dry-run` means to a command.
enum Means {
    /// It changes nothing in any case.
    Looks,
    /// It says that it cannot be tried.
    Refuses(&'static str),
    /// With these arguments it would change something.
    Tries(&'static str),
}
use Means::{Looks, Refuses, Tries};

/// A word in braces stands for something of the place.
const COMMANDS: &[(&str, Means)] = &[
    ("init", Refuses("--organization O --domain o.example --admin a@o.example")),
    ("serve", Refuses("")),
    ("demo", Refuses("")),
    ("org add", Tries("Other")),
    ("org list", Looks),
    ("org show", Looks),
    ("org disable", Tries("{zoid}")),
    ("org enable", Tries("{zoid}")),
    ("org policy show", Looks),
    ("org policy set", Tries("password.min_length=12")),
    ("domain add", Tries("example.net --verified")),
    ("domain list", Looks),
    ("domain verify", Tries("later.example.org")),
    ("domain primary", Tries("second.example.org")),
    ("domain disable", Tries("example.org")),
    ("domain enable", Tries("example.org")),
    ("domain remove", Tries("later.example.org")),
    ("user add", Tries("new@example.org")),
    ("user list", Looks),
    ("user show", Looks),
    ("user reset-password", Tries("tom@example.org")),
    ("user compromised", Tries("tom@example.org")),
    ("user rename", Tries("tom@example.org thomas@example.org")),
    ("user info", Tries("tom@example.org --first-name Thomas")),
    ("user enable", Tries("off@example.org")),
    ("user disable", Tries("tom@example.org")),
    ("user enable-mail", Tries("off@example.org")),
    ("user disable-mail", Tries("tom@example.org")),
    ("user incoming", Tries("tom@example.org off")),
    ("user outgoing", Tries("tom@example.org off")),
    ("user imap", Tries("tom@example.org off")),
    ("user pop", Tries("tom@example.org off")),
    ("user role", Tries("tom@example.org admin")),
    ("user delete", Tries("tom@example.org --yes")),
    ("user clear-throttle", Tries("tom@example.org")),
    ("user recover-super-admin", Tries("lone@lone.example")),
    ("throttle list", Looks),
    ("throttle clear", Tries("192.0.2.7")),
    ("alias add", Tries("tom@example.org sales@example.org")),
    ("user factors", Looks),
    ("alias remove", Tries("tom@example.org tommy@example.org")),
    ("alias list", Looks),
    ("app-password create", Tries("tom@example.org --name Telephone")),
    ("app-password list", Looks),
    ("app-password revoke", Tries("tom@example.org {app}")),
    ("client add", Tries("--owner admin@example.org --name sync")),
    ("client list", Looks),
    ("client disable", Tries("{client}")),
    ("client enable", Tries("{client}")),
    ("client delete", Tries("{client}")),
    ("client code", Tries("{client} --user tom@example.org --scope ZohoMail.accounts.ALL")),
    ("token issue", Tries("--user tom@example.org --scope ZohoMail.accounts.ALL")),
    ("token revoke", Tries("")),
    ("audit list", Looks),
    ("audit head", Looks),
    ("audit export", Looks),
    ("audit verify", Looks),
    ("change show", Looks),
    ("change wait", Looks),
    ("mail-server config", Looks),
    ("mail-server roles", Looks),
    ("mail-server add", Tries("mx2 http://127.0.0.1:8080 --key-file {key} --unasked")),
    ("mail-server list", Looks),
    ("mail-server check", Looks),
    ("mail-server remove", Tries("mx1")),
    ("mail-agent add", Tries("imap2 --domain example.org --key-file new.key")),
    ("mail-agent list", Looks),
    ("mail-agent remove", Tries("imap1")),
    ("mail-agent rotate-key", Tries("imap1 --key-file new.key")),
    ("mail-agent run", Refuses("")),
    ("projection catch-up", Refuses("")),
    ("projection rebuild", Refuses("")),
    ("projection verify", Looks),
    ("mailbox list", Looks),
    ("mailbox forget", Tries("{mailbox}")),
    ("keys show", Looks),
    ("keys rotate", Refuses("")),
    ("keys reseal", Refuses("")),
    ("keys forget", Refuses("3fa91c07")),
    ("keys start-anew", Refuses("")),
    ("doctor", Looks),
    ("backup", Refuses("copy.sqlite")),
    ("restore", Refuses("copy.sqlite")),
    ("copy", Refuses("--to sqlite:other.sqlite")),
    ("read-only on", Refuses("")),
    ("read-only off", Refuses("")),
    ("read-only show", Looks),
    ("migrate", Tries("")),
    ("completions", Looks),
    ("man", Refuses("--dir pages")),
];

fn leaves(command: &Command, words: &[&str], found: &mut BTreeSet<String>) {
    let inner: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if inner.is_empty() {
        found.insert(words.join(" "));
    }
    for one in inner {
        let mut words = words.to_vec();
        words.push(one.get_name());
        leaves(one, &words, found);
    }
}

#[test]
fn every_command_says_what_a_dry_run_of_it_means() {
    let mut found = BTreeSet::new();
    leaves(&Cli::command(), &[], &mut found);
    let listed: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
}

async fn contents(place: &Place) -> Contents {
    contents_without(place, &[]).await
}

async fn contents_without(place: &Place, tables: &[&'static str]) -> Contents {
    let file = place.path("data/mailward.sqlite");
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database");
    Tables::Sqlite(connection).without(tables).await
}

fn files(place: &Place) -> BTreeSet<String> {
    let entries = std::fs::read_dir(place.root()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A place with something for every command, and what the words in braces stand for.
struct Furnished {
    place: Place,
    stands: [(&'static str, String); 5],
    token: String,
}

impl Furnished {
    fn new() -> Self {
        let place = Place::initialised();
        let zoid = text(&place.json(&["org", "list"])[0], "zoid");
        for address in ["tom@example.org", "off@example.org", "gone@example.org"] {
            place.json(&["user", "add", address, "--role", "member"]);
        }
        place.json(&["alias", "add", "tom@example.org", "tommy@example.org"]);
        place.json(&["user", "disable", "off@example.org"]);
        place.json(&["domain", "add", "later.example.org"]);
        place.json(&["domain", "add", "second.example.org", "--verified"]);
        let lone = text(&place.json(&["org", "add", "Lone"]), "zoid");
        place.json(&["domain", "add", "lone.example", "--verified", "--org", &lone]);
        place.json(&["user", "add", "lone@lone.example"]);
        let app = place.json(&["app-password", "create", "tom@example.org", "--name", "Tablet"]);
        let client = place.json(&["client", "add", "--owner", "admin@example.org", "--name", "a client"]);
        let scope = ["--scope", "ZohoMail.accounts.ALL"];
        let token = place.json(&[&["token", "issue", "--user", "tom@example.org"][..], &scope].concat());
        let gone = place.json(&["user", "show", "gone@example.org"]);
        place.json(&["user", "delete", "gone@example.org", "--yes"]);
        let key = place.write("doveadm.key", "a-key-of-a-mail-server\n");
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
        let key = key.display().to_string();
        place.json(&["mail-server", "add", "mx1", "http://127.0.0.1:8080", "--key-file", &key, "--unasked"]);
        place.json(&["mail-agent", "add", "imap1", "--domain", "example.org"]);
        let stands = [
            ("{zoid}", zoid),
            ("{client}", text(&client, "client_id")),
            ("{app}", text(&app, "id")),
            ("{mailbox}", text(&gone, "mailbox")),
            ("{key}", key),
        ];
        Self { place, stands, token: text(&token, "access_token") }
    }

    /// The words of a command with its arguments; `None` for one that only looks.
    fn words(&self, name: &str, means: &Means) -> Option<Vec<String>> {
        let (Refuses(arguments) | Tries(arguments)) = means else { return None };
        let filled =
            self.stands.iter().fold((*arguments).to_owned(), |text, (word, is)| text.replace(word, is));
        let mut words: Vec<String> =
            name.split(' ').chain(filled.split_whitespace()).map(str::to_owned).collect();
        let several = ["org show", "org policy", "domain add", "client list"];
        if several.iter().any(|start| name.starts_with(start)) {
            words.extend(["--org".to_owned(), self.stands[0].1.clone()]);
        }
        Some(words)
    }

    fn run(&self, words: &[String], more: &[&str]) -> Said {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.place.run_with(&words, &format!("{}\n", self.token))
    }
}

#[tokio::test]
async fn a_dry_run_of_any_command_changes_nothing() {
    let furnished = Furnished::new();
    let (place, client) = (&furnished.place, &furnished.stands[1].1);
    let (before, folder) = (contents(place).await, files(place));
    for (name, means) in COMMANDS {
        let Some(words) = furnished.words(name, means) else { continue };
        let said = furnished.run(&words, &["--dry-run"]);
        if let Refuses(_) = means {
            let why = said.refused(2);
            assert!(why.contains("cannot be tried"), "{name}: {why}");
        } else {
            let said = said.good();
            let honest = ["dry run", "nothing to forget", "up to date"];
            assert!(honest.iter().any(|word| said.out.contains(word)), "{name}: {}", said.out);
            for secret in ["client_secret", "one-time password:", "app password:", "1000."] {
                let shown = said.out.replace(client, "");
                assert!(!shown.contains(secret), "{name} shows what it did not make: {}", said.out);
            }
        }
        let left = difference(&before, &contents(place).await);
        assert!(left.is_none(), "{name} left\n{}", left.unwrap_or_default());
        assert_eq!(files(place), folder, "{name} made or removed a file");
    }
}

/// Copies every file of the place, over those that are there.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_command_with_a_key_is_made_once_or_refuses_the_key() {
    // An id that was taken for a repeat is lost.
    const UNUSED: [&str; 1] = ["id_block"];
    let furnished = Furnished::new();
    let place = &furnished.place;
    let saved = tempfile::tempdir().expect("a folder");
    copy(place.root(), saved.path());
    let before = contents_without(place, &UNUSED).await;
    let mut made = 0;
    for (name, means) in COMMANDS {
        let Some(words) = furnished.words(name, means) else { continue };
        let key = ["--idempotency-key", "ticket-4711"];
        let first = furnished.run(&words, &key);
        if first.err.contains("--idempotency-key") {
            let why = first.refused(2);
            assert!(why.contains("nothing was done"), "{name}: {why}");
            assert_eq!(difference(&before, &contents_without(place, &UNUSED).await), None, "{name}");
            continue;
        }
        if let Refuses(_) = means {
            assert_eq!(*name, "man", "it can neither be tried nor is it made once");
            continue;
        }
        let first = first.good();
        let after = contents_without(place, &UNUSED).await;
        if difference(&before, &after).is_none() {
            // It found nothing to do.
            continue;
        }
        made += 1;
        let again = furnished.run(&words, &key);
        // What carried a secret is not told twice, but it is not done twice either.
        assert!(
            again.code == 0 || again.err.contains("was made before"),
            "{name}: {} {}",
            again.out,
            again.err
        );
        assert_eq!(
            difference(&after, &contents_without(place, &UNUSED).await),
            None,
            "{name} was made twice: {}",
            first.out
        );
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(place.path(&format!("data/mailward.sqlite{end}")));
        }
        copy(saved.path(), place.root());
    }
    assert!(made > 20, "only {made} commands did something");
}

#[test]
fn a_dry_run_tells_what_would_stop() {
    let place = Place::initialised();
    place.json(&["user", "add", "tom@example.org", "--permanent"]);
    place.json(&["app-password", "create", "tom@example.org", "--name", "Telephone"]);
    place.json(&["token", "issue", "--user", "tom@example.org", "--scope", "ZohoMail.accounts.ALL"]);
    let said = place.run(&["user", "reset-password", "tom@example.org", "--dry-run"]).good().out;
    for line in [
        "dry run: nothing was changed",
        "  1 access tokens end",
        "  1 app passwords stop",
        "  mail sessions of the old password (g1) end",
        "  the person is told of the reset",
    ] {
        assert!(said.lines().any(|one| one == line), "{line:?} is missing in\n{said}");
    }
    let forecast = place.json(&["user", "disable", "tom@example.org", "--dry-run"]);
    assert_eq!((&forecast["dryRun"], &forecast["changes"]), (&true.into(), &true.into()));
    assert_eq!(forecast["ends"]["accessTokens"], 1);
    let forecast =
        place.json(&["client", "add", "--owner", "tom@example.org", "--name", "sync", "--dry-run"]);
    assert_eq!(forecast["notes"]["name"], "sync");
    let organization = text(&place.json(&["org", "list"])[0], "zoid");
    let forecast = place.json(&["org", "disable", &organization, "--dry-run"]);
    assert_eq!(forecast["ends"]["accessTokens"], 1, "{forecast}");
    assert_eq!(forecast["ends"]["appPasswords"], 1, "{forecast}");
    assert_eq!(forecast["whole"]["organization"].to_string(), organization);
    let forecast = place.json(&["domain", "disable", "example.org", "--dry-run"]);
    assert_eq!(
        (&forecast["ends"]["accessTokens"], &forecast["ends"]["appPasswords"]),
        (&0.into(), &1.into())
    );
    assert_eq!(place.json(&["user", "show", "tom@example.org"])["enabled"], true);
}
