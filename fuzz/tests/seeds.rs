//! Every target over its seeds and over seeded variants of them. `FUZZ_ROUNDS` makes it go on for longer,
//! `FUZZ_SEED` elsewhere. What fails is written to a file that can be made a seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::disallowed_methods)]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fuzz::{TARGETS, mutate};
use stdx::SeededRandom;

const ROUNDS: u64 = 1500;
/// Of one input. Far above what a sound one takes in a build for tests on a busy machine.
const MOST: Duration = Duration::from_secs(10);

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")
}

/// The seeds of a target, in the same order everywhere.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join(name)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn play(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let (mut seeds, random) = (seeds(name), SeededRandom::new(number("FUZZ_SEED", 1)));
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.extend((target.made)());
    let variants = (0..number("FUZZ_ROUNDS", ROUNDS)).map(|_| mutate::variant(&seeds, &random));
    for input in seeds.iter().cloned().chain(variants) {
        let began = Instant::now();
        let kept = catch_unwind(|| (target.run)(&input)).is_ok() && began.elapsed() < MOST;
        if !kept {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.failure"));
            fs::write(&file, &input).unwrap();
            panic!(
                "{name} fails on {} after {:?}: {:?}",
                file.display(),
                began.elapsed(),
                input.escape_ascii().to_string()
            );
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*

        #[test]
        fn every_target_is_played() {
            assert_eq!([$(stringify!($name)),*].as_slice(), fuzz::names());
            let mut folders: Vec<String> =
                fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            let mut names = fuzz::names();
            folders.sort();
            names.sort_unstable();
            assert_eq!(folders, names);
        }
    };
}

targets! {
    json
    yaml
    quantity
    jsonpath
    json_patch
    merge_patch
    strategic_patch
    apply
    object
    protobuf
    label_selector
    field_selector
    request_target
    cel
    definition
    journal
}
