//! Horizontal pod autoscalers, stored as `autoscaling/v2`.

mod conversion;

use serde_json::{Value, json};

pub use conversion::V1;

use super::{
    check::{Node, check, elements, is_empty, text},
    columns::{self, UNKNOWN, age, name, number},
    edit::{at_mut, fill, object_at, set},
    resources,
    workload::non_negative,
};
use crate::{resource::Column, strategy::Strategy, syntax};

pub const STRATEGY: Strategy = Strategy {
    default,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_status: |new, _, errors| {
        check(new, errors, |new| non_negative(&new.get("status"), &["currentReplicas", "desiredReplicas"]));
    },
    ..Strategy::DEFAULT
};

/// What is watched where nothing is said: 80 % of the cpu that was asked for.
fn cpu_utilization(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

const DEFAULT_UTILIZATION: i64 = 80;

fn default(object: &mut Value) {
    let Some(spec) = at_mut(object, &["spec"]) else { return };
    fill(spec, "minReplicas", 1);
    if is_empty(&spec["metrics"]) {
        set(spec, "metrics", json!([cpu_utilization(DEFAULT_UTILIZATION)]));
    }
    if spec["behavior"].is_null() {
        return;
    }
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (direction, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        object_at(spec, &["behavior", direction]);
        let Some(rules) = at_mut(spec, &["behavior", direction]) else { continue };
        fill(rules, "selectPolicy", "Max");
        fill(rules, "policies", policies);
        if direction == "scaleUp" {
            fill(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

fn rules(spec: &Node<'_>) {
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if min.is_set() && min.integer() < 1 {
        min.invalid("must be greater than or equal to 1");
    }
    match max.integer() {
        0 => max.required("must be set and greater than 0"),
        negative if negative < 0 => max.invalid("must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_set() && max.integer() < min.integer() {
        max.invalid_value(max.integer(), "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.get("scaleTargetRef"));
    target_version(&spec.get("scaleTargetRef"));
    let metrics = spec.get("metrics");
    metrics.items().for_each(|item| metric(&item));
    let scales_to_zero = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if min.is_set() && min.integer() == 0 && !elements(metrics.value).iter().any(scales_to_zero) {
        metrics.forbidden("must specify at least one Object or External metric to support scaling to zero replicas");
    }
    let behavior = spec.get("behavior");
    for direction in ["scaleUp", "scaleDown"].iter().filter(|direction| behavior.get(direction).is_set()) {
        scaling_rules(&behavior.get(direction));
    }
}

fn path_segment(node: &Node<'_>) {
    node.syntax(|text| syntax::is_path_segment(text, false));
}

fn reference(node: &Node<'_>) {
    for field in ["kind", "name"] {
        if node.get(field).require() {
            path_segment(&node.get(field));
        }
    }
}

/// Says whether the version is one.
fn parsed_version(reference: &Node<'_>) -> bool {
    let version = reference.get("apiVersion");
    let is_one = version.text().matches('/').count() <= 1;
    if !is_one {
        version.invalid(format!("unexpected GroupVersion string: {}", version.text()));
    }
    is_one
}

/// What is scaled is named with its group, but for the one scalable kind that has none.
fn target_version(reference: &Node<'_>) {
    let version = reference.get("apiVersion");
    let has_group = version.text().contains('/');
    let is_core = version.text() == "v1" && reference.get("kind").text() == "ReplicationController";
    if parsed_version(reference) && !has_group && !is_core {
        version.invalid_value(version.text(), "apiVersion must specify API group");
    }
}

/// A type of metric, the field that describes it, and the rules of that.
type Source = (&'static str, &'static str, fn(&Node<'_>));

/// In the order in which they are looked at.
const SOURCES: [Source; 5] = [
    ("Object", "object", object_source),
    ("External", "external", external_source),
    ("Pods", "pods", pods_source),
    ("Resource", "resource", resource_source),
    ("ContainerResource", "containerResource", container_resource_source),
];

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric(metric: &Node<'_>) {
    let kind = metric.get("type");
    if kind.is_empty() {
        kind.required("must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, ..)| *name == kind.text());
    if expected.is_none() {
        kind.not_supported(&TYPES);
    }
    let present: Vec<_> = SOURCES.iter().filter(|(_, field, _)| metric.get(field).is_set()).collect();
    if let Some((_, field, rules)) = present.first() {
        rules(&metric.get(field));
    }
    match expected {
        Some((_, field, _)) if !metric.get(field).is_set() => {
            metric.get(field).required("must populate information for the given metric source");
        }
        Some(_) => {}
        None => kind.not_supported(&TYPES),
    }
    if present.len() != 1 {
        let others = present.iter().filter(|(name, ..)| *name != kind.text());
        others.for_each(|(_, field, _)| metric.get(field).forbidden("must populate the given metric source only"));
    }
}

fn object_source(source: &Node<'_>) {
    reference(&source.get("describedObject"));
    parsed_version(&source.get("describedObject"));
    identifier(&source.get("metric"));
    let target = source.get("target");
    self::target(&target);
    if !target.get("value").is_set() && !target.get("averageValue").is_set() {
        target.get("averageValue").required("must set either a target value or averageValue");
    }
}

fn external_source(source: &Node<'_>) {
    identifier(&source.get("metric"));
    let target = source.get("target");
    self::target(&target);
    match (target.get("value").is_set(), target.get("averageValue").is_set()) {
        (false, false) => {
            let message = "must set either a target value for metric or a per-pod target";
            target.get("averageValue").required(message);
        }
        (true, true) => {
            target.get("value").forbidden("may not set both a target value for metric and a per-pod target");
        }
        _ => {}
    }
}

fn pods_source(source: &Node<'_>) {
    identifier(&source.get("metric"));
    let target = source.get("target");
    self::target(&target);
    if !target.get("averageValue").is_set() {
        target.get("averageValue").required("must specify a positive target averageValue");
    }
}

fn resource_source(source: &Node<'_>) {
    source.get("name").require_saying("must specify a resource name");
    resource_target(&source.get("target"));
}

fn container_resource_source(source: &Node<'_>) {
    let name = source.get("name");
    if name.require_saying("must specify a resource name") {
        resources::container_resource_name(name.text(), &name);
    }
    if source.get("container").require_saying("must specify a container") {
        source.get("container").syntax(syntax::is_dns1123_label);
    }
    resource_target(&source.get("target"));
}

fn resource_target(target: &Node<'_>) {
    self::target(target);
    match (target.get("averageUtilization").is_set(), target.get("averageValue").is_set()) {
        (false, false) => {
            let message = "must set either a target raw value or a target utilization";
            target.get("averageUtilization").required(message);
        }
        (true, true) => {
            target.get("averageValue").forbidden("may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn target(target: &Node<'_>) {
    let kind = target.get("type");
    if kind.is_empty() {
        kind.required("must specify a metric target type");
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        kind.invalid_value(kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        if target.get(field).is_set() && !resources::sign(&target.value[field]).is_gt() {
            target.get(field).invalid("must be positive");
        }
    }
    let utilization = target.get("averageUtilization");
    if utilization.is_set() && utilization.integer() < 1 {
        utilization.invalid("must be greater than 0");
    }
}

fn identifier(metric: &Node<'_>) {
    if metric.get("name").require_saying("must specify a metric name") {
        path_segment(&metric.get("name"));
    }
}

fn scaling_rules(rules: &Node<'_>) {
    let window = rules.get("stabilizationWindowSeconds");
    if window.integer() < 0 {
        window.invalid("must be greater than or equal to zero");
    }
    if window.integer() > 3600 {
        window.invalid("must be less than or equal to 3600");
    }
    rules.get("selectPolicy").optional_word(&["Disabled", "Max", "Min"]);
    rules.get("policies").require_saying("must specify at least one Policy");
    for policy in rules.get("policies").items() {
        let kind = policy.get("type");
        if !matches!(kind.text(), "Pods" | "Percent") {
            kind.not_supported(&["Percent", "Pods"]);
        }
        for field in ["value", "periodSeconds"] {
            let number = policy.get(field);
            if number.integer() <= 0 {
                number.invalid_value(number.integer(), "must be greater than zero");
            }
        }
        if policy.get("periodSeconds").integer() > 1800 {
            policy.get("periodSeconds").invalid("must be less than or equal to 1800");
        }
    }
    if resources::sign(&rules.value["tolerance"]).is_lt() {
        rules.get("tolerance").invalid(super::check::NOT_NEGATIVE);
    }
}

fn targets(object: &Value) -> String {
    let (metrics, current) = (elements(&object["spec"]["metrics"]), &object["status"]["currentMetrics"]);
    if metrics.is_empty() {
        return columns::NONE.to_owned();
    }
    let all: Vec<String> = metrics.iter().zip(0..).map(|(metric, index)| one_target(metric, &current[index])).collect();
    match all.len() {
        0..=2 => all.join(", "),
        count => format!("{} + {} more...", all[..2].join(", "), count - 2),
    }
}

fn shown<'a>(value: &'a Value, default: &'a str) -> &'a str {
    value.as_str().unwrap_or(default)
}

fn one_target(metric: &Value, status: &Value) -> String {
    let Some((kind, field, _)) = SOURCES.iter().find(|(name, ..)| metric["type"] == *name) else {
        return "<unknown type>".to_owned();
    };
    let (target, current) = (&metric[*field]["target"], &status[*field]["current"]);
    let average = target["averageValue"].as_str();
    let percent = |value: &Value, default: &str| value.as_i64().map_or(default.to_owned(), |value| format!("{value}%"));
    let resource = text(&metric[*field], "name");
    match (*kind, average) {
        ("Pods", _) => format!("{}/{}", shown(&current["averageValue"], UNKNOWN), average.unwrap_or_default()),
        ("Object" | "External", Some(average)) => {
            format!("{}/{average} (avg)", shown(&current["averageValue"], UNKNOWN))
        }
        ("Object" | "External", None) => {
            format!("{}/{}", shown(&current["value"], UNKNOWN), shown(&target["value"], ""))
        }
        (_, Some(average)) => format!("{resource}: {}/{average}", shown(&current["averageValue"], UNKNOWN)),
        (_, None) => {
            let now = percent(&current["averageUtilization"], UNKNOWN);
            format!("{resource}: {now}/{}", percent(&target["averageUtilization"], "<auto>"))
        }
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Reference", "What is scaled.", |object, _| {
            let target = &object["spec"]["scaleTargetRef"];
            format!("{}/{}", text(target, "kind"), text(target, "name")).into()
        }),
        columns::text("Targets", "What is measured, of what is wanted.", |object, _| targets(object).into()),
        columns::text("MinPods", "The fewest pods.", |object, _| {
            object["spec"]["minReplicas"].as_i64().map_or("<unset>".into(), |replicas| replicas.to_string().into())
        }),
        columns::text("MaxPods", "The most pods.", |object, _| number(&object["spec"]["maxReplicas"])),
        columns::text("Replicas", "The pods there are.", |object, _| number(&object["status"]["currentReplicas"])),
        age(),
    ]
}
