//! Budgets of disruption.

use std::{collections::BTreeMap, sync::Arc};

use api::selector::{LabelSelector, Operator};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Meta, Object, Pod,
    parts::{IntOrPercent, Selector},
    pod::{LABEL, labelled},
};
use crate::{Cache, Kind};

/// The index by a label that each selected pod carries; by the namespace where the selector names none.
const SELECTS: &str = "selects";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    pub metadata: Meta,
    pub spec: PodDisruptionBudgetSpec,
    pub status: PodDisruptionBudgetStatus,
}

/// At most one of the two bounds is given.
impl Object for PodDisruptionBudget {
    const KIND: Kind = Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        let namespace = &self.metadata.namespace;
        match required_label(&self.spec.selector.parsed) {
            Some((key, value)) => add(SELECTS, &labelled(namespace, key, value)),
            None => add(SELECTS, namespace),
        }
    }
}

/// A label that everything carries that a selector selects.
fn required_label(selector: &LabelSelector) -> Option<(&str, &str)> {
    selector.requirements().iter().find_map(|requirement| match (requirement.operator, &requirement.values[..]) {
        (Operator::In | Operator::Equals | Operator::DoubleEquals, [value]) => Some((&*requirement.key, &**value)),
        _ => None,
    })
}

impl Cache<Pod> {
    /// The pods of a namespace that a selector selects.
    pub fn selected(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<Pod>> {
        let candidates = match required_label(selector) {
            _ if selector.is_nothing() => Vec::new(),
            Some((key, value)) => self.by(LABEL, &labelled(namespace, key, value)),
            None => self.in_namespace(namespace),
        };
        candidates.into_iter().filter(|pod| pod.metadata.labels.are_matched_by(selector)).collect()
    }
}

impl Cache<PodDisruptionBudget> {
    /// The budgets that select a pod.
    pub fn of_pod(&self, pod: &Meta) -> Vec<Arc<PodDisruptionBudget>> {
        let by_label =
            pod.labels.iter().flat_map(|(key, value)| self.by(SELECTS, &labelled(&pod.namespace, key, value)));
        let candidates = by_label.chain(self.by(SELECTS, &pod.namespace));
        candidates.filter(|budget| pod.labels.are_matched_by(&budget.spec.selector.parsed)).collect()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudgetSpec {
    pub selector: Selector,
    pub min_available: Option<IntOrPercent>,
    pub max_unavailable: Option<IntOrPercent>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudgetStatus {
    pub observed_generation: i64,
    /// By name, pods whose eviction was granted, with the time at which it was, until they are seen to go.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disrupted_pods: BTreeMap<Box<str>, Timestamp>,
    pub disruptions_allowed: i32,
    pub current_healthy: i32,
    pub desired_healthy: i32,
    pub expected_pods: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<BudgetCondition>,
}

/// A condition that says which generation it is about (`metav1.Condition`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BudgetCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    pub last_transition_time: Option<Timestamp>,
    pub reason: Box<str>,
    pub message: Box<str>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_and_budgets_find_each_other_by_labels() {
        let (pods, budgets) = (Cache::default(), Cache::default());
        for (name, namespace, labels) in [
            ("a", "shop", json!({"app": "web", "tier": "front"})),
            ("b", "shop", json!({"app": "web"})),
            ("c", "shop", json!({"app": "db"})),
            ("d", "else", json!({"app": "web"})),
        ] {
            let metadata = json!({"name": name, "namespace": namespace, "uid": name, "labels": labels});
            pods.observe(serde_json::from_value::<Pod>(json!({"metadata": metadata})).unwrap());
        }
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        for (name, selector, selected) in [
            ("by-label", json!({"matchLabels": {"app": "web"}}), &["a", "b"][..]),
            ("by-two", json!({"matchLabels": {"app": "web", "tier": "front"}}), &["a"]),
            ("by-one-of", expression("In", json!(["web", "db"])), &["a", "b", "c"]),
            ("by-what-is-not", expression("NotIn", json!(["web"])), &["c"]),
            ("all", json!({}), &["a", "b", "c"]),
            ("none", Value::Null, &[]),
        ] {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"selector": selector},
            }))
            .unwrap();
            let found = pods.selected("shop", &budget.spec.selector.parsed);
            assert_eq!(found.iter().map(|pod| &*pod.metadata.name).collect::<Vec<_>>(), selected, "{name}");
            budgets.observe(budget);
        }
        let mut of_a: Vec<String> = Vec::new();
        for budget in budgets.of_pod(&pods.find("shop", "a").unwrap().metadata) {
            of_a.push(budget.metadata.name.to_string());
        }
        of_a.sort();
        assert_eq!(of_a, ["all", "by-label", "by-one-of", "by-two"]);
    }
}
