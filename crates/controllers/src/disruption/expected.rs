//! How many pods there should be: the sum of what those want who make them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::{
    Caches, Key,
    objects::{Meta, Object, OwnerReference, ReplicaSet, ReplicationController, StatefulSet, parts::IntOrPercent},
};
use serde_json::Value;

use super::Scene;
use crate::{
    driver::Turn,
    lookup::{Found, Lookup},
    replicas::narrow,
};

/// What is known about the number of a budget's pods.
pub(super) enum Count {
    Is {
        expected: i32,
        /// How many have to be healthy.
        healthy: i32,
        /// Whether there are pods that nobody makes, although it matters who does.
        unmanaged: bool,
    },
    /// First somebody has to be asked.
    Ask(Vec<Lookup>),
    Unknown(String),
}

/// Who makes pods, and how many.
enum Maker {
    Is(Box<str>, i32),
    Ask(Lookup),
    None,
    Unknown(String),
}

impl Scene<'_> {
    pub(super) fn count(&self, caches: &Caches, turn: &Turn) -> Count {
        let spec = &self.budget.spec;
        let (share, complement) = match (spec.max_unavailable, spec.min_available) {
            (Some(unavailable), _) => (unavailable, true),
            (None, Some(IntOrPercent::Int(healthy))) => {
                return Count::Is { expected: narrow(self.pods.len()), healthy, unmanaged: false };
            }
            (None, Some(available)) => (available, false),
            (None, None) => return Count::Is { expected: 0, healthy: 0, unmanaged: false },
        };
        let (mut scales, mut lookups, mut unmanaged) = (BTreeMap::new(), Vec::new(), false);
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for pod in &self.pods {
            let Some(owner) = pod.metadata.controller() else {
                unmanaged = true;
                continue;
            };
            if !seen.insert(&owner.uid) {
                continue;
            }
            match maker(caches, &pod.metadata, owner, turn) {
                Maker::Is(uid, replicas) => drop(scales.insert(uid, replicas)),
                Maker::Ask(lookup) => lookups.push(lookup),
                Maker::None => return Count::Unknown(format!("found no controllers for pod {:?}", pod.metadata.name)),
                Maker::Unknown(why) => return Count::Unknown(why),
            }
        }
        if !lookups.is_empty() {
            return Count::Ask(lookups);
        }
        let expected = scales.values().fold(0_i32, |sum, replicas| sum.saturating_add(*replicas));
        let share = share.of_rounded_up(expected);
        let healthy = if complement { expected.saturating_sub(share).max(0) } else { share };
        Count::Is { expected, healthy, unmanaged }
    }
}

fn maker(caches: &Caches, pod: &Meta, owner: &OwnerReference, turn: &Turn) -> Maker {
    let key = Key::new(&pod.namespace, &owner.name);
    if is::<ReplicaSet>(owner) {
        let set = caches.replica_sets.get(&key).filter(|set| set.metadata.uid == owner.uid);
        return set.map_or(Maker::None, |set| of_replica_set(caches, &set));
    }
    if is::<StatefulSet>(owner) {
        let set = caches.stateful_sets.get(&key).filter(|set| set.metadata.uid == owner.uid);
        return set.map_or(Maker::None, |set| Maker::Is(owner.uid.clone(), set.spec.replicas));
    }
    if is::<ReplicationController>(owner) {
        let set = caches.replication_controllers.get(&key).filter(|set| set.metadata.uid == owner.uid);
        return set.map_or(Maker::None, |set| Maker::Is(owner.uid.clone(), set.spec.replicas));
    }
    let lookup = Lookup { api_version: owner.api_version.clone(), kind: owner.kind.clone(), key };
    match turn.found.get(&lookup) {
        None => Maker::Ask(lookup),
        Some(Found::Scale { uid, replicas }) if *uid == owner.uid => Maker::Is(uid.clone(), *replicas),
        Some(Found::Scale { .. } | Found::Nothing) => Maker::None,
        Some(Found::Failed(why)) => Maker::Unknown(why.clone()),
    }
}

/// A deployment counts once, however many sets it has.
fn of_replica_set(caches: &Caches, set: &Arc<ReplicaSet>) -> Maker {
    let deployment = crate::claim::owner_of::<client::objects::Deployment>(&set.metadata)
        .and_then(|key| caches.deployments.get(&key))
        .filter(|deployment| set.metadata.is_controlled_by(&deployment.metadata.uid));
    match deployment {
        Some(deployment) => Maker::Is(deployment.metadata.uid.clone(), deployment.spec.replicas),
        None => Maker::Is(set.metadata.uid.clone(), set.spec.replicas),
    }
}

fn is<T: Object>(owner: &OwnerReference) -> bool {
    *owner.kind == *T::KIND.kind && *owner.api_version == *T::KIND.api_version()
}

/// A selector as events show it, which is how Go prints one.
pub(super) fn written(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", text(value))).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let expressions: String = expressions
        .map(|expression| {
            let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
            let (key, operator) = (text(&expression["key"]), text(&expression["operator"]));
            let values = values.join(" ");
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
