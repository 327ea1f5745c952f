//! The target that `FUZZ_TARGET` names, driven by libfuzzer. The seeds it makes are written into the folder `FUZZ_MADE`,
//! before libfuzzer reads it.
#![no_main]

use std::{env, fs, path::Path, sync::LazyLock};

static TARGET: LazyLock<&'static fuzz::Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is not one of {:?}", fuzz::names()))
});

fn write_made() {
    let Some(folder) = env::var_os("FUZZ_MADE") else { return };
    for (number, seed) in (TARGET.made)().iter().enumerate() {
        let path = Path::new(&folder).join(format!("made-{number:02}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

libfuzzer_sys::fuzz_target!(init: write_made(), |bytes: &[u8]| (TARGET.run)(bytes));
