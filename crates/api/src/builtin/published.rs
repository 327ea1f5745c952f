//! The schemas of the built-in types as they are published, descriptions included. Kept compressed: they
//! are wanted once, when an OpenAPI document is made, and are ten times the size of all else here.

use std::{collections::HashMap, io::Read};

use flate2::read::DeflateDecoder;
use serde_json::Value;

/// The schemas, unpacked; meant to be dropped after use.
#[derive(Debug)]
pub struct Published {
    text: String,
    /// Name to the line's range in `text`.
    lines: HashMap<Box<str>, std::ops::Range<usize>>,
}

/// As the build script wrote them; also what tells one build's schemas from another's.
pub const COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.bin"));

impl Published {
    pub fn unpack() -> Self {
        let mut text = String::new();
        DeflateDecoder::new(COMPRESSED).read_to_string(&mut text).expect("written by the build script");
        let mut lines = HashMap::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            if let Some((name, _)) = line.split_once('\t') {
                lines.insert(name.into(), start..end);
            }
            start = end;
        }
        Self { text, lines }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(|name| &**name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.lines.contains_key(name)
    }

    /// The definitions that the named one refers to.
    pub fn references(&self, name: &str) -> impl Iterator<Item = &str> {
        self.columns(name).map_or("", |(references, _)| references).split_whitespace()
    }

    /// As OpenAPI 3 has it, except that references are bare names.
    pub fn schema(&self, name: &str) -> Option<Value> {
        let (_, schema) = self.columns(name)?;
        serde_json::from_str(schema).ok()
    }

    fn columns(&self, name: &str) -> Option<(&str, &str)> {
        let line = &self.text[self.lines.get(name)?.clone()];
        line.split_once('\t')?.1.split_once('\t')
    }
}
