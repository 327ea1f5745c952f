//! Reads objects as views, each for itself: one that cannot be read is told loudly, and costs nobody but itself anything.
//!
//! What Go leaves empty it may write as null; views take that for what is not there.

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
    drop_nulls(&mut value);
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

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
