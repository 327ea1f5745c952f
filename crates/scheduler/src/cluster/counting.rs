//! Counts of pods by domain: of those a selector is about, and of those that carry a wish about others.

use api::selector::LabelSelector;
use client::objects::{Labels, Node, node::Toleration, node_selector::NodeSelector, shape::AffinityTerm};
use placement::{Domain, Host, Tally};

use super::{
    Carried, Cluster, KindId, Nominated, TermId,
    kinds::{Kind, Wish},
};

pub type TallyId = usize;

/// What makes two counts the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TallyKey {
    pub topology: usize,
    pub sort: Sort,
    /// Which hosts take part; all that are in a domain where nothing is said.
    pub eligible: Option<Eligibility>,
}

/// Which pods are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sort {
    /// Those that all of these are about, without those on their way out if so asked.
    Matching {
        all: Box<[Who]>,
        staying: bool,
    },
    Carrying(TermId),
}

/// Pods of some namespaces with some labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Who {
    pub namespaces: Box<[Box<str>]>,
    pub namespace_selector: Option<LabelSelector>,
    pub selector: LabelSelector,
}

/// Hosts that take part in a count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Eligibility {
    /// Labels they must have.
    pub keys: Box<[Box<str>]>,
    /// What the pod itself asks of them.
    pub affinity: Option<(Labels, Option<NodeSelector>)>,
    /// What the pod itself bears of them.
    pub tolerations: Option<Box<[Toleration]>>,
}

pub(super) struct Counting {
    key: TallyKey,
    tally: Tally,
    /// By host, where not all take part.
    takes_part: Vec<bool>,
}

impl Who {
    /// A term's pods, seen from a pod in `namespace`.
    pub fn of(term: &AffinityTerm, namespace: &str) -> Self {
        let own = term.namespaces.is_empty() && term.namespace_selector.is_none();
        Self {
            namespaces: if own { [Box::from(namespace)].into() } else { term.namespaces.clone() },
            namespace_selector: term.namespace_selector.clone(),
            selector: term.selector.clone(),
        }
    }

    /// Whether pods of that namespace with these labels are meant.
    pub fn are(&self, cluster: &Cluster, namespace: &str, labels: &Labels) -> bool {
        let by_labels = |selector: &LabelSelector| {
            selector.is_everything()
                || cluster.namespace_labels(namespace).is_some_and(|labels| labels.are_matched_by(selector))
        };
        let namespace_matches = self.namespaces.iter().any(|named| **named == *namespace)
            || self.namespace_selector.as_ref().is_some_and(by_labels);
        namespace_matches && labels.are_matched_by(&self.selector)
    }
}

impl Eligibility {
    pub fn admits(&self, node: &Node) -> bool {
        self.keys.iter().all(|key| node.metadata.labels.get(key).is_some())
            && self
                .affinity
                .as_ref()
                .is_none_or(|(selector, required)| crate::filters::selects(selector, required.as_ref(), node))
            && self.tolerations.as_ref().is_none_or(|tolerations| {
                node.untolerated(tolerations, |taint| crate::filters::is_hard(taint.effect)).is_none()
            })
    }
}

impl Counting {
    pub(super) fn looks_at_namespaces(&self) -> bool {
        match &self.key.sort {
            Sort::Matching { all, .. } => all.iter().any(|who| who.namespace_selector.is_some()),
            Sort::Carrying(_) => false,
        }
    }

    fn counts_on(&self, host: Host) -> bool {
        self.key.eligible.is_none() || self.takes_part.get(host as usize).copied().unwrap_or(false)
    }
}

impl Cluster {
    /// The count of that key, kept up from now on.
    pub fn tally(&mut self, key: TallyKey) -> TallyId {
        if let Some(id) = self.tally_index.get(&key) {
            return *id;
        }
        let id = self.tallies.len();
        self.tally_index.insert(key.clone(), id);
        self.tallies.push(Counting { key, tally: Tally::default(), takes_part: Vec::new() });
        self.begin_counting(id);
        id
    }

