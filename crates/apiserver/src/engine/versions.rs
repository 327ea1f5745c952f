//! Versions of a kind: between the form that is served and the form that is stored.

use std::{borrow::Cow, sync::Arc};

use api::{registry::Registry, resource::Resource};
use document::{Type, apply};
use serde_json::Value;

/// From the stored version to the served one.
pub fn to_served(resource: &Resource, document: &mut Value) {
    if let Some(conversion) = resource.storage.conversion {
        (conversion.from_storage)(document);
    }
    document["apiVersion"] = resource.api_version().into();
    document["kind"] = (*resource.kind).into();
}

/// From the served version to the stored one.
pub fn to_storage(resource: &Resource, document: &mut Value) {
    if let Some(conversion) = resource.storage.conversion {
        (conversion.to_storage)(document);
    }
    document["apiVersion"] = (*resource.storage.api_version).into();
    document["kind"] = (*resource.storage.kind).into();
}

/// Strategies know the stored form; where the served one differs, they see the document in theirs.
pub fn in_storage_form<R>(resource: &Resource, document: &mut Value, act: impl FnOnce(&mut Value) -> R) -> R {
    if resource.storage.conversion.is_none() {
        return act(document);
    }
    to_storage(resource, document);
    let result = act(document);
    to_served(resource, document);
    result
}

/// A copy in the stored form where that differs.
pub fn stored_form<'a>(resource: &Resource, document: &'a Value) -> Cow<'a, Value> {
    if resource.storage.conversion.is_none() {
        return Cow::Borrowed(document);
    }
    let mut document = document.clone();
    to_storage(resource, &mut document);
    Cow::Owned(document)
}

/// All served versions of one resource, for field ownership across them.
pub struct Siblings(Vec<Arc<Resource>>);

impl Siblings {
    /// Those of the same group; what another group shows of the same objects has owners of its own names.
    pub fn of(registry: &Registry, resource: &Resource) -> Self {
        let versions = registry.group(&resource.group).map(|group| group.versions.as_slice()).unwrap_or_default();
        Self(versions.iter().filter_map(|version| version.find(&resource.plural)).cloned().collect())
    }

    pub fn rows(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter().map(|row| &**row)
    }

    fn find(&self, api_version: &str) -> Option<&Arc<Resource>> {
        self.0.iter().find(|row| row.api_version() == api_version)
    }
}

impl apply::Versions for Siblings {
    fn convert<'s, 'd>(&'s self, document: &'d Value, from: &str, to: &str) -> Option<(Cow<'d, Value>, Type<'s>)> {
        let (from, to) = (self.find(from)?, self.find(to)?);
        if from.storage.conversion.is_none() && to.storage.conversion.is_none() {
            return Some((Cow::Borrowed(document), to.root()));
        }
        let mut document = document.clone();
        to_storage(from, &mut document);
        to_served(to, &mut document);
        Some((Cow::Owned(document), to.root()))
    }
}
