//! Bytes to documents: bounded in size and depth, with Kubernetes' words for what is wrong.
//!
//! Numbers are as Go's untyped decoding keeps them: integers that fit an `i64`, else floats. What a
//! document may contain is not decided here ([`crate::check`]).

mod order;
mod surrogates;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

pub use order::in_order_of;

use crate::{
    path::{Path, StrictErrors},
    yaml,
};

/// Lists and objects within one another. Algorithms on documents recurse, so this bounds their stacks.
pub const MAX_DEPTH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    /// The first document of a stream.
    Yaml,
}

#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// What strict field validation refuses: `duplicate field "spec.replicas"`. The last value won.
    pub strict_errors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("limit is {limit_bytes}")]
    TooLarge { limit_bytes: usize },
    #[error("exceeded max depth")]
    TooDeep,
    #[error("{0}")]
    Syntax(String),
}

/// Decodes one document of at most `limit_bytes`; what YAML aliases expand to counts too.
pub fn decode(bytes: &[u8], encoding: Encoding, limit_bytes: usize) -> Result<Decoded, DecodeError> {
    if bytes.len() > limit_bytes {
        return Err(DecodeError::TooLarge { limit_bytes });
    }
    // Like Go, replace what is not UTF-8.
    let text = String::from_utf8_lossy(bytes);
    match encoding {
        Encoding::Json => json(&text),
        Encoding::Yaml => {
            // Clients often send JSON as YAML, which it is; the JSON decoder is far faster.
            let braced = text.trim_start().starts_with('{');
            let as_json = if braced { json(&text).ok() } else { None };
            as_json.map_or_else(|| yaml::decode(&text, limit_bytes), Ok)
        }
    }
}

fn json(text: &str) -> Result<Decoded, DecodeError> {
    match parse(text) {
        // The one thing that Go mends where serde_json complains.
        Err(error) if error.to_string().contains("hex escape") => {
            let mended = surrogates::replace_unpaired(text);
            parse(&mended).map_err(|error| refused(&error, &mended))
        }
        result => result.map_err(|error| refused(&error, text)),
    }
}

fn parse(text: &str) -> Result<Decoded, serde_json::Error> {
    let mut found = StrictErrors::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = Seed { path: &Path::ROOT, depth: 0, found: &mut found };
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Decoded { value, strict_errors: found.into_vec() })
}

fn refused(error: &serde_json::Error, text: &str) -> DecodeError {
    if error.is_data() || error.to_string().starts_with("recursion limit") {
        return DecodeError::TooDeep;
    }
    DecodeError::Syntax(in_go_words(error, text))
}

/// `serde_json`'s complaints, and how Go's decoder would put them after `invalid character 'x' `.
const CONTEXTS: [(&str, &str); 11] = [
    ("expected value", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("expected ident", "in literal"),
    ("invalid number", "in numeric literal"),
];

fn in_go_words(error: &serde_json::Error, text: &str) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = text.split_inclusive('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    // Column 0 is the line break before the line.
    let found = match error.column() {
        0 => Some('\n'),
        column => line.get(column - 1..).and_then(|rest| rest.chars().next()),
    };
    let complaint = error.to_string();
    let context = CONTEXTS.iter().find(|(start, _)| complaint.starts_with(start));
    match (found, context) {
        (Some(']'), Some(("trailing comma", _))) => "invalid character ']' looking for beginning of value".to_owned(),
        (Some(char), Some((_, context))) => format!("invalid character {} {context}", quoted(char)),
        _ => complaint,
    }
}

/// A character as Go quotes it in these messages.
fn quoted(char: char) -> Cow<'static, str> {
    match char {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        other => format!("'{}'", other.escape_debug()).into(),
    }
}

/// Builds a [`Value`], keeping track of where it is.
struct Seed<'a> {
    path: &'a Path<'a>,
    depth: usize,
    found: &'a mut StrictErrors,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value no deeper than the limit")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(A::Error::custom("too deep"));
        }
        let mut items = Vec::new();
        loop {
            let path = self.path.index(items.len());
            match access.next_element_seed(Seed { path: &path, depth: self.depth + 1, found: self.found })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(A::Error::custom("too deep"));
        }
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.key(&key);
            let value = access.next_value_seed(Seed { path: &path, depth: self.depth + 1, found: self.found })?;
            match fields.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(value);
                }
                Entry::Occupied(mut occupied) => {
                    self.found.duplicate(&self.path.key(occupied.key()));
                    occupied.insert(value);
                }
            }
        }
        Ok(Value::Object(fields))
    }
}