    pub fn tally_of(&self, id: TallyId) -> &Tally {
        &self.tallies[id].tally
    }

    /// Whether pods of that namespace with these labels are, or carry, what is counted.
    pub fn is_counted(&self, id: TallyId, (namespace, labels): (&str, &Labels)) -> bool {
        match &self.tallies[id].key.sort {
            Sort::Matching { all, .. } => all.iter().all(|who| who.are(self, namespace, labels)),
            Sort::Carrying(_) => true,
        }
    }

    pub fn tally_topology(&self, id: TallyId) -> usize {
        self.tallies[id].key.topology
    }

    pub fn tallies(&self) -> usize {
        self.tallies.len()
    }

    /// The count in the host's domain; none where the host is in no domain.
    pub fn count_at(&self, id: TallyId, host: Host) -> Option<i64> {
        let counting = &self.tallies[id];
        let domain = self.topologies[counting.key.topology].domain(host)?;
        Some(counting.tally.count(domain))
    }

    /// What these promises on the host would add to the count in its domain.
    pub fn promised_at<'a>(&self, id: TallyId, host: Host, promised: impl Iterator<Item = &'a Nominated>) -> i64 {
        let counting = &self.tallies[id];
        if !counting.counts_on(host) || self.topologies[counting.key.topology].domain(host).is_none() {
            return 0;
        }
        let weights = promised.flat_map(|nominated| &self.kinds.get(nominated.kind).tallies);
        weights.filter(|(tally, _)| *tally == id).map(|(_, weight)| weight).sum()
    }

    /// The number of a wish that placed pods carry.
    pub(super) fn term(&mut self, who: Who, topology: usize, wish: Wish) -> TermId {
        let same = |term: &Carried| term.topology == topology && term.wish == wish && term.who == who;
        if let Some(id) = self.terms.iter().position(same) {
            return id;
        }
        let id = self.terms.len();
        let tally = self.tallies.len();
        self.terms.push(Carried { who, topology, wish, tally });
        self.tally(TallyKey { topology, sort: Sort::Carrying(id), eligible: None });
        id
    }

    /// Forgets all counts and what is compiled, to be found anew when it is asked for.
    pub fn count_anew(&mut self) {
        self.tallies.clear();
        self.tally_index.clear();
        self.terms.clear();
        self.epoch += 1;
        self.granularity += 1;
        self.recounts += 1;
        for kind in self.kinds.iter_mut() {
            kind.forget_counts();
        }
        let placed = self.hosts.iter().flat_map(|host| host.pods.iter().map(|placed| placed.kind));
        let promised = self.hosts.iter().flat_map(|host| host.nominated.iter().map(|nominated| nominated.kind));
        let mut placed: Vec<KindId> = placed.chain(promised).collect();
        placed.sort_unstable();
        placed.dedup();
        for kind in placed {
            self.make_wishes_known(kind);
        }
        // Terms that several kinds carry came up before some of those kinds said so.
        let (hosts, tallies) = (self.hosts.len() as Host, self.tallies.len());
        for id in 0..tallies {
            self.tallies[id].tally = Tally::default();
            self.begin_counting(id);
        }
        for host in 0..hosts {
            self.touch(host);
        }
    }

    fn begin_counting(&mut self, id: TallyId) {
        let matching: Vec<(KindId, i64)> = self
            .kinds
            .iter()
            .map(|(kind_id, kind)| (kind_id, self.weight(id, kind)))
            .filter(|(_, weight)| *weight != 0)
            .collect();
        let mut weights = vec![0; self.kinds.len()];
        for (kind, weight) in matching {
            weights[kind] = weight;
            let tallies = &mut self.kinds.get_mut(kind).tallies;
            tallies.retain(|(known, _)| *known != id);
            tallies.push((id, weight));
        }
        for host in 0..self.hosts.len() as Host {
            let Some(domain) = self.join(id, host) else { continue };
            let state = &self.hosts[host as usize];
            let count = state.pods.iter().map(|placed| weights[placed.kind]).sum::<i64>();
            if count != 0 {
                self.tallies[id].tally.add(domain, count);
            }
        }
    }

    /// By how much a pod of that kind is counted.
    fn weight(&self, id: TallyId, kind: &Kind) -> i64 {
        match &self.tallies[id].key.sort {
            Sort::Matching { staying: true, .. } if kind.ending => 0,
            Sort::Matching { all, .. } => i64::from(all.iter().all(|who| who.are(self, &kind.namespace, &kind.labels))),
            Sort::Carrying(term) => kind.carries.iter().filter(|carried| *carried == term).count() as i64,
        }
    }

    /// The tallies that count a kind that is new.
    pub(super) fn find_tallies(&mut self, id: KindId) {
        let kind = self.kinds.get(id);
        let tallies = (0..self.tallies.len()).map(|tally| (tally, self.weight(tally, kind)));
        let tallies = tallies.filter(|(_, weight)| *weight != 0).collect();
        self.kinds.get_mut(id).tallies = tallies;
    }

    /// Lets a host take part in a count, if it may; the domain in which it does.
    fn join(&mut self, id: TallyId, host: Host) -> Option<Domain> {
        let counting = &self.tallies[id];
        let node = self.hosts[host as usize].node.as_ref()?;
        let admitted = counting.key.eligible.as_ref().is_none_or(|eligible| eligible.admits(node));
        let domain = self.topologies[counting.key.topology].domain(host).filter(|_| admitted);
        let counting = &mut self.tallies[id];
        if counting.key.eligible.is_some() {
            let index = host as usize;
            if counting.takes_part.len() <= index {
                counting.takes_part.resize(index + 1, false);
            }
            counting.takes_part[index] = domain.is_some();
        }
        counting.tally.join(domain?);
        domain
    }

    /// Counts a pod of that kind on that host in, or out.
    pub(super) fn count(&mut self, kind: KindId, host: Host, sign: i64) {
        if self.hosts[host as usize].node.is_none() {
            return;
        }
        // Read by index: what is counted is not what says how.
        for at in 0..self.kinds.get(kind).tallies.len() {
            let (id, weight) = self.kinds.get(kind).tallies[at];
            let counting = &mut self.tallies[id];
            if !counting.counts_on(host) {
                continue;
            }
            let topology = counting.key.topology;
            let Some(domain) = self.topologies[topology].domain(host) else { continue };
            counting.tally.add(domain, sign * weight);
            if self.is_fine(topology) && self.topologies[topology].hosts(domain).len() > 1 {
                for at in 0..self.topologies[topology].hosts(domain).len() {
                    let neighbour = self.topologies[topology].hosts(domain)[at];
                    self.touch(neighbour);
                }
            }
        }
    }

    /// Lets everything on the host count no more, until [`Self::enter_counts`].
    pub(super) fn leave_counts(&mut self, host: Host) {
        for at in 0..self.hosts[host as usize].pods.len() {
            self.count(self.hosts[host as usize].pods[at].kind, host, -1);
        }
        if self.hosts[host as usize].node.is_none() {
            return;
        }
        for counting in &mut self.tallies {
            if counting.counts_on(host)
                && let Some(domain) = self.topologies[counting.key.topology].domain(host)
            {
                counting.tally.part(domain);
            }
        }
    }

    pub(super) fn enter_counts(&mut self, host: Host) {
        for id in 0..self.tallies.len() {
            self.join(id, host);
        }
        for at in 0..self.hosts[host as usize].pods.len() {
            self.count(self.hosts[host as usize].pods[at].kind, host, 1);
        }
    }
}

impl Kind {
    fn forget_counts(&mut self) {
        self.tallies.clear();
        self.carries.clear();
        self.forget_concerns();
        self.class = None;
    }
}
