//! Unit drop-ins: no mail server starts with an old projection.

use super::ConfigFile;

/// Drop-ins that bring the projection up to date before Postfix and Dovecot start.
///
/// `catch_up` is the complete command line, such as `/usr/bin/mailward projection catch-up`; it is run as
/// `service_user`. If it fails, the mail server does not start: logins that were ended stay ended,
/// also after a backup was put back.
pub fn systemd(catch_up: &str, service_user: &str) -> Vec<ConfigFile> {
    let text = format!(
        "# Written by Mailward. Brings the files that this server reads to the state of Mailward's database\n\
         # before the server starts, so that no login and no address comes back from an older copy.\n\
         [Service]\n\
         # \"+\": outside the unit's sandbox and as root, which then becomes the service user.\n\
         ExecStartPre=+/usr/sbin/runuser -u {service_user} -- {catch_up}\n"
    );
    for_both(&text)
}

/// Drop-ins for a host whose agent keeps the files: it is started first, and the servers do not wait for a node.
pub fn after_agent() -> Vec<ConfigFile> {
    for_both(
        "# Written by Mailward. The agent, which keeps the files that this server reads, is started first. The server\n\
         # starts without it, too, with the files as they were.\n\
         [Unit]\n\
         Wants=mailward-mail-agent.service\n\
         After=mailward-mail-agent.service\n",
    )
}

fn for_both(text: &str) -> Vec<ConfigFile> {
    // Debian 12 starts Postfix as an instance of postfix@, later releases as postfix itself.
    ["dovecot.service.d", "postfix@.service.d", "postfix.service.d"]
        .into_iter()
        .map(|unit| ConfigFile {
            path: format!("/etc/systemd/system/{unit}/mailward.conf").into(),
            group: None,
            mode: 0o644,
            text: text.to_owned(),
        })
        .collect()
}
