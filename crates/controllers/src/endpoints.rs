//! Endpoints: the pods behind each service in one object, as clients of old read them. EndpointSlices took their place;
//! here the list ends after a thousand addresses.

mod subsets;

pub(crate) use subsets::canonical;

use std::time::Duration;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Endpoints, Labels, Object, Pod, Service, service::Subset},
    requests::{DeleteOptions, Patch},
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    backing,
    driver::{Controller, Turn},
    plan::{Action, Plan, precondition},
};

pub struct EndpointsObjects;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const NAME: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Some who elect a leader keep the result in Endpoints of their own.
pub(crate) const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Behind the name of a service in a key: it was there, and is gone.
const GONE: &str = "/gone";

impl Controller for EndpointsObjects {
    fn name(&self) -> &'static str {
        NAME
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Service, Topic::Pod, Topic::Endpoints]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Endpoints(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Service(changes) => {
                for change in changes {
                    let gone = if change.new.is_none() { GONE } else { "" };
                    add(Key::new(change.key.namespace(), &format!("{}{gone}", change.key.name())));
                }
            }
            _ => backing::touched(caches, changes, add),
        }
    }

    fn rest(&self) -> Duration {
        backing::REST
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let (name, gone) = match key.name().strip_suffix(GONE) {
            Some(name) => (name, true),
            None => (key.name(), false),
        };
        let key = Key::new(key.namespace(), name);
        let known = caches.endpoints.get(&key);
        let mut plan = Plan::nothing();
        match (caches.services.get(&key), known) {
            (None, Some(known)) if (gone || is_ours(&known)) && known.metadata.annotations.get(ELECTION).is_none() => {
                plan.then(vec![delete(&known)]);
            }
            (Some(service), known) if service.selects_pods() => {
                plan.then(write(caches, &service, known.as_deref()).into_iter().collect());
            }
            // Somebody's own list for a service that selects nothing, or one that waits for its service.
            _ => {}
        }
        plan
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.get(MANAGED_BY) == Some(NAME)
}

fn delete(known: &Endpoints) -> Action {
    let options = DeleteOptions { uid: Some(known.metadata.uid.clone()), ..DeleteOptions::default() };
    Action::Delete { kind: Endpoints::KIND, key: known.key(), options, tell: None }
}

/// What has to be written so that the list is right, if anything.
fn write(caches: &Caches, service: &Service, known: Option<&Endpoints>) -> Option<Action> {
    let mut pods = backing::pods(caches, service);
    pods.retain(|pod| service.spec.publish_not_ready_addresses || !pod.metadata.is_being_deleted());
    let (subsets, truncated) = subsets::of(service, &pods);
    let labels = backing::labels(service, &[(MANAGED_BY, NAME)]);
    let over_capacity = truncated.then_some("truncated");
    let Some(known) = known else {
        let triggered = service.metadata.creation_timestamp.map(|time| time.to_string());
        return create(
            service,
            &subsets,
            &labels,
            [(backing::TRIGGER_TIME, triggered.as_deref()), (OVER_CAPACITY, over_capacity)],
        );
    };
    let same = subsets::are_equal(&known.subsets, &subsets);
    let labels = backing::map_patch(&known.metadata.labels, &labels);
    let annotation = |name| known.metadata.annotations.get(name);
    if same && labels.is_empty() && annotation(OVER_CAPACITY) == over_capacity {
        return None;
    }
    let triggered = turned(known, &subsets, &pods).map(|time| time.to_string());
    let mut metadata = precondition(&known.metadata);
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    for (name, value) in [(backing::TRIGGER_TIME, triggered.as_deref()), (OVER_CAPACITY, over_capacity)] {
        if annotation(name) != value {
            metadata["annotations"][name] = json!(value);
        }
    }
    let mut patch = json!({ "metadata": metadata });
    if !same {
        patch["subsets"] = json!(subsets);
    }
    Some(Action::Patch { kind: Endpoints::KIND, key: known.key(), subresource: "", form: Patch::Merge, patch })
}

fn create(
    service: &Service,
    subsets: &[Subset],
    labels: &Labels,
    annotations: [(&str, Option<&str>); 2],
) -> Option<Action> {
    // Whoever deletes the service deletes its list.
    if service.metadata.is_being_deleted() {
        return None;
    }
    let annotations: Labels = annotations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut object = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": service.metadata.name, "namespace": service.metadata.namespace, "labels": labels},
    });
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = json!(annotations);
    }
    if !subsets.is_empty() {
        object["subsets"] = json!(subsets);
    }
    let namespace = service.metadata.namespace.clone();
    Some(Action::Create { kind: Endpoints::KIND, namespace, object, tell: None })
}

/// When the first of the changes that are written came about: of those pods that were not there, or were ready and are
/// not, or the other way round.
fn turned(known: &Endpoints, subsets: &[Subset], pods: &[std::sync::Arc<Pod>]) -> Option<Timestamp> {
    let (before, after) = (subsets::readiness(&known.subsets), subsets::readiness(subsets));
    let changed = pods.iter().filter(|pod| {
        let uid = &*pod.metadata.uid;
        after.contains_key(uid) && before.get(uid) != after.get(uid)
    });
    changed.filter_map(|pod| backing::turned(pod)).min()
}
