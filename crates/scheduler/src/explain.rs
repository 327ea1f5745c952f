//! Why a pod waits: for each node what refuses it and what would have to change, from the rules that decide.

use std::{collections::HashMap, sync::Arc};

use client::{
    Key,
    objects::{Object, Pod},
};
use serde::Serialize;

use crate::{
    class,
    core::{Core, NAME},
    refusal::{Plugin, Refusal, amount},
    verdict,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// In one line, how the pod stands.
    pub summary: String,
    /// What has to change about the pod itself, or what it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Where it would go, all being equally good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub best: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeVerdict>,
}

/// What a node says.
#[derive(Debug, Serialize)]
pub struct NodeVerdict {
    pub node: Box<str>,
    /// Nothing here: the node would take it.
    pub refusals: Vec<Reason>,
}

#[derive(Debug, Serialize)]
pub struct Reason {
    pub plugin: Plugin,
    pub reason: String,
    pub remedy: String,
    #[serde(skip)]
    general: General,
    /// Of the resource that has to be freed.
    #[serde(skip)]
    shortfall: i64,
}

/// The remedy for any node that says so.
#[derive(Debug, PartialEq, Eq, Hash)]
enum General {
    Words(String),
    /// To free this resource, on each node another amount of it.
    Free(String),
}

impl General {
    fn of(refusal: &Refusal) -> (Self, i64) {
        match refusal.shortfall() {
            Some((resource, amount)) => (Self::Free(resource.to_owned()), amount),
            None => (Self::Words(refusal.remedy(NODE)), 0),
        }
    }

    /// What helps for one of so many nodes, of which `least` needs the least amount.
    fn remedy(&self, nodes: usize, least: i64) -> String {
        match self {
            Self::Words(words) => words.clone(),
            Self::Free(resource) => {
                format!("free {} of {resource} on one of these {nodes} nodes", amount(resource, least))
            }
        }
    }
}

impl Core {
    /// Why the pod is where it is, or nowhere.
    pub fn explain(&mut self, pod: &Arc<Pod>) -> Explanation {
        let key = &pod.key();
        let mut explanation = Explanation {
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            summary: String::new(),
            obstacle: None,
            best: Vec::new(),
            nodes: Vec::new(),
        };
        match standing(pod) {
            Standing::Settled(summary) => explanation.summary = summary,
            Standing::HeldUp(summary, obstacle) => {
                (explanation.summary, explanation.obstacle) = (summary, Some(obstacle));
            }
            Standing::Waiting => self.explain_nodes(key, pod, &mut explanation),
        }
        explanation
    }

    fn explain_nodes(&mut self, key: &Key, pod: &Arc<Pod>, explanation: &mut Explanation) {
        let kind = self.cluster.hold(pod);
        let class = class::of(&mut self.cluster, kind);
        let needs = match self.volumes.needs(pod) {
            Ok(needs) => needs,
            Err(refusal) => {
                explanation.summary = format!("it waits: {}", refusal.text);
                explanation.obstacle = Some(refusal.remedy);
                return self.cluster.release(kind);
            }
        };
        let verdicts = verdict::all(&self.cluster, &self.volumes, (key, &class, needs.as_ref()));
        explanation.nodes = verdicts
            .into_iter()
            .map(|(host, refusals)| {
                let node = self.cluster.host_state(host).name.clone();
                let reason = |refusal: &Refusal| {
                    let (general, shortfall) = General::of(refusal);
                    let (plugin, reason) = (refusal.plugin(), refusal.text().into_owned());
                    Reason { plugin, reason, remedy: refusal.remedy(&node), general, shortfall }
                };
                NodeVerdict { refusals: refusals.iter().map(reason).collect(), node: node.clone() }
            })
            .collect();
        explanation.nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let best = match self.promised(key, &class, needs.as_ref()) {
            Some(host) => vec![host],
            None => self.best(key, &class, needs.as_ref()).hosts,
        };
        explanation.best = best.iter().map(|host| self.cluster.host_state(*host).name.clone()).collect();
        explanation.best.sort();
        let nodes = explanation.nodes.len();
        let willing = explanation.nodes.iter().filter(|verdict| verdict.refusals.is_empty()).count();
        explanation.summary = match (nodes, willing) {
            (0, _) => "it waits for a node: there is none".to_owned(),
            (_, 0) => format!("it waits: none of {nodes} nodes takes it"),
            _ => format!("{willing} of {nodes} nodes would take it"),
        };
        self.cluster.release(kind);
    }
}

enum Standing {
    Settled(String),
    HeldUp(String, String),
    Waiting,
}

fn standing(pod: &Pod) -> Standing {
    let shape = &pod.spec.shape;
    if !pod.is_active() {
        return Standing::Settled("it is over or on its way out, and needs no node".to_owned());
    }
    if !pod.spec.node_name.is_empty() {
        return Standing::Settled(format!("it is on {}", pod.spec.node_name));
    }
    if !shape.gates.is_empty() {
        let gates = shape.gates.join(", ");
        let obstacle = format!("remove its scheduling gates: {gates}");
        return Standing::HeldUp("it waits for its scheduling gates to be removed".to_owned(), obstacle);
    }
    if !shape.scheduler_name.is_empty() && *shape.scheduler_name != *NAME {
        let name = &shape.scheduler_name;
        let obstacle = format!("run a scheduler called {name}, or leave spec.schedulerName out");
        return Standing::HeldUp(format!("it waits for another scheduler, {name}"), obstacle);
    }
    Standing::Waiting
}

/// Names of nodes that say the same which are told; of more, how many.
const NAMED: usize = 3;
/// Stands for a node's name where several nodes say the same.
const NODE: &str = "NODE";

/// The explanation for people: the pod, then the nodes, those together that say the same.
pub fn render(explanation: &Explanation) -> String {
    use std::fmt::Write;
    let mut text = format!("pod {}/{}: {}\n", explanation.namespace, explanation.name, explanation.summary);
    if let Some(obstacle) = &explanation.obstacle {
        let _ = writeln!(text, "  {obstacle}");
    }
    for alike in alike(explanation) {
        let first = alike[0];
        let names: Vec<&str> = alike.iter().map(|verdict| &*verdict.node).collect();
        let names = match names.len() {
            ..=NAMED => names.join(", "),
            all => format!("{} and {} more", names[..NAMED].join(", "), all - NAMED),
        };
        if first.refusals.is_empty() {
            let best = if explanation.best.contains(&first.node) { ", and none is better" } else { "" };
            let _ = writeln!(text, "{names}: would take it{best}");
            continue;
        }
        let _ = writeln!(text, "{names}:");
        for (at, reason) in first.refusals.iter().enumerate() {
            let least = alike.iter().map(|verdict| verdict.refusals[at].shortfall).min().unwrap_or_default();
            let remedy = match alike.len() {
                1 => reason.remedy.clone(),
                nodes => reason.general.remedy(nodes, least),
            };
            let _ = writeln!(text, "  {}: {remedy}", reason.reason);
        }
    }
    text
}

/// The nodes that say the same, together, in the order of the first of them.
fn alike(explanation: &Explanation) -> Vec<Vec<&NodeVerdict>> {
    let mut groups: Vec<Vec<&NodeVerdict>> = Vec::new();
    let mut places = HashMap::new();
    for verdict in &explanation.nodes {
        let says: Vec<(&str, &General)> =
            verdict.refusals.iter().map(|reason| (&*reason.reason, &reason.general)).collect();
        let best = says.is_empty() && explanation.best.contains(&verdict.node);
        let at = *places.entry((says, best)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(verdict),
            None => groups.push(vec![verdict]),
        }
    }
    groups
}
