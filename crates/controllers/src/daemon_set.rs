//! DaemonSets: a pod on every node that is to have one.
//!
//! | file | decides |
//! |---|---|
//! | `nodes` | on which nodes a set's pods may be, and what a pod for a node looks like |
//! | `upkeep` | what each node lacks or has too much |
//! | `rollout` | which pods give way to the next template |
//!
//! Pods are bound by the scheduler: each asks for its node by name.

mod nodes;
mod rollout;
mod upkeep;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Change, Key,
    caches::{Changes, Topic},
    objects::{ControllerRevision, DaemonSet, DaemonSetStatus, Meta, Node, Object, Pod},
    requests::Patch,
};
use serde_json::json;

use crate::{
    claim::{claim, concerned, takers},
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, precondition, status_patch},
    replicas::{narrow, next_available},
    revisions::{self, Present, Subject},
};
use nodes::{Verdict, verdict};

/// The label of a pod and of a revision that holds the template's hash.
const HASH_LABEL: &str = "controller-revision-hash";

pub struct DaemonSets;

/// A set, its pods by node and the moment: what everything below decides on.
struct Scene<'a> {
    set: &'a DaemonSet,
    owner: Reference,
    turn: &'a Turn,
    /// That of the present template.
    hash: Box<str>,
    nodes: BTreeMap<Box<str>, Place>,
}

/// A node, or what is left of one, and the set's pods that are or are to be on it.
#[derive(Default)]
struct Place {
    /// Nothing for a node that is gone.
    verdict: Option<Verdict>,
    /// Bound ones first, then the oldest.
    pods: Vec<Arc<Pod>>,
}

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn account(&self) -> &'static str {
        "daemon-set-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::DaemonSet, Topic::Pod, Topic::Node, Topic::ControllerRevision]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::DaemonSet(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                let takers = |orphan: &Meta| takers(&caches.daemon_sets, orphan, |set| &set.spec.selector.parsed);
                concerned::<DaemonSet, _>(changes, &takers, add);
            }
            Changes::ControllerRevision(changes) => {
                let takers = |orphan: &Meta| takers(&caches.daemon_sets, orphan, |set| &set.spec.selector.parsed);
                concerned::<DaemonSet, _>(changes, &takers, add);
            }
            Changes::Node(changes) => touched_by_nodes(caches, changes, add),
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(set) = caches.daemon_sets.get(key) else { return Plan::nothing() };
        let mut plan = Plan::nothing();
        if set.metadata.is_being_deleted() {
            // What is left of its pods and revisions is the garbage collector's.
            return plan;
        }
        let owner = Reference::to(&*set);
        let selector = &set.spec.selector.parsed;
        if selector.is_everything() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            plan.then(vec![Action::Event(Event::warning(&owner, "SelectingAll", message.into()))]);
            return plan;
        }
        let pods = claim(&owner, false, selector, &caches.pods);
        let mut history = claim(&owner, false, selector, &caches.controller_revisions);
        // What is written here is seen at once, and leads to the next turn.
        plan.then(pods.actions.into_iter().chain(history.actions).collect());
        if !plan.steps.is_empty() {
            return plan;
        }
        revisions::sort(&mut history.own);
        let Some(present) = present_revision(&set, &owner, (&history.own, &pods.own), caches, &mut plan) else {
            return plan;
        };
        let nodes = places(&set, caches, &pods.own);
        let scene = Scene { set: &set, owner, turn, hash: hash_of(&present).into(), nodes };
        // A rollout goes on once every node has what it is to have.
        if !scene.tend(&mut plan) {
            scene.roll_out(&mut plan);
        }
        scene.tell_status(&mut plan);
        plan.then(surplus_history(&set, &history.own, &present, &pods.own));
        plan
    }
}

/// The sets for which a node has become, or is no longer, what it was. Most changes of a node are heartbeats.
fn touched_by_nodes(caches: &Caches, changes: &[Change<Node>], add: &mut dyn FnMut(Key)) {
    let stays = |change: &&Change<Node>| match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.metadata.labels == new.metadata.labels && old.spec.taints == new.spec.taints,
        _ => false,
    };
    let changes: Vec<&Change<Node>> = changes.iter().filter(|change| !stays(change)).collect();
    if changes.is_empty() {
        return;
    }
    for set in caches.daemon_sets.all() {
        let verdict =
            |node: &Option<Arc<Node>>| node.as_ref().map_or(Verdict::NOTHING, |node| verdict(&set.spec.template, node));
        if changes.iter().any(|change| verdict(&change.old) != verdict(&change.new)) {
            add(set.key());
        }
    }
}

