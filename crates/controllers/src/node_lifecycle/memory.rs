//! What is remembered of nodes: when each was last heard of, and how many of its zone are there.
//!
//! Times are those of this process's own clock at which something new was seen; a node's clock may be wrong.

use std::{collections::BTreeMap, time::Duration};

use client::objects::{Node, node::Taint};
use jiff::Timestamp;
use stdx::clock::until;

use super::{
    GRACE, taints,
    zones::{self, Zone},
};

/// A node with it does not count in its zone.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

#[derive(Default)]
pub struct Memory {
    pub nodes: BTreeMap<Box<str>, Known>,
    zones: BTreeMap<Box<str>, Zone>,
    /// No node is there at all: rather this side is cut off, and nothing is emptied.
    all_down: bool,
}

pub struct Known {
    uid: Box<str>,
    /// Gone; only to be told of.
    is_lost: bool,
    pub is_new: bool,
    /// It has become not ready, which is to be told.
    pub fell: bool,
    /// Its pods may say they are ready although it is not.
    pub doubts_pods: bool,
    pub heard: Timestamp,
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    /// None as long as it has not said.
    is_ready: Option<bool>,
    zone: Box<str>,
    counts: bool,
    /// It may be emptied: its turn has come.
    has_turn: bool,
    /// Until then it may return from an outage of all nodes and is not emptied.
    spared: Option<Timestamp>,
}

impl Memory {
    /// A lease was renewed: its node is there.
    pub fn renewed(&mut self, name: &str, renewed: Option<Timestamp>, now: Timestamp) {
        if let Some(known) = self.nodes.get_mut(name)
            && known.renewed < renewed
        {
            (known.renewed, known.heard) = (renewed, now);
        }
    }

    pub fn see(&mut self, node: &Node, now: Timestamp) {
        let name = &node.metadata.name;
        if self.nodes.get(name).is_some_and(|known| known.uid != node.metadata.uid) {
            self.lose(name);
        }
        let ready = node.condition("Ready");
        let is_ready = ready.map(|ready| *ready.status == *"True");
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time);
        let known = self.nodes.entry(name.clone()).or_insert_with(|| Known {
            uid: node.metadata.uid.clone(),
            is_lost: false,
            is_new: true,
            fell: false,
            // Before this process began, its pods may have been left as they were.
            doubts_pods: is_ready == Some(false),
            heard: if is_ready.is_some() { now } else { node.metadata.creation_timestamp.unwrap_or(now) },
            renewed: None,
            heartbeat,
            is_ready: None,
            zone: "".into(),
            counts: false,
            has_turn: false,
            spared: None,
        });
        if known.is_lost {
            (known.is_lost, known.is_new, known.heard) = (false, true, now);
        }
        known.uid = node.metadata.uid.clone();
        if known.heartbeat != heartbeat {
            (known.heartbeat, known.heard) = (heartbeat, now);
        }
        match (known.is_ready, is_ready) {
            (Some(true), Some(false)) => (known.fell, known.doubts_pods) = (true, true),
            (_, Some(true)) => (known.doubts_pods, known.has_turn) = (false, false),
            _ => {}
        }
        known.leave(&mut self.zones);
        known.is_ready = is_ready;
        known.zone = zones::of(node);
        known.counts = node.metadata.labels.get(EXCLUDED).is_none();
        self.zones.entry(known.zone.clone()).or_default();
        known.enter(&mut self.zones);
    }

    pub fn lose(&mut self, name: &str) {
        if let Some(known) = self.nodes.get_mut(name).filter(|known| !known.is_lost) {
            known.leave(&mut self.zones);
            known.is_lost = true;
        }
    }

    /// The UID of a node that is gone, once.
    pub fn take_lost(&mut self, name: &str) -> Option<Box<str>> {
        let is_lost = self.nodes.get(name).is_some_and(|known| known.is_lost);
        if is_lost { self.nodes.remove(name).map(|known| known.uid) } else { None }
    }

    /// Whether a pod's news concern its node: it was bound to one that is not ready, or is among those in doubt.
    pub fn needs_look(&mut self, node: &str, is_bound: bool) -> bool {
        let Some(known) = self.nodes.get_mut(node) else { return false };
        known.doubts_pods |= is_bound && known.is_ready == Some(false);
        known.doubts_pods
    }

    /// After all nodes that have changed were seen: what their zones have come to. Calls `look` with the nodes for which
    /// that makes a difference.
    pub fn settle(&mut self, now: Timestamp, look: &mut dyn FnMut(&str)) {
        let mut zones = self.zones.values().filter(|zone| !zone.is_empty()).peekable();
        let all_down = zones.peek().is_some() && zones.all(Zone::is_down);
        let all_change = all_down != self.all_down;
        if all_change && self.all_down {
            // The silence was on this side. It is counted anew from here, also for those that are held to be gone.
            for known in self.nodes.values_mut() {
                (known.heard, known.has_turn, known.spared) = (now, false, now.checked_add(GRACE).ok());
            }
        }
        self.all_down = all_down;
        let changed: Vec<Box<str>> =
            self.zones.iter_mut().filter_map(|(name, zone)| zone.settle().then(|| name.clone())).collect();
        if !all_change && changed.is_empty() {
            return;
        }
        for (name, known) in &self.nodes {
            let waits = known.is_ready == Some(false) && (all_change || changed.contains(&known.zone));
            if waits || (all_change && !all_down) {
                look(name);
            }
        }
    }

    /// The taints the node is to have, if it has others, and how long it waits for its turn to be emptied.
    pub fn taints(&mut self, node: &Node, now: Timestamp) -> (Option<Vec<Taint>>, Option<Duration>) {
        let mut wait = None;
        let mut may_empty = false;
        if !self.all_down
            && taints::is_to_be_emptied(node)
            && let Some(known) = self.nodes.get_mut(&node.metadata.name)
            && let Some(zone) = self.zones.get_mut(&known.zone)
        {
            if let Some(end) = known.spared.filter(|end| *end > now) {
                wait = Some(until(end, now));
            } else if !known.has_turn {
                match zone.take_turn(now) {
                    Ok(()) => known.has_turn = true,
                    Err(time) => wait = time,
                }
            }
            may_empty = known.has_turn;
        }
        let wanted = taints::wanted(node, self.all_down, may_empty, now);
        (Some(wanted).filter(|wanted| *wanted != node.spec.taints), wait)
    }
}

impl Known {
    fn enter(&self, zones: &mut BTreeMap<Box<str>, Zone>) {
        if self.counts
            && let Some(zone) = zones.get_mut(&self.zone)
        {
            zone.add(self.is_ready == Some(true));
        }
    }

    fn leave(&self, zones: &mut BTreeMap<Box<str>, Zone>) {
        if self.counts
            && let Some(zone) = zones.get_mut(&self.zone)
        {
            zone.remove(self.is_ready == Some(true));
        }
    }
}
