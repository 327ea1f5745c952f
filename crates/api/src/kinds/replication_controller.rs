//! Replication controllers: replica sets with a plain map for a selector.

use serde_json::Value;

use super::{
    check::{Node, check, is_empty},
    columns::{age, name},
    deployment::replica_status,
    edit::{at_mut, object_at, set},
    pod, rules,
    workload::{
        always_running, non_negative, plain_selector_column, refuse_labels, replica_columns, warnings, wide_columns,
    },
};
use crate::{
    resource::Column,
    strategy::{Dependents, Strategy},
};

pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: rules::drop_status,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_status: |new, _, errors| check(new, errors, |new| replica_status(&new.get("status"))),
    warnings,
    counts_generation: true,
    dependents: Dependents::Orphaned,
    ..Strategy::DEFAULT
};

/// Selector and labels are those of the template, where there are none.
fn default(object: &mut Value) {
    at_mut(object, &["spec", "template", "spec"]).into_iter().for_each(pod::default_pod_spec);
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if is_empty(&labels) {
        return;
    }
    if is_empty(&object["metadata"]["labels"])
        && let Some(metadata) = object_at(object, &["metadata"])
    {
        metadata.insert("labels".to_owned(), labels.clone());
    }
    if let Some(spec) = at_mut(object, &["spec"]).filter(|spec| is_empty(&spec["selector"])) {
        set(spec, "selector", labels);
    }
}

fn rules(spec: &Node<'_>) {
    non_negative(spec, &["minReadySeconds"]);
    spec.get("selector").require();
    if spec.get("replicas").is_set() {
        spec.get("replicas").non_negative();
    } else {
        spec.get("replicas").required("");
    }
    let template = spec.get("template");
    if !template.is_set() {
        template.required("");
        return;
    }
    let (selector, labels) = (&spec.value["selector"], &template.value["metadata"]["labels"]);
    let is_label = |(key, value): (&String, &Value)| &labels[key] == value;
    if !selector.as_object().into_iter().flatten().all(is_label) {
        refuse_labels(&template);
    }
    pod::template(&template);
    always_running(&template, "ReplicationController");
}

pub fn columns() -> Vec<Column> {
    let mut columns = vec![name()];
    columns.extend(replica_columns());
    columns.push(age());
    columns.extend(wide_columns().into_iter().take(2));
    columns.push(plain_selector_column());
    columns
}
