//! Pods.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{Condition, Meta, Object, node_selector::NodeAffinity};
use crate::Kind;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// The index by the node a pod is bound to.
pub const NODE: &str = "node";
/// The index by each label a pod carries ([`labelled`]).
pub(super) const LABEL: &str = "label";

/// How a label of a namespace's pods stands in [`LABEL`].
pub(super) fn labelled(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}/{key}={value}")
}

impl Object for Pod {
    const KIND: Kind = Kind::namespaced("", "v1", "Pod", "pods");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if !self.spec.node_name.is_empty() {
            add(NODE, &self.spec.node_name);
        }
        for (key, value) in self.metadata.labels.iter() {
            add(LABEL, &labelled(&self.metadata.namespace, key, value));
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Empty until the pod is bound.
    pub node_name: Box<str>,
    /// The node whose name the pod's affinity asks for, as a DaemonSet's does.
    #[serde(rename = "affinity", deserialize_with = "pinned_to")]
    pub pinned_to: Box<str>,
    /// The volumes that are claims.
    #[serde(rename = "volumes", deserialize_with = "claims")]
    pub claims: Box<[ClaimVolume]>,
}

/// A volume of a pod that is a PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimVolume {
    pub volume: Box<str>,
    pub claim: Box<str>,
}

fn pinned_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Affinity {
        node_affinity: Option<NodeAffinity>,
    }
    let affinity = Option::<Affinity>::deserialize(deserializer)?.unwrap_or_default();
    let required =
        affinity.node_affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
    let required = required.unwrap_or_default();
    Ok(required.terms().iter().find_map(|term| term.only_name()).unwrap_or_default().into())
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[ClaimVolume]>, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Volume {
        name: Box<str>,
        persistent_volume_claim: Option<Claim>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Claim {
        claim_name: Box<str>,
    }
    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let claim =
        |volume: Volume| Some(ClaimVolume { volume: volume.name, claim: volume.persistent_volume_claim?.claim_name });
    Ok(volumes.into_iter().filter_map(claim).collect())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    pub phase: Phase,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub restart_count: i32,
}

impl Pod {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| *condition.kind == *kind)
    }

    /// Since when the pod is ready, if it is.
    pub fn ready_since(&self) -> Option<Timestamp> {
        let ready = self.condition("Ready").filter(|ready| *ready.status == *"True")?;
        Some(ready.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    pub fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    /// Ready for at least `min_ready_seconds`.
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        let wanted = jiff::SignedDuration::from_secs(min_ready_seconds.into());
        self.ready_since().is_some_and(|since| min_ready_seconds == 0 || since.duration_since(now) <= -wanted)
    }

    /// Neither over nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.is_over() && !self.metadata.is_being_deleted()
    }

    /// All its containers have ended for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }
}
