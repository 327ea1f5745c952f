//! Documents of no type: their syntaxes, and what is done to them.

use document::{Encoding, Quantity, decode, decode::MAX_DEPTH, patch};
use serde_json::{Value, json};

use crate::{LIMIT_BYTES, assert_decodable, lines};

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Equal, but for how numbers are kept: `-0` may become `0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// What is decoded is within the limits, and the same after a way through YAML and JSON.
fn survives(value: &Value) {
    assert!(depth(value) <= MAX_DEPTH, "{} levels", depth(value));
    let size = value.to_string().len();
    assert!(size <= 8 * LIMIT_BYTES, "{size} bytes");
    for (text, encoding) in [(document::yaml::encode(value), Encoding::Yaml), (value.to_string(), Encoding::Json)] {
        let back = decode(text.as_bytes(), encoding, 64 * LIMIT_BYTES);
        assert!(back.as_ref().is_ok_and(|back| same(&back.value, value)), "{text}\n{back:?}");
    }
}

pub fn json(bytes: &[u8]) {
    if let Ok(decoded) = decode(bytes, Encoding::Json, LIMIT_BYTES) {
        survives(&decoded.value);
    }
}

pub fn yaml(bytes: &[u8]) {
    if let Ok(decoded) = decode(bytes, Encoding::Yaml, LIMIT_BYTES) {
        survives(&decoded.value);
    }
}

/// Canonical text says the same number, and is its own canonical form. Sums do not panic.
pub fn quantity(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut words = text.split(' ').map(Quantity::parse);
    let Some(Ok(first)) = words.next() else { return };
    let shown = first.to_string();
    let again = Quantity::parse(&shown).expect("canonical text is a quantity");
    assert_eq!((again, again.to_string()), (first, shown));
    let _ = (first.units(), first.millis(), first.as_f64(), first.signum(), first.times(3), first.times(i64::MIN));
    if let Some(Ok(second)) = words.next() {
        assert_eq!(first.plus(second), second.plus(first));
        let _ = (first.minus(second), first.cmp(&second));
    }
}

pub fn jsonpath(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(path) = document::jsonpath::compile(text) {
        let document = json!({"a": [{"b": 1, "c": [1, 2, 3]}, {"b": "x"}], "c": {"d.e": null}, "é": {"a": {"a": 1.5}}});
        assert_eq!(path.find(&document).first().copied(), path.first(&document));
        path.fields();
    }
}

/// The input is a document and a patch, each a line of JSON.
pub fn json_patch(bytes: &[u8]) {
    let Some([mut document, change]) = lines(bytes) else { return };
    if let Ok(patch) = patch::json::Patch::parse(change)
        && patch.apply(&mut document).is_ok()
    {
        assert_decodable(&document);
    }
}

/// The input is a document and a patch, each a line of JSON. A patch that is applied twice is applied once.
pub fn merge_patch(bytes: &[u8]) {
    let Some([mut document, change]) = lines(bytes) else { return };
    if patch::merge::apply(&mut document, change.clone()).is_ok() {
        assert_decodable(&document);
        let mut twice = document.clone();
        assert!(patch::merge::apply(&mut twice, change).is_ok());
        assert_eq!(twice, document);
    }
}
