//! Containers: regular, init and ephemeral ones.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::{
    environment::{environment, environment_from},
    handler::{Probe, lifecycle, probe},
    path::local_descending,
    security::container_security_context,
};
use crate::{
    field::FieldError,
    kinds::{
        check::{Node, elements, text},
        resources,
    },
    syntax,
};

/// What the rules of a container need to know of its pod.
#[derive(Debug)]
pub struct Surroundings<'a> {
    pub spec: &'a Value,
    /// The well-formed volumes, by name.
    pub volumes: BTreeMap<&'a str, &'a Value>,
    /// The names of the pod's resource claims.
    pub claims: BTreeSet<&'a str>,
}

impl Surroundings<'_> {
    pub fn grace_period_seconds(&self) -> Option<i64> {
        self.spec["terminationGracePeriodSeconds"].as_i64()
    }

    pub fn has_host_users(&self) -> bool {
        self.spec["hostUsers"].as_bool().unwrap_or(true)
    }
}

/// Init containers that keep running: sidecars.
pub fn is_restartable(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

pub fn containers(list: &Node<'_>, pod: &Surroundings<'_>) {
    if !list.require() {
        return;
    }
    let mut names: BTreeSet<String> = BTreeSet::new();
    for container in list.items() {
        common(&container, pod);
        let name = container.get("name");
        if !names.insert(name.text().to_owned()) {
            name.duplicate();
        }
        running(&container, pod);
        restart_policy(&container);
    }
    host_port_conflicts(list.items());
}

/// What may be set only where a container is expected to keep running.
fn running(container: &Node<'_>, pod: &Surroundings<'_>) {
    lifecycle(&container.get("lifecycle"), pod);
    probe(&container.get("livenessProbe"), Probe::Liveness, pod);
    probe(&container.get("readinessProbe"), Probe::Readiness, pod);
    probe(&container.get("startupProbe"), Probe::Startup, pod);
}

pub fn init_containers(list: &Node<'_>, pod: &Surroundings<'_>) {
    let mut names: Vec<String> = elements(&pod.spec["containers"]).iter().map(|c| text(c, "name").to_owned()).collect();
    for container in list.items() {
        common(&container, pod);
        restart_policy(&container);
        let name = container.get("name");
        if names.iter().any(|known| known == name.text()) {
            name.duplicate();
        } else if !name.is_empty() {
            names.push(name.text().to_owned());
        }
        host_port_conflicts(std::iter::once(container));
        if is_restartable(container.value) {
            running(&container, pod);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.get(field).is_set() {
                    let message = "may not be set for init containers without restartPolicy=Always";
                    container.get(field).forbidden(message);
                }
            }
            for policy in container.get("resizePolicy").items() {
                let restart = policy.get("restartPolicy");
                if restart.text() == "RestartContainer" {
                    restart.invalid("must not be set to 'RestartContainer' for non-sidecar initContainers");
                }
            }
        }
    }
}

const EPHEMERAL_FORBIDDEN: &[&str] = &[
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

pub fn ephemeral_containers(list: &Node<'_>, pod: &Surroundings<'_>) {
    const MESSAGE: &str = "cannot be set for an Ephemeral Container";
    let others: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| elements(&pod.spec[*field]))
        .map(|container| text(container, "name"))
        .collect();
    let mut names: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
    for container in list.items() {
        common(&container, pod);
        image_is_trimmed(&container);
        let name = container.get("name");
        if names.iter().any(|known| known == name.text()) {
            name.duplicate();
        }
        names.push(name.text().to_owned());
        let target = container.get("targetContainerName");
        if !target.is_empty() && !others.contains(&target.text()) {
            target.not_found();
        }
        for field in EPHEMERAL_FORBIDDEN {
            if !container.get(field).is_empty() {
                container.get(field).forbidden(MESSAGE);
            }
        }
        if ["limits", "requests", "claims"].iter().any(|field| !container.get("resources").get(field).is_empty()) {
            container.get("resources").forbidden(MESSAGE);
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).is_empty() {
                    mount.get(field).forbidden(MESSAGE);
                }
            }
        }
    }
}

/// A pod's images, not a template's: special tools put blanks in templates.
pub fn image_is_trimmed(container: &Node<'_>) {
    let image = container.get("image");
    if image.text().trim() != image.text() {
        image.invalid("must not have leading or trailing whitespace");
    }
}

fn common(container: &Node<'_>, pod: &Surroundings<'_>) {
    container.get("name").required_syntax(syntax::is_dns1123_label);
    container.get("image").require();
    container.get("terminationMessagePolicy").word(&["File", "FallbackToLogsOnError"]);
    ports(&container.get("ports"));
    environment(&container.get("env"));
    environment_from(&container.get("envFrom"));
    volume_mounts(container, pod);
    volume_devices(container, pod);
    container.get("imagePullPolicy").word(&["Always", "IfNotPresent", "Never"]);
    resources::container_requirements(&container.get("resources"), &pod.claims);
    resize_policy(&container.get("resizePolicy"), pod);
    container_security_context(&container.get("securityContext"), pod.has_host_users());
}

fn ports(list: &Node<'_>) {
    let mut names: Vec<String> = Vec::new();
    for port in list.items() {
        let name = port.get("name");
        if !name.is_empty() {
            if !syntax::is_port_name(name.text()).is_empty() {
                name.syntax(syntax::is_port_name);
            } else if names.iter().any(|known| known == name.text()) {
                name.duplicate();
            } else {
                names.push(name.text().to_owned());
            }
        }
        let number = port.get("containerPort");
        if number.integer() == 0 {
            number.required("");
        } else {
            number.in_range(1, 65535);
        }
        if port.get("hostPort").integer() != 0 {
            port.get("hostPort").in_range(1, 65535);
        }
        port.get("protocol").word(&["SCTP", "TCP", "UDP"]);
    }
}

