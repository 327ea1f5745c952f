//! A pod's spec as it is sent, and what of it becomes a [`PodShape`].

use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::{AffinityTerm, Disk, EphemeralVolume, HostPort, PodAffinity, PodShape, PodVolume, SpreadConstraint};
use crate::{
    objects::{
        Json, Labels,
        node::Toleration,
        node_selector::{NodeSelector, NodeSelectorTerm},
        parts::selector,
        pod::{ClaimVolume, PodSpec},
        requests::{GivenToPod, Requests, WrittenContainer, WrittenPort, WrittenResources},
    },
    shared::Table,
};

/// One shape in memory for all pods that want the same.
static SHAPES: LazyLock<Table<PodShape>> = LazyLock::new(Table::default);

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct WrittenSpec {
    node_name: Box<str>,
    hostname: Box<str>,
    subdomain: Box<str>,
    scheduler_name: Box<str>,
    priority: i32,
    preemption_policy: Box<str>,
    host_network: bool,
    containers: Vec<WrittenContainer>,
    init_containers: Vec<WrittenContainer>,
    resources: WrittenResources,
    overhead: Labels,
    node_selector: Labels,
    affinity: WrittenAffinity,
    topology_spread_constraints: Vec<WrittenSpread>,
    tolerations: Vec<Toleration>,
    volumes: Vec<WrittenVolume>,
    scheduling_gates: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenAffinity {
    node_affinity: WrittenNodeAffinity,
    pod_affinity: WrittenPodAffinity,
    pod_anti_affinity: WrittenPodAffinity,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenNodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<WrittenPreference>,
}

#[derive(Deserialize)]
struct WrittenPreference {
    weight: i32,
    preference: NodeSelectorTerm,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenPodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Vec<WrittenTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<WeightedTerm>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WeightedTerm {
    weight: i32,
    pod_affinity_term: WrittenTerm,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenTerm {
    topology_key: Box<str>,
    #[serde(deserialize_with = "selector")]
    label_selector: api::selector::LabelSelector,
    namespaces: Vec<Box<str>>,
    namespace_selector: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenSpread {
    max_skew: i32,
    topology_key: Box<str>,
    when_unsatisfiable: Box<str>,
    #[serde(deserialize_with = "selector")]
    label_selector: api::selector::LabelSelector,
    match_label_keys: Vec<Box<str>>,
    min_domains: Option<i32>,
    node_affinity_policy: Option<Box<str>>,
    node_taints_policy: Option<Box<str>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenVolume {
    name: Box<str>,
    persistent_volume_claim: Option<ClaimName>,
    ephemeral: Option<WrittenEphemeral>,
    image: Option<ImageVolume>,
    gce_persistent_disk: Option<GceDisk>,
    aws_elastic_block_store: Option<AwsDisk>,
    iscsi: Option<IscsiDisk>,
    rbd: Option<RbdImage>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WrittenEphemeral {
    volume_claim_template: Json,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ClaimName {
    claim_name: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ImageVolume {
    reference: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GceDisk {
    pd_name: Box<str>,
    read_only: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AwsDisk {
    #[serde(rename = "volumeID")]
    volume_id: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct IscsiDisk {
    iqn: Box<str>,
    read_only: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RbdImage {
    monitors: Vec<Box<str>>,
    pool: Box<str>,
    image: Box<str>,
    read_only: bool,
}

impl WrittenSpec {
    pub fn read(self, given: &GivenToPod) -> PodSpec {
        let mut written = self;
        let node_name = std::mem::take(&mut written.node_name);
        let (hostname, subdomain) = (std::mem::take(&mut written.hostname), std::mem::take(&mut written.subdomain));
        let volumes = written.volumes.iter().flat_map(volumes).collect();
        let claim = |volume: &WrittenVolume| {
            let claim = volume.persistent_volume_claim.as_ref()?.claim_name.clone();
            Some(ClaimVolume { volume: volume.name.clone(), claim })
        };
        let claims = written.volumes.iter().filter_map(claim).collect();
        let shape = SHAPES.shared(Arc::new(shape(written, given)));
        let terms = shape.required_node_affinity.iter().flat_map(|required| required.terms());
        let pinned_to = terms.filter_map(|term| term.only_name()).next().unwrap_or_default().into();
        PodSpec { node_name, hostname, subdomain, pinned_to, claims, volumes, shape }
    }
}

fn shape(written: WrittenSpec, given: &GivenToPod) -> PodShape {
    let containers = (&written.containers[..], &written.init_containers[..]);
    let requests = Requests::of_pod(containers, &written.resources, &written.overhead, given);
    let all = || containers.0.iter().chain(containers.1);
    let lasting = containers.0.iter().chain(containers.1.iter().filter(|container| container.is_sidecar()));
    let ports = lasting.flat_map(|container| &container.ports);
    let named_ports = ports.clone().filter_map(WrittenPort::named).collect();
    let mut host_ports: Vec<HostPort> = ports.filter_map(|port| port.on_host(written.host_network)).collect();
    host_ports.sort();
    let from_volumes = written.volumes.iter().filter_map(|volume| volume.image.as_ref()).map(|image| &image.reference);
    let images = all().map(|container| &container.image).chain(from_volumes).map(|image| with_tag(image)).collect();
    let node_affinity = written.affinity.node_affinity;
    PodShape {
        containers: u16::try_from(all().count()).unwrap_or(u16::MAX),
        scheduler_name: written.scheduler_name,
        priority: written.priority,
        never_preempts: *written.preemption_policy == *"Never",
        requests,
        node_selector: written.node_selector,
        required_node_affinity: node_affinity.required,
        preferred_node_affinity: node_affinity.preferred.into_iter().map(|one| (one.weight, one.preference)).collect(),
        affinity: written.affinity.pod_affinity.into(),
        anti_affinity: written.affinity.pod_anti_affinity.into(),
        spread: written.topology_spread_constraints.into_iter().map(SpreadConstraint::from).collect(),
        tolerations: written.tolerations.into(),
        host_ports: host_ports.into(),
        named_ports,
        images,
        gates: written.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
    }
}

/// An image without a tag means the latest. A colon before the last slash belongs to a registry's port.
fn with_tag(image: &str) -> Box<str> {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    if name.contains(':') { image.into() } else { format!("{image}:latest").into() }
}

impl From<WrittenPodAffinity> for PodAffinity {
    fn from(written: WrittenPodAffinity) -> Self {
        Self {
            required: written.required.into_iter().map(AffinityTerm::from).collect(),
            preferred: written.preferred.into_iter().map(|one| (one.weight, one.pod_affinity_term.into())).collect(),
        }
    }
}

impl From<WrittenTerm> for AffinityTerm {
    fn from(written: WrittenTerm) -> Self {
        // The server has refused selectors that cannot be read; one that got here all the same selects nothing.
        let namespace_selector = written.namespace_selector.filter(|selector| !selector.is_null());
        let parsed = namespace_selector.map(|one| api::selector::LabelSelector::from_object(&one));
        Self {
            topology_key: written.topology_key,
            selector: written.label_selector,
            namespaces: written.namespaces.into(),
            namespace_selector: parsed.map(|one| one.unwrap_or_else(|_| api::selector::LabelSelector::nothing())),
        }
    }
}

impl From<WrittenSpread> for SpreadConstraint {
    fn from(written: WrittenSpread) -> Self {
        Self {
            max_skew: written.max_skew,
            topology_key: written.topology_key,
            is_hard: *written.when_unsatisfiable == *"DoNotSchedule",
            selector: written.label_selector,
            match_label_keys: written.match_label_keys.into(),
            min_domains: written.min_domains.unwrap_or(1),
            honors_affinity: written.node_affinity_policy.is_none_or(|policy| *policy == *"Honor"),
            honors_taints: written.node_taints_policy.is_some_and(|policy| *policy == *"Honor"),
        }
    }
}

fn volumes(written: &WrittenVolume) -> Vec<PodVolume> {
    let disk = |identity: String, read_only| PodVolume::Disk(Disk { identity: identity.into(), read_only });
    if let Some(WrittenEphemeral { volume_claim_template: template }) = &written.ephemeral {
        vec![PodVolume::Ephemeral(EphemeralVolume { name: written.name.clone(), template: template.clone() })]
    } else if let Some(gce) = &written.gce_persistent_disk {
        vec![disk(format!("gce/{}", gce.pd_name), gce.read_only)]
    } else if let Some(aws) = &written.aws_elastic_block_store {
        vec![disk(format!("aws/{}", aws.volume_id), false)]
    } else if let Some(iscsi) = &written.iscsi {
        vec![disk(format!("iscsi/{}", iscsi.iqn), iscsi.read_only)]
    } else if let Some(rbd) = &written.rbd {
        let (pool, image) = (&rbd.pool, &rbd.image);
        rbd.monitors.iter().map(|monitor| disk(format!("rbd/{monitor}/{pool}/{image}"), rbd.read_only)).collect()
    } else {
        Vec::new()
    }
}
