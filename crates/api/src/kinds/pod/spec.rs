//! The pod spec as a whole, and the template of one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    container::{Surroundings, containers, ephemeral_containers, image_is_trimmed, init_containers},
    scheduling::{affinity, tolerations, topology_spread},
    security::{host_users, operating_system, pod_security_context},
    volume::volumes,
};
use crate::{
    field::FieldError,
    kinds::{
        check::{Node, elements, text, texts},
        resources,
    },
    metadata, syntax,
};

/// The rules of a `PodTemplateSpec`.
pub fn template(node: &Node<'_>) {
    let metadata = node.get("metadata");
    // Kubernetes leaves `metadata` out of these paths.
    let (labels, annotations) = (node.get("labels"), node.get("annotations"));
    labels.showing(&metadata.value["labels"]).with(metadata::validate_labels);
    let annotations = annotations.showing(&metadata.value["annotations"]);
    annotations.with(metadata::validate_annotations);
    let spec = node.get("spec");
    pod_annotations(&annotations, spec.value);
    pod_spec(&spec, None);
    if !spec.get("ephemeralContainers").is_empty() {
        spec.get("ephemeralContainers").forbidden("ephemeral containers not allowed in pod template");
    }
}

/// The rules of a pod's own metadata and spec, beyond those of every object.
pub fn pod(pod: &Node<'_>) {
    let (metadata, spec) = (pod.get("metadata"), pod.get("spec"));
    pod_annotations(&metadata.get("annotations"), spec.value);
    pod_spec(&spec, Some(metadata.value));
    if spec.get("serviceAccountName").is_empty() {
        for volume in spec.get("volumes").items() {
            for source in volume.get("projected").get("sources").items() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    token.forbidden("must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        spec.get(list).items().for_each(|container| image_is_trimmed(&container));
    }
}

pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";

fn pod_annotations(annotations: &Node<'_>, spec: &Value) {
    let mirror = annotations.key(MIRROR_POD);
    if mirror.is_set() && text(spec, "nodeName").is_empty() {
        mirror.invalid("must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = annotations.key("controller.kubernetes.io/pod-deletion-cost");
    let starts_well = cost.text() == "0" || cost.text().starts_with(|first| matches!(first, '-' | '1'..='9'));
    if cost.is_set() && !(starts_well && cost.text().parse::<i32>().is_ok()) {
        cost.invalid("must be a 32bit integer");
    }
}

/// `metadata` is given for pods, not for templates.
fn pod_spec(spec: &Node<'_>, metadata: Option<&Value>) {
    if !spec.get("terminationGracePeriodSeconds").is_set() {
        spec.get("terminationGracePeriodSeconds").required("");
    }
    let pod_name = metadata.map(|metadata| text(metadata, "name")).unwrap_or_default();
    let list = spec.get("volumes");
    let pod = Surroundings {
        spec: spec.value,
        volumes: volumes(&list, pod_name),
        claims: elements(&spec.value["resourceClaims"]).iter().map(|claim| text(claim, "name")).collect(),
    };
    resource_claims(&spec.get("resourceClaims"));
    containers(&spec.get("containers"), &pod);
    init_containers(&spec.get("initContainers"), &pod);
    ephemeral_containers(&spec.get("ephemeralContainers"), &pod);
    resources::pod_requirements(spec);
    host_network_ports(spec, metadata.is_some());
    spec.get("restartPolicy").word(&["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy").word(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    spec.get("nodeSelector").with(metadata::validate_labels);
    pod_security_context(spec);
    affinity(&spec.get("affinity"));
    dns_config(spec);
    for gate in spec.get("readinessGates").items() {
        gate.get("conditionType").syntax(syntax::is_qualified_name);
    }
    scheduling_gates(&spec.get("schedulingGates"));
    topology_spread(&spec.get("topologySpreadConstraints"));
    host_users(spec);
    hostname_override(spec);
    names(spec);
    tolerations(&spec.get("tolerations"));
    host_aliases(&spec.get("hostAliases"));
    preemption_policy(&spec.get("preemptionPolicy"));
    // Kubernetes reports these as limits.
    let overhead = spec.get("overhead");
    resources::overhead(&overhead.get("limits").showing(overhead.value));
    operating_system(spec);
    file_volumes(spec);
}

/// Also of priority classes.
pub fn preemption_policy(node: &Node<'_>) {
    if node.is_set() {
        node.word(&["PreemptLowerPriority", "Never"]);
    }
}

fn names(spec: &Node<'_>) {
    spec.get("serviceAccountName").optional_syntax(syntax::is_dns1123_subdomain);
    spec.get("nodeName").optional_syntax(syntax::is_dns1123_subdomain);
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.in_range(1, i64::from(i32::MAX));
    }
    spec.get("hostname").optional_syntax(syntax::is_dns1123_label);
    spec.get("subdomain").optional_syntax(syntax::is_dns1123_label);
    spec.get("priorityClassName").optional_syntax(syntax::is_dns1123_subdomain);
    spec.get("runtimeClassName").optional_syntax(syntax::is_dns1123_subdomain);
}

fn resource_claims(list: &Node<'_>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in list.items() {
        let name = claim.get("name");
        if name.require() {
            if seen.insert(name.text().to_owned()) {
                name.syntax(syntax::is_dns1123_label);
            } else {
                name.duplicate();
            }
        }
        let (existing, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (existing.is_set(), template.is_set()) {
            (true, true) => {
                claim.invalid("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
            }
            (false, false) => {
                claim.invalid("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
        for name in [existing, template].iter().filter(|name| name.is_set()) {
            name.syntax(syntax::is_dns1123_subdomain);
        }
    }
}

/// In a template an absent host port will be filled in when the pod is made.
fn host_network_ports(spec: &Node<'_>, is_pod: bool) {
    if !spec.get("hostNetwork").flag() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let (host, own) = (port.get("hostPort"), port.get("containerPort"));
            if (is_pod || host.integer() != 0) && host.integer() != own.integer() {
                host.invalid_value(host.integer(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &Node<'_>) {
    let config = spec.get("dnsConfig");
    let (servers, searches) = (config.get("nameservers"), config.get("searches"));
    if spec.value["dnsPolicy"] == "None" {
        if !config.is_set() {
            config.required("must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if !servers.require_saying("must provide at least one DNS nameserver when `dnsPolicy` is None") {
            return;
        }
    }
    if servers.len() > 3 {
        servers.invalid("must not have more than 3 nameservers");
    }
    servers.items().for_each(|server| server.syntax(syntax::is_ip));
    if searches.len() > 32 {
        searches.invalid("must not have more than 32 search paths");
    }
    if texts(searches.value).map(|search| search.len() + 1).sum::<usize>() > 2049 {
        searches.invalid("must not have more than 2048 characters (including spaces) in the search list");
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        for error in syntax::is_dns1123_subdomain_with_underscore(name) {
            search.invalid_value(name, error);
        }
    }
    for option in config.get("options").items() {
        if option.get("name").is_empty() {
            option.required("must not be empty");
        }
    }
}

fn scheduling_gates(list: &Node<'_>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for gate in list.items() {
        let name = gate.get("name").text();
        let shown = Value::from(name);
        let gate = gate.showing(&shown);
        gate.syntax(syntax::is_qualified_name);
        if !seen.insert(name.to_owned()) {
            gate.duplicate();
        }
    }
}

fn hostname_override(spec: &Node<'_>) {
    let hostname = spec.get("hostnameOverride");
    if !hostname.is_set() {
        return;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(field).flag() {
            hostname.forbidden(format!("may not be specified when {field} is true"));
        }
    }
    if hostname.text().len() > 64 {
        hostname.too_long(64);
    }
    hostname.syntax(syntax::is_dns1123_subdomain);
}

fn host_aliases(list: &Node<'_>) {
    for alias in list.items() {
        alias.get("ip").syntax(syntax::is_ip);
        alias.get("hostnames").items().for_each(|name| name.syntax(syntax::is_dns1123_subdomain));
    }
}

/// Variables read from files need a volume that lives with the pod.
fn file_volumes(spec: &Node<'_>) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            for variable in container.get("env").items() {
                let source = variable.get("valueFrom");
                let file = source.get("fileKeyRef");
                if !file.is_set() {
                    continue;
                }
                let name = file.get("volumeName");
                let volumes = elements(&spec.value["volumes"]);
                match volumes.iter().find(|volume| text(volume, "name") == name.text()) {
                    None => name.push(FieldError::not_found(name.path(), name.text())),
                    Some(volume) if volume["emptyDir"].is_null() => {
                        name.invalid("referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
