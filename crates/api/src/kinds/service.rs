//! Services: what their type implies for their other fields, at creation and when it changes.
//!
//! Not here: allocating addresses and node ports, which happens between preparation and validation.

mod cluster_ips;

use std::collections::HashSet;

use serde_json::{Value, json};

use self::cluster_ips::is_headless;
use super::{
    check::{Node, check, elements, is_empty, text, texts},
    columns::{self},
    edit, rules,
};
use crate::{
    field::{FieldError, FieldErrors},
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update,
    validate: |object, errors| check(object, errors, validate),
    validate_update,
    validate_status: |new, _, errors| check(new, errors, validate_status),
    warnings,
    name: NameRule::DnsLabel,
    create_on_update: true,
    ..Strategy::DEFAULT
};

const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

fn kind(object: &Value) -> &str {
    text(&object["spec"], "type")
}

fn has_node_ports(object: &Value) -> bool {
    matches!(kind(object), "NodePort" | "LoadBalancer")
}

fn is_externally_accessible(object: &Value) -> bool {
    has_node_ports(object) || (kind(object) == "ClusterIP" && !is_empty(&object["spec"]["externalIPs"]))
}

fn needs_health_check(object: &Value) -> bool {
    kind(object) == "LoadBalancer" && object["spec"]["externalTrafficPolicy"] == "Local"
}

