//! What a job's policies say: what a pod's failure means, and when enough indexes have succeeded.

use client::objects::{
    Pod,
    batch::{ExitCodes, FailureAction, FailurePolicy, SuccessPolicy},
    container::ContainerStatus,
};

use super::indexes::Indexes;

/// What the first rule that matches a failed pod says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the limits; also where no rule matches.
    Counts,
    IsIgnored,
    FailsIndex,
    FailsJob {
        message: String,
    },
}

pub fn judge(policy: Option<&FailurePolicy>, pod: &Pod) -> Verdict {
    let Some(policy) = policy else { return Verdict::Counts };
    for (index, rule) in policy.rules.iter().enumerate() {
        let why = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => by_exit_code(codes, pod),
            (None, Some(patterns)) => {
                let mut found = pod.status.conditions.iter().filter(|condition| {
                    patterns.iter().any(|pattern| pattern.kind == condition.kind && pattern.status == condition.status)
                });
                found.next().map(|condition| format!("Pod {} has condition {}", named(pod), condition.kind))
            }
            (None, None) => None,
        };
        let Some(why) = why else { continue };
        return match rule.action {
            FailureAction::Count => Verdict::Counts,
            FailureAction::Ignore => Verdict::IsIgnored,
            FailureAction::FailIndex => Verdict::FailsIndex,
            FailureAction::FailJob => {
                Verdict::FailsJob { message: format!("{why} matching FailJob rule at index {index}") }
            }
        };
    }
    Verdict::Counts
}

fn named(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// Containers that have not ended have no code to match, and success is none.
fn by_exit_code(codes: &ExitCodes, pod: &Pod) -> Option<String> {
    let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let ended = all.filter_map(|status: &ContainerStatus| status.terminated.as_deref());
    let mut matching = ended.filter(|end| {
        codes.container_name.as_ref().is_none_or(|name| *name == end.container)
            && end.exit_code != 0
            && match &*codes.operator {
                "In" => codes.values.contains(&end.exit_code),
                "NotIn" => !codes.values.contains(&end.exit_code),
                _ => false,
            }
    });
    let end = matching.next()?;
    Some(format!("Container {} for pod {} failed with exit code {}", end.container, named(pod), end.exit_code))
}

/// The message of the first rule that the succeeded indexes satisfy.
pub fn enough(policy: Option<&SuccessPolicy>, succeeded: &Indexes, completions: u32) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let rules = policy?.rules.iter();
    let matched = rules.enumerate().find(|(_, rule)| {
        let count = rule.succeeded_count.and_then(|count| u32::try_from(count).ok());
        match rule.succeeded_indexes.as_deref().map(|text| Indexes::parse(text, completions)) {
            Some(wanted) if wanted.is_empty() => false,
            Some(wanted) => {
                let reached = wanted.overlap(succeeded);
                reached == wanted.len() || count.is_some_and(|count| reached >= count)
            }
            None => count.is_some_and(|count| succeeded.len() >= count),
        }
    });
    matched.map(|(index, _)| format!("Matched rules at index {index}"))
}
