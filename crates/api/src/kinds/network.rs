//! NetworkPolicies, and the address ranges and addresses of services.

use serde_json::Value;

use super::{
    check::{Node, check, elements, is_empty, text, texts},
    columns, edit, rules,
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

pub const POLICY: Strategy = Strategy {
    default: default_policy,
    validate: |object, errors| check(object, errors, validate_policy),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn default_policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for direction in ["ingress", "egress"] {
        for port in edit::each_mut(spec, direction).flat_map(|rule| edit::each_mut(rule, "ports")) {
            edit::fill(port, "protocol", "TCP");
        }
    }
    if is_empty(&spec["policyTypes"]) {
        let has_egress = !is_empty(&spec["egress"]);
        edit::set(spec, "policyTypes", if has_egress { vec!["Ingress", "Egress"] } else { vec!["Ingress"] });
    }
}

fn validate_policy(root: &Node<'_>) {
    let spec = root.get("spec");
    rules::label_selector(&spec.get("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).items() {
            rule.get("ports").items().for_each(|port| validate_port(&port));
            rule.get(peers).items().for_each(|peer| validate_peer(&peer));
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        return types.invalid("may not specify more than two policyTypes");
    }
    for (index, kind) in elements(types.value).iter().enumerate() {
        if kind != "Ingress" && kind != "Egress" {
            types.index(index).not_supported(&["Ingress", "Egress"]);
        }
    }
}

fn validate_port(rule: &Node<'_>) {
    let (protocol, port, end) = (rule.get("protocol"), rule.get("port"), rule.get("endPort"));
    if protocol.is_set() && !rules::PROTOCOLS.contains(&protocol.text()) {
        protocol.not_supported(&["TCP", "UDP", "SCTP"]);
    }
    match port.value {
        Value::Null if end.is_set() => end.invalid("may not be specified when `port` is not specified"),
        Value::Null => {}
        Value::String(_) => {
            if end.is_set() {
                end.invalid("may not be specified when `port` is non-numeric");
            }
            port.syntax(syntax::is_port_name);
        }
        _ => {
            port.in_range(1, 65535);
            if end.is_set() {
                if end.integer() < port.integer() {
                    end.showing(port.value).invalid("must be greater than or equal to `port`");
                }
                end.in_range(1, 65535);
            }
        }
    }
}

fn validate_peer(peer: &Node<'_>) {
    let block = peer.get("ipBlock");
    let selectors = ["podSelector", "namespaceSelector"];
    let count = selectors.iter().filter(|field| peer.get(field).is_set()).count();
    for field in selectors {
        rules::label_selector(&peer.get(field));
    }
    if block.is_set() {
        validate_block(&block);
        if count > 0 {
            peer.forbidden("may not specify both ipBlock and another peer");
        }
    } else if count == 0 {
        peer.required("must specify a peer");
    }
}

fn validate_block(block: &Node<'_>) {
    let range = block.get("cidr");
    if !range.require() {
        return;
    }
    range.syntax(syntax::is_cidr);
    let Some((outer, outer_length)) = syntax::parse_cidr(range.text()) else { return };
    for except in block.get("except").items() {
        except.syntax(syntax::is_cidr);
        let Some((inner, inner_length)) = syntax::parse_cidr(except.text()) else { continue };
        let same_family = outer.is_ipv4() == inner.is_ipv4();
        let contains = same_family && syntax::mask(inner, outer_length) == syntax::mask(outer, outer_length);
        if !contains || outer_length >= inner_length {
            except.invalid("must be a strict subset of `cidr`");
        }
    }
}

pub fn policy_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Pod-Selector", "The pods it is about.", |object, _| {
            columns::selector(&object["spec"]["podSelector"]).into()
        }),
        columns::age(),
    ]
}

pub const SERVICE_CIDR: Strategy = Strategy {
    prepare_create: rules::drop_status,
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, validate_ranges),
    validate_update: validate_ranges_update,
    ..Strategy::DEFAULT
};

fn validate_ranges(root: &Node<'_>) {
    let spec = root.get("spec");
    let ranges = spec.get("cidrs");
    match ranges.len() {
        0 => return ranges.required("at least one CIDR required"),
        1 | 2 => {}
        _ => return ranges.invalid_value(spec.value.clone(), "may only hold up to 2 values"),
    }
    for range in ranges.items() {
        range.syntax(syntax::is_canonical_cidr);
    }
    let families: Vec<bool> =
        texts(ranges.value).filter_map(syntax::parse_cidr).map(|(address, _)| address.is_ipv4()).collect();
    if matches!(families[..], [first, second] if first == second) {
        let message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        ranges.invalid(message);
    }
}

/// A second range may be added.
fn validate_ranges_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        let spec = root.get("spec");
        let ranges = spec.get("cidrs");
        let old = elements(&old["spec"]["cidrs"]);
        if ranges.len() != old.len() && !(old.len() == 1 && ranges.len() == 2) {
            return ranges.invalid(super::check::IMMUTABLE);
        }
        for (index, old) in old.iter().enumerate() {
            ranges.index(index).immutable(old);
        }
    });
}

pub fn service_cidr_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("CIDRs", "The ranges that services get their addresses from.", |object, _| {
            texts(&object["spec"]["cidrs"]).collect::<Vec<_>>().join(",").into()
        }),
        columns::age(),
    ]
}

pub const IP_ADDRESS: Strategy = Strategy {
    validate: validate_address,
    validate_update: |new, old, errors| rules::immutable(new, old, &["spec.parentRef"], errors),
    name: NameRule::PathSegment,
    ..Strategy::DEFAULT
};

fn validate_address(object: &Value, errors: &mut FieldErrors) {
    let name = text(&object["metadata"], "name");
    for error in syntax::is_canonical_ip(name) {
        errors.push(FieldError::invalid(&Path::new("metadata.name"), name, error));
    }
    check(object, errors, |root| {
        let spec = root.get("spec");
        let parent = spec.get("parentRef");
        if !parent.is_set() {
            return parent.required("");
        }
        parent.get("group").optional_syntax(syntax::is_dns1123_subdomain);
        parent.get("resource").required_syntax(rules::path_segment);
        parent.get("name").required_syntax(rules::path_segment);
        parent.get("namespace").optional_syntax(rules::path_segment);
    });
}

pub fn ip_address_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("ParentRef", "The object that has the address.", |object, _| {
            let parent = &object["spec"]["parentRef"];
            let join =
                |prefix: &str, part: &str| if part.is_empty() { String::new() } else { format!("{prefix}{part}") };
            let resource = format!("{}{}", text(parent, "resource"), join(".", text(parent, "group"))).to_lowercase();
            match parent {
                Value::Null => columns::NONE.into(),
                _ => format!("{resource}{}/{}", join("/", text(parent, "namespace")), text(parent, "name")).into(),
            }
        }),
    ]
}
