//! The rows of the workload kinds, by topic.

use super::{
    Row, autoscaler, cron_job, daemon_set, deployment, disruption_budget, job, pod, replication_controller, scheduling,
    stateful_set,
};
pub const ROWS: &[Row] = &[
    ("controllerrevisions.apps", stateful_set::CONTROLLER_REVISION, stateful_set::controller_revision_columns),
    ("cronjobs.batch", cron_job::STRATEGY, cron_job::columns),
    ("daemonsets.apps", daemon_set::STRATEGY, daemon_set::columns),
    ("deployments.apps", deployment::DEPLOYMENT, deployment::deployment_columns),
    ("horizontalpodautoscalers.autoscaling", autoscaler::STRATEGY, autoscaler::columns),
    ("jobs.batch", job::STRATEGY, job::columns),
    ("poddisruptionbudgets.policy", disruption_budget::STRATEGY, disruption_budget::columns),
    ("pods", pod::STRATEGY, pod::columns),
    ("podtemplates", deployment::POD_TEMPLATE, deployment::pod_template_columns),
    ("priorityclasses.scheduling.k8s.io", scheduling::PRIORITY_CLASS, scheduling::priority_class_columns),
    ("replicasets.apps", deployment::REPLICA_SET, deployment::replica_set_columns),
    ("replicationcontrollers", replication_controller::STRATEGY, replication_controller::columns),
    ("runtimeclasses.node.k8s.io", scheduling::RUNTIME_CLASS, scheduling::runtime_class_columns),
    ("statefulsets.apps", stateful_set::STRATEGY, stateful_set::columns),
];

#[cfg(test)]
pub(super) mod tests;
