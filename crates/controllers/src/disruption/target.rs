//! Pods that were marked for a disruption (`DisruptionTarget`) which then did not take place: after a while the mark says
//! so, lest their end, whenever it comes, be taken for one.

use std::time::Duration;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, Pod, seconds},
    requests::Patch,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Plan, precondition},
};

const CONDITION: &str = "DisruptionTarget";
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

pub struct StaleTargets;

impl Controller for StaleTargets {
    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn queue(&self) -> &'static str {
        "stale_pod_disruption"
    }

    fn account(&self) -> &'static str {
        "disruption-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Pod]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let Changes::Pod(changes) = changes else { return };
        for change in changes {
            if change.new.as_ref().is_some_and(|pod| marked_since(pod).is_some()) {
                add(change.key.clone());
            }
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(pod) = caches.pods.get(key) else { return plan };
        let Some(since) = marked_since(&pod) else { return plan };
        let wait = since.checked_add(TIMEOUT).map_or(Duration::ZERO, |due| until(due, turn.now));
        if !wait.is_zero() {
            plan.again_after(wait);
            return plan;
        }
        let condition = json!({
            "type": CONDITION, "status": "False", "lastTransitionTime": seconds(turn.now),
            "reason": null, "message": null,
        });
        plan.then(vec![Action::Patch {
            kind: Pod::KIND,
            key: key.clone(),
            subresource: "status",
            form: Patch::Strategic,
            patch: json!({"metadata": precondition(&pod.metadata), "status": {"conditions": [condition]}}),
        }]);
        plan
    }
}

/// Since when a pod is marked that goes on all the same. The kubelet's own mark may stand for long before the pod goes.
fn marked_since(pod: &Pod) -> Option<Timestamp> {
    let mark = pod.condition(CONDITION)?;
    let stands = pod.is_active() && *mark.status == *"True" && *mark.reason != *"TerminationByKubelet";
    stands.then(|| mark.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH))
}
