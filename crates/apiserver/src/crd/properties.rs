//! The schema in a definition, level by level: what is not supported, what the extensions demand,
//! defaults, and the rules with their estimated cost (apiextensions `validation.go`).

use std::collections::HashSet;

use api::field::{FieldError, FieldErrors, Path, Reason};
use serde_json::Value;

use super::{
    declare,
    rules::{Compiled, Rules},
    schema::{Additional, KINDS, Kind, Schema},
    structural::{self, is_true},
    validate,
};

/// What one expression may cost at worst, and all of one schema together.
const EXPRESSION_LIMIT: u64 = 10_000_000;
const SCHEMA_LIMIT: u64 = 100_000_000;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

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
        rules(schema, &read, path, errors);
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
        rule_form(schema, rule, &path.child("x-kubernetes-validations").index(index), errors);
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

fn rule_form(schema: &Value, rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    let breaks = |text: &str| text.trim().contains(['\n', '\r']);
    let (source, message) = (text("rule"), text("message"));
    let message_path = path.child("message");
    if source.trim().is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&message_path, message, "must be non-empty if specified"));
    } else if breaks(message) {
        errors.push(FieldError::invalid(&message_path, message, "must not contain line breaks"));
    } else if breaks(source) && message.is_empty() {
        errors.push(FieldError::required(&message_path, "message must be specified if rule contains line breaks"));
    }
    if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let field_path = text("fieldPath");
    if field_path.is_empty() {
        return;
    }
    let place = path.child("fieldPath");
    if field_path.trim().is_empty() {
        errors.push(FieldError::invalid(&place, field_path, "must be non-empty if specified"));
    }
    if field_path.contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&place, field_path, "must not contain line breaks"));
    }
    if find_path(schema, field_path, true).is_err() {
        errors.push(FieldError::invalid(&place, field_path, "must be a valid path"));
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

fn rules(schema: &Value, read: &Schema, path: &Path<'_>, errors: &mut FieldErrors) {
    let compiled = Rules::compile(read, &declare::root(read));
    let mut costs = Costs::default();
    level_rules(&compiled, schema, path, Some(1), None, &mut costs, errors);
    if costs.total > SCHEMA_LIMIT {
        costs.most.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, place) in costs.most.iter().take(4) {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema".to_owned();
            errors.push(FieldError { reason: Reason::Forbidden, path: place.clone(), value: None, detail });
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, over_budget(name, costs.total, SCHEMA_LIMIT)));
    }
}

#[derive(Debug, Default)]
struct Costs {
    total: u64,
    most: Vec<(u64, String)>,
}

/// `occurrences` is how often this level occurs in an object, where that is bounded. `uncorrelatable`
/// is the list around whose items have no earlier state.
fn level_rules(
    rules: &Rules,
    schema: &Value,
    path: &Path<'_>,
    occurrences: Option<u64>,
    uncorrelatable: Option<&str>,
    costs: &mut Costs,
    errors: &mut FieldErrors,
) {
    let list_path = path.child("x-kubernetes-validations");
    let times = occurrences.unwrap_or_else(|| rules.most());
    for (index, compiled) in rules.here.iter().enumerate() {
        let raw = &schema["x-kubernetes-validations"][index];
        one_rule(compiled, raw, &list_path.index(index), times, uncorrelatable, costs, errors);
    }
    let properties_path = path.child("properties");
    for (name, inner) in &rules.properties {
        let property = &schema["properties"][&**name];
        level_rules(inner, property, &properties_path.key(name), occurrences, uncorrelatable, costs, errors);
    }
    let below = occurrences.zip(rules.declared_count()).map(|(times, count)| times.saturating_mul(count));
    if let Some(inner) = &rules.additional {
        let schema = &schema["additionalProperties"];
        level_rules(inner, schema, &path.child("additionalProperties"), below, uncorrelatable, costs, errors);
    }
    if let Some(inner) = &rules.items {
        let here = path.to_string();
        let keyed = schema["x-kubernetes-list-type"] == "map";
        let uncorrelatable = uncorrelatable.or((!keyed).then_some(here.as_str()));
        level_rules(inner, &schema["items"], &path.child("items"), below, uncorrelatable, costs, errors);
    }
}

fn one_rule(
    compiled: &Compiled,
    raw: &Value,
    path: &Path<'_>,
    times: u64,
    uncorrelatable: Option<&str>,
    costs: &mut Costs,
    errors: &mut FieldErrors,
) {
    let rule_path = path.child("rule");
    match &compiled.program {
        Ok(program) => {
            let cost = program.max_cost.saturating_mul(times);
            charge(cost, "estimated rule cost", &rule_path, costs, errors);
        }
        Err(problem) => errors.push(wrong_rule(&rule_path, raw, problem)),
    }
    let message_path = path.child("messageExpression");
    match &compiled.message {
        Some(Ok(program)) => charge(program.max_cost, "estimated messageExpression cost", &message_path, costs, errors),
        Some(Err(problem)) => errors.push(wrong_rule(&message_path, raw, problem)),
        None => {}
    }
    if compiled.uses_old_self {
        if let Some(place) = uncorrelatable {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
            errors.push(FieldError::invalid(&rule_path, &*compiled.rule.rule, detail));
        }
    } else if let Some(optional) = compiled.rule.optional_old_self {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, detail));
    }
}

/// The whole rule is shown, with the names and in the order that its fields have inside Kubernetes.
fn wrong_rule(path: &Path<'_>, rule: &Value, problem: &str) -> FieldError {
    let empty = Value::from("");
    let fields = [
        ("Rule", rule.get("rule").unwrap_or(&empty)),
        ("Message", rule.get("message").unwrap_or(&empty)),
        ("MessageExpression", rule.get("messageExpression").unwrap_or(&empty)),
        ("Reason", &rule["reason"]),
        ("FieldPath", rule.get("fieldPath").unwrap_or(&empty)),
        ("OptionalOldSelf", &rule["optionalOldSelf"]),
    ];
    let shown: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    // As Go writes JSON.
    let shown = shown.join(",").replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let detail = format!("{{{shown}}}: {problem}");
    FieldError { reason: Reason::Invalid, path: path.to_string(), value: None, detail }
}

fn charge(cost: u64, name: &str, path: &Path<'_>, costs: &mut Costs, errors: &mut FieldErrors) {
    if cost > EXPRESSION_LIMIT {
        errors.push(FieldError::forbidden(path, over_budget(name, cost, EXPRESSION_LIMIT)));
    }
    costs.total = costs.total.saturating_add(cost);
    costs.most.push((cost, path.to_string()));
}

fn over_budget(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let shown = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
