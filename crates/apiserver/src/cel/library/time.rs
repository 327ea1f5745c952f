//! The parts of timestamps and durations.

use jiff::{
    Timestamp, Zoned,
    tz::{Offset, TimeZone},
};

use super::{Cost, Entry, entry};
use crate::cel::{Failure, value::Value};

/// The signatures of a part that only timestamps have.
macro_rules! of_timestamp {
    ($name:literal, $part:expr) => {
        entry(
            &[concat!("timestamp.", $name, "(): int"), concat!("timestamp.", $name, "(string): int")],
            Cost::Fixed(1),
            |values, _| zoned(values).map(|at| Value::Int($part(&at))),
        )
    };
}

/// The signatures of a part that timestamps and durations have.
macro_rules! of_both {
    ($name:literal, $part:expr, $nanos:literal) => {
        entry(
            &[
                concat!("timestamp.", $name, "(): int"),
                concat!("timestamp.", $name, "(string): int"),
                concat!("duration.", $name, "(): int"),
            ],
            Cost::Fixed(1),
            |values, _| match values {
                [Value::Duration(nanos)] => Ok(Value::Int(nanos / $nanos)),
                _ => zoned(values).map(|at| Value::Int($part(&at))),
            },
        )
    };
}

pub const TABLE: &[Entry] = &[
    of_timestamp!("getFullYear", |at: &Zoned| i64::from(at.year())),
    of_timestamp!("getMonth", |at: &Zoned| i64::from(at.month()) - 1),
    of_timestamp!("getDate", |at: &Zoned| i64::from(at.day())),
    of_timestamp!("getDayOfMonth", |at: &Zoned| i64::from(at.day()) - 1),
    of_timestamp!("getDayOfWeek", |at: &Zoned| i64::from(at.weekday().to_sunday_zero_offset())),
    of_timestamp!("getDayOfYear", |at: &Zoned| i64::from(at.day_of_year()) - 1),
    of_both!("getHours", |at: &Zoned| i64::from(at.hour()), 3_600_000_000_000),
    of_both!("getMinutes", |at: &Zoned| i64::from(at.minute()), 60_000_000_000),
    of_both!("getSeconds", |at: &Zoned| i64::from(at.second()), 1_000_000_000),
    entry(
        &[
            "timestamp.getMilliseconds(): int",
            "timestamp.getMilliseconds(string): int",
            "duration.getMilliseconds(): int",
        ],
        Cost::Fixed(1),
        |values, _| match values {
            [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000)),
            _ => zoned(values).map(|at| Value::Int(i64::from(at.millisecond()))),
        },
    ),
];

fn zoned(values: &[Value<'_>]) -> Result<Zoned, Failure> {
    let at = |at: &Timestamp, zone: TimeZone| Ok(at.to_zoned(zone));
    match values {
        [Value::Timestamp(timestamp)] => at(timestamp, TimeZone::UTC),
        [Value::Timestamp(timestamp), Value::String(name)] => at(timestamp, zone(name)?),
        _ => Err(Failure::NoOverload),
    }
}

/// `UTC`, `Europe/Berlin`, `+02:00`, `-08:00`.
fn zone(name: &str) -> Result<TimeZone, Failure> {
    let unknown = || Failure::error(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let (sign, hours) = hours.strip_prefix('-').map_or((1, hours.trim_start_matches('+')), |hours| (-1, hours));
    let (hours, minutes): (i32, i32) = (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
    let seconds = hours.checked_mul(3600).and_then(|seconds| seconds.checked_add(minutes.checked_mul(60)?));
    let offset = seconds.and_then(|seconds| Offset::from_seconds(sign * seconds).ok()).ok_or_else(unknown)?;
    Ok(TimeZone::fixed(offset))
}
