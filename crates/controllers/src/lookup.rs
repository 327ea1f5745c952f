//! What a decision needs and no cache holds: the scale of an owner of whatever kind, asked of its `scale` subresource.

use std::collections::BTreeMap;

use client::{Key, Requests};
use futures_util::future::join_all;
use serde::Deserialize;

/// The object whose scale is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub key: Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Scale {
        uid: Box<str>,
        replicas: i32,
    },
    /// There is no such object.
    Nothing,
    /// Why it cannot be told.
    Failed(String),
}

pub type Findings = BTreeMap<Lookup, Found>;

pub(crate) async fn all(requests: &Requests, lookups: &[Lookup]) -> Findings {
    let found = join_all(lookups.iter().map(|lookup| scale(requests, lookup))).await;
    lookups.iter().cloned().zip(found).collect()
}

async fn scale(requests: &Requests, lookup: &Lookup) -> Found {
    let Lookup { api_version, kind, key } = lookup;
    let root = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    let resources = match requests.read::<ResourceList>(&root).await {
        Ok(list) => list.resources,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Found::Failed(error.to_string()),
    };
    let of_kind = |resource: &&Resource| resource.kind == *kind && !resource.name.contains('/');
    let Some(Resource { name: plural, .. }) = resources.iter().find(of_kind) else {
        return Found::Failed(format!("no matches for kind {kind:?} in version {api_version:?}"));
    };
    if !resources.iter().any(|resource| *resource.name == format!("{plural}/scale")) {
        let group = api_version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        return Found::Failed(format!("{plural}{group} does not implement the scale subresource"));
    }
    let path = format!("{root}/namespaces/{}/{plural}/{}/scale", key.namespace(), key.name());
    match requests.read::<Scale>(&path).await {
        Ok(scale) => Found::Scale { uid: scale.metadata.uid, replicas: scale.spec.replicas },
        Err(error) if error.is_not_found() => Found::Nothing,
        Err(error) => Found::Failed(error.to_string()),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResourceList {
    resources: Vec<Resource>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    name: Box<str>,
    kind: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scale {
    metadata: client::objects::Meta,
    spec: ScaleSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScaleSpec {
    replicas: i32,
}
