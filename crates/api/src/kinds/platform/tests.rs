use serde_json::json;

use super::super::{
    event,
    workloads::tests::{check_cases, survive_odd_shapes},
};

#[test]
fn cases_give_what_is_expected() {
    let count = check_cases("cases/kinds");
    assert!(count >= 150, "only {count} cases were found");
}

#[test]
fn odd_shapes_are_survived() {
    survive_odd_shapes("cases/kinds");
}

#[test]
fn events_are_the_same_in_both_groups() {
    let core = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "message": "m", "reason": "R", "count": 2,
        "involvedObject": {"kind": "Pod"}, "source": {"component": "c"}, "firstTimestamp": null, "reportingComponent": "r",
    });
    let mut event = core.clone();
    (event::CONVERSION.from_storage)(&mut event);
    let expect = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}, "note": "m", "reason": "R",
        "deprecatedCount": 2, "regarding": {"kind": "Pod"}, "deprecatedSource": {"component": "c"},
        "deprecatedFirstTimestamp": null, "reportingController": "r",
    });
    assert_eq!(event, expect);
    (event::CONVERSION.to_storage)(&mut event);
    assert_eq!(event, core);
}
