//! Regular expressions. The engine is linear in the text; compiling is bounded in size, charged, and done in turn.

use std::sync::Arc;

use super::{Cost, Entry, entry};
use crate::{
    cel::{Budget, Failure, value::Value},
    http::heavy::in_turn,
    pattern::{self, Pattern},
};

pub const TABLE: &[Entry] = &[
    entry(&["string.matches(string): bool", "matches(string, string): bool"], Cost::Pattern, |values, budget| {
        match values {
            [Value::String(text), Value::String(pattern)] => Ok(Value::Bool(charged(pattern, budget)?.is_match(text))),
            _ => Err(Failure::NoOverload),
        }
    }),
    entry(&["string.find(string): string"], Cost::Pattern, |values, budget| match values {
        [Value::String(text), Value::String(pattern)] => {
            Ok(Value::text(charged(pattern, budget)?.find(text).unwrap_or_default()))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(
        &["string.findAll(string): list<string>", "string.findAll(string, int): list<string>"],
        Cost::Pattern,
        |values, budget| {
            let (text, pattern, limit) = match values {
                [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
                [Value::String(text), Value::String(pattern), Value::Int(limit)] => {
                    (text, pattern, usize::try_from(*limit).unwrap_or(usize::MAX))
                }
                _ => return Err(Failure::NoOverload),
            };
            let pattern = charged(pattern, budget)?;
            let found: Vec<Value<'_>> = pattern.find_all(text, limit).into_iter().map(Value::text).collect();
            budget.spend(found.len() as u64)?;
            Ok(Value::list(found))
        },
    ),
];

/// Bytes of a compiled pattern for a unit of cost: an ordinary one takes a few KB.
const BYTES_A_UNIT: u64 = 10;

/// The compiled pattern. Kubernetes charges for the text alone; who makes patterns as he goes pays for their programs too,
/// and for one that cannot be had as for the largest.
fn charged(text: &str, budget: &Budget) -> Result<Arc<Pattern>, Failure> {
    if let Some(compiled) = pattern::known(text) {
        return Ok(compiled);
    }
    let compiled = in_turn(|| pattern::remember(text)).map_err(Failure::Error);
    let bytes = compiled.as_ref().map_or(pattern::MAX_PROGRAM_BYTES, |compiled| compiled.size());
    budget.spend(bytes as u64 / BYTES_A_UNIT)?;
    compiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_costs_what_it_takes_and_only_once() {
        let spent = |pattern: &str| {
            let budget = Budget::new(1_000_000);
            let outcome = charged(pattern, &budget);
            (outcome.is_ok(), 1_000_000 - budget.total.get())
        };
        // pattern, whether it compiles, the least and the most that it costs
        for (pattern, compiles, least, most) in [
            ("^a-test-of-costs$", true, 50, 1_000),
            ("^([a-z]{0,60}-of-costs){0,12}$", true, 1_000, 100_000),
            ("((of-costs{900}){900}){900}", false, 100_000, 110_000),
            ("(of-costs", false, 100_000, 110_000),
        ] {
            let (was_compiled, cost) = spent(pattern);
            assert!(was_compiled == compiles && (least..=most).contains(&cost), "{pattern}: {cost}");
            assert_eq!(spent(pattern), (compiles, if compiles { 0 } else { cost }), "{pattern}");
        }
    }
}
