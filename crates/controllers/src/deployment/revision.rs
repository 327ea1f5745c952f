//! Which set stands for which template, and by what number and name.

use std::sync::Arc;

use client::objects::{Deployment, Meta, ReplicaSet};
use serde_json::{Map, Value, json};

use crate::{plan::Reference, template_hash::hash};

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations that are of the deployment or the set alone.
const NOT_HANDED_ON: [&str; 5] = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS];
const HASH_LABEL: &str = "pod-template-hash";
/// A set's earlier numbers are kept up to this length.
const LONGEST_HISTORY: usize = 2000;

/// A deployment's sets by what they are to it.
pub(super) struct Revisions {
    /// That of the present template; the oldest, should there be several.
    pub new: Option<Arc<ReplicaSet>>,
    /// The others, oldest first.
    pub old: Vec<Arc<ReplicaSet>>,
}

/// The number of a revision; 0 for none.
pub(super) fn of(meta: &Meta) -> i64 {
    number(meta, REVISION).unwrap_or_default()
}

pub(super) fn number(meta: &Meta, annotation: &str) -> Option<i64> {
    meta.annotations.get(annotation)?.parse().ok()
}

impl Revisions {
    pub fn sort(deployment: &Deployment, mut sets: Vec<Arc<ReplicaSet>>) -> Self {
        sets.sort_by(|a, b| {
            let age = |set: &ReplicaSet| (set.metadata.creation_timestamp, set.metadata.name.clone());
            age(a).cmp(&age(b))
        });
        let new = sets.iter().position(|set| is_same(&set.spec.template, &deployment.spec.template));
        let new = new.map(|at| sets.remove(at));
        Self { new, old: sets }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> + Clone {
        self.old.iter().chain(&self.new)
    }

    /// The number that the new set has or gets.
    pub fn number_of_new(&self) -> i64 {
        self.old.iter().map(|set| of(&set.metadata)).max().unwrap_or_default() + 1
    }

    /// The annotations by which the new set differs from what it should have.
    pub fn annotations_to_set(&self, deployment: &Deployment, new: &ReplicaSet) -> Map<String, Value> {
        let known = &new.metadata.annotations;
        let mut annotations = handed_on(deployment);
        annotations.retain(|name, value| known.get(name) != value.as_str());
        let (now, before) = (self.number_of_new(), of(&new.metadata));
        if before < now {
            annotations.insert(REVISION.to_owned(), now.to_string().into());
            if before > 0 {
                annotations.insert(REVISION_HISTORY.to_owned(), longer(known.get(REVISION_HISTORY), before).into());
            }
        }
        annotations
    }

    /// A set of the present template, as it is to be created.
    pub fn next(&self, deployment: &Deployment, owner: &Reference, replicas: i32, sizes: &Map<String, Value>) -> Value {
        let spec = &deployment.spec;
        let hash = hash(&spec.template, deployment.status.collision_count.unwrap_or_default());
        let mut template = (*spec.template.0).clone();
        template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let mut selector = spec.selector.written.clone();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let mut annotations = handed_on(deployment);
        annotations.extend(sizes.clone());
        annotations.insert(REVISION.to_owned(), self.number_of_new().to_string().into());
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", deployment.metadata.name),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [owner.as_controller()],
            },
            "spec": {
                "replicas": replicas, "minReadySeconds": spec.min_ready_seconds, "selector": selector,
                "template": template,
            },
        })
    }
}

fn handed_on(deployment: &Deployment) -> Map<String, Value> {
    let annotations = deployment.metadata.annotations.iter();
    annotations
        .filter(|(name, _)| !NOT_HANDED_ON.contains(name))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// The history with one more number; the first ones give way where it gets too long.
fn longer(history: Option<&str>, number: i64) -> String {
    let number = number.to_string();
    let Some(mut history) = history.filter(|history| !history.is_empty()) else { return number };
    while history.len() + 1 + number.len() > LONGEST_HISTORY {
        match history.split_once(',') {
            Some((_, rest)) => history = rest,
            None => return number,
        }
    }
    format!("{history},{number}")
}

/// Whether a set was made from this template.
fn is_same(of_set: &Value, template: &Value) -> bool {
    let (ours, theirs) = (&of_set["metadata"], &template["metadata"]);
    let labels = |metadata: &Value| -> Vec<(String, Value)> {
        let labels = metadata["labels"].as_object().into_iter().flatten();
        labels.filter(|(name, _)| *name != HASH_LABEL).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let rest = |metadata: &Value| -> Map<String, Value> {
        let fields = metadata.as_object().into_iter().flatten();
        fields
            .filter(|(name, value)| *name != "labels" && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    of_set["spec"] == template["spec"] && labels(ours) == labels(theirs) && rest(ours) == rest(theirs)
}
