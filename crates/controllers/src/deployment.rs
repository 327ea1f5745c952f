//! Deployments: from one template to the next, with as many pods as are wanted meanwhile.
//!
//! | file | decides |
//! |---|---|
//! | `rollout` | how many pods each revision has next |
//! | `revision` | which of the sets is the template's, and what the others are called |
//! | `status` | what the deployment says about itself |

mod revision;
mod rollout;
mod status;

use std::sync::Arc;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Deployment, Meta, Object, ReplicaSet},
    requests::{DeleteOptions, Patch},
};
use serde_json::json;

use crate::{
    claim::{claim, concerned, owner_of, takers},
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition},
};
use revision::Revisions;
use rollout::Resize;

pub struct Deployments;

/// A deployment, its sets and the moment: what everything below decides on.
struct Scene<'a> {
    deployment: &'a Deployment,
    sets: Revisions,
    turn: &'a Turn,
    /// Whether a set other than the new one still has pods that are not over.
    old_pods_remain: bool,
    /// Pods that there are or will be: of each set, those it is to have or, while it gives some up, those it has.
    pods: i32,
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Deployment, Topic::ReplicaSet, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Deployment(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::ReplicaSet(changes) => {
                let takers = |orphan: &Meta| takers(&caches.deployments, orphan, |taker| &taker.spec.selector.parsed);
                concerned::<Deployment, _>(changes, &takers, add);
            }
            // A deployment that recreates waits for the last of its old pods to go.
            Changes::Pod(changes) => {
                let gone =
                    changes.iter().filter(|change| change.new.is_none()).filter_map(|change| change.old.as_ref());
                for set in gone.filter_map(|pod| caches.replica_sets.get(&owner_of::<ReplicaSet>(pod.meta())?)) {
                    owner_of::<Deployment>(set.meta()).into_iter().for_each(&mut *add);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(deployment) = caches.deployments.get(key) else { return Plan::nothing() };
        let owner = Reference::to(&*deployment);
        let deleting = deployment.metadata.is_being_deleted();
        let claimed = claim(&owner, deleting, &deployment.spec.selector.parsed, &caches.replica_sets);
        let sets = Revisions::sort(&deployment, claimed.own);
        let (mut old_pods_remain, mut pods) = (false, 0);
        for set in sets.all() {
            let owned = caches.pods.owned_by(&set.metadata.uid);
            let active = owned.iter().filter(|pod| pod.is_active()).count();
            pods += set.spec.replicas.max(i32::try_from(active).unwrap_or(i32::MAX));
            let is_old = sets.new.as_ref().is_none_or(|new| !Arc::ptr_eq(new, set));
            old_pods_remain |= is_old && owned.iter().any(|pod| !pod.is_over());
        }
        let scene = Scene { deployment: &deployment, sets, turn, old_pods_remain, pods };
        let mut plan = Plan::nothing();
        plan.then(claimed.actions);
        if !deleting {
            scene.roll_out(&mut plan, &owner);
        }
        scene.tell_status(&mut plan);
        plan
    }
}

impl Scene<'_> {
    fn roll_out(&self, plan: &mut Plan, owner: &Reference) {
        let rescaling = self.deployment.spec.paused || self.is_rescaled();
        // What is written here is seen at once, and leads to the next turn.
        match &self.sets.new {
            Some(new) => {
                if let Some(patch) = self.keep_in_step(new) {
                    return plan.then(vec![patch]);
                }
            }
            None if !rescaling && self.may_create() => return plan.then(self.create(owner)),
            None => {}
        }
        let resizes = if rescaling { self.rescale() } else { self.next_sizes() };
        let settled = resizes.is_empty();
        for resize in resizes {
            plan.then(self.resize(&resize, owner));
        }
        if self.deployment.spec.paused || (settled && !rescaling) {
            plan.then(self.surplus_history());
        }
    }

    /// The set of the present template, with as many pods as there may be at once.
    fn create(&self, owner: &Reference) -> Vec<Action> {
        let replicas = self.room_for_new(0);
        let set = self.sets.next(self.deployment, owner, replicas, &self.size_annotations());
        let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = self.deployment.metadata.namespace.clone();
        let mut actions = vec![Action::Create { kind: ReplicaSet::KIND, namespace, object: set, tell: None }];
        if replicas > 0 {
            actions.push(scaled(owner, &name, 0, replicas));
        }
        actions
    }

    /// Hands on to the new set what the deployment's metadata and readiness say now.
    fn keep_in_step(&self, new: &ReplicaSet) -> Option<Action> {
        let annotations = self.sets.annotations_to_set(self.deployment, new);
        let seconds = self.deployment.spec.min_ready_seconds;
        if annotations.is_empty() && new.spec.min_ready_seconds == seconds {
            return None;
        }
        let mut metadata = precondition(&new.metadata);
        metadata["annotations"] = annotations.into();
        Some(patch(new, json!({"metadata": metadata, "spec": {"minReadySeconds": seconds}})))
    }

    fn resize(&self, resize: &Resize, owner: &Reference) -> Vec<Action> {
        let set = &resize.set;
        let mut metadata = precondition(&set.metadata);
        metadata["annotations"] = self.size_annotations().into();
        let mut actions = vec![patch(set, json!({"metadata": metadata, "spec": {"replicas": resize.replicas}}))];
        if set.spec.replicas != resize.replicas {
            actions.push(scaled(owner, &set.metadata.name, set.spec.replicas, resize.replicas));
        }
        actions
    }

    /// Old sets beyond the history that is to be kept, the oldest first, if nothing runs in them.
    fn surplus_history(&self) -> Vec<Action> {
        let Some(limit) = self.deployment.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok())
        else {
            return Vec::new();
        };
        let mut old: Vec<&Arc<ReplicaSet>> =
            self.sets.old.iter().filter(|set| !set.metadata.is_being_deleted()).collect();
        old.sort_by_key(|set| revision::of(&set.metadata));
        let surplus = old.len().saturating_sub(limit);
        let idle = |set: &&Arc<ReplicaSet>| {
            set.spec.replicas == 0
                && set.status.replicas == 0
                && set.metadata.generation <= set.status.observed_generation
        };
        old.into_iter().take(surplus).filter(idle).map(|set| delete(set)).collect()
    }
}

fn delete(set: &ReplicaSet) -> Action {
    let options = DeleteOptions { uid: Some(set.metadata.uid.clone()), ..DeleteOptions::default() };
    Action::Delete { kind: ReplicaSet::KIND, key: set.key(), options, tell: None }
}

fn patch(set: &ReplicaSet, patch: serde_json::Value) -> Action {
    Action::Patch { kind: ReplicaSet::KIND, key: set.key(), subresource: "", form: Patch::Merge, patch }
}

fn scaled(owner: &Reference, set: &str, from: i32, to: i32) -> Action {
    let way = if from < to { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {set} from {from} to {to}");
    Action::Event(Event::normal(owner, "ScalingReplicaSet", message))
}
