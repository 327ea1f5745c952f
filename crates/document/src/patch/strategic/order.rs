//! The order of merged lists: what the patch names comes in the patch's order, what only the server has
//! keeps its order, and the two are interleaved as the live list had them.

use std::collections::HashMap;

use serde_json::Value;

use super::{PATCH, SET_ELEMENT_ORDER, inapplicable, no_merge_key};
use crate::patch::{PatchError, Shown};

/// What identifies an item: the value of its merge key, or a scalar itself.
fn identity<'v>(item: &'v Value, key: Option<&str>) -> Option<&'v Value> {
    match key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

fn positions<'v>(items: &'v [Value], key: Option<&str>) -> HashMap<&'v Value, usize> {
    let mut positions = HashMap::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if let Some(id) = identity(item, key) {
            positions.entry(id).or_insert(index);
        }
    }
    positions
}

/// Orders `merged`: items named in `wanted` as they are there, the rest as in `live`.
pub(super) fn interleave(
    merged: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let (wanted, live) = (positions(wanted, key), positions(live, key));
    let position = |positions: &HashMap<&Value, usize>, item: &Value| {
        identity(item, key).and_then(|id| positions.get(id).copied())
    };
    let (mut patched, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let Some(id) = identity(&item, key) else { return Err(no_merge_key(&item, key.unwrap_or_default())) };
        if wanted.contains_key(id) { patched.push(item) } else { others.push(item) }
    }
    patched.sort_by_cached_key(|item| position(&wanted, item));
    others.sort_by_cached_key(|item| position(&live, item).unwrap_or(usize::MAX));

    let mut ordered = Vec::with_capacity(patched.len() + others.len());
    let (mut patched, mut others) = (patched.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), patched.peek()) {
            (None, None) => return Ok(ordered),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(patched)) => match (position(&live, other), position(&live, patched)) {
                (Some(other), Some(patched)) => other < patched,
                _ => false,
            },
        };
        ordered.extend(if other_first { others.next() } else { patched.next() });
    }
}

/// The items of a patched list must be among those of its `$setElementOrder`, in the same order.
pub(super) fn validate(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut left = wanted.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let id = identity(item, key).ok_or_else(|| no_merge_key(item, key.unwrap_or_default()))?;
        loop {
            let Some(candidate) = left.next() else {
                return Err(inapplicable(format!(
                    "The order in patch list:\n{}\n doesn't match {SET_ELEMENT_ORDER} list:\n{}\n",
                    Shown(&patch.to_vec().into()),
                    Shown(&wanted.to_vec().into())
                )));
            };
            let named = identity(candidate, key);
            if named.ok_or_else(|| no_merge_key(candidate, key.unwrap_or_default()))? == id {
                break;
            }
        }
    }
    Ok(())
}
