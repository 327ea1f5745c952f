//! ReplicaSets: so many pods like a template, whoever makes them.

use std::sync::Arc;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Meta, Object, Pod, ReplicaSet},
};

use crate::{
    driver::{Controller, Turn},
    plan::Plan,
    replicas::{self, Wanted, owner_of},
};

pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::ReplicaSet, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::ReplicaSet(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                for meta in changes.iter().flat_map(|change| change.states()).map(|pod| pod.meta()) {
                    match meta.controller() {
                        Some(_) => owner_of::<ReplicaSet>(meta).into_iter().for_each(&mut *add),
                        None => takers(caches, meta).for_each(&mut *add),
                    }
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(set) = caches.replica_sets.get(key) else { return Plan::nothing() };
        let wanted = Wanted {
            object: &*set,
            replicas: set.spec.replicas,
            selector: &set.spec.selector,
            template: &set.spec.template,
            min_ready_seconds: set.spec.min_ready_seconds,
            status: &set.status,
            related: &|| related(caches, &set),
        };
        replicas::reconcile(&wanted, caches, turn)
    }
}

/// The sets that would take on a pod without an owner.
fn takers<'a>(caches: &Caches, orphan: &'a Meta) -> impl Iterator<Item = Key> + 'a {
    let sets = caches.replica_sets.in_namespace(&orphan.namespace);
    sets.into_iter().filter(|set| orphan.labels.are_matched_by(&set.spec.selector)).map(|set| set.key())
}

/// The pods of all sets that have this one's owner: the old and new pods of one deployment.
fn related(caches: &Caches, set: &Arc<ReplicaSet>) -> Vec<Arc<Pod>> {
    let siblings = match set.metadata.controller() {
        Some(owner) => caches.replica_sets.owned_by(&owner.uid),
        None => vec![Arc::clone(set)],
    };
    siblings.iter().flat_map(|sibling| caches.pods.owned_by(&sibling.metadata.uid)).collect()
}
