//! StatefulSets: pods with names and volumes of their own, made and taken away in order.
//!
//! | file | decides |
//! |---|---|
//! | `identity` | what a set's pods and claims are called and look like |
//! | `ordinals` | which pod is made, mended or given up next |
//! | `retention` | whom the claims of a pod belong to |
//!
//! `maxUnavailable` of a rolling update is not enabled in Kubernetes 1.36: an update takes one pod at a time.

mod identity;
mod ordinals;
mod retention;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{ControllerRevision, Meta, Object, PersistentVolumeClaim, Pod, StatefulSet, StatefulSetStatus},
};
use serde_json::Value;

use crate::{
    claim::{claim, claim_where, concerned, takers},
    driver::{Controller, Turn},
    plan::{Plan, Reference, status_patch},
    replicas::{narrow, next_available},
    revisions::{self, Present, Subject},
};

/// The label of a pod that names the revision it was made from.
const REVISION_LABEL: &str = "controller-revision-hash";

pub struct StatefulSets;

/// A set, its pods and the moment: what everything below decides on.
struct Scene<'a> {
    set: &'a StatefulSet,
    owner: Reference,
    caches: &'a Caches,
    turn: &'a Turn,
    /// Those that count, by ordinal.
    pods: BTreeMap<i64, Arc<Pod>>,
    current: Version,
    update: Version,
}

/// A revision, as pods are made from it.
struct Version {
    name: Box<str>,
    template: Value,
}

impl Version {
    fn of(revision: &ControllerRevision) -> Self {
        Self { name: revision.metadata.name.clone(), template: revisions::template(revision) }
    }
}

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::StatefulSet, Topic::Pod, Topic::ControllerRevision, Topic::PersistentVolumeClaim]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::StatefulSet(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                let taker = |orphan: &Meta| {
                    let (set, _) = identity::parse(&orphan.name)?;
                    caches.stateful_sets.find(&orphan.namespace, set).map(|set| set.key())
                };
                concerned::<StatefulSet, _>(changes, &|orphan| taker(orphan).into_iter().collect(), add);
            }
            Changes::ControllerRevision(changes) => {
                let takers = |orphan: &Meta| takers(&caches.stateful_sets, orphan, |set| &set.spec.selector.parsed);
                concerned::<StatefulSet, _>(changes, &takers, add);
            }
            Changes::PersistentVolumeClaim(changes) => {
                for change in changes {
                    sets_of_claim(caches, &change.key).for_each(&mut *add);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(set) = caches.stateful_sets.get(key) else { return Plan::nothing() };
        let owner = Reference::to(&*set);
        let deleting = set.metadata.is_being_deleted();
        let selector = &set.spec.selector.parsed;
        let mut plan = Plan::nothing();
        let is_member = |meta: &Meta| {
            meta.labels.are_matched_by(selector)
                && identity::parse(&meta.name).is_some_and(|(parent, _)| *parent == *set.metadata.name)
        };
        let pods = claim_where(&owner, deleting, &is_member, &caches.pods);
        let mut history = claim(&owner, deleting, selector, &caches.controller_revisions);
        // What is written here is seen at once, and leads to the next turn.
        plan.then(pods.actions.into_iter().chain(history.actions).collect());
        if !plan.steps.is_empty() {
            return plan;
        }
        revisions::sort(&mut history.own);
        let Some(update) = present_revision(&set, &owner, &history.own, caches, &mut plan) else { return plan };
        let current = history.own.iter().find(|revision| revision.metadata.name == set.status.current_revision);
        let current = Version::of(current.unwrap_or(&update));
        let update = Version::of(&update);
        let own = pods.own.into_iter();
        let pods = own.filter_map(|pod| Some((identity::parse(&pod.metadata.name)?.1, pod))).collect();
        let scene = Scene { set: &set, owner, caches, turn, pods, current, update };
        if !deleting {
            scene.tend(&mut plan);
        }
        scene.tell_status(&mut plan);
        plan.then(scene.surplus_history(&history.own));
        plan
    }
}