fn host_port_conflicts<'a>(containers: impl Iterator<Item = Node<'a>>) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for container in containers {
        for port in container.get("ports").items() {
            let host_port = port.get("hostPort");
            if host_port.integer() == 0 {
                continue;
            }
            let (protocol, address) = (text(port.value, "protocol"), text(port.value, "hostIP"));
            let key = format!("{protocol}/{address}/{}", host_port.integer());
            if !taken.insert(key.clone()) {
                host_port.push(FieldError::duplicate(host_port.path(), key));
            }
        }
    }
}

fn has_name_or_path(list: &Value, path_field: &str, name: &str, path: &str) -> (bool, bool) {
    let has = |field: &str, wanted: &str| elements(list).iter().any(|item| text(item, field) == wanted);
    (has("name", name), has(path_field, path))
}

fn volume_mounts(container: &Node<'_>, pod: &Surroundings<'_>) {
    let list = container.get("volumeMounts");
    let privileged = container.value["securityContext"]["privileged"] == true;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.require();
        if !pod.volumes.contains_key(name.text()) {
            name.push(FieldError::not_found(name.path(), name.text()));
        }
        path.require();
        if !taken.insert(path.text().to_owned()) {
            path.invalid("must be unique");
        }
        let devices = &container.value["volumeDevices"];
        let (same_name, same_path) = has_name_or_path(devices, "devicePath", name.text(), path.text());
        if same_name {
            name.invalid("must not already exist in volumeDevices");
        }
        if same_path {
            path.invalid("must not already exist as a path in volumeDevices");
        }
        mount_options(&mount, &list, privileged);
    }
}

/// Kubernetes reports these at the list, not at the mount.
fn mount_options(mount: &Node<'_>, list: &Node<'_>, privileged: bool) {
    let at_list = list.showing(mount.value);
    if !mount.get("subPath").is_empty() {
        local_descending(&at_list.get("subPath"));
    }
    if !mount.get("subPathExpr").is_empty() {
        if !mount.get("subPath").is_empty() {
            mount.get("subPathExpr").invalid("subPathExpr and subPath are mutually exclusive");
        }
        local_descending(&at_list.get("subPathExpr"));
    }
    let propagation = at_list.get("mountPropagation");
    propagation.optional_word(&["Bidirectional", "HostToContainer", "None"]);
    if propagation.text() == "Bidirectional" && !privileged {
        propagation.forbidden("Bidirectional mount propagation is available only to privileged containers");
    }
    let recursive = at_list.get("recursiveReadOnly");
    recursive.optional_word(&["Disabled", "Enabled", "IfPossible"]);
    if matches!(recursive.text(), "Enabled" | "IfPossible") {
        if !mount.get("readOnly").flag() {
            recursive.forbidden("may only be specified when readOnly is true");
        }
        if !matches!(propagation.text(), "" | "None") {
            recursive.forbidden("may only be specified when mountPropagation is None or not specified");
        }
    }
}

fn volume_devices(container: &Node<'_>, pod: &Surroundings<'_>) {
    let (mut names, mut paths): (BTreeSet<String>, BTreeSet<String>) = Default::default();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        name.require();
        if names.contains(name.text()) {
            name.invalid("must be unique");
        }
        match pod.volumes.get(name.text()) {
            Some(volume) if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() => {
                let message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(message);
            }
            Some(_) => {}
            None => name.push(FieldError::not_found(name.path(), name.text())),
        }
        path.require();
        if paths.contains(path.text()) {
            path.invalid("must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            path.invalid("can not contain backsteps ('..')");
        } else {
            paths.insert(path.text().to_owned());
        }
        let mounts = &container.value["volumeMounts"];
        let (same_name, same_path) = has_name_or_path(mounts, "mountPath", name.text(), path.text());
        if same_name {
            name.invalid("must not already exist in volumeMounts");
        }
        if same_path {
            path.invalid("must not already exist as a path in volumeMounts");
        }
        names.insert(name.text().to_owned());
    }
}

fn resize_policy(list: &Node<'_>, pod: &Surroundings<'_>) {
    let mut seen: HashSet<&str> = HashSet::new();
    for policy in list.items() {
        let (resource, restart) = (text(policy.value, "resourceName"), text(policy.value, "restartPolicy"));
        if !seen.insert(resource) {
            policy.push(FieldError::duplicate(policy.path(), resource));
        }
        let shown = Value::from(resource);
        list.showing(&shown).word(&["cpu", "memory"]);
        let shown = Value::from(restart);
        let at_list = list.showing(&shown);
        at_list.word(&["NotRequired", "RestartContainer"]);
        if pod.spec["restartPolicy"] == "Never" && restart != "NotRequired" {
            at_list.invalid("must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn restart_policy(container: &Node<'_>) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if !policy.is_set() {
        if !rules.is_empty() {
            policy.required("must specify restartPolicy when restart rules are used");
        } else {
            return;
        }
    }
    policy.optional_word(&["Always", "Never", "OnFailure"]);
    if rules.len() > 20 {
        rules.too_many(20);
    }
    for rule in rules.items() {
        let action = rule.get("action");
        if !matches!(action.text(), "Restart" | "RestartAllContainers") {
            action.not_supported(&["Restart", "RestartAllContainers"]);
        }
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            codes.required("must be specified");
            continue;
        }
        if !matches!(codes.get("operator").text(), "In" | "NotIn") {
            codes.get("operator").not_supported(&["In", "NotIn"]);
        }
        if codes.get("values").len() > 255 {
            codes.get("values").too_many(255);
        }
    }
}
