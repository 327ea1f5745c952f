//! Whether a job is over, and why: from the first sign (`FailureTarget`, `SuccessCriteriaMet`), on which its pods are ended,
//! to the last word (`Failed`, `Complete`), which is said once all of them are gone and counted.

use std::time::Duration;

use client::objects::{Job, batch::JobCondition, pod::Phase};
use jiff::{SignedDuration, Timestamp};

use super::{
    census::Census,
    policy::{Verdict, enough},
    status::condition,
};
use stdx::clock::until;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub succeeds: bool,
    pub reason: Box<str>,
    pub message: Box<str>,
    /// The status says so already.
    pub is_recorded: bool,
}

impl Ending {
    fn new(succeeds: bool, reason: &str, message: impl Into<Box<str>>) -> Self {
        Self { succeeds, reason: reason.into(), message: message.into(), is_recorded: false }
    }

    pub fn by_completions() -> Self {
        Self::new(true, "CompletionsReached", "Reached expected number of succeeded pods")
    }

    /// What is recorded goes before all else.
    pub fn recorded(job: &Job) -> Option<Self> {
        let of = |succeeds: bool, condition: &JobCondition| Self {
            succeeds,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            is_recorded: true,
        };
        let success = job.holds("SuccessCriteriaMet").map(|condition| of(true, condition));
        success.or_else(|| job.holds("FailureTarget").map(|condition| of(false, condition)))
    }

    /// Failures go before successes, and what a policy says before the limits.
    pub fn decided(census: &Census<'_>, start: Option<Timestamp>) -> Option<Self> {
        by_failure_policy(census).or_else(|| by_limits(census, start)).or_else(|| by_failed_indexes(census)).or_else(
            || {
                let policy = census.job.spec.success_policy.as_ref();
                let message = enough(policy, &census.succeeded_indexes, census.completions())?;
                Some(Self::new(true, "SuccessPolicy", message))
            },
        )
    }

    /// The first sign, as a condition.
    pub fn sign(&self, now: Timestamp) -> JobCondition {
        let kind = if self.succeeds { "SuccessCriteriaMet" } else { "FailureTarget" };
        condition(kind, "True", &self.reason, &self.message, now)
    }

    /// The last word.
    pub fn last_word(&self, now: Timestamp) -> JobCondition {
        condition(if self.succeeds { "Complete" } else { "Failed" }, "True", &self.reason, &self.message, now)
    }
}

fn by_failure_policy(census: &Census<'_>) -> Option<Ending> {
    census.job.spec.pod_failure_policy.as_ref()?;
    let mut failed = census.members.iter().filter(|member| member.is_failed);
    failed.find_map(|member| match census.judge(&member.pod) {
        Verdict::FailsJob { message } => Some(Ending::new(false, "PodFailurePolicy", message)),
        _ => None,
    })
}

fn by_limits(census: &Census<'_>, start: Option<Timestamp>) -> Option<Ending> {
    let limit = census.job.spec.backoff_limit.unwrap_or(i32::MAX);
    if census.failed > u32::try_from(limit).unwrap_or_default() || restarted_too_often(census, limit) {
        return Some(Ending::new(false, "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    let over = until_deadline(census, start).is_some_and(|left| left.is_zero());
    over.then(|| Ending::new(false, "DeadlineExceeded", "Job was active longer than specified deadline"))
}

/// Where containers are restarted in place, restarts count as failures.
fn restarted_too_often(census: &Census<'_>, limit: i32) -> bool {
    if census.job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let running = census.members.iter().map(|member| &member.pod.status);
    let restarts: i64 = running
        .filter(|status| matches!(status.phase, Phase::Pending | Phase::Running))
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses))
        .map(|container| i64::from(container.restart_count))
        .sum();
    restarts >= i64::from(limit.max(1))
}

fn by_failed_indexes(census: &Census<'_>) -> Option<Ending> {
    let failed = census.failed_indexes.as_ref()?.len();
    let most = census.job.spec.max_failed_indexes.and_then(|most| u32::try_from(most).ok());
    if most.is_some_and(|most| failed > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Ending::new(false, "MaxFailedIndexesExceeded", message));
    }
    let all_ended = failed + census.succeeded_indexes.len() >= census.completions();
    (failed > 0 && all_ended).then(|| Ending::new(false, "FailedIndexes", "Job has failed indexes"))
}

/// How long the job may go on, if that is limited. A suspended job's time stands still.
pub fn until_deadline(census: &Census<'_>, start: Option<Timestamp>) -> Option<Duration> {
    let allowed = census.job.spec.active_deadline_seconds.filter(|_| !census.job.is_suspended())?;
    Some(until(start?.checked_add(SignedDuration::from_secs(allowed)).ok()?, census.now))
}
