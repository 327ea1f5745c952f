//! What an instance of a custom resource asks of its definition: to be there, to stay, and what it may look like.

use std::sync::Arc;

use api::{field::FieldErrors, scale, status::Status};
use serde_json::Value;
use store::Expect;

use super::{Engine, Target};
use crate::crd::known::DEFINITIONS;

/// What the commit of a new object has to expect of the definition behind it, so that none is made that the
/// deletion of the definition would not see; `None` for built-in kinds.
pub(super) fn expectation(engine: &Engine, target: &Target) -> Result<Option<(Arc<str>, Expect)>, Status> {
    let resource = &target.resource;
    let Some(origin) = resource.custom.as_ref().and_then(|custom| custom.origin()) else { return Ok(None) };
    let key = format!("{DEFINITIONS}/{}.{}", resource.plural, resource.group);
    let snapshot = engine.store.snapshot();
    let entry = snapshot.get(&key).ok_or_else(Status::no_such_path)?;
    let known = engine.definitions.know(entry).ok_or_else(Status::no_such_path)?;
    if known.origin.uid != origin.uid {
        return Err(Status::no_such_path());
    }
    if known.deleting {
        let detail = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(target.subject(), detail));
    }
    Ok(Some((Arc::clone(&entry.key), Expect::Modified(entry.modified))))
}

/// What the definition says of the values; nothing of built-in kinds. `old` on update.
pub(super) fn validate(target: &Target, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let resource = &target.resource;
    let Some(custom) = &resource.custom else { return };
    custom.validate(new, old, errors);
    if let Some(paths) = resource.subresource("scale").and_then(|scale| scale.scale.as_ref()) {
        scale::validate_object(paths, &target.subresource, new, errors);
    }
}

#[cfg(test)]
mod tests;
