//! Takes pods from nodes whose `NoExecute` taints they do not bear, or not for longer: the five-minute rule of nodes that are
//! gone.
//!
//! A pod's time runs from when the taint was put there, or from when the pod came, so that a restart of this process does
//! not begin it anew. Only a taint without a time runs from when it was first seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{
        Node, Object, Pod,
        node::{Effect, Taint},
        pod::NODE,
    },
    requests::DeleteOptions,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use stdx::Clock;
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference},
    pods,
};

pub struct TaintEviction {
    memory: Mutex<Memory>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Memory {
    /// When taints that do not say were first seen, by node.
    first_seen: BTreeMap<Key, Vec<(Taint, Timestamp)>>,
    /// Pods whose time runs.
    running: BTreeSet<Key>,
}

impl TaintEviction {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { memory: Mutex::default(), clock }
    }
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn account(&self) -> &'static str {
        "node-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Node, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Node(changes) => {
                for change in changes {
                    let of = |node: &Option<Arc<Node>>| -> Vec<Taint> {
                        node.iter().flat_map(|node| emptying(node)).cloned().collect()
                    };
                    let (old, new) = (of(&change.old), of(&change.new));
                    if old == new {
                        continue;
                    }
                    self.memory.lock().note(&change.key, &new, self.clock.now());
                    let pods = caches.pods.by(NODE, change.key.name());
                    pods.iter().for_each(|pod| add(pod.key()));
                }
            }
            Changes::Pod(changes) => {
                for change in changes {
                    let same = |old: &Arc<Pod>, new: &Arc<Pod>| {
                        let tolerations = |pod: &Pod| pod.spec.shape.tolerations.clone();
                        old.spec.node_name == new.spec.node_name
                            && (Arc::ptr_eq(&old.spec.shape, &new.spec.shape) || tolerations(old) == tolerations(new))
                    };
                    match (&change.old, &change.new) {
                        (Some(old), Some(new)) if same(old, new) => {}
                        (_, Some(new)) if !new.spec.node_name.is_empty() => {
                            let node = caches.nodes.find("", &new.spec.node_name);
                            if node.is_some_and(|node| emptying(&node).next().is_some()) {
                                add(change.key.clone());
                            }
                        }
                        (_, None) => drop(self.memory.lock().running.remove(&change.key)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut memory = self.memory.lock();
        let Some(pod) = caches.pods.get(key).filter(|pod| !pod.metadata.is_being_deleted()) else {
            memory.running.remove(key);
            return Plan::nothing();
        };
        let about = Reference::to(&*pod);
        let mut plan = Plan::nothing();
        let deadline =
            caches.nodes.find("", &pod.spec.node_name).and_then(|node| memory.deadline(&node, &pod, turn.now));
        match deadline {
            None => {
                if memory.running.remove(key) {
                    plan.then(vec![told(&about, format!("Cancelling deletion of Pod {key}"))]);
                }
            }
            Some(deadline) if deadline > turn.now => {
                memory.running.insert(key.clone());
                plan.again_after(until(deadline, turn.now));
            }
            Some(_) => {
                plan.then(vec![told(&about, format!("Marking for deletion Pod {key}"))]);
                let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
                plan.then(pods::disrupted(&pod, why, turn.now).into_iter().collect());
                let options = DeleteOptions { uid: Some(pod.metadata.uid.clone()), ..DeleteOptions::default() };
                plan.then(vec![Action::Delete { kind: Pod::KIND, key: key.clone(), options, tell: None }]);
            }
        }
        plan
    }
}

fn told(about: &Reference, message: String) -> Action {
    Action::Event(Event::normal(about, "TaintManagerEviction", message))
}

fn emptying(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == Effect::NoExecute)
}

impl Memory {
    fn note(&mut self, node: &Key, taints: &[Taint], now: Timestamp) {
        let known = self.first_seen.remove(node).unwrap_or_default();
        let since = |taint: &Taint| known.iter().find(|(known, _)| known == taint).map_or(now, |(_, since)| *since);
        let untimed = taints.iter().filter(|taint| taint.time_added.is_none());
        let noted: Vec<(Taint, Timestamp)> = untimed.map(|taint| (taint.clone(), since(taint))).collect();
        if !noted.is_empty() {
            self.first_seen.insert(node.clone(), noted);
        }
    }

    /// When the pod has to go. None where it may stay.
    fn deadline(&self, node: &Node, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        let noted = self.first_seen.get(&node.key());
        let bound = pod.condition("PodScheduled").and_then(|condition| condition.last_transition_time);
        let came = bound.or(pod.metadata.creation_timestamp).unwrap_or(Timestamp::MIN);
        let time_is_up = |taint: &Taint| {
            let seen = || noted?.iter().find(|(known, _)| known == taint).map(|(_, since)| *since);
            let since = taint.time_added.or_else(seen).unwrap_or(now).max(came);
            let Some(toleration) = pod.spec.shape.tolerations.iter().find(|toleration| toleration.tolerates(taint))
            else {
                return Some(Timestamp::MIN);
            };
            let seconds = toleration.toleration_seconds?.max(0);
            Some(since.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
        };
        emptying(node).filter_map(time_is_up).min()
    }
}
