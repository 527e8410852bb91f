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

#[test]
fn every_folder_of_the_corpus_has_its_target() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::by_name(&name).is_some(), "{name}");
    }
}
