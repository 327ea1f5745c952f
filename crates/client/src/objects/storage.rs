//! Volumes, claims to them, and the classes that say where new ones come from.

use std::sync::Arc;

use api::selector::LabelSelector;
use document::quantity::Quantity;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

use super::{Json, Labels, Meta, Object, node_selector::NodeSelector, parts::maybe_null};
use crate::{Cache, Key, Kind};

/// How classes were named before there was a field.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const STORAGE: &str = "storage";

/// Annotations by which binder, scheduler and provisioners tell each other how far they are.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: Meta,
    pub spec: PersistentVolumeClaimSpec,
    pub status: PersistentVolumeClaimStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimSpec {
    pub access_modes: Vec<Box<str>>,
    pub resources: Resources,
    /// Empty until it is bound, unless somebody asked for that very volume.
    pub volume_name: Box<str>,
    pub storage_class_name: Option<Box<str>>,
    pub volume_mode: Box<str>,
    #[serde(deserialize_with = "maybe_selector")]
    pub selector: Option<LabelSelector>,
    pub volume_attributes_class_name: Option<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: Labels,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimStatus {
    pub phase: Box<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub capacity: Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_volume_attributes_class_name: Option<Box<str>>,
    /// Written by who modifies volumes.
    #[serde(skip_serializing)]
    pub modify_volume_status: Option<ModifyVolumeStatus>,
}

/// The class of attributes that a volume is being given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModifyVolumeStatus {
    pub target_volume_attributes_class_name: Box<str>,
}

/// The index by class of the claims that have no volume.
const UNBOUND: &str = "unbound";
/// The index by the classes of attributes that a claim or volume has, or is to have.
pub const ATTRIBUTES: &str = "attributes";
/// The index by the volume that a claim names.
const VOLUME: &str = "volume";

impl Object for PersistentVolumeClaim {
    const KIND: Kind = Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if self.spec.volume_name.is_empty() {
            add(UNBOUND, self.class());
        } else {
            add(VOLUME, &self.spec.volume_name);
        }
        self.attributes_classes().for_each(|class| add(ATTRIBUTES, class));
    }
}

impl PersistentVolumeClaim {
    /// Empty where it asks for none.
    pub fn class(&self) -> &str {
        let beta = self.metadata.annotations.get(BETA_CLASS);
        beta.or(self.spec.storage_class_name.as_deref()).unwrap_or_default()
    }

    /// Whether anything is said about a class, be it that there is to be none.
    pub fn has_class(&self) -> bool {
        self.metadata.annotations.get(BETA_CLASS).is_some() || self.spec.storage_class_name.is_some()
    }

    /// The classes of attributes that its volume has, is being given, and is to have.
    pub fn attributes_classes(&self) -> impl Iterator<Item = &str> {
        let status = &self.status;
        let target = status.modify_volume_status.as_ref().map(|modify| &modify.target_volume_attributes_class_name);
        let has = status.current_volume_attributes_class_name.as_ref();
        self.spec.volume_attributes_class_name.iter().chain(has).chain(target).map(|class| &**class)
    }

    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(name)
    }

    /// What it has, as far as it is told.
    pub fn capacity(&self) -> Quantity {
        quantity(&self.status.capacity)
    }

    pub fn requested(&self) -> Quantity {
        quantity(&self.spec.resources.requests)
    }
}

impl Cache<PersistentVolumeClaim> {
    /// The claims of that class that have no volume.
    pub fn unbound(&self, class: &str) -> Vec<Arc<PersistentVolumeClaim>> {
        self.by(UNBOUND, class)
    }

    /// The claims that name that volume.
    pub fn naming(&self, volume: &str) -> Vec<Arc<PersistentVolumeClaim>> {
        self.by(VOLUME, volume)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    pub metadata: Meta,
    pub spec: PersistentVolumeSpec,
    pub status: PersistentVolumeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeSpec {
    pub capacity: Labels,
    pub access_modes: Vec<Box<str>>,
    pub claim_ref: Option<ClaimRef>,
    pub persistent_volume_reclaim_policy: Box<str>,
    pub storage_class_name: Box<str>,
    pub volume_mode: Box<str>,
    pub node_affinity: VolumeNodeAffinity,
    pub volume_attributes_class_name: Option<Box<str>>,
    pub csi: Option<Json>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VolumeNodeAffinity {
    pub required: Option<NodeSelector>,
}

/// The claim that has a volume, or for which it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Empty while the volume is only kept for a claim of that name.
    pub uid: Box<str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeStatus {
    pub phase: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_phase_transition_time: Option<Timestamp>,
}

/// The index by class of the volumes that no claim has.
const UNCLAIMED: &str = "unclaimed";
/// The index by the claim that has a volume.
const CLAIM: &str = "claim";

impl Object for PersistentVolume {
    const KIND: Kind = Kind::of_cluster("", "v1", "PersistentVolume", "persistentvolumes");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        match &self.spec.claim_ref {
            None => add(UNCLAIMED, self.class()),
            Some(claim) => add(CLAIM, claim.key().as_str()),
        }
        if let Some(class) = &self.spec.volume_attributes_class_name {
            add(ATTRIBUTES, class);
        }
    }
}

impl ClaimRef {
    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }
}

impl PersistentVolume {
    pub fn class(&self) -> &str {
        self.metadata.annotations.get(BETA_CLASS).unwrap_or(&self.spec.storage_class_name)
    }

    pub fn capacity(&self) -> Quantity {
        quantity(&self.spec.capacity)
    }

    /// Whether a claim has the volume, or it is kept for it.
    pub fn is_for(&self, claim: &PersistentVolumeClaim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|reference| {
            reference.name == claim.metadata.name
                && reference.namespace == claim.metadata.namespace
                && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
        })
    }

