//! Dynamic resource allocation: device classes, claims, and the slices in which drivers publish devices.

use serde_json::Value;

use super::{
    check::{Node, check, elements, text},
    columns, rules,
    volume::node_selector,
};
use crate::{field::FieldErrors, resource::Column, strategy::Strategy, syntax};

const MAX_REQUESTS: usize = 32;
const MAX_DEVICES: usize = 128;

pub const CLASS: Strategy = Strategy {
    validate: |object, errors| check(object, errors, |root| selectors(&root.get("spec").get("selectors"))),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn selectors(list: &Node<'_>) {
    if list.len() > MAX_REQUESTS {
        list.too_many(MAX_REQUESTS);
    }
    for selector in list.items() {
        // The expression is compiled by who can.
        if !selector.get("cel").is_set() {
            selector.get("cel").required("");
        }
    }
}

pub const CLAIM: Strategy = Strategy {
    default: |object| default_requests(object, &["spec", "devices"]),
    prepare_create: rules::drop_status,
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, |root| claim_spec(&root.get("spec"))),
    validate_update: spec_immutable,
    ..Strategy::DEFAULT
};

pub const CLAIM_TEMPLATE: Strategy = Strategy {
    default: |object| default_requests(object, &["spec", "spec", "devices"]),
    validate: |object, errors| check(object, errors, |root| claim_spec(&root.get("spec").get("spec"))),
    validate_update: spec_immutable,
    ..Strategy::DEFAULT
};

fn spec_immutable(new: &Value, old: &Value, errors: &mut FieldErrors) {
    rules::immutable(new, old, &["spec"], errors);
}

/// One device of a class, unless the request says otherwise.
fn default_requests(object: &mut Value, devices: &[&str]) {
    let Some(devices) = super::edit::at_mut(object, devices) else { return };
    for request in super::edit::each_mut(devices, "requests") {
        if let Some(exactly) = super::edit::at_mut(request, &["exactly"]) {
            default_count(exactly);
        }
        super::edit::each_mut(request, "firstAvailable").for_each(default_count);
    }
}

fn default_count(request: &mut Value) {
    rules::fill_empty(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" && request["count"].as_i64().unwrap_or_default() == 0 {
        super::edit::set(request, "count", 1);
    }
}

fn claim_spec(spec: &Node<'_>) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let devices = spec.get("devices");
    let requests = devices.get("requests");
    if requests.len() > MAX_REQUESTS {
        requests.too_many(MAX_REQUESTS);
    }
    for request in requests.items() {
        request.get("name").required_syntax(syntax::is_dns1123_label);
        let (exactly, alternatives) = (request.get("exactly"), request.get("firstAvailable"));
        match (exactly.is_set(), !alternatives.is_empty()) {
            (false, false) => request.required(ONE),
            (true, true) => request.invalid_value(Value::Null, format!("{ONE}, but multiple fields are set")),
            (true, false) => device_request(&exactly),
            (false, true) => {
                for alternative in alternatives.items() {
                    alternative.get("name").required_syntax(syntax::is_dns1123_label);
                    device_request(&alternative);
                }
                rules::unique(&alternatives, "name");
            }
        }
    }
    rules::unique(&requests, "name");
}

fn device_request(request: &Node<'_>) {
    request.get("deviceClassName").required_syntax(syntax::is_dns1123_subdomain);
    selectors(&request.get("selectors"));
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match mode.text() {
        "All" if count.integer() != 0 => {
            count.invalid("must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count.integer() <= 0 => count.invalid_value(count.integer(), "must be greater than zero"),
        "All" | "ExactCount" => {}
        _ => mode.not_supported(&["All", "ExactCount"]),
    }
}

pub fn claim_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("State", "How far it is allocated.", |object, _| state(object).into()),
        columns::age(),
    ]
}

fn state(object: &Value) -> String {
    let is_deleted = !object["metadata"]["deletionTimestamp"].is_null();
    let is_allocated = !object["status"]["allocation"].is_null();
    let is_reserved = is_allocated && !elements(&object["status"]["reservedFor"]).is_empty();
    let states = [
        (is_deleted, "deleted"),
        (!is_deleted && !is_allocated, "pending"),
        (is_allocated, "allocated"),
        (is_reserved, "reserved"),
    ];
    states.iter().filter(|(holds, _)| *holds).map(|(_, state)| *state).collect::<Vec<_>>().join(",")
}

pub const SLICE: Strategy = Strategy {
    validate: |object, errors| check(object, errors, |root| slice_spec(&root.get("spec"))),
    validate_update: |new, old, errors| {
        rules::immutable(new, old, &["spec.pool.name", "spec.driver", "spec.nodeName"], errors);
    },
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn slice_spec(spec: &Node<'_>) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    rules::csi_driver_name(&spec.get("driver"));
    let pool = spec.get("pool");
    pool.get("name").require();
    if pool.get("resourceSliceCount").integer() <= 0 {
        pool.get("resourceSliceCount")
            .invalid_value(pool.get("resourceSliceCount").integer(), "must be greater than zero");
    }
    if pool.get("generation").integer() < 0 {
        pool.get("generation").invalid("must be greater than or equal to zero");
    }
    let (node_name, selector) = (spec.get("nodeName"), spec.get("nodeSelector"));
    if node_name.is_set() && node_name.is_empty() {
        node_name.invalid("must be either unset or set to a non-empty string");
    }
    node_name.optional_syntax(syntax::is_dns1123_subdomain);
    if selector.is_set() {
        node_selector(&selector);
        if selector.get("nodeSelectorTerms").len() != 1 {
            selector.get("nodeSelectorTerms").invalid("must have exactly one node selector term");
        }
    }
    let mut set: Vec<&str> = Vec::new();
    for field in ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"] {
        let value = spec.get(field);
        if value.value == false {
            value.invalid("must be either unset or set to true");
        } else if !value.is_empty() || value.value.is_object() {
            set.push(field);
        }
    }
    match set[..] {
        [] => spec.required(ONE),
        [_] => {}
        _ => {
            let shown: Vec<String> = set.iter().map(|field| format!("`{field}`")).collect();
            spec.invalid_value(format!("{{{}}}", shown.join(", ")), format!("{ONE}, but multiple fields are set"));
        }
    }
    if spec.get("sharedCounters").is_set() && spec.get("devices").is_set() {
        spec.invalid_value("", "only one of `sharedCounters` or `devices` is allowed");
    }
    let devices = spec.get("devices");
    if devices.len() > MAX_DEVICES {
        devices.too_many(MAX_DEVICES);
    }
    for device in devices.items() {
        device.get("name").required_syntax(syntax::is_dns1123_label);
    }
    rules::unique(&devices, "name");
    rules::unique(&spec.get("sharedCounters"), "name");
}

pub fn slice_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Node", "The node whose devices these are.", |object, _| {
            text(&object["spec"], "nodeName").into()
        }),
        columns::text("Driver", "The driver that published them.", |object, _| text(&object["spec"], "driver").into()),
        columns::text("Pool", "The pool they belong to.", |object, _| text(&object["spec"]["pool"], "name").into()),
        columns::age(),
    ]
}
