//! Which pods are behind a service, and what of a pod matters there: shared by those who write EndpointSlices and
//! Endpoints.

use std::{net::IpAddr, sync::Arc, time::Duration};

use client::{
    Caches, Change, Key,
    caches::Changes,
    objects::{
        Labels, Meta, Node, Object, Pod, Service, pod,
        service::{ServicePort, Target, TargetPort},
    },
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// When a change of a pod came about that is written now; what measures how long that took looks at it.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// On what belongs to a service without an address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

/// How long a service rests after it was written about. The first change is told at once; when thousands of pods
/// become ready, those of a moment are told together.
pub const REST: Duration = Duration::from_millis(100);

/// The services that have to be looked at after these changes.
pub fn touched(caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
    match changes {
        Changes::Service(changes) => changes.iter().for_each(|change| add(change.key.clone())),
        Changes::Pod(changes) => {
            for change in changes.iter().filter(|change| matters(change)) {
                // A change of labels may take a pod from one service to another.
                let moved = change
                    .old
                    .as_ref()
                    .filter(|old| change.new.as_ref().is_none_or(|new| new.metadata.labels != old.metadata.labels));
                for pod in moved.into_iter().chain(&change.new) {
                    caches.services.selecting(&pod.metadata).iter().for_each(|service| add(service.key()));
                }
            }
        }
        Changes::Node(changes) => {
            for change in
                changes.iter().filter(|change| change.old.as_deref().map(zone) != change.new.as_deref().map(zone))
            {
                for pod in caches.pods.by(pod::NODE, change.key.name()) {
                    caches.services.selecting(&pod.metadata).iter().for_each(|service| add(service.key()));
                }
            }
        }
        _ => {}
    }
}

/// Whether anything about the pod changed that a client of a service could notice.
fn matters(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        // A pod without an address is behind nothing.
        return change.states().any(|pod| pod.addresses().next().is_some());
    };
    old.metadata.labels != new.metadata.labels
        || old.metadata.uid != new.metadata.uid
        || old.metadata.is_being_deleted() != new.metadata.is_being_deleted()
        || old.is_ready() != new.is_ready()
        || old.is_over() != new.is_over()
        || !old.addresses().eq(new.addresses())
}

/// The pods behind a service that have addresses and are not over, by name.
pub fn pods(caches: &Caches, service: &Service) -> Vec<Arc<Pod>> {
    let mut pods = caches.pods.labelled(&service.metadata.namespace, &service.spec.selector);
    pods.retain(|pod| !pod.is_over() && pod.addresses().next().is_some());
    pods
}

pub fn zone(node: &Node) -> Option<&str> {
    node.metadata.labels.get(ZONE).filter(|zone| !zone.is_empty())
}

/// What number a port of a service has on a pod; none where no container gives it that name.
pub fn port_on(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.port(name, port.protocol),
    }
}

/// The name under which the pod is found below that of the service.
pub fn hostname<'p>(pod: &'p Pod, service: &Service) -> Option<&'p str> {
    let is_below = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    is_below.then_some(&*pod.spec.hostname)
}

pub fn target(pod: &Pod) -> Target {
    let Meta { namespace, name, uid, .. } = &pod.metadata;
    Target {
        kind: "Pod".into(),
        namespace: namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
        ..Target::default()
    }
}

/// When the pod became ready, or ceased to be.
pub fn turned(pod: &Pod) -> Option<Timestamp> {
    pod.condition("Ready")?.last_transition_time
}

pub fn text(address: IpAddr) -> Box<str> {
    address.to_string().into()
}

/// The labels of what is written for a service: its own, with those that say what it is.
pub fn labels(service: &Service, managed: &[(&str, &str)]) -> Labels {
    let is_reserved = |key: &str| key == HEADLESS || managed.iter().any(|(reserved, _)| key == *reserved);
    let own = service.metadata.labels.iter().filter(|(key, _)| !is_reserved(key));
    let headless = service.is_headless().then_some((HEADLESS, ""));
    own.chain(managed.iter().copied()).chain(headless).collect()
}

/// Of a merge patch the part that makes a map of strings another.
pub fn map_patch(known: &Labels, wanted: &Labels) -> Map<String, Value> {
    let changed = wanted.iter().filter(|(key, value)| known.get(key) != Some(value));
    let gone = known.iter().filter(|(key, _)| wanted.get(key).is_none());
    let changed = changed.map(|(key, value)| (key.to_owned(), json!(value)));
    changed.chain(gone.map(|(key, _)| (key.to_owned(), Value::Null))).collect()
}
