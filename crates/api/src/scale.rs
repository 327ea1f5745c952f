//! `autoscaling/v1` Scale: what a scalable resource shows and takes through its `scale` endpoint.

use document::{GoValue, jsonpath};
use serde_json::{Map, Value, json};

use crate::{
    field::{FieldError, FieldErrors, Path},
    kinds::columns::{age, integer, name, number},
    resource::{Column, Resource, ScalePaths},
    selector::LabelSelector,
};

/// The columns of a scale, which are not those of the object.
pub fn columns() -> Vec<Column> {
    vec![
        name(),
        integer("Desired", "The pods wanted.", |scale, _| number(&scale["spec"]["replicas"])),
        integer("Available", "The pods there are.", |scale, _| number(&scale["status"]["replicas"])),
        age(),
    ]
}

/// The scale of an object.
pub fn of(resource: &Resource, paths: &ScalePaths, document: &Value) -> Value {
    let metadata = &document["metadata"];
    let mut scale_metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            scale_metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": scale_metadata,
        "spec": {},
        "status": {"replicas": find(document, &paths.status_replicas).and_then(Value::as_i64).unwrap_or(0)},
    });
    // Zero is left out, as everywhere where zero means nothing was said.
    if let Some(replicas) = find(document, &paths.spec_replicas).and_then(Value::as_i64).filter(|count| *count != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = paths.selector.as_ref().and_then(|path| find(document, path));
    if let Some(text) = selector.and_then(|selector| selector_text(resource, selector)) {
        scale["status"]["selector"] = text.into();
    }
    scale
}

fn selector_text(resource: &Resource, selector: &Value) -> Option<String> {
    match selector {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) if &*resource.storage.topic == "replicationcontrollers" => {
            LabelSelector::from_map(selector).ok().map(|selector| selector.to_string())
        }
        Value::Object(_) => LabelSelector::from_object(selector).ok().map(|selector| selector.to_string()),
        _ => None,
    }
}

pub fn validate(scale: &Value) -> FieldErrors {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas >= 0 {
        return Vec::new();
    }
    let spec = Path::new("spec");
    vec![FieldError::invalid(&spec.child("replicas"), replicas, "must be greater than or equal to 0")]
}

/// What stands in an object of a custom resource where its definition puts the parts of a scale: clients read it by
/// their own types, so nothing else may stand there. A write to the `status` is answerable for the status alone.
pub fn validate_object(paths: &ScalePaths, subresource: &str, document: &Value, errors: &mut FieldErrors) {
    if subresource != "status" {
        validate_replicas(&paths.spec_replicas, document, errors);
    }
    validate_replicas(&paths.status_replicas, document, errors);
    if let Some(path) = &paths.selector
        && let Err(detail) = text_at(document, path)
    {
        errors.push(FieldError::invalid(&Path::new(path), "", detail));
    }
}

fn validate_replicas(path: &str, document: &Value, errors: &mut FieldErrors) {
    const MAX: i64 = i32::MAX as i64;
    let (replicas, detail) = match integer_at(document, path) {
        Err(detail) => (0, detail),
        Ok(replicas @ ..0) => (replicas, "should be a non-negative integer".to_owned()),
        Ok(0..=MAX) => return,
        Ok(replicas) => (replicas, format!("should be less than or equal to {MAX}")),
    };
    errors.push(FieldError::invalid(&Path::new(path), replicas, detail));
}

/// Zero where there is none.
fn integer_at(document: &Value, path: &str) -> Result<i64, String> {
    let Some((value, steps)) = value_at(document, path)? else { return Ok(0) };
    value.as_i64().ok_or_else(|| unfit(&steps, value, "int64"))
}

fn text_at(document: &Value, path: &str) -> Result<(), String> {
    match value_at(document, path)? {
        None | Some((Value::String(_), _)) => Ok(()),
        Some((other, steps)) => Err(unfit(&steps, other, "string")),
    }
}

type Found<'a> = Option<(&'a Value, Vec<String>)>;

/// What a path of fields leads to, and its steps; an error where it would lead through something without fields.
fn value_at<'a>(document: &'a Value, path: &str) -> Result<Found<'a>, String> {
    let Some(steps) = steps(path) else { return Ok(None) };
    let mut value = document;
    for (index, step) in steps.iter().enumerate() {
        let next = match value {
            Value::Object(fields) => fields.get(step),
            Value::Null => None,
            other => return Err(unfit(&steps[..=index], other, "map[string]interface{}")),
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some((value, steps)))
}

fn unfit(steps: &[String], value: &Value, expected: &str) -> String {
    let (at, value) = (steps.join("."), GoValue(value));
    format!(".{at} accessor error: {value} is of the type {}, expected {expected}", value.type_name())
}

/// The object with the scale's replicas written into it.
pub fn write(paths: &ScalePaths, document: &Value, scale: &Value) -> Value {
    let mut document = document.clone();
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    let Some(path) = jsonpath::compile(&paths.spec_replicas).ok() else { return document };
    let Some(steps) = path.fields() else { return document };
    let mut place = &mut document;
    for step in steps {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[step];
    }
    *place = replicas.into();
    document
}

fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.iter().try_fold(document, |value, step| value.get(step))
}

fn steps(path: &str) -> Option<Vec<String>> {
    let path = jsonpath::compile(path).ok()?;
    Some(path.fields()?.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_where_a_scale_is_read_is_that_of_a_scale() {
        let paths = ScalePaths {
            spec_replicas: ".spec.of.r".into(),
            status_replicas: ".status.r".into(),
            selector: Some(".status.s".into()),
        };
        let check = |subresource: &str, document: Value, expect: &[&str]| {
            let mut errors = FieldErrors::new();
            validate_object(&paths, subresource, &document, &mut errors);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors, expect, "{document}");
        };
        check("", json!({}), &[]);
        check("", json!({"spec": {"of": {"r": 2_147_483_647}}, "status": {"r": 0, "s": "a=b"}}), &[]);
        check("", json!({"spec": null, "status": {"s": ""}}), &[]);
        let negative = [
            ".spec.of.r: Invalid value: -5: should be a non-negative integer",
            ".status.r: Invalid value: -1: should be a non-negative integer",
            ".status.s: Invalid value: \"\": .status.s accessor error: 5 is of the type int64, expected string",
        ];
        let wrong = json!({"spec": {"of": {"r": -5}}, "status": {"r": -1, "s": 5}});
        check("", wrong.clone(), &negative);
        check("scale", wrong.clone(), &negative);
        check("status", wrong, &negative[1..]);
        let of_spec = |value: Value, detail: &str| {
            check("", json!({"spec": {"of": {"r": value}}}), &[&format!(".spec.of.r: Invalid value: {detail}")]);
        };
        let unfit = |value: &str| format!("0: .spec.of.r accessor error: {value}, expected int64");
        of_spec(json!(2_147_483_648_u32), "2147483648: should be less than or equal to 2147483647");
        of_spec(json!("x"), &unfit("x is of the type string"));
        of_spec(json!(1.5), &unfit("1.5 is of the type float64"));
        of_spec(json!(u64::MAX), &unfit("18446744073709551615 is of the type float64"));
        of_spec(json!(null), &unfit("<nil> is of the type <nil>"));
        of_spec(json!({"a": [1, true]}), &unfit("map[a:[1 true]] is of the type map[string]interface {}"));
        let on_the_way = ".spec.of.r: Invalid value: 0: .spec.of.r accessor error: x is of the type string, \
                          expected map[string]interface{}";
        check("", json!({"spec": {"of": "x"}}), &[on_the_way]);
    }
}
