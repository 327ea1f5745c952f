//! Where a pod may run: affinity, tolerations, topology spread.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    field::{FieldError, Path},
    kinds::check::{Node, elements, text, texts},
    metadata, syntax,
};

pub fn affinity(node: &Node<'_>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = node.get("nodeAffinity");
    if nodes.get(REQUIRED).is_set() {
        node_selector(&nodes.get(REQUIRED));
    }
    for term in nodes.get(PREFERRED).items() {
        weight(&term);
        node_selector_term(&term.get("preference"), false);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let pods = node.get(field);
        for term in pods.get(REQUIRED).items() {
            pod_affinity_term(&term);
        }
        for term in pods.get(PREFERRED).items() {
            weight(&term);
            pod_affinity_term(&term.get("podAffinityTerm"));
        }
    }
}

fn weight(term: &Node<'_>) {
    let weight = term.get("weight");
    if !(1..=100).contains(&weight.integer()) {
        weight.invalid_value(weight.integer(), "must be in the range 1-100");
    }
}

pub fn node_selector(node: &Node<'_>) {
    if node.get("nodeSelectorTerms").require_saying("must have at least one node selector term") {
        for term in node.get("nodeSelectorTerms").items() {
            node_selector_term(&term, true);
        }
    }
}

/// Preferences may name label values that no node can have.
fn node_selector_term(term: &Node<'_>, check_values: bool) {
    for requirement in term.get("matchExpressions").items() {
        let values = requirement.get("values");
        let operator = requirement.get("operator");
        match operator.text() {
            "In" | "NotIn" => {
                values.require_saying("must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            "Gt" | "Lt" => {
                if values.len() != 1 {
                    values.required("must be specified single value when `operator` is 'Lt' or 'Gt'");
                }
            }
            other => operator.invalid_value(other, "not a valid selector operator"),
        }
        requirement.get("key").syntax(syntax::is_qualified_name);
        if check_values {
            values.items().for_each(|value| value.syntax(syntax::is_label_value));
        }
    }
    for requirement in term.get("matchFields").items() {
        let (operator, values) = (requirement.get("operator"), requirement.get("values"));
        match operator.text() {
            "In" | "NotIn" if values.len() != 1 => {
                values.required("must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
            }
            "In" | "NotIn" => {}
            other => operator.invalid_value(other, "not a valid selector operator"),
        }
        let key = requirement.get("key");
        if key.text() == "metadata.name" {
            values.items().for_each(|value| value.syntax(syntax::is_dns1123_subdomain));
        } else {
            key.invalid_value(key.text(), "not a valid field selector key");
        }
    }
}

fn pod_affinity_term(term: &Node<'_>) {
    term.get("labelSelector").with(metadata::validate_label_selector);
    term.get("namespaceSelector").with(metadata::validate_label_selector);
    for namespace in term.get("namespaces").items() {
        term.get("namespace").showing(namespace.value).syntax(syntax::is_dns1123_label);
    }
    label_keys(term);
    let topology = term.get("topologyKey");
    topology.require_saying("can not be empty");
    topology.syntax(syntax::is_qualified_name);
}

/// `matchLabelKeys` and `mismatchLabelKeys`, which are merged into the selector at creation.
fn label_keys(term: &Node<'_>) {
    let selector = &term.value["labelSelector"];
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.get(field);
        if keys.is_empty() {
            continue;
        }
        if selector.is_null() {
            keys.forbidden("must not be specified when labelSelector is not set");
        } else {
            keys.items().for_each(|key| key.syntax(syntax::is_qualified_name));
        }
    }
    let mut selected: Vec<&str> =
        selector["matchLabels"].as_object().into_iter().flatten().map(|(k, _)| &**k).collect();
    for expression in elements(&selector["matchExpressions"]) {
        let key = text(expression, "key");
        let index = texts(&term.value["matchLabelKeys"]).position(|known| known == key);
        if let Some(index) = index.filter(|_| selected.contains(&key)) {
            term.index(index).invalid_value(key, "exists in both matchLabelKeys and labelSelector");
        }
        selected.push(key);
    }
    for key in term.get("matchLabelKeys").items() {
        if texts(&term.value["mismatchLabelKeys"]).any(|other| other == key.text()) {
            key.invalid("exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn tolerations(list: &Node<'_>) {
    for toleration in list.items() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (value, effect) = (toleration.get("value"), toleration.get("effect"));
        key.optional_syntax(syntax::is_qualified_name);
        if key.is_empty() && operator.text() != "Exists" {
            let message = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            operator.invalid_value(operator.text(), message);
        }
        if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            effect.invalid_value(effect.text(), "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.text() {
            "Equal" | "" => {
                let errors = syntax::is_label_value(value.text());
                if !errors.is_empty() {
                    operator.invalid_value(value.text(), errors.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    operator.invalid_value(value.text(), "value must be empty when `operator` is 'Exists'");
                }
            }
            "Lt" | "Gt" => operator.not_supported(&["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.not_supported(&["Equal", "Exists"]),
        }
        effect.optional_word(&EFFECTS);
    }
}

pub fn topology_spread(list: &Node<'_>) {
    let pair = |constraint: &Value| {
        format!("{{{}, {}}}", text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"))
    };
    // Of two that are the same the first is told of.
    let mut to_come: HashMap<String, usize> = HashMap::new();
    for constraint in elements(list.value) {
        *to_come.entry(pair(constraint)).or_default() += 1;
    }
    for constraint in list.items() {
        constraint.get("maxSkew").positive();
        constraint.get("topologyKey").require_saying("can not be empty");
        let action = constraint.get("whenUnsatisfiable");
        if !matches!(action.text(), "DoNotSchedule" | "ScheduleAnyway") {
            action.not_supported(&["DoNotSchedule", "ScheduleAnyway"]);
        }
        let this = pair(constraint.value);
        let left = to_come.entry(this.clone()).or_default();
        *left = left.saturating_sub(1);
        if *left > 0 {
            let path: Path<'_> = constraint.path().child("{topologyKey, whenUnsatisfiable}");
            constraint.push(FieldError::duplicate(&path, this));
        }
        let domains = constraint.get("minDomains");
        if domains.is_set() {
            domains.positive();
            if action.text() != "DoNotSchedule" {
                let rule = "can only use minDomains if whenUnsatisfiable=DoNotSchedule";
                domains.invalid(format!("{rule}, not {}", action.text()));
            }
        }
        constraint.get("nodeAffinityPolicy").optional_word(&["Honor", "Ignore"]);
        constraint.get("nodeTaintsPolicy").optional_word(&["Honor", "Ignore"]);
        label_keys(&constraint);
        constraint.get("labelSelector").with(metadata::validate_label_selector);
    }
}
