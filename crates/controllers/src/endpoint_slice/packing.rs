//! Which slice an endpoint stands in. Every change of a slice goes to every node, so few are changed, even where that
//! leaves some half empty: an endpoint stays where it is; what is new goes where something changes anyway; only what is
//! left over opens another slice, or a new one.

use std::{collections::HashMap, sync::Arc};

use client::objects::{
    EndpointSlice, Labels,
    service::{Endpoint, EndpointPort, Family},
};
use jiff::Timestamp;

use super::Group;

/// As many as kube-controller-manager puts into a slice by default.
const FULL: usize = 100;

/// What is to become of one slice.
pub enum Packed {
    Written {
        known: Option<Arc<EndpointSlice>>,
        family: Family,
        ports: Vec<EndpointPort>,
        endpoints: Vec<Endpoint>,
    },
    Surplus(Arc<EndpointSlice>),
    /// Stays as it is.
    Kept,
}

/// What the slices of one set of ports have alike.
pub struct Slot<'a> {
    pub ports: Vec<EndpointPort>,
    pub family: Family,
    pub labels: &'a Labels,
}

/// A slice with the endpoints it is to have.
struct Filling {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// By what an endpoint is recognized when something else about it changes.
#[derive(PartialEq, Eq, Hash)]
struct Identity<'e> {
    addresses: &'e [Box<str>],
    hostname: Option<&'e str>,
    namespace: &'e str,
    name: &'e str,
}

fn identity(endpoint: &Endpoint) -> Identity<'_> {
    let target = endpoint.target_ref.as_ref();
    Identity {
        addresses: &endpoint.addresses,
        hostname: endpoint.hostname.as_deref(),
        namespace: target.map_or("", |target| &target.namespace),
        name: target.map_or("", |target| &target.name),
    }
}

pub fn pack(
    slot: &Slot<'_>,
    existing: Vec<Arc<EndpointSlice>>,
    wanted: Group,
    turned: &mut Vec<Timestamp>,
) -> Vec<Packed> {
    let (mut fillings, mut left) = stay(slot, existing, wanted, turned);
    // The fullest first: so some slices become full, and others empty.
    fillings.sort_by_key(|filling| std::cmp::Reverse(filling.endpoints.len()));
    for filling in fillings.iter_mut().filter(|filling| filling.changed && !filling.endpoints.is_empty()) {
        let room = FULL.saturating_sub(filling.endpoints.len()).min(left.len());
        filling.endpoints.extend(left.drain(..room));
    }
    let mut new = Vec::new();
    while !left.is_empty() {
        // A rest goes where it just fits.
        let fits = |filling: &&mut Filling| !filling.changed && filling.endpoints.len() + left.len() <= FULL;
        let open = fillings.iter_mut().filter(fits).max_by_key(|filling| filling.endpoints.len());
        match open.filter(|_| left.len() < FULL) {
            Some(filling) => {
                filling.changed = true;
                filling.endpoints.append(&mut left);
            }
            None => new.push(left.drain(..FULL.min(left.len())).collect::<Vec<_>>()),
        }
    }
    let written =
        |known, endpoints| Packed::Written { known, family: slot.family, ports: slot.ports.clone(), endpoints };
    let known = fillings.into_iter().map(|Filling { slice, endpoints, changed }| match changed {
        false => Packed::Kept,
        true if endpoints.is_empty() => Packed::Surplus(slice),
        true => written(Some(slice), endpoints),
    });
    let known: Vec<Packed> = known.collect();
    known.into_iter().chain(new.into_iter().map(|endpoints| written(None, endpoints))).collect()
}

/// Each slice with those of its endpoints that are still wanted, and what is in none.
fn stay(
    slot: &Slot<'_>,
    existing: Vec<Arc<EndpointSlice>>,
    wanted: Group,
    turned: &mut Vec<Timestamp>,
) -> (Vec<Filling>, Vec<Endpoint>) {
    let mut wanted: Vec<Option<(Endpoint, Option<Timestamp>)>> = wanted.into_iter().map(Some).collect();
    // Of a slice the endpoints that are wanted, and as which of them: slice, place in it, place among the wanted.
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    {
        let at: HashMap<Identity<'_>, usize> =
            wanted.iter().enumerate().filter_map(|(at, wanted)| Some((identity(&wanted.as_ref()?.0), at))).collect();
        for (of, slice) in existing.iter().enumerate() {
            let endpoints = slice.endpoints.iter().enumerate();
            places.extend(endpoints.filter_map(|(place, known)| Some((of, place, *at.get(&identity(known))?))));
        }
    }
    let mut fillings: Vec<Filling> = existing
        .into_iter()
        .map(|slice| Filling { endpoints: Vec::new(), changed: slice.metadata.labels != *slot.labels, slice })
        .collect();
    for (of, place, at) in places {
        // What stands in two slices stays in the first.
        let Some((endpoint, time)) = wanted[at].take() else { continue };
        let filling = &mut fillings[of];
        if filling.slice.endpoints[place].conditions.serving != endpoint.conditions.serving {
            turned.extend(time);
        }
        filling.endpoints.push(endpoint);
    }
    for filling in &mut fillings {
        filling.changed |= filling.endpoints != filling.slice.endpoints;
    }
    let new = wanted.into_iter().flatten().map(|(endpoint, time)| {
        turned.extend(time);
        endpoint
    });
    let new = new.collect();
    (fillings, new)
}

