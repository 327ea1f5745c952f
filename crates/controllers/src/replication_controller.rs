//! ReplicationControllers: what ReplicaSets are, with a plain map for a selector.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Meta, ReplicationController},
};

use crate::{
    claim::{concerned, takers},
    driver::{Controller, Turn},
    plan::Plan,
    replicas::{self, Wanted, related},
};

pub struct ReplicationControllers;

impl Controller for ReplicationControllers {
    fn name(&self) -> &'static str {
        "replication-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::ReplicationController, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::ReplicationController(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                let takers = |orphan: &Meta| {
                    takers(&caches.replication_controllers, orphan, |controller| &controller.spec.selector)
                };
                concerned::<ReplicationController, _>(changes, &takers, add);
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(controller) = caches.replication_controllers.get(key) else { return Plan::nothing() };
        let wanted = Wanted {
            object: &*controller,
            replicas: controller.spec.replicas,
            selector: &controller.spec.selector,
            template: &controller.spec.template,
            min_ready_seconds: controller.spec.min_ready_seconds,
            status: &controller.status,
            counts_terminating: false,
            related: &|| related(&caches.replication_controllers, &controller, &caches.pods),
        };
        replicas::reconcile(&wanted, caches, turn)
    }
}
