//! LimitRanges and ResourceQuotas: what a namespace's pods may ask for, each and together.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, is_empty, text, texts},
    columns, edit, resources, rules,
};
use crate::{field::FieldErrors, quota::names, resource::Column, strategy::Strategy, syntax};

pub const LIMIT_RANGE: Strategy = Strategy {
    default: default_limit_range,
    validate: |object, errors| check(object, errors, validate_limit_range),
    create_on_update: true,
    ..Strategy::DEFAULT
};

/// The limit falls back to the maximum, the request to the limit, then to the minimum.
fn default_limit_range(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    for limit in edit::each_mut(spec, "limits").filter(|limit| limit["type"] == "Container") {
        for (field, fallback) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let fallback = limit[fallback].clone();
            let Some(amounts) = edit::object_at(limit, &[field]) else { continue };
            for (name, amount) in fallback.as_object().into_iter().flatten() {
                amounts.entry(name.clone()).or_insert_with(|| amount.clone());
            }
        }
    }
}

fn validate_limit_range(root: &Node<'_>) {
    let spec = root.get("spec");
    let limits = spec.get("limits");
    for limit in limits.items() {
        let kind = limit.get("type");
        kind.syntax(syntax::is_qualified_name);
        let is_known =
            matches!(kind.text(), "Pod" | "Container" | "PersistentVolumeClaim") || kind.text().contains('/');
        if !is_known && syntax::is_qualified_name(kind.text()).is_empty() {
            kind.invalid("must be a standard limit type or fully qualified");
        }
        validate_limit(&limit, kind.text());
    }
    rules::unique(&limits, "type");
}

fn validate_limit(limit: &Node<'_>, kind: &str) {
    let mut names: Vec<String> = Vec::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let list_node = limit.get(list);
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !list_node.is_empty() {
                list_node.forbidden("may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, amount) in list_node.entries() {
            if matches!(kind, "Pod" | "Container") {
                resources::container_resource_name(name, &amount);
            } else {
                resources::resource_name(name, &amount);
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && limit.value["min"]["storage"].is_null()
        && limit.value["max"]["storage"].is_null()
    {
        let message = "either minimum or maximum storage value is required, but neither was provided";
        limit.get("limits").required(message);
    }
    names.iter().for_each(|name| validate_amounts(limit, kind, name));
}

/// (smaller, its words, larger, its words, the list whose error it is, the value shown)
type Order = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const ORDERS: [Order; 6] = [
    ("min", "min value", "max", "max value", "min", "min"),
    ("min", "min value", "defaultRequest", "default request value", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default request value", "max", "max value", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default request value", "default", "default limit value", "defaultRequest", "defaultRequest"),
    ("min", "min value", "default", "default value", "default", "min"),
    ("default", "default value", "max", "max value", "default", "max"),
];

fn validate_amounts(limit: &Node<'_>, kind: &str, name: &str) {
    let amount = |list: &str| match (kind, list) {
        ("Pod", "default" | "defaultRequest") => None,
        _ => Some(&limit.value[list][name]).filter(|amount| !amount.is_null()),
    };
    let shown = |amount: &Value| amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    let compare = |a: &Value, b: &Value| resources::quantity(a).cmp(&resources::quantity(b));
    for (smaller, smaller_words, larger, larger_words, at, value) in ORDERS {
        let (Some(small), Some(large)) = (amount(smaller), amount(larger)) else { continue };
        if compare(small, large) == Ordering::Greater {
            let message = format!("{smaller_words} {} is greater than {larger_words} {}", shown(small), shown(large));
            limit.get(at).key(name).showing(&limit.value[value][name]).invalid(message);
        }
    }
    let ratios = limit.get("maxLimitRequestRatio");
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        if compare(ratio, &json!("1")) == Ordering::Less {
            ratios.key(name).invalid(format!("ratio {} is less than 1", shown(ratio)));
        }
        if let (Some(min), Some(max)) = (amount("min"), amount("max")) {
            let greatest = resources::quantity(max).as_f64() / resources::quantity(min).as_f64();
            if resources::quantity(ratio).as_f64() > greatest {
                ratios.key(name).invalid(format!("ratio {} is greater than max/min = {greatest:.6}", shown(ratio)));
            }
        }
    }
    if let (Some(default), Some(request)) = (amount("default"), amount("defaultRequest"))
        && !resources::is_overcommit_allowed(name)
        && compare(default, request) != Ordering::Equal
    {
        let message =
            format!("default value {} must equal to defaultRequest value {} in {name}", shown(default), shown(request));
        limit.get("defaultRequest").key(name).invalid(message);
    }
}

pub const RESOURCE_QUOTA: Strategy = Strategy {
    prepare_create: |quota| edit::set(quota, "status", json!({})),
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, validate_quota),
    validate_update,
    validate_status: |new, _, errors| check(new, errors, |root| quota_amounts(&root.get("status"), &["hard", "used"])),
    ..Strategy::DEFAULT
};

const POD_COMPUTE: &[&str] =
    &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "pods"];