/// The revision of the set's template; none where something has to be written first.
fn present_revision(
    set: &DaemonSet,
    owner: &Reference,
    (history, pods): (&[Arc<ControllerRevision>], &[Arc<Pod>]),
    caches: &Caches,
    plan: &mut Plan,
) -> Option<Arc<ControllerRevision>> {
    let subject = Subject {
        owner,
        annotations: &set.metadata.annotations,
        template: &set.spec.template.written,
        collision_count: set.status.collision_count.unwrap_or_default(),
        hash_label: HASH_LABEL,
    };
    match subject.present(history, caches) {
        Present::Is(revision) => {
            let same = |other: &&Arc<ControllerRevision>| !Arc::ptr_eq(other, &revision) && subject.is_of(other);
            let duplicates: Vec<_> = history.iter().filter(same).collect();
            plan.then(relabel(pods, &duplicates, hash_of(&revision)));
            plan.then(duplicates.into_iter().map(|duplicate| revisions::delete(duplicate)).collect());
            plan.steps.is_empty().then_some(revision)
        }
        Present::ToWrite(action, collisions) => {
            plan.then(vec![*action]);
            if collisions.is_some() {
                let status = DaemonSetStatus { collision_count: collisions, ..set.status.clone() };
                plan.then(vec![status_patch(set, &set.status, &status)]);
            }
            None
        }
    }
}

/// Gives the pods of revisions that hold the same template as another that one's hash.
fn relabel(pods: &[Arc<Pod>], duplicates: &[&Arc<ControllerRevision>], hash: &str) -> Vec<Action> {
    let is_of_duplicate = |pod: &&Arc<Pod>| {
        let label = pod.metadata.labels.get(HASH_LABEL);
        duplicates.iter().any(|duplicate| label == Some(hash_of(duplicate)))
    };
    let relabel = |pod: &Arc<Pod>| {
        let mut metadata = precondition(&pod.metadata);
        metadata["labels"] = json!({ HASH_LABEL: hash });
        let patch = json!({ "metadata": metadata });
        Action::Patch { kind: Pod::KIND, key: pod.key(), subresource: "", form: Patch::Merge, patch }
    };
    pods.iter().filter(is_of_duplicate).map(relabel).collect()
}

/// The hash by which a revision's pods are known.
fn hash_of(revision: &ControllerRevision) -> &str {
    revision.metadata.labels.get(HASH_LABEL).unwrap_or(&revision.metadata.name)
}

fn places(set: &DaemonSet, caches: &Caches, pods: &[Arc<Pod>]) -> BTreeMap<Box<str>, Place> {
    let mut places: BTreeMap<Box<str>, Place> = BTreeMap::new();
    for node in caches.nodes.all() {
        let verdict = Some(verdict(&set.spec.template, &node));
        places.insert(node.metadata.name.clone(), Place { verdict, pods: Vec::new() });
    }
    for pod in pods {
        let node = if pod.spec.node_name.is_empty() { &pod.spec.pinned_to } else { &pod.spec.node_name };
        // One that is over and about to be gone is no longer this controller's business.
        let is_gone = pod.is_over() && pod.metadata.is_being_deleted();
        if !node.is_empty() && !is_gone {
            places.entry(node.clone()).or_default().pods.push(Arc::clone(pod));
        }
    }
    for place in places.values_mut() {
        place.pods.sort_by_key(|pod| {
            let meta = &pod.metadata;
            (pod.spec.node_name.is_empty(), meta.creation_timestamp, meta.name.clone())
        });
    }
    places
}

/// Revisions beyond the history that is to be kept. Those that pods still have count, but stay.
fn surplus_history(
    set: &DaemonSet,
    history: &[Arc<ControllerRevision>],
    present: &Arc<ControllerRevision>,
    pods: &[Arc<Pod>],
) -> Vec<Action> {
    let is_live = |revision: &ControllerRevision| {
        pods.iter().any(|pod| pod.metadata.labels.get(HASH_LABEL) == Some(hash_of(revision)))
    };
    let old = || history.iter().filter(|revision| !Arc::ptr_eq(revision, present));
    let dispensable = old().filter(|revision| !is_live(revision));
    revisions::surplus(dispensable, old().count(), set.spec.revision_history_limit)
}

