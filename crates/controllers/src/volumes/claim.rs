//! Which volume a claim is bound to, or where a new one is to come from.

use std::sync::Arc;

use client::{
    Caches,
    objects::{
        Object, PersistentVolume, PersistentVolumeClaim, StorageClass, pod,
        storage::{
            BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, PersistentVolumeClaimStatus,
            SELECTED_NODE,
        },
    },
};
use jiff::Timestamp;
use serde_json::json;

use super::{patch_claim, patch_volume, volume::phase};
use crate::plan::{Action, Errand, Event, Plan, Reference, precondition, status_patch};

const PENDING: &str = "Pending";
const BOUND: &str = "Bound";
const LOST: &str = "Lost";

pub fn reconcile(caches: &Caches, claim: &PersistentVolumeClaim, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    plan.then(match claim.annotation(BIND_COMPLETED) {
        Some(_) => stay_bound(caches, claim, now),
        None if claim.spec.volume_name.is_empty() => find(caches, claim, now),
        None => take(caches, claim, now),
    });
    plan
}

/// The claim does not care which volume it gets.
fn find(caches: &Caches, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Action> {
    let class = caches.storage_classes.find("", claim.class());
    let waits = class.as_ref().is_some_and(|class| class.waits_for_consumer());
    if let Some(volume) = best(caches, claim, waits) {
        return bind(&volume, claim, now);
    }
    if !claim.has_class()
        && let Some(default) = caches.storage_classes.default_class()
    {
        let spec = json!({"storageClassName": default.metadata.name});
        return vec![patch_claim(claim, json!({"metadata": precondition(&claim.metadata), "spec": spec}))];
    }
    if waits && claim.annotation(SELECTED_NODE).is_none() {
        return pend(claim, Some(wait_for_consumer(caches, claim)));
    }
    match class {
        Some(class) => provision(claim, &class),
        None if claim.class().is_empty() => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            pend(claim, Some(normal(claim, "FailedBinding", message.to_owned())))
        }
        None => {
            let message = format!("storageclass.storage.k8s.io {:?} not found", claim.class());
            pend(claim, Some(warning(claim, "ProvisioningFailed", message)))
        }
    }
}

/// The volume that is kept for the claim, or the smallest that serves. While the claim waits for its consumer only the
/// scheduler takes one that is free.
fn best(caches: &Caches, claim: &PersistentVolumeClaim, waits: bool) -> Option<Arc<PersistentVolume>> {
    let mut kept = caches.persistent_volumes.of_claim(&claim.key());
    kept.retain(|volume| volume.is_for(claim) && volume.could_serve(claim) && volume.offers_access_of(claim));
    if waits || !kept.is_empty() {
        return kept.into_iter().next();
    }
    let mut free = caches.persistent_volumes.unclaimed(claim.class());
    free.retain(|volume| volume.matches(claim));
    // One that can do no more than is asked comes before one that is smaller but could serve others.
    free.into_iter()
        .min_by_key(|volume| (volume.spec.access_modes.len(), volume.capacity(), volume.metadata.name.clone()))
}

