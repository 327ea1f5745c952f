//! The schema in a definition, level by level: what is not supported, what the extensions demand, and
//! defaults (apiextensions `validation.go`). Rules are `rule_check`'s.

use std::collections::HashSet;

use api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

use super::{
    declare, rule_check,
    rules::Rules,
    schema::{Additional, KINDS, Kind, Schema},
    structural::{self, is_true},
    validate,
};

const UNSUPPORTED: [(&str, &str); 6] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
];

/// Fields that combine values: not at the root of a schema whose status is a subresource.
const NOT_BESIDE_STATUS: [&str; 6] = ["allOf", "anyOf", "oneOf", "not", "enum", "additionalProperties"];
const BESIDE_STATUS: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// Checks a whole schema.
pub fn validate(schema: &Value, has_status: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let before = errors.len();
    if has_status {
        if schema["type"].as_str().is_some_and(|kind| kind != "object") {
            let detail =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            errors.push(FieldError::invalid(&path.child("type"), schema["type"].clone(), detail));
        } else if NOT_BESIDE_STATUS.iter().any(|name| !schema[*name].is_null()) {
            let detail = format!(
                "only {BESIDE_STATUS} fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.push(FieldError::invalid(path, schema.clone(), detail));
        }
    }
    if is_true(schema, "nullable") {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let structural = structural::validate(schema, path);
    let is_structural = structural.is_empty();
    errors.extend(structural);
    let read = is_structural.then(|| Schema::read(schema));
    if let Some(read) = &read {
        defaults(read, path, true, errors);
    }
    level(schema, path, Place { root: true, ..Place::default() }, errors);
    if errors.len() == before
        && let Some(read) = read.filter(Schema::has_rules)
    {
        rule_check::all(schema, &read, path, errors);
    }
}

/// Where in the schema a level is.
#[derive(Debug, Clone, Copy, Default)]
struct Place<'p> {
    root: bool,
    inside_metadata: bool,
    /// Why a default must not stand here.
    no_default: Option<&'p str>,
}

fn level(schema: &Value, path: &Path<'_>, place: Place<'_>, errors: &mut FieldErrors) {
    if !schema.is_object() {
        return;
    }
    standard(schema, path, place, errors);
    if is_true(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    let below = Place { root: false, ..place };
    let additional = &schema["additionalProperties"];
    let has_properties = schema["properties"].as_object().is_some_and(|properties| !properties.is_empty());
    if !additional.is_null() {
        let additional_path = path.child("additionalProperties");
        if has_properties && *additional != true {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&additional_path, detail));
        }
        let reason = place.inside_metadata.then_some("inside additionalProperties applying to object metadata");
        level(additional, &additional_path, Place { no_default: reason.or(place.no_default), ..below }, errors);
    }
    let properties_path = path.child("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_meta = (place.root || is_true(schema, "x-kubernetes-embedded-resource"))
            && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let reason = format!("in top-level {name}");
        let no_default = if is_meta && place.root { Some(reason.as_str()) } else { place.no_default };
        let place = Place { inside_metadata: place.inside_metadata || is_meta, no_default, ..below };
        level(property, &properties_path.key(name), place, errors);
    }
    for name in ["not", "items"] {
        level(&schema[name], &path.child(name), below, errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        let list_path = path.child(name);
        for (index, nested) in schema[name].as_array().into_iter().flatten().enumerate() {
            level(nested, &list_path.index(index), below, errors);
        }
    }
    extensions(schema, path, errors);
    list_type(schema, path, errors);
    for (index, rule) in schema["x-kubernetes-validations"].as_array().into_iter().flatten().enumerate() {
        rule_check::form(schema, rule, &path.child("x-kubernetes-validations").index(index), errors);
    }
}

fn standard(schema: &Value, path: &Path<'_>, place: Place<'_>, errors: &mut FieldErrors) {
    let type_path = path.child("type");
    let kind = schema["type"].as_str().unwrap_or_default();
    if !kind.is_empty() && KINDS.iter().all(|(known, _)| *known != kind) {
        errors.push(FieldError::not_supported(&type_path, kind, &KINDS.map(|(name, _)| name)));
    }
    if schema.get("default").is_some()
        && let Some(reason) = place.no_default
    {
        errors.push(FieldError::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    for (name, detail) in UNSUPPORTED {
        if !schema[name].is_null() {
            errors.push(FieldError::forbidden(&path.child(name), detail));
        }
    }
    if kind == "null" {
        errors.push(FieldError::forbidden(&type_path, "type cannot be set to null, use nullable as an alternative"));
    }
    if schema["items"].is_array() {
        errors.push(FieldError::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.inside_metadata && is_true(schema, "x-kubernetes-embedded-resource") {
        let detail = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(&path.child("x-kubernetes-embedded-resource"), detail));
    }
}

/// The type that an extension demands.
fn demands(schema: &Value, wanted: &str, extension: &str, path: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let detail = format!("must be {wanted} if {extension} is specified");
    match schema["type"].as_str().unwrap_or_default() {
        kind if kind == wanted => return true,
        "" => errors.push(FieldError::required(&path.child("type"), detail)),
        kind => errors.push(FieldError::invalid(&path.child("type"), kind, detail)),
    }
    false
}

fn extensions(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let preserve = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&preserve, false, "must be true or undefined"));
    }
    if let Some(map_type) = schema["x-kubernetes-map-type"].as_str() {
        demands(schema, "object", "x-kubernetes-map-type", path, errors);
        let names = ["atomic", "granular"];
        if !names.contains(&map_type) {
            errors.push(FieldError::not_supported(&path.child("x-kubernetes-map-type"), map_type, &names));
        }
    }
}

fn list_type(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let type_path = path.child("x-kubernetes-list-type");
    let Some(list_type) = schema["x-kubernetes-list-type"].as_str() else {
        if !keys.is_empty() {
            errors.push(FieldError::required(&type_path, "must be map if x-kubernetes-list-map-keys is non-empty"));
        }
        return;
    };
    let items = &schema["items"];
    let items_path = path.child("items");
    let item_kind = items["type"].as_str().unwrap_or_default();
    if demands(schema, "array", "x-kubernetes-list-type", path, errors) && list_type == "set" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let (name, wrong) = match item_kind {
            "array" => {
                ("x-kubernetes-list-type", items["x-kubernetes-list-type"].as_str().is_some_and(|of| of != "atomic"))
            }
            "object" => ("x-kubernetes-map-type", items["x-kubernetes-map-type"] != "atomic"),
            _ => ("", false),
        };
        if wrong {
            errors.push(FieldError::invalid(&items_path.child(name), items[name].clone(), detail));
        }
    }
    let names = ["atomic", "set", "map"];
    if !names.contains(&list_type) {
        errors.push(FieldError::not_supported(&type_path, list_type, &names));
    }
    if !keys.is_empty() && list_type != "map" {
        errors.push(FieldError::invalid(
            &type_path,
            list_type,
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
    if list_type == "map" {
        map_keys(schema, &keys, path, errors);
    }
    if matches!(list_type, "set" | "map") && is_true(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&items_path.child("nullable"), detail));
    }
}

fn map_keys(schema: &Value, keys: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    let (items, items_path, keys_path) =
        (&schema["items"], path.child("items"), path.child("x-kubernetes-list-map-keys"));
    if keys.is_empty() {
        errors.push(FieldError::required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    if items.is_null() {
        errors.push(FieldError::required(&items_path, "must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&items_path.child("type"), items["type"].clone(), detail));
        return;
    }
    let properties_path = items_path.child("properties");
    let names: HashSet<&Value> = items["required"].as_array().into_iter().flatten().collect();
    let mut seen = HashSet::new();
    for key in keys {
        let key_path = properties_path.key(key);
        let shown = || schema["x-kubernetes-list-map-keys"].clone();
        let Some(property) = items["properties"].get(key) else {
            errors.push(FieldError::invalid(&keys_path, shown(), "entries must all be names of item properties"));
            continue;
        };
        if matches!(property["type"].as_str(), Some("array" | "object")) {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&key_path.child("type"), items["type"].clone(), detail));
        }
        if !seen.insert(key) {
            errors.push(FieldError::invalid(&keys_path, shown(), "must not contain duplicate entries"));
        }
        if !names.contains(&Value::from(*key)) && property.get("default").is_none() {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&key_path.child("default"), detail));
        }
        if is_true(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&key_path.child("nullable"), detail));
        }
    }
}

