//! Strings, counted in characters.

use super::{Cost, Entry, Outcome, entry};
use crate::cel::{Budget, Failure, value::Value};

pub const TABLE: &[Entry] = &[
    entry(&["string.startsWith(string): bool"], Cost::Shorter, |values, _| two(values, |a, b| a.starts_with(b))),
    entry(&["string.endsWith(string): bool"], Cost::Shorter, |values, _| two(values, |a, b| a.ends_with(b))),
    entry(&["string.contains(string): bool"], Cost::Passes(1), |values, _| two(values, |a, b| a.contains(b))),
    entry(&["string.lowerAscii(): string"], Cost::Passes(1), |values, _| made(values, str::to_ascii_lowercase)),
    entry(&["string.upperAscii(): string"], Cost::Passes(1), |values, _| made(values, str::to_ascii_uppercase)),
    entry(&["string.trim(): string"], Cost::Passes(1), |values, _| made(values, |text| text.trim().to_owned())),
    entry(&["strings.quote(string): string"], Cost::Passes(2), |values, _| made(values, |text| format!("{text:?}"))),
    entry(&["string.charAt(int): string"], Cost::Passes(1), |values, _| match values {
        [Value::String(text), Value::Int(index)] => {
            let position = usize::try_from(*index).ok();
            let found = position.and_then(|position| text.chars().nth(position)).map(String::from);
            let end = position.is_some_and(|position| position == text.chars().count());
            found
                .or_else(|| end.then(String::new))
                .map(Value::from)
                .ok_or_else(|| Failure::error(format!("index out of range: {index}")))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["string.substring(int): string", "string.substring(int, int): string"], Cost::Passes(1), |values, _| {
        match values {
            [Value::String(text), Value::Int(start)] => substring(text, *start, None),
            [Value::String(text), Value::Int(start), Value::Int(end)] => substring(text, *start, Some(*end)),
            _ => Err(Failure::NoOverload),
        }
    }),
    entry(
        &["string.replace(string, string): string", "string.replace(string, string, int): string"],
        Cost::Passes(2),
        replace,
    ),
    entry(
        &["string.split(string): list<string>", "string.split(string, int): list<string>"],
        Cost::Passes(2),
        |values, budget| match values {
            [Value::String(text), Value::String(separator)] => split(text, separator, -1, budget),
            [Value::String(text), Value::String(separator), Value::Int(limit)] => {
                split(text, separator, *limit, budget)
            }
            _ => Err(Failure::NoOverload),
        },
    ),
    entry(&["list<string>.join(): string", "list<string>.join(string): string"], Cost::Passes(2), |values, budget| {
        let (list, separator) = match values {
            [list] => (list, ""),
            [list, Value::String(separator)] => (list, &**separator),
            _ => return Err(Failure::NoOverload),
        };
        let items = list.items().ok_or(Failure::NoOverload)?;
        let texts: Vec<&str> = items.iter().map(Value::as_text).collect::<Option<_>>().ok_or(Failure::NoOverload)?;
        let length: usize = texts.iter().map(|text| text.len() + separator.len()).sum();
        budget.spend(length as u64 / 5)?;
        Ok(Value::from(texts.join(separator)))
    }),
    entry(&["string.format(list<dyn>): string"], Cost::Passes(1), |values, budget| match values {
        [Value::String(pattern), arguments] => {
            let arguments = arguments.items().ok_or(Failure::NoOverload)?;
            let text = formatted(pattern, &arguments)?;
            budget.spend(text.len() as u64 / 10)?;
            Ok(Value::from(text))
        }
        _ => Err(Failure::NoOverload),
    }),
];

fn two<'a>(values: &[Value<'a>], test: fn(&str, &str) -> bool) -> Outcome<'a> {
    match values {
        [Value::String(a), Value::String(b)] => Ok(Value::Bool(test(a, b))),
        _ => Err(Failure::NoOverload),
    }
}

fn made<'a>(values: &[Value<'a>], make: fn(&str) -> String) -> Outcome<'a> {
    match values {
        [Value::String(text)] => Ok(Value::from(make(text))),
        _ => Err(Failure::NoOverload),
    }
}

