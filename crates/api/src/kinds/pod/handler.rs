//! Probes and lifecycle hooks.

use serde_json::Value;

use super::container::Surroundings;
use crate::{kinds::check::Node, syntax};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    Liveness,
    Readiness,
    Startup,
}

pub fn probe(node: &Node<'_>, kind: Probe, pod: &Surroundings<'_>) {
    if !node.is_set() {
        return;
    }
    handler(node, pod);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        node.get(field).non_negative();
    }
    let grace = node.get("terminationGracePeriodSeconds");
    if grace.is_set() && grace.integer() <= 0 {
        grace.invalid("must be greater than 0");
    }
    let successes = node.get("successThreshold");
    if kind == Probe::Readiness {
        if grace.is_set() {
            grace.invalid("must not be set for readinessProbes");
        }
    } else if successes.integer() != 1 {
        successes.invalid_value(successes.integer(), "must be 1");
    }
}

pub fn lifecycle(node: &Node<'_>, pod: &Surroundings<'_>) {
    for hook in ["postStart", "preStop"] {
        if node.get(hook).is_set() {
            handler(&node.get(hook), pod);
        }
    }
}

type Action = fn(&Node<'_>, &Surroundings<'_>);

const ACTIONS: [(&str, Action); 5] = [
    ("exec", |node, _| _ = node.get("command").require()),
    ("httpGet", |node, _| http_get(node)),
    ("tcpSocket", |node, _| port(&node.get("port"))),
    ("grpc", |node, _| port(&node.get("port"))),
    ("sleep", sleep),
];

fn handler(node: &Node<'_>, pod: &Surroundings<'_>) {
    let mut found = false;
    for (name, action) in ACTIONS {
        let node = node.get(name);
        if !node.is_set() {
            continue;
        }
        if found {
            node.forbidden("may not specify more than 1 handler type");
        } else {
            action(&node, pod);
        }
        found = true;
    }
    if !found {
        node.required("must specify a handler type");
    }
}

fn http_get(node: &Node<'_>) {
    node.get("path").require();
    port(&node.get("port"));
    let scheme = node.get("scheme");
    if !matches!(scheme.text(), "HTTP" | "HTTPS") {
        scheme.not_supported(&["HTTP", "HTTPS"]);
    }
    let headers = node.get("httpHeaders");
    for header in headers.items() {
        let name = header.get("name");
        headers.showing(name.value).syntax(syntax::is_http_header_name);
    }
}

/// The number of a port, or its name.
fn port(node: &Node<'_>) {
    match node.value {
        Value::String(name) => {
            for error in syntax::is_port_name(name) {
                node.invalid(error);
            }
        }
        _ => node.in_range(1, 65535),
    }
}

fn sleep(node: &Node<'_>, pod: &Surroundings<'_>) {
    let Some(grace) = pod.grace_period_seconds() else { return };
    let seconds = node.get("seconds").integer();
    // A negative period counts as the shortest.
    let grace = if grace < 0 { 1 } else { grace };
    if !(0..=grace).contains(&seconds) {
        let message = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        node.invalid_value(seconds, message);
    }
}
