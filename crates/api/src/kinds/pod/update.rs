//! What may change in a pod after its creation, through each of its endpoints.

use serde_json::Value;

use super::{container::is_restartable, quality_of_service, spec::MIRROR_POD};
use crate::kinds::{
    check::{Node, elements, is_empty, semantically_equal, text},
    edit,
};

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The main endpoint.
pub fn pod(new: &Node<'_>, old: &Value) {
    let (spec, old_spec) = (new.get("spec"), &old["spec"]);
    annotations(&new.get("metadata").get("annotations"), &old["metadata"]["annotations"]);
    for list in ["containers", "initContainers"] {
        if spec.get(list).len() != elements(&old_spec[list]).len() {
            spec.get(list).forbidden("pod updates may not add or remove containers");
            return;
        }
    }
    if !active_deadline(&spec.get("activeDeadlineSeconds"), &old_spec["activeDeadlineSeconds"]) {
        return;
    }
    only_added_tolerations(&spec.get("tolerations"), &old_spec["tolerations"]);
    only_deleted_gates(&spec.get("schedulingGates"), &old_spec["schedulingGates"]);
    if semantically_equal(spec.value, old_spec) {
        return;
    }
    let mut masked = spec.value.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in edit::each_mut(&mut masked, list).zip(elements(&old_spec[list])) {
            edit::copy(container, old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        edit::copy(&mut masked, old_spec, field);
    }
    let was_negative = old_spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0);
    if was_negative && masked["terminationGracePeriodSeconds"] == 1 {
        edit::copy(&mut masked, old_spec, "terminationGracePeriodSeconds");
    }
    if !is_empty(&old_spec["schedulingGates"]) {
        gated(&spec, old_spec, &mut masked);
    }
    if !semantically_equal(&masked, old_spec) {
        spec.forbidden(format!("{UPDATABLE}\n{}", difference(&masked, old_spec)));
    }
}

/// The names of the top-level fields that differ.
fn difference(new: &Value, old: &Value) -> String {
    let names =
        |value: &Value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let mut fields: Vec<String> = names(new);
    fields.extend(names(old));
    fields.sort();
    fields.dedup();
    fields.retain(|field| !semantically_equal(&new[field], &old[field]));
    fields.iter().map(|field| format!("  {field}: {} -> {}\n", old[field], new[field])).collect()
}

fn annotations(new: &Node<'_>, old: &Value) {
    let is_app_armor = |key: &str| key.starts_with("container.apparmor.security.beta.kubernetes.io/");
    for (key, value) in old.as_object().into_iter().flatten() {
        if &new.value[key] == value {
            continue;
        }
        if is_app_armor(key) {
            new.key(key).forbidden("may not remove or update AppArmor annotations");
        }
        if key == MIRROR_POD {
            new.key(key).forbidden("may not remove or update mirror pod annotation");
        }
    }
    for (key, annotation) in new.entries().filter(|(key, _)| old.get(key).is_none()) {
        if is_app_armor(key) {
            annotation.forbidden("may not add AppArmor annotations");
        }
        if key == MIRROR_POD {
            annotation.forbidden("may not add mirror pod annotation");
        }
    }
}

