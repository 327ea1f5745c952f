//! Events, which two groups serve: they are stored as core/v1 and shown as events.k8s.io/v1 too.

use serde_json::Value;

use super::{
    check::{Node, check, is_empty, semantically_equal, text},
    columns::{self},
    edit,
};
use crate::{
    resource::{Column, Conversion},
    strategy::{Dependents, NameRule, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    prepare_create: fill_in,
    prepare_update: |new, _| fill_in(new),
    validate: |object, errors| check(object, errors, |root| legacy(root, "reportingComponent")),
    create_on_update: true,
    name: NameRule::PathSegment,
    dependents: Dependents::None,
    ..Strategy::DEFAULT
};

/// events.k8s.io/v1 asks for more, and lets only the series of an event change.
pub const STRICT_STRATEGY: Strategy = Strategy {
    validate: |object, errors| check(object, errors, |root| legacy(root, "reportingController")),
    validate_create: |object, errors| check(object, errors, strict),
    validate_update: |new, old, errors| check(new, errors, |root| strict_update(root, old)),
    ..STRATEGY
};

/// Between core/v1, as stored, and events.k8s.io/v1.
pub const CONVERSION: Conversion = Conversion {
    from_storage: |event| {
        rename(event, "events.k8s.io/v1", |(core, events)| (core, events));
        for field in ["reportingController", "reportingInstance"] {
            if event[field] == "" {
                edit::remove(event, field);
            }
        }
    },
    to_storage: |event| rename(event, "v1", |(core, events)| (events, core)),
};

/// (core/v1, events.k8s.io/v1)
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// What core/v1 says also where there is nothing to say; of these, events.k8s.io/v1 says the times.
fn fill_in(event: &mut Value) {
    let Some(event) = event.as_object_mut() else { return };
    for field in ["eventTime", "firstTimestamp", "lastTimestamp"] {
        event.entry(field).or_insert(Value::Null);
    }
    for field in ["reportingComponent", "reportingInstance"] {
        event.entry(field).or_insert_with(|| "".into());
    }
}

type Names = (&'static str, &'static str);

fn rename(event: &mut Value, api_version: &str, direction: fn(Names) -> Names) {
    edit::set(event, "apiVersion", api_version);
    let Some(event) = event.as_object_mut() else { return };
    for (from, to) in NAMES.map(direction) {
        if let Some(value) = event.remove(from) {
            event.insert(to.to_owned(), value);
        }
    }
}

/// The rules of core/v1, which hold for both groups. `reporter` is what the group calls who reports.
fn legacy(root: &Node<'_>, reporter: &'static str) {
    let namespace = text(&root.value["metadata"], "namespace");
    let involved = root.get("involvedObject");
    let involved_namespace = involved.get("namespace");
    let is_legacy = is_empty(&root.value["eventTime"]);
    let matches = match (is_legacy, involved_namespace.text()) {
        (true, "") => matches!(namespace, "" | "default"),
        (true, involved) => involved == namespace,
        (false, "") => matches!(namespace, "default" | "kube-system"),
        (false, _) => true,
    };
    if !matches {
        involved_namespace.invalid_value(involved_namespace.text(), "does not match event.namespace");
    }
    if is_legacy {
        return;
    }
    let component = root.get(reporter);
    let component = component.showing(&root.value["reportingComponent"]);
    component.require();
    component.syntax(syntax::is_qualified_name);
    for (field, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
        root.get(field).require();
        at_most(&root.get(field), limit);
    }
    at_most(&root.get("message"), 1024);
}

/// What is asked of a new event, in the words of its stored form.
fn strict(root: &Node<'_>) {
    let metadata = root.get("metadata");
    metadata.get("name").syntax(syntax::is_dns1123_subdomain);
    series(root);
    root.get("eventTime").require();
    let kind = root.get("type");
    if !matches!(kind.text(), "Normal" | "Warning") {
        kind.invalid_value("", format!("has invalid value: {}", kind.text()));
    }
    let counted = root.get("count").integer() != 0;
    let sourced = ["component", "host"].iter().any(|field| !text(&root.value["source"], field).is_empty());
    for (field, is_set) in [
        ("firstTimestamp", !root.get("firstTimestamp").is_empty()),
        ("lastTimestamp", !root.get("lastTimestamp").is_empty()),
        ("count", counted),
        ("source", sourced),
    ] {
        if is_set {
            root.get(field).invalid_value("", "needs to be unset");
        }
    }
}

fn series(root: &Node<'_>) {
    let series = root.get("series");
    if !series.is_set() {
        return;
    }
    if series.get("count").integer() < 2 {
        root.get("series.count").invalid_value("", "should be at least 2");
    }
    if series.get("lastObservedTime").is_empty() {
        root.get("series.lastObservedTime").required("");
    }
}

/// Of an event that has happened, only how often it did can change.
fn strict_update(root: &Node<'_>, old: &Value) {
    if !semantically_equal(root.get("series").value, &old["series"]) {
        series(root);
    }
    let frozen = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
    ];
    frozen.iter().for_each(|field| root.get(field).immutable(&old[*field]));
    root.get("reportingController").showing(&root.value["reportingComponent"]).immutable(&old["reportingComponent"]);
    root.get("reportingInstance").immutable(&old["reportingInstance"]);
}

