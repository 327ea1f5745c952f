//! Optional values.

use super::{Cost, Entry, entry};
use crate::cel::{Failure, value::Value};

pub const TABLE: &[Entry] = &[
    entry(&["optional.of(A): optional<A>"], Cost::Fixed(1), |values, _| match values {
        [value] => Ok(Value::some(value.clone())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["optional.ofNonZeroValue(A): optional<A>"], Cost::Fixed(1), |values, _| match values {
        [value] if is_zero(value) => Ok(Value::Optional(None)),
        [value] => Ok(Value::some(value.clone())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["optional.none(): optional<A>"], Cost::Fixed(1), |_, _| Ok(Value::Optional(None))),
    entry(&["optional<A>.hasValue(): bool"], Cost::Fixed(1), |values, _| match values {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["optional<A>.value(): A"], Cost::Fixed(1), |values, _| match values {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => Err(Failure::error("optional.none() dereference")),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["optional<A>.orValue(A): A"], Cost::Fixed(1), |values, _| match values {
        [Value::Optional(Some(inner)), _] => Ok((**inner).clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["optional<A>.or(optional<A>): optional<A>"], Cost::Fixed(1), |values, _| match values {
        [first @ Value::Optional(Some(_)), _] => Ok(first.clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => Err(Failure::NoOverload),
    }),
];

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Double(value) => *value == 0.0,
        other => other.size() == Some(0),
    }
}
