//! What news change of what is known, and whom they may help.

use std::sync::Arc;

use api::selector::{LabelSelector, Operator, Requirement};
use client::{
    Change, Key,
    caches::Changes,
    objects::{CSIStorageCapacity, Labels, Node, Object, Pod},
};
use jiff::Timestamp;
use placement::Host;

use super::{
    Core,
    known::{Known, Whereabouts, is_waiting},
    wake::News,
};
use crate::preemption::Budget;

impl Core {
    pub fn apply(&mut self, changes: &Changes, now: Timestamp) {
        match changes {
            Changes::Pod(changes) => {
                for change in changes {
                    self.apply_pod(&change.key, change.new.as_ref(), now);
                }
            }
            Changes::Node(changes) => {
                for change in changes {
                    self.apply_node(change.key.name(), change.new.clone(), now);
                }
            }
            Changes::ReplicaSet(changes) => {
                self.apply_makers(changes, |set| set.spec.selector.clone());
            }
            Changes::StatefulSet(changes) => {
                self.apply_makers(changes, |set| set.spec.selector.parsed.clone());
            }
            Changes::ReplicationController(changes) => {
                self.apply_makers(changes, |controller| controller.spec.selector.clone());
            }
            Changes::PodDisruptionBudget(changes) => {
                for change in changes {
                    let budget = change.new.as_ref().map(|budget| Budget {
                        selector: budget.spec.selector.parsed.clone(),
                        allowed: budget.status.disruptions_allowed,
                        disrupted: budget.status.disrupted_pods.keys().cloned().collect(),
                    });
                    self.budgets.set(&change.key, budget);
                }
            }
            Changes::Namespace(changes) => {
                let before = self.cluster.recounts;
                for change in changes {
                    let labels = change.new.as_ref().map(|namespace| namespace.metadata.labels.clone());
                    self.cluster.set_namespace(change.key.name(), labels);
                }
                if self.cluster.recounts != before {
                    self.wake_all(now);
                }
            }
            Changes::Service(changes) => {
                for change in changes {
                    let selector = change.new.as_ref().map(|service| &service.spec.selector);
                    let selector = selector.filter(|selector| !selector.is_empty()).map(equalities);
                    self.cluster.set_service(&change.key, selector);
                }
            }
            Changes::PersistentVolumeClaim(changes) => {
                for change in changes {
                    self.volumes.set_claim(&change.key, change.new.clone());
                    self.wake(&News::Claim(&change.key), now);
                }
            }
            Changes::PersistentVolume(changes) => {
                for change in changes {
                    self.volumes.set_volume(change.key.name(), change.new.clone());
                    if let Some(volume) = &change.new {
                        self.wake(&News::Volume(volume), now);
                    }
                }
            }
            Changes::StorageClass(changes) => {
                for change in changes {
                    self.volumes.set_class(change.key.name(), change.new.clone());
                    self.wake(&News::Class(change.key.name()), now);
                }
            }
            Changes::CSINode(changes) => {
                for change in changes {
                    self.volumes.set_drivers(change.key.name(), change.new.clone());
                    self.wake(&News::Limits, now);
                }
            }
            Changes::CSIDriver(changes) => {
                for change in changes {
                    self.volumes.capacities.set_driver(change.key.name(), change.new.as_deref());
                    self.wake(&News::Room, now);
                }
            }
            Changes::CSIStorageCapacity(changes) => {
                let limit = |capacity: &Option<Arc<CSIStorageCapacity>>| capacity.as_ref()?.limit();
                let is_more = changes.iter().any(|change| limit(&change.new) > limit(&change.old));
                for change in changes {
                    self.volumes.capacities.set(change);
                }
                if is_more {
                    self.wake(&News::Room, now);
                }
            }
            _ => {}
        }
    }

    fn apply_makers<T: Object>(&mut self, changes: &[Change<T>], selector: impl Fn(&T) -> LabelSelector) {
        for change in changes {
            let name = format!("{}/{}", T::KIND.kind, change.key);
            self.cluster.set_maker(&name, change.new.as_deref().map(&selector));
        }
    }

    fn apply_node(&mut self, name: &str, node: Option<Arc<Node>>, now: Timestamp) {
        let exists = node.is_some();
        if !exists && let Some(host) = self.cluster.host(name) {
            let promised: Vec<Key> =
                self.cluster.host_state(host).nominated.iter().map(|nominated| nominated.key.clone()).collect();
            for key in promised {
                self.withdraw(&key, now);
            }
        }
        if self.cluster.set_node(name, node)
            && exists
            && let Some(host) = self.cluster.host(name)
        {
            self.wake(&News::Host(host), now);
        }
    }

