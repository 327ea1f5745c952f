//! Questions to the authorizer: `SubjectAccessReview`, its local and self forms, and
//! `SelfSubjectRulesReview`. Each function takes the review as sent and returns its `status`.

mod selectors;

use api::{
    field::{FieldError, FieldErrors, Path},
    status::{Status, Subject},
};
use serde_json::{Value, json};

use super::{Authorizer, Decision, Rbac, node};
use crate::{
    cluster::Cluster,
    identity::{Attributes, Target, User},
};

const GROUP: &str = "authorization.k8s.io";

/// Who is asked about, and what may be asked.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// `SubjectAccessReview`.
    Any,
    /// `LocalSubjectAccessReview`, with the namespace of the request.
    Local(&'a str),
    /// `SelfSubjectAccessReview`, with the user who asks.
    Own(&'a User),
}

pub fn access(
    kind: Kind<'_>,
    review: &Value,
    authorizer: &dyn Authorizer,
    cluster: &dyn Cluster,
) -> Result<Value, Status> {
    let errors = validate(kind, review);
    if !errors.is_empty() {
        let resource = match kind {
            Kind::Any => "SubjectAccessReview",
            Kind::Local(_) => "LocalSubjectAccessReview",
            Kind::Own(_) => "SelfSubjectAccessReview",
        };
        return Err(Status::invalid(Subject { group: GROUP, resource, name: "" }, &errors));
    }
    if let Kind::Local(namespace) = kind
        && review["metadata"]["namespace"] != namespace
    {
        let text = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(Status::bad_request(text));
    }
    let spec = &review["spec"];
    let asked;
    let user = match kind {
        Kind::Own(user) => user,
        Kind::Any | Kind::Local(_) => {
            asked = user_of(spec);
            &asked
        }
    };
    let (selector, error) = selectors::asked(&spec["resourceAttributes"]);
    let target = target_of(spec);
    let verb = text(match target {
        Target::Resource { .. } => &spec["resourceAttributes"]["verb"],
        Target::Path(_) => &spec["nonResourceAttributes"]["verb"],
    });
    let attributes = Attributes { user, verb, target, field_selector: &selector };
    Ok(status_of(&authorizer.authorize(&attributes, cluster), error.as_deref()))
}

/// `SelfSubjectRulesReview`.
pub fn own_rules(review: &Value, user: &User, rbac: &Rbac, cluster: &dyn Cluster) -> Result<Value, Status> {
    let namespace = text(&review["spec"]["namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, mut errors) = rbac.rules_for(user, namespace, cluster);
    let is_node = node::name_of(user).is_some();
    if is_node {
        errors.insert(0, "node authorizer does not support user rule resolution".to_owned());
    }
    let mut resource_rules = Vec::new();
    let mut path_rules = Vec::new();
    for rule in rules {
        if !rule.resources.is_empty() {
            resource_rules.push(super::Rule { paths: Vec::new(), ..rule.clone() }.to_value());
        }
        if !rule.paths.is_empty() {
            path_rules.push(super::Rule { verbs: rule.verbs, paths: rule.paths, ..Default::default() }.to_value());
        }
    }
    let mut status = json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": is_node});
    match errors.as_slice() {
        [] => {}
        [error] => status["evaluationError"] = error.as_str().into(),
        errors => status["evaluationError"] = format!("[{}]", errors.join(", ")).into(),
    }
    Ok(status)
}

fn status_of(decision: &Decision, error: Option<&str>) -> Value {
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny { .. }) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    if let Some(error) = error {
        status["evaluationError"] = error.into();
    }
    status
}

fn user_of(spec: &Value) -> User {
    let strings =
        |value: &Value| value.as_array().into_iter().flatten().map(|word| text(word).to_owned()).collect::<Vec<_>>();
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    }
}

fn target_of(spec: &Value) -> Target<'_> {
    let resource = &spec["resourceAttributes"];
    if resource.is_null() {
        return Target::Path(text(&spec["nonResourceAttributes"]["path"]));
    }
    let field = |name: &str| text(&resource[name]);
    Target::Resource {
        group: field("group"),
        version: if field("version").is_empty() { "*" } else { field("version") },
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
    }
}

fn validate(kind: Kind<'_>, review: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let at_spec = Path::new("spec");
    let (at_resource, at_path) = (at_spec.child("resourceAttributes"), at_spec.child("nonResourceAttributes"));
    if !resource.is_null() && !path.is_null() {
        let text = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&at_path, path.clone(), text));
    }
    if resource.is_null() && path.is_null() {
        let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&at_resource, Value::Null, text));
    }
    let is_empty = |value: &Value| text(value).is_empty() && value.as_array().is_none_or(Vec::is_empty);
    if !matches!(kind, Kind::Own(_)) && is_empty(&spec["user"]) && is_empty(&spec["groups"]) {
        let text = "at least one of user or group must be specified";
        errors.push(FieldError::invalid(&at_spec.child("user"), "", text));
    }
    selectors::validate(resource, &at_resource, &mut errors);
    validate_metadata(kind, review, &mut errors);
    if let Kind::Local(_) = kind {
        let namespace = text(&review["metadata"]["namespace"]);
        if !resource.is_null() && text(&resource["namespace"]) != namespace {
            let value = text(&resource["namespace"]);
            let text = "must match metadata.namespace";
            errors.push(FieldError::invalid(&at_resource.child("namespace"), value, text));
        }
        if !path.is_null() {
            errors.push(FieldError::invalid(&at_path, path.clone(), "disallowed on this kind of request"));
        }
    }
    errors
}

fn validate_metadata(kind: Kind<'_>, review: &Value, errors: &mut FieldErrors) {
    let is_allowed = |field: &str| {
        matches!((kind, field), (_, "managedFields" | "creationTimestamp") | (Kind::Local(_), "namespace"))
    };
    let metadata = &review["metadata"];
    let mut fields = metadata.as_object().into_iter().flatten();
    if fields.any(|(field, value)| !is_allowed(field) && !value.is_null() && value != "") {
        let text = match kind {
            Kind::Local(_) => "must be empty except for namespace",
            _ => "must be empty",
        };
        errors.push(FieldError::invalid(&Path::new("metadata"), metadata.clone(), text));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
