//! Gives each node a range of addresses for its pods, out of the cluster's: `spec.podCIDRs`, one for each range of the cluster.
//!
//! Ranges are given by turns, so that the one of a node that went is not used again at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Node, Object},
    requests::Patch,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition},
};

/// A range of the cluster's addresses, and how large a part of it a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    first: u128,
    /// 32 or 128.
    bits: u8,
    /// Of the whole.
    prefix: u8,
    /// Of a part.
    part: u8,
}

/// A range may have so many parts, as a power of two.
const MOST_PARTS: u8 = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("must be an address and a prefix length, as 10.244.0.0/16")]
    Unreadable,
    #[error(
        "the prefix length of a node's part, {part}, must be at least the range's, {prefix}, and at most {MOST_PARTS} more"
    )]
    Part { prefix: u8, part: u8 },
}

impl Range {
    /// A range (`10.244.0.0/16`) with parts of that prefix length: where it is not said, /24 of IPv4 and /64 of IPv6.
    pub fn new(cidr: &str, part: Option<u8>) -> Result<Self, RangeError> {
        let (first, bits, prefix) = parse(cidr).ok_or(RangeError::Unreadable)?;
        let usual = if bits == 32 { 24 } else { 64 };
        let part = part.unwrap_or_else(|| usual.max(prefix));
        if part < prefix || part > bits || part - prefix > MOST_PARTS {
            return Err(RangeError::Part { prefix, part });
        }
        Ok(Self { first, bits, prefix, part })
    }

    /// `10.244.0.0/16`, parts of /24; as kubeadm and flannel have it.
    pub fn usual() -> Self {
        Self { first: 0x0af4_0000, bits: 32, prefix: 16, part: 24 }
    }

    pub fn is_of_ipv6(&self) -> bool {
        self.bits == 128
    }

    /// Whether the two ranges have an address in common.
    pub fn meets(&self, cidr: &str) -> bool {
        !self.touched_by(cidr).is_empty()
    }

    fn parts(&self) -> u32 {
        1 << (self.part - self.prefix)
    }

    fn part(&self, number: u32) -> String {
        let address = self.first + (u128::from(number) << (self.bits - self.part));
        format!("{}/{}", self.address(address), self.part)
    }

    fn address(&self, number: u128) -> IpAddr {
        match u32::try_from(number) {
            Ok(short) if self.bits == 32 => IpAddr::V4(short.into()),
            _ => IpAddr::V6(number.into()),
        }
    }

    /// The parts that a range given to a node touches.
    fn touched_by(&self, given: &str) -> std::ops::Range<u32> {
        let Some((first, bits, prefix)) = parse(given).filter(|(_, bits, _)| *bits == self.bits) else { return 0..0 };
        let size = |prefix: u8| 1_u128.checked_shl(u32::from(bits - prefix)).unwrap_or(u128::MAX);
        let (last, own_last) =
            (first.saturating_add(size(prefix) - 1), self.first.saturating_add(size(self.prefix) - 1));
        if last < self.first || first > own_last {
            return 0..0;
        }
        let number = |address: u128| u32::try_from((address - self.first) >> (bits - self.part)).unwrap_or(u32::MAX);
        number(first.max(self.first))..number(last.min(own_last)).saturating_add(1)
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        Self::new(text, None)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} by /{}", self.address(self.first), self.prefix, self.part)
    }
}

/// The first address, the length of addresses, and the prefix.
fn parse(text: &str) -> Option<(u128, u8, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, bits) = match address.parse().ok()? {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= bits)?;
    let host = bits - prefix;
    let first = if host == 128 { 0 } else { address >> host << host };
    Some((first, bits, prefix))
}

pub struct NodeRanges(Mutex<Memory>);

struct Memory {
    ranges: Vec<Given>,
    /// What nodes have, or are about to have.
    of_nodes: BTreeMap<Key, Vec<Box<str>>>,
    /// Nodes for which there was nothing left.
    waiting: BTreeSet<Key>,
}

/// A range, and which of its parts are given, and to how many.
struct Given {
    range: Range,
    parts: BTreeMap<u32, usize>,
    next: u32,
}

impl NodeRanges {
    /// Of each of these ranges every node gets a part.
    pub fn new(ranges: Vec<Range>) -> Self {
        let ranges = ranges.into_iter().map(|range| Given { range, parts: BTreeMap::new(), next: 0 }).collect();
        Self(Mutex::new(Memory { ranges, of_nodes: BTreeMap::new(), waiting: BTreeSet::new() }))
    }
}

