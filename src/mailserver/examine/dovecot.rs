//! Dovecot, as `doveconf -n` prints its settings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Expected, of_delimiter};
use crate::machine::finding::{Finding, good, warning, wrong};

/// Dovecot's own default of `auth_username_chars`, as `doveconf -d auth_username_chars` of 2.3.19.1 prints it.
pub const USERNAME_CHARS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@";
/// What an auth-worker needs beside the memory of one hash: 200 MiB worked within 256 MB, 256 did not.
const BESIDE_A_HASH: u64 = 48 << 20;

/// What is wrong with Dovecot, of which `doveconf -n` says this.
pub fn dovecot(text: &str, expected: &Expected) -> Vec<Finding> {
    let settings = &Settings::parse(text);
    let mut ill = Vec::new();
    if !settings.any(|_, value| value.contains("mp_login") || value.contains("mailward-login.conf")) {
        return vec![warning(
            "Dovecot on this machine does not ask Mailward for logins",
            "`mailward mail-server config dovecot` writes its files; `doveconf -n` shows what is in force",
        )];
    }
    if settings.get("auth_cache_size").is_some_and(|size| bytes(size) != Some(0)) {
        ill.push(wrong(
            "Dovecot's login cache is switched on: old passwords and disabled accounts go on working",
            "auth_cache_size = 0, then restart Dovecot",
        ));
    }
    let chars = settings.get("auth_username_chars").unwrap_or(USERNAME_CHARS);
    if chars.is_empty() || !chars.chars().all(|c| USERNAME_CHARS.contains(c)) {
        ill.push(wrong(
            "auth_username_chars was widened, and login names go into SQL",
            "take auth_username_chars out, so that Dovecot's default holds",
        ));
    }
    // The plus is Dovecot's own default.
    let delimiter = settings.get("recipient_delimiter").unwrap_or("+").trim_matches('"');
    ill.extend(of_delimiter("Dovecot", delimiter, expected));
    if settings.any(|path, value| path == "userdb/driver" && value == "prefetch") {
        ill.push(wrong(
            "a userdb with driver = prefetch skips the second look at the credential",
            "remove it; docs/contract.md says why",
        ));
    }
    if settings.get("imap_hibernate_timeout").is_some_and(|time| !matches!(time, "0" | "0 secs")) {
        ill.push(wrong(
            "IMAP hibernation is switched on: ending one session would end everybody's",
            "imap_hibernate_timeout = 0, then restart Dovecot",
        ));
    }
    ill.extend(of_steps(&settings.passdbs));
    ill.extend(of_door(settings));
    let limit = ["service auth-worker/vsz_limit", "default_vsz_limit"]
        .into_iter()
        .find_map(|path| settings.get(path).and_then(bytes))
        .unwrap_or(256 << 20);
    let hash = u64::from(expected.hash_memory_kib) * 1024;
    // 0 is no limit.
    if limit != 0 && hash + BESIDE_A_HASH > limit {
        ill.push(wrong(
            format!(
                "passwords take {} MiB to verify and Dovecot's auth-worker may use {} MiB: right passwords would look wrong",
                hash >> 20,
                limit >> 20
            ),
            "raise vsz_limit of service auth-worker, or lower passwords.memory_kib and reset the passwords",
        ));
    }
    if ill.is_empty() {
        ill.push(good(
            "Dovecot's settings are safe: the gate comes after every password, no login cache, plain login names, doveadm's \
             door closed",
        ));
    }
    ill
}

/// What a step of a login asks: the file of 2.3, the view of 2.4; what it must say, or somebody comes past the gate; what
/// happens without it.
struct LoginStep {
    file: &'static str,
    view: &'static str,
    says: &'static [(&'static str, &'static str)],
    without: &'static str,
}

/// The steps as Mailward writes them.
const LOGIN_STEPS: [LoginStep; 3] = [
    LoginStep {
        file: "mailward-app.conf",
        view: "mp_app",
        says: &[("result_success", "continue-ok")],
        without: "app passwords open nothing",
    },
    LoginStep {
        file: "mailward-login.conf",
        view: "mp_login",
        says: &[("result_success", "continue-ok")],
        without: "passwords open nothing",
    },
    LoginStep {
        file: "mailward-gate.conf",
        view: "mp_gate",
        says: &[("deny", "yes"), ("result_internalfail", "return-fail")],
        without: "disabled accounts log in",
    },
];

