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
