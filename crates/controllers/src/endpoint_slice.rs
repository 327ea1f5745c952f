//! EndpointSlices: the pods behind each service, a hundred a slice, as proxies and resolvers read them (KEP-752).
//!
//! | file | decides |
//! |---|---|
//! | `endpoint` | what is said of a pod |
//! | `hints` | from where each is best used |
//! | `zones` | from which zone, where that is left to the cluster |
//! | `packing` | in which slice it is said, so that few slices change |
//!
//! Not here: slices of services without a selector ([`crate::mirroring`]).

mod endpoint;
mod hints;
mod packing;
mod zones;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{
        EndpointSlice, Labels, Object, Pod, Service,
        service::{Endpoint, EndpointPort, Family},
    },
    requests::{DeleteOptions, Patch},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    backing,
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition},
};
use packing::{Packed, Slot};
use zones::{Known, Told};

pub struct EndpointSlices;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const NAME: &str = "endpointslice-controller.k8s.io";

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn account(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Service, Topic::Pod, Topic::Node, Topic::EndpointSlice]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::EndpointSlice(changes) => {
                let slices = changes.iter().flat_map(|change| change.states());
                slices.filter(|slice| is_managed_by(slice, NAME)).filter_map(|slice| slice.service()).for_each(add);
            }
            Changes::Node(nodes) => {
                backing::touched(caches, changes, add);
                if nodes.iter().any(|node| zones::differ(node.old.as_deref(), node.new.as_deref())) {
                    caches.services.leaving_zones_to_cluster().iter().for_each(|service| add(service.key()));
                }
            }
            _ => backing::touched(caches, changes, add),
        }
    }

    fn rest(&self) -> Duration {
        backing::REST
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let Some(service) = caches.services.get(key).filter(|service| service.selects_pods()) else {
            return Plan::nothing();
        };
        let mut existing = caches.endpoint_slices.of_service(key);
        existing.retain(|slice| is_managed_by(slice, NAME) && !slice.metadata.is_being_deleted());
        let pods = backing::pods(caches, &service);
        let families = families(&service);
        let (mut changes, mut events) = (Vec::new(), Vec::new());
        let mut turned: Vec<Timestamp> = Vec::new();
        for family in &families {
            let known: Vec<_> = existing.iter().filter(|slice| slice.address_type == *family).cloned().collect();
            let mut groups = groups(caches, &service, &pods, *family);
            let endpoints = groups.values_mut().flatten().map(|(endpoint, _)| endpoint).collect();
            let hinted = Known::of(known.iter().map(|slice| &**slice));
            events.extend(hints::give(caches, &service, &hinted, endpoints).map(|told| event(&service, *family, told)));
            changes.extend(of_family(&service, *family, known, groups, &mut turned));
        }
        // Of a service that had no slices, its making is what they tell of.
        let triggered = match existing.is_empty() {
            true => service.metadata.creation_timestamp,
            false => turned.into_iter().min(),
        };
        let obsolete = existing.iter().filter(|slice| !families.contains(&slice.address_type));
        changes.extend(obsolete.map(|slice| Packed::Surplus(Arc::clone(slice))));
        let mut plan = plan(&service, changes, triggered);
        plan.then(events);
        plan
    }
}

fn event(service: &Service, family: Family, told: Told) -> Action {
    let about = Reference::to(service);
    let of_family = |words: &str| format!("{words}, addressType: {}", family.name());
    Action::Event(match told {
        Told::Enabled => {
            let message = of_family("Topology Aware Hints has been enabled");
            Event::normal(&about, "TopologyAwareHintsEnabled", message)
        }
        Told::Disabled(why) => Event::warning(&about, "TopologyAwareHintsDisabled", of_family(&why)),
    })
}

pub(crate) fn is_managed_by(slice: &EndpointSlice, manager: &str) -> bool {
    slice.metadata.labels.get(MANAGED_BY) == Some(manager)
}

/// The labels that say of which service a slice is, and who keeps it.
pub(crate) fn managed<'a>(service: &'a str, manager: &'a str) -> [(&'a str, &'a str); 2] {
    [(SERVICE_NAME, service), (MANAGED_BY, manager)]
}

fn families(service: &Service) -> Vec<Family> {
    let families = &service.spec.ip_families;
    if families.is_empty() { vec![Family::V4, Family::V6] } else { families.clone() }
}

/// The endpoints that a set of ports leads to, with the times at which their pods last turned ready or unready.
type Group = Vec<(Endpoint, Option<Timestamp>)>;

/// The endpoints of a family by the ports they offer: a named port may be another number on each pod.
fn groups(caches: &Caches, service: &Service, pods: &[Arc<Pod>], family: Family) -> BTreeMap<Vec<EndpointPort>, Group> {
    let mut groups: BTreeMap<Vec<EndpointPort>, Group> = BTreeMap::new();
    for pod in pods {
        let group = groups.entry(endpoint::ports(service, pod)).or_default();
        let node = caches.nodes.find("", &pod.spec.node_name);
        // A pod of a node that is gone is as good as gone.
        if node.is_none() && !service.spec.publish_not_ready_addresses {
            continue;
        }
        if let Some(endpoint) = endpoint::of(pod, node.as_deref(), service, family) {
            group.push((endpoint, backing::turned(pod)));
        }
    }
    groups
}

