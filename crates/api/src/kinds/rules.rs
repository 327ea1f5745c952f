//! Rules and preparations that the kinds outside of workloads share.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    check::{Node, elements, is_empty, semantically_equal, text},
    columns, edit,
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    metadata,
    resource::Column,
    syntax,
};

pub fn labels(node: &Node<'_>) {
    node.with(metadata::validate_labels);
}

pub fn label_selector(node: &Node<'_>) {
    node.with(metadata::validate_label_selector);
}

/// Takes a field from the old object.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    match &old[field] {
        Value::Null => edit::remove(new, field),
        value => edit::set(new, field, value.clone()),
    }
}

pub fn keep_status(new: &mut Value, old: &Value) {
    keep(new, old, "status");
}

/// What a client may not say at creation.
/// A new object says nothing of its status; the field is there all the same, for JSON patches to add to.
pub fn drop_status(object: &mut Value) {
    edit::set(object, "status", json!({}));
}

/// Refuses the second of two items with the same `field`; a missing one is left to others.
pub fn unique(list: &Node<'_>, field: &str) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let value = &item.value[field];
        if !is_empty(value) && !seen.insert(value) {
            item.get(field).push(FieldError::duplicate(item.get(field).path(), value.clone()));
        }
    }
}

/// Refuses the second of two equal items.
pub fn distinct(list: &Node<'_>) {
    let mut seen = HashSet::new();
    for (index, item) in elements(list.value).iter().enumerate() {
        if !seen.insert(item) {
            list.index(index).duplicate();
        }
    }
}

pub fn value_at<'a>(object: &'a Value, dotted: &str) -> &'a Value {
    dotted.split('.').fold(object, |value, field| &value[field])
}

/// Refuses changes of the fields at dotted paths.
pub fn immutable(new: &Value, old: &Value, dotted: &[&str], errors: &mut FieldErrors) {
    for path in dotted {
        let (new, old) = (value_at(new, path), value_at(old, path));
        if !semantically_equal(new, old) {
            errors.push(FieldError::invalid(&Path::new(path), new.clone(), super::check::IMMUTABLE));
        }
    }
}

/// Sets a field where it is missing or empty.
pub fn fill_empty(object: &mut Value, field: &str, value: impl Into<Value>) {
    if is_empty(&object[field]) {
        edit::set(object, field, value);
    }
}

pub fn path_segment(text: &str) -> Vec<String> {
    syntax::is_path_segment(text, false)
}

/// `kind` and `name` of a reference.
pub fn kind_and_name(reference: &Node<'_>) {
    reference.get("kind").required_syntax(path_segment);
    reference.get("name").required_syntax(path_segment);
}

/// A host name that is not an address.
pub fn not_an_ip(host: &Node<'_>) {
    if syntax::parse_ip(host.text()).is_some() {
        host.invalid("must be a DNS name, not an IP address");
    }
}

/// The addresses in a load balancer's status.
pub fn load_balancer_ingress(ingress: &Node<'_>) {
    for point in ingress.items() {
        point.get("ip").optional_syntax(syntax::is_ip);
        point.get("hostname").optional_syntax(syntax::is_dns1123_subdomain);
        not_an_ip(&point.get("hostname"));
    }
}

/// What clients reach through a load balancer: `10.0.0.1,lb.example.com`.
pub fn load_balancer_addresses(object: &Value) -> String {
    let mut addresses: Vec<&str> = super::check::elements(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|point| if text(point, "ip").is_empty() { text(point, "hostname") } else { text(point, "ip") })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

/// An address that endpoints may have.
pub fn endpoint_ip(node: &Node<'_>) {
    let Some(address) = syntax::parse_ip(node.text()) else { return node.invalid("must be a valid IP address") };
    if address.is_unspecified() {
        node.invalid(format!("may not be unspecified ({})", node.text()));
    }
    if address.is_loopback() {
        node.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (local, local_multicast) = match address {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if local {
        node.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        node.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// A number or a name, as a port of pods.
pub fn port_number_or_name(port: &Node<'_>) {
    if port.value.is_string() {
        port.syntax(syntax::is_port_name);
    } else {
        port.in_range(1, 65535);
    }
}

/// The name of a CSI driver or attacher.
pub fn csi_driver_name(name: &Node<'_>) {
    if !name.require() {
        return;
    }
    if name.text().len() > 63 {
        name.too_long(63);
    }
    for error in syntax::is_dns1123_subdomain(&name.text().to_lowercase()) {
        name.invalid(error);
    }
}

/// The name of an object, and whether the annotation makes it the default of its kind.
pub fn name_or_default(object: &Value, annotation: &str) -> Value {
    let metadata = &object["metadata"];
    let suffix = if metadata["annotations"][annotation] == "true" { " (default)" } else { "" };
    format!("{}{suffix}", text(metadata, "name")).into()
}

/// The columns of kinds that have none of their own: roles, limit ranges.
pub fn created_at_columns() -> Vec<Column> {
    let created = columns::text("Created At", "When the object was made.", |object, _| {
        object["metadata"]["creationTimestamp"].clone()
    });
    vec![columns::name(), Column { kind: "date".into(), ..created }]
}

pub fn name_and_age_columns() -> Vec<Column> {
    vec![columns::name(), columns::age()]
}
