//! A fake node as an object: what it registers as and what it says of itself.

use client::{
    Kind,
    objects::{Condition, Meta, Object},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Config, PREFIX};

pub const LEASE: Kind = Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases");
/// The namespace of nodes' leases.
pub const LEASES: &str = "kube-node-lease";
/// A lease holds for so long (the kubelet's `nodeLeaseDurationSeconds`).
const LEASE_SECONDS: u32 = 40;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub conditions: Vec<Condition>,
}

impl Object for Node {
    const KIND: Kind = Kind::of_cluster("", "v1", "Node", "nodes");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// How a node behaves: the annotation `fake-node.coracle.dev/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ready,
    /// `not-ready`: it says that it is not ready.
    NotReady,
    /// `silent`: it says nothing more, of itself or of its pods, as if it had lost power.
    Silent,
}

impl State {
    /// What it says about itself, if anything.
    pub fn ready(self) -> Option<bool> {
        match self {
            Self::Ready => Some(true),
            Self::NotReady => Some(false),
            Self::Silent => None,
        }
    }
}

impl Node {
    pub fn state(&self) -> State {
        match self.metadata.annotations.get(&format!("{PREFIX}state")) {
            Some("silent") => State::Silent,
            Some("not-ready") => State::NotReady,
            _ => State::Ready,
        }
    }

    /// Whether its `Ready` condition says so already.
    pub fn says(&self, ready: bool) -> bool {
        let wanted = if ready { "True" } else { "False" };
        self.status.conditions.iter().any(|condition| *condition.kind == *"Ready" && *condition.status == *wanted)
    }
}

/// The address of the node of this number, in 198.18.0.0/15, which is set aside for measuring (RFC 2544).
pub fn address(number: usize) -> String {
    let number = (number + 1) & 0x1_ffff;
    format!("198.{}.{}.{}", 18 + (number >> 16), (number >> 8) & 0xff, number & 0xff)
}

/// The node as it registers.
pub fn object(config: &Config, number: usize, now: Timestamp) -> Value {
    let name = config.name(number);
    let resources = json!({
        "cpu": config.cpu, "memory": config.memory, "pods": config.pods.to_string(), "ephemeral-storage": "100Gi",
    });
    let zone = format!("zone-{}", number % config.zones.max(1));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/region": "fake", "topology.kubernetes.io/zone": zone,
            "fake-node.coracle.dev/fake": "true",
        }},
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": conditions(true, now),
            "addresses": [{"type": "InternalIP", "address": address(number)}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
                "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "", "osImage": "fake",
                "containerRuntimeVersion": "fake://1",
            },
        },
    })
}

/// The patch of a status that says whether the node is ready.
pub fn status(ready: bool, now: Timestamp) -> Value {
    json!({"status": {"conditions": conditions(ready, now)}})
}

fn conditions(ready: bool, now: Timestamp) -> Value {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        json!({
            "type": kind, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let (reason, message) = if ready {
        ("KubeletReady", "fake node is posting ready status")
    } else {
        ("KubeletNotReady", "fake node is told not to be ready")
    };
    json!([
        condition("MemoryPressure", false, "KubeletHasSufficientMemory", "fake node has sufficient memory available"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure", "fake node has no disk pressure"),
        condition("PIDPressure", false, "KubeletHasSufficientPID", "fake node has sufficient PID available"),
        condition("Ready", ready, reason, message),
    ])
}

pub fn lease(name: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": LEASE.api_version(), "kind": LEASE.kind, "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micros(now)},
    })
}

pub fn renewal(now: Timestamp) -> Value {
    json!({"spec": {"renewTime": micros(now)}})
}

/// RFC 3339 in microseconds, as `metav1.MicroTime` is written.
fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
