//! Documents as YAML text: block style, sorted keys, lists not indented.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::scalar;

/// YAML allows an implicit key 1024 characters (YAML 1.2, 7.4.2), quotes and escapes included; other writers stop at
/// this.
const MAX_IMPLICIT_KEY_BYTES: usize = 128;

pub fn encode(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(&mut text, fields, 0, false),
        Value::Array(items) if !items.is_empty() => write_items(&mut text, items, 0, false),
        other => {
            write_scalar(&mut text, other, 0);
            text.push('\n');
        }
    }
    text
}

/// The text of `frame`, in which the field `place` is a list of these. They are made one by one: a document takes many times
/// what its text does.
pub fn encode_list(frame: &Value, place: &str, items: impl Iterator<Item = Value>, capacity_bytes: usize) -> String {
    let mut text = String::with_capacity(capacity_bytes);
    let fields: Map<String, Value> = frame.as_object().cloned().unwrap_or_default();
    let (before, after): (Map<_, _>, Map<_, _>) =
        fields.into_iter().filter(|(name, _)| name != place).partition(|(name, _)| &**name < place);
    write_fields(&mut text, &before, 0, false);
    write_string(&mut text, place, None);
    let name_end = text.len();
    text.push_str(":\n");
    let start = text.len();
    for item in items {
        write_items(&mut text, std::slice::from_ref(&item), 0, false);
    }
    if text.len() == start {
        text.replace_range(name_end.., ": []\n");
    }
    write_fields(&mut text, &after, 0, false);
    text
}

/// `inline`: the first line already has its indentation, behind a dash.
fn write_fields(text: &mut String, fields: &Map<String, Value>, indent: usize, inline: bool) {
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 || !inline {
            pad(text, indent);
        }
        // A longer one cannot be told from a text that never comes to its colon.
        let explicit = key.len() > MAX_IMPLICIT_KEY_BYTES;
        if explicit {
            text.push_str("? ");
        }
        write_string(text, key, None);
        if explicit {
            text.push('\n');
            pad(text, indent);
        }
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                write_fields(text, fields, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_items(text, items, indent, false);
            }
            other => {
                text.push(' ');
                write_scalar(text, other, indent + 2);
                text.push('\n');
            }
        }
    }
}

fn write_items(text: &mut String, items: &[Value], indent: usize, inline: bool) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !inline {
            pad(text, indent);
        }
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(text, fields, indent + 2, true),
            Value::Array(items) if !items.is_empty() => write_items(text, items, indent + 2, true),
            other => {
                write_scalar(text, other, indent + 2);
                text.push('\n');
            }
        }
    }
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn write_scalar(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(_) => text.push_str("{}"),
        Value::Array(_) => text.push_str("[]"),
        Value::String(string) => write_string(text, string, Some(indent)),
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// `block`: the indentation of a literal block, where one may stand.
fn write_string(text: &mut String, string: &str, block: Option<usize>) {
    let printable = |char: char| !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let one_line = string.chars().all(printable);
    match block {
        Some(indent) if string.contains('\n') && is_literal(string, printable) => write_literal(text, string, indent),
        _ if one_line && is_plain(string) => text.push_str(string),
        _ if one_line && !reads_as_other(string) => {
            let _ = write!(text, "'{}'", string.replace('\'', "''"));
        }
        // JSON's strings are YAML's double-quoted ones.
        _ => {
            let quoted = Value::from(string).to_string();
            text.push_str(&quoted.replace('\u{7f}', "\\x7f").replace('\u{feff}', "\\ufeff"));
        }
    }
}

fn reads_as_other(string: &str) -> bool {
    !matches!(scalar::resolve(string), Ok(Value::String(_))) || string == "<<" || is_sexagesimal_or_date(string)
}

fn is_plain(string: &str) -> bool {
    let first_forbidden = "-?:,[]{}#&*!|>'\"%@`";
    let first = string.chars().next().unwrap_or(' ');
    let may_start = !first_forbidden.contains(first)
        || (matches!(first, '-' | '?' | ':') && string.chars().nth(1).is_some_and(|next| !next.is_whitespace()));
    may_start
        && !reads_as_other(string)
        && !string.starts_with("---")
        && !string.starts_with("...")
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with(':')
        && string.trim() == string
}

/// What other readers of YAML 1.1 take for a number or a date.
fn is_sexagesimal_or_date(string: &str) -> bool {
    string.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-'))
        && string.chars().all(|char| char.is_ascii_digit() || ":.-+TtZz _".contains(char))
        && string[1..].contains([':', '-'])
        && string.ends_with(|last: char| last.is_ascii_digit() || last == 'Z')
}

fn is_literal(string: &str, printable: impl Fn(char) -> bool) -> bool {
    !string.starts_with([' ', '\n', '\t'])
        && string.chars().all(|char| char == '\n' || char == '\t' || printable(char))
        && !string.trim_end_matches('\n').is_empty()
}

fn write_literal(text: &mut String, string: &str, indent: usize) {
    let body = string.trim_end_matches('\n');
    text.push_str(match string.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let kept = if string.len() - body.len() > 1 { &string[..string.len() - 1] } else { body };
    for line in kept.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            pad(text, indent);
            text.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_made_piece_by_piece_is_the_same_text() {
        let item = |name: &str| json!({"metadata": {"name": name, "labels": {}}, "lines": ["a\nb\n", [1, []]]});
        for items in [vec![], vec![item("a")], vec![item("a"), json!("text"), json!({}), item("b")]] {
            for (frame, place) in [
                (json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "5"}}), "items"),
                (json!({"kind": "Table", "columnDefinitions": [{"name": "Name"}]}), "rows"),
                (json!({}), "items"),
            ] {
                let mut whole = frame.clone();
                whole[place] = items.clone().into();
                assert_eq!(encode_list(&frame, place, items.iter().cloned(), 0), encode(&whole));
            }
        }
    }
}
