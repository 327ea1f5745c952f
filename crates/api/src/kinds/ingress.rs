//! Ingresses and their classes.

use serde_json::Value;

use super::{
    check::{Node, check, elements, text},
    columns, rules,
};
use crate::{
    field::FieldErrors,
    resource::{Cell, Column},
    strategy::Strategy,
    syntax,
};

pub const INGRESS: Strategy = Strategy {
    prepare_create: |object| super::edit::set(object, "status", serde_json::json!({"loadBalancer": {}})),
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, validate),
    validate_create: |object, errors| check(object, errors, validate_annotation),
    validate_status: |new, _, errors| {
        check(new, errors, |root| {
            rules::load_balancer_ingress(&root.get("status").get("loadBalancer").get("ingress"));
        });
    },
    warnings: |object| {
        let annotation = &object["metadata"]["annotations"]["kubernetes.io/ingress.class"];
        if annotation.is_null() || !object["spec"]["ingressClassName"].is_null() {
            return Vec::new();
        }
        vec![
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                .to_owned(),
        ]
    },
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn validate(root: &Node<'_>) {
    let spec = root.get("spec");
    let (rules_list, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules_list.is_empty() && !backend.is_set() {
        let value = if rules_list.is_set() { rules_list.value.clone() } else { Value::Array(Vec::new()) };
        spec.invalid_value(value, "either `defaultBackend` or `rules` must be specified");
    }
    if backend.is_set() {
        validate_backend(&backend);
    }
    for rule in rules_list.items() {
        let host = rule.get("host");
        if !host.is_empty() {
            rules::not_an_ip(&host);
            host_name(&host);
        }
        let http = rule.get("http");
        if http.is_set() {
            http.get("paths").require();
            http.get("paths").items().for_each(|path| validate_path(&path));
        }
    }
    for tls in spec.get("tls").items() {
        tls.get("hosts").items().for_each(|host| host_name(&host));
        tls.get("secretName").optional_syntax(syntax::is_dns1123_subdomain);
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        class.syntax(syntax::is_dns1123_subdomain);
    }
}

fn validate_annotation(root: &Node<'_>) {
    let annotation = &root.value["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    let class = &root.value["spec"]["ingressClassName"];
    if !annotation.is_null() && !class.is_null() && annotation != class {
        let annotations = root.get("annotations");
        let at = annotations.get("kubernetes.io/ingress.class");
        at.showing(annotation).invalid("must match `ingressClassName` when both are specified");
    }
}

fn host_name(host: &Node<'_>) {
    if host.text().contains('*') {
        host.syntax(syntax::is_wildcard_dns1123_subdomain);
    } else {
        host.syntax(syntax::is_dns1123_subdomain);
    }
}

fn validate_path(rule: &Node<'_>) {
    let (kind, path) = (rule.get("pathType"), rule.get("path"));
    if !kind.is_set() {
        return kind.required("pathType must be specified");
    }
    let is_absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !is_absolute {
                path.invalid_value(path.text(), "must be an absolute path");
            }
            for sequence in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(sequence) {
                    path.invalid(format!("must not contain '{sequence}'"));
                }
            }
            for suffix in ["/..", "/."] {
                if path.text().ends_with(suffix) {
                    path.invalid(format!("cannot end with '{suffix}'"));
                }
            }
        }
        "ImplementationSpecific" if !path.is_empty() && !is_absolute => path.invalid("must be an absolute path"),
        "ImplementationSpecific" => {}
        _ => kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"]),
    }
    validate_backend(&rule.get("backend"));
}

fn validate_backend(backend: &Node<'_>) {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => backend.invalid_value("", "cannot set both resource and service backends"),
        (false, false) => backend.invalid_value("", "resource or service backend is required"),
        (true, false) => {
            if resource.get("apiGroup").is_set() {
                resource.get("apiGroup").syntax(syntax::is_dns1123_subdomain);
            }
            rules::kind_and_name(&resource);
        }
        (false, true) => {
            service.get("name").required_syntax(syntax::is_dns1123_label);
            let port = service.get("port");
            match (!port.get("name").is_empty(), port.get("number").integer() != 0) {
                (true, true) => backend.invalid_value("", "cannot set both port name & port number"),
                (true, false) => port.get("name").syntax(syntax::is_port_name),
                (false, true) => port.get("number").in_range(1, 65535),
                (false, false) => backend.required("port name or number is required"),
            }
        }
    }
}

