//! All rules about one node, in their order: the one place that says whether a pod may run there. The ranking asks the same
//! rules one by one where it can remember the answers.

use client::Key;
use placement::Host;

use crate::{
    class::Class,
    cluster::Cluster,
    filters::{self, Asker},
    refusal::{Plugin, Refusal},
    rules::Counts,
    volumes::{Needs, Volumes},
};

/// Why a pod can be placed nowhere, whatever the nodes are like.
#[derive(Debug, Clone, PartialEq)]
pub struct PodRefusal {
    pub plugin: Plugin,
    pub text: String,
    /// What would have to change.
    pub remedy: String,
}

/// A pod that asks: its name, its class, and what its volumes need.
pub type Pod<'a> = (&'a Key, &'a Class, Option<&'a Needs>);

pub fn admits(cluster: &Cluster, volumes: &Volumes, pod: Pod<'_>, host: Host) -> bool {
    let mut refused = cluster.host_state(host).node.is_none();
    ask(cluster, volumes, pod, host, &mut |_| {
        refused = true;
        false
    });
    !refused
}

pub fn admits_without_volumes(cluster: &Cluster, class: &Class, key: Option<&Key>, host: Host) -> bool {
    let state = cluster.host_state(host);
    let mut refused = state.node.is_none();
    let asker = Asker::of(class, key);
    filters::ask(asker, state, &cluster.resources, &mut |_| {
        refused = true;
        false
    });
    let (here, promised) = (values(cluster, class, host), promised(cluster, class, asker, host));
    !refused && class.rules.allow(cluster, Counts { here: &here, promised: &promised })
}

/// Calls `refuse` with what keeps the pod from the host, until it returns false.
pub fn ask(
    cluster: &Cluster,
    volumes: &Volumes,
    (key, class, needs): Pod<'_>,
    host: Host,
    refuse: &mut dyn FnMut(Refusal) -> bool,
) {
    let state = cluster.host_state(host);
    let mut refused = false;
    for asker in Asker::of(class, Some(key)).ways(state) {
        ask_one_way(cluster, volumes, (asker, class, needs), host, &mut |refusal| {
            refused = true;
            refuse(refusal)
        });
        if refused {
            return;
        }
    }
}

fn ask_one_way(
    cluster: &Cluster,
    volumes: &Volumes,
    (asker, class, needs): (Asker<'_>, &Class, Option<&Needs>),
    host: Host,
    refuse: &mut dyn FnMut(Refusal) -> bool,
) {
    let state = cluster.host_state(host);
    let mut go_on = true;
    let mut watched = |refusal| {
        go_on = refuse(refusal);
        go_on
    };
    filters::ask(asker, state, &cluster.resources, &mut watched);
    if go_on && let Some(needs) = needs {
        volumes.ask(cluster, (needs, asker), state, &mut |refusal| {
            go_on = refuse(refusal);
            go_on
        });
    }
    if go_on {
        let name = |topology: usize| {
            let topology = cluster.topology_of(topology);
            topology.domain(host).map(|domain| topology.name(domain)).unwrap_or_default().into()
        };
        let (here, promised) = (values(cluster, class, host), promised(cluster, class, asker, host));
        class.rules.ask(cluster, Counts { here: &here, promised: &promised }, &name, refuse);
    }
}

fn values(cluster: &Cluster, class: &Class, host: Host) -> Vec<Option<i64>> {
    class.rules.columns.iter().map(|tally| cluster.count_at(*tally, host)).collect()
}

/// By column, what promises on the host that come before the pod would add; empty where they add nothing.
pub fn promised(cluster: &Cluster, class: &Class, asker: Asker<'_>, host: Host) -> Box<[i64]> {
    let state = cluster.host_state(host);
    if asker.promised(state).next().is_none() {
        return Box::default();
    }
    let columns = class.rules.columns.iter();
    let counts: Box<[i64]> = columns.map(|tally| cluster.promised_at(*tally, host, asker.promised(state))).collect();
    if counts.iter().all(|count| *count == 0) { Box::default() } else { counts }
}

/// For every node what the first rule that refuses says, as the event tells it.
pub fn first(cluster: &Cluster, volumes: &Volumes, pod: Pod<'_>) -> Vec<(Host, Vec<Refusal>)> {
    // A rule may have more to say; another rule has not.
    each(cluster, volumes, pod, |known, next| known.first().is_none_or(|first| first.plugin() == next.plugin()))
}

/// For every node all that refuses.
pub fn all(cluster: &Cluster, volumes: &Volumes, pod: Pod<'_>) -> Vec<(Host, Vec<Refusal>)> {
    each(cluster, volumes, pod, |_, _| true)
}

fn each(
    cluster: &Cluster,
    volumes: &Volumes,
    pod: Pod<'_>,
    counts: impl Fn(&[Refusal], &Refusal) -> bool,
) -> Vec<(Host, Vec<Refusal>)> {
    let named = filters::named_nodes(&pod.1.shape);
    let verdict = |host: Host, name: &str| {
        if named.as_ref().is_some_and(|names| !names.contains(&name)) {
            return vec![Refusal::NotNamed];
        }
        let mut refusals: Vec<Refusal> = Vec::new();
        ask(cluster, volumes, pod, host, &mut |refusal| {
            let counts = counts(&refusals, &refusal);
            if counts {
                refusals.push(refusal);
            }
            counts
        });
        refusals
    };
    cluster.live().map(|(host, _, node)| (host, verdict(host, &node.metadata.name))).collect()
}
