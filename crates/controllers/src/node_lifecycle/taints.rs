//! Which taints a node has by its conditions: against new pods by each of them (KEP-382), and against those that are there
//! by its readiness alone.

use client::objects::{
    Node,
    node::{Effect, Taint},
};
use jiff::Timestamp;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A condition, the status that matters, and the taint for it.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The taint against pods that are there, by how ready the node is.
fn emptying(node: &Node) -> Option<&'static str> {
    match &*node.condition("Ready")?.status {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

fn is_emptying(taint: &Taint) -> bool {
    taint.effect == Effect::NoExecute && (*taint.key == *NOT_READY || *taint.key == *UNREACHABLE)
}

/// Whether the node is to be emptied and is not yet tainted for that.
pub fn is_to_be_emptied(node: &Node) -> bool {
    emptying(node).is_some() && !node.spec.taints.iter().any(is_emptying)
}

/// All taints the node is to have; those of others stay. `all_down`: no node is emptied. `may_empty`: this one may be.
pub fn wanted(node: &Node, all_down: bool, may_empty: bool, now: Timestamp) -> Vec<Taint> {
    let mut keys: Vec<&str> = BY_CONDITION
        .iter()
        .filter(|(kind, status, _)| node.condition(kind).is_some_and(|condition| *condition.status == **status))
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.unschedulable {
        keys.push(UNSCHEDULABLE);
    }
    let is_ours = |taint: &Taint| {
        let of_condition = BY_CONDITION.iter().any(|(_, _, key)| *taint.key == **key) || *taint.key == *UNSCHEDULABLE;
        (taint.effect == Effect::NoSchedule && of_condition) || is_emptying(taint)
    };
    let emptying = emptying(node).filter(|_| !all_down);
    let since = node.spec.taints.iter().find(|taint| is_emptying(taint)).map(|taint| taint.time_added);
    let mut taints: Vec<Taint> = Vec::new();
    for taint in &node.spec.taints {
        let stays = !is_ours(taint)
            || (taint.effect == Effect::NoSchedule && keys.contains(&&*taint.key))
            || (taint.effect == Effect::NoExecute && emptying == Some(&*taint.key));
        if stays {
            taints.push(taint.clone());
        }
    }
    let has =
        |taints: &[Taint], key: &str, effect| taints.iter().any(|taint| *taint.key == *key && taint.effect == effect);
    for key in keys {
        if !has(&taints, key, Effect::NoSchedule) {
            taints.push(taint(key, Effect::NoSchedule, Some(now)));
        }
    }
    if let Some(key) = emptying.filter(|key| !has(&taints, key, Effect::NoExecute)) {
        // From one to the other at once, and the time goes on: the node was away all along.
        match since {
            Some(since) => taints.push(taint(key, Effect::NoExecute, since)),
            None if may_empty => taints.push(taint(key, Effect::NoExecute, Some(now))),
            None => {}
        }
    }
    taints
}

fn taint(key: &str, effect: Effect, time_added: Option<Timestamp>) -> Taint {
    Taint { key: key.into(), value: "".into(), effect, time_added }
}

/// As it stands in a node's spec.
pub fn written(taint: &Taint) -> Value {
    let mut written = json!({"key": taint.key, "effect": taint.effect.as_str()});
    if !taint.value.is_empty() {
        written["value"] = json!(taint.value);
    }
    if let Some(time) = taint.time_added {
        written["timeAdded"] = client::objects::seconds(time).into();
    }
    written
}
