//! Changes: how an update gets from the stored document to the new one.

use api::{
    field::{FieldError, Path},
    status::{Status, Subject},
};
use document::{
    Type,
    apply::{self, ApplyError},
    patch::{PatchError, Shown, json as json_patch, merge, strategic},
};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::{
    Caller, Engine, FieldValidation, Target, decode, metadata, scale::Scaling, type_meta::expect_kept_type,
    write::remove,
};
use crate::http::query::Query;

/// What an update does to the document it finds.
pub enum Change<'a> {
    /// PUT: takes its place.
    Replace(Value),
    Patch(&'a Patch),
    /// The server's own: a subresource's effect on its object.
    Edit(&'a (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync)),
    /// By a scale, which is what admission is asked about. The new document says already who owns what.
    Scale(&'a Scaling<'a>),
    /// What a request of another kind (a binding, an eviction) does to its object: admission has been asked about
    /// that request, and nobody owns the outcome.
    Effect(&'a (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync)),
}

/// A patch as it came, with what strict field validation complains of in its text.
#[derive(Debug)]
pub enum Patch {
    /// RFC 6902.
    Json { operations: json_patch::Patch, complaints: Vec<String> },
    /// RFC 7386.
    Merge { patch: Value, complaints: Vec<String> },
    /// Kubernetes' own, guided by the type's merge keys.
    Strategic { patch: Value, complaints: Vec<String> },
    /// Server-side apply (KEP-555).
    Apply { config: Value, force: bool, warnings: Vec<String> },
}

/// The outcome of a change.
pub struct Changed {
    pub document: Value,
    /// The client named a resourceVersion: a later writer makes this one fail instead of trying again.
    pub conditional: bool,
}

impl Change<'_> {
    pub fn is_replace(&self) -> bool {
        matches!(self, Change::Replace(_))
    }

    /// Whether the new document comes with its managed fields.
    pub fn sets_owners(&self) -> bool {
        matches!(self, Change::Scale(_) | Change::Effect(_) | Change::Patch(Patch::Apply { .. }))
    }

    pub fn asks_admission(&self) -> bool {
        !matches!(self, Change::Effect(_))
    }

    /// The document by which a missing object is created, where the change can create one.
    pub fn create(&self, engine: &Engine, target: &Target, caller: &Caller) -> Result<Option<Value>, Status> {
        if !target.subresource.is_empty() {
            return Ok(None);
        }
        match self {
            Change::Replace(document) if target.resource.strategy.create_on_update => {
                if !metadata::asked_version(document).is_empty() {
                    return Ok(None);
                }
                Ok(Some(document.clone()))
            }
            Change::Patch(Patch::Apply { config, force, .. }) => {
                check_absent_identity(target, config)?;
                let mut document = applied(engine, target, caller, None, config, *force)?;
                // Of an object that is not there no version can be meant; Kubernetes creates it all the same.
                remove(&mut document["metadata"], "resourceVersion");
                Ok(Some(document))
            }
            _ => Ok(None),
        }
    }

    /// The scale that is written, where this is about one.
    pub fn scaling(&self) -> Option<&Scaling<'_>> {
        match self {
            Change::Scale(scaling) => Some(scaling),
            _ => None,
        }
    }

    pub async fn apply(
        &self,
        engine: &Engine,
        target: &Target,
        caller: &Caller,
        old: &Value,
    ) -> Result<Changed, Status> {
        match self {
            Change::Scale(scaling) => Ok(Changed { document: scaling.apply(engine, old).await?, conditional: false }),
            Change::Replace(document) => {
                let conditional = !metadata::asked_version(document).is_empty();
                Ok(Changed { document: document.clone(), conditional })
            }
            Change::Edit(edit) | Change::Effect(edit) => Ok(Changed { document: edit(old)?, conditional: false }),
            Change::Patch(Patch::Apply { config, force, .. }) => {
                let conditional = !metadata::asked_version(config).is_empty();
                let mut document = applied(engine, target, caller, Some(old), config, *force)?;
                if conditional {
                    document["metadata"]["resourceVersion"] = config["metadata"]["resourceVersion"].clone();
                }
                Ok(Changed { document, conditional })
            }
            Change::Patch(patch) => {
                let mut document = old.clone();
                patch.apply(&mut document, target.resource.root()).map_err(|error| patch_error(&error))?;
                let asked = metadata::asked_version(&document);
                let conditional = !asked.is_empty() && asked != metadata::asked_version(old) || patch.names_version();
                let keeps_type = matches!(patch, Patch::Strategic { .. });
                expect_kept_type(target, &mut document, keeps_type)?;
                if document["metadata"].is_null() {
                    // Nothing is left to say which object it was.
                    metadata::place(target, &mut document)?;
                }
                let strict = decode::complete_patched(&target.resource, &mut document)
                    .map_err(|why| patch.refused_on(old, target.resource.root(), why))?;
                caller.warnings.extend(patch.judge(&document, strict, caller.validation)?);
                metadata::place(target, &mut document)?;
                Ok(Changed { document, conditional })
            }
        }
    }
}

