//! Room for an important pod: which less important pods would have to go, and on which node that does the least harm.
//!
//! Victims are tried out on the cluster itself, which is put back as it was. Not here: evicting anybody.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap, sync::Arc};

use api::selector::LabelSelector;
use client::{
    Key,
    objects::{Object, Pod},
};
use jiff::Timestamp;
use placement::Host;

use crate::{class::Class, core::Core, refusal::Refusal, verdict, volumes::Needs};

/// Nodes on which victims are looked for, at most: a tenth of the candidates, and a hundred at least.
const FEWEST_CANDIDATES: usize = 100;

/// Pod disruption budgets, as far as they matter to victims.
#[derive(Default)]
pub struct Budgets(HashMap<Key, Budget>);

pub struct Budget {
    pub selector: LabelSelector,
    pub allowed: i32,
    /// Pods whose disruption is counted already.
    pub disrupted: Box<[Box<str>]>,
}

/// A node with room, once its victims are gone.
pub struct Room {
    pub host: Host,
    /// The most important first.
    pub victims: Vec<Arc<Pod>>,
    violations: usize,
}

impl Budgets {
    pub fn set(&mut self, key: &Key, budget: Option<Budget>) {
        match budget {
            Some(budget) => drop(self.0.insert(key.clone(), budget)),
            None => drop(self.0.remove(key)),
        }
    }

    /// Sorts out the pods whose going would break a budget, one after the other; their order stays.
    fn split(&self, pods: Vec<Arc<Pod>>) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let mut taken: HashMap<&Key, i32> = HashMap::new();
        pods.into_iter().partition(|pod| {
            let mut violated = false;
            for (key, budget) in &self.0 {
                let meta = &pod.metadata;
                let about = key.namespace() == &*meta.namespace
                    && !budget.selector.is_everything()
                    && !meta.labels.is_empty()
                    && meta.labels.are_matched_by(&budget.selector);
                if about && !budget.disrupted.contains(&meta.name) {
                    let taken = taken.entry(key).or_default();
                    *taken += 1;
                    violated |= *taken > budget.allowed;
                }
            }
            violated
        })
    }
}

fn started(pod: &Pod) -> Timestamp {
    // What has not started yet has started last.
    pod.status.start_time.unwrap_or(Timestamp::MAX)
}

/// The more important first: by priority, then by age.
fn importance(pod: &Pod) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.spec.shape.priority), started(pod))
}

impl Room {
    /// The less of it the better: broken budgets, the priority of the most important victim, all priorities, how many, and
    /// how long the most important have run.
    fn harm(&self) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
        let priority = |pod: &Arc<Pod>| pod.spec.shape.priority;
        let highest = self.victims.iter().map(priority).max().unwrap_or(i32::MIN);
        // Shifted, so that fewer pods weigh less even where priorities are negative.
        let sum = self.victims.iter().map(|pod| i64::from(priority(pod)) + (1 << 31)).sum();
        let important = self.victims.iter().filter(|pod| priority(pod) == highest);
        let earliest = important.map(|pod| started(pod)).min().unwrap_or(Timestamp::MIN);
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }
}

impl Core {
    /// Why the pod may not make others go; none if it may.
    pub(crate) fn cannot_preempt(
        &self,
        key: &Key,
        pod: &Pod,
        class: &Class,
        verdicts: &[(Host, Vec<Refusal>)],
    ) -> Option<&'static str> {
        if class.shape.never_preempts {
            return Some("not eligible due to preemptionPolicy=Never.");
        }
        let promised = self.promise(key)?;
        let refusals = verdicts.iter().find(|(host, _)| *host == promised);
        let hopeless = refusals.is_some_and(|(_, refusals)| !refusals.iter().all(Refusal::is_resolvable));
        let making_room =
            || {
                self.cluster.host_state(promised).pods.iter().any(|placed| {
                    placed.pod.spec.shape.priority < pod.spec.shape.priority && self.makes_room(&placed.pod)
                })
            };
        (!hopeless && making_room()).then_some("not eligible due to a terminating pod on the nominated node.")
    }

    /// The node where the least harm makes room; otherwise why there is none, for each node.
    pub(crate) fn find_room(
        &mut self,
        key: &Key,
        pod: &Pod,
        class: &Class,
        needs: Option<&Needs>,
        verdicts: &[(Host, Vec<Refusal>)],
    ) -> Result<Room, Vec<Cow<'static, str>>> {
        let (possible, hopeless): (Vec<_>, Vec<_>) =
            verdicts.iter().partition(|(_, refusals)| refusals.iter().all(Refusal::is_resolvable));
        let mut texts = vec![Cow::Borrowed("Preemption is not helpful for scheduling"); hopeless.len()];
        let wanted = (possible.len() / 10).max(FEWEST_CANDIDATES);
        let offset = self.below(possible.len() as u64) as usize;
        let mut rooms: Vec<Room> = Vec::new();
        for at in 0..possible.len() {
            let (host, _) = possible[(at + offset) % possible.len()];
            match self.try_out(key, pod, class, needs, *host) {
                Ok(room) => rooms.push(room),
                Err(mut why) => texts.append(&mut why),
            }
            if rooms.len() >= wanted && rooms.iter().any(|room| room.violations == 0) {
                break;
            }
        }
        rooms.into_iter().min_by_key(Room::harm).ok_or(texts)
    }

    fn try_out(
        &mut self,
        key: &Key,
        pod: &Pod,
        class: &Class,
        needs: Option<&Needs>,
        host: Host,
    ) -> Result<Room, Vec<Cow<'static, str>>> {
        let placed = self.cluster.host_state(host).pods.iter().map(|placed| &placed.pod);
        let lesser = placed.filter(|other| other.spec.shape.priority < pod.spec.shape.priority);
        let mut lesser: Vec<Arc<Pod>> = lesser.cloned().collect();
        if lesser.is_empty() {
            return Err(vec![Cow::Borrowed("No preemption victims found for incoming pod")]);
        }
        lesser.sort_by_key(|pod| (importance(pod), pod.key()));
        for other in &lesser {
            self.cluster.detach(other, host);
        }
        let mut refusals: Vec<Refusal> = Vec::new();
        verdict::ask(&self.cluster, &self.volumes, (key, class, needs), host, &mut |refusal| {
            let same = refusals.first().is_none_or(|first| first.plugin() == refusal.plugin());
            if same {
                refusals.push(refusal);
            }
            same
        });
        if !refusals.is_empty() {
            for other in &lesser {
                self.cluster.attach(other, host);
            }
            return Err(refusals.iter().map(Refusal::text).collect());
        }
        let (breaking, others) = self.budgets.split(lesser);
        let mut victims: Vec<Arc<Pod>> = Vec::new();
        let mut violations = 0;
        let count = breaking.len();
        for (at, other) in breaking.into_iter().chain(others).enumerate() {
            self.cluster.attach(&other, host);
            if !verdict::admits(&self.cluster, &self.volumes, (key, class, needs), host) {
                self.cluster.detach(&other, host);
                victims.push(other);
                violations += usize::from(at < count);
            }
        }
        for victim in &victims {
            self.cluster.attach(victim, host);
        }
        victims.sort_by_key(|pod| (importance(pod), pod.key()));
        Ok(Room { host, victims, violations })
    }
}