fn substring<'a>(text: &str, start: i64, end: Option<i64>) -> Outcome<'a> {
    let count = text.chars().count();
    let bound = |index: i64| {
        usize::try_from(index)
            .ok()
            .filter(|index| *index <= count)
            .ok_or_else(|| Failure::error(format!("index out of range: {index}")))
    };
    let (from, to) = (bound(start)?, end.map_or(Ok(count), bound)?);
    if from > to {
        return Err(Failure::error(format!("invalid substring range. start: {from}, end: {to}")));
    }
    Ok(Value::from(text.chars().skip(from).take(to - from).collect::<String>()))
}

fn replace<'a>(values: &[Value<'a>], budget: &Budget) -> Outcome<'a> {
    let (text, from, to, limit) = match values {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, usize::MAX),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(limit)] => {
            (text, from, to, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return Err(Failure::NoOverload),
    };
    // The result can be much longer than the argument: it is paid for before it is made.
    let matches = text.matches(&**from).take(limit).count();
    budget.spend((matches.saturating_mul(to.len()) / 10) as u64)?;
    Ok(Value::from(text.replacen(&**from, to, limit)))
}

fn split<'a>(text: &str, separator: &str, limit: i64, budget: &Budget) -> Outcome<'a> {
    let parts: Vec<&str> = match (limit, separator) {
        (0, _) => Vec::new(),
        (1, _) => vec![text],
        // Every character on its own, without the empty strings around.
        (_, "") => text.split("").filter(|part| !part.is_empty()).collect(),
        (limit, separator) => match usize::try_from(limit) {
            Ok(limit) => text.splitn(limit, separator).collect(),
            Err(_) => text.split(separator).collect(),
        },
    };
    budget.spend(parts.len() as u64)?;
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x`, `%X`, `%%`, with a precision.
fn formatted(pattern: &str, arguments: &[Value<'_>]) -> Result<String, Failure> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = pattern;
    while let Some(position) = rest.find('%') {
        text.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        let mut precision = None;
        if let Some(digits) = rest.strip_prefix('.') {
            let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            precision = digits[..length].parse::<usize>().ok().map(|precision| precision.min(100));
            rest = &digits[length..];
        }
        let clause = rest.chars().next().ok_or_else(|| Failure::error("unexpected end of string"))?;
        rest = &rest[clause.len_utf8()..];
        if clause == '%' {
            text.push('%');
            continue;
        }
        let argument = arguments.next().ok_or_else(|| Failure::error("index out of range"))?;
        let shown = one(clause, precision, argument);
        text.push_str(&shown.ok_or_else(|| {
            Failure::error(format!(
                "error during formatting: unrecognized formatting clause {clause:?} for {}",
                argument.type_name()
            ))
        })?);
    }
    text.push_str(rest);
    Ok(text)
}

fn one(clause: char, precision: Option<usize>, argument: &Value<'_>) -> Option<String> {
    let precision = precision.unwrap_or(6);
    Some(match (clause, argument) {
        ('s', value) => shown(value, 0)?,
        ('d', Value::Int(_) | Value::Uint(_)) => shown(argument, 0)?,
        ('f', Value::Double(value)) => format!("{value:.precision$}"),
        ('f', Value::Int(value)) => format!("{:.precision$}", *value as f64),
        ('e', Value::Double(value)) => exponent(*value, precision),
        ('b', Value::Int(value)) if *value < 0 => format!("-{:b}", value.unsigned_abs()),
        ('b', Value::Int(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('o', Value::Int(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => format!("{value:x}"),
        ('X', Value::Int(value)) => format!("{value:X}"),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        _ => return None,
    })
}

/// Two digits of exponent, as in C.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let Some((mantissa, power)) = text.split_once('e') else { return text };
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn shown(value: &Value<'_>, depth: usize) -> Option<String> {
    if depth > 100 {
        return None;
    }
    if matches!(value, Value::Null) {
        return Some("null".to_owned());
    }
    if let Value::Type(name) = value {
        return Some(name.to_string());
    }
    if let Some(items) = value.items() {
        let parts: Vec<String> = items.iter().map(|item| shown(item, depth + 1)).collect::<Option<_>>()?;
        return Some(format!("[{}]", parts.join(", ")));
    }
    if let Some(entries) = value.entries() {
        let parts = entries.into_iter().map(|(key, value)| {
            Some(format!("{}: {}", shown(&Value::from(key), depth + 1)?, shown(&value, depth + 1)?))
        });
        return Some(format!("{{{}}}", parts.collect::<Option<Vec<_>>>()?.join(", ")));
    }
    super::convert::to_text(value).map(|text| text.into_owned())
}
