//! Printer columns: their constructors, ages, and the cells that several kinds share.

use jiff::Timestamp;
use serde_json::Value;

use super::check::{elements, text as text_of};
use crate::resource::{Cell, Column};

type Render = fn(&Value, i64) -> Value;

pub fn name() -> Column {
    Column { format: "name".into(), ..column("Name", "string", "The object's name.", Cell::Name) }
}

pub fn age() -> Column {
    column("Age", "string", "The time since the object was created.", Cell::Age)
}

pub fn text(name: &str, description: &str, render: Render) -> Column {
    column(name, "string", description, Cell::Render(render))
}

pub fn integer(name: &str, description: &str, render: Render) -> Column {
    column(name, "integer", description, Cell::Render(render))
}

pub fn boolean(name: &str, description: &str, render: Render) -> Column {
    column(name, "boolean", description, Cell::Render(render))
}

/// A column that only `-o wide` shows.
pub fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

fn column(name: &str, kind: &str, description: &str, cell: Cell) -> Column {
    let (name, kind, description) = (name.into(), kind.into(), description.into());
    Column { name, kind, format: "".into(), description, priority: 0, cell }
}

/// When the object was made, where a kind has no columns of its own.
pub fn created_at() -> Column {
    let cell = |object: &Value, _: i64| object["metadata"]["creationTimestamp"].clone();
    column("Created At", "date", "When it was made.", Cell::Render(cell))
}

pub const NONE: &str = "<none>";
pub const UNKNOWN: &str = "<unknown>";

/// The cell of [`Cell::Age`].
pub fn age_of(object: &Value, now_seconds: i64) -> String {
    since(&object["metadata"]["creationTimestamp"], now_seconds)
}

/// How long ago an RFC 3339 time was.
pub fn since(time: &Value, now_seconds: i64) -> String {
    seconds(time).map_or_else(|| UNKNOWN.to_owned(), |then| human_duration(now_seconds - then))
}

/// How long until an RFC 3339 time.
pub fn until(time: &Value, now_seconds: i64) -> String {
    seconds(time).map_or_else(|| UNKNOWN.to_owned(), |then| human_duration(then - now_seconds))
}

/// An RFC 3339 time in seconds since the epoch.
pub fn seconds(time: &Value) -> Option<i64> {
    time.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// A duration in the two or three figures that kubectl shows; clocks may differ by a second.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (years, days_of_year) = (days / 365, days % 365);
    match (minutes, hours, days, years) {
        _ if seconds < -1 => "<invalid>".to_owned(),
        _ if seconds < 0 => "0s".to_owned(),
        (..=1, ..) => format!("{seconds}s"),
        (..=9, ..) => two_units(minutes, "m", seconds % 60, "s"),
        (..=179, ..) => format!("{minutes}m"),
        (_, ..=7, ..) => two_units(hours, "h", minutes % 60, "m"),
        (_, ..=47, ..) => format!("{hours}h"),
        (_, _, ..=7, _) => two_units(days, "d", hours % 24, "h"),
        (.., ..=1) => format!("{days}d"),
        (.., ..=7) => two_units(years, "y", days_of_year, "d"),
        _ => format!("{years}y"),
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// The number of a field, 0 where it is missing.
pub fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

/// The text of a field, or `<none>`.
pub fn text_or_none(value: &Value) -> Value {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(NONE).into()
}

/// A map as `a=b,c=d`, or `<none>`.
pub fn labels(map: &Value) -> String {
    let pairs: Vec<String> = map.as_object().into_iter().flatten().map(|(key, value)| pair(key, value)).collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

fn pair(key: &str, value: &Value) -> String {
    format!("{key}={}", value.as_str().unwrap_or_default())
}

/// A label selector in its string form, sorted by key, or `<none>`.
pub fn selector(selector: &Value) -> String {
    let mut terms: Vec<(&str, String)> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        terms.push((key, pair(key, value)));
    }
    for expression in elements(&selector["matchExpressions"]) {
        let key = text_of(expression, "key");
        let mut values: Vec<&str> = super::check::texts(&expression["values"]).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match text_of(expression, "operator") {
            "In" => (key, format!("{key} in ({values})")),
            "NotIn" => (key, format!("{key} notin ({values})")),
            "Exists" => (key, key.to_owned()),
            "DoesNotExist" => (key, format!("!{key}")),
            _ => return "<invalid>".to_owned(),
        });
    }
    terms.sort_by_key(|(key, _)| *key);
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    if terms.is_empty() { NONE.to_owned() } else { terms.join(",") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_shown_as_by_kubectl() {
        const DAY: i64 = 86_400;
        for (seconds, expect) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * 60 + 59, "179m"),
            (3 * 3600, "3h"),
            (7 * 3600 + 59 * 60, "7h59m"),
            (8 * 3600 + 60, "8h"),
            (47 * 3600, "47h"),
            (2 * DAY, "2d"),
            (7 * DAY + 3600, "7d1h"),
            (8 * DAY + 3600, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (731 * DAY, "2y1d"),
            (8 * 365 * DAY + DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), expect, "{seconds} s");
        }
    }

    #[test]
    fn selectors_are_shown_sorted_by_key() {
        let shown = selector(&json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "DoesNotExist"},
                {"key": "a", "operator": "In", "values": ["y", "x"]},
            ],
        }));
        assert_eq!(shown, "a in (x,y),b=1,!c");
        assert_eq!(selector(&json!({})), "<none>");
    }
}