/// What is to become of the slices of one family. `turned` gets when each change of an endpoint came about.
fn of_family(
    service: &Arc<Service>,
    family: Family,
    existing: Vec<Arc<EndpointSlice>>,
    groups: BTreeMap<Vec<EndpointPort>, Group>,
    turned: &mut Vec<Timestamp>,
) -> Vec<Packed> {
    let (own, foreign): (Vec<_>, Vec<_>) = existing.into_iter().partition(|slice| is_owned_by(slice, service));
    let mut by_ports: BTreeMap<Vec<EndpointPort>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in own {
        let mut ports = slice.ports.clone();
        ports.sort();
        by_ports.entry(ports).or_default().push(slice);
    }
    let labels = labels(service);
    let mut packed = Vec::new();
    for (ports, group) in groups {
        let existing = by_ports.remove(&ports).unwrap_or_default();
        packed.extend(packing::pack(&Slot { ports, family, labels: &labels }, existing, group, turned));
    }
    packed.extend(by_ports.into_values().flatten().map(Packed::Surplus));
    packed.extend(foreign.into_iter().map(Packed::Surplus));
    packing::reuse(&mut packed, |slice| is_owned_by(slice, service));
    keep_one(&mut packed, service, family, &labels);
    packed
}

/// A service that nothing is behind has one empty slice, so that its readers know that.
fn keep_one(packed: &mut Vec<Packed>, service: &Service, family: Family, labels: &Labels) {
    if packed.iter().any(|change| !matches!(change, Packed::Surplus(_))) {
        return;
    }
    let own = |change: &Packed| matches!(change, Packed::Surplus(slice) if is_owned_by(slice, service));
    let is_empty = |change: &Packed| {
        matches!(change, Packed::Surplus(slice)
            if slice.endpoints.is_empty() && slice.ports.is_empty() && slice.metadata.labels == *labels)
    };
    let empty = |known| Packed::Written { known, family, ports: Vec::new(), endpoints: Vec::new() };
    if let Some(at) = packed.iter().position(|change| own(change) && is_empty(change)) {
        packed[at] = Packed::Kept;
    } else if let Some(at) = packed.iter().position(own) {
        let Packed::Surplus(slice) = packed.swap_remove(at) else { return };
        packed.push(empty(Some(slice)));
    } else {
        packed.push(empty(None));
    }
}

fn is_owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owner_references.iter().any(|owner| owner.uid == service.metadata.uid)
}

fn labels(service: &Service) -> Labels {
    backing::labels(service, &managed(&service.metadata.name, NAME))
}

fn plan(service: &Service, changes: Vec<Packed>, triggered: Option<Timestamp>) -> Plan {
    let (mut created, mut patched, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    let labels = labels(service);
    let triggered = triggered.map(|time| time.to_string());
    for change in changes {
        match change {
            // Whoever deletes the service deletes its slices: none is to be left behind.
            Packed::Written { known: None, .. } if service.metadata.is_being_deleted() => {}
            Packed::Written { known: None, family, ports, endpoints } => {
                let mut metadata = json!({
                    "generateName": format!("{}-", service.metadata.name), "namespace": service.metadata.namespace,
                    "labels": labels, "ownerReferences": [Reference::to(service).as_controller()],
                });
                if let Some(time) = &triggered {
                    metadata["annotations"] = json!({ backing::TRIGGER_TIME: time });
                }
                created.push(Action::Create {
                    kind: EndpointSlice::KIND,
                    namespace: service.metadata.namespace.clone(),
                    object: slice(metadata, family, &ports, &endpoints),
                    tell: None,
                });
            }
            Packed::Written { known: Some(known), ports, endpoints, .. } => {
                patched.push(patch(&known, &labels, (&ports, &endpoints), triggered.as_deref()));
            }
            Packed::Surplus(slice) => deleted.push(delete(&slice)),
            Packed::Kept => {}
        }
    }
    let mut plan = Plan::nothing();
    // What is new is told before what it replaces goes.
    plan.then(created);
    plan.then(patched);
    plan.then(deleted);
    plan
}

fn slice(metadata: Value, family: Family, ports: &[EndpointPort], endpoints: &[Endpoint]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": family, "ports": ports, "endpoints": endpoints,
    })
}

fn patch(
    known: &EndpointSlice,
    labels: &Labels,
    (ports, endpoints): (&[EndpointPort], &[Endpoint]),
    triggered: Option<&str>,
) -> Action {
    let mut metadata = precondition(&known.metadata);
    let labels = backing::map_patch(&known.metadata.labels, labels);
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    if known.metadata.annotations.get(backing::TRIGGER_TIME) != triggered {
        metadata["annotations"] = json!({ backing::TRIGGER_TIME: triggered });
    }
    let mut patch = json!({ "metadata": metadata });
    if known.ports != ports {
        patch["ports"] = json!(ports);
    }
    if known.endpoints != endpoints {
        patch["endpoints"] = json!(endpoints);
    }
    Action::Patch { kind: EndpointSlice::KIND, key: known.key(), subresource: "", form: Patch::Merge, patch }
}

pub(crate) fn delete(slice: &EndpointSlice) -> Action {
    let options = DeleteOptions { uid: Some(slice.metadata.uid.clone()), ..DeleteOptions::default() };
    Action::Delete { kind: EndpointSlice::KIND, key: slice.key(), options, tell: None }
}
