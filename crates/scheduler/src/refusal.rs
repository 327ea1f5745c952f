//! Why a pod may not run on a node: one type for what decides, what `kubectl describe` shows, what wakes the pod again and
//! what `coracle why` explains.

use std::{borrow::Cow, fmt::Write};

use client::objects::{node::Taint, shape::HostPort};
use serde::Serialize;

/// The rules that refuse, by the names of Kubernetes' plug-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    Cordoned,
    Taint(Taint),
    /// What the pod asks of the node's labels, in words.
    Affinity {
        wanted: String,
    },
    /// The pod names other nodes.
    NotNamed,
    Port {
        port: HostPort,
    },
    TooManyPods {
        most: i64,
    },
    Insufficient {
        resource: Box<str>,
        demand: i64,
        used: i64,
        total: i64,
    },
    SpreadLabel {
        key: Box<str>,
    },
    Spread {
        key: Box<str>,
        domain: Box<str>,
        here: i64,
        least: i64,
        most: i64,
    },
    NotNear {
        key: Box<str>,
    },
    TooNear {
        key: Box<str>,
        domain: Box<str>,
    },
    KeptAway {
        key: Box<str>,
        domain: Box<str>,
    },
    Volume(VolumeRefusal),
}

#[derive(Debug, Clone, PartialEq)]
pub enum VolumeRefusal {
    DiskInUse,
    ClaimInUse { claim: Box<str> },
    TooMany { driver: Box<str>, most: u32 },
    NodeConflict { claim: Box<str>, volume: Box<str> },
    NothingToBind { claim: Box<str> },
    NotEnoughSpace { claim: Box<str>, class: Box<str>, size: Box<str> },
    Zone { volume: Box<str>, key: Box<str>, wanted: Box<str> },
}

impl Refusal {
    pub fn plugin(&self) -> Plugin {
        match self {
            Self::Cordoned => Plugin::NodeUnschedulable,
            Self::Taint(_) => Plugin::TaintToleration,
            Self::Affinity { .. } | Self::NotNamed => Plugin::NodeAffinity,
            Self::Port { .. } => Plugin::NodePorts,
            Self::TooManyPods { .. } | Self::Insufficient { .. } => Plugin::NodeResourcesFit,
            Self::SpreadLabel { .. } | Self::Spread { .. } => Plugin::PodTopologySpread,
            Self::NotNear { .. } | Self::TooNear { .. } | Self::KeptAway { .. } => Plugin::InterPodAffinity,
            Self::Volume(refusal) => match refusal {
                VolumeRefusal::DiskInUse | VolumeRefusal::ClaimInUse { .. } => Plugin::VolumeRestrictions,
                VolumeRefusal::TooMany { .. } => Plugin::NodeVolumeLimits,
                VolumeRefusal::Zone { .. } => Plugin::VolumeZone,
                _ => Plugin::VolumeBinding,
            },
        }
    }

    /// Whether the node might take the pod if others on it went.
    pub fn is_resolvable(&self) -> bool {
        match self {
            Self::Insufficient { demand, total, .. } => demand <= total,
            Self::Port { .. } | Self::TooManyPods { .. } => true,
            Self::Spread { .. } | Self::TooNear { .. } | Self::KeptAway { .. } => true,
            Self::Volume(refusal) => matches!(
                refusal,
                VolumeRefusal::DiskInUse | VolumeRefusal::ClaimInUse { .. } | VolumeRefusal::TooMany { .. }
            ),
            _ => false,
        }
    }

    /// Of which resource how much would have to be freed, where the node could take the pod if it were empty.
    pub fn shortfall(&self) -> Option<(&str, i64)> {
        match self {
            Self::Insufficient { resource, demand, used, total } if demand <= total => {
                Some((resource, demand - (total - used)))
            }
            _ => None,
        }
    }

