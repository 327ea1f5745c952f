//! Opening a journal whose only segment is any bytes: named damage or a cut tail, no panic, no invented records.
//!
//! `cargo +nightly fuzz run recovery` in the parent directory. The test `recovery_copes_with_mutated_segments` does the same from a seed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| journal::simulation::recover_from(bytes));
