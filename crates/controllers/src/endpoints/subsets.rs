//! The subsets of Endpoints: ports that are offered at the same addresses stand together, in an order that does not change.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use client::objects::{
    Pod, Service,
    service::{Address, Family, Subset, SubsetPort},
};

use crate::backing;

/// Addresses that Endpoints hold at most (KEP-752: more do not scale).
const CAPACITY: usize = 1000;

/// The subsets of a service, and whether addresses are missing in them.
pub fn of(service: &Service, pods: &[Arc<Pod>]) -> (Vec<Subset>, bool) {
    let mut offers = Vec::new();
    for pod in pods {
        let Some(address) = address(service, pod) else { continue };
        let ready = service.spec.publish_not_ready_addresses || pod.is_ready();
        let ports: BTreeSet<SubsetPort> = service
            .spec
            .ports
            .iter()
            .filter_map(|port| {
                Some(SubsetPort {
                    name: port.name.clone(),
                    port: backing::port_on(pod, port)?,
                    protocol: port.protocol,
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        // Only a headless service may be without ports.
        if !ports.is_empty() || (service.spec.ports.is_empty() && &*service.spec.cluster_ip == "None") {
            offers.push((address, ready, ports));
        }
    }
    let mut subsets = packed(offers);
    let truncated = truncate(&mut subsets);
    (subsets, truncated)
}

/// The address of the service's first family.
fn address(service: &Service, pod: &Pod) -> Option<Address> {
    let wanted = match service.spec.ip_families.first() {
        Some(family) => Some(*family),
        None => service.spec.cluster_ip.parse().ok().map(Family::of),
    };
    let address = pod.addresses().find(|address| wanted.is_none_or(|family| Family::of(*address) == family))?;
    Some(Address {
        ip: backing::text(address),
        hostname: backing::hostname(pod, service).unwrap_or_default().into(),
        node_name: Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
        target_ref: Some(backing::target(pod)),
    })
}

/// Ports at the same addresses stand together. An address that is listed as both is not ready there. Where no ports are
/// offered there are only addresses.
fn packed(offers: Vec<(Address, bool, BTreeSet<SubsetPort>)>) -> Vec<Subset> {
    let mut by_port: BTreeMap<Option<SubsetPort>, BTreeMap<Address, bool>> = BTreeMap::new();
    for (address, ready, ports) in offers {
        let without = ports.is_empty().then_some(None);
        for port in ports.into_iter().map(Some).chain(without) {
            *by_port.entry(port).or_default().entry(address.clone()).or_insert(true) &= ready;
        }
    }
    let mut by_addresses: BTreeMap<BTreeMap<Address, bool>, Vec<Option<SubsetPort>>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses).or_default().push(port);
    }
    let subset = |(addresses, ports): (BTreeMap<Address, bool>, Vec<Option<SubsetPort>>)| {
        let mut subset = Subset { ports: ports.into_iter().flatten().collect(), ..Subset::default() };
        for (address, ready) in addresses {
            if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses }.push(address);
        }
        subset
    };
    let mut subsets: Vec<Subset> = by_addresses.into_iter().map(subset).collect();
    subsets.sort_by(|a, b| a.ports.cmp(&b.ports));
    subsets
}

/// Subsets as they are packed here, however they were written.
pub fn canonical(subsets: &[Subset]) -> Vec<Subset> {
    let mut offers = Vec::new();
    for subset in subsets {
        let ports: BTreeSet<SubsetPort> = subset.ports.iter().cloned().collect();
        let ready = subset.addresses.iter().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().map(|address| (address, false));
        offers.extend(ready.chain(unready).map(|(address, ready)| (address.clone(), ready, ports.clone())));
    }
    packed(offers)
}

/// Whether both say the same, however they are packed.
pub fn are_equal(known: &[Subset], wanted: &[Subset]) -> bool {
    known == wanted || canonical(known) == wanted
}

/// Leaves out what is too many: first what is not ready, and of each subset in proportion to its size. Returns whether
/// anything is missing.
fn truncate(subsets: &mut [Subset]) -> bool {
    let total = |of: fn(&Subset) -> &Vec<Address>, subsets: &[Subset]| -> usize {
        subsets.iter().map(|subset| of(subset).len()).sum()
    };
    let ready = total(|subset| &subset.addresses, subsets);
    let unready = total(|subset| &subset.not_ready_addresses, subsets);
    if ready + unready <= CAPACITY {
        return false;
    }
    let cut_ready = ready > CAPACITY;
    let (room, of) = if cut_ready { (CAPACITY, ready) } else { (CAPACITY - ready, unready) };
    let mut left = room;
    for subset in subsets {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (list.len() * room).div_ceil(of).min(left);
        list.truncate(share);
        left -= list.len();
        if cut_ready {
            subset.not_ready_addresses.clear();
        }
    }
    true
}

/// Whether each target is listed as ready, by its UID.
pub fn readiness(subsets: &[Subset]) -> HashMap<&str, bool> {
    let mut targets = HashMap::new();
    for subset in subsets {
        for (list, ready) in [(&subset.addresses, true), (&subset.not_ready_addresses, false)] {
            let uids = list.iter().filter_map(|address| Some(&*address.target_ref.as_ref()?.uid));
            targets.extend(uids.map(|uid| (uid, ready)));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(ready: usize, unready: usize) -> Subset {
        let address = |number: usize| Address { ip: format!("10.0.0.{number}").into(), ..Address::default() };
        Subset {
            addresses: (0..ready).map(address).collect(),
            not_ready_addresses: (0..unready).map(address).collect(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_ready_is_left_out_first_and_each_subset_in_proportion() {
        let sizes = |mut subsets: Vec<Subset>| {
            let truncated = truncate(&mut subsets);
            let sizes: Vec<_> =
                subsets.iter().map(|subset| (subset.addresses.len(), subset.not_ready_addresses.len())).collect();
            (truncated, sizes)
        };
        assert_eq!(sizes(vec![subset(600, 400)]), (false, vec![(600, 400)]));
        assert_eq!(sizes(vec![subset(600, 500)]), (true, vec![(600, 400)]));
        assert_eq!(sizes(vec![subset(900, 300), subset(900, 300)]), (true, vec![(500, 0), (500, 0)]));
        assert_eq!(sizes(vec![subset(400, 300), subset(400, 100)]), (true, vec![(400, 150), (400, 50)]));
        assert_eq!(sizes(vec![subset(400, 301), subset(400, 100)]), (true, vec![(400, 151), (400, 49)]));
    }
}
