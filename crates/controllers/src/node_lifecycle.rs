//! Whether nodes are still there, and what follows: conditions that turn `Unknown`, taints by conditions, pods that are not
//! ready on a node that is not.
//!
//! | file | decides |
//! |---|---|
//! | `memory` | when a node was last heard of, by this process's own clock, and the state of its zone |
//! | `zones` | how fast nodes may be emptied, by how many of a zone are there |
//! | `taints` | which taints a node is to have |
//!
//! A renewed lease changes a time in the memory and nothing else: a node is looked at when its time is up, and then lives on
//! if it was heard of meanwhile.
//!
//! Not here: what becomes of pods on a tainted node ([`crate::taint_eviction`]).

mod memory;
mod taints;
mod zones;

use std::sync::Arc;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Node, Object, Pod, pod::NODE, seconds},
    requests::Patch,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use stdx::Clock;
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition},
};
use memory::{Known, Memory};

/// How long a node is thought to be there after it was last heard of.
const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// How long a new node may take to report itself.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// Where nodes have their leases.
const LEASES: &str = "kube-node-lease";
/// The conditions that only the node itself can tell, in the order in which it tells them.
const REPORTED: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
/// Labels that are to have the same value as others.
const LABELS: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

pub struct NodeLifecycle {
    memory: Mutex<Memory>,
    clock: Arc<dyn Clock>,
}

impl NodeLifecycle {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { memory: Mutex::default(), clock }
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Node, Topic::Lease, Topic::Pod]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let now = self.clock.now();
        let mut memory = self.memory.lock();
        match changes {
            Changes::Lease(changes) => {
                for lease in changes.iter().filter_map(|change| change.new.as_ref()) {
                    if *lease.metadata.namespace == *LEASES {
                        memory.renewed(&lease.metadata.name, lease.spec.renew_time, now);
                    }
                }
            }
            Changes::Node(changes) => {
                for change in changes {
                    match &change.new {
                        Some(node) => memory.see(node, now),
                        None => memory.lose(change.key.name()),
                    }
                    add(change.key.clone());
                }
                memory.settle(now, &mut |name| add(Key::new("", name)));
            }
            Changes::Pod(changes) => {
                for change in changes {
                    let Some(pod) = &change.new else { continue };
                    let is_bound = change.old.as_ref().is_none_or(|old| old.spec.node_name != pod.spec.node_name);
                    if memory.needs_look(&pod.spec.node_name, is_bound) {
                        add(Key::new("", &pod.spec.node_name));
                    }
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut memory = self.memory.lock();
        let mut plan = Plan::nothing();
        let Some(node) = caches.nodes.get(key) else {
            if let Some(uid) = memory.take_lost(key.name()) {
                let about = Reference { kind: Node::KIND, key: key.clone(), uid, revision: 0 };
                plan.then(vec![told(&about, "RemovingNode", &format!("Removing Node {key} from Controller"))]);
            }
            return plan;
        };
        let Some(known) = memory.nodes.get_mut(key.name()) else { return plan };
        let about = Reference::to(&*node);
        if std::mem::take(&mut known.is_new) {
            plan.then(vec![told(&about, "RegisteredNode", &format!("Registered Node {key} in Controller"))]);
        }
        if std::mem::take(&mut known.fell) {
            let message = format!("Node {key} status is now: NodeNotReady");
            plan.then(vec![Action::Event(Event::normal(&about, "NodeNotReady", message))]);
        }
        let ready = node.condition("Ready").map_or("", |ready| &ready.status);
        let deadline = known.heard.saturating_add(if ready.is_empty() { STARTUP_GRACE } else { GRACE });
        let deadline = deadline.unwrap_or(Timestamp::MAX);
        if ready != "Unknown" {
            if turn.now > deadline {
                plan.then(vec![silenced(&node, turn.now)]);
                return plan;
            }
            // A moment after: it counts from then on.
            plan.again_after(until(deadline, turn.now) + std::time::Duration::from_millis(1));
        }
        let pods = known.pods_not_ready(caches, &node, turn.now);
        let (taints, wait) = memory.taints(&node, turn.now);
        plan.then(adjusted(&node, taints.as_deref()).into_iter().collect());
        let (pods, events) = pods.into_iter().unzip();
        plan.then(pods);
        plan.then(events);
        if let Some(wait) = wait {
            plan.again_after(wait);
        }
        plan
    }
}

fn told(about: &Reference, reason: &'static str, what: &str) -> Action {
    let message = format!("Node {} event: {what}", about.key);
    Action::Event(Event::normal(about, reason, message))
}

/// What nobody has reported for too long is not known.
fn silenced(node: &Node, now: Timestamp) -> Action {
    let now = seconds(now);
    let mut conditions = Vec::new();
    for kind in REPORTED {
        match node.condition(kind) {
            None => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node.metadata.creation_timestamp.map(seconds), "lastTransitionTime": now,
            })),
            Some(known) if *known.status != *"Unknown" => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.", "lastTransitionTime": now,
            })),
            Some(_) => {}
        }
    }
    Action::Patch {
        kind: Node::KIND,
        key: node.key(),
        subresource: "status",
        form: Patch::Strategic,
        patch: json!({"metadata": precondition(&node.metadata), "status": {"conditions": conditions}}),
    }
}

/// The patch that gives a node the labels and taints it is to have, if it has others.
fn adjusted(node: &Node, taints: Option<&[client::objects::node::Taint]>) -> Option<Action> {
    let mut labels = Map::new();
    for (from, to) in LABELS {
        if let Some(value) = node.metadata.labels.get(from).filter(|value| node.metadata.labels.get(to) != Some(value))
        {
            labels.insert(to.to_owned(), value.into());
        }
    }
    if labels.is_empty() && taints.is_none() {
        return None;
    }
    let mut patch = json!({"metadata": precondition(&node.metadata)});
    if !labels.is_empty() {
        patch["metadata"]["labels"] = labels.into();
    }
    if let Some(taints) = taints {
        patch["spec"]["taints"] = match taints.is_empty() {
            true => Value::Null,
            false => taints.iter().map(taints::written).collect(),
        };
    }
    Some(Action::Patch { kind: Node::KIND, key: node.key(), subresource: "", form: Patch::Merge, patch })
}

impl Known {
    /// Pods that say they are ready on a node that is not, each with what is done and told about it.
    fn pods_not_ready(&mut self, caches: &Caches, node: &Node, now: Timestamp) -> Vec<(Action, Action)> {
        if !self.doubts_pods {
            return Vec::new();
        }
        let pods: Vec<Arc<Pod>> =
            caches.pods.by(NODE, &node.metadata.name).into_iter().filter(|pod| pod.is_ready()).collect();
        self.doubts_pods = !pods.is_empty();
        let doubt = |pod: &Arc<Pod>| {
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": seconds(now)});
            let patch = Action::Patch {
                kind: Pod::KIND,
                key: pod.key(),
                subresource: "status",
                form: Patch::Strategic,
                patch: json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}),
            };
            let event = Event::warning(&Reference::to(&**pod), "NodeNotReady", "Node is not ready".to_owned());
            (patch, Action::Event(event))
        };
        pods.iter().map(doubt).collect()
    }
}
