//! The rules about volumes that look at one node: restrictions, limits, reach and zone.

use std::{collections::BTreeSet, sync::Arc};

use client::{
    Key,
    objects::{Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, shape::PodVolume},
};

use super::{Needs, Unbound, Volumes};
use crate::{
    cluster::{Cluster, HostState},
    filters::Asker,
    refusal::{Refusal, VolumeRefusal},
};

/// A class that only has volumes somebody else made.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Labels that say where a volume is, in the order in which they are looked at, with what they are called today.
const PLACES: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

impl Volumes {
    pub fn admits(&self, cluster: &Cluster, needs: &Needs, asker: Asker<'_>, host: &HostState) -> bool {
        let mut admitted = true;
        for asker in asker.ways(host) {
            self.ask(cluster, (needs, asker), host, &mut |_| {
                admitted = false;
                false
            });
        }
        admitted
    }

    /// Calls `refuse` with what keeps the volumes from the host, until it returns false.
    pub fn ask(
        &self,
        cluster: &Cluster,
        (needs, asker): (&Needs, Asker<'_>),
        host: &HostState,
        refuse: &mut dyn FnMut(Refusal) -> bool,
    ) {
        let Some(node) = &host.node else { return };
        let promised: &[&Pod] = &asker.promised(host).map(|nominated| &*nominated.pod).collect::<Vec<_>>();
        let refusals = [
            exclusive(needs, cluster, promised),
            disk(needs, host, promised),
            self.limit(needs, host, promised, node),
            reach(needs, node),
            choose(needs, node).err(),
            zone(needs, node),
        ];
        for refusal in refusals.into_iter().flatten() {
            if !refuse(Refusal::Volume(refusal)) {
                return;
            }
        }
    }

    /// How many volumes of a driver the node can attach.
    fn limit(&self, needs: &Needs, host: &HostState, promised: &[&Pod], node: &Node) -> Option<VolumeRefusal> {
        let drivers = &self.drivers.get(&node.metadata.name)?.spec.drivers;
        for driver in drivers {
            let Some(most) = driver.allocatable.count else { continue };
            let of_driver = |volumes: BTreeSet<(Box<str>, Box<str>)>| -> BTreeSet<Box<str>> {
                volumes.into_iter().filter(|(name, _)| *name == driver.name).map(|(_, handle)| handle).collect()
            };
            let claims = needs.unbound.iter().map(|unbound| &*unbound.claim);
            let unbound = claims.filter_map(|claim| self.attached_as(claim));
            let bound = needs.bound.iter().filter_map(|(_, volume)| handle(volume));
            let wanted = of_driver(unbound.chain(bound).collect());
            if wanted.is_empty() {
                continue;
            }
            let pods = host.pods.iter().map(|placed| &*placed.pod).chain(promised.iter().copied());
            let attached = of_driver(pods.flat_map(|pod| self.attached_by(pod)).collect());
            if attached.union(&wanted).count() > most as usize && !wanted.is_subset(&attached) {
                return Some(VolumeRefusal::TooMany { driver: driver.name.clone(), most });
            }
        }
        None
    }

    /// The driver and handle of each volume a pod uses.
    fn attached_by(&self, pod: &Pod) -> Vec<(Box<str>, Box<str>)> {
        let claims = pod.claims().filter_map(|key| self.claims.get(&key));
        claims.filter_map(|claim| self.attached_as(claim)).collect()
    }

    /// A claim without a volume counts for the driver that will make one.
    fn attached_as(&self, claim: &PersistentVolumeClaim) -> Option<(Box<str>, Box<str>)> {
        if let Some(volume) = self.volumes.get(&claim.spec.volume_name) {
            return handle(volume);
        }
        let class = self.classes.get(claim.class())?;
        Some((class.provisioner.clone(), claim.metadata.uid.clone()))
    }
}

fn handle(volume: &PersistentVolume) -> Option<(Box<str>, Box<str>)> {
    let csi = volume.spec.csi.as_ref()?;
    Some((csi["driver"].as_str()?.into(), csi["volumeHandle"].as_str()?.into()))
}

/// Claims that one pod only may use, wherever the other is.
fn exclusive(needs: &Needs, cluster: &Cluster, promised: &[&Pod]) -> Option<VolumeRefusal> {
    let is_promised = |claim: &Key| promised.iter().any(|pod| pod.claims().any(|used| used == *claim));
    let used = needs.exclusive.iter().find(|claim| cluster.users_of(claim) > 0 || is_promised(claim))?;
    Some(VolumeRefusal::ClaimInUse { claim: used.name().into() })
}

fn disk(needs: &Needs, host: &HostState, promised: &[&Pod]) -> Option<VolumeRefusal> {
    if needs.disks.is_empty() {
        return None;
    }
    let pods = host.pods.iter().map(|placed| &*placed.pod).chain(promised.iter().copied());
    let mut taken = pods.flat_map(|pod| &pod.spec.volumes);
    let conflict = taken.any(|volume| match volume {
        PodVolume::Disk(other) => {
            needs.disks.iter().any(|disk| disk.identity == other.identity && !(disk.read_only && other.read_only))
        }
        _ => false,
    });
    conflict.then_some(VolumeRefusal::DiskInUse)
}

fn is_within_reach(volume: &PersistentVolume, node: &Node) -> bool {
    volume.spec.node_affinity.required.as_ref().is_none_or(|required| required.matches(node))
}

fn reach(needs: &Needs, node: &Node) -> Option<VolumeRefusal> {
    let (claim, volume) = needs.bound.iter().find(|(_, volume)| !is_within_reach(volume, node))?;
    Some(VolumeRefusal::NodeConflict { claim: claim.name().into(), volume: volume.metadata.name.clone() })
}

/// For each claim without a volume one that is there, or none where one can be made.
pub fn choose(needs: &Needs, node: &Node) -> Result<Vec<Option<Arc<PersistentVolume>>>, VolumeRefusal> {
    let mut chosen: Vec<Option<Arc<PersistentVolume>>> = Vec::new();
    for unbound in &needs.unbound {
        if let Some(selected) = &unbound.selected {
            if *selected != node.metadata.name {
                return Err(nothing_to_bind(unbound));
            }
            can_be_made(unbound, node)?;
            chosen.push(None);
            continue;
        }
        let is_taken = |volume: &PersistentVolume| {
            chosen.iter().flatten().any(|taken| taken.metadata.name == volume.metadata.name)
        };
        let found = unbound.candidates.iter().find(|volume| is_within_reach(volume, node) && !is_taken(volume));
        if found.is_none() {
            can_be_made(unbound, node)?;
        }
        let found = found.cloned();
        chosen.push(found);
    }
    Ok(chosen)
}

fn nothing_to_bind(unbound: &Unbound) -> VolumeRefusal {
    VolumeRefusal::NothingToBind { claim: unbound.claim.metadata.name.clone() }
}

fn can_be_made(unbound: &Unbound, node: &Node) -> Result<(), VolumeRefusal> {
    let class = &unbound.class;
    let kept = unbound.candidates.iter().any(|volume| volume.spec.claim_ref.is_some());
    let is_made = !class.provisioner.is_empty() && *class.provisioner != *NO_PROVISIONER;
    if kept || !is_made || !is_allowed(class, node) {
        return Err(nothing_to_bind(unbound));
    }
    if unbound.room.as_ref().is_some_and(|room| !room.is_reached_from(node)) {
        let (claim, class) = (unbound.claim.metadata.name.clone(), class.metadata.name.clone());
        let size = unbound.claim.requested().to_string().into();
        return Err(VolumeRefusal::NotEnoughSpace { claim, class, size });
    }
    Ok(())
}

/// Of the terms of where volumes of the class may be, one must hold in all its expressions.
fn is_allowed(class: &StorageClass, node: &Node) -> bool {
    let Some(terms) = class.allowed_topologies.as_array().filter(|terms| !terms.is_empty()) else { return true };
    terms.iter().any(|term| {
        term["matchLabelExpressions"].as_array().into_iter().flatten().all(|expression| {
            let found = node.metadata.labels.get(expression["key"].as_str().unwrap_or_default());
            let mut values = expression["values"].as_array().into_iter().flatten();
            found.is_some_and(|found| values.any(|value| value.as_str() == Some(found)))
        })
    })
}

/// A volume's labels may say where it is. Nodes that say nothing are in one place with everything.
fn zone(needs: &Needs, node: &Node) -> Option<VolumeRefusal> {
    let labels = &node.metadata.labels;
    if PLACES.iter().all(|(label, _)| labels.get(label).is_none()) {
        return None;
    }
    for (_, volume) in &needs.bound {
        for (label, today) in PLACES {
            let Some(wanted) = volume.metadata.labels.get(label) else { continue };
            let here = labels.get(label).or_else(|| labels.get(today));
            if !here.is_some_and(|here| wanted.split("__").any(|one| one == here)) {
                let volume = volume.metadata.name.clone();
                return Some(VolumeRefusal::Zone { volume, key: today.into(), wanted: wanted.into() });
            }
        }
    }
    None
}
