//! Idempotency keys: a call that is asked again, because its answer was lost, is made once and
//! answered twice. The claim is made in the transaction of the change, so that the key and the effect
//! are stored together or not at all; a refusal leaves neither.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::app::App;
use crate::app::change::Done;
use crate::app::keys::{Mac, Purpose};
use crate::clock::{HOUR, Millis};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;
use crate::store::idempotency::Scope;

/// For how long a call is remembered.
pub const KEPT: Millis = 24 * HOUR;
const LONGEST_KEY: usize = 255;

/// A caller's wish that a call be made once.
#[derive(Clone)]
pub struct Once {
    key: String,
    /// Method and path, or the command: the same key elsewhere means something else.
    route: String,
    /// A digest of everything that was asked.
    asked: Sha256,
    answer: Answer,
}

/// What a repeat is answered.
#[derive(Clone)]
pub enum Answer {
    /// The first answer again, in whatever form the door wrote it down.
    Kept(Arc<dyn Fn(&Done) -> String + Send + Sync>),
    /// Nothing: it carried a secret, which is not kept. Says where to make a new one.
    Secret(&'static str),
}

impl Once {
    /// # Errors
    /// `BadValue` for a key that is not 1 to 255 printable ASCII characters.
    pub fn new(parameter: &str, key: &str, route: String, answer: Answer) -> Result<Self> {
        let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if key.is_empty() || key.len() > LONGEST_KEY || !printable {
            return Err(Error::bad_value(
                parameter,
                format!("a key has 1 to {LONGEST_KEY} printable ASCII characters"),
            ));
        }
        Ok(Self { key: key.to_owned(), route, asked: Sha256::new(), answer })
    }

    /// Adds to what is asked: a repeat must say the same.
    pub fn asks(&mut self, part: &[u8]) {
        self.asked.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.asked.update(part);
    }

    /// Says how repeats are answered.
    pub fn answered(&mut self, answer: Answer) {
        self.answer = answer;
    }

    /// For this caller: where the call is remembered, and how another one is compared with it.
    pub(super) fn claim(&self, app: &App, actor: &Actor) -> Claim {
        let (organization, rights) = match actor {
            // Who stands differently now gets neither the old answer nor the effect once more.
            Actor::User(signed) => {
                let client = signed.client.as_deref().unwrap_or_default();
                (Some(signed.organization), format!("{} {client} {}", signed.role, signed.scopes))
            }
            Actor::Operator { .. } | Actor::Clock => (None, String::new()),
        };
        let mut scope = Sha256::new();
        let zoid = organization.map_or(0, OrganizationId::get).to_be_bytes();
        for part in
            [&zoid[..], actor.who().to_string().as_bytes(), self.route.as_bytes(), self.key.as_bytes()]
        {
            scope.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            scope.update(part);
        }
        let asked = self.asked.clone().finalize();
        let parts = [&asked[..], rights.as_bytes()];
        Claim {
            scope: scope.finalize().into(),
            organization,
            mac: app.keys.mac(Purpose::Idempotency, &parts),
            asked: asked.to_vec(),
            rights,
            answer: self.answer.clone(),
        }
    }
}

/// A call's place among those that are remembered.
#[derive(Clone)]
pub struct Claim {
    scope: Scope,
    organization: Option<OrganizationId>,
    mac: Mac,
    asked: Vec<u8>,
    rights: String,
    answer: Answer,
}

impl Claim {
    /// Waits until no other call of this process holds the same place: of many at once one does the
    /// slow work, and the others find its answer.
    pub(super) async fn turn(&self, app: &App) -> OwnedMutexGuard<()> {
        app.turns.take(self.scope).await
    }

    /// The answer of the call that was made before, if there was one.
    ///
    /// # Errors
    /// `KeyReused` when it asked something else; `AnswerNotKept` when its answer carried a secret.
    pub(super) async fn made(&self, app: &App, tx: &mut Tx, now: Millis) -> Result<Option<Done>> {
        let Some(made) = store::idempotency::held(tx, &self.scope, now).await? else { return Ok(None) };
        let parts = [&self.asked[..], self.rights.as_bytes()];
        if !app.keys.is_mac(Purpose::Idempotency, &parts, &made.mac) {
            return Err(Error::KeyReused);
        }
        match (made.answer, &self.answer) {
            (Some(answer), _) => Ok(Some(Done { answer: Some(answer), repeated: true, ..Done::default() })),
            (None, Answer::Secret(remedy)) => Err(Error::AnswerNotKept(remedy)),
            (None, Answer::Kept(_)) => Err(Error::AnswerNotKept("make the call with another key")),
        }
    }

    /// Claims the place for the running transaction; `false` when it is held.
    pub(super) async fn make(&self, tx: &mut Tx, now: Millis) -> Result<bool> {
        store::idempotency::claim(tx, &self.scope, self.organization, &self.mac, now, now + KEPT).await
    }

    /// Keeps the answer beside the effect, and puts it into what the caller gets.
    pub(super) fn keep(&self, tx: &mut Tx, done: &mut Done) -> Result<()> {
        match &self.answer {
            Answer::Kept(answer) => {
                let text = answer(done);
                store::idempotency::keep(tx, &self.scope, &text)?;
                done.answer = Some(text);
                Ok(())
            }
            Answer::Secret(_) => Ok(()),
        }
    }
}

/// Calls of this process with a key, each waiting for its equals.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<Scope, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take(&self, scope: Scope) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, waiting| waiting.strong_count() > 0);
            let known = all.get(&scope).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::default();
                all.insert(scope, Arc::downgrade(&new));
                new
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_printable() {
        let key = |text: &str| {
            let answer = Answer::Secret("elsewhere");
            Once::new("Idempotency-Key", text, "PUT /".to_owned(), answer).is_ok()
        };
        assert!(key("8e03978e-40d5-43dd-bc93-6894a57f9324") && key("a b") && key(&"x".repeat(255)));
        for bad in ["", "a\tb", "a\nb", "caf\u{e9}", "\u{7f}", &"x".repeat(256)] {
            assert!(!key(bad), "{bad:?}");
        }
    }
}
