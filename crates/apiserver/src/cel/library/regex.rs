//! Regular expressions. The engine is linear in the text; compiling is bounded in size and charged.

use std::sync::Arc;

use super::{Cost, Entry, entry};
use crate::{
    cel::{Budget, Failure, value::Value},
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

/// What compiling a pattern that is not remembered costs.
const COMPILATION: u64 = 500;

fn charged(pattern: &str, budget: &Budget) -> Result<Arc<Pattern>, Failure> {
    if let Some(compiled) = pattern::known(pattern) {
        return Ok(compiled);
    }
    budget.spend(COMPILATION)?;
    pattern::remember(pattern).map_err(Failure::Error)
}
