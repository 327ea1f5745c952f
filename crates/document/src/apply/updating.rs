//! Ownership after a create, an update or a patch: whoever changes a field owns it.

use serde_json::{Map, Value, json};

use super::Write;
use super::invalid::Invalid;
use super::managed::{self, Entry, Operation};
use super::ownership::{Change, managed_changes, reconcile, strip_unmanaged};
use crate::fields::v1_subtract;
use crate::types::{Shape, Type};

/// How deep the objects that a kind always has may lie in each other.
const MAX_SKELETON_DEPTH: u8 = 16;

/// Sets the managed fields of `new`, which takes the place of `live` (none: it is created).
///
/// `new` holds the managed fields that the client sent. Without any, those of `live` stand; `[]` or `[{}]` ends the
/// management of the object; what cannot be read counts as not sent. `live` is as it was stored: with a uid.
pub fn update(live: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let given = take_managed_fields(new);
    let stored = live.and_then(managed_fields);
    let live = live.filter(|live| has_uid(live));

    let skeleton;
    let old = match live {
        Some(live) => live,
        None => {
            skeleton = skeleton_of(write.of, MAX_SKELETON_DEPTH);
            &skeleton
        }
    };
    // A document that cannot be compared has nobody's fields in it.
    let Ok(changes) = managed_changes(old, new, write) else { return };
    let same = given.as_ref() == stored;
    let edit = given.as_ref().filter(|_| !same && write.subresource.is_empty());
    if edit.is_none() && changes.is_empty() {
        set_managed_fields(new, if same { given } else { stored.cloned() });
        return;
    }
    let managed = match edit {
        Some(edit) => Some((Vec::new(), edited(edit, stored))).filter(|(_, entries)| !entries.is_empty()),
        None => {
            let current = if same { given } else { stored.cloned() };
            let disown = |fields: &mut Map<_, _>| changes.sets().iter().for_each(|set| v1_subtract(fields, set));
            current.and_then(|current| managed::split(current, write, disown).ok())
        }
    };
    // An object is managed from its creation on or from the first apply.
    if managed.is_none() && live.is_some() {
        return;
    }
    let (apart, entries) = managed.unwrap_or_default();
    let entries = pass_on(entries, Change::new(old, new, changes, write), old, write);
    set_managed_fields(new, entries.ok().and_then(|entries| managed::encode(entries, apart)));
}

/// The entries that a client sent, or those stored where it sent none that can be read.
fn edited(given: &Value, stored: Option<&Value>) -> Vec<Entry> {
    if is_reset(given) {
        return Vec::new();
    }
    match managed::decode(Some(given)) {
        Ok(entries) if !entries.is_empty() => entries,
        _ => managed::decode(stored).unwrap_or_default(),
    }
}

/// The entries after a change by `write`.
fn pass_on(
    mut entries: Vec<Entry>,
    mut change: Change<'_>,
    old: &Value,
    write: &Write<'_>,
) -> Result<Vec<Entry>, Invalid> {
    reconcile(&mut entries, old, write);
    change.disown(&mut entries)?;
    let changes = change.into_changes();
    let mut entry = Entry::new(write, Operation::Update);
    entry.fields = changes.added;
    entry.fields.extend(changes.modified);
    if !entry.fields.is_empty() {
        if let Some(before) = managed::take(&mut entries, &entry) {
            entry.fields.extend(before.fields);
        }
        entries.push(entry);
    }
    managed::cap_updaters(&mut entries);
    Ok(entries)
}

/// The entry of the fields that an object has before it is first applied.
pub(super) fn before_first_apply(live: &Value, write: &Write<'_>) -> Result<Vec<Entry>, Invalid> {
    let skeleton = skeleton_of(write.of, MAX_SKELETON_DEPTH);
    let changes = managed_changes(&skeleton, live, write)?;
    let mut entry = Entry::new(&Write { manager: "before-first-apply", ..*write }, Operation::Update);
    entry.fields = changes.added;
    entry.fields.extend(changes.modified);
    strip_unmanaged(&mut entry.fields);
    Ok(if entry.fields.is_empty() { Vec::new() } else { vec![entry] })
}

/// Where `new` differs from `old` in nothing but the times of its managed fields, gives it those of `old`, so that
/// there is nothing to write.
pub fn keep_times(old: &Value, new: &mut Value) {
    let (Some(Value::Array(before)), Some(Value::Array(after))) = (managed_fields(old), managed_fields(new)) else {
        return;
    };
    let timeless = |entry: &Value| entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "time").count();
    let same_entry = |a: &Value, b: &Value| {
        let same = |(name, value): (&String, &Value)| name == "time" || b.get(name) == Some(value);
        timeless(a) == timeless(b) && a.as_object().into_iter().flatten().all(same)
    };
    let same_entries = before.len() == after.len() && before.iter().zip(after).all(|(a, b)| same_entry(a, b));
    if same_entries && before != after && same_but(old, new, &["metadata", "managedFields"]) {
        let before = Value::Array(before.clone());
        set_managed_fields(new, Some(before));
    }
}

/// Whether two documents are equal apart from what is at `path`.
fn same_but(a: &Value, b: &Value, path: &[&str]) -> bool {
    let (Value::Object(a), Value::Object(b), [first, rest @ ..]) = (a, b, path) else { return true };
    a.len() == b.len()
        && a.iter().all(|(name, value)| match b.get(name) {
            Some(other) if name == first => same_but(value, other, rest),
            other => other == Some(value),
        })
}

/// What every object of a type has: the objects that are a part of it, and what is written even as null. These are
/// there from the start, so nobody owns that they exist.
fn skeleton_of(of: Type<'_>, depth: u8) -> Value {
    let mut skeleton = Map::new();
    if let (Shape::Object(object), 1..) = (of.shape(), depth) {
        for field in &object.fields {
            let inner = of.of(field.id);
            if field.always_there {
                skeleton.insert(field.name.to_string(), skeleton_of(inner, depth - 1));
            } else if !field.omit_empty && matches!(inner.shape(), Shape::List(_)) {
                skeleton.insert(field.name.to_string(), Value::Null);
            }
        }
    }
    Value::Object(skeleton)
}

pub(super) fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields").filter(|entries| !entries.is_null())
}

pub(super) fn set_managed_fields(object: &mut Value, entries: Option<Value>) {
    if let Some(entries) = entries
        && let Value::Object(object) = object
        && let Value::Object(metadata) = object.entry("metadata").or_insert_with(|| json!({}))
    {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

pub(super) fn take_managed_fields(object: &mut Value) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("managedFields").filter(|entries| !entries.is_null())
}

fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

fn has_uid(object: &Value) -> bool {
    object["metadata"]["uid"].as_str().is_some_and(|uid| !uid.is_empty())
}
