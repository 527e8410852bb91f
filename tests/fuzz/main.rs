//! A short run of every fuzz target: over its corpus, and over inputs made of it, the same ones each time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod mutation;
mod targets;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::TARGETS;

/// Inputs tried for each target: a few seconds in all.
const INPUTS: usize = 3_000;
const SEED: u64 = 0x6879_7065_7264_6573;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join(target);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

#[test]
fn every_target_holds_for_its_corpus_and_what_is_made_of_it() {
    let mut wrong = Vec::new();
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name}");
        let mut random = fastrand::Rng::with_seed(SEED);
        let mutations = (0..INPUTS).map(|_| mutation::mutated(&corpus, &mut random));
        let mut inputs = corpus.iter().cloned().chain(mutations);
        if let Some(input) = inputs.find(|input| catch_unwind(|| target(input)).is_err()) {
            wrong.push(format!("{name} fails for b\"{}\"", input.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same by other inputs each time, for so many seconds in all: where there is no libFuzzer, see README.md.
#[test]
#[allow(clippy::print_stdout, reason = "it says how many inputs there were")]
fn every_target_holds_for_as_long_as_is_asked_for() {
    let Some(seconds) = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse::<f64>().unwrap())
    else {
        return;
    };
    // All, or those from one on: after one that failed, the rest.
    let first = std::env::var("FUZZ_FROM").unwrap_or_default();
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| *name >= first.as_str()).collect();
    let (seed, each) = (fastrand::u64(..), Duration::from_secs_f64(seconds / targets.len() as f64));
    let mut random = fastrand::Rng::with_seed(seed);
    for (name, target) in targets {
        let (begun, mut corpus, mut tried) = (Instant::now(), corpus(name), 0_u64);
        let given = corpus.len();
        while begun.elapsed() < each {
            let input = mutation::mutated(&corpus, &mut random);
            let holds = catch_unwind(|| target(&input)).is_ok();
            assert!(holds, "{name} fails for b\"{}\", seed {seed}", input.escape_ascii());
            tried += 1;
            // What was made goes on to be changed, so that inputs come to lie further from the corpus.
            if tried.is_multiple_of(64) {
                corpus.truncate(given + random.usize(0..64));
                corpus.push(input);
            }
        }
        println!("{name}: {tried} inputs in {:?}, seed {seed}", begun.elapsed());
    }
}

#[test]
fn every_folder_of_the_corpus_has_its_target() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::by_name(&name).is_some(), "{name}");
    }
}
