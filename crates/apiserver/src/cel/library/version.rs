//! Semantic versions. Their comparisons share the entries of `quantity`.

use std::{borrow::Cow, rc::Rc};

use semver::Version;

use super::{Cost, Entry, entry};
use crate::cel::{Failure, value::Value};

pub const TABLE: &[Entry] = &[
    entry(&["semver(string): Semver", "semver(string, bool): Semver"], Cost::Passes(1), |values, _| {
        parsed(values)?.map(|version| Value::Semver(Rc::new(version))).ok_or_else(|| Failure::error("invalid semver"))
    }),
    entry(&["isSemver(string): bool", "isSemver(string, bool): bool"], Cost::Passes(1), |values, _| {
        Ok(Value::Bool(parsed(values)?.is_some()))
    }),
    entry(&["Semver.major(): int"], Cost::Fixed(1), |values, _| part(values, |version| version.major)),
    entry(&["Semver.minor(): int"], Cost::Fixed(1), |values, _| part(values, |version| version.minor)),
    entry(&["Semver.patch(): int"], Cost::Fixed(1), |values, _| part(values, |version| version.patch)),
];

fn parsed(values: &[Value<'_>]) -> Result<Option<Version>, Failure> {
    match values {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(Version::parse(text).ok()),
        [Value::String(text), Value::Bool(true)] => Ok(Version::parse(&normalized(text)).ok()),
        _ => Err(Failure::NoOverload),
    }
}

/// `v1.2` as `1.2.0`, `01.2.3` as `1.2.3`.
fn normalized(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core_end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(core_end);
    let mut numbers: Vec<&str> = core.split('.').collect();
    for number in &mut numbers {
        let significant = number.trim_start_matches('0');
        if !number.is_empty() {
            *number = if significant.is_empty() { "0" } else { significant };
        }
    }
    numbers.resize(numbers.len().max(3), "0");
    format!("{}{rest}", numbers.join(".")).into()
}

fn part<'a>(values: &[Value<'a>], read: fn(&Version) -> u64) -> Result<Value<'a>, Failure> {
    match values {
        [Value::Semver(version)] => Ok(Value::Int(i64::try_from(read(version)).unwrap_or(i64::MAX))),
        _ => Err(Failure::NoOverload),
    }
}
