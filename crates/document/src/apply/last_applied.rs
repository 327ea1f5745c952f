//! The annotation in which `kubectl apply` keeps what it applied last, for users who move from
//! client-side to server-side apply.

use serde_json::{Map, Value};

use super::Write;
use super::compare::compare;
use super::set::set_of;
use super::validate::validate;
use crate::fields::{FieldSet, html_safe};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// The fields that client-side apply set and that nobody changed since: server-side apply by kubectl may take them.
pub(super) fn untouched(live: &Value, write: &Write<'_>) -> Option<FieldSet> {
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last.get("apiVersion")?.as_str()? != write.api_version {
        return None;
    }
    validate(&last, write.of).ok()?;
    let mut fields = set_of(&last, write.of).ok()?;
    compare(&last, live, write.of).ok()?.each(|changed| fields.subtract(changed));
    Some(fields)
}

/// Keeps the annotation true, where there is one, so that the user may go back to client-side apply.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = annotations_mut(&mut config) {
        annotations.remove(ANNOTATION);
    }
    let Some(annotations) = annotations_mut(object) else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(html_safe(&config) + "\n"));
    let size: usize = annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS_BYTES {
        annotations.remove(ANNOTATION);
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

fn annotations_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}
