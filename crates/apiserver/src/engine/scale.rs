//! `…/scale`: a small document (autoscaling/v1) made from an object, and written back into it.
//!
//! Who owns the object's replicas owns the scale's, and the other way round, so that an autoscaler and an
//! applier see each other.

use std::sync::Arc;

use api::{
    resource::{Resource, ScalePaths},
    status::{Status, Subject},
};
use document::{
    Type,
    apply::{self, Filter, ReplicasPaths, SameShape},
    fields::Element,
    jsonpath,
};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    Caller, Engine, Target, decode, metadata,
    patch::{self, Change, Patch},
    versions::Siblings,
    write::remove,
};
use crate::{
    admission::Operation,
    http::{body::Body, render, verbs::Call},
};

const API_VERSION: &str = "autoscaling/v1";

/// What the client sent.
enum Wanted {
    Scale(Value),
    Patch(Patch),
}

pub async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let subresource = call.target.resource.subresource("scale").ok_or_else(Status::no_such_path)?;
    let paths = subresource.scale.clone().ok_or_else(Status::no_such_path)?;
    let resource = Arc::clone(&call.target.resource);
    if call.verb == "get" {
        let (_, document) = call.engine.current(&call.target)?;
        let scale = api::scale::of(&resource, &paths, &document);
        let shown = Resource { columns: api::scale::columns().into(), ..(*resource).clone() };
        let mut view = call.view()?;
        view.resource = Arc::new(shown);
        return Ok(view.document(StatusCode::OK, &scale));
    }
    let caller = call.caller()?;
    let wanted = if call.verb == "update" {
        let decoded = decode::foreign(&call.headers, &call.body.bytes, API_VERSION, "Scale", caller.validation)?;
        caller.warnings.extend(decoded.warnings);
        Wanted::Scale(decoded.document)
    } else {
        Wanted::Patch(Patch::parse(&call.headers, &call.query, &call.body.bytes)?)
    };
    let types = api::builtin::types();
    let of = types.named("io.k8s.api.autoscaling.v1.Scale").ok_or_else(Status::no_such_path)?;
    let siblings = Siblings::of(&call.engine.registry.load(), &resource);
    let now = call.engine.now_text();
    let (target, caller) = (&call.target, &caller);
    let scaling = Scaling { target, caller, wanted, paths: &paths, owned: siblings.replicas(), of, now: &now };
    let written = call.engine.update(target, caller, &Change::Scale(&scaling)).await?;
    let scale = api::scale::of(&resource, &paths, &written.into_document(&resource)?);
    Ok(render::value(StatusCode::OK, call.accepted.format, &scale))
}

/// One write to a scale.
pub struct Scaling<'a> {
    target: &'a Target,
    caller: &'a Caller,
    wanted: Wanted,
    paths: &'a ScalePaths,
    /// Where each version of the object keeps its replicas.
    owned: Vec<(String, Option<Vec<Element>>)>,
    of: Type<'a>,
    now: &'a str,
}

