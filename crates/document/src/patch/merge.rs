//! JSON merge patch (RFC 7386).

use serde_json::Value;

use super::PatchError;

/// Merges `patch`, an object, into `document`.
pub fn apply(document: &mut Value, patch: Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        let found = match patch {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            _ => "number",
        };
        let message = format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        );
        return Err(PatchError::Malformed(message));
    }
    merge(document, patch);
    Ok(())
}

fn merge(target: &mut Value, mut patch: Value) {
    match (target, patch.as_object_mut()) {
        (Value::Object(fields), Some(changes)) => {
            for (name, change) in std::mem::take(changes) {
                if change.is_null() {
                    fields.remove(&name);
                } else {
                    merge(fields.entry(name).or_insert(Value::Null), change);
                }
            }
        }
        (target, _) => {
            drop_nulls(&mut patch);
            *target = patch;
        }
    }
}

/// What is new keeps no nulls, in Kubernetes not even within lists; null items of lists stay.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|_, child| {
            drop_nulls(child);
            !child.is_null()
        }),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
