//! How long a job waits before it makes another pod in place of one that failed.
//!
//! Everything follows from the pods that are there, so that a restart forgets nothing: how many failed since the last
//! success, and when the last of them did.

use std::time::Duration;

use client::objects::{Pod, container::ContainerStatus};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::census::Census;
use stdx::clock::until;

/// The wait after the first failure; it doubles with each further one, up to the longest.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// What is left of the wait of the whole job.
pub fn remaining(census: &Census<'_>) -> Option<Duration> {
    let ended = |pod: &Pod| finish_time(pod, &census.job.spec.template);
    let members = || census.members.iter();
    let last_success = members().filter(|member| member.succeeded()).filter_map(|member| ended(&member.pod)).max();
    let failures: Vec<Timestamp> = members()
        .filter(|member| member.is_failed)
        .filter_map(|member| ended(&member.pod))
        .filter(|time| last_success.is_none_or(|success| *time > success))
        .collect();
    // Where nothing ever succeeded, failures count whose pods are gone.
    let known = if census.succeeded == 0 { census.failed } else { 0 };
    let count = u32::try_from(failures.len()).unwrap_or(u32::MAX).max(known);
    left(count, failures.into_iter().max()?, census.now)
}

/// What is left of the wait of one index, in which `count` pods failed, this one last.
pub fn remaining_of_index(count: u32, last: &Pod, template: &Value, now: Timestamp) -> Option<Duration> {
    left(count, finish_time(last, template)?, now)
}

fn left(failures: u32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?.min(16);
    let wait = (FIRST * (1_i32 << doublings)).min(LONGEST);
    Some(until(last.checked_add(wait).ok()?, now)).filter(|left| !left.is_zero())
}

/// When a pod ended: when the last of its containers did, else when it was no longer ready, else when its deletion was asked
/// for.
pub fn finish_time(pod: &Pod, template: &Value) -> Option<Timestamp> {
    let meta = &pod.metadata;
    let unready = || pod.condition("Ready").filter(|ready| *ready.status == *"False")?.last_transition_time;
    let deleted = || {
        let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or_default());
        meta.deletion_timestamp?.checked_sub(grace).ok()
    };
    containers_end(pod, template).or_else(unready).or_else(deleted).or(meta.creation_timestamp)
}

/// Of the containers that run to the pod's end: not of those that only prepare it.
fn containers_end(pod: &Pod, template: &Value) -> Option<Timestamp> {
    let sidecars: Vec<&str> = template["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|container| container["restartPolicy"] == "Always")
        .filter_map(|container| container["name"].as_str())
        .collect();
    let end = |status: &ContainerStatus| status.terminated.as_deref()?.finished_at;
    let mut last = None;
    for status in &pod.status.container_statuses {
        last = last.max(Some(end(status)?));
    }
    let ended = pod.status.init_container_statuses.iter().filter_map(|status| status.terminated.as_deref());
    let sidecars = ended.filter(|end| sidecars.contains(&&*end.container)).filter_map(|end| end.finished_at);
    last.max(sidecars.max())
}
