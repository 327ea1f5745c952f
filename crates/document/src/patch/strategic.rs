//! Strategic merge patch: a merge patch that knows from types how lists merge, with directives.
//!
//! | directive | means |
//! |---|---|
//! | `$patch: replace` in an object | the patch is the object |
//! | `$patch: delete` in an object | the object is emptied; as an item of a list, removed from it |
//! | `$patch: replace` as an item | the other items are the list |
//! | `$retainKeys: [a, b]` | fields not listed are removed first |
//! | `$setElementOrder/list: […]` | the order of the list afterwards |
//! | `$deleteFromPrimitiveList/list: […]` | these values are removed |

mod order;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{PatchError, Shown, merge::drop_nulls};
use crate::{
    Type,
    types::{ListPatch, ObjectPatch, Shape},
};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";

const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_ELEMENT_ORDER: &str = "invalid patch format of setElementOrder list";

type Fields = Map<String, Value>;

/// Merges `patch` into `document` as the document's type says.
pub fn apply(document: &mut Value, patch: Value, of: Type<'_>) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else {
        return Err(malformed("invalid JSON document"));
    };
    if !document.is_object() {
        *document = Value::Object(Fields::new());
    }
    let Value::Object(fields) = document else { return Ok(()) };
    merge_object(fields, patch, Some(of))
}

fn malformed(message: impl Into<String>) -> PatchError {
    PatchError::Malformed(message.into())
}

fn inapplicable(message: impl Into<String>) -> PatchError {
    PatchError::Inapplicable(message.into())
}

/// How a field merges, and the type of its value; nothing is known within untyped values.
fn child<'a>(of: Option<Type<'a>>, name: &str) -> (ObjectPatch, Option<Type<'a>>) {
    let Some(of) = of else { return (ObjectPatch::Merge, None) };
    match of.shape() {
        Shape::Object(object) => match object.field(name) {
            Some(field) => (field.patch, Some(of.of(field.id))),
            None => (ObjectPatch::Merge, object.additional.map(|id| of.of(id))),
        },
        Shape::Map(map) => (ObjectPatch::Merge, Some(of.of(map.value))),
        _ => (ObjectPatch::Merge, None),
    }
}

/// How a list merges, and the type of its items.
fn list_patch<'a>(of: Option<Type<'a>>) -> (&'a ListPatch, Option<Type<'a>>) {
    match of.map(|of| (of, of.shape())) {
        Some((of, Shape::List(list))) => (&list.patch, Some(of.of(list.item))),
        _ => (&ListPatch::Replace, None),
    }
}

fn merge_object(fields: &mut Fields, mut patch: Fields, of: Option<Type<'_>>) -> Result<(), PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                *fields = patch;
            }
            Some("delete") => fields.clear(),
            _ => return Err(unknown_directive(directive, &Value::Object(patch.clone()))),
        }
        return Ok(());
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain_keys(fields, &patch, &keys)?;
    }
    set_element_orders(fields, &mut patch, of)?;
    for (name, change) in patch {
        match name.strip_prefix(DELETE_FROM_LIST) {
            Some(list) => {
                let list = list.strip_prefix('/').ok_or_else(|| malformed(BAD_PRIMITIVE_LIST))?;
                if let (Some(Value::Array(items)), Value::Array(removed)) = (fields.get_mut(list), &change) {
                    same_kind(items, removed)?;
                    let removed: HashSet<&Value> = removed.iter().collect();
                    items.retain(|item| !removed.contains(item));
                }
            }
            None if change.is_null() => {
                fields.remove(&name);
            }
            None => merge_field(fields, name, change, of)?,
        }
    }
    Ok(())
}

fn unknown_directive(directive: &Value, item: &Value) -> PatchError {
    inapplicable(format!("unknown patch type: {} in map: {}", Shown(directive), Shown(item)))
}

fn merge_field(fields: &mut Fields, name: String, change: Value, of: Option<Type<'_>>) -> Result<(), PatchError> {
    let (object_patch, of) = child(of, &name);
    match (fields.get_mut(&name), change) {
        (Some(Value::Object(current)), Value::Object(change)) if object_patch != ObjectPatch::Replace => {
            merge_object(current, change, of)?;
        }
        (Some(Value::Object(current)), Value::Object(change)) => *current = change,
        (Some(Value::Array(current)), Value::Array(change)) => {
            *current = merge_list(std::mem::take(current), change, of)?;
        }
        (_, change) => match fresh(change) {
            Some(value) => {
                fields.insert(name, value);
            }
            None => {
                fields.remove(&name);
            }
        },
    }
    Ok(())
}

/// What a patch adds where nothing was: without nulls and directives. An object that is itself a
/// directive adds nothing.
fn fresh(mut value: Value) -> Option<Value> {
    drop_nulls(&mut value);
    without_directives(&mut value).then_some(value)
}

/// Whether the value stays.
fn without_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) if fields.contains_key(PATCH) => return false,
        Value::Object(fields) => fields.retain(|name, child| !is_directive(name) && without_directives(child)),
        Value::Array(items) => items.retain_mut(without_directives),
        _ => {}
    }
    true
}

fn is_directive(name: &str) -> bool {
    name == RETAIN_KEYS || name.starts_with(SET_ELEMENT_ORDER) || name.starts_with(DELETE_FROM_LIST)
}

