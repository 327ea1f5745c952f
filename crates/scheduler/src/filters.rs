//! What a node has to be, and to have left, for a pod: the rules that look at one node alone, in the order in which they are
//! asked. Each refusal says what it saw.
//!
//! Not here: rules about domains ([`crate::rules`]) and volumes ([`crate::volumes`]).

use client::{
    Key,
    objects::{
        Labels, Node, PodShape,
        node::{Effect, Taint},
        node_selector::NodeSelector,
    },
};
use placement::{Amounts, Capacity};

use crate::{
    class::Class,
    cluster::{HostState, Nominated, PODS, Resources},
    refusal::Refusal,
};

/// The taint that a cordon brings; who tolerates it ignores the cordon.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// Taints that keep pods out, rather than make a node less attractive.
pub fn is_hard(effect: Effect) -> bool {
    effect != Effect::PreferNoSchedule
}

/// Whether a pod that says this selects the node.
pub fn selects(selector: &Labels, required: Option<&NodeSelector>, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| required.matches(node))
}

/// The only nodes a pod can run on, where it names them.
pub fn named_nodes(shape: &PodShape) -> Option<Vec<&str>> {
    let terms = shape.required_node_affinity.as_ref()?.terms();
    let names: Option<Vec<&str>> = terms.iter().map(|term| term.only_name()).collect();
    names.filter(|names| !names.is_empty())
}

/// Who asks: what the pod wants, what it takes, and its name, for promises to itself do not stand in its way.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub key: Option<&'a Key>,
    pub shape: &'a PodShape,
    pub demand: &'a Amounts,
    /// Whether pods that are promised room count as if they were there.
    pub heeds_promises: bool,
}

impl<'a> Asker<'a> {
    pub fn of(class: &'a Class, key: Option<&'a Key>) -> Self {
        Self { key, shape: &class.shape, demand: &class.demand, heeds_promises: true }
    }

    /// The promises on the host that come before this pod.
    pub fn promised(self, host: &'a HostState) -> impl Iterator<Item = &'a Nominated> {
        let precedes = move |other: &&Nominated| {
            self.heeds_promises && other.priority() >= self.shape.priority && Some(&other.key) != self.key
        };
        host.nominated.iter().filter(precedes)
    }

    /// A pod that is promised room may come or not: asked is both ways, the second time without the promises, where there
    /// are any.
    pub fn ways(self, host: &HostState) -> impl Iterator<Item = Self> {
        let without = Self { heeds_promises: false, ..self };
        let differs = self.promised(host).next().is_some();
        [self].into_iter().chain(differs.then_some(without))
    }
}

/// Calls `refuse` with what keeps the pod from the node, until it returns false.
pub fn ask(asker: Asker<'_>, host: &HostState, resources: &Resources, refuse: &mut dyn FnMut(Refusal) -> bool) {
    let Some(node) = &host.node else { return };
    if !ask_node(asker.shape, node, refuse) {
        return;
    }
    if ask_ports(asker, host, refuse) {
        ask_resources(asker, host, resources, refuse);
    }
}

fn ask_node(shape: &PodShape, node: &Node, refuse: &mut dyn FnMut(Refusal) -> bool) -> bool {
    let bears_cordon = || {
        let cordon = Taint { key: CORDON.into(), value: "".into(), effect: Effect::NoSchedule, time_added: None };
        shape.tolerations.iter().any(|toleration| toleration.tolerates(&cordon))
    };
    if node.spec.unschedulable && !bears_cordon() && !refuse(Refusal::Cordoned) {
        return false;
    }
    // The cordon's own taint goes with it.
    let counts = |taint: &Taint| is_hard(taint.effect) && !(node.spec.unschedulable && *taint.key == *CORDON);
    if let Some(taint) = node.untolerated(&shape.tolerations, counts)
        && !refuse(Refusal::Taint(taint.clone()))
    {
        return false;
    }
    selects(&shape.node_selector, shape.required_node_affinity.as_ref(), node)
        || refuse(Refusal::Affinity { wanted: wanted(shape, node) })
}

/// In words, what the pod asks of labels and the node does not have.
fn wanted(shape: &PodShape, node: &Node) -> String {
    let missing: Vec<String> = shape
        .node_selector
        .iter()
        .filter(|(key, value)| node.metadata.labels.get(key) != Some(*value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if missing.is_empty() {
        let terms = shape.required_node_affinity.as_ref().map(|required| required.terms()).unwrap_or_default();
        let terms: Vec<String> = terms.iter().map(|term| term.labels().to_string()).collect();
        let terms =
            if terms.iter().all(String::is_empty) { "which no node satisfies".into() } else { terms.join(" or ") };
        format!("its required node affinity holds ({terms})")
    } else {
        format!("{} holds", missing.join(" and "))
    }
}

fn ask_ports(asker: Asker<'_>, host: &HostState, refuse: &mut dyn FnMut(Refusal) -> bool) -> bool {
    if asker.shape.host_ports.is_empty() {
        return true;
    }
    let promised = asker.promised(host).flat_map(|nominated| &nominated.pod.spec.shape.host_ports);
    let taken: Vec<_> = host.ports().chain(promised).collect();
    let clash = asker.shape.host_ports.iter().find(|port| taken.iter().any(|taken| taken.conflicts_with(port)));
    clash.is_none_or(|port| refuse(Refusal::Port { port: port.clone() }))
}

fn ask_resources(asker: Asker<'_>, host: &HostState, resources: &Resources, refuse: &mut dyn FnMut(Refusal) -> bool) {
    if host.nominated.is_empty() {
        return ask_capacity(asker.demand, &host.capacity, resources, refuse);
    }
    let mut capacity = host.capacity.clone();
    for nominated in asker.promised(host) {
        capacity.used.add(&nominated.demand);
    }
    ask_capacity(asker.demand, &capacity, resources, refuse)
}

fn ask_capacity(demand: &Amounts, capacity: &Capacity, resources: &Resources, refuse: &mut dyn FnMut(Refusal) -> bool) {
    if capacity.free(PODS) < 1 {
        refuse(Refusal::TooManyPods { most: capacity.total.get(PODS) });
    }
    // All that is short is told: together it is one rule's answer.
    for short in capacity.shortages(demand) {
        let resource = resources.name(short.dimension).into();
        refuse(Refusal::Insufficient { resource, demand: short.demand, used: short.used, total: short.total });
    }
}
