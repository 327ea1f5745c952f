//! Environment variables and the references that fill them.

use super::path::no_backsteps;
use crate::{
    kinds::check::{FieldRules, Node},
    syntax,
};

pub fn environment(list: &Node<'_>) {
    for variable in list.items() {
        variable.get("name").required_syntax(syntax::is_env_var_name);
        value_from(&variable);
    }
}

const VALUE_SOURCES: &[FieldRules] = &[
    ("fieldRef", |node| field_reference(node, FIELDS)),
    ("resourceFieldRef", resource_reference),
    ("configMapKeyRef", key_reference),
    ("secretKeyRef", key_reference),
    ("fileKeyRef", file_reference),
];

/// The fields of a pod that a variable may carry.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn value_from(variable: &Node<'_>) {
    let source = variable.get("valueFrom");
    if !source.is_set() {
        return;
    }
    let count = source.apply_set(VALUE_SOURCES);
    if count == 0 {
        let message =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        source.invalid_value("", message);
    } else if !variable.get("value").is_empty() {
        source.invalid_value("", "may not be specified when `value` is not empty");
    } else if count > 1 {
        source.invalid_value("", "may not have more than one field specified at a time");
    }
}

/// What the downward API knows, beyond what each of its users allows.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.host",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

/// A reference to one of the `supported` fields, or to one label or annotation.
pub fn field_reference(node: &Node<'_>, supported: &[&str]) {
    let (version, field) = (node.get("apiVersion"), node.get("fieldPath"));
    if !version.require() || !field.require() {
        return;
    }
    let path = field.text();
    let subscripted = path.strip_suffix("']").and_then(|path| path.split_once("['"));
    let error = if version.text() != "v1" {
        format!("unsupported pod version: {}", version.text())
    } else if let Some((map, key)) = subscripted {
        match map {
            "metadata.annotations" => key_syntax(node, &key.to_lowercase()),
            "metadata.labels" => key_syntax(node, key),
            _ => {
                let error = format!("field label does not support subscript: {path}");
                field.invalid(format!("error converting fieldPath: {error}"));
            }
        }
        return;
    } else if !KNOWN_FIELDS.contains(&path) {
        format!("field label not supported: {path}")
    } else {
        let path = if path == "spec.host" { "spec.nodeName" } else { path };
        if !supported.contains(&path) {
            field.not_supported(supported);
        }
        return;
    };
    field.invalid(format!("error converting fieldPath: {error}"));
}

fn key_syntax(node: &Node<'_>, key: &str) {
    for error in syntax::is_qualified_name(key) {
        node.invalid_value(key, error);
    }
}

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// A reference to a request or limit of a container.
pub fn resource_reference(node: &Node<'_>) {
    let resource = node.get("resource");
    let name = resource.text();
    let is_huge_page = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if resource.require() && !is_huge_page && !RESOURCES.contains(&name) {
        resource.not_supported(RESOURCES);
    }
    let divisor = node.get("divisor");
    let shown = divisor.value.as_str().unwrap_or_default();
    if matches!(shown, "" | "0") {
        return;
    }
    const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let of = match name.split_once('.').map_or("", |(_, resource)| resource) {
        "cpu" if !matches!(shown, "1m" | "1") => {
            divisor.invalid_value(name, "only divisor's values 1m and 1 are supported with the cpu resource");
            return;
        }
        "memory" => "memory",
        "ephemeral-storage" => "local ephemeral storage",
        _ if is_huge_page => "hugepages",
        _ => return,
    };
    if !SIZES.split(", ").any(|size| size == shown) {
        divisor.invalid_value(name, format!("only divisor's values {SIZES} are supported with the {of} resource"));
    }
}

fn key_reference(node: &Node<'_>) {
    node.get("name").syntax(syntax::is_dns1123_subdomain);
    node.get("key").required_syntax(syntax::is_config_map_key);
}

fn file_reference(node: &Node<'_>) {
    node.get("key").required_syntax(syntax::is_env_var_name);
    node.get("volumeName").required_syntax(syntax::is_dns1123_label);
    if node.get("path").require() {
        no_backsteps(&node.get("path"));
    }
}

const SOURCES: &[FieldRules] = &[("configMapRef", named), ("secretRef", named)];

fn named(node: &Node<'_>) {
    node.get("name").required_syntax(syntax::is_dns1123_subdomain);
}

/// Whole config maps and secrets as variables.
pub fn environment_from(list: &Node<'_>) {
    for source in list.items() {
        source.get("prefix").optional_syntax(syntax::is_env_var_name);
        match source.apply_set(SOURCES) {
            0 => list.invalid_value("", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => list.invalid_value("", "may not have more than one field specified at a time"),
        }
    }
}
