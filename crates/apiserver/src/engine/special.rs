//! The few endpoints that are verbs of their own: scale, binding, eviction, tokens and reviews; and what
//! each subresource of an object may change.

use std::sync::Arc;

use api::{
    field::FieldErrors,
    kinds::pod,
    status::{Status, Subject},
};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use store::Durability;

use super::{Caller, Target, decode, metadata, patch::Change, write::remove};
use crate::{
    admission,
    authority::Authority,
    http::{body::Body, negotiate::Shape, render, verbs::Call},
};

/// Answers what the generic verbs do not; `None` leaves the call to them.
pub async fn answer(call: &mut Call) -> Option<Result<Response<Body>, Status>> {
    let topic = Arc::clone(&call.target.resource.storage.topic);
    let subresource = call.target.subresource.clone();
    match (&*topic, subresource.as_str(), call.verb) {
        (_, "scale", "get" | "update" | "patch") => Some(super::scale::answer(call).await),
        ("pods", "binding", "create") | ("bindings", "", "create") => Some(bind(call).await),
        ("pods", "eviction", "create") => Some(super::eviction::evict(call).await),
        ("serviceaccounts", "token", "create") => Some(token(call).await),
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy", _) | ("nodes" | "services", "proxy", _) => {
            Some(super::connect::answer(call).await)
        }
        (topic, "", "create") if Authority::reviews(topic) => Some(review(call).await),
        _ => None,
    }
}

/// Subresources that the generic verbs read and write as a view of the object. Any other must be answered
/// above: what it is authorized for is not the object.
pub fn is_view(subresource: &str) -> bool {
    matches!(subresource, "" | "status" | "finalize" | "approval" | "ephemeralcontainers" | "resize")
}

/// Reading a body of another kind than the resource's.
async fn body_of(call: &mut Call, api_version: &str, kind: &str) -> Result<Value, Status> {
    let caller = call.caller()?;
    let decoded = decode::foreign(&call.headers, &call.body.bytes, api_version, kind, caller.validation)?;
    caller.warnings.extend(decoded.warnings);
    Ok(decoded.document)
}

/// Asks admission about a body that is not stored itself.
pub(super) async fn admit(call: &Call, caller: &Caller, body: Value) -> Result<Value, Status> {
    let operation = admission::Operation::Create;
    let mut request = call.engine.admission_request(operation, &call.target, caller, body, &Value::Null);
    call.engine.admission.mutate(&mut request, &*call.engine).await?;
    call.engine.admission.validate(&mut request, &*call.engine).await?;
    Ok(request.object.into_inner())
}

fn created(call: &Call, document: &Value) -> Response<Body> {
    render::value(StatusCode::CREATED, call.accepted.format, document)
}

/// Access and identity reviews: asked, answered, forgotten.
async fn review(call: &mut Call) -> Result<Response<Body>, Status> {
    if matches!(call.accepted.shape, Shape::Table(_)) {
        let resource = &call.target.resource.storage.topic;
        let problem = format!("the resource {resource} does not support being converted to a Table");
        return Err(Status::not_acceptable(problem));
    }
    let caller = call.caller()?;
    let (api_version, kind) = (call.target.resource.api_version(), call.target.resource.kind.to_string());
    let mut body = body_of(call, &api_version, &kind).await?;
    if call.target.resource.is_namespaced() {
        metadata::place(&call.target, &mut body)?;
    }
    let body = admit(call, &caller, body).await?;
    let engine = Arc::clone(&call.engine);
    let answered = engine.authority.review(&call.target, &body, &call.user, &*engine, engine.clock.now())?;
    Ok(created(call, &answered))
}

/// `serviceaccounts/NAME/token` (KEP-1205).
async fn token(call: &mut Call) -> Result<Response<Body>, Status> {
    let caller = call.caller()?;
    let mut body = body_of(call, "authentication.k8s.io/v1", "TokenRequest").await?;
    for (field, expected) in [("name", &call.target.name), ("namespace", &call.target.namespace)] {
        if body["metadata"][field].as_str().is_none_or(str::is_empty) {
            body["metadata"][field] = expected.as_str().into();
        }
    }
    let body = admit(call, &caller, body).await?;
    let engine = &call.engine;
    let authority = &engine.authority;
    let issued =
        authority.issue_token(&call.target.namespace, &call.target.name, body, &**engine, engine.clock.now())?;
    Ok(created(call, &issued))
}

