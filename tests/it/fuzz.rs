//! The fuzz targets, driven for a moment with every test run: damaged samples and plain noise.
//!
//! `scripts/fuzz` runs the same targets under libFuzzer, for as long as one likes.

use std::time::{Duration, Instant};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// How long each target runs, in milliseconds, unless `MAILWARD_TEST_FUZZ_MS` says otherwise.
const MILLISECONDS: u64 = 500;

/// Texts that mean something to one of the parsers.
const WORDS: &str = "\" \\ \\u0000 \\ud800 { } [ ] , : null true 1e9 -0 007 9223372036854775808 % %00 %ff + & = @ . .. \
    \0 \n \u{feff} \u{202e} é ß 。 ZohoMail. ALL Bearer Basic $ m=4294967296 xn--";

/// One change to an input: where (as a share of the length), how much goes, what comes.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let comes = prop_oneof![
        prop::sample::select(WORDS.split(' ').collect::<Vec<_>>()).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
        (any::<u8>(), 0..40usize).prop_map(|(byte, times)| vec![byte; times]),
    ];
    (any::<prop::sample::Index>(), 0..6usize, comes)
}

fn damaged(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        9 => prop::sample::select(samples),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ];
    (start, prop::collection::vec(damage(), 0..6)).prop_map(|(mut bytes, damages)| {
        for (at, goes, comes) in damages {
            let at = at.index(bytes.len() + 1);
            let end = (at + goes).min(bytes.len());
            bytes.splice(at..end, comes);
        }
        bytes
    })
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).expect("a folder of seeds for every target");
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("a readable seed")).collect()
}

#[test]
fn no_input_breaks_a_promise_of_a_parser() {
    let milliseconds = std::env::var("MAILWARD_TEST_FUZZ_MS").map_or(MILLISECONDS, |text| {
        text.parse().expect("MAILWARD_TEST_FUZZ_MS is a number of milliseconds")
    });
    for (name, target) in targets::TARGETS {
        let inputs = damaged(seeds(name));
        let mut runner = TestRunner::default();
        let until = Instant::now() + Duration::from_millis(milliseconds);
        let mut runs = 0;
        while runs == 0 || Instant::now() < until {
            let input = inputs.new_tree(&mut runner).expect("nothing is filtered out").current();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                panic!("{name} broke its promise for {:?}", input.escape_ascii().to_string());
            }
            runs += 1;
        }
        println!("{name}: {runs} inputs");
    }
}

#[test]
fn every_target_takes_its_seeds_and_has_a_file_for_libfuzzer() {
    for (name, target) in targets::TARGETS {
        seeds(name).iter().for_each(|seed| target(seed));
        let file = format!("{}/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).expect("a file in fuzz_targets for every target");
        assert!(text.contains(&format!("mailward_fuzz::{name}(data)")), "{file}");
    }
}
