//! Arithmetic, comparison, membership, size.

use std::{cmp::Ordering, rc::Rc};

use super::{Cost, Entry, Outcome, entry};
use crate::cel::{
    Budget, Failure,
    value::{Key, Value},
};
use document::types::ListTopology;

/// The signatures of the four orderings: a type with itself, and numbers with numbers.
macro_rules! ordering {
    ($name:literal) => {
        &[
            concat!($name, "(bool, bool): bool"),
            concat!($name, "(int, int): bool"),
            concat!($name, "(int, uint): bool"),
            concat!($name, "(int, double): bool"),
            concat!($name, "(uint, uint): bool"),
            concat!($name, "(uint, int): bool"),
            concat!($name, "(uint, double): bool"),
            concat!($name, "(double, double): bool"),
            concat!($name, "(double, int): bool"),
            concat!($name, "(double, uint): bool"),
            concat!($name, "(string, string): bool"),
            concat!($name, "(bytes, bytes): bool"),
            concat!($name, "(timestamp, timestamp): bool"),
            concat!($name, "(duration, duration): bool"),
        ]
    };
}

pub const TABLE: &[Entry] = &[
    entry(&["_==_(A, A): bool"], Cost::Shorter, |values, budget| equal(values, budget).map(Value::Bool)),
    entry(&["_!=_(A, A): bool"], Cost::Shorter, |values, budget| equal(values, budget).map(|same| Value::Bool(!same))),
    entry(ordering!("_<_"), Cost::Shorter, |values, _| compare(values, Ordering::is_lt)),
    entry(ordering!("_<=_"), Cost::Shorter, |values, _| compare(values, Ordering::is_le)),
    entry(ordering!("_>_"), Cost::Shorter, |values, _| compare(values, Ordering::is_gt)),
    entry(ordering!("_>=_"), Cost::Shorter, |values, _| compare(values, Ordering::is_ge)),
    entry(&["@in(A, list<A>): bool", "@in(A, map<A, B>): bool"], Cost::Fixed(1), contains),
    entry(
        &[
            "_+_(int, int): int",
            "_+_(uint, uint): uint",
            "_+_(double, double): double",
            "_+_(string, string): string",
            "_+_(bytes, bytes): bytes",
            "_+_(list<A>, list<A>): list<A>",
            "_+_(timestamp, duration): timestamp",
            "_+_(duration, timestamp): timestamp",
            "_+_(duration, duration): duration",
        ],
        Cost::Fixed(1),
        add,
    ),
    entry(
        &[
            "_-_(int, int): int",
            "_-_(uint, uint): uint",
            "_-_(double, double): double",
            "_-_(timestamp, timestamp): duration",
            "_-_(timestamp, duration): timestamp",
            "_-_(duration, duration): duration",
        ],
        Cost::Fixed(1),
        subtract,
    ),
    entry(
        &["_*_(int, int): int", "_*_(uint, uint): uint", "_*_(double, double): double"],
        Cost::Fixed(1),
        |values, _| match values {
            [Value::Int(a), Value::Int(b)] => whole(a.checked_mul(*b)),
            [Value::Uint(a), Value::Uint(b)] => natural(a.checked_mul(*b)),
            [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
            _ => Err(Failure::NoOverload),
        },
    ),
    entry(
        &["_/_(int, int): int", "_/_(uint, uint): uint", "_/_(double, double): double"],
        Cost::Fixed(1),
        |values, _| match values {
            [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
                Err(Failure::error("division by zero"))
            }
            [Value::Int(a), Value::Int(b)] => whole(a.checked_div(*b)),
            [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
            [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
            _ => Err(Failure::NoOverload),
        },
    ),
    entry(&["_%_(int, int): int", "_%_(uint, uint): uint"], Cost::Fixed(1), |values, _| match values {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(Failure::error("modulus by zero")),
        [Value::Int(a), Value::Int(b)] => whole(a.checked_rem(*b)),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["-_(int): int", "-_(double): double"], Cost::Fixed(1), |values, _| match values {
        [Value::Int(a)] => whole(a.checked_neg()),
        [Value::Double(a)] => Ok(Value::Double(-a)),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["!_(bool): bool"], Cost::Fixed(1), |values, _| match values {
        [Value::Bool(a)] => Ok(Value::Bool(!a)),
        _ => Err(Failure::NoOverload),
    }),
    entry(
        &[
            "size(string): int",
            "size(bytes): int",
            "size(list<A>): int",
            "size(map<A, B>): int",
            "string.size(): int",
            "bytes.size(): int",
            "list<A>.size(): int",
            "map<A, B>.size(): int",
        ],
        Cost::Fixed(1),
        |values, _| match values {
            [value] => value.size().map(Value::from).ok_or(Failure::NoOverload),
            _ => Err(Failure::NoOverload),
        },
    ),
];

fn equal(values: &[Value<'_>], budget: &Budget) -> Result<bool, Failure> {
    let [a, b] = values else { return Err(Failure::NoOverload) };
    let mut work = 0;
    let same = a.equals(b, &mut work);
    budget.spend(work.saturating_sub(1))?;
    Ok(same)
}

fn compare<'a>(values: &[Value<'a>], accept: fn(Ordering) -> bool) -> Outcome<'a> {
    let [a, b] = values else { return Err(Failure::NoOverload) };
    if let (Value::Double(x), Value::Double(y)) = (a, b)
        && (x.is_nan() || y.is_nan())
    {
        return Ok(Value::Bool(false));
    }
    a.compare(b).map(|order| Value::Bool(accept(order))).ok_or(Failure::NoOverload)
}

fn contains<'a>(values: &[Value<'a>], budget: &Budget) -> Outcome<'a> {
    let [needle, container] = values else { return Err(Failure::NoOverload) };
    if container.is_map() {
        return Ok(Value::Bool(needle.to_key().is_some_and(|key: Key| container.get(&key).is_some())));
    }
    let items = container.items().ok_or(Failure::NoOverload)?;
    let mut work = 0;
    let found = items.iter().any(|item| item.equals(needle, &mut work));
    budget.spend(work)?;
    Ok(Value::Bool(found))
}