fn check_absent_identity(target: &Target, config: &Value) -> Result<(), Status> {
    if config["metadata"]["uid"].as_str().is_some_and(|uid| !uid.is_empty()) {
        let detail = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: ",
            config["metadata"]["uid"].as_str().unwrap_or_default()
        );
        return Err(Status::conflict(target.subject(), detail));
    }
    Ok(())
}

fn applied(
    engine: &Engine,
    target: &Target,
    caller: &Caller,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, Status> {
    let mut config = config.clone();
    // It need not say again what the URL says.
    let metadata = &config["metadata"];
    let is_unnamed = metadata.is_null() || metadata.is_object() && matches!(metadata["name"].as_str(), None | Some(""));
    if config.is_object() && is_unnamed && !metadata["name"].is_number() {
        config["metadata"]["name"] = target.name.as_str().into();
    }
    metadata::place(target, &mut config)?;
    let result = metadata::with_write(engine, target, caller, |write| apply::apply(live, &config, write, force));
    let mut document = result.map_err(|error| apply_error(&error))?;
    decode::complete(&target.resource, &mut document)?;
    Ok(document)
}

pub fn apply_error(error: &ApplyError) -> Status {
    match error {
        ApplyError::BadRequest(message) => Status::bad_request(message.clone()),
        // Upstream answers a configuration that does not fit the type with 500; 400 says whose fault it is.
        ApplyError::Invalid(message) => Status::bad_request(message.clone()),
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .0
                .iter()
                .map(|conflict| {
                    json!({"reason": "FieldManagerConflict", "message": conflict.message(), "field": conflict.field})
                })
                .collect();
            Status::new(409, "Conflict", conflicts.to_string()).with_details(json!({"causes": causes}))
        }
    }
}

