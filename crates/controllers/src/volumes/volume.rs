//! A volume's phase, and what happens when its claim is gone.

use client::{
    Caches,
    objects::{
        Object, PersistentVolume, PersistentVolumeClaim,
        storage::{BOUND_BY_CONTROLLER, ClaimRef, PROVISIONED_BY, PersistentVolumeStatus},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::patch_volume;
use crate::plan::{Action, Errand, Event, Plan, Reference, precondition, status_patch};

const AVAILABLE: &str = "Available";
const BOUND: &str = "Bound";
const RELEASED: &str = "Released";
const FAILED: &str = "Failed";

pub fn reconcile(caches: &Caches, volume: &PersistentVolume, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    plan.then(match &volume.spec.claim_ref {
        // Free, or kept for a claim that has not asked yet.
        None => in_phase(volume, now, AVAILABLE),
        Some(claim) if claim.uid.is_empty() => in_phase(volume, now, AVAILABLE),
        Some(reference) => match caches.persistent_volume_claims.get(&reference.key()) {
            Some(claim) if claim.metadata.uid == reference.uid => beside(volume, &claim, now),
            _ => release(volume, reference, now),
        },
    });
    plan
}

/// The volume's claim is there.
fn beside(volume: &PersistentVolume, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Action> {
    let named = &claim.spec.volume_name;
    if named == &volume.metadata.name {
        return in_phase(volume, now, BOUND);
    }
    if named.is_empty() {
        // Looking at the claim binds the two, unless they do not fit.
        return if volume.has_mode_of(claim) { Vec::new() } else { tell_mode(volume, claim) };
    }
    // The claim has another volume.
    let made_for_it = volume.metadata.annotations.get(PROVISIONED_BY).is_some()
        && *volume.spec.persistent_volume_reclaim_policy == *"Delete";
    if !made_for_it {
        return vec![unbind(volume)];
    }
    match &*volume.status.phase {
        RELEASED | FAILED => reclaim(volume, now),
        _ => vec![phase(volume, now, RELEASED, "")],
    }
}

/// The volume's claim is gone, unless it is only too new to be known here.
fn release(volume: &PersistentVolume, reference: &ClaimRef, now: Timestamp) -> Vec<Action> {
    if matches!(&*volume.status.phase, RELEASED | FAILED) {
        return reclaim(volume, now);
    }
    vec![Action::Errand(Errand::IfGone {
        kind: PersistentVolumeClaim::KIND,
        key: reference.key(),
        uid: Some(reference.uid.clone()),
        then: vec![phase(volume, now, RELEASED, "")],
    })]
}

fn reclaim(volume: &PersistentVolume, now: Timestamp) -> Vec<Action> {
    match &*volume.spec.persistent_volume_reclaim_policy {
        // Whoever made the volume deletes it.
        "Delete" if volume.metadata.annotations.get(PROVISIONED_BY).is_some() || volume.spec.csi.is_some() => {
            Vec::new()
        }
        "Delete" => {
            let name = &volume.metadata.name;
            let message =
                format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
            fail(volume, now, "VolumeFailedDelete", &message)
        }
        "Recycle" => fail(volume, now, "VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        "Retain" => Vec::new(),
        _ => fail(volume, now, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy"),
    }
}

fn fail(volume: &PersistentVolume, now: Timestamp, reason: &'static str, message: &str) -> Vec<Action> {
    if *volume.status.phase == *FAILED {
        return Vec::new();
    }
    let event = Event::warning(&Reference::to(volume), reason, message.to_owned());
    vec![phase(volume, now, FAILED, message), Action::Event(event)]
}

/// Undoes a binding that came to nothing. A volume that its maker kept for a claim stays kept for it.
fn unbind(volume: &PersistentVolume) -> Action {
    let mut metadata = precondition(&volume.metadata);
    let claim_ref = if volume.metadata.annotations.get(BOUND_BY_CONTROLLER).is_some() {
        metadata["annotations"] = json!({BOUND_BY_CONTROLLER: null});
        Value::Null
    } else {
        json!({"uid": null})
    };
    patch_volume(volume, json!({"metadata": metadata, "spec": {"claimRef": claim_ref}}))
}

fn tell_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Action> {
    let of_volume = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
        claim.metadata.name
    );
    let of_claim = format!(
        "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
        volume.metadata.name
    );
    vec![
        Action::Event(Event::warning(&Reference::to(volume), "VolumeMismatch", of_volume)),
        Action::Event(Event::warning(&Reference::to(claim), "VolumeMismatch", of_claim)),
    ]
}

fn in_phase(volume: &PersistentVolume, now: Timestamp, wanted: &str) -> Vec<Action> {
    if *volume.status.phase == *wanted { Vec::new() } else { vec![phase(volume, now, wanted, "")] }
}

pub fn phase(volume: &PersistentVolume, now: Timestamp, phase: &str, message: &str) -> Action {
    let status =
        PersistentVolumeStatus { phase: phase.into(), message: message.into(), last_phase_transition_time: Some(now) };
    status_patch(volume, &volume.status, &status)
}
