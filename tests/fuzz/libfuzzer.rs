//! libFuzzer's way into the targets; `FUZZ_TARGET` says which one.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, reason = "a target says what is wrong by panicking")]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    targets::by_name(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
