//! Device claims and slices: v1beta1 of resource.k8s.io writes a plain request without `exactly`, and a
//! device's properties under `basic`.

use serde_json::{Map, Value};

/// What belongs to a request that is not one of several alternatives.
const REQUEST: [&str; 7] =
    ["adminAccess", "allocationMode", "capacity", "count", "deviceClassName", "selectors", "tolerations"];

pub fn flatten_claim(object: &mut Value) {
    each(object, "/spec/devices/requests", |request| unwrap(request, "exactly"));
}

pub fn nest_claim(object: &mut Value) {
    each(object, "/spec/devices/requests", nest_request);
}

pub fn flatten_template(object: &mut Value) {
    each(object, "/spec/spec/devices/requests", |request| unwrap(request, "exactly"));
}

pub fn nest_template(object: &mut Value) {
    each(object, "/spec/spec/devices/requests", nest_request);
}

pub fn flatten_slice(object: &mut Value) {
    each(object, "/spec/devices", |device| unwrap(device, "basic"));
}

pub fn nest_slice(object: &mut Value) {
    each(object, "/spec/devices", |device| wrap(device, "basic", |field| field != "name"));
}

fn nest_request(request: &mut Map<String, Value>) {
    if !request.contains_key("firstAvailable") {
        wrap(request, "exactly", |field| REQUEST.contains(&field));
    }
}

fn each(object: &mut Value, path: &str, change: impl Fn(&mut Map<String, Value>)) {
    let items = object.pointer_mut(path).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

fn unwrap(item: &mut Map<String, Value>, field: &str) {
    if let Some(Value::Object(inner)) = item.remove(field) {
        item.extend(inner);
    }
}

fn wrap(item: &mut Map<String, Value>, field: &str, belongs: impl Fn(&str) -> bool) {
    let (inner, outer) = std::mem::take(item).into_iter().partition(|(name, _)| belongs(name));
    *item = outer;
    item.insert(field.to_owned(), Value::Object(inner));
}
