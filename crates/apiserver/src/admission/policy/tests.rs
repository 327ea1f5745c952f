//! Policies, bindings and requests with what becomes of them, as data in `cases/policy`.

use std::{path::Path, sync::Arc};

use api::{
    resource::{Resource, Scope, Storage, Verbs},
    strategy::Strategy,
};
use document::{Types, types::Shape};
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::Operation,
    audit::Annotations,
    authz,
    cel::library::access,
    cluster::FixedCluster,
    identity::{Attributes, User},
    warnings::Warnings,
};

fn resource(group: &str, version: &str, kind: &str, plural: &str, scope: Scope) -> Resource {
    let mut types = Types::default();
    let root = types.add(Shape::Any);
    let topic = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: Verbs::ALL,
        subresources: Vec::new(),
        types: Arc::new(types),
        root,
        storage: Storage {
            topic: topic.into(),
            api_version: "v1".into(),
            kind: kind.into(),
            conversion: None,
            schema: None,
        },
        strategy: Strategy::DEFAULT,
        columns: Arc::new([]),
        selectable: Vec::new(),
        schema_hash: 0,
        custom: None,
    }
}

#[derive(Debug)]
struct World;

impl Kinds for World {
    fn by_kind(&self, _: &str, kind: &str) -> Option<Arc<Resource>> {
        (kind == "ConfigMap").then(|| Arc::new(resource("", "v1", "ConfigMap", "configmaps", Scope::Namespaced)))
    }

    fn equivalents(&self, known: &Resource) -> Vec<Arc<Resource>> {
        let other = resource("apps", "v1beta1", "Deployment", "deployments", Scope::Namespaced);
        if &*known.kind == "Deployment" { vec![Arc::new(other)] } else { Vec::new() }
    }
}

impl access::Authorizer for World {
    fn authorize(&self, attributes: &Attributes<'_>) -> (bool, String) {
        (attributes.verb == "get" && attributes.user.name == "alice", "because".to_owned())
    }
}

impl Authorizer for World {
    fn authorize(&self, attributes: &Attributes<'_>, _: &dyn Cluster) -> authz::Decision {
        match access::Authorizer::authorize(self, attributes) {
            (true, reason) => authz::Decision::Allow { reason },
            (false, reason) => authz::Decision::NoOpinion { reason },
        }
    }
}

/// Namespace `prod` is labelled; the parameters are config maps in it.
fn cluster(case: &Value) -> FixedCluster {
    let map = |name: &str, max: &str| json!({"metadata": {"name": name, "namespace": "prod", "labels": {"limits": "yes"}}, "data": {"max": max}});
    let mut policy = json!({
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]}},
    });
    let mut binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    for (target, patch) in [(&mut policy, &case["policy"]), (&mut binding, &case["binding"])] {
        for (name, value) in patch.as_object().into_iter().flatten() {
            target["spec"][name] = value.clone();
        }
    }
    FixedCluster::default()
        .with("namespaces", json!({"metadata": {"name": "prod", "labels": {"env": "prod"}}}))
        .with("configmaps", map("small", "3"))
        .with("configmaps", map("large", "30"))
        .with(POLICIES, policy)
        .with(BINDINGS, binding)
}

#[test]
fn requests_are_judged_as_the_cases_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/policy/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let user = User { name: "alice".to_owned(), groups: vec!["devs".to_owned()], ..User::default() };
    let deployment = resource("apps", "v1", "Deployment", "deployments", Scope::Namespaced);
    let node = resource("", "v1", "Node", "nodes", Scope::Cluster);
    for case in &cases {
        let world = Arc::new(World);
        let plugin = ValidatingAdmissionPolicy::new(world.clone(), world);
        let is_node = case["resource"] == "nodes";
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"replicas": 5}});
        let mut request = Request {
            operation: if case["operation"] == "DELETE" { Operation::Delete } else { Operation::Create },
            resource: if is_node { &node } else { &deployment },
            subresource: case["subresource"].as_str().unwrap_or_default(),
            namespace: if is_node { "" } else { "prod" },
            name: "web",
            user: &user,
            dry_run: false,
            options: &Value::Null,
            object: object.into(),
            old: &Value::Null,
            warnings: Warnings::kept(),
            annotations: Annotations::kept(),
            reservation: None,
        };
        let answer = plugin.judge(&mut request, &cluster(case));
        let got = match &answer {
            Ok(()) => "allowed".to_owned(),
            Err(status) => format!("{} {} {}", status.code, status.reason, status.message),
        };
        assert_eq!(got, case["answer"], "{}", case["name"]);
        assert_eq!(json!(request.warnings.noted()), *case.get("warnings").unwrap_or(&json!([])), "{}", case["name"]);
        let noted = request.annotations.noted();
        let annotations: Vec<String> = noted.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(json!(annotations), *case.get("annotations").unwrap_or(&json!([])), "{}", case["name"]);
    }
}

#[test]
fn variables_that_build_on_each_other_without_end_are_refused() {
    let chain: Vec<Value> = (0..500)
        .map(|index| {
            let expression = if index == 0 { "1".to_owned() } else { format!("variables.v{} + 1", index - 1) };
            json!({"name": format!("v{index}"), "expression": expression})
        })
        .collect();
    let case = json!({"policy": {"variables": chain, "validations": [{"expression": "variables.v499 > 0"}]}});
    let policies = Policies::compile(&cluster(&case));
    let facts = |authorizer| Facts {
        object: &Value::Null,
        old: &Value::Null,
        request: &Value::Null,
        params: &Value::Null,
        namespace: &Value::Null,
        authorizer,
        user: Box::leak(Box::new(User::default())),
    };
    let world = World;
    let judged = decide::judge(&policies.0[0], &facts(&world));
    assert!(matches!(&judged.decisions[0], Decision::Deny { message, .. } if message.contains("nested too deeply")));
}

#[test]
fn policies_are_checked_when_they_are_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/policy/written.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in &cases {
        let mut errors = Vec::new();
        match case["webhook"].as_object() {
            Some(webhook) => validate::webhooks(&json!({"webhooks": [webhook]}), &mut errors),
            None => validate::policy(&json!({"metadata": {"name": "p"}, "spec": case["spec"]}), &mut errors),
        }
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(json!(found), case["errors"], "{case}");
    }
}
