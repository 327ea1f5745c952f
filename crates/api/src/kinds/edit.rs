//! Changing documents in place: what defaults and preparations are written with.

use serde_json::{Map, Value};

/// The items of a list field; none where it is missing.
pub fn each_mut<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The value at a path of field names, where every parent is an object that has it.
pub fn at_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(object, |value, field| value.get_mut(field)).filter(|value| !value.is_null())
}

/// The object at a path, made where it is missing; `None` where something else is in the way.
pub fn object_at<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut map = object.as_object_mut()?;
    for field in path {
        let child = map.entry(*field).or_insert(Value::Null);
        if child.is_null() {
            *child = Value::Object(Map::new());
        }
        map = child.as_object_mut()?;
    }
    Some(map)
}

/// Sets a field that is missing; says whether it was.
pub fn fill(object: &mut Value, field: &str, value: impl Into<Value>) -> bool {
    let Some(map) = object.as_object_mut() else { return false };
    let is_missing = map.get(field).is_none_or(Value::is_null);
    if is_missing {
        map.insert(field.to_owned(), value.into());
    }
    is_missing
}

pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

pub fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

/// Makes a field as it is in `from`, absent included.
pub fn copy(object: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => set(object, field, value.clone()),
        None => remove(object, field),
    }
}

/// Gives a pod spec the node affinity of another, and no more.
pub fn copy_node_affinity(spec: &mut Value, from: &Value) {
    let affinity = &from["affinity"];
    if !affinity["nodeAffinity"].is_null() {
        if let Some(map) = object_at(spec, &["affinity"]) {
            map.insert("nodeAffinity".to_owned(), affinity["nodeAffinity"].clone());
        }
    } else if let Some(map) = spec.get_mut("affinity").and_then(Value::as_object_mut) {
        map.remove("nodeAffinity");
        if map.is_empty() && affinity.is_null() {
            remove(spec, "affinity");
        }
    }
}
