//! The cluster as placement sees it: hosts with what they have and hold, domains, and counts of pods by what rules look at.
//! Kept up pod by pod and node by node.
//!
//! Not here: any decision.

mod counting;
mod hosts;
mod kinds;

use std::{collections::HashMap, sync::Arc};

use api::selector::LabelSelector;
use client::{
    Key,
    objects::{Labels, Node, Pod},
};
pub use counting::{Eligibility, Sort, TallyId, TallyKey, Who};
pub use hosts::{HostState, Nominated, Placed};
pub use kinds::{Carried, Kind, KindId, TermId, Wish};
use placement::{Amounts, Dimension, Host, Topology};

use counting::Counting;
use kinds::Kinds;

/// A topology with more domains than this is looked at host by host rather than domain by domain.
const COARSE: usize = 64;

pub const CPU: Dimension = 0;
pub const MEMORY: Dimension = 1;
pub const PODS: Dimension = 3;

#[derive(Default)]
pub struct Cluster {
    pub hosts: Vec<HostState>,
    by_name: HashMap<Box<str>, Host>,
    /// Hosts that are neither nodes nor have pods, for new ones.
    free: Vec<Host>,
    /// Hosts whose node is known.
    pub nodes: usize,
    pub resources: Resources,
    topologies: Vec<Topology>,
    keys: Vec<Box<str>>,
    pub kinds: Kinds,
    tallies: Vec<Counting>,
    tally_index: HashMap<TallyKey, TallyId>,
    terms: Vec<Carried>,
    namespaces: HashMap<Box<str>, Labels>,
    /// What makers of pods select, by kind, namespace and name: those pods are spread where they do not say how.
    makers: HashMap<Box<str>, LabelSelector>,
    services: HashMap<Box<str>, HashMap<Box<str>, LabelSelector>>,
    /// On how many nodes an image lies.
    images: HashMap<Box<str>, u32>,
    /// How many placed pods use a claim.
    claims: HashMap<Key, usize>,
    pub log: ChangeLog,
    /// Counts up when what is compiled for pods must be compiled anew.
    pub epoch: u64,
    /// Counts up when all counts were made anew: numbers of tallies from before mean nothing now.
    pub recounts: u64,
    /// Counts up when a topology becomes too fine, or coarse again.
    pub granularity: u64,
}

/// The hosts that changed, in order.
#[derive(Default)]
pub struct ChangeLog {
    start: u64,
    hosts: Vec<Host>,
}

impl ChangeLog {
    pub fn end(&self) -> u64 {
        self.start + self.hosts.len() as u64
    }

    /// What changed since then; none where that is no longer known.
    pub fn since(&self, position: u64) -> Option<&[Host]> {
        self.hosts.get(usize::try_from(position.checked_sub(self.start)?).ok()?..)
    }

    fn push(&mut self, host: Host, known: usize) {
        if self.hosts.len() > 4 * known + 1024 {
            self.start = self.end();
            self.hosts.clear();
        }
        self.hosts.push(host);
    }
}

/// The numbers of resources.
pub struct Resources {
    names: Vec<Box<str>>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { names: ["cpu", "memory", "ephemeral-storage", "pods"].map(Box::from).into() }
    }
}

impl Resources {
    pub fn name(&self, dimension: Dimension) -> &str {
        self.names.get(usize::from(dimension)).map_or("", |name| name)
    }

    pub fn number(&mut self, name: &str) -> Dimension {
        let at = self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        // Past that many kinds of resources the last ones are taken for one.
        Dimension::try_from(at).unwrap_or(Dimension::MAX)
    }

    pub fn amounts<'a>(&mut self, amounts: impl Iterator<Item = (&'a str, i64)>) -> Amounts {
        amounts.map(|(name, amount)| (self.number(name), amount)).collect()
    }
}

impl Cluster {
    pub fn host(&self, name: &str) -> Option<Host> {
        self.by_name.get(name).copied()
    }

