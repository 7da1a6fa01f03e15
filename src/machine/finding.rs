//! What was found of this machine and its settings, for an administrator: well, doubtful or wrong, and what to do.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    Warning,
    Wrong,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub state: State,
    pub what: String,
    /// What to do; empty when nothing is to be done.
    pub cure: String,
}

pub fn good(what: impl Into<String>) -> Finding {
    Finding { state: State::Good, what: what.into(), cure: String::new() }
}

pub fn warning(what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { state: State::Warning, what: what.into(), cure: cure.into() }
}

pub fn wrong(what: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { state: State::Wrong, what: what.into(), cure: cure.into() }
}
