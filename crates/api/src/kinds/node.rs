//! Nodes: taints, pod ranges, and the columns in which people read a cluster's state.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    check::{Node, check, elements, is_empty, text},
    columns::{self},
    edit, resources, rules,
};
use crate::{
    field::{FieldError, FieldErrors},
    resource::Column,
    strategy::Strategy,
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    default,
    // A node says itself what it is, from the first.
    prepare_create: |_| {},
    prepare_update: rules::keep_status,
    validate,
    validate_update,
    validate_status: validate_update,
    ..Strategy::DEFAULT
};

fn default(object: &mut Value) {
    edit::at_mut(object, &["spec"]).into_iter().for_each(pod_ranges);
    let capacity = object["status"]["capacity"].clone();
    if capacity.is_object()
        && let Some(status) = object.get_mut("status")
    {
        edit::fill(status, "allocatable", capacity);
    }
}

/// `podCIDR` is the first of `podCIDRs`, and goes before it where they differ.
fn pod_ranges(spec: &mut Value) {
    // A way of configuring nodes that is gone.
    edit::remove(spec, "configSource");
    let first = text(spec, "podCIDR").to_owned();
    let mut all = elements(&spec["podCIDRs"]).to_vec();
    match all.first_mut() {
        Some(range) if !first.is_empty() => *range = first.into(),
        None if !first.is_empty() => all.push(first.into()),
        _ => {}
    }
    if let Some(range) = all.first() {
        edit::set(spec, "podCIDR", range.clone());
        edit::set(spec, "podCIDRs", all);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    check(object, errors, |root| {
        taints(&root.get("spec").get("taints"), &root.get("metadata").get("taints"));
        amounts(root);
        let spec = root.get("spec");
        let ranges = spec.get("podCIDRs");
        for range in ranges.items() {
            range.syntax(syntax::is_cidr);
        }
        let is_v6 = |range: &Value| range.as_str().is_some_and(|range| range.contains(':'));
        let v6 = elements(ranges.value).iter().filter(|range| is_v6(range)).count();
        if v6 > 1 || ranges.len() - v6 > 1 {
            ranges.invalid("may specify no more than one CIDR for each IP family");
        }
    });
}

/// `at` is where Kubernetes places the errors of taints: beside the labels.
fn taints(list: &Node<'_>, at: &Node<'_>) {
    let at = at.showing(list.value);
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for taint in at.items() {
        let (key, effect) = (text(taint.value, "key"), text(taint.value, "effect"));
        taint.get("key").syntax(syntax::is_qualified_name);
        let value = syntax::is_label_value(text(taint.value, "value"));
        if !value.is_empty() {
            taint.get("value").invalid(value.join(";"));
        }
        taint.get("effect").word(&["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            let detail = "taints must be unique by key and effect pair".to_owned();
            let error = FieldError { detail, ..FieldError::duplicate(taint.path(), taint.value.clone()) };
            taint.push(error);
        }
    }
}

fn amounts(root: &Node<'_>) {
    let status = root.get("status");
    for list in ["capacity", "allocatable"] {
        let list = status.get(list);
        for (name, amount) in list.entries() {
            resources::resource_quantity(name, &list.get(name).showing(amount.value));
        }
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        let spec = root.get("spec");
        let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
        if !is_empty(&old_spec["podCIDRs"]) && old_spec["podCIDRs"] != new_spec["podCIDRs"] {
            spec.get("podCIDRs").forbidden("node updates may not change podCIDR except from \"\" to valid");
        }
        if !is_empty(&old_spec["providerID"]) && old_spec["providerID"] != new_spec["providerID"] {
            spec.get("providerID").forbidden("node updates may not change providerID except from \"\" to valid");
        }
        if old_spec["externalID"] != new_spec["externalID"] {
            spec.get("externalID").forbidden("may not be updated");
        }
        let status = root.get("status");
        let addresses = status.get("addresses");
        let mut seen: HashSet<&Value> = HashSet::new();
        for (index, address) in elements(addresses.value).iter().enumerate() {
            if !seen.insert(address) {
                addresses.index(index).duplicate();
            }
        }
    });
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Status", "Whether the node is ready, and whether it takes new pods.", |node, _| {
            let conditions = elements(&node["status"]["conditions"]);
            let ready = match conditions.iter().find(|condition| condition["type"] == "Ready") {
                None => "Unknown",
                Some(ready) if ready["status"] == "True" => "Ready",
                Some(_) => "NotReady",
            };
            let suffix = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
            format!("{ready}{suffix}").into()
        }),
        columns::text("Roles", "The roles that the node's labels give it.", |node, _| roles(node).into()),
        columns::age(),
        columns::text("Version", "The version of the node's agent.", |node, _| info(node, "kubeletVersion", "").into()),
        columns::wide(columns::text("Internal-IP", "The node's address inside the cluster.", |node, _| {
            address(node, "InternalIP").into()
        })),
        columns::wide(columns::text("External-IP", "The node's address outside the cluster.", |node, _| {
            address(node, "ExternalIP").into()
        })),
        columns::wide(columns::text("OS-Image", "The operating system.", |node, _| {
            info(node, "osImage", columns::UNKNOWN).into()
        })),
        columns::wide(columns::text("Kernel-Version", "The kernel.", |node, _| {
            let kernel = info(node, "kernelVersion", columns::UNKNOWN);
            match info(node, "architecture", "") {
                "" => kernel.into(),
                architecture => format!("{kernel} ({architecture})").into(),
            }
        })),
        columns::wide(columns::text("Container-Runtime", "What runs the containers.", |node, _| {
            info(node, "containerRuntimeVersion", columns::UNKNOWN).into()
        })),
    ]
}

fn info<'a>(node: &'a Value, field: &str, missing: &'a str) -> &'a str {
    let value = text(&node["status"]["nodeInfo"], field);
    if value.is_empty() { missing } else { value }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = elements(&node["status"]["addresses"]);
    addresses.iter().find(|address| address["type"] == kind).map_or(columns::NONE, |address| text(address, "address"))
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.as_str().unwrap_or_default(),
            None => "",
        };
        if !role.is_empty() {
            roles.push(role);
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { columns::NONE.to_owned() } else { roles.join(",") }
}
