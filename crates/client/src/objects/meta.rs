//! What every object has.

use std::fmt;

use api::selector::LabelSelector;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};

use crate::Shared;

/// Of an object's metadata what parts decide on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub name: Box<str>,
    /// Empty for objects of the cluster.
    pub namespace: Box<str>,
    pub uid: Box<str>,
    /// A revision: larger is later (KEP-5504). 0 where the server gave none.
    #[serde(deserialize_with = "revision")]
    pub resource_version: u64,
    pub generation: i64,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub labels: Labels,
    pub annotations: Labels,
    pub owner_references: Shared<OwnerReference>,
    pub finalizers: Vec<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

/// One of a status's conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Box<str>,
}

/// RFC 3339 in whole seconds, as `metav1.Time` is written.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Meta {
    /// The owner that manages this object, of which there is at most one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| *owner.uid == *uid)
    }

    pub fn is_being_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Being deleted, and not at once: by finalizers, or for a time of grace.
    pub fn is_held_up(&self) -> bool {
        self.is_being_deleted()
            && (!self.finalizers.is_empty() || self.deletion_grace_period_seconds.is_some_and(|grace| grace > 0))
    }
}

/// The annotation in which `kubectl apply` keeps a whole manifest: nobody here decides on it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Labels or annotations, sorted by key. Most objects have few: a sorted slice is smaller than a map, and as fast.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Shared<(Box<str>, Box<str>)>);

crate::common!((Box<str>, Box<str>), OwnerReference, Condition);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(found, _)| (**found).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn are_matched_by(&self, selector: &LabelSelector) -> bool {
        selector.matches(self.iter())
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        pairs.sort();
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(pairs.into())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some(key) = map.next_key::<Box<str>>()? {
                    if *key == *LAST_APPLIED {
                        map.next_value::<de::IgnoredAny>()?;
                    } else {
                        pairs.push((key, map.next_value()?));
                    }
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

/// A resourceVersion as a number.
fn revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_read_without_what_nobody_decides_on() {
        let meta: Meta = serde_json::from_value(json!({
            "name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "17",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"b": "2", "a": "1"}, "annotations": {LAST_APPLIED: "{}", "note": "x"},
            "managedFields": [{"manager": "kubectl"}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true}],
        }))
        .unwrap();
        assert_eq!(meta.resource_version, 17);
        assert_eq!(meta.labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((meta.labels.get("b"), meta.labels.get("c")), (Some("2"), None));
        assert_eq!(meta.annotations.iter().collect::<Vec<_>>(), [("note", "x")]);
        assert!(meta.is_controlled_by("o"));
        assert!(!meta.is_being_deleted());
    }
}
