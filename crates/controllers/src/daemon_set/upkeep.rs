//! What each node lacks or has too much, whatever is being rolled out.

use std::sync::Arc;

use client::{
    objects::{Object, Pod, pod::Phase},
    requests::DeleteOptions,
};

use super::{HASH_LABEL, Place, Scene};
use crate::plan::{Action, Event, Plan};

/// Pods that are made, and pods that are deleted, in one turn, at most.
const BURST: usize = 250;

/// What is done about pods in one turn.
#[derive(Default)]
pub(super) struct Work {
    pub events: Vec<Action>,
    pub delete: Vec<Arc<Pod>>,
    /// Names of nodes.
    pub create: Vec<Box<str>>,
}

impl Scene<'_> {
    /// Whether there was anything to do.
    pub(super) fn tend(&self, plan: &mut Plan) -> bool {
        let mut work = Work::default();
        for (name, place) in &self.nodes {
            match place.verdict {
                Some(verdict) if verdict.run && place.pods.is_empty() => work.create.push(name.clone()),
                Some(verdict) if verdict.stay => self.tend_node(name, place, plan, &mut work),
                Some(_) => work.delete.extend(place.pods.iter().filter(|pod| !is_ending(pod)).cloned()),
                // Bound pods go with their node; those that are not would wait for it for ever.
                None => {
                    let waiting = place.pods.iter().filter(|pod| pod.spec.node_name.is_empty() && !is_ending(pod));
                    work.delete.extend(waiting.cloned());
                }
            }
        }
        self.carry_out(work, plan)
    }

    /// Puts what is to be done into the plan; says whether there is anything.
    pub(super) fn carry_out(&self, work: Work, plan: &mut Plan) -> bool {
        let before = plan.steps.len();
        let delete = |pod: &Arc<Pod>| Action::Delete {
            kind: Pod::KIND,
            key: pod.key(),
            options: DeleteOptions { uid: Some(pod.metadata.uid.clone()), ..DeleteOptions::default() },
            tell: Some(self.owner.clone()),
        };
        plan.then(work.events);
        plan.then(work.delete.iter().take(BURST).map(delete).collect());
        plan.then(work.create.iter().take(BURST).map(|node| self.create(node)).collect());
        plan.steps.len() > before
    }

    fn tend_node(&self, name: &str, place: &Place, plan: &mut Plan, work: &mut Work) {
        let mut running = Vec::new();
        for pod in place.pods.iter().filter(|pod| !is_ending(pod)) {
            match pod.status.phase {
                Phase::Failed => self.clear_failed(name, pod, plan, work),
                Phase::Succeeded => {
                    work.events.push(self.found("succeeded", name, pod));
                    work.delete.push(Arc::clone(pod));
                }
                _ => running.push(pod),
            }
        }
        if self.surge() == 0 {
            // The first one stays.
            work.delete.extend(running.into_iter().skip(1).cloned());
        } else if running.is_empty() && place.is_to_run() {
            work.create.push(name.into());
        } else {
            self.thin_out(&running, work);
        }
    }

    /// A node may turn down the same pod again and again: each time it is left to lie for longer.
    fn clear_failed(&self, name: &str, pod: &Arc<Pod>, plan: &mut Plan, work: &mut Work) {
        let attempt = format!("{}/{name}", self.set.metadata.generation);
        if let Some(pause) = self.turn.attempts.pause(&attempt, self.turn.now) {
            return plan.again_after(pause);
        }
        if !plan.attempts.iter().any(|noted| **noted == *attempt) {
            plan.attempts.push(attempt.into());
        }
        work.events.push(self.found("failed", name, pod));
        work.delete.push(Arc::clone(pod));
    }

    fn found(&self, how: &str, node: &str, pod: &Pod) -> Action {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let found = format!("Found {how} daemon pod {namespace}/{name} on node {node}, will try to");
        Action::Event(if how == "failed" {
            Event::warning(&self.owner, "FailedDaemonPod", format!("{found} kill it"))
        } else {
            Event::normal(&self.owner, "SucceededDaemonPod", format!("{found} delete it"))
        })
    }

    /// Of the pods of a surging set on one node an old and a new one stay, as long as the old one is ready and the new one
    /// not yet available.
    fn thin_out(&self, running: &[&Arc<Pod>], work: &mut Work) {
        if running.len() < 2 {
            return;
        }
        let is_new = |pod: &Pod| pod.metadata.labels.get(HASH_LABEL) == Some(&*self.hash);
        let mut new = running.iter().filter(|pod| is_new(pod));
        let mut old = running.iter().filter(|pod| !is_new(pod));
        let pair = (new.next(), old.next());
        work.delete.extend(new.chain(old).map(|pod| Arc::clone(pod)));
        if let (Some(new), Some(old)) = pair
            && (!old.is_ready() || self.is_available(new))
        {
            work.delete.push(Arc::clone(old));
        }
    }
}

pub(super) fn is_ending(pod: &Pod) -> bool {
    pod.metadata.is_being_deleted()
}
