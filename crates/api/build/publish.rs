//! `definitions.bin`: the published schemas, deflated. One line a definition: its name, the definitions
//! it refers to, and its schema as OpenAPI 3 has it, with bare names for references.

use std::{collections::BTreeSet, error::Error, io::Write};

use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Map, Value, json};

use crate::definitions::{Definition, Definitions, Field, List, Scalar, reference};

pub fn render(definitions: &Definitions) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::best());
    for (name, definition) in definitions {
        let mut references = BTreeSet::new();
        let mut schema = if definition.scalar.is_some() {
            Scalar::of(name).published()
        } else {
            object(definition, &mut references)
        };
        if !definition.description.is_empty() {
            schema["description"] = definition.description.clone().into();
        }
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        writeln!(out, "{name}\t{}\t{schema}", references.join(" "))?;
    }
    Ok(out.finish()?)
}

fn object(definition: &Definition, references: &mut BTreeSet<String>) -> Value {
    let properties: Map<String, Value> =
        definition.fields.iter().map(|(name, schema)| (name.clone(), field(schema, references))).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !definition.required.is_empty() {
        schema["required"] = definition.required.clone().into();
    }
    if definition.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    schema
}

fn field(field: &Field, references: &mut BTreeSet<String>) -> Value {
    let mut schema = value(&field.schema, references);
    match &field.list {
        List::Set => schema["x-kubernetes-list-type"] = "set".into(),
        List::Map(keys) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = keys.clone().into();
        }
        List::Atomic if schema["type"] == "array" && !field.patch.merge => {
            schema["x-kubernetes-list-type"] = "atomic".into();
        }
        List::Atomic => {}
    }
    if let Some(atomic) = field.atomic {
        schema["x-kubernetes-map-type"] = if atomic { "atomic" } else { "granular" }.into();
    }
    let patch = &field.patch;
    let words = [("merge", patch.merge), ("retainKeys", patch.retain_keys), ("replace", patch.replace)];
    let words: Vec<&str> = words.iter().filter(|(_, set)| *set).map(|(word, _)| *word).collect();
    if !words.is_empty() {
        schema["x-kubernetes-patch-strategy"] = words.join(",").into();
    }
    if let Some(key) = &patch.merge_key {
        schema["x-kubernetes-patch-merge-key"] = key.as_str().into();
    }
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
        schema["default"] = default.clone();
    }
    schema
}

/// A schema with its references bare, and those beside other keywords wrapped, as OpenAPI 3 wants them.
fn value(schema: &Map<String, Value>, references: &mut BTreeSet<String>) -> Value {
    let mut out = Map::new();
    for (key, inner) in schema {
        match (key.as_str(), inner) {
            ("$ref", _) => {
                let name = reference(schema).unwrap_or_default();
                references.insert(name.to_owned());
                out.insert("allOf".to_owned(), json!([{"$ref": name}]));
            }
            ("items" | "additionalProperties", Value::Object(inner)) => {
                out.insert(key.clone(), value(inner, references));
            }
            _ => {
                out.insert(key.clone(), inner.clone());
            }
        }
    }
    Value::Object(out)
}
