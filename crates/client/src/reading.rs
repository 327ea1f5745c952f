//! Reads objects as views, each for itself: one that cannot be read is told loudly, and costs nobody but itself anything.
//!
//! What Go leaves empty it may write as null; views take that for what is not there. Times of the last day of the year 9999,
//! which some write for "never", are taken for its eve: our calendar ends there.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{ApiError, Key, Kind, requests::parse};

/// Of an object only which one it is, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId {
    pub key: Key,
    pub uid: Box<str>,
    pub revision: u64,
}

/// What comes of reading an object.
pub enum Read<T> {
    Whole(T),
    /// It is there, and is not as this program knows its kind.
    Not(ObjectId),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Name {
    name: String,
    namespace: String,
    uid: Box<str>,
    resource_version: String,
}

/// Reads an object of the server. An error says that it is none.
pub fn read<T: DeserializeOwned>(kind: &Kind, object: &[u8]) -> Result<Read<T>, ApiError> {
    if let Ok(read) = serde_json::from_slice(object) {
        return Ok(Read::Whole(read));
    }
    let mut value: Value = parse(object)?;
    mend(&mut value);
    let error = match serde_json::from_value(value) {
        Ok(read) => return Ok(Read::Whole(read)),
        Err(error) => error,
    };
    let identity = identity(object)?;
    tracing::error!(kind = %kind.kind, key = %identity.key, "cannot read this object, and goes on without it: {error}");
    Ok(Read::Not(identity))
}

/// The objects of a list, and those that cannot be read.
pub fn read_all<T: DeserializeOwned>(
    kind: &Kind,
    objects: &[Box<RawValue>],
) -> Result<(Vec<T>, Vec<ObjectId>), ApiError> {
    let (mut whole, mut unread) = (Vec::with_capacity(objects.len()), Vec::new());
    for object in objects {
        match read(kind, object.get().as_bytes())? {
            Read::Whole(object) => whole.push(object),
            Read::Not(identity) => unread.push(identity),
        }
    }
    Ok((whole, unread))
}

/// Which object it is, if it is any.
pub fn identity(object: &[u8]) -> Result<ObjectId, ApiError> {
    let Named { metadata: Name { name, namespace, uid, resource_version } } = parse(object)?;
    Ok(ObjectId { key: Key::new(&namespace, &name), uid, revision: resource_version.parse().unwrap_or(0) })
}

fn mend(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(mend);
        }
        Value::Array(items) => items.iter_mut().for_each(mend),
        Value::String(text) if text.starts_with("9999-12-31T") || text.starts_with("9999-12-30T2") => {
            *text = "9999-12-30T00:00:00Z".to_owned();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::{Node, Object};

    #[test]
    fn what_others_write_is_read() {
        let node = json!({
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "4", "labels": null},
            "spec": {"taints": [{"key": "a", "effect": "NoSchedule", "timeAdded": "9999-12-31T23:59:59Z"}]},
            "status": {"conditions": null, "images": [{"names": null}]},
        });
        let Read::Whole(node) = read::<Node>(&Node::KIND, node.to_string().as_bytes()).unwrap() else {
            panic!("it can be read");
        };
        assert_eq!(node.spec.taints[0].time_added.unwrap().to_string(), "9999-12-30T00:00:00Z");
        let odd = json!({"metadata": {"name": "n1", "uid": "u", "resourceVersion": "5"}, "spec": {"taints": "none"}});
        let Read::Not(which) = read::<Node>(&Node::KIND, odd.to_string().as_bytes()).unwrap() else {
            panic!("a text is no list");
        };
        assert_eq!(which, ObjectId { key: Key::new("", "n1"), uid: "u".into(), revision: 5 });
        assert!(read::<Node>(&Node::KIND, b"{").is_err());
    }
}
