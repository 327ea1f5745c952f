//! Conversions between types, and types as values.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Cost, Entry, duration, entry};
use crate::cel::{
    Failure,
    types::Type,
    value::{Value, timestamp},
};

pub const TABLE: &[Entry] =
    &[
        entry(
            &[
                "string(string): string",
                "string(bool): string",
                "string(int): string",
                "string(uint): string",
                "string(double): string",
                "string(bytes): string",
                "string(timestamp): string",
                "string(duration): string",
                "string(IP): string",
                "string(CIDR): string",
            ],
            Cost::Passes(1),
            |values, _| match values {
                [Value::Bytes(bytes)] => std::str::from_utf8(bytes)
                    .map(Value::text)
                    .map_err(|_| Failure::error("invalid UTF-8 in bytes, cannot convert to string")),
                [value @ Value::String(_)] => Ok(value.clone()),
                [value] => to_text(value).map(|text| Value::text(text.into_owned())).ok_or(Failure::NoOverload),
                _ => Err(Failure::NoOverload),
            },
        ),
        entry(
            &[
                "int(int): int",
                "int(uint): int",
                "int(double): int",
                "int(string): int",
                "int(timestamp): int",
                "int(duration): int",
            ],
            Cost::Fixed(1),
            |values, _| {
                let overflow = || Failure::error("integer overflow");
                match values {
                    [Value::Int(value)] => Ok(Value::Int(*value)),
                    [Value::Uint(value)] => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
                    [Value::Double(value)] if value.abs() < 9.223_372_036_854_775e18 => Ok(Value::Int(*value as i64)),
                    [Value::Double(_)] => Err(overflow()),
                    [Value::String(text)] => text.parse().map(Value::Int).map_err(|_| {
                        Failure::error(format!("strconv.ParseInt: parsing {:?}: invalid syntax", &**text))
                    }),
                    [Value::Timestamp(at)] => Ok(Value::Int(at.as_second())),
                    [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
                    _ => Err(Failure::NoOverload),
                }
            },
        ),
        entry(
            &["uint(uint): uint", "uint(int): uint", "uint(double): uint", "uint(string): uint"],
            Cost::Fixed(1),
            |values, _| {
                let overflow = || Failure::error("unsigned integer overflow");
                match values {
                    [Value::Uint(value)] => Ok(Value::Uint(*value)),
                    [Value::Int(value)] => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
                    [Value::Double(value)] if (0.0..1.8e19).contains(value) => Ok(Value::Uint(*value as u64)),
                    [Value::Double(_)] => Err(overflow()),
                    [Value::String(text)] => text.parse().map(Value::Uint).map_err(|_| {
                        Failure::error(format!("strconv.ParseUint: parsing {:?}: invalid syntax", &**text))
                    }),
                    _ => Err(Failure::NoOverload),
                }
            },
        ),
        entry(
            &["double(double): double", "double(int): double", "double(uint): double", "double(string): double"],
            Cost::Fixed(1),
            |values, _| match values {
                [Value::Double(value)] => Ok(Value::Double(*value)),
                [Value::Int(value)] => Ok(Value::Double(*value as f64)),
                [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
                [Value::String(text)] => text
                    .parse()
                    .map(Value::Double)
                    .map_err(|_| Failure::error(format!("strconv.ParseFloat: parsing {:?}: invalid syntax", &**text))),
                _ => Err(Failure::NoOverload),
            },
        ),
        entry(&["bool(bool): bool", "bool(string): bool"], Cost::Fixed(1), |values, _| match values {
            [Value::Bool(value)] => Ok(Value::Bool(*value)),
            [Value::String(text)] => match &**text {
                "1" | "t" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                other => Err(Failure::error(format!("strconv.ParseBool: parsing {other:?}: invalid syntax"))),
            },
            _ => Err(Failure::NoOverload),
        }),
        entry(&["bytes(bytes): bytes", "bytes(string): bytes"], Cost::Passes(1), |values, _| match values {
            [value @ Value::Bytes(_)] => Ok(value.clone()),
            [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
            _ => Err(Failure::NoOverload),
        }),
        entry(
            &["timestamp(timestamp): timestamp", "timestamp(string): timestamp", "timestamp(int): timestamp"],
            Cost::Fixed(1),
            |values, _| {
                let invalid = || Failure::error("invalid timestamp");
                match values {
                    [value @ Value::Timestamp(_)] => Ok(value.clone()),
                    [Value::String(text)] => timestamp(text).map(Value::Timestamp).ok_or_else(invalid),
                    [Value::Int(seconds)] => {
                        jiff::Timestamp::from_second(*seconds).map(Value::Timestamp).map_err(|_| invalid())
                    }
                    _ => Err(Failure::NoOverload),
                }
            },
        ),
        entry(
            &["duration(duration): duration", "duration(string): duration", "duration(int): duration"],
            Cost::Fixed(1),
            |values, _| match values {
                [value @ Value::Duration(_)] => Ok(value.clone()),
                [Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
                [Value::String(text)] => duration::parse(text)
                    .map(Value::Duration)
                    .ok_or_else(|| Failure::error(format!("time: invalid duration {:?}", &**text))),
                _ => Err(Failure::NoOverload),
            },
        ),
        entry(&["dyn(A): dyn"], Cost::Fixed(1), |values, _| values.first().cloned().ok_or(Failure::NoOverload)),
        entry(&["type(A): type"], Cost::Fixed(1), |values, _| {
            values.first().map(|value| Value::Type(value.type_name().into())).ok_or(Failure::NoOverload)
        }),
    ];

/// What `string()` makes of a value.
pub fn to_text<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    Some(match value {
        Value::String(text) => Cow::Borrowed(&**text),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Uint(value) => value.to_string().into(),
        Value::Double(value) => value.to_string().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Timestamp(at) => at.to_string().into(),
        Value::Duration(nanos) => duration::seconds(*nanos).into(),
        Value::Ip(address) => address.to_string().into(),
        Value::Cidr(address, length) => format!("{address}/{length}").into(),
        _ => return None,
    })
}

/// The types that an expression can name as a value: `type(x) == int`.
const TYPES: [&str; 12] =
    ["bool", "int", "uint", "double", "string", "bytes", "null_type", "type", "list", "map", "duration", "timestamp"];

pub fn is_type_name(name: &str) -> bool {
    TYPES.contains(&name)
}

/// The name that `type()` gives for values of that type.
pub fn type_name(name: &str) -> &str {
    match name {
        "duration" => Type::Duration.name(),
        "timestamp" => Type::Timestamp.name(),
        other => other,
    }
}