pub fn ingress_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Class", "The class that serves it.", |object, _| {
            object["spec"]["ingressClassName"].as_str().unwrap_or(columns::NONE).into()
        }),
        columns::text("Hosts", "The hosts it answers for.", |object, _| hosts(object).into()),
        columns::text("Address", "Where it is reached.", |object, _| rules::load_balancer_addresses(object).into()),
        columns::text("Ports", "80, and 443 with TLS.", |object, _| {
            if elements(&object["spec"]["tls"]).is_empty() { "80".into() } else { "80, 443".into() }
        }),
        columns::age(),
    ]
}

/// The first three hosts, and how many rules there are beyond three.
fn hosts(object: &Value) -> String {
    let list = elements(&object["spec"]["rules"]);
    let named = || list.iter().map(|rule| text(rule, "host")).filter(|host| !host.is_empty());
    let shown: Vec<&str> = named().take(3).collect();
    let third = list.iter().scan(0, |count, rule| {
        *count += usize::from(!text(rule, "host").is_empty());
        Some(*count)
    });
    let has_more = third.take_while(|count| *count < 3).count() + 1 < list.len();
    match shown.len() {
        0 => "*".to_owned(),
        3 if has_more => format!("{} + {} more...", shown.join(","), list.len() - 3),
        _ => shown.join(","),
    }
}

pub const CLASS: Strategy = Strategy {
    default: |object| {
        if let Some(parameters) = super::edit::at_mut(object, &["spec", "parameters"]) {
            super::edit::fill(parameters, "scope", "Cluster");
        }
    },
    validate: |object, errors| check(object, errors, validate_class),
    validate_update: |new: &Value, old: &Value, errors: &mut FieldErrors| {
        rules::immutable(new, old, &["spec.controller"], errors);
    },
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn validate_class(root: &Node<'_>) {
    let spec = root.get("spec");
    let (controller, parameters) = (spec.get("controller"), spec.get("parameters"));
    if controller.text().len() > 250 {
        controller.too_long(250);
    }
    if controller.require() {
        domain_prefixed_path(&controller);
    }
    if !parameters.is_set() {
        return;
    }
    if parameters.get("apiGroup").is_set() {
        parameters.get("apiGroup").syntax(syntax::is_dns1123_subdomain);
    }
    rules::kind_and_name(&parameters);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.value.as_str() {
        None => scope.required(""),
        Some("Namespace") if !namespace.is_set() => namespace.required("`parameters.scope` is set to 'Namespace'"),
        Some("Namespace") => namespace.syntax(syntax::is_dns1123_label),
        Some("Cluster") if namespace.is_set() => namespace.forbidden("`parameters.scope` is set to 'Cluster'"),
        Some("Cluster") => {}
        Some(_) => scope.not_supported(&["Cluster", "Namespace"]),
    }
}

fn domain_prefixed_path(node: &Node<'_>) {
    match node.text().split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            syntax::is_dns1123_subdomain(host).into_iter().for_each(|error| node.invalid_value(host, error));
            syntax::is_http_path(path).into_iter().for_each(|error| node.invalid_value(path, error));
        }
        _ => node.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

pub fn class_columns() -> Vec<Column> {
    vec![
        Column {
            cell: Cell::Render(|object, _| {
                rules::name_or_default(object, "ingressclass.kubernetes.io/is-default-class")
            }),
            ..columns::name()
        },
        columns::text("Controller", "Who serves its ingresses.", |object, _| {
            text(&object["spec"], "controller").into()
        }),
        columns::text("Parameters", "The object that configures it.", |object, _| {
            let parameters = &object["spec"]["parameters"];
            let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
            match parameters {
                Value::Null => columns::NONE.into(),
                _ => format!("{}{group}/{}", text(parameters, "kind"), text(parameters, "name")).into(),
            }
        }),
        columns::age(),
    ]
}
