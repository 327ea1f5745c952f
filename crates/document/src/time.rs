//! Times, durations and bytes as Go's encoders write them, with the errors of Go's decoders.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::{SignedDuration, civil};

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// The canonical text of a time: UTC, whole seconds. `None` is the zero time, which is written as null.
pub fn canonical_time(text: &str) -> Result<Option<Cow<'_, str>>, String> {
    if is_canonical(text) && !text.starts_with("0001") {
        return Ok(Some(Cow::Borrowed(text)));
    }
    let (time, _) = parse(text, RFC3339, |_| true)?;
    Ok(written(time, ""))
}

/// The canonical text of a time with microseconds, which must be written with six digits.
pub fn canonical_micro_time(text: &str) -> Result<Option<Cow<'_, str>>, String> {
    let (time, fraction) = parse(text, RFC3339_MICRO, |fraction| fraction.len() == 6)?;
    Ok(written(time, fraction))
}

fn written(time: civil::DateTime, fraction: &str) -> Option<Cow<'static, str>> {
    let zero = civil::DateTime::constant(1, 1, 1, 0, 0, 0, 0);
    if time == zero && fraction.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(Cow::Owned(format!("{}{dot}{fraction}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))))
}

/// Whether a text is `2006-01-02T15:04:05Z` and a day up to the 28th: most times are, and stay as they are.
fn is_canonical(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, want): (u8, &u8)| if *want == b'd' { byte.is_ascii_digit() } else { byte == *want };
    let number = |at: usize| text[at..at + 2].parse::<u8>().unwrap_or(u8::MAX);
    text.len() == shape.len()
        && text.bytes().zip(shape).all(fits)
        && (1..=12).contains(&number(5))
        && (1..=28).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60
}

/// A time in UTC and the digits of its fraction. Errors are those of Go's `time.Parse`.
fn parse<'a>(text: &'a str, layout: &str, allows: impl Fn(&str) -> bool) -> Result<(civil::DateTime, &'a str), String> {
    let fail = |rest: &str, element: &str| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
    };
    let out_of_range = |what: &str| format!("parsing time {text:?}: {what} out of range");
    let mut rest = text;
    let mut numbers = [0_i16; 6];
    let elements = [("2006", 4, ""), ("01", 2, "-"), ("02", 2, "-"), ("15", 2, "T"), ("04", 2, ":"), ("05", 2, ":")];
    for (number, (element, digits, before)) in numbers.iter_mut().zip(elements) {
        rest = rest.strip_prefix(before).ok_or_else(|| fail(rest, before))?;
        let written = rest.get(..digits).filter(|written| written.bytes().all(|byte| byte.is_ascii_digit()));
        *number = written.and_then(|written| written.parse().ok()).ok_or_else(|| fail(rest, element))?;
        rest = &rest[digits..];
    }
    let after_dot = rest.strip_prefix('.').unwrap_or_default();
    let fraction = &after_dot[..after_dot.bytes().take_while(u8::is_ascii_digit).count()];
    if !allows(fraction) {
        return Err(fail(rest, ".000000"));
    }
    if !fraction.is_empty() {
        rest = &rest[1 + fraction.len()..];
    }
    let (offset_minutes, rest) = parse_offset(rest).ok_or_else(|| fail(rest, "Z07:00"))?;
    if !rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {rest:?}"));
    }
    let [year, month, day, hour, minute, second] = numbers;
    let small = |number: i16| i8::try_from(number).unwrap_or(i8::MAX);
    let limits =
        [("month", 1..=12, month), ("hour", 0..=23, hour), ("minute", 0..=59, minute), ("second", 0..=59, second)];
    for (what, range, number) in limits {
        if !range.contains(&number) {
            return Err(out_of_range(what));
        }
    }
    let local = civil::DateTime::new(year, small(month), small(day), small(hour), small(minute), small(second), 0);
    let local = local.map_err(|_| out_of_range("day"))?;
    let utc = local.checked_sub(SignedDuration::from_mins(offset_minutes)).map_err(|_| out_of_range("year"))?;
    Ok((utc, fraction))
}

/// `Z` or `+07:00`, in minutes, and what follows.
fn parse_offset(text: &str) -> Option<(i64, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let number = |at: usize| text.get(at..at + 2)?.parse::<u8>().ok();
    let (hours, minutes) = (number(1)?, number(4)?);
    let fits = text.as_bytes().get(3) == Some(&b':') && hours <= 24 && minutes < 60;
    fits.then(|| (sign * (i64::from(hours) * 60 + i64::from(minutes)), &text[6..]))
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A Go duration (`1h30m`, `1.5s`) in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let length = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(length);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
            return Err(invalid());
        }
        let unit_length = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanos) = known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        let digits = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<i128>() };
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let parts = digits(whole).and_then(|whole| digits(fraction).map(|fraction| (whole, fraction)));
        let (whole, fraction) = parts.map_err(|_| invalid())?;
        total += whole * i128::from(*nanos) + fraction * i128::from(*nanos) / scale;
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    let signed = if text.starts_with('-') { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

/// Nanoseconds as Go's `Duration.String` writes them: `1h30m0s`, `1.5s`, `2ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let decimal = |unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", magnitude % unit);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{}{dot}{fraction}{name}", magnitude / unit)
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let minutes = magnitude / 60_000_000_000;
            let seconds = format_seconds(magnitude % 60_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

fn format_seconds(nanos: u64) -> String {
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}s", nanos / 1_000_000_000)
}

/// Checks padded base64 as Go's decoder does; the text without its line breaks is canonical.
pub fn canonical_base64(text: &str) -> Result<Cow<'_, str>, String> {
    let text: Cow<'_, str> =
        if text.contains(['\r', '\n']) { Cow::Owned(text.replace(['\r', '\n'], "")) } else { Cow::Borrowed(text) };
    let corrupt = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.bytes().take_while(is_digit).count();
    let rest = &text[digits..];
    match (digits % 4, rest) {
        (0, "") | (2, "==") | (3, "=") => Ok(text),
        (_, "") => corrupt(digits - digits % 4),
        (2, padding) if padding.starts_with("==") => corrupt(digits + 2),
        (2, "=") => corrupt(digits + 1),
        (2, padding) if padding.starts_with('=') => corrupt(digits + 1),
        (3, padding) if padding.starts_with('=') => corrupt(digits + 1),
        _ => corrupt(digits),
    }
}
