//! What controllers of pods share: a pod from a template, and which of many pods to give up first.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use client::{
    objects::{Object, Pod, pod::Phase},
    requests::{DeleteOptions, Patch},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plan::{Action, Reference};

/// A pod as the template says, owned by `owner`. The server completes the name.
pub fn from_template(template: &Value, owner: &Reference) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", owner.key.name()),
            "ownerReferences": [owner.as_controller()],
        },
        "spec": template["spec"],
    });
    for part in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][part].is_null() {
            pod["metadata"][part] = template["metadata"][part].clone();
        }
    }
    pod
}

pub fn create(template: &Value, owner: &Reference) -> Action {
    Action::Create {
        kind: Pod::KIND,
        namespace: owner.key.namespace().into(),
        object: from_template(template, owner),
        tell: Some(owner.clone()),
    }
}

/// What an annotation says a pod's loss costs (KEP-2255); 0 where it says nothing.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to give up first, in that order: what does least so far, costs least, stands closest to its
/// like, and is youngest. Times count by their order of magnitude, and the UID decides among equals, so that it is
/// not always the same node that loses (KEP-2185).
///
/// `related` are the pods that serve the same purpose, whose number on a node makes a pod there dispensable.
pub fn to_give_up(pods: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod.is_active()) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    let mut ranked: Vec<&Arc<Pod>> = pods.iter().collect();
    if count < ranked.len() {
        ranked.sort_by_cached_key(|pod| {
            let ready = pod.ready_since();
            let restarts = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
            (
                !pod.spec.node_name.is_empty(),
                match pod.status.phase {
                    Phase::Pending => 0,
                    Phase::Unknown => 1,
                    _ => 2,
                },
                ready.is_some(),
                deletion_cost(pod),
                Reverse(on_node.get(&*pod.spec.node_name).copied().unwrap_or_default()),
                ready.map(|since| magnitude(since, now)),
                Reverse(restarts.unwrap_or_default()),
                pod.metadata.creation_timestamp.map(|since| magnitude(since, now)),
                pod.metadata.uid.clone(),
            )
        });
    }
    ranked.into_iter().take(count).cloned().collect()
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// How long ago, as a power of two of nanoseconds; small for what is young.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let nanoseconds = now.as_nanosecond().saturating_sub(since.as_nanosecond()).max(1);
    nanoseconds.ilog2()
}

/// Tells the pod why it is taken away, unless it knows: the condition `DisruptionTarget` (KEP-3329).
pub fn disrupted(pod: &Pod, (reason, message): (&str, &str), now: Timestamp) -> Option<Action> {
    let known = pod.condition(DISRUPTION_TARGET);
    if known.is_some_and(|known| *known.status == *"True" && *known.reason == *reason && *known.message == *message) {
        return None;
    }
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [disruption(pod, reason, message, now)]}});
    Some(status_patch(pod, patch))
}

const DISRUPTION_TARGET: &str = "DisruptionTarget";

fn disruption(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Value {
    let mut condition = json!({
        "type": DISRUPTION_TARGET, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": client::objects::seconds(now),
    });
    if pod.metadata.generation > 0 {
        condition["observedGeneration"] = pod.metadata.generation.into();
    }
    condition
}

fn status_patch(pod: &Pod, patch: Value) -> Action {
    Action::Patch { kind: Pod::KIND, key: pod.key(), subresource: "status", form: Patch::Strategic, patch }
}

/// Ends a pod that no node will end: marks it as failed, unless it is over, and deletes it without grace.
pub fn end_for_good(pod: &Pod, why: Option<(&str, &str)>, now: Timestamp) -> Vec<Vec<Action>> {
    let mut steps = Vec::new();
    if !pod.is_over() {
        let mut status = json!({"phase": "Failed"});
        if pod.metadata.generation > 0 {
            status["observedGeneration"] = pod.metadata.generation.into();
        }
        if let Some((reason, message)) = why {
            status["conditions"] = json!([disruption(pod, reason, message, now)]);
        }
        steps.push(vec![status_patch(pod, json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))]);
    }
    let uid = Some(pod.metadata.uid.clone());
    let options = DeleteOptions { uid, grace_period_seconds: Some(0), ..DeleteOptions::default() };
    steps.push(vec![Action::Delete { kind: Pod::KIND, key: pod.key(), options, tell: None }]);
    steps
}
