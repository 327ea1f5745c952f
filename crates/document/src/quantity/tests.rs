use serde_json::json;

use super::{Format, Quantity, QuantityError, canonical, canonical_in_list};

#[test]
fn quantities_have_a_canonical_text() {
    let cases = [
        ("0", "0"),
        ("0Ki", "0"),
        ("00", "0"),
        ("-0", "0"),
        ("0.0", "0"),
        ("m", "0"),
        ("1", "1"),
        ("-1", "-1"),
        ("+5", "+5"),
        ("005", "005"),
        ("1.", "1."),
        ("100", "100"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("10000", "10k"),
        ("1000000", "1M"),
        ("1001000", "1001k"),
        ("500m", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("10000m", "10"),
        ("100000m", "100"),
        ("0.5", "500m"),
        ("0.1", "100m"),
        (".5", "500m"),
        ("1.5", "1500m"),
        ("2.5", "2500m"),
        ("1.25", "1250m"),
        ("1.500", "1.500"),
        ("1.0", "1"),
        ("1.5k", "1500"),
        ("1.5G", "1500M"),
        ("0.001", "1m"),
        ("0.0001", "100u"),
        ("0.0000001", "100n"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.1n", "2n"),
        ("100u", "100u"),
        ("1000u", "1m"),
        ("3k", "3k"),
        ("3000k", "3M"),
        ("1M", "1M"),
        ("1G", "1G"),
        ("2T", "2T"),
        ("5P", "5P"),
        ("1E", "1E"),
        ("1000E", "1000E"),
        ("1e3", "1e3"),
        ("1E3", "1E3"),
        ("1e2", "100"),
        ("12e5", "1200e3"),
        ("1e-3", "1e-3"),
        ("1e-1", "100e-3"),
        ("1.5e3", "1500"),
        ("1000e3", "1e6"),
        ("100e9", "100e9"),
        ("1Ki", "1Ki"),
        ("8Ki", "8Ki"),
        ("16Ki", "16Ki"),
        ("100Ki", "100Ki"),
        ("1024Ki", "1Mi"),
        ("1025Ki", "1025Ki"),
        ("512Mi", "512Mi"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("2048Gi", "2Ti"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("0.5Ki", "512"),
        ("0.25Mi", "256Ki"),
        ("1.1Ki", "1126400m"),
        ("0.0001Ki", "102400u"),
        ("0.00001Ki", "10240u"),
        ("-1Gi", "-1Gi"),
        ("-1.5Gi", "-1536Mi"),
        ("1Ei", "1Ei"),
        ("7Ei", "7Ei"),
        ("8Ei", "9223372036854775807"),
        ("1000Ei", "9223372036854775807"),
        ("123456789012345678", "123456789012345678"),
        ("1234567890123456789", "1234567890123456789"),
        ("12345678901234567890", "12345678901234567890"),
        ("1234567890123456000000", "1234567890123456M"),
        ("0.123456789", "123456789n"),
        ("3.123456789", "3.123456789"),
        ("0.1234567891", "123456790n"),
        ("1e30", "1e30"),
        ("1000e30", "1e33"),
        ("1e31", "10e30"),
        ("-1e400", "-10e399"),
        ("99999999999999999999999999999999999999999", "99999999999999999999999999999999999999999"),
        ("1234567890123456789012345678901234567890", "1234567890123456789012345678901234567890"),
        ("1000000000000000000000000000000000000000000", "1000000000000000000000000E"),
        ("123456789012345678901E", "123456789012345678901E"),
        ("99999999999999999999999999999999999999999Gi", "9223372036854775807"),
        ("1.23456789012345678901234567890123456789", "1234567891n"),
        ("0.0000000000000000000000000000000000000001", "1n"),
    ];
    for (text, expect) in cases {
        assert_eq!(canonical(text).as_deref(), Ok(expect), "{text}");
        let again = canonical(text).unwrap().into_owned();
        assert_eq!(canonical(&again).as_deref(), Ok(&*again), "{text} twice");
        assert_eq!(Quantity::parse(&again), Quantity::parse(text), "{text} keeps its value");
    }
}

#[test]
fn amounts_of_resources_are_whole_thousandths() {
    let cases = [
        ("100n", "1m"),
        ("-100n", "-1m"),
        ("1500u", "2m"),
        ("1.0001", "1001m"),
        ("0.0001Ki", "103m"),
        ("12e-5", "1e-3"),
        ("1.000000001Gi", "1073741825074m"),
        ("123456.789", "123456.789"),
        ("1.5Gi", "1536Mi"),
        ("1e31", "10e30"),
        ("-1e31", "-10e30"),
        ("-1e30", "-1e30"),
        ("0", "0"),
    ];
    for (text, expect) in cases {
        assert_eq!(canonical_in_list(text).as_deref(), Ok(expect), "{text}");
    }
}

#[test]
fn the_ends_of_what_is_counted_can_be_written() {
    let most = Quantity::parse("1e40").unwrap();
    let least = Quantity::parse("-1e40").unwrap();
    for quantity in [most.plus(most), least.plus(least), least.minus(most).minus(most).rounded_to_millis()] {
        assert!(!quantity.to_string().is_empty());
    }
    assert!(least < Quantity::ZERO && Quantity::ZERO < most);
}

#[test]
fn quantities_are_refused() {
    let cases = [
        ("", QuantityError::Format),
        ("a", QuantityError::Format),
        ("1a", QuantityError::Format),
        ("1 ", QuantityError::Format),
        ("1.2.3", QuantityError::Format),
        ("--1", QuantityError::Suffix),
        ("1Gib", QuantityError::Format),
        ("1ki", QuantityError::Suffix),
        ("1K", QuantityError::Suffix),
        ("1mi", QuantityError::Suffix),
        ("1e", QuantityError::Suffix),
        ("1e3.0", QuantityError::Format),
        ("1MiB", QuantityError::Format),
        ("1kk", QuantityError::Suffix),
        ("1e99999999999", QuantityError::Suffix),
    ];
    for (text, expect) in cases {
        assert_eq!(Quantity::parse(text), Err(expect), "{text}");
    }
}

#[test]
fn quantities_compare_by_value() {
    let cases = [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1e3", "1k"), ("0", "0Ki")];
    for (left, right) in cases {
        assert_eq!(Quantity::parse(left), Quantity::parse(right), "{left} {right}");
    }
    let ascending = ["-1Gi", "-1", "0", "1n", "1m", "1", "1k", "1Ki", "1M", "1Mi", "1e9", "1Gi"];
    for pair in ascending.windows(2) {
        assert!(Quantity::parse(pair[0]).unwrap() < Quantity::parse(pair[1]).unwrap(), "{pair:?}");
    }
}

#[test]
fn quantities_add_and_subtract() {
    let cases = [
        ("1", "500m", "1500m", "500m"),
        ("1Gi", "512Mi", "1536Mi", "512Mi"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "1", "1073741825", "1073741823"),
        ("100m", "100m", "200m", "0"),
        ("1e3", "1", "1001", "999"),
        ("500", "1Ki", "1524", "-524"),
    ];
    for (left, right, sum, difference) in cases {
        let (left, right) = (Quantity::parse(left).unwrap(), Quantity::parse(right).unwrap());
        assert_eq!(left.plus(right).to_string(), sum);
        assert_eq!(left.minus(right).to_string(), difference);
    }
    assert_eq!(Quantity::parse("1500m").unwrap().times(3).to_string(), "4500m");
    assert_eq!(Quantity::parse("512Mi").unwrap().times(2).to_string(), "1Gi");
}

#[test]
fn quantities_convert() {
    let cases = [
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1n", 1, 1),
        ("1Ki", 1024, 1_024_000),
        ("1000E", i64::MAX, i64::MAX),
        ("-1000E", i64::MIN, i64::MIN),
    ];
    for (text, units, millis) in cases {
        let quantity = Quantity::parse(text).unwrap();
        assert_eq!((quantity.units(), quantity.millis()), (units, millis), "{text}");
    }
    assert_eq!(Quantity::from_millis(1500, Format::DecimalSi).to_string(), "1500m");
    assert_eq!(Quantity::from_units(1 << 30, Format::BinarySi).to_string(), "1Gi");
    assert_eq!(Quantity::from_value(&json!(" 2 ")), Quantity::parse("2"));
    assert_eq!(Quantity::from_value(&json!(0.5)), Quantity::parse("500m"));
    assert_eq!(Quantity::from_value(&json!(true)), Err(QuantityError::Format));
}