/// The claim names its volume, and is not bound yet.
fn take(caches: &Caches, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Action> {
    let Some(volume) = caches.persistent_volumes.find("", &claim.spec.volume_name) else { return pend(claim, None) };
    if volume.is_for(claim) {
        return bind(&volume, claim, now);
    }
    if volume.spec.claim_ref.is_some() {
        let message = format!("volume {:?} already bound to a different claim.", volume.metadata.name);
        return pend(claim, Some(warning(claim, "FailedBinding", message)));
    }
    match mismatch(&volume, claim) {
        None => bind(&volume, claim, now),
        Some(why) => {
            let message = format!("Cannot bind to requested volume {:?}: {why}", volume.metadata.name);
            pend(claim, Some(warning(claim, "VolumeMismatch", message)))
        }
    }
}

/// Why the volume that a claim asks for is not for it.
fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let reasons = [
        (volume.metadata.is_being_deleted(), format!("the volume is marked for deletion {:?}", volume.metadata.name)),
        (volume.capacity() < claim.requested(), "requested PV is too small".to_owned()),
        (volume.class() != claim.class(), "storageClassName does not match".to_owned()),
        (!volume.has_attributes_of(claim), "volumeAttributesClassName does not match".to_owned()),
        (!volume.has_mode_of(claim), "incompatible volumeMode".to_owned()),
        (!volume.offers_access_of(claim), "incompatible accessMode".to_owned()),
    ];
    reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

/// The claim was bound once.
fn stay_bound(caches: &Caches, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Action> {
    if claim.spec.volume_name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose(claim, "ClaimLost", message);
    }
    match caches.persistent_volumes.find("", &claim.spec.volume_name) {
        // The volume may only be too new to be known here.
        None => {
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            let then = lose(claim, "ClaimLost", message);
            let key = client::Key::new("", &claim.spec.volume_name);
            if then.is_empty() {
                return then;
            }
            vec![Action::Errand(Errand::IfGone { kind: PersistentVolume::KIND, key, uid: None, then })]
        }
        Some(volume) => match &volume.spec.claim_ref {
            Some(reference) if reference.uid != claim.metadata.uid => {
                lose(claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
            }
            _ => bind(&volume, claim, now),
        },
    }
}

/// The first write that is missing until the two are each other's.
fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Action> {
    let reference = volume.spec.claim_ref.as_ref();
    if reference.is_none_or(|reference| reference.uid != claim.metadata.uid) {
        let mut metadata = precondition(&volume.metadata);
        if !volume.is_for(claim) {
            metadata["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
        }
        let claim_ref = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace,
            "name": claim.metadata.name, "uid": claim.metadata.uid,
            "resourceVersion": claim.metadata.resource_version.to_string(),
        });
        return vec![patch_volume(volume, json!({"metadata": metadata, "spec": {"claimRef": claim_ref}}))];
    }
    if *volume.status.phase != *BOUND {
        return vec![phase(volume, now, BOUND, "")];
    }
    let mut metadata = precondition(&claim.metadata);
    if *claim.spec.volume_name != *volume.metadata.name {
        metadata["annotations"] = json!({BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"});
        let spec = json!({"volumeName": volume.metadata.name});
        return vec![patch_claim(claim, json!({"metadata": metadata, "spec": spec}))];
    }
    if claim.annotation(BIND_COMPLETED).is_none() {
        metadata["annotations"] = json!({BIND_COMPLETED: "yes"});
        return vec![patch_claim(claim, json!({ "metadata": metadata }))];
    }
    bound(volume, claim)
}

/// What a bound claim says of its volume. Its size is told when it becomes bound: later the two may differ on purpose.
fn bound(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Action> {
    let becomes = *claim.status.phase != *BOUND;
    let mut status = claim.status.clone();
    status.access_modes = volume.spec.access_modes.clone();
    if becomes {
        status.phase = BOUND.into();
        status.capacity = volume.spec.capacity.clone();
        status.current_volume_attributes_class_name = volume.spec.volume_attributes_class_name.clone();
    }
    if status == claim.status { Vec::new() } else { vec![status_patch(claim, &claim.status, &status)] }
}

/// A class without a volume at hand: somebody else makes one.
fn provision(claim: &PersistentVolumeClaim, class: &StorageClass) -> Vec<Action> {
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        let message = format!("no volume plugin matched name: {provisioner}");
        return pend(claim, Some(warning(claim, "ProvisioningFailed", message)));
    }
    let told = [PROVISIONER, BETA_PROVISIONER];
    if told.iter().any(|name| claim.annotation(name) != Some(provisioner)) {
        let mut metadata = precondition(&claim.metadata);
        metadata["annotations"] = json!({PROVISIONER: provisioner, BETA_PROVISIONER: provisioner});
        return vec![patch_claim(claim, json!({ "metadata": metadata }))];
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    pend(claim, Some(normal(claim, "ExternalProvisioning", message)))
}

fn wait_for_consumer(caches: &Caches, claim: &PersistentVolumeClaim) -> Event {
    let mut pods = caches.pods.by(pod::CLAIM, claim.key().as_str());
    pods.retain(|pod| pod.spec.node_name.is_empty() && !pod.is_over());
    let names: Vec<&str> = pods.iter().map(|pod| &*pod.metadata.name).collect();
    match names[..] {
        [] => {
            let message = "waiting for first consumer to be created before binding";
            normal(claim, "WaitForFirstConsumer", message.to_owned())
        }
        [name] => normal(claim, "WaitForPodScheduled", format!("waiting for pod {name} to be scheduled")),
        _ => normal(claim, "WaitForPodScheduled", format!("waiting for pods {} to be scheduled", names.join(","))),
    }
}

/// The claim goes on waiting, and says why.
fn pend(claim: &PersistentVolumeClaim, why: Option<Event>) -> Vec<Action> {
    let status = unbound(claim, PENDING);
    let write = (status != claim.status).then(|| status_patch(claim, &claim.status, &status));
    write.into_iter().chain(why.map(Action::Event)).collect()
}

/// The status without what it says of a volume.
fn unbound(claim: &PersistentVolumeClaim, phase: &str) -> PersistentVolumeClaimStatus {
    PersistentVolumeClaimStatus {
        phase: phase.into(),
        modify_volume_status: claim.status.modify_volume_status.clone(),
        ..PersistentVolumeClaimStatus::default()
    }
}

fn lose(claim: &PersistentVolumeClaim, reason: &'static str, message: &str) -> Vec<Action> {
    if *claim.status.phase == *LOST {
        return Vec::new();
    }
    let status = unbound(claim, LOST);
    let event = warning(claim, reason, message.to_owned());
    vec![status_patch(claim, &claim.status, &status), Action::Event(event)]
}

fn normal(claim: &PersistentVolumeClaim, reason: &'static str, message: String) -> Event {
    Event::normal(&Reference::to(claim), reason, message)
}

fn warning(claim: &PersistentVolumeClaim, reason: &'static str, message: String) -> Event {
    Event::warning(&Reference::to(claim), reason, message)
}
