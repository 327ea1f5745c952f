//! Jobs: pods that run to their end, each counted exactly once.
//!
//! A turn takes a [`census`] of the job's pods, decides whether the job is over ([`ending`]), how many pods it needs
//! ([`scale`]), and what its [`status`] says. Time comes in by the deadline and by the waits after failures
//! ([`backoff`]).

mod backoff;
mod census;
mod create;
mod ending;
mod indexes;
mod orphans;
mod policy;
mod scale;
mod status;
#[cfg(test)]
mod tests;
mod tracked;

pub use orphans::OrphanedPods;

use std::time::Duration;

use client::{
    Backoff, Caches, Key,
    caches::{Changes, Topic},
    objects::{
        Job, Meta, Object,
        batch::{JOB_UID, MANUAL_SELECTOR},
    },
};

use crate::{
    claim::{claim, owner_of},
    driver::{Controller, Failure, Turn},
    plan::{Action, Event, Plan, Reference, status_patch},
};
use census::Census;
use ending::{Ending, until_deadline};
use scale::Scaling;
use status::Report;

/// A pod that carries it has not been counted.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// The pace of creations that are refused.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

pub struct Jobs;

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Job, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Job(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::Pod(changes) => {
                for meta in changes.iter().flat_map(|change| change.states()).map(|pod| pod.meta()) {
                    match meta.controller() {
                        Some(_) => owner_of::<Job>(meta).into_iter().for_each(&mut *add),
                        None => takers(caches, meta).into_iter().for_each(&mut *add),
                    }
                }
            }
            _ => {}
        }
    }

    /// Pods that were refused are not asked for again at once.
    fn backoff(&self, failure: &Failure) -> Backoff {
        if failure.verb == "create" { REFUSED } else { Backoff::default() }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(job) = caches.jobs.get(key) else { return Plan::nothing() };
        if job.is_managed_elsewhere() || job.finished().is_some() {
            return Plan::nothing();
        }
        let owner = Reference::to(&*job);
        if !matches!(&*job.spec.completion_mode, "NonIndexed" | "Indexed") {
            let message = "Skipped Job sync because completion mode is unknown".to_owned();
            return plan_of([vec![Action::Event(Event::warning(&owner, "UnknownCompletionMode", message))]]);
        }
        let claimed = claim(&owner, job.metadata.is_being_deleted(), &job.spec.selector, &caches.pods);
        if !claimed.actions.is_empty() {
            // Whose they are decides what they count for: first things first.
            return plan_of([claimed.actions.into_iter().map(tracked::with_owner).collect()]);
        }
        decide(&Census::take(&job, claimed.own, turn.now), &owner, turn)
    }
}

fn decide(census: &Census<'_>, owner: &Reference, turn: &Turn) -> Plan {
    let job = census.job;
    let start = job.status.start_time.or_else(|| (!job.is_suspended()).then(|| status::seconds(turn.now)));
    let mut ending = Ending::recorded(job).or_else(|| Ending::decided(census, start));
    let scaling = if turn.failure.is_some() {
        ending = ending.filter(|ending| ending.is_recorded);
        None
    } else if ending.is_some() {
        Some(Scaling::to_nothing(census))
    } else if job.metadata.is_being_deleted() {
        Some(Scaling::default())
    } else {
        Some(Scaling::towards_wanted(census))
    };
    if ending.is_none() && scaling.as_ref().is_some_and(|scaling| has_completed(census, scaling)) {
        ending = Some(Ending::by_completions());
    }
    let Report { status, release, is_finished, turned } =
        status::report(census, start, scaling.as_ref(), ending.as_ref());
    let scaling = scaling.unwrap_or_default();
    let mut plan = Plan::nothing();
    scaling.again_after.into_iter().for_each(|wait| plan.again_after(wait));
    if ending.is_none() {
        until_deadline(census, status.start_time).into_iter().for_each(|left| plan.again_after(left));
    }
    scaling.actions(owner).into_iter().for_each(|step| plan.then(step));
    if status != job.status {
        plan.then(vec![status_patch(job, &job.status, &status)]);
    }
    let mut events: Vec<Event> = turned.map(|word| turned_event(owner, word)).into_iter().collect();
    if let Some(ending) = ending.as_ref().filter(|_| is_finished) {
        events.extend(finished_events(job, owner, ending, status.succeeded));
    }
    plan.then(events.into_iter().map(Action::Event).collect());
    plan.then(release.into_iter().map(|member| tracked::release(&member.pod)).collect());
    plan
}

/// With a number of completions when that is reached, else when one pod has succeeded; and no pod is left.
fn has_completed(census: &Census<'_>, scaling: &Scaling) -> bool {
    let least = census.job.spec.completions.map_or(1, |completions| u32::try_from(completions).unwrap_or_default());
    census.succeeded >= least && census.active().count() == scaling.remove.len() && scaling.create.is_empty()
}

fn turned_event(owner: &Reference, word: &'static str) -> Event {
    Event::normal(owner, word, format!("Job {}", word.to_lowercase()))
}

fn finished_events(job: &Job, owner: &Reference, ending: &Ending, succeeded: i32) -> Vec<Event> {
    if !ending.succeeds {
        return vec![Event::warning(owner, failure_reason(&ending.reason), ending.message.to_string())];
    }
    let mut events = Vec::new();
    if job.spec.completions.is_some_and(|completions| succeeded > completions) {
        let message = "Too many succeeded pods running after completion count reached";
        events.push(Event::warning(owner, "TooManySucceededPods", message.to_owned()));
    }
    events.push(Event::normal(owner, "Completed", "Job completed".to_owned()));
    events
}

/// The reasons for which a job fails.
fn failure_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 5] =
        ["PodFailurePolicy", "DeadlineExceeded", "MaxFailedIndexesExceeded", "FailedIndexes", "BackoffLimitExceeded"];
    REASONS.into_iter().find(|known| *known == reason).unwrap_or("Failed")
}

fn plan_of<const N: usize>(steps: [Vec<Action>; N]) -> Plan {
    let mut plan = Plan::nothing();
    steps.into_iter().for_each(|step| plan.then(step));
    plan
}

/// The jobs that would take on a pod without an owner: the one whose UID it carries, and those whose users chose a
/// selector.
fn takers(caches: &Caches, orphan: &Meta) -> Vec<Key> {
    let by_uid = orphan.labels.get(CONTROLLER_UID).map(|uid| caches.jobs.by(JOB_UID, uid));
    let manual = caches.jobs.by(MANUAL_SELECTOR, &orphan.namespace);
    let jobs = by_uid.into_iter().flatten().chain(manual);
    let taking = jobs.filter(|job| {
        job.metadata.namespace == orphan.namespace
            && job.finished().is_none()
            && orphan.labels.are_matched_by(&job.spec.selector)
    });
    taking.map(|job| job.key()).collect()
}
