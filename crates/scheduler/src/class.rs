//! What a kind of pods asks of nodes and domains, compiled: which counts it looks at, and which rules about them it has.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use api::selector::{LabelSelector, Operator, Requirement};
use client::objects::{Labels, PodShape, shape::SpreadConstraint};
use placement::Amounts;

use crate::cluster::{Cluster, Eligibility, KindId, Sort, TallyId, TallyKey, Who, Wish};

pub const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// An index into [`Class::columns`].
pub type Column = usize;

/// Pods of one class are interchangeable to the scheduler.
#[derive(Debug)]
pub struct Class {
    pub shape: Arc<PodShape>,
    pub demand: Amounts,
    pub rules: Rules,
}

/// Rules about domains.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The counts the rules look at.
    pub columns: Vec<TallyId>,
    pub hard: Vec<Hard>,
    pub soft: Vec<Soft>,
    /// Nodes that lack one of the labels are not compared by the soft rules.
    pub soft_needs_all: bool,
    /// There must be such pods.
    pub near: Vec<Column>,
    /// It is such a pod itself, so that the first may go anywhere.
    pub near_itself: bool,
    /// There must be no such pods.
    pub apart: Vec<Column>,
    /// There must be no pods that want no such pod near.
    pub kept_away: Vec<Column>,
    pub liked: Vec<(Column, i64)>,
}

/// A spread constraint that refuses.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Hard {
    pub column: Column,
    pub most: i64,
    pub min_domains: usize,
    pub counts_itself: bool,
}

/// A spread constraint that prefers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Soft {
    pub column: Column,
    pub most: i32,
    pub by_host: bool,
}

impl PartialEq for Class {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shape, &other.shape) && self.rules == other.rules
    }
}

impl Eq for Class {}

impl Hash for Class {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shape).addr().hash(state);
        self.rules.hash(state);
    }
}

impl Rules {
    fn column(&mut self, tally: TallyId) -> Column {
        self.columns.iter().position(|known| *known == tally).unwrap_or_else(|| {
            self.columns.push(tally);
            self.columns.len() - 1
        })
    }
}

/// The class of a kind, compiled if it is not yet or no longer.
pub fn of(cluster: &mut Cluster, id: KindId) -> Arc<Class> {
    let concerned = cluster.find_concerns(id);
    if let Some((epoch, class)) = &cluster.kinds.get(id).class
        && *epoch == cluster.epoch
        && !concerned
    {
        return Arc::clone(class);
    }
    let kind = cluster.kinds.get(id);
    let (shape, demand) = (Arc::clone(&kind.shape), kind.demand.clone());
    let about = About { namespace: kind.namespace.clone(), labels: kind.labels.clone(), shape: Arc::clone(&shape) };
    let mut rules = Rules::default();
    spread(cluster, id, &about, &mut rules);
    affinity(cluster, id, &about, &mut rules);
    let class = Arc::new(Class { shape, demand, rules });
    let epoch = cluster.epoch;
    cluster.kinds.get_mut(id).class = Some((epoch, Arc::clone(&class)));
    class
}

struct About {
    namespace: Box<str>,
    labels: Labels,
    shape: Arc<PodShape>,
}

fn spread(cluster: &mut Cluster, id: KindId, about: &About, rules: &mut Rules) {
    let constraints = &about.shape.spread;
    if constraints.is_empty() {
        // Pods that say nothing are spread by what makes them and what serves them, over hosts and zones.
        let selector = cluster.default_selector(cluster.kinds.get(id));
        if !selector.is_nothing() {
            for (key, most) in [(HOSTNAME, 3), (ZONE, 5)] {
                soft(cluster, about, rules, (key, most, &selector), eligibility(about, &[], (true, false)));
            }
        }
        return;
    }
    let keys = |hard: bool| -> Vec<Box<str>> {
        constraints.iter().filter(|one| one.is_hard == hard).map(|one| one.topology_key.clone()).collect()
    };
    let (hard_keys, soft_keys) = (keys(true), keys(false));
    rules.soft_needs_all = true;
    for constraint in constraints {
        let selector = selector(constraint, &about.labels);
        let policies = (constraint.honors_affinity, constraint.honors_taints);
        if constraint.is_hard {
            let eligible = eligibility(about, &hard_keys, policies);
            let topology = cluster.topology(&constraint.topology_key);
            let sort = matching(&about.namespace, &selector);
            let tally = cluster.tally(TallyKey { topology, sort, eligible: Some(eligible) });
            let column = rules.column(tally);
            rules.hard.push(Hard {
                column,
                most: constraint.max_skew.into(),
                min_domains: usize::try_from(constraint.min_domains).unwrap_or(0),
                counts_itself: about.labels.are_matched_by(&selector),
            });
        } else {
            let eligible = eligibility(about, &soft_keys, policies);
            soft(cluster, about, rules, (&constraint.topology_key, constraint.max_skew, &selector), eligible);
        }
    }
}

