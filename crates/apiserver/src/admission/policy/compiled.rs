//! Policies and their bindings, compiled.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{BINDINGS, Outcome, POLICIES};
use crate::{
    admission::{
        Request,
        expressions::{self, Conditions, Sight, boolean, typed},
        matching::{Kinds, Matched, Matcher},
    },
    cel::{
        Program, compile,
        types::{Declared, ObjectField, ObjectType, Type},
    },
    cluster::Cluster,
};

#[derive(Debug)]
pub struct Policies(pub Vec<Policy>);

#[derive(Debug)]
pub struct Policy {
    pub name: Box<str>,
    matcher: Result<Matcher, String>,
    pub conditions: Conditions,
    pub variables: Vec<(Box<str>, Result<Program, String>)>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<(Box<str>, Result<Program, String>)>,
    /// `apiVersion` and `kind` of the parameters.
    pub param_kind: Option<(Box<str>, Box<str>)>,
    pub fails_closed: bool,
    pub bindings: Vec<Binding>,
}

#[derive(Debug)]
pub struct Validation {
    pub expression: Box<str>,
    pub program: Result<Program, String>,
    pub message: Box<str>,
    pub message_program: Option<Result<Program, String>>,
    pub reason: Option<Box<str>>,
}

#[derive(Debug)]
pub struct Binding {
    pub name: Box<str>,
    pub matcher: Result<Matcher, String>,
    /// `paramRef`, or Null.
    pub param_ref: Value,
    pub actions: Vec<Box<str>>,
}

impl Policies {
    pub fn compile(cluster: &dyn Cluster) -> Self {
        let bindings = cluster.list(BINDINGS, None);
        let mut policies: Vec<Policy> =
            cluster.list(POLICIES, None).iter().map(|policy| Policy::compile(policy)).collect();
        for policy in &mut policies {
            let ours = bindings.iter().filter(|binding| binding["spec"]["policyName"] == *policy.name);
            policy.bindings = ours.map(|binding| Binding::read(binding)).collect();
        }
        policies.retain(|policy| !policy.bindings.is_empty());
        Self(policies)
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The variables of a policy, each of which sees those before it, and what its expressions see.
pub struct Scope {
    pub programs: Programs,
    /// What validations and annotations see.
    pub environment: Vec<(Box<str>, Declared)>,
    /// What messages see.
    pub of_messages: Vec<(Box<str>, Declared)>,
}

impl Scope {
    pub fn compile(spec: &Value) -> Self {
        let params = !spec["paramKind"].is_null();
        let seen = expressions::variables(Sight { params, authorizer: true });
        let (programs, types) = Self::variables(spec, &seen);
        let of_messages = expressions::variables(Sight { params, authorizer: false });
        Self { environment: with(&seen, &types), of_messages: with(&of_messages, &types), programs }
    }

    /// What expressions see that see `known` and the policy's variables.
    pub fn with_variables(spec: &Value, known: &[(Box<str>, Declared)]) -> Vec<(Box<str>, Declared)> {
        with(known, &Self::variables(spec, known).1)
    }

    fn variables(spec: &Value, known: &[(Box<str>, Declared)]) -> (Programs, Option<VariableTypes>) {
        let (mut programs, mut types) = (Vec::new(), None);
        for variable in list(spec, "variables") {
            // The first knows already that there are variables, though none that it could use.
            let types: &mut VariableTypes = types.get_or_insert_default();
            let (name, source) = (text(variable, "name"), text(variable, "expression"));
            let program = compile(source, &with(known, &Some(types.clone())))
                .map_err(|error| format!("compilation failed: {}", error.describe(source)));
            types.insert(name.into(), program.as_ref().map_or(Type::Dyn, |program| program.result.clone()));
            programs.push((name.into(), program));
        }
        (programs, types)
    }
}

type Programs = Vec<(Box<str>, Result<Program, String>)>;
type VariableTypes = BTreeMap<Box<str>, Type>;

fn with(known: &[(Box<str>, Declared)], variables: &Option<VariableTypes>) -> Vec<(Box<str>, Declared)> {
    let variables = variables.as_ref().map(|types| ("variables".into(), Declared::unbounded(record(types))));
    known.iter().cloned().chain(variables).collect()
}

fn record(variables: &VariableTypes) -> Type {
    let fields = variables.iter().map(|(name, ty)| {
        (name.clone(), ObjectField { name: name.clone(), declared: Declared::unbounded(ty.clone()) })
    });
    Type::Object(Arc::new(ObjectType { name: "kubernetes.variables".to_owned(), fields: fields.collect() }))
}

/// The types of an audit annotation's value: none is written for null.
pub const ANNOTATION_TYPES: [Type; 2] = [Type::String, Type::Null];

impl Policy {
    pub fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let Scope { programs: variables, environment, of_messages } = Scope::compile(spec);
        let validation = |validation: &Value| {
            let message = text(validation, "messageExpression");
            Validation {
                expression: text(validation, "expression").trim().into(),
                program: boolean(text(validation, "expression"), &environment),
                message: text(validation, "message").trim().into(),
                message_program: (!message.is_empty()).then(|| typed(message, &of_messages, &[Type::String])),
                reason: validation["reason"].as_str().map(Box::from),
            }
        };
        let annotation = |annotation: &Value| {
            let program = typed(text(annotation, "valueExpression").trim(), &environment, &ANNOTATION_TYPES);
            (text(annotation, "key").into(), program)
        };
        let param_kind = &spec["paramKind"];
        Self {
            name: text(&policy["metadata"], "name").into(),
            matcher: Matcher::read(&spec["matchConstraints"]).map_err(|error| error.to_string()),
            conditions: Conditions::compile(&spec["matchConditions"], !param_kind.is_null()),
            variables,
            validations: list(spec, "validations").iter().map(validation).collect(),
            annotations: list(spec, "auditAnnotations").iter().map(annotation).collect(),
            param_kind: param_kind
                .is_object()
                .then(|| (text(param_kind, "apiVersion").into(), text(param_kind, "kind").into())),
            fails_closed: spec["failurePolicy"] != "Ignore",
            bindings: Vec::new(),
        }
    }

    /// Whether the policy itself covers the request.
    pub(super) fn matcher_result(
        &self,
        request: &Request<'_>,
        cluster: &dyn Cluster,
        kinds: &dyn Kinds,
        outcome: &mut Outcome,
    ) -> Option<Matched> {
        match &self.matcher {
            Ok(matcher) => matcher.matches(request, cluster, kinds),
            Err(problem) => {
                outcome.misconfigured(self, None, problem);
                None
            }
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        Self {
            name: text(&binding["metadata"], "name").into(),
            matcher: Matcher::read(&spec["matchResources"]).map_err(|error| error.to_string()),
            param_ref: spec["paramRef"].clone(),
            actions: list(spec, "validationActions").iter().filter_map(Value::as_str).map(Box::from).collect(),
        }
    }
}
