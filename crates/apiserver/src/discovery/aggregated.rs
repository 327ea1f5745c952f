//! The aggregated form: `APIGroupDiscoveryList`, all groups with all their versions and resources.

use api::{
    registry::{Group, Version},
    resource::{Resource, Subresource},
};
use serde_json::{Value, json};

pub fn list<'a>(groups: impl Iterator<Item = &'a Group>, version: &str) -> Value {
    let items: Vec<Value> = groups.map(group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn group(group: &Group) -> Value {
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = group.name.to_string().into();
    }
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn version(version: &Version) -> Value {
    let resources: Vec<Value> = version.rows().map(|row| resource(row)).collect();
    json!({"version": version.name, "resources": resources, "freshness": "Current"})
}

fn resource(row: &Resource) -> Value {
    let mut entry = json!({
        "resource": row.plural,
        "responseKind": own_kind(row),
        "scope": if row.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs.names().collect::<Vec<_>>(),
    });
    for (key, words) in [("shortNames", &row.short_names), ("categories", &row.categories)] {
        if !words.is_empty() {
            entry[key] = json!(words);
        }
    }
    if !row.subresources.is_empty() {
        entry["subresources"] = row.subresources.iter().map(|part| subresource(row, part)).collect();
    }
    entry
}

fn subresource(row: &Resource, part: &Subresource) -> Value {
    let response = match &part.body {
        Some((group, version, name)) => kind(group, version, name),
        None => own_kind(row),
    };
    json!({"subresource": part.name, "responseKind": response, "verbs": part.verbs.names().collect::<Vec<_>>()})
}

/// Without a group and version the kind is that of the list it stands in; upstream says so of built-in kinds.
fn own_kind(row: &Resource) -> Value {
    if row.custom.is_some() { kind(&row.group, &row.version, &row.kind) } else { kind("", "", &row.kind) }
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