/// The revision of the set's template; none where it has to be written first.
fn present_revision(
    set: &StatefulSet,
    owner: &Reference,
    history: &[Arc<ControllerRevision>],
    caches: &Caches,
    plan: &mut Plan,
) -> Option<Arc<ControllerRevision>> {
    let subject = Subject {
        owner,
        annotations: &set.metadata.annotations,
        template: &set.spec.template,
        collision_count: set.status.collision_count.unwrap_or_default(),
        hash_label: "controller.kubernetes.io/hash",
    };
    match subject.present(history, caches) {
        Present::Is(revision) => Some(revision),
        Present::ToWrite(_, _) if set.metadata.is_being_deleted() => None,
        Present::ToWrite(action, collisions) => {
            plan.then(vec![*action]);
            if collisions.is_some() {
                let status = StatefulSetStatus { collision_count: collisions, ..set.status.clone() };
                plan.then(vec![status_patch(set, &set.status, &status)]);
            }
            None
        }
    }
}

/// The sets by whose template a claim may have been made: `<template>-<set>-<ordinal>`, where each part may have dashes.
fn sets_of_claim(caches: &Caches, claim: &Key) -> impl Iterator<Item = Key> {
    let stem = identity::parse(claim.name()).map_or("", |(stem, _)| stem);
    let names = stem.match_indices('-').map(|(at, _)| &stem[at + 1..]);
    names.filter_map(|name| caches.stateful_sets.find(claim.namespace(), name)).map(|set| set.key())
}

impl Scene<'_> {
    fn tell_status(&self, plan: &mut Plan) {
        let status = self.status();
        if status != self.set.status {
            plan.then(vec![status_patch(self.set, &self.set.status, &status)]);
        }
        let pods: Vec<Arc<Pod>> = self.pods.values().cloned().collect();
        if let Some(wait) = next_available(&pods, self.set.spec.min_ready_seconds, self.turn.now) {
            plan.again_after(wait);
        }
    }

    fn status(&self) -> StatefulSetStatus {
        let count = |which: &dyn Fn(&Pod) -> bool| narrow(self.pods.values().filter(|pod| which(pod)).count());
        let of = |version: &Version| count(&|pod| !pod.metadata.is_being_deleted() && is_of(pod, version));
        let mut status = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: count(&identity::is_running_and_ready),
            available_replicas: count(&|pod| identity::is_running_and_ready(pod) && self.is_available(pod)),
            current_replicas: of(&self.current),
            updated_replicas: of(&self.update),
            current_revision: self.current.name.clone(),
            update_revision: self.update.name.clone(),
            collision_count: Some(self.set.status.collision_count.unwrap_or_default()),
            conditions: self.set.status.conditions.clone(),
        };
        let complete = [status.updated_replicas, status.ready_replicas, status.replicas] == [self.set.spec.replicas; 3];
        if complete && *self.set.spec.update_strategy.kind == *"RollingUpdate" {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
        status
    }

    fn surplus_history(&self, history: &[Arc<ControllerRevision>]) -> Vec<crate::plan::Action> {
        let is_live = |name: &str| {
            *name == *self.current.name
                || *name == *self.update.name
                || self.pods.values().any(|pod| pod.metadata.labels.get(REVISION_LABEL) == Some(name))
        };
        let past: Vec<_> = history.iter().filter(|revision| !is_live(&revision.metadata.name)).collect();
        revisions::surplus(past.iter().copied(), past.len(), self.set.spec.revision_history_limit)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(self.set.spec.min_ready_seconds, self.turn.now)
    }

    fn claim(&self, template: &str, ordinal: i64) -> Option<Arc<PersistentVolumeClaim>> {
        let name = identity::claim_name(template, &self.set.metadata.name, ordinal);
        self.caches.persistent_volume_claims.find(&self.set.metadata.namespace, &name)
    }
}

fn is_of(pod: &Pod, version: &Version) -> bool {
    pod.metadata.labels.get(REVISION_LABEL) == Some(&version.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_concerns_the_sets_that_it_may_be_named_by() {
        let caches = Caches::default();
        for name in ["web", "my-web", "web-0"] {
            let metadata = json!({"name": name, "namespace": "a", "uid": name, "resourceVersion": "1"});
            caches.observe(&json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata})).unwrap();
        }
        for (claim, sets) in [
            ("data-web-0", &["a/web"][..]),
            ("data-my-web-3", &["a/my-web", "a/web"]),
            ("data-web-0-1", &["a/web-0"]),
            ("web-0", &[]),
            ("data", &[]),
        ] {
            let found: Vec<Key> = sets_of_claim(&caches, &Key::new("a", claim)).collect();
            assert_eq!(found.iter().map(Key::as_str).collect::<Vec<_>>(), sets, "{claim}");
        }
    }
}
