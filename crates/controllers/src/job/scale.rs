//! How many pods a job is to have now, and which of them go where there are too many.

use std::{cmp::Reverse, collections::HashSet, sync::Arc, time::Duration};

use client::{
    objects::{Object, Pod, pod::Phase},
    requests::DeleteOptions,
};
use serde_json::Value;

use super::{
    backoff,
    census::{Census, Member, replaces_only_failed},
    create::Maker,
    indexes::Indexes,
    tracked,
};
use crate::plan::{Action, Reference};

/// Pods that are created or deleted in one turn, at most.
const BURST: usize = 500;

/// What is done about the number of pods in one turn: some are made, or some go.
#[derive(Default)]
pub struct Scaling {
    pub create: Vec<Value>,
    pub remove: Vec<Arc<Pod>>,
    /// Those that go are not to be counted: they did not end, the job has no use for them.
    pub uncounted: bool,
    /// Pods that lost the finalizer on the way to a deletion that did not come.
    pub restore: Vec<Arc<Pod>>,
    /// When more pods can be made that have to wait now.
    pub again_after: Option<Duration>,
}

impl Scaling {
    /// Ends all pods of a job that is over.
    pub fn to_nothing(census: &Census<'_>) -> Self {
        Self { remove: census.active().map(|member| Arc::clone(&member.pod)).collect(), ..Self::default() }
    }

    /// A turn makes pods or removes some, and never both.
    pub fn towards_wanted(census: &Census<'_>) -> Self {
        let active = census.active().count();
        let wanted = wanted(census, active);
        let mut remove = surplus(census, active.saturating_sub(wanted));
        remove.truncate(BURST);
        let mut scaling = Self { uncounted: true, ..Self::default() };
        if remove.is_empty() {
            let ending = census.members.iter().filter(|member| member.is_terminating()).count();
            let in_place = active + if replaces_only_failed(census.job) { ending } else { 0 };
            scaling.make(census, wanted.saturating_sub(in_place).min(BURST));
        }
        let going: HashSet<&str> = remove.iter().map(|pod| &*pod.metadata.uid).collect();
        let lost = census.active().filter(|member| !member.is_tracked && !going.contains(member.uid()));
        scaling.restore = lost.map(|member| Arc::clone(&member.pod)).collect();
        scaling.remove = remove;
        scaling
    }

    fn make(&mut self, census: &Census<'_>, count: usize) {
        if count == 0 {
            return;
        }
        if !census.has_limit_per_index()
            && let Some(wait) = backoff::remaining(census)
        {
            self.again_after = Some(wait);
            return;
        }
        let maker = Maker::new(census);
        if !census.job.is_indexed() {
            self.create = vec![maker.pod(None); count];
            return;
        }
        for index in pending(census, count) {
            match left_of_index(census, index) {
                None => self.create.push(maker.pod(Some(index))),
                wait => self.again_after = self.again_after.into_iter().chain(wait).min(),
            }
        }
    }

    /// Step by step. Pods that are not to be counted lose the finalizer first: a pod that goes with it counts as failed.
    pub fn actions(self, owner: &Reference) -> Vec<Vec<Action>> {
        let patched = |pods: &[Arc<Pod>], patch: fn(&Pod) -> Action| pods.iter().map(|pod| patch(pod)).collect();
        let freed = if self.uncounted { patched(&self.remove, tracked::release) } else { Vec::new() };
        let delete = |pod: &Arc<Pod>| Action::Delete {
            kind: Pod::KIND,
            key: pod.key(),
            options: DeleteOptions { uid: Some(pod.metadata.uid.clone()), ..DeleteOptions::default() },
            tell: Some(owner.clone()),
        };
        let create = |object| Action::Create {
            kind: Pod::KIND,
            namespace: owner.key.namespace().into(),
            object,
            tell: Some(owner.clone()),
        };
        vec![
            patched(&self.restore, tracked::restore),
            freed,
            self.remove.iter().map(delete).collect(),
            self.create.into_iter().map(create).collect(),
        ]
    }
}

/// A job without a number of completions keeps its pods going until one succeeds; then those that run finish their work.
fn wanted(census: &Census<'_>, active: usize) -> usize {
    let spec = &census.job.spec;
    let number = |number: Option<i32>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    let succeeded = census.succeeded as usize;
    if census.job.is_suspended() {
        return 0;
    }
    match spec.completions {
        None if succeeded > 0 => active,
        None => number(spec.parallelism),
        completions => number(completions).saturating_sub(succeeded).min(number(spec.parallelism)),
    }
}

/// Pods that have no index, or one that another has, go in any case; beyond them what did least so far.
fn surplus(census: &Census<'_>, at_least: usize) -> Vec<Arc<Pod>> {
    let mut ranked: Vec<&Member> = census.active().collect();
    ranked.sort_by_cached_key(|member| worth(&member.pod));
    let (mut remove, mut keep) = (Vec::new(), Vec::new());
    if census.job.is_indexed() {
        let mut taken = HashSet::new();
        for member in ranked.into_iter().rev() {
            let is_first = member.index.is_some_and(|index| taken.insert(index));
            if is_first { keep.push(member) } else { remove.push(member) }
        }
        keep.reverse();
    } else {
        keep = ranked;
    }
    let more = at_least.saturating_sub(remove.len());
    remove.into_iter().chain(keep.into_iter().take(more)).map(|member| Arc::clone(&member.pod)).collect()
}

/// What is bound, running and ready is worth most, and what has been so for longest.
fn worth(pod: &Pod) -> impl Ord + use<> {
    let restarts = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
    let phase = match pod.status.phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        _ => 2,
    };
    (
        !pod.spec.node_name.is_empty(),
        phase,
        pod.is_ready(),
        Reverse(pod.ready_since()),
        Reverse(restarts),
        Reverse(pod.metadata.creation_timestamp),
        pod.metadata.uid.clone(),
    )
}

/// The first indexes that have neither ended nor a pod.
fn pending(census: &Census<'_>, count: usize) -> Vec<u32> {
    let keep_ending = replaces_only_failed(census.job);
    let held = census.members.iter().filter(|member| member.is_active || (keep_ending && member.is_terminating()));
    let mut taken = census.succeeded_indexes.union(&held.filter_map(|member| member.index).collect::<Indexes>());
    if let Some(failed) = &census.failed_indexes {
        taken = taken.union(failed);
    }
    taken.missing(census.completions()).take(count).collect()
}

fn left_of_index(census: &Census<'_>, index: u32) -> Option<Duration> {
    let last = &census.members[*census.to_replace.get(&index)?];
    let (counted, ignored) = last.handed_on();
    backoff::remaining_of_index(counted + ignored + 1, &last.pod, &census.job.spec.template, census.now)
}
