//! Cron jobs: a job at each time of a schedule.
//!
//! Nothing is asked for between two times: the queue wakes the key when the next one comes.

mod children;
mod due;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use client::{
    Caches, Change, Key,
    caches::{Changes, Topic},
    objects::{CronJob, Job, Object, batch::CronJobStatus},
    requests::{DeleteOptions, Propagation},
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use stdx::clock::until;

use crate::{
    claim::owner_of,
    driver::{Controller, Turn},
    plan::{Action, Event, Plan, Reference, status_patch},
};
use due::{Due, Start, Unclear};

/// The time for which a job was made.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub struct CronJobs;

impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::CronJob, Topic::Job]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::CronJob(changes) => {
                changes
                    .iter()
                    .filter(|change| rescheduled(change).is_none())
                    .for_each(|change| add(change.key.clone()));
            }
            Changes::Job(changes) => {
                let jobs = changes.iter().flat_map(|change| change.states());
                jobs.filter_map(|job| owner_of::<CronJob>(job.meta())).for_each(add);
            }
            _ => {}
        }
    }

    fn touched_later(&self, changes: &Changes, now: Timestamp, add: &mut dyn FnMut(Key, Duration)) {
        let Changes::CronJob(changes) = changes else { return };
        for change in changes {
            let next = rescheduled(change).and_then(|cron_job| {
                let due = Due::of(cron_job, &cron_job.status, &due::zone(cron_job).ok()?, now);
                due.ok()?.next
            });
            next.into_iter().for_each(|next| add(change.key.clone(), until(next, now)));
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let Some(cron_job) = caches.cron_jobs.get(key) else { return Plan::nothing() };
        // A status says nothing of refusals, and what it says comes with events.
        if turn.failure.is_some() {
            return Plan::nothing();
        }
        let owner = Reference::to(&*cron_job);
        let mut jobs = caches.jobs.owned_by(&owner.uid);
        jobs.retain(|job| job.metadata.is_controlled_by(&owner.uid));
        let (status, events) = children::observe(&cron_job, &owner, &jobs);
        let mut step = Step { cron_job: &cron_job, owner, caches, now: turn.now, status, events, replaced: Vec::new() };
        let mut plan = Plan::nothing();
        let created = step.start(&mut plan);
        let Step { owner, status, events, replaced, .. } = step;
        plan.then(replaced.iter().map(|job| delete(job, &owner)).collect());
        if status != cron_job.status {
            plan.then(vec![status_patch(&*cron_job, &cron_job.status, &status)]);
        }
        plan.then(events.into_iter().map(Action::Event).collect());
        // What a job's end says is in the status before the job goes.
        plan.then(children::history(&cron_job, &jobs).iter().map(|job| delete(job, &owner)).collect());
        plan.then(created.into_iter().collect());
        plan
    }
}

/// A cron job that has a new schedule, from whose next time on it is followed: times of the past were not missed.
fn rescheduled(change: &Change<CronJob>) -> Option<&CronJob> {
    let (old, new) = (change.old.as_deref()?, change.new.as_deref()?);
    let times = |cron_job: &CronJob| (cron_job.spec.schedule.clone(), cron_job.spec.time_zone.clone());
    (old.metadata.uid == new.metadata.uid && times(old) != times(new)).then_some(new)
}

struct Step<'a> {
    cron_job: &'a CronJob,
    owner: Reference,
    caches: &'a Caches,
    now: Timestamp,
    status: CronJobStatus,
    events: Vec<Event>,
    /// Jobs that run and make way for the next one.
    replaced: Vec<Arc<Job>>,
}

impl Step<'_> {
    fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push(Event::warning(&self.owner, reason, message));
    }

    /// The creation of the job that is due, if there is one.
    fn start(&mut self, plan: &mut Plan) -> Option<Action> {
        let spec = &self.cron_job.spec;
        if self.cron_job.metadata.is_being_deleted() {
            return None;
        }
        let zone = due::zone(self.cron_job);
        if zone.is_ok() && spec.suspend.unwrap_or_default() {
            return None;
        }
        let read = zone.and_then(|zone| Ok((Due::of(self.cron_job, &self.status, &zone, self.now)?, zone)));
        let (due, zone) = match read {
            Ok(read) => read,
            Err(unclear) => {
                self.complain(&unclear);
                return None;
            }
        };
        if spec.schedule.contains("TZ") {
            let page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/";
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see {page} for more details",
                spec.schedule
            );
            self.warn("UnsupportedSchedule", message);
        }
        due.next.into_iter().for_each(|next| plan.again_after(until(next, self.now)));
        match due.start {
            Start::Nothing => None,
            Start::Never => {
                let why = "time difference between two schedules is less than 1 second";
                self.warn("InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule));
                None
            }
            Start::At(time) => {
                if due.missed_many {
                    let advice = "Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                    self.warn("TooManyMissedTimes", format!("too many missed start times. {advice}"));
                }
                self.start_at(time, &zone)
            }
        }
    }

    fn complain(&mut self, unclear: &Unclear) {
        match unclear {
            Unclear::TimeZone(zone) => {
                self.warn("UnknownTimeZone", format!("invalid timeZone: {zone:?}: unknown time zone {zone}"));
            }
            Unclear::Schedule(why) => {
                let schedule = &self.cron_job.spec.schedule;
                self.warn("UnparseableSchedule", format!("unparseable schedule: {schedule:?} : {why}"));
            }
        }
    }

    fn start_at(&mut self, time: Timestamp, zone: &TimeZone) -> Option<Action> {
        let meta = &self.cron_job.metadata;
        let name = children::job_name(self.cron_job, time);
        // One of ours is known to the status by now; one of somebody else's keeps the name.
        if self.caches.jobs.find(&meta.namespace, &name).is_some() {
            return None;
        }
        match &*self.cron_job.spec.concurrency_policy {
            "Forbid" if !self.status.active.is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid".to_owned();
                self.events.push(Event::normal(&self.owner, "JobAlreadyActive", message));
                return None;
            }
            "Replace" => {
                let active = std::mem::take(&mut self.status.active);
                self.replaced =
                    active.iter().filter_map(|job| self.caches.jobs.find(&job.namespace, &job.name)).collect();
            }
            _ => {}
        }
        Some(Action::Create {
            kind: Job::KIND,
            namespace: meta.namespace.clone(),
            object: self.job(&name, time, zone),
            tell: Some(self.owner.clone()),
        })
    }

    fn job(&self, name: &str, time: Timestamp, zone: &TimeZone) -> Value {
        let template = &self.cron_job.spec.job_template;
        let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.insert(SCHEDULED_AT.to_owned(), rfc3339(time, zone).into());
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "annotations": annotations, "ownerReferences": [self.owner.as_controller()]},
            "spec": template["spec"],
        });
        if !template["metadata"]["labels"].is_null() {
            job["metadata"]["labels"] = template["metadata"]["labels"].clone();
        }
        job
    }
}

fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    let clock = time.to_zoned(zone.clone());
    let offset = if clock.offset().is_zero() { "Z".to_owned() } else { clock.strftime("%:z").to_string() };
    format!("{}{offset}", clock.strftime("%Y-%m-%dT%H:%M:%S"))
}

fn delete(job: &Job, owner: &Reference) -> Action {
    Action::Delete {
        kind: Job::KIND,
        key: job.key(),
        options: DeleteOptions {
            uid: Some(job.metadata.uid.clone()),
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        },
        tell: Some(owner.clone()),
    }
}