impl Scene<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(self.set.spec.min_ready_seconds, self.turn.now)
    }

    /// Whether a pod is of the present template: by its hash, or by the template's number where that is all it has.
    fn is_updated(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.metadata.labels.get(name);
        let generation = self.template_generation();
        label(HASH_LABEL) == Some(&*self.hash)
            || generation.is_some_and(|generation| label(nodes::GENERATION_LABEL) == Some(&*generation.to_string()))
    }

    fn template_generation(&self) -> Option<i64> {
        self.set.metadata.annotations.get("deprecated.daemonset.template.generation")?.parse().ok()
    }

    /// How many nodes are to have a pod.
    fn wanted(&self) -> i32 {
        narrow(self.nodes.values().filter(|place| place.is_to_run()).count())
    }

    fn tell_status(&self, plan: &mut Plan) {
        let status = self.status();
        if status != self.set.status {
            plan.then(vec![status_patch(self.set, &self.set.status, &status)]);
        }
        let pods: Vec<Arc<Pod>> = self.nodes.values().flat_map(|place| place.pods.iter().cloned()).collect();
        if let Some(wait) = next_available(&pods, self.set.spec.min_ready_seconds, self.turn.now) {
            plan.again_after(wait);
        }
    }

    fn status(&self) -> DaemonSetStatus {
        let wanted: Vec<&Place> = self.nodes.values().filter(|place| place.is_to_run()).collect();
        // Of several on a node the first one counts.
        let count = |which: &dyn Fn(&Pod) -> bool| {
            narrow(wanted.iter().filter(|place| place.pods.first().is_some_and(|pod| which(pod))).count())
        };
        let misscheduled = |place: &&Place| place.verdict.is_some() && !place.is_to_run() && !place.pods.is_empty();
        let available = count(&|pod| self.is_available(pod));
        DaemonSetStatus {
            current_number_scheduled: count(&|_| true),
            number_misscheduled: narrow(self.nodes.values().filter(misscheduled).count()),
            desired_number_scheduled: narrow(wanted.len()),
            number_ready: count(&|pod| pod.is_ready()),
            observed_generation: self.set.metadata.generation,
            updated_number_scheduled: count(&|pod| self.is_updated(pod)),
            number_available: available,
            number_unavailable: narrow(wanted.len()) - available,
            collision_count: self.set.status.collision_count,
            conditions: self.set.status.conditions.clone(),
        }
    }
}

impl Place {
    fn is_to_run(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.run)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn a_node_concerns_the_sets_that_it_is_or_is_no_longer_for() {
        let caches = Caches::default();
        let set = |name: &str, selector: Value| {
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "1"},
                "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"spec": {"nodeSelector": selector}}},
            })
        };
        caches.observe(&set("everywhere", json!({}))).unwrap();
        caches.observe(&set("on-ssd", json!({"disk": "ssd"}))).unwrap();
        let nodes = caches.subscribe(Topic::Node, &Arc::new(Notify::new()));
        let heartbeat = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
        for (revision, labels, taints, conditions, concerned) in [
            ("1", json!({}), json!([]), json!([]), &["a/everywhere"][..]),
            ("2", json!({}), json!([]), heartbeat.clone(), &[]),
            ("3", json!({"disk": "hdd"}), json!([]), heartbeat.clone(), &[]),
            ("4", json!({"disk": "ssd"}), json!([]), heartbeat.clone(), &["a/on-ssd"]),
            (
                "5",
                json!({"disk": "ssd"}),
                json!([{"key": "x", "effect": "NoSchedule"}]),
                heartbeat.clone(),
                &["a/everywhere", "a/on-ssd"],
            ),
            ("6", json!({"disk": "ssd"}), json!([{"key": "x", "effect": "NoSchedule"}]), json!([]), &[]),
        ] {
            let node = json!({
                "apiVersion": "v1", "kind": "Node", "spec": {"taints": taints}, "status": {"conditions": conditions},
                "metadata": {"name": "n1", "uid": "n1", "resourceVersion": revision, "labels": labels},
            });
            caches.observe(&node).unwrap();
            let mut touched = Vec::new();
            DaemonSets.touched(&caches, &nodes.changes(), &mut |key| touched.push(key.as_str().to_owned()));
            assert_eq!(touched, concerned, "revision {revision}");
        }
    }
}
