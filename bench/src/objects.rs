//! The objects of the load: pods as deployments make them, and config maps.

use serde_json::{Value, json};

pub const NAMESPACE: &str = "bench";

/// A pod of 6.7 KB as it is listed (its managed fields, which the server adds, are about half of that).
pub fn pod(name: &str) -> String {
    let variables: Vec<Value> =
        (0..2).map(|index| json!({"name": format!("SETTING_{index}"), "value": format!("value-{index}")})).collect();
    let container = |name: &str, port: u16| {
        json!({
            "name": name,
            "image": "registry.example.com/shop/checkout:1.4.2",
            "args": ["--listen=:8080", "--log-format=json", "--shutdown-timeout=20s"],
            "ports": [{"name": "http", "containerPort": port}, {"name": "metrics", "containerPort": port + 1}],
            "env": variables,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "initialDelaySeconds": 10},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/checkout"}, {"name": "scratch", "mountPath": "/tmp"}],
            "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false},
        })
    };
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "checkout", "tier": "backend", "pod-template-hash": "6d4cf56db6"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8081"},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [container("checkout", 8080), container("proxy", 9080)],
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 2000},
            "volumes": [
                {"name": "config", "configMap": {"name": "checkout", "items": [{"key": "checkout.yaml", "path": "checkout.yaml"}]}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
        },
    });
    pod.to_string()
}

pub fn pod_name(index: usize) -> String {
    format!("checkout-{index:05}")
}

/// A config map of 2 KB; `generation` makes one version of it differ from the next.
pub fn config_map(name: &str, generation: usize) -> String {
    let text = "a line of an ordinary settings file\n".repeat(48);
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "data": {"generation": generation.to_string(), "settings": text},
    });
    object.to_string()
}

pub fn namespace() -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string()
}

/// Pods are admitted only where their service account exists, which a controller makes elsewhere.
pub fn service_account() -> String {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}).to_string()
}

/// The path of a collection in the namespace of the load, or of one object in it.
pub fn path(plural: &str, name: &str) -> String {
    let separator = if name.is_empty() { "" } else { "/" };
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}{separator}{name}")
}

/// The group of the definitions that [`definition`] makes.
pub const DEFINED_GROUP: &str = "bench.example.com";

pub fn defined_plural(index: usize) -> String {
    format!("larges{index}")
}

fn defined_kind(index: usize) -> String {
    format!("Large{index}")
}

/// A definition of 80 KB, with a pattern for each of 600 fields.
pub fn definition(index: usize) -> String {
    let field = |number: usize| {
        let pattern = format!("^[a-z]{{1,{}}}$", number % 60 + 1);
        let schema = json!({"type": "string", "pattern": pattern, "description": "what this is about. ".repeat(3)});
        (format!("field{number}"), schema)
    };
    let fields: serde_json::Map<String, Value> = (0..600).map(field).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
    let (plural, kind) = (defined_plural(index), defined_kind(index));
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{DEFINED_GROUP}")},
        "spec": {
            "group": DEFINED_GROUP,
            "scope": "Cluster",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    object.to_string()
}

pub fn instance(index: usize) -> String {
    let api_version = format!("{DEFINED_GROUP}/v1");
    let object = json!({
        "apiVersion": api_version,
        "kind": defined_kind(index),
        "metadata": {"name": "first"},
        "spec": {"field1": "a"},
    });
    object.to_string()
}
