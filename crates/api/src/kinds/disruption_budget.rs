//! Pod disruption budgets.

use serde_json::Value;

use super::{
    check::{Node, check},
    columns::{self, age, integer, name, number},
    rules,
    workload::{at_most_all, integer_or_percent, non_negative},
};
use crate::{
    metadata,
    resource::Column,
    strategy::{NameRule, Strategy},
};

pub const STRATEGY: Strategy = Strategy {
    prepare_create: rules::drop_status,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_status: |new, _, errors| {
        check(new, errors, |new| {
            let status = new.get("status");
            status.get("conditions").with(metadata::validate_conditions);
            non_negative(&status, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]);
        });
    },
    name: NameRule::PathSegment,
    counts_generation: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn rules(spec: &Node<'_>) {
    let bounds = [spec.get("minAvailable"), spec.get("maxUnavailable")];
    if bounds.iter().all(Node::is_set) {
        spec.invalid("minAvailable and maxUnavailable cannot be both set");
    }
    for bound in bounds.iter().filter(|bound| bound.is_set()) {
        integer_or_percent(bound);
        at_most_all(bound);
    }
    spec.get("selector").with(metadata::validate_label_selector);
    spec.get("unhealthyPodEvictionPolicy").optional_word(&["AlwaysAllow", "IfHealthyBudget"]);
}

fn bound(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        number => number.to_string().into(),
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Min Available", "The pods that must stay available.", |object, _| {
            bound(&object["spec"]["minAvailable"])
        }),
        columns::text("Max Unavailable", "The pods that may be unavailable.", |object, _| {
            bound(&object["spec"]["maxUnavailable"])
        }),
        integer("Allowed Disruptions", "Pods that may be evicted now.", |object, _| {
            number(&object["status"]["disruptionsAllowed"])
        }),
        age(),
    ]
}
