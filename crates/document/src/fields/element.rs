//! One step of a path, its order, and how it reads in messages and in `FieldsV1` keys.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use serde_json::{Map, Number, Value};

use super::FieldsError;

/// How to get from a value to one within it.
#[derive(Debug, Clone)]
pub enum Element {
    /// A field of an object or a key of a map.
    Field(Box<str>),
    /// The list item with these values of the list's keys, sorted by name.
    Key(Box<[(Box<str>, Value)]>),
    /// The item of a set.
    Value(Value),
    /// The item at this place of a list.
    Index(i64),
}

/// A path for messages: `.spec.containers[name="app"].image`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path<'s>(Vec<&'s Element>);

impl Element {
    pub fn field(name: &str) -> Self {
        Element::Field(name.into())
    }

    pub fn key<'n>(values: impl IntoIterator<Item = (&'n str, Value)>) -> Self {
        let mut values: Vec<_> = values.into_iter().map(|(name, value)| (Box::from(name), value)).collect();
        values.sort_by(|a: &(Box<str>, Value), b| a.0.cmp(&b.0));
        Element::Key(values.into())
    }

    /// The key of this element in `FieldsV1`.
    pub(super) fn encode(&self) -> String {
        match self {
            Element::Field(name) => ["f:", name].concat(),
            Element::Key(values) => {
                let mut text = String::from("k:{");
                for (index, (name, value)) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    // Writing to a string does not fail.
                    let _ = write!(text, "{comma}{}:{}", Value::from(&**name), html_safe(value));
                }
                text.push('}');
                text
            }
            Element::Value(value) => format!("v:{}", html_safe(value)),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// The element of a key in `FieldsV1`; none where a later Kubernetes may know what it is.
    pub(super) fn decode(key: &str) -> Result<Option<Self>, FieldsError> {
        let invalid = || FieldsError::Key(key.to_owned());
        let (kind, text) = key.split_once(':').filter(|(kind, _)| kind.len() == 1).ok_or_else(invalid)?;
        Ok(Some(match kind {
            "f" => Element::field(text),
            "k" => {
                let values: Map<String, Value> = serde_json::from_str(text).map_err(|_| invalid())?;
                Element::Key(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
            }
            "v" => Element::Value(serde_json::from_str(text).map_err(|_| invalid())?),
            "i" => Element::Index(text.parse().map_err(|_| invalid())?),
            _ => return Ok(None),
        }))
    }

    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

/// JSON as Go writes it: safe to stand in HTML.
pub(crate) fn html_safe(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(safe, "\\u{:04x}", u32::from(character));
            }
            _ => safe.push(character),
        }
    }
    safe
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.cmp(b),
            (Element::Key(a), Element::Key(b)) => in_turn(a.iter(), b.iter(), |(name, value), (other, with)| {
                name.cmp(other).then_with(|| order(value, with))
            }),
            (Element::Value(a), Element::Value(b)) => order(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

/// The order of values: numbers by their size, `1` and `1.0` being the same, then strings, booleans,
/// lists, maps and null.
pub(crate) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => in_turn(a.iter(), b.iter(), order),
        (Value::Object(a), Value::Object(b)) => {
            in_turn(a.iter(), b.iter(), |(name, value), (other, with)| name.cmp(other).then_with(|| order(value, with)))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn order_numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or_default();
            float(a).total_cmp(&float(b))
        }
    }
}

fn in_turn<T>(
    a: impl ExactSizeIterator<Item = T>,
    b: impl ExactSizeIterator<Item = T>,
    order: impl Fn(T, T) -> Ordering,
) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    a.zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne()).unwrap_or(lengths)
}

/// `.name`, `[key="value"]`, `[="value"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(values) => {
                f.write_char('[')?;
                for (index, (name, value)) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_char(']')
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'s> Path<'s> {
    pub fn elements(&self) -> impl Iterator<Item = &'s Element> {
        self.0.iter().copied()
    }

    pub(super) fn join(&self, element: &'s Element) -> Self {
        Self(self.0.iter().copied().chain([element]).collect())
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}
