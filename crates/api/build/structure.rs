//! `types.txt`: the structure of the types, in words that the loader reads without looking back.
//!
//! ```text
//! io.k8s.api.core.v1.PodSpec object            a type with fields; "atomic" for one that is owned as a whole
//!  containers - list map:name merge:name 12    name, flags, type; 12 is the type on the file's 13th line
//!  dnsPolicy o string = "ClusterFirst"         a constant default after "="
//! io.k8s.apimachinery.pkg.apis.meta.v1.Time time
//! ```
//! Flags: `o` an empty value is left out, `r` a patch replaces the object, `k` a patch retains keys.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value};

use crate::definitions::{Definition, Definitions, Field, List, Scalar, reference};

pub fn render(definitions: &Definitions) -> String {
    let numbers: BTreeMap<&str, usize> =
        definitions.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let mut out = String::new();
    for (name, definition) in definitions {
        match &definition.scalar {
            Some(_) => {
                let words = match Scalar::of(name) {
                    Scalar::Quantity => "quantity".to_owned(),
                    Scalar::IntOrString => "int-or-string".to_owned(),
                    Scalar::Time => "time".to_owned(),
                    Scalar::MicroTime => "microtime".to_owned(),
                    Scalar::Any => "any".to_owned(),
                    Scalar::Schema => numbers[name.strip_suffix("OrArray").unwrap_or(name)].to_string(),
                };
                let _ = writeln!(out, "{name} {words}");
            }
            None => object(&mut out, name, definition, &numbers),
        }
    }
    out
}

fn object(out: &mut String, name: &str, definition: &Definition, numbers: &BTreeMap<&str, usize>) {
    let shape = if definition.atomic { "atomic" } else { "object" };
    let _ = writeln!(out, "{name} {shape}");
    for (name, field) in &definition.fields {
        let _ = write!(out, " {name} {} ", flags(field));
        field_type(out, field, numbers);
        if let Some(default) = &field.default {
            let _ = write!(out, " = {default}");
        }
        out.push('\n');
    }
}

fn flags(field: &Field) -> String {
    let flags = [
        ('o', field.omit_empty),
        ('s', field.always_there),
        ('r', field.patch.replace),
        ('k', field.patch.retain_keys),
    ];
    let set: String = flags.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect();
    if set.is_empty() { "-".to_owned() } else { set }
}

fn field_type(out: &mut String, field: &Field, numbers: &BTreeMap<&str, usize>) {
    match field.atomic {
        // The type of an object with its topology overridden.
        Some(atomic) if field.schema.contains_key("$ref") => {
            out.push_str(if atomic { "atomic " } else { "granular " });
            value_type(out, &field.schema, numbers);
        }
        atomic => match field.schema.get("type").and_then(Value::as_str) {
            Some("array") => {
                let topology = match &field.list {
                    List::Atomic => "atomic".to_owned(),
                    List::Set => "set".to_owned(),
                    List::Map(keys) => format!("map:{}", keys.join(",")),
                };
                let patch = match (&field.patch.merge_key, field.patch.merge) {
                    (Some(key), _) => format!("merge:{key}"),
                    (None, true) => "merge".to_owned(),
                    (None, false) => "replace".to_owned(),
                };
                let _ = write!(out, "list {topology} {patch} ");
                value_type(out, inner(&field.schema, "items"), numbers);
            }
            Some("object") if atomic == Some(true) => {
                out.push_str("map atomic ");
                value_type(out, inner(&field.schema, "additionalProperties"), numbers);
            }
            _ => value_type(out, &field.schema, numbers),
        },
    }
}

fn value_type(out: &mut String, schema: &Map<String, Value>, numbers: &BTreeMap<&str, usize>) {
    if let Some(name) = reference(schema) {
        let _ = write!(out, "{}", numbers[name]);
        return;
    }
    let word = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    match (word("type"), word("format")) {
        ("array", _) => {
            out.push_str("list atomic replace ");
            value_type(out, inner(schema, "items"), numbers);
        }
        ("object", _) if schema.contains_key("additionalProperties") => {
            out.push_str("map granular ");
            value_type(out, inner(schema, "additionalProperties"), numbers);
        }
        ("string", "byte") => out.push_str("bytes"),
        ("integer", "int64") => out.push_str("int64"),
        ("integer", _) => out.push_str("int32"),
        (word @ ("boolean" | "string" | "number"), _) => out.push_str(word),
        _ => out.push_str("any"),
    }
}

fn inner<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a Map<String, Value> {
    schema[key].as_object().expect("items and additionalProperties are schemas")
}
