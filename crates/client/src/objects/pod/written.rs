//! A pod as it is sent. What it requests is not its spec's alone: a node may have given it something else so far.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{Phase, Pod, PodStatus};
use crate::objects::{
    Condition, Labels, Meta,
    container::{ContainerStatus, WrittenStatus as WrittenContainerStatus},
    requests::{Given, GivenToPod, WrittenResources},
    shape::WrittenSpec,
};

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct WrittenPod {
    metadata: Meta,
    spec: WrittenSpec,
    status: WrittenStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenStatus {
    phase: Phase,
    reason: Box<str>,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<WrittenContainerStatus>,
    container_statuses: Vec<WrittenContainerStatus>,
    nominated_node_name: Box<str>,
    start_time: Option<Timestamp>,
    resources: Option<WrittenResources>,
    allocated_resources: Labels,
    #[serde(rename = "podIP", deserialize_with = "address")]
    pod_ip: Option<IpAddr>,
    #[serde(rename = "podIPs", deserialize_with = "addresses")]
    pod_ips: Box<[IpAddr]>,
}

impl From<WrittenPod> for Pod {
    fn from(WrittenPod { metadata, spec, status }: WrittenPod) -> Self {
        let (status, given) = status.read();
        Self { metadata, spec: spec.read(&given), status }
    }
}

impl WrittenStatus {
    fn read(self) -> (PodStatus, GivenToPod) {
        let mut given = GivenToPod {
            whole: Given { resources: self.resources, allocated_resources: self.allocated_resources },
            containers: Vec::new(),
            is_infeasible: is_resize_infeasible(&self.conditions),
        };
        let mut containers = |statuses: Vec<WrittenContainerStatus>| -> Box<[ContainerStatus]> {
            let (statuses, more): (Vec<_>, Vec<_>) = statuses.into_iter().map(WrittenContainerStatus::read).unzip();
            given.containers.extend(more);
            statuses.into()
        };
        let status = PodStatus {
            init_container_statuses: containers(self.init_container_statuses),
            container_statuses: containers(self.container_statuses),
            phase: self.phase,
            reason: self.reason,
            conditions: self.conditions.into(),
            nominated_node_name: self.nominated_node_name,
            start_time: self.start_time,
            pod_ip: self.pod_ip,
            pod_ips: self.pod_ips,
        };
        (status, given)
    }
}

fn is_resize_infeasible(conditions: &[Condition]) -> bool {
    let pending = conditions.iter().find(|condition| *condition.kind == *"PodResizePending");
    pending.is_some_and(|condition| *condition.reason == *"Infeasible")
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<Box<str>> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| api::syntax::parse_ip(&text)))
}

/// What is no address is left out: a node's report must not make a pod unreadable.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[IpAddr]>, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct PodIp {
        ip: Box<str>,
    }
    let list: Option<Vec<PodIp>> = Option::deserialize(deserializer)?;
    Ok(list.unwrap_or_default().iter().filter_map(|entry| api::syntax::parse_ip(&entry.ip)).collect())
}