/// Whether each password leads to the gate. Other passdbs, for other people, may stand between.
fn of_steps(passdbs: &[BTreeMap<String, String>]) -> Vec<Finding> {
    const CURE: &str = "put the three passdb blocks back as `mailward mail-server config dovecot` has them";
    let mut ill = Vec::new();
    let mut places = Vec::new();
    for LoginStep { file, view, says, without } in LOGIN_STEPS {
        let asks = |passdb: &BTreeMap<String, String>| {
            passdb
                .values()
                .any(|value| value.contains(file) || value.split_whitespace().any(|word| word == view))
        };
        let Some(place) = passdbs.iter().position(asks) else {
            ill.push(wrong(format!("no passdb of Dovecot asks {view}: {without}"), CURE));
            continue;
        };
        places.push(place);
        let missing =
            says.iter().filter(|(name, value)| passdbs[place].get(*name).is_none_or(|have| have != value));
        ill.extend(missing.map(|(name, value)| {
            wrong(
                format!(
                    "Dovecot's passdb that asks {view} is without {name} = {value}: disabled accounts log in"
                ),
                CURE,
            )
        }));
    }
    if !places.is_sorted() {
        ill.push(wrong("Dovecot's passdbs stand in another order: disabled accounts log in", CURE));
    }
    ill
}

/// What `doveconf -n` says.
struct Settings {
    /// `service doveadm/inet_listener http/port` → `8080`.
    all: BTreeMap<String, String>,
    /// The blocks for everybody, in their order. 2.4 writes `passdb_` before the names in them.
    passdbs: Vec<BTreeMap<String, String>>,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let (mut settings, mut passdbs) = (BTreeMap::new(), Vec::<BTreeMap<String, String>>::new());
        let mut place: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(block) = line.strip_suffix('{') {
                place.push(block.trim().to_owned());
                if place.len() == 1 && block.split_whitespace().next() == Some("passdb") {
                    passdbs.push(BTreeMap::new());
                }
            } else if line == "}" {
                place.pop();
            } else if let Some((name, value)) = line.split_once(" =") {
                if let [block] = place.as_slice()
                    && block.split_whitespace().next() == Some("passdb")
                    && let Some(passdb) = passdbs.last_mut()
                {
                    let name = name.trim();
                    let name = name.strip_prefix("passdb_").unwrap_or(name);
                    passdb.insert(name.to_owned(), value.trim().to_owned());
                }
                let path =
                    place.iter().map(String::as_str).chain([name.trim()]).collect::<Vec<_>>().join("/");
                // Several blocks of one name, such as passdb, are all of interest.
                let all: &mut String = settings.entry(path).or_default();
                if !all.is_empty() {
                    all.push('\n');
                }
                all.push_str(value.trim());
            }
        }
        Self { all: settings, passdbs }
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.all.get(path).map(String::as_str)
    }

    fn any(&self, wanted: impl Fn(&str, &str) -> bool) -> bool {
        self.all.iter().any(|(path, value)| value.lines().any(|value| wanted(path, value)))
    }
}

/// The listeners of doveadm and who can reach them.
fn of_door(settings: &Settings) -> Vec<Finding> {
    let mut ill = Vec::new();
    let mut doors: Vec<&str> = settings
        .all
        .keys()
        .filter_map(|path| path.strip_prefix("service doveadm/inet_listener"))
        .filter_map(|rest| rest.split_once('/').map(|(name, _)| name))
        .collect();
    doors.dedup();
    for door in doors {
        let at = |name: &str| settings.get(&format!("service doveadm/inet_listener{door}/{name}"));
        let address =
            at("address").or_else(|| at("listen")).or_else(|| settings.get("listen")).unwrap_or("*, ::");
        let port = at("port").unwrap_or("0");
        let local = |one: &str| one == "localhost" || one.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if port == "0" || address.split([',', ' ']).filter(|one| !one.is_empty()).all(local) {
            continue;
        }
        ill.push(match at("ssl") {
            Some("yes") => warning(
                format!("doveadm listens on {address} port {port}: whoever has the key can read all mail"),
                "let only Mailward's machines through the firewall to it",
            ),
            Some(_) | None => wrong(
                format!("doveadm listens on {address} port {port} without TLS: the key that opens every mailbox travels in the clear"),
                "address = 127.0.0.1, or ssl = yes with a firewall in front",
            ),
        });
    }
    ill
}

