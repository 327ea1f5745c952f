//! What a manager applied before and no longer applies goes, unless others own it.

use std::borrow::Cow;

use serde_json::Value;

use super::Write;
use super::invalid::Invalid;
use super::managed::Entry;
use super::merge::remove_items;
use super::schema::Schema;
use super::set::{add_named, set_of};
use crate::fields::FieldSet;
use crate::types::Type;

/// `merged` without what `last`, the manager's entry before this apply, owned alone. `entries` are all others and the
/// manager's new one.
pub(super) fn prune(merged: Value, last: &Entry, entries: &[Entry], write: &Write<'_>) -> Result<Value, Invalid> {
    if still_owned(last, entries) {
        return Ok(merged);
    }
    let Some((merged_then, of)) = write.convert(&merged, &last.api_version) else { return Ok(merged) };
    let then = Write { of, api_version: &last.api_version, ..*write };
    let last_fields = named(last.fields.clone(), of);
    let mut pruned = merged_then.clone().into_owned();
    remove_items(&mut pruned, &last_fields, of);
    for (api_version, owned) in owned_by_version(entries, &last.api_version) {
        pruned = give_back(&merged_then, pruned, api_version, owned, &then)?;
    }

    // The removal has taken along what nobody owns, or somebody by updates: only this manager's own fields go.
    let mut gone = present(&merged_then, of)?;
    gone.subtract(&present(&pruned, of)?);
    gone.intersect(&last_fields);
    let mut result = merged_then.into_owned();
    remove_items(&mut result, &gone, of);
    Ok(convert_back(result, write, &last.api_version))
}

/// Whether the entries that own fields in the same version own all of `last` still, so that nothing can go.
fn still_owned(last: &Entry, entries: &[Entry]) -> bool {
    let mut given_up = last.fields.clone();
    for entry in entries.iter().filter(|entry| entry.api_version == last.api_version) {
        given_up.subtract(&entry.fields);
    }
    given_up.is_empty()
}

/// All that is owned, by version; `first` comes first, since other versions may need its fields to be converted to.
fn owned_by_version<'e>(entries: &'e [Entry], first: &str) -> Vec<(&'e str, FieldSet)> {
    let mut versions: Vec<(&str, FieldSet)> = Vec::new();
    for entry in entries {
        match versions.iter_mut().find(|(version, _)| *version == entry.api_version) {
            Some((_, owned)) => owned.extend(entry.fields.clone()),
            None => versions.push((&entry.api_version, entry.fields.clone())),
        }
    }
    versions.sort_by_key(|(version, _)| (*version != first, *version));
    versions
}

/// Puts back into `pruned` what is owned in a version. Both documents are of the version of `write`.
fn give_back(
    merged: &Value,
    pruned: Value,
    api_version: &str,
    owned: FieldSet,
    write: &Write<'_>,
) -> Result<Value, Invalid> {
    let Some((merged, of)) = write.convert(merged, api_version) else { return Ok(pruned) };
    let Some((converted, _)) = write.convert(&pruned, api_version) else { return Ok(pruned) };
    let mut gone = present(&merged, of)?;
    gone.subtract(&present(&converted, of)?);
    gone.subtract(&named(owned, of));
    let mut result = merged.into_owned();
    remove_items(&mut result, &gone, of);
    Ok(convert_back(result, write, api_version))
}

/// `document`, of version `from`, in the version of `write`.
fn convert_back(document: Value, write: &Write<'_>, from: &str) -> Value {
    if from == write.api_version {
        return document;
    }
    match write.versions.convert(&document, from, write.api_version) {
        Some((Cow::Owned(converted), _)) => converted,
        _ => document,
    }
}

fn present(document: &Value, of: Type<'_>) -> Result<FieldSet, Invalid> {
    Ok(named(set_of(document, of)?, of))
}

fn named(mut set: FieldSet, of: Type<'_>) -> FieldSet {
    add_named(&mut set, Schema::Typed(of));
    set
}
