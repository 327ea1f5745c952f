//! What is legal in a pod or template but hardly meant: sent to the client as warnings.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    kinds::{
        check::{elements, text},
        resources::{is_whole, quantity},
    },
    syntax,
};

pub fn pod(pod: &Value) -> Vec<String> {
    let mut warnings = name_warning(pod, "this is used in the Pod's hostname");
    warnings.extend(template(pod, ""));
    warnings
}

/// Names of pods, and of what makes them, become host names.
pub fn name_warning(object: &Value, used: &str) -> Vec<String> {
    let errors = syntax::is_dns1123_label(text(&object["metadata"], "name"));
    if errors.is_empty() || text(&object["metadata"], "name").is_empty() {
        return Vec::new();
    }
    let advice = "which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: {used}, {advice}: [{}]", errors.join(" "))]
}

const GONE: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Each port is compared with so many before it: warnings are a courtesy, and no pod has more by intention.
const MOST_PORTS_COMPARED: usize = 100;

/// `prefix` is where the template stands, with a dot at its end.
pub fn template(template: &Value, prefix: &str) -> Vec<String> {
    let spec = &template["spec"];
    let prefix = format!("{prefix}spec");
    let mut warnings = Vec::new();
    for (constraint, index) in elements(&spec["topologySpreadConstraints"]).iter().zip(0..) {
        if constraint["labelSelector"].is_null() {
            let path = format!("{prefix}.topologySpreadConstraints[{index}].labelSelector");
            warnings.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
    for (volume, index) in elements(&spec["volumes"]).iter().zip(0..) {
        for (source, message) in GONE.iter().filter(|(source, _)| !volume[*source].is_null()) {
            warnings.push(format!("{prefix}.volumes[{index}].{source}: {message}"));
        }
    }
    for volume in elements(&spec["volumes"]) {
        let is_nothing = |source: &Value| source.as_object().is_none_or(serde_json::Map::is_empty);
        for _ in elements(&volume["projected"]["sources"]).iter().filter(|source| is_nothing(source)) {
            warnings.push(format!("volume {:?} (Projected) has no sources provided", text(volume, "name")));
        }
    }
    for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = HashSet::new();
        for (item, index) in elements(&spec[list]).iter().zip(0..) {
            if !seen.insert(&item[field]) {
                let value = text(item, field);
                warnings.push(format!("{prefix}.{list}[{index}].{field}: duplicate {field} {value:?}"));
            }
            if list == "imagePullSecrets" && text(item, field).is_empty() {
                warnings.push(format!("{prefix}.{list}[{index}].{field}: invalid empty name \"\""));
            }
        }
    }
    let mut ports: Vec<(String, &Value)> = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (container, index) in elements(&spec[list]).iter().zip(0..) {
            of_container(container, &format!("{prefix}.{list}[{index}]"), &mut ports, &mut warnings);
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let message = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{prefix}.terminationGracePeriodSeconds: {message}"));
    }
    warnings
}

fn of_container<'a>(
    container: &'a Value,
    path: &str,
    ports: &mut Vec<(String, &'a Value)>,
    warnings: &mut Vec<String>,
) {
    for field in ["limits", "requests"] {
        for name in ["memory", "ephemeral-storage"] {
            let amount = &container["resources"][field][name];
            if !is_whole(quantity(amount)) {
                let shown = amount.as_str().unwrap_or_default();
                let message = format!("fractional byte value {shown:?} is invalid, must be an integer");
                warnings.push(format!("{path}.resources.{field}[{name}]: {message}"));
            }
        }
    }
    let mut seen = HashSet::new();
    for (variable, index) in elements(&container["env"]).iter().zip(0..) {
        let name = text(variable, "name");
        let is_repeated = !seen.insert(name);
        let builds_on = text(variable, "value").contains(&format!("$({name})"));
        let replaces =
            !builds_on || text(variable, "value") == format!("$({name})") || !variable["valueFrom"].is_null();
        if is_repeated && replaces {
            let message = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            warnings.push(format!("{path}.env[{index}]: {message}"));
        }
    }
    for (port, index) in elements(&container["ports"]).iter().zip(0..) {
        let here = format!("{path}.ports[{index}]");
        for (there, other) in ports.iter().take(MOST_PORTS_COMPARED) {
            warnings.extend(port_warning(port, other, there).map(|message| format!("{here}: {message}")));
        }
        ports.push((here, port));
    }
}

fn number(port: &Value, field: &str) -> i64 {
    port[field].as_i64().unwrap_or_default()
}

fn port_warning(port: &Value, other: &Value, there: &str) -> Option<String> {
    if number(port, "containerPort") != number(other, "containerPort") || port["protocol"] != other["protocol"] {
        let name = text(port, "name");
        let users = format!("services and probes that select ports by name will use {there}");
        return (!name.is_empty() && name == text(other, "name"))
            .then(|| format!("duplicate port name {name:?} with {there}, {users}"));
    }
    let (here, host) = (number(port, "hostPort"), number(other, "hostPort"));
    let (address, other_address) = (text(port, "hostIP"), text(other, "hostIP"));
    if here == host && address == other_address {
        Some(format!("duplicate port definition with {there}"))
    } else if here == 0 || host == 0 {
        Some(format!("overlapping port definition with {there}"))
    } else if here == host && address.is_empty() != other_address.is_empty() {
        Some(format!("dangerously ambiguous port definition with {there}"))
    } else {
        None
    }
}
