//! What the workloads share: a selector that must fit a template, bounded rollouts, counted replicas.

use serde_json::Value;

use super::{
    check::{Node, elements, is_empty, text},
    columns::{self, labels, selector as selector_text, wide},
    pod,
};
use crate::{metadata, resource::Column, selector::LabelSelector, syntax};

/// A selector that a workload cannot be without, and the template that it must match.
pub fn selector_and_template(spec: &Node<'_>, kind: &str) {
    let selector = spec.get("selector");
    if !selector.is_set() {
        selector.required("");
    } else {
        selector.with(metadata::validate_label_selector);
        if is_empty(&selector.value["matchLabels"]) && is_empty(&selector.value["matchExpressions"]) {
            selector.invalid(format!("empty selector is invalid for {kind}"));
        }
    }
}

/// Whether `selector` accepts the labels of the template; where it is no selector, that is reported.
pub fn template_matches(spec: &Node<'_>, unless_malformed: &str) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    match LabelSelector::from_object(selector.value) {
        Err(_) => selector.invalid(unless_malformed),
        Ok(parsed) => labels_match(&template, &parsed),
    }
}

pub fn labels_match(template: &Node<'_>, selector: &LabelSelector) {
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    if !selector.is_everything() && !selector.matches_labels(labels.value) {
        refuse_labels(template);
    }
}

pub fn refuse_labels(template: &Node<'_>) {
    let metadata = template.get("metadata");
    metadata.get("labels").invalid("`selector` does not match template `labels`");
}

/// The template of a workload that keeps its pods running.
pub fn always_running(template: &Node<'_>, owner: &str) {
    let spec = template.get("spec");
    let policy = spec.get("restartPolicy");
    if policy.text() != "Always" {
        policy.not_supported(&["Always"]);
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(format!("activeDeadlineSeconds in {owner} is not Supported"));
    }
}

/// A whole number that is not negative, or a percentage.
pub fn integer_or_percent(node: &Node<'_>) {
    match node.value {
        Value::String(text) => {
            for error in syntax::is_percent(text) {
                node.invalid(error);
            }
        }
        _ => node.non_negative(),
    }
}

/// The number, or that before the percent sign; 0 for what is neither.
pub fn integer_or_percent_value(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.trim_end_matches('%').parse().unwrap_or_default(),
        other => other.as_i64().unwrap_or_default(),
    }
}

pub fn at_most_all(node: &Node<'_>) {
    let is_percent = node.value.as_str().is_some_and(|text| syntax::is_percent(text).is_empty());
    if is_percent && integer_or_percent_value(node.value) > 100 {
        node.invalid("must not be greater than 100%");
    }
}

pub fn non_negative(node: &Node<'_>, fields: &[&str]) {
    fields.iter().for_each(|field| node.get(field).non_negative());
}

/// The counters of a status: none negative, those of a part not above the whole.
pub fn replica_counts(status: &Node<'_>, parts: &[&str], ready: &str) {
    let whole = status.get("replicas").integer();
    for part in parts.iter().filter(|part| status.get(part).integer() > whole) {
        status.get(part).invalid("cannot be greater than status.replicas");
    }
    if status.get("availableReplicas").integer() > status.get("readyReplicas").integer() {
        status.get("availableReplicas").invalid(format!("cannot be greater than {ready}"));
    }
}

pub fn never_decremented(node: &Node<'_>, old: &Value) {
    if node.integer() < old.as_i64().unwrap_or_default() {
        node.invalid_value(node.integer(), "cannot be decremented");
    }
}

fn joined(template: &Value, field: &str) -> Value {
    let containers = elements(&template["spec"]["containers"]).iter();
    containers.map(|container| text(container, field)).collect::<Vec<_>>().join(",").into()
}

pub fn containers_of(template: &Value) -> Value {
    joined(template, "name")
}

pub fn images_of(template: &Value) -> Value {
    joined(template, "image")
}

pub fn replicas(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The wide columns of the workloads whose template is at `spec.template`.
pub fn wide_columns() -> Vec<Column> {
    vec![
        wide(columns::text("Containers", CONTAINERS, |object, _| containers_of(&object["spec"]["template"]))),
        wide(columns::text("Images", IMAGES, |object, _| images_of(&object["spec"]["template"]))),
        wide(columns::text("Selector", SELECTOR, |object, _| selector_text(&object["spec"]["selector"]).into())),
    ]
}

pub const CONTAINERS: &str = "The names of the template's containers.";
pub const IMAGES: &str = "The images of the template's containers.";
pub const SELECTOR: &str = "The labels that select its pods.";

/// A selector that is a plain map (replication controllers).
pub fn plain_selector_column() -> Column {
    wide(columns::text("Selector", SELECTOR, |object, _| labels(&object["spec"]["selector"]).into()))
}

/// Desired, current and ready replicas.
pub fn replica_columns() -> Vec<Column> {
    vec![
        columns::integer("Desired", "Pods wanted.", |object, _| columns::number(&object["spec"]["replicas"])),
        columns::integer("Current", "Pods that exist.", |object, _| columns::number(&object["status"]["replicas"])),
        columns::integer("Ready", "Pods that are ready.", |object, _| {
            columns::number(&object["status"]["readyReplicas"])
        }),
    ]
}

/// Warnings of a workload whose template is at `spec.template`.
pub fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = pod::name_warning(object, "this is used in Pod names and hostnames");
    warnings.extend(pod::template_warnings(&object["spec"]["template"], "spec.template."));
    warnings
}
