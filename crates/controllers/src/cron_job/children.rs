//! The jobs that a cron job has started: what its status says of them, and which of them are history.

use std::sync::Arc;

use client::objects::{
    CronJob, Job, Object,
    batch::{ActiveJob, CronJobStatus},
};
use jiff::Timestamp;

use super::SCHEDULED_AT;
use crate::plan::{Event, Reference};

/// The name of the job of a time: the minutes since 1970. A job that is asked for twice is refused by its name.
pub fn job_name(cron_job: &CronJob, time: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name, time.as_second().div_euclid(60))
}

/// The time for which this controller has made a job.
fn scheduled_at(cron_job: &CronJob, job: &Job) -> Option<Timestamp> {
    let time = job.metadata.annotations.get(SCHEDULED_AT)?.parse().ok()?;
    (*job.metadata.name == *job_name(cron_job, time)).then_some(time)
}

/// The status as the jobs make it, and what is to be told.
pub fn observe(cron_job: &CronJob, owner: &Reference, jobs: &[Arc<Job>]) -> (CronJobStatus, Vec<Event>) {
    let (mut status, mut events) = (cron_job.status.clone(), Vec::new());
    for job in jobs {
        let (name, uid) = (&job.metadata.name, &job.metadata.uid);
        let is_known = status.active.iter().any(|active| active.uid == *uid);
        // Made by a turn that did not come to say so.
        let is_new = scheduled_at(cron_job, job).filter(|time| Some(*time) > cron_job.status.last_schedule_time);
        status.last_schedule_time = status.last_schedule_time.max(is_new);
        match job.finished() {
            Some(end) => {
                if is_known || is_new.is_some() {
                    status.active.retain(|active| active.uid != *uid);
                    let message = format!("Saw completed job: {name}, condition: {}", end.kind);
                    events.push(Event::normal(owner, "SawCompletedJob", message));
                }
                if *end.kind == *"Complete" {
                    status.last_successful_time = status.last_successful_time.max(job.status.completion_time);
                }
            }
            None if is_known || job.metadata.is_being_deleted() => {}
            None if is_new.is_some() => status.active.push(reference(job)),
            None => {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                events.push(Event::warning(owner, "UnexpectedJob", message));
            }
        }
    }
    status.active.retain(|active| {
        let is_there = jobs.iter().any(|job| job.metadata.uid == active.uid);
        if !is_there {
            events.push(Event::normal(owner, "MissingJob", format!("Active job went missing: {}", active.name)));
        }
        is_there
    });
    (status, events)
}

fn reference(job: &Job) -> ActiveJob {
    let meta = &job.metadata;
    ActiveJob {
        kind: Job::KIND.kind.as_ref().into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        api_version: Job::KIND.api_version().into(),
        resource_version: meta.resource_version.to_string().into(),
    }
}

/// The oldest of the finished jobs beyond what is to be kept of each kind.
pub fn history(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron_job.spec;
    let kept = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let beyond = |(kind, limit): (&str, Option<i32>)| {
        let ended = |job: &&Arc<Job>| job.finished().is_some_and(|end| *end.kind == *kind);
        let mut ended: Vec<&Arc<Job>> =
            jobs.iter().filter(ended).filter(|job| !job.metadata.is_being_deleted()).collect();
        ended.sort_by_key(|job| (job.status.start_time.is_none(), job.status.start_time, &job.metadata.name));
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or_default());
        let surplus = ended.len().saturating_sub(limit);
        ended.into_iter().take(surplus).cloned().collect::<Vec<_>>()
    };
    kept.into_iter().flat_map(beyond).collect()
}
