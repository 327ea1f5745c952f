//! What plain scalars mean in YAML 1.1, as Go's `yaml.v2` reads it.

use serde_json::{Number, Value};

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// A plain scalar's value; an error for what JSON cannot hold.
pub(super) fn resolve(text: &str) -> Result<Value, &'static str> {
    let first = text.bytes().next().unwrap_or(b'~');
    if b"yYnNtTfFoO~".contains(&first) {
        return Ok(match text {
            _ if TRUE.contains(&text) => true.into(),
            _ if FALSE.contains(&text) => false.into(),
            _ if NULL.contains(&text) => Value::Null,
            _ => text.into(),
        });
    }
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" if first == b'-' => return Err("json: unsupported value: -Inf"),
        ".inf" | ".Inf" | ".INF" => return Err("json: unsupported value: +Inf"),
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN"),
        _ => {}
    }
    if !(first.is_ascii_digit() || b"+-.".contains(&first)) {
        return Ok(text.into());
    }
    let plain = text.replace('_', "");
    Ok(integer(&plain).or_else(|| float(&plain)).map_or_else(|| text.into(), Value::Number))
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero.
fn integer(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, radix) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&unsigned[2..], 16),
        [b'0', b'o' | b'O', ..] => (&unsigned[2..], 8),
        [b'0', b'b' | b'B', ..] => (&unsigned[2..], 2),
        [b'0', _, ..] => (&unsigned[1..], 8),
        _ => (unsigned, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if text.starts_with('-') {
        return 0_i64.checked_sub_unsigned(magnitude).map(Number::from);
    }
    Some(Number::from(magnitude))
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_float = unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|char: char| char.is_ascii_digit());
    if !is_float {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    crate::check::integral(value).or_else(|| Number::from_f64(value))
}

/// A scalar as the key of an object; `None` for what cannot be one.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