/// It may be set, and it may be shortened; says whether the rest is worth looking at.
fn active_deadline(new: &Node<'_>, old: &Value) -> bool {
    match (new.value.as_i64(), old.as_i64()) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            new.in_range(0, i64::from(i32::MAX));
            false
        }
        (Some(seconds), Some(old)) if old < seconds => {
            new.invalid("must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            new.invalid("must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(new: &Node<'_>, old: &Value) {
    let is_kept = |old: &Value| {
        elements(new.value).iter().any(|new| {
            let mut old = old.clone();
            edit::copy(&mut old, new, "tolerationSeconds");
            semantically_equal(&old, new)
        })
    };
    if !elements(old).iter().all(is_kept) {
        new.forbidden("existing toleration can not be modified except its tolerationSeconds");
    }
}

fn only_deleted_gates(new: &Node<'_>, old: &Value) {
    for gate in new.items() {
        let name = gate.get("name");
        if !elements(old).iter().any(|old| text(old, "name") == name.text()) {
            name.forbidden(format!("only deletion is allowed, but found new scheduling gate '{}'", name.text()));
        }
    }
}

/// Before a gated pod is scheduled, the choice of its nodes may be narrowed.
fn gated(spec: &Node<'_>, old_spec: &Value, masked: &mut Value) {
    let selector = spec.get("nodeSelector");
    let is_kept = |(key, value): (&String, &Value)| &selector.value[key] == value;
    if !old_spec["nodeSelector"].as_object().into_iter().flatten().all(is_kept) {
        selector.invalid("only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    edit::copy(masked, old_spec, "nodeSelector");
    let (affinity, old) = (spec.get("affinity"), &old_spec["affinity"]["nodeAffinity"]);
    let nodes = affinity.get("nodeAffinity");
    node_affinity(&nodes.get("requiredDuringSchedulingIgnoredDuringExecution"), old);
    edit::copy_node_affinity(masked, old_spec);
}

fn node_affinity(required: &Node<'_>, old: &Value) {
    let terms = required.get("nodeSelectorTerms");
    let old = elements(&old["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]);
    if !old.is_empty() && old.len() != terms.len() {
        terms.invalid("no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        return;
    }
    for (term, old) in terms.items().zip(old) {
        let keeps = |field: &str| {
            let (new, old) = (elements(&term.value[field]), elements(&old[field]));
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| semantically_equal(new, old))
        };
        let fields = ["matchExpressions", "matchFields"];
        let was_empty = fields.iter().all(|field| is_empty(&old[*field]));
        let is_empty_now = fields.iter().all(|field| is_empty(&term.value[*field]));
        if (was_empty && !is_empty_now) || !fields.iter().all(|field| keeps(field)) {
            term.invalid("only additions are allowed (no mutations or deletions)");
        }
    }
}

/// The `ephemeralcontainers` endpoint, where nothing else can change.
pub fn ephemeral_containers(new: &Node<'_>, old: &Value) {
    if !old["metadata"]["annotations"][MIRROR_POD].is_null() {
        new.forbidden("static pods do not support ephemeral containers");
        return;
    }
    let list = new.get("spec");
    let list = list.get("ephemeralContainers");
    for old in elements(&old["spec"]["ephemeralContainers"]) {
        let name = text(old, "name");
        match elements(list.value).iter().find(|new| text(new, "name") == name) {
            None => list.forbidden(format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(new) if !semantically_equal(new, old) => {
                let changes = difference(new, old);
                list.forbidden(format!("existing ephemeral containers {name:?} may not be changed\n{changes}"));
            }
            Some(_) => {}
        }
    }
}

/// The `resize` endpoint: cpu and memory of running containers.
pub fn resize(new: &Node<'_>, old: &Value) {
    if !old["metadata"]["annotations"][MIRROR_POD].is_null() {
        return new.forbidden("static pods cannot be resized");
    }
    if old["spec"]["os"]["name"] == "windows" {
        return new.forbidden("windows pods cannot be resized");
    }
    let spec = new.get("spec");
    if quality_of_service(new.value) != text(&old["status"], "qosClass") && !is_empty(&old["status"]["qosClass"]) {
        let class = text(&new.value["status"], "qosClass");
        spec.invalid_value(class, "Pod QOS Class may not change as a result of resizing");
    }
    let running =
        elements(&old["status"]["containerStatuses"]).iter().find(|status| !status["state"]["running"].is_null());
    if running.is_some_and(|status| status["resources"].is_null()) {
        spec.forbidden("Pod running on node without support for resize");
    }
    if !same_containers(&spec, &old["spec"]) {
        return;
    }
    let errors_before = spec.error_count();
    let mut masked = spec.value.clone();
    for list in ["initContainers", "containers"] {
        for (container, old) in spec.get(list).items().zip(elements(&old["spec"][list])) {
            for field in ["requests", "limits"] {
                let amounts = &container.value["resources"][field];
                let is_kept = |(name, _): (&String, &Value)| !amounts[name].is_null();
                if !old["resources"][field].as_object().into_iter().flatten().all(is_kept) {
                    let resources = container.get("resources");
                    resources.get(field).forbidden(format!("resource {field} cannot be removed"));
                }
            }
        }
        for (container, old) in edit::each_mut(&mut masked, list).zip(elements(&old["spec"][list])) {
            mask_cpu_and_memory(container, old);
        }
        for (container, masked) in spec.get(list).items().zip(elements(&masked[list])) {
            let is_resized = !semantically_equal(container.value, masked);
            let restarts =
                elements(&masked["resizePolicy"]).iter().any(|policy| policy["restartPolicy"] == "RestartContainer");
            if list == "initContainers" && is_resized && restarts && !is_restartable(masked) {
                let message = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                container.forbidden(message);
            }
        }
    }
    mask_cpu_and_memory(&mut masked, &old["spec"]);
    if spec.error_count() == errors_before && !semantically_equal(&masked, &old["spec"]) {
        spec.forbidden("only cpu and memory resources are mutable");
    }
}

fn same_containers(spec: &Node<'_>, old_spec: &Value) -> bool {
    let errors_before = spec.error_count();
    for list in ["containers", "initContainers"] {
        let old = elements(&old_spec[list]);
        if spec.get(list).len() != old.len() {
            spec.get(list).forbidden(format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (container, old) in spec.get(list).items().zip(old) {
            if container.get("name").text() != text(old, "name") {
                container.get("name").forbidden(format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    spec.error_count() == errors_before
}

/// Gives the cpu and memory of `old` to a container or pod spec, so that the rest can be compared.
fn mask_cpu_and_memory(new: &mut Value, old: &Value) {
    for field in ["requests", "limits"] {
        let old = &old["resources"][field];
        let has_amounts = !new["resources"][field].is_null() || !old.is_null();
        let Some(amounts) = has_amounts.then(|| edit::object_at(new, &["resources", field])).flatten() else {
            continue;
        };
        for name in ["cpu", "memory"] {
            match old.get(name) {
                Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
                None => amounts.remove(name),
            };
        }
    }
    let resources = edit::at_mut(new, &["resources"]);
    if let Some(map) = resources.and_then(Value::as_object_mut) {
        map.retain(|_, value| !is_empty(value));
    }
}

/// The `status` endpoint.
pub fn status(new: &Node<'_>, old: &Value) {
    let status = new.get("status");
    let old_status = &old["status"];
    for condition in status.get("conditions").items() {
        let kind = text(condition.value, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let shown = Value::from(kind);
            condition.get("Type").showing(&shown).syntax(crate::syntax::is_qualified_name);
        }
    }
    let nominated = status.get("nominatedNodeName");
    if nominated.value != &old_status["nominatedNodeName"] {
        nominated.optional_syntax(crate::syntax::is_dns1123_subdomain);
        if !nominated.is_empty() && !is_empty(&old["spec"]["nodeName"]) {
            nominated.forbidden("may not be set on pods that are already bound to a node");
        }
    }
    if status.get("observedGeneration").integer() < 0 {
        status.get("observedGeneration").invalid("must be a non-negative integer");
    }
    status.get("qosClass").immutable(&old_status["qosClass"]);
    stays_terminated(&status.get("containerStatuses"), &old_status["containerStatuses"], &old["spec"], "containers");
    let init = status.get("initContainerStatuses");
    stays_terminated(&init, &old_status["initContainerStatuses"], &old["spec"], "initContainers");
    addresses(&status, "podIP", "podIPs");
    addresses(&status, "hostIP", "hostIPs");
}

/// A container that will not be restarted cannot come back to life.
fn stays_terminated(new: &Node<'_>, old: &Value, spec: &Value, list: &str) {
    for (old, index) in elements(old).iter().zip(0..) {
        let terminated = &old["state"]["terminated"];
        let name = text(old, "name");
        let Some(now) = elements(new.value).iter().find(|status| text(status, "name") == name) else { continue };
        if terminated.is_null() || !now["state"]["terminated"].is_null() {
            continue;
        }
        let container = elements(&spec[list]).iter().find(|container| text(container, "name") == name);
        if !may_restart(container.unwrap_or(&Value::Null), spec, terminated["exitCode"].as_i64().unwrap_or_default()) {
            new.index(index).get("state").forbidden("may not be transitioned to non-terminated state");
        }
    }
}

fn may_restart(container: &Value, spec: &Value, exit_code: i64) -> bool {
    let all = ["containers", "initContainers"].iter().flat_map(|list| elements(&spec[*list]));
    let mut rules = all.flat_map(|container| elements(&container["restartPolicyRules"]));
    if rules.any(|rule| rule["action"] == "RestartAllContainers") {
        return true;
    }
    for rule in elements(&container["restartPolicyRules"]) {
        let is_listed = elements(&rule["exitCodes"]["values"]).iter().any(|code| code.as_i64() == Some(exit_code));
        if is_listed == (rule["exitCodes"]["operator"] == "In") {
            return rule["action"] == "Restart";
        }
    }
    let own = text(container, "restartPolicy");
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    }
}

fn addresses(status: &Node<'_>, single: &str, plural: &str) {
    let list = status.get(plural);
    for address in list.items() {
        let ip = address.get("ip");
        address.showing(ip.value).syntax(crate::syntax::is_ip);
    }
    if single == "hostIP" && !list.is_empty() && list.value[0]["ip"] != status.value[single] {
        let first = list.index(0);
        first.get("ip").invalid(format!("must be equal to `{single}`"));
    }
    let is_v6 = |address: &Value| text(address, "ip").contains(':');
    let all = elements(list.value);
    if all.len() > 2 || (all.len() == 2 && is_v6(&all[0]) == is_v6(&all[1])) {
        list.invalid("may specify no more than one IP for each IP family");
    }
}
