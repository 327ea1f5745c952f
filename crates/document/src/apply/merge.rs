//! Merging an applied configuration into a live document, and taking fields out of a document.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::invalid::Invalid;
use super::schema::{Fields, Form, Items, Schema};
use super::set::element_at;
use crate::fields::{Element, FieldSet};
use crate::types::Type;

/// Sets in `live` what `applied` says, and leaves alone what it does not mention.
pub fn merge(live: &mut Value, applied: &Value, of: Type<'_>) -> Result<(), Invalid> {
    merge_value(live, applied, Schema::Typed(of))
}

/// Takes the members of `set` out of `value`. What held them stays, if only empty.
pub fn remove_items(value: &mut Value, set: &FieldSet, of: Type<'_>) {
    remove(value, set, Schema::Typed(of));
}

fn merge_value(live: &mut Value, applied: &Value, schema: Schema<'_>) -> Result<(), Invalid> {
    let form = schema.form(applied);
    match (form, &mut *live, applied) {
        _ if form.is_leaf() => {}
        (Form::List(items), Value::Array(list), Value::Array(with)) if !list.is_empty() && !with.is_empty() => {
            *list = merge_items(std::mem::take(list), with, items)?;
            return Ok(());
        }
        (Form::Map(fields), Value::Object(map), Value::Object(with)) => return merge_fields(map, with, fields),
        // Emptiness says nothing about what others have put there.
        (Form::List(_), Value::Array(list), Value::Array(_) | Value::Null) if !list.is_empty() => return Ok(()),
        (Form::Map(_), Value::Object(map), Value::Null) if !map.is_empty() => return Ok(()),
        _ => {}
    }
    applied.clone_into(live);
    Ok(())
}

fn merge_fields(
    live: &mut Map<String, Value>,
    applied: &Map<String, Value>,
    fields: Fields<'_>,
) -> Result<(), Invalid> {
    for (name, value) in applied {
        match live.get_mut(name) {
            Some(live) => merge_value(live, value, fields.any_child(name).schema)
                .map_err(|invalid| invalid.below(&Element::field(name)))?,
            None => {
                live.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// The items of both lists: the applied ones in the order applied, each of the others after what it came after.
///
/// Items of the live list that cannot be told apart stay as they are, unless one applied replaces them all.
fn merge_items(live: Vec<Value>, applied: &[Value], items: Items<'_>) -> Result<Vec<Value>, Invalid> {
    let elements = |list: &[Value]| -> Result<Vec<Element>, Invalid> {
        list.iter().enumerate().map(|(index, item)| element_at(index, item, items)).collect()
    };
    let (live_elements, applied_elements) = (elements(&live)?, elements(applied)?);
    let of_applied: BTreeSet<&Element> = applied_elements.iter().collect();

    // Live items that are applied too wait here for their turn; doubles give way.
    let mut shared: BTreeMap<&Element, Option<Value>> = BTreeMap::new();
    let mut others: VecDeque<(&Element, Option<Value>)> = VecDeque::with_capacity(live.len());
    for (element, item) in live_elements.iter().zip(live) {
        if of_applied.contains(element) {
            shared.entry(element).and_modify(|double| *double = None).or_insert(Some(item));
            others.push_back((element, None));
        } else {
            others.push_back((element, Some(item)));
        }
    }

    let mut merged = Vec::with_capacity(others.len() + applied.len());
    let mut turns: VecDeque<&Element> =
        applied_elements.iter().filter(|element| shared.contains_key(element)).collect();
    for (element, item) in applied_elements.iter().zip(applied) {
        while let Some((_, other)) = others.pop_front_if(|(other, _)| turns.front() != Some(other)) {
            // When all that is shared has had its turn, this is a double of one: as Kubernetes does, go on after it.
            let double = other.is_none() && turns.is_empty();
            merged.extend(other);
            if double {
                break;
            }
        }
        let mut value = match shared.remove(element) {
            Some(live) => {
                turns.pop_front();
                others.pop_front_if(|(other, _)| *other == element);
                live.unwrap_or_default()
            }
            None => Value::Null,
        };
        merge_value(&mut value, item, items.schema).map_err(|invalid| invalid.below(element))?;
        merged.push(value);
    }
    merged.extend(others.into_iter().filter_map(|(_, other)| other));
    Ok(merged)
}

fn remove(value: &mut Value, set: &FieldSet, schema: Schema<'_>) {
    let form = schema.form(value);
    match (form, value) {
        _ if set.is_empty() || form.is_leaf() => {}
        (Form::Map(fields), Value::Object(map)) => {
            map.retain(|name, value| {
                let Some(node) = set.get(&Element::field(name)) else { return true };
                if !node.member {
                    remove(value, &node.below, fields.any_child(name).schema);
                }
                !node.member
            });
        }
        (Form::List(items), Value::Array(list)) => {
            list.retain_mut(|item| {
                let Some(node) = items.element(item).ok().and_then(|element| set.get(&element)) else { return true };
                if !node.member {
                    remove(item, &node.below, items.schema);
                }
                !node.member
            });
        }
        _ => {}
    }
}
