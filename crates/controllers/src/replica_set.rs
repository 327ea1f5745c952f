//! ReplicaSets: so many pods like a template, whoever makes them.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Meta, ReplicaSet},
};

use crate::{
    claim::{concerned, takers},
    driver::{Controller, Turn},
    plan::Plan,
    replicas::{self, Wanted, related},
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
                let takers = |orphan: &Meta| takers(&caches.replica_sets, orphan, |set| &set.spec.selector);
                concerned::<ReplicaSet, _>(changes, &takers, add);
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
            counts_terminating: true,
            related: &|| related(&caches.replica_sets, &set, &caches.pods),
        };
        replicas::reconcile(&wanted, caches, turn)
    }
}
