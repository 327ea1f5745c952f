//! Kubernetes quantities as numbers: exact to a billionth.

use std::cmp::Ordering;

use super::{Cost, Entry, Outcome, entry};
use crate::cel::{Failure, value::Value};

/// Billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const ONE: i128 = 1_000_000_000;

/// What a suffix multiplies by, in billionths.
const SUFFIXES: [(&str, i128); 16] = [
    ("Ki", ONE << 10),
    ("Mi", ONE << 20),
    ("Gi", ONE << 30),
    ("Ti", ONE << 40),
    ("Pi", ONE << 50),
    ("Ei", ONE << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", ONE),
    ("k", ONE * 1_000),
    ("M", ONE * 1_000_000),
    ("G", ONE * 1_000_000_000),
    ("T", ONE * 1_000_000_000_000),
    ("P", ONE * 1_000_000_000_000_000),
    ("E", ONE * 1_000_000_000_000_000_000),
];

pub const TABLE: &[Entry] = &[
    entry(&["quantity(string): Quantity"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => Quantity::parse(text).map(Value::Quantity).ok_or_else(|| {
            Failure::error(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )
        }),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["isQuantity(string): bool"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => Ok(Value::Bool(Quantity::parse(text).is_some())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["Quantity.sign(): int"], Cost::Fixed(1), |values, _| {
        one(values, |number| Ok(Value::Int(number.signum() as i64)))
    }),
    entry(&["Quantity.isInteger(): bool"], Cost::Fixed(1), |values, _| {
        one(values, |number| Ok(Value::Bool(whole(number).is_some())))
    }),
    entry(&["Quantity.asInteger(): int"], Cost::Fixed(1), |values, _| {
        one(values, |number| {
            whole(number).map(Value::Int).ok_or_else(|| Failure::error("cannot convert value to integer"))
        })
    }),
    entry(&["Quantity.asApproximateFloat(): double"], Cost::Fixed(1), |values, _| {
        one(values, |number| Ok(Value::Double(number as f64 / ONE as f64)))
    }),
    entry(
        &["Quantity.isGreaterThan(Quantity): bool", "Semver.isGreaterThan(Semver): bool"],
        Cost::Fixed(1),
        |values, _| compare(values, |order| Value::Bool(order.is_gt())),
    ),
    entry(&["Quantity.isLessThan(Quantity): bool", "Semver.isLessThan(Semver): bool"], Cost::Fixed(1), |values, _| {
        compare(values, |order| Value::Bool(order.is_lt()))
    }),
    entry(&["Quantity.compareTo(Quantity): int", "Semver.compareTo(Semver): int"], Cost::Fixed(1), |values, _| {
        compare(values, |order| Value::Int(order as i64))
    }),
    entry(&["Quantity.add(Quantity): Quantity", "Quantity.add(int): Quantity"], Cost::Fixed(1), |values, _| {
        combined(values, i128::checked_add)
    }),
    entry(&["Quantity.sub(Quantity): Quantity", "Quantity.sub(int): Quantity"], Cost::Fixed(1), |values, _| {
        combined(values, i128::checked_sub)
    }),
];

impl Quantity {
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let scale = match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
            Some((_, scale)) => *scale,
            None => {
                let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                let power = u32::try_from(power.checked_add(9)?).ok()?;
                10_i128.checked_pow(power)?
            }
        };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? };
        let mut total = whole.checked_mul(scale)?;
        if !fraction.is_empty() {
            // Digits that are too fine to matter are rounded up, away from zero.
            let digits: i128 = fraction.get(..fraction.len().min(18))?.parse().ok()?;
            let divisor = 10_i128.pow(fraction.len().min(18) as u32);
            let product = digits.checked_mul(scale)?;
            total = total.checked_add(product / divisor + i128::from(product % divisor != 0))?;
        }
        Some(Self(if text.starts_with('-') { -total } else { total }))
    }
}

fn whole(number: i128) -> Option<i64> {
    (number % ONE == 0).then(|| i64::try_from(number / ONE).ok()).flatten()
}

fn one<'a>(values: &[Value<'a>], read: fn(i128) -> Outcome<'a>) -> Outcome<'a> {
    match values {
        [Value::Quantity(Quantity(number))] => read(*number),
        _ => Err(Failure::NoOverload),
    }
}

fn compare<'a>(values: &[Value<'a>], show: fn(Ordering) -> Value<'a>) -> Outcome<'a> {
    match values {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(show(a.cmp(b))),
        [a @ Value::Semver(_), b @ Value::Semver(_)] => a.compare(b).map(show).ok_or(Failure::NoOverload),
        _ => Err(Failure::NoOverload),
    }
}

fn combined<'a>(values: &[Value<'a>], combine: fn(i128, i128) -> Option<i128>) -> Outcome<'a> {
    let (a, b) = match values {
        [Value::Quantity(Quantity(a)), Value::Quantity(Quantity(b))] => (*a, *b),
        [Value::Quantity(Quantity(a)), Value::Int(b)] => (*a, i128::from(*b) * ONE),
        _ => return Err(Failure::NoOverload),
    };
    combine(a, b).map(|number| Value::Quantity(Quantity(number))).ok_or_else(|| Failure::error("quantity overflow"))
}