fn at_most(field: &Node<'_>, limit: usize) {
    if field.text().len() > limit {
        field.invalid_value("", format!("can have at most {limit} characters"));
    }
}

fn first_seen(event: &Value, now: i64) -> String {
    let first = &event["firstTimestamp"];
    columns::since(if is_empty(first) { &event["eventTime"] } else { first }, now)
}

fn last_seen(event: &Value, now: i64) -> String {
    match (&event["series"], &event["lastTimestamp"]) {
        (series @ Value::Object(_), _) => columns::since(&series["lastObservedTime"], now),
        (_, last) if is_empty(last) => first_seen(event, now),
        (_, last) => columns::since(last, now),
    }
}

fn count(event: &Value) -> i64 {
    let count = if event["series"].is_object() { &event["series"]["count"] } else { &event["count"] };
    match count.as_i64().unwrap_or_default() {
        0 if !event["series"].is_object() => 1,
        count => count,
    }
}

fn source(event: &Value) -> String {
    let either = |field: &str, reporting: &str| match text(&event["source"], field) {
        "" => text(event, reporting).to_owned(),
        found => found.to_owned(),
    };
    let (component, instance) = (either("component", "reportingComponent"), either("host", "reportingInstance"));
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}

fn target(event: &Value) -> String {
    let involved = &event["involvedObject"];
    match (text(involved, "kind").to_lowercase(), text(involved, "name")) {
        (kind, "") => kind,
        (kind, name) => format!("{kind}/{name}"),
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::text("Last Seen", "When it was seen last.", |event, now| last_seen(event, now).into()),
        columns::text("Type", "Normal or Warning.", |event, _| text(event, "type").into()),
        columns::text("Reason", "Why it happened, in a word.", |event, _| text(event, "reason").into()),
        columns::text("Object", "What it happened to.", |event, _| target(event).into()),
        columns::wide(columns::text("Subobject", "The part it happened to.", |event, _| {
            text(&event["involvedObject"], "fieldPath").into()
        })),
        columns::wide(columns::text("Source", "Who reported it.", |event, _| source(event).into())),
        columns::text("Message", "What happened.", |event, _| text(event, "message").trim().into()),
        columns::wide(columns::text("First Seen", "When it was seen first.", |event, now| {
            first_seen(event, now).into()
        })),
        columns::wide(columns::text("Count", "How often it was seen.", |event, _| count(event).into())),
        columns::wide(columns::name()),
    ]
}
