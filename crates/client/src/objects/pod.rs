//! Pods.

use api::selector::LabelSelector;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Json, Labels, Meta, Object,
    meta::Condition,
    parts::{Amounts, selector},
};
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

impl Object for Pod {
    const KIND: Kind = Kind::namespaced("", "v1", "Pod", "pods");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if !self.spec.node_name.is_empty() {
            add(NODE, &self.spec.node_name);
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Empty until the pod is bound.
    pub node_name: Box<str>,
    pub scheduler_name: Box<str>,
    pub hostname: Box<str>,
    pub subdomain: Box<str>,
    pub restart_policy: Box<str>,
    pub priority: i32,
    pub preemption_policy: Box<str>,
    pub host_network: bool,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    pub overhead: Amounts,
    /// Requests and limits of the pod as a whole (KEP-2837).
    pub resources: Option<ResourceRequirements>,
    pub node_selector: Labels,
    pub affinity: Option<Box<Affinity>>,
    pub tolerations: Vec<Toleration>,
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    pub scheduling_gates: Vec<SchedulingGate>,
    pub volumes: Vec<Volume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub name: Box<str>,
    pub image: Box<str>,
    pub ports: Vec<ContainerPort>,
    pub resources: ResourceRequirements,
    /// `Always` makes an init container a sidecar (KEP-753).
    pub restart_policy: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    pub name: Box<str>,
    pub container_port: u16,
    /// 0 where none is asked for.
    pub host_port: u16,
    #[serde(rename = "hostIP")]
    pub host_ip: Box<str>,
    pub protocol: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    pub requests: Amounts,
    pub limits: Amounts,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Empty together with `operator: Exists` tolerates everything.
    pub key: Box<str>,
    pub operator: Box<str>,
    pub value: Box<str>,
    /// Empty for every effect.
    pub effect: Box<str>,
    /// How long a `NoExecute` taint is borne; for ever where absent.
    pub toleration_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    pub node_affinity: NodeAffinity,
    pub pod_affinity: PodAffinity,
    pub pod_anti_affinity: PodAffinity,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<PreferredSchedulingTerm>,
}

/// Terms of which one must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that must all hold; a term without any matches no node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    pub match_expressions: Vec<NodeSelectorRequirement>,
    pub match_fields: Vec<NodeSelectorRequirement>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct NodeSelectorRequirement {
    pub key: Box<str>,
    pub operator: Box<str>,
    pub values: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PreferredSchedulingTerm {
    pub weight: i32,
    pub preference: NodeSelectorTerm,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Vec<PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<WeightedPodAffinityTerm>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAffinityTerm {
    #[serde(default, deserialize_with = "selector")]
    pub label_selector: LabelSelector,
    #[serde(default)]
    pub namespaces: Vec<Box<str>>,
    /// Which namespaces beside those named; none where absent, all where empty.
    #[serde(default, deserialize_with = "selector")]
    pub namespace_selector: LabelSelector,
    #[serde(default)]
    pub topology_key: Box<str>,
    #[serde(default)]
    pub match_label_keys: Vec<Box<str>>,
    #[serde(default)]
    pub mismatch_label_keys: Vec<Box<str>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightedPodAffinityTerm {
    #[serde(default)]
    pub weight: i32,
    pub pod_affinity_term: PodAffinityTerm,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpreadConstraint {
    pub max_skew: i32,
    pub topology_key: Box<str>,
    pub when_unsatisfiable: Box<str>,
    #[serde(default, deserialize_with = "selector")]
    pub label_selector: LabelSelector,
    #[serde(default)]
    pub min_domains: Option<i32>,
    #[serde(default)]
    pub node_affinity_policy: Box<str>,
    #[serde(default)]
    pub node_taints_policy: Box<str>,
    #[serde(default)]
    pub match_label_keys: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SchedulingGate {
    pub name: Box<str>,
}

/// A volume by what scheduling and protection look at: its claim. Other sources are not told apart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    pub name: Box<str>,
    pub persistent_volume_claim: Option<ClaimSource>,
    /// A claim that lives and dies with the pod, named `<pod>-<volume>`.
    pub ephemeral: Option<Json>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimSource {
    pub claim_name: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    pub phase: Phase,
    pub reason: Box<str>,
    pub conditions: Vec<Condition>,
    #[serde(rename = "podIP")]
    pub pod_ip: Box<str>,
    #[serde(rename = "hostIP")]
    pub host_ip: Box<str>,
    pub start_time: Option<Timestamp>,
    pub nominated_node_name: Box<str>,
    pub init_container_statuses: Vec<ContainerStatus>,
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
    pub name: Box<str>,
    pub restart_count: i32,
    pub state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    pub exit_code: i32,
    pub finished_at: Option<Timestamp>,
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
