//! An object as it is stored: an immutable envelope of its selectable properties and its JSON, encoded
//! once, when it is committed (wall W2).
//!
//! ```text
//! u32 length of the index │ index │ {"kind":"Pod","apiVersion":"v1","metadata":{…,"resourceVersion":"▢",…
//! index = u64 schema hash │ u16 labels │ (text, text)… │ u16 fields │ (text, text)…      text = u16 length │ UTF-8
//! ```
//!
//! The index lets selectors match without decoding; the hole at `▢` is filled by the store with the
//! revision of the commit. GET sends the JSON as it is; an item of a list is the same bytes without
//! `kind` and `apiVersion`, which stand first for that reason.

use api::resource::Resource;
use bytes::Bytes;
use serde_json::{Map, Value};
use store::{Entry, Template};

/// A view of one stored object.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    index: &'a [u8],
    json: &'a Bytes,
    json_start: usize,
}

impl<'a> Stored<'a> {
    /// `None` for bytes that are not an envelope: a damaged or foreign store.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        let (length, rest) = entry.value.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let index = rest.get(..length)?;
        (index.len() >= 12).then_some(Self { index, json: &entry.value, json_start: 4 + length })
    }

    /// The whole document, shared, not copied.
    pub fn json(self) -> Bytes {
        self.json.slice(self.json_start..)
    }

    pub fn json_slice(self) -> &'a [u8] {
        &self.json[self.json_start..]
    }

    /// The hash of the schema under which the document was defaulted and pruned.
    pub fn schema_hash(self) -> u64 {
        self.index.first_chunk().map_or(0, |hash| u64::from_le_bytes(*hash))
    }

    pub fn labels(self) -> Pairs<'a> {
        Pairs::at(self.index, 8)
    }

    /// The values of the resource's selectable fields.
    pub fn fields(self) -> Pairs<'a> {
        let mut labels = self.labels();
        while labels.next().is_some() {}
        Pairs::at(self.index, labels.position)
    }

    pub fn decode(self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(self.json_slice())
    }
}

/// Name and value of labels or fields, in the order of their names.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    index: &'a [u8],
    position: usize,
    left: u16,
}

impl<'a> Pairs<'a> {
    fn at(index: &'a [u8], position: usize) -> Self {
        let left = index.get(position..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u16::from_le_bytes(*n));
        Self { index, position: position + 2, left }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(*self.index.get(self.position..)?.first_chunk()?) as usize;
        let start = self.position + 2;
        self.position = start + length;
        std::str::from_utf8(self.index.get(start..self.position)?).ok()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.text()?, self.text()?))
    }
}

/// Encodes a document in its storage version. `metadata.resourceVersion` is left to the store.
pub fn encode(resource: &Resource, document: &Value) -> Template {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&resource.stored_hash().to_le_bytes());
    let labels = document["metadata"]["labels"].as_object();
    let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    write_pairs(&mut bytes, labels);
    let fields: Vec<(&str, String)> =
        resource.selectable.iter().map(|field| (&*field.label, field_value(field, document))).collect();
    write_pairs(&mut bytes, fields.iter().map(|(label, value)| (*label, value.as_str())));
    let index_length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&index_length.to_le_bytes());
    let hole = write_json(&mut bytes, &resource.storage.kind, &resource.storage.api_version, document);
    Template::with_revision_at(bytes, hole)
}

fn write_pairs<'a>(bytes: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let count_at = bytes.len();
    bytes.extend_from_slice(&[0; 2]);
    let mut count: u16 = 0;
    for (name, value) in pairs {
        // Longer names and values never pass validation.
        let (Ok(name_length), Ok(value_length)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
            continue;
        };
        bytes.extend_from_slice(&name_length.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&value_length.to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        count = count.saturating_add(1);
    }
    bytes[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
}

/// The value by which a selectable field is compared, as text.
pub fn field_value(field: &api::resource::SelectableField, document: &Value) -> String {
    let text_at = |path: &[Box<str>]| {
        let found = path.iter().try_fold(document, |value, step| value.get(&**step))?;
        match found {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            // No second field was named.
            Value::Object(_) if path.is_empty() => None,
            other => Some(other.to_string()),
        }
    };
    text_at(&field.path).or_else(|| text_at(&field.second)).unwrap_or_else(|| field.default.to_string())
}

/// `{"kind":"Pod","apiVersion":"v1",`: what stands before the rest of a stored document.
pub fn type_prefix(kind: &str, api_version: &str) -> String {
    format!("{{\"kind\":{},\"apiVersion\":{},", Value::from(kind), Value::from(api_version))
}

/// Writes the document with its type first; returns where the revision belongs.
fn write_json(bytes: &mut Vec<u8>, kind: &str, api_version: &str, document: &Value) -> usize {
    bytes.extend_from_slice(type_prefix(kind, api_version).as_bytes());
    let empty = Map::new();
    let document = document.as_object().unwrap_or(&empty);
    let metadata = document.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    bytes.extend_from_slice(b"\"metadata\":{");
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
        write_member(bytes, key, value);
        bytes.push(b',');
    }
    bytes.extend_from_slice(b"\"resourceVersion\":\"");
    let hole = bytes.len();
    bytes.extend_from_slice(b"\"}");
    for (key, value) in document {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            bytes.push(b',');
            write_member(bytes, key, value);
        }
    }
    bytes.push(b'}');
    hole
}

fn write_member(bytes: &mut Vec<u8>, key: &str, value: &Value) {
    // Writing JSON into memory cannot fail.
    let _ = serde_json::to_writer(&mut *bytes, key);
    bytes.push(b':');
    let _ = serde_json::to_writer(&mut *bytes, value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::engine::testing::resource;

    fn entry(resource: &Resource, document: &Value) -> Entry {
        let value = encode(resource, document).fill(42);
        Entry { key: Arc::from("pods/default/a"), value, created: 42, modified: 42 }
    }

    #[test]
    fn an_envelope_reads_back() {
        let resource = resource("pods");
        let document = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "labels": {"app": "web", "tier": "ü\""}, "resourceVersion": "7"},
            "spec": {"nodeName": "n1"},
        });
        let entry = entry(&resource, &document);
        let stored = Stored::of(&entry).unwrap();
        assert_eq!(stored.labels().collect::<Vec<_>>(), [("app", "web"), ("tier", "ü\"")]);
        assert!(stored.fields().any(|pair| pair == ("spec.nodeName", "n1")));
        let mut expect = document.clone();
        expect["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(stored.decode().unwrap(), expect);
        assert!(stored.json().starts_with(type_prefix("Pod", "v1").as_bytes()));
    }

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        for value in [&b""[..], b"\x01", b"\xff\xff\xff\xff{}", b"\x02\0\0\0{}"] {
            let entry = Entry { key: Arc::from("x"), value: Bytes::from_static(value), created: 1, modified: 1 };
            assert!(Stored::of(&entry).is_none(), "{value:?}");
        }
    }
}
