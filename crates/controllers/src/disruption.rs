//! PodDisruptionBudgets: how many pods may be evicted now. The eviction itself, which takes one disruption from what is
//! written here, is the API server's (`apiserver::engine::eviction`).
//!
//! | file | decides |
//! |---|---|
//! | `expected` | how many pods there should be, by those who make them |
//! | `target` | which pods were marked for an eviction that never came |

mod expected;
mod target;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Change, Key,
    caches::{Changes, Topic},
    objects::{Meta, Object, Pod, PodDisruptionBudget, PodDisruptionBudgetStatus, policy::BudgetCondition},
};
use jiff::{SignedDuration, Timestamp};
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, status_patch},
    replicas::narrow,
};
use expected::Count;
pub use target::StaleTargets;

/// A pod whose eviction was granted is thought to be going for this long.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const CONDITION: &str = "DisruptionAllowed";

pub struct Budgets;

/// A budget, the pods it is about and the moment.
struct Scene<'a> {
    budget: &'a PodDisruptionBudget,
    owner: Reference,
    pods: Vec<Arc<Pod>>,
    now: Timestamp,
}

impl Controller for Budgets {
    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn queue(&self) -> &'static str {
        "disruption"
    }

    fn account(&self) -> &'static str {
        "disruption-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[
            Topic::PodDisruptionBudget,
            Topic::Pod,
            Topic::ReplicaSet,
            Topic::Deployment,
            Topic::ReplicationController,
            Topic::StatefulSet,
        ]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let mut of_pod =
            |pod: &Meta| caches.pod_disruption_budgets.of_pod(pod).iter().for_each(|found| add(found.key()));
        // One pod stands for all that one owner has.
        let first = |uid: &str| caches.pods.owned_by(uid).into_iter().next();
        match changes {
            Changes::PodDisruptionBudget(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                changes.iter().flat_map(|change| change.states()).for_each(|pod| of_pod(&pod.metadata));
            }
            Changes::ReplicaSet(changes) => {
                rescaled(changes, |set| set.spec.replicas).filter_map(&first).for_each(|pod| of_pod(&pod.metadata))
            }
            Changes::StatefulSet(changes) => {
                rescaled(changes, |set| set.spec.replicas).filter_map(&first).for_each(|pod| of_pod(&pod.metadata))
            }
            Changes::ReplicationController(changes) => {
                rescaled(changes, |set| set.spec.replicas).filter_map(&first).for_each(|pod| of_pod(&pod.metadata))
            }
            Changes::Deployment(changes) => rescaled(changes, |deployment| deployment.spec.replicas)
                .flat_map(|uid| caches.replica_sets.owned_by(uid))
                .filter_map(|set| first(&set.metadata.uid))
                .for_each(|pod| of_pod(&pod.metadata)),
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(budget) = caches.pod_disruption_budgets.get(key) else { return Plan::nothing() };
        let pods = caches.pods.selected(key.namespace(), &budget.spec.selector.parsed);
        let scene = Scene { budget: &budget, owner: Reference::to(&*budget), pods, now: turn.now };
        let mut plan = Plan::nothing();
        match scene.count(caches, turn) {
            Count::Ask(lookups) => plan.lookups = lookups,
            Count::Is { expected, healthy, unmanaged } => {
                plan.then(scene.tell_unusual(unmanaged));
                scene.tell_status(&mut plan, expected, healthy);
            }
            Count::Unknown(why) => scene.fail_safe(&mut plan, &why),
        }
        plan
    }
}

/// The UIDs of those that have come, have gone, or are to have another number of pods than before.
fn rescaled<T: Object>(changes: &[Change<T>], replicas: impl Fn(&T) -> i32) -> impl Iterator<Item = &str> {
    let number = move |state: &Option<Arc<T>>| state.as_ref().map(|state| replicas(state));
    let changed = changes.iter().filter(move |change| number(&change.old) != number(&change.new));
    changed.filter_map(|change| change.states().next()).map(|state| &*state.meta().uid)
}

