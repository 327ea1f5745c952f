//! A job's pods, sorted out once: what each is to the job, and what they add up to.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use client::objects::{Job, Pod, pod::Phase};
use jiff::Timestamp;

use super::{
    FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES,
    backoff::finish_time,
    indexes::Indexes,
    policy::{Verdict, judge},
};

pub struct Census<'a> {
    pub job: &'a Job,
    pub now: Timestamp,
    /// Of an indexed job by their indexes.
    pub members: Vec<Member>,
    /// UIDs that the status holds as succeeded or failed and not yet counted.
    pub uncounted_succeeded: HashSet<&'a str>,
    pub uncounted_failed: HashSet<&'a str>,
    /// How many succeeded and failed in all, with those that no counter has yet.
    pub succeeded: u32,
    pub failed: u32,
    /// What the status knew, and what is known now. Empty where the job is not indexed.
    pub known_indexes: Indexes,
    pub succeeded_indexes: Indexes,
    /// Only where each index has its own limit.
    pub failed_indexes: Option<Indexes>,
    /// By index the failed pod that stays until another has taken over its count of failures.
    pub to_replace: BTreeMap<u32, usize>,
}

/// A pod and what it is to its job.
pub struct Member {
    pub pod: Arc<Pod>,
    /// Where it is one that the job has.
    pub index: Option<u32>,
    /// It has not been counted: it carries the job's finalizer.
    pub is_tracked: bool,
    pub is_active: bool,
    pub is_failed: bool,
}

impl Member {
    pub fn succeeded(&self) -> bool {
        self.pod.status.phase == Phase::Succeeded
    }

    pub fn is_terminating(&self) -> bool {
        !self.pod.is_over() && self.pod.metadata.is_being_deleted()
    }

    pub fn uid(&self) -> &str {
        &self.pod.metadata.uid
    }

    /// Failures of its index that its predecessors handed on: those that count, and those that do not.
    pub fn handed_on(&self) -> (u32, u32) {
        let count = |name: &str| {
            let annotation = self.pod.metadata.annotations.get(name);
            annotation.and_then(|count| count.parse::<i32>().ok()?.try_into().ok()).unwrap_or_default()
        };
        (count(INDEX_FAILURES), count(INDEX_IGNORED_FAILURES))
    }
}

/// Pods that are on their way out are replaced only once they have ended.
pub fn replaces_only_failed(job: &Job) -> bool {
    *job.spec.pod_replacement_policy == *"Failed" || job.spec.pod_failure_policy.is_some()
}

pub fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| **finalizer == *FINALIZER)
}

impl<'a> Census<'a> {
    pub fn take(job: &'a Job, pods: Vec<Arc<Pod>>, now: Timestamp) -> Self {
        let only_failed = replaces_only_failed(job);
        let completions = completions(job);
        let member = |pod: Arc<Pod>| {
            let written = pod.metadata.annotations.get(INDEX).and_then(|index| index.parse().ok());
            Member {
                index: written.filter(|index| *index < completions),
                is_tracked: has_finalizer(&pod),
                is_active: pod.is_active(),
                is_failed: match pod.status.phase {
                    Phase::Failed => true,
                    Phase::Succeeded => false,
                    _ => !only_failed && pod.metadata.is_being_deleted(),
                },
                pod,
            }
        };
        let mut members: Vec<Member> = pods.into_iter().map(member).collect();
        if job.is_indexed() {
            members.sort_by_key(|member| member.index);
        }
        let uids = |of: fn(&'a client::objects::batch::Uncounted) -> &'a [Box<str>]| -> HashSet<&'a str> {
            let uncounted = job.status.uncounted_terminated_pods.as_ref();
            uncounted.into_iter().flat_map(of).map(|uid| &**uid).collect()
        };
        let mut census = Self {
            job,
            now,
            members,
            uncounted_succeeded: uids(|uncounted| &uncounted.succeeded),
            uncounted_failed: uids(|uncounted| &uncounted.failed),
            succeeded: 0,
            failed: 0,
            known_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            to_replace: BTreeMap::new(),
        };
        census.add_up();
        if job.is_indexed() {
            census.by_index(completions);
        }
        census
    }

