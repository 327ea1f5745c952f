//! Namespaces, and the component statuses that kubectl once showed beside them.

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, text},
    columns::{self},
    edit, rules,
};
use crate::{
    field::FieldErrors,
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update,
    validate: |object, errors| check(object, errors, |root| finalizers(&root.get("spec").get("finalizers"))),
    validate_status,
    name: NameRule::DnsLabel,
    ..Strategy::DEFAULT
};

fn default(object: &mut Value) {
    let name = text(&object["metadata"], "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = edit::object_at(object, &["metadata", "labels"])
    {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}

fn prepare_create(object: &mut Value) {
    edit::set(object, "status", json!({"phase": "Active"}));
    let Some(spec) = edit::object_at(object, &["spec"]) else { return };
    let finalizers = spec.entry("finalizers").or_insert(Value::Null);
    let is_known = elements(finalizers).iter().any(|finalizer| finalizer == "kubernetes");
    match finalizers {
        Value::Array(finalizers) if !is_known => finalizers.push("kubernetes".into()),
        Value::Array(_) => {}
        missing => *missing = json!(["kubernetes"]),
    }
}

/// Finalizers change through the `finalize` subresource alone.
fn prepare_update(new: &mut Value, old: &Value) {
    rules::keep(new, old, "status");
    rules::keep(new, old, "spec");
}

fn finalizers(list: &Node<'_>) {
    for finalizer in list.items() {
        let name = finalizer.text();
        for error in syntax::is_qualified_name(name) {
            list.invalid_value(name, error);
        }
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            list.invalid_value(name, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn validate_status(new: &Value, _old: &Value, errors: &mut FieldErrors) {
    let is_deleted = !new["metadata"]["deletionTimestamp"].is_null();
    check(new, errors, |root| {
        let phase = &new["status"]["phase"];
        let status = root.get("status");
        let at_phase = status.get("Phase");
        match (is_deleted, phase.as_str()) {
            (false, Some("Active")) | (true, Some("Terminating")) => {}
            (false, _) => {
                at_phase.showing(phase).invalid("may only be 'Active' if `deletionTimestamp` is empty");
            }
            (true, _) => {
                at_phase.showing(phase).invalid("may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
        }
    });
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Status", "Whether the namespace is in use or going away.", |object, _| {
            text(&object["status"], "phase").into()
        }),
        columns::age(),
    ]
}

pub fn component_status_columns() -> Vec<Column> {
    fn healthy(object: &Value) -> &Value {
        let conditions = elements(&object["conditions"]);
        conditions.iter().find(|condition| condition["type"] == "Healthy").unwrap_or(&Value::Null)
    }
    vec![
        columns::name(),
        columns::text("Status", "Whether the component is healthy.", |object, _| {
            match healthy(object)["status"].as_str() {
                None => "Unknown".into(),
                Some("True") => "Healthy".into(),
                Some(_) => "Unhealthy".into(),
            }
        }),
        columns::text("Message", "What the component reports.", |object, _| text(healthy(object), "message").into()),
        columns::text("Error", "What is wrong with the component.", |object, _| text(healthy(object), "error").into()),
    ]
}
