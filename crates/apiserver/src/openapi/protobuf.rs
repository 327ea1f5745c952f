//! The protobuf form of OpenAPI documents, which older clients ask for (gnostic's messages
//! `openapi.v2.Document` and `openapi.v3.Document`). Tables in `messages` say how each JSON object
//! becomes a message; the encoding itself is all of protobuf that is needed.

mod messages;

use serde_json::Value;

use super::writer::Each;

pub use messages::{V2, V3, V3_COMPONENTS};

/// How a JSON value becomes the value of a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Flag,
    Integer,
    Number,
    /// An array of strings.
    Texts,
    One(&'static Message),
    /// An array of messages.
    Many(&'static Message),
    /// Anything, as YAML.
    Any,
    /// An array of anything.
    Anys,
}

#[derive(Debug)]
pub enum Message {
    /// An object with these fields; keys that begin with `x-` go to the field of the last number.
    Fields(&'static [(&'static str, u32, Kind)], u32),
    /// An object whose keys are no field names: the field of this number repeats a pair of name (1) and
    /// value (2).
    Entries(u32, Kind),
    /// A message that wraps its value in one of several fields; `None` in none of them.
    Choice(fn(&Value) -> Option<(u32, Kind)>),
}

/// A document, or a large part of one, that is written entry by entry.
#[derive(Debug)]
pub struct Document {
    message: &'static Message,
    out: Vec<u8>,
}

/// Where the entries of a large object go: the number within its message, and the message of each.
#[derive(Debug)]
pub struct Collection {
    pub number: u32,
    pub value: &'static Message,
}

impl Document {
    pub fn new(message: &'static Message) -> Self {
        Self { message, out: Vec::new() }
    }

    pub fn value(&mut self, key: &str, value: &Value) {
        if let Some((number, kind)) = self.field(key) {
            field(&mut self.out, number, kind, value);
        }
    }

    pub fn entries(&mut self, key: &str, collection: &'static Collection, all: impl FnOnce(&mut Each<'_>)) {
        let mut inner = Vec::new();
        all(&mut |name, value| entry(&mut inner, collection.number, name, Kind::One(collection.value), &value));
        if let Some((number, _)) = self.field(key) {
            bytes(&mut self.out, number, &inner);
        }
    }

    pub fn nested(&mut self, key: &str, part: Document) {
        if let Some((number, _)) = self.field(key) {
            bytes(&mut self.out, number, &part.out);
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn field(&self, key: &str) -> Option<(u32, Kind)> {
        let Message::Fields(fields, _) = self.message else { return None };
        fields.iter().find(|(known, ..)| *known == key).map(|(_, number, kind)| (*number, *kind))
    }
}

fn message(out: &mut Vec<u8>, shape: &Message, value: &Value) {
    match shape {
        Message::Fields(fields, extensions) => {
            for (key, inner) in value.as_object().into_iter().flatten() {
                match fields.iter().find(|(known, ..)| known == key) {
                    Some((_, number, kind)) => field(out, *number, *kind, inner),
                    None if key.starts_with("x-") => entry(out, *extensions, key, Kind::Any, inner),
                    None => {}
                }
            }
        }
        Message::Entries(number, kind) => {
            let entries = value.as_object().into_iter().flatten();
            entries.for_each(|(name, value)| entry(out, *number, name, *kind, value));
        }
        Message::Choice(choose) => {
            if let Some((number, kind)) = choose(value) {
                field(out, number, kind, value);
            }
        }
    }
}

fn field(out: &mut Vec<u8>, number: u32, kind: Kind, value: &Value) {
    match (kind, value) {
        (Kind::Text, Value::String(text)) => bytes(out, number, text.as_bytes()),
        (Kind::Flag, Value::Bool(flag)) => {
            tag(out, number, 0);
            out.push(u8::from(*flag));
        }
        (Kind::Integer, Value::Number(_)) => {
            tag(out, number, 0);
            varint(out, value.as_i64().unwrap_or_default().cast_unsigned());
        }
        (Kind::Number, Value::Number(_)) => {
            tag(out, number, 1);
            out.extend(value.as_f64().unwrap_or_default().to_le_bytes());
        }
        (Kind::Texts, Value::Array(items)) => items.iter().for_each(|item| field(out, number, Kind::Text, item)),
        (Kind::Many(shape), Value::Array(items)) => {
            items.iter().for_each(|item| field(out, number, Kind::One(shape), item));
        }
        (Kind::Anys, Value::Array(items)) => items.iter().for_each(|item| field(out, number, Kind::Any, item)),
        (Kind::One(shape), value) => nested(out, number, |out| message(out, shape, value)),
        // Its second field holds YAML, and JSON is YAML.
        (Kind::Any, value) => nested(out, number, |out| bytes(out, 2, value.to_string().as_bytes())),
        // A value of another type than its field has no place in the message.
        _ => {}
    }
}

/// A pair of name and value.
fn entry(out: &mut Vec<u8>, number: u32, name: &str, kind: Kind, value: &Value) {
    nested(out, number, |out| {
        bytes(out, 1, name.as_bytes());
        field(out, 2, kind, value);
    });
}

fn nested(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, number, &inner);
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    tag(out, number, 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