    pub fn host_state(&self, host: Host) -> &HostState {
        &self.hosts[host as usize]
    }

    /// The hosts whose node is known.
    pub fn live(&self) -> impl Iterator<Item = (Host, &HostState, &Arc<Node>)> {
        let numbered = self.hosts.iter().enumerate();
        numbered.filter_map(|(index, state)| state.node.as_ref().map(|node| (index as Host, state, node)))
    }

    /// The number of the topology of this label.
    pub fn topology(&mut self, key: &str) -> usize {
        if let Some(known) = self.keys.iter().position(|known| **known == *key) {
            return known;
        }
        let mut topology = Topology::default();
        for (host, _, node) in self.live() {
            topology.place(host, node.metadata.labels.get(key));
        }
        self.keys.push(key.into());
        self.topologies.push(topology);
        self.topologies.len() - 1
    }

    pub fn topology_of(&self, number: usize) -> &Topology {
        &self.topologies[number]
    }

    pub fn topology_key(&self, number: usize) -> &str {
        &self.keys[number]
    }

    pub fn is_fine(&self, topology: usize) -> bool {
        self.topologies[topology].len() > COARSE
    }

    pub fn namespace_labels(&self, namespace: &str) -> Option<&Labels> {
        self.namespaces.get(namespace)
    }

    /// On how many nodes the image lies.
    pub fn spread_of_image(&self, image: &str) -> u32 {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// How many placed pods use the claim.
    pub fn users_of(&self, claim: &Key) -> usize {
        self.claims.get(claim).copied().unwrap_or(0)
    }

    pub fn touch(&mut self, host: Host) {
        self.log.push(host, self.hosts.len());
    }

    /// A namespace with these labels, or none of that name any more.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.into(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        if self.tallies.iter().any(|counting| counting.looks_at_namespaces())
            || self.terms.iter().any(|term| term.who.namespace_selector.is_some())
        {
            self.count_anew();
        }
    }

    /// What the maker of pods selects, by `<kind>/<namespace>/<name>`.
    pub fn set_maker(&mut self, name: &str, selector: Option<LabelSelector>) {
        if self.makers.get(name) == selector.as_ref() {
            return;
        }
        match selector {
            Some(selector) => drop(self.makers.insert(name.into(), selector)),
            None => drop(self.makers.remove(name)),
        }
        self.epoch += 1;
    }

    pub fn set_service(&mut self, key: &Key, selector: Option<LabelSelector>) {
        let services = self.services.entry(key.namespace().into()).or_default();
        if services.get(key.name()) == selector.as_ref() {
            return;
        }
        match selector {
            Some(selector) => drop(services.insert(key.name().into(), selector)),
            None => drop(services.remove(key.name())),
        }
        self.epoch += 1;
    }

    /// What the pod's services and its maker select, together: nothing where there are none.
    pub fn default_selector(&self, kind: &Kind) -> LabelSelector {
        let mut requirements = Vec::new();
        for selector in self.services.get(&kind.namespace).into_iter().flat_map(HashMap::values) {
            if kind.labels.are_matched_by(selector) {
                requirements.extend_from_slice(selector.requirements());
            }
        }
        if let Some(selector) = kind.maker.as_ref().and_then(|maker| self.makers.get(maker)) {
            requirements.extend_from_slice(selector.requirements());
        }
        if requirements.is_empty() { LabelSelector::nothing() } else { LabelSelector::of(requirements) }
    }
}

/// The maker of a pod whose selector spreads it, if it has one: `<kind>/<namespace>/<name>`.
fn maker(pod: &Pod) -> Option<Box<str>> {
    let owner = pod.metadata.controller()?;
    matches!(&*owner.kind, "ReplicaSet" | "StatefulSet" | "ReplicationController")
        .then(|| format!("{}/{}/{}", owner.kind, pod.metadata.namespace, owner.name).into())
}
