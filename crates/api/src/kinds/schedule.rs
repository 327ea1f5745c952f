//! The schedules of cron jobs: five fields, or a name for them, or a period. When they come is in [`times`].
//!
//! The syntax and its errors are those of `robfig/cron`, which Kubernetes uses: no crate at hand reads the same (they
//! take Sunday for 1 or 7, know `L` and `#`, or combine the two fields of days otherwise).

mod times;

use jiff::tz::TimeZone;

/// Times in the clock of some time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    EverySeconds(i64),
    Fields(Fields),
}

/// Each field has a bit for each value that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    pub minutes: u64,
    pub hours: u64,
    pub days_of_month: u64,
    pub months: u64,
    /// Sunday is 0.
    pub days_of_week: u64,
    /// A day must be in both fields of days; where neither was given as `*`, one is enough.
    pub both_days: bool,
}

struct Bounds {
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const BOUNDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: MONTHS },
    Bounds { min: 0, max: 6, names: DAYS },
];

const NAMED: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Schedule {
    /// The error is what is wrong with `text`, in the words Kubernetes' users know.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = without_time_zone(text)?;
        if let Some(period) = text.strip_prefix("@every ") {
            return every(text, period);
        }
        let fields = match NAMED.iter().find(|(name, _)| *name == text) {
            Some((_, fields)) => fields,
            None if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
            None => text,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let Ok(parts) = <[&str; 5]>::try_from(parts.as_slice()) else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
        };
        let mut bits = [0; 5];
        let mut any = [false; 5];
        for (index, part) in parts.into_iter().enumerate() {
            (bits[index], any[index]) = field(part, &BOUNDS[index])?;
        }
        let [minutes, hours, days_of_month, months, days_of_week] = bits;
        let both_days = any[2] || any[4];
        Ok(Self::Fields(Fields { minutes, hours, days_of_month, months, days_of_week, both_days }))
    }
}

/// Of the names as they are written: `utc` is none.
pub fn is_time_zone(name: &str) -> bool {
    name == "UTC" || TimeZone::get(name).is_ok_and(|zone| zone.iana_name() == Some(name))
}

/// A time zone by its name. What is not in the machine's database is looked up in the one that is built in.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if is_time_zone(name) { TimeZone::get(name).ok() } else { None }
}

/// The time zone that stands before the fields. New schedules may not have one; old ones may.
pub fn zone_before_fields(text: &str) -> Option<&str> {
    let (zone, _) = text.strip_prefix("CRON_").unwrap_or(text).strip_prefix("TZ=")?.split_once(' ')?;
    Some(zone)
}

/// A time zone before the fields is refused elsewhere; here it only has to be one, and followed by fields.
fn without_time_zone(text: &str) -> Result<&str, String> {
    if !text.starts_with("TZ=") && !text.starts_with("CRON_TZ=") {
        return Ok(text);
    }
    let Some(zone) = zone_before_fields(text) else {
        return Err("invalid schedule format: no fields after the time zone".to_owned());
    };
    if !zone.is_empty() && zone != "Local" && !is_time_zone(zone) {
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    Ok(text.split_once(' ').map_or("", |(_, fields)| fields.trim()))
}

fn every(text: &str, period: &str) -> Result<Schedule, String> {
    match duration_seconds(period) {
        Some(seconds) => Ok(Schedule::EverySeconds(seconds.max(1))),
        None => Err(format!("failed to parse duration {text}: time: invalid duration {period:?}")),
    }
}

/// A Go duration (`1h30m`) in whole seconds.
fn duration_seconds(text: &str) -> Option<i64> {
    const UNITS: &[(&str, f64)] =
        &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (mut rest, mut total) = (text.strip_prefix('+').unwrap_or(text), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    // Go's durations end at 2^63 nanoseconds.
    (total < 9.2e9).then_some(total as i64)
}

/// The bits of a comma-separated list, and whether all values were asked for by `*`.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (more, all) = range(part, bounds)?;
        bits |= more;
        any |= all;
    }
    Ok((bits, any))
}

/// `*`, `5`, `1-5`, and each with `/step`.
fn range(part: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let mut pieces = part.split('/');
    let (span, step, more) = (pieces.next().unwrap_or_default(), pieces.next(), pieces.next());
    let mut ends = span.split('-');
    let (first, last) = (ends.next().unwrap_or_default(), ends.next());
    let is_any = matches!(first, "*" | "?");
    let (start, mut end) = if is_any {
        (bounds.min, bounds.max)
    } else {
        let start = number_or_name(first, bounds)?;
        let end = match last {
            None => start,
            Some(_) if ends.next().is_some() => return Err(format!("too many hyphens: {part}")),
            Some(last) => number_or_name(last, bounds)?,
        };
        (start, end)
    };
    if more.is_some() {
        return Err(format!("too many slashes: {part}"));
    }
    let by = step.map_or(Ok(1), number)?;
    if step.is_some() && last.is_none() {
        end = bounds.max;
    }
    let Bounds { min, max, .. } = bounds;
    if start < *min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {part}"));
    }
    if end > *max {
        return Err(format!("end of range ({end}) above maximum ({max}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if by == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    let bits = (start..=end).step_by(by as usize).fold(0, |bits, value| bits | 1 << value);
    Ok((bits, is_any && by == 1))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().zip(bounds.min..).find(|(name, _)| **name == lower) {
        Some((_, value)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(negative) if negative < 0 => Err(format!("negative number ({negative}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests;
