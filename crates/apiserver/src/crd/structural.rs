//! What makes a schema structural: every field has a type of its own, and the logical combinations
//! only restrict values (apiextensions `schema/validation.go`).

use api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};

use crate::pattern;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What a nested value validation must not have, and how that is said.
const FORBIDDEN_IN_NESTED: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// The errors in the order of their texts, as Kubernetes sorts them.
pub fn validate(schema: &Value, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

pub fn is_true(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn said(schema: &Value, name: &str) -> bool {
    match &schema[name] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn invariants(schema: &Value, level: Level, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = schema["type"].as_str().unwrap_or_default();
    let type_path = path.child("type");
    let embedded = is_true(schema, "x-kubernetes-embedded-resource");
    let int_or_string = is_true(schema, "x-kubernetes-int-or-string");
    let preserves = is_true(schema, "x-kubernetes-preserve-unknown-fields");
    let items_path = path.child("items");
    if kind == "array" && schema["items"].is_null() {
        errors.push(FieldError::required(&items_path, "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &items_path, errors);
    }
    let properties_path = path.child("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        invariants(property, Level::Field, &properties_path.key(name), errors);
    }
    let additional_path = path.child("additionalProperties");
    let additional = &schema["additionalProperties"];
    if !additional.is_null() && level == Level::Root {
        errors.push(FieldError::forbidden(&additional_path, "must not be used at the root"));
    }
    if additional.is_object() {
        invariants(additional, Level::Field, &additional_path, errors);
    }
    if int_or_string {
        for (set, name) in
            [(preserves, "x-kubernetes-preserve-unknown-fields"), (embedded, "x-kubernetes-embedded-resource")]
        {
            if set {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                errors.push(FieldError::invalid(&path.child(name), true, detail));
            }
        }
    }
    let any_of = int_or_string_alternatives();
    let skip_any_of = schema["anyOf"] == any_of;
    let skip_first_all_of = schema["allOf"][0]["anyOf"] == any_of;
    value_validation(schema, skip_any_of, skip_first_all_of, path, errors);
    let checks_metadata = level == Level::Root || embedded;
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&type_path, detail)
        } else {
            FieldError::invalid(&type_path, kind, detail)
        });
    } else if kind.is_empty() && !int_or_string && !preserves {
        let place = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&type_path, place));
    }
    if embedded && !additional.is_null() {
        errors
            .push(FieldError::forbidden(&additional_path, "must not be used if x-kubernetes-embedded-resource is set"));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&type_path, kind, "must be object at the root"));
    }
    if checks_metadata {
        for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
            let property = &schema["properties"][name];
            if !property.is_null() && property["type"] != wanted {
                let actual = property["type"].as_str().unwrap_or_default();
                let detail = format!("must be {wanted}");
                errors.push(FieldError::invalid(&properties_path.key(name).child("type"), actual, detail));
            }
        }
    }
    if level == Level::Root && !metadata_is_plain(&schema["properties"]["metadata"]) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&properties_path.key("metadata"), detail));
    }
    if embedded && !preserves && !said(schema, "properties") {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&properties_path, detail));
    }
}

fn int_or_string_alternatives() -> Value {
    json!([{"type": "integer"}, {"type": "string"}])
}

/// Metadata may be restricted in its names only.
fn metadata_is_plain(metadata: &Value) -> bool {
    let mut fields = metadata.as_object().into_iter().flatten();
    fields.all(|(name, value)| match name.as_str() {
        "type" | "default" => true,
        "properties" => value
            .as_object()
            .is_some_and(|names| names.keys().all(|name| matches!(name.as_str(), "name" | "generateName"))),
        _ => !said(metadata, name),
    })
}

fn value_validation(
    schema: &Value,
    skip_any_of: bool,
    skip_first_all_of: bool,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any_of {
            continue;
        }
        let list_path = path.child(name);
        for (index, nested_schema) in schema[name].as_array().into_iter().flatten().enumerate() {
            let skip = name == "allOf" && index == 0 && skip_first_all_of;
            nested(nested_schema, skip, &list_path.index(index), errors);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], false, &path.child("not"), errors);
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(problem) = pattern::compile(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {problem}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, detail));
    }
}

fn nested(schema: &Value, skip_any_of: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    value_validation(schema, skip_any_of, false, path, errors);
    if schema["items"].is_object() {
        nested(&schema["items"], false, &path.child("items"), errors);
    }
    let properties_path = path.child("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nested(property, false, &properties_path.key(name), errors);
    }
    for (name, detail) in FORBIDDEN_IN_NESTED {
        let present = if name == "default" { schema.get(name).is_some() } else { said(schema, name) };
        if present {
            errors.push(FieldError::forbidden(&path.child(name), detail));
        }
    }
    if schema["properties"].get("metadata").is_some() {
        errors
            .push(FieldError::forbidden(&properties_path.key("metadata"), "must not be specified in a nested context"));
    }
}

/// Whatever a combination restricts, the structure outside of it declares.
fn complete(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["allOf", "anyOf", "oneOf"] {
        let list_path = path.child(name);
        for (index, nested) in schema[name].as_array().into_iter().flatten().enumerate() {
            declared(schema, nested, path, &list_path.index(index), errors);
        }
    }
    if schema["not"].is_object() {
        declared(schema, &schema["not"], path, &path.child("not"), errors);
    }
}

fn declared(outer: &Value, nested: &Value, outer_path: &Path<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let detail = |path: &Path<'_>| format!("because it is defined in {path}");
    if nested["items"].is_object() {
        let (nested_path, place) = (path.child("items"), outer_path.child("items"));
        if outer["items"].is_object() {
            declared(&outer["items"], &nested["items"], &place, &nested_path, errors);
        } else {
            errors.push(FieldError::required(&place, detail(&nested_path)));
        }
    }
    let (properties, nested_properties) = (outer_path.child("properties"), path.child("properties"));
    for (name, property) in nested["properties"].as_object().into_iter().flatten() {
        let (place, nested_path) = (properties.key(name), nested_properties.key(name));
        match outer["properties"].get(name) {
            Some(known) => declared(known, property, &place, &nested_path, errors),
            None => errors.push(FieldError::required(&place, detail(&nested_path))),
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let list_path = path.child(name);
        for (index, deeper) in nested[name].as_array().into_iter().flatten().enumerate() {
            declared(outer, deeper, outer_path, &list_path.index(index), errors);
        }
    }
    if nested["not"].is_object() {
        declared(outer, &nested["not"], outer_path, &path.child("not"), errors);
    }
}
