//! What a job's status says, and whose finalizers may go once it does.
//!
//! A pod is counted in two steps, so that no restart counts it twice or not at all: its UID goes into the status, then
//! its finalizer goes, and only when that is gone does the UID give way to the counter. Succeeded indexes are in the
//! status by number, which cannot count twice.

use std::collections::HashSet;

use client::objects::batch::{JobCondition, JobStatus};
use jiff::Timestamp;

use super::{
    census::{Census, Member},
    ending::Ending,
    policy::Verdict,
    scale::Scaling,
};

/// UIDs that a status may hold at once, so that it stays below 20 KiB.
const MOST_UNCOUNTED: usize = 500;

pub const SUSPENDED: &str = "Suspended";

pub struct Report<'c> {
    pub status: JobStatus,
    /// The pods that are counted once the status is written.
    pub release: Vec<&'c Member>,
    /// The last word is said.
    pub is_finished: bool,
    /// `Suspended` or `Resumed`, where that is new.
    pub turned: Option<&'static str>,
}

/// Of a job that is over, if there is an `ending`, or of one that goes on, with what is done about the number of its pods.
/// Without `scaling` nothing is done: the status tells what is there, and nothing that comes with an event.
pub fn report<'c>(
    census: &'c Census<'_>,
    start: Option<Timestamp>,
    scaling: Option<&Scaling>,
    ending: Option<&Ending>,
) -> Report<'c> {
    let mut status = JobStatus { start_time: start, ..census.job.status.clone() };
    present(census, scaling.unwrap_or(&Scaling::default()), &mut status);
    let release = count(census, ending, &mut status);
    let (mut is_finished, mut turned) = (false, None);
    match ending {
        Some(ending) if !ending.is_recorded => status.conditions.push(ending.sign(seconds(census.now))),
        Some(ending) => is_finished = scaling.is_some() && finish(census, ending, &mut status),
        None if scaling.is_some() && !census.job.metadata.is_being_deleted() => {
            turned = suspension(census, &mut status);
        }
        None => {}
    }
    Report { status, release, is_finished, turned }
}

/// The pods that there are once this turn's plan is carried out.
fn present(census: &Census<'_>, scaling: &Scaling, status: &mut JobStatus) {
    let count = |which: &dyn Fn(&Member) -> bool| census.members.iter().filter(|member| which(member)).count();
    let removed_ready = scaling.remove.iter().filter(|pod| pod.is_ready()).count();
    status.active = narrow(count(&|member| member.is_active) + scaling.create.len() - scaling.remove.len());
    status.ready = Some(narrow(count(&|member| member.is_active && member.pod.is_ready()) - removed_ready));
    status.terminating = Some(narrow(count(&Member::is_terminating) + scaling.remove.len()));
}

/// Takes note of pods that have ended, and of those that nothing holds any more. Returns whose finalizers may go then.
fn count<'c>(census: &'c Census<'_>, ending: Option<&Ending>, status: &mut JobStatus) -> Vec<&'c Member> {
    let tracked = || census.members.iter().filter(|member| member.is_tracked);
    let held: HashSet<&str> = tracked().map(Member::uid).collect();
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    for (uids, counter) in
        [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)]
    {
        let before = uids.len();
        uids.retain(|uid| held.contains(&**uid));
        *counter = counter.saturating_add(narrow(before - uids.len()));
    }
    let fails_all = ending.is_some_and(|ending| !ending.succeeds);
    let is_indexed = census.job.is_indexed();
    let (mut release, mut new_indexes) = (Vec::new(), 0);
    for member in tracked().filter(|member| may_be_released(census, member, ending.is_some())) {
        let uid = member.uid();
        if census.uncounted_succeeded.contains(uid) || census.uncounted_failed.contains(uid) {
            release.push(member);
            continue;
        }
        if new_indexes + uncounted.succeeded.len() + uncounted.failed.len() >= MOST_UNCOUNTED {
            continue;
        }
        release.push(member);
        match member.index {
            None if is_indexed => {}
            Some(index) if is_indexed && member.succeeded() => {
                new_indexes += usize::from(!census.known_indexes.contains(index));
            }
            _ if member.succeeded() => uncounted.succeeded.push(uid.into()),
            _ if (member.is_failed || fails_all) && census.judge(&member.pod) != Verdict::IsIgnored => {
                uncounted.failed.push(uid.into());
            }
            _ => {}
        }
    }
    if is_indexed {
        status.succeeded = i32::try_from(census.succeeded_indexes.len()).unwrap_or(i32::MAX);
        status.completed_indexes = census.succeeded_indexes.to_string().into();
        status.failed_indexes = census.failed_indexes.as_ref().map(|indexes| indexes.to_string().into());
    }
    status.uncounted_terminated_pods = Some(uncounted);
    release
}

/// A pod that failed stays until another has taken over what it knows of its index's failures.
fn may_be_released(census: &Census<'_>, member: &Member, is_ending: bool) -> bool {
    let is_kept = || {
        let kept = member.index.and_then(|index| census.to_replace.get(&index));
        kept.is_some_and(|at| census.members[*at].uid() == member.uid())
    };
    census.job.metadata.is_being_deleted() || is_ending || member.succeeded() || (member.is_failed && !is_kept())
}

/// Says the last word if every pod is counted, and has ended.
fn finish(census: &Census<'_>, ending: &Ending, status: &mut JobStatus) -> bool {
    let is_held = census.members.iter().any(|member| member.is_tracked);
    if is_held || status.terminating > Some(0) || status.active > 0 {
        return false;
    }
    let now = seconds(census.now);
    status.start_time.get_or_insert(now);
    status.conditions.push(ending.last_word(now));
    if ending.succeeds {
        status.completion_time = status.start_time.max(Some(now));
    }
    true
}

/// A job that goes on after it was suspended starts anew.
fn suspension(census: &Census<'_>, status: &mut JobStatus) -> Option<&'static str> {
    let now = seconds(census.now);
    let (word, value) = if census.job.is_suspended() { ("Suspended", "True") } else { ("Resumed", "False") };
    let wanted = condition(SUSPENDED, value, &format!("Job{word}"), &format!("Job {}", word.to_lowercase()), now);
    match status.conditions.iter_mut().find(|condition| *condition.kind == *SUSPENDED) {
        None if value == "False" => return None,
        None => status.conditions.push(wanted),
        Some(known) if (&known.status, &known.reason) == (&wanted.status, &wanted.reason) => return None,
        Some(known) => *known = wanted,
    }
    status.start_time = (!census.job.is_suspended()).then_some(now);
    Some(word)
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        kind: kind.into(),
        status: status.into(),
        last_probe_time: Some(now),
        last_transition_time: Some(now),
        reason: reason.into(),
        message: message.into(),
    }
}

/// Times in a status are whole seconds.
pub fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn narrow(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
