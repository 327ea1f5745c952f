//! `autoscaling/v1` Scale: what a scalable resource shows and takes through its `scale` endpoint.

use document::jsonpath;
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
    let path = jsonpath::compile(path).ok()?;
    let steps: Vec<String> = path.fields()?.into_iter().map(str::to_owned).collect();
    steps.iter().try_fold(document, |value, step| value.get(step))
}
