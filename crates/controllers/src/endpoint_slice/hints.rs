//! From where an endpoint is best used: by clients of its own zone or node, where the service prefers those that are close
//! (KEP-4444, KEP-3015), or of the zone that is given it, where the service leaves that to the cluster
//! (`service.kubernetes.io/topology-mode: Auto`, KEP-2433).

use client::{
    Caches,
    objects::{
        Service,
        service::{Endpoint, Hints, Named},
    },
};

use super::zones::{self, Known, Told};

/// Gives these endpoints, all of a family, their hints. What is to be told of it, if anything.
pub fn give(caches: &Caches, service: &Service, known: &Known, mut endpoints: Vec<&mut Endpoint>) -> Option<Told> {
    endpoints.retain(|endpoint| endpoint.conditions.ready == Some(true));
    if service.leaves_zones_to_cluster() {
        // Looked at node by node: few services ask for this.
        let shares = zones::shares(caches.nodes.all().iter().map(|node| &**node));
        return zones::give(&mut endpoints, known, &shares);
    }
    let (by_zone, by_node) = match &*service.spec.traffic_distribution {
        "PreferClose" | "PreferSameZone" => (true, false),
        "PreferSameNode" => (true, true),
        _ => (false, false),
    };
    let named = |name: &Option<Box<str>>, wanted: bool| -> Vec<Named> {
        name.iter().filter(|_| wanted).map(|name| Named { name: name.clone() }).collect()
    };
    for endpoint in endpoints {
        let hints = Hints { for_zones: named(&endpoint.zone, by_zone), for_nodes: named(&endpoint.node_name, by_node) };
        endpoint.hints = (hints != Hints::default()).then_some(hints);
    }
    None
}