    /// As the event and the condition of a stock cluster say it.
    pub fn text(&self) -> Cow<'static, str> {
        let text = match self {
            Self::Cordoned => "node(s) were unschedulable",
            Self::Taint(_) => "node(s) had untolerated taint(s)",
            Self::Affinity { .. } => "node(s) didn't match Pod's node affinity/selector",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Port { .. } => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods { .. } => "Too many pods",
            Self::Insufficient { resource, .. } => return Cow::Owned(format!("Insufficient {resource}")),
            Self::SpreadLabel { .. } => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::Spread { .. } => "node(s) didn't match pod topology spread constraints",
            Self::NotNear { .. } => "node(s) didn't match pod affinity rules",
            Self::TooNear { .. } => "node(s) didn't match pod anti-affinity rules",
            Self::KeptAway { .. } => "node(s) didn't satisfy existing pods anti-affinity rules",
            Self::Volume(refusal) => refusal.text(),
        };
        Cow::Borrowed(text)
    }

    /// What would have to change for this node to take the pod.
    pub fn remedy(&self, node: &str) -> String {
        match self {
            Self::Cordoned => format!("uncordon the node (kubectl uncordon {node})"),
            Self::Taint(taint) => {
                let Taint { key, value, effect, .. } = taint;
                let equals = if value.is_empty() { String::new() } else { format!("={value}") };
                let effect = effect.as_str();
                format!(
                    "tolerate the taint {key}{equals}:{effect}, or remove it (kubectl taint nodes {node} {key}:{effect}-)"
                )
            }
            Self::Affinity { wanted } => format!("label the node so that {wanted}, or ask for less"),
            Self::NotNamed => "the pod is meant for another node by name".to_owned(),
            Self::Port { port } => {
                format!("free port {}/{} on {}, or take another", port.port, port.protocol, port.address)
            }
            Self::TooManyPods { most } => format!("remove a pod: the node takes {most} at most"),
            Self::Insufficient { resource, demand, used, total } if demand > total => {
                format!(
                    "request at most {} of {resource} ({} is requested), or use a larger node",
                    amount(resource, *total),
                    amount(resource, *demand),
                ) + if *used > 0 { "; other pods hold some of it" } else { "" }
            }
            Self::Insufficient { resource, demand, used, total } => format!(
                "free {} of {resource}: {} is requested, {} of {} is taken",
                amount(resource, demand - (total - used)),
                amount(resource, *demand),
                amount(resource, *used),
                amount(resource, *total),
            ),
            Self::SpreadLabel { key } => format!("label the node with {key}"),
            Self::Spread { key, domain, here, least, most } => format!(
                "start pods where fewer are: {key}={domain} has {here}, another {key} has {least}, and they may differ by {most}"
            ),
            Self::NotNear { key } => format!("start a pod it wants to be near on a node with the same {key}"),
            Self::TooNear { key, domain } => format!("remove the pods it wants to be apart from in {key}={domain}"),
            Self::KeptAway { key, domain } => {
                format!("remove the pods that want to be apart from it in {key}={domain}")
            }
            Self::Volume(refusal) => refusal.remedy(),
        }
    }
}

impl VolumeRefusal {
    fn text(&self) -> &'static str {
        match self {
            Self::DiskInUse => "node(s) had no available disk",
            Self::ClaimInUse { .. } => {
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
            }
            Self::TooMany { .. } => "node(s) exceed max volume count",
            Self::NodeConflict { .. } => "node(s) didn't match PersistentVolume's node affinity",
            Self::NothingToBind { .. } => "node(s) didn't find available persistent volumes to bind",
            Self::NotEnoughSpace { .. } => "node(s) did not have enough free storage",
            Self::Zone { .. } => "node(s) had no available volume zone",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::DiskInUse => "remove the pod on it that uses the same disk".to_owned(),
            Self::ClaimInUse { claim } => format!("remove the other pod that uses the claim {claim}"),
            Self::TooMany { driver, most } => format!("remove pods with volumes of {driver}: the node takes {most}"),
            Self::NodeConflict { claim, volume } => {
                format!("use a node that the volume {volume} of the claim {claim} can be reached from")
            }
            Self::NothingToBind { claim } => format!("provide a volume for the claim {claim} that this node can reach"),
            Self::NotEnoughSpace { claim, class, size } => {
                format!("free {size} of storage class {class} where this node reaches it, for the claim {claim}")
            }
            Self::Zone { volume, key, wanted } => {
                format!("use a node in {key}={}, where the volume {volume} is", wanted.replace("__", " or "))
            }
        }
    }
}

/// An amount as a quantity that people read.
pub fn amount(resource: &str, amount: i64) -> String {
    use document::quantity::{Format, Quantity};
    match resource {
        "cpu" => Quantity::from_millis(amount, Format::DecimalSi).to_string(),
        "memory" | "ephemeral-storage" => Quantity::from_units(amount, Format::BinarySi).to_string(),
        _ => amount.to_string(),
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`
pub fn summary<'a>(nodes: usize, texts: impl Iterator<Item = Cow<'a, str>>) -> String {
    let mut counts = std::collections::BTreeMap::<Cow<'a, str>, usize>::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut reasons: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
    reasons.sort();
    let mut message = format!("0/{nodes} nodes are available:");
    if !reasons.is_empty() {
        let _ = write!(message, " {}.", reasons.join(", "));
    }
    message
}
