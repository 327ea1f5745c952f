//! The addresses of a service: `clusterIP`, `clusterIPs`, `ipFamilies`, and how they hang together.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    super::{
        check::{Node, elements, is_empty, text, texts},
        edit,
    },
    kind,
};
use crate::{field::FieldError, syntax};

const NONE: &str = "None";
const ONCE: &str = "may not change once set";

pub fn is_headless(object: &Value) -> bool {
    matches!(elements(&object["spec"]["clusterIPs"]), [only] if only == NONE)
}

/// Old clients say `clusterIP` alone.
pub fn fill_list(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    let address = spec["clusterIP"].clone();
    if !is_empty(&address) && is_empty(&spec["clusterIPs"]) {
        edit::set(spec, "clusterIPs", json!([address]));
    }
}

/// What was allocated need not be said again.
pub fn keep(new: &mut Value, old: &Value) {
    if kind(old) == "ExternalName" || kind(new) == "ExternalName" {
        return;
    }
    let Some(spec) = new.get_mut("spec") else { return };
    for field in ["clusterIP", "clusterIPs"] {
        if is_empty(&spec[field]) && !is_empty(&old["spec"][field]) {
            edit::set(spec, field, old["spec"][field].clone());
        }
    }
}

/// Follows a change of `clusterIP` in the list, where the client left that alone.
pub fn synchronize(new: &mut Value, old: &Value) {
    let old = &old["spec"];
    let Some(spec) = new.get_mut("spec") else { return };
    let (address, old_address) = (text(spec, "clusterIP").to_owned(), text(old, "clusterIP"));
    if !is_empty(&old["clusterIPs"]) && is_empty(&spec["clusterIPs"]) && address == old_address {
        edit::set(spec, "clusterIPs", old["clusterIPs"].clone());
    }
    if address == old_address || spec["clusterIPs"] != old["clusterIPs"] {
        return;
    }
    if address.is_empty() {
        edit::remove(spec, "clusterIPs");
    } else {
        edit::set(spec, "clusterIPs", json!([address]));
    }
}

pub fn validate(spec: &Node<'_>) {
    if spec.value["type"] == "ExternalName" {
        return;
    }
    let (address, list, families) = (spec.get("clusterIP"), spec.get("clusterIPs"), spec.get("ipFamilies"));
    match (address.is_empty(), elements(list.value)) {
        (false, []) => list.required(""),
        (false, [first, ..]) if first != address.value => list.invalid("first value must match `clusterIP`"),
        (true, [_, ..]) => list.invalid("must be empty when `clusterIP` is not specified"),
        _ => {}
    }
    let mut seen: HashSet<&Value> = HashSet::new();
    for (index, family) in elements(families.value).iter().enumerate() {
        families.index(index).word(&["IPv4", "IPv6"]);
        if !seen.insert(family) {
            families.index(index).duplicate();
        }
    }
    spec.get("ipFamilyPolicy").optional_word(&["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let before = list.error_count();
    for (index, address) in list.items().enumerate() {
        if index > 0 || address.text() != NONE {
            address.syntax(syntax::is_ip);
        } else if list.len() > 1 {
            list.invalid("'None' must be the first and only value");
        }
    }
    let are_well_formed = list.error_count() == before;
    if list.len() > 2 {
        list.invalid("may only hold up to 2 values");
    }
    if !are_well_formed {
        return;
    }
    let v6 = texts(list.value).filter(|address| is_v6(address)).count();
    if list.len() > 1 && (v6 == 0 || v6 == list.len()) {
        list.invalid("may specify no more than one IP for each IP family");
    }
    for (index, (address, family)) in texts(list.value).zip(texts(families.value)).enumerate() {
        let expected = if is_v6(address) { "IPv6" } else { "IPv4" };
        if address != NONE && matches!(family, "IPv4" | "IPv6") && family != expected {
            let message = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            list.index(index).invalid(message);
        }
    }
}

fn is_v6(address: &str) -> bool {
    address.contains(':')
}

/// Addresses and families may be added and taken away at the end, but not changed.
pub fn validate_update(spec: &Node<'_>, new: &Value, old: &Value) {
    if kind(new) == "ExternalName" || kind(old) == "ExternalName" {
        return;
    }
    let (was_headless, is_headless) = (is_headless(old), is_headless(new));
    if !(was_headless && is_headless) {
        let unset = "primary clusterIP can not be unset";
        unchanged(
            spec,
            old,
            "clusterIPs",
            unset,
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
        );
    }
    if !was_headless && !is_headless {
        let unset = "primary ipFamily can not be unset";
        unchanged(spec, old, "ipFamilies", unset, "must be set to 'SingleStack' when releasing the secondary ipFamily");
    }
}

fn unchanged(spec: &Node<'_>, old: &Value, field: &str, unset: &str, release: &str) {
    let list = spec.get(field);
    let (new, old) = (elements(list.value), elements(&old["spec"][field]));
    let refuse = |index: usize, message: &str| {
        let value = Value::from(new.to_vec());
        list.index(index).push(FieldError::invalid(list.index(index).path(), value, message));
    };
    if new.len() == old.len() {
        for index in (0..new.len()).filter(|&index| new[index] != old[index]) {
            refuse(if field == "clusterIPs" { index } else { 0 }, ONCE);
        }
        return;
    }
    match (new.first(), old.first()) {
        (None, Some(_)) => refuse(0, unset),
        (Some(new), Some(old)) if new != old => refuse(0, ONCE),
        _ => {}
    }
    let policy = spec.get("ipFamilyPolicy");
    if new.len() < old.len() && new.len() == 1 && policy.text() != "SingleStack" {
        policy.invalid(release);
    }
}
