use jiff::{SignedDuration, Timestamp};
use stdx::{Random, SeededRandom};

use super::*;

fn bits(values: impl IntoIterator<Item = u32>) -> u64 {
    values.into_iter().fold(0, |bits, value| bits | 1 << value)
}

#[test]
fn fields_become_bits() {
    let Ok(Schedule::Fields(fields)) = Schedule::parse("*/15 1-5,22 ? JAN-mar sun") else { panic!("refused") };
    assert_eq!(fields.minutes, bits([0, 15, 30, 45]));
    assert_eq!(fields.hours, bits([1, 2, 3, 4, 5, 22]));
    assert_eq!(fields.days_of_month, bits(1..=31));
    assert_eq!(fields.months, bits(1..=3));
    assert_eq!(fields.days_of_week, bits([0]));
    assert!(fields.both_days);
    let Ok(Schedule::Fields(fields)) = Schedule::parse("5/20 0 13 * 5") else { panic!("refused") };
    assert_eq!(fields.minutes, bits([5, 25, 45]));
    assert!(!fields.both_days, "on the 13th, and on Fridays");
}

#[test]
fn names_and_periods() {
    assert_eq!(Schedule::parse("@daily"), Schedule::parse("0 0 * * *"));
    assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::EverySeconds(5400)));
    assert_eq!(Schedule::parse("@every 10ms"), Ok(Schedule::EverySeconds(1)));
    assert!(Schedule::parse("TZ=UTC 0 * * * *").is_ok());
}

#[test]
fn errors_are_those_of_kubernetes() {
    for (text, expect) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
        ("@every ", "failed to parse duration @every : time: invalid duration \"\""),
    ] {
        assert_eq!(Schedule::parse(text), Err(expect.to_owned()), "{text}");
    }
}

fn next(schedule: &str, zone: &str, after: &str) -> String {
    let schedule = Schedule::parse(schedule).unwrap();
    let time = schedule.next_after(&time_zone(zone).unwrap(), after.parse().unwrap());
    time.map_or("never".to_owned(), |time| time.to_string())
}

#[test]
fn the_next_time_is_the_clocks_of_the_zone() {
    for (schedule, zone, after, expect) in [
        ("*/5 * * * *", "UTC", "2026-11-23T12:00:00Z", "2026-11-23T12:05:00Z"),
        ("*/5 * * * *", "UTC", "2026-11-23T12:04:59.999Z", "2026-11-23T12:05:00Z"),
        ("0 9 * * 1-5", "UTC", "2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z"),
        ("0 9 * * 1-5", "Europe/Berlin", "2026-11-20T09:00:00Z", "2026-11-23T08:00:00Z"),
        ("30 5 13 * 5", "UTC", "2026-11-10T00:00:00Z", "2026-11-13T05:30:00Z"),
        ("0 0 29 2 *", "UTC", "2026-11-23T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("59 23 31 2 *", "UTC", "2026-11-23T00:00:00Z", "never"),
        (", * * * *", "UTC", "2026-11-23T00:00:00Z", "never"),
        ("@every 90s", "UTC", "2026-11-23T00:00:00.5Z", "2026-11-23T00:01:30Z"),
        // Clocks put forward: 02:30 does not come that day; every hour does.
        ("30 2 * * *", "America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-09T06:30:00Z"),
        ("0 * * * *", "America/New_York", "2026-03-08T01:00:00-05:00", "2026-03-08T07:00:00Z"),
        // Clocks put back: 01:30 comes twice.
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00", "2026-11-01T05:30:00Z"),
        ("30 1 * * *", "America/New_York", "2026-11-01T01:30:00-04:00", "2026-11-01T06:30:00Z"),
        ("30 1 * * *", "America/New_York", "2026-11-01T01:30:00-05:00", "2026-11-02T06:30:00Z"),
        // A midnight that does not exist.
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-05T02:00:00Z"),
    ] {
        assert_eq!(next(schedule, zone, after), expect, "{schedule} in {zone} after {after}");
    }
}

#[test]
fn a_zone_stands_before_the_fields_of_old_schedules_only() {
    assert_eq!(zone_before_fields("TZ=Asia/Tokyo 0 * * * *"), Some("Asia/Tokyo"));
    assert_eq!(zone_before_fields("CRON_TZ=UTC @daily"), Some("UTC"));
    assert_eq!(zone_before_fields("0 * * * *"), None);
    assert!(time_zone("Mars/Olympus").is_none());
}

/// A field as users write them, from a few random numbers.
fn some_field(random: &SeededRandom, bounds: &Bounds) -> String {
    let width = u64::from(bounds.max - bounds.min);
    let value = |from: u32| u64::from(from) + random.below(u64::from(bounds.max - from) + 1);
    let first = u32::try_from(value(bounds.min)).unwrap();
    match random.below(6) {
        0 | 1 => "*".to_owned(),
        2 => first.to_string(),
        3 => format!("{first}-{}", value(first)),
        4 => format!("*/{}", 1 + random.below(width)),
        _ => format!("{first},{}", value(bounds.min)),
    }
}

/// Minute by minute, against the clock of the zone: where changes of clocks are near, the search must not miss a time.
#[test]
fn the_search_finds_what_walking_finds() {
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    const CHANGES: &[(&str, &str)] = &[
        ("UTC", "2026-03-01T00:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ];
    let random = SeededRandom::new(3);
    for round in 0..700_usize {
        let (name, change) = CHANGES[round % CHANGES.len()];
        let zone = time_zone(name).unwrap();
        let text = BOUNDS.iter().map(|bounds| some_field(&random, bounds)).collect::<Vec<_>>().join(" ");
        let schedule = Schedule::parse(&text).unwrap();
        let Schedule::Fields(fields) = schedule else { unreachable!() };
        let start =
            change.parse::<Timestamp>().unwrap() - SignedDuration::from_mins(60 + random.below(180).cast_signed());
        let shows = |instant: &Timestamp| {
            let clock = zone.to_datetime(*instant);
            let has = |bits: u64, value: i8| bits >> value & 1 == 1;
            let days = [
                has(fields.days_of_month, clock.day()),
                has(fields.days_of_week, clock.weekday().to_sunday_zero_offset()),
            ];
            has(fields.minutes, clock.minute())
                && has(fields.hours, clock.hour())
                && has(fields.months, clock.month())
                && if fields.both_days { days == [true; 2] } else { days != [false; 2] }
        };
        let walked: Vec<Timestamp> = (1..600).map(|minutes| start + MINUTE * minutes).filter(shows).collect();
        let end = start + MINUTE * 599;
        let mut found = Vec::new();
        let mut at = start;
        while let Some(time) = schedule.next_after(&zone, at).filter(|time| *time <= end) {
            found.push(time);
            at = time;
        }
        assert_eq!(found, walked, "{text} in {name} from {start}");
        assert_eq!(schedule.last_between(&zone, start, end), walked.last().copied(), "{text} in {name} until {end}");
    }
}

#[test]
fn a_period_counts_from_where_it_starts() {
    let schedule = Schedule::parse("@every 1h30m").unwrap();
    let last = |until: &str| {
        let time =
            schedule.last_between(&TimeZone::UTC, "2026-11-23T00:00:10Z".parse().unwrap(), until.parse().unwrap());
        time.map(|time| time.to_string())
    };
    assert_eq!(last("2026-11-23T01:30:09Z"), None);
    assert_eq!(last("2026-11-23T01:30:10Z").as_deref(), Some("2026-11-23T01:30:10Z"));
    assert_eq!(last("2026-11-23T10:00:00Z").as_deref(), Some("2026-11-23T09:00:10Z"));
}
