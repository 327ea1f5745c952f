//! When a job gives up on its pods, and when it has seen enough of them succeed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    field::FieldError,
    kinds::check::{Node, elements, text},
    syntax,
};

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

fn valid_values(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn word(node: &Node<'_>, words: &[&str]) {
    if node.require_saying(&valid_values(words)) {
        node.optional_word(words);
    }
}

pub fn failure(spec: &Node<'_>) {
    let policy = spec.get("podFailurePolicy");
    let rules = policy.get("rules");
    if rules.len() > 20 {
        rules.too_many(20);
    }
    let template = &spec.value["template"]["spec"];
    let lists = ["containers", "initContainers"];
    let containers: BTreeSet<&str> =
        lists.iter().flat_map(|list| elements(&template[*list])).map(|container| text(container, "name")).collect();
    for rule in rules.items() {
        let action = rule.get("action");
        if action.text() != "FailIndex" {
            word(&action, &ACTIONS);
        } else if !spec.get("backoffLimitPerIndex").is_set() {
            action.invalid("requires the backoffLimitPerIndex to be set");
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &containers);
        }
        if conditions.len() > 20 {
            conditions.too_many(20);
        }
        for pattern in conditions.items() {
            pattern.get("type").syntax(syntax::is_qualified_name);
            word(&pattern.get("status"), &["False", "True", "Unknown"]);
        }
        match (codes.is_set(), conditions.is_empty()) {
            (true, false) => rule.invalid_unshown("specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, true) => rule.invalid_unshown("specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
    }
}

fn exit_codes(codes: &Node<'_>, containers: &BTreeSet<&str>) {
    let operator = codes.get("operator");
    word(&operator, &["In", "NotIn"]);
    let container = codes.get("containerName");
    if container.is_set() && !containers.contains(container.text()) {
        container.invalid("must be one of the container or initContainer names in the pod template");
    }
    let values = codes.get("values");
    if values.is_empty() {
        values.invalid("at least one value is required");
    } else if values.len() > 255 {
        values.too_many(255);
    }
    let mut seen = BTreeSet::new();
    for value in values.items() {
        if operator.text() == "In" && value.integer() == 0 {
            value.invalid("must not be 0 for the In operator");
        }
        if !seen.insert(value.integer()) {
            value.push(FieldError::duplicate(value.path(), value.value.clone()));
        }
    }
    if !elements(values.value).is_sorted_by_key(|value| value.as_i64()) {
        values.invalid("must be ordered");
    }
}

pub fn success(spec: &Node<'_>) {
    let policy = spec.get("successPolicy");
    if !policy.is_set() {
        return;
    }
    if spec.get("completionMode").text() != "Indexed" {
        policy.invalid("requires indexed completion mode");
        return;
    }
    let rules = policy.get("rules");
    rules.require_saying("at least one rules must be specified when the successPolicy is specified");
    if rules.len() > 20 {
        rules.too_many(20);
    }
    let completions = spec.get("completions").integer();
    for rule in rules.items() {
        success_rule(&rule, completions);
    }
}

fn success_rule(rule: &Node<'_>, completions: i64) {
    let (count, indexes) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
    if !count.is_set() && !indexes.is_set() {
        rule.required("at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if indexes.is_set() {
        if indexes.text().len() > 64 * 1024 {
            indexes.too_long(64 * 1024);
        }
        match count_indexes(indexes.text(), completions) {
            Ok(count) => total = count,
            Err(error) => indexes.invalid(format!("error parsing succeededIndexes: {error}")),
        }
    }
    count.non_negative();
    if count.integer() > completions {
        count.invalid(format!("must be less than or equal to {completions} (the number of specified completions)"));
    }
    if count.is_set() && indexes.is_set() && count.integer() > total {
        let what = "(the number of indexes in the specified succeededIndexes field)";
        count.invalid(format!("must be less than or equal to {total} {what}"));
    }
}

/// How many indexes a list like `1,3-5,7` names.
pub fn count_indexes(list: &str, completions: i64) -> Result<i64, String> {
    if list.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last): (i64, Option<i64>) = (0, None);
    for part in list.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total = total.saturating_add(end - first + 1);
        last = Some(end);
    }
    Ok(total)
}

/// The first and the last index of `3-5`, or of `3`.
pub fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    if part.matches('-').count() > 1 {
        let rule = "violates the requirement that an index interval can have at most two parts separated by '-'";
        return Err(format!("the fragment {part:?} {rule}"));
    }
    let index = |text: &str| {
        let parsed: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if parsed >= completions { Err(format!("too large index: {text:?}")) } else { Ok(parsed) }
    };
    let Some((first, last)) = part.split_once('-') else { return index(part).map(|index| (index, index)) };
    match (index(first)?, index(last)?) {
        (first, last) if first >= last => Err(format!("non-increasing order, previous: {first}, current: {last}")),
        interval => Ok(interval),
    }
}

/// An index that both lists name.
pub fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals =
        |list: &str| list.split(',').filter_map(|part| interval(part, completions).ok()).collect::<Vec<_>>();
    let failed = intervals(failed);
    let mut common = intervals(completed).into_iter().flat_map(|(first, last)| {
        let overlapping = failed.iter().filter(move |other| first <= other.1 && other.0 <= last);
        overlapping.map(move |other| first.max(other.0)).collect::<Vec<_>>()
    });
    common.next()
}

/// Whether a condition of a job holds.
pub fn holds(job: &Value, condition: &str) -> bool {
    let is_it = |known: &Value| known["type"] == condition && known["status"] == "True";
    elements(&job["status"]["conditions"]).iter().any(is_it)
}
