//! Services, and who stands behind them: EndpointSlices, and Endpoints as they were before those.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Labels, Meta, Object, Pod, parts::maybe_null, pod};
use crate::{Cache, Kind};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
}

/// The index by one label that a service selects by: one is enough to find it by the labels of a pod.
const SELECTS: &str = "selects";
/// The index of those that leave it to the cluster which zone's clients an endpoint serves.
const ZONES: &str = "zones";
/// Where they say so; the older name wins.
const TOPOLOGY: [&str; 2] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];

impl Object for Service {
    const KIND: Kind = Kind::namespaced("", "v1", "Service", "services");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if let Some((key, value)) = self.spec.selector.iter().next() {
            add(SELECTS, &pod::labelled(&self.metadata.namespace, key, value));
        }
        if self.leaves_zones_to_cluster() {
            add(ZONES, "");
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Empty where the service selects nothing, and others say what stands behind it.
    pub selector: Labels,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Box<str>,
    pub ip_families: Vec<Family>,
    pub ports: Vec<ServicePort>,
    pub publish_not_ready_addresses: bool,
    pub traffic_distribution: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    pub name: Box<str>,
    pub protocol: Protocol,
    pub app_protocol: Option<Box<str>>,
    pub target_port: TargetPort,
}

/// A port of a pod, or the name that a container gives one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    Number(u16),
    Name(Box<str>),
}

impl Default for TargetPort {
    fn default() -> Self {
        Self::Number(0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// None for what is no protocol; what is not said is TCP.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "SCTP" => Self::Sctp,
            _ => return None,
        })
    }
}

/// A family of addresses; of an EndpointSlice, what its addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Family {
    #[default]
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
    #[serde(rename = "FQDN")]
    Names,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            Self::Names => "FQDN",
        }
    }
}

impl Service {
    /// Whether pods are behind it because of their labels.
    pub fn selects_pods(&self) -> bool {
        !self.spec.selector.is_empty() && *self.spec.kind != *"ExternalName"
    }

    /// Without an address of its own: clients find the pods' addresses.
    pub fn is_headless(&self) -> bool {
        matches!(&*self.spec.cluster_ip, "" | "None")
    }

    /// Whether the cluster says which zone's clients each endpoint serves (KEP-2433).
    pub fn leaves_zones_to_cluster(&self) -> bool {
        let said = TOPOLOGY.iter().find_map(|name| self.metadata.annotations.get(name));
        matches!(said, Some("Auto" | "auto"))
    }

    fn selects(&self, labels: &Labels) -> bool {
        self.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl Cache<Service> {
    /// The services that leave it to the cluster which zone's clients an endpoint serves.
    pub fn leaving_zones_to_cluster(&self) -> Vec<Arc<Service>> {
        self.by(ZONES, "")
    }

    /// The services that select an object of that metadata.
    pub fn selecting(&self, meta: &Meta) -> Vec<Arc<Service>> {
        let mut found: Vec<Arc<Service>> = Vec::new();
        for (key, value) in meta.labels.iter() {
            let under = self.by(SELECTS, &pod::labelled(&meta.namespace, key, value));
            found.extend(under.into_iter().filter(|service| service.selects(&meta.labels)));
        }
        found
    }
}

impl Cache<Pod> {
    /// The pods in a namespace that carry all of these labels, of which there must be one.
    pub fn labelled(&self, namespace: &str, labels: &Labels) -> Vec<Arc<Pod>> {
        let values: Vec<String> = labels.iter().map(|(key, value)| pod::labelled(namespace, key, value)).collect();
        let carries = |pod: &Arc<Pod>| labels.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value));
        self.by_fewest(pod::LABEL, &values).into_iter().filter(carries).collect()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: Family,
    #[serde(deserialize_with = "maybe_null")]
    pub ports: Vec<EndpointPort>,
    #[serde(deserialize_with = "maybe_null")]
    pub endpoints: Vec<Endpoint>,
}

/// The index by the service that a slice is of.
const SERVICE: &str = "service";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Object for EndpointSlice {
    const KIND: Kind = Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if let Some(key) = self.service() {
            add(SERVICE, key.as_str());
        }
    }
}

impl EndpointSlice {
    /// The service that the slice says it is of.
    pub fn service(&self) -> Option<crate::Key> {
        let name = self.metadata.labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
        Some(crate::Key::new(&self.metadata.namespace, name))
    }
}

impl Cache<EndpointSlice> {
    pub fn of_service(&self, service: &crate::Key) -> Vec<Arc<EndpointSlice>> {
        self.by(SERVICE, service.as_str())
    }
}

/// As it is written: a name may be empty, but is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    pub name: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub protocol: Protocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub addresses: Vec<Box<str>>,
    pub conditions: EndpointConditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Hints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// From where an endpoint is best used (KEP-4444).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: Box<str>,
}

/// What an address belongs to, mostly a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Target {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub api_version: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: Meta,
    #[serde(deserialize_with = "maybe_null")]
    pub subsets: Vec<Subset>,
}

impl Object for Endpoints {
    const KIND: Kind = Kind::namespaced("", "v1", "Endpoints", "endpoints");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Addresses that offer the same ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<SubsetPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubsetPort {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Box<str>,
    pub port: u16,
    pub protocol: Protocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Address {
    pub ip: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hostname: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Target>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_and_pods_find_each_other_by_labels() {
        let (services, pods) = (Cache::<Service>::default(), Cache::<Pod>::default());
        let labels = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        for (name, namespace, selector) in [
            ("web", "shop", labels(r#"{"app": "web", "tier": "front"}"#)),
            ("all-web", "shop", labels(r#"{"app": "web"}"#)),
            ("elsewhere", "bank", labels(r#"{"app": "web"}"#)),
            ("none", "shop", labels("{}")),
        ] {
            let service = json!({"metadata": {"name": name, "namespace": namespace, "uid": name},
                "spec": {"selector": selector}});
            services.observe(serde_json::from_value(service).unwrap());
        }
        for (name, of) in [("a", labels(r#"{"app": "web", "tier": "front"}"#)), ("b", labels(r#"{"app": "web"}"#))] {
            let pod = json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "labels": of}});
            pods.observe(serde_json::from_value(pod).unwrap());
        }
        let selecting = |pod: &str| -> Vec<String> {
            let pod = pods.find("shop", pod).unwrap();
            let mut names: Vec<String> =
                services.selecting(&pod.metadata).iter().map(|service| service.metadata.name.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(selecting("a"), ["all-web", "web"]);
        assert_eq!(selecting("b"), ["all-web"]);
        let web = services.find("shop", "web").unwrap();
        assert_eq!(pods.labelled("shop", &web.spec.selector).len(), 1);
    }
}
