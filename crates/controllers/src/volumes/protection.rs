//! Claims that pods use and volumes that are bound may be deleted, and go when nobody has them any more.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Meta, Object, Pod, pod, storage::ATTRIBUTES},
};
use serde_json::json;

use super::patch_of;
use crate::{
    driver::{Controller, Turn},
    plan::{Action, Errand, Plan, precondition},
};

pub struct ClaimProtection;

pub struct VolumeProtection;

/// Of classes of attributes (KEP-3751).
pub struct AttributesProtection;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";

impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn account(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::PersistentVolumeClaim, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::PersistentVolumeClaim(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                // What a pod begins to use is in use; what it leaves may go.
                for pod in changes.iter().filter_map(|change| change.old.as_ref()) {
                    let being_deleted = |claim: &Key| {
                        let claim = caches.persistent_volume_claims.get(claim);
                        claim.is_some_and(|claim| claim.metadata.is_being_deleted())
                    };
                    pod.claims().filter(being_deleted).for_each(&mut *add);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(claim) = caches.persistent_volume_claims.get(key) else { return plan };
        if !claim.metadata.is_being_deleted() {
            plan.then(add_to(&*claim, CLAIM).into_iter().collect());
            return plan;
        }
        let used = caches.pods.by(pod::CLAIM, key.as_str()).iter().any(|pod| uses(pod, key));
        if !used && let Some(then) = remove_from(&*claim, CLAIM) {
            plan.then(vec![Action::Errand(Errand::IfUnused { claim: key.clone(), then: Box::new(then) })]);
        }
        plan
    }
}

/// Whether a pod keeps a claim from going: it may be running, and is not about to vanish.
pub(crate) fn uses(pod: &Pod, claim: &Key) -> bool {
    let is_shut_down = pod.metadata.is_being_deleted() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let is_named = || pod.spec.claims.iter().any(|volume| *volume.claim == *claim.name());
    // A claim of the pod's own goes with it.
    let is_used = is_named() || !is_shut_down && pod.claim_names().any(|name| *name == *claim.name());
    !pod.spec.node_name.is_empty() && is_used
}

impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn account(&self) -> &'static str {
        "pv-protection-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::PersistentVolume]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        if let Changes::PersistentVolume(changes) = changes {
            changes.iter().for_each(|change| add(change.key.clone()));
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(volume) = caches.persistent_volumes.get(key) else { return plan };
        let being_deleted = volume.metadata.is_being_deleted();
        let bound = *volume.status.phase == *"Bound";
        let action = match being_deleted {
            true if bound => None,
            true => remove_from(&*volume, VOLUME),
            false => add_to(&*volume, VOLUME),
        };
        plan.then(action.into_iter().collect());
        plan
    }
}

impl Controller for AttributesProtection {
    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::VolumeAttributesClass, Topic::PersistentVolumeClaim, Topic::PersistentVolume]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        // What an object no longer has may be what a class waits for; few clusters have any.
        let mut leaves = |class: &str| {
            let key = Key::new("", class);
            let class = caches.volume_attributes_classes.get(&key);
            class.filter(|class| class.metadata.is_being_deleted()).into_iter().for_each(|_| add(key.clone()));
        };
        match changes {
            Changes::VolumeAttributesClass(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::PersistentVolumeClaim(changes) => {
                for old in changes.iter().filter_map(|change| change.old.as_ref()) {
                    old.attributes_classes().for_each(&mut leaves);
                }
            }
            Changes::PersistentVolume(changes) => {
                for old in changes.iter().filter_map(|change| change.old.as_ref()) {
                    old.spec.volume_attributes_class_name.iter().for_each(|class| leaves(class));
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(class) = caches.volume_attributes_classes.get(key) else { return plan };
        let used = || {
            !caches.persistent_volume_claims.by(ATTRIBUTES, key.name()).is_empty()
                || !caches.persistent_volumes.by(ATTRIBUTES, key.name()).is_empty()
        };
        let action = match class.metadata.is_being_deleted() {
            true if used() => None,
            true => remove_from(&*class, CLASS),
            false => add_to(&*class, CLASS),
        };
        plan.then(action.into_iter().collect());
        plan
    }
}

fn add_to<T: Object>(object: &T, finalizer: &str) -> Option<Action> {
    let meta = object.meta();
    let has = meta.finalizers.iter().any(|known| **known == *finalizer);
    (!has).then(|| write(object, meta, meta.finalizers.iter().map(|known| &**known).chain([finalizer]).collect()))
}

fn remove_from<T: Object>(object: &T, finalizer: &str) -> Option<Action> {
    let meta = object.meta();
    let has = meta.finalizers.iter().any(|known| **known == *finalizer);
    let others = meta.finalizers.iter().map(|known| &**known).filter(|known| *known != finalizer);
    has.then(|| write(object, meta, others.collect()))
}

fn write<T: Object>(object: &T, meta: &Meta, finalizers: Vec<&str>) -> Action {
    let mut metadata = precondition(meta);
    metadata["finalizers"] = json!(finalizers);
    patch_of(object, json!({ "metadata": metadata }))
}
