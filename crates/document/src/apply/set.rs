//! Which fields a document has, and what a set of fields means under a type.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::invalid::Invalid;
use super::schema::{Fields, Form, Items, Schema};
use crate::fields::{Element, FieldSet};
use crate::types::Type;

/// All fields that `value` has: its leaves, the items of its lists and the keys of its maps.
pub fn set_of(value: &Value, of: Type<'_>) -> Result<FieldSet, Invalid> {
    Ok(visit(value, Schema::Typed(of))?.below)
}

/// Whether a value is a member of its parent's set, and what is one within it.
pub(super) struct Branch {
    member: bool,
    below: FieldSet,
}

fn visit(value: &Value, schema: Schema<'_>) -> Result<Branch, Invalid> {
    let form = schema.form(value);
    let below = match (form, value) {
        _ if form.is_leaf() => return Ok(Branch { member: true, below: FieldSet::default() }),
        (Form::List(items), Value::Array(list)) => visit_items(list, items)?,
        (Form::Map(fields), Value::Object(map)) => visit_fields(map, fields)?,
        _ => FieldSet::default(),
    };
    Ok(Branch { member: false, below })
}

fn visit_fields(map: &Map<String, Value>, fields: Fields<'_>) -> Result<FieldSet, Invalid> {
    let mut set = FieldSet::default();
    for (name, value) in map {
        let child = fields.any_child(name);
        let element = Element::field(name);
        let branch = visit(value, child.schema).map_err(|invalid| invalid.below(&element))?;
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.push(element, branch.member || empty || !child.named, branch.below);
    }
    Ok(set)
}

/// Items that cannot be told apart are owned together, without what is in them.
fn visit_items(list: &[Value], items: Items<'_>) -> Result<FieldSet, Invalid> {
    let mut set = FieldSet::default();
    for (element, same) in grouped(list, items)? {
        let below = match same[..] {
            [item] => visit(item, items.schema).map_err(|invalid| invalid.below(&element))?.below,
            _ => FieldSet::default(),
        };
        set.push(element, true, below);
    }
    Ok(set)
}

/// The items of a list by what tells them apart, in the order of the elements.
pub(super) fn grouped<'v>(list: &'v [Value], items: Items<'_>) -> Result<BTreeMap<Element, Vec<&'v Value>>, Invalid> {
    let mut groups: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for (index, item) in list.iter().enumerate() {
        groups.entry(element_at(index, item, items)?).or_default().push(item);
    }
    Ok(groups)
}

pub(super) fn element_at(index: usize, item: &Value, items: Items<'_>) -> Result<Element, Invalid> {
    items.element(item).map_err(|message| Invalid::new(format!("element {index}: {message}")))
}

/// Makes every field that the type names a member where something below it is one.
pub(super) fn add_named(set: &mut FieldSet, schema: Schema<'_>) {
    for node in set.nodes_mut() {
        if node.below.is_empty() {
            continue;
        }
        let child = schema.descend(&node.element);
        node.member |= child.named;
        add_named(&mut node.below, child.schema);
    }
}

/// Fits a set written under an earlier type: what has since become atomic is owned as a whole.
pub(super) fn close_atomic(set: &mut FieldSet, schema: Schema<'_>) {
    for node in set.nodes_mut() {
        if node.below.is_empty() {
            continue;
        }
        let child = schema.descend(&node.element).schema;
        if child.is_atomic() {
            node.member = true;
            node.below = FieldSet::default();
        } else {
            close_atomic(&mut node.below, child);
        }
    }
}
