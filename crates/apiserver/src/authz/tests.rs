//! The chain, the node authorizer, escalation, and the reviews, on the default roles.

use std::sync::Arc;

use api::{
    resource::{Resource, Scope, Storage, Verbs},
    strategy::Strategy,
};
use document::{Types, types::Shape};
use serde_json::{Value, json};

use super::{rbac::*, *};
use crate::{
    admission::{Operation, Request},
    cluster::FixedCluster,
    identity::{AUTHENTICATED, User},
};

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|group| (*group).to_owned()).collect(), ..User::default() }
}

fn defaults() -> FixedCluster {
    bootstrap::reconcile(&FixedCluster::default()).into_iter().fold(FixedCluster::default(), |cluster, write| {
        let bootstrap::Write::Create { topic, object } = write else { panic!("{write:?}") };
        cluster.with(topic, object)
    })
}

fn target<'a>(resource: &'a str, namespace: &'a str, name: &'a str) -> Target<'a> {
    let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Target::Resource { group, version: "v1", resource, subresource, namespace, name }
}

#[test]
fn refusals_read_as_in_kubernetes() {
    let jane = user("jane", &[]);
    let check = |verb: &str, target: Target<'_>, reason: &str, expect: &str| {
        assert_eq!(forbidden(&Attributes::new(&jane, verb, target), reason).message, expect);
    };
    check(
        "list",
        target("pods", "default", ""),
        "",
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
    );
    check(
        "patch",
        target("apps:deployments/scale", "shop", "web"),
        "no",
        r#"deployments.apps "web" is forbidden: User "jane" cannot patch resource "deployments/scale" in API group "apps" in the namespace "shop": no"#,
    );
    check(
        "get",
        target("nodes", "", "n1"),
        "",
        r#"nodes "n1" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope"#,
    );
    check("get", Target::Path("/<x>"), "", r#"forbidden: User "jane" cannot get path "/&lt;x&gt;""#);
}

#[test]
fn the_default_roles_let_everyone_do_what_they_must() {
    let (chain, cluster) = (Chain::default(), defaults());
    let anonymous = User::anonymous();
    let jane = user("jane", &[AUTHENTICATED]);
    let account = user("system:serviceaccount:shop:default", &["system:serviceaccounts", AUTHENTICATED]);
    let admin = user("kubernetes-admin", &[MASTERS, AUTHENTICATED]);
    let scheduler = user("system:kube-scheduler", &[AUTHENTICATED]);
    let cases = [
        (&anonymous, "get", Target::Path("/healthz"), true),
        (&anonymous, "get", Target::Path("/version"), true),
        (&anonymous, "get", Target::Path("/api"), false),
        (&anonymous, "get", Target::Path("/openapi/v2"), false),
        (&jane, "get", Target::Path("/openapi/v2"), true),
        (&jane, "create", target("authorization.k8s.io:selfsubjectaccessreviews", "", ""), true),
        (&jane, "list", target("pods", "default", ""), false),
        (&account, "get", Target::Path("/openid/v1/jwks"), true),
        (&jane, "get", Target::Path("/openid/v1/jwks"), false),
        (&admin, "escalate", target("anything", "", ""), true),
        (&scheduler, "create", target("pods/binding", "shop", "web"), true),
        (&scheduler, "delete", target("nodes", "", "n1"), false),
    ];
    for (user, verb, target, expect) in cases {
        let decision = chain.authorize(&Attributes::new(user, verb, target), &cluster);
        assert_eq!(decision.is_allowed(), expect, "{} {verb} {target:?}: {decision:?}", user.name);
    }
}

