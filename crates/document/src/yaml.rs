//! YAML as Kubernetes reads and writes it: YAML 1.1's scalars (`yes` is true, `017` is 15), string keys.
//!
//! The syntax is `saphyr_parser`'s; what its events mean is decided here.

mod encode;
mod scalar;

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use crate::decode::{DecodeError, Decoded, MAX_DEPTH};

pub use encode::{encode, encode_list};

/// Decodes the first document of a stream; aliases may not expand to more than `limit_bytes`.
pub(crate) fn decode(text: &str, limit_bytes: usize) -> Result<Decoded, DecodeError> {
    if text.chars().any(|letter| !is_printable(letter)) {
        return Err(DecodeError::Syntax("yaml: control characters are not allowed".to_owned()));
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        budget_bytes: limit_bytes,
        duplicates: Vec::new(),
    };
    let value = loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break Value::Null,
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            event => break reader.node(event, span, 0)?,
        }
    };
    // One text for all of them, as Kubernetes' decoder gives.
    let strict_errors = match &reader.duplicates[..] {
        [] => Vec::new(),
        found => vec![format!("yaml: unmarshal errors:\n{}", found.join("\n"))],
    };
    Ok(Decoded { value, strict_errors })
}

/// What YAML 1.1 lets a stream consist of (section 5.1); JSON's strings know no other controls either.
fn is_printable(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    /// What anchors and aliases may still copy.
    budget_bytes: usize,
    duplicates: Vec<String>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        match self.parser.next_event() {
            Some(event) => event.map_err(|error: ScanError| refused(error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Value, DecodeError> {
        let line = span.start.line();
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar_value(&text, style, tag.as_deref(), line)?, anchor),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or_else(|| refused(line, "unknown anchor"))?.clone();
                return self.spend(&value, depth).map(|()| value);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if depth == MAX_DEPTH => {
                return Err(DecodeError::TooDeep);
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            _ => return Err(refused(line, "did not find expected node content")),
        };
        if anchor != 0 {
            self.spend(&value, depth)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut fields = Map::new();
        let mut merged = Map::new();
        loop {
            let (event, span) = self.next()?;
            let key_line = span.start.line();
            let merges = match &event {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, _, None) => text == "<<",
                _ => false,
            };
            let name = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let line = span.start.line();
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = scalar::key(&name) else { return Err(refused(key_line, "unsupported map key")) };
            if merges {
                merge(&mut merged, value, key_line)?;
                continue;
            }
            if fields.contains_key(&key) {
                // Where the second value begins, and the key as YAML has it: `true` is no text.
                self.duplicates.push(format!("  line {line}: key {name} already set in map"));
            }
            fields.insert(key, value);
        }
        for (key, value) in merged {
            fields.entry(key).or_insert(value);
        }
        Ok(Value::Object(fields))
    }

    /// Pays for a copy of `value`, placed at `depth`.
    fn spend(&mut self, value: &Value, depth: usize) -> Result<(), DecodeError> {
        let (bytes, levels) = extent(value);
        if depth + levels > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let left = self.budget_bytes.checked_sub(bytes);
        let excessive = || DecodeError::Syntax("yaml: document contains excessive aliasing".to_owned());
        self.budget_bytes = left.ok_or_else(excessive)?;
        Ok(())
    }
}

fn refused(line: usize, why: &str) -> DecodeError {
    DecodeError::Syntax(format!("yaml: line {line}: {why}"))
}

/// About how many bytes a value takes, and how many levels deep it is.
fn extent(value: &Value) -> (usize, usize) {
    let deeper = |(bytes, levels): (usize, usize), (key, child): (usize, &Value)| {
        let below = extent(child);
        (bytes + key + below.0, levels.max(below.1 + 1))
    };
    match value {
        Value::String(text) => (8 + text.len(), 0),
        Value::Array(items) => items.iter().map(|item| (0, item)).fold((8, 1), deeper),
        Value::Object(fields) => fields.iter().map(|(key, child)| (key.len(), child)).fold((8, 1), deeper),
        _ => (8, 0),
    }
}

/// `<<: *defaults` or `<<: [*a, *b]`: of several, the first that has a key gives it.
fn merge(merged: &mut Map<String, Value>, from: Value, line: usize) -> Result<(), DecodeError> {
    let sources = match from {
        Value::Array(items) => items,
        single => vec![single],
    };
    for source in sources {
        let Value::Object(fields) = source else {
            return Err(refused(line, "map merge requires map or sequence of maps as the value"));
        };
        for (key, value) in fields {
            merged.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, DecodeError> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| &*tag.suffix);
    let plain = style == ScalarStyle::Plain;
    match (tag, core) {
        (None, _) if plain => scalar::resolve(text).map_err(|why| DecodeError::Syntax(why.to_owned())),
        (_, Some("binary")) => {
            let bytes = STANDARD.decode(text.split_ascii_whitespace().collect::<String>());
            let bytes = bytes.map_err(|_| refused(line, "!!binary value contains invalid base64 data"))?;
            Ok(String::from_utf8_lossy(&bytes).into())
        }
        (_, Some(name @ ("int" | "float" | "bool" | "null"))) => {
            let value = scalar::resolve(text).map_err(|why| DecodeError::Syntax(why.to_owned()))?;
            let fits = match name {
                "int" => value.is_i64() || value.is_u64(),
                "float" => value.is_number(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            if fits { Ok(value) } else { Err(refused(line, &format!("cannot decode `{text}` as a !!{name}"))) }
        }
        _ => Ok(text.into()),
    }
}
