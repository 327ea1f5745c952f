//! Volumes: whether a node can offer what a pod's claims and disks need, and what has to be written before the pod can be
//! bound there.
//!
//! Not here: binding claims and making volumes, which a controller does once it knows the node.

mod capacities;
mod fit;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use capacities::{Capacities, Room};
use client::{
    Key,
    objects::{
        CSINode, Node, Object, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass,
        shape::{Disk, PodVolume},
        storage::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE},
    },
};
use serde_json::{Value, json};

use crate::{refusal::Plugin, verdict::PodRefusal};

/// What is known of volumes, and what has been decided about them and is not seen yet.
#[derive(Default)]
pub struct Volumes {
    claims: HashMap<Key, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<Box<str>, Arc<PersistentVolume>>,
    classes: HashMap<Box<str>, Arc<StorageClass>>,
    drivers: HashMap<Box<str>, Arc<CSINode>>,
    pub capacities: Capacities,
    /// By pod.
    assumed: HashMap<Key, Assumed>,
}

#[derive(Default)]
struct Assumed {
    /// Volumes, and the claims that get them.
    bound: Vec<(Box<str>, Key)>,
    /// Claims whose volumes are made on that node.
    selected: Vec<(Key, Box<str>)>,
}

/// What a pod's volumes need.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    disks: Vec<Disk>,
    /// Claims that one pod only may use.
    exclusive: Vec<Key>,
    bound: Vec<(Key, Arc<PersistentVolume>)>,
    /// Claims that wait for their first consumer, the smallest first.
    unbound: Vec<Unbound>,
}

#[derive(Debug, Clone)]
struct Unbound {
    claim: Arc<PersistentVolumeClaim>,
    /// The node its volume is made on, where that is decided.
    selected: Option<Box<str>>,
    /// Volumes that are there and could be it, the smallest first.
    candidates: Vec<Arc<PersistentVolume>>,
    class: Arc<StorageClass>,
    /// Where there is room to make it; none where that need not be asked.
    room: Option<Room>,
}

/// A write that has to precede the binding: a merge patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub resource: &'static str,
    pub key: Key,
    pub patch: Value,
}

impl Volumes {
    pub fn set_claim(&mut self, key: &Key, claim: Option<Arc<PersistentVolumeClaim>>) {
        set(&mut self.claims, key.clone(), claim);
    }

    pub fn set_volume(&mut self, name: &str, volume: Option<Arc<PersistentVolume>>) {
        match volume {
            Some(volume) => drop(self.volumes.insert(name.into(), volume)),
            None => drop(self.volumes.remove(name)),
        }
    }

    pub fn set_class(&mut self, name: &str, class: Option<Arc<StorageClass>>) {
        set(&mut self.classes, name.into(), class);
    }

    pub fn set_drivers(&mut self, node: &str, drivers: Option<Arc<CSINode>>) {
        set(&mut self.drivers, node.into(), drivers);
    }

    /// Whether the pod uses a claim that has this volume, or may yet get it.
    pub fn may_use(&self, pod: &Pod, volume: &PersistentVolume) -> bool {
        let concerns = |claim: &Arc<PersistentVolumeClaim>| match &*claim.spec.volume_name {
            "" => claim.class() == volume.class(),
            name => *name == *volume.metadata.name,
        };
        pod.claims().filter_map(|key| self.claims.get(&key)).any(concerns)
    }

    /// Whether the pod uses a claim of that storage class.
    pub fn uses_class(&self, pod: &Pod, class: &str) -> bool {
        pod.claims().filter_map(|key| self.claims.get(&key)).any(|claim| claim.class() == class)
    }

    /// What the pod's volumes need; none where no node could lack it. Refuses where no node can help.
    pub fn needs(&self, pod: &Pod) -> Result<Option<Needs>, PodRefusal> {
        if !has_volumes(pod) {
            return Ok(None);
        }
        let mut needs = Needs::default();
        let mut waits: Option<Key> = None;
        for volume in &pod.spec.volumes {
            if let PodVolume::Disk(disk) = volume {
                needs.disks.push(disk.clone());
            }
        }
        for key in pod.claims() {
            let claim = self.usable(&key, pod)?;
            if claim.spec.access_modes.iter().any(|mode| **mode == *"ReadWriteOncePod") {
                needs.exclusive.push(key.clone());
            }
            if is_bound(claim) {
                let volume = &claim.spec.volume_name;
                let missing = || {
                    let remedy = format!("create the volume {volume} again, or the claim {} anew", key.name());
                    refusal(Plugin::VolumeZone, format!("persistentvolume \"{volume}\" not found"), remedy)
                };
                let volume = Arc::clone(self.volumes.get(volume).ok_or_else(missing)?);
                needs.bound.push((key, volume));
            } else {
                match self.unbound(&key, claim)? {
                    Some(unbound) => needs.unbound.push(unbound),
                    None => waits = waits.or(Some(key)),
                }
            }
        }
        if let Some(claim) = waits {
            let text = "pod has unbound immediate PersistentVolumeClaims".to_owned();
            return Err(refusal(Plugin::VolumeBinding, text, self.how_to_bind(&claim)));
        }
        needs.unbound.sort_by_key(|unbound| unbound.claim.requested());
        Ok(Some(needs))
    }