fn soft(
    cluster: &mut Cluster,
    about: &About,
    rules: &mut Rules,
    (key, most, selector): (&str, i32, &LabelSelector),
    eligible: Eligibility,
) {
    let by_host = key == HOSTNAME;
    let topology = cluster.topology(key);
    // A host's own pods count whatever the host is.
    let eligible = (!by_host).then_some(eligible);
    let tally = cluster.tally(TallyKey { topology, sort: matching(&about.namespace, selector), eligible });
    let column = rules.column(tally);
    rules.soft.push(Soft { column, most, by_host });
}

fn eligibility(about: &About, keys: &[Box<str>], (affinity, taints): (bool, bool)) -> Eligibility {
    let shape = &about.shape;
    let asks = !shape.node_selector.is_empty() || shape.required_node_affinity.is_some();
    Eligibility {
        keys: keys.into(),
        affinity: (affinity && asks).then(|| (shape.node_selector.clone(), shape.required_node_affinity.clone())),
        tolerations: taints.then(|| shape.tolerations.clone()),
    }
}

/// The constraint's selector, with the pod's own values of the labels it names.
fn selector(constraint: &SpreadConstraint, labels: &Labels) -> LabelSelector {
    let own = constraint
        .match_label_keys
        .iter()
        .filter_map(|key| Requirement::new(key, Operator::In, vec![labels.get(key)?.into()]).ok());
    let own: Vec<Requirement> = own.collect();
    if own.is_empty() || constraint.selector.is_nothing() {
        return constraint.selector.clone();
    }
    LabelSelector::of(constraint.selector.requirements().iter().cloned().chain(own).collect())
}

/// The pods that a spread constraint counts. A selector of everything counts nothing.
fn matching(namespace: &str, selector: &LabelSelector) -> Sort {
    let selector = if selector.is_everything() { LabelSelector::nothing() } else { selector.clone() };
    let who = Who { namespaces: [namespace.into()].into(), namespace_selector: None, selector };
    Sort::Matching { all: [who].into(), staying: true }
}

fn affinity(cluster: &mut Cluster, id: KindId, about: &About, rules: &mut Rules) {
    let shape = &about.shape;
    let count = |cluster: &mut Cluster, rules: &mut Rules, key: &str, all: Box<[Who]>| {
        let topology = cluster.topology(key);
        let sort = Sort::Matching { all, staying: false };
        let tally = cluster.tally(TallyKey { topology, sort, eligible: None });
        rules.column(tally)
    };
    let who = |term| Who::of(term, &about.namespace);
    // Pods that it must be near are those that all its terms are about.
    let all: Box<[Who]> = shape.affinity.required.iter().map(who).collect();
    rules.near_itself = all.iter().all(|who| who.are(cluster, &about.namespace, &about.labels));
    for term in &shape.affinity.required {
        let column = count(cluster, rules, &term.topology_key, all.clone());
        rules.near.push(column);
    }
    for term in &shape.anti_affinity.required {
        let column = count(cluster, rules, &term.topology_key, [who(term)].into());
        rules.apart.push(column);
    }
    let likes = shape.affinity.preferred.iter().map(|(weight, term)| (i64::from(*weight), term));
    let dislikes = shape.anti_affinity.preferred.iter().map(|(weight, term)| (-i64::from(*weight), term));
    for (weight, term) in likes.chain(dislikes) {
        let column = count(cluster, rules, &term.topology_key, [who(term)].into());
        rules.liked.push((column, weight));
    }
    for at in 0..cluster.kinds.get(id).concerned.len() {
        let term = cluster.term_of(cluster.kinds.get(id).concerned[at]);
        let (wish, tally) = (term.wish, term.tally);
        let column = rules.column(tally);
        match wish {
            Wish::Apart => rules.kept_away.push(column),
            Wish::Near(weight) => rules.liked.push((column, weight.into())),
        }
    }
}
