//! Daemon sets.

use serde_json::{Value, json};

use super::{
    check::{Node, check, is_empty, semantically_equal},
    columns::{age, integer, labels, name, number, text},
    deployment::immutable_selector,
    edit::{at_mut, fill, object_at},
    pod, rules,
    workload::{
        always_running, at_most_all, integer_or_percent, integer_or_percent_value, never_decremented, non_negative,
        wide_columns,
    },
};
use crate::{
    field::{FieldError, FieldErrors},
    metadata,
    resource::Column,
    selector::LabelSelector,
    strategy::Strategy,
};

pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |object| {
        rules::drop_status(object);
        set_template_generation(object, 1);
    },
    prepare_update,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_update: immutable_selector,
    validate_status,
    warnings: |object| pod::template_warnings(&object["spec"]["template"], "spec.template."),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn default(object: &mut Value) {
    let Some(spec) = at_mut(object, &["spec"]) else { return };
    at_mut(spec, &["template", "spec"]).into_iter().for_each(pod::default_pod_spec);
    object_at(spec, &["updateStrategy"]);
    let Some(strategy) = at_mut(spec, &["updateStrategy"]) else { return };
    fill(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", json!({}));
        fill(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
        fill(&mut strategy["rollingUpdate"], "maxSurge", 0);
    }
}

/// Where an old field of the spec lives on.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    let annotation = &object["metadata"]["annotations"][TEMPLATE_GENERATION];
    annotation.as_str().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Value, least: i64) {
    let generation = template_generation(object).max(least);
    if let Some(annotations) = object_at(object, &["metadata", "annotations"]) {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}

fn prepare_update(new: &mut Value, old: &Value) {
    let is_changed = !semantically_equal(&new["spec"]["template"], &old["spec"]["template"]);
    let generation = template_generation(old) + i64::from(is_changed);
    if let Some(annotations) = object_at(new, &["metadata", "annotations"]) {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}

fn rules(spec: &Node<'_>) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    selector.with(metadata::validate_label_selector);
    let labels = &template.value["metadata"]["labels"];
    if LabelSelector::from_object(selector.value).is_ok_and(|selector| !selector.matches_labels(labels)) {
        let metadata = template.get("metadata");
        metadata.get("labels").invalid("`selector` does not match template `labels`");
    }
    if selector.is_set() && ["matchLabels", "matchExpressions"].iter().all(|field| is_empty(&selector.value[*field])) {
        selector.invalid("empty selector is invalid for daemonset");
    }
    pod::template(&template);
    always_running(&template, "DaemonSet");
    spec.get("minReadySeconds").non_negative();
    update_strategy(&spec.get("updateStrategy"));
    spec.get("revisionHistoryLimit").non_negative();
}

fn update_strategy(strategy: &Node<'_>) {
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let update = strategy.get("rollingUpdate");
            if !update.is_set() {
                update.required("");
                return;
            }
            let (unavailable, surge) = (update.get("maxUnavailable"), update.get("maxSurge"));
            integer_or_percent(&unavailable);
            integer_or_percent(&surge);
            at_most_all(&unavailable);
            at_most_all(&surge);
            let is_zero = |node: &Node<'_>| integer_or_percent_value(node.value) == 0;
            match (is_zero(&unavailable), is_zero(&surge)) {
                (false, false) => surge.invalid("may not be set when maxUnavailable is non-zero"),
                (true, true) => unavailable.required("cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => strategy.push(FieldError::not_supported(
            strategy.path(),
            strategy.value.clone(),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}

fn validate_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let status = new.get("status");
        non_negative(
            &status,
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
        );
        never_decremented(&status.get("collisionCount"), &old["status"]["collisionCount"]);
    });
}

pub fn columns() -> Vec<Column> {
    let mut columns = vec![
        name(),
        integer("Desired", "Nodes that should run its pod.", |object, _| {
            number(&object["status"]["desiredNumberScheduled"])
        }),
        integer("Current", "Nodes that should and do run its pod.", |object, _| {
            number(&object["status"]["currentNumberScheduled"])
        }),
        integer("Ready", "Nodes on which its pod is ready.", |object, _| number(&object["status"]["numberReady"])),
        integer("Up-to-date", "Nodes that run the present template.", |object, _| {
            number(&object["status"]["updatedNumberScheduled"])
        }),
        integer("Available", "Nodes on which its pod has been ready for long enough.", |object, _| {
            number(&object["status"]["numberAvailable"])
        }),
        text("Node Selector", "The labels of the nodes it is for.", |object, _| {
            labels(&object["spec"]["template"]["spec"]["nodeSelector"]).into()
        }),
        age(),
    ];
    columns.extend(wide_columns());
    columns
}
