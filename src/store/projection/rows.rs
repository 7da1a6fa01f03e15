//! The rows of one account in each file, and the statements for them.
//! Both files have the same three tables per account, with different columns.

use rusqlite::types::Value;

use super::MailboxState;

/// Shown after the right password where a protocol is switched off for the account.
pub const IMAP_OFF: &str = "IMAP access is switched off for this account. Contact your administrator.";
pub const POP_OFF: &str = "POP access is switched off for this account. Contact your administrator.";
pub const SMTP_OFF: &str = "Sending by SMTP is switched off for this account. Contact your administrator.";

/// How one of the two files is made.
pub(super) struct Kind {
    pub file_name: &'static str,
    pub schema: &'static str,
    /// In the order of [`Rows`].
    pub tables: [Table; 3],
    pub has_domains: bool,
    pub rows: fn(&MailboxState) -> Rows,
}

/// Rows are read in the order of `key` and written with all columns, the account's id first.
pub(super) struct Table {
    pub name: &'static str,
    pub select: &'static str,
    pub delete: &'static str,
    pub insert: &'static str,
    /// Writes one row over the one that has its keys, which leaves the tables' indexes alone.
    pub update: Option<&'static str>,
}

/// The rows of one account: in `account` (one), `address`, `app_password`.
pub(super) type Rows = [Vec<Vec<Value>>; 3];

macro_rules! table {
    ($name:literal, $key:literal, $columns:literal, $places:literal, $update:expr) => {
        Table {
            name: $name,
            select: concat!(
                "SELECT account_id, ",
                $columns,
                " FROM ",
                $name,
                " WHERE account_id = ?1 ORDER BY ",
                $key
            ),
            delete: concat!("DELETE FROM ", $name, " WHERE account_id = ?1"),
            // An address or key that a stale row of another account still holds goes to its new owner.
            insert: concat!(
                "INSERT OR REPLACE INTO ",
                $name,
                " (account_id, ",
                $columns,
                ") VALUES (",
                $places,
                ")"
            ),
            update: $update,
        }
    };
}

pub(super) const AUTH: Kind = Kind {
    file_name: "auth.sqlite",
    schema: include_str!("auth.sql"),
    tables: [
        table!(
            "account",
            "account_id",
            "mbox, generation, pw, pw_until, gate, gate_main, gate_imap, gate_pop3, gate_smtp, cut_minutes",
            "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
            Some(
                "UPDATE account SET generation = ?3, pw = ?4, pw_until = ?5, gate = ?6, gate_main = ?7,
                 gate_imap = ?8, gate_pop3 = ?9, gate_smtp = ?10, cut_minutes = ?11 WHERE account_id = ?1 AND mbox = ?2"
            )
        ),
        table!("address", "address", "address", "?, ?", None),
        table!(
            "app_password",
            "app_id",
            "app_id, digest, imap, pop3, smtp, expires_at",
            "?, ?, ?, ?, ?, ?, ?",
            None
        ),
    ],
    has_domains: false,
    rows: auth_rows,
};

pub(super) const MAPS: Kind = Kind {
    file_name: "maps.sqlite",
    schema: include_str!("maps.sql"),
    tables: [
        table!(
            "account",
            "account_id",
            "mbox, generation, pw_until, sending, incoming",
            "?, ?, ?, ?, ?, ?",
            Some(
                "UPDATE account SET generation = ?3, pw_until = ?4, sending = ?5, incoming = ?6
                 WHERE account_id = ?1 AND mbox = ?2"
            )
        ),
        table!("address", "address", "address, retired", "?, ?, ?", None),
        table!("app_password", "app_id", "app_id, expires_at", "?, ?, ?", None),
    ],
    has_domains: true,
    rows: maps_rows,
};

fn auth_rows(state: &MailboxState) -> Rows {
    let id = state.account_id;
    let switch = |on: bool, why: &str| if on { Value::Null } else { text(why) };
    let account = vec![
        int(id),
        text(&state.mbox),
        int(state.generation),
        optional(state.password_phc.clone()),
        state.password_until.map_or(Value::Null, int),
        optional(state.gate_of_all().map(one_line)),
        optional(state.gate_of_main_password().map(one_line)),
        switch(state.imap, IMAP_OFF),
        switch(state.pop, POP_OFF),
        switch(state.smtp_login, SMTP_OFF),
        state.cut_off_minutes.map_or(Value::Null, int),
    ];
    let addresses = addresses(state).into_iter().map(|address| vec![int(id), Value::Text(address)]).collect();
    let mut apps: Vec<_> = state.app_passwords.iter().collect();
    apps.sort_by_key(|app| app.id);
    let apps = apps
        .into_iter()
        .map(|app| {
            vec![
                int(id),
                int(app.id),
                text(&app.digest_hex.to_ascii_lowercase()),
                int(app.imap.into()),
                int(app.pop.into()),
                int(app.smtp.into()),
                app.expires_at.map_or(Value::Null, int),
            ]
        })
        .collect();
    [vec![account], addresses, apps]
}

fn maps_rows(state: &MailboxState) -> Rows {
    let id = state.account_id;
    // One answer for an open session, the strongest reason first.
    let refusal = state
        .gate_of_all()
        .map(str::to_owned)
        .or_else(|| (!state.smtp_login).then(|| SMTP_OFF.to_owned()))
        .or_else(|| state.sending.clone());
    let account = vec![
        int(id),
        text(&state.mbox),
        state.password_phc.as_ref().map_or(Value::Null, |_| int(state.generation)),
        state.password_until.map_or(Value::Null, int),
        refusal.map_or(text("DUNNO"), |why| Value::Text(action(&why, "550 5.7.1"))),
        optional(state.incoming.as_deref().map(|why| action(why, "550 5.2.1"))),
    ];
    let live = addresses(state);
    let mut rows: Vec<_> = state
        .retired
        .iter()
        .map(|(address, why)| (address.to_ascii_lowercase(), Some(action(why, "550 5.1.6"))))
        .filter(|(address, _)| live.binary_search(address).is_err())
        .chain(live.iter().map(|address| (address.clone(), None)))
        .collect();
    rows.sort();
    rows.dedup_by(|a, b| a.0 == b.0);
    let addresses = rows
        .into_iter()
        .map(|(address, retired)| vec![int(id), Value::Text(address), optional(retired)])
        .collect();
    let mut apps: Vec<_> = state.app_passwords.iter().filter(|app| app.smtp).collect();
    apps.sort_by_key(|app| app.id);
    let apps = apps
        .into_iter()
        .map(|app| vec![int(id), int(app.id), app.expires_at.map_or(Value::Null, int)])
        .collect();
    [vec![account], addresses, apps]
}

/// Sorted, lower case, the primary one among them.
fn addresses(state: &MailboxState) -> Vec<String> {
    let mut all: Vec<_> =
        state.addresses.iter().chain([&state.primary]).map(|address| address.to_ascii_lowercase()).collect();
    all.sort();
    all.dedup();
    all
}

/// An access(5) action that refuses, whatever the text: nobody opens a mailbox by a clever reason.
fn action(why: &str, code: &str) -> String {
    let why = one_line(why);
    let refuses = matches!(why.as_bytes(), [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ', ..]);
    if refuses { why } else { format!("{code} {why}") }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || !c.is_ascii() { ' ' } else { c }).collect()
}

fn int(number: i64) -> Value {
    Value::Integer(number)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn optional(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}
