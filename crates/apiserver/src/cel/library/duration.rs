//! Durations as Go writes them.

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// `1h30m`, `-1.5s`, `0`: nanoseconds.
pub fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        // Whole numbers are exact; a fraction is rounded to nanoseconds.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? };
        total = total.checked_add(whole.checked_mul(scale as i64)?)?.checked_add((part * scale) as i64)?;
        rest = after;
    }
    Some(sign * total)
}

/// The units of [`informal`]: each is known by these words, and by longer ones that begin with the last.
const WORDS: [(&[&str], i64); 8] = [
    (&["ns", "nano"], 1),
    (&["us", "µs", "micro"], 1_000),
    (&["ms", "milli"], 1_000_000),
    (&["s", "sec"], 1_000_000_000),
    (&["m", "min"], 60_000_000_000),
    (&["h", "hr", "hour"], 3_600_000_000_000),
    (&["d", "day"], 86_400_000_000_000),
    (&["w", "wk", "week"], 604_800_000_000_000),
];

/// What the format `duration` of OpenAPI takes beside Go's: `1d`, `2 weeks`, `1 day and 3 hours`. Whole numbers are
/// looked for with a word behind them, and those whose word is a unit are added up.
pub fn informal(text: &str) -> Option<i64> {
    if let Some(nanos) = parse(text) {
        return Some(nanos);
    }
    let (mut rest, mut total) = (text, None);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (number, after) = split_where(&rest[start..], |c| !c.is_ascii_digit());
        let (word, after) = split_where(after.trim_start(), |c| !c.is_ascii_alphabetic() && c != 'µ');
        rest = after;
        let unit = word.to_lowercase();
        let is_unit = |(words, _): &&(&[&str], i64)| {
            words.contains(&&*unit) || words.last().is_some_and(|last| unit.starts_with(last))
        };
        if let Some((_, nanos)) = WORDS.iter().find(is_unit) {
            let part = number.parse::<i64>().ok()?.checked_mul(*nanos)?;
            total = Some(total.unwrap_or(0_i64).checked_add(part)?);
        }
    }
    total
}

fn split_where(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// As CEL prints a duration: seconds.
pub fn seconds(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    format!("{sign}{whole}.{}s", format!("{fraction:09}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_than_those_of_go_are_durations_too() {
        const HOUR: i64 = 3_600_000_000_000;
        for (text, expect) in [
            ("1h30m", Some(HOUR / 2 * 3)),
            ("1d", Some(24 * HOUR)),
            ("2 weeks", Some(14 * 24 * HOUR)),
            ("1 Day and 3hours", Some(27 * HOUR)),
            ("about 3 µs, 4 apples", Some(3_000)),
            ("3 apples", None),
            ("d", None),
            ("", None),
            ("1", None),
            ("1 1d", Some(24 * HOUR)),
            ("99999999999999999999d", None),
            ("9999999999w", None),
        ] {
            assert_eq!(informal(text), expect, "{text}");
        }
    }

    #[test]
    fn durations_are_go_durations() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse(text), expect, "{text}");
        check("0", Some(0));
        check("1h30m", Some(5_400_000_000_000));
        check("-1.5s", Some(-1_500_000_000));
        check("10ms", Some(10_000_000));
        check("", None);
        check("1", None);
        check("1d", None);
        check(".s", None);
        assert_eq!(seconds(1_500_000_000), "1.5s");
        assert_eq!(seconds(-60_000_000_000), "-60s");
    }
}