fn is_quota_resource(name: &str) -> bool {
    names::find(name).is_some() || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

fn quota_amounts(parent: &Node<'_>, lists: &[&str]) {
    for list in lists {
        for (name, amount) in parent.get(list).entries() {
            for error in syntax::is_qualified_name(name) {
                amount.invalid_value(name, error);
            }
            if !name.contains('/') && !is_quota_resource(name) {
                amount.invalid_value(name, "must be a standard resource type or fully qualified");
                amount.invalid_value(name, "must be a standard resource for quota");
            }
            resources::resource_quantity(name, &amount);
        }
    }
}

/// The resources that a scope can tell apart; `None` for what is no scope.
fn scope_resources(scope: &str) -> Option<&'static [&'static str]> {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            Some(POD_COMPUTE)
        }
        "BestEffort" => Some(&["pods"]),
        "VolumeAttributesClass" => Some(&["persistentvolumeclaims", "requests.storage"]),
        _ => None,
    }
}

fn does_not_fit<'a>(hard: &'a Value, scope: &str) -> impl Iterator<Item = &'a String> {
    let fitting = scope_resources(scope);
    let names = hard.as_object().into_iter().flatten().map(|(name, _)| name);
    names
        .filter(move |name| is_quota_resource(name) && fitting.is_some_and(|fitting| !fitting.contains(&name.as_str())))
}

const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

fn validate_quota(root: &Node<'_>) {
    let spec = root.get("spec");
    quota_amounts(&spec, &["hard"]);
    let (scopes, hard) = (spec.get("scopes"), &spec.value["hard"]);
    for scope in texts(scopes.value) {
        if scope_resources(scope).is_none() {
            scopes.invalid("unsupported scope");
        }
        does_not_fit(hard, scope).for_each(|_| scopes.invalid("unsupported scope applied to resource"));
    }
    let selector = spec.get("scopeSelector");
    let expressions = selector.get("matchExpressions");
    for requirement in elements(expressions.value) {
        scope_requirement(&expressions.showing(requirement), hard, selector.value);
    }
    let selected: Vec<&str> = elements(expressions.value).iter().map(|item| text(item, "scopeName")).collect();
    for pair in CONFLICTING {
        if pair.iter().all(|scope| texts(scopes.value).any(|known| known == *scope)) {
            scopes.invalid("conflicting scopes");
        }
        if pair.iter().all(|scope| selected.contains(scope)) {
            expressions.invalid_value(scopes.value.clone(), "conflicting scopes");
        }
    }
}

/// A requirement on scopes; its errors are placed at the list of all.
fn scope_requirement(requirement: &Node<'_>, hard: &Value, selector: &Value) {
    let (scope, operator, values) =
        (requirement.get("scopeName"), requirement.get("operator"), requirement.get("values"));
    if scope_resources(scope.text()).is_none() {
        scope.invalid_value(scope.text(), "unsupported scope");
    }
    for _ in does_not_fit(hard, scope.text()) {
        requirement.invalid_value(selector.clone(), "unsupported scope applied to resource");
    }
    let exists_only = !matches!(scope.text(), "PriorityClass" | "VolumeAttributesClass");
    if exists_only && scope_resources(scope.text()).is_some() && operator.text() != "Exists" {
        operator.invalid(
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
             ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
             ResourceQuotaScopeCrossNamespacePodAffinity",
        );
    }
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            values.required("must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.invalid("must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => operator.invalid_value(other, "not a valid selector operator"),
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let sorted = |object: &Value| {
        let mut scopes: Vec<String> = texts(&object["spec"]["scopes"]).map(str::to_owned).collect();
        scopes.sort();
        scopes.dedup();
        scopes
    };
    if sorted(new) != sorted(old) {
        rules::immutable(new, old, &["spec.scopes"], errors);
    }
}

pub fn resource_quota_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Request", "What is used of what may be asked for.", |quota, _| used(quota, false).into()),
        columns::text("Limit", "What is used of the limits.", |quota, _| used(quota, true).into()),
        columns::age(),
    ]
}

fn used(quota: &Value, limits: bool) -> String {
    let shown =
        |amount: &Value| if is_empty(amount) { "0".to_owned() } else { amount.as_str().unwrap_or("0").to_owned() };
    let status = &quota["status"];
    let hard = status["hard"].as_object().into_iter().flatten();
    let parts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| format!("{name}: {}/{}", shown(&status["used"][name]), shown(hard)))
        .collect();
    parts.join(", ")
}
