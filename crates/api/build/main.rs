//! Writes what the crate embeds about the built-in types: `types.txt`, their structure, read at every
//! start; and `definitions.bin`, their published schemas with descriptions, read when a client asks.
//!
//! Both come from the JSON schemas of `k8s-openapi`, with the tables in `tables/` laid over them. A line
//! of a table that names nothing, or says what cannot be said of its field, fails the build.

#![expect(clippy::print_stdout, reason = "a build script speaks to cargo through it")]

mod definitions;
mod publish;
mod roots;
mod structure;
mod tables;

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=tables");
    let mut definitions = definitions::load();
    for (table, lay_over) in [
        ("tables/lists.txt", tables::lists as tables::LayOver),
        ("tables/zeros.txt", tables::zeros),
        ("tables/defaults.txt", tables::defaults),
    ] {
        tables::apply(table, &fs::read_to_string(table)?, lay_over, &mut definitions)?;
    }
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("types.txt"), structure::render(&definitions))?;
    fs::write(out.join("definitions.bin"), publish::render(&definitions)?)?;
    Ok(())
}
