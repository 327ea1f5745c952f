//! The roles and bindings every cluster starts with (`tables/rbac.txt`), and how an existing cluster is
//! brought up to them: what is missing is added, what was added by others stays.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::{
    rbac::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES},
    rule::{Rule, uncovered},
};
use crate::cluster::Cluster;

const TABLE: &str = include_str!("../../tables/rbac.txt");
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

static DEFAULTS: LazyLock<Vec<Entry>> = LazyLock::new(|| parse(TABLE).expect("the table is well formed"));

/// An object of the table.
#[derive(Debug, Clone)]
struct Entry {
    topic: &'static str,
    object: Value,
}

/// A write that brings the cluster nearer to the defaults.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Create {
        topic: &'static str,
        object: Value,
    },
    /// The object as it should be, with the resourceVersion it was read at.
    Update {
        topic: &'static str,
        object: Value,
    },
    /// A binding to another role: its `roleRef` cannot be changed, so it is deleted and created.
    Replace {
        topic: &'static str,
        object: Value,
    },
}

/// What to write to a cluster so that it has the defaults.
pub fn reconcile(cluster: &dyn Cluster) -> Vec<Write> {
    let reconcile_one = |default: &Entry| {
        let metadata = &default.object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let existing = cluster.get(default.topic, metadata["namespace"].as_str(), name);
        match existing {
            None => Some(Write::Create { topic: default.topic, object: default.object.clone() }),
            Some(existing) => reconcile_object(default, &existing),
        }
    };
    DEFAULTS.iter().filter_map(reconcile_one).collect()
}

/// The rules of a default cluster role.
pub(super) fn rules_of(name: &str) -> Vec<Rule> {
    let role = DEFAULTS.iter().find(|it| it.topic == CLUSTER_ROLES && it.object["metadata"]["name"] == name);
    role.map(|role| Rule::list(&role.object)).unwrap_or_default()
}

fn reconcile_object(default: &Entry, existing: &Arc<Value>) -> Option<Write> {
    let Entry { topic, object: expected } = default;
    if existing["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    if expected["roleRef"] != existing["roleRef"] {
        return Some(Write::Replace { topic, object: expected.clone() });
    }
    let mut object = (**existing).clone();
    for field in ["labels", "annotations"] {
        for (key, value) in expected["metadata"][field].as_object().into_iter().flatten() {
            let present = &mut object["metadata"][field];
            if present.get(key).is_none() {
                present[key] = value.clone();
            }
        }
    }
    // A breakdown too large to compute belongs to no default role.
    let missing = uncovered(&Rule::list(existing), &Rule::list(expected)).unwrap_or_default();
    append_missing(&mut object, &["rules"], missing.iter().map(Rule::to_value));
    append_missing(&mut object, &["subjects"], items(&expected["subjects"]));
    match expected.get("aggregationRule") {
        Some(rule) => {
            let selectors = items(&rule["clusterRoleSelectors"]);
            append_missing(&mut object, &["aggregationRule", "clusterRoleSelectors"], selectors);
        }
        None => {
            object.as_object_mut().map(|object| object.remove("aggregationRule"));
        }
    }
    (object != **existing).then_some(Write::Update { topic, object })
}

/// Adds to the list at `path` the values that are not in it.
fn append_missing(object: &mut Value, path: &[&str], values: impl Iterator<Item = Value>) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    let list = path.iter().fold(object, |value, field| &mut value[*field]);
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        for value in values {
            if !list.contains(&value) {
                list.push(value);
            }
        }
    }
}

fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.as_array().into_iter().flatten().cloned()
}

/// The table's objects; an error names the line.
fn parse(table: &str) -> Result<Vec<Entry>, String> {
    let mut objects: Vec<Entry> = Vec::new();
    for line in join_continuations(table) {
        let parsed = match (line.strip_prefix("  "), objects.last_mut()) {
            (None, _) => parse_head(&line).map(|object| objects.push(object)),
            (Some(line), Some(last)) => parse_body(line, &mut last.object),
            (Some(_), None) => None,
        };
        parsed.ok_or_else(|| format!("not understood: {line}"))?;
    }
    Ok(objects)
}

fn join_continuations(table: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("   "), lines.last_mut()) {
            (Some(more), Some(last)) => {
                last.push(' ');
                last.push_str(more.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// `KIND name [in namespace] [to ROLE-KIND name]`.
fn parse_head(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let topic = match kind {
        "ClusterRole" => CLUSTER_ROLES,
        "Role" => ROLES,
        "ClusterRoleBinding" => CLUSTER_ROLE_BINDINGS,
        "RoleBinding" => ROLE_BINDINGS,
        _ => return None,
    };
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": words.next()?,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTO_UPDATE: "true"},
        },
    });
    while let Some(word) = words.next() {
        match word {
            "in" => object["metadata"]["namespace"] = words.next()?.into(),
            "to" => {
                let (kind, name) = (words.next()?, words.next()?);
                object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
            }
            _ => return None,
        }
    }
    Some(Entry { topic, object })
}

/// A line below a head: label, aggregation, subject or rule.
fn parse_body(line: &str, object: &mut Value) -> Option<()> {
    let (word, rest) = line.split_once(' ')?;
    match word {
        "label" => {
            let (key, value) = rest.split_once('=')?;
            object["metadata"]["labels"][key] = value.into();
        }
        "aggregate" => {
            let (key, value) = rest.split_once('=')?;
            let selector = json!({"matchLabels": {key: value}});
            append_missing(object, &["aggregationRule", "clusterRoleSelectors"], [selector].into_iter());
        }
        "User" | "Group" => {
            let subject = json!({"apiGroup": GROUP, "kind": word, "name": rest});
            append_missing(object, &["subjects"], [subject].into_iter());
        }
        "ServiceAccount" => {
            let (namespace, name) = rest.split_once('/')?;
            let subject = json!({"kind": word, "namespace": namespace, "name": name});
            append_missing(object, &["subjects"], [subject].into_iter());
        }
        verbs => append_missing(object, &["rules"], [parse_rule(verbs, rest)?].into_iter()),
    }
    Some(())
}

/// `GROUPS: RESOURCES [= NAMES]` or `urls: PATHS`.
fn parse_rule(verbs: &str, rest: &str) -> Option<Value> {
    let (groups, what) = rest.split_once(": ")?;
    let mut rule = Map::new();
    let mut set = |field: &str, words: Vec<&str>| rule.insert(field.to_owned(), words.into());
    set("verbs", verbs.split(',').collect());
    if groups == "urls" {
        set("nonResourceURLs", what.split(' ').collect());
        return Some(Value::Object(rule));
    }
    set("apiGroups", groups.split(',').map(|group| if group == "core" { "" } else { group }).collect());
    let (resources, names) = what.split_once(" = ").map_or((what, None), |(what, names)| (what, Some(names)));
    set("resources", resources.split(' ').collect());
    if let Some(names) = names {
        set("resourceNames", names.split(' ').collect());
    }
    Some(Value::Object(rule))
}

#[cfg(test)]
mod tests;