    pub fn completions(&self) -> u32 {
        completions(self.job)
    }

    pub fn has_limit_per_index(&self) -> bool {
        self.job.spec.backoff_limit_per_index.is_some()
    }

    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_active)
    }

    pub fn judge(&self, pod: &Pod) -> Verdict {
        judge(self.job.spec.pod_failure_policy.as_ref(), pod)
    }

    /// Neither the counters nor the uncounted have the pod, and it belongs in one of them if it has ended.
    fn is_new(&self, member: &Member) -> bool {
        let uid = member.uid();
        member.is_tracked
            && (!self.job.is_indexed() || member.index.is_some())
            && !self.uncounted_succeeded.contains(uid)
            && !self.uncounted_failed.contains(uid)
    }

    fn add_up(&mut self) {
        let new = |which: &dyn Fn(&Member) -> bool| {
            self.members.iter().filter(|member| self.is_new(member) && which(member)).count()
        };
        let succeeded = new(&Member::succeeded) + self.uncounted_succeeded.len();
        let failed = new(&|member| member.is_failed && self.judge(&member.pod) != Verdict::IsIgnored)
            + self.uncounted_failed.len();
        let sum = |counted: i32, more: usize| {
            u32::try_from(counted).unwrap_or_default().saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
        };
        self.succeeded = sum(self.job.status.succeeded, succeeded);
        self.failed = sum(self.job.status.failed, failed);
    }

    fn by_index(&mut self, completions: u32) {
        let status = &self.job.status;
        let tracked = || self.members.iter().filter(|member| member.is_tracked);
        let indexes = |which: &dyn Fn(&Member) -> bool| -> Indexes {
            tracked().filter(|member| which(member)).filter_map(|member| member.index).collect()
        };
        // An index has one end: the first that is known.
        let known_failed = Indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), completions);
        let is_in = |indexes: &Indexes, member: &Member| member.index.is_some_and(|index| indexes.contains(index));
        let known = Indexes::parse(&status.completed_indexes, completions);
        let succeeded = known.union(&indexes(&|member| member.succeeded() && !is_in(&known_failed, member)));
        if let Some(limit) = self.job.spec.backoff_limit_per_index {
            let limit = u32::try_from(limit).unwrap_or_default();
            let new = indexes(&|member| {
                member.is_failed
                    && !is_in(&succeeded, member)
                    && match self.judge(&member.pod) {
                        Verdict::FailsIndex => true,
                        Verdict::IsIgnored => false,
                        _ => member.handed_on().0 >= limit,
                    }
            });
            let failed = known_failed.union(&new);
            self.to_replace = self.to_replace(&succeeded.union(&failed));
            self.failed_indexes = Some(failed);
        }
        self.succeeded = succeeded.len();
        (self.known_indexes, self.succeeded_indexes) = (known, succeeded);
    }

    /// By index the last pod that failed there, where another is to follow it.
    fn to_replace(&self, ended: &Indexes) -> BTreeMap<u32, usize> {
        let active: HashSet<u32> = self.active().filter_map(|member| member.index).collect();
        let mut found: BTreeMap<u32, usize> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            let Some(index) = member.index.filter(|_| member.is_tracked && member.is_failed) else { continue };
            if ended.contains(index) || active.contains(&index) {
                continue;
            }
            let age = |at: usize| {
                let member: &Member = &self.members[at];
                let (counted, ignored) = member.handed_on();
                (counted + ignored, finish_time(&member.pod, &self.job.spec.template))
            };
            let last = found.entry(index).or_insert(at);
            if age(at) >= age(*last) {
                *last = at;
            }
        }
        found
    }
}

fn completions(job: &Job) -> u32 {
    job.spec.completions.and_then(|completions| completions.try_into().ok()).unwrap_or_default()
}
