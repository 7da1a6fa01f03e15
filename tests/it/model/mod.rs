//! Random sequences of calls against a small model of the rules (`rules`): after every call the
//! answer, the accounts, the addresses, the tokens, the audit log and the outbox must be the
//! model's. A failure prints the shortest sequence that shows it.
//!
//! `MAILWARD_TEST_SEED` chooses other sequences, `MAILWARD_TEST_LONG` runs many more of them.

mod calls;
mod case;
mod foretold;
mod protection;
mod rules;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use self::case::Tally;

use crate::support::databases::TestDb;
use crate::support::world::World;

const SEED: u64 = 2026;
const SEQUENCES: u32 = 50;
const SEQUENCES_IN_THE_LONG_RUN: u32 = 3_000;

/// Dry runs per engine: hundreds, and ten thousand in the long run.
const REHEARSED: u32 = 8;
const REHEARSED_IN_THE_LONG_RUN: u32 = 500;

/// What makes sequences of this run's seed, few of them or many; and the seed.
fn runner((few, many): (u32, u32)) -> (TestRunner, u64) {
    let seed =
        std::env::var("MAILWARD_TEST_SEED").map_or(SEED, |text| text.parse().expect("a seed is a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: if std::env::var_os("MAILWARD_TEST_LONG").is_some() { many } else { few },
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    (TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)), seed)
}

/// Runs random sequences; what the calls were answered.
async fn sequences(test: TestDb, (few, many): (u32, u32), rehearses: bool) -> Tally {
    let world = World::start(test).await;
    let (mut runner, seed) = runner((few, many));
    let mut tally = Tally::default();
    let told = std::cell::RefCell::new(&mut tally);
    let outcome = block_in_place(|| {
        runner.run(&calls::steps(), |steps| {
            Handle::current().block_on(case::run(&world, &steps, &mut told.borrow_mut(), rehearses))
        })
    });
    match outcome {
        Ok(()) => tally,
        Err(TestError::Fail(why, steps)) => {
            panic!("with the seed {seed}, the shortest sequence found:\n{why}\n\nas steps: {steps:#?}")
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

both_engines! {
    async fn every_sequence_of_calls_does_what_the_rules_say(test: TestDb) {
        sequences(test, (SEQUENCES, SEQUENCES_IN_THE_LONG_RUN), false).await.assert_broad();
    }

    async fn what_a_dry_run_says_is_what_the_call_then_does(test: TestDb) {
        let tally = sequences(test, (REHEARSED, REHEARSED_IN_THE_LONG_RUN), true).await;
        let least = if std::env::var_os("MAILWARD_TEST_LONG").is_some() { 10_000 } else { 200 };
        println!("{} calls were foretold", tally.foretold);
        assert!(tally.foretold >= least, "only {} calls were foretold", tally.foretold);
    }
}
