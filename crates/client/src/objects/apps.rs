//! The kinds of pods that are told apart: StatefulSets and DaemonSets with their revisions, and ReplicationControllers.

use api::selector::LabelSelector;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

use super::{
    Json, Meta, Node, ReplicaSetStatus,
    meta::Condition,
    node::{Effect, Toleration},
    node_selector::NodeAffinity,
    parts::{IntOrPercent, Selector},
    workload::{is_zero, object},
};

object! {
    ReplicationController: namespaced("", "v1", "ReplicationController", "replicationcontrollers");
    StatefulSet: namespaced("apps", "v1", "StatefulSet", "statefulsets");
    DaemonSet: namespaced("apps", "v1", "DaemonSet", "daemonsets");
    ControllerRevision: namespaced("apps", "v1", "ControllerRevision", "controllerrevisions");
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    pub metadata: Meta,
    pub spec: ReplicationControllerSpec,
    pub status: ReplicaSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationControllerSpec {
    pub replicas: i32,
    #[serde(default = "LabelSelector::nothing", deserialize_with = "labels")]
    pub selector: LabelSelector,
    pub template: Json,
    pub min_ready_seconds: i32,
}

/// A selector that is a plain map. One that is absent selects nothing.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    let labels = Value::deserialize(deserializer)?;
    if labels.as_object().is_none_or(|labels| labels.is_empty()) {
        return Ok(LabelSelector::nothing());
    }
    LabelSelector::from_map(&labels).map_err(D::Error::custom)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    pub metadata: Meta,
    pub spec: StatefulSetSpec,
    pub status: StatefulSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetSpec {
    pub replicas: i32,
    pub selector: Selector,
    pub template: Json,
    pub service_name: Box<str>,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: Box<str>,
    pub update_strategy: StatefulSetUpdateStrategy,
    pub revision_history_limit: Option<i32>,
    pub min_ready_seconds: i32,
    pub volume_claim_templates: Vec<ClaimTemplate>,
    pub persistent_volume_claim_retention_policy: RetentionPolicy,
    pub ordinals: Ordinals,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetUpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub rolling_update: Option<Partition>,
}

/// Pods from this ordinal on are updated. `maxUnavailable` stands beside it in the API, but is not enabled in 1.36.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Partition {
    pub partition: i32,
}

/// One of a set's `volumeClaimTemplates`.
#[derive(Debug, Clone, Default)]
pub struct ClaimTemplate {
    pub name: Box<str>,
    pub written: Json,
}

impl<'de> Deserialize<'de> for ClaimTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Json::deserialize(deserializer)?;
        Ok(Self { name: written["metadata"]["name"].as_str().unwrap_or_default().into(), written })
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetentionPolicy {
    pub when_deleted: Retention,
    pub when_scaled: Retention,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Retention {
    #[default]
    Retain,
    Delete,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    pub start: i32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetStatus {
    pub observed_generation: i64,
    /// Written also where it is 0.
    pub replicas: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub current_revision: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub update_revision: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Written also where it is 0.
    pub available_replicas: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    pub metadata: Meta,
    pub spec: DaemonSetSpec,
    pub status: DaemonSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetSpec {
    pub selector: Selector,
    pub template: DaemonTemplate,
    pub update_strategy: DaemonSetUpdateStrategy,
    pub min_ready_seconds: i32,
    pub revision_history_limit: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetUpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub rolling_update: Option<DaemonSetRollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetRollingUpdate {
    pub max_unavailable: Option<IntOrPercent>,
    pub max_surge: Option<IntOrPercent>,
}

/// A pod template as it is written, and, read once, where its pods may be.
#[derive(Debug, Clone, Default)]
pub struct DaemonTemplate {
    pub written: Json,
    placement: Placement,
}

/// Of a pod's specification what says on which nodes it may be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Placement {
    node_name: Box<str>,
    #[serde(deserialize_with = "node_selector")]
    node_selector: LabelSelector,
    affinity: Affinity,
    tolerations: Vec<Toleration>,
    host_network: bool,
}

fn node_selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    LabelSelector::from_map(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Affinity {
    node_affinity: NodeAffinity,
}

impl<'de> Deserialize<'de> for DaemonTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Json::deserialize(deserializer)?;
        let placement = match &written["spec"] {
            Value::Null => Placement::default(),
            spec => Placement::deserialize(spec).map_err(D::Error::custom)?,
        };
        Ok(Self { written, placement })
    }
}

impl DaemonTemplate {
    /// Whether the template's affinity, selector and name of a node allow this one, whatever taints it has.
    pub fn is_for(&self, node: &Node) -> bool {
        let placement = &self.placement;
        let required = &placement.affinity.node_affinity.required_during_scheduling_ignored_during_execution;
        (placement.node_name.is_empty() || placement.node_name == node.metadata.name)
            && node.metadata.labels.are_matched_by(&placement.node_selector)
            && required.as_ref().is_none_or(|required| required.matches(node))
    }

    /// Whether the template's tolerations and `more` bear all taints of these effects.
    pub fn bears(&self, node: &Node, more: &[Toleration], effects: &[Effect]) -> bool {
        let tolerations = || self.placement.tolerations.iter().chain(more);
        let taints = node.spec.taints.iter().filter(|taint| effects.contains(&taint.effect));
        taints.into_iter().all(|taint| tolerations().any(|toleration| toleration.tolerates(taint)))
    }

    pub fn is_on_host_network(&self) -> bool {
        self.placement.host_network
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// These four are written also where they are 0.
    pub current_number_scheduled: i32,
    pub number_misscheduled: i32,
    pub desired_number_scheduled: i32,
    pub number_ready: i32,
    pub observed_generation: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_number_scheduled: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub number_available: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub number_unavailable: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A template that a StatefulSet or DaemonSet has or had.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    pub metadata: Meta,
    pub data: Json,
    /// Larger is later.
    pub revision: i64,
}