    /// Whether the volume is of the kind a claim asks for, whoever has it: size, mode and attributes.
    pub fn could_serve(&self, claim: &PersistentVolumeClaim) -> bool {
        self.capacity() >= claim.requested()
            && self.has_mode_of(claim)
            && self.has_attributes_of(claim)
            && !self.metadata.is_being_deleted()
    }

    pub fn has_mode_of(&self, claim: &PersistentVolumeClaim) -> bool {
        mode(&self.spec.volume_mode) == mode(&claim.spec.volume_mode)
    }

    pub fn has_attributes_of(&self, claim: &PersistentVolumeClaim) -> bool {
        let name = |class: &Option<Box<str>>| class.clone().unwrap_or_default();
        name(&self.spec.volume_attributes_class_name) == name(&claim.spec.volume_attributes_class_name)
    }

    pub fn offers_access_of(&self, claim: &PersistentVolumeClaim) -> bool {
        claim.spec.access_modes.iter().all(|mode| self.spec.access_modes.contains(mode))
    }

    /// Whether an unclaimed volume is what a claim asks for, on whichever node.
    pub fn matches(&self, claim: &PersistentVolumeClaim) -> bool {
        *self.status.phase == *"Available"
            && self.could_serve(claim)
            && self.class() == claim.class()
            && self.offers_access_of(claim)
            && claim.spec.selector.as_ref().is_none_or(|selector| self.metadata.labels.are_matched_by(selector))
    }
}

impl Cache<PersistentVolume> {
    /// The volumes of that class that no claim has.
    pub fn unclaimed(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        self.by(UNCLAIMED, class)
    }

    /// The volumes that a claim of that name has, or that are kept for it.
    pub fn of_claim(&self, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        self.by(CLAIM, claim.as_str())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StorageClass {
    pub metadata: Meta,
    pub provisioner: Box<str>,
    pub volume_binding_mode: Box<str>,
    pub reclaim_policy: Box<str>,
    pub mount_options: Vec<Box<str>>,
    pub allowed_topologies: Json,
}

impl Object for StorageClass {
    const KIND: Kind = Kind::of_cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAttributesClass {
    pub metadata: Meta,
}

impl Object for VolumeAttributesClass {
    const KIND: Kind = Kind::of_cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl StorageClass {
    /// Volumes are bound and made once it is known on which node they are needed.
    pub fn waits_for_consumer(&self) -> bool {
        *self.volume_binding_mode == *"WaitForFirstConsumer"
    }

    pub fn is_default(&self) -> bool {
        let is_true = |name| self.metadata.annotations.get(name) == Some("true");
        is_true("storageclass.kubernetes.io/is-default-class")
            || is_true("storageclass.beta.kubernetes.io/is-default-class")
    }
}

impl Cache<StorageClass> {
    /// The class of claims that say nothing: of several the newest, and of those the first by name.
    pub fn default_class(&self) -> Option<Arc<StorageClass>> {
        let defaults = self.all().into_iter().filter(|class| class.is_default());
        defaults.min_by_key(|class| (std::cmp::Reverse(class.metadata.creation_timestamp), class.metadata.name.clone()))
    }
}

/// Which drivers a node has, and how many volumes each can attach there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CSINode {
    pub metadata: Meta,
    pub spec: CsiNodeSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CsiNodeSpec {
    #[serde(deserialize_with = "maybe_null")]
    pub drivers: Vec<CsiNodeDriver>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CsiNodeDriver {
    pub name: Box<str>,
    pub allocatable: CsiNodeCount,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CsiNodeCount {
    /// None for as many as there may be.
    pub count: Option<u32>,
}

impl Object for CSINode {
    const KIND: Kind = Kind::of_cluster("storage.k8s.io", "v1", "CSINode", "csinodes");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What a driver says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CSIDriver {
    pub metadata: Meta,
    pub spec: CsiDriverSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CsiDriverSpec {
    /// Volumes are made only where [`CSIStorageCapacity`] says there is enough.
    pub storage_capacity: Option<bool>,
}

impl Object for CSIDriver {
    const KIND: Kind = Kind::of_cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What volumes of a class can still take, on some nodes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CSIStorageCapacity {
    pub metadata: Meta,
    pub storage_class_name: Box<str>,
    /// The nodes that reach it; none does where nothing is said.
    #[serde(deserialize_with = "maybe_selector")]
    pub node_topology: Option<LabelSelector>,
    pub capacity: Option<Box<str>>,
    pub maximum_volume_size: Option<Box<str>>,
}

impl Object for CSIStorageCapacity {
    const KIND: Kind = Kind::namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl CSIStorageCapacity {
    /// How large a volume may be: the size that is said to be the largest, or what is left as a whole.
    pub fn limit(&self) -> Option<Quantity> {
        let written = self.maximum_volume_size.as_ref().or(self.capacity.as_ref())?;
        Quantity::parse(written).ok()
    }
}

fn quantity(amounts: &Labels) -> Quantity {
    // The server has refused what cannot be read.
    amounts.get(STORAGE).and_then(|text| Quantity::parse(text).ok()).unwrap_or(Quantity::ZERO)
}

fn mode(written: &str) -> &str {
    if written.is_empty() { "Filesystem" } else { written }
}

/// A selector that is absent asks for nothing in particular.
fn maybe_selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LabelSelector>, D::Error> {
    let written: Option<Value> = Option::deserialize(deserializer)?;
    written.map(|written| LabelSelector::from_object(&written).map_err(D::Error::custom)).transpose()
}
