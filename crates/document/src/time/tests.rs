use super::{canonical_base64, canonical_micro_time, canonical_time, format_duration, parse_duration};

#[test]
fn times_are_written_in_utc() {
    let cases = [
        ("2024-02-29T12:34:56Z", Ok(Some("2024-02-29T12:34:56Z"))),
        ("2024-02-01T12:34:56Z", Ok(Some("2024-02-01T12:34:56Z"))),
        ("2024-02-29T12:34:56.789Z", Ok(Some("2024-02-29T12:34:56Z"))),
        ("2024-03-01T00:30:00+01:00", Ok(Some("2024-02-29T23:30:00Z"))),
        ("2024-12-31T23:30:00-01:00", Ok(Some("2025-01-01T00:30:00Z"))),
        ("0001-01-01T00:00:00Z", Ok(None)),
        ("", Err(r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#)),
        ("soon", Err(r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#)),
        ("2024-01-01", Err(r#"parsing time "2024-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#)),
        (
            "2024-01-01T00:00:00",
            Err(r#"parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#),
        ),
        ("2024-13-01T00:00:00Z", Err(r#"parsing time "2024-13-01T00:00:00Z": month out of range"#)),
        ("2023-02-29T00:00:00Z", Err(r#"parsing time "2023-02-29T00:00:00Z": day out of range"#)),
        ("2024-01-01T24:00:00Z", Err(r#"parsing time "2024-01-01T24:00:00Z": hour out of range"#)),
        ("2024-01-01T00:00:00Zx", Err(r#"parsing time "2024-01-01T00:00:00Zx": extra text: "x""#)),
    ];
    for (text, expect) in cases {
        let canonical = canonical_time(text).map(|time| time.map(|time| time.into_owned()));
        assert_eq!(canonical, expect.map(|time| time.map(str::to_owned)).map_err(str::to_owned), "{text}");
    }
}

#[test]
fn micro_times_have_six_digits() {
    let cases = [
        ("2024-02-29T12:34:56.000789Z", Ok(Some("2024-02-29T12:34:56.000789Z"))),
        ("2024-03-01T00:30:00.000000+01:00", Ok(Some("2024-02-29T23:30:00.000000Z"))),
        ("0001-01-01T00:00:00.000000Z", Ok(None)),
        (
            "2024-02-29T12:34:56Z",
            Err(concat!(
                r#"parsing time "2024-02-29T12:34:56Z" as "2006-01-02T15:04:05.000000Z07:00": "#,
                r#"cannot parse "Z" as ".000000""#
            )),
        ),
    ];
    for (text, expect) in cases {
        let canonical = canonical_micro_time(text).map(|time| time.map(|time| time.into_owned()));
        assert_eq!(canonical, expect.map(|time| time.map(str::to_owned)).map_err(str::to_owned), "{text}");
    }
}

#[test]
fn durations_are_go_durations() {
    let cases = [
        ("0", "0s"),
        ("1h30m", "1h30m0s"),
        ("90m", "1h30m0s"),
        ("1.5s", "1.5s"),
        ("-2ms", "-2ms"),
        ("1500us", "1.5ms"),
        ("7ns", "7ns"),
        ("1h0.5s", "1h0m0.5s"),
    ];
    for (text, expect) in cases {
        assert_eq!(parse_duration(text).map(format_duration), Ok(expect.to_owned()), "{text}");
    }
    let refused = [
        ("", r#"time: invalid duration """#),
        ("5", r#"time: missing unit in duration "5""#),
        ("5x", r#"time: unknown unit "x" in duration "5x""#),
        ("h", r#"time: invalid duration "h""#),
        ("99999999h", r#"time: invalid duration "99999999h""#),
    ];
    for (text, expect) in refused {
        assert_eq!(parse_duration(text), Err(expect.to_owned()), "{text}");
    }
}

#[test]
fn base64_is_padded() {
    let cases = [
        ("", Ok("")),
        ("YQ==", Ok("YQ==")),
        ("YWI=", Ok("YWI=")),
        ("YWJj", Ok("YWJj")),
        ("YW\nJj\n", Ok("YWJj")),
        ("YWJ", Err(0)),
        ("YWJjYQ", Err(4)),
        ("YW Jj", Err(2)),
        ("!", Err(0)),
        ("YQ=", Err(3)),
        ("YQ==YQ==", Err(4)),
    ];
    for (text, expect) in cases {
        let expect = expect.map(str::to_owned).map_err(|at: usize| format!("illegal base64 data at input byte {at}"));
        assert_eq!(canonical_base64(text).map(|text| text.into_owned()), expect, "{text:?}");
    }
}
