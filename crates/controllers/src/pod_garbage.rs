//! Pods that nobody will end: those of nodes that are gone, those that end before they were anywhere, those of nodes that are
//! out of service, and the oldest of those that are over, beyond a number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{
        Node, Object, Pod,
        pod::{NODE, Phase},
    },
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use stdx::Clock;
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Errand, Plan},
    pods,
};

/// Pods that are over and stay, at most.
const KEPT: usize = 12_500;
/// How long a node has to be missing before its pods are given up: it may not have been seen yet.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub struct PodGarbage {
    memory: Mutex<Memory>,
    clock: Arc<dyn Clock>,
    kept: usize,
}

#[derive(Default)]
struct Memory {
    /// Since when nodes are missing that pods name.
    missing: BTreeMap<Box<str>, Timestamp>,
    /// Pods that are over: evicted ones first, then the oldest.
    over: BTreeSet<(bool, Option<Timestamp>, Key)>,
    /// Pods that are over and too many.
    surplus: BTreeSet<Key>,
}

impl PodGarbage {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::keeping(KEPT, clock)
    }

    /// With another number of pods that are over and stay.
    pub fn keeping(kept: usize, clock: Arc<dyn Clock>) -> Self {
        Self { memory: Mutex::default(), clock, kept }
    }
}

impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Node, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let mut memory = self.memory.lock();
        match changes {
            Changes::Node(changes) => {
                for change in changes {
                    let name = change.key.name();
                    let is_out = change
                        .new
                        .as_ref()
                        .is_some_and(|node| node.spec.taints.iter().any(|taint| *taint.key == *OUT_OF_SERVICE));
                    if change.new.is_some() {
                        memory.missing.remove(name);
                    }
                    if change.new.is_none() || is_out {
                        caches.pods.by(NODE, name).iter().for_each(|pod| add(pod.key()));
                    }
                }
            }
            Changes::Pod(changes) => {
                for change in changes {
                    if let Some(old) = &change.old {
                        memory.over.remove(&rank(old, &change.key));
                    }
                    match &change.new {
                        None => {
                            memory.surplus.remove(&change.key);
                            let on = change.old.as_ref().map_or("", |old| &old.spec.node_name);
                            if memory.missing.contains_key(on) && caches.pods.by(NODE, on).is_empty() {
                                memory.missing.remove(on);
                            }
                        }
                        Some(pod) => {
                            if pod.is_over() && !memory.surplus.contains(&change.key) {
                                memory.over.insert(rank(pod, &change.key));
                            }
                            let on = &*pod.spec.node_name;
                            if pod.metadata.is_being_deleted()
                                || (!on.is_empty() && caches.nodes.find("", on).is_none())
                            {
                                add(change.key.clone());
                            }
                        }
                    }
                }
                while memory.over.len() > self.kept {
                    let Some((_, _, key)) = memory.over.pop_first() else { break };
                    add(key.clone());
                    memory.surplus.insert(key);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut memory = self.memory.lock();
        let mut plan = Plan::nothing();
        let Some(pod) = caches.pods.get(key) else { return plan };
        let is_ending = pod.metadata.is_being_deleted();
        if is_ending && pod.is_over() && pod.metadata.deletion_grace_period_seconds == Some(0) {
            // What still holds it is not a node.
            return plan;
        }
        let name = &pod.spec.node_name;
        let mut end = |why| pods::end_for_good(&pod, why, turn.now).into_iter().for_each(|step| plan.then(step));
        if memory.surplus.contains(key) || (is_ending && name.is_empty()) {
            end(None);
        } else if let Some(node) = caches.nodes.find("", name) {
            let is_ready = node.condition("Ready").is_some_and(|ready| *ready.status == *"True");
            let is_out = node.spec.taints.iter().any(|taint| *taint.key == *OUT_OF_SERVICE);
            if is_ending && !is_ready && is_out {
                end(None);
            }
        } else if !name.is_empty() {
            let since = *memory.missing.entry(name.clone()).or_insert_with(|| self.clock.now());
            let given_up = since.saturating_add(QUARANTINE).unwrap_or(Timestamp::MAX);
            if given_up > turn.now {
                plan.again_after(until(given_up, turn.now));
            } else {
                // A node that is only unknown here keeps its pods.
                let why = Some(("DeletionByPodGC", "PodGC: node no longer exists"));
                let then = pods::end_for_good(&pod, why, turn.now).into_iter().flatten().collect();
                let (kind, key) = (Node::KIND, Key::new("", name));
                plan.then(vec![Action::Errand(Errand::IfGone { kind, key, uid: None, then })]);
            }
        }
        plan
    }
}

fn rank(pod: &Pod, key: &Key) -> (bool, Option<Timestamp>, Key) {
    let is_evicted = pod.status.phase == Phase::Failed && *pod.status.reason == *"Evicted";
    (!is_evicted, pod.metadata.creation_timestamp, key.clone())
}
