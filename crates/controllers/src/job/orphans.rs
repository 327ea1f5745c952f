//! Pods that carry the finalizer of jobs and that no job will count: it goes, or they would stay for ever.

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Job, Object, Pod},
};

use super::{census::has_finalizer, tracked};
use crate::{
    claim::owner_of,
    driver::{Controller, Turn},
    plan::Plan,
};

pub struct OrphanedPods;

impl Controller for OrphanedPods {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn queue(&self) -> &'static str {
        "job_orphan_pod"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Job, Topic::Pod]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Pod(changes) => {
                let pods = changes.iter().filter_map(|change| change.new.as_ref());
                pods.filter(|pod| is_orphan(caches, pod)).for_each(|pod| add(pod.key()));
            }
            Changes::Job(changes) => {
                let over =
                    changes.iter().filter(|change| change.new.as_ref().is_none_or(|job| job.finished().is_some()));
                for job in over.flat_map(|change| change.states()) {
                    let pods = caches.pods.owned_by(&job.metadata.uid);
                    pods.iter().filter(|pod| is_orphan(caches, pod)).for_each(|pod| add(pod.key()));
                }
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        if let Some(pod) = caches.pods.get(key).filter(|pod| is_orphan(caches, pod)) {
            plan.then(vec![tracked::release_orphan(&pod)]);
        }
        plan
    }
}

/// Nobody manages the pod, or a job that is gone or finished. Pods of other kinds are their affair.
fn is_orphan(caches: &Caches, pod: &Pod) -> bool {
    if !has_finalizer(pod) {
        return false;
    }
    let Some(controller) = pod.metadata.controller() else { return true };
    let Some(key) = owner_of::<Job>(&pod.metadata) else { return false };
    let job = caches.jobs.get(&key).filter(|job| job.metadata.uid == controller.uid);
    job.is_none_or(|job| !job.is_managed_elsewhere() && job.finished().is_some())
}
