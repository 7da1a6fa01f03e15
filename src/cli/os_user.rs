//! Who sits at the keyboard, for the audit log.

/// The name of the operating system's user; behind `sudo` the one who called it.
pub fn name() -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let real = rustix::process::getuid().as_raw();
    let sudo = std::env::var("SUDO_USER").ok().zip(std::env::var("SUDO_UID").ok());
    who(&passwd, real, sudo)
}

/// `sudo` is believed of root alone, and only where name and number agree.
fn who(passwd: &str, real: u32, sudo: Option<(String, String)>) -> String {
    if real == 0
        && let Some((name, uid)) = sudo
        && let Ok(uid) = uid.parse::<u32>()
    {
        match (name_of(passwd, uid), uid_of(passwd, &name)) {
            (_, Some(known)) if known == uid => return name,
            // A user of a directory service has no line here.
            (None, None) => return format!("uid {uid}"),
            (Some(_) | None, Some(_)) | (Some(_), None) => {}
        }
    }
    name_of(passwd, real).unwrap_or_else(|| format!("uid {real}"))
}

fn lines(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    lines(passwd).find(|(_, number)| *number == uid).map(|(name, _)| name.to_owned())
}

fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    lines(passwd).find(|(known, _)| *known == name).map(|(_, uid)| uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nberta:x:1001:1001::/:/bin/sh\n";

    fn sudo(name: &str, uid: &str) -> Option<(String, String)> {
        Some((name.to_owned(), uid.to_owned()))
    }

    #[test]
    fn the_caller_of_sudo_is_named_where_name_and_number_agree() {
        assert_eq!(who(PASSWD, 0, sudo("anna", "1000")), "anna");
        assert_eq!(who(PASSWD, 0, sudo("anna", "1001")), "root");
        assert_eq!(who(PASSWD, 0, sudo("nobody-here", "1001")), "root");
        assert_eq!(who(PASSWD, 0, sudo("ldap.user", "70001")), "uid 70001");
    }

    #[test]
    fn others_do_not_become_somebody_else_by_a_variable() {
        assert_eq!(who(PASSWD, 1000, sudo("berta", "1001")), "anna");
        assert_eq!(who(PASSWD, 4242, None), "uid 4242");
        assert_eq!(who(PASSWD, 0, None), "root");
    }
}
