//! Deployments and replica sets.

use serde_json::{Value, json};

use super::{
    check::{Node, check},
    columns::{age, name, number, text},
    edit::{at_mut, fill, object_at},
    pod, rules,
    workload::{
        always_running, at_most_all, integer_or_percent, integer_or_percent_value, never_decremented, non_negative,
        replica_columns, replica_counts, replicas, selector_and_template, template_matches, warnings, wide_columns,
    },
};
use crate::{field::FieldErrors, resource::Column, strategy::Strategy};

pub const DEPLOYMENT: Strategy = Strategy {
    default: default_deployment,
    prepare_create: rules::drop_status,
    validate: |object, errors| check(object, errors, |object| deployment_spec(&object.get("spec"))),
    validate_update: immutable_selector,
    validate_status: validate_deployment_status,
    warnings,
    counts_generation: true,
    ..Strategy::DEFAULT
};

pub const REPLICA_SET: Strategy = Strategy {
    default: |object| at_mut(object, &["spec", "template", "spec"]).into_iter().for_each(pod::default_pod_spec),
    prepare_create: rules::drop_status,
    validate: |object, errors| {
        check(object, errors, |object| {
            let spec = object.get("spec");
            non_negative(&spec, &["replicas", "minReadySeconds"]);
            replica_set_spec(&spec);
        });
    },
    validate_update: immutable_selector,
    validate_status: |new, _, errors| check(new, errors, |new| replica_status(&new.get("status"))),
    warnings,
    counts_generation: true,
    ..Strategy::DEFAULT
};

/// Templates outside of workloads (`podtemplates`).
pub const POD_TEMPLATE: Strategy = Strategy {
    default: |object| at_mut(object, &["template", "spec"]).into_iter().for_each(pod::default_pod_spec),
    validate: |object, errors| check(object, errors, |object| pod::template(&object.get("template"))),
    warnings: |object| pod::template_warnings(&object["template"], "template."),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn default_deployment(object: &mut Value) {
    let Some(spec) = at_mut(object, &["spec"]) else { return };
    at_mut(spec, &["template", "spec"]).into_iter().for_each(pod::default_pod_spec);
    object_at(spec, &["strategy"]);
    let Some(strategy) = at_mut(spec, &["strategy"]) else { return };
    fill(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", json!({}));
        for field in ["maxUnavailable", "maxSurge"] {
            fill(&mut strategy["rollingUpdate"], field, "25%");
        }
    }
}

fn deployment_spec(spec: &Node<'_>) {
    spec.get("replicas").non_negative();
    replica_set_spec(spec);
    strategy(&spec.get("strategy"));
    non_negative(spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]);
    let deadline = spec.get("progressDeadlineSeconds");
    if deadline.is_set() && deadline.integer() <= spec.get("minReadySeconds").integer() {
        deadline.invalid("must be greater than minReadySeconds");
    }
}

fn replica_set_spec(spec: &Node<'_>) {
    selector_and_template(spec, "deployment");
    template_matches(spec, "invalid label selector");
    let template = spec.get("template");
    pod::template(&template);
    always_running(&template, "ReplicaSet");
}

fn strategy(node: &Node<'_>) {
    let update = node.get("rollingUpdate");
    match node.get("type").text() {
        "Recreate" => {
            if update.is_set() {
                update.forbidden("may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            if !update.is_set() {
                update.required("this should be defaulted and never be nil");
                return;
            }
            let (unavailable, surge) = (update.get("maxUnavailable"), update.get("maxSurge"));
            integer_or_percent(&unavailable);
            integer_or_percent(&surge);
            if [&unavailable, &surge].iter().all(|node| integer_or_percent_value(node.value) == 0) {
                unavailable.invalid("may not be 0 when `maxSurge` is 0");
            }
            at_most_all(&unavailable);
        }
        _ => node.push(crate::field::FieldError::not_supported(
            node.path(),
            node.value.clone(),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

pub fn immutable_selector(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| new.get("spec").get("selector").immutable(&old["spec"]["selector"]));
}

fn validate_deployment_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let status = new.get("status");
        non_negative(
            &status,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
        );
        replica_counts(&status, &["updatedReplicas", "readyReplicas", "availableReplicas"], "readyReplicas");
        never_decremented(&status.get("collisionCount"), &old["status"]["collisionCount"]);
    });
}

/// Also of replication controllers.
pub fn replica_status(status: &Node<'_>) {
    let counters = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    non_negative(status, &counters);
    non_negative(status, &["observedGeneration", "terminatingReplicas"]);
    replica_counts(status, &counters[1..], "readyReplicas");
}

pub fn deployment_columns() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Ready", "Pods that are ready, of those wanted.", |object, _| {
            let (ready, wanted) = (&object["status"]["readyReplicas"], &object["spec"]["replicas"]);
            format!("{}/{}", replicas(ready), replicas(wanted)).into()
        }),
        text("Up-to-date", "Pods made from the present template.", |object, _| {
            number(&object["status"]["updatedReplicas"])
        }),
        text("Available", "Pods that have been ready for long enough.", |object, _| {
            number(&object["status"]["availableReplicas"])
        }),
        age(),
    ];
    columns.extend(wide_columns());
    columns
}

pub fn replica_set_columns() -> Vec<Column> {
    let mut columns = vec![name()];
    columns.extend(replica_columns());
    columns.push(age());
    columns.extend(wide_columns());
    columns
}

pub fn pod_template_columns() -> Vec<Column> {
    use super::workload::{CONTAINERS, IMAGES, containers_of, images_of};
    vec![
        name(),
        text("Containers", CONTAINERS, |object, _| containers_of(&object["template"])),
        text("Images", IMAGES, |object, _| images_of(&object["template"])),
        text("Pod Labels", "The labels of its pods.", |object, _| {
            super::columns::labels(&object["template"]["metadata"]["labels"]).into()
        }),
    ]
}
