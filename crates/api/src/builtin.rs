//! The built-in kinds of Kubernetes 1.36: their rows, made of the tables in `groups` and the embedded
//! schemas. What is special about single kinds is in [`crate::kinds`].

mod conversion;
mod groups;
pub mod published;
mod types;

use std::sync::Arc;

use crate::{
    kinds,
    resource::{Cell, Column, Resource, ScalePaths, Scope, SelectableField, Storage, Subresource, Verbs},
    strategy::Strategy,
};

pub use types::types;

/// A group as the table has it: its versions in order of preference.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    /// What stands before `v1.Pod` in the names of its types.
    types: &'static str,
    pub versions: &'static [Version],
    kinds: &'static [Kind],
}

#[derive(Debug)]
pub struct Version {
    pub name: &'static str,
    /// Served unless the runtime configuration says otherwise; the rest is served only if it says so.
    pub served: bool,
}

/// One kind of a group.
#[derive(Debug, Clone, Copy)]
struct Kind {
    plural: &'static str,
    kind: &'static str,
    scope: Scope,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: Verbs,
    subresources: &'static [Part],
    selectable: &'static [Selectable],
    /// The versions that have it, where those are not all of its group; the first is stored.
    versions: Option<&'static [&'static str]>,
    /// Where its objects are kept, where that is with another group's: topic and `apiVersion`.
    stored: Option<(&'static str, &'static str)>,
}

/// A subresource of the table.
#[derive(Debug, Clone, Copy)]
struct Part {
    name: &'static str,
    verbs: Verbs,
    body: Option<(&'static str, &'static str, &'static str)>,
    scale: bool,
}

/// Label, path (`first|second` where another field stands in for a missing one), default.
type Selectable = (&'static str, &'static str, &'static str);

/// Kinds whose delete answers with the object (`ReturnDeletedObject` in upstream's registry).
const RETURNED_WHEN_DELETED: [&str; 17] = [
    "namespaces",
    "persistentvolumes",
    "persistentvolumeclaims",
    "pods",
    "podtemplates",
    "resourcequotas",
    "services",
    "serviceaccounts",
    "deviceclasses.resource.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourceslices.resource.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
];

/// All groups, those preferred first.
pub fn groups() -> &'static [Group] {
    groups::GROUPS
}

impl Group {
    /// The rows of one of its versions.
    pub fn rows(&self, version: &str) -> impl Iterator<Item = Resource> {
        self.kinds.iter().filter(move |kind| kind.is_in(version)).map(move |kind| self.row(version, kind))
    }

    fn row(&self, version: &str, kind: &Kind) -> Resource {
        let types = types();
        let storage = self.storage(version, kind);
        let root = types.named(&format!("{}.{version}.{}", self.types, kind.kind));
        let root = root.expect("a test checks that each row has a schema").id();
        Resource {
            group: self.name.into(),
            version: version.into(),
            kind: kind.kind.into(),
            list_kind: format!("{}List", kind.kind).into(),
            plural: kind.plural.into(),
            singular: kind.kind.to_lowercase().into(),
            short_names: boxed(kind.short_names),
            categories: boxed(kind.categories),
            scope: kind.scope,
            verbs: kind.verbs,
            subresources: kind.subresources.iter().map(Part::subresource).collect(),
            types,
            root,
            strategy: Strategy {
                returns_deleted_object: RETURNED_WHEN_DELETED.contains(&&*storage.topic),
                ..kinds::strategy_in(self.name, &storage.topic).unwrap_or(Strategy::DEFAULT)
            },
            columns: kinds::columns(&storage.topic).unwrap_or_else(name_and_age),
            storage,
            selectable: kind.selectable.iter().map(selectable_field).collect(),
            schema_hash: types::hash(),
            custom: None,
        }
    }

    fn storage(&self, version: &str, kind: &Kind) -> Storage {
        let (topic, stored) = match kind.stored {
            Some((topic, stored)) => (topic.to_owned(), stored.to_owned()),
            None if self.name.is_empty() => (kind.plural.to_owned(), self.stored_version(kind).to_owned()),
            None => (format!("{}.{}", kind.plural, self.name), format!("{}/{}", self.name, self.stored_version(kind))),
        };
        let served = if self.name.is_empty() { version.to_owned() } else { format!("{}/{version}", self.name) };
        Storage {
            conversion: conversion::find(&topic, &served),
            topic: topic.into(),
            api_version: stored.into(),
            kind: kind.kind.into(),
            schema: None,
        }
    }

    fn stored_version(&self, kind: &Kind) -> &'static str {
        kind.versions.map_or(self.versions[0].name, |versions| versions[0])
    }
}

/// The name under which the schema of a built-in kind is published: `io.k8s.api.core.v1.Pod`.
pub fn type_name(group: &str, version: &str, kind: &str) -> Option<String> {
    let group = groups().iter().find(|known| known.name == group)?;
    Some(format!("{}.{version}.{kind}", group.types))
}

impl Kind {
    fn is_in(&self, version: &str) -> bool {
        self.versions.is_none_or(|versions| versions.contains(&version))
    }
}

impl Part {
    fn subresource(&self) -> Subresource {
        let scale = ScalePaths {
            spec_replicas: ".spec.replicas".into(),
            status_replicas: ".status.replicas".into(),
            selector: Some(".spec.selector".into()),
        };
        Subresource {
            name: self.name.into(),
            verbs: self.verbs,
            body: self.body.map(|(group, version, kind)| (group.into(), version.into(), kind.into())),
            scale: self.scale.then_some(scale),
        }
    }
}

fn selectable_field((label, path, default): &Selectable) -> SelectableField {
    let (first, second) = path.split_once('|').unwrap_or((path, ""));
    let steps = |path: &str| path.split('.').filter(|step| !step.is_empty()).map(Into::into).collect();
    SelectableField { label: (*label).into(), path: steps(first), second: steps(second), default: (*default).into() }
}

fn boxed(words: &[&str]) -> Vec<Box<str>> {
    words.iter().map(|word| (*word).into()).collect()
}

fn name_and_age() -> Arc<[Column]> {
    let column = |name: &str, kind: &str, format: &str, description: &str, cell| Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description.into(),
        priority: 0,
        cell,
    };
    Arc::new([
        column("Name", "string", "name", "The name, unique among the objects of its kind and namespace.", Cell::Name),
        column("Age", "string", "", "How long ago the object was created.", Cell::Age),
    ])
}

#[cfg(test)]
mod tests;
