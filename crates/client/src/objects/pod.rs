//! Pods.

mod written;

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Condition, Meta, Object,
    container::ContainerStatus,
    service::Protocol,
    shape::{EphemeralVolume, PodShape, PodVolume},
};
use crate::{Key, Kind, Shared};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "written::WrittenPod")]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// The index by the node a pod is bound to.
pub const NODE: &str = "node";
/// The index by each label a pod carries ([`labelled`]).
pub(super) const LABEL: &str = "label";
/// The index by the claims a pod mounts, by their keys.
pub const CLAIM: &str = "claim";

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
        for claim in self.claims() {
            add(CLAIM, claim.as_str());
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct PodSpec {
    /// Empty until the pod is bound.
    pub node_name: Box<str>,
    pub hostname: Box<str>,
    pub subdomain: Box<str>,
    /// What the pod wants of a node; one in memory for all pods that want the same.
    pub shape: Arc<PodShape>,
    /// The node whose name the pod's affinity asks for, as a DaemonSet's does.
    pub pinned_to: Box<str>,
    /// The volumes that are claims.
    pub claims: Box<[ClaimVolume]>,
    /// Other volumes that not every node can offer. Mostly none.
    pub volumes: Box<[PodVolume]>,
}

/// A volume of a pod that is a PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimVolume {
    pub volume: Box<str>,
    pub claim: Box<str>,
}

#[derive(Debug, Clone, Default)]
pub struct PodStatus {
    pub phase: Phase,
    /// Why it is in that phase; mostly empty.
    pub reason: Box<str>,
    pub conditions: Shared<Condition>,
    pub init_container_statuses: Box<[ContainerStatus]>,
    pub container_statuses: Box<[ContainerStatus]>,
    /// Where room is being made for the pod.
    pub nominated_node_name: Box<str>,
    pub start_time: Option<Timestamp>,
    pod_ip: Option<IpAddr>,
    pod_ips: Box<[IpAddr]>,
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

    /// The names of the claims it uses: those it names, and those of its own, which are called `<pod>-<volume>`.
    pub fn claim_names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let named = self.spec.claims.iter().map(|volume| Cow::Borrowed(&*volume.claim));
        let own = self.ephemeral_volumes().map(|volume| Cow::Owned(volume.claim_of(&self.metadata.name)));
        named.chain(own)
    }

    pub fn ephemeral_volumes(&self) -> impl Iterator<Item = &EphemeralVolume> {
        self.spec.volumes.iter().filter_map(|volume| match volume {
            PodVolume::Ephemeral(volume) => Some(volume),
            PodVolume::Disk(_) => None,
        })
    }

    /// Neither over nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.is_over() && !self.metadata.is_being_deleted()
    }

    /// All its containers have ended for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }
    /// Its addresses, at most one a family.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let first = self.status.pod_ip.filter(|_| self.status.pod_ips.is_empty());
        first.into_iter().chain(self.status.pod_ips.iter().copied())
    }

    /// The number of the port that one of its containers calls so.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let mut ports = self.spec.shape.named_ports.iter();
        ports.find(|port| *port.name == *name && port.protocol == protocol).map(|port| port.number)
    }

    /// The claims among its volumes.
    pub fn claims(&self) -> impl Iterator<Item = Key> {
        self.claim_names().map(|claim| Key::new(&self.metadata.namespace, &claim))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_claims_and_addresses_are_found() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": {
                "containers": [{"name": "c", "image": "web", "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9, "protocol": "UDP"},
                ]}],
                "initContainers": [
                    {"name": "first", "ports": [{"name": "dns", "containerPort": 54}]},
                    {"name": "beside", "restartPolicy": "Always",
                        "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                ],
                "volumes": [
                    {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "emptyDir": {}},
                    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                ],
            },
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "?"}]},
        }))
        .unwrap();
        assert_eq!(pod.port("http", Protocol::Tcp), Some(8080));
        assert_eq!(pod.port("dns", Protocol::Udp), Some(53));
        assert_eq!((pod.port("dns", Protocol::Tcp), pod.port("http", Protocol::Udp)), (None, None));
        assert_eq!(
            pod.claims().map(|claim| claim.to_string()).collect::<Vec<_>>(),
            ["shop/data", "shop/web-0-scratch"]
        );
        assert_eq!(pod.addresses().map(|address| address.to_string()).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    }
}
