//! Where chance comes from: the operating system, or a seed in tests.

use std::sync::Mutex;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};

/// The source of tokens, salts and codes.
pub enum Random {
    System,
    Seeded(Box<Mutex<StdRng>>),
}

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Draws with a fresh generator seeded by the operating system, or with the test's own.
    pub fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        match self {
            Self::System => {
                let mut rng = StdRng::try_from_rng(&mut SysRng)
                    .expect("an operating system without randomness cannot run a mail organization");
                draw(&mut rng)
            }
            Self::Seeded(rng) => draw(&mut rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    /// Names one request in the log, to its caller and in the audit log. It is no secret, so the thread's own
    /// generator is good enough, which does not ask the operating system each time.
    pub fn request_id(&self) -> String {
        let mut bytes = [0; 8];
        match self {
            Self::System => rand::rng().fill_bytes(&mut bytes),
            Self::Seeded(_) => self.with(|rng| rng.fill_bytes(&mut bytes)),
        }
        hex::encode(bytes)
    }

    pub fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut salt));
        salt
    }
}
