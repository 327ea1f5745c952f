//! What a new object asks of its namespace: to be there, and to stay.

use std::sync::Arc;

use api::status::{Status, Subject};
use store::Expect;

use super::{Engine, Target};

/// What the commit of a new object has to expect of its namespace, so that none is made that the deletion of the namespace
/// would not see; `None` for objects of the cluster. Admission has looked before, but a webhook may take its time.
pub(super) fn expectation(engine: &Engine, target: &Target) -> Result<Option<(Arc<str>, Expect)>, Status> {
    let name = &*target.namespace;
    if !target.resource.is_namespaced() || name.is_empty() {
        return Ok(None);
    }
    let snapshot = engine.store.snapshot();
    let not_found = || Status::not_found(Subject { group: "", resource: "namespaces", name });
    let entry = snapshot.get(&format!("namespaces/{name}")).ok_or_else(not_found)?;
    let is_ending = engine.decoded.get(entry).is_none_or(|namespace| namespace["status"]["phase"] == "Terminating");
    if is_ending {
        let detail = format!("unable to create new content in namespace {name} because it is being terminated");
        return Err(Status::forbidden(target.subject(), detail));
    }
    Ok(Some((Arc::clone(&entry.key), Expect::Modified(entry.modified))))
}
