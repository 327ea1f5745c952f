//! Volumes and claims: which volume a claim gets, and what becomes of a volume when its claim is gone.
//!
//! | file | decides |
//! |---|---|
//! | `claim` | which volume a claim is bound to, or where a new one is to come from |
//! | `volume` | a volume's phase, and what happens when its claim is gone |
//! | `protection` | when a claim or volume that is being deleted may go |
//! | `local_path` | volumes that are directories of a node |
//! | `ephemeral` | claims that pods have of their own |
//! | `expansion` | claims that ask for more than they have |
//!
//! Binding writes four times: the volume names its claim, says that it is bound, then the claim does both. Each look
//! does the first that is missing, so a restart at any point goes on where it was left.
//!
//! Not here: volumes of external provisioners, on which node a volume is needed (the scheduler says so), and anything on a
//! node.

mod claim;
mod ephemeral;
mod expansion;
mod local_path;
mod protection;
mod volume;

pub use ephemeral::EphemeralVolumes;
pub use expansion::Expansion;
pub use local_path::{LocalPath, keep_default_class};
pub(crate) use protection::uses;
pub use protection::{AttributesProtection, ClaimProtection, VolumeProtection};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, PersistentVolume, PersistentVolumeClaim},
    requests::Patch,
};
use serde_json::Value;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Plan},
};

/// By the keys of claims (`namespace/name`) and the names of volumes.
pub struct VolumeBinder;

impl Controller for VolumeBinder {
    fn name(&self) -> &'static str {
        "persistentvolume-controller"
    }

    fn account(&self) -> &'static str {
        "persistent-volume-binder"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::PersistentVolume, Topic::PersistentVolumeClaim, Topic::StorageClass, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::PersistentVolumeClaim(changes) => {
                for change in changes {
                    add(change.key.clone());
                    let volumes = caches.persistent_volumes.of_claim(&change.key);
                    volumes.iter().for_each(|volume| add(volume.key()));
                }
            }
            Changes::PersistentVolume(changes) => {
                for change in changes {
                    add(change.key.clone());
                    let claims = change.states().filter_map(|volume| volume.spec.claim_ref.as_ref());
                    claims.for_each(|claim| add(claim.key()));
                    let naming = caches.persistent_volume_claims.naming(change.key.name());
                    naming.iter().for_each(|claim| add(claim.key()));
                    // A volume that is free may be what others wait for.
                    for volume in change.new.iter().filter(|volume| volume.spec.claim_ref.is_none()) {
                        let waiting = caches.persistent_volume_claims.unbound(volume.class());
                        waiting.iter().for_each(|claim| add(claim.key()));
                    }
                }
            }
            Changes::StorageClass(changes) => {
                for change in changes {
                    let of_class = caches.persistent_volume_claims.unbound(change.key.name());
                    // A default is for those, too, that have none.
                    let default = change.new.as_ref().is_some_and(|class| class.is_default());
                    let without = if default { caches.persistent_volume_claims.unbound("") } else { Vec::new() };
                    of_class.iter().chain(&without).for_each(|claim| add(claim.key()));
                }
            }
            // Which pods a claim waits for is told of it.
            Changes::Pod(changes) => {
                let new = changes.iter().filter(|change| change.old.is_none()).filter_map(|change| change.new.as_ref());
                let waiting = |claim: &Key| {
                    let claim = caches.persistent_volume_claims.get(claim);
                    claim.is_some_and(|claim| claim.spec.volume_name.is_empty())
                };
                new.flat_map(|pod| pod.claims()).filter(waiting).for_each(add);
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        if key.namespace().is_empty() {
            let volume = caches.persistent_volumes.get(key);
            volume.map(|volume| volume::reconcile(caches, &volume, turn.now)).unwrap_or_default()
        } else {
            let claim = caches.persistent_volume_claims.get(key);
            claim.map(|claim| claim::reconcile(caches, &claim, turn.now)).unwrap_or_default()
        }
    }
}

fn patch_claim(claim: &PersistentVolumeClaim, patch: Value) -> Action {
    patch_of(claim, patch)
}

fn patch_volume(volume: &PersistentVolume, patch: Value) -> Action {
    patch_of(volume, patch)
}

fn patch_of<T: Object>(object: &T, patch: Value) -> Action {
    Action::Patch { kind: T::KIND, key: object.key(), subresource: "", form: Patch::Merge, patch }
}