fn whole<'a>(result: Option<i64>) -> Outcome<'a> {
    result.map(Value::Int).ok_or_else(|| Failure::error("integer overflow"))
}

fn natural<'a>(result: Option<u64>) -> Outcome<'a> {
    result.map(Value::Uint).ok_or_else(|| Failure::error("unsigned integer overflow"))
}

fn add<'a>(values: &[Value<'a>], budget: &Budget) -> Outcome<'a> {
    let [a, b] = values else { return Err(Failure::NoOverload) };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => whole(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => natural(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(x), Value::String(y)) => {
            budget.spend((x.len() + y.len()) as u64 / 10)?;
            Ok(Value::text([&**x, &**y].concat()))
        }
        (Value::Bytes(x), Value::Bytes(y)) => {
            budget.spend((x.len() + y.len()) as u64 / 10)?;
            Ok(Value::Bytes([&**x, &**y].concat().into()))
        }
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| Failure::error("duration overflow"))
        }
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => shifted(*at, *by),
        _ => concatenated(a, b, budget),
    }
}

/// A set takes in what it lacks; a keyed list replaces the items whose keys it has; others append.
fn concatenated<'a>(a: &Value<'a>, b: &Value<'a>, budget: &Budget) -> Outcome<'a> {
    let (Some(mut items), Some(others)) = (a.items(), b.items()) else { return Err(Failure::NoOverload) };
    budget.spend((items.len() + others.len()) as u64 / 10)?;
    let keys: &[Box<str>] = match a.topology() {
        ListTopology::Atomic => {
            items.extend(others);
            return Ok(Value::list(items));
        }
        ListTopology::Set => &[],
        ListTopology::Map(keys) => keys,
    };
    let mut work = 0;
    for other in others {
        let same = items.iter().position(|item| {
            if keys.is_empty() {
                return item.equals(&other, &mut work);
            }
            keys.iter().all(|key| match (item.field(key), other.field(key)) {
                (Some(x), Some(y)) => x.equals(&y, &mut work),
                (x, y) => x.is_none() && y.is_none(),
            })
        });
        match same {
            Some(position) => items[position] = other,
            None => items.push(other),
        }
        budget.spend(std::mem::take(&mut work))?;
    }
    Ok(Value::List(Rc::new(items)))
}

fn subtract<'a>(values: &[Value<'a>], _: &Budget) -> Outcome<'a> {
    match values {
        [Value::Int(a), Value::Int(b)] => whole(a.checked_sub(*b)),
        [Value::Uint(a), Value::Uint(b)] => natural(a.checked_sub(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| Failure::error("duration overflow"))
        }
        [Value::Timestamp(at), Value::Duration(by)] => shifted(*at, by.saturating_neg()),
        [Value::Timestamp(a), Value::Timestamp(b)] => i64::try_from(a.as_nanosecond() - b.as_nanosecond())
            .map(Value::Duration)
            .map_err(|_| Failure::error("duration overflow")),
        _ => Err(Failure::NoOverload),
    }
}

fn shifted<'a>(at: jiff::Timestamp, by: i64) -> Outcome<'a> {
    at.checked_add(jiff::SignedDuration::from_nanos(by))
        .map(Value::Timestamp)
        .map_err(|_| Failure::error("timestamp overflow"))
}
