//! The expressions of admission: the variables they see, and match conditions.

use std::{rc::Rc, sync::LazyLock};

use api::resource::Resource;
use serde_json::{Value as Json, json};

use super::Request;
use crate::cel::{
    Budget, CONDITIONS_LIMIT, Failure, Program, Value, compile,
    library::access::{Access, Asker, Authorizer, ResourceRequest},
    types::{Declared, Type},
};

/// Which of the variables an expression sees that not all do.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Where a policy names the kind of its parameters.
    pub params: bool,
    /// Everywhere but in messages.
    pub authorizer: bool,
}

/// The variables of an admission expression with their types.
pub fn variables(sight: Sight) -> Vec<(Box<str>, Declared)> {
    let mut known = vec![
        ("object", Type::Dyn),
        ("oldObject", Type::Dyn),
        ("request", REQUEST.clone()),
        ("namespaceObject", NAMESPACE.clone()),
    ];
    if sight.params {
        known.push(("params", Type::Dyn));
    }
    if sight.authorizer {
        known.push(("authorizer", Type::Opaque("kubernetes.authorization.Authorizer")));
        known.push(("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck")));
    }
    known.into_iter().map(|(name, ty)| (name.into(), Declared::unbounded(ty))).collect()
}

/// What an expression sees of a namespace: the fields that policies may rely on.
fn namespace_type() -> Type {
    let texts = || Type::list(Type::String);
    let metadata = [
        ("name", Type::String),
        ("generateName", Type::String),
        ("namespace", Type::String),
        ("labels", Type::map(Type::String, Type::String)),
        ("annotations", Type::map(Type::String, Type::String)),
        ("UID", Type::String),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", Type::String),
        ("finalizers", texts()),
    ];
    let condition = [
        ("status", Type::String),
        ("type", Type::String),
        ("lastTransitionTime", Type::Timestamp),
        ("message", Type::String),
        ("reason", Type::String),
    ];
    let conditions = Type::list(Type::object("kubernetes.NamespaceCondition", condition));
    let status = [("conditions", conditions), ("phase", Type::String)];
    Type::object(
        "kubernetes.Namespace",
        [
            ("metadata", Type::object("kubernetes.NamespaceMetadata", metadata)),
            ("spec", Type::object("kubernetes.NamespaceSpec", [("finalizers", texts())])),
            ("status", Type::object("kubernetes.NamespaceStatus", status)),
        ],
    )
}

fn request_type() -> Type {
    let texts =
        |name: &str, fields: &[&'static str]| Type::object(name, fields.iter().map(|field| (*field, Type::String)));
    let kind = || texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = || texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", Type::list(Type::String)),
        ("extra", Type::map(Type::String, Type::list(Type::String))),
    ];
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", Type::object("kubernetes.UserInfo", user)),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

static REQUEST: LazyLock<Type> = LazyLock::new(request_type);
static NAMESPACE: LazyLock<Type> = LazyLock::new(namespace_type);

/// The `request` variable, as an AdmissionReview would show it to a webhook.
pub fn request_document(request: &Request<'_>, matched: &Resource) -> Json {
    let kind =
        |resource: &Resource| json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let plural = |resource: &Resource| json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    let user = request.user;
    let mut user_info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        user_info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        user_info["extra"] = json!(user.extra);
    }
    let mut document = json!({
        "kind": kind(matched),
        "resource": plural(matched),
        "requestKind": kind(request.resource),
        "requestResource": plural(request.resource),
        "operation": request.operation.name(),
        "userInfo": user_info,
        "dryRun": request.dry_run,
        "options": request.options,
    });
    if let Some(kind) = own_kind(request) {
        document["kind"] = kind.clone();
        document["requestKind"] = kind;
    }
    if !request.subresource.is_empty() {
        document["subResource"] = request.subresource.into();
        document["requestSubResource"] = request.subresource.into();
    }
    // A collection has no name, nor has what is given one only when it is stored.
    for (field, value) in [("name", request.name), ("namespace", request.namespace)] {
        if !value.is_empty() {
            document[field] = value.into();
        }
    }
    document
}

