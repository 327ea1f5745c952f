//! `autoscaling/v1`: one target for the use of cpu; everything else travels in annotations.

use serde_json::{Value, json};

use super::{DEFAULT_UTILIZATION, cpu_utilization};
use crate::{
    kinds::{
        check::{elements, is_empty, text},
        edit::{at_mut, object_at, remove, set},
    },
    resource::Conversion,
};

/// From `autoscaling/v2` and back.
pub const V1: Conversion = Conversion { from_storage: to_v1, to_storage: from_v1 };

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

fn is_cpu_utilization(metric: &Value) -> bool {
    is_cpu(metric) && !metric["resource"]["target"]["averageUtilization"].is_null()
}

pub fn to_v1(object: &mut Value) {
    set(object, "apiVersion", "autoscaling/v1");
    let metrics = take(object, "spec", "metrics");
    let behavior = take(object, "spec", "behavior");
    let current = take(object, "status", "currentMetrics");
    let conditions = take(object, "status", "conditions");
    if let Some(cpu) = elements(&metrics).iter().find(|metric| is_cpu_utilization(metric))
        && let Some(spec) = at_mut(object, &["spec"])
    {
        set(spec, "targetCPUUtilizationPercentage", cpu["resource"]["target"]["averageUtilization"].clone());
    }
    let cpu = elements(&current).iter().rev().find(|metric| is_cpu(metric));
    let utilization = cpu.map(|metric| metric["resource"]["current"]["averageUtilization"].clone());
    if let Some(utilization) = utilization.filter(|utilization| !utilization.is_null())
        && let Some(status) = at_mut(object, &["status"])
    {
        set(status, "currentCPUUtilizationPercentage", utilization);
    }
    // Version 1 says also that there are none.
    if let Some(status) = object["status"].as_object_mut() {
        status.entry("currentReplicas").or_insert(json!(0));
    }
    let others = elements(&metrics).iter().filter(|metric| !is_cpu_utilization(metric));
    let others: Vec<Value> = others.map(|metric| rewrite(metric, target_to_v1)).collect();
    let current: Vec<Value> = elements(&current).iter().map(|metric| rewrite(metric, current_to_v1)).collect();
    let annotations =
        [(METRICS, others.into()), (CURRENT_METRICS, current.into()), (CONDITIONS, conditions), (BEHAVIOR, behavior)];
    for (name, value) in annotations.into_iter().filter(|(_, value): &(_, Value)| !is_empty(value)) {
        if let Some(annotations) = object_at(object, &["metadata", "annotations"]) {
            annotations.insert(name.to_owned(), value.to_string().into());
        }
    }
}

pub fn from_v1(object: &mut Value) {
    set(object, "apiVersion", "autoscaling/v2");
    if object["status"]["currentReplicas"] == 0 {
        take(object, "status", "currentReplicas");
    }
    let annotation = |name: &str| {
        let text = object["metadata"]["annotations"][name].as_str()?;
        serde_json::from_str::<Value>(text).ok()
    };
    let [others, current, conditions, behavior] = ANNOTATIONS.map(annotation);
    let mut metrics: Vec<Value> =
        others.iter().flat_map(elements).map(|metric| rewrite(metric, target_from_v1)).collect();
    let utilization = take(object, "spec", "targetCPUUtilizationPercentage");
    metrics.extend(utilization.as_i64().map(cpu_utilization));
    if metrics.is_empty() {
        metrics.push(cpu_utilization(DEFAULT_UTILIZATION));
    }
    let cpu = take(object, "status", "currentCPUUtilizationPercentage");
    let current = match current {
        Some(current) => elements(&current).iter().map(|metric| rewrite(metric, current_from_v1)).collect(),
        None if cpu.is_null() => Vec::new(),
        None => vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": cpu}}})],
    };
    if let Some(spec) = at_mut(object, &["spec"]) {
        set(spec, "metrics", metrics);
        if let Some(behavior) = behavior.filter(Value::is_object) {
            set(spec, "behavior", behavior);
        }
    }
    let conditions = conditions.unwrap_or_default();
    for (field, value) in [("currentMetrics", current.into()), ("conditions", conditions)] {
        if !is_empty(&value)
            && let Some(status) = object_at(object, &["status"])
        {
            status.insert(field.to_owned(), value);
        }
    }
    if let Some(annotations) = at_mut(object, &["metadata", "annotations"]) {
        ANNOTATIONS.iter().for_each(|name| remove(annotations, name));
    }
    if is_empty(&object["metadata"]["annotations"])
        && let Some(metadata) = at_mut(object, &["metadata"])
    {
        remove(metadata, "annotations");
    }
}

/// Removes and gives a field; null where there is none.
fn take(object: &mut Value, parent: &str, field: &str) -> Value {
    let parent = object.get_mut(parent).and_then(Value::as_object_mut);
    parent.and_then(|parent| parent.remove(field)).unwrap_or_default()
}

const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

/// Rewrites the source of a metric, in the form of the other version.
fn rewrite(metric: &Value, source: fn(&str, &Value) -> Vec<(&'static str, Value)>) -> Value {
    let mut rewritten = json!({"type": metric["type"]});
    for (kind, field) in SOURCES {
        if !metric[field].is_null() {
            let fields = source(kind, &metric[field]).into_iter().filter(|(_, value)| !value.is_null());
            rewritten[field] = fields.map(|(name, value)| (name.to_owned(), value)).collect();
        }
    }
    rewritten
}

fn or_zero(value: &Value) -> Value {
    if value.is_null() { "0".into() } else { value.clone() }
}

fn selector_name(kind: &str) -> &'static str {
    if kind == "External" { "metricSelector" } else { "selector" }
}

