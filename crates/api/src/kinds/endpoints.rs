//! Endpoints and EndpointSlices: where the traffic of services goes.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    check::{Node, check, elements, text, texts},
    columns, rules,
};
use crate::{resource::Column, strategy::Strategy, syntax};

pub const ENDPOINTS: Strategy = Strategy {
    validate: |object, errors| {
        check(object, errors, |root| root.get("subsets").items().for_each(|subset| validate_subset(&subset)));
    },
    create_on_update: true,
    ..Strategy::DEFAULT
};

fn validate_subset(subset: &Node<'_>) {
    if subset.get("addresses").is_empty() && subset.get("notReadyAddresses").is_empty() {
        subset.required("must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        for address in subset.get(list).items() {
            let ip = address.get("ip");
            ip.syntax(syntax::is_ip);
            address.get("hostname").optional_syntax(syntax::is_dns1123_label);
            if address.get("nodeName").is_set() {
                address.get("nodeName").syntax(syntax::is_dns1123_subdomain);
            }
            rules::endpoint_ip(&ip);
        }
    }
    let ports = subset.get("ports");
    for port in ports.items() {
        if ports.len() > 1 || !port.get("name").is_empty() {
            port.get("name").required_syntax(syntax::is_dns1123_label);
        }
        port.get("port").in_range(1, 65535);
        port.get("protocol").optional_word(rules::PROTOCOLS);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").syntax(syntax::is_qualified_name);
        }
    }
}

pub fn endpoints_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Endpoints", "The addresses that are ready.", |object, _| {
            let mut shown = Vec::new();
            for subset in elements(&object["subsets"]) {
                let addresses = || elements(&subset["addresses"]).iter().map(|address| text(address, "ip"));
                let ports = elements(&subset["ports"]);
                if ports.is_empty() {
                    shown.extend(addresses().map(str::to_owned));
                }
                for port in ports {
                    let port = columns::number(&port["port"]);
                    shown.extend(addresses().map(|ip| join_host_port(ip, &port)));
                }
            }
            if elements(&object["subsets"]).is_empty() { columns::NONE.into() } else { at_most_three(&shown).into() }
        }),
        columns::age(),
    ]
}

fn join_host_port(host: &str, port: &Value) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn at_most_three(list: &[String]) -> String {
    match list.len() {
        0..=3 => list.join(","),
        count => format!("{} + {} more...", list[..3].join(","), count - 3),
    }
}

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20000;
const MAX_HINTS: usize = 8;

pub const SLICE: Strategy = Strategy {
    validate: |object, errors| check(object, errors, validate_slice),
    validate_update: |new, old, errors| rules::immutable(new, old, &["addressType"], errors),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn validate_slice(root: &Node<'_>) {
    let address_type = root.get("addressType");
    address_type.word(&["FQDN", "IPv4", "IPv6"]);
    let ports = root.get("ports");
    if ports.len() > MAX_PORTS {
        ports.too_many(MAX_PORTS);
    } else {
        slice_ports(&ports);
    }
    let endpoints = root.get("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        return endpoints.too_many(MAX_ENDPOINTS);
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        match addresses.len() {
            0 => addresses.required("must contain at least 1 address"),
            1..=MAX_ADDRESSES => {}
            _ => addresses.too_many(MAX_ADDRESSES),
        }
        for address in addresses.items() {
            slice_address(&address, &addresses, address_type.text());
        }
        if endpoint.get("nodeName").is_set() {
            endpoint.get("nodeName").syntax(syntax::is_dns1123_subdomain);
        }
        rules::labels(&endpoint.get("deprecatedTopology"));
        if endpoint.get("hostname").is_set() {
            endpoint.get("hostname").syntax(syntax::is_dns1123_label);
        }
        let hints = endpoint.get("hints");
        hint_names(&hints.get("forZones"), syntax::is_label_value);
        hint_names(&hints.get("forNodes"), syntax::is_dns1123_subdomain);
    }
}

fn slice_ports(ports: &Node<'_>) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, value) in elements(ports.value).iter().enumerate() {
        let (port, name) = (ports.index(index), text(value, "name"));
        port.get("name").optional_syntax(syntax::is_dns1123_label);
        if !seen.insert(name) {
            port.get("name").showing(&Value::from(name)).duplicate();
        }
        port.get("protocol").optional_word(rules::PROTOCOLS);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").syntax(syntax::is_qualified_name);
        }
    }
}

fn slice_address(address: &Node<'_>, all: &Node<'_>, address_type: &str) {
    let before = address.error_count();
    match address_type {
        "IPv4" => address.syntax(syntax::is_ip),
        "IPv6" => address.syntax(syntax::is_canonical_ip),
        "FQDN" => return fully_qualified(address),
        _ => return,
    }
    if address.error_count() > before {
        return;
    }
    let is_v6 = address.text().contains(':');
    if is_v6 != (address_type == "IPv6") {
        all.invalid_value(address.text(), format!("must be an {address_type} address"));
    }
    rules::endpoint_ip(address);
}

fn fully_qualified(name: &Node<'_>) {
    if !name.require() {
        return;
    }
    let text = name.text().strip_suffix('.').unwrap_or(name.text());
    let errors = syntax::is_dns1123_subdomain(text);
    if !errors.is_empty() {
        name.invalid_value(text, errors.join(","));
    } else if !text.contains('.') {
        name.invalid_value(text, "should be a domain with at least two segments separated by dots");
    }
}

fn hint_names(hints: &Node<'_>, syntax: fn(&str) -> Vec<String>) {
    if hints.len() > MAX_HINTS {
        return hints.too_many(MAX_HINTS);
    }
    rules::unique(hints, "name");
    for hint in hints.items() {
        hint.get("name").syntax(syntax);
    }
}

pub fn slice_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("AddressType", "The kind of the addresses.", |slice, _| text(slice, "addressType").into()),
        columns::text("Ports", "The ports.", |slice, _| {
            let shown = |port: &Value| match (&port["port"], port["name"].as_str()) {
                (Value::Null, name) => name.unwrap_or("*").to_owned(),
                (number, _) => number.to_string(),
            };
            let ports: Vec<String> = elements(&slice["ports"]).iter().map(shown).collect();
            three_or_unset(&ports)
        }),
        columns::text("Endpoints", "The addresses.", |slice, _| {
            let addresses = elements(&slice["endpoints"]).iter().flat_map(|endpoint| texts(&endpoint["addresses"]));
            three_or_unset(&addresses.map(str::to_owned).collect::<Vec<_>>())
        }),
        columns::age(),
    ]
}

fn three_or_unset(list: &[String]) -> Value {
    if list.is_empty() { "<unset>".into() } else { at_most_three(list).into() }
}