impl Controller for NodeRanges {
    fn name(&self) -> &'static str {
        "cidrAllocator"
    }

    fn queue(&self) -> &'static str {
        "cidrallocator_node"
    }

    fn account(&self) -> &'static str {
        "node-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Node]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let Changes::Node(changes) = changes else { return };
        // Locked until all are seen: nothing is given before it is known what is taken.
        let mut memory = self.0.lock();
        for change in changes {
            match &change.new {
                Some(node) if !node.spec.pod_cidrs.is_empty() => memory.note(&change.key, node.spec.pod_cidrs.clone()),
                Some(_) => add(change.key.clone()),
                None => {
                    memory.free(&change.key);
                    memory.waiting.remove(&change.key);
                    std::mem::take(&mut memory.waiting).into_iter().for_each(&mut *add);
                }
            }
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = caches.nodes.get(key) else { return plan };
        if node.metadata.is_being_deleted() || !node.spec.pod_cidrs.is_empty() {
            return plan;
        }
        let mut memory = self.0.lock();
        match memory.give(key) {
            Some(ranges) => {
                let patch = json!({"metadata": precondition(&node.metadata), "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges}});
                let (kind, key, form) = (Node::KIND, key.clone(), Patch::Merge);
                plan.then(vec![Action::Patch { kind, key, subresource: "", form, patch }]);
            }
            None => {
                if memory.waiting.insert(key.clone()) {
                    let message = format!("Node {key} status is now: CIDRNotAvailable");
                    plan.then(vec![Action::Event(Event::normal(&Reference::to(&*node), "CIDRNotAvailable", message))]);
                }
            }
        }
        plan
    }
}

impl Memory {
    /// What a node is to have: the same each time it is asked for.
    fn give(&mut self, node: &Key) -> Option<Vec<Box<str>>> {
        if let Some(given) = self.of_nodes.get(node) {
            return Some(given.clone());
        }
        let mut parts = Vec::with_capacity(self.ranges.len());
        for given in &mut self.ranges {
            let number = given.find()?;
            parts.push(given.range.part(number).into());
        }
        self.note(node, parts.clone());
        Some(parts)
    }

    fn note(&mut self, node: &Key, parts: Vec<Box<str>>) {
        if self.of_nodes.get(node) == Some(&parts) {
            return;
        }
        self.free(node);
        self.waiting.remove(node);
        for (given, part) in self.ranges.iter_mut().zip(&parts) {
            for number in given.range.touched_by(part) {
                *given.parts.entry(number).or_default() += 1;
            }
        }
        self.of_nodes.insert(node.clone(), parts);
    }

    fn free(&mut self, node: &Key) {
        let parts = self.of_nodes.remove(node).unwrap_or_default();
        for (given, part) in self.ranges.iter_mut().zip(&parts) {
            for number in given.range.touched_by(part) {
                if let Some(count) = given.parts.get_mut(&number) {
                    *count -= 1;
                    if *count == 0 {
                        given.parts.remove(&number);
                    }
                }
            }
        }
    }
}

impl Given {
    /// The next part that nobody has.
    fn find(&mut self) -> Option<u32> {
        let all = self.range.parts();
        if self.parts.len() >= all as usize {
            return None;
        }
        let from_next = (0..all).map(|step| (self.next + step) % all);
        let found = from_next.into_iter().find(|number| !self.parts.contains_key(number))?;
        self.next = (found + 1) % all;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_has_its_parts() {
        assert_eq!(range("10.244.0.0/16"), Range::usual());
        assert_eq!(Range::usual().parts(), 256);
        assert_eq!(
            (Range::usual().part(0), Range::usual().part(255)),
            ("10.244.0.0/24".into(), "10.244.255.0/24".into())
        );
        let six = range("fd00:10:244::/56");
        assert_eq!((six.parts(), six.part(1)), (256, "fd00:10:244:1::/64".into()));
        assert_eq!(range("10.1.2.3/26").part(0), "10.1.2.0/26");
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "10.0.0.0/7"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
        assert_eq!(Range::new("10.244.0.0/16", Some(8)), Err(RangeError::Part { prefix: 16, part: 8 }));
    }

    #[test]
    fn what_a_node_has_may_touch_several_parts_or_none() {
        let usual = Range::usual();
        for (given, parts) in [
            ("10.244.3.0/24", 3..4),
            ("10.244.2.0/23", 2..4),
            ("10.244.3.128/25", 3..4),
            ("10.0.0.0/8", 0..256),
            ("10.245.0.0/24", 0..0),
            ("fd00::/64", 0..0),
            ("nonsense", 0..0),
        ] {
            assert_eq!(usual.touched_by(given), parts, "{given}");
        }
    }
}
