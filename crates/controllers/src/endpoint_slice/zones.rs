//! Which zone's clients each endpoint serves, so that every zone has its share: as much of the endpoints as it has of the
//! cluster's CPUs. Where no zone can be kept within a fifth of that, there are no hints, and the service is told why.

use std::collections::{BTreeMap, HashMap};

use client::objects::{
    EndpointSlice, Node,
    requests::amount,
    service::{Endpoint, Hints, Named},
};

use crate::backing;

/// How much more than its share an endpoint may have to bear.
const OVERLOAD: f64 = 0.2;

/// Of the CPUs that nodes have for pods, the part that is in each zone. None where that cannot be told.
pub type Shares = Option<BTreeMap<Box<str>, f64>>;

/// The zones at which endpoints hint now, by their first address.
pub struct Known(HashMap<Box<str>, Box<str>>);

/// What the service is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Enabled,
    Disabled(String),
}

impl Known {
    pub fn of<'s>(slices: impl Iterator<Item = &'s EndpointSlice>) -> Self {
        let zones = slices.flat_map(|slice| &slice.endpoints).filter_map(|endpoint| {
            let [zone] = &endpoint.hints.as_ref()?.for_zones[..] else { return None };
            Some((endpoint.addresses.first()?.clone(), zone.name.clone()))
        });
        Self(zones.collect())
    }

    fn zone_of(&self, endpoint: &Endpoint) -> Option<&str> {
        self.0.get(endpoint.addresses.first()?).map(|zone| &**zone)
    }
}

/// Nodes of the control plane, and those that are not ready, do not count.
pub fn shares<'n>(nodes: impl Iterator<Item = &'n Node>) -> Shares {
    let mut by_zone: BTreeMap<Box<str>, i64> = BTreeMap::new();
    for node in nodes.filter(|node| counts(node)) {
        let cpus = cpus(node);
        let zone = backing::zone(node).filter(|_| cpus > 0)?;
        *by_zone.entry(zone.into()).or_default() += cpus;
    }
    let total: i64 = by_zone.values().sum();
    #[allow(clippy::cast_precision_loss, reason = "thousandths of CPUs: shares need no more than 53 bits of them")]
    let share = |cpus: i64| cpus as f64 / total as f64;
    (by_zone.len() >= 2).then(|| by_zone.into_iter().map(|(zone, cpus)| (zone, share(cpus))).collect())
}

/// Whether what a node says of itself leads to other shares.
pub fn differ(old: Option<&Node>, new: Option<&Node>) -> bool {
    let of = |node: &Node| (backing::zone(node).map(Box::<str>::from), cpus(node));
    let share = |node: Option<&Node>| node.filter(|node| counts(node)).map(of);
    share(old) != share(new)
}

fn counts(node: &Node) -> bool {
    let has = |label| node.metadata.labels.get(label).is_some();
    let is_ready = node.condition("Ready").is_some_and(|ready| *ready.status == *"True");
    is_ready && !has("node-role.kubernetes.io/control-plane") && !has("node-role.kubernetes.io/master")
}

fn cpus(node: &Node) -> i64 {
    node.status.allocatable.get("cpu").map_or(0, |written| amount("cpu", written))
}

/// How many of the endpoints a zone is to have.
#[derive(Debug, Clone, Copy)]
struct Quota {
    least: usize,
    most: usize,
    wanted: f64,
}

/// Gives endpoints that are ready a zone each. Those that have one keep it as long as all zones have what they need.
pub fn give(endpoints: &mut [&mut Endpoint], known: &Known, shares: &Shares) -> Option<Told> {
    let quotas = match quotas(endpoints, shares) {
        Ok(quotas) => quotas,
        Err(why) => return Some(Told::Disabled(why)),
    };
    let had: Vec<Option<&str>> = endpoints.iter().map(|endpoint| known.zone_of(endpoint)).collect();
    let zones: Vec<Box<str>> = match kept(&had, &quotas) {
        Some(kept) => kept,
        None => spread(endpoints, &had, &quotas),
    };
    for (endpoint, zone) in endpoints.iter_mut().zip(zones) {
        endpoint.hints = Some(Hints { for_zones: vec![Named { name: zone }], for_nodes: Vec::new() });
    }
    known.0.is_empty().then_some(Told::Enabled)
}

type Quotas<'s> = BTreeMap<&'s str, Quota>;

fn quotas<'s>(endpoints: &[&mut Endpoint], shares: &'s Shares) -> Result<Quotas<'s>, String> {
    let Some(shares) = shares else {
        let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(why.to_owned());
    };
    let (count, zones) = (endpoints.len(), shares.len());
    if zones > count {
        return Err(format!("Insufficient number of endpoints ({count} endpoints, {zones} zones)"));
    }
    let mut quotas: Quotas<'s> = BTreeMap::new();
    for (zone, share) in shares {
        #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 endpoints")]
        let exactly = share * count as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the count")]
        let least = (exactly / (1.0 + OVERLOAD)).ceil() as usize;
        #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 endpoints")]
        let wanted = exactly.max(least as f64);
        quotas.insert(zone, Quota { least, most: least, wanted });
    }
    let least: usize = quotas.values().map(|quota| quota.least).sum();
    let Some(left) = count.checked_sub(least) else {
        let why = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
        return Err(format!("{why} ({count} endpoints, {zones} zones)"));
    };
    quotas.values_mut().for_each(|quota| quota.most += left);
    if endpoints.iter().any(|endpoint| endpoint.zone.is_none()) {
        return Err("One or more endpoints do not have a zone specified".to_owned());
    }
    Ok(quotas)
}

