//! What a namespace that ends says about its end: five conditions, each of which is `False` while all is well.

use std::collections::BTreeMap;

use client::objects::Condition;
use jiff::Timestamp;

use super::content::Found;

/// A condition's type, and its reason and message while all is well.
const WELL: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// The conditions after a look at the content. Others than these five stay as they are.
pub fn conditions(known: &[Condition], found: &Found, now: Timestamp) -> Vec<Condition> {
    let mut conditions = known.to_vec();
    for (kind, well, all_is_well) in WELL {
        let (status, (reason, message)) = match trouble(kind, found) {
            Some(trouble) => ("True", trouble),
            None => ("False", (well, all_is_well.to_owned())),
        };
        let wanted = Condition {
            kind: kind.into(),
            status: status.into(),
            last_transition_time: Some(now),
            reason: reason.into(),
            message: message.into(),
            ..Condition::default()
        };
        match conditions.iter_mut().find(|condition| *condition.kind == *kind) {
            None => conditions.push(wanted),
            Some(known) => {
                let since = if known.status == wanted.status { known.last_transition_time } else { Some(now) };
                *known = Condition { last_transition_time: since, ..wanted };
            }
        }
    }
    conditions
}

/// The reason and message of a condition that holds.
fn trouble(kind: &str, found: &Found) -> Option<(&'static str, String)> {
    match kind {
        "NamespaceDeletionDiscoveryFailure" => found.discovery.clone().map(|why| ("DiscoveryFailed", why)),
        "NamespaceDeletionContentFailure" if !found.failures.is_empty() => {
            let (count, failures) = (found.failures.len(), found.failures.join(", "));
            let message = format!("Failed to delete all resource types, {count} remaining: {failures}");
            Some(("ContentDeletionFailed", message))
        }
        "NamespaceContentRemaining" if !found.remaining.is_empty() => {
            let all = counted(&found.remaining, |resource, count| format!("{resource} has {count} resource instances"));
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {all}")))
        }
        "NamespaceFinalizersRemaining" if !found.finalizers.is_empty() => {
            let all =
                counted(&found.finalizers, |finalizer, count| format!("{finalizer} in {count} resource instances"));
            let message = format!("Some content in the namespace has finalizers remaining: {all}");
            Some(("SomeFinalizersRemain", message))
        }
        _ => None,
    }
}

fn counted(counts: &BTreeMap<String, usize>, show: impl Fn(&str, usize) -> String) -> String {
    counts.iter().map(|(name, count)| show(name, *count)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn shown(conditions: &[Condition]) -> Vec<String> {
        let show = |condition: &Condition| {
            format!("{} {} {}: {}", condition.kind, condition.status, condition.reason, condition.message)
        };
        conditions.iter().map(show).collect()
    }

    #[test]
    fn a_clear_namespace_says_so_five_times() {
        let conditions = conditions(&[], &Found::default(), at("2026-01-01T00:00:00Z"));
        assert_eq!(
            shown(&conditions),
            [
                "NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered",
                "NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types \
                 successfully parsed",
                "NamespaceDeletionContentFailure False ContentDeleted: All content successfully deleted, may be waiting \
                 on finalization",
                "NamespaceContentRemaining False ContentRemoved: All content successfully removed",
                "NamespaceFinalizersRemaining False ContentHasNoFinalizers: All content-preserving finalizers finished",
            ]
        );
    }

    #[test]
    fn what_is_left_is_named_and_counted() {
        let found = Found {
            discovery: Some("no answer".into()),
            failures: vec!["a failed".into(), "b failed".into()],
            remaining: [("pods.".to_owned(), 2), ("sails.example.com".to_owned(), 1)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            estimate_seconds: 15,
        };
        assert_eq!(
            shown(&conditions(&[], &found, at("2026-01-01T00:00:00Z"))),
            [
                "NamespaceDeletionDiscoveryFailure True DiscoveryFailed: no answer",
                "NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types \
                 successfully parsed",
                "NamespaceDeletionContentFailure True ContentDeletionFailed: Failed to delete all resource types, 2 \
                 remaining: a failed, b failed",
                "NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource \
                 instances, sails.example.com has 1 resource instances",
                "NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers \
                 remaining: example.com/hold in 1 resource instances",
            ]
        );
    }

    #[test]
    fn a_time_of_transition_stays_while_the_status_does() {
        let (first, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:00Z"));
        let mut found = Found { remaining: [("pods.".to_owned(), 2)].into(), ..Found::default() };
        let known = conditions(&[], &found, first);
        assert_eq!(conditions(&known, &found, later), known);
        found.remaining.insert("pods.".to_owned(), 1);
        let fewer = conditions(&known, &found, later);
        assert_ne!(fewer[3].message, known[3].message);
        assert_eq!(fewer[3].last_transition_time, Some(first));
        let gone = conditions(&fewer, &Found::default(), later);
        assert_eq!((gone[3].last_transition_time, gone[0].last_transition_time), (Some(later), Some(first)));
    }
}
