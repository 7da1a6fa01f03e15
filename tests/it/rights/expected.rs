//! Reads the tables and puts them together: what a principal is answered. No product in here.

use super::table;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Member,
    Desk,
    Admin,
    Super,
}

impl Rank {
    pub const ALL: [Self; 4] = [Self::Member, Self::Desk, Self::Admin, Self::Super];
}

/// Whom a call is about, as seen from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Oneself,
    Another(Rank),
}

impl Target {
    pub const ALL: [Self; 5] = [
        Self::Oneself,
        Self::Another(Rank::Member),
        Self::Another(Rank::Desk),
        Self::Another(Rank::Admin),
        Self::Another(Rank::Super),
    ];
}

/// Who asks: with which token, of which organization.
#[derive(Debug, Clone, Copy)]
pub enum Principal {
    NoHeader,
    BadToken,
    ExpiredToken,
    RevokedToken,
    Person {
        rank: Rank,
        /// Of another organization than the one that the path names.
        foreign: bool,
        /// A column of the table.
        scope: usize,
    },
}

impl Principal {
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::NoHeader, Self::BadToken, Self::ExpiredToken, Self::RevokedToken];
        for rank in Rank::ALL {
            for foreign in [false, true] {
                let persons = (0..table::SCOPES.len()).map(|scope| Self::Person { rank, foreign, scope });
                all.extend(persons);
            }
        }
        all
    }
}

/// A row of `CALLS`.
#[derive(Debug)]
pub struct Call {
    pub method: &'static str,
    pub path: &'static str,
    pub forms: &'static str,
    pub cells: Vec<&'static str>,
}

impl Call {
    pub fn needs_no_token(&self) -> bool {
        self.cells[0] == "open"
    }

    pub fn on_own_path(&self) -> bool {
        self.path.starts_with("/api/accounts")
    }
}

/// A row of `MODES`.
#[derive(Debug)]
pub struct Mode {
    pub name: &'static str,
    pub forms: &'static str,
    /// What the help desk must have been given, `-` where nothing will do.
    pub verb: &'static str,
    cells: Vec<&'static str>,
    pub body: &'static str,
}

impl Mode {
    /// What the admin form answers.
    pub fn admin_form(&self, caller: Rank, target: Target) -> &'static str {
        let row = Rank::ALL.iter().position(|rank| *rank == caller).expect("one of four");
        let column = Target::ALL.iter().position(|one| *one == target).expect("one of five");
        self.cells[row * Target::ALL.len() + column]
    }
}

fn rows(text: &'static str, header: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().skip_while(move |line| !line.trim_start().starts_with(header)).skip(1);
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|row| !row.is_empty())
}

pub fn calls() -> Vec<Call> {
    let read = |row: Vec<&'static str>| {
        assert_eq!(row.len(), 3 + table::SCOPES.len(), "a cell for each scope: {row:?}");
        Call { method: row[0], path: row[1], forms: row[2], cells: row[3..].to_vec() }
    };
    rows(table::CALLS, "method").map(read).collect()
}

pub fn modes() -> Vec<Mode> {
    let read = |row: Vec<&'static str>| {
        assert_eq!(row.len(), 24, "a cell for each rank and target: {row:?}");
        Mode { name: row[0], forms: row[1], verb: row[2], cells: row[3..23].to_vec(), body: row[23] }
    };
    rows(table::MODES, "mode").map(read).collect()
}

/// Who may create a user of a role: role, caller, answer.
pub fn creations() -> Vec<(&'static str, Rank, &'static str)> {
    let of_role = |row: Vec<&'static str>| {
        let cells = Rank::ALL.into_iter().zip(row[1..].to_vec());
        cells.map(|(rank, answer)| (row[0], rank, answer)).collect::<Vec<_>>()
    };
    rows(table::CREATE, "role").flat_map(of_role).collect()
}

/// How a request of the own form names somebody, and the answers by organization path and own path.
pub struct Naming {
    pub path: &'static str,
    pub zuid: &'static str,
    pub on_organization_path: &'static str,
    pub on_own_path: &'static str,
}

pub fn namings() -> Vec<Naming> {
    let read = |row: Vec<&'static str>| Naming {
        path: row[0],
        zuid: row[1],
        on_organization_path: row[2],
        on_own_path: row[3],
    };
    rows(table::NAMING, "path").map(read).collect()
}

/// What a cell of `CALLS` says to a principal before anybody's rank matters: an answer, or the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Answer(&'static str),
    AdminForm(Rank),
    OwnForm,
}

pub fn entry(call: &Call, principal: Principal) -> Entry {
    if call.needs_no_token() {
        return Entry::Answer("ok");
    }
    match principal {
        Principal::NoHeader => Entry::Answer("400 INVALID_TICKET"),
        Principal::BadToken | Principal::ExpiredToken | Principal::RevokedToken => {
            Entry::Answer("401 INVALID_OAUTHTOKEN")
        }
        Principal::Person { rank, foreign, scope } => match call.cells[scope] {
            "-" => Entry::Answer("401"),
            "any" => Entry::Answer("ok"),
            "403" => Entry::Answer("403"),
            // Nobody's own account is in another organization.
            "own" if foreign && call.path.contains("{zoid}") => Entry::Answer("401"),
            "own" => Entry::OwnForm,
            // Without an id in the path the own organization is meant.
            "admin" | "staff" if foreign && call.path.contains("{zoid}") => Entry::Answer("404"),
            "admin" | "staff" if rank == Rank::Member => Entry::Answer("403"),
            "admin" if rank == Rank::Desk => Entry::Answer("403"),
            "admin" | "staff" => Entry::AdminForm(rank),
            other => panic!("{other} is no cell"),
        },
    }
}
