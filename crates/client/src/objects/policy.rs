//! Budgets of disruption.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Meta,
    parts::{IntOrPercent, Selector},
    workload::object,
};

object! {
    PodDisruptionBudget: namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    pub metadata: Meta,
    pub spec: PodDisruptionBudgetSpec,
    pub status: PodDisruptionBudgetStatus,
}

/// At most one of the two bounds is given.
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
