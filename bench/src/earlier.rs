//! The peer's figures of an earlier run, kept beside the code for machines without a peer.

use std::{fmt::Write, path::PathBuf};

use anyhow::Result;

use crate::scenarios;

/// `scenario <tab> figure <tab> value`, values in the base unit (seconds, bytes).
const FIGURES: &str = include_str!("../peer.tsv");

pub fn figure(scenario: &str, figure: &str) -> Option<f64> {
    FIGURES.lines().find_map(|line| {
        let mut fields = line.split('\t');
        (fields.next() == Some(scenario) && fields.next() == Some(figure)).then(|| fields.next()?.parse().ok())?
    })
}

/// Writes the figures of this run over the earlier ones; scenarios that did not run keep theirs.
pub fn record(values: &[(&str, &str, f64)]) -> Result<()> {
    let mut text = String::new();
    for scenario in scenarios::ALL {
        for kept in scenario.figures() {
            let now = values.iter().find(|(name, figure, _)| (*name, *figure) == (scenario.name(), kept.name));
            let Some(value) = now.map(|now| now.2).or_else(|| figure(scenario.name(), kept.name)) else { continue };
            writeln!(text, "{}\t{}\t{value}", scenario.name(), kept.name)?;
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peer.tsv");
    Ok(std::fs::write(path, text)?)
}
