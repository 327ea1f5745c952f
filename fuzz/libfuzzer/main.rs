//! The target that `FUZZ_TARGET` names, driven by libfuzzer.
#![no_main]

use std::sync::LazyLock;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is not one of {:?}", fuzz::names())).run
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| RUN(bytes));