impl Scaling<'_> {
    /// The object with what is wanted of its scale.
    pub(super) async fn apply(&self, engine: &Engine, document: &Value) -> Result<Value, Status> {
        let damaged = |why: String| Status::internal(format!("the managed fields of the object: {why}"));
        let owned: Vec<(&str, Option<&[Element]>)> =
            self.owned.iter().map(|(version, path)| (version.as_str(), path.as_deref())).collect();
        let owned: &ReplicasPaths<'_> = &owned;
        let parent = document["metadata"].get("managedFields");
        let mut current = self.shown(document);
        if let Some(fields) = apply::scale_to_subresource(parent, owned).map_err(damaged)? {
            current["metadata"]["managedFields"] = fields;
        }
        let scale = self.mutated(engine, self.wanted_scale(&current)?, &current).await?;
        let (asked, stored) = (&scale["metadata"]["resourceVersion"], &current["metadata"]["resourceVersion"]);
        if asked.as_str().is_some_and(|version| !version.is_empty()) && asked != stored {
            return Err(Status::modified(self.target.subject()));
        }
        let errors = api::scale::validate(&scale);
        if !errors.is_empty() {
            let subject = Subject { group: "autoscaling", resource: "Scale", name: &self.target.name };
            return Err(Status::invalid(subject, &errors));
        }
        let mut document = api::scale::write(self.paths, document, &scale);
        let api_version = self.target.resource.api_version();
        let parent = document["metadata"].get("managedFields");
        let fields = apply::scale_to_parent(parent, scale["metadata"].get("managedFields"), &api_version, owned);
        match fields.map_err(damaged)? {
            Some(fields) => document["metadata"]["managedFields"] = fields,
            None => remove(&mut document["metadata"], "managedFields"),
        }
        Ok(document)
    }

    /// Asks validating admission, which sees the scales of the object as it is and as it will be.
    pub(super) async fn validate(&self, engine: &Engine, new: &Value, old: &Value) -> Result<(), Status> {
        let old = self.shown(old);
        let mut request = engine.admission_request(Operation::Update, self.target, self.caller, self.shown(new), &old);
        engine.admission.validate(&mut request, engine).await
    }

    fn shown(&self, document: &Value) -> Value {
        api::scale::of(&self.target.resource, self.paths, document)
    }

    /// The scale as admission wants it.
    async fn mutated(&self, engine: &Engine, scale: Value, current: &Value) -> Result<Value, Status> {
        let owners = scale["metadata"].get("managedFields").cloned();
        let mut request = engine.admission_request(Operation::Update, self.target, self.caller, scale, current);
        engine.admission.mutate(&mut request, engine).await?;
        let mut draft = request.object;
        if draft.is_touched() {
            document::check(&mut draft, self.of).map_err(|error| Status::internal(error.0))?;
            metadata::place_in_namespace(self.target, &mut draft)?;
            metadata::keep_readable_owners(owners.as_ref(), &mut draft, &self.caller.warnings);
        }
        Ok(draft.into_inner())
    }

    /// The scale as the client wants it, with its managed fields.
    fn wanted_scale(&self, current: &Value) -> Result<Value, Status> {
        let write = apply::Write {
            manager: &self.caller.manager,
            subresource: "scale",
            api_version: API_VERSION,
            kind: "Scale",
            now: self.now,
            of: self.of,
            versions: &SameShape { served: &[API_VERSION], of: self.of },
            filter: &Filter::All,
        };
        let mut scale = match &self.wanted {
            Wanted::Patch(Patch::Apply { config, force, .. }) => {
                let applied = apply::apply(Some(current), config, &write, *force);
                return applied.map_err(|error| patch::apply_error(&error));
            }
            Wanted::Patch(patch) => {
                let mut scale = current.clone();
                patch.apply(&mut scale, self.of).map_err(|error| patch::patch_error(&error))?;
                let strict = document::check(&mut scale, self.of)
                    .map_err(|error| patch.refused_on(current, self.of, error.0))?;
                self.caller.warnings.extend(patch.judge(&scale, strict, self.caller.validation)?);
                scale
            }
            Wanted::Scale(scale) => scale.clone(),
        };
        metadata::place(self.target, &mut scale)?;
        // What a scale shows of its object is not the writer's.
        remove(&mut scale["metadata"], "managedFields");
        scale["status"] = current["status"].clone();
        if !scale["spec"].is_object() {
            scale["spec"] = json!({});
        }
        apply::update(Some(current), &mut scale, &write);
        Ok(scale)
    }
}

impl Siblings {
    /// Where each version keeps its replicas; none where it cannot be scaled.
    fn replicas(&self) -> Vec<(String, Option<Vec<Element>>)> {
        self.rows().map(|row| (row.api_version(), replicas_path(row))).collect()
    }
}

fn replicas_path(row: &Resource) -> Option<Vec<Element>> {
    let paths = row.subresource("scale")?.scale.as_ref()?;
    let path = jsonpath::compile(&paths.spec_replicas).ok()?;
    Some(path.fields()?.into_iter().map(Element::field).collect())
}
