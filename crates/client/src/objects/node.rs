//! Nodes, their taints, and what tolerates them.
//!
//! Not here: which labels a pod wants of a node ([`super::node_selector`]).

use jiff::Timestamp;
use serde::Deserialize;

use super::{Labels, Meta, Object, parts::maybe_null};
use crate::Kind;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

impl Object for Node {
    const KIND: Kind = Kind::of_cluster("", "v1", "Node", "nodes");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    /// The addresses of its pods, one range a family.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    pub key: Box<str>,
    #[serde(default)]
    pub value: Box<str>,
    pub effect: Effect,
    #[serde(default)]
    pub time_added: Option<Timestamp>,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// Quantities by resource, as they are written.
    pub allocatable: Labels,
    pub conditions: Vec<NodeCondition>,
    pub images: Vec<Image>,
}

/// A condition of a node, which is told again and again as long as it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    pub last_heartbeat_time: Option<Timestamp>,
    pub last_transition_time: Option<Timestamp>,
    pub reason: Box<str>,
    pub message: Box<str>,
}

/// A container image that lies on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    #[serde(deserialize_with = "maybe_null")]
    pub names: Vec<Box<str>>,
    pub size_bytes: i64,
}

impl Node {
    pub fn condition(&self, kind: &str) -> Option<&NodeCondition> {
        self.status.conditions.iter().find(|condition| *condition.kind == *kind)
    }

    /// The first taint of `which` that none of these tolerates.
    pub fn untolerated(&self, tolerations: &[Toleration], which: impl Fn(&Taint) -> bool) -> Option<&Taint> {
        let tolerated = |taint: &Taint| tolerations.iter().any(|toleration| toleration.tolerates(taint));
        self.spec.taints.iter().find(|taint| which(taint) && !tolerated(taint))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Empty for every key.
    pub key: Box<str>,
    /// `Exists`, or `Equal`, which may be left out.
    pub operator: Box<str>,
    pub value: Box<str>,
    /// Empty for every effect.
    pub effect: Box<str>,
    /// How long a `NoExecute` taint is borne; for ever where it is not given.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// The rules of the page on taints and tolerations. Comparing numbers (`Lt`, `Gt`) is not enabled in 1.36.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || *self.effect == *taint.effect.as_str();
        let key = self.key.is_empty() || self.key == taint.key;
        let value = match &*self.operator {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            _ => false,
        };
        effect && key && value
    }
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_toleration_leaves_out_is_any() {
        let taint: Taint = serde_json::from_value(json!({"key": "a", "value": "1", "effect": "NoExecute"})).unwrap();
        for (toleration, tolerates) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "a", "operator": "Exists"}), true),
            (json!({"key": "a", "value": "1"}), true),
            (json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoExecute"}), true),
            (json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}), false),
            (json!({"key": "a", "value": "2"}), false),
            (json!({"key": "a"}), false),
            (json!({"key": "b", "operator": "Exists"}), false),
            (json!({"key": "a", "operator": "Gt", "value": "0"}), false),
        ] {
            let read: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(read.tolerates(&taint), tolerates, "{toleration}");
        }
    }

    #[test]
    fn a_node_is_read_as_it_reports_itself() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "PreferNoSchedule"}]},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi"},
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:05Z"}],
            },
        }))
        .unwrap();
        assert_eq!(node.key().as_str(), "n1");
        assert_eq!(node.status.allocatable.get("memory"), Some("8Gi"));
        assert_eq!(node.condition("Ready").map(|ready| &*ready.status), Some("True"));
        let hard = |taint: &Taint| taint.effect != Effect::PreferNoSchedule;
        assert_eq!(node.untolerated(&[], hard).map(|taint| &*taint.key), Some("a"));
        let any = Toleration { operator: "Exists".into(), ..Toleration::default() };
        assert_eq!(node.untolerated(&[any], hard), None);
    }
}
