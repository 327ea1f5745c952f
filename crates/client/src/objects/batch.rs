//! Jobs, and what starts them at their times.

use api::selector::LabelSelector;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Json, Meta, Object, parts::selector, workload::is_zero};
use crate::Kind;

/// The index of jobs by their own UIDs, which is what their pods carry as a label.
pub const JOB_UID: &str = "uid";
/// The index, by namespace, of the jobs whose users say which pods are theirs.
pub const MANUAL_SELECTOR: &str = "manual selector";

const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub metadata: Meta,
    pub spec: JobSpec,
    pub status: JobStatus,
}

impl Object for Job {
    const KIND: Kind = Kind::namespaced("batch", "v1", "Job", "jobs");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        add(JOB_UID, &self.metadata.uid);
        if self.spec.manual_selector.unwrap_or_default() {
            add(MANUAL_SELECTOR, &self.metadata.namespace);
        }
    }
}

impl Job {
    pub fn is_indexed(&self) -> bool {
        *self.spec.completion_mode == *"Indexed"
    }

    pub fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    /// Somebody else's controller looks after it (`managedBy`).
    pub fn is_managed_elsewhere(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|controller| controller != JOB_CONTROLLER)
    }

    /// A condition that holds.
    pub fn holds(&self, kind: &str) -> Option<&JobCondition> {
        self.status.conditions.iter().find(|condition| *condition.kind == *kind && *condition.status == *"True")
    }

    /// `Complete` or `Failed`, once one of them holds.
    pub fn finished(&self) -> Option<&JobCondition> {
        self.holds("Complete").or_else(|| self.holds("Failed"))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    pub parallelism: Option<i32>,
    pub completions: Option<i32>,
    pub completion_mode: Box<str>,
    pub suspend: Option<bool>,
    pub active_deadline_seconds: Option<i64>,
    pub backoff_limit: Option<i32>,
    pub backoff_limit_per_index: Option<i32>,
    pub max_failed_indexes: Option<i32>,
    pub pod_failure_policy: Option<FailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub pod_replacement_policy: Box<str>,
    pub ttl_seconds_after_finished: Option<i32>,
    pub managed_by: Option<Box<str>>,
    pub manual_selector: Option<bool>,
    #[serde(deserialize_with = "selector")]
    pub selector: LabelSelector,
    pub template: Json,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FailurePolicy {
    pub rules: Vec<FailureRule>,
}

/// What a pod's failure means, if it is this one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FailureRule {
    pub action: FailureAction,
    pub on_exit_codes: Option<ExitCodes>,
    pub on_pod_conditions: Option<Vec<ConditionPattern>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum FailureAction {
    FailJob,
    FailIndex,
    Ignore,
    #[default]
    #[serde(other)]
    Count,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExitCodes {
    /// Any container where it is absent.
    pub container_name: Option<Box<str>>,
    /// `In` or `NotIn`.
    pub operator: Box<str>,
    pub values: Vec<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConditionPattern {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    pub rules: Vec<SuccessRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessRule {
    pub succeeded_indexes: Option<Box<str>>,
    pub succeeded_count: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<JobCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_zero")]
    pub active: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub succeeded: i32,
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub completed_indexes: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_indexes: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted_terminated_pods: Option<Uncounted>,
}

/// The UIDs of pods that have ended and whose end is not yet in the counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    pub metadata: Meta,
    pub spec: CronJobSpec,
    pub status: CronJobStatus,
}

impl Object for CronJob {
    const KIND: Kind = Kind::namespaced("batch", "v1", "CronJob", "cronjobs");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    pub schedule: Box<str>,
    pub time_zone: Option<Box<str>>,
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: Box<str>,
    pub suspend: Option<bool>,
    pub job_template: Json,
    pub successful_jobs_history_limit: Option<i32>,
    pub failed_jobs_history_limit: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<ActiveJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Timestamp>,
}

/// A reference to a job that has been started and is not known to have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActiveJob {
    pub kind: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub api_version: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource_version: Box<str>,
}