fn target_to_v1(kind: &str, source: &Value) -> Vec<(&'static str, Value)> {
    let (target, metric) = (&source["target"], &source["metric"]);
    let mut fields = named(kind, source, metric, "describedObject", "target");
    let (value, average) = (&target["value"], &target["averageValue"]);
    fields.extend(match kind {
        "Object" => vec![("targetValue", or_zero(value)), ("averageValue", average.clone())],
        "Pods" => vec![("targetAverageValue", or_zero(average))],
        "External" => vec![("targetValue", value.clone()), ("targetAverageValue", average.clone())],
        _ => vec![
            ("targetAverageUtilization", target["averageUtilization"].clone()),
            ("targetAverageValue", average.clone()),
        ],
    });
    fields
}

fn current_to_v1(kind: &str, source: &Value) -> Vec<(&'static str, Value)> {
    let (current, metric) = (&source["current"], &source["metric"]);
    let mut fields = named(kind, source, metric, "describedObject", "target");
    let (value, average) = (&current["value"], &current["averageValue"]);
    fields.extend(match kind {
        "Object" => vec![("currentValue", or_zero(value)), ("averageValue", average.clone())],
        "Pods" => vec![("currentAverageValue", or_zero(average))],
        "External" => vec![("currentValue", or_zero(value)), ("currentAverageValue", average.clone())],
        _ => vec![
            ("currentAverageUtilization", current["averageUtilization"].clone()),
            ("currentAverageValue", or_zero(average)),
        ],
    });
    fields
}

/// The fields that say what is measured, in version 1.
fn named(kind: &str, source: &Value, metric: &Value, from: &str, to: &'static str) -> Vec<(&'static str, Value)> {
    if matches!(kind, "Resource" | "ContainerResource") {
        return vec![("name", source["name"].clone()), ("container", source["container"].clone())];
    }
    let mut fields = vec![("metricName", metric["name"].clone()), (selector_name(kind), metric["selector"].clone())];
    if kind == "Object" {
        fields.push((to, source[from].clone()));
    }
    fields
}

/// The fields that say what is measured, in version 2.
fn identified(kind: &str, source: &Value) -> Vec<(&'static str, Value)> {
    if matches!(kind, "Resource" | "ContainerResource") {
        return vec![("name", source["name"].clone()), ("container", source["container"].clone())];
    }
    let mut metric = json!({"name": text(source, "metricName")});
    let selector = &source[selector_name(kind)];
    if !selector.is_null() {
        metric["selector"] = selector.clone();
    }
    let mut fields = vec![("metric", metric)];
    if kind == "Object" {
        fields.push(("describedObject", source["target"].clone()));
    }
    fields
}

fn present(fields: &[(&str, &Value)]) -> Value {
    fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| ((*name).to_owned(), (*value).clone()))
        .collect()
}

fn target_from_v1(kind: &str, source: &Value) -> Vec<(&'static str, Value)> {
    let (value, utilization) = (&source["targetValue"], &source["targetAverageUtilization"]);
    let average = if kind == "Object" { &source["averageValue"] } else { &source["targetAverageValue"] };
    let of_type = |one: bool, first: &str, second: &str| Value::from(if one { first } else { second });
    let kind_of_target = match kind {
        "Object" => of_type(average.is_null(), "Value", "AverageValue"),
        "Pods" => "AverageValue".into(),
        "External" => of_type(value.is_null(), "AverageValue", "Value"),
        _ => of_type(utilization.is_null(), "AverageValue", "Utilization"),
    };
    let is_unset = kind == "Object" && !average.is_null() && value == "0";
    let value = if is_unset { &Value::Null } else { value };
    let target = present(&[
        ("type", &kind_of_target),
        ("value", value),
        ("averageValue", average),
        ("averageUtilization", utilization),
    ]);
    let mut fields = identified(kind, source);
    fields.push(("target", target));
    fields
}

fn current_from_v1(kind: &str, source: &Value) -> Vec<(&'static str, Value)> {
    let average = if kind == "Object" { &source["averageValue"] } else { &source["currentAverageValue"] };
    let current = present(&[
        ("value", &source["currentValue"]),
        ("averageValue", average),
        ("averageUtilization", &source["currentAverageUtilization"]),
    ]);
    let mut fields = identified(kind, source);
    fields.push(("current", current));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_survives_the_way_through_version_1() {
        let stored = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "web"},
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    {"type": "Pods", "pods": {
                        "metric": {"name": "requests", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "Object", "object": {
                        "describedObject": {"kind": "Service", "name": "web"},
                        "metric": {"name": "hits"},
                        "target": {"type": "AverageValue", "averageValue": "3"}}},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "memory", "container": "app",
                        "target": {"type": "Utilization", "averageUtilization": 70}}},
                    {"type": "Resource", "resource": {
                        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
            },
            "status": {
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": 31, "averageValue": "12m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        });
        let mut object = stored.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(object["status"]["currentCPUUtilizationPercentage"], 31);
        assert_eq!(object["status"]["currentReplicas"], 0);
        assert!(object["spec"]["metrics"].is_null());
        from_v1(&mut object);
        assert_eq!(object, stored);
    }

    #[test]
    fn a_bare_version_1_watches_the_cpu() {
        let mut object = json!({"metadata": {}, "spec": {"maxReplicas": 3}});
        from_v1(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_utilization(80)]));
    }
}