fn default(object: &mut Value) {
    let Some(spec) = edit::object_at(object, &["spec"]) else { return };
    for (field, value) in [("sessionAffinity", "None"), ("type", "ClusterIP")] {
        if spec.get(field).is_none_or(is_empty) {
            spec.insert(field.to_owned(), value.into());
        }
    }
    let (is_external, service_type) = (is_externally_accessible(object), kind(object).to_owned());
    let Some(spec) = object.get_mut("spec") else { return };
    if spec["sessionAffinity"] == "None" {
        edit::remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        edit::set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    for port in edit::each_mut(spec, "ports") {
        rules::fill_empty(port, "protocol", "TCP");
        let target = &port["targetPort"];
        if is_empty(target) || *target == 0 {
            let number = port["port"].clone();
            edit::set(port, "targetPort", number);
        }
    }
    if is_external {
        rules::fill_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*service_type, "ClusterIP" | "NodePort" | "LoadBalancer") {
        edit::fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if service_type == "LoadBalancer" {
        edit::fill(spec, "allocateLoadBalancerNodePorts", true);
        let ingress = edit::at_mut(object, &["status", "loadBalancer"]);
        for point in ingress.into_iter().flat_map(|status| edit::each_mut(status, "ingress")) {
            if !text(point, "ip").is_empty() {
                edit::fill(point, "ipMode", "VIP");
            }
        }
    }
}

fn prepare_create(object: &mut Value) {
    edit::set(object, "status", json!({"loadBalancer": {}}));
    cluster_ips::fill_list(object);
}

fn prepare_update(new: &mut Value, old: &Value) {
    rules::keep_status(new, old);
    keep_allocated(new, old);
    cluster_ips::synchronize(new, old);
    drop_unfitting(new, old);
}

/// What was allocated need not be said again.
fn keep_allocated(new: &mut Value, old: &Value) {
    cluster_ips::keep(new, old);
    if needs_health_check(old) && needs_health_check(new) && port_number(&new["spec"]["healthCheckNodePort"]) == 0 {
        let port = old["spec"]["healthCheckNodePort"].clone();
        if let Some(spec) = new.get_mut("spec") {
            edit::set(spec, "healthCheckNodePort", port);
        }
    }
    if !has_node_ports(old) || !has_node_ports(new) {
        return;
    }
    let said = node_ports(new);
    let Some(spec) = new.get_mut("spec") else { return };
    for port in edit::each_mut(spec, "ports") {
        if port_number(&port["nodePort"]) != 0 {
            continue;
        }
        let same = elements(&old["spec"]["ports"]).iter().rfind(|old| text(old, "name") == text(port, "name"));
        let known = same.map_or(0, |old| port_number(&old["nodePort"]));
        if known != 0 && !said.contains(&known) {
            edit::set(port, "nodePort", known);
        }
    }
}

fn port_number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn node_ports(object: &Value) -> Vec<i64> {
    let ports = elements(&object["spec"]["ports"]).iter().map(|port| port_number(&port["nodePort"]));
    ports.filter(|port| *port != 0).collect()
}

type Fits = fn(&Value) -> bool;

/// Where the type changed, drops what does not fit the new one and was not touched by the client.
fn drop_unfitting(new: &mut Value, old: &Value) {
    let is = |object: &Value, name: &str| kind(object) == name;
    let fits: [(&[&str], Fits); 4] = [
        (&["clusterIP", "clusterIPs"], |object| kind(object) != "ExternalName"),
        (&["ipFamilies"], |object| kind(object) != "ExternalName"),
        (&["ipFamilyPolicy"], |object| kind(object) != "ExternalName"),
        (&["loadBalancerClass"], |object| kind(object) == "LoadBalancer"),
    ];
    let mut unfitting: Vec<&str> = Vec::new();
    for (fields, fits) in fits {
        if fits(old) && !fits(new) && fields.iter().all(|field| new["spec"][field] == old["spec"][field]) {
            unfitting.extend(fields);
        }
    }
    let single: [(&str, Fits); 3] = [
        ("healthCheckNodePort", needs_health_check),
        ("externalTrafficPolicy", is_externally_accessible),
        ("allocateLoadBalancerNodePorts", |object| kind(object) == "LoadBalancer"),
    ];
    for (field, fits) in single {
        if fits(old) && !fits(new) && new["spec"][field] == old["spec"][field] {
            unfitting.push(field);
        }
    }
    let old_ports = node_ports(old);
    let drops_ports =
        has_node_ports(old) && !has_node_ports(new) && node_ports(new).iter().all(|port| old_ports.contains(port));
    if !is(new, "LoadBalancer")
        && let Some(status) = edit::at_mut(new, &["status"])
    {
        edit::set(status, "loadBalancer", json!({}));
    }
    let Some(spec) = new.get_mut("spec") else { return };
    for field in unfitting {
        edit::remove(spec, field);
    }
    for port in edit::each_mut(spec, "ports").filter(|_| drops_ports) {
        edit::remove(port, "nodePort");
    }
}

fn validate(root: &Node<'_>) {
    let (object, spec) = (root.value, root.get("spec"));
    let service_type = kind(object);
    let headless = is_headless(object);
    if spec.get("ports").is_empty() && !headless && service_type != "ExternalName" {
        spec.get("ports").required("");
    }
    match service_type {
        "LoadBalancer" | "NodePort" if headless => {
            let message = format!("may not be set to 'None' for {service_type} services");
            spec.get("clusterIPs").index(0).invalid(message);
        }
        "ExternalName" => external_name(&spec),
        _ => {}
    }
    ports(&spec.get("ports"), service_type);
    rules::labels(&spec.get("selector"));
    session_affinity(&spec);
    cluster_ips::validate(&spec);
    for address in spec.get("externalIPs").items() {
        let before = address.error_count();
        address.syntax(syntax::is_ip);
        if address.error_count() == before {
            rules::endpoint_ip(&address);
        }
    }
    spec.get("type").word(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    source_ranges(root, &spec, service_type);
    load_balancer(root, &spec, service_type);
    traffic_policies(object, &spec, service_type);
}

/// The rules of a service's addresses alone, which are asked before any is given.
pub fn validate_addresses(service: &Value, errors: &mut FieldErrors) {
    check(service, errors, |root| cluster_ips::validate(&root.get("spec")));
}

fn external_name(spec: &Node<'_>) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec.get(field).is_empty() {
            spec.get(field).forbidden("may not be set for ExternalName services");
        }
    }
    let name = spec.get("externalName");
    let canonical = name.text().strip_suffix('.').unwrap_or(name.text());
    if canonical.is_empty() {
        return name.required("");
    }
    for error in syntax::is_dns1123_subdomain(canonical) {
        name.invalid_value(canonical, error);
    }
}

fn ports(ports: &Node<'_>, service_type: &str) {
    let mut seen_node_ports: HashSet<(&str, i64)> = HashSet::new();
    let mut seen_ports: HashSet<(&str, i64)> = HashSet::new();
    for port in ports.items() {
        if ports.len() > 1 || !port.get("name").is_empty() {
            port.get("name").required_syntax(syntax::is_dns1123_label);
        }
        port.get("port").in_range(1, 65535);
        port.get("protocol").word(rules::PROTOCOLS);
        rules::port_number_or_name(&port.get("targetPort"));
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").syntax(syntax::is_qualified_name);
        }
    }
    rules::unique(ports, "name");
    for (index, value) in elements(ports.value).iter().enumerate() {
        let port = ports.index(index);
        let protocol = text(value, "protocol");
        let node_port = port_number(&value["nodePort"]);
        if service_type == "ClusterIP" && node_port != 0 {
            port.get("nodePort").forbidden("may not be used when `type` is 'ClusterIP'");
        }
        if node_port != 0 && !seen_node_ports.insert((protocol, node_port)) {
            port.get("nodePort").duplicate();
        }
        let number = port_number(&value["port"]);
        if !seen_ports.insert((protocol, number)) {
            port.push(FieldError::duplicate(port.path(), json!({"port": number, "protocol": protocol})));
        }
    }
}