    fn apply_pod(&mut self, key: &Key, pod: Option<&Arc<Pod>>, now: Timestamp) {
        let same = |known: &Known| pod.is_some_and(|pod| pod.metadata.uid == known.pod.metadata.uid);
        if self.pods.get(key).is_some_and(|known| !same(known)) {
            self.forget_pod(key, now);
        }
        let Some(pod) = pod else { return };
        if pod.is_over() {
            return self.forget_pod(key, now);
        }
        let old = self.pods.get(key).map(|known| Arc::clone(&known.pod));
        let known = self.pods.entry(key.clone()).or_insert_with(|| Known {
            pod: Arc::clone(pod),
            whereabouts: Whereabouts::Waiting,
            nominated: None,
            resting: None,
        });
        known.pod = Arc::clone(pod);
        let whereabouts = known.whereabouts;
        if pod.spec.node_name.is_empty() {
            return self.apply_waiting(key, old.as_deref(), pod, whereabouts, now);
        }
        let old = old.unwrap_or_else(|| Arc::clone(pod));
        let host = self.cluster.host_named(&pod.spec.node_name);
        match whereabouts {
            Whereabouts::Assumed(on) | Whereabouts::Bound(on) if on == host => {
                self.volumes.forget(key);
                self.stay(&old, pod, host, now);
            }
            Whereabouts::Assumed(on) | Whereabouts::Bound(on) => {
                self.cluster.detach(&old, on);
                self.arrive(key, pod, host, now);
            }
            Whereabouts::Waiting => self.arrive(key, pod, host, now),
        }
        if let Some(known) = self.pods.get_mut(key) {
            known.whereabouts = Whereabouts::Bound(host);
        }
    }

    /// A pod that is bound, by whoever.
    fn arrive(&mut self, key: &Key, pod: &Arc<Pod>, host: Host, now: Timestamp) {
        self.stir(key);
        self.queue.remove(key);
        let promised = self.take_promise(key);
        self.cluster.attach(pod, host);
        self.pod_came(pod, host, promised, now);
    }

    /// Another state of a pod that is where it was.
    fn stay(&mut self, old: &Arc<Pod>, pod: &Arc<Pod>, host: Host, now: Timestamp) {
        self.queue.remove(&pod.key());
        let relabelled = old.metadata.labels != pod.metadata.labels;
        let reshaped = !Arc::ptr_eq(&old.spec.shape, &pod.spec.shape);
        let ending = old.metadata.is_being_deleted() != pod.metadata.is_being_deleted();
        self.cluster.replace(pod, host);
        if relabelled || ending {
            self.wake(&News::Left(old), now);
            self.wake(&News::Arrived(pod), now);
        }
        if reshaped {
            self.wake(&News::Host(host), now);
        }
    }

    fn apply_waiting(
        &mut self,
        key: &Key,
        old: Option<&Pod>,
        pod: &Arc<Pod>,
        whereabouts: Whereabouts,
        now: Timestamp,
    ) {
        // A state from before the binding that is under way.
        if whereabouts.host().is_some() {
            if let Some(host) = whereabouts.host() {
                self.cluster.replace(pod, host);
            }
            return;
        }
        if !is_waiting(pod) {
            self.stir(key);
            self.queue.remove(key);
            return self.withdraw(key, now);
        }
        // What was decided here since is newer than a status that says what it said before.
        let nominated = &pod.status.nominated_node_name;
        if old.map(|old| &old.status.nominated_node_name).is_none_or(|old| old != nominated) {
            self.promise_room(key, nominated, now);
        }
        let changed = |old: &Pod| {
            !Arc::ptr_eq(&old.spec.shape, &pod.spec.shape)
                || old.metadata.labels != pod.metadata.labels
                || old.spec.volumes != pod.spec.volumes
        };
        if old.is_none_or(changed) || !self.queue.contains(key) {
            self.stir(key);
            self.queue.add(key, pod.spec.shape.priority);
        }
    }

    fn forget_pod(&mut self, key: &Key, now: Timestamp) {
        self.stir(key);
        self.queue.remove(key);
        self.withdraw(key, now);
        let Some(known) = self.pods.remove(key) else { return };
        self.evicted.remove(&known.pod.metadata.uid);
        self.volumes.forget(key);
        if let Some(host) = known.whereabouts.host() {
            self.cluster.detach(&known.pod, host);
            self.wake(&News::Host(host), now);
            self.wake(&News::Left(&known.pod), now);
        }
    }

    /// A pod has come to the host, which need not be where it was promised room.
    pub(super) fn pod_came(&mut self, pod: &Arc<Pod>, host: Host, promised: Option<Host>, now: Timestamp) {
        self.wake(&News::Arrived(pod), now);
        if let Some(promised) = promised.filter(|promised| *promised != host) {
            self.wake(&News::Host(promised), now);
        }
    }
}

/// A service selects pods that have all these labels.
fn equalities(labels: &Labels) -> LabelSelector {
    let wanted =
        labels.iter().filter_map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.into()]).ok());
    LabelSelector::of(wanted.collect())
}