impl Scene<'_> {
    fn tell_unusual(&self, unmanaged: bool) -> Vec<Action> {
        let mut events = Vec::new();
        if self.pods.is_empty() {
            events.push(Event::normal(&self.owner, "NoPods", "No matching pods found".to_owned()));
        }
        if unmanaged {
            let selector = expected::written(&self.budget.spec.selector.written);
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a \
                 result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. \
                 To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
            );
            events.push(Event::warning(&self.owner, "UnmanagedPods", message));
        }
        events.into_iter().map(Action::Event).collect()
    }

    /// `desired`: how many pods are to be healthy.
    fn tell_status(&self, plan: &mut Plan, expected: i32, desired: i32) {
        let disrupted = self.disrupted(plan);
        let healthy = |pod: &&Arc<Pod>| {
            pod.is_ready() && !pod.metadata.is_being_deleted() && !disrupted.contains_key(&pod.metadata.name)
        };
        let current = narrow(self.pods.iter().filter(healthy).count());
        // A budget without pods must be safe when its first ones appear.
        let allowed = if expected > 0 { current.saturating_sub(desired).max(0) } else { 0 };
        let mut status = PodDisruptionBudgetStatus {
            observed_generation: self.budget.metadata.generation,
            disrupted_pods: disrupted,
            disruptions_allowed: allowed,
            current_healthy: current,
            desired_healthy: desired,
            expected_pods: expected,
            conditions: self.budget.status.conditions.clone(),
        };
        let (truth, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        self.set_condition(&mut status, (truth, reason, ""));
        self.write(plan, &status);
    }

    /// The pods whose eviction was granted and that are still to go. Those that did not go in time are healthy again.
    fn disrupted(&self, plan: &mut Plan) -> BTreeMap<Box<str>, Timestamp> {
        let (mut disrupted, mut events) = (BTreeMap::new(), Vec::new());
        for pod in self.pods.iter().filter(|pod| !pod.metadata.is_being_deleted()) {
            let name = &pod.metadata.name;
            let Some(since) = self.budget.status.disrupted_pods.get(name) else { continue };
            match since.checked_add(DELETION_TIMEOUT) {
                Ok(due) if due > self.now => {
                    plan.again_after(until(due, self.now));
                    disrupted.insert(name.clone(), *since);
                }
                _ => {
                    let budget = self.owner.key.as_str();
                    let message = format!("Pod was expected by PDB {budget} to be deleted but it wasn't");
                    events.push(Action::Event(Event::warning(&Reference::to(&**pod), "NotDeleted", message)));
                }
            }
        }
        plan.then(events);
        disrupted
    }

    /// As long as nobody knows how many pods there should be, none may go.
    fn fail_safe(&self, plan: &mut Plan, why: &str) {
        let message = format!("Failed to calculate the number of expected pods: {why}");
        plan.then(vec![Action::Event(Event::warning(&self.owner, "CalculateExpectedPodCountFailed", message))]);
        let mut status = PodDisruptionBudgetStatus { disruptions_allowed: 0, ..self.budget.status.clone() };
        self.set_condition(&mut status, ("False", "SyncFailed", why));
        self.write(plan, &status);
    }

    fn set_condition(&self, status: &mut PodDisruptionBudgetStatus, (truth, reason, message): (&str, &str, &str)) {
        let known = status.conditions.iter_mut().find(|condition| *condition.kind == *CONDITION);
        let since = known.as_ref().filter(|known| *known.status == *truth).and_then(|known| known.last_transition_time);
        let condition = BudgetCondition {
            kind: CONDITION.into(),
            status: truth.into(),
            observed_generation: status.observed_generation,
            last_transition_time: since.or(Some(self.now)),
            reason: reason.into(),
            message: message.into(),
        };
        match known {
            Some(known) => *known = condition,
            None => status.conditions.push(condition),
        }
    }

    fn write(&self, plan: &mut Plan, status: &PodDisruptionBudgetStatus) {
        if *status != self.budget.status {
            plan.then(vec![status_patch(self.budget, &self.budget.status, status)]);
        }
    }
}
