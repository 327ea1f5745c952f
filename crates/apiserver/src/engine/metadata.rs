//! Object metadata on its way through a write: what the server sets, what it carries over, what it
//! checks against the stored object. The syntax of the fields is validated in `api::metadata`.

use std::collections::HashSet;

use api::{
    field::{FieldError, FieldErrors, Path},
    resource::Resource,
    status::Status,
    syntax,
};
use document::apply;
use serde_json::{Map, Value};

use super::{Caller, Engine, Target, versions::Siblings, write::remove};
use crate::warnings::Warnings;

pub fn wants_generated_name(document: &Value) -> bool {
    let text = |field: &str| document["metadata"][field].as_str().unwrap_or_default();
    text("name").is_empty() && !text("generateName").is_empty()
}

/// What the server says of a new object, whatever is sent.
const SYSTEM_FIELDS: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"];

const VERSION_SET: &str = "resourceVersion should not be set on objects to be created";

/// Checks the metadata of an object to be created, and takes out what only [`complete_create`] may say: who
/// changes the object before that is to see what its sender meant. Sets `target.name`.
pub fn prepare_create(target: &mut Target, document: &mut Value) -> Result<(), Status> {
    if !asked_version(document).is_empty() {
        return Err(Status::bad_request(VERSION_SET));
    }
    wipe(document);
    place(target, document)?;
    target.name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(())
}

/// Completes the metadata of an object that admission has had to change; sets `target.name`.
pub fn complete_create(target: &mut Target, document: &mut Value, engine: &Engine) -> Result<(), Status> {
    // What cannot be read is none.
    if asked_version(document).parse::<u64>().is_ok() {
        return Err(Status::new(500, "", VERSION_SET));
    }
    wipe(document);
    place_in_namespace(target, document)?;
    let metadata = &mut document["metadata"];
    metadata["uid"] = engine.random.uuid().into();
    metadata["creationTimestamp"] = engine.now_text().into();
    if metadata["name"].as_str().is_none_or(str::is_empty)
        && let Some(base) = metadata["generateName"].as_str().filter(|base| !base.is_empty())
    {
        metadata["name"] = syntax::generated_name(base, |bound| engine.random.below(bound)).into();
    }
    target.name = metadata["name"].as_str().unwrap_or_default().to_owned();
    Ok(())
}

fn wipe(document: &mut Value) {
    if !document["metadata"].is_object() {
        document["metadata"] = Value::Object(Map::new());
    }
    for field in SYSTEM_FIELDS {
        remove(&mut document["metadata"], field);
    }
}

/// Name and namespace of the document are those of the request; a contradiction is refused.
pub fn place(target: &Target, document: &mut Value) -> Result<(), Status> {
    place_in_namespace(target, document)?;
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    if !target.name.is_empty() && name != target.name {
        if name.is_empty() {
            let asked = &target.name;
            return Err(Status::bad_request(format!(
                "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
            )));
        }
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

/// The namespace alone: admission may change the name of what is to be created.
pub fn place_in_namespace(target: &Target, document: &mut Value) -> Result<(), Status> {
    let metadata = &mut document["metadata"];
    if !target.resource.is_namespaced() {
        // A namespace on a cluster-scoped object is dropped, as in Kubernetes.
        remove(metadata, "namespace");
        return Ok(());
    }
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        metadata["namespace"] = target.namespace.as_str().into();
    } else if namespace != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The resourceVersion that a client's document insists on; "0" is none, as in Kubernetes.
pub fn asked_version(document: &Value) -> &str {
    document["metadata"]["resourceVersion"].as_str().filter(|version| *version != "0").unwrap_or_default()
}

/// Optimistic concurrency and identity: the resourceVersion and uid that the new document names must be
/// those of the stored one.
pub fn check_preconditions(target: &Target, old: &Value, new: &Value, is_replace: bool) -> Result<(), Status> {
    let text = |document: &Value, field: &str| document["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (asked, stored) = (text(new, "uid"), text(old, "uid"));
    if is_replace && !asked.is_empty() && asked != stored {
        return Err(Status::conflict(
            target.subject(),
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stored}"),
        ));
    }
    check_version(target, old, new)
}

/// Some kinds are not replaced without a word on which version is meant. Admission is asked before that is refused.
pub fn require_version(target: &Target) -> Result<(), Status> {
    if target.resource.strategy.unconditional_update {
        return Ok(());
    }
    let path = Path::new("metadata");
    let error = FieldError::invalid(&path.child("resourceVersion"), 0, "must be specified for an update");
    Err(Status::invalid(target.subject(), &vec![error]))
}

/// The resourceVersion alone, which admission may have changed.
pub fn check_version(target: &Target, old: &Value, new: &Value) -> Result<(), Status> {
    let stored = old["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let asked = asked_version(new);
    if asked.is_empty() {
        return Ok(());
    }
    if asked.parse::<u64>().is_err() {
        return Err(super::options::invalid_version(asked));
    }
    if asked == stored { Ok(()) } else { Err(Status::modified(target.subject())) }
}

/// What the server owns stays as it is stored.
pub fn carry_over(old: &Value, new: &mut Value) {
    if !new["metadata"].is_object() {
        new["metadata"] = Value::Object(Map::new());
    }
    api::metadata::prepare_update(new, old);
    for field in ["generation", "resourceVersion"] {
        match &old["metadata"][field] {
            Value::Null => remove(&mut new["metadata"], field),
            value => new["metadata"][field] = value.clone(),
        }
    }
}

/// `metadata.generation` counts changes of everything but metadata and status.
pub fn count_generation(target: &Target, old: &Value, new: &mut Value) {
    let resource = &target.resource;
    if !resource.strategy.counts_generation && resource.custom.is_none() {
        return;
    }
    let has_status = resource.has_status();
    let is_desired = |member: &(&String, &Value)| member.0 != "metadata" && !(has_status && member.0 == "status");
    let members = |document| Value::as_object(document).into_iter().flatten().filter(is_desired);
    // What is said about a deployment is said to its controller, who says which revision it is with the status.
    let annotated = target.subresource.is_empty()
        && &*resource.storage.topic == "deployments.apps"
        && old["metadata"]["annotations"] != new["metadata"]["annotations"];
    if annotated || !members(old).eq(members(new)) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

/// The kinds of Kubernetes' own groups know their plain finalizers; all others are named with a domain and a
/// path (`ValidateObjectMeta` of the core group, which some kinds, definitions and custom resources do not go
/// through).
pub fn validate_finalizers(resource: &Resource, document: &Value, errors: &mut FieldErrors) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    const EXEMPT: [&str; 2] = ["events", "poddisruptionbudgets.policy"];
    let exempt = resource.custom.is_some()
        || &*resource.group == "apiextensions.k8s.io"
        || EXEMPT.contains(&&*resource.storage.topic);
    let finalizers = document["metadata"]["finalizers"].as_array().filter(|_| !exempt);
    let path = Path::new("metadata");
    let path = path.child("finalizers");
    for (index, name) in finalizers.into_iter().flatten().filter_map(Value::as_str).enumerate() {
        if !name.contains('/') && !STANDARD.contains(&name) {
            let message = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path.index(index), name, message));
        }
    }
}

/// Whether admission has been asked already: who is told of a mistake is told whose it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    Before,
    After,
}