fn session_affinity(spec: &Node<'_>) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    affinity.word(&["ClientIP", "None"]);
    match affinity.text() {
        "ClientIP" => {
            let client_ip = config.get("clientIP");
            let timeout = client_ip.get("timeoutSeconds");
            let missing = [&config, &client_ip, &timeout].into_iter().find(|node| !node.is_set());
            match missing {
                Some(missing) => missing.required("when session affinity type is ClientIP"),
                None if !(1..=86400).contains(&timeout.integer()) => {
                    timeout.invalid("must be greater than 0 and less than 86400");
                }
                None => {}
            }
        }
        "None" if config.is_set() => config.forbidden("must not be set when session affinity is None"),
        _ => {}
    }
}

fn source_ranges(root: &Node<'_>, spec: &Node<'_>, service_type: &str) {
    const FORBIDDEN: &str = "may only be used when `type` is 'LoadBalancer'";
    let (metadata, ranges) = (root.get("metadata"), spec.get("loadBalancerSourceRanges"));
    let annotations = metadata.get("annotations");
    let annotation = annotations.key(SOURCE_RANGES);
    if !ranges.is_empty() {
        let at = spec.get("LoadBalancerSourceRanges");
        let at = at.showing(ranges.value);
        if service_type != "LoadBalancer" {
            at.forbidden(FORBIDDEN);
        }
        for range in at.items() {
            for error in syntax::is_cidr(range.text().trim()) {
                range.invalid_value(range.text().trim(), error);
            }
        }
    } else if annotation.is_set() {
        if service_type != "LoadBalancer" {
            annotation.forbidden(FORBIDDEN);
        }
        for range in annotation.text().split(',').map(str::trim).filter(|_| !annotation.text().trim().is_empty()) {
            for error in syntax::is_cidr(range) {
                annotation.invalid_value(range, error);
            }
        }
    }
}