/// The zones that endpoints have, if each has one and no zone has too few or too many.
fn kept(had: &[Option<&str>], quotas: &Quotas<'_>) -> Option<Vec<Box<str>>> {
    let mut counts: BTreeMap<&str, usize> = quotas.keys().map(|zone| (*zone, 0)).collect();
    for zone in had {
        *counts.get_mut((*zone)?)? += 1;
    }
    let fits = |(zone, count): (&&str, &usize)| (quotas[zone].least..=quotas[zone].most).contains(count);
    counts.iter().all(fits).then(|| had.iter().flatten().map(|zone| (*zone).into()).collect())
}

/// Every endpoint its own zone; then those with more than their share give to those with less.
fn spread(endpoints: &[&mut Endpoint], had: &[Option<&str>], quotas: &Quotas<'_>) -> Vec<Box<str>> {
    let mut zones: Vec<Box<str>> = endpoints.iter().map(|endpoint| endpoint.zone.clone().unwrap_or_default()).collect();
    for (from, to) in transfers(&zones, quotas) {
        let own = |at: &usize| *zones[*at] == *from;
        // One that served that zone already goes on doing so.
        let giving = (0..zones.len()).filter(own).min_by_key(|at| had[*at] != Some(to));
        if let Some(at) = giving {
            zones[at] = to.into();
        }
    }
    zones
}

/// Which zone gives an endpoint to which: at each time who has most too many to who has most too few, as long as that
/// brings both nearer to what they want.
fn transfers<'q>(zones: &[Box<str>], quotas: &Quotas<'q>) -> Vec<(&'q str, &'q str)> {
    let mut surplus: BTreeMap<&str, f64> = quotas.iter().map(|(zone, quota)| (*zone, -quota.wanted)).collect();
    for zone in zones {
        if let Some(surplus) = surplus.get_mut(&**zone) {
            *surplus += 1.0;
        }
    }
    let mut transfers = Vec::new();
    loop {
        let most = |sign: f64| {
            surplus
                .iter()
                .map(|(zone, surplus)| (*zone, sign * surplus))
                .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)))
        };
        let (Some((from, too_many)), Some((to, too_few))) = (most(1.0), most(-1.0)) else { return transfers };
        if too_many < 0.5 || too_few < 0.5 || (too_many < 1.0 && too_few < 1.0) {
            return transfers;
        }
        transfers.push((from, to));
        surplus.insert(from, too_many - 1.0);
        surplus.insert(to, 1.0 - too_few);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(of: &[(&str, f64)]) -> Shares {
        Some(of.iter().map(|(zone, share)| ((*zone).into(), *share)).collect())
    }

    /// How many endpoints each zone gets of those that are in these zones, or why there are no hints.
    fn given(endpoints: &[(&str, usize)], shares: &Shares) -> Result<Vec<(String, usize)>, String> {
        let zones = endpoints.iter().flat_map(|(zone, count)| std::iter::repeat_n(*zone, *count));
        let mut endpoints: Vec<Endpoint> = zones
            .enumerate()
            .map(|(at, zone)| Endpoint {
                addresses: vec![format!("10.0.0.{at}").into()],
                zone: (!zone.is_empty()).then(|| zone.into()),
                ..Endpoint::default()
            })
            .collect();
        let nothing = Known(HashMap::new());
        if let Some(Told::Disabled(why)) = give(&mut endpoints.iter_mut().collect::<Vec<_>>(), &nothing, shares) {
            return Err(why);
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for endpoint in &endpoints {
            *counts.entry(endpoint.hints.as_ref().unwrap().for_zones[0].name.to_string()).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    #[test]
    fn zones_get_endpoints_by_their_cpus() {
        let even = shares(&[("a", 1.0 / 3.0), ("b", 1.0 / 3.0), ("c", 1.0 / 3.0)]);
        let uneven = shares(&[("a", 0.5), ("b", 0.25), ("c", 0.25)]);
        let counts = |counts: &[(&str, usize)]| -> Vec<(String, usize)> {
            counts.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect()
        };
        let all = |a, b, c| Ok(counts(&[("a", a), ("b", b), ("c", c)]));
        assert_eq!(given(&[("a", 2), ("b", 2), ("c", 2)], &even), all(2, 2, 2));
        assert_eq!(given(&[("a", 6)], &even), all(2, 2, 2));
        assert_eq!(given(&[("a", 6), ("b", 3)], &even), all(3, 3, 3));
        assert_eq!(given(&[("a", 4), ("b", 4)], &uneven), all(4, 2, 2));
        assert_eq!(given(&[("a", 3), ("b", 3), ("c", 4)], &even), all(3, 3, 4));
        assert_eq!(
            given(&[("a", 2)], &even),
            Err("Insufficient number of endpoints (2 endpoints, 3 zones)".to_owned())
        );
        let lopsided = shares(&[("a", 0.9), ("b", 0.1)]);
        assert_eq!(
            given(&[("a", 2), ("b", 1)], &lopsided),
            Err("Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (3 \
                 endpoints, 2 zones)"
                .to_owned())
        );
    }
}
