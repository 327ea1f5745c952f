//! Claims that ask for more than they have. A directory has no size of its own, so that of ours only has to be told: the
//! volume says its new size first, then the claim. Other volumes are left to those who made them.
//!
//! Not here: whether a claim may grow, which the API server decides by its class.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{PersistentVolume, PersistentVolumeClaim, storage::PROVISIONED_BY},
};
use serde_json::json;

use super::{local_path, patch_volume};
use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition, status_patch},
};

/// By the keys of claims.
pub struct Expansion;

impl Controller for Expansion {
    fn name(&self) -> &'static str {
        "volume_expand"
    }

    fn account(&self) -> &'static str {
        "expand-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::PersistentVolumeClaim]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let Changes::PersistentVolumeClaim(changes) = changes else { return };
        for change in changes {
            let asks = |claim: &PersistentVolumeClaim| (claim.requested(), wants_more(claim));
            let asked = change.old.as_deref().map(asks);
            if change.new.as_deref().is_some_and(|claim| wants_more(claim) && asked != Some(asks(claim))) {
                add(change.key.clone());
            }
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(claim) = caches.persistent_volume_claims.get(key).filter(|claim| wants_more(claim)) else {
            return plan;
        };
        let Some(volume) = caches.persistent_volumes.find("", &claim.spec.volume_name) else { return plan };
        if volume.spec.claim_ref.as_ref().is_none_or(|reference| reference.uid != claim.metadata.uid) {
            return plan;
        }
        let tell = |reason, message: String| Action::Event(Event::normal(&Reference::to(&*claim), reason, message));
        if volume.metadata.annotations.get(PROVISIONED_BY) != Some(local_path::NAME) {
            let message = "waiting for an external controller to expand this PVC";
            plan.then(vec![tell("ExternalExpanding", message.to_owned())]);
            return plan;
        }
        if volume.capacity() < claim.requested() {
            let message = format!("External resizer is resizing volume {}", volume.metadata.name);
            plan.then(vec![tell("Resizing", message)]);
            plan.then(vec![grow(&volume, &claim)]);
        }
        let mut status = claim.status.clone();
        status.capacity = claim.spec.resources.requests.clone();
        plan.then(vec![status_patch(&*claim, &claim.status, &status)]);
        plan.then(vec![tell("VolumeResizeSuccessful", "Resize volume succeeded".to_owned())]);
        plan
    }
}

/// A bound claim that has less than it asks for.
fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    *claim.status.phase == *"Bound" && claim.capacity() < claim.requested()
}

fn grow(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Action {
    let storage = claim.spec.resources.requests.get("storage");
    patch_volume(
        volume,
        json!({"metadata": precondition(&volume.metadata), "spec": {"capacity": {"storage": storage}}}),
    )
}