/// Writes what is new into slices that would go, where they may be used again.
pub fn reuse(packed: &mut [Packed], may_be_used: impl Fn(&EndpointSlice) -> bool) {
    while let Some(new) = packed.iter().position(|change| matches!(change, Packed::Written { known: None, .. }))
        && let Some(old) =
            packed.iter().position(|change| matches!(change, Packed::Surplus(slice) if may_be_used(slice)))
    {
        let free = std::mem::replace(&mut packed[old], Packed::Kept);
        if let (Packed::Written { known, .. }, Packed::Surplus(slice)) = (&mut packed[new], free) {
            *known = Some(slice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints by numbers, as pods of a service have them.
    fn endpoints(numbers: impl Iterator<Item = usize>) -> Vec<Endpoint> {
        let endpoint = |number: usize| Endpoint {
            addresses: vec![format!("10.1.{}.{}", number / 256, number % 256).into()],
            ..Endpoint::default()
        };
        numbers.map(endpoint).collect()
    }

    fn slice(name: &str, endpoints: Vec<Endpoint>) -> Arc<EndpointSlice> {
        let mut slice = EndpointSlice { endpoints, ..EndpointSlice::default() };
        slice.metadata.name = name.into();
        Arc::new(slice)
    }

    /// What is written: the name of the slice, empty for a new one, and how many endpoints it has; none where it goes.
    fn packed(existing: Vec<Arc<EndpointSlice>>, wanted: Vec<Endpoint>) -> Vec<(String, Option<usize>)> {
        let labels = Labels::default();
        let slot = Slot { ports: Vec::new(), family: Family::V4, labels: &labels };
        let wanted = wanted.into_iter().map(|endpoint| (endpoint, None)).collect();
        let shown = |change: Packed| match change {
            Packed::Written { known, endpoints, .. } => {
                let name = known.map_or(String::new(), |slice| slice.metadata.name.to_string());
                Some((name, Some(endpoints.len())))
            }
            Packed::Surplus(slice) => Some((slice.metadata.name.to_string(), None)),
            Packed::Kept => None,
        };
        pack(&slot, existing, wanted, &mut Vec::new()).into_iter().filter_map(shown).collect()
    }

    #[test]
    fn a_slice_holds_a_hundred_and_few_slices_change() {
        let named = |name: &str, count| (name.to_owned(), count);
        let new = |count| named("", Some(count));
        let (full, half) = (|| slice("full", endpoints(0..100)), || slice("half", endpoints(100..150)));
        let fewer = || slice("fewer", endpoints(200..230));
        assert_eq!(packed(vec![], endpoints(0..250)), [new(100), new(100), new(50)]);
        assert_eq!(packed(vec![full(), half()], endpoints(0..150)), []);
        // One more goes into the fullest slice that has room for it.
        let more = || endpoints((0..151).chain(200..230));
        assert_eq!(packed(vec![full(), half(), fewer()], more()), [named("half", Some(51))]);
        // What fits in no slice that there is opens a new one, and leaves the others as they are.
        assert_eq!(packed(vec![full(), half()], endpoints(0..210)), [new(60)]);
        // What changes anyway is filled first, even where that leaves another half empty.
        let moved = endpoints((1..150).chain(300..302));
        assert_eq!(packed(vec![full(), half()], moved), [named("full", Some(100)), named("half", Some(51))]);
        assert_eq!(packed(vec![full(), half()], endpoints(0..100)), [named("half", None)]);
        // A rest of less than a slice goes where it fits, the whole slices before it are new.
        assert_eq!(packed(vec![half()], endpoints(100..290)), [named("half", Some(90)), new(100)]);
    }
}