fn node_cluster() -> FixedCluster {
    let pod = |name: &str, node: &str, spec: Value| {
        let mut pod = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        pod["spec"]["nodeName"] = node.into();
        pod
    };
    let mut mirror = pod("mirror", "n1", json!({"volumes": [{"secret": {"secretName": "stolen"}}]}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    FixedCluster::default()
        .with(
            "pods",
            pod(
                "web",
                "n1",
                json!({
                    "serviceAccountName": "web",
                    "imagePullSecrets": [{"name": "registry"}],
                    "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"configMapRef": {"name": "all"}}]}],
                    "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "init"}}}]}],
                    "volumes": [
                        {"name": "a", "secret": {"secretName": "mounted"}},
                        {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
                        {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                        {"name": "d", "ephemeral": {}},
                        {"name": "e", "csi": {"nodePublishSecretRef": {"name": "csi"}}}],
                    "resourceClaims": [{"resourceClaimName": "gpu"}],
                }),
            ),
        )
        .with("pods", pod("other", "n2", json!({"volumes": [{"secret": {"secretName": "foreign"}}]})))
        .with("pods", mirror)
        .with("persistentvolumes", json!({"metadata": {"name": "pv"}, "spec": {
            "claimRef": {"namespace": "shop", "name": "data"},
            "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "infra"}, "controllerPublishSecretRef": {"name": "controller", "namespace": "infra"}}}}))
        .with("persistentvolumes", json!({"metadata": {"name": "free"}, "spec": {}}))
        .with("volumeattachments.storage.k8s.io", json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}))
        .with("resourceslices.resource.k8s.io", json!({"metadata": {"name": "mine"}, "spec": {"nodeName": "n1"}}))
}

#[test]
fn a_node_may_do_what_its_pods_need() {
    let (node, cluster) = (node::Node, node_cluster());
    let n1 = user("system:node:n1", &[node::GROUP]);
    let cases = [
        ("get secrets shop mounted", true),
        ("watch secrets shop registry", true),
        ("get secrets shop env", true),
        ("get secrets shop csi", true),
        ("get secrets infra stage", true),
        ("get secrets infra controller", false),
        ("get secrets shop foreign", false),
        ("get secrets shop stolen", false),
        ("get secrets bank mounted", false),
        ("list secrets shop -", false),
        ("update secrets shop mounted", false),
        ("get configmaps shop all", true),
        ("get configmaps shop init", true),
        ("get configmaps shop projected", true),
        ("get persistentvolumeclaims shop data", true),
        ("get persistentvolumeclaims shop web-d", true),
        ("get persistentvolumeclaims shop web-x", false),
        ("patch persistentvolumeclaims/status shop data", true),
        ("get persistentvolumes - pv", true),
        ("get persistentvolumes - free", false),
        ("get resource.k8s.io:resourceclaims shop gpu", true),
        ("get storage.k8s.io:volumeattachments - va", true),
        ("create serviceaccounts/token shop web", true),
        ("create serviceaccounts/token shop admin", false),
        ("get serviceaccounts shop web", true),
        ("get pods shop web", true),
        ("get pods shop other", false),
        ("list pods - - spec.nodeName=n1", true),
        ("watch pods - - status.phase!=Failed,spec.nodeName==n1", true),
        ("list pods - - spec.nodeName=n2", false),
        ("list pods - - spec.nodeName!=n1", false),
        ("list pods - - metadata.name!=a\\,spec.nodeName=n1", false),
        ("list pods - -", false),
        ("patch pods/status shop web", true),
        ("create pods/eviction shop web", true),
        ("patch pods shop web", false),
        ("get nodes - n1", true),
        ("get nodes - n2", false),
        ("patch nodes/status - n1", true),
        ("update coordination.k8s.io:leases kube-node-lease n1", true),
        ("update coordination.k8s.io:leases kube-node-lease n2", false),
        ("update coordination.k8s.io:leases default n1", false),
        ("create storage.k8s.io:csinodes - -", true),
        ("get storage.k8s.io:csinodes - n2", false),
        ("get resource.k8s.io:resourceslices - mine", true),
        ("get resource.k8s.io:resourceslices - theirs", false),
        ("deletecollection resource.k8s.io:resourceslices - - spec.nodeName=n1", true),
        ("list services - -", true),
        ("list apps:deployments - -", false),
        ("create certificates.k8s.io:certificatesigningrequests - -", true),
    ];
    let decide = |user: &User, request: &str| {
        let words: Vec<&str> = request.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let mut attributes = Attributes::new(user, words[0], target(words[1], words[2], words[3]));
        attributes.field_selector = words.get(4).copied().unwrap_or_default();
        node.authorize(&attributes, &cluster)
    };
    for (request, expect) in cases {
        let decision = decide(&n1, request);
        assert_eq!(decision.is_allowed(), expect, "{request}: {decision:?}");
    }
    for stranger in [user("system:node:n1", &[]), user("n1", &[node::GROUP]), user("system:node:", &[node::GROUP])] {
        assert!(!decide(&stranger, "get secrets shop mounted").is_allowed());
    }
}

fn resource(plural: &str) -> Resource {
    let mut types = Types::default();
    let root = types.add(Shape::Any);
    Resource {
        group: GROUP.into(),
        version: "v1".into(),
        kind: "Role".into(),
        list_kind: "RoleList".into(),
        plural: plural.into(),
        singular: "role".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Cluster,
        verbs: Verbs::ALL,
        subresources: Vec::new(),
        types: Arc::new(types),
        root,
        storage: Storage {
            topic: plural.into(),
            api_version: "v1".into(),
            kind: "Role".into(),
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

/// Who may write which role or binding: the refusal, or nothing.
fn escalation(user: &User, plural: &str, namespace: &str, object: Value, old: Value) -> Option<String> {
    let subject = |name: &str| json!([{"kind": "User", "name": name}]);
    let binding = |name: &str, role: &str| json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subject(name)});
    let cluster = defaults()
        .with(CLUSTER_ROLES, json!({"metadata": {"name": "pods"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}))
        .with(CLUSTER_ROLES, json!({"metadata": {"name": "escalator"}, "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["escalate"]}]}))
        .with(CLUSTER_ROLES, json!({"metadata": {"name": "binder"}, "rules": [{"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]}]}))
        .with(CLUSTER_ROLE_BINDINGS, binding("jane", "pods"))
        .with(CLUSTER_ROLE_BINDINGS, binding("root", "cluster-admin"))
        .with(CLUSTER_ROLE_BINDINGS, binding("esca", "escalator"))
        .with(CLUSTER_ROLE_BINDINGS, binding("bindy", "binder"));
    let (resource, chain) = (resource(plural), Chain::default());
    let operation = if old.is_null() { Operation::Create } else { Operation::Update };
    let request = Request {
        operation,
        resource: &resource,
        subresource: "",
        namespace,
        name: "new",
        user,
        dry_run: false,
        options: &Value::Null,
        object: object.into(),
        old: &old,
        warnings: Default::default(),
        annotations: Default::default(),
        reservation: None,
    };
    escalation::check(&request, &chain, &chain.rbac, &cluster).err().map(|status| status.message)
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let jane = user("jane", &["dev", AUTHENTICATED]);
    let role = |verbs: &[&str]| json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
    let refused = concat!(
        "clusterroles.rbac.authorization.k8s.io \"new\" is forbidden: user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) ",
        "is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}"
    );
    let check = |user: &User, object: Value, expect: Option<&str>| {
        assert_eq!(escalation(user, "clusterroles", "", object, Value::Null).as_deref(), expect);
    };
    check(&jane, role(&["get", "list"]), None);
    check(&jane, role(&["delete", "get", "watch"]), Some(refused));
    check(&user("esca", &[]), role(&["*"]), None);
    check(&user("root", &[]), role(&["*"]), None);
    check(&user("x", &[MASTERS]), role(&["*"]), None);
    let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let text = r#"clusterroles.rbac.authorization.k8s.io "new" is forbidden: must have cluster-admin privileges to use the aggregationRule"#;
    check(&jane, aggregated.clone(), Some(text));
    check(&user("root", &[]), aggregated, None);
}

#[test]
fn binding_takes_the_rules_or_the_verb() {
    let to = |role: &str| json!({"roleRef": {"kind": "ClusterRole", "name": role}});
    let check = |name: &str, role: &str, is_refused: bool| {
        let refusal = escalation(&user(name, &[]), "rolebindings", "shop", to(role), Value::Null);
        assert_eq!(refusal.is_some(), is_refused, "{name} {role}: {refusal:?}");
    };
    check("jane", "pods", false);
    check("jane", "cluster-admin", true);
    check("bindy", "view", false);
    check("bindy", "edit", false); // Not aggregated yet, it holds no rules.
    check("bindy", "system:aggregate-to-edit", true);
    let gone = escalation(&user("jane", &[]), "rolebindings", "shop", to("gone"), Value::Null);
    assert_eq!(gone.as_deref(), Some(r#"clusterroles.rbac.authorization.k8s.io "gone" not found"#));
}

#[test]
fn finalizers_may_be_removed_by_anyone_who_may_write() {
    let old =
        json!({"metadata": {"finalizers": ["a"]}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    assert_eq!(escalation(&user("jane", &[]), "roles", "shop", new.clone(), old.clone()), None);
    new["rules"][0]["verbs"] = json!(["get"]);
    assert!(escalation(&user("jane", &[]), "roles", "shop", new, old).is_some());
}

#[test]
fn a_huge_role_is_refused_quickly() {
    let words: Vec<String> = (0..2000).map(|number| format!("word{number}")).collect();
    let role = json!({"rules": [{"apiGroups": words, "resources": words, "verbs": words, "resourceNames": words}]});
    let refusal = escalation(&user("jane", &[]), "clusterroles", "", role, Value::Null).unwrap();
    assert!(refusal.contains("combinations"), "{refusal}");
}

#[test]
fn access_reviews_are_answered_or_refused() {
    use review::Kind;
    let (chain, cluster) = (Chain::default(), defaults());
    let jane = user("jane", &[AUTHENTICATED]);
    let ask = |kind: Kind<'_>, review: Value| match review::access(kind, &review, &chain, &cluster) {
        Ok(status) => status.to_string(),
        Err(status) => status.message,
    };
    let cases = [
        (
            Kind::Any,
            json!({"spec": {"user": "x", "groups": [MASTERS], "resourceAttributes": {"verb": "get", "resource": "pods"}}}),
            r#"{"allowed":true}"#,
        ),
        (
            Kind::Any,
            json!({"spec": {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods"}}}),
            r#"{"allowed":false}"#,
        ),
        (
            Kind::Any,
            json!({"spec": {"groups": ["system:unauthenticated"], "nonResourceAttributes": {"verb": "get", "path": "/livez"}}}),
            r#"{"allowed":true,"reason":"RBAC: allowed by ClusterRoleBinding \"system:public-info-viewer\" of ClusterRole \"system:public-info-viewer\" to Group \"system:unauthenticated\""}"#,
        ),
        (
            Kind::Own(&jane),
            json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}}),
            r#"{"allowed":false}"#,
        ),
        (
            Kind::Own(&jane),
            json!({"spec": {}}),
            r#"SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"#,
        ),
        (
            Kind::Any,
            json!({"spec": {"resourceAttributes": {}}}),
            r#"SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified"#,
        ),
        (
            Kind::Local("shop"),
            json!({"metadata": {"namespace": "shop"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "bank"}}}),
            r#"LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "bank": must match metadata.namespace"#,
        ),
        (
            Kind::Local("shop"),
            json!({"metadata": {"namespace": "bank"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "bank"}}}),
            "spec.resourceAttributes.namespace must match namespace: shop",
        ),
        (
            Kind::Any,
            json!({"spec": {"user": "system:node:n1", "groups": ["system:nodes"], "resourceAttributes": {"verb": "list", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}}}}),
            r#"{"allowed":true}"#,
        ),
    ];
    for (kind, review, expect) in cases {
        assert_eq!(ask(kind, review.clone()), expect, "{review}");
    }
}

#[test]
fn own_rules_are_listed() {
    let chain = Chain::default();
    let ask = |user: &User, namespace: &str| {
        review::own_rules(&json!({"spec": {"namespace": namespace}}), user, &chain.rbac, &defaults())
    };
    let status = ask(&user("jane", &[AUTHENTICATED]), "default").unwrap();
    assert_eq!(status["incomplete"], false);
    let rules = status["resourceRules"].as_array().unwrap();
    assert!(rules.contains(
        &json!({"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]})
    ));
    assert!(!status["nonResourceRules"].as_array().unwrap().is_empty());
    let status = ask(&user("system:node:n1", &["system:nodes"]), "default").unwrap();
    assert_eq!(status["incomplete"], true);
    assert_eq!(status["evaluationError"], "node authorizer does not support user rule resolution");
    assert!(ask(&User::default(), "").is_err());
}
