//! Which of a set's pods is made, mended or given up next.
//!
//! In order (`OrderedReady`) every pod waits for those before it to be available, one is given up at a time from the last
//! one on, and an update waits for all of this. In parallel nothing waits but the update.

use std::{collections::BTreeMap, sync::Arc};

use client::{
    objects::{Object, PersistentVolumeClaim, Pod, pod::Phase},
    requests::{DeleteOptions, Patch},
};
use serde_json::{Value, json};

use super::{
    Scene,
    identity::{self, POD_INDEX_LABEL, POD_NAME_LABEL, is_running_and_ready, is_wanted},
    is_of,
};
use crate::plan::{Action, Event, Plan, precondition};

/// Pods that are made in one turn, at most.
const BURST: usize = 500;

/// What a turn does, in the order in which it is done: a claim says that it goes with its pod before the pod goes.
#[derive(Default)]
struct Work {
    claims: Vec<Action>,
    pods: Vec<Action>,
    mending: Vec<Action>,
}

impl Scene<'_> {
    /// Leads the pods towards what the set says.
    pub(super) fn tend(&self, plan: &mut Plan) {
        let mut work = Work::default();
        let ready_to_go_on = self.tend_wanted(&mut work) && self.tend_surplus(&mut work);
        if ready_to_go_on && *self.set.spec.update_strategy.kind != *"OnDelete" {
            work.pods.extend(self.next_update().map(|pod| self.give_up(pod)));
        }
        plan.then(work.claims);
        plan.then(work.pods);
        plan.then(work.mending);
    }

    fn is_in_order(&self) -> bool {
        *self.set.spec.pod_management_policy != *"Parallel"
    }

    fn wanted(&self) -> impl DoubleEndedIterator<Item = i64> + use<> {
        let start = i64::from(self.set.spec.ordinals.start);
        start..start + i64::from(self.set.spec.replicas)
    }

    /// False where what comes later has to wait.
    fn tend_wanted(&self, work: &mut Work) -> bool {
        for ordinal in self.wanted() {
            let settled = self.tend_one(ordinal, work);
            if self.is_in_order() && !settled {
                return false;
            }
            if work.pods.len() >= BURST {
                break;
            }
        }
        true
    }

    /// Whether there is a pod, and it is as it should be.
    fn tend_one(&self, ordinal: i64, work: &mut Work) -> bool {
        let Some(pod) = self.pods.get(&ordinal) else {
            if !self.has_stale_claim(ordinal) {
                self.make(ordinal, work);
            }
            return false;
        };
        let ending = pod.metadata.is_being_deleted();
        if pod.is_over() {
            // The next one is made when this one is gone.
            if !ending {
                work.pods.push(self.give_up(pod));
            }
            return false;
        }
        if ending {
            return false;
        }
        if pod.status.phase == Phase::Pending {
            self.make_claims(ordinal, work);
            self.mend_claims(ordinal, Some(pod), &mut work.claims);
        }
        let settled = is_running_and_ready(pod) && self.is_available(pod);
        if settled || !self.is_in_order() {
            self.mend(ordinal, pod, work);
        }
        settled
    }

    fn make(&self, ordinal: i64, work: &mut Work) {
        let name = identity::pod_name(&self.set.metadata.name, ordinal);
        if let Some(claim) = self.make_claims(ordinal, work) {
            let message = self.pod_failed("Create", &name);
            let message = format!("{message} pvc {} is being deleted", claim.metadata.name);
            work.pods.push(Action::Event(Event::warning(&self.owner, "FailedCreate", message)));
            return;
        }
        self.mend_claims(ordinal, None, &mut work.claims);
        let namespace = self.set.metadata.namespace.clone();
        let create = Action::Create { kind: Pod::KIND, namespace, object: self.pod(ordinal), tell: None };
        work.pods.push(self.told(create, ("SuccessfulCreate", "FailedCreate"), "Create", &name));
    }

    /// Makes the claims that are missing. Returns one that stands in the way, because it is about to go.
    fn make_claims(&self, ordinal: i64, work: &mut Work) -> Option<Arc<PersistentVolumeClaim>> {
        let (set, mut in_the_way) = (&self.set.metadata.name, None);
        let pod = identity::pod_name(set, ordinal);
        for template in &self.set.spec.volume_claim_templates {
            match self.claim(&template.name, ordinal) {
                Some(claim) if claim.metadata.is_being_deleted() => in_the_way = Some(claim),
                Some(_) => {}
                None => {
                    let claim = identity::claim_name(&template.name, set, ordinal);
                    let action = Action::Create {
                        kind: PersistentVolumeClaim::KIND,
                        namespace: self.set.metadata.namespace.clone(),
                        object: self.new_claim(template, ordinal),
                        tell: None,
                    };
                    let done = format!("Create Claim {claim} Pod {pod} in StatefulSet {set} success");
                    let failed = format!("Create Claim {claim} for Pod {pod} in StatefulSet {set} failed error:");
                    work.claims.push(Action::Told {
                        action: Box::new(action),
                        done: Event::normal(&self.owner, "SuccessfulCreate", done),
                        failed: Event::warning(&self.owner, "FailedCreate", failed),
                    });
                }
            }
        }
        in_the_way
    }

    /// Gives back to a pod what makes it this one: its labels, its volumes and what its claims say about it.
    fn mend(&self, ordinal: i64, pod: &Pod, work: &mut Work) {
        let mut patch = json!({"metadata": precondition(&pod.metadata)});
        if !self.has_its_name(pod) {
            let index = ordinal.to_string();
            patch["metadata"]["labels"] = json!({POD_NAME_LABEL: pod.metadata.name, POD_INDEX_LABEL: index});
        }
        if !self.has_its_claims(pod, ordinal) {
            self.make_claims(ordinal, work);
            patch["spec"]["volumes"] = self.claim_volumes(ordinal).collect::<Value>();
        }
        if !self.has_its_name(pod) || !self.has_its_claims(pod, ordinal) {
            let action =
                Action::Patch { kind: Pod::KIND, key: pod.key(), subresource: "", form: Patch::Strategic, patch };
            let reasons = ("SuccessfulUpdate", "FailedUpdate");
            work.mending.push(self.told(action, reasons, "Update", &pod.metadata.name));
        }
        if pod.status.phase != Phase::Pending {
            self.mend_claims(ordinal, Some(pod), &mut work.claims);
        }
    }

    /// Gives up what is not wanted, the last one first. False where what comes later has to wait.
    fn tend_surplus(&self, work: &mut Work) -> bool {
        let surplus: BTreeMap<i64, &Arc<Pod>> = self
            .pods
            .iter()
            .filter(|(ordinal, _)| !is_wanted(&self.set.spec, **ordinal))
            .map(|(ordinal, pod)| (*ordinal, pod))
            .collect();
        for (ordinal, pod) in surplus.iter().rev() {
            self.mend_claims(*ordinal, Some(pod), &mut work.claims);
        }
        let is_healthy = |pod: &Pod| is_running_and_ready(pod) && self.is_available(pod);
        let is_unavailable = |pod: &Pod| !self.is_available(pod) || pod.metadata.is_being_deleted();
        // In order all that are wanted are available by now.
        let first_unavailable = surplus.values().find(|pod| is_unavailable(pod));
        for pod in surplus.values().rev() {
            if pod.metadata.is_being_deleted() {
                if self.is_in_order() {
                    return false;
                }
                continue;
            }
            if self.is_in_order() {
                let is_first = first_unavailable.is_some_and(|first| Arc::ptr_eq(first, pod));
                if is_healthy(pod) || is_first {
                    work.pods.push(self.give_up(pod));
                }
                return false;
            }
            work.pods.push(self.give_up(pod));
        }
        true
    }

    /// The pod that an update takes next, from the last one on to its partition; one that is not available is waited for.
    fn next_update(&self) -> Option<&Arc<Pod>> {
        let update = self.set.spec.update_strategy.rolling_update.as_ref();
        let partition = update.map_or(0, |update| i64::from(update.partition));
        let first = i64::from(self.set.spec.ordinals.start) + partition;
        for ordinal in self.wanted().rev().take_while(|ordinal| *ordinal >= first) {
            let pod = self.pods.get(&ordinal)?;
            if pod.metadata.is_being_deleted() || pod.is_over() {
                return None;
            }
            if !is_of(pod, &self.update) {
                return Some(pod);
            }
            if !self.is_available(pod) {
                return None;
            }
        }
        None
    }

    fn give_up(&self, pod: &Arc<Pod>) -> Action {
        let options = DeleteOptions { uid: Some(pod.metadata.uid.clone()), ..DeleteOptions::default() };
        let delete = Action::Delete { kind: Pod::KIND, key: pod.key(), options, tell: None };
        self.told(delete, ("SuccessfulDelete", "FailedDelete"), "Delete", &pod.metadata.name)
    }

    fn told(&self, action: Action, (done, failed): (&'static str, &'static str), verb: &str, pod: &str) -> Action {
        let message = format!("{verb} Pod {pod} in StatefulSet {} successful", self.set.metadata.name);
        Action::Told {
            action: Box::new(action),
            done: Event::normal(&self.owner, done, message),
            failed: Event::warning(&self.owner, failed, self.pod_failed(verb, pod)),
        }
    }

    fn pod_failed(&self, verb: &str, pod: &str) -> String {
        format!("{verb} Pod {pod} in StatefulSet {} failed error:", self.set.metadata.name)
    }
}
