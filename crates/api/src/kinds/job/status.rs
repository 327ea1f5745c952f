//! The status of jobs: what happened cannot unhappen.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{count_indexes, holds, overlap};
use crate::kinds::{
    check::{Node, text},
    columns::seconds,
    workload::non_negative,
};

pub fn rules(new: &Node<'_>, old: &Value) {
    let status = new.get("status");
    non_negative(&status, &["active", "succeeded", "failed", "ready", "terminating"]);
    uncounted(&status.get("uncountedTerminatedPods"));
    conditions(new, &status);
    finished(new, &status);
    indexes(new, &status);
    if status.get("ready").integer() > status.get("active").integer() {
        status.get("ready").invalid("cannot set more ready pods than active");
    }
    changes(new, old);
}

fn uncounted(pods: &Node<'_>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.get(list).items() {
            if uid.is_empty() {
                uid.invalid_value("", "must not be empty");
            } else if !seen.insert(uid.text().to_owned()) {
                uid.duplicate();
            }
        }
    }
}

/// Conditions that exclude each other.
const EXCLUSIVE: &[(&str, &str, &str)] = &[
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
];

/// Conditions that come only after another.
const IMPLIED: &[(&str, &str, &str)] = &[
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    (
        "Complete",
        "SuccessCriteriaMet",
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    ),
];

fn conditions(new: &Node<'_>, status: &Node<'_>) {
    let node = status.get("conditions");
    for (one, other, message) in EXCLUSIVE {
        if holds(new.value, one) && holds(new.value, other) {
            node.invalid_unshown(*message);
        }
    }
    for (later, earlier, message) in IMPLIED {
        if holds(new.value, later) && !holds(new.value, earlier) {
            node.invalid_unshown(*message);
        }
    }
    let completion = status.get("completionTime");
    match (completion.is_set(), holds(new.value, "Complete")) {
        (true, false) => completion.invalid("cannot set completionTime when there is no Complete=True condition"),
        (false, true) => completion.required("completionTime is required for Complete jobs"),
        _ => {}
    }
    if let (Some(start), Some(end)) = (seconds(&status.value["startTime"]), seconds(completion.value))
        && end < start
    {
        completion.invalid("must be equal to or after `startTime`");
    }
}

fn finished(new: &Node<'_>, status: &Node<'_>) {
    if !holds(new.value, "Complete") && !holds(new.value, "Failed") {
        return;
    }
    for field in ["active", "terminating"] {
        if status.get(field).integer() > 0 {
            status.get(field).invalid(format!("{field}>0 is invalid for finished job"));
        }
    }
    status.get("startTime").require_saying("startTime is required for finished job");
    let pods = status.get("uncountedTerminatedPods");
    if ["succeeded", "failed"].iter().any(|list| !pods.get(list).is_empty()) {
        pods.invalid("must be empty for finished job");
    }
}

fn indexes(new: &Node<'_>, status: &Node<'_>) {
    let spec = &new.value["spec"];
    let (completed, failed) = (status.get("completedIndexes"), status.get("failedIndexes"));
    if let Some(completions) = spec["completions"].as_i64() {
        for (node, name) in [(&completed, "completedIndexes"), (&failed, "failedIndexes")] {
            if let Err(error) = count_indexes(node.text(), completions) {
                node.invalid(format!("error parsing {name}: {error}"));
            }
        }
        if let Some(index) = overlap(completed.text(), failed.text(), completions) {
            failed.invalid(format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
    }
    if !completed.is_empty() && text(spec, "completionMode") != "Indexed" {
        completed.invalid("cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if failed.is_set() && spec["backoffLimitPerIndex"].is_null() {
        failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
}

fn changes(new: &Node<'_>, old: &Value) {
    let status = new.get("status");
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, condition) && !holds(new.value, condition) {
            status.get("conditions").invalid_unshown(format!("cannot disable the terminal {condition}=True condition"));
        }
    }
    if holds(old, "SuccessCriteriaMet") && !holds(new.value, "SuccessCriteriaMet") {
        status.get("conditions").invalid_unshown("cannot disable the SuccessCriteriaMet=True condition");
    }
    // An indexed job can be made smaller, and then has fewer indexes that succeeded.
    let spec = &new.value["spec"];
    let shrinks = text(spec, "completionMode") == "Indexed" && spec["completions"] == spec["parallelism"];
    let is_resumed = holds(old, "Suspended") && !holds(new.value, "Suspended");
    let old = &old["status"];
    for counter in ["failed", "succeeded"] {
        if counter == "succeeded" && shrinks {
            continue;
        }
        if status.get(counter).integer() < old[counter].as_i64().unwrap_or_default() {
            let node = status.get(counter);
            node.invalid_value(node.integer(), format!("cannot decrease the {counter} counter"));
        }
    }
    let completion = status.get("completionTime");
    if completion.is_set() && !old["completionTime"].is_null() && *completion.value != old["completionTime"] {
        completion.invalid("field is immutable");
    }
    let start = status.get("startTime");
    let may_change = spec["suspend"] == true || is_resumed;
    if !old["startTime"].is_null() && *start.value != old["startTime"] && !may_change {
        start.invalid("field is immutable for unsuspended job once set");
    }
}