impl Patch {
    pub fn parse(headers: &HeaderMap, query: &Query, bytes: &[u8]) -> Result<Self, Status> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let force = query.boolean("force");
        if force.is_some() && media_type != "application/apply-patch+yaml" {
            let error = FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch");
            let subject = Subject { group: "meta.k8s.io", resource: "PatchOptions", name: "" };
            return Err(Status::invalid(subject, &vec![error]));
        }
        match media_type {
            "application/json-patch+json" => json_operations(bytes),
            "application/merge-patch+json" => {
                let (patch, complaints) = decode::json(bytes)?;
                Ok(Patch::Merge { patch, complaints })
            }
            "application/strategic-merge-patch+json" => {
                let (patch, complaints) = decode::json(bytes)?;
                Ok(Patch::Strategic { patch, complaints })
            }
            "application/apply-patch+yaml" => {
                if query.text("fieldManager").is_none() {
                    let error = FieldError::required(&Path::new("fieldManager"), "is required for apply patch");
                    let subject = Subject { group: "meta.k8s.io", resource: "PatchOptions", name: "" };
                    return Err(Status::invalid(subject, &vec![error]));
                }
                let (mut config, warnings) = decode::yaml(bytes)?;
                if config.is_null() {
                    // Says as much as nothing.
                    config = json!({});
                }
                if !config.is_object() {
                    let problem = no_object(&config);
                    return Err(Status::bad_request(format!(
                        "error decoding YAML: error unmarshaling JSON: while decoding JSON: {problem}"
                    )));
                }
                Ok(Patch::Apply { config, force: force.unwrap_or(false), warnings })
            }
            other => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                 application/apply-patch+yaml; got {other:?}"
            ))),
        }
    }

    /// Refuses what can be seen without the object; returns warnings for the client.
    pub fn check(&self, target: &Target, validation: FieldValidation) -> Result<Vec<String>, Status> {
        match self {
            Patch::Strategic { .. } if target.resource.custom.is_some() => Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            Patch::Merge { patch, .. } if !patch.is_object() => {
                Err(Status::bad_request(format!("error decoding patch: {}", no_object(patch))))
            }
            Patch::Strategic { patch, .. } if !patch.is_object() => Err(Status::bad_request(no_object(patch))),
            Patch::Apply { warnings, .. } => decode::judge(warnings.clone(), validation).map_err(Status::bad_request),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether the patch itself sets a resourceVersion.
    fn names_version(&self) -> bool {
        match self {
            Patch::Merge { patch, .. } | Patch::Strategic { patch, .. } => !metadata::asked_version(patch).is_empty(),
            // A JSON patch that sets the version it finds says as much by a test.
            Patch::Json { .. } | Patch::Apply { .. } => false,
        }
    }

    /// Patches a document of type `of`; after an error the document is to be thrown away.
    pub fn apply(&self, document: &mut Value, of: Type<'_>) -> Result<(), PatchError> {
        match self {
            Patch::Json { operations, .. } => operations.clone().apply(document),
            Patch::Merge { patch, .. } => merge::apply(document, patch.clone()),
            Patch::Strategic { patch, .. } => strategic::apply(document, patch.clone(), of),
            Patch::Apply { .. } => Err(PatchError::Malformed("this resource cannot be applied to".to_owned())),
        }
    }

    /// What `fieldValidation` makes of the complaints about the patch and of those about the document it made. A
    /// refusal shows the patch where that is like the document, else the document.
    pub fn judge(
        &self,
        document: &Value,
        strict: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Vec<String>, Status> {
        let complaints = match self {
            Patch::Json { complaints, .. } | Patch::Merge { complaints, .. } | Patch::Strategic { complaints, .. } => {
                complaints.iter().cloned().chain(strict).collect()
            }
            Patch::Apply { .. } => strict,
        };
        decode::judge(complaints, validation).map_err(|refusal| self.refused(document, refusal))
    }

    /// The refusal of what the patch makes of a document, which does not fit its type.
    pub fn refused_on(&self, old: &Value, of: Type<'_>, why: String) -> Status {
        let mut patched = old.clone();
        match self.apply(&mut patched, of) {
            Ok(()) => self.refused(&patched, why),
            Err(error) => patch_error(&error),
        }
    }

    /// Upstream names neither the kind nor the object here.
    fn refused(&self, document: &Value, why: String) -> Status {
        let shown = match self {
            Patch::Strategic { patch, .. } => Shown(patch).to_string(),
            _ => document.to_string(),
        };
        let error = FieldError::invalid(&Path::new("patch"), shown, why);
        Status::invalid(Subject { group: "", resource: "", name: "" }, &vec![error])
    }
}

fn json_operations(bytes: &[u8]) -> Result<Patch, Status> {
    let (operations, mut complaints) = decode::json(bytes)?;
    let operations = json_patch::Patch::parse(operations).map_err(|error| Status::bad_request(error.to_string()))?;
    complaints.extend(operations.strict_errors.iter().cloned());
    let complaints = document::in_order_of(bytes, complaints);
    let complaints = complaints.into_iter().map(|complaint| format!("json patch {complaint}")).collect();
    Ok(Patch::Json { operations, complaints })
}

fn no_object(patch: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", decode::json_type(patch))
}

pub fn patch_error(error: &PatchError) -> Status {
    let message = error.to_string();
    match error {
        PatchError::Malformed(_) => Status::bad_request(message),
        PatchError::TooManyOperations { .. } => Status::too_large(message),
        PatchError::Inapplicable(_) => {
            let message = format!("the server rejected our request due to an error in our request: {message}");
            // Without a name and a kind in the details kubectl shows the message.
            Status::new(422, "Invalid", message).with_details(json!({}))
        }
    }
}