/// A size as Dovecot writes it: `256 M`, `0`, `1 G`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().chars().next().map(|c| c.to_ascii_uppercase()) {
        None | Some('B') => 0,
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some(_) => return None,
    };
    number.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claim::check_local_part;
    use crate::domain::email_address::EmailAddress;
    use crate::machine::finding::State;

    const EXPECTED: Expected = Expected { recipient_delimiter: '+', hash_memory_kib: 19_456 };

    const GOOD: &str = "\
# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
auth_mechanisms = plain login
listen = *, ::
passdb {
  args = /etc/dovecot/mailward-app.conf.ext
  auth_verbose = no
  driver = sql
  result_internalfail = return-fail
  result_success = continue-ok
}
passdb {
  args = /etc/dovecot/mailward-login.conf.ext
  driver = sql
  result_failure = return-fail
  result_internalfail = return-fail
  result_success = continue-ok
  skip = authenticated
}
passdb {
  args = /etc/dovecot/mailward-gate.conf.ext
  auth_verbose = no
  deny = yes
  driver = sql
  result_internalfail = return-fail
  skip = unauthenticated
}
service auth-worker {
  extra_groups = mwauth
}
service doveadm {
  inet_listener http {
    address = 127.0.0.1
    port = 8080
  }
}
userdb {
  args = /etc/dovecot/mailward-login.conf.ext
  driver = sql
}
";

    fn ill(text: &str, expected: Expected) -> Vec<String> {
        let found = dovecot(text, &expected);
        found.into_iter().filter(|one| one.state != State::Good).map(|one| one.what).collect()
    }

    #[track_caller]
    fn found(text: &str, word: &str) {
        let all = ill(text, EXPECTED);
        assert!(all.len() == 1 && all[0].contains(word), "{all:?}");
    }

    #[test]
    fn addresses_may_have_exactly_the_signs_that_dovecot_takes_for_logins() {
        for sign in ('!'..='~').filter(|sign| *sign != '+') {
            let Ok(address) = EmailAddress::parse(&format!("a{sign}b@zylker.example")) else { continue };
            let can_log_in = USERNAME_CHARS.contains(sign);
            assert_eq!(check_local_part(&address, '+').is_ok(), can_log_in, "{sign}");
        }
    }

    #[test]
    fn a_dovecot_as_we_write_it_is_well() {
        assert_eq!(ill(GOOD, EXPECTED), [""; 0]);
    }

    #[test]
    fn each_mistake_in_dovecots_settings_is_found() {
        let with = |line: &str| format!("{GOOD}{line}\n");
        found(&with("auth_cache_size = 10 M"), "login cache");
        found(&with("auth_username_chars = abc'@"), "auth_username_chars");
        // Empty means every character.
        found(&with("auth_username_chars = "), "auth_username_chars");
        found(&with("imap_hibernate_timeout = 30 secs"), "hibernation");
        found(&with("userdb {\n  driver = prefetch\n}"), "prefetch");
        found(&with("default_vsz_limit = 64 M"), "19 MiB to verify");
        assert_eq!(ill(&with("default_vsz_limit = 128 M"), EXPECTED), [""; 0]);
        assert_eq!(ill(&with("default_vsz_limit = 0"), EXPECTED), [""; 0]);
        let costly = Expected { hash_memory_kib: 64 << 10, ..EXPECTED };
        assert_eq!(ill(&with("default_vsz_limit = 112 M"), costly), [""; 0]);
        assert_eq!(ill(&with("default_vsz_limit = 111 M"), costly).len(), 1);
        found("passdb {\n  driver = pam\n}\n", "does not ask Mailward");
    }

    #[test]
    fn a_login_that_comes_past_the_gate_is_found() {
        let blocks: Vec<&str> =
            GOOD.split_inclusive("}\n").filter(|block| block.contains("passdb {")).collect();
        let [app, login, gate] = blocks[..] else { panic!("{blocks:#?}") };
        let gate_alone = &gate[gate.find("passdb").expect("a block")..];
        let app_alone = &app[app.find("passdb").expect("a block")..];
        found(&GOOD.replace(gate, ""), "no passdb of Dovecot asks mp_gate: disabled accounts log in");
        found(&GOOD.replace(app_alone, ""), "no passdb of Dovecot asks mp_app");
        found(&GOOD.replace("  deny = yes\n", ""), "deny = yes");
        found(&GOOD.replace(gate, &gate.replace("  result_internalfail = return-fail\n", "")), "mp_gate");
        for block in [app, login] {
            let ends = block.replace("  result_success = continue-ok\n", "");
            found(&GOOD.replace(block, &ends), "result_success = continue-ok");
        }
        let first = GOOD.replace(gate, "").replace(app_alone, &format!("{gate_alone}{app_alone}"));
        found(&first, "another order");
        // Dovecot's other people.
        let pam = "passdb {\n  driver = pam\n}\n";
        for others in [format!("{pam}{GOOD}"), format!("{GOOD}{pam}")] {
            assert_eq!(ill(&others, EXPECTED), [""; 0]);
        }
    }

    #[test]
    fn a_door_that_others_reach_is_found_with_and_without_tls() {
        let door = |lines: &str| GOOD.replace("    address = 127.0.0.1\n", lines);
        found(&door(""), "without TLS");
        found(&door("    address = 10.0.0.5\n"), "in the clear");
        found(&door("    address = 127.0.0.1, 10.0.0.5\n"), "in the clear");
        found(&door("    address = *\n    ssl = yes\n"), "whoever has the key");
        assert_eq!(ill(&door("    address = ::1\n"), EXPECTED), [""; 0]);
        assert_eq!(ill(&door("").replace("8080", "0"), EXPECTED), [""; 0]);
    }

    #[test]
    fn sizes_are_read_as_dovecot_writes_them() {
        for (text, size) in [("0", 0), ("256 M", 256 << 20), ("1G", 1 << 30), ("10 kB", 10 << 10), ("7 B", 7)]
        {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        assert_eq!(bytes("unlimited"), None);
    }
}