fn retain_keys(fields: &mut Fields, patch: &Fields, keys: &Value) -> Result<(), PatchError> {
    let keys = keys.as_array().ok_or_else(|| malformed(BAD_RETAIN_KEYS))?;
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let retained = |name: &str| keys.contains(name);
    for (name, change) in patch {
        let directive = name.starts_with(DELETE_FROM_LIST) || name.starts_with(SET_ELEMENT_ORDER);
        if !change.is_null() && !directive && !retained(name) {
            return Err(malformed(BAD_RETAIN_KEYS));
        }
    }
    fields.retain(|name, _| retained(name));
    Ok(())
}

/// Merges and orders the lists that have a `$setElementOrder`, and takes both from the patch.
fn set_element_orders(fields: &mut Fields, patch: &mut Fields, of: Option<Type<'_>>) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let wanted = match patch.remove(&directive) {
            Some(Value::Array(wanted)) => wanted,
            Some(other) => return Err(not_a_list(&other)),
            None => continue,
        };
        let name = directive[SET_ELEMENT_ORDER.len()..].strip_prefix('/');
        let name = name.ok_or_else(|| malformed(BAD_ELEMENT_ORDER))?;
        let current = take_list(fields, name)?;
        let change = take_list(patch, name)?;
        let (list, _) = list_patch(child(of, name).1);
        let key = match list {
            ListPatch::MergeByKey(key) => Some(&**key),
            _ => None,
        };
        order::validate(change.as_deref().unwrap_or_default(), &wanted, key)?;
        let live = current.clone().unwrap_or_default();
        let merged = match (current, change) {
            (None, None) => continue,
            (Some(current), None) => current,
            (None, Some(change)) => match fresh(Value::Array(change)) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            (Some(current), Some(change)) => merge_list(current, change, child(of, name).1)?,
        };
        let ordered = order::interleave(merged, &wanted, &live, key)?;
        fields.insert(name.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

fn take_list(fields: &mut Fields, name: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(not_a_list(&other)),
    }
}

fn not_a_list(found: &Value) -> PatchError {
    let found = match found {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        _ => "map[string]interface {}",
    };
    inapplicable(format!("expected a []interface {{}}, but received a {found}"))
}

fn merge_list(current: Vec<Value>, change: Vec<Value>, of: Option<Type<'_>>) -> Result<Vec<Value>, PatchError> {
    let (strategy, item) = list_patch(of);
    if *strategy == ListPatch::Replace {
        return Ok(change);
    }
    let Some(first) = current.iter().chain(&change).next() else { return Ok(current) };
    same_kind(&current, &change)?;
    match (strategy, first) {
        (ListPatch::MergeByKey(key), Value::Object(_)) => merge_items(current, change, key, item),
        (_, Value::Object(_)) => {
            let name = item.and_then(Type::name).unwrap_or_default();
            Err(inapplicable(format!("cannot merge lists without merge key for {name}")))
        }
        _ => {
            let live = current.clone();
            let mut merged = current;
            let mut seen: HashSet<Value> = HashSet::new();
            merged.extend(change.iter().cloned());
            merged.retain(|value| seen.insert(value.clone()));
            order::interleave(merged, &change, &live, None)
        }
    }
}

/// Lists merge where all their items are objects, or all are scalars of one kind.
fn same_kind(current: &[Value], change: &[Value]) -> Result<(), PatchError> {
    let mut items = current.iter().chain(change);
    let Some(first) = items.next() else { return Ok(()) };
    if first.is_array() {
        return Err(inapplicable("lists of lists are not supported"));
    }
    if items.any(|item| std::mem::discriminant(item) != std::mem::discriminant(first)) {
        let both = Value::Array(vec![current.into(), change.into()]);
        return Err(inapplicable(format!("list element types are not identical: {}", Shown(&both))));
    }
    Ok(())
}

/// Merges items with the same key; patched items come in the patch's order, the others keep theirs.
fn merge_items(
    mut current: Vec<Value>,
    change: Vec<Value>,
    key: &str,
    item: Option<Type<'_>>,
) -> Result<Vec<Value>, PatchError> {
    let mut replace = false;
    let mut removed = HashSet::new();
    let mut changes = Vec::with_capacity(change.len());
    for patch in change {
        let Some(directive) = patch.get(PATCH) else {
            changes.push(patch);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                removed.insert(key_of(&patch, key)?.clone());
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(inapplicable("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, &patch)),
        }
    }
    if !removed.is_empty() {
        current.retain(|item| item.get(key).is_none_or(|id| !removed.contains(id)));
    }
    if replace {
        current = std::mem::take(&mut changes);
    }
    let order_of = |items: &[Value]| -> Vec<Value> {
        items
            .iter()
            .map(|item| Value::Object(item.get(key).map(|id| (key.to_owned(), id.clone())).into_iter().collect()))
            .collect()
    };
    let (live, wanted) = (order_of(&current), order_of(&changes));
    let mut places: HashMap<Value, usize> = HashMap::with_capacity(current.len());
    for (index, item) in current.iter().enumerate() {
        if let Some(id) = item.get(key) {
            places.entry(id.clone()).or_insert(index);
        }
    }
    for patch in changes {
        let id = key_of(&patch, key)?;
        match places.get(id) {
            Some(&index) => {
                if let (Some(fields), Value::Object(patch)) = (current[index].as_object_mut(), patch) {
                    merge_object(fields, patch, item)?;
                }
            }
            None => {
                places.insert(id.clone(), current.len());
                current.extend(fresh(patch));
            }
        }
    }
    order::interleave(current, &wanted, &live, Some(key))
}

fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, PatchError> {
    item.get(key).ok_or_else(|| no_merge_key(item, key))
}

fn no_merge_key(item: &Value, key: &str) -> PatchError {
    inapplicable(format!("map: {} does not contain declared merge key: {key}", Shown(item)))
}
