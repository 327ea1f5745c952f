//! What a pod wants of a node, compact and shared: pods of one template have one [`PodShape`] in memory.
//!
//! Not here: what becomes of a wish on a given node (`scheduler`), and the arithmetic of requests ([`super::requests`]).

mod written;

use api::selector::LabelSelector;
pub(super) use written::WrittenSpec;

use super::{
    Json, Labels,
    node::Toleration,
    node_selector::{NodeSelector, NodeSelectorTerm},
    requests::Requests,
    service::Protocol,
};

/// The parts of a pod's spec that decide where it may run and where it runs best.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PodShape {
    pub scheduler_name: Box<str>,
    pub priority: i32,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    pub requests: Requests,
    pub node_selector: Labels,
    pub required_node_affinity: Option<NodeSelector>,
    pub preferred_node_affinity: Box<[(i32, NodeSelectorTerm)]>,
    pub affinity: PodAffinity,
    pub anti_affinity: PodAffinity,
    pub spread: Box<[SpreadConstraint]>,
    pub tolerations: Box<[Toleration]>,
    pub host_ports: Box<[HostPort]>,
    /// Those that have a name, of the containers that run as long as the pod does.
    pub named_ports: Box<[NamedPort]>,
    /// One for each container and volume that has one, with its tag.
    pub images: Box<[Box<str>]>,
    pub containers: u16,
    pub gates: Box<[Box<str>]>,
}

/// Wishes to be near other pods, or far from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PodAffinity {
    pub required: Box<[AffinityTerm]>,
    pub preferred: Box<[(i32, AffinityTerm)]>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    pub topology_key: Box<str>,
    pub selector: LabelSelector,
    /// With no namespaces and no selector of them, the pod's own is meant.
    pub namespaces: Box<[Box<str>]>,
    pub namespace_selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    pub max_skew: i32,
    pub topology_key: Box<str>,
    /// `DoNotSchedule`, as opposed to `ScheduleAnyway`.
    pub is_hard: bool,
    pub selector: LabelSelector,
    pub match_label_keys: Box<[Box<str>]>,
    pub min_domains: i32,
    /// Nodes that the pod does not select are left out of the count.
    pub honors_affinity: bool,
    /// Nodes whose taints the pod does not tolerate are left out of the count.
    pub honors_taints: bool,
}

/// A port of the node itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub port: u16,
    pub protocol: Box<str>,
    /// `0.0.0.0` for all of the node's addresses.
    pub address: Box<str>,
}

/// A port that a container gives a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedPort {
    pub name: Box<str>,
    pub protocol: Protocol,
    pub number: u16,
}

impl HostPort {
    /// Whether the two cannot be on one node.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        let meet = *self.address == *ALL || *other.address == *ALL || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && meet
    }
}

/// A volume that not every node can offer, beside claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodVolume {
    Ephemeral(EphemeralVolume),
    /// A disk that is named in the pod itself.
    Disk(Disk),
}

/// A claim of the pod's own, and what it is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralVolume {
    pub name: Box<str>,
    pub template: Json,
}

impl EphemeralVolume {
    /// What the claim of a pod is called.
    pub fn claim_of(&self, pod: &str) -> String {
        format!("{pod}-{}", self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kind and what makes the disk that disk.
    pub identity: Box<str>,
    /// Pods that only read it may share it.
    pub read_only: bool,
}