/// Follows `.spec.labels['a.b']` through a schema: the names on the way and the schema at its end.
pub fn find_path<'s>(schema: &'s Value, path: &str, with_keys: bool) -> Result<(Vec<String>, &'s Value), String> {
    let mut names = Vec::new();
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        let (name, after) = if let Some(inner) = rest.strip_prefix("['") {
            if !with_keys {
                return Err("array notation is not allowed".to_owned());
            }
            inner.split_once("']").ok_or("unexpected end of JSON path")?
        } else if let Some(inner) = rest.strip_prefix('.') {
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        if name.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let next = match schema["properties"].as_object() {
            Some(properties) => properties.get(name),
            None => schema.get("additionalProperties").filter(|values| values.is_object()),
        };
        schema = next.ok_or("does not refer to a valid field")?;
        names.push(name.to_owned());
        rest = after;
    }
    Ok((names, schema))
}

/// Defaults are values that their own schema accepts, without fields that would be pruned.
fn defaults(schema: &Schema, path: &Path<'_>, is_root: bool, errors: &mut FieldErrors) {
    let default_path = path.child("default");
    if let Some(default) = &schema.default {
        if has_unknown(schema, default) {
            errors.push(FieldError::invalid(&default_path, default.clone(), "must not have unknown fields"));
        }
        let mut inner = FieldErrors::new();
        validate::values(schema, default, None, &mut inner);
        validate::embedded(schema, default, &mut inner);
        validate::lists(schema, default, &mut inner);
        if inner.is_empty() && schema.has_rules() {
            Rules::compile(schema, &declare::declared(schema, "default")).validate(default, None, &mut inner);
        }
        errors.extend(inner.into_iter().map(|error| {
            let separator = if error.path.is_empty() || error.path.starts_with('[') { "" } else { "." };
            let inner = error.path.strip_prefix("<nil>").unwrap_or(&error.path);
            let separator = if inner.is_empty() { "" } else { separator };
            FieldError { path: format!("{default_path}{separator}{inner}"), ..error }
        }));
    }
    let properties_path = path.child("properties");
    for (name, property) in &schema.properties {
        if !(is_root && &**name == "metadata") {
            defaults(property, &properties_path.key(name), false, errors);
        }
    }
    if let Some(items) = &schema.items {
        defaults(items, &path.child("items"), false, errors);
    }
    if let Additional::Of(values) = &schema.additional {
        defaults(values, &path.child("additionalProperties"), false, errors);
    }
}

fn has_unknown(schema: &Schema, value: &Value) -> bool {
    match value {
        Value::Array(items) => schema.items.as_ref().is_some_and(|of| items.iter().any(|item| has_unknown(of, item))),
        Value::Object(fields) if schema.kind == Some(Kind::Object) => fields.iter().any(|(name, value)| {
            let meta = schema.embedded_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
            match (schema.properties.get(name.as_str()), &schema.additional) {
                (Some(property), _) => has_unknown(property, value),
                (None, Additional::Of(values)) => has_unknown(values, value),
                (None, Additional::Allowed) => false,
                (None, Additional::Unsaid) => !schema.preserve_unknown && !meta,
            }
        }),
        _ => false,
    }
}
