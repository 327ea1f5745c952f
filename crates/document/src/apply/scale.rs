//! The managed fields of a `scale` subresource are those of its parent that own the replicas, under
//! other names.

use serde_json::Value;

use super::managed::{self, Entry};
use crate::fields::{Element, FieldSet};

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where each version of the parent keeps its replicas; none where that version has no scale subresource.
pub type ReplicasPaths<'a> = [(&'a str, Option<&'a [Element]>)];

fn scale_path() -> [Element; 2] {
    [Element::field("spec"), Element::field("replicas")]
}

fn only(path: &[Element]) -> FieldSet {
    let mut set = FieldSet::default();
    set.insert(path.iter().cloned());
    set
}

fn path_in<'a>(paths: &ReplicasPaths<'a>, api_version: &str) -> Option<Option<&'a [Element]>> {
    paths.iter().find(|(version, _)| *version == api_version).map(|(_, path)| *path)
}

/// The managed fields to give a scale. Errors say what is wrong with those of the parent.
pub fn scale_to_subresource(parent: Option<&Value>, paths: &ReplicasPaths<'_>) -> Result<Option<Value>, String> {
    let mut entries = managed::decode(parent)?;
    entries.retain_mut(|entry| {
        let owns = path_in(paths, &entry.api_version).flatten().is_some_and(|path| entry.fields.contains(path));
        entry.api_version = SCALE_VERSION.to_owned();
        entry.fields = only(&scale_path());
        owns
    });
    Ok(managed::encode(entries, Vec::new()))
}

/// The managed fields of the parent after its scale was written with the managed fields `scale`.
pub fn scale_to_parent(
    parent: Option<&Value>,
    scale: Option<&Value>,
    api_version: &str,
    paths: &ReplicasPaths<'_>,
) -> Result<Option<Value>, String> {
    let (parents, mut scales) = (managed::decode(parent)?, managed::decode(scale)?);
    let mut entries: Vec<Entry> = Vec::new();
    for mut entry in parents {
        let Some(path) = path_in(paths, &entry.api_version) else { continue };
        if let Some(path) = path.filter(|path| entry.fields.contains(path)) {
            let in_scale = Entry { api_version: SCALE_VERSION.to_owned(), ..entry.clone() };
            match managed::take(&mut scales, &in_scale) {
                Some(scale) => entry.time = scale.time,
                None => entry.fields.subtract(&only(path)),
            }
        }
        if !entry.fields.is_empty() {
            entries.push(entry);
        }
    }
    if let Some(Some(path)) = path_in(paths, api_version) {
        for scale in scales.into_iter().filter(|entry| entry.fields.contains(&scale_path())) {
            let entry = Entry { api_version: api_version.to_owned(), fields: only(path), ..scale };
            managed::take(&mut entries, &entry);
            entries.push(entry);
        }
    }
    Ok(managed::encode(entries, Vec::new()))
}