fn load_balancer(root: &Node<'_>, spec: &Node<'_>, service_type: &str) {
    const FORBIDDEN: &str = "may only be used when `type` is 'LoadBalancer'";
    let (allocate, class) = (spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass"));
    match (service_type == "LoadBalancer", allocate.is_set()) {
        (false, true) => allocate.forbidden(FORBIDDEN),
        (true, false) => root.get("allocateLoadBalancerNodePorts").required(""),
        _ => {}
    }
    if class.is_set() {
        if service_type == "LoadBalancer" {
            class.syntax(syntax::is_qualified_name);
        } else {
            class.forbidden(FORBIDDEN);
        }
    }
}

fn traffic_policies(object: &Value, spec: &Node<'_>, service_type: &str) {
    let (external, internal) = (spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy"));
    if is_externally_accessible(object) {
        external.word(&["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid("may only be set for externally-accessible services");
    }
    let health_check = spec.get("healthCheckNodePort");
    match (needs_health_check(object), health_check.integer()) {
        (false, 0) => {}
        (false, _) => {
            health_check.invalid("may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
        }
        (true, 0) => health_check.required(""),
        (true, _) => health_check.in_range(1, 65535),
    }
    if internal.is_set() {
        if !matches!(internal.text(), "Cluster" | "Local") {
            internal.not_supported(&["Cluster", "Local"]);
        }
    } else if matches!(service_type, "ClusterIP" | "NodePort" | "LoadBalancer") {
        internal.required("");
    }
    let distribution = spec.get("trafficDistribution");
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if distribution.is_set() && !DISTRIBUTIONS.contains(&distribution.text()) {
        distribution.not_supported(DISTRIBUTIONS);
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        let spec = root.get("spec");
        cluster_ips::validate_update(&spec, new, old);
        if kind(new) == "LoadBalancer" && kind(old) == "LoadBalancer" {
            let class = spec.get("loadBalancerClass");
            if *class.value != old["spec"]["loadBalancerClass"] {
                class.invalid("may not change once set");
            }
        }
        let health_check = spec.get("healthCheckNodePort");
        if needs_health_check(old)
            && needs_health_check(new)
            && health_check.integer() != port_number(&old["spec"]["healthCheckNodePort"])
        {
            health_check.forbidden("field is immutable");
        }
    });
}

fn validate_status(root: &Node<'_>) {
    let status = root.get("status");
    let load_balancer = status.get("loadBalancer");
    let ingress = load_balancer.get("ingress");
    if kind(root.value) != "LoadBalancer" && !ingress.is_empty() {
        return ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'");
    }
    rules::load_balancer_ingress(&ingress);
    for point in ingress.items() {
        let mode = point.get("ipMode");
        match (point.get("ip").is_empty(), mode.is_set()) {
            (false, false) => mode.required("must be specified when `ip` is set"),
            (true, true) => mode.forbidden("may not be specified when `ip` is not set"),
            (false, true) => mode.word(&["Proxy", "VIP"]),
            (true, false) => {}
        }
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let has = |field: &str| !is_empty(&spec[field]);
    let (headless, is_name) = (is_headless(object), kind(object) == "ExternalName");
    [
        (headless && has("loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services"),
        (headless && has("externalIPs"), "spec.externalIPs is ignored for headless services"),
        (headless && spec["sessionAffinity"] != "None", "spec.SessionAffinity is ignored for headless services"),
        (
            has("externalIPs") && !headless && !is_name,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ),
        (is_name && has("externalIPs"), "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (!is_name && has("externalName"), "spec.externalName is ignored when spec.type is not \"ExternalName\""),
        (
            spec["trafficDistribution"] == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ]
    .into_iter()
    .filter(|(applies, _)| *applies)
    .map(|(_, warning)| warning.to_owned())
    .collect()
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Type", "How the service is reached.", |service, _| kind(service).into()),
        columns::text("Cluster-IP", "Its address inside the cluster.", |service, _| {
            texts(&service["spec"]["clusterIPs"]).next().unwrap_or(columns::NONE).into()
        }),
        columns::text("External-IP", "Where it is reached from outside.", |service, _| external(service).into()),
        columns::text("Port(s)", "Its ports and node ports.", |service, _| shown_ports(service).into()),
        columns::age(),
        columns::wide(columns::text("Selector", "The labels of the pods behind it.", |service, _| {
            columns::labels(&service["spec"]["selector"]).into()
        })),
    ]
}

fn external(service: &Value) -> String {
    let external: Vec<&str> = texts(&service["spec"]["externalIPs"]).collect();
    match kind(service) {
        "ClusterIP" | "NodePort" if external.is_empty() => columns::NONE.to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let balanced = rules::load_balancer_addresses(service);
            let all: Vec<&str> = Some(&*balanced).filter(|all| !all.is_empty()).into_iter().chain(external).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(&service["spec"], "externalName").to_owned(),
        _ => columns::UNKNOWN.to_owned(),
    }
}

fn shown_ports(service: &Value) -> String {
    let shown = |port: &Value| {
        let (number, protocol) = (port_number(&port["port"]), text(port, "protocol"));
        match port_number(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    let ports: Vec<String> = elements(&service["spec"]["ports"]).iter().map(shown).collect();
    if ports.is_empty() { columns::NONE.to_owned() } else { ports.join(",") }
}
