//! Pods, and the templates that every workload makes them from.

mod columns;
mod container;
mod defaults;
mod environment;
mod handler;
mod path;
mod scheduling;
mod security;
mod spec;
mod update;
mod volume;
mod warnings;
mod windows;

use serde_json::{Value, json};

pub use columns::columns;
pub use defaults::{label_keys_into_selectors, pod_spec as default_pod_spec};
pub use scheduling::{node_selector, tolerations};
pub use spec::{preemption_policy, template};
pub use warnings::{name_warning, template as template_warnings};

use super::{
    check::{check, elements, is_empty, text},
    edit, resources,
};
use crate::{
    field::FieldErrors,
    strategy::{NameRule, Strategy},
};

pub const STRATEGY: Strategy = Strategy {
    default: defaults::pod,
    prepare_create,
    prepare_status,
    validate: |pod, errors| check(pod, errors, spec::pod),
    validate_create,
    validate_update: |new, old, errors| check(new, errors, |new| update::pod(new, old)),
    validate_status: |new, old, errors| check(new, errors, |new| update::status(new, old)),
    warnings: warnings::pod,
    name: NameRule::DnsSubdomain,
    counts_generation: true,
    grace_period_seconds,
    ..Strategy::DEFAULT
};

/// A write to `ephemeralcontainers`: only they may differ. The whole pod is to be validated as well.
pub fn prepare_ephemeral_containers(new: &mut Value, old: &Value) {
    let mut spec = old["spec"].clone();
    edit::copy(&mut spec, &new["spec"], "ephemeralContainers");
    edit::set(new, "spec", spec);
    edit::copy(new, old, "status");
}

pub fn validate_ephemeral_containers(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| update::ephemeral_containers(new, old));
}

/// A write to `resize`: only resources and resize policies may differ. The whole pod is to be validated
/// as well. Where containers are added or removed the spec is left as it is, for validation to refuse.
pub fn prepare_resize(new: &mut Value, old: &Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let count = |pod: &Value, list: &str| elements(&pod["spec"][list]).len();
    if LISTS.iter().any(|list| count(new, list) != count(old, list)) {
        edit::copy(new, old, "status");
        edit::at_mut(new, &["status"]).into_iter().for_each(|status| edit::remove(status, "qosClass"));
        return;
    }
    let mut spec = old["spec"].clone();
    for list in LISTS {
        for (container, new) in edit::each_mut(&mut spec, list).zip(elements(&new["spec"][list])) {
            for field in ["name", "resources", "resizePolicy"] {
                edit::copy(container, new, field);
            }
        }
    }
    edit::copy(&mut spec, &new["spec"], "resources");
    edit::set(new, "spec", spec);
    edit::copy(new, old, "status");
}

pub fn validate_resize(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| update::resize(new, old));
}

/// The body of a write to `binding`.
pub fn validate_binding(binding: &Value, errors: &mut FieldErrors) {
    check(binding, errors, |binding| {
        let target = binding.get("target");
        target.get("kind").optional_word(&["Node", "<empty>"]);
        target.get("name").require();
    });
}

fn prepare_create(pod: &mut Value) {
    let mut status = json!({"phase": "Pending", "qosClass": quality_of_service(pod)});
    if !is_empty(&pod["spec"]["schedulingGates"]) {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": pod["metadata"]["creationTimestamp"],
        }]);
    }
    edit::set(pod, "status", status);
    label_keys_into_selectors(pod);
}

/// Old node agents drop what they do not know.
fn prepare_status(new: &mut Value, old: &Value) {
    if let Some(status) = edit::at_mut(new, &["status"]) {
        for field in ["qosClass", "observedGeneration"] {
            if is_empty(&status[field]) && !is_empty(&old["status"][field]) {
                edit::copy(status, &old["status"], field);
            }
        }
    }
    if let Some(metadata) = edit::at_mut(new, &["metadata"]) {
        edit::copy(metadata, &old["metadata"], "ownerReferences");
    }
}

fn validate_create(pod: &Value, errors: &mut FieldErrors) {
    check(pod, errors, |pod| {
        let spec = pod.get("spec");
        if !spec.get("ephemeralContainers").is_empty() {
            spec.get("ephemeralContainers").forbidden("cannot be set on create");
        }
        if !spec.get("nodeName").is_empty() && !spec.get("schedulingGates").is_empty() {
            spec.get("nodeName").forbidden("cannot be set until all schedulingGates have been cleared");
        }
    });
}

/// No time where no node has anything to end.
fn grace_period_seconds(pod: &Value, asked: Option<i64>) -> Option<i64> {
    let is_running =
        !text(&pod["spec"], "nodeName").is_empty() && !matches!(text(&pod["status"], "phase"), "Failed" | "Succeeded");
    let own = || pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or_default();
    let seconds = if is_running { asked.unwrap_or_else(own) } else { 0 };
    Some(if seconds < 0 { 1 } else { seconds })
}

/// `Guaranteed` where every container is limited in cpu and memory to just what it asks for, `BestEffort`
/// where none asks for or is limited in anything, else `Burstable`.
pub fn quality_of_service(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let of_containers = || ["containers", "initContainers"].iter().flat_map(|list| elements(&spec[*list]));
    let all: Vec<&Value> = if spec["resources"].is_null() {
        of_containers().map(|container| &container["resources"]).collect()
    } else {
        vec![&spec["resources"]]
    };
    let amount = |resources: &Value, field: &str, name: &str| resources::quantity(&resources[field][name]);
    let is_set = |resources: &Value, field: &str, name: &str| resources::sign(&resources[field][name]).is_gt();
    let names = ["cpu", "memory"];
    let any_set = all.iter().any(|one| names.iter().any(|n| is_set(one, "requests", n) || is_set(one, "limits", n)));
    let all_equal = all.iter().all(|one| {
        names.iter().all(|n| is_set(one, "limits", n) && amount(one, "requests", n) == amount(one, "limits", n))
    });
    match (any_set, all_equal) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