/// The kind of a subresource's body, where that is another than the resource's (`Scale`, `Eviction`).
fn own_kind(request: &Request<'_>) -> Option<Json> {
    let shown = if request.object.is_object() { &*request.object } else { request.old };
    let (kind, api_version) = (shown["kind"].as_str()?, shown["apiVersion"].as_str()?);
    if request.subresource.is_empty() || kind == &*request.resource.kind {
        return None;
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(json!({"group": group, "version": version, "kind": kind}))
}

/// What the variables of one request are made from.
#[derive(Debug)]
pub struct Facts<'a> {
    pub object: &'a Json,
    pub old: &'a Json,
    pub request: &'a Json,
    pub params: &'a Json,
    pub namespace: &'a Json,
    pub authorizer: &'a dyn Authorizer,
    pub user: &'a crate::identity::User,
}

impl<'a> Facts<'a> {
    pub fn variables(&self) -> Vec<(&'static str, Value<'a>)> {
        let asker = Asker { authorizer: self.authorizer, user: self.user.clone() };
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let resource = &self.request["requestResource"];
        let target = ResourceRequest {
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&self.request["subResource"]),
            namespace: text(&self.request["namespace"]),
            name: text(&self.request["name"]),
        };
        vec![
            ("object", Value::untyped(self.object)),
            ("oldObject", Value::untyped(self.old)),
            ("request", Value::read(self.request, &REQUEST)),
            ("params", Value::untyped(self.params)),
            ("namespaceObject", Value::read(self.namespace, &NAMESPACE)),
            ("authorizer", Value::Access(Rc::new(Access::Authorizer(asker.clone())))),
            ("authorizer.requestResource", Value::Access(Rc::new(Access::Resource { asker, request: target }))),
        ]
    }
}

/// `matchConditions`: all must be true.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    name: Box<str>,
    expression: Box<str>,
    program: Result<Program, String>,
}

/// What match conditions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Matches,
    /// The condition of this name is false.
    Excludes(String),
    /// None is false, and at least one could not be evaluated.
    Fails(String),
}

impl Conditions {
    pub fn compile(conditions: &Json, params: bool) -> Self {
        let list = conditions.as_array().into_iter().flatten();
        let variables = variables(Sight { params, authorizer: true });
        Self(
            list.map(|condition| {
                let text = |field: &str| Box::<str>::from(condition[field].as_str().unwrap_or_default().trim());
                let expression = text("expression");
                Condition { name: text("name"), program: boolean(&expression, &variables), expression }
            })
            .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn evaluate(&self, facts: &Facts<'_>) -> Verdict {
        let variables = facts.variables();
        let budget = Budget::new(CONDITIONS_LIMIT);
        let mut problems = Vec::new();
        for Condition { name, expression, program } in &self.0 {
            let result = match program {
                Ok(program) => program.evaluate(&variables, &budget),
                Err(problem) => {
                    problems.push(problem.clone());
                    continue;
                }
            };
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Verdict::Excludes(name.to_string()),
                Ok(_) => problems.push(Failure::NoOverload.in_expression(expression)),
                Err(failure) => problems.push(failure.in_expression(expression)),
            }
        }
        match problems.len() {
            0 => Verdict::Matches,
            1 => Verdict::Fails(problems.remove(0)),
            _ => Verdict::Fails(format!("[{}]", problems.join(", "))),
        }
    }
}

/// Compiles an expression whose value must be true or false.
pub fn boolean(source: &str, variables: &[(Box<str>, Declared)]) -> Result<Program, String> {
    typed(source, variables, &[Type::Bool])
}

/// Compiles an expression whose value must be of one of these types, and known to be.
pub fn typed(source: &str, variables: &[(Box<str>, Declared)], wanted: &[Type]) -> Result<Program, String> {
    let program =
        compile(source, variables).map_err(|error| format!("compilation failed: {}", error.describe(source)))?;
    let got = program.result.declared_name();
    let wanted: Vec<String> = wanted.iter().map(Type::declared_name).collect();
    match &wanted[..] {
        wanted if wanted.contains(&got) => Ok(program),
        [only] => Err(format!("must evaluate to {only} but got {got}")),
        several => Err(format!("must evaluate to one of [{}] but got {got}", several.join(" "))),
    }
}
