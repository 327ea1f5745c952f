//! Defaults of pods that depend on other fields.

use serde_json::{Map, Value, json};

use super::volume;
use crate::kinds::{
    check::{is_empty, text, texts},
    edit::{at_mut, each_mut, fill, object_at, remove, set},
    resources::{aggregate_requests, is_overcommit_allowed},
};

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// What is filled in for pods, but not for templates of them, so that templates stay as they were written.
pub fn pod(pod: &mut Value) {
    if let Some(status) = at_mut(pod, &["status"]) {
        addresses(status);
    }
    let Some(spec) = at_mut(pod, &["spec"]) else { return };
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in each_mut(spec, list) {
            requests_from_limits(container);
        }
    }
    requests_of_pod(spec);
    fill(spec, "enableServiceLinks", true);
    if spec["hostNetwork"] == true {
        host_ports(spec);
    }
}

/// `podIP` is the first of `podIPs`, and all of them where the two differ: older nodes write nothing else.
fn addresses(status: &mut Value) {
    let written = text(status, "podIP").to_owned();
    let first = text(&status["podIPs"][0], "ip").to_owned();
    if !written.is_empty() && written != first {
        set(status, "podIPs", json!([{ "ip": written }]));
    } else if written.is_empty() && !first.is_empty() {
        set(status, "podIP", first);
    }
}

/// On the host's network each port of a container is one of the host.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in each_mut(spec, list) {
            for port in each_mut(container, "ports").filter(|port| port.is_object()) {
                if matches!(port["hostPort"].as_i64(), None | Some(0)) {
                    let own = port["containerPort"].clone();
                    set(port, "hostPort", own);
                }
            }
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if !limits.is_empty() {
        fill_amounts(container, limits);
    }
}

fn fill_amounts(owner: &mut Value, amounts: Map<String, Value>) {
    let Some(requests) = object_at(owner, &["resources", "requests"]) else { return };
    for (name, amount) in amounts {
        requests.entry(name).or_insert(amount);
    }
}

/// A pod that is limited as a whole asks for what its containers ask for, or else for its limits.
fn requests_of_pod(spec: &mut Value) {
    let limits = spec["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let mut requests = Map::new();
    for name in ["cpu", "memory"].into_iter().filter(|name| is_overcommit_allowed(name)) {
        if let Some(total) = aggregate_requests(spec, name) {
            requests.insert(name.to_owned(), total.to_string().into());
        }
    }
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
    fill_amounts(spec, requests);
}

pub fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    // The feature that it belongs to is off.
    remove(spec, "schedulingGroup");
    fill(spec, "securityContext", json!({}));
    service_account(spec);
    for list in CONTAINERS {
        for container in each_mut(spec, list).filter(|container| container.is_object()) {
            if is_empty(&container["imagePullPolicy"]) {
                let policy = pull_policy(text(container, "image"));
                set(container, "imagePullPolicy", policy);
            }
        }
    }
    for volume in each_mut(spec, "volumes").filter(|volume| volume.is_object()) {
        if !volume::has_source(volume) {
            set(volume, "emptyDir", json!({}));
        }
        if let Some(image) = at_mut(volume, &["image"]) {
            let policy = pull_policy(text(image, "reference"));
            fill(image, "pullPolicy", policy);
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; whoever reads finds both.
fn service_account(spec: &mut Value) {
    let (name, old_name) = (text(spec, "serviceAccountName"), text(spec, "serviceAccount"));
    let name = if name.is_empty() { old_name } else { name }.to_owned();
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.clone());
        set(spec, "serviceAccount", name);
    }
}

/// An image that is named by nothing that would hold still is pulled each time; what names none, never.
fn pull_policy(image: &str) -> &'static str {
    if !is_image_name(image) {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    let (tagged, digest) = name.split_once('@').map_or((name, None), |(tagged, digest)| (tagged, Some(digest)));
    let is_latest = match tagged.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none(),
    };
    if is_latest { "Always" } else { "IfNotPresent" }
}

/// Whether an image can be named so: a registry with its port, if any, then a path of small letters.
fn is_image_name(image: &str) -> bool {
    let (named, _) = image.split_once('@').unwrap_or((image, ""));
    let path = match named.split_once('/') {
        Some((host, path)) if host == "localhost" || host.contains(|l: char| matches!(l, '.' | ':' | 'A'..='Z')) => {
            path
        }
        _ => named,
    };
    let (directory, name) = path.rsplit_once('/').map_or((None, path), |(directory, name)| (Some(directory), name));
    let (name, tag) = name.split_once(':').map_or((name, None), |(name, tag)| (name, Some(tag)));
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_component = |component: &str| {
        let bytes = component.as_bytes();
        bytes.first().is_some_and(is_edge)
            && bytes.last().is_some_and(is_edge)
            && bytes.iter().all(|byte| is_edge(byte) || matches!(byte, b'.' | b'_' | b'-'))
    };
    let is_tag = |tag: &str| {
        !tag.is_empty()
            && !tag.starts_with(['.', '-'])
            && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    directory.into_iter().flat_map(|directory| directory.split('/')).chain([name]).all(is_component)
        && tag.is_none_or(is_tag)
}

/// Puts the pod's own values of `matchLabelKeys` and `mismatchLabelKeys` into the selectors beside them.
pub fn label_keys_into_selectors(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = at_mut(pod, &["spec"]) else { return };
    each_mut(spec, "topologySpreadConstraints").for_each(|term| label_keys_into_selector(term, &labels));
    for field in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = at_mut(spec, &["affinity", field]) else { continue };
        for term in each_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            label_keys_into_selector(term, &labels);
        }
        for term in each_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            at_mut(term, &["podAffinityTerm"]).into_iter().for_each(|term| label_keys_into_selector(term, &labels));
        }
    }
}

fn label_keys_into_selector(term: &mut Value, labels: &Value) {
    let mut expressions = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in texts(&term[field]) {
            if let Some(value) = labels.get(key) {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if expressions.is_empty() {
        return;
    }
    if let Some(selector) = at_mut(term, &["labelSelector"]) {
        fill(selector, "matchExpressions", json!([]));
        if let Some(list) = selector["matchExpressions"].as_array_mut() {
            list.extend(expressions);
        }
    }
}
