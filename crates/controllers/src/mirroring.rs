//! EndpointSlices of Endpoints that users keep themselves, for services without a selector: readers of slices are to
//! find those, too.

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{
        EndpointSlice, Endpoints, Labels, Object,
        service::{Address, Endpoint, EndpointConditions, EndpointPort, Family, Subset},
    },
    requests::Patch,
};
use serde_json::json;

use crate::{
    backing,
    driver::{Controller, Turn},
    endpoint_slice::{delete, is_managed_by, managed},
    endpoints::{ELECTION, canonical},
    plan::{Action, Event, Plan, Reference, precondition},
};

pub struct Mirroring;

const NAME: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Addresses of a subset that are mirrored; the rest is left out.
const MIRRORED: usize = 1000;

impl Controller for Mirroring {
    fn name(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn account(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Endpoints, Topic::Service, Topic::EndpointSlice]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Endpoints(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Service(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::EndpointSlice(changes) => {
                let slices = changes.iter().flat_map(|change| change.states());
                slices.filter(|slice| is_managed_by(slice, NAME)).filter_map(|slice| slice.service()).for_each(add);
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut existing = caches.endpoint_slices.of_service(key);
        existing.retain(|slice| is_managed_by(slice, NAME) && !slice.metadata.is_being_deleted());
        let service = caches.services.get(key).filter(|service| service.spec.selector.is_empty());
        let endpoints = caches.endpoints.get(key).filter(|endpoints| is_mirrored(endpoints));
        let mut plan = Plan::nothing();
        match (service, endpoints) {
            (Some(_), Some(endpoints)) => mirror(&endpoints, existing, &mut plan),
            _ => plan.then(existing.iter().map(|slice| delete(slice)).collect()),
        }
        plan
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let Endpoints { metadata, .. } = endpoints;
    metadata.labels.get(SKIP) != Some("true") && metadata.annotations.get(ELECTION).is_none()
}

/// What is told of what could not be mirrored.
#[derive(Default)]
struct Skipped {
    invalid: usize,
    total: usize,
}

type Slices = BTreeMap<(Family, Vec<EndpointPort>), Vec<Endpoint>>;

fn mirror(endpoints: &Endpoints, existing: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
    let (wanted, skipped) = wanted(&endpoints.subsets);
    let mut known: BTreeMap<(Family, Vec<EndpointPort>), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        let mut ports = slice.ports.clone();
        ports.sort();
        known.entry((slice.address_type, ports)).or_default().push(slice);
    }
    let (mut missing, mut changed) = (Vec::new(), Vec::new());
    for ((family, ports), listed) in wanted {
        let found = known.get_mut(&(family, ports.clone())).filter(|found| !found.is_empty());
        match found.map(|found| found.remove(0)) {
            Some(slice) => changed.extend(patch(endpoints, &slice, &ports, &listed)),
            None => missing.push((family, ports, listed)),
        }
    }
    let mut surplus: Vec<Arc<EndpointSlice>> = known.into_values().flatten().collect();
    let mut created = Vec::new();
    for (family, ports, listed) in missing {
        // A slice that would go serves again.
        match surplus.iter().position(|slice| slice.address_type == family) {
            Some(at) => changed.extend(patch(endpoints, &surplus.remove(at), &ports, &listed)),
            None if endpoints.metadata.is_being_deleted() => {}
            None => created.push(create(endpoints, family, &ports, &listed)),
        }
    }
    let deleted: Vec<Action> = surplus.iter().map(|slice| delete(slice)).collect();
    let idle = created.is_empty() && changed.is_empty() && deleted.is_empty();
    plan.then(created);
    plan.then(changed);
    plan.then(deleted);
    if !idle {
        plan.then(skipped.tell(endpoints));
    }
}

/// The slices that the subsets come to: one for each family and set of ports.
fn wanted(subsets: &[Subset]) -> (Slices, Skipped) {
    let (mut slices, mut skipped) = (Slices::new(), Skipped::default());
    for subset in canonical(subsets) {
        let mut ports: Vec<EndpointPort> = subset.ports.iter().map(port).collect();
        ports.sort();
        let ready = subset.addresses.iter().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().map(|address| (address, false));
        let mut mirrored = 0;
        for (address, ready) in ready.chain(unready) {
            if mirrored == MIRRORED {
                skipped.total += 1;
                continue;
            }
            match endpoint(address, ready) {
                None => (skipped.invalid, skipped.total) = (skipped.invalid + 1, skipped.total + 1),
                Some((family, endpoint)) => {
                    slices.entry((family, ports.clone())).or_default().push(endpoint);
                    mirrored += 1;
                }
            }
        }
    }
    (slices, skipped)
}

fn port(port: &client::objects::service::SubsetPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: Some(port.port),
        protocol: port.protocol,
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &Address, ready: bool) -> Option<(Family, Endpoint)> {
    let ip = api::syntax::parse_ip(&address.ip)?;
    let endpoint = Endpoint {
        addresses: vec![backing::text(ip)],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        hostname: Some(&address.hostname).filter(|name| !name.is_empty()).cloned(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    Some((Family::of(ip), endpoint))
}

impl Skipped {
    fn tell(&self, endpoints: &Endpoints) -> Vec<Action> {
        let about = Reference::to(endpoints);
        let event = |reason, message| Action::Event(Event::warning(&about, reason, message));
        let mut events = Vec::new();
        if self.invalid > 0 {
            let count = self.invalid;
            let message = format!("Skipped {count} invalid IP addresses when mirroring to EndpointSlices");
            events.push(event("InvalidIPAddress", message));
        }
        if self.total > self.invalid {
            let message = format!(
                "A max of {MIRRORED} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses \
                 were skipped",
                self.total
            );
            events.push(event("TooManyAddressesToMirror", message));
        }
        events
    }
}

fn labels(endpoints: &Endpoints) -> Labels {
    let managed = managed(&endpoints.metadata.name, NAME);
    let own = endpoints.metadata.labels.iter().filter(|(key, _)| managed.iter().all(|(reserved, _)| key != reserved));
    own.chain(managed).collect()
}

fn annotations(endpoints: &Endpoints) -> Labels {
    endpoints.metadata.annotations.iter().filter(|(key, _)| *key != backing::TRIGGER_TIME).collect()
}

fn create(endpoints: &Endpoints, family: Family, ports: &[EndpointPort], listed: &[Endpoint]) -> Action {
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", endpoints.metadata.name), "namespace": endpoints.metadata.namespace,
            "labels": labels(endpoints), "ownerReferences": [Reference::to(endpoints).as_controller()],
        },
        "addressType": family, "ports": ports, "endpoints": listed,
    });
    let annotations = annotations(endpoints);
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = json!(annotations);
    }
    Action::Create { kind: EndpointSlice::KIND, namespace: endpoints.metadata.namespace.clone(), object, tell: None }
}

/// What makes the slice the mirror of these endpoints, if it is not.
fn patch(endpoints: &Endpoints, slice: &EndpointSlice, ports: &[EndpointPort], listed: &[Endpoint]) -> Option<Action> {
    let mut metadata = precondition(&slice.metadata);
    let fixed = metadata.clone();
    for (part, changes) in [
        ("labels", backing::map_patch(&slice.metadata.labels, &labels(endpoints))),
        ("annotations", backing::map_patch(&slice.metadata.annotations, &annotations(endpoints))),
    ] {
        if !changes.is_empty() {
            metadata[part] = changes.into();
        }
    }
    if !slice.metadata.is_controlled_by(&endpoints.metadata.uid) {
        metadata["ownerReferences"] = json!([Reference::to(endpoints).as_controller()]);
    }
    let mut patch = json!({});
    if metadata != fixed {
        patch["metadata"] = metadata.clone();
    }
    if slice.ports != ports {
        patch["ports"] = json!(ports);
    }
    if !are_same(&slice.endpoints, listed) {
        patch["endpoints"] = json!(listed);
    }
    if patch == json!({}) {
        return None;
    }
    patch["metadata"] = metadata;
    Some(Action::Patch { kind: EndpointSlice::KIND, key: slice.key(), subresource: "", form: Patch::Merge, patch })
}

/// In whatever order.
fn are_same(known: &[Endpoint], wanted: &[Endpoint]) -> bool {
    if known == wanted {
        return true;
    }
    let sorted = |list: &[Endpoint]| {
        let mut list = list.to_vec();
        list.sort_by(|a, b| (&a.addresses, &a.target_ref).cmp(&(&b.addresses, &b.target_ref)));
        list
    };
    known.len() == wanted.len() && sorted(known) == sorted(wanted)
}
