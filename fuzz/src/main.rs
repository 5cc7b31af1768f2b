//! The fuzzer: libFuzzer feeds what it makes up to one function of `kalit_core::fuzzing`, named by
//! `KALIT_FUZZ_TARGET`. Built and run by `cargo xtask fuzz`.
#![no_main]

use std::sync::OnceLock;

use kalit_core::fuzzing::{Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("KALIT_FUZZ_TARGET").expect("KALIT_FUZZ_TARGET names what is fuzzed");
        let found = target(&name).unwrap_or_else(|| panic!("there is no target {name}"));
        let _ = TARGET.set(found);
    },
    |input: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(input);
        }
    }
);
