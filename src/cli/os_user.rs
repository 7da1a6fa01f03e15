//! Who sits at the keyboard, for the audit log; and whom Mailward itself runs as.

use std::os::unix::fs::MetadataExt as _;

use crate::config::Config;
use crate::machine::users::Users;

/// The name of the operating system's user; behind `sudo` the one who called it.
pub fn name() -> String {
    let real = rustix::process::getuid().as_raw();
    let sudo = std::env::var("SUDO_USER").ok().zip(std::env::var("SUDO_UID").ok());
    who(&Users::read(), real, sudo)
}

/// `sudo` is believed of root alone, and only where name and number agree.
fn who(users: &Users, real: u32, sudo: Option<(String, String)>) -> String {
    if real == 0
        && let Some((name, uid)) = sudo
        && let Ok(uid) = uid.parse::<u32>()
    {
        match (users.name_of(uid), users.ids_of(&name)) {
            (_, Some((known, _))) if known == uid => return name,
            // A user of a directory service has no line here.
            (None, None) => return format!("uid {uid}"),
            (Some(_) | None, Some(_)) | (Some(_), None) => {}
        }
    }
    users.name_of(real).map_or_else(|| format!("uid {real}"), str::to_owned)
}

/// The user that Mailward, or the agent of a mail host, runs as: the one that an embedded database belongs to.
/// Else, and where root made that one, `mailward`, as in the units.
pub fn of_service<'a>(config: &Config, users: &'a Users) -> &'a str {
    let file = config.database.sqlite_path().filter(|_| !config.has_agent());
    let owner = file.and_then(|path| std::fs::metadata(path).ok()).map(|meta| meta.uid());
    owner.filter(|uid| *uid != 0).and_then(|uid| users.name_of(uid)).unwrap_or("mailward")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nberta:x:1001:1001::/:/bin/sh\n";

    fn who(real: u32, sudo: Option<(String, String)>) -> String {
        super::who(&Users::from_files(PASSWD, ""), real, sudo)
    }

    fn sudo(name: &str, uid: &str) -> Option<(String, String)> {
        Some((name.to_owned(), uid.to_owned()))
    }

    #[test]
    fn the_caller_of_sudo_is_named_where_name_and_number_agree() {
        assert_eq!(who(0, sudo("anna", "1000")), "anna");
        assert_eq!(who(0, sudo("anna", "1001")), "root");
        assert_eq!(who(0, sudo("nobody-here", "1001")), "root");
        assert_eq!(who(0, sudo("ldap.user", "70001")), "uid 70001");
    }

    #[test]
    fn others_do_not_become_somebody_else_by_a_variable() {
        assert_eq!(who(1000, sudo("berta", "1001")), "anna");
        assert_eq!(who(4242, None), "uid 4242");
        assert_eq!(who(0, None), "root");
    }

    #[test]
    fn the_service_is_the_databases_owner_and_else_mailward() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("mailward.sqlite");
        std::fs::write(&file, "").expect("a file");
        let uid = std::fs::metadata(&file).expect("it is there").uid();
        let users = Users::from_files(format!("anna:x:{uid}:{uid}::/:/bin/sh\n"), "");
        let of = |url: String| {
            let mut config = Config::default();
            config.database.url = url;
            config
        };
        let mut here = of(format!("sqlite:{}", file.display()));
        // The tests may be run by root, to whom no service belongs.
        let owner = if uid == 0 { "mailward" } else { "anna" };
        assert_eq!(of_service(&here, &users), owner);
        assert_eq!(of_service(&here, &Users::default()), "mailward", "whom nobody knows is no user");
        let missing = of(format!("sqlite:{}", place.path().join("none.sqlite").display()));
        assert_eq!(of_service(&missing, &users), "mailward");
        assert_eq!(of_service(&of("postgres://db/desk".to_owned()), &users), "mailward");
        here.mail_agent.nodes = vec!["https://desk.example.org".to_owned()];
        assert_eq!(of_service(&here, &users), "mailward", "an agent has no database");
    }
}
