//! What an EndpointSlice says of a pod.

use client::objects::{
    Node, Pod, Service,
    service::{Endpoint, EndpointConditions, EndpointPort, Family},
};

use crate::backing;

/// The service's ports as they are on this pod, in the order by which slices are told apart.
pub fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let on_pod = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone(),
            port: Some(backing::port_on(pod, port)?),
            protocol: port.protocol,
            app_protocol: port.app_protocol.clone(),
        })
    });
    let mut ports: Vec<EndpointPort> = on_pod.collect();
    ports.sort();
    ports
}

/// None where the pod has no address of that family. Hints depend on the others.
pub fn of(pod: &Pod, node: Option<&Node>, service: &Service, family: Family) -> Option<Endpoint> {
    let addresses: Vec<Box<str>> =
        pod.addresses().filter(|address| Family::of(*address) == family).map(backing::text).collect();
    if addresses.is_empty() {
        return None;
    }
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_being_deleted());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let zone = node.and_then(backing::zone);
    let node_name = Some(&pod.spec.node_name).filter(|name| !name.is_empty()).cloned();
    Some(Endpoint {
        addresses,
        conditions: EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hints: None,
        hostname: backing::hostname(pod, service).map(Box::from),
        target_ref: Some(backing::target(pod)),
        zone: zone.map(Box::from),
        node_name,
    })
}
