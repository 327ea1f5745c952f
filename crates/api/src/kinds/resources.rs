//! Requests and limits: which resources there are, and what amounts of them make sense.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
};

use document::quantity::Quantity;
use serde_json::Value;

use super::check::{NOT_NEGATIVE, Node, elements, is_empty};
use crate::{
    field::{FieldError, Reason},
    quota::names,
    syntax,
};

/// Zero where there is no quantity; decoding has refused what is not one.
pub fn quantity(value: &Value) -> Quantity {
    Quantity::from_value(value).unwrap_or_default()
}

pub fn sign(value: &Value) -> Ordering {
    quantity(value).cmp(&Quantity::ZERO)
}

/// Counted in units, not in parts of one.
pub fn is_whole(amount: Quantity) -> bool {
    Quantity::from_units(amount.units(), amount.format()) == amount
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a container may ask for less of it than it is limited to.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && syntax::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// The name of a resource anywhere: qualified, or a standard one. Says whether it is well formed.
pub fn resource_name(name: &str, node: &Node<'_>) -> bool {
    let errors = syntax::is_qualified_name(name);
    let is_qualified = errors.is_empty();
    for error in errors {
        node.invalid_value(name, error);
    }
    let is_known = name.contains('/') || name == "storage" || names::find(name).is_some() || is_huge_page(name);
    if is_qualified && !is_known {
        node.invalid_value(name, "must be a standard resource type or fully qualified");
    }
    is_qualified && is_known
}

pub fn container_resource_name(name: &str, node: &Node<'_>) {
    resource_name(name, node);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            node.invalid_value(name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        node.invalid_value(name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(name: &str, node: &Node<'_>) {
    if resource_name(name, node) && !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        node.showing(&Value::from(name)).not_supported(&["cpu", "hugepages-", "memory"]);
    }
}

/// An amount of a resource, at `path[name]`.
pub fn resource_quantity(name: &str, node: &Node<'_>) {
    let amount = quantity(node.value);
    if amount < Quantity::ZERO {
        node.invalid(NOT_NEGATIVE);
    }
    if (names::is_count(name) || is_extended(name)) && !is_whole(amount) {
        node.invalid("must be an integer");
    }
    if let Some(page) = name.strip_prefix("hugepages-") {
        let page = Quantity::parse(page).unwrap_or_default().units();
        if page <= 0 || amount.units() % page != 0 {
            node.invalid(format!("{} is not positive integer multiple of {name}", node.text()));
        }
    }
}

pub fn container_requirements(node: &Node<'_>, claims: &BTreeSet<&str>) {
    requirements(node, container_resource_name);
    claim_names(&node.get("claims"), claims);
}

/// Limits alone: the overhead of pods.
pub fn overhead(limits: &Node<'_>) {
    amounts(limits, container_resource_name);
}

fn amounts(list: &Node<'_>, name_rule: fn(&str, &Node<'_>)) {
    for (name, amount) in list.entries() {
        name_rule(name, &amount);
        resource_quantity(name, &amount);
    }
}

fn requirements(node: &Node<'_>, name_rule: fn(&str, &Node<'_>)) {
    let (limits, requests) = (node.get("limits"), node.get("requests"));
    amounts(&limits, name_rule);
    for (name, request) in requests.entries() {
        name_rule(name, &request);
        resource_quantity(name, &request);
        let limit = &limits.value[name];
        let order = quantity(request.value).cmp(&quantity(limit));
        let shown = limit.as_str().unwrap_or_default();
        let at_requests = requests.showing(request.value);
        match (is_overcommit_allowed(name), limit.is_null()) {
            (false, true) => limits.required("Limit must be set for non overcommitable resources"),
            (false, false) if order.is_ne() => {
                at_requests.invalid(format!("must be equal to {name} limit of {shown}"));
            }
            (true, false) if order.is_gt() => {
                at_requests.invalid(format!("must be less than or equal to {name} limit of {shown}"));
            }
            _ => {}
        }
    }
    let has =
        |is_one: fn(&str) -> bool| [&limits, &requests].iter().any(|list| list.entries().any(|(name, _)| is_one(name)));
    if has(is_huge_page) && !has(|name| matches!(name, "cpu" | "memory")) {
        node.forbidden("HugePages require cpu or memory");
    }
}

fn claim_names(claims: &Node<'_>, known: &BTreeSet<&str>) {
    // Keys as they are told, and the names that stand first in them.
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    for claim in claims.items() {
        let (name, request) = (claim.get("name").text(), claim.get("request").text());
        if name.is_empty() {
            claim.required("");
            continue;
        }
        claim.get("request").optional_syntax(syntax::is_dns1123_label);
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        if seen.contains(&key) || seen.contains(name) || (request.is_empty() && names.contains(name)) {
            claim.push(FieldError::duplicate(claim.path(), key.clone()));
        }
        seen.insert(key);
        names.insert(name.to_owned());
        if !known.contains(name) {
            let mut detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            detail += &match known.iter().copied().collect::<Vec<_>>().join(", ") {
                names if names.is_empty() => " which is empty".to_owned(),
                names => format!(": {names}"),
            };
            let error = FieldError { detail, ..FieldError::not_found(claim.path(), name) };
            claim.push(FieldError { reason: Reason::NotFound, ..error });
        }
    }
}

/// The resources of a pod as a whole, and how those of its containers fit in.
pub fn pod_requirements(spec: &Node<'_>) {
    let node = spec.get("resources");
    if !node.is_set() {
        return;
    }
    if spec.value["os"]["name"] == "windows" {
        node.forbidden("may not be set for a windows pod");
        return;
    }
    if node.get("claims").is_set() {
        node.get("claims").forbidden("claims may not be set for Resources at pod-level");
    }
    requirements(&node, pod_resource_name);
    for (name, request) in node.get("requests").entries() {
        let total = aggregate_requests(spec.value, name);
        if total.is_some_and(|total| total > quantity(request.value)) {
            let total = total.unwrap_or_default();
            request.invalid(format!("must be greater than or equal to aggregate container requests of {total}"));
        }
    }
    for (container, index) in spec.get("containers").items().zip(0..) {
        let containers = node.get("containers");
        let at_container = containers.index(index);
        for (name, limit) in container.get("resources").get("limits").entries() {
            let of_pod = &node.value["limits"][name];
            if !of_pod.is_null() && quantity(limit.value) > quantity(of_pod) {
                let shown = of_pod.as_str().unwrap_or_default();
                let at_name = at_container.key(name);
                let at_limit = at_name.get("limits");
                at_limit.showing(limit.value).invalid(format!("must be less than or equal to pod limits of {shown}"));
            }
        }
    }
}

/// What the containers of a pod ask for together: those that run side by side, or the largest moment of
/// initialisation if that is more. `None` where no container asks.
pub fn aggregate_requests(spec: &Value, name: &str) -> Option<Quantity> {
    let request = |container: &Value| {
        let request = &container["resources"]["requests"][name];
        (!is_empty(request)).then(|| quantity(request))
    };
    let mut running: Option<Quantity> = None;
    let mut largest_init: Option<Quantity> = None;
    let mut sidecars = Quantity::ZERO;
    for container in elements(&spec["containers"]) {
        if let Some(amount) = request(container) {
            running = Some(running.unwrap_or_default().plus(amount));
        }
    }
    for container in elements(&spec["initContainers"]) {
        let Some(amount) = request(container) else { continue };
        let moment = sidecars.plus(amount);
        if container["restartPolicy"] == "Always" {
            sidecars = moment;
            running = Some(running.unwrap_or_default().plus(amount));
        }
        largest_init = largest_init.max(Some(moment));
    }
    running.max(largest_init)
}
