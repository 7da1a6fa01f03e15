//! Credentials that were good a moment ago. Nothing is decided by it, and no call gets in by it: it
//! only spares those who called before a look of their own, before the transaction that looks again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::app::call::Caller;
use crate::clock::{MINUTE, Millis};
use crate::domain::secret::Fingerprint;

/// For how long somebody is remembered.
const KEPT: Millis = MINUTE;
/// More are forgotten all at once, and come to be known again.
const MOST: usize = 10_000;

#[derive(Default)]
pub struct Acquainted(Mutex<HashMap<Fingerprint, Millis>>);

impl Acquainted {
    /// Whether the credential was good within the last minute. It may have been revoked since.
    pub fn with(&self, caller: &Caller, now: Millis) -> bool {
        let Some(hash) = fingerprint(caller) else { return true };
        self.all().get(hash).is_some_and(|at| (0..KEPT).contains(&(now - at)))
    }

    pub fn note(&self, caller: &Caller, now: Millis) {
        let Some(hash) = fingerprint(caller) else { return };
        let mut all = self.all();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(*hash, now);
    }

    pub fn forget(&self, caller: &Caller) {
        if let Some(hash) = fingerprint(caller) {
            self.all().remove(hash);
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Fingerprint, Millis>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those at the host need none.
fn fingerprint(caller: &Caller) -> Option<&Fingerprint> {
    match caller {
        Caller::Token(hash) | Caller::Session { hash, .. } => Some(hash),
        Caller::Operator { .. } | Caller::Clock | Caller::Nobody => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret;

    #[test]
    fn a_credential_is_remembered_for_a_minute_and_many_are_forgotten() {
        let acquainted = Acquainted::default();
        let token = |number: u64| Caller::Token(secret::fingerprint(&number.to_string()));
        assert!(!acquainted.with(&token(1), 1000));
        acquainted.note(&token(1), 1000);
        assert!(acquainted.with(&token(1), 1000) && acquainted.with(&token(1), 60_999));
        assert!(!acquainted.with(&token(1), 61_000) && !acquainted.with(&token(1), 999));
        acquainted.forget(&token(1));
        assert!(!acquainted.with(&token(1), 1000));
        for number in 0..30_000 {
            acquainted.note(&token(number), 1000);
        }
        assert!(acquainted.all().len() <= MOST);
    }
}
