//! Random sequences of calls against a small model of the rules (`rules`): after every call the
//! answer, the accounts, the addresses, the tokens, the audit log and the outbox must be the
//! model's. A failure prints the shortest sequence that shows it.
//!
//! `MAILWARD_TEST_SEED` chooses other sequences, `MAILWARD_TEST_LONG` runs many more of them.

mod calls;
mod case;
mod rules;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::support::databases::TestDb;
use crate::support::world::World;

const SEED: u64 = 2026;
const SEQUENCES: u32 = 60;
const SEQUENCES_IN_THE_LONG_RUN: u32 = 3_000;

both_engines! {
    async fn every_sequence_of_calls_does_what_the_rules_say(test: TestDb) {
        let world = World::start(test).await;
        let seed = std::env::var("MAILWARD_TEST_SEED").map_or(SEED, |text| text.parse().expect("a seed is a number"));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: if std::env::var_os("MAILWARD_TEST_LONG").is_some() { SEQUENCES_IN_THE_LONG_RUN } else { SEQUENCES },
            max_shrink_iters: 2_000,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let mut tally = case::Tally::default();
        let told = std::cell::RefCell::new(&mut tally);
        let outcome = block_in_place(|| {
            runner.run(&calls::steps(), |steps| {
                Handle::current().block_on(case::run(&world, &steps, &mut told.borrow_mut()))
            })
        });
        match outcome {
            Ok(()) => tally.assert_broad(),
            Err(TestError::Fail(why, steps)) => {
                panic!("with the seed {seed}, the shortest sequence found:\n{why}\n\nas steps: {steps:#?}")
            }
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    }
}
