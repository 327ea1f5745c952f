//! What is special about each built-in kind, found by its topic ([`crate::resource::Storage::topic`]).

mod admission_policy;
mod api_service;
pub mod autoscaler;
pub mod certificate;
pub mod check;
pub mod columns;
mod config;
mod cron_job;
mod daemon_set;
mod deployment;
mod device;
mod disruption_budget;
pub mod edit;
mod endpoints;
pub mod event;
mod flow_control;
mod ingress;
mod job;
mod lease;
mod mutating_policy;
mod namespace;
mod network;
mod node;
mod platform;
pub mod pod;
mod quota;
mod rbac;
mod replication_controller;
pub mod resources;
mod rules;
pub mod schedule;
mod scheduling;
pub mod service;
mod stateful_set;
mod storage;
mod volume;
mod webhook;
mod workload;
mod workloads;

use std::sync::Arc;

use crate::{resource::Column, strategy::Strategy};

/// The strategy of a built-in kind; the default one where nothing is special.
pub fn strategy(topic: &str) -> Option<Strategy> {
    row(topic).map(|(_, strategy, _)| *strategy)
}

/// The same, as a group serves the kind.
pub fn strategy_in(group: &str, topic: &str) -> Option<Strategy> {
    match (group, topic) {
        ("events.k8s.io", "events") => Some(event::STRICT_STRATEGY),
        _ => strategy(topic),
    }
}

/// The printer columns of a built-in kind.
pub fn columns(topic: &str) -> Option<Arc<[Column]>> {
    row(topic).map(|(_, _, columns)| columns().into())
}

type Row = (&'static str, Strategy, fn() -> Vec<Column>);

fn row(topic: &str) -> Option<&'static Row> {
    workloads::ROWS.iter().chain(platform::ROWS).find(|(known, ..)| *known == topic)
}

/// The topics of all kinds that are special in something.
#[cfg(test)]
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    workloads::ROWS.iter().chain(platform::ROWS).map(|(topic, ..)| *topic)
}