/// Assigns a pod to a node, once.
async fn bind(call: &mut Call) -> Result<Response<Body>, Status> {
    let caller = call.caller()?;
    let mut binding = body_of(call, "v1", "Binding").await?;
    let mut target = call.target.clone();
    if &*target.resource.storage.topic == "bindings" {
        target.name = binding["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let registry = call.engine.registry.load();
        target.resource = registry.find("", "v1", "pods").cloned().ok_or_else(Status::no_such_path)?;
    }
    if binding["metadata"]["name"] != *target.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    metadata::place(&target, &mut binding)?;
    let binding = admit(call, &caller, binding).await?;
    let name = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    let mut errors = FieldErrors::new();
    pod::validate_binding(&binding, &mut errors);
    if !errors.is_empty() {
        return Err(Status::invalid(Subject { group: "", resource: "Binding", name: &target.name }, &errors));
    }
    let (subject_name, now) = (target.name.clone(), call.engine.now_text());
    let uid = binding["metadata"]["uid"].clone();
    let edit = move |pod: &Value| {
        let subject = Subject { group: "", resource: "pods/binding", name: &subject_name };
        let refuse = |detail: &str| Err(Status::conflict(subject, detail));
        if uid.is_string() && uid != pod["metadata"]["uid"] {
            return refuse("Precondition failed: UID in precondition differs from that of the pod");
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            return refuse(&format!("pod {subject_name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return refuse(&format!("pod {subject_name} is already assigned to node {node:?}"));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return refuse(&format!("pod {subject_name} has non-empty .spec.schedulingGates"));
        }
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = name.as_str().into();
        // The labels say where the node is (KEP-4742).
        for field in ["annotations", "labels"] {
            for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
                pod["metadata"][field][key] = value.clone();
            }
        }
        // The promise is kept (KEP-5278).
        remove(&mut pod["status"], "nominatedNodeName");
        set_condition(
            &mut pod,
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
        );
        Ok(pod)
    };
    target.subresource = "binding".to_owned();
    call.engine.update(&target, &caller, &Change::Effect(&edit)).await?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(created(call, &success))
}

/// Puts the condition in the place of the one of its type; one that holds already keeps its time.
pub fn set_condition(pod: &mut Value, mut condition: Value) {
    let status = &mut pod["status"];
    if !status.is_object() {
        *status = json!({});
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        status["conditions"] = json!([condition]);
        return;
    };
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].take();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// Built-in kinds whose status endpoint leaves metadata alone (`ResetObjectMetaForStatus`), as it does for
/// custom resources.
const STATUS_KEEPS_METADATA: [&str; 10] = [
    "customresourcedefinitions.apiextensions.k8s.io",
    "devicetaintrules.resource.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "podcertificaterequests.certificates.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "resourceclaims.resource.k8s.io",
    "servicecidrs.networking.k8s.io",
    "storageversionmigrations.storagemigration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "volumeattachments.storage.k8s.io",
];

/// Limits a write to what its endpoint may change; the rest stays as stored.
pub fn confine(target: &Target, old: &Value, new: &mut Value) {
    let resource = &target.resource;
    match target.subresource.as_str() {
        "" | "binding" | "scale" if resource.has_status() && target.subresource != "binding" => {
            copy(old, new, &["status"]);
        }
        "status" => {
            // Everything but status and, for built-in kinds, metadata.
            let keeps_metadata = resource.custom.is_some() || STATUS_KEEPS_METADATA.contains(&&*resource.storage.topic);
            let written: &[&str] = if keeps_metadata { &["status"] } else { &["status", "metadata"] };
            let rest = take(new, written, old);
            if keeps_metadata {
                copy(&rest, new, &["metadata", "managedFields"]);
            } else {
                match &*resource.storage.topic {
                    // Old kubelets leave them out.
                    "pods" => copy(old, new, &["metadata", "ownerReferences"]),
                    "deployments.apps" => copy(old, new, &["metadata", "labels"]),
                    _ => {}
                }
            }
        }
        "finalize" => keep_only(old, new, &[&["spec", "finalizers"], &["metadata"]]),
        "approval" => keep_only(old, new, &[&["status", "conditions"], &["metadata"]]),
        "ephemeralcontainers" => {
            keep_only(old, new, &[&["spec", "ephemeralContainers"], &["metadata", "managedFields"]]);
        }
        "resize" => {
            pod::prepare_resize(new, old);
            keep_only(old, new, &[&["spec"], &["metadata", "managedFields"]]);
        }
        _ => {}
    }
}

/// Leaves of a document these members, with the others of `old` around them; gives back what is left over.
fn take(new: &mut Value, members: &[&str], old: &Value) -> Value {
    let others = old.as_object().into_iter().flatten().filter(|(key, _)| !members.contains(&key.as_str()));
    let kept = others.map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut rest = std::mem::replace(new, kept);
    for member in members {
        if let Some(value) = rest.as_object_mut().and_then(|rest| rest.remove(*member)) {
            new[*member] = value;
        }
    }
    rest
}

fn keep_only(old: &Value, new: &mut Value, paths: &[&[&str]]) {
    let mut kept = old.clone();
    for path in paths {
        copy(new, &mut kept, path);
    }
    *new = kept;
}

/// What the kind's strategy, or a subresource's own rule, makes of an update. Documents are in stored form.
pub fn prepare(target: &Target, new: &mut Value, old: &Value) {
    let strategy = &target.resource.strategy;
    match (&*target.resource.storage.topic, target.subresource.as_str()) {
        (_, "status") => (strategy.prepare_status)(new, old),
        ("pods", "resize") => pod::prepare_resize(new, old),
        ("pods", "ephemeralcontainers") => pod::prepare_ephemeral_containers(new, old),
        ("pods", "binding") | (_, "finalize" | "approval") => {}
        _ => (strategy.prepare_update)(new, old),
    }
}

/// The rules of an update. Documents are in stored form.
pub fn validate(target: &Target, new: &Value, old: &Value, errors: &mut FieldErrors) {
    let strategy = &target.resource.strategy;
    match (&*target.resource.storage.topic, target.subresource.as_str()) {
        (_, "status") => (strategy.validate_status)(new, old, errors),
        ("certificatesigningrequests.certificates.k8s.io", "approval") => {
            api::kinds::certificate::validate_approval(new, old, errors);
        }
        ("pods", "binding") | (_, "finalize") => {}
        ("pods", "resize") => {
            (strategy.validate)(new, errors);
            pod::validate_resize(new, old, errors);
        }
        ("pods", "ephemeralcontainers") => {
            (strategy.validate)(new, errors);
            pod::validate_ephemeral_containers(new, old, errors);
        }
        _ => {
            (strategy.validate)(new, errors);
            (strategy.expressions)(new, errors);
            (strategy.validate_update)(new, old, errors);
        }
    }
}

/// What a new object says about its creator, which only the server can know.
pub fn fill_in(target: &Target, caller: &Caller, document: &mut Value) {
    if &*target.resource.storage.topic == "certificatesigningrequests.certificates.k8s.io" {
        let user = &caller.user;
        let spec = &mut document["spec"];
        spec["username"] = user.name.as_str().into();
        for (field, value) in [("uid", json!(user.uid)), ("groups", json!(user.groups)), ("extra", json!(user.extra))] {
            remove(spec, field);
            let is_empty = value.as_str().is_some_and(str::is_empty) || value == json!([]) || value == json!({});
            if !is_empty {
                spec[field] = value;
            }
        }
    }
}

/// Makes `to` have at `path` what `from` has there.
fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let value = path.iter().try_fold(from, |value, step| value.get(*step));
    let mut parent = to;
    for step in parents {
        if !parent[*step].is_object() {
            if value.is_none() {
                return;
            }
            parent[*step] = json!({});
        }
        parent = &mut parent[*step];
    }
    match value {
        Some(value) => parent[*last] = value.clone(),
        None => remove(parent, last),
    }
}

/// Heartbeats need not reach the disk: after a crash they are simply sent again.
pub fn durability(target: &Target, old: &Value, new: &Value) -> Durability {
    let heartbeat = match (&*target.resource.storage.topic, target.subresource.as_str()) {
        ("leases.coordination.k8s.io", "") => {
            without(old, &["spec", "renewTime"]) == without(new, &["spec", "renewTime"])
        }
        ("nodes", "status") => without_heartbeats(old) == without_heartbeats(new),
        _ => false,
    };
    if heartbeat { Durability::Volatile } else { Durability::Durable }
}

fn without(document: &Value, path: &[&str]) -> Value {
    let mut document = document.clone();
    copy(&Value::Null, &mut document, path);
    copy(&Value::Null, &mut document, &["metadata", "managedFields"]);
    copy(&Value::Null, &mut document, &["metadata", "resourceVersion"]);
    document
}

fn without_heartbeats(node: &Value) -> Value {
    let mut node = without(node, &["metadata", "managedFields"]);
    for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
        remove(condition, "lastHeartbeatTime");
    }
    node
}
