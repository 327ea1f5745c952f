//! So many pods like a template: the step that ReplicaSets and ReplicationControllers share.

use std::{sync::Arc, time::Duration};

use api::selector::LabelSelector;
use client::{
    Cache, Caches,
    objects::{Condition, Object, Pod, ReplicaSetStatus},
    requests::DeleteOptions,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stdx::clock::until;

use crate::{
    claim::{Claimed, claim},
    driver::Turn,
    plan::{Action, Plan, Reference, status_patch},
    pods,
};

/// Pods that are created or deleted in one turn, at most.
const BURST: usize = 500;

/// What is wanted, of whichever kind.
pub struct Wanted<'a, T> {
    pub object: &'a T,
    pub replicas: i32,
    pub selector: &'a LabelSelector,
    pub template: &'a Value,
    pub min_ready_seconds: i32,
    pub status: &'a ReplicaSetStatus,
    /// Whether the status also tells of the pods that are on their way out.
    pub counts_terminating: bool,
    /// Pods of other owners that serve the same purpose.
    pub related: &'a dyn Fn() -> Vec<Arc<Pod>>,
}

/// The pods of all sets that have this one's owner: the old and new pods of one deployment.
pub fn related<T: Object>(sets: &Cache<T>, set: &Arc<T>, pods: &Cache<Pod>) -> Vec<Arc<Pod>> {
    let siblings = match set.meta().controller() {
        Some(owner) => sets.owned_by(&owner.uid),
        None => vec![Arc::clone(set)],
    };
    siblings.iter().flat_map(|sibling| pods.owned_by(&sibling.meta().uid)).collect()
}

pub fn reconcile<T: Object>(wanted: &Wanted<'_, T>, caches: &Caches, turn: &Turn) -> Plan {
    let meta = wanted.object.meta();
    let owner = Reference::to(wanted.object);
    let Claimed { own, actions } = claim(&owner, meta.is_being_deleted(), wanted.selector, &caches.pods);
    let (active, ending): (Vec<_>, Vec<_>) =
        own.into_iter().filter(|pod| !pod.is_over()).partition(|pod| pod.is_active());
    let mut plan = Plan::nothing();
    plan.then(actions);
    if !meta.is_being_deleted() {
        plan.then(towards(wanted, &owner, &active, turn.now));
    }
    let status = status(wanted, &active, ending.len(), turn);
    if status != *wanted.status {
        plan.then(vec![status_patch(wanted.object, wanted.status, &status)]);
    }
    if let Some(wait) = next_available(&active, wanted.min_ready_seconds, turn.now) {
        plan.again_after(wait);
    }
    plan
}

/// The creations or deletions that bring the number of pods to what is wanted.
fn towards<T: Object>(wanted: &Wanted<'_, T>, owner: &Reference, active: &[Arc<Pod>], now: Timestamp) -> Vec<Action> {
    let replicas = usize::try_from(wanted.replicas).unwrap_or_default();
    if active.len() <= replicas {
        let missing = (replicas - active.len()).min(BURST);
        return vec![pods::create(wanted.template, owner); missing];
    }
    let surplus = (active.len() - replicas).min(BURST);
    let delete = |pod: Arc<Pod>| Action::Delete {
        kind: Pod::KIND,
        key: pod.key(),
        options: DeleteOptions { uid: Some(pod.metadata.uid.clone()), ..DeleteOptions::default() },
        tell: Some(owner.clone()),
    };
    pods::to_give_up(active, &(wanted.related)(), surplus, now).into_iter().map(delete).collect()
}

fn status<T: Object>(wanted: &Wanted<'_, T>, active: &[Arc<Pod>], ending: usize, turn: &Turn) -> ReplicaSetStatus {
    let labels = &wanted.template["metadata"]["labels"];
    let template = LabelSelector::from_map(labels).unwrap_or_else(|_| LabelSelector::nothing());
    let count = |which: &dyn Fn(&Pod) -> bool| narrow(active.iter().filter(|pod| which(pod)).count());
    ReplicaSetStatus {
        observed_generation: wanted.object.meta().generation,
        replicas: narrow(active.len()),
        fully_labeled_replicas: count(&|pod| pod.metadata.labels.are_matched_by(&template)),
        ready_replicas: count(&|pod| pod.is_ready()),
        available_replicas: count(&|pod| pod.is_available(wanted.min_ready_seconds, turn.now)),
        terminating_replicas: wanted.counts_terminating.then(|| narrow(ending)),
        conditions: conditions(wanted, active.len(), turn),
    }
}

/// `ReplicaFailure`, there as long as pods cannot be created or deleted.
fn conditions<T: Object>(wanted: &Wanted<'_, T>, active: usize, turn: &Turn) -> Vec<Condition> {
    const REPLICA_FAILURE: &str = "ReplicaFailure";
    let mut conditions = wanted.status.conditions.clone();
    let known = conditions.iter().position(|condition| *condition.kind == *REPLICA_FAILURE);
    match (&turn.failure, known) {
        (Some(failure), None) if failure.resource == Pod::KIND.plural => {
            let few = active < usize::try_from(wanted.replicas).unwrap_or_default();
            conditions.push(Condition {
                kind: REPLICA_FAILURE.into(),
                status: "True".into(),
                last_transition_time: Some(turn.now),
                reason: if few { "FailedCreate" } else { "FailedDelete" }.into(),
                message: failure.message.as_str().into(),
                ..Condition::default()
            });
        }
        (None, Some(at)) => drop(conditions.remove(at)),
        _ => {}
    }
    conditions
}

/// When the next pod that is ready will have been so for long enough.
pub fn next_available(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if min_ready_seconds == 0 {
        return None;
    }
    let least = SignedDuration::from_secs(min_ready_seconds.into());
    pods.iter()
        .filter(|pod| !pod.is_available(min_ready_seconds, now))
        .filter_map(|pod| pod.ready_since()?.checked_add(least).ok())
        .map(|then| until(then, now))
        .min()
}

pub fn narrow(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
