//! What is measured of calls to webhooks, under upstream's names.

use std::{sync::atomic::AtomicU64, time::Duration};

use api::status::Status;

use super::{
    Problem,
    configuration::Webhook,
    review::{Answer, Decision},
};
use crate::{
    admission::Operation,
    metrics::{histogram::Histogram, labelled::Labelled},
};

const SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// Of both kinds of webhooks.
#[derive(Debug, Default)]
pub struct Calls {
    durations: Labelled<Histogram>,
    requests: Labelled<AtomicU64>,
    rejections: Labelled<AtomicU64>,
    failed_open: Labelled<AtomicU64>,
}

/// What came of a call.
pub(super) enum Outcome<'a> {
    Allowed,
    Refused(&'a Status),
    Failed,
}

impl<'a> Outcome<'a> {
    /// Of a mutating webhook, after its patch was applied.
    pub fn of_change(changed: &'a Result<bool, Problem>) -> Self {
        match changed {
            Ok(_) => Self::Allowed,
            Err(Problem::Refused(status)) => Self::Refused(status),
            Err(Problem::Failed(_)) => Self::Failed,
        }
    }

    pub fn of_answer(answer: &'a Result<Answer, Problem>) -> Self {
        match answer {
            Ok(Answer { decision: Decision::Deny(status), .. }) | Err(Problem::Refused(status)) => {
                Self::Refused(status)
            }
            Ok(_) => Self::Allowed,
            Err(Problem::Failed(_)) => Self::Failed,
        }
    }
}

impl Calls {
    /// `step` is `admit` or `validating`.
    pub(super) fn observe(
        &self,
        webhook: &Webhook,
        step: &str,
        operation: Operation,
        outcome: Outcome<'_>,
        elapsed: Duration,
    ) {
        let (code, refusal) = match outcome {
            Outcome::Allowed => (200, None),
            Outcome::Refused(status) => (status.code, Some("no_error")),
            Outcome::Failed => (503, webhook.fails_closed.then_some("calling_webhook_error")),
        };
        let (name, operation, rejected) = (&webhook.name, operation.name(), refusal.is_some());
        let place = format!("operation=\"{operation}\",rejected=\"{rejected}\",type=\"{step}\"");
        self.durations.observe(format_args!("name=\"{name}\",{place}"), &SECONDS, elapsed);
        self.requests.count(format_args!("code=\"{code}\",name=\"{name}\",{place}"));
        match refusal {
            Some(error) => self.rejections.count(format_args!(
                "error_type=\"{error}\",name=\"{name}\",operation=\"{operation}\",rejection_code=\"{code}\",type=\"{step}\""
            )),
            None if matches!(outcome, Outcome::Failed) => self.failed_open.count(format_args!("name=\"{name}\",type=\"{step}\"")),
            None => {}
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        let name = |rest: &str| format!("apiserver_admission_webhook_{rest}");
        self.durations.write(out, &name("admission_duration_seconds"), "How long calls of webhooks took, in seconds.");
        self.requests.write(out, &name("request_total"), "Calls of webhooks.");
        self.rejections.write(out, &name("rejection_count"), "Requests refused by or because of webhooks.");
        self.failed_open.write(out, &name("fail_open_count"), "Calls of webhooks that failed and were gone past.");
    }
}
