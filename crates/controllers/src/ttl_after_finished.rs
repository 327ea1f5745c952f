//! Finished jobs that are kept for a time only.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Job, Object},
    requests::{DeleteOptions, Propagation},
};
use jiff::{SignedDuration, Timestamp};
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Plan},
};

pub struct TtlAfterFinished;

impl Controller for TtlAfterFinished {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Job]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let Changes::Job(changes) = changes else { return };
        let jobs = changes.iter().filter_map(|change| change.new.as_ref());
        jobs.filter(|job| expires_at(job).is_some()).for_each(|job| add(job.key()));
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(job) = caches.jobs.get(key) else { return plan };
        match expires_at(&job) {
            None => {}
            Some(end) if end > turn.now => plan.again_after(until(end, turn.now)),
            // The very state that was looked at: its time may have been prolonged.
            Some(_) => plan.then(vec![Action::Delete {
                kind: Job::KIND,
                key: key.clone(),
                options: DeleteOptions {
                    uid: Some(job.metadata.uid.clone()),
                    resource_version: Some(job.metadata.resource_version),
                    propagation: Some(Propagation::Foreground),
                    ..DeleteOptions::default()
                },
                tell: None,
            }]),
        }
        plan
    }
}

fn expires_at(job: &Job) -> Option<Timestamp> {
    let kept = job.spec.ttl_seconds_after_finished.filter(|_| !job.metadata.is_being_deleted())?;
    job.finished()?.last_transition_time?.checked_add(SignedDuration::from_secs(kept.into())).ok()
}
