//! The documents of the plain form: `APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`.

use api::{
    registry::{Group, Registry},
    resource::{Resource, Verbs},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

pub fn api_versions(registry: &Registry, server_address: &str) -> Option<Value> {
    let versions: Vec<&str> = registry.group("")?.versions.iter().map(|version| &*version.name).collect();
    Some(json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }))
}

pub fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry.groups().filter(|group| !group.name.is_empty()).map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub fn group(group: &Group) -> Value {
    let mut document = group_entry(group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    document
}

fn group_entry(group: &Group) -> Value {
    let entry = |version: &str| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|version| entry(&version.name)).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": entry(group.preferred_version())})
}

/// Resources and their subresources, by name.
pub fn resource_list(group: &Group, version: &str) -> Option<Value> {
    let version = group.version(version)?;
    let mut resources = Vec::new();
    for row in version.rows() {
        resources.push(resource(row));
        for subresource in &row.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", row.plural, subresource.name),
                "singularName": "",
                "namespaced": row.is_namespaced(),
                "kind": row.kind,
                "verbs": subresource.verbs.names().collect::<Vec<_>>(),
            });
            if let Some((group, version, kind)) = &subresource.body {
                entry["kind"] = kind.to_string().into();
                if (group, version) != (&row.group, &row.version) {
                    entry["group"] = group.to_string().into();
                    entry["version"] = version.to_string().into();
                }
            }
            resources.push(entry);
        }
    }
    let group_version =
        if group.name.is_empty() { version.name.to_string() } else { format!("{}/{}", group.name, version.name) };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    // That of the core group has never had one.
    if !group.name.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource(row: &Resource) -> Value {
    let mut entry = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.is_namespaced(),
        "kind": row.kind,
        "verbs": row.verbs.names().collect::<Vec<_>>(),
    });
    for (key, words) in [("shortNames", &row.short_names), ("categories", &row.categories)] {
        if !words.is_empty() {
            entry[key] = json!(words);
        }
    }
    // What cannot be watched is not stored: reviews, bindings, component statuses.
    if row.verbs.contains(Verbs::WATCH) {
        entry["storageVersionHash"] = storage_version_hash(row).into();
    }
    entry
}

/// Tells clients when the stored version of a kind has changed, as Kubernetes computes it.
fn storage_version_hash(row: &Resource) -> String {
    let stored = &*row.storage.api_version;
    let slash = if stored.contains('/') { "" } else { "/" };
    let text = format!("{slash}{stored}/{}", row.storage.kind);
    BASE64_STANDARD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..8])
}