    fn usable(&self, key: &Key, pod: &Pod) -> Result<&Arc<PersistentVolumeClaim>, PodRefusal> {
        let name = key.name();
        let is_own = |volume: &PodVolume| match volume {
            PodVolume::Ephemeral(volume) => *name == volume.claim_of(&pod.metadata.name),
            _ => false,
        };
        let (text, remedy) = match self.claims.get(key) {
            None if pod.spec.volumes.iter().any(is_own) => (
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""),
                format!("wait for the claim {name} to be made"),
            ),
            None => (
                format!("persistentvolumeclaim \"{name}\" not found"),
                format!("create the claim {name} in namespace {}", key.namespace()),
            ),
            Some(claim) if *claim.status.phase == *"Lost" => {
                let volume = &claim.spec.volume_name;
                (
                    format!("persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""),
                    format!("create the volume {volume} again, or the claim {name} anew"),
                )
            }
            Some(claim) if claim.metadata.is_being_deleted() => (
                format!("persistentvolumeclaim \"{name}\" is being deleted"),
                format!("create the claim {name} anew once it is gone"),
            ),
            Some(claim) => return Ok(claim),
        };
        Err(refusal(Plugin::VolumeBinding, text, remedy))
    }

    /// What a claim lacks that does not wait for its first consumer.
    fn how_to_bind(&self, key: &Key) -> String {
        let (name, class) = (key.name(), self.claims.get(key).map(|claim| claim.class()).unwrap_or_default());
        if class.is_empty() {
            format!("provide a volume for the claim {name}, which names no storage class")
        } else if self.classes.contains_key(class) {
            format!(
                "wait until the claim {name} is bound (kubectl describe persistentvolumeclaim {name} says what it lacks)"
            )
        } else {
            format!("create the storage class {class}, which the claim {name} names")
        }
    }

    /// A claim that waits for its first consumer; none where it waits for somebody else.
    fn unbound(&self, key: &Key, claim: &Arc<PersistentVolumeClaim>) -> Result<Option<Unbound>, PodRefusal> {
        let name = claim.class();
        if name.is_empty() {
            return Ok(None);
        }
        // A class that is not there is not one that waits.
        let Some(class) = self.classes.get(name) else { return Ok(None) };
        if !class.waits_for_consumer() || !claim.spec.volume_name.is_empty() {
            return Ok(None);
        }
        let assumed = self.assumed.values().flat_map(|assumed| &assumed.selected);
        let assumed = assumed.into_iter().find(|(selected, _)| selected == key).map(|(_, node)| &**node);
        let selected = claim.annotation(SELECTED_NODE).or(assumed).map(Box::from);
        let taken = |volume: &PersistentVolume| {
            let mut bound = self.assumed.values().flat_map(|assumed| &assumed.bound);
            bound.any(|(name, other)| *name == volume.metadata.name && other != key)
        };
        let serves = |volume: &PersistentVolume| {
            if volume.spec.claim_ref.is_some() { volume.is_for(claim) } else { volume.matches(claim) && !taken(volume) }
        };
        let mut candidates: Vec<Arc<PersistentVolume>> =
            self.volumes.values().filter(|volume| serves(volume)).cloned().collect();
        // A volume that is kept for the claim is the claim's.
        if candidates.iter().any(|volume| volume.spec.claim_ref.is_some()) {
            candidates.retain(|volume| volume.spec.claim_ref.is_some());
        }
        candidates.sort_by_key(|volume| volume.capacity());
        let room = self.capacities.room(&class.provisioner, claim);
        let (claim, class) = (Arc::clone(claim), Arc::clone(class));
        Ok(Some(Unbound { claim, selected, candidates, class, room }))
    }

    /// Takes what is decided to be done; what has to be written first, and the claims that have to be bound before the pod.
    pub fn assume(&mut self, needs: &Needs, pod: &Key, node: &Node) -> (Vec<Step>, Vec<Key>) {
        let mut assumed = Assumed::default();
        let (mut steps, mut claims) = (Vec::new(), Vec::new());
        let Ok(choices) = fit::choose(needs, node) else { return (steps, claims) };
        for (unbound, choice) in needs.unbound.iter().zip(choices) {
            let key = unbound.claim.key();
            claims.push(key.clone());
            match choice {
                Some(volume) => {
                    steps.push(bind(&volume, &unbound.claim));
                    assumed.bound.push((volume.metadata.name.clone(), key));
                }
                None => {
                    let name = &node.metadata.name;
                    if unbound.claim.annotation(SELECTED_NODE) != Some(name) {
                        let patch = json!({"metadata": {"uid": unbound.claim.metadata.uid, "annotations": {SELECTED_NODE: name}}});
                        steps.push(Step { resource: "persistentvolumeclaims", key: key.clone(), patch });
                    }
                    assumed.selected.push((key, name.clone()));
                }
            }
        }
        if !claims.is_empty() {
            self.assumed.insert(pod.clone(), assumed);
        }
        (steps, claims)
    }

    /// The pod is not placed after all, or what was assumed is seen.
    pub fn forget(&mut self, pod: &Key) {
        self.assumed.remove(pod);
    }
}

fn set<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// Whether the pod uses volumes that not every node can offer.
pub fn has_volumes(pod: &Pod) -> bool {
    !pod.spec.volumes.is_empty() || pod.claims().next().is_some()
}

fn refusal(plugin: Plugin, text: String, remedy: String) -> PodRefusal {
    PodRefusal { plugin, text, remedy }
}

/// Whether a claim has its volume, for good.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim.spec.volume_name.is_empty() && claim.annotation(BIND_COMPLETED).is_some()
}

/// Gives a volume to a claim.
fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Step {
    let meta = &claim.metadata;
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid,
        "resourceVersion": meta.resource_version.to_string(),
    });
    let known = &volume.metadata;
    let mut patch = json!({
        "metadata": {"uid": known.uid, "resourceVersion": known.resource_version.to_string()},
        "spec": {"claimRef": reference},
    });
    // What its owner kept for the claim is not let go by controllers.
    if volume.spec.claim_ref.is_none() {
        patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
    }
    Step { resource: "persistentvolumes", key: volume.key(), patch }
}