/// Keeps one of equal owner references, and warns who sent more.
pub fn keep_single_owners(document: &mut Value, admitted: Admitted, warnings: &Warnings) {
    let Some(references) = document["metadata"].get_mut("ownerReferences").and_then(Value::as_array_mut) else {
        return;
    };
    let (mut seen, mut uids) = (HashSet::new(), Vec::new());
    references.retain(|reference| {
        let is_new = seen.insert(reference.to_string());
        if !is_new {
            uids.push(reference["uid"].as_str().unwrap_or_default().to_owned());
        }
        is_new
    });
    if !uids.is_empty() {
        let when = if admitted == Admitted::After { " after mutating admission happens" } else { "" };
        warnings.extend([format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, \
             and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            uids.join(", ")
        )]);
    }
}

/// Gives the fields that a write changed to its manager (KEP-555).
pub fn own_fields(engine: &Engine, target: &Target, old: Option<&Value>, new: &mut Value, caller: &Caller) {
    with_write(engine, target, caller, |write| apply::update(old, new, write));
}

/// Managed fields that admission has left in a state that nobody can read become again what they were before.
pub fn keep_readable_owners(before: Option<&Value>, document: &mut Value, warnings: &Warnings) {
    let found = document["metadata"].get("managedFields");
    let Some(Err(problem)) = found.filter(|found| Some(*found) != before).map(apply::decode_managed_fields) else {
        return;
    };
    warnings.extend([format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating \
         admission controller; please fix your requests: {problem}"
    )]);
    match before {
        Some(before) => document["metadata"]["managedFields"] = before.clone(),
        None => remove(&mut document["metadata"], "managedFields"),
    }
}

/// Hands the description of a write to `act`: who, through which door, and what may be owned there.
pub fn with_write<R>(engine: &Engine, target: &Target, caller: &Caller, act: impl FnOnce(&apply::Write<'_>) -> R) -> R {
    let resource = &target.resource;
    let filter = match target.subresource.as_str() {
        "" if resource.has_status() => apply::Filter::except(["status"]),
        "status" => apply::Filter::except(["spec"]),
        "resize" => apply::Filter::only(["spec.containers.*.resources", "spec.initContainers.*.resources"]),
        _ => apply::Filter::All,
    };
    act(&apply::Write {
        manager: &caller.manager,
        subresource: &target.subresource,
        api_version: &resource.api_version(),
        kind: &resource.kind,
        now: &engine.now_text(),
        of: resource.root(),
        versions: &Siblings::of(&engine.registry.load(), resource),
        filter: &filter,
    })
}
